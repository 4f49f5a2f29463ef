"""Processes that share the runs of the experiments: each takes one that nobody has taken."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mae_lib.results import Results


@contextmanager
def folder_lock(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Whether this process alone may work in the folder, until the block or the process ends.

    With `wait` it is, as soon as no other process works there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except ImportError:
            pass  # Windows: one process at a time
        except BlockingIOError:
            yield False
            return
        yield True


def start_workers(count: int, options: list[str], results: Results, out: Path) -> None:
    """Run this command with more `options` `count` times at once, sharing the cores; print
    each new record.

    Each writes what it shows to worker-N.log in `out`. Raises ValueError if one fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    words = [sys.executable, "-m", "mae_lib.evidence.experiments", *sys.argv[1:], *options,
             "--workers", "1"]
    logs, workers = [out / f"worker-{i + 1}.log" for i in range(count)], []
    for path in logs:
        with open(path, "a") as log:
            workers.append(subprocess.Popen(words, stdout=log, stderr=log, env=environment))
    start, known = time.perf_counter(), {record["id"] for record in results.read()}
    print(f"{count} workers; {len(known)} records so far. Progress: {out}/worker-*.log", flush=True)
    while True:
        finished = all(worker.poll() is not None for worker in workers)
        for record in results.read():
            if record["id"] not in known:
                known.add(record["id"])
                minutes = (time.perf_counter() - start) / 60
                print(f"{minutes:5.0f} min  {_summary(record)}", flush=True)
        if finished:
            break
        time.sleep(2)
    failed = [str(log) for log, worker in zip(logs, workers, strict=True) if worker.returncode]
    if failed:
        raise ValueError(f"A worker stopped with an error: see the end of {', '.join(failed)}.")


def _summary(record: dict) -> str:
    titles = {"lp_cv": "LP, cross-validated", "ft_held_out": "FT, held out", "lp": "LP",
              "ft": "FT", "knn": "kNN"}
    found = {title: record["measures"].get(m) for m, title in titles.items()}
    scores = ", ".join(f"{title} {entry['value']:.1f}" for title, entry in found.items() if entry)
    return f"{record['recipe']}: {record['name']}, seed {record['seed']}: {scores}"
