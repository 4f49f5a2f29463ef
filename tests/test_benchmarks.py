"""The benchmarks' page says what their files say, and the commands run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from benchmarks import explorer_latency, report, timing
from benchmarks.compiled import compile_step, gathered_crop
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.data.augment import crop, random_crops
from mae_lib.training.step import TrainStep

ROOT = Path(__file__).resolve().parent.parent
FAST = ["--preset", "tiny", "--batch-size", "4", "--rounds", "1", "--seconds", "0.01",
        "--device", "cpu", "--precision", "fp32"]


def test_the_tables_are_those_of_the_results():
    text = report.README.read_text("utf-8")
    assert report.render(text) == text, "run python -m benchmarks.report"


def test_the_estimate_is_what_its_command_prints():
    command = [sys.executable, "-m", "benchmarks.estimate", "--images-per-second", "20000"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.split("\n\n")[1].strip() in report.README.read_text("utf-8")


@pytest.mark.parametrize("command", [
    "add_on_prices",
    *(pytest.param(command, marks=pytest.mark.slow) for command in ("pretrain_speed", "gains")),
])
def test_every_command_measures_and_is_reported(command, tmp_path, monkeypatch):
    """On a copy of the code's results, which a run would otherwise change."""
    code = ("import sys, pathlib; from benchmarks import timing; "
            f"from benchmarks import {command} as command; "
            "timing.RESULTS = pathlib.Path(sys.argv.pop(1)); command.PEERS = {}; command.main()")
    words = [sys.executable, "-c", code, tmp_path, *FAST]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    (measured,) = json.loads((tmp_path / f"{command}.json").read_text())
    assert measured["preset"] == "tiny" and measured["batch_size"] == 4
    assert all(row["images_per_second"] > 0 for row in measured["rows"])
    table = getattr(report, command)(measured)
    assert len(table.splitlines()) >= 2 + len(measured["rows"])
    assert "tiny, batch 4" in report.heading(measured)


@pytest.mark.parametrize("precision, goal", [
    ("fp32", 1.25),
    pytest.param("bf16", 2.2, marks=pytest.mark.xfail(
        reason="2.05 when measured beside other work; 2.46 on a quiet machine")),
])
def test_on_a_cpu_ours_is_so_much_faster_than_the_official_code(precision, goal):
    """End to end, as stored; measured by python -m benchmarks.pretrain_speed."""
    (found,) = (m for m in report.measurements("pretrain_speed")
                if "CPU" in m["device"] and m["precision"] == precision)
    (official,) = (row for row in found["rows"] if row["name"] == "official")
    assert official["ours_is_faster_by_end_to_end"] >= goal


@pytest.mark.parametrize("height, width, size", [(96, 96, 224), (96, 96, 48), (33, 50, 16)])
def test_a_crop_gathered_pixel_by_pixel_is_the_same_crop(height, width, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, height, width), dtype=torch.uint8, generator=generator)
    crops = random_crops(8, height, width, (0.2, 1.0), generator)
    torch.testing.assert_close(
        gathered_crop(images, size, crops), crop(images, size, crops), rtol=1e-5, atol=1e-5)


def test_one_compiled_graph_serves_all_lengths_and_computes_what_the_plain_step_does():
    cfg = PretrainConfig(preset="tiny", img_size=16, patch_size=4, batch_size=8, precision="fp32",
                         **variant_settings("improved"))
    counter = CompileCounterWithBackend("aot_eager")
    plain = TrainStep(cfg.build_model(), cfg)
    compiled = compile_step(TrainStep(cfg.build_model(), cfg), backend=counter)
    images = torch.randint(0, 256, (8, 3, 20, 20), dtype=torch.uint8)
    for i, ratio in enumerate([0.5, 0.6, 0.75, 0.5]):
        terms, expected = (step(images, i, 1e-3, ratio) for step in (compiled, plain))
        for name, value in expected.items():
            torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)
    for a, b in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.slow
def test_what_a_lent_gpu_will_do_is_rehearsed(tmp_path):
    words = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--device", "cpu", "--precision",
             "bf16", "--out", tmp_path]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and "Nothing is missing" in found.stdout, found.stderr
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert not [name for name, value in stored.items() if "error" in value]


def test_a_measurement_replaces_one_of_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", *FAST])
    arguments = timing.settle(timing.parser("gains", "text"))
    timing.save("gains", arguments, rows=[1])
    timing.save("gains", arguments, rows=[2])
    arguments.batch_size = 8
    timing.save("gains", arguments, rows=[3])
    assert [m["rows"] for m in json.loads((tmp_path / "gains.json").read_text())] == [[2], [3]]


def test_the_explorer_is_measured_control_by_control_and_reported():
    times = explorer_latency.at_the_kernel(2)
    assert {"photograph", "mask_ratio", "a click on a patch"} <= times.keys()
    rows = [explorer_latency.row(name, found) for name, found in times.items() if found]
    assert all(0 < r["median_ms"] <= r["p95_ms"] for r in rows)
    measured = {"rows": rows, "ipywidgets": "8", "load_average": 0.1}
    assert len(report.explorer_latency(measured).splitlines()) == 4 + len(rows)
