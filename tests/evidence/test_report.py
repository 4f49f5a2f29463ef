"""The pages and the figures of the evidence say what the records say, and how they are made."""

import hashlib
import json
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from test_claims import again, evidence_of, price_list, record

from mae_lib.config import RECIPES, PretrainConfig
from mae_lib.evidence import claims, plan, report
from mae_lib.evidence import registration as rule
from mae_lib.evidence.records import ADD_ON_SETS, Evidence, name_of
from mae_lib.evidence.registration import LETTER, SMALL
from mae_lib.evidence.second_registration import AGAIN, WEAK
from mae_lib.results import Results
from mae_lib.training.checkpoints import ASSETS

ROOT = Path(__file__).resolve().parents[2]
CURVE = [{"step": 7 * e, "epoch": e, "val_loss": 1 / e, "effective_rank": 60.0} for e in (1, 2)]
SETTINGS = {"preset": "specified", "img_size": 64, "patch_size": 8, "epochs": 2, "batch_size": 32,
            "lr": 0.002, "precision": "fp32", "norm_pix": True}
DATA = {"name": "photographs", "unlabeled": 1200, "train": 50, "test": 80, "classes": 5,
        "pixels": 96, "fingerprint": "0123"}


def run(name, seed, recipe="tuned", **values):
    found = record(name, seed, recipe, CURVE, **values)
    found["measures"] |= {"references": {"masked mean": {}}, "seconds": 1.0,
                          "images_per_second": 9.0}
    sizes = {"img_size": None, "patch_size": None} if recipe == "specified" else {}
    return found | {"settings": SETTINGS | sizes, "data": DATA, "device": "abacus"}


@pytest.fixture
def evidence(tmp_path):
    gains = {1: 1.0, 2: 1.0, 3: 1.3}  # of an add-on, by seed
    records = [run(name_of(names), seed, lp=50 + gains[seed] * len(names), ft=60 + seed,
                   knn=40 + seed, knn_whitened=41, psnr=18.0, hf_error=0.2)
               for names in ADD_ON_SETS for seed in gains]
    records += [run("shuffled", seed, lp=51.5) for seed in (9, 2, 1)]  # seed 9 has no partner
    records += [run("random init", seed, lp=lp) for seed, lp in ((2, 42.0), (1, 41.0))]
    for baseline in records[-2:]:
        del baseline["measures"]["epochs"]
    records += [run(name, seed, "specified", lp=lp) for seed in (1, 2) for
                name, lp in (("original", 56.0), ("improved", 57.5 + seed / 5))]
    return evidence_of(tmp_path, records, [price_list(9, **{"+ both": 1.5}) | {
        "device": "abacus", "precision": "fp32", "preset": "specified", "batch_size": 64,
        "rounds": 5}])


# ---------------------------------------------------------------- what is committed


@pytest.mark.parametrize("name", report.PAGES)
def test_a_page_says_what_the_records_say(name):
    page = (ROOT / name).read_text("utf-8")
    assert page == report.filled(page, Evidence()), "run make report"


def test_every_block_stands_on_a_page():
    pages = "".join((ROOT / name).read_text("utf-8") for name in report.PAGES)
    for name in report.blocks(Evidence()):
        assert f"<!-- {name} -->" in pages


def test_the_pictures_were_drawn_from_the_records():
    evidence = Evidence()
    drawn = {path.stem for path in report.FIGURES.glob("*.png")}
    assert drawn == set(report.pictures(evidence)), "run make report"
    for name in drawn:
        with Image.open(report.FIGURES / f"{name}.png") as picture:
            assert picture.text["Description"] == report.digest(evidence), "run make report"


@pytest.mark.parametrize("name", ["registration", "second_registration"])
def test_nothing_registered_was_changed(name):
    """The file is what it was when it was committed, before the first run that counts."""
    registered = json.loads(report.REGISTRATION.read_text("utf-8"))[name]
    file = ROOT / "mae_lib" / "evidence" / f"{name}.py"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == registered["sha256"]
    show = ["git", "show", f"{registered['commit']}:mae_lib/evidence/{name}.py"]
    shown = subprocess.run(show, cwd=ROOT, capture_output=True)
    if shown.returncode == 0:  # a clone without history, or no clone at all, cannot tell
        assert hashlib.sha256(shown.stdout).hexdigest() == registered["sha256"]


