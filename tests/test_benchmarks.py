"""The benchmarks' page says what their files say, and the commands run."""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pretended_gpu import pretended_gpu

from benchmarks import (
    add_on_prices,
    estimate,
    explorer_latency,
    fine_tuning,
    gpu,
    mask_ratios,
    peers,
    predict,
    pretrain_speed,
    report,
    scenes_search,
    timing,
)
from benchmarks.compiled import gathered_crop
from mae_lib.config import RECIPES
from mae_lib.data.augment import crop, random_crops
from mae_lib.training import compute

ROOT = Path(__file__).resolve().parent.parent
FAST = ["--preset", "tiny", "--batch-size", "4", "--rounds", "1", "--seconds", "0.01",
        "--device", "cpu", "--precision", "fp32"]


def test_the_tables_are_those_of_the_results():
    text = report.README.read_text("utf-8")
    assert report.render(text) == text, "run python -m benchmarks.report"


def test_mask_ratios_are_compared_and_finished_ones_skipped(tmp_path, monkeypatch, capsys):
    words = ["mask_ratios", "--counts", "64", "40", "20", "--seeds", "1", "--results",
             str(tmp_path / "found.json"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setitem(RECIPES, "quick", replace(
        RECIPES["quick"], pretrain=RECIPES["quick"].pretrain | {"epochs": 2, "img_size": 32}))
    mask_ratios.main()
    records = json.loads((tmp_path / "found.json").read_text())
    assert [r["settings"]["mask_ratio"] for r in records] == [0.25, 0.5, 0.75, 0.9]
    assert all({"lp", "knn_whitened"} <= r["measures"].keys() and "ft" not in r["measures"]
               for r in records)
    monkeypatch.setattr(mask_ratios.Comparison, "measures", None)
    mask_ratios.main()
    assert capsys.readouterr().out.count("original+mask_ratio=0.75: LP@1") == 2


def test_the_estimate_is_what_its_command_prints():
    command = [sys.executable, "-m", "benchmarks.estimate", "--images-per-second", "20000"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.split("\n\n")[1].strip() in report.README.read_text("utf-8")


@pytest.mark.parametrize("command, words", [
    (estimate, "--images-per-second"), (estimate, "--images-per-second 1 --batch-per-gpu"),
    (add_on_prices, "--batch-size"), (add_on_prices, "--rounds"), (add_on_prices, "--seconds"),
    (gpu, "--minutes"), (explorer_latency, "--moves"), (scenes_search, "--counts 5 5"),
    (fine_tuning, "--seeds 0"),
])
def test_numbers_that_make_no_sense_are_refused_at_once(command, words, monkeypatch, capsys):
    for number in ("nan", "-1", "0", "inf", "many")[:2 if command is fine_tuning else 5]:
        monkeypatch.setattr(sys, "argv", ["x", *words.split(), number])
        with pytest.raises(SystemExit) as stopped:
            command.main()
        said = capsys.readouterr().err.splitlines()[-1]
        assert stopped.value.code == 2
        assert re.search(r"must be (above 0|at least [01]|a finite number), got|invalid .* value:",
                         said), said


def test_other_cards_times_are_what_their_command_prints(capsys):
    """To 10 %, as another torch may run other operations; and the H200's agree with its speeds."""
    predict.main()
    printed, page = capsys.readouterr().out.splitlines(), report.README.read_text("utf-8")
    page = {line.split("|")[1]: line for line in page.splitlines() if line.startswith("|")}
    rows = [line for line in printed if re.search(r"\| +[\d,.]+ ", line)]
    assert len(rows) == 3 + len(predict.CARDS)
    for line in rows:
        new, stored = ([float(number.replace(",", "")) for number in re.findall(r"[\d.,]*\d", text)]
                       for text in (line, page[line.split("|")[1]]))
        assert new == pytest.approx(stored, rel=0.1), "copy what benchmarks.predict prints"
    speeds = [re.findall(r"[\d,]+", line)[-2:] for line in printed if "mask ratio" in line]
    assert len(speeds) == 3
    for predicted, measured in speeds:
        assert float(predicted.replace(",", "")) == pytest.approx(
            float(measured.replace(",", "")), rel=0.1)


def test_operations_are_counted_with_their_bytes():
    """Those of a product and of a sum; a view, new memory and what is not written cost nothing."""
    def make():
        a, b = torch.ones(6, 4), torch.ones(4, 5)
        return lambda: (a @ b).t().add_(1)

    product, total = timing.operations(make)
    assert product == (2 * 6 * 4 * 5, 4 * (6 * 4 + 4 * 5 + 6 * 5))
    assert total == (0, 4 * 2 * 6 * 5)
    flops = sum(flops for flops, _ in predict.operations(0.75)) / 2 / predict.CFG.batch_size
    crops = 3 * (224 * 96 * 96 + 224 * 96 * 224)
    assert flops == pytest.approx(compute.multiply_adds(predict.CFG, 49) + crops, rel=0.05)


MEASURED = {
    "machine": {"device": "A made-up GPU", "preset": "specified", "precision": "bf16", "rounds": 3,
                "torch": "2", "python": "3", "date": "2000-01-01"},
    "rates": {"bytes_per_second": 1e12, "multiply_adds_per_second": 1e14},
    "step, batch 64, plain": {"images_per_second": 1000, "milliseconds": 64, "ready_after": 1},
    "step, batch 64, graphs": {"images_per_second": 10000, "milliseconds": 6.4, "ready_after": 2,
                               "peak_memory_mb": 800},
    "step, batch 64, compiled + graphs": {
        "images_per_second": 20000, "milliseconds": 3.2, "ready_after": 42, "bytes_moved": 25e6},
    "step, batch 64, compiled + graphs, both": {"images_per_second": 16000, "milliseconds": 4.0},
    "step, batch 64, compiled + graphs, gathered crop": {"error": "broke off"},
    "counts of ours": {"multiply_adds": 1e9, "bytes_moved": 7e7},
    "official, batch 64, compiled": {"images_per_second": 5000, "milliseconds": 12.8},
    "lightly, batch 64, plain": {"skipped": "lightly is not installed"},
}


def test_what_a_gpu_said_stands_beside_what_the_cpu_said(tmp_path, monkeypatch):
    """Numbers that nobody measured, in a folder that goes away."""
    for name in ("pretrain_speed", "add_on_prices", "gains"):
        (tmp_path / f"{name}.json").write_bytes((report.RESULTS / f"{name}.json").read_bytes())
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    text = report.README.read_text("utf-8")
    assert "not been measured on a GPU yet" in report.render(text)
    (tmp_path / "gpu.json").write_text(json.dumps(MEASURED))
    text = report.render(text)
    assert "not been measured on a GPU yet" not in text
    speeds, prices, gains = (text.split(f"<!-- {name} -->")[1].split("<!--")[0]
                             for name in ("pretrain_speed", "add_on_prices", "gains"))
    for block in (speeds, prices, gains):
        assert "CPU, 2 threads" in block and "A made-up GPU, bf16, specified, batch 64" in block
    assert "| ours, recorded | 10,000 | 2.00× | 1,000 M | 10% | 70 MB | 70% | 800 MB |" in speeds
    assert "compiled and recorded | 20,000 | 1.00× | 1,000 M | 20% | 25 MB | 50% |" in speeds
    assert "| official, compiled | 5,000 | 4.00× |" in speeds and "lightly, plain" not in speeds
    assert "batch 64, compiled and recorded**" in prices and "| + both | 16,000 | +25.0 %" in prices
    assert "| compiled and recorded | -50 % |" in gains and "gathered" not in gains


def test_the_summary_says_from_where_compiling_pays():
    assert gpu.summary(MEASURED) == (
        "batch 64: 10,000 images/s recorded, 20,000 compiled and recorded; compiling (40 s, 50% of "
        "a step saved) pays after 12,500 steps: COMPILING_PAYS_FROM in mae_lib/training/step.py "
        "should be 80 seconds; 20.0% of the product rate; 50.0% of the memory rate")


def tiny(monkeypatch, *words):
    """The arguments of a rehearsal of benchmarks.gpu."""
    monkeypatch.setattr(sys, "argv", ["x", *FAST, *words])
    return argparse.Namespace(**vars(timing.settle(timing.parser("gpu", "text"))), tiny=True,
                              official=None)


def test_a_peer_that_reads_values_while_it_is_built_has_its_products_counted(monkeypatch):
    """As timm does, of which lightly's model is made. Its bytes cannot be counted."""
    class Reads(peers.Ours):
        def __init__(self, sizes):
            super().__init__(sizes)
            torch.linspace(0, 1, 2)[1].item()

    monkeypatch.setitem(pretrain_speed.PEERS, "reads", Reads)
    arguments = tiny(monkeypatch)
    ours, found = (pretrain_speed.counted(name, arguments) for name in ("ours", "reads"))
    assert found == {"multiply_adds": ours["multiply_adds"]} and ours["bytes_moved"] > 0


def test_compiling_is_timed_with_an_empty_cache_before_anything_else_compiles(
        tmp_path, monkeypatch):
    names, began = [*gpu.measurements(tiny(monkeypatch))], []
    compiled = [name for name in names if "compiled" in name]
    assert compiled[0] == "step, batch 8, compiled + graphs"

    def run(words, env):
        began.append(Path(env["TORCHINDUCTOR_CACHE_DIR"]))
        assert not [*began[-1].iterdir()] and "TRITON_CACHE_DIR" not in env
        return subprocess.CompletedProcess(words, 1)  # has stored nothing

    monkeypatch.setenv("TRITON_CACHE_DIR", "full")
    monkeypatch.setattr(gpu.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["x", "--tiny", "--device", "cpu", "--out", str(tmp_path)])
    gpu.main()
    assert len(began) == 1 and not began[0].exists()  # nor is it started again and again
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--batch-size", "512"])
    with pytest.raises(ValueError, match="measures several batch sizes, so leave out --batch-size"):
        gpu.main()


def test_what_broke_off_failed_or_was_skipped_is_measured_again(tmp_path):
    stored = gpu.Stored(tmp_path / "gpu.json")
    for name, value in (("a", {"skipped": ""}), ("b", {"error": ""}), ("c", {"seconds": 1})):
        stored.put(name, value)
    gpu.Stored(tmp_path / "gpu.json").retry()
    assert gpu.Stored(tmp_path / "gpu.json").found == {"c": {"seconds": 1}}


def test_an_epochs_rate_is_that_of_the_last_one(monkeypatch):
    """Those before it may compile."""
    def pretrain(images, *_, **__):
        return SimpleNamespace(history=SimpleNamespace(epochs=lambda: [
            {"seconds": seconds} for seconds in (5, 70, 74)]))

    monkeypatch.setattr(gpu, "pretrain", pretrain)
    assert gpu.epoch(tiny(monkeypatch), 8, 0.0) == {
        "images_per_second": 64 / 4, "first_epoch": 5, "second_epoch": 65, "third_epoch": 4}


def test_a_step_that_waits_is_measured_and_named(monkeypatch):
    """On a pretended GPU, where the peak of what was reserved is the step's memory."""
    calls = []

    def step(images, i, lr, ratio):
        if calls and calls[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    arguments = tiny(monkeypatch)
    arguments.device, arguments.precision = torch.device("cuda", 0), "fp16"
    monkeypatch.setattr(gpu, "make_step", lambda *_: step)
    with pretended_gpu():
        for name in ("set_sync_debug_mode", "reset_peak_memory_stats"):
            monkeypatch.setattr(torch.cuda, name, lambda *mode: calls.extend(mode))
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 7 * 2**20)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", None)
        found = gpu.bare(arguments, 4, "compiled + graphs")
    assert found["waits"] == "called a synchronizing CUDA operation"
    assert found["peak_memory_mb"] == 7 and calls == ["error", "default"]


def test_the_device_that_is_timed_is_the_one_that_is_waited_for(monkeypatch):
    chosen = []
    monkeypatch.setattr(timing.hardware, "pick_device", torch.device)
    monkeypatch.setattr(timing.hardware, "pick_precision", lambda *_: "fp32")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(sys, "argv", ["x", "--device", "cuda:1"])
    timing.settle(timing.parser("gains", "text"))
    assert chosen == [torch.device("cuda", 1)]
    monkeypatch.setattr(sys, "argv", ["x", "--device", "mps"])
    with pytest.raises(ValueError, match="cannot wait for an Apple GPU: choose --device"):
        timing.settle(timing.parser("gains", "text"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pretrain_speed", "add_on_prices", "gains"])
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


@pytest.mark.parametrize("precision, goal", [("fp32", 1.25), ("bf16", 1.8)])
def test_on_a_cpu_ours_is_so_much_faster_than_the_official_code(precision, goal):
    """End to end, as stored; measured by python -m benchmarks.pretrain_speed.

    In bf16 it depends on the machine: 1.90 times as fast here, 2.46 times on an earlier one.
    """
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
    saved = json.loads((tmp_path / "gains.json").read_text())
    assert [m["rows"] for m in saved] == [[2], [3]]
    assert f"({saved[0]['processor']}, torch " in report.heading(saved[0])


def test_the_explorer_is_measured_control_by_control_and_reported():
    times = explorer_latency.at_the_kernel(2)
    assert {"photograph", "mask_ratio", "a click on a patch"} <= times.keys()
    rows = [explorer_latency.row(name, found) for name, found in times.items() if found]
    assert all(0 < r["median_ms"] <= r["p95_ms"] for r in rows)
    measured = {"rows": rows, "ipywidgets": "8", "load_average": 0.1}
    assert len(report.explorer_latency(measured).splitlines()) == 4 + len(rows)
