"""Results with their intervals: storing them as records, summarising them, printing the table."""

import base64
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from scipy import stats
from torch import Tensor

from mae_lib.training.checkpoints import write_atomically

# Measure: (title, digits after the point).
MEASURES = {"lp": ("LP@1 %", 1), "ft": ("FT@1 %", 1), "knn": ("kNN %", 1),
            "knn_whitened": ("kNN whitened %", 1), "psnr": ("PSNR dB", 2),
            "hf_error": ("HF error", 4)}
TIMES = {"seconds": ("train s", 0), "images_per_second": ("images/s", 0)}  # of pretraining
PARTS = (("lp", "ft", "knn", "knn_whitened", "seconds"),  # of the table
         ("psnr", "hf_error", "images_per_second"))
BASELINES = ("chance", "raw pixels", "random init", "from scratch")  # what no run pretrained
Interval = tuple[float, float, float]  # mean, low, high; low and high are nan where unknown


@dataclass(frozen=True)
class Accuracy:
    """Which of the images were right, (N,) bool, and the setting that cross-validation chose."""

    correct: Tensor
    chosen: str = ""

    @property
    def percent(self) -> float:
        return 100 * float(self.correct.double().mean())

    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy in percent over draws of the test set (Wilson 1927)."""
        right = stats.binomtest(int(self.correct.sum()), len(self.correct))
        low, high = right.proportion_ci(method="wilson")
        return 100 * low, 100 * high

    def entry(self) -> dict:
        """As a record's entry; which images were right is packed, for paired comparisons."""
        low, high = self.interval()
        bits = base64.b64encode(np.packbits(self.correct.numpy())).decode()
        return {"value": self.percent, "low": low, "high": high, "chosen": self.chosen,
                "images": len(self.correct), "correct": bits}

    @classmethod
    def from_entry(cls, entry: dict) -> "Accuracy":
        bits = np.unpackbits(np.frombuffer(base64.b64decode(entry["correct"]), np.uint8))
        return cls(torch.from_numpy(bits[: entry["images"]].astype(bool)), entry["chosen"])


def mean_interval(values: Tensor) -> Interval:
    """Mean of values (N,) and its 95 % interval by the normal approximation."""
    return _interval(values.double().numpy(), stats.norm.ppf(0.975))


def _interval(values: np.ndarray | list[float], quantile: float) -> Interval:
    """Mean, and mean minus and plus `quantile` standard errors, which are nan for one value."""
    mean = float(np.mean(values))
    half = float(quantile * stats.sem(values)) if len(values) > 1 else math.nan
    return mean, mean - half, mean + half


def paired_difference(a: Accuracy, b: Accuracy) -> Interval:
    """How much better b is than a on the same test images, in points."""
    return mean_interval(100 * (b.correct.double() - a.correct.double()))


class Results:
    """Records in a JSON file, one a line; safe against a kill and a second process."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def read(self) -> list[dict]:
        """All records. Raises ValueError if the file is damaged or holds something else."""
        if not self.path.exists():
            return []
        try:
            records = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:  # also of bytes that are no text
            raise ValueError(f"{self.path} is not valid JSON ({error}); fix or move it.") from None
        if not isinstance(records, list) or not all(
                isinstance(r, dict) and r.keys() >= {"id", "measures"} for r in records):
            raise ValueError(f"{self.path} does not hold records of runs: name another file, or "
                             "move that one.")
        return records

    def find(self, key: str) -> dict | None:
        return next((record for record in self.read() if record["id"] == key), None)

    def add(self, *records: dict, without: Collection[str] = ()) -> None:
        """Add records, and remove earlier ones with the same ids or with an id in `without`."""
        gone = {*without, *(record["id"] for record in records)}
        with FileLock(self.path.with_suffix(".lock")):
            kept = [record for record in self.read() if record["id"] not in gone]
            lines = ",\n".join(json.dumps(r, allow_nan=False) for r in [*kept, *records])
            text = f"[\n{lines}\n]\n"
            write_atomically(self.path, lambda path: path.write_text(text, encoding="utf-8"))


def summarise(records: list[dict], measure: str) -> Interval | None:
    """Mean and 95 % interval of a measure: over seeds if several, else over test images."""
    found = [r["measures"][measure] for r in records if measure in r["measures"]]
    if len(found) > 1:
        return student([entry["value"] for entry in found])
    return next((tuple(f.get(k, math.nan) for k in ("value", "low", "high")) for f in found), None)


def student(values: list[float]) -> Interval:
    """Mean of a few values and its 95 % interval by Student's t; nan for a single one."""
    return _interval(values, stats.t.ppf(0.975, len(values) - 1))


