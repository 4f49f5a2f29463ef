"""The weights that come with the package are those of their record, and are verified."""

import csv
import json
import re
import shlex
import shutil
import sys

import pytest
import torch

from mae_lib import course, losses
from mae_lib.compare import encoder_measures
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.course import reference
from mae_lib.data import scenes
from mae_lib.data.augment import normalise
from mae_lib.data.sources import load_data
from mae_lib.evidence import ship
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.pretrain import add_data_arguments, pretrain
from mae_lib.results import Results
from mae_lib.runtime import cli
from mae_lib.training import checkpoints
from mae_lib.training.compute import multiply_adds

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
    assert (checkpoints.ASSETS / "README.md").read_text("utf-8") == ship.readme(RECORDS), (
        "Run `python -m mae_lib.evidence.ship`.")


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


@pytest.fixture
def assets(tmp_path, monkeypatch):
    for file in ("weights.json", "original.safetensors"):
        shutil.copy(checkpoints.ASSETS / file, tmp_path)
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    return tmp_path


def test_damaged_missing_and_unknown_weights_are_explained(assets):
    with pytest.raises(ValueError, match="one of original, improved, scenes, got 'best'"):
        checkpoints.load_shipped("best")
    with pytest.raises(ValueError, match=r"improved\.safetensors is missing or damaged: install"):
        checkpoints.load_shipped("improved")
    path = assets / "original.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"original\.safetensors is missing or damaged: install"):
        checkpoints.load_shipped()


def test_a_run_is_shipped_in_half_precision_with_a_card(tmp_path, monkeypatch):
    for file in ("results.json", "weights.json"):
        shutil.copy(checkpoints.ASSETS / file, tmp_path)
    for module in (ship, checkpoints):
        monkeypatch.setattr(module, "ASSETS", tmp_path)
    cfg = PretrainConfig(preset="tiny", img_size=32, patch_size=8, epochs=1, warmup_epochs=0,
                         batch_size=32, norm_pix=False, seed=3, precision="fp32")
    data = load_data("scenes", counts=(64, 40, 20), cache=tmp_path)
    run = pretrain(data.unlabeled, data.validation, cfg, tmp_path / "run")
    monkeypatch.setattr(ship, "data_from", lambda arguments: data)
    monkeypatch.setattr("sys.argv", ["ship", str(tmp_path / "run"), "mine"])
    with pytest.raises(ValueError, match="need a NAME and --trained-on, for their card"):
        ship.main()
    monkeypatch.setattr("sys.argv", [
        *sys.argv, "--trained-on", "an abacus", "--limit", "64", "--device", "cpu"])
    ship.main()
    model, facts = checkpoints.load_shipped("mine")
    for weight, shipped in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(shipped, weight.half().float(), rtol=0, atol=0)
    record = json.loads((tmp_path / "weights.json").read_text())["mine"]
    assert record["settings"] == facts and record["seconds"] == pytest.approx(run.seconds)
    expected = encoder_measures(model, data)
    for measure in ("lp", "knn"):
        assert record["measures"][measure]["value"] == expected[measure]["value"]
    text = (tmp_path / "README.md").read_text("utf-8")
    card = text.partition("## mine")[2].partition("## specified_runs")[0]
    for words in ("an abacus", "64 images without labels", "1 epochs of 64 images", "seed 3",
                  "plain pixels", f"LP@1 % {expected['lp']['value']:.1f} [", "over 20 test images",
                  "--data scenes --limit 64 --preset tiny", "--no-norm-pix"):
        assert words in card, words
    assert all(f"## {name}\n" in text for name in RECORDS)


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


def test_the_learners_model_takes_the_weights_of_scenes():
    assert (checkpoints.ASSETS / "scenes.safetensors").stat().st_size < 2e6
    sizes, weights = course.shipped_weights("scenes")
    reference.MAE(**sizes).load_state_dict(weights)
