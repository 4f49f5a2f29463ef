"""The weights that come with the package are those of their record, and are verified."""

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace

import pytest
import torch

from mae_lib import course, losses
from mae_lib.compare import encoder_measures, reconstruction_measures
from mae_lib.config import PretrainConfig
from mae_lib.course import reference
from mae_lib.data import scenes
from mae_lib.data.augment import normalise
from mae_lib.data.sources import load_data
from mae_lib.evidence import ship
from mae_lib.pretrain import add_data_arguments, pretrain
from mae_lib.runtime import cli
from mae_lib.training import checkpoints

RECORDS = json.loads((checkpoints.ASSETS / "weights.json").read_text("utf-8"))


@pytest.mark.parametrize("name", RECORDS)
def test_shipped_weights_reconstruct_better_than_the_mean(name):
    """Of each hidden patch, or of the visible pixels where the target is plain pixels."""
    model, facts = checkpoints.load_shipped(name)
    assert (checkpoints.ASSETS / f"{name}.safetensors").stat().st_size < 10e6
    pictures = course.photographs(model.img_size)
    if name == "scenes":
        pictures = torch.from_numpy(scenes.generate("test", 0, 32, size=model.img_size)[0])
    images, limit = normalise(pictures), 0.9 if facts["norm_pix"] else 0.5
    with torch.no_grad():
        output = model(images, 0.75, generator=torch.Generator().manual_seed(0))
    loss = losses.mae_loss(output.pred, images, output.mask, model.patch_size, facts["norm_pix"])
    nothing = losses.mae_loss(0 * output.pred, images, output.mask, model.patch_size,
                              facts["norm_pix"])
    assert loss < limit * nothing


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_of_the_weights(name):
    _, facts = checkpoints.load_shipped(name)  # whose checksum is the record's
    assert RECORDS[name]["settings"] == facts


def test_the_cards_are_written_from_the_records():
    page = (checkpoints.ASSETS / "README.md").read_text("utf-8")
    assert page == ship.with_cards(page, RECORDS), "Run `python -m mae_lib.evidence.ship`."
    assert page != ship.with_cards(page, {})


@pytest.mark.parametrize("name", RECORDS)
def test_the_command_of_a_card_makes_its_run_again(name):
    (command,) = re.findall(r"\| command \| `python -m mae_lib.pretrain (.*)` \|",
                            ship.card(name, RECORDS[name]))
    parser = cli.parser("test", "")
    add_data_arguments(parser)
    cli.add_options(parser, PretrainConfig)
    arguments = parser.parse_args(shlex.split(command))
    made = PretrainConfig(**cli.given(arguments, PretrainConfig))
    assert made == ship.config_of(RECORDS[name]["settings"])
    assert arguments.data == RECORDS[name]["data"]["name"]


def test_a_run_is_shipped_in_half_precision_with_a_card(tmp_path, monkeypatch):
    for file in ("weights.json", "README.md"):
        shutil.copy(checkpoints.ASSETS / file, tmp_path)
    for module in (ship, checkpoints):
        monkeypatch.setattr(module, "ASSETS", tmp_path)
    cfg = PretrainConfig(preset="tiny", img_size=32, patch_size=8, epochs=2, warmup_epochs=0,
                         batch_size=32, norm_pix=False, seed=3, precision="fp32")
    data = load_data("scenes", counts=(64, 40, 20), cache=tmp_path)
    checkpoints.save_weights(tmp_path / "first.safetensors", replace(cfg, seed=4).build_model())
    run = pretrain(data.unlabeled, data.validation, cfg, tmp_path / "run",
                   start=tmp_path / "first.safetensors")
    monkeypatch.setattr(ship, "data_from", lambda arguments, img_size: data)
    monkeypatch.setattr("sys.argv", ["ship", str(tmp_path / "run"), "mine"])
    with pytest.raises(ValueError, match="need a NAME and --trained-on, for their card"):
        ship.main()
    monkeypatch.setattr("sys.argv", [
        *sys.argv, "--trained-on", "an abacus", "--limit", "64", "--device", "cpu"])
    with monkeypatch.context() as m, pytest.raises(ValueError, match=r"was trained on 64 .* not"):
        others = replace(data, unlabeled=data.unlabeled.flip(0))
        m.setattr(ship, "data_from", lambda arguments, img_size: others)
        ship.main()
    assert not (tmp_path / "mine.safetensors").exists()
    ship.main()
    model, facts = checkpoints.load_shipped("mine")
    for weight, shipped in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(shipped, weight.half().float(), rtol=0, atol=0)
    record = json.loads((tmp_path / "weights.json").read_text())["mine"]
    assert " run mine --trained-on 'an abacus'" in record["command"]  # no path of this machine
    assert record["settings"] == facts and record["seconds"] == pytest.approx(run.seconds)
    expected = encoder_measures(model, data)
    expected |= reconstruction_measures(model, data.test, False)["model"]
    for measure in ("lp", "knn", "psnr", "hf_error"):
        assert record["measures"][measure]["value"] == expected[measure]["value"]
    text = (tmp_path / "README.md").read_text("utf-8")
    card = text.partition("## mine")[2].partition("<!-- end of cards -->")[0]
    for words in ("an abacus", "64 images without labels", "2 epochs of 64 images", "seed 3",
                  "plain pixels", f"LP@1 % {expected['lp']['value']:.1f} [", "over 20 test images",
                  "--data scenes --limit 64 --preset tiny", "--no-norm-pix"):
        assert words in card, words
    assert all(f"## {name}\n" in text for name in RECORDS)


def test_the_learners_model_takes_the_weights_of_scenes():
    assert (checkpoints.ASSETS / "scenes.safetensors").stat().st_size < 2e6
    sizes, weights = course.shipped_weights("scenes")
    reference.MAE(**sizes).load_state_dict(weights)
