"""The log of a run: what is kept when it goes on, and the means made from it."""

import errno
import json
import os

import pytest

from mae_lib.training.history import History

STEPS = [{"kind": "step", "step": i, "loss": 2.0**i} for i in range(1, 7)]
EPOCH = {"kind": "epoch", "step": 4, "loss": 1e9, "val_loss": 0.5}
RECORDS = [*STEPS[:4], EPOCH, *STEPS[4:]]


@pytest.fixture
def path(tmp_path):
    """The file of a run that was killed in its seventh step, while it wrote."""
    History(tmp_path / "history.jsonl", 0).add(RECORDS)
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"kind": "step", "st')
    return tmp_path / "history.jsonl"


def test_records_are_lines_that_come_at_once(tmp_path):
    history = History(tmp_path / "a" / "history.jsonl", 0)
    for part in (RECORDS[:2], RECORDS[2:]):
        history.add(part)
        lines = (tmp_path / "a" / "history.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == history.records
    assert history.records == RECORDS and history.epochs() == [EPOCH]


@pytest.mark.parametrize("done", range(1, 8))
def test_a_resumed_run_keeps_the_steps_of_its_checkpoint_and_no_later_ones(path, done):
    wanted = [record for record in RECORDS if record["step"] <= done]
    history = History(path, done)
    assert history.records == wanted
    history.add([{"kind": "step", "step": done + 1, "loss": 0.0}])
    lines = path.read_text().splitlines()  # the half line is gone, and later steps are
    assert [json.loads(line) for line in lines[:-1]] == wanted and len(lines) == len(wanted) + 1


@pytest.mark.parametrize("content", [
    b"[1, 2]", b"3", b"null", b'"x"', b'[{"kind": "step", "step": 1}]', b'{"a": 1}', b"a\nb\nc",
    b'{"step": 1}', b"\xff\xfe\x00\n\x80\x81\n",
])
def test_a_file_of_something_else_is_refused_and_kept(content, tmp_path):
    (path := tmp_path / "history.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"history\.jsonl is not the log of a training run"):
        History(path, 5)
    assert path.read_bytes() == content
    path.write_bytes(b"")
    assert History(path, 5).records == []


def test_a_new_run_starts_a_new_log(path):
    assert History(path, 0).records == [] and path.read_text() == ""


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = History(None, 5)
    history.add(RECORDS)
    assert history.records == RECORDS and not list(tmp_path.iterdir())


def test_the_mean_loss_is_that_of_the_last_steps_alone():
    history = History(None, 0)
    history.add(RECORDS)
    assert history.mean_loss(1) == 64
    assert history.mean_loss(3) == (16 + 32 + 64) / 3
    assert history.mean_loss(6) == sum(2**i for i in range(1, 7)) / 6


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_explained(path):
    history = History(path, 3)
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"disk is full: history\.jsonl could not be") as error:
        history.add(STEPS)
    assert error.value.errno == errno.ENOSPC
