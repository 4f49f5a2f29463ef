"""The evidence: every run behind the course's claims, by one command that can be interrupted.

  python -m mae_lib.evidence.experiments --data imagefolder:PATH --scale gpu --workers 4

First the original's recipe is searched, one setting after another, by cross-validation on the
training images, and that of its fine-tuning, on a fifth of them. Then come the studies; one of
them searches the add-ons' settings in the same way, before test images judge what it found. What
is searched and studied stands in plan.py. Workers take the next run that nobody has taken; the
same command given again, here or in a second terminal, goes on with what is left. Small models do
not fill a GPU: start NVIDIA's MPS first (nvidia-cuda-mps-control -d), and workers run side by side
instead of in turns.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from mae_lib import evaluate
from mae_lib.compare import Comparison
from mae_lib.config import FineTuneConfig, PretrainConfig, variant_settings
from mae_lib.data.sources import ImageSet
from mae_lib.evidence.plan import (
    ADD_ON_AXES,
    FINE_TUNE_AXES,
    FOUND,
    RECIPE_AXES,
    SCALES,
    SCRATCH_AXES,
    STUDIES,
    Study,
)
from mae_lib.evidence.workers import folder_lock, start_workers
from mae_lib.pretrain import Run, add_data_arguments, data_from, describe_images
from mae_lib.results import Results
from mae_lib.runtime import cli, distributed, hardware
from mae_lib.runtime.hardware import RNG
from mae_lib.training.checkpoints import load_weights
from mae_lib.training.compute import steps_per_epoch
from mae_lib.training.history import History
from mae_lib.training.optim import NonFiniteLoss


class Runs(Comparison):
    """A comparison that measures the weights of a finished run anew instead of training again.

    So another measure or another recipe of fine-tuning costs no pretraining.
    """

    def pretrain(self, cfg: PretrainConfig, folder: Path, label: str) -> Run:
        iters = steps_per_epoch(cfg, len(self.data.unlabeled))
        weights = folder / "model.safetensors"
        if weights.exists() and not (folder / "checkpoint.pt").exists():
            model, facts = load_weights(weights)
            epochs = (history := History(folder / "history.jsonl", cfg.epochs * iters)).epochs()
            expected = {"label": label, "images": describe_images(self.data.unlabeled), **vars(cfg)}
            if facts == expected and len(epochs) == cfg.epochs:
                seconds = epochs[-1]["seconds"]
                speed = cfg.epochs * iters * cfg.batch_size / seconds
                return Run(model.to(self.device), history, seconds, speed)
        return super().pretrain(cfg, folder, label)


@dataclass
class FineTunings(Runs):
    """Recipes of fine-tuning in the place of variants, such as "lr=0.006+layer_decay=0.75"."""

    weights: str = ""  # of the variant of the first search; none: random weights

    @staticmethod
    def changes(variant: str) -> dict[str, float]:
        """What a recipe changes of `fine_tune`."""
        parts = (part.split("=") for part in variant.split("+"))
        return {name: float(text) for name, text in parts}

    def variant(self, variant: str, seed: int) -> dict:
        """Fine-tune on four fifths of the training images, judge on the fifth."""
        recipe = replace(self.fine_tune, **self.changes(variant))
        cfg = self.config("original", seed)

        def measure(folder: Path) -> dict:
            model = cfg.build_model()
            if self.weights:
                source = folder.parent.parent / f"tuning-{len(self.data.unlabeled)}"
                source /= f"{self.weights}-seed{seed}"
                with folder_lock(source, wait=True):  # the other recipes need the same weights
                    model = self.pretrain(cfg, source, self.weights.capitalize()).model
            try:
                accuracy = evaluate.fine_tune(model.to(self.device), held_out(self.data), recipe,
                                              seed, cfg.precision, variant, folder / "fine-tune.pt")
            except NonFiniteLoss as error:
                return {"ft_held_out": {"value": 0.0}, "failed": str(error)}
            return {"ft_held_out": accuracy.entry()}

        settings = {**self._settings(cfg), "fine_tune": vars(recipe), "weights": self.weights}
        return self._run(variant, seed, settings, measure)


def held_out(data: ImageSet) -> ImageSet:
    """The training images alone, a fifth of them in the place of the test images."""
    n = len(data.train)
    held = torch.randperm(n, generator=hardware.generator(RNG.FOLDS)) % 5 == 0
    return replace(data, train=data.train[~held], train_labels=data.train_labels[~held],
                   test=data.train[held], test_labels=data.train_labels[held])


@dataclass(frozen=True)
class Job:
    """One run; without a variant, the baselines."""

    comparison: Comparison
    variant: str | None
    seed: int

    def records(self) -> list[dict]:
        """Does the run unless it is done. One that diverges has no record, and says so."""
        if self.variant is None:
            return self.comparison.baselines(self.seed)
        try:
            return [self.comparison.variant(self.variant, self.seed)]
        except NonFiniteLoss as error:
            print(f"Left out: {self.variant}, seed {self.seed}: {error}", flush=True)
            return []


def best_probe(records: list[dict], measure: str = "lp_cv") -> int:
    """The place of the record with the highest probe, or another measure."""
    scores = [record["measures"][measure]["value"] for record in records]
    return scores.index(max(scores))


class Experimenter:
    """Runs experiments; several processes can share the folder of `template`, `template.out`.

    `template` holds what all runs share. Its fine-tuning is left out where a study wants none.
    Searches take the first `tuning_limit` unlabeled images, and `tuning_fine_tune` upon its recipe.
    """

    def __init__(self, template: Comparison, tuning_limit: int | None = None,
                 tuning_fine_tune: dict | None = None):
        self.template, self.tuning_limit = template, tuning_limit
        self.tuning_fine_tune = tuning_fine_tune or {}

    def _comparison(self, recipe: str, start: str, **changes) -> Comparison:
        base = variant_settings(start or "original", self.template.base)
        found = replace(self.template, base=base, recipe=recipe, **changes)
        return replace(found, out=found.out / f"{recipe}-{len(found.data.unlabeled)}")

    def attempt(self, jobs: list[Job]) -> list[Job]:
        """Does the jobs that no other process is doing; returns the others."""
        left = []
        for job in jobs:
            with folder_lock(job.comparison.folder(job.variant or "baselines", job.seed)) as mine:
                if mine:
                    job.records()
                else:
                    left.append(job)
        return left

    def run(self, jobs: list[Job]) -> list[dict]:
        """The records of all jobs, once they are there, whichever process makes them."""
        waiting = self.attempt(jobs)
        while waiting:
            time.sleep(2)
            waiting = self.attempt(waiting)
        return [record for job in jobs for record in job.records()]

    def search(
        self, kind: str, axes: tuple[tuple[str, ...], ...], start: str = "",
        choose: Callable[[list[dict]], int] = best_probe,
    ) -> str:
        """The best part of every axis upon the variant `start`, as a variant.

        `choose` tells the place of the best of some records. They are of seed 0, which no study
        has, with the linear probe cross-validated on the training images; no test image is read.
        """
        return self._best(self._choosing(kind, start, fine_tune=None), axes, choose)

    def fine_tuning(
        self, kind: str, axes: tuple[tuple[str, ...], ...], start: str, weights: str
    ) -> FineTuneConfig:
        """The best recipe for `weights`, a variant of the first search, or for random ones.

        Only what is searched comes from the search; the schedule is the template's.
        """
        recipe = replace(self.template.fine_tune, **self.tuning_fine_tune)
        comparison = self._choosing(kind, start, fine_tune=recipe)
        comparison = FineTunings(**vars(comparison), weights=weights)
        best = self._best(comparison, axes, partial(best_probe, measure="ft_held_out"))
        return replace(self.template.fine_tune, **comparison.changes(best))

    def _choosing(self, kind: str, start: str, **changes) -> Comparison:
        data = self.template.data
        data = replace(data, unlabeled=data.unlabeled[: self.tuning_limit])
        return self._comparison(kind, start, data=data, choosing=True, **changes)

    def _best(self, comparison: Comparison, axes: tuple, choose: Callable) -> str:
        chosen = [values[0] for values in axes]
        for i, values in enumerate(axes):
            variants = ["+".join([*chosen[:i], value, *chosen[i + 1:]]) for value in values]
            chosen[i] = values[choose(self.run([Job(comparison, v, 0) for v in variants]))]
        return "+".join(chosen)

    def jobs(self, study: Study) -> list[Job]:
        """The runs of a study. Searches first, where that is not done and the study needs it."""
        start = ""
        if study.recipe == "tuned":
            start = self.search("tuning", RECIPE_AXES)
        recipes = {}
        if start and (study.fine_tune or study.baselines):  # baselines are fine-tuned, too
            tune = self.fine_tuning
            recipes["fine_tune"] = tune("fine-tuning", FINE_TUNE_AXES, start, start)
            recipes["scratch"] = tune("fine-tuning from scratch", SCRATCH_AXES, start, "")
        whole = self._comparison(study.recipe, start, **recipes)
        comparison = whole if study.fine_tune else replace(whole, fine_tune=None)
        variants = [self.search("searching", ADD_ON_AXES, start) if variant == FOUND else variant
                    for variant in study.variants]
        baselines = [Job(whole, None, study.seeds[0])] * study.baselines
        return [Job(comparison, v, seed) for seed in study.seeds for v in variants] + baselines


def main() -> None:
    scales = "\n".join(f"  {name:4} {scale.about}" for name, scale in SCALES.items())
    parser = cli.parser("python -m mae_lib.evidence.experiments", f"{__doc__}\nscales:\n{scales}")
    add_data_arguments(parser)
    parser.add_argument("--scale", default="cpu", choices=SCALES, help="(default: cpu)")
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES,
                        metavar="NAME", help=f"of {', '.join(STUDIES)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(the study's: 1 2 3)")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="(the study's)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once (1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(runs/evidence)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="(OUT/results.json)")
    arguments = parser.parse_args()
    distributed.require_one_process("mae_lib.evidence.experiments")
    scale = SCALES[arguments.scale]
    out = arguments.out or Path("runs/evidence")
    results = Results(arguments.results or out / "results.json")
    arguments.limit = arguments.limit or scale.limit
    data = data_from(arguments)
    device = hardware.pick_device(arguments.device)
    precision = hardware.pick_precision(device, arguments.precision)
    if arguments.workers > 1:
        definite = ["--precision", precision] * (arguments.precision != precision)
        return start_workers(arguments.workers, definite, results, out)
    base = {**scale.base, "precision": precision}
    template = Runs(data, base, FineTuneConfig(**scale.fine_tune), out, results, device)
    experimenter = Experimenter(template, scale.tuning_limit, scale.tuning_fine_tune)
    left = []
    for name in arguments.studies:  # not waiting for a study's last runs before the next begins
        study = STUDIES[name]
        study = replace(study, seeds=tuple(arguments.seeds or study.seeds),
                        variants=tuple(arguments.variants or study.variants))
        left += experimenter.attempt(experimenter.jobs(study))
    experimenter.run(left)
    print(f"Done. Records: {results.path}")


if __name__ == "__main__":
    cli.run(main)
