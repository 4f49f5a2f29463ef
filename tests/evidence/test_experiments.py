"""The experiments' command: searches, studies, several workers, interruptions."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from test_compare import folder  # noqa: F401  a small image folder

from mae_lib.config import RECIPES, PretrainConfig, variant_settings
from mae_lib.evidence import experiments as X
from mae_lib.evidence import plan
from mae_lib.evidence.registration import LETTER, SMALL
from mae_lib.results import Results
from mae_lib.training.optim import NonFiniteLoss

BRIEF = dict(epochs=1, warmup_epochs=0, batch_size=10)
TINY = dict(preset="tiny", img_size=16, patch_size=4, epochs=2, warmup_epochs=1, batch_size=10)
SEARCH = (("lr=0.0006", "lr=0.001"), ("batch_size=10", "batch_size=5"))
STUDIES = {
    "methods": X.Study(("original", "improved"), (1, 2), fine_tune=True, baselines=True),
    "controls": X.Study(("shuffled", "curriculum+equal-compute"), (1,)),
    "letter": X.Study(("original+batch_size=8",), (1,), LETTER),
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(RECIPES, "tuned", replace(
        RECIPES["tuned"], pretrain=TINY, fine_tune=BRIEF, scratch=dict(lr=0.002)))
    letter = {k: v for k, v in TINY.items() if k != "batch_size"}
    places = {SMALL: plan.Place("tuned", 20), LETTER: plan.Place("specified", settings=letter)}
    monkeypatch.setitem(RECIPES, "specified", replace(
        RECIPES["specified"], pretrain=dict(lambda_freq=3.0)))  # which a place may change
    letter["lambda_freq"] = 0.0
    monkeypatch.setattr(X, "PLACES", places)
    monkeypatch.setattr(plan, "SEARCH_IMAGES", 22)
    monkeypatch.setattr(X, "SEARCH", SEARCH)
    monkeypatch.setattr(X, "STUDIES", STUDIES)


def run(folder, out, *words, monkeypatch):  # noqa: F811
    words = ["experiments", "--data", f"imagefolder:{folder}", "--size", "32", "--out", str(out),
             "--precision", "fp32", *words]
    with monkeypatch.context() as m:
        m.setattr(sys, "argv", words)
        X.main()
    return Results(out / "results.json").read()


def test_a_search_takes_the_best_of_one_axis_after_another_and_reads_no_test_image(
    folder, tmp_path, monkeypatch, tiny, capsys  # noqa: F811
):
    def no_test_image(*_):
        raise AssertionError("a search read the test images")

    with monkeypatch.context() as m:
        m.setattr("mae_lib.compare.encoder_measures", no_test_image)
        m.setattr("mae_lib.compare.frozen_measures", no_test_image)
        records = run(folder, tmp_path, "--studies", "recipe", monkeypatch=monkeypatch)
    assert len(records) == 3
    assert all(r["seed"] == 0 and r["data"]["unlabeled"] == 22 and r["recipe"] == "recipe"
               for r in records)
    assert [r["name"] for r in records[:2]] == [f"{lr}+batch_size=10" for lr in SEARCH[0]]
    better = max(records[:2], key=plan.score)["settings"]["lr"]
    assert records[2]["name"] == f"lr={better:g}+batch_size=5"
    assert all(set(r["measures"]) == {"lp_cv", "seconds", "images_per_second", "epochs"}
               and r["settings"]["weight_decay"] == 0.05 and r["settings"]["epochs"] == 10
               for r in records)  # of the tuned recipe's settings, the sizes alone
    winner = max(records[:: 1 if better == 0.001 else 2], key=plan.score)["name"]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Best ")]
    assert told == [f"Best recipe: {winner}"]


def test_it_runs_every_study_and_goes_on_after_an_interruption(
    folder, tmp_path, monkeypatch, tiny  # noqa: F811
):
    calls, measures = [], X.Comparison.measures

    def stop_at_the_ninth(self, name, *rest):
        calls.append(name)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return measures(self, name, *rest)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(X.Comparison, "measures", stop_at_the_ninth)
        run(folder, tmp_path, monkeypatch=monkeypatch)
    before = Results(tmp_path / "results.json").read()
    records = run(folder, tmp_path, monkeypatch=monkeypatch)
    assert records[:len(before)] == before and len(before) == 8  # 4 runs and 4 baselines

    runs = {(r["name"], r["seed"]): r for r in records if "epochs" in r["measures"]}
    assert list(runs) == [("original", 1), ("improved", 1), ("original", 2), ("improved", 2),
                          ("shuffled", 1), ("curriculum+equal-compute", 1),
                          ("original+batch_size=8", 1)]
    small = [r for r in records if r["recipe"] == "tuned"]
    assert {r["data"]["unlabeled"] for r in small} == {20}
    assert {r["settings"].get("lr", 1.5e-4) for r in small} == {1.5e-4}
    assert "ft" in runs["improved", 2]["measures"] and "ft" not in runs["shuffled", 1]["measures"]
    (scratch,) = (r for r in small if r["name"] == "from scratch")
    assert scratch["seed"] == 1 and scratch["settings"]["fine_tune"]["lr"] == 0.002
    assert scratch["settings"]["label_counts"] == [50, 500]  # what few labels are compared with
    assert runs["original", 1]["settings"]["fine_tune"]["lr"] == 0.001
    few = {names for names, r in runs.items() if r["settings"].get("label_counts") == [50, 500]}
    assert few == {(name, seed) for name in ("original", "improved") for seed in (1, 2)}
    letter = runs["original+batch_size=8", 1]
    assert letter["recipe"] == "specified" and letter["data"]["unlabeled"] == 24
    assert letter["settings"].get("lambda_freq", 0) == 0

    with monkeypatch.context() as m:  # nothing is done twice
        m.setattr(X.Comparison, "_fine_tune", None)
        m.setattr("mae_lib.pretrain.fastest_step", None)
        assert run(folder, tmp_path, monkeypatch=monkeypatch) == records

    with monkeypatch.context() as m:  # another recipe of fine-tuning needs no new weights
        m.setitem(RECIPES, "tuned", replace(RECIPES["tuned"], fine_tune={**BRIEF, "epochs": 2}))
        m.setattr("mae_lib.pretrain.fastest_step", None)
        more = run(folder, tmp_path, "--studies", "methods", "--seeds", "1",
                   monkeypatch=monkeypatch)
    new = {r["name"]: r for r in more if r not in records}
    assert set(new) == {"original", "improved", "from scratch"}
    for name in ("original", "improved"):
        assert new[name]["settings"]["fine_tune"]["epochs"] == 2
        old, now = runs[name, 1]["measures"], new[name]["measures"]
        assert all(now[m] == old[m] for m in ("lp", "knn", "psnr", "seconds", "epochs"))
        assert now["images_per_second"] == pytest.approx(old["images_per_second"], rel=1e-6)

    def needs_new_weights(folder, **changes):
        with monkeypatch.context() as m:
            m.setitem(RECIPES, "tuned", replace(RECIPES["tuned"], **changes))
            m.setattr("mae_lib.pretrain.fastest_step", None)
            with pytest.raises(TypeError, match="'NoneType' object is not callable"):
                run(folder, tmp_path, "--studies", "methods", monkeypatch=monkeypatch)

    needs_new_weights(folder, pretrain={**TINY, "lr": 0.01})
    other = tmp_path / "other" / folder.name
    shutil.copytree(folder, other)
    shutil.copy(other / "unlabeled/all/1.png", other / "unlabeled/all/0.png")
    needs_new_weights(other)
    (history,) = tmp_path.glob("tuned-20/original-seed1-*/history.jsonl")
    history.write_text(history.read_text().rsplit("\n", 2)[0] + "\n")  # without the last epoch
    needs_new_weights(folder, fine_tune={**BRIEF, "epochs": 3})


def test_a_search_keeps_the_best_of_each_axis(tmp_path, monkeypatch):
    """Here one that is best only together with the best of the axis before."""
    scores, tried = {"a=1+b=1": 50, "a=2+b=1": 60, "a=1+b=2": 40, "a=2+b=2": 70}, []

    def made(self, name, seed):
        tried.append((name, seed))
        return {"measures": {"lp_cv": {"value": scores[name]}}}

    monkeypatch.setattr(X.Comparison, "run", made)
    monkeypatch.setattr(X.Comparison, "folder", lambda self, name, seed: tmp_path / name)
    runs = X.Comparison(None, {}, None, tmp_path, Results(tmp_path / "results.json"), None)
    assert X.search(runs, (("a=1", "a=2"), ("b=1", "b=2"))) == "a=2+b=2"
    assert list(dict.fromkeys(tried)) == [
        ("a=1+b=1", 0), ("a=2+b=1", 0), ("a=2+b=2", 0)]


def test_a_run_that_diverges_is_recorded_as_such_and_not_made_again(
    folder, tmp_path, monkeypatch, tiny  # noqa: F811
):
    measures, made = X.Comparison.measures, []

    def diverges(self, name, *rest):
        made.append(name)
        if name == "improved":
            raise NonFiniteLoss("The total loss became nan at step 3.")
        return measures(self, name, *rest)

    monkeypatch.setattr(X.Comparison, "measures", diverges)
    words = ("--studies", "methods", "--seeds", "1")
    run(folder, tmp_path, *words, monkeypatch=monkeypatch)
    records = run(folder, tmp_path, *words, monkeypatch=monkeypatch)
    assert made.count("improved") == 1
    (found,) = (r["measures"] for r in records if r["name"] == "improved")
    assert found == {"failed": "The total loss became nan at step 3."}
    assert plan.score({"measures": found}) == 0


def test_a_study_can_have_other_seeds_and_variants(folder, tmp_path, monkeypatch, tiny):  # noqa: F811
    words = ("--studies", "letter", "--seeds", "3", "4", "--variants")
    records = run(folder, tmp_path, *words, "laplacian+batch_size=8", monkeypatch=monkeypatch)
    assert [(r["name"], r["seed"], r["recipe"]) for r in records] == [
        ("laplacian+batch_size=8", 3, "specified"), ("laplacian+batch_size=8", 4, "specified")]
    with pytest.raises(ValueError, match="Unknown variant 'sharper'"):
        run(folder, tmp_path, *words, "sharper", monkeypatch=monkeypatch)


def test_runs_of_one_seed_have_the_precision_of_its_first(
    folder, tmp_path, monkeypatch, tiny  # noqa: F811
):
    words = ("--studies", "methods", "--variants", "original", "--seeds")
    run(folder, tmp_path, *words, "1", monkeypatch=monkeypatch)
    records = run(folder, tmp_path, "--studies", "methods", "--variants", "laplacian", "--seeds",
                  "1", "2", "--precision", "bf16", monkeypatch=monkeypatch)
    assert {(r["name"], r["seed"]): r["settings"]["precision"] for r in records
            if "epochs" in r["measures"]} == {
        ("original", 1): "fp32", ("laplacian", 1): "fp32", ("laplacian", 2): "bf16"}


def test_a_setting_that_diverges_loses_instead_of_ending_the_search(
    folder, tmp_path, monkeypatch, tiny, capsys  # noqa: F811
):
    from mae_lib import compare

    pretrain = compare.pretrain

    def diverge(images, validation, cfg, *rest, **more):
        if cfg.lr == 0.0006:
            raise NonFiniteLoss("The total loss became nan at step 3.")
        return pretrain(images, validation, cfg, *rest, **more)

    monkeypatch.setattr(compare, "pretrain", diverge)
    records = run(folder, tmp_path, "--studies", "recipe", monkeypatch=monkeypatch)
    failed = [r["measures"]["failed"] for r in records if "failed" in r["measures"]]
    assert len(failed) == 1 and "became nan" in failed[0]
    assert "Best recipe: lr=0.001+" in capsys.readouterr().out


def test_a_second_process_shares_the_runs(folder, tmp_path):  # noqa: F811
    """In processes of their own, so with the real studies, for which there are too few images."""
    words = ["-m", "mae_lib.evidence.experiments", "--data", f"imagefolder:{folder}",
             "--size", "32", "--studies", "controls", "--workers", "2", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: 24 images do not fill one batch of " in done.stderr
    assert (tmp_path / "worker-2.log").exists()


def test_every_variant_of_the_plan_is_a_valid_setting():
    names = set()
    for study in X.STUDIES.values():
        place = X.PLACES[study.place]
        base = {**RECIPES[place.recipe].pretrain, **place.settings}
        for variant in study.variants:
            PretrainConfig(**variant_settings(variant, base)).check()
            assert (study.place, variant) not in names
            names.add((study.place, variant))
    for tune in (*RECIPES["tuned"].fine_tunings(), *RECIPES["specified"].fine_tunings()):
        tune.check()
    for axis in X.SEARCH:
        settings = [PretrainConfig(**variant_settings(part)) for part in axis]
        assert len(set(settings)) == len(axis)
