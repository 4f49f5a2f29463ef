"""Processes that share work, and what one learns of the others."""

import sys
import time
from types import SimpleNamespace

import pytest

from mae_lib.runtime import workers as W

# A module of which `helped` starts another process.
HELPER = """
import os, sys, time
from mae_lib.runtime import workers
workers._end_with_parent()
print("threads", os.environ["OMP_NUM_THREADS"], *sys.argv[1:], flush=True)
print("Pretrain Original E1/2:  40%|####      | 4/10 [00:01<00:02, 3.2it/s]", flush=True)
{end}
"""


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Writes the module, which ends as told, and notes what is said of it."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(filter(None, sys.path))}")
    monkeypatch.setattr(sys, "argv", ["command", "--seeds", "1"])

    def start(end, told):
        (tmp_path / "the_helper.py").write_text(HELPER.format(end=end))
        arguments = SimpleNamespace(helper=None, workers=2)
        return W.helped("the_helper", arguments, 1, "fp32", tmp_path / "out", told.append, 0.2)

    return start


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_helper_runs_the_same_command_tells_how_far_it_is_and_is_stopped(helper, tmp_path):
    told, log = [], tmp_path / "out" / "worker-2.log"
    with pytest.raises(KeyboardInterrupt), helper("time.sleep(60)", told):
        wait_for(lambda: "Process 2: Pretrain Original E1/2, 40 %" in told)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < 2
    first = log.read_text().splitlines()[0]
    assert first == "threads 1 --seeds 1 --workers 1 --helper fp32"
    assert not any("stopped" in line for line in told)


def test_a_helper_that_fails_is_told_of_at_once_with_its_reason(helper, tmp_path):
    told = []
    with helper("sys.exit('error: The disk is full.')", told):
        wait_for(lambda: any("stopped" in line for line in told))
    assert told[-1] == ("Process 2 stopped with exit code 1 (error: The disk is full.). Its work "
                        f"is left to the others. Its output: {tmp_path / 'out' / 'worker-2.log'}")


@pytest.fixture
def started(monkeypatch):
    """The processes that are started."""
    found, popen = [], W.subprocess.Popen
    monkeypatch.setattr(W.subprocess, "Popen", lambda *arguments, **words: (
        found.append(popen(*arguments, **words)), found[-1])[1])
    return found


def test_a_helper_that_is_done_is_not_mentioned(helper, started):
    told = []
    with helper("", told):
        assert started[0].wait(60) == 0
        time.sleep(0.5)
    assert not any("stopped" in line for line in told)


def test_a_helper_does_not_outlive_its_parent(helper, tmp_path, started):
    """However that ends: here it closes only the pipe, as a killed one does."""
    with helper("time.sleep(60)", []):
        log = tmp_path / "out" / "worker-2.log"
        wait_for(lambda: "Pretrain" in log.read_text())
        started[0].stdin.close()
        assert started[0].wait(5) == 1


def test_jobs_that_another_process_does_are_waited_for(tmp_path, monkeypatch):
    done, held = [], W.FileLock(tmp_path / "b" / "lock")
    jobs = [(tmp_path / name, lambda name=name: (done.append(name), name.upper())[1])
            for name in "abc"]
    held.acquire()
    monkeypatch.setattr(W.time, "sleep", lambda _: held.release())
    assert W.finish(jobs) == ["A", "B", "C"]
    assert done == ["a", "c", "b"]


def test_a_folder_is_taken_by_one_process_at_a_time(tmp_path):
    folder = tmp_path / "new"
    with W.take(folder), pytest.raises(ValueError, match=f"process uses {folder}: wait, or"):
        W.take(folder)
    with W.take(folder):
        pass


def test_a_helper_and_no_other_ends_with_its_parent(tmp_path, monkeypatch):
    watched = []
    monkeypatch.setattr(W, "_end_with_parent", lambda: watched.append(1))
    for helper, times in ((None, 0), ("fp32", 1)):
        arguments = SimpleNamespace(helper=helper, workers=1)
        with W.helped("x", arguments, 1, "fp32", tmp_path, print, 1):
            assert len(watched) == times


def test_processes_share_the_threads_of_one(tmp_path, monkeypatch):
    made, mine = [], []
    monkeypatch.setattr(W.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(W.torch, "set_num_threads", mine.append)
    monkeypatch.setattr(W, "_watch", lambda *_: None)
    monkeypatch.setattr(W.subprocess, "Popen", lambda words, env, **_: (
        made.append(env["OMP_NUM_THREADS"]), SimpleNamespace(terminate=int, wait=int))[1])
    arguments = SimpleNamespace(helper=None, workers=3)
    with W.helped("x", arguments, 1, "fp32", tmp_path, print, 1):
        assert made == ["2", "2"] and mine == [2]
