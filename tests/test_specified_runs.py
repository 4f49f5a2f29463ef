"""The log of the specified runs is written from their records."""

import csv
import importlib.util
from pathlib import Path

import pytest

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence.records import Evidence
from mae_lib.evidence.registration import LETTER
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.training.checkpoints import ASSETS
from mae_lib.training.compute import multiply_adds

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("specified_runs", ROOT / "tools/specified_runs.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


def test_the_log_adds_up_the_multiply_adds_of_all_steps():
    """Of the specified recipe at its own sizes alone; seed by seed, the original first."""
    def made(name, seed, recipe="specified", **changes):
        cfg = PretrainConfig(**variant_settings(name, {
            "preset": "tiny", "epochs": 2, "batch_size": 10**7, "mask_ratio_warmup_epochs": 2.0}))
        epochs = [{"epoch": e, "step": 10 * e, **dict.fromkeys(tool.LOGGED, 0.5)} for e in (1, 2)]
        return {"name": name, "seed": seed, "recipe": recipe, "device": "abacus",
                "settings": vars(cfg) | changes, "measures": {"epochs": epochs}}

    records = [made("improved", 1), made("original", 2), made("original", 1), made("laplacian", 1),
               made("original", 3, "tuned"), made("original", 4, img_size=32)]
    rows = list(csv.DictReader(tool.specified_log(records).splitlines()))
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


def test_the_log_of_the_specified_runs_is_what_the_tool_writes():
    written = tool.specified_log(Evidence().records[LETTER])
    assert (ASSETS / "specified_runs.csv").read_text("utf-8") == written, (
        "Results have changed: run `python tools/specified_runs.py`, and reread notebook 07.")
