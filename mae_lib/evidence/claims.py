"""The claims made for the improved MAE, each with its test and the verdict of the measurements.

A claim bounds an effect. The 95 % interval of the measured effect decides:

- of a gain: does not hold if the whole interval lies short of the bound; holds if it reaches the
  bound and excludes zero;
- of a cost: does not hold if the whole interval lies above the bound; holds if it lies below;
- cannot tell: neither, or no interval, as after a single run.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence.records import LETTER, SPECIFIED, TUNED, Evidence
from mae_lib.masking import schedule_mask_ratio
from mae_lib.results import Interval, student
from mae_lib.training.compute import relative_cost
from mae_lib.training.optim import schedule_learning_rate

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
    ranks = [_last("effective_rank")(r["measures"]) for r in evidence.runs("original", TUNED)]
    return student(ranks) if ranks else None


def _rank_effect(evidence: Evidence) -> Interval | None:
    return evidence.change(_last("effective_rank"), TUNED, "uniformity")


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


PAIRED = "improved − original, paired by seed; "
SETTINGS = {
    LETTER: PAIRED + "the specified recipe, sizes and steps",
    SPECIFIED: PAIRED + "the specified recipe at a reduced size",
    TUNED: PAIRED + "the tuned recipe at a reduced size",
}
LOSS = "reconstruction loss on fixed images and masks after ten epochs; "
FACTORIAL = "with − without it, in all combinations with the others, by seed; the tuned recipe"
LEDGER = (
    Claim("accuracy", "LP@1 rises by 4.2 points (± 1.5, so at least 2.7)", SETTINGS[LETTER],
          "points", 1, lambda e: e.effect("lp", LETTER), low=2.7),
    Claim("accuracy", "LP@1 rises as much with small inputs and fewer steps", SETTINGS[SPECIFIED],
          "points", 1, lambda e: e.effect("lp", SPECIFIED), low=2.7),
    Claim("accuracy", "LP@1 rises as much on a tuned baseline, with small inputs",
          SETTINGS[TUNED], "points", 1, lambda e: e.effect("lp", TUNED), low=2.7),
    Claim("accuracy", "FT@1 rises by 0.9 points (± 1.5, so by anything)", SETTINGS[TUNED],
          "points", 1, lambda e: e.effect("ft", TUNED), low=0),
    Claim("accuracy", "fine-tuning ends below the linear probe (reported: 4.7 points)",
          "FT − LP of the original, tuned recipe", "points", 1,
          lambda e: e.gap("ft", "lp", TUNED), high=0, better=-1),
    Claim("reconstruction", "high-frequency error falls by 8.6 % (0.03324 → 0.03037)",
          SETTINGS[LETTER], "%", 1, lambda e: e.change(_value("hf_error"), LETTER), high=-8.6,
          better=-1),
    Claim("reconstruction", "it falls as much with small inputs and fewer steps",
          SETTINGS[SPECIFIED], "%", 1, lambda e: e.change(_value("hf_error"), SPECIFIED),
          high=-8.6, better=-1),
    Claim("reconstruction", "high-frequency error falls by 33 %",
          "the reported table itself: 0.03324 → 0.03037", "%", 1, _reported_hf_change, high=-33,
          better=-1),
    Claim("reconstruction", "masked PSNR rises by 1.3 dB", SETTINGS[LETTER], "dB", 2,
          lambda e: e.effect("psnr", LETTER), low=1.3),
    Claim("reconstruction", "training converges to a lower loss", LOSS + SETTINGS[LETTER], "%", 2,
          lambda e: e.change(_last("val_loss"), LETTER), high=0, better=-1),
    Claim("reconstruction", "it does so with small inputs and fewer steps",
          LOSS + SETTINGS[SPECIFIED], "%", 2, lambda e: e.change(_last("val_loss"), SPECIFIED),
          high=0, better=-1),
    Claim("curriculum", "adds 1 to 3 points LP@1 to a tuned baseline", FACTORIAL, "points", 1,
          lambda e: e.main_effect("lp", TUNED, "curriculum"), low=1),
    Claim("curriculum", "makes early epochs 3 to 5 % faster (time: −3 % or less)",
          "time of a step at mask ratio 0.55 against 0.75", "%", 1,
          lambda e: e.price("ratio 0.55"), high=-3, better=0),
    Claim("curriculum", "costs no compute",
          "multiply-adds of ten epochs, counted; the specified sizes", "%", 1,
          _more_multiply_adds, high=0, better=0),
    Claim("Laplacian", "costs about 5 % of a step", "time of a step at equal mask ratio", "%", 1,
          lambda e: e.price("+ Laplacian"), high=5, better=0),
    Claim("uniformity", "adds 2 to 5 points LP@1 to a tuned baseline", FACTORIAL, "points", 1,
          lambda e: e.main_effect("lp", TUNED, "uniformity"), low=2),
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