def test_the_tuned_recipe_is_the_winner_of_the_recorded_search():
    records = Results(ASSETS / "search.json").read()
    assert all(r["seed"] == 0 and "lp" not in r["measures"] for r in records)
    winner = max(records, key=plan.score)["name"]
    names = [part.partition("=")[::2] for part in winner.split("+")]
    for name, text in names:
        assert (vars(PretrainConfig()) | RECIPES["tuned"].pretrain)[name] == float(text), winner
    assert {part.partition("=")[0] for axis in plan.SEARCH for part in axis} == {
        name for name, _ in names}


# ---------------------------------------------------------------- how it is made


def test_the_headline_has_intervals_and_verdicts(evidence, tmp_path):
    text = report.headline(evidence)
    assert "We measured +1.8 [+0.5, +3.1] points, over 2 pairs: **inconclusive, claimed" in text
    assert ("adds 1 to 3 points. We measured +1.1 [+0.7, +1.5] points, over 3 pairs: "
            "**inconclusive**") in text
    assert text.endswith("We claimed that it adds 2 points. We have **not measured** it yet.")
    assert text.startswith("- The report says")
    (tmp_path / "again").mkdir()
    records = evidence_of(tmp_path / "again", again((1.2, 1.4), (0.0, 0.1)))
    assert report.headline(records).endswith(
        "the two add 1 point or more. We measured +1.3 [+1.2, +1.4] points, over 12 pairs of "
        "new seeds: **confirmed**.")
    data = {k: v for k, v in DATA.items() if k != "fingerprint"}
    evidence.records[LETTER] = [r | {"data": data} for r in evidence.records[LETTER]]
    assert report.headline(evidence).startswith("The first two results are **provisional**:")
    (tmp_path / "results.json").unlink()
    assert "We have **not measured** it yet" in report.headline(Evidence(tmp_path))


def test_more_images_are_shown_once_all_runs_are_there(tmp_path):
    records = [run(r["name"], r["seed"] + 12, **{m: e["value"] for m, e in r["measures"].items()})
               | {"settings": r["settings"]}
               for r in again((1.2, 1.4), (0.2, 0.4)) if r["seed"] < 17 and r["name"] != WEAK]
    found = evidence_of(tmp_path, records)
    assert not report.methods_table(found, AGAIN)
    rows = {line[:22].strip(): line[22:].split() for line in
            report.methods_table(found, plan.MORE).splitlines()[1:5]}
    assert list(rows) == ["", "original", "combination", "combination − original"]
    assert rows["combination − original"] == ["1.3", "±", "0.1", "0.3", "±", "0.1"]
    assert not report.methods_table(evidence_of(tmp_path, records[1:]), plan.MORE)


def test_it_says_how_the_runs_were_made(evidence):
    assert report.about(evidence) == (
        "1,200 unlabelled photographs of 96 pixels (photographs), 50 labelled ones in 5 classes "
        "and 80 for testing; inputs of 64 pixels in patches of 8; 14 steps of 32 images, peak "
        "learning rate 0.002; 3 seeds; on: abacus; fp32.")
    assert "inputs of 224 pixels in patches of 16" in report.about(evidence, LETTER)
    assert report.about_prices(evidence).startswith("abacus, fp32, model `specified`, batch 64, 5 ")
    evidence.records[SMALL].remove(evidence.runs("improved")[0])
    evidence.runs("original")[1]["device"] = "slide rule"
    assert report.about(evidence).endswith("; 3 seeds; on: abacus, slide rule; fp32.")
    del evidence.records[SMALL][0]["data"]["fingerprint"]
    assert "**Provisional**" in report.about(evidence)


def test_the_methods_table_has_baselines_first(evidence):
    text = report.methods_table(evidence)
    assert re.search(r"random init +41\.5 ± 6\.4\n.*original +50", text, re.DOTALL)
    assert re.search(r"improved − original +3\.3 ± 1\.3 ", text) and "abacus" not in text
    assert re.search(r"original +1\.8 ± 1\.3\n", report.methods_table(evidence, LETTER))


