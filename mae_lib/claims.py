"""The claims made for the improved MAE, each with its test and the verdict of the measurements.

A claim bounds an effect. The 95 % interval of the measured effect decides:

- of a gain: does not hold if the whole interval lies short of the bound; holds if it reaches the
  bound and excludes no effect;
- of a cost: does not hold if the whole interval lies above the bound; holds if it lies below;
- cannot tell: neither, or no interval, as after a single run.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mae_lib.checkpoints import ASSETS
from mae_lib.compute import relative_cost
from mae_lib.config import ADD_ONS, PretrainConfig, variant_settings
from mae_lib.masking import schedule_mask_ratio
from mae_lib.optim import schedule_learning_rate
from mae_lib.results import Interval, Results, student, values_of_pairs

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot tell"
# What was reported: STL-10, ten epochs of 1563 steps, one run of each method.
REPORTED = {
    "original": {
        "lp": 40.27, "ft": 35.56, "hf_error": 0.03324, "seconds": 2290,
        "loss": (0.7210, 0.6457, 0.5729, 0.5426, 0.5058, 0.4198, 0.4575, 0.4555, 0.4782, 0.4310),
        "mask_ratio": (0.75,) * 10,
    },
    "improved": {
        "lp": 44.48, "ft": 36.45, "hf_error": 0.03037, "seconds": 2333,
        "loss": (0.6655, 0.5862, 0.4589, 0.4888, 0.4520, 0.4849, 0.4532, 0.4608, 0.3954, 0.4160),
        "mask_ratio": (0.55, 0.60, 0.65, 0.70, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75),
    },
}
REPORTED_LR = (7.50e-05, 1.50e-04, 1.44e-04, 1.28e-04, 1.04e-04, 7.50e-05, 4.63e-05, 2.20e-05,
               5.72e-06, 2.37e-12)
ITERS = 1563
RECIPES = {
    "specified": "every setting of training as specified",
    "tuned": "the same, with settings chosen for the original by cross-validation",
}


def name_of(add_ons: frozenset[str]) -> str:
    """The variant with these add-ons."""
    names = {0: "original", len(ADD_ONS): "improved"}
    return names.get(len(add_ons)) or "+".join(name for name in ADD_ONS if name in add_ons)


ADD_ON_SETS = [frozenset(names) for n in range(len(ADD_ONS) + 1)
               for names in combinations(ADD_ONS, n)]


class Evidence:
    """The records of the experiments, and the measured prices of a step.

    Of several data sets, that with most records. `to_the_letter` are runs at the specified sizes.
    """

    def __init__(self, folder: Path = ASSETS):
        records = [r for r in Results(folder / "results.json").read() if r.get("recipe") in RECIPES]
        self.records = _on_one_data_set(records)
        self.data = self.records[0]["data"] if self.records else None
        self.to_the_letter = _on_one_data_set([
            r for r in records if r.get("settings", {}).get("img_size", 0) is None
            and r["recipe"] == "specified"])
        path = folder / "add_on_prices.json"
        self.prices = json.loads(path.read_text("utf-8")) if path.exists() else []

    def runs(self, name: str, recipe: str) -> list[dict]:
        """The records of a method under a recipe, one for each seed; ValueError if more."""
        found = [r for r in self.records if r["name"] == name and r["recipe"] == recipe]
        if len({r["seed"] for r in found}) < len(found):
            raise ValueError(f"There are several records of {name!r}, recipe {recipe!r}, for one "
                             "seed: leave one of them in results.json.")
        return found

    def effect(
        self, measure: str, recipe: str, name: str = "improved", base: str = "original"
    ) -> Interval | None:
        """How much larger a measure is with `name` than with `base`, paired by seed."""
        pairs = values_of_pairs(self.runs(base, recipe), self.runs(name, recipe), measure)
        return student([ours - theirs for theirs, ours in pairs]) if pairs else None

    def main_effect(self, measure: str, recipe: str, add_on: str) -> Interval | None:
        """How much larger a measure is with an add-on, in all combinations with the others.

        Each run stands in one pair: with and without the add-on, alike in the others and the seed.
        The interval takes pairs as independent: that what the add-on does depends little on seeds.
        """
        found = [with_it - without for without, with_it in self.pairs(measure, recipe, add_on)]
        return student(found) if found else None

    def pairs(self, measure: str, recipe: str, add_on: str) -> list[tuple[float, float]]:
        """A measure without and with an add-on, for each pair of runs that differ in it alone, of
        the seeds that have all combinations.
        """
        companies = [others for others in ADD_ON_SETS if add_on not in others]
        runs = {names: [r for r in self.runs(name_of(names), recipe) if measure in r["measures"]]
                for names in ADD_ON_SETS}
        whole = set.intersection(*({r["seed"] for r in found} for found in runs.values()))
        runs = {names: [r for r in found if r["seed"] in whole] for names, found in runs.items()}
        return [pair for others in companies
                for pair in values_of_pairs(runs[others], runs[others | {add_on}], measure)]

    def change(
        self, value: Callable[[dict], float], recipe: str, name: str = "improved",
        base: str = "original",
    ) -> Interval | None:
        """By how many per cent value(measures) is larger with `name`, paired by seed."""
        theirs = {r["seed"]: r["measures"] for r in self.runs(base, recipe)}
        ours = {r["seed"]: r["measures"] for r in self.runs(name, recipe)}
        ratios = [value(ours[seed]) / value(theirs[seed]) for seed in ours if seed in theirs]
        return student([100 * (ratio - 1) for ratio in ratios]) if ratios else None

    def gap(self, high: str, low: str, recipe: str, name: str = "original") -> Interval | None:
        """How much larger one measure of the same runs is than another."""
        gaps = [r["measures"][high]["value"] - r["measures"][low]["value"]
                for r in self.runs(name, recipe) if high in r["measures"]]
        return student(gaps) if gaps else None

    def price(self, *rows: str) -> Interval | None:
        """By how many per cent a step with all of `rows` of the latest price list takes longer."""
        if not self.prices:
            return None
        latest = self.prices[-1]
        entries = {r["name"]: r for r in latest["rows"]} | {"curriculum": latest["curriculum"]}
        ends = []
        for end in ("", "_low", "_high"):
            ratios = (entries[row].get(f"seconds_ratio{end}", math.nan) for row in rows)
            ends.append(100 * (math.prod(ratios) - 1))
        return tuple(ends)


def _on_one_data_set(records: list[dict]) -> list[dict]:
    """The records on the data set that most of them are on."""
    data = Counter(json.dumps(r["data"]) for r in records).most_common(1)
    return [r for r in records if json.dumps(r["data"]) == data[0][0]]


@dataclass(frozen=True)
class Claim:
    """What is claimed, and how it is tested. `low` and `high` bound the claimed effect."""

    topic: str
    text: str
    test: str
    unit: str
    digits: int
    measure: Callable[[Evidence], Interval | None]
    low: float = -math.inf
    high: float = math.inf
    better: int = 1  # 1: the effect is claimed to be positive; −1: negative; 0: at most `high`

    def judge(self, evidence: Evidence) -> "Judgement":
        found = self.measure(evidence)
        if found is None:
            return Judgement(self, None, OPEN)
        _, low, high = found  # a comparison with nan, where there is no interval, is False
        if self.better == 0:
            verdict = HOLDS if high <= self.high else FAILS if low > self.high else OPEN
        elif self.better > 0:
            verdict = FAILS if high < self.low else HOLDS if low > 0 else OPEN
        else:
            verdict = FAILS if low > self.high else HOLDS if high < 0 else OPEN
        return Judgement(self, found, verdict)


@dataclass(frozen=True)
class Judgement:
    """A claim, the measured effect, and what follows."""

    claim: Claim
    effect: Interval | None
    verdict: str

    def measured(self) -> str:
        """The effect with its 95 % interval as text."""
        if self.effect is None:
            return "not measured"
        value, low, high = self.effect
        digits, unit = self.claim.digits, self.claim.unit
        sign = "+" if unit else ""  # a number without a unit is none of change
        text = f"{value:{sign}.{digits}f}"
        if low < high:
            text += f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
        return f"{text} {unit}".strip()


# ---------------------------------------------------------------- what is claimed


def _value(measure: str) -> Callable[[dict], float]:
    return lambda measures: measures[measure]["value"]


def _last(key: str) -> Callable[[dict], float]:
    return lambda measures: measures["epochs"][-1][key]


def _effective_rank(evidence: Evidence) -> Interval | None:
    ranks = [_last("effective_rank")(r["measures"]) for r in evidence.runs("original", "tuned")]
    return student(ranks) if ranks else None


def _rank_effect(evidence: Evidence) -> Interval | None:
    return evidence.change(_last("effective_rank"), "tuned", "uniformity")


def _exact(value: float) -> Interval:
    return value, value, value


def _reported_hf_change(_: Evidence) -> Interval:
    theirs, ours = (REPORTED[name]["hf_error"] for name in ("original", "improved"))
    return _exact(100 * (ours / theirs - 1))


def _more_parameters(_: Evidence) -> Interval:
    original, improved = (
        sum(p.numel() for p in PretrainConfig(**variant_settings(name)).build_model().parameters())
        for name in ("original", "improved"))
    return _exact(improved - original)


def _more_multiply_adds(_: Evidence) -> Interval:
    cfg = PretrainConfig(**variant_settings("curriculum"))
    return _exact(100 * (relative_cost(cfg, ITERS) - 1))


def _schedules_deviate(_: Evidence) -> Interval:
    """The largest relative deviation at the ends of epochs, in per cent, beyond rounding."""
    cfg = PretrainConfig(**variant_settings("improved"))
    ends = [(epoch, ITERS - 1, ITERS, cfg) for epoch in range(cfg.epochs)]
    pairs = [*zip(REPORTED_LR, map(lambda e: schedule_learning_rate(*e), ends), strict=True),
             *zip(REPORTED["improved"]["mask_ratio"],
                  map(lambda e: schedule_mask_ratio(*e), ends), strict=True)]
    return _exact(max(100 * abs(ours / theirs - 1) for theirs, ours in pairs))


PAIRED = "improved − original, paired by seed"
LETTER = f"{PAIRED}; the specified settings"
TUNED = f"{PAIRED}; the tuned recipe"
FACTORIAL = "in all combinations with the others, paired by seed; the tuned recipe"
LEDGER = (
    Claim("accuracy", "LP@1 rises by 4.2 points (± 1.5, so at least 2.7)", LETTER,
          "points", 1, lambda e: e.effect("lp", "specified"), low=2.7),
    Claim("accuracy", "the same, on a baseline as good as ten epochs can make it", TUNED,
          "points", 1, lambda e: e.effect("lp", "tuned"), low=2.7),
    Claim("accuracy", "FT@1 rises by 0.9 points (± 1.5, so by anything)", TUNED, "points", 1,
          lambda e: e.effect("ft", "tuned"), low=0),
    Claim("accuracy", "fine-tuning ends below the linear probe (reported: 4.7 points)",
          "FT − LP of the original, tuned recipe", "points", 1,
          lambda e: e.gap("ft", "lp", "tuned"), high=0, better=-1),
    Claim("reconstruction", "high-frequency error falls by 8.6 % (0.03324 → 0.03037)", LETTER, "%",
          1, lambda e: e.change(_value("hf_error"), "specified"), high=-8.6, better=-1),
    Claim("reconstruction", "high-frequency error falls by 33 %",
          "the reported table itself: 0.03324 → 0.03037", "%", 1, _reported_hf_change, high=-33,
          better=-1),
    Claim("reconstruction", "masked PSNR rises by 1.3 dB", LETTER, "dB", 2,
          lambda e: e.effect("psnr", "specified"), low=1.3),
    Claim("reconstruction", "training converges to a lower loss",
          f"reconstruction loss on fixed images and masks after ten epochs; {LETTER}", "%", 2,
          lambda e: e.change(_last("val_loss"), "specified"), high=0, better=-1),
    Claim("curriculum", "adds 1 to 3 points LP@1", f"with − without it, {FACTORIAL}",
          "points", 1, lambda e: e.main_effect("lp", "tuned", "curriculum"), low=1),
    Claim("curriculum", "makes early epochs 3 to 5 % faster (time: −3 % or less)",
          "time of a step at mask ratio 0.55 against 0.75", "%", 1,
          lambda e: e.price("ratio 0.55"), high=-3, better=0),
    Claim("curriculum", "costs no compute",
          "multiply-adds of ten epochs, counted; the specified sizes", "%", 1,
          _more_multiply_adds, high=0, better=0),
    Claim("Laplacian", "costs about 5 % of a step", "time of a step at equal mask ratio", "%", 1,
          lambda e: e.price("+ Laplacian"), high=5, better=0),
    Claim("uniformity", "adds 2 to 5 points LP@1", f"with − without it, {FACTORIAL}",
          "points", 1, lambda e: e.main_effect("lp", "tuned", "uniformity"), low=2),
    Claim("uniformity", "costs about 2 % of a step", "time of a step at equal mask ratio", "%", 1,
          lambda e: e.price("+ uniformity"), high=2, better=0),
    Claim("uniformity", "has no parameters", "parameters of improved − original", "", 0,
          _more_parameters, high=0, better=0),
    Claim("uniformity", "spreads the features over more directions",
          "effective rank, uniformity against original, tuned recipe", "%", 0, _rank_effect, low=0),
    Claim("uniformity", "has a collapse to prevent (effective rank below 10 without it)",
          "effective rank of the original, of 192", "", 0, _effective_rank, high=10, better=0),
    Claim("cost", "all three together cost about 2 %",
          "time of ten epochs: both losses, and the curriculum's longer sequences", "%", 1,
          lambda e: e.price("+ both", "curriculum"), high=2, better=0),
    Claim("cost", "the asymmetric design is 3 times as fast as a symmetric one (+200 %)",
          "time of a step whose encoder sees every patch", "%", 0,
          lambda e: e.price("ratio 0.0"), low=200),
    Claim("schedule", "learning rate and mask ratio end each epoch as printed",
          "largest deviation at the ends of ten epochs (printed to three digits)", "%", 2,
          _schedules_deviate, high=0.5, better=0),
)
