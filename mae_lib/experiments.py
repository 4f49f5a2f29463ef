"""The evidence: every run behind the course's claims, by one command that can be interrupted.

  python -m mae_lib.experiments --data imagefolder:PATH --scale gpu --workers 4

First a recipe is tuned, one setting after another, by cross-validation on the training images. Then
come the studies. Workers take the next run that nobody has taken; the same command given again,
here or in a second terminal, goes on with what is left.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mae_lib import cli, hardware
from mae_lib.compare import Comparison
from mae_lib.config import FineTuneConfig, variant_settings
from mae_lib.pretrain import add_data_arguments, data_from
from mae_lib.results import Results

# What is tuned, in this order, and the values tried; the first is where the search begins.
AXES = {
    "lr": ("0.0006", "0.0012", "0.0024", "0.0048"),
    "batch_size": ("128", "64", "256"),
    "norm_pix": ("yes", "no"),
    "crop_scale": ("0.2", "0.08", "0.5"),
    "decoder_depth": ("4", "2", "1"),
}
FACTORIAL = ("original", "curriculum", "laplacian", "uniformity", "curriculum+laplacian",
             "curriculum+uniformity", "laplacian+uniformity", "improved")


@dataclass(frozen=True)
class Study:
    """Variants of a recipe, each with several seeds."""

    recipe: str  # "specified" or "tuned"
    variants: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    fine_tune: bool = False
    baselines: bool = False


# In the order of running: what most depends on comes first.
STUDIES = {
    "methods": Study("tuned", ("original", "improved"), fine_tune=True, baselines=True),
    "add-ons": Study("tuned", FACTORIAL[1:-1]),
    "reported": Study("specified", ("original", "improved"), fine_tune=True, baselines=True),
    "controls": Study("tuned", (
        "shuffled", "curriculum+equal-compute", "improved+equal-compute", "raw-laplacian",
        "low-frequency")),
    "pairs": Study("tuned", (
        "original+batch_size=512", "uniformity+batch_size=512", "original+batch_size=64",
        "uniformity+batch_size=64")),
    "forms": Study("tuned", (
        "energy", "energy+lambda_freq=0.2", "laplacian+lambda_freq=0.2",
        "uniformity+lambda_unif=0.03", "uniformity+lambda_unif=0.1", "uniformity+unif_t=5.0",
        "curriculum+mask_ratio_start=0.9+equal-compute")),
    "add-ons as specified": Study("specified", FACTORIAL[1:-1]),
}


@dataclass(frozen=True)
class Scale:
    """How large the runs are."""

    about: str
    base: dict  # settings of all runs
    fine_tune: dict
    limit: int | None = None  # unlabeled images; None: all
    tuning_limit: int | None = None  # unlabeled images of the runs that tune


SMALL, BRIEF = dict(preset="specified", img_size=64, patch_size=8), dict(epochs=15, warmup_epochs=2)
SCALES = {
    "cpu": Scale("64-pixel images in patches of 8, 12,000 of them", SMALL, BRIEF, 12_000, 12_000),
    "long": Scale("the same with all images, and the recipe tuned for cpu", SMALL,
                  dict(epochs=30, warmup_epochs=3), None, 12_000),
    "gpu": Scale("the specified shape, epochs of 100,000 images whatever there are",
                 dict(preset="specified", images_per_epoch=100_000), {}),
}


@dataclass(frozen=True)
class Job:
    """One run; without a variant, the baselines."""

    comparison: Comparison
    variant: str | None
    seed: int

    def records(self) -> list[dict]:
        """Does the run unless it is done."""
        if self.variant is None:
            return self.comparison.baselines(self.seed)
        return [self.comparison.variant(self.variant, self.seed)]


class Laboratory:
    """Runs experiments; several processes can share the folder of `template`, `template.out`.

    `template` holds what all runs share. Its fine-tuning is left out where a study wants none.
    """

    def __init__(self, template: Comparison, tuning_limit: int | None = None):
        self.template, self.tuning_limit = template, tuning_limit

    def _comparison(self, recipe: str, base: dict, **changes) -> Comparison:
        base = {**self.template.base, **base}
        found = replace(self.template, base=base, recipe=recipe, **changes)
        return replace(found, out=found.out / f"{recipe}-{len(found.data.unlabeled)}")

    def run(self, jobs: list[Job]) -> list[dict]:
        """The records of all jobs, once they are there, whichever process makes them."""
        waiting = jobs
        while waiting:
            left = []
            for job in waiting:
                name = job.variant or "baselines"
                with claim(job.comparison.folder(name, job.seed)) as mine:
                    if mine:
                        job.records()
                    else:
                        left.append(job)
            if len(left) == len(waiting):
                time.sleep(2)
            waiting = left
        return [record for job in jobs for record in job.records()]

    def tune(self) -> str:
        """The best setting on every axis, by cross-validation of the original MAE: a variant."""
        chosen = {axis: values[0] for axis, values in AXES.items()}
        data = self.template.data
        data = replace(data, unlabeled=data.unlabeled[: self.tuning_limit])
        comparison = self._comparison("tuning", {}, data=data, fine_tune=None, choosing=True)
        for axis, values in AXES.items():
            jobs = [Job(comparison, _name({**chosen, axis: value}), 0) for value in values]
            scores = [r["measures"]["lp_cv"]["value"] for r in self.run(jobs)]
            chosen[axis] = values[scores.index(max(scores))]
        return _name(chosen)

    def jobs(self, study: Study) -> list[Job]:
        """The runs of a study. Tunes the recipe first, where that is not done."""
        base = variant_settings(self.tune()) if study.recipe == "tuned" else {}
        changes = {} if study.fine_tune else {"fine_tune": None}
        comparison = self._comparison(study.recipe, base, **changes)
        variants = (*study.variants, None) if study.baselines else study.variants
        return [Job(comparison, variant, seed) for seed in study.seeds for variant in variants]


def _name(settings: dict[str, str]) -> str:
    return "+".join(f"{name}={value}" for name, value in settings.items())


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Whether this process alone may work in the folder, until the block or the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # Windows: one process at a time
        except BlockingIOError:
            yield False
            return
        yield True


def start_workers(count: int, results: Results, out: Path) -> None:
    """Run this command `count` times at once, each with its share of the cores; tell of records.

    Each writes what it shows to worker-N.log in `out`. Raises ValueError if one fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    words = [sys.executable, "-m", "mae_lib.experiments", *sys.argv[1:], "--workers", "1"]
    logs, workers = [out / f"worker-{i + 1}.log" for i in range(count)], []
    for path in logs:
        with open(path, "a") as log:
            workers.append(subprocess.Popen(words, stdout=log, stderr=log, env=environment))
    start, told = time.perf_counter(), {record["id"] for record in results.read()}
    print(f"{count} workers; {len(told)} records so far. Progress: {out}/worker-*.log", flush=True)
    while True:
        finished = all(worker.poll() is not None for worker in workers)
        for record in results.read():
            if record["id"] not in told:
                told.add(record["id"])
                print(f"{(time.perf_counter() - start) / 60:5.0f} min  {_told(record)}", flush=True)
        if finished:
            break
        time.sleep(2)
    failed = [str(log) for log, worker in zip(logs, workers, strict=True) if worker.returncode]
    if failed:
        raise ValueError(f"A worker stopped with an error: see the end of {', '.join(failed)}.")