def test_the_ledger_has_a_row_for_every_claim(evidence):
    found = claims.ledger(evidence)
    rows = report.ledger_table(found).splitlines()[2:]
    assert len(rows) == len(found)
    tested = {c.text for c in rule.GAINS if c.accuracy and (c.measure, c.runs) != ("ft", LETTER)}
    for row, judgement in zip(rows, found, strict=True):
        assert judgement.claim.text in row and row.count("|") == 7
        assert row.endswith(f"| {judgement.words} |")
        p = row.split("|")[5].strip()
        assert p == claims.text_of_p(judgement.p)
        assert bool(p) == (judgement.claim.text in tested)
    assert [claims.text_of_p(p) for p in (math.nan, 4e-6, 0.0321)] == ["", "< 0.001", "0.032"]
    own = report.ledger_table(claims.own_claims(evidence))
    assert "p (Holm)" not in own and {line.count("|") for line in own.splitlines()} == {6}
    topics = [row.split("|")[1].strip() for row in rows]
    assert topics[:6] == ["all three", "", "", "", "", "curriculum"]


def test_what_was_measured_before_the_rule_is_marked_provisional(evidence):
    def marked():
        return {(j.claim.text, j.over) for j in claims.ledger(evidence) if j.early}

    assert not marked() and not evidence.early
    data = {k: v for k, v in DATA.items() if k != "fingerprint"}
    evidence.records[LETTER] = [r | {"data": data} for r in evidence.records[LETTER]]
    letter = [c.text for c in rule.GAINS if c.runs == LETTER]
    measured = {text for text, _ in marked()}
    assert measured and measured <= set(letter)
    evidence.early = {claims.TIMED}  # counted numbers and those of runs do not depend on it
    timed = marked() - {(text, over) for text, over in marked() if text in letter}
    assert timed and {over for _, over in timed} == {claims.TIMED}
    rows = report.ledger_table(claims.ledger(evidence)).splitlines()[2:]
    assert {row.split(" | ")[1] for row in rows if row.endswith(" (provisional) |")} == (
        {text for text, _ in marked()})


def test_prices_from_before_the_registration_do_not_count(evidence, tmp_path):
    path = tmp_path / "add_on_prices.json"
    lists = json.loads(path.read_text())
    path.write_text(json.dumps([prices | {"date": "2026-11-01"} for prices in lists]))
    assert Evidence(tmp_path).early == {claims.TIMED}
    assert "**Provisional**" in report.about_prices(Evidence(tmp_path))


def test_contrasts_have_a_table_of_their_own_without_verdicts(evidence):
    lines = report.contrasts_table(evidence).splitlines()[2:]
    assert len(lines) == len(rule.CONTRASTS) + len(plan.LATER) + 7
    assert lines[0].endswith("| 3 | +3.3 [+2.0, +4.6] | +0.0 [+0.0, +0.0] |")
    assert "| not measured | not measured |" in lines[1]
    assert lines[3].endswith("(`shuffled` − `curriculum`) | 2 | +0.5 [+0.5, +0.5] | not measured |")
    assert "main effect: curriculum | 3 seeds, 8 runs each | +1.1 [+0.7, +1.5]" in lines[-7]
    assert not any(v in line for line in lines for v in (rule.CONFIRMED, rule.REFUTED))


def test_accuracies_with_few_labels_have_a_row_each(evidence):
    for name, more in (("original", 0), ("improved", 2)):
        for r in evidence.runs(name):
            r["measures"]["ft@50"] = {"value": 20.0 + r["seed"] + more}
    scratch = run("from scratch", 1, **{"ft@50": 19.0})
    evidence.records[SMALL].append(scratch)
    lines = report.labels_table(evidence).splitlines()[2:]
    assert [line.split("|")[1:3] for line in lines] == [
        [f" {n} ", f" {m}@1 % "] for n in ("50", "500", "all") for m in ("LP", "FT")]
    assert lines[1].endswith("| 19.0 [18.0, 20.0] | 22.0 [19.5, 24.5] | +2.0 [+2.0, +2.0] | "
                             "not measured |")
    assert lines[4].startswith("| all | LP@1 % | 41.5 ")  # the probe of random weights
    assert lines[2].count("not measured") == 4


