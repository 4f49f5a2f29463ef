"""Results with their intervals: storing them as records, summarising them, printing the table."""

import base64
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mae_lib.training.checkpoints import write_atomically

# Measure: (title, digits after the point). The first three are accuracies of test images.
MEASURES = {"lp": ("LP@1 %", 1), "ft": ("FT@1 %", 1), "knn": ("kNN %", 1),
            "knn_whitened": ("kNN whitened %", 1), "psnr": ("PSNR dB", 2),
            "hf_error": ("HF error", 4)}
Interval = tuple[float, float, float]  # mean, low, high; low and high are nan where unknown


@dataclass(frozen=True)
class Accuracy:
    """Which of the test images were right, (N,) bool, and the setting chosen on validation."""

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
    values = values.double()
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = stats.norm.ppf(0.975) * float(values.std()) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def paired_difference(a: Accuracy, b: Accuracy) -> Interval:
    """How much better b is than a on the same test images, in points."""
    return mean_interval(100 * (b.correct.double() - a.correct.double()))


class Results:
    """Records in a JSON file, one a line; safe against a kill and a second process."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def read(self) -> list[dict]:
        """All records. Raises ValueError if the file is damaged."""
        if not self.path.exists():
            return []
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path} is not valid JSON ({error}); mend or move it.") from None

    def find(self, key: str) -> dict | None:
        return next((record for record in self.read() if record["id"] == key), None)

    def add(self, record: dict) -> None:
        """Put a record in, replacing one of the same id."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:
            try:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            except ImportError:
                pass  # Windows: one process at a time
            others = [r for r in self.read() if r["id"] != record["id"]]
            lines = ",\n".join(json.dumps(r, allow_nan=False) for r in [*others, record])
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
    if len(values) == 1:
        return values[0], math.nan, math.nan
    mean, n = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def values_of_pairs(a: list[dict], b: list[dict], measure: str) -> list[tuple[float, float]]:
    """The measure of all pairs of records of the same seed that have it."""
    return [tuple(record["measures"][measure]["value"] for record in pair)
            for pair in _pairs(a, b, measure)]


def difference(a: list[dict], b: list[dict], measure: str) -> Interval | None:
    """b − a, paired: by seed if several, else by test image (accuracies only)."""
    found = [y - x for x, y in values_of_pairs(a, b, measure)]
    if len(found) > 1:
        return student(found)
    for pair in _pairs(a, b, measure):
        x, y = (record["measures"][measure] for record in pair)
        if "correct" in x:
            return paired_difference(Accuracy.from_entry(x), Accuracy.from_entry(y))
        return found[0], math.nan, math.nan
    return None


def _pairs(a: list[dict], b: list[dict], measure: str) -> list[tuple[dict, dict]]:
    return [(x, y) for x in a for y in b if x["seed"] == y["seed"]
            and measure in x["measures"] and measure in y["measures"]]


def grouped(records: list[dict]) -> dict[str, list[dict]]:
    """Records by name, in the order of their first appearance."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record["name"], []).append(record)
    return groups


def table(records: list[dict]) -> str:
    """The comparison as text: a row a method, baselines first, trivial reconstructions last."""
    groups = grouped(sorted(records, key=lambda record: "epochs" in record["measures"]))
    width = max(18, *(len(name) + 2 for name in groups))
    titles = "".join(f"{title:^15}" for title, _ in MEASURES.values())
    lines = [f"{'':{width}}{titles}{'train s':>8}{'images/s':>9}"]

    def add(name: str, cells: dict[str, Interval | None], speed: str = "") -> None:
        texts = (_cell(cells[m], digits) for m, (_, digits) in MEASURES.items())
        lines.append(f"{name:{width}}{''.join(f'{t:^15}' for t in texts)}{speed}".rstrip())

    for name, group in groups.items():
        times = [(r["measures"]["seconds"], r["measures"]["images_per_second"])
                 for r in group if "seconds" in r["measures"] and r["device"] == group[0]["device"]]
        speed = "{:8.0f}{:9.0f}".format(*np.mean(times, axis=0)) if times else ""
        add(name, {m: summarise(group, m) for m in MEASURES}, speed)
    first, *others = [g for g in groups.values() if "epochs" in g[0]["measures"]] or [None]
    for other in others:
        lines.append(f"{other[0]['name']} − {first[0]['name']}")
        add("  paired", {m: difference(first, other, m) for m in MEASURES})
    if first:
        for method, measures in first[0]["measures"]["references"].items():
            add(method, {m: summarise([{"measures": measures}], m) for m in MEASURES})
    seeds = " or ".join(map(str, sorted({len(group) for group in groups.values()} - {1})))
    over = f"{seeds} seeds (Student's t); for single runs, over " if seeds else ""
    lines.append(f"\n±: half the width of a 95 % interval over {over}the test images.")
    if any(r["settings"].get("norm_pix") for r in records):
        lines.append("PSNR and HF error of models with norm_pix use each target patch's own mean "
                     "and standard deviation, which makes them optimistic.")
    return "\n".join(lines)


def _cell(value: Interval | None, digits: int) -> str:
    if value is None:
        return ""
    mean, low, high = value
    return f"{mean:.{digits}f}" + (f" ± {(high - low) / 2:.{digits}f}" if low == low else "")
