"""The README and the figures of the evidence say what the records say, and how they are made."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from test_claims import record

from mae_lib.evidence import claims, report
from mae_lib.evidence.plan import ADD_ON_AXES
from mae_lib.evidence.records import ADD_ON_SETS, Evidence, name_of

ROOT = Path(__file__).resolve().parents[2]
CURVE = [{"epoch": e, "val_loss": 1 / e, "val_psnr": 15.0 + e, "effective_rank": 60.0}
         for e in (1, 2)]


def run(name, seed, recipe="tuned", **values):
    found = record(name, seed, recipe, CURVE, **values)
    found["measures"] |= {"references": {"masked mean": {}}, "seconds": 1.0,
                          "images_per_second": 9.0}
    return found | {"settings": {"epochs": 2, "precision": "fp32", "patch_size": 8}, "data": {
        "name": "photographs", "unlabeled": 1200, "train": 50, "test": 80, "classes": 5,
        "pixels": 64}, "device": "abacus"}


@pytest.fixture
def evidence(tmp_path):
    gains = (1.0, 1.0, 1.3)  # of an add-on, by seed
    records = [run(name_of(names), seed, lp=50 + gains[seed] * len(names), ft=60 + seed,
                   knn=40 + seed, psnr=18.0, hf_error=0.2)
               for names in ADD_ON_SETS for seed in (0, 1, 2)]
    records += [run("random init", 0, lp=41.0)]
    del records[-1]["measures"]["epochs"]
    (tmp_path / "results.json").write_text(json.dumps(records))
    return Evidence(tmp_path)


# ---------------------------------------------------------------- what is committed


def test_the_readme_says_what_the_records_say():
    page = (ROOT / "README.md").read_text("utf-8")
    assert page == report.filled(page, Evidence()), "run make report"


def test_the_pictures_were_drawn_from_the_records():
    evidence = Evidence()
    drawn = {path.stem for path in report.FIGURES.glob("*.png")}
    assert drawn == set(report.pictures(evidence)), "run make report"
    for name in drawn:
        with Image.open(report.FIGURES / f"{name}.png") as picture:
            assert picture.text["Description"] == report.digest(evidence), "run make report"


# ---------------------------------------------------------------- how it is made


def test_the_headline_has_intervals_and_the_verdict(evidence):
    text = report.headline(evidence)
    assert "**+3.3 points** (95 % interval +2.0 to +4.6)" in text
    assert "reported were +4.2" in text
    assert "**holds**. What each changes on that baseline, in all combinations of 3 seeds" in text
    assert text.endswith("uniformity +1.1 (+0.7 to +1.5).")  # 4.303 · 0.173 / √3 on either side
    about = report.about(evidence)
    for words in ("1,200 photographs of 64 pixels", "patches of 8", "3 seeds, abacus"):
        assert words in about


def test_without_all_combinations_the_headline_is_about_the_three_together(evidence):
    evidence.records = [r for r in evidence.records if r["name"] in ("original", "improved")]
    assert report.headline(evidence).endswith("**holds**.")


def test_the_headline_tells_what_the_search_found(evidence):
    assert report.winner(evidence) is None
    name = "+".join(parts[-1] for parts in ADD_ON_AXES)
    evidence.records += [run(name, seed, lp=52 + seed / 10) for seed in (0, 1, 2)]
    assert report.winner(evidence) == name
    assert report.headline(evidence).endswith(
        "that changes it by **+2.1 points** (+1.9 to +2.3) at the original's compute.")
    evidence.records = [r for r in evidence.records if r["name"] != name or r["seed"] == 0]
    assert "search" not in report.headline(evidence)  # one seed has no interval


def test_runs_to_the_letter_have_a_table_of_their_own(evidence, tmp_path):
    assert evidence.to_the_letter == [] and report.letter_table(evidence) == "not measured yet"
    records = evidence.records + [run(name, seed, "specified", lp=lp) for seed in (0, 1) for
                                  name, lp in (("original", 56.0), ("improved", 57.5 + seed / 10))]
    for r in records[-4:]:
        r["settings"] |= {"img_size": None, "preset": "specified", "batch_size": 64}
        r["data"] = {**r["data"], "unlabeled": 60000}
        r["measures"]["epochs"] = [{"step": 15630}]
    (tmp_path / "results.json").write_text(json.dumps(records))
    found = Evidence(tmp_path)
    assert found.records == evidence.records  # not mixed with the others
    text = report.letter_table(found)
    assert text.startswith("15,630 steps of 64, inputs of 224 pixels in patches of 16; 60,000 ")
    assert re.search(r"paired +1\.6 ± 0\.6\n", text)
    assert "steps: +1.6 (+0.9 to +2.2; 2 runs each): **does not hold**." in report.headline(found)
    assert "sizes and steps" not in report.headline(evidence)
    assert report.about_letter(found) in report.conditions(found)


def test_the_ledger_has_a_row_for_every_claim(evidence):
    rows = report.ledger_table(evidence).splitlines()[2:]
    assert len(rows) == len(claims.LEDGER)
    for row, claim in zip(rows, claims.LEDGER, strict=True):
        assert claim.text in row and row.count("|") == 5
    assert "+3.3 [+2.0, +4.6] points | holds |" in rows[2]


def test_without_records_it_says_so(tmp_path):
    nothing = Evidence(tmp_path)
    assert "not been measured" in report.headline(nothing)
    assert "No experiment" in report.about(nothing)
    assert report.methods_table(nothing) == "not measured yet"
    assert set(report.pictures(nothing)) == {"ledger"}


def test_a_page_gets_its_blocks_and_keeps_the_rest(evidence):
    page = "".join(f"before {name}\n<!-- {name} -->\nSTALE\n<!-- end of {name} -->\n"
                   for name in report.blocks(evidence))
    filled = report.filled(page, evidence)
    assert "STALE" not in filled and filled.count("before") == len(report.blocks(evidence))
    assert report.filled(filled, evidence) == filled
    with pytest.raises(ValueError, match=r"must have <!-- claims --> and .* once each"):
        report.filled(page.replace("<!-- claims -->", ""), evidence)


def test_every_picture_is_drawn(evidence, tmp_path):
    found = report.pictures(evidence)
    assert set(found) == {"ledger", "add_ons"}
    left, right = found["add_ons"].axes
    assert [t.get_text() for t in left.get_yticklabels()][-1] == "original"
    assert len(left.get_yticklabels()) == 8
    assert [t.get_text() for t in right.texts] == ["+1.1"] * 3
    words = {t.get_text() for axis in found["ledger"].axes for t in axis.texts}
    assert {"holds", "does not hold", "cannot tell", "+3.3 [+2.0, +4.6] points"} <= words
    path = report.save(found["ledger"], tmp_path / "ledger.png", Description="seen")
    with Image.open(path) as picture:
        assert picture.text == {"Description": "seen"} and min(picture.size) > 300


def test_the_command_writes_page_and_pictures(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text("utf-8").replace("does not hold", "?"))
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr("sys.argv", ["report"])
    report.main()
    assert page.read_text("utf-8") == (ROOT / "README.md").read_text("utf-8")
    told = re.findall(r"figures/evidence/(\w+)\.png", capsys.readouterr().out)
    assert told and {path.stem for path in (tmp_path / "figures").glob("*.png")} == set(told)
