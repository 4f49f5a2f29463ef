"""The evidence: every run behind the course's claims, by one command that can be interrupted.

  python -m mae_lib.evidence.experiments --data imagefolder:PATH --workers 2

Without names, all studies of plan.py run. A search (its names are listed below) tries one setting
after another on seed 0 and reads no test image; what it finds is written into config.RECIPES by
hand. Workers take the next run that nobody has taken; give the same command again, here or in a
second terminal, and it continues with what is left. Small models do not fill a GPU: start NVIDIA's
MPS first (nvidia-cuda-mps-control -d), and workers run side by side instead of in turns.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from mae_lib import evaluate
from mae_lib.compare import Comparison
from mae_lib.config import RECIPES, PretrainConfig
from mae_lib.data.sources import ImageSet
from mae_lib.evidence.plan import LABEL_COUNTS, PLACES, SEARCHES, STUDIES, Study
from mae_lib.evidence.registration import SMALL
from mae_lib.evidence.workers import folder_lock, start_workers
from mae_lib.pretrain import Run, add_data_arguments, data_from, describe_images
from mae_lib.results import Results
from mae_lib.runtime import cli, distributed, hardware
from mae_lib.training.checkpoints import load_weights
from mae_lib.training.compute import steps_per_epoch
from mae_lib.training.history import History
from mae_lib.training.optim import NonFiniteLoss


class Runs(Comparison):
    """A comparison that measures the weights of a finished run again instead of training again.

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

    pretrained: bool = True  # False: random weights

    def variant(self, variant: str, seed: int) -> dict:
        """Fine-tune on four fifths of the training images, judge on the remaining fifth."""
        changes = {name: float(text) for name, text in
                   (part.split("=") for part in variant.split("+"))}
        recipe, cfg = replace(self.fine_tune, **changes), self.config("original", seed)

        def measure(folder: Path) -> dict:
            model = cfg.build_model()
            if self.pretrained:
                source = folder.parent / f"weights-seed{seed}"
                with folder_lock(source, wait=True):  # the other recipes need the same weights
                    model = self.pretrain(cfg, source, "Original").model
            try:
                accuracy = evaluate.fine_tune(model.to(self.device), held_out(self.data), recipe,
                                              seed, cfg.precision, variant, folder / "fine-tune.pt")
            except NonFiniteLoss as error:
                return {"ft_held_out": {"value": 0.0}, "failed": str(error)}
            return {"ft_held_out": accuracy.entry()}

        settings = {**self._settings(cfg), "fine_tune": vars(recipe), "weights": self.pretrained}
        return self._run(variant, seed, settings, measure)


def held_out(data: ImageSet) -> ImageSet:
    """The training images alone, a fifth of each class in the place of the test images."""
    held = evaluate.folds(data.train_labels) == 0
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


def attempt(jobs: list[Job]) -> list[Job]:
    """Does the jobs that no other process is doing; returns the others."""
    left = []
    for job in jobs:
        with folder_lock(job.comparison.folder(job.variant or "baselines", job.seed)) as mine:
            if mine:
                job.records()
            else:
                left.append(job)
    return left


def run(jobs: list[Job]) -> list[dict]:
    """The records of all jobs, once they are there, whichever process makes them."""
    waiting = attempt(jobs)
    while waiting:
        time.sleep(2)
        waiting = attempt(waiting)
    return [record for job in jobs for record in job.records()]


def best(records: list[dict]) -> int:
    """The place of the record of a search with the highest accuracy on training images."""
    scores = [m.get("lp_cv", m.get("ft_held_out"))["value"]
              for m in (record["measures"] for record in records)]
    return scores.index(max(scores))


def search(comparison: Comparison, axes: tuple[tuple[str, ...], ...]) -> str:
    """The best part of every axis, found one axis after the other, as a variant; seed 0."""
    chosen = [values[0] for values in axes]
    for i, values in enumerate(axes):
        variants = ["+".join([*chosen[:i], value, *chosen[i + 1:]]) for value in values]
        chosen[i] = values[best(run([Job(comparison, v, 0) for v in variants]))]
    return "+".join(chosen)


@dataclass(frozen=True)
class Experimenter:
    """Sets up the runs of studies and searches; several processes can share its folder."""

    data: ImageSet
    precision: str
    out: Path
    results: Results
    device: object

    def comparison(self, place: str, kind: type = Runs, **changes) -> Comparison:
        place = PLACES[place]
        data = replace(self.data, unlabeled=self.data.unlabeled[:place.images])
        tune, scratch = RECIPES[place.recipe].fine_tunings()
        base = {**RECIPES[place.recipe].pretrain, **place.settings, "precision": self.precision}
        settings = dict(base=base, fine_tune=tune, scratch=scratch, recipe=place.recipe) | changes
        out = self.out / f"{settings['recipe'].replace(' ', '-')}-{len(data.unlabeled)}"
        return kind(data, out=out, results=self.results, device=self.device, **settings)

    def search(self, name: str) -> str:
        """The winner of a search."""
        if name == "recipe":
            sizes = ("preset", "img_size", "patch_size")
            base = {k: v for k, v in RECIPES["tuned"].pretrain.items() if k in sizes}
            comparison = self.comparison(SMALL, recipe=name, choosing=True, fine_tune=None,
                                         base=base | {"precision": self.precision})
        else:
            pretrained = name == "fine-tuning"
            comparison = self.comparison(SMALL, FineTunings, recipe=name, pretrained=pretrained)
            if not pretrained:
                comparison = replace(comparison, fine_tune=comparison.scratch)
        return search(comparison, SEARCHES[name])

    def jobs(self, study: Study) -> list[Job]:
        """The runs of a study, seed by seed."""
        whole = self.comparison(study.place)
        comparison = replace(whole, label_counts=LABEL_COUNTS) if study.fine_tune else replace(
            whole, fine_tune=None)
        jobs = [Job(comparison, v, seed) for seed in study.seeds for v in study.variants]
        return jobs + [Job(whole, None, study.seeds[0])] * study.baselines


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.experiments", __doc__)
    add_data_arguments(parser)
    names = [*SEARCHES, *STUDIES]
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=names,
                        metavar="NAME", help=f"of {', '.join(STUDIES)} (default: all of these); "
                        f"searches: {', '.join(map(repr, SEARCHES))}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(the study's)")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="(the study's)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once (1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(runs/evidence)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="(OUT/results.json)")
    arguments = parser.parse_args()
    distributed.require_one_process("mae_lib.evidence.experiments")
    out = arguments.out or Path("runs/evidence")
    results = Results(arguments.results or out / "results.json")
    data, device = data_from(arguments), hardware.pick_device(arguments.device)
    precision = hardware.pick_precision(device, arguments.precision)
    if arguments.workers > 1:
        definite = ["--precision", precision] * (arguments.precision != precision)
        return start_workers(arguments.workers, definite, results, out)
    experimenter, left = Experimenter(data, precision, out, results, device), []
    for name in arguments.studies:  # not waiting for a study's last runs before the next begins
        if name in SEARCHES:
            print(f"Best {name}: {experimenter.search(name)}", flush=True)
            continue
        study = replace(STUDIES[name], **{k: tuple(v) for k in ("seeds", "variants")
                                          if (v := getattr(arguments, k))})
        left += attempt(experimenter.jobs(study))
    run(left)
    print(f"Done. Records: {results.path}")


if __name__ == "__main__":
    cli.run(main)