def test_a_search_is_told_from_best_to_worst():
    records = [record(name, 0, "recipe", lp_cv=lp) for name, lp in (("lr=1+b=2", 50), ("lr=3", 60))]
    assert report.search_list(records).splitlines() == [
        "LP@1, cross-validated on training images", " 60.0 %  lr=3", " 50.0 %  lr=1, b=2"]


def test_a_page_gets_its_blocks_and_keeps_the_rest(evidence):
    page = "".join(f"before {name}\n<!-- {name} -->\nSTALE\n<!-- end of {name} -->\n"
                   for name in ("headline", "claims"))
    filled = report.filled(page, evidence)
    assert "STALE" not in filled and filled.count("before") == 2
    assert report.filled(filled, evidence) == filled
    with pytest.raises(ValueError, match=r"must have <!-- claims --> and .* once each"):
        report.filled(page.replace("<!-- claims -->", ""), evidence)
    with pytest.raises(ValueError, match="once each, in this order"):
        report.fill("<!-- end of a -->\n<!-- a -->\nrest", "a", "block")


def test_the_add_ons_are_drawn_with_their_means_and_intervals(evidence):
    left, right = report.add_ons(evidence).axes
    names = [t.get_text() for t in left.get_yticklabels()]
    assert names[-1] == "original" and len(names) == 8
    means = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "|"]
    assert dict(zip(names, means, strict=True))["curriculum"] == pytest.approx(51.1)
    dashed = [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == "--"]
    assert dashed == [r["measures"]["lp"]["value"] for r in evidence.runs("random init")] != []
    words = [t.get_text() for t in right.get_yticklabels()]
    values = dict(zip(words, (t.get_text() for t in right.texts), strict=True))
    assert values["curriculum"] == "+1.1" and values["curriculum × laplacian"] == "+0.0"
    ends = dict(zip(words, map(ends_of, right.collections), strict=True))
    assert ends["curriculum"] == pytest.approx(evidence.factorial("lp")[ADD_ON_SETS[1]][1:])


def ends_of(line):
    """Where a horizontal line begins and ends."""
    (segment,) = line.get_segments()
    return tuple(segment[:, 0])


def test_the_ledger_is_drawn_in_units_of_the_claims_from_top_to_bottom(evidence, tmp_path):
    figure = report.ledger_figure(claims.ledger(evidence))
    for axis, listed, scales in zip(figure.axes, (rule.GAINS, rule.PRICES),
                                    ([c.claimed for c in rule.GAINS], [1] * len(rule.PRICES)),
                                    strict=True):
        found = [j for j in claims.ledger(evidence) if j.claim in listed][::-1]
        scales = scales[::-1]
        labels = [t.get_text().replace("\n", " ") for t in axis.get_yticklabels()]
        assert labels == [f"{j.claim.topic}: {j.claim.text}" for j in found]
        diamonds = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "D"]
        assert diamonds == [j.claim.claimed / s for j, s in zip(found, scales, strict=True)]
        measured = [(j, s) for j, s in zip(found, scales, strict=True) if j.interval]
        low, high = axis.get_xlim()
        assert all(low < x / s < high for j, s in measured for x in j.interval if x == x)
        means = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
        assert means == pytest.approx([j.interval[0] / s for j, s in measured])
        for line, (judgement, scale) in zip(axis.collections, measured, strict=True):
            assert ends_of(line) == pytest.approx([x / scale for x in judgement.interval[1:]])
        for text, judgement in zip(axis.texts, found, strict=True):
            told, *verdict = text.get_text().split("\n")
            assert [told, *verdict][-1] == judgement.words and told == judgement.measured()
            assert text.get_color() == report.VERDICTS[judgement.verdict.partition(",")[0]]
    bars = figure.axes[0].patches
    for bar, claim in zip(bars, rule.GAINS[::-1], strict=True):  # a gain of less is not worth it
        share = claim.worth / claim.claimed
        assert (bar.get_x(), bar.get_width()) == pytest.approx((-share, 2 * share))
    colours = report.VERDICTS
    assert colours[rule.CONFIRMED] == colours[rule.SUPPORTED] != colours[rule.REFUTED]
    assert colours[rule.REFUTED] == colours[rule.HARMFUL] == colours[rule.MORE]
    path = report.save(figure, tmp_path / "ledger.png", Description="seen")
    with Image.open(path) as picture:
        assert picture.text == {"Description": "seen"} and min(picture.size) > 300