def entries_of_pairs(a: list[dict], b: list[dict], measure: str) -> list[tuple[dict, dict]]:
    """The entries of the measure in all pairs of records of the same seed that have it."""
    return [(x["measures"][measure], y["measures"][measure]) for x in a for y in b
            if x["seed"] == y["seed"] and measure in x["measures"] and measure in y["measures"]]


def difference(a: list[dict], b: list[dict], measure: str) -> Interval | None:
    """b − a, paired: by seed if several, else by test image (accuracies only)."""
    pairs = entries_of_pairs(a, b, measure)
    if len(pairs) == 1 and "correct" in pairs[0][0]:
        return paired_difference(*map(Accuracy.from_entry, pairs[0]))
    return student([y["value"] - x["value"] for x, y in pairs]) if pairs else None


def grouped(records: list[dict]) -> dict[str, list[dict]]:
    """Records by name, without failed runs: baselines, the original, then others as they come.

    Raises ValueError if one name has several records of a seed.
    """
    records = [record for record in records if "failed" not in record["measures"]]
    found = [record["name"] for record in records]
    names = dict.fromkeys(n for n in (*BASELINES, "original", *found) if n in found)
    groups = {name: [r for r in records if r["name"] == name] for name in names}
    for name, group in groups.items():
        if len({r["seed"] for r in group}) < len(group):
            raise ValueError(f"There are several records of {name!r} for one seed, made with "
                             "different settings: keep one of them, or a file for each.")
    return groups


def table(records: list[dict], times: bool = True) -> str:
    """The comparison as text: accuracies, then reconstructions; a row per method, baselines first.

    Times mean something only of runs that had their machine to themselves.
    """
    groups = grouped(records)
    rows = {name: {m: summarise(group, m) for m in MEASURES} for name, group in groups.items()}
    pretrained = [name for name in groups if "epochs" in groups[name][0]["measures"]]
    for name in pretrained:
        timed = [r["measures"] for r in groups[name] if r["device"] == groups[name][0]["device"]]
        for time in TIMES if times else ():
            mean = sum(measures[time] for measures in timed) / len(timed)
            rows[name][time] = mean, math.nan, math.nan
    for other in pretrained[1:]:
        rows[f"{other} − {pretrained[0]}"] = {
            m: difference(groups[pretrained[0]], groups[other], m) for m in MEASURES}
    for first in pretrained[:1]:
        for name, found in groups[first][0]["measures"]["references"].items():
            rows[name] = {m: summarise([{"measures": found}], m) for m in MEASURES}
    blocks = []
    for part in PARTS:
        columns = [m for m in part if any(found.get(m) for found in rows.values())]
        cells = [["", *((MEASURES | TIMES)[m][0] for m in columns)]]
        cells += [[name, *(_cell(found.get(m), (MEASURES | TIMES)[m][1]) for m in columns)]
                  for name, found in rows.items() if any(map(found.get, columns))]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        blocks += ["\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)]
    seeds = " or ".join(map(str, sorted({len(group) for group in groups.values()} - {1})))
    over = (f"{seeds} seeds (Student's t; differences use the\nseeds that both have); in rows "
            "without several seeds, over ") if seeds else ""
    notes = (f"±: half the width of a 95 % interval over {over}the test images." +
             "\nOne seed says nothing about other seeds." * (not seeds))
    if any(r["settings"].get("norm_pix") for r in records):
        notes += ("\nPSNR and HF error of models with norm_pix use each target patch's own mean "
                  "and\nstandard deviation, which makes them optimistic.")
    return "\n\n".join([*filter(None, blocks), notes])


def _cell(value: Interval | None, digits: int) -> str:
    if value is None:
        return ""
    mean, low, high = value
    return f"{mean:.{digits}f}" + (f" ± {(high - low) / 2:.{digits}f}" if low == low else "")
