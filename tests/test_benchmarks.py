"""The benchmarks' page says what their files say, and the commands run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import explorer_latency, report, timing

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
