"""Verdicts on claims: the rule, and what it is fed with."""

import itertools
import json
import math

import pytest
import scipy.stats

from mae_lib.evidence import claims
from mae_lib.evidence.claims import FAILS, HOLDS, LEDGER, OPEN, Claim
from mae_lib.evidence.records import LETTER, Evidence, name_of

NAN = math.nan


def judged(effect, **bounds):
    claim = Claim("topic", "text", "test", "points", 1, lambda _: effect, **bounds)
    return claim.judge(None)


@pytest.mark.parametrize("effect, verdict", [
    ((3.0, 2.0, 4.0), HOLDS),  # reaches what was claimed, and is a gain
    ((1.5, 1.2, 1.8), FAILS),  # a gain, but surely a smaller one
    ((5.0, 4.5, 5.5), HOLDS),  # more than claimed
    ((1.5, 0.5, 2.5), HOLDS),
    ((1.0, -1.0, 3.0), OPEN),  # nothing to a great deal
    ((-1.0, -2.0, 0.5), FAILS),
    ((2.5, 2.5, 2.5), HOLDS),  # known exactly
    ((2.5, NAN, NAN), OPEN),  # a single run
    (None, OPEN),
])
def test_a_gain_of_two_points(effect, verdict):
    assert judged(effect, low=2).verdict == verdict


@pytest.mark.parametrize("effect, verdict", [
    ((-9.0, -12.0, -6.0), HOLDS), ((-5.0, -7.0, -3.0), FAILS), ((-5.0, -11.0, 1.0), OPEN),
    ((3.0, 2.0, 4.0), FAILS),
])
def test_a_fall_by_eight_per_cent(effect, verdict):
    assert judged(effect, high=-8, better=-1).verdict == verdict


@pytest.mark.parametrize("effect, verdict", [
    ((1.0, 0.5, 1.5), HOLDS), ((-3.0, -4.0, -2.0), HOLDS), ((2.0, 1.0, 3.0), OPEN),
    ((9.0, 8.0, 10.0), FAILS), ((0.0, 0.0, 0.0), HOLDS), ((10.9, 10.9, 10.9), FAILS),
    ((-3.0, NAN, NAN), OPEN),
])
def test_a_cost_of_two_per_cent_at_most(effect, verdict):
    assert judged(effect, high=2, better=0).verdict == verdict


def test_the_effect_is_told_with_its_interval():
    assert judged((1.234, 0.5, 2.0), low=2).measured() == "+1.2 [+0.5, +2.0] points"
    for end in (NAN, 1.234):  # a single run; known exactly
        assert judged((1.234, end, end), low=2).measured() == "+1.2 points"
    assert judged(None, low=2).measured() == "not measured"


# ---------------------------------------------------------------- what it is fed with


def record(name, seed, recipe="specified", epochs=None, **values):
    measures = {k: {"value": v, "low": v - 1, "high": v + 1} for k, v in values.items()}
    return {"id": f"{recipe}-{name}-{seed}", "name": name, "recipe": recipe, "seed": seed,
            "data": {"name": "photographs"},
            "measures": measures | ({"epochs": epochs} if epochs else {})}


@pytest.fixture
def evidence(tmp_path):
    records = [record("original", s, lp=40 + s, ft=50, hf_error=0.2) for s in range(3)]
    records += [record("improved", s, lp=41.1 + 1.1 * s, ft=51, hf_error=0.19) for s in range(3)]
    records += [record("improved", 7, lp=99)]  # without a partner: no pair
    records += [record("original", 0, "tuned", [{"effective_rank": 60.0}], lp=50, ft=58)]
    # What belongs to no recipe, or to other data, is no evidence.
    records += [record("original", 1, "quick", lp=99), record("original", 2, "tuning", lp=99)]
    records += [record("original", 1, lp=99) | {"data": {"name": "others"}}]
    (tmp_path / "results.json").write_text(json.dumps(records))
    rows = [{"name": "+ both", "seconds_ratio": 1.1, "seconds_ratio_low": 1.05,
             "seconds_ratio_high": 1.15}]
    prices = [{"rows": [], "curriculum": {}},
              {"rows": rows, "curriculum": {"seconds_ratio": 1.2, "multiply_adds_ratio": 1.109}}]
    (tmp_path / "add_on_prices.json").write_text(json.dumps(prices))
    return Evidence(tmp_path)


def test_effects_are_paired_by_seed(evidence):
    differences = [1.1, 1.2, 1.3]
    low, high = scipy.stats.t.interval(0.95, 2, 1.2, scipy.stats.sem(differences))
    assert evidence.effect("lp", "specified") == pytest.approx((1.2, low, high), rel=1e-3)
    change = evidence.change(lambda m: m["hf_error"]["value"], "specified")
    assert change == pytest.approx((-5.0, -5.0, -5.0))
    value, low, _ = evidence.gap("ft", "lp", "tuned")
    assert value == 8 and low != low  # one run has no interval
    assert evidence.effect("lp", "tuned") is None


