"""The main job, end to end on a small folder of images, and its bookkeeping."""

import itertools
import json
import multiprocessing
import re
import shutil
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from matplotlib.image import imread
from PIL import Image

from mae_lib import compare as C
from mae_lib import results as R
from mae_lib.data.augment import denormalise, resize
from mae_lib.data.fingerprint import fingerprint_of_weights
from mae_lib.data.sources import ImageSet
from mae_lib.evidence import report
from mae_lib.losses import predicted_images
from mae_lib.metrics import masked_psnr
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.runtime import workers

BASELINES = ["chance", "raw pixels", "random init", "from scratch"]
NAMES = ["original", "improved", *reversed(BASELINES)]  # in the order of running
SMALL = """
    --preset tiny --img-size 32 --patch-size 8 --epochs 2 --batch-size 10 --lr 1e-3 --size 32
    --warmup-epochs 1 --ft-epochs 2 --ft-batch-size 10 --ft-warmup-epochs 1 --precision fp32
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An imagefolder of two classes, light and dark."""
    root, rng = tmp_path_factory.mktemp("pictures") / "tones", np.random.default_rng(0)
    for split, n in (("unlabeled/all", 24), ("train/dark", 10), ("train/light", 10),
                     ("test/dark", 6), ("test/light", 6)):
        (root / split).mkdir(parents=True)
        for i in range(n):
            low = 128 if "light" in split else 0
            pixels = rng.integers(low, low + 128, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(root / split / f"{i}.png")
    return root


@pytest.fixture
def brief(monkeypatch):
    """For tests of something else: probes try one decay, and only the first look is drawn."""
    choose, save = C.evaluate.choose_decay, C.plots.save

    def touch(figure, path, **_):
        if path.name == "first_look.png":
            return save(figure, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    monkeypatch.setattr(C.plots, "save", touch)
    monkeypatch.setattr(C.evaluate, "choose_decay", lambda train, labels, mirrored=None: choose(
        train, labels, mirrored, decays=(0.1,)))


def run(folder, out, *words, monkeypatch, capsys, workers="--workers=1"):
    """Call the command; what it printed."""
    where = ["--data", f"imagefolder:{folder}", "--out", str(out)]
    words = ["compare", *where, *SMALL.split(), *workers.split(), *words]
    with monkeypatch.context() as m:
        m.setattr(sys, "argv", words)
        C.main()
    return capsys.readouterr().out


def test_the_whole_comparison(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    text = run(folder, out, monkeypatch=monkeypatch, capsys=capsys)
    records = R.Results(out / "results.json").read()
    assert [r["name"] for r in records] == NAMES
    rows = [line[:21].strip() for line in text.splitlines() if line[:1].islower() and "  " in line]
    quality = ["original", "improved", "improved − original"]
    references = ["masked mean", "bilinear fill", "blurred target"]
    assert rows == [*BASELINES, *quality, *quality, *references]
    for title, _ in R.MEASURES.values():
        assert title in text
    improved = records[1]
    lp = improved["measures"]["lp"]
    assert f"{lp['value']:.1f} ± {(lp['high'] - lp['low']) / 2:.1f}" in next(
        line for line in text.splitlines() if line.startswith("improved"))
    assert {"device", "torch", "python", "command", "date", "settings", "data"} <= improved.keys()
    assert improved["settings"]["lambda_freq"] == 0.05
    assert [e["epoch"] for e in improved["measures"]["epochs"]] == [1, 2]
    assert str(folder) not in json.dumps(records)  # no path of the machine
    assert "imagefolder:tones" in improved["command"] and "--out" not in improved["command"]
    for figure in ("compare_curves", "compare_accuracy", "compare_reconstructions"):
        pixels = imread(out / "figures" / f"{figure}.png")
        assert min(pixels.shape[:2]) > 200 and pixels[..., :3].std() > 0.05

    # The table of the results file can be printed again.
    with monkeypatch.context() as m:
        m.setattr(sys, "argv", ["report", str(out / "results.json")])
        report.main()
        printed = capsys.readouterr().out
        start, end = text.index("imagefolder:tones"), text.index("\nRecords:")
        strip = lambda t: [x for x in t.split("images", 1)[1].splitlines()[1:] if x]  # noqa: E731
        assert strip(printed) == strip(text[start:end])
        m.setattr(sys, "argv", ["report", "nowhere.json"])
        with pytest.raises(FileNotFoundError, match="no results file nowhere"):
            report.main()

    # A second call finds everything done.
    with monkeypatch.context() as m:
        m.setattr(C, "pretrain", None)
        m.setattr(C.evaluate, "fine_tune", None)
        again = run(folder, out, monkeypatch=monkeypatch, capsys=capsys)
    assert again == text
    assert not list(out.glob("*/*.pt"))  # nothing large is left behind

    # Another seed adds its own runs and keeps the others; intervals are then over seeds.
    monkeypatch.setattr(C, "draw", lambda *_: [])
    text = run(folder, out, "--seeds", "0", "1", monkeypatch=monkeypatch, capsys=capsys)
    records = R.Results(out / "results.json").read()
    assert len(records) == 10 and "over 2 seeds" in text


@pytest.mark.parametrize("given, recorded", [
    (["--data", "imagefolder:/disk/of/mine/photos"], "--data imagefolder:photos"),
    (["--data", "imagefolder:photos"], "--data imagefolder:photos"),
    (["--data=imagefolder:../photos/"], "--data=imagefolder:photos"),
    (["--out", "/disk/of/mine/x", "--workers=2", "--seeds", "1", "2"], "--seeds 1 2"),
])
def test_a_recorded_command_tells_no_folders(given, recorded, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare", *given])
    assert C.cli.command().endswith(recorded) and "mine" not in C.cli.command()
    assert "--out" not in C.cli.command() and "--workers" not in C.cli.command()


def test_pictures_show_the_weights_of_their_own_run(folder, tmp_path, monkeypatch, capsys, brief):
    """Runs with other settings, or on other data of the same name, keep weights of their own."""
    shown = []
    monkeypatch.setattr(C.plots, "reconstructions", lambda models, *_: (
        shown.append((fingerprint_of_weights(models["original"][0].state_dict()),
                      models["original"][1])),
        C.plots.new_figure(1, 1, 4, 3)[0])[1])
    other = tmp_path / "b" / folder.name
    shutil.copytree(folder, other)
    picture = next((other / "unlabeled").rglob("*.png"))
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    for data, lr in ((folder, "0.001"), (folder, "0.002"), (other, "0.001"), (folder, "0.001")):
        run(data, tmp_path / "run", "--lr", lr, "--variants", "original", monkeypatch=monkeypatch,
            capsys=capsys)
    assert len(set(shown)) == 3 and shown[3] == shown[0]
    assert {norm_pix for _, norm_pix in shown} == {True}

def test_from_scratch_has_one_rate_for_all_layers_and_its_own_peak(
    folder, tmp_path, monkeypatch, capsys, brief
):
    runs = []
    monkeypatch.setattr(C.evaluate, "fine_tune", lambda model, data, cfg, *_: (
        runs.append(cfg), R.Accuracy(torch.ones(12, dtype=torch.bool)))[1])
    words = ["--variants", "original", "--recipe"]
    for recipe, rest in (("quick", []), ("tuned", []), ("tuned", ["--ft-lr", "0.002"])):
        run(folder, tmp_path / str(len(runs)), *words, recipe, *rest, monkeypatch=monkeypatch,
            capsys=capsys)
    assert [cfg.lr for cfg in runs] == [5e-3, 1e-3, 0.012, 1e-3, 0.002, 0.002]
    assert [cfg.layer_decay for cfg in runs] == [0.6, 1.0] + [0.75, 1.0] * 2


def labelled(labels):
    """Images of which each is as bright as its place in the set."""
    labels = torch.tensor(labels)
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    return ImageSet("toy", tuple("abc"), images, images, labels, images, labels)


def test_few_labels_are_spread_over_the_classes_and_part_of_more():
    data = labelled([0] * 10 + [1] * 3 + [2] * 10)
    sets = {n: C.evaluate.with_labels(data, n) for n in (3, 9, 14, 23)}
    for n, few in sets.items():
        places = few.train[:, 0, 0, 0].long()
        assert len(places.unique()) == n
        assert torch.equal(few.train_labels, data.train_labels[places])
        assert few.test is data.test and few.unlabeled is data.unlabeled
    assert [sets[n].train_labels.bincount().tolist() for n in (3, 9)] == [[1, 1, 1], [3, 3, 3]]
    counts = sets[14].train_labels.bincount().tolist()  # the small class has no more to give
    assert counts[1] == 3 and abs(counts[0] - counts[2]) == 1
    places = [set(few.train[:, 0, 0, 0].tolist()) for few in sets.values()]
    assert all(small < large for small, large in itertools.pairwise(places))
    assert torch.equal(C.evaluate.with_labels(data, 9).train, sets[9].train)


def test_few_labels_are_probed_with_their_mirror_images_and_picked_at_random(
    tmp_path, monkeypatch
):
    torch.manual_seed(0)
    images, labels = torch.randint(256, (66, 3, 16, 16), dtype=torch.uint8), torch.arange(66) % 3
    data = ImageSet("toy", tuple("abc"), images, images[:60], labels[:60], images[60:], labels[60:])
    model, E = MaskedAutoencoder.from_preset("tiny", img_size=16, patch_size=4), C.evaluate
    given, probe = [], E.linear_probe
    monkeypatch.setattr(E, "linear_probe", lambda *x: (given.append(x), probe(*x))[1])
    tuned = []
    monkeypatch.setattr(E, "fine_tune", lambda *x: (
        tuned.append(x), R.Accuracy(x[1].train_labels == 0))[1])
    comparison = C.Comparison(data, {"precision": "bf16"}, C.FineTuneConfig(), tmp_path,
                              R.Results(tmp_path / "r"), torch.device("cpu"), label_counts=(6, 60))
    found = comparison._fine_tune(comparison.config("original", 0), model, "original", tmp_path)
    assert {x[4] for x in tuned} == {"bf16"}
    assert len({x[6] for x in tuned}) == len(tuned) == 2  # each with a checkpoint of its own
    assert found["ft"]["images"] == 60 and found["labels"].keys() == {"6"}
    few = E.with_labels(data, 6)
    assert found["labels"]["6"]["ft"]["images"] == 6 and not torch.equal(few.train, images[:6])
    expected = (E.extract_features(model, few.train), few.train_labels,
                E.extract_features(model, data.test), data.test_labels,
                E.extract_features(model, few.train.flip(3)))
    for ours, theirs in zip(*given, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert found["labels"]["6"]["lp"] == probe(*expected).entry()


def test_few_labels_are_fine_tuned_for_longer_recorded_and_drawn(
    folder, tmp_path, monkeypatch, capsys, brief
):
    runs = []
    monkeypatch.setattr(C.evaluate, "fine_tune", lambda model, data, cfg, *_: (
        runs.append((len(data.train), cfg.epochs)), R.Accuracy(torch.ones(12, dtype=bool)))[1])
    monkeypatch.setitem(C.RECIPES, "quick", replace(C.RECIPES["quick"], label_counts=(5, 10, 100)))
    run(folder, tmp_path, "--variants", "original", "--ft-epochs", "4", monkeypatch=monkeypatch,
        capsys=capsys)
    assert runs == [(20, 4), (5, 8), (10, 6)] * 2
    records = R.Results(tmp_path / "results.json").read()
    found = {r["name"]: r["measures"]["labels"] for r in records if "labels" in r["measures"]}
    assert found.keys() == {"original", "from scratch"}
    for few in found.values():
        assert {n: list(entries) for n, entries in few.items()} == {
            "5": ["lp", "ft"], "10": ["lp", "ft"]}
    lines = C.plots.label_lines({r["name"]: [r] for r in records})
    assert lines.keys() == {"from scratch", "original, fine-tuned", "original, linear probe"}
    assert lines["from scratch"] == [(5, 100.0), (10, 100.0), (20, 100.0)]
    assert (tmp_path / "figures" / "compare_labels.png").exists()


@pytest.mark.parametrize("norm_pix", [True, False])
def test_a_picture_shows_target_mask_and_what_each_model_fills_in(norm_pix):
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    models = {name: (MaskedAutoencoder.from_preset("tiny", img_size=32, patch_size=8).eval(),
                     norm_pix) for name in "ab"}
    axes = np.array(C.plots.reconstructions(models, images, 0.75, "A title").axes).reshape(2, 4)
    assert [axis.get_title() for axis in axes[0]] == ["target", "75% masked", "a", "b"]
    shown = [torch.stack([torch.tensor(np.asarray(axis.images[0].get_array()))
                          for axis in column]).permute(0, 3, 1, 2) for column in axes.T]
    x = resize(images, 32)
    target = denormalise(x).clamp(0, 1)
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(1))
    for column, (model, _) in enumerate(models.values(), 2):
        with torch.no_grad():
            output = model(x, 0.75, noise=noise)
        hidden = patch_mask_to_pixels(output.mask, 8)
        picture = denormalise(predicted_images(output.pred, x, 8, norm_pix)).clamp(0, 1)
        torch.testing.assert_close(shown[column], torch.where(hidden > 0, picture, target))
        assert [axis.get_xlabel() for axis in axes[:, column]] == [
            f"{psnr:.1f} dB" for psnr in masked_psnr(picture, target, hidden)]
    torch.testing.assert_close(shown[0], target)
    torch.testing.assert_close(shown[1], torch.where(hidden > 0, 0.5, target))


def test_curves_and_bars_draw_what_was_measured():
    keys = ("val_loss", "val_psnr", "effective_rank")
    records = [{"epoch": e, **{key: 10.0 * i + e for i, key in enumerate(keys)}} for e in (1, 2)]
    for axis, key in zip(C.plots.curves({"original": records}, "").axes, keys, strict=True):
        assert list(axis.lines[0].get_ydata()) == [record[key] for record in records]
    nan = float("nan")
    (axis,) = C.plots.accuracy_bars([("chance", {"LP": (10.0, nan, nan)}),
                                     ("original", {"LP": (50.0, 42.0, 53.0)})], "").axes
    assert [bar.get_height() for bar in axis.patches] == [10, 50]
    (whisker,) = axis.collections[0].get_segments()
    assert whisker[:, 1].tolist() == [42, 53]


def test_a_recipe_says_how_many_scenes_there_are(monkeypatch):
    asked = []

    def load_data(name, *, counts, **_):
        asked.append(counts)
        raise KeyboardInterrupt

    monkeypatch.setattr("mae_lib.pretrain.load_data", load_data)
    monkeypatch.setattr(sys, "argv", ["compare", "--device", "cpu"])
    with pytest.raises(KeyboardInterrupt):
        C.main()
    assert asked == [C.RECIPES["quick"].counts] != [None]


def test_a_first_picture_comes_early_and_only_once(folder, tmp_path, monkeypatch, capsys, brief):
    monkeypatch.setattr(C, "FIRST_PICTURE_SECONDS", 0)
    told = []
    monkeypatch.setattr(C.tqdm, "write", lambda text, **_: told.append(text))
    run(folder, tmp_path, monkeypatch=monkeypatch, capsys=capsys)
    path = tmp_path / "first_look.png"
    looks = [text for text in told if "look" in text]
    (look,) = looks
    assert look.startswith(f"A first look at what Original reconstructs so far: {path}")
    assert imread(path)[..., :3].std() > 0.05
    # Each run is announced, with how many are done.
    runs = [text.removeprefix("Now: ").partition(" (")[0] for text in told if "Now" in text]
    parts = [text for text in runs if text.startswith("probe and kNN of ")]
    assert [text.split()[-1] for text in parts] == ["original", "improved"]
    assert [text for text in runs if text not in parts] == NAMES
    assert "(0 of 6 runs done)" in told[0] and "(5 of 6 runs done)" in told[-1]


def test_drawing_leaves_a_model_as_it_was():
    """A learner may go on training it: in training mode, and on its device."""
    model = MaskedAutoencoder.from_preset("tiny", img_size=32, patch_size=8).train()
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    figure = C.plots.reconstructions({"Mine": (model, True)}, images, 0.75, "A title")
    assert model.training and len(figure.axes) == 6
    if torch.cuda.is_available():
        C.plots.reconstructions({"Mine": (model.cuda(), True)}, images, 0.75, "A title")
        assert {p.device.type for p in model.parameters()} == {"cuda"}


def test_a_name_with_dollars_is_no_formula(tmp_path):
    """As in "imagefolder:$5_$9", which Matplotlib would set as a formula, or refuse."""
    figure = C.plots.accuracy_bars([("original", {"LP@1 %": (50.0, 40.0, 60.0)})], "$5_$9")
    assert C.plots.save(figure, tmp_path / "bars.png").exists()
    assert figure.texts[0].get_text() == r"\$5_\$9"


def test_psnr_is_of_test_images_of_all_classes(monkeypatch):
    monkeypatch.setattr(C, "RECONSTRUCTION_IMAGES", 2)
    seen, images = [], torch.arange(12).view(12, 1, 1, 1)  # sorted by class
    monkeypatch.setattr(C.evaluate, "reconstruction_quality", lambda model, images, norm_pix: (
        seen.append((model, images, norm_pix)), {"model": {"psnr": torch.ones(2)}})[1])
    found = C.reconstruction_measures("model", images, True)
    assert found == {"model": {"psnr": {"value": 1.0, "low": 1.0, "high": 1.0, "images": 2}}}
    ((model, chosen, norm_pix),) = seen
    assert (model, norm_pix) == ("model", True) and chosen.flatten().tolist() == [0, 6]


def test_an_interrupted_comparison_goes_on(folder, tmp_path, monkeypatch, capsys, brief):
    out, measure, calls = tmp_path / "run", C.encoder_measures, []

    def stop_at_random_init(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*args)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(C, "encoder_measures", stop_at_random_init)
        run(folder, out, monkeypatch=monkeypatch, capsys=capsys)
    assert [r["name"] for r in R.Results(out / "results.json").read()] == NAMES[:3]
    run(folder, out, monkeypatch=monkeypatch, capsys=capsys)
    assert [r["name"] for r in R.Results(out / "results.json").read()] == NAMES


# ---------------------------------------------------------------- two processes


@pytest.fixture
def second(monkeypatch):
    """The second processes that were started; all processes have one thread."""
    started, popen, threads = [], workers.subprocess.Popen, torch.get_num_threads()
    monkeypatch.setattr(workers.subprocess, "Popen", lambda *arguments, **words: (
        started.append(popen(*arguments, **words)), started[-1])[1])
    torch.set_num_threads(1)
    yield started
    torch.set_num_threads(threads)


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    assert condition()


def before_the_first_run(monkeypatch, do):
    """Let this process call `do` when it has taken its first run, so that the second does more."""
    measures, waited = C.Comparison.measures, []

    def patient(self, name, *rest):
        if not waited:
            waited.append(name)
            do()
        return measures(self, name, *rest)

    monkeypatch.setattr(C.Comparison, "measures", patient)


@pytest.mark.parametrize("changed", [("--lr", "0.002"), ("--ft-lr", "0.002"), ()])
def test_an_interrupted_comparison_can_be_run_with_other_settings(
    folder, tmp_path, monkeypatch, capsys, brief, changed
):
    save = C.evaluate.save_checkpoint

    def interrupt(*args):
        save(*args)
        raise KeyboardInterrupt

    only = ("--variants", "original")
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(C.evaluate, "save_checkpoint", interrupt)
        run(folder, tmp_path, *only, monkeypatch=monkeypatch, capsys=capsys)
    run(folder, tmp_path, *only, *changed, monkeypatch=monkeypatch, capsys=capsys)
    names = [r["name"] for r in R.Results(tmp_path / "results.json").read()]
    assert "original" in names and len(names) == 5


def test_finished_weights_are_not_trained_again_for_another_fine_tuning(
    folder, tmp_path, monkeypatch, capsys, brief
):
    words = ("--variants", "original")
    run(folder, tmp_path, *words, monkeypatch=monkeypatch, capsys=capsys)
    monkeypatch.setattr("mae_lib.pretrain.fastest_step", None)
    run(folder, tmp_path, *words, "--ft-lr", "0.002", monkeypatch=monkeypatch, capsys=capsys)
    records = [r for r in R.Results(tmp_path / "results.json").read() if r["name"] == "original"]
    assert len(records) == 2 and "ft" in records[1]["measures"]
    same = [{k: r["measures"][k] for k in ("lp", "psnr", "seconds", "epochs")} for r in records]
    assert same[0] == same[1]
    with pytest.raises(ValueError, match="several records of 'original' for one seed"):
        R.table(records)


def test_the_precision_of_the_first_start_stays(folder, tmp_path, monkeypatch, capsys):
    """A measurement may find another one faster the next time."""
    chosen = []
    monkeypatch.setattr(C.workers, "finish", lambda jobs: (
        chosen.append(jobs[0][1].func.__self__.base["precision"]), [])[1])
    monkeypatch.setattr(C, "draw", lambda *_: [])
    monkeypatch.setattr(C, "table", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["compare", "--data", f"imagefolder:{folder}", "--workers=1",
                                      "--out", str(tmp_path), *SMALL.split()[:-2]])
    for faster, fresh in (("bf16", []), ("fp32", []), ("fp32", ["--fresh"])):
        monkeypatch.setattr(C.hardware, "pick_precision", lambda _, name, faster=faster: (
            faster if name == "auto" else name))
        with monkeypatch.context() as m:
            m.setattr(sys, "argv", sys.argv + fresh)
            C.main()
    assert chosen == ["bf16", "bf16", "fp32"]


def without_times(text):
    return [re.sub(r" +\d+$", "", line) for line in text.splitlines()
            if "png" not in line and "json" not in line]


@pytest.mark.slow
def test_two_processes_give_the_table_of_one_and_can_be_interrupted(
    folder, tmp_path, monkeypatch, capsys, second
):
    alone = run(folder, tmp_path / "one", monkeypatch=monkeypatch, capsys=capsys)
    out, results = tmp_path / "two", R.Results(tmp_path / "two" / "results.json")

    def interrupt():
        wait_for(lambda: "Now: improved" in (out / "worker-2.log").read_text())
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        before_the_first_run(m, interrupt)
        run(folder, out, monkeypatch=monkeypatch, capsys=capsys, workers="--workers=2")
    assert second[0].returncode is not None and len(results.read()) < 5

    before_the_first_run(monkeypatch, lambda: wait_for(lambda: len(results.read()) == 5))
    both = run(folder, out, monkeypatch=monkeypatch, capsys=capsys, workers="--workers=2")
    assert without_times(both) == without_times(alone)
    records = results.read()
    assert [r["name"] for r in records] == [*NAMES[1:], NAMES[0]] and len(second) == 2
    assert not any("helper" in r["command"] or "workers" in r["command"] for r in records)
    assert (out / "figures" / "compare_reconstructions.png").exists()


def test_without_the_second_process_the_first_does_everything(
    folder, tmp_path, monkeypatch, capsys, brief
):
    told, popen = [], workers.subprocess.Popen
    monkeypatch.setattr(C.tqdm, "write", lambda text, **_: told.append(text))
    monkeypatch.setattr(workers.subprocess, "Popen", lambda words, **more: popen(
        [sys.executable, "-c", "exit('error: The disk is full.')"], **more))
    before_the_first_run(monkeypatch, lambda: wait_for(lambda: any("full" in t for t in told)))
    run(folder, tmp_path, monkeypatch=monkeypatch, capsys=capsys, workers="--workers=2")
    assert [r["name"] for r in R.Results(tmp_path / "results.json").read()] == NAMES
    (failure,) = (text for text in told if "stopped" in text)
    assert failure.startswith("Process 2 stopped with exit code 1 (error: The disk is full.).")


@pytest.mark.parametrize("threads, words, processes", [
    (1, "", 1), (2, "", 2), (8, "", 2), (8, "--workers 3", 3)])
def test_how_many_processes_there_are(
    threads, words, processes, folder, tmp_path, monkeypatch, capsys
):
    counts = []
    monkeypatch.setattr(C.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(C.workers, "finish", lambda jobs: [])
    monkeypatch.setattr(C, "draw", lambda *_: [])
    monkeypatch.setattr(C, "table", lambda _: "")
    monkeypatch.setattr(C.workers, "helped", lambda module, arguments, default, *_, every: (
        counts.append(arguments.workers or default), nullcontext())[1])
    run(folder, tmp_path, "--device", "cpu", monkeypatch=monkeypatch, capsys=capsys, workers=words)
    assert counts == [processes]


def test_bad_requests_end_before_any_work(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="Unknown variant 'improoved'"):
        run(folder, tmp_path, "--variants", "improoved", monkeypatch=monkeypatch, capsys=capsys)
    with pytest.raises(ValueError, match="mask_ratio must be"):
        run(folder, tmp_path, "--mask-ratio", "1.5", monkeypatch=monkeypatch, capsys=capsys)
    for option in (("--lambda-freq", "0.1"), ("--mask-ratio-sched", "cosine")):
        with pytest.raises(SystemExit):  # it would change the original too
            run(folder, tmp_path, *option, monkeypatch=monkeypatch, capsys=capsys)
        assert f"unrecognized arguments: {' '.join(option)}" in capsys.readouterr().err
    fine_tuning = r"^In fine-tuning \(options --ft-…\): "
    with pytest.raises(ValueError, match=f"{fine_tuning}label_smoothing must be at least 0 and be"):
        run(folder, tmp_path, "--ft-label-smoothing", "2", monkeypatch=monkeypatch, capsys=capsys)
    with pytest.raises(ValueError, match=f"{fine_tuning}warmup_epochs must be below epochs"):
        run(folder, tmp_path, "--ft-epochs", "1", monkeypatch=monkeypatch, capsys=capsys)
    with pytest.raises(ValueError, match="need the same img_size and patch_size"):
        run(folder, tmp_path, "--variants", "original", "original+patch_size=4",
            monkeypatch=monkeypatch, capsys=capsys)
    with pytest.raises(ValueError, match="and baselines need the same img_size and patch_size"):
        run(folder, tmp_path, "--variants", "original+patch_size=4", monkeypatch=monkeypatch,
            capsys=capsys)
    with pytest.raises(ValueError, match=r"Unknown variant 'original.seed=3'"):
        run(folder, tmp_path, "--variants", "original+seed=3", monkeypatch=monkeypatch,
            capsys=capsys)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match=r"--workers must be at least 1, got 0\."):
        run(folder, tmp_path, "--fresh", monkeypatch=monkeypatch, capsys=capsys,
            workers="--workers=0")
    (tmp_path / "results.json").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"mae_lib.compare runs in one process"):
        run(folder, tmp_path, monkeypatch=monkeypatch, capsys=capsys)
    assert not (tmp_path / "results.json").exists()


def test_results_of_other_data_are_never_taken_for_new(
    folder, tmp_path, monkeypatch, capsys, brief
):
    """Another folder of the same name, shape and counts; the same one with a corrected label."""
    first = run(folder, tmp_path / "run", "--variants", "original", monkeypatch=monkeypatch,
                capsys=capsys)
    other = tmp_path / "b" / folder.name
    shutil.copytree(folder, other)
    test = other / "test"
    (test / "dark" / "0.png").rename(tmp_path / "swapped")
    (test / "light" / "0.png").rename(test / "dark" / "0.png")
    (tmp_path / "swapped").rename(test / "light" / "0.png")
    second = run(other, tmp_path / "run", "--variants", "original", monkeypatch=monkeypatch,
                 capsys=capsys)
    assert first != second
    prints = {r["data"]["fingerprint"] for r in R.Results(tmp_path / "run/results.json").read()}
    assert len(prints) == 2
    for line in second.splitlines():
        if line.startswith("raw pixels"):  # right on all but the two mislabelled images
            assert f"{100 * 10 / 12:.1f}" in line


def test_finished_runs_are_not_shown_as_those_of_another_precision(
    folder, tmp_path, monkeypatch, capsys, brief
):
    bf16, words = "--precision=bf16", ("--variants", "original", "--ft-epochs=2")
    run(folder, tmp_path, *words, monkeypatch=monkeypatch, capsys=capsys)
    with pytest.raises(ValueError, match=r"holds these runs in fp32: name another --out \("):
        run(folder, tmp_path, *words, bf16, monkeypatch=monkeypatch, capsys=capsys)
    assert (tmp_path / "precision").read_text() == "fp32"  # for the next start
    run(folder, tmp_path, *words, "--precision=auto", monkeypatch=monkeypatch, capsys=capsys)


def test_fresh_deletes_nothing_while_another_process_works_there(tmp_path, monkeypatch):
    """Neither what that process has made, nor what is finished, nor the precision."""
    def main(*words):
        with monkeypatch.context() as m:
            m.setattr(sys, "argv", ["compare", "--out", str(tmp_path), "--variants", "original",
                                    "--workers=1", *SMALL.split()[:-2], *words])
            C.main()

    images = torch.zeros(12, 3, 32, 32, dtype=torch.uint8)
    labels = torch.arange(12) % 2
    monkeypatch.setattr(C, "data_from", lambda *_: ImageSet(
        "toy", ("a", "b"), images, images, labels, images, labels))
    seen = []
    monkeypatch.setattr(C.workers, "finish", lambda jobs: seen.append(jobs) or [])
    monkeypatch.setattr(C, "draw", lambda *_: [])
    monkeypatch.setattr(C, "table", lambda _: "")
    main("--precision", "fp32")
    folder, work = seen[0][-1]
    (name, seed), comparison = work.args, work.func.__self__
    comparison.results.add({"id": comparison.key(name, seed), "measures": {}, "settings": {}})
    folders = [folder for folder, _ in seen[0]]
    for each in folders:
        each.mkdir(exist_ok=True)
        (each / "checkpoint.pt").touch()
    with workers.take(folder), pytest.raises(ValueError, match=f"process uses {folder}"):
        main("--fresh", "--precision", "bf16")
    assert all((each / "checkpoint.pt").exists() for each in folders)
    assert comparison.results.read() and (tmp_path / "precision").read_text() == "fp32"
    main("--fresh", "--precision", "bf16")
    assert not any((each / "checkpoint.pt").exists() for each in folders)
    assert not comparison.results.read() and (tmp_path / "precision").read_text() == "bf16"


def test_a_record_found_again_is_that_of_its_settings_seed_and_data(folder, tmp_path):
    data = C.data_from(SimpleNamespace(data=f"imagefolder:{folder}", size=32, limit=None,
                                       strict=False))
    comparison = C.Comparison(data, {}, None, tmp_path, R.Results(tmp_path / "r.json"), None)
    key = comparison.key("original", 0)
    assert key == comparison.key("original", 0)
    changes = [replace(comparison, base={"lr": 0.1}), replace(comparison, choosing=True),
               replace(comparison, fine_tune=C.FineTuneConfig())]
    for tensor in ("unlabeled", "train", "train_labels", "test", "test_labels"):
        changed = getattr(data, tensor).clone()
        changed[-1] = 1 - changed[-1] if "labels" in tensor else changed[-1] ^ 1
        changes.append(replace(comparison, data=replace(data, **{tensor: changed})))
    keys = {c.key("original", 0) for c in changes}
    keys |= {comparison.key("improved", 0), comparison.key("original", 1)}
    assert key not in keys and len(keys) == len(changes) + 2
    # The machine's choices are recorded and change no identity.
    assert replace(comparison, base={"precision": "bf16"}).key("original", 0) == key


# ---------------------------------------------------------------- records


def record(name, seed, **values):
    measures = {k: {"value": v, "low": v - 1, "high": v + 1} for k, v in values.items()}
    return {"id": f"{name}-{seed}", "name": name, "seed": seed, "measures": measures}


def test_results_replace_by_id_and_survive_damage_with_a_sentence(tmp_path):
    results = R.Results(tmp_path / "results.json")
    assert results.read() == []
    results.add(record("a", 0, lp=1.0))
    results.add(record("b", 0, lp=2.0))
    results.add(record("a", 0, lp=3.0))
    found = [(r["name"], r["measures"]["lp"]["value"]) for r in results.read()]
    assert found == [("b", 2), ("a", 3)]
    results.path.write_text("[{")
    with pytest.raises(ValueError, match=r"results\.json is not valid JSON"):
        results.read()


def test_two_processes_add_without_losing_records(tmp_path):
    path, fork = tmp_path / "results.json", multiprocessing.get_context("fork")

    def add(name):
        for i in range(20):
            R.Results(path).add({"id": f"{name}{i}", "measures": {}})

    both = [fork.Process(target=add, args=(name,)) for name in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert {r["id"] for r in R.Results(path).read()} == {f"{n}{i}" for n in "ab" for i in range(20)}


@pytest.mark.parametrize("n", [2, 3, 5, 10, 12, 20])
def test_intervals_over_seeds_are_students(n):
    values = np.random.default_rng(n).normal(50, 3, n)
    found = R.summarise([record("a", i, lp=v) for i, v in enumerate(values)], "lp")
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values))
    assert found == pytest.approx((values.mean(), low, high), rel=1e-3)


def test_differences_over_seeds_are_paired():
    """Seeds differ by tens of points, the methods by one: only a paired interval sees it."""
    base = np.array([10.0, 40.0, 70.0])
    a = [record("a", i, lp=v) for i, v in enumerate(base)]
    b = [record("b", i, lp=v) for i, v in enumerate(base + np.array([1.0, 1.1, 0.9]))]
    mean, low, high = R.difference(a, b, "lp")
    assert mean == pytest.approx(1.0) and low > 0.7 and high < 1.3
    assert R.difference(a, b, "ft") is None


def test_stored_accuracies_come_back_bit_for_bit():
    right = torch.rand(77) < 0.4
    stored = R.Accuracy.from_entry(json.loads(json.dumps(R.Accuracy(right, "k=5").entry())))
    assert torch.equal(stored.correct, right) and stored.chosen == "k=5"


def test_times_of_several_devices_are_not_averaged():
    def run(device, seconds, seed):
        measures = {"seconds": seconds, "images_per_second": 1, "epochs": [], "references": {},
                    "lp": {"value": 50.0}}
        return {"name": "original", "seed": seed, "device": device, "measures": measures,
                "settings": {}}

    text = R.table([run("CPU", 100, 1), run("GPU", 5, 2), run("CPU", 300, 3)])
    rows = [line.split() for line in text.splitlines() if line.startswith("original")]
    assert [row[-1] for row in rows] == ["200", "1"]
    assert text.endswith("over 3 seeds (Student's t; differences use the\nseeds that both have); "
                         "in rows without several seeds, over the test images.")
    assert "interval over the test images." in R.table([run("CPU", 100, 1)])
    other = [run("CPU", 1, seed) | {"name": "improved"} for seed in (1, 2)]
    assert "over 2 or 3 seeds" in R.table([run("CPU", 1, seed) for seed in (1, 2, 3)] + other)


# ---------------------------------------------------------------- what is measured


def test_frozen_features_are_those_of_images_and_mirror_images(tmp_path, monkeypatch):
    images = torch.randint(256, (90, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(90) % 3
    images[:, 0, 0, :3] //= 1 + torch.nn.functional.one_hot(labels).byte()
    data = ImageSet("toy", tuple("abc"), images, images[:60], labels[:60], images[60:], labels[60:])
    seen = []

    def extract(x, mirrored=False):
        seen.append(x := x.flip(3) if mirrored else x)
        return x[:, :, 0].flatten(1).double() @ torch.linspace(1, 3, 24).double().diag()

    found = C.frozen_measures(extract, data)
    for ours, theirs in zip(seen, (data.train, data.train.flip(3), data.test), strict=True):
        assert torch.equal(ours, theirs)
    train, mirrored, test = map(extract, tuple(seen))
    known, judged, E = (train, labels[:60]), (test, labels[60:]), C.evaluate
    decay, validated = E.choose_decay(*known, mirrored)
    centred, whitened = E.centred(train, test), E.whitened(train, test)
    expected = {
        "lp": E.linear_probe(*known, *judged, mirrored, decay), "lp_cv": validated,
        "knn": E.knn(*known, *judged),
        "knn_centred": E.knn(centred[0], known[1], centred[1], judged[1]),
        "knn_whitened": E.knn(whitened[0], known[1], whitened[1], judged[1])}
    assert found == {name: accuracy.entry() for name, accuracy in expected.items()}
    assert len({entry["correct"] for entry in found.values()}) == 5
    monkeypatch.setattr(E, "extract_features", lambda model, x, **other: extract(x, **other))
    run = SimpleNamespace(model=None, seconds=1, images_per_second=8,
                          history=SimpleNamespace(epochs=list))
    monkeypatch.setattr(C.Comparison, "pretrain", lambda *_: run)
    choice = C.Comparison(replace(data, test=None), {"preset": "tiny"}, None, tmp_path, None, None,
                          choosing=True)  # reads no test image
    assert choice.measures("original", 0, tmp_path) == {
        "lp_cv": found["lp_cv"], "seconds": 1, "images_per_second": 8, "epochs": []}


def test_a_run_is_measured_on_test_images_with_its_own_seed_and_settings(tmp_path, monkeypatch):
    images = torch.arange(17, dtype=torch.uint8).view(17, 1, 1, 1).expand(17, 3, 32, 32)
    labels = torch.tensor([0, 0, 1, 2, 0, 1, 1, 1, 2])
    data = ImageSet("toy", tuple("abc"), images[:8], images[8:12], labels[:4], images[12:],
                    labels[4:])
    comparison = C.Comparison(data, dict(preset="tiny", img_size=32, patch_size=8, norm_pix=True),
                              None, tmp_path, R.Results(tmp_path / "r.json"), torch.device("cpu"))
    chance = comparison.measures("chance", None, tmp_path)
    assert chance == {m: {"value": 60.0} for m in ("lp", "ft", "knn")}  # 3 of 5 test images
    models, judged, trained = [], [], []
    monkeypatch.setattr(C, "encoder_measures", lambda model, _: (models.append(model), {})[1])
    comparison.measures("random init", 3, tmp_path)
    expected = comparison.config("original", 3).build_model().state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in models[0].state_dict().items())
    history = SimpleNamespace(epochs=lambda: [])
    monkeypatch.setattr(C, "pretrain", lambda images, validation, cfg, *_, **__: (
        trained.append((images, validation, cfg)),
        SimpleNamespace(model="model", seconds=2.0, images_per_second=9.0, history=history))[1])
    monkeypatch.setattr(C.evaluate, "reconstruction_quality", lambda model, images, norm_pix: (
        judged.append((model, images, norm_pix)), {"model": {"psnr": torch.ones(3)}})[1])
    found = comparison.measures("improved", 3, tmp_path)
    unlabeled, validation, cfg = trained[0]
    assert unlabeled is data.unlabeled and validation is data.validation and cfg.seed == 3
    assert cfg.lambda_freq > 0 and models[1] == "model"
    model, tested, norm_pix = judged[0]
    assert model == "model" and norm_pix is True and torch.equal(tested, data.test)
    assert found["seconds"] == 2.0 and found["images_per_second"] == 9.0
    assert found["psnr"] == {"value": 1.0, "low": 1.0, "high": 1.0, "images": 3}
    seeds = []
    monkeypatch.setattr(C.evaluate, "fine_tune", lambda model, data, cfg, seed, *_: (
        seeds.append(seed), R.Accuracy(torch.ones(5, dtype=torch.bool)))[1])
    tuned = replace(comparison, fine_tune=C.FineTuneConfig())
    assert tuned.measures("from scratch", 3, tmp_path)["ft"]["value"] == 100 and seeds == [3]


def test_lines_of_few_labels_hold_what_they_are_called():
    few = {"10": {"lp": {"value": 30.0}, "ft": {"value": 20.0}}}
    run = {"data": {"train": 40},
           "measures": {"lp": {"value": 50.0}, "ft": {"value": 60.0}, "labels": few}}
    assert C.plots.label_lines({"original": [run]}) == {
        "original, linear probe": [(10, 30.0), (40, 50.0)],
        "original, fine-tuned": [(10, 20.0), (40, 60.0)]}
    other = json.loads(json.dumps(run).replace("30.0", "36.0").replace("50.0", "60.0"))
    lines = C.plots.label_lines({"original": [run, other]})
    assert lines["original, linear probe"] == [(10, 33.0), (40, 55.0)]  # the mean of the seeds
