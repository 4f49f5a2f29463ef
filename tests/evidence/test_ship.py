"""The weights that come with the package are those of their record, and are verified."""

import csv
import json
import shutil

import pytest
import torch

from mae_lib import course, losses
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.course import reference
from mae_lib.data import scenes
from mae_lib.data.augment import normalise
from mae_lib.data.fingerprint import fingerprint_of_weights
from mae_lib.evidence import ship
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.results import Results
from mae_lib.training import checkpoints
from mae_lib.training.compute import multiply_adds
from mae_lib.training.history import History

CARDS = (checkpoints.ASSETS / "README.md").read_text("utf-8")


def record_of(name):
    """The record whose card stands in the README of the weights."""
    size = (checkpoints.ASSETS / f"{name}.safetensors").stat().st_size
    (found,) = [r for r in Results(checkpoints.ASSETS / "results.json").read()
                if r["name"] == name and "epochs" in r["measures"] and "lp" in r["measures"]
                and ship.card(name, r, size) in CARDS]
    return found


@pytest.mark.parametrize("name", ship.NAMES)
def test_shipped_weights_reconstruct_better_than_the_mean_of_each_patch(name):
    model, facts = checkpoints.load_shipped(name)
    assert (checkpoints.ASSETS / f"{name}.safetensors").stat().st_size < 10e6
    images = normalise(course.photographs(model.img_size))
    with torch.no_grad():
        output = model(images, 0.75, generator=torch.Generator().manual_seed(0))
    loss = losses.mae_loss(output.pred, images, output.mask, model.patch_size, facts["norm_pix"])
    assert facts["norm_pix"] and loss < 0.9  # of a prediction that is 0 everywhere: 1


@pytest.mark.parametrize("name", ship.NAMES)
def test_every_card_is_written_from_its_record(name):
    _, facts = checkpoints.load_shipped(name)
    settings = record_of(name)["settings"]
    assert all(settings[k] == v for k, v in facts.items() if k in settings)


@pytest.fixture
def assets(tmp_path, monkeypatch):
    for file in ("weights.json", "original.safetensors"):
        shutil.copy(checkpoints.ASSETS / file, tmp_path)
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    return tmp_path


def test_damaged_missing_and_unknown_weights_are_explained(assets):
    with pytest.raises(ValueError, match="No weights 'best' come with mae_lib; there are original"):
        checkpoints.load_shipped("best")
    with pytest.raises(ValueError, match=r"improved\.safetensors is missing or damaged: install"):
        checkpoints.load_shipped("improved")
    path = assets / "original.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"original\.safetensors is missing or damaged: install"):
        checkpoints.load_shipped()


def test_shipping_needs_a_record_of_the_run(tmp_path, monkeypatch):
    """Weights of another run than the one that was measured are refused."""
    runs, assets = tmp_path / "runs", tmp_path / "assets"
    assets.mkdir()
    for file in ("results.json", "README.md", "weights.json"):
        shutil.copy(checkpoints.ASSETS / file, assets)
    others, weights = json.loads((assets / "weights.json").read_text()).keys(), {}
    for name in ship.NAMES:
        model, facts = checkpoints.load_shipped(name)
        weights[name] = fingerprint_of_weights(model.state_dict()), facts
        folder = runs / f"{name}-seed1"
        (runs / f"{name}-seed2").mkdir(parents=True)
        checkpoints.save_weights(folder / "model.safetensors", model, **facts)
        History(folder / "history.jsonl", 0).add(record_of(name)["measures"]["epochs"])
    monkeypatch.setattr(ship, "ASSETS", assets)
    monkeypatch.setattr("sys.argv", ["ship", str(runs)])
    ship.main()
    assert json.loads((assets / "weights.json").read_text()).keys() == others
    assert (assets / "README.md").read_text("utf-8") == CARDS
    monkeypatch.setattr(checkpoints, "ASSETS", assets)
    for name, (expected, facts) in weights.items():
        model, found = checkpoints.load_shipped(name)  # of the checksum that is listed
        assert (fingerprint_of_weights(model.state_dict()), found) == (expected, facts)
    history = runs / "improved-seed1" / "history.jsonl"
    history.write_text(history.read_text().replace('"val_loss": 0.6', '"val_loss": 0.5'))
    with pytest.raises(ValueError, match=r"results.json has no record of the run"):
        ship.main()
    shutil.rmtree(history.parent)
    shutil.rmtree(runs / "improved-seed2")
    with pytest.raises(ValueError, match="has no folder improved-seed…: name the folder"):
        ship.main()


def test_the_log_adds_up_the_multiply_adds_of_all_steps():
    """Of the specified recipe at its own sizes alone; seed by seed, the original first."""
    def made(name, seed, recipe="specified", **changes):
        cfg = PretrainConfig(**variant_settings(name, {
            "preset": "tiny", "epochs": 2, "batch_size": 10**7, "mask_ratio_warmup_epochs": 2.0}))
        epochs = [{"epoch": e, "step": 10 * e, **dict.fromkeys(ship.LOGGED, 0.5)} for e in (1, 2)]
        return {"name": name, "seed": seed, "recipe": recipe, "device": "abacus",
                "settings": vars(cfg) | changes, "measures": {"epochs": epochs}}

    records = [made("improved", 1), made("original", 2), made("original", 1), made("laplacian", 1),
               made("original", 3, "tuned"), made("original", 4, img_size=32)]
    rows = list(csv.DictReader(ship.specified_log(records).splitlines()))
    assert [" ".join((row["method"], row["seed"], row["step"])) for row in rows] == [
        "original 1 10", "original 1 20", "original 2 10", "original 2 20",
        "improved 1 10", "improved 1 20"]
    for row in rows:
        cfg = PretrainConfig(**made(row["method"], 0)["settings"])
        length = cfg.build_model().num_patches
        costs = [multiply_adds(cfg, num_visible_patches(length, training_mask_ratio(i, 10, cfg)))
                 for i in range(int(row["step"]))]
        assert float(row["multiply_adds"]) == pytest.approx(10**7 * sum(costs) / 1e15, abs=1e-4)
    assert float(rows[-1]["multiply_adds"]) > float(rows[1]["multiply_adds"]) > 1


def test_the_log_of_the_specified_runs_is_what_ship_writes():
    written = ship.specified_log(Results(checkpoints.ASSETS / "results.json").read())
    assert (checkpoints.ASSETS / "specified_runs.csv").read_text("utf-8") == written, (
        "Results have changed: run `python -m mae_lib.evidence.ship`, and reread notebook 07.")


def test_the_model_of_scenes_is_small_and_fills_in_scenes():
    model, facts = checkpoints.load_shipped("scenes")
    assert (checkpoints.ASSETS / "scenes.safetensors").stat().st_size < 2e6
    drawn, _ = scenes.generate("test", 0, 32, size=model.img_size)
    images = normalise(torch.from_numpy(drawn))
    with torch.no_grad():
        output = model(images, 0.75, generator=torch.Generator().manual_seed(0))
    loss = losses.mae_loss(output.pred, images, output.mask, model.patch_size, facts["norm_pix"])
    assert loss < 0.75  # of a prediction that is 0 everywhere: 1
    sizes, weights = course.shipped_weights("scenes")
    reference.MAE(**sizes).load_state_dict(weights)
