"""What notebook 07 draws: curves that follow a run, and the price of recorded ones."""

import json
import time

import numpy as np
import pytest

from mae_lib.config import PretrainConfig
from mae_lib.course.widgets import recorded_runs
from mae_lib.course.widgets.live_curves import LiveCurves, Log
from mae_lib.training import compute


def lines(*steps, loss=0.5):
    return "".join(json.dumps({"kind": "step", "step": s, "mae": loss}) + "\n" for s in steps)


EPOCH = json.dumps({"kind": "epoch", "step": 4, "epoch": 1, "val_loss": 0.4}) + "\n"


def test_a_log_is_read_as_it_grows(tmp_path):
    path = tmp_path / "history.jsonl"
    log = Log(path)
    assert not log.read()
    path.write_text(lines(1, 2)[:-5])  # the second line is half written
    assert log.read() and log.steps == [(1, 0.5)] and not log.read()
    path.write_text(lines(1, 2, 3, 4) + EPOCH)
    assert log.read() and [step for step, _ in log.steps] == [1, 2, 3, 4]
    assert [e["epoch"] for e in log.epochs] == [1]
    path.write_text(lines(1, 2, loss=0.7))  # a resumed run cuts what came after its checkpoint
    assert log.read() and log.steps == [(1, 0.7), (2, 0.7)] and log.epochs == []


def test_curves_follow_a_run_and_say_how_long_it_takes(tmp_path):
    live = LiveCurves(epochs=2, iters=4, batch_size=10, seconds=0.01)
    empty = live.image.value
    path = tmp_path / "history.jsonl"
    with live.follow("original", tmp_path):
        path.write_text(lines(1, 2))
        end = time.perf_counter() + 20
        while "left" not in live.caption.value and time.perf_counter() < end:
            time.sleep(0.01)
        assert "step 2 of 8" in live.caption.value and "images/s" in live.caption.value
        path.write_text(lines(1, 2, 3, 4) + EPOCH + lines(5, 6, 7, 8))
    assert live.caption.value == "original: step 8 of 8, loss 0.500."
    assert live.image.value not in (empty, b"")


def test_curves_end_with_the_block_also_when_the_run_is_stopped(tmp_path):
    live = LiveCurves(epochs=1, iters=4, batch_size=10, seconds=0.01)
    (tmp_path / "history.jsonl").write_text(lines(1))
    with pytest.raises(KeyboardInterrupt), live.follow("original", tmp_path):
        raise KeyboardInterrupt
    assert live.logs["original"].steps == [(1, 0.5)]


def test_time_left_does_not_count_what_was_done_before():
    live = LiveCurves(epochs=1, iters=100, batch_size=10)
    live.logs["improved"] = Log("nowhere")
    live.logs["improved"].steps = [(60, 0.5)]
    said = live.progress("improved", before=40, seconds=60)
    assert said == "improved: step 60 of 100, loss 0.500, 3 images/s, 2.0 min left."
    said = live.progress("improved", before=60, seconds=0)
    assert said == "improved: step 60 of 100, loss 0.500."


def test_live_curves_are_stored_as_one_line_on_how_to_see_them():
    data, metadata = LiveCurves(2, 4, 10)._repr_mimebundle_()
    assert data["text/plain"].startswith("[live curves") and "image/png" not in data
    assert metadata == {} and "Run the notebook up to" in data["text/html"]


def test_prices_are_what_torch_counts():
    price = recorded_runs.prices("tiny", 24, 6)
    cfg = PretrainConfig(preset="tiny", img_size=24, patch_size=6)
    assert [price[n] for n in (4, 7, 12)] == [compute.multiply_adds(cfg, n) for n in (4, 7, 12)]
    steps = recorded_runs.price_of_steps(cfg, 5)
    assert steps.shape == (50,) and set(steps) == {price[4] * cfg.batch_size}


def test_recorded_runs_differ_in_the_add_ons_alone():
    runs = recorded_runs.recorded()
    assert list(runs) == ["original", "improved"]
    for a, b in zip(*runs.values(), strict=True):
        assert a["seed"] == b["seed"] and a["data"] == b["data"] and a["device"] == b["device"]
    x, y = recorded_runs.curve("improved", "validation loss", "multiply-adds")
    assert (np.diff(x) > 0).all() and len(x) == len(y)