def _told(record: dict) -> str:
    titles = {"lp_cv": "LP, cross-validated", "lp": "LP", "ft": "FT", "knn": "kNN"}
    found = {title: record["measures"].get(m) for m, title in titles.items()}
    scores = ", ".join(f"{title} {entry['value']:.1f}" for title, entry in found.items() if entry)
    return f"{record['recipe']}: {record['name']}, seed {record['seed']}: {scores}"


def main() -> None:
    scales = "\n".join(f"  {name:4} {scale.about}" for name, scale in SCALES.items())
    parser = cli.parser("python -m mae_lib.experiments", f"{__doc__}\nscales:\n{scales}")
    add_data_arguments(parser)
    parser.add_argument("--scale", default="cpu", choices=SCALES, help="(default: cpu)")
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES,
                        metavar="NAME", help=f"of {', '.join(STUDIES)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of these seeds alone")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once (1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(runs/evidence)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="(OUT/results.json)")
    arguments = parser.parse_args()
    scale = SCALES[arguments.scale]
    out = arguments.out or Path("runs/evidence")
    results = Results(arguments.results or out / "results.json")
    arguments.limit = arguments.limit or scale.limit
    data = data_from(arguments)
    if arguments.workers > 1:
        return start_workers(arguments.workers, results, out)
    device = hardware.pick_device(arguments.device)
    base = {**scale.base, "precision": hardware.pick_precision(device, arguments.precision)}
    template = Comparison(data, base, FineTuneConfig(**scale.fine_tune), out, results, device)
    laboratory = Laboratory(template, scale.tuning_limit)
    jobs = [job for name in arguments.studies for job in laboratory.jobs(STUDIES[name])]
    laboratory.run([job for job in jobs if job.seed in (arguments.seeds or (job.seed,))])
    print(f"Done. Records: {results.path}")


if __name__ == "__main__":
    cli.run(main)
