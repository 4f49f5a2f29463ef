"""The rule that turns intervals into verdicts: its bounds, its error rates, what is registered."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence import plan
from mae_lib.evidence import registration as R
from mae_lib.evidence.claims import REPORTED

CLAIMED, WORTH = 4.0, 1.0


@pytest.mark.parametrize("low, high, verdict", [
    (-3.0, -1.0, R.HARMFUL), (-3.0, -0.999, R.REFUTED), (-0.5, 0.999, R.REFUTED),
    (0.2, 0.9, R.REFUTED),  # a gain above zero that nobody would want
    (3.0, 9.0, R.CONFIRMED), (2.999, 9.0, R.SUPPORTED), (5.0, 6.0, R.CONFIRMED),
    (1.0, 2.999, R.SMALLER), (1.0, 3.0, R.SUPPORTED), (0.999, 2.0, R.INCONCLUSIVE),
    (-2.0, 1.0, R.INCONCLUSIVE), (-9.0, 9.0, R.INCONCLUSIVE), (math.nan, math.nan, R.INCONCLUSIVE),
])
def test_every_verdict_has_exact_bounds(low, high, verdict):
    assert R.verdict_on_gain(low, high, CLAIMED, WORTH) == verdict


def test_an_inconclusive_interval_can_still_exclude_the_claimed_size():
    assert R.claimed_size_excluded(2.999, CLAIMED, WORTH)
    assert not R.claimed_size_excluded(3.0, CLAIMED, WORTH)
    assert not R.claimed_size_excluded(math.nan, CLAIMED, WORTH)


@pytest.mark.parametrize("claimed", [5.0, -4.0])  # or a saving
@pytest.mark.parametrize("low, high, verdict", [
    (-1.0, 1.0, R.CONFIRMED), (-1.0, 1.001, R.INCONCLUSIVE), (1.001, 4.0, R.MORE),
    (1.0, 4.0, R.INCONCLUSIVE), (-9.0, -8.0, R.CONFIRMED), (math.nan, math.nan, R.INCONCLUSIVE),
])
def test_verdicts_on_prices(low, high, verdict, claimed):
    assert R.verdict_on_price(claimed + low, claimed + high, claimed, 1.0) == verdict


def shares(truth, seeds=8, deviation=1.0, studies=4000):
    """How often each verdict falls on a true gain, in simulated studies of so many seeds."""
    rng = np.random.default_rng(0)
    differences = truth + deviation * rng.standard_normal((studies, seeds))
    half = scipy.stats.t.ppf(0.975, seeds - 1) * differences.std(1, ddof=1) / math.sqrt(seeds)
    mean = differences.mean(1)
    counts = Counter(R.verdict_on_gain(m - h, m + h, CLAIMED, WORTH)
                     for m, h in zip(mean, half, strict=True))
    return Counter({verdict: count / studies for verdict, count in counts.items()})


def test_error_rates_of_the_rule():
    """A true gain of nothing, of half the claim, and of the whole claim."""
    none, half, whole = (shares(truth) for truth in (0.0, CLAIMED / 2, CLAIMED))
    positive = (R.CONFIRMED, R.SMALLER, R.SUPPORTED)
    assert sum(none[v] for v in positive) < 0.025 and none[R.HARMFUL] < 0.025
    assert none[R.REFUTED] > 0.6
    assert half[R.CONFIRMED] < 0.025 and half[R.REFUTED] + half[R.HARMFUL] < 0.025
    assert half[R.SMALLER] > 0.35  # else inconclusive or of open size: more seeds would tell
    assert whole[R.REFUTED] + whole[R.HARMFUL] + whole[R.SMALLER] < 0.025
    assert whole[R.CONFIRMED] > 0.6


@pytest.mark.parametrize("truth, verdict", [
    (-2.0, R.HARMFUL), (0.0, R.REFUTED), (0.5, R.REFUTED), (CLAIMED / 2, R.SMALLER),
    (CLAIMED, R.CONFIRMED), (2 * CLAIMED, R.CONFIRMED),
])
def test_more_seeds_lead_to_the_verdict_of_the_truth(truth, verdict):
    few, many = (shares(truth, seeds=n, studies=500)[verdict] for n in (4, 100))
    assert many > 0.99 and many >= few


def test_imprecise_studies_are_not_rewarded():
    """The first edition's rule held a wide interval for a confirmation."""
    assert shares(CLAIMED / 2, seeds=3, deviation=2.0)[R.CONFIRMED] < 0.03


def test_claimed_sizes_are_those_of_the_report():
    lp, ft, hf, *_ = R.GAINS
    original, improved = REPORTED["original"], REPORTED["improved"]
    assert lp.claimed == pytest.approx(improved["lp"] - original["lp"], abs=0.05)
    assert ft.claimed == pytest.approx(improved["ft"] - original["ft"], abs=0.05)
    assert hf.claimed == pytest.approx(100 * (1 - improved["hf_error"] / original["hf_error"]),
                                       abs=0.05)


def test_claims_are_judged_as_their_words_say():
    for claim in R.GAINS + R.OWN:
        assert claim.sign == (-1 if claim.text.startswith("lower") else 1)
        assert claim.relative == (claim.unit == "%")
        assert claim.runs == (R.LETTER if claim.topic == "all three" else R.SMALL)
    for price in R.PRICES:
        assert ("curriculum" in price.rows) == ("ten epochs" in price.text)


def test_every_registered_run_is_planned():
    studies = {(s.place, v): s for s in plan.STUDIES.values() for v in s.variants}
    for claim in R.GAINS + R.OWN:
        for name in (claim.base, claim.variant):
            study, few = studies[claim.runs, name], name in plan.FACTORIAL[1:-1]
            assert study.seeds == (R.FACTORIAL_SEEDS if few else R.SEEDS[claim.runs])
            assert study.fine_tune or claim.measure != "ft"
    assert all((R.SMALL, name) in studies for c in R.CONTRASTS for name in c[:2])
    assert {(R.SMALL, name) for name in plan.FACTORIAL} <= studies.keys()
    assert plan.PLACES[R.SMALL].images == 8_000
    assert plan.PLACES[R.LETTER].settings["images_per_epoch"] == 100_000


def test_everything_registered_can_be_run():
    assert all(len(seeds) >= 8 and 0 not in seeds for seeds in R.SEEDS.values())
    assert 0 not in R.FACTORIAL_SEEDS
    for claim in R.GAINS + R.OWN:
        assert 0 < claim.worth <= claim.claimed
    names = {n for claim in R.GAINS + R.OWN for n in (claim.variant, claim.base)}
    names |= {n for a, b, _ in R.CONTRASTS for n in (a, b)}
    for name in names:
        PretrainConfig(**variant_settings(name)).check()
