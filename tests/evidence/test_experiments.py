"""The experiments' command: tuning, studies, several workers, interruptions."""

import subprocess
import sys
from dataclasses import replace

import pytest
from test_compare import folder  # noqa: F401  a small image folder

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence import experiments as X
from mae_lib.evidence import plan
from mae_lib.results import Results
from mae_lib.training.optim import NonFiniteLoss

TINY = plan.Scale("for this test", dict(
    preset="tiny", img_size=16, patch_size=4, epochs=2, warmup_epochs=1, precision="fp32"),
    dict(epochs=1, warmup_epochs=0, batch_size=10), 24)
RECIPE_AXES = (("lr=0.0006", "lr=0.001"), ("batch_size=10", "batch_size=5"))
ADD_ON_AXES = (("lambda_unif=0", "lambda_unif=0.1+unif_t=5"),)
FINE_TUNE_AXES = (("lr=0.001", "lr=0.01"), ("layer_decay=0.75", "layer_decay=0.9"))
SCRATCH_AXES = (("layer_decay=1",), ("lr=0.001", "lr=0.01"))
STUDIES = {
    "methods": X.Study("tuned", ("original", "improved"), (0,), fine_tune=True, baselines=True),
    "controls": X.Study("tuned", ("shuffled", "curriculum+equal-compute"), (0, 1)),
    "search": X.Study("tuned", (X.FOUND,), (0,)),
    "reported": X.Study("specified", ("original+batch_size=8",), (0,)),
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(X, "SCALES", {"cpu": TINY})
    monkeypatch.setattr(X, "RECIPE_AXES", RECIPE_AXES)
    monkeypatch.setattr(X, "ADD_ON_AXES", ADD_ON_AXES)
    monkeypatch.setattr(X, "FINE_TUNE_AXES", FINE_TUNE_AXES)
    monkeypatch.setattr(X, "SCRATCH_AXES", SCRATCH_AXES)
    monkeypatch.setattr(X, "STUDIES", STUDIES)


def run(folder, out, *words, monkeypatch):  # noqa: F811
    words = ["experiments", "--data", f"imagefolder:{folder}", "--size", "32", "--out", str(out),
             "--precision", "fp32", *words]
    with monkeypatch.context() as m:
        m.setattr(sys, "argv", words)
        X.main()
    return Results(out / "results.json").read()


def test_it_tunes_then_runs_every_study_and_goes_on_after_an_interruption(
    folder, tmp_path, monkeypatch, tiny  # noqa: F811
):
    calls, pretrain = [], X.Comparison.variant

    def stop_at_the_sixth(self, variant, seed):
        calls.append(variant)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return pretrain(self, variant, seed)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(X.Comparison, "variant", stop_at_the_sixth)
        run(folder, tmp_path, "--studies", "methods", "controls", monkeypatch=monkeypatch)
    before = {r["id"] for r in Results(tmp_path / "results.json").read()}
    assert 3 <= len(before) < 13
    records = run(folder, tmp_path, monkeypatch=monkeypatch)
    assert before < {r["id"] for r in records}

    searching = [r for r in records if r["recipe"] == "searching"]
    assert [r["name"] for r in searching] == list(ADD_ON_AXES[0])
    found = max(searching, key=lambda r: r["measures"]["lp_cv"]["value"])
    records = [r for r in records if r not in searching]
    (judged,) = (r for r in records if r["name"] == found["name"])
    assert judged["recipe"] == "tuned" and "lp" in judged["measures"]
    assert judged["settings"]["lambda_unif"] == found["settings"]["lambda_unif"]
    records.remove(judged)

    by_recipe = {}
    for record in records:
        by_recipe.setdefault(record["recipe"], []).append(record)
    tuning = by_recipe["tuning"]
    assert len(tuning) == 3 and len({r["name"] for r in tuning}) == 3
    assert all(set(r["measures"]) == {"lp_cv", "seconds", "images_per_second", "epochs"}
               for r in tuning), "tuning read the test set"
    rates = tuning[:2]  # the first axis; then another batch size with the better rate
    better = rates[X.best_probe(rates)]["settings"]["lr"]
    batches = [next(r for r in rates if r["settings"]["lr"] == better), tuning[2]]
    best = batches[X.best_probe(batches)]["settings"]
    tuned = {r["name"]: r for r in by_recipe["tuned"] if "epochs" in r["measures"]}
    assert set(tuned) == {"original", "improved", "shuffled", "curriculum+equal-compute"}
    for record in tuned.values():
        assert record["settings"]["lr"] == best["lr"]
        assert record["settings"]["batch_size"] == best["batch_size"]
    assert "ft" in tuned["improved"]["measures"] and "ft" not in tuned["shuffled"]["measures"]
    for kind, name in (("fine-tuning", "original"), ("fine-tuning from scratch", "from scratch")):
        tried = by_recipe[kind]
        assert all(set(r["measures"]) == {"ft_held_out"} for r in tried), "read the test set"
        assert tried[0]["measures"]["ft_held_out"]["images"] == 4  # of 20
        found = max(tried, key=lambda r: r["measures"]["ft_held_out"]["value"])
        (final,) = (r for r in by_recipe["tuned"] if r["name"] == name)
        assert final["settings"]["fine_tune"] == found["settings"]["fine_tune"]
    assert {r["settings"]["fine_tune"]["layer_decay"] for r in by_recipe[kind]} == {1}
    assert {"chance", "raw pixels", "random init", "from scratch"} <= {
        r["name"] for r in by_recipe["tuned"]}
    (reported,) = by_recipe["specified"]
    assert reported["settings"]["lr"] == PretrainConfig().lr

    with monkeypatch.context() as m:  # nothing is done twice
        m.setattr(X.Comparison, "_fine_tune", None)
        m.setattr("mae_lib.compare.pretrain", None)
        again = run(folder, tmp_path, monkeypatch=monkeypatch)
    assert [r for r in again if r in records] == records and len(again) == len(records) + 3

    recipe = {**TINY.fine_tune, "epochs": 2}
    with monkeypatch.context() as m:  # another recipe of fine-tuning needs no new weights
        m.setattr(X, "SCALES", {"cpu": replace(TINY, fine_tune=recipe)})
        m.setattr("mae_lib.compare.pretrain", None)
        more = run(folder, tmp_path, "--studies", "methods", monkeypatch=monkeypatch)
    new = {r["name"]: r for r in more if r not in again and r["recipe"] == "tuned"}
    assert set(new) == {"original", "improved", "from scratch"}
    for name in ("original", "improved"):
        assert new[name]["settings"]["fine_tune"]["epochs"] == 2
        old, now = tuned[name]["measures"], new[name]["measures"]
        assert all(now[m] == old[m] for m in ("lp", "knn", "psnr", "seconds", "epochs"))
        assert now["images_per_second"] == pytest.approx(old["images_per_second"], rel=1e-6)


def test_a_study_can_have_other_seeds_and_variants(folder, tmp_path, monkeypatch, tiny):  # noqa: F811
    words = ("--studies", "reported", "--seeds", "3", "4", "--variants")
    records = run(folder, tmp_path, *words, "laplacian+batch_size=8", monkeypatch=monkeypatch)
    assert [(r["name"], r["seed"], r["recipe"]) for r in records] == [
        ("laplacian+batch_size=8", 3, "specified"), ("laplacian+batch_size=8", 4, "specified")]
    with pytest.raises(ValueError, match="Unknown variant 'sharper'"):
        run(folder, tmp_path, *words, "sharper", monkeypatch=monkeypatch)


def test_a_setting_that_diverges_loses_instead_of_ending_the_tuning(
    folder, tmp_path, monkeypatch, tiny  # noqa: F811
):
    from mae_lib import compare

    pretrain, fine_tune = compare.pretrain, X.evaluate.fine_tune

    def diverge(images, validation, cfg, *rest):
        if cfg.lr == 0.0006:
            raise NonFiniteLoss("The total loss became nan at step 3.")
        return pretrain(images, validation, cfg, *rest)

    def diverge_late(model, data, recipe, *rest):
        if recipe.lr == 0.01:
            raise NonFiniteLoss("The loss of fine-tuning became nan in epoch 1.")
        return fine_tune(model, data, recipe, *rest)

    monkeypatch.setattr(compare, "pretrain", diverge)
    monkeypatch.setattr(X.evaluate, "fine_tune", diverge_late)
    records = run(folder, tmp_path, "--studies", "methods", monkeypatch=monkeypatch)
    failed = [r for r in records if "failed" in r["measures"]]
    assert {r["recipe"] for r in failed} == {"tuning", "fine-tuning", "fine-tuning from scratch"}
    assert all("became nan" in r["measures"]["failed"] for r in failed)
    tuned = [r["settings"] for r in records if r["recipe"] == "tuned"]
    assert {settings["lr"] for settings in tuned if "lr" in settings} == {0.001}
    assert {s["fine_tune"]["lr"] for s in tuned if s.get("fine_tune")} == {0.001}


def test_only_one_process_works_in_a_folder(tmp_path):
    pytest.importorskip("fcntl")
    code = ("import sys, pathlib; from mae_lib.evidence.workers import folder_lock\n"
            "print('asks', flush=True)\n"
            "with folder_lock(pathlib.Path(sys.argv[1])) as mine: print(mine)")
    ask = [sys.executable, "-c", code, str(tmp_path / "run")]

    def other() -> str:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()[1]

    with X.folder_lock(tmp_path / "run") as mine:
        assert mine and other() == "False"
        patient = [*ask[:2], code.replace("[1])", "[1]), wait=True"), ask[-1]]
        waiting = subprocess.Popen(patient, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout.readline() == "asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
    assert waiting.communicate()[0] == "True\n"
    assert other() == "True"


def test_workers_share_the_runs_and_tell_of_them(folder, tmp_path):  # noqa: F811
    """In processes of their own, so with the real studies, for which there are too few images."""
    words = ["-m", "mae_lib.evidence.experiments", "--data", f"imagefolder:{folder}",
             "--size", "32", "--studies", "reported", "--workers", "2", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "2 workers; 0 records so far" in done.stdout
    assert "A worker stopped with an error: see the end of" in done.stderr
    for i in (1, 2):
        log = (tmp_path / f"worker-{i}.log").read_text()
        assert "error: 24 images do not fill one batch of 64" in log


def test_every_variant_of_the_plan_is_a_valid_setting():
    for study in X.STUDIES.values():
        for variant in set(study.variants) - {X.FOUND}:
            PretrainConfig(**variant_settings(variant)).check()
    names = [(s.recipe, v) for s in X.STUDIES.values() for v in s.variants]
    assert len(set(names)) == len(names)
    for axis in (*X.RECIPE_AXES, *X.ADD_ON_AXES):
        settings = [PretrainConfig(**variant_settings(part)) for part in axis]
        assert len(set(settings)) == len(axis)
