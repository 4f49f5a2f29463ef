"""The weights that come with the package are those of their record, and are verified."""

import json
import shutil

import pytest
import torch

from mae_lib import checkpoints, course, losses, ship
from mae_lib.augment import normalise
from mae_lib.results import Results

RECORDS = {r["name"]: r for r in Results(checkpoints.ASSETS / "results.json").read()}


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
    text = (checkpoints.ASSETS / "README.md").read_text("utf-8")
    size = (checkpoints.ASSETS / f"{name}.safetensors").stat().st_size
    assert ship.card(name, RECORDS[name], size) in text
    _, facts = checkpoints.load_shipped(name)
    settings = RECORDS[name]["settings"]
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
    with pytest.raises(ValueError, match=r"improved.safetensors is missing: install mae_lib again"):
        checkpoints.load_shipped("improved")
    path = assets / "original.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"original.safetensors is damaged: install mae_lib again"):
        checkpoints.load_shipped()


def test_shipping_needs_a_record_of_the_run(tmp_path, monkeypatch):
    """Weights of another run than the one that was measured are refused."""
    runs, assets = tmp_path / "runs", tmp_path / "assets"
    assets.mkdir()
    shutil.copy(checkpoints.ASSETS / "results.json", assets)
    for name in ship.NAMES:
        model, facts = checkpoints.load_shipped(name)
        checkpoints.save_weights(runs / f"{name}-seed0" / "model.safetensors", model, **facts)
    monkeypatch.setattr(ship, "ASSETS", assets)
    monkeypatch.setattr("sys.argv", ["ship", str(runs)])
    ship.main()
    assert json.loads((assets / "weights.json").read_text()).keys() == set(ship.NAMES)
    model, facts = checkpoints.load_shipped("original")
    path = runs / "original-seed0" / "model.safetensors"
    checkpoints.save_weights(path, model, **{**facts, "lr": 1.0})
    with pytest.raises(ValueError, match=r"results.json has no record of the run"):
        ship.main()