def test_a_results_file_is_printed_with_a_table_for_each_recipe(evidence, tmp_path, capsys):
    report.print_tables([tmp_path / "results.json"])
    titles, rows = [], []
    for line in capsys.readouterr().out.splitlines():
        titles += re.findall(r"recipe (\w+)", line)
        rows += re.findall(r"^original +(\d\d\.\d) ", line)
    assert titles == ["tuned", "specified"] and rows == ["50.0", "56.0"]


def test_the_command_writes_pages_and_pictures(tmp_path, monkeypatch, capsys):
    for name in report.PAGES:
        page = (ROOT / name).read_text("utf-8")
        page = re.sub("(<!-- (headline|claims) -->\n)", r"\1STALE\n", page)
        assert page.count("STALE") == 1
        (tmp_path / name).write_text(page)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr("sys.argv", ["report"])
    report.main()
    for name in report.PAGES:
        assert (tmp_path / name).read_text("utf-8") == (ROOT / name).read_text("utf-8")
    told = re.findall(r"figures/evidence/(\w+)\.png", capsys.readouterr().out)
    assert told and {path.stem for path in (tmp_path / "figures").glob("*.png")} == set(told)


def test_each_data_set_and_each_search_of_a_file_has_a_table(tmp_path, capsys):
    first = run("original", 1, lp=50)
    searched = record("lr=1", 0, "recipe", lp_cv=50) | {"data": DATA, "device": "abacus"}
    Results(tmp_path / "some.json").add(
        first, first | {"id": "other", "data": DATA | {"fingerprint": "9"}}, searched)
    report.print_tables([tmp_path / "some.json"])
    said = capsys.readouterr().out
    assert said.count("recipe tuned") == 2 and "LP@1, cross-validated" in said


def test_what_the_page_says_of_the_first_editions_runs_is_in_the_records():
    """They judge nothing, but readers should know what we knew when we registered our claims."""
    found = {}
    for r in Results(ASSETS / "results.json").read():
        if r["recipe"] == "tuned" and r["data"]["name"] == "imagefolder:tin10" and \
                r["data"]["unlabeled"] == 24_000 and "lp" in r["measures"]:
            found.setdefault(r["name"], {})[r["seed"]] = r["measures"]["lp"]["value"]
    page = " ".join((report.ROOT / "RESULTS.md").read_text("utf-8").split())
    both = "mask_ratio_sched=linear+equal_compute=yes+lambda_unif=0.002+lambda_freq=0.2+" \
           "freq_form=energy"
    for name, sentence in (
            ("curriculum", "photographs: {0:+.1f} and"), ("uniformity", "and −{0:.1f} points."),
            ("energy+lambda_freq=0.2", "where it gained {0:.1f} points over 6 seeds"),
            ("uniformity+lambda_unif=0.002", "had *lost* {0:.1f} points [{1:.1f}, {2:.1f}]"),
            (both, "had gained {0:.1f} points [{1:.1f}, {2:.1f}] over six pairs")):
        assert sorted(found[name]) == sorted(found["original"]) == [1, 2, 3, 4, 5, 6]
        gains = [found[name][seed] - found["original"][seed] for seed in range(1, 7)]
        mean, (low, high) = np.mean(gains), stats.t.interval(0.95, 5, np.mean(gains),
                                                             stats.sem(gains))
        if mean < 0:
            mean, low, high = -mean, -high, -low
        assert sentence.format(mean, low, high) in page, (name, mean, low, high)
