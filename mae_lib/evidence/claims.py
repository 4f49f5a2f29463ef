"""Every reported claim with what was measured, and the verdict by the rule of registration.py."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy import stats

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence import registration as rule
from mae_lib.evidence import second_registration as second
from mae_lib.evidence.records import TIMED, Evidence
from mae_lib.evidence.registration import CONFIRMED, INCONCLUSIVE, REFUTED, Gain, Price
from mae_lib.masking import schedule_mask_ratio
from mae_lib.results import Interval, student
from mae_lib.training.compute import relative_cost
from mae_lib.training.optim import schedule_learning_rate

NOT_MEASURED = "not measured"
# What was reported: STL-10, ten epochs of 1563 steps, one run of each method.
REPORTED = {"original": {"lp": 40.27, "ft": 35.56, "hf_error": 0.03324, "seconds": 2290},
            "improved": {"lp": 44.48, "ft": 36.45, "hf_error": 0.03037, "seconds": 2333}}
REPORTED_RATIOS = (0.55, 0.60, 0.65, 0.70) + (0.75,) * 6  # of the curriculum, at ends of epochs
REPORTED_LR = (7.50e-05, 1.50e-04, 1.44e-04, 1.28e-04, 1.04e-04, 7.50e-05, 4.63e-05, 2.20e-05,
               5.72e-06, 2.37e-12)
ITERS = 1563
UNITS = {"points": 1, "%": 1, "dB": 2, "times": 2}  # digits after the point


def text_of(interval: Interval | None, digits: int = 1, sign: str = "+") -> str:
    """An effect with its 95 % interval, where there is one; `sign` "" leaves plus signs out."""
    if interval is None:
        return NOT_MEASURED
    value, low, high = (f"{round(number, digits) + 0.0:{sign}.{digits}f}" for number in interval)
    alone = math.isnan(interval[1])
    return (value if alone else f"{value} [{low}, {high}]").replace("-", "−")


def text_of_p(p: float) -> str:
    """A p-value with three digits after the point; nothing for nan."""
    return "" if math.isnan(p) else "< 0.001" if p < 0.0005 else f"{p:.3f}"


@dataclass(frozen=True)
class Check:
    """A claim with its own rule: the measure is below `limit`, or with `above`, not below it."""

    topic: str
    text: str
    measure: Callable[[Evidence], Interval | None]
    limit: float
    over: str  # what the interval runs over
    unit: str = ""
    above: bool = False


@dataclass(frozen=True)
class Judgement:
    """A claim, the measured effect, and what follows.

    `interval` is a gain, positive for the better; or a price in per cent; or a check's number.
    """

    claim: Gain | Price | Check
    interval: Interval | None = None
    verdict: str = NOT_MEASURED
    over: str = ""  # what the interval runs over
    p: float = math.nan  # adjusted by Holm's method; for accuracies only
    early: bool = False  # measured before the rule was fixed

    @property
    def words(self) -> str:
        """The verdict as readers see it."""
        return self.verdict + " (provisional)" * self.early

    def measured(self) -> str:
        """The effect with its 95 % interval as text."""
        if self.interval is None:
            return NOT_MEASURED
        value, low, high = self.interval
        unit = "%" if isinstance(self.claim, Price) else self.claim.unit
        digits = UNITS.get(unit, 1 if low < high else 0)
        sign = "+" if unit in ("points", "%", "dB") else ""
        shown = self.interval if low < high else (value, math.nan, math.nan)  # it was counted
        return f"{text_of(shown, digits, sign)} {unit}".strip()


def judge_gain(claim: Gain, evidence: Evidence) -> Judgement:
    """The verdict on a gain, over the pairs of runs with the same seed."""
    pairs = evidence.pairs(claim.measure, claim.variant, claim.base, claim.runs)
    if not pairs:
        return Judgement(claim)
    gains = [claim.sign * (100 * (new / old - 1) if claim.relative else new - old)
             for old, new in pairs]
    _, low, high = interval = student(gains)
    verdict = rule.verdict_on_gain(low, high, claim.claimed, claim.worth)
    if verdict == INCONCLUSIVE and rule.claimed_size_excluded(high, claim.claimed, claim.worth):
        verdict += ", claimed size excluded"
    if verdict == CONFIRMED and low < claim.worth:  # the registered rule lets this happen
        verdict += ", perhaps too small to be worth having"
    p = float(stats.ttest_1samp(gains, 0).pvalue) if claim.accuracy and len(gains) > 1 else math.nan
    return Judgement(claim, interval, verdict, f"{len(pairs)} pair{'s'[:len(pairs) > 1]}", p,
                     early=not evidence.count(claim.runs))


def judge_price(claim: Price, evidence: Evidence) -> Judgement:
    """The verdict on a price, measured in rounds of timing on one machine, or counted."""
    found, over = evidence.price(*claim.rows), TIMED
    if claim.counted:
        config = PretrainConfig(**variant_settings("curriculum"))
        found, over = _exact(100 * (relative_cost(config, ITERS) - 1)), "counted"
    if found is None:
        return Judgement(claim)
    verdict = rule.verdict_on_price(*found[1:], claim.claimed, claim.worth)
    return Judgement(claim, found, verdict, over, early=over in evidence.early)


def judge_check(claim: Check, evidence: Evidence) -> Judgement:
    """The verdict on a claim with a rule of its own."""
    found = claim.measure(evidence)
    if found is None:
        return Judgement(claim)
    _, low, high = found
    verdict = INCONCLUSIVE
    if high < claim.limit:
        verdict = REFUTED if claim.above else CONFIRMED
    elif low >= claim.limit:
        verdict = CONFIRMED if claim.above else REFUTED
    return Judgement(claim, found, verdict, claim.over, early=claim.over in evidence.early)


def holm(p_values: list[float]) -> list[float]:
    """The p-values adjusted by Holm (1979): the smallest times n, the next times n − 1, …"""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = list(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def ledger(evidence: Evidence) -> list[Judgement]:
    """The verdicts on everything that was claimed, in the order of the topics."""
    gains = [judge_gain(claim, evidence) for claim in rule.GAINS]
    tested = [i for i, found in enumerate(gains) if found.claim.accuracy]
    # Claims not measured yet count, with p = 1: measuring them can only lower the others' p.
    adjusted = holm([1.0 if math.isnan(gains[i].p) else gains[i].p for i in tested])
    for i, p in zip(tested, adjusted, strict=True):
        gains[i] = replace(gains[i], p=gains[i].p if math.isnan(gains[i].p) else p)
    prices = [judge_price(claim, evidence) for claim in rule.PRICES]
    return gains + prices + [judge_check(claim, evidence) for claim in CHECKS]


def own_claims(evidence: Evidence) -> list[Judgement]:
    """The verdicts on what we claim ourselves."""
    return [judge_gain(claim, evidence) for claim in rule.OWN] + [
        judge_check(claim, evidence) for claim in AGAIN_CHECKS]


# ---------------------------------------------------------------- what has a rule of its own


def _exact(value: float) -> Interval:
    return value, value, value


def _effective_rank(evidence: Evidence) -> Interval | None:
    ranks = [r["measures"]["epochs"][-1]["effective_rank"] for r in evidence.runs("original")
             if "epochs" in r["measures"]]
    return student(ranks) if ranks else None


def _more_parameters(_: Evidence) -> Interval:
    original, improved = (
        sum(p.numel() for p in PretrainConfig(**variant_settings(name)).build_model().parameters())
        for name in ("original", "improved"))
    return _exact(improved - original)


def _symmetric_ratio(evidence: Evidence) -> Interval | None:
    price = evidence.price("ratio 0.0")
    return price and tuple(1 + percent / 100 for percent in price)


def _schedules_deviate(_: Evidence) -> Interval:
    """The largest relative difference between our schedules and what was printed, in per cent."""
    cfg = PretrainConfig(**variant_settings("improved"))
    ends = [(epoch, ITERS - 1, ITERS, cfg) for epoch in range(cfg.epochs)]
    ours = [f(*end) for f in (schedule_learning_rate, schedule_mask_ratio) for end in ends]
    printed = REPORTED_LR + REPORTED_RATIOS
    return _exact(max(100 * abs(x / y - 1) for x, y in zip(ours, printed, strict=True)))


CHECKS = (
    Check("uniformity", "adds no parameters", _more_parameters, 1, "counted"),
    Check("uniformity", "prevents a collapse that happens without it (an effective rank below 10)",
          _effective_rank, 10, "seeds of the original", "of 192"),
    Check("design", "an asymmetric model is 3 times as fast as a symmetric one", _symmetric_ratio,
          2.5, TIMED, "times", above=True),
    Check("schedule", "learning rates and mask ratios at the ends of epochs are as reported",
          _schedules_deviate, 0.5, "largest deviation of 20 printed values", "%"),
)
AGAIN_CHECKS = tuple(
    Check(topic, text, lambda e, m=measure, v=variant: e.effect(m, v, place=second.AGAIN), limit,
          f"{len(second.AGAIN_SEEDS)} pairs of new seeds", "points", above=True)
    for topic, text, measure, variant, limit in (
        ("weak uniformity", "raises linear-probe accuracy, at the original's compute", "lp",
         second.WEAK, second.ANY_GAIN),
        ("weak uniformity and energy form", "raise linear-probe accuracy by 1 point or more, at "
         "the original's compute", "lp", second.BOTH, second.LEAST_GAIN),
        ("weak uniformity and energy form", "lower fine-tuned accuracy by 0.5 points at most", "ft",
         second.BOTH, -second.MOST_HARM)))
