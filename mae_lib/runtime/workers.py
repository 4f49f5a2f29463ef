"""Processes that share work on one machine: each does what no other process has taken."""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

Job = tuple[Path, Callable[[], dict | None]]  # a folder, and what to do there: see `finish`


def finish(jobs: Sequence[Job]) -> list:
    """What all jobs return, once each is done by this process or another.

    A job that another process has done is still called: it then only looks up the result.
    """
    found = {}
    while True:
        for i, (folder, work) in enumerate(jobs):
            if i not in found:
                with suppress(Timeout), FileLock(folder / "lock", timeout=0):
                    found[i] = work()
        if len(found) == len(jobs):
            return [found[i] for i in range(len(jobs))]
        time.sleep(1)


def take(folder: Path) -> AbstractContextManager:
    """Hold the lock of a folder, as `finish` does, while the block runs.

    Raises ValueError if another process holds it.
    """
    try:
        return FileLock(folder / "lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(f"Another process uses {folder}: wait, or name another --out.") from None


def add_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --workers and, for the helpers that `helped` starts, --helper."""
    parser.add_argument("--workers", type=int, metavar="N",
                        help=f"processes at once ({default})")
    parser.add_argument("--helper", metavar="PRECISION", help=argparse.SUPPRESS)


@contextmanager
def helped(module: str, arguments: argparse.Namespace, default: int, precision: str, folder: Path,
           tell: Callable[[str], None], every: float) -> Iterator[None]:
    """While the block runs, helpers run the same command too: --workers processes, or `default`.

    All processes share the threads that this one had. A helper writes what it shows to worker-N.log
    in `folder`, and ends when this process does, in whatever way. `tell` is called with a line
    about each helper every `every` seconds, and with the reason if one fails: the work that it had
    taken is then free for the others. `arguments` hold those of `add_options`.
    """
    count = arguments.workers or default
    if arguments.helper:
        _end_with_parent()
    threads = max(1, torch.get_num_threads() // count)
    words = [sys.executable, "-m", module, *sys.argv[1:], "--workers", "1", "--helper", precision]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    folder.mkdir(parents=True, exist_ok=True)
    helpers, ended = [], threading.Event()
    if count > 1:
        torch.set_num_threads(threads)
    try:
        for number in range(2, count + 1):
            path = folder / f"worker-{number}.log"
            with open(path, "w") as log:
                helpers.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log,
                                                stderr=log, env=environment))
            watched = (f"Process {number}", helpers[-1], path, tell, every, ended)
            threading.Thread(target=_watch, args=watched, daemon=True).start()
        yield
    finally:
        ended.set()
        for helper in helpers:
            helper.terminate()
            helper.wait()


def _watch(name: str, helper: subprocess.Popen, log: Path, tell: Callable[[str], None],
           every: float, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(subprocess.TimeoutExpired):
            if helper.wait(every) and not ended.is_set():
                tell(f"{name} stopped with exit code {helper.returncode} ({last_line(log)}). "
                     f"Its work is left to the others. Its output: {log}")
            return
        tell(f"{name}: {last_line(log)}")


def last_line(log: Path) -> str:
    """The last line of a log; of a progress bar only its title and how far it is."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        text = file.read().decode(errors="replace")
    line = re.split(r"[\r\n]+", text.strip())[-1]
    return re.sub(r":\s*(\d+)%\|.*", r", \1 %", line) or "starting"


def _end_with_parent() -> None:
    def wait() -> None:
        os.read(0, 1)  # nothing is ever written to this pipe: it ends with its other side
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