def test_one_seed_gives_no_interval_even_where_test_images_would(tmp_path):
    pair = [record(name, 1, lp=lp) for name, lp in (("original", 40), ("improved", 45))]
    for r in pair:
        r["measures"]["lp"] |= {"correct": "AAAA", "images": 24, "chosen": ""}
    (tmp_path / "results.json").write_text(json.dumps(pair))
    value, low, high = Evidence(tmp_path).effect("lp", "specified")
    assert value == 5 and low != low and high != high


def test_runs_at_the_specified_sizes_stand_apart(evidence, tmp_path):
    small = json.loads((tmp_path / "results.json").read_text())
    whole = [record(name, seed, lp=lp + seed) | {
        "id": f"whole-{name}-{seed}", "settings": {"img_size": None}, "data": {"name": "larger"}}
        for name, lp in (("original", 56), ("improved", 55)) for seed in (0, 1)]
    tuned = whole[0] | {"recipe": "tuned", "id": "whole-tuned"}
    (tmp_path / "results.json").write_text(json.dumps([*whole, tuned, *small]))
    found = Evidence(tmp_path)
    assert found.records == evidence.records and not evidence.runs("original", LETTER)
    assert found.runs("original", LETTER) == whole[:2]
    assert found.effect("lp", LETTER) == (-1, -1, -1)
    assert found.effect("lp", "specified") == evidence.effect("lp", "specified")


def test_two_records_for_one_seed_are_not_mixed(tmp_path):
    records = [record("original", 1), record("original", 1) | {"id": "with another batch size"}]
    (tmp_path / "results.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match="several records of 'original', recipe 'specified'"):
        Evidence(tmp_path).runs("original", "specified")


def test_a_main_effect_is_the_mean_of_all_pairs_that_differ_in_the_add_on_alone(tmp_path):
    effects, records = {"curriculum": 1.0, "laplacian": -2.0, "uniformity": 4.0}, []
    for add_ons in itertools.product((0, 1), repeat=3):
        names = frozenset(name for name, on in zip(effects, add_ons, strict=True) if on)
        for seed in (0, 1, 2):
            lp = 50 + 3 * seed + (1 + seed / 10) * sum(effects[name] for name in names)
            records.append(record(name_of(names), seed, "tuned", lp=lp + 0.4 * (len(names) == 2)))
    records.append(record("uniformity+batch_size=512", 0, "tuned", lp=99))  # no add-on alone
    (tmp_path / "results.json").write_text(json.dumps(records))
    evidence = Evidence(tmp_path)
    for name, effect in effects.items():  # of the four pairs of a seed two gain 0.4, one loses it
        seeds = [(1 + seed / 10) * effect + 0.1 for seed in (0, 1, 2)]
        half = scipy.stats.sem(seeds) * scipy.stats.t.ppf(0.975, 2)
        mean = sum(seeds) / 3
        assert evidence.main_effect("lp", "tuned", name) == pytest.approx(
            (mean, mean - half, mean + half), rel=1e-3)
    incomplete = [r for r in records if r["name"] != "laplacian" or r["seed"]]
    (tmp_path / "results.json").write_text(json.dumps(incomplete))
    found = Evidence(tmp_path).pairs("lp", "tuned", "uniformity")
    assert list(found) == [1, 2] and all(len(pairs) == 4 for pairs in found.values())
    assert evidence.main_effect("lp", "specified", "laplacian") is None
    assert evidence.main_effect("ft", "tuned", "laplacian") is None


def test_prices_multiply(evidence):
    assert evidence.price("+ both") == pytest.approx((10, 5, 15))
    value, low, high = evidence.price("+ both", "curriculum")
    assert value == pytest.approx(32) and low != low and high != high


def test_every_claim_is_judged_with_and_without_evidence(evidence, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert Evidence(empty).price("+ both") is None
    for claim in LEDGER:
        assert claim.judge(Evidence(empty)).verdict in (HOLDS, FAILS, OPEN)
    texts = [claim.text for claim in LEDGER]
    assert len(set(texts)) == len(texts)
    by_text = {c.text: c.judge(Evidence(empty)) for c in LEDGER}
    assert by_text["high-frequency error falls by 33 %"].measured() == "-8.6 %"
    assert by_text["high-frequency error falls by 33 %"].verdict == FAILS
    assert by_text["has no parameters"].verdict == HOLDS
    compute = by_text["costs no compute"]
    assert compute.verdict == FAILS and 9 < compute.effect[0] < 13
    schedule = by_text["learning rate and mask ratio end each epoch as printed"]
    assert schedule.verdict == HOLDS and schedule.effect[0] < 0.5


def test_what_was_reported_is_the_specifications():
    assert claims.REPORTED["improved"]["lp"] - claims.REPORTED["original"]["lp"] == pytest.approx(
        4.21)
    assert len(claims.REPORTED_LR) == 10
