"""The evidence: every run behind the course's claims, by one command that can be interrupted.

  python -m mae_lib.evidence.experiments --data imagefolder:PATH --workers 2

Without --studies, all studies of plan.py run. A search (the names are listed below) tries one
setting after another on seed 0 and reads no test image; what it finds is written into
config.RECIPES by hand. Workers take the next run that nobody has taken; give the same command
again, here or in a second terminal, and it continues with what is left. Small models do not fill a
GPU: start NVIDIA's MPS first (nvidia-cuda-mps-control -d), and workers run side by side instead of
in turns.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from mae_lib import evaluate
from mae_lib.compare import Comparison, about_data, runs_of
from mae_lib.config import RECIPES, FineTuneConfig, PretrainConfig, variant_settings
from mae_lib.data.sources import ImageSet
from mae_lib.evidence import plan
from mae_lib.evidence.plan import LABEL_COUNTS, PLACES, SEARCHES, STUDIES, Study
from mae_lib.evidence.registration import SMALL
from mae_lib.pretrain import add_data_arguments, data_from
from mae_lib.results import BASELINES, Results
from mae_lib.runtime import cli, distributed, hardware, workers
from mae_lib.runtime.workers import Job


@dataclass
class FineTunings(Comparison):
    """Recipes of fine-tuning in the place of variants, such as "lr=0.006+layer_decay=0.75"."""

    pretrained: bool = True  # False: random weights

    def config(self, name: str, seed: int) -> PretrainConfig:
        return super().config("original", seed)

    def _recipe(self, name: str) -> FineTuneConfig:
        parts = (part.split("=") for part in name.split("+"))
        return replace(self.fine_tune if self.pretrained else self.scratch,
                       **{setting: float(text) for setting, text in parts})

    def settings(self, name: str, seed: int) -> dict:
        return {**super().settings(name, seed), "weights": self.pretrained}

    def measures(self, name: str, seed: int, folder: Path) -> dict:
        """Fine-tune on four fifths of the training images, judge on the remaining fifth."""
        cfg = self.config(name, seed)
        model = cfg.build_model()
        if self.pretrained:
            source = folder.parent / f"weights-seed{seed}"
            with FileLock(source / "lock"):  # the other recipes need the same weights
                model = self.pretrain(cfg, source, "Original").model
        accuracy = evaluate.fine_tune(
            model.to(self.device), held_out(self.data), self._recipe(name), seed, cfg.precision,
            name, folder / "fine-tune.pt")
        return {"ft_held_out": accuracy.entry()}


def held_out(data: ImageSet) -> ImageSet:
    """The training images alone, a fifth of each class in the place of the test images."""
    held = evaluate.folds(data.train_labels) == 0
    return replace(data, train=data.train[~held], train_labels=data.train_labels[~held],
                   test=data.train[held], test_labels=data.train_labels[held])


def jobs_of(comparison: Comparison, names: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """All names with all seeds."""
    return [(comparison.folder(name, seed), partial(comparison.run, name, seed))
            for name, seed in runs_of(names, seeds)]


def best(records: list[dict]) -> int:
    """The index of the record with the highest score, the first on a tie."""
    return max(range(len(records)), key=lambda i: plan.score(records[i]))


def search(comparison: Comparison, axes: tuple[tuple[str, ...], ...]) -> str:
    """The best part of every axis, found one axis after the other, as a variant; seed 0."""
    chosen = [values[0] for values in axes]
    for i, values in enumerate(axes):
        variants = ["+".join([*chosen[:i], value, *chosen[i + 1:]]) for value in values]
        chosen[i] = values[best(workers.finish(jobs_of(comparison, variants, [0])))]
    return "+".join(chosen)


@dataclass(frozen=True)
class Experimenter:
    """Sets up the runs of studies and searches; several processes can share its folder."""

    data: ImageSet
    precision: str
    out: Path
    results: Results
    device: object

    def comparison(self, place: str, kind: type = Comparison, seed: int | None = None,
                   images: int | None = None, **changes) -> Comparison:
        """Runs at a place; those of one seed in one precision, since they are compared."""
        place = PLACES[place]
        data = replace(self.data, unlabeled=self.data.unlabeled[:images or place.images])
        precision = next((r["settings"]["precision"] for r in self.results.read()
                          if seed and r["seed"] == seed and r["recipe"] == place.recipe
                          and r["data"] == about_data(data) and "epochs" in r["measures"]),
                         self.precision)
        tune, scratch = RECIPES[place.recipe].fine_tunings()
        base = {**RECIPES[place.recipe].pretrain, **place.settings, "precision": precision}
        settings = dict(base=base, fine_tune=tune, scratch=scratch, recipe=place.recipe) | changes
        out = self.out / f"{settings['recipe'].replace(' ', '-')}-{len(data.unlabeled)}"
        return kind(data, out=out, results=self.results, device=self.device, note_failures=True,
                    **settings)

    def search(self, name: str) -> str:
        """The winner of a search."""
        if name == "recipe":
            sizes = ("preset", "img_size", "patch_size")
            base = {k: v for k, v in RECIPES["tuned"].pretrain.items() if k in sizes}
            kind, changes = Comparison, dict(choosing=True, fine_tune=None,
                                             base=base | {"precision": self.precision})
        else:
            kind, changes = FineTunings, dict(pretrained=name == "fine-tuning")
        comparison = self.comparison(SMALL, kind, images=plan.SEARCH_IMAGES, recipe=name, **changes)
        return search(comparison, SEARCHES[name])

    def jobs(self, study: Study) -> list[Job]:
        """The runs of a study, seed by seed."""
        changes = {"label_counts": LABEL_COUNTS} if study.fine_tune else {"fine_tune": None}
        jobs = []
        for seed in study.seeds:
            names = study.variants + BASELINES * (study.baselines and seed == study.seeds[0])
            jobs += jobs_of(self.comparison(study.place, seed=seed, **changes), names, [seed])
        return jobs


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
    workers.add_options(parser, "1")
    parser.add_argument("--out", type=cli.folder, metavar="FOLDER", help="(runs/evidence)")
    parser.add_argument("--results", type=cli.file, metavar="FILE", help="(OUT/results.json)")
    arguments = parser.parse_args()
    distributed.require_one_process("mae_lib.evidence.experiments")
    out = arguments.out or Path("runs/evidence")
    results = Results(arguments.results or out / "results.json")
    for name in arguments.variants or ["original"]:
        for seed in arguments.seeds or [0]:
            PretrainConfig(**{**variant_settings(name), "seed": seed}).check()
    device = hardware.pick_device(arguments.device)
    precision = hardware.settled_precision(device, arguments.helper or arguments.precision,
                                           out / "precision")
    data = data_from(arguments)
    experimenter, jobs = Experimenter(data, precision, out, results, device), []
    with workers.helped("mae_lib.evidence.experiments", arguments, 1, precision, out,
                        partial(tqdm.write, file=sys.stderr), every=600):
        for name in arguments.studies:  # all searches, then the runs of all studies
            if name in SEARCHES:
                print(f"Best {name}: {experimenter.search(name)}", flush=True)
                continue
            study = replace(STUDIES[name], **{k: tuple(v) for k in ("seeds", "variants")
                                              if (v := getattr(arguments, k))})
            jobs += experimenter.jobs(study)
        workers.finish(jobs)
    print(f"Done. Records: {results.path}")


if __name__ == "__main__":
    cli.run(main)
