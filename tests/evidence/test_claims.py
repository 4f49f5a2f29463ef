"""Verdicts on claims: what the rule is fed with, and what is said of it."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import scipy.stats

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence import claims
from mae_lib.evidence import registration as rule
from mae_lib.evidence.plan import PLACES
from mae_lib.evidence.records import ADD_ON_SETS, BEGUN, Evidence, name_of
from mae_lib.evidence.registration import LETTER, SMALL, Gain, Price
from mae_lib.evidence.second_registration import AGAIN, AGAIN_SEEDS, BOTH, WEAK
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.results import student
from mae_lib.training.compute import multiply_adds

GAIN = Gain("topic", "text", "lp", 4.0, 1.0, "points", SMALL)


def record(name, seed, recipe="tuned", epochs=None, **values):
    measures = {k: {"value": v, "low": v - 1, "high": v + 1} for k, v in values.items()}
    settings = {"img_size": None if recipe == "specified" else 64}
    return {"id": f"{recipe}-{name}-{seed}", "name": name, "recipe": recipe, "seed": seed,
            "data": {"name": "photographs"}, "settings": settings,
            "measures": measures | ({"epochs": epochs} if epochs else {})}


def evidence_of(folder, records, prices=()):
    (folder / "results.json").write_text(json.dumps(records))
    (folder / "add_on_prices.json").write_text(json.dumps(list(prices)))
    return Evidence(folder)


def price_list(speed, preset="specified", batch_size=64, rounds=5, **ratios):
    rows = [{"name": "original", "seconds_ratio": 1.0, "images_per_second": speed}]
    rows += [{"name": name, "seconds_ratio": r, "seconds_ratio_low": r / 1.1,
              "seconds_ratio_high": r * 1.1} for name, r in ratios.items()]
    curriculum = {"seconds_ratio": 1.2, "seconds_ratio_low": 1.2 / 1.1,
                  "seconds_ratio_high": 1.2 * 1.1}
    return {"device": f"abacus at {speed}", "date": "2026-11-30", "torch": "2.0", "preset": preset,
            "batch_size": batch_size, "rounds": rounds, "rows": rows, "curriculum": curriculum}


@pytest.fixture
def evidence(tmp_path):
    # The seeds stand in another order for each method, so that a pairing by position shows.
    records = [record("original", s, lp=40 + s, ft=50 + s, hf_error=0.2) for s in (1, 2, 3)]
    records += [record("improved", s, lp=45 + 1.1 * s, ft=51 + s, hf_error=0.19) for s in (3, 1, 2)]
    records += [record("improved", 7, lp=99)]  # without a partner: no pair
    # What belongs to no recipe that counts, or to other data, is no evidence.
    records += [record("original", 1, "quick", lp=99), record("original", 2, "recipe", lp=99)]
    others = {"name": "photographs", "fingerprint": "others of the same name"}
    records += [record("original", 1, lp=99) | {"data": others}]
    small = record("original", 1, "specified", lp=99)
    records += [small | {"settings": {"img_size": 64}}]  # the specified recipe at another size
    records += [record("chance", None, "specified", lp=99) | {"settings": {}}]  # at any size
    prices = [price_list(50, both=9.9), price_list(9000, both=1.1, uniformity=1.05)]
    return evidence_of(tmp_path, records, prices)


def test_registered_runs_count_once_all_are_there_and_no_others_then(tmp_path):
    eight, six = ("original", "energy+lambda_freq=0.2"), ("curriculum", "uniformity")
    now = {"data": {"name": "others", "fingerprint": "0123"}}
    first = [record(name, s, lp=40) for name in eight + six for s in (1, 2)]
    more = [record(name, s, lp=50, ft=60) | now for names, last in ((eight, 8), (six, 6))
            for name in names for s in range(1, last + 1)]
    extra = [record(name, s, lp=90) | now for name in eight + six for s in (0, 9)]
    for missing in (0, 9, -1):  # one run is enough
        some = more[:missing] + more[missing:][1:]
        assert evidence_of(tmp_path, first + extra + some).runs("original") == first[:2]
    assert evidence_of(tmp_path, extra + more + first).runs("original") == more[:8]
    for change in ({"measures": {"lp": {"value": 50}}}, {"settings": {"img_size": 64, "epochs": 1}},
                   {"data": {"name": "others", "fingerprint": "4567"}}):  # they judge nothing
        some = [more[0] | change, *more[1:]]
        assert evidence_of(tmp_path, first + some).runs("original") == first[:2]
    elsewhere = more[0] | {"data": {"name": "others", "fingerprint": "4567"}}  # hides nothing
    assert evidence_of(tmp_path, [*first, elsewhere, *more]).runs("original") == more[:8]
    diverged = [more[0] | {"measures": {"failed": "The loss became nan."}}, *more[1:]]
    found = evidence_of(tmp_path, first + diverged)
    assert found.count() and len(found.pairs("lp", "curriculum")) == 5
    assert evidence_of(tmp_path, first + more).runs("uniformity") == more[-6:]
    more[0]["measures"]["labels"] = {"50": {"ft": {"value": 20}}}
    assert evidence_of(tmp_path, more).runs("original")[0]["measures"]["ft@50"] == {"value": 20}
    assert len(evidence_of(tmp_path, more[1:]).runs("original")) == 7  # there are no others


def test_effects_are_paired_by_seed(evidence):
    differences = [5.1, 5.2, 5.3]
    low, high = scipy.stats.t.interval(0.95, 2, 5.2, scipy.stats.sem(differences))
    pairs = dict(evidence.pairs("lp", "improved"))
    assert pairs == pytest.approx({41: 46.1, 42: 47.2, 43: 48.3})
    assert evidence.effect("lp", "improved") == pytest.approx((5.2, low, high))
    assert evidence.effect("lp", "improved", place=LETTER) is None
    assert evidence.effect("lp", "curriculum") is None
    assert evidence.effect("knn", "improved") is None


def test_a_gain_is_judged_by_its_pairs(evidence):
    found = claims.judge_gain(GAIN, evidence)
    assert found.verdict == rule.CONFIRMED and found.over == "3 pairs"
    assert found.measured() == "+5.2 [+5.0, +5.4] points"
    assert math.isnan(found.p)  # no row of an accuracy
    tested = Gain("", "", "lp", 4.0, 1.0, "points", SMALL, accuracy=True)
    assert claims.judge_gain(tested, evidence).p == pytest.approx(
        scipy.stats.ttest_rel([46.1, 47.2, 48.3], [41, 42, 43]).pvalue)
    back = Gain("", "", "lp", 4.0, 1.0, "points", SMALL, "original", "improved")
    assert claims.judge_gain(back, evidence).interval[0] == pytest.approx(-5.2)


def test_where_lower_is_better_a_fall_is_a_gain_and_per_cent_are_of_the_base(evidence):
    fall = Gain("", "", "hf_error", 8.6, 2.0, "%", SMALL, relative=True, sign=-1)
    found = claims.judge_gain(fall, evidence)
    assert found.interval == pytest.approx((5.0, 5.0, 5.0)) and found.verdict == rule.SMALLER
    rise = Gain("", "", "lp", 9.0, 2.0, "%", SMALL, relative=True)
    expected = sum(100 * (b / a - 1) for a, b in evidence.pairs("lp", "improved")) / 3
    assert claims.judge_gain(rise, evidence).interval[0] == pytest.approx(expected)


def test_one_pair_gives_no_interval_even_where_test_images_would(tmp_path):
    pair = [record(name, 1, lp=lp) for name, lp in (("original", 40), ("improved", 45))]
    for r in pair:
        r["measures"]["lp"] |= {"correct": "AAAA", "images": 24, "chosen": ""}
    found = claims.judge_gain(GAIN, evidence_of(tmp_path, pair))
    assert found.verdict == rule.INCONCLUSIVE and found.measured() == "+5.0 points"
    assert found.over == "1 pair"


def test_an_inconclusive_gain_says_where_the_claimed_size_is_excluded(tmp_path):
    records = [record("original", s, lp=40) for s in (1, 2, 3)]
    records += [record("improved", s, lp=40.5 + s / 2) for s in (1, 2, 3)]
    found = claims.judge_gain(GAIN, evidence_of(tmp_path, records))
    assert found.verdict == "inconclusive, claimed size excluded"


def test_a_confirmed_gain_says_where_it_may_be_too_small(tmp_path):
    records = [record("original", s, lp=40) for s in (1, 2, 3)]
    records += [record("improved", s, lp=40.3 + s / 10) for s in (1, 2, 3)]
    found = evidence_of(tmp_path, records)
    gain = Gain("", "", "lp", 0.5, 0.5, "points", SMALL)
    assert claims.judge_gain(gain, found).verdict == (
        "confirmed, perhaps too small to be worth having")
    assert claims.judge_gain(replace(gain, worth=0.25), found).verdict == "confirmed"


def test_runs_to_the_letter_stand_apart(evidence, tmp_path):
    small = json.loads((tmp_path / "results.json").read_text())
    whole = [record(name, seed, "specified", lp=lp + seed) | {
        "id": f"whole-{name}-{seed}", "data": {"name": "larger"}}
        for name, lp in (("original", 56), ("improved", 55)) for seed in (0, 1)]
    found = evidence_of(tmp_path, whole + small)
    assert found.records[SMALL] == evidence.records[SMALL] and not evidence.records[LETTER]
    assert found.runs("original", LETTER) == whole[:2]
    assert found.effect("lp", "improved", place=LETTER) == (-1, -1, -1)


def test_two_records_for_one_seed_are_not_mixed(tmp_path):
    records = [record("original", 1), record("original", 1) | {"id": "with another batch size"}]
    with pytest.raises(ValueError, match="several records of 'original' for one seed"):
        evidence_of(tmp_path, records).runs("original")


def test_only_the_registered_runs_count(evidence, tmp_path):
    assert not evidence.count()
    for r in evidence.records[SMALL]:
        r["data"]["fingerprint"] = "0123"
    assert evidence.count()


def again(lp, ft):
    """All runs of the second registration: what its variants add to a measure, in turns."""
    data = {"data": {"name": "photos", "fingerprint": "0123"}}
    return [record(name, seed, lp=50 + seed + (name != "original") * lp[i % 2],
                   ft=60 + (name != "original") * ft[i % 2]) | data
            for name in ("original", WEAK, BOTH) for i, seed in enumerate(AGAIN_SEEDS)]


@pytest.mark.parametrize("lp, ft, verdicts", [
    ((1.2, 1.4), (-0.1, 0.3), ["confirmed"] * 3),
    ((0.2, 0.4), (-0.9, -0.8), ["confirmed", "refuted", "refuted"]),
    ((-0.2, -0.4), (0.0, 0.1), ["refuted", "refuted", "confirmed"]),
    ((-1.0, 2.0), (-2.0, 1.0), ["inconclusive"] * 3),
])
def test_the_second_registration_is_judged_once_all_its_runs_are_there(tmp_path, lp, ft, verdicts):
    records = again(lp, ft)
    found = claims.own_claims(evidence_of(tmp_path, records))[-3:]
    assert [j.verdict for j in found] == verdicts
    assert found[1].interval == pytest.approx(student(list(lp) * 6))
    part = claims.own_claims(evidence_of(tmp_path, records[1:]))[-3:]
    assert [j.verdict for j in part] == ["not measured"] * 3
    diverged = [records[0] | {"measures": {"failed": "The loss became nan."}}, *records[1:]]
    assert len(evidence_of(tmp_path, diverged).pairs("lp", WEAK, place=AGAIN)) == 11


def test_runs_to_the_letter_are_shown_before_they_judge(tmp_path):
    first = [record(name, s, "specified", lp=40) for name in ("original", "improved")
             for s in (1, 2)]
    letter = {**PLACES[LETTER].settings, "img_size": None, "preset": "specified"}
    begun = [record(name, 1, "specified", lp=50, ft=60) | {
        "data": {"name": "photos", "fingerprint": "0123"}, "settings": letter}
        for name in ("original", "improved")]
    found = evidence_of(tmp_path, first + begun)
    assert found.runs("original", LETTER) == first[:2]
    assert found.runs("original", BEGUN) == begun[:1]
    assert not evidence_of(tmp_path, first).runs("original", BEGUN)


def test_main_effects_and_interactions_are_those_of_a_linear_model(tmp_path):
    """Against least squares on −1 and +1 codes, and what was put in."""
    import numpy as np

    effects = {"curriculum": 1.0, "laplacian": -2.0, "uniformity": 4.0}
    rng, records, values = np.random.default_rng(0), [], {}
    for seed in (1, 2, 3):
        for names in ADD_ON_SETS:
            lp = 50 + 3 * seed + sum(effects[n] for n in names) + rng.normal()
            lp += 3 * ({"curriculum", "uniformity"} <= names)
            values[names, seed] = lp
            records.append(record(name_of(names), seed, lp=lp))
    records.append(record("uniformity+batch_size=512", 1, lp=99))  # no add-on alone
    found = evidence_of(tmp_path, records).factorial("lp")
    codes = [[math.prod(1 if n in on else -1 for n in names) for names in ADD_ON_SETS]
             for on in ADD_ON_SETS]
    by_seed = [2 * np.linalg.solve(codes, [values[on, seed] for on in ADD_ON_SETS])
               for seed in (1, 2, 3)]
    for i, names in enumerate(ADD_ON_SETS[1:], 1):
        expected = [b[i] for b in by_seed]
        half = scipy.stats.sem(expected) * scipy.stats.t.ppf(0.975, 2)
        mean = np.mean(expected)
        assert found[names] == pytest.approx((mean, mean - half, mean + half))
    assert found[frozenset({"curriculum", "uniformity"})][0] == pytest.approx(1.5, abs=1)
    incomplete = [r for r in records if r["name"] != "laplacian" or r["seed"] == 2]
    (one,) = {len(v) for v in evidence_of(tmp_path, incomplete).factorial("lp").values()}
    assert one == 3  # an interval, of one seed: nan
    value, low, _ = Evidence(tmp_path).factorial("lp")[frozenset({"laplacian"})]
    assert value == pytest.approx(by_seed[1][2]) and low != low
    assert Evidence(tmp_path).factorial("ft") == {}


def test_prices_at_other_sizes_or_without_an_interval_do_not_count(tmp_path):
    others = [price_list(9e9, **other, both=2.0) for other in (
        {"preset": "tiny"}, {"batch_size": 512}, {"rounds": 1})]
    assert evidence_of(tmp_path, [], others).prices is None
    assert evidence_of(tmp_path, [], [*others, price_list(1, both=1.5)]).price("both")[0] == (
        pytest.approx(50))


def test_prices_are_of_the_fastest_machine_and_multiply(evidence, tmp_path):
    assert evidence.price("both") == pytest.approx((10, 0, 21))
    value, low, high = evidence.price("both", "uniformity")
    factor = 1.1 ** math.sqrt(2)  # independent errors add in quadrature
    ratio = 1.1 * 1.05
    assert (value, low, high) == pytest.approx(
        tuple(100 * (r - 1) for r in (ratio, ratio / factor, ratio * factor)))
    assert evidence.price("curriculum")[0] == pytest.approx(20)
    price = Price("", "", ("both",), 5.0, 1.0)
    found = claims.judge_price(price, evidence)
    assert found.verdict == rule.INCONCLUSIVE and found.measured() == "+10.0 [+0.0, +21.0] %"
    assert claims.judge_price(price, evidence_of(tmp_path, [])).verdict == claims.NOT_MEASURED


def test_p_values_are_adjusted_by_holms_method():
    # Holm (1979); the same as R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert claims.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert claims.holm([0.5, 0.9]) == [1.0, 1.0] and claims.holm([]) == []
    for order in itertools.permutations([0.2, 0.01, 0.04]):
        assert dict(zip(order, claims.holm(list(order)), strict=True)) == pytest.approx(
            {0.01: 0.03, 0.04: 0.08, 0.2: 0.2})


def test_the_ledger_adjusts_for_all_four_accuracies_measured_or_not(evidence, tmp_path):
    assert all(math.isnan(j.p) for j in claims.ledger(evidence))  # none of them is to the letter
    records = evidence.records[SMALL] + [
        record(name, s, lp=41 + s * scale)
        for name, scale in (("curriculum", 2), ("uniformity", 1.1)) for s in (1, 2, 3)]
    found = claims.ledger(evidence_of(tmp_path, records))
    raw = {j.claim.variant: claims.judge_gain(j.claim, Evidence(tmp_path)).p for j in found
           if not math.isnan(j.p)}
    assert set(raw) == {"curriculum", "uniformity"}
    adjusted = {j.claim.variant: j.p for j in found if not math.isnan(j.p)}
    first, second = sorted(raw, key=raw.get)
    assert adjusted[first] == pytest.approx(4 * raw[first])
    assert adjusted[second] == pytest.approx(max(4 * raw[first], 3 * raw[second]))


def spent(variant="original"):
    """Multiply-adds of ten epochs, counted step by step."""
    cfg = PretrainConfig(**variant_settings(variant))
    visible = Counter(num_visible_patches(196, training_mask_ratio(step, claims.ITERS, cfg))
                      for step in range(10 * claims.ITERS))
    return sum(steps * multiply_adds(cfg, n) for n, steps in visible.items())


def test_every_claim_is_judged_without_evidence(tmp_path):
    found = {j.claim.text: j for j in claims.ledger(evidence_of(tmp_path, []))}
    assert len(found) == len(rule.GAINS) + len(rule.PRICES) + len(claims.CHECKS)
    assert found["adds no parameters"].verdict == rule.CONFIRMED
    compute = found["adds no compute (multiply-adds of ten epochs)"]
    assert compute.verdict == rule.MORE and compute.over == "counted"
    assert compute.interval == pytest.approx(3 * [100 * (spent("curriculum") / spent() - 1)])
    schedule = found["learning rates and mask ratios at the ends of epochs are as reported"]
    assert schedule.verdict == rule.CONFIRMED and schedule.interval[0] < 0.5
    measured = {"adds no parameters", schedule.claim.text, compute.claim.text}
    assert all(found[text].verdict == claims.NOT_MEASURED == found[text].measured()
               for text in set(found) - measured)


@pytest.mark.parametrize("rank, verdict", [
    (10.2, rule.REFUTED), (9.9, rule.INCONCLUSIVE), (9.4, rule.CONFIRMED)])
def test_a_collapse_is_an_effective_rank_below_ten(tmp_path, rank, verdict):
    records = [record("original", s, epochs=[{"effective_rank": 99.0},
                                             {"effective_rank": rank + s / 9}]) for s in (1, 2, 3)]
    (check,) = (c for c in claims.CHECKS if "collapse" in c.text)
    found = claims.judge_check(check, evidence_of(tmp_path, records))
    assert found.verdict == verdict and found.interval[0] == pytest.approx(rank + 2 / 9)
    assert found.over == "seeds of the original"


@pytest.mark.parametrize("ratio, verdict", [
    (2.2, rule.REFUTED), (2.6, rule.INCONCLUSIVE), (2.8, rule.CONFIRMED)])
def test_three_times_as_fast(tmp_path, ratio, verdict):
    (check,) = (c for c in claims.CHECKS if "symmetric" in c.text)
    evidence = evidence_of(tmp_path, [], [price_list(9, **{"ratio 0.0": ratio})])
    found = claims.judge_check(check, evidence)
    assert found.verdict == verdict and found.interval[0] == pytest.approx(ratio)


def test_a_schedule_that_differs_from_what_was_printed_is_refuted(tmp_path, monkeypatch):
    """Per cent of what was printed: 7.5 for 8e-5, and 0.55 for 0.6, which is further off."""
    (check,) = (c for c in claims.CHECKS if "reported" in c.text)
    monkeypatch.setattr(claims, "REPORTED_LR", (8e-5, *claims.REPORTED_LR[1:]))
    ratios = (0.6, *claims.REPORTED_RATIOS[1:])
    for expected in (6.31, 8.33):
        found = claims.judge_check(check, evidence_of(tmp_path, []))
        assert found.verdict == rule.REFUTED
        assert found.interval[0] == pytest.approx(expected, abs=0.01)
        monkeypatch.setattr(claims, "REPORTED_RATIOS", ratios)


@pytest.mark.parametrize("unit, effect, text", [
    ("points", (1.05, -0.25, 2.35), "+1.1 [−0.2, +2.4] points"),
    ("dB", (0.054, -0.536, 0.644), "+0.05 [−0.54, +0.64] dB"),
    ("times", (1.457, 1.451, 1.463), "1.46 [1.45, 1.46] times"),
    ("of 192", (44.2, 42.9, 45.5), "44.2 [42.9, 45.5] of 192"),
    ("points", (-2.0, math.nan, math.nan), "−2.0 points"), ("", (0, 0, 0), "0"),
])
def test_an_effect_is_told_with_its_unit_and_digits(unit, effect, text):
    claim = Gain("", "", "", 1, 1, unit, SMALL)
    assert claims.Judgement(claim, effect, rule.CONFIRMED).measured() == text


def test_what_was_reported_is_the_specifications():
    original, improved = claims.REPORTED["original"], claims.REPORTED["improved"]
    assert improved["lp"] - original["lp"] == pytest.approx(4.21)
    assert len(claims.REPORTED_RATIOS) == len(claims.REPORTED_LR) == 10


def test_of_two_price_lists_of_a_machine_the_newer_counts(tmp_path):
    lists = [price_list(9, both=ratio) | {"date": date}
             for ratio, date in ((1.5, "2026-01-31"), (1.1, "2026-02-01"))]
    for prices in (lists, lists[::-1]):
        assert evidence_of(tmp_path, [], prices).price("both")[0] == pytest.approx(10)
