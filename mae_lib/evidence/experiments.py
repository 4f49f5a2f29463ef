"""The evidence: every run behind the course's claims, by one command that can be interrupted.

  python -m mae_lib.evidence.experiments --data imagefolder:PATH --workers 2

Without --studies, all studies of plan.py run. With --studies recipe, a search tries one setting
after another on seed 0 and reads no test image; what it finds is written into config.RECIPES by
hand. Workers take the next run that nobody has taken; give the same command again, here or in a
second terminal, and it continues with what is left. Small models do not fill a GPU: start NVIDIA's
MPS first (nvidia-cuda-mps-control -d), and workers run side by side instead of in turns.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from mae_lib.compare import Comparison, about_data, runs_of
from mae_lib.config import RECIPES, PretrainConfig, variant_settings
from mae_lib.data.sources import ImageSet
from mae_lib.evidence import plan
from mae_lib.evidence.plan import LABEL_COUNTS, PLACES, SEARCH, STUDIES, Study
from mae_lib.evidence.registration import LETTER, SMALL
from mae_lib.pretrain import add_data_arguments, data_from
from mae_lib.results import BASELINES, Results
from mae_lib.runtime import cli, distributed, hardware, workers
from mae_lib.runtime.workers import Job


def jobs_of(comparison: Comparison, names: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """All names with all seeds."""
    return [(comparison.folder(name, seed), partial(comparison.run, name, seed))
            for name, seed in runs_of(names, seeds)]


def search(comparison: Comparison, axes: tuple[tuple[str, ...], ...]) -> str:
    """The best part of every axis, the first on a tie, found one axis after the other; seed 0."""
    chosen = [values[0] for values in axes]
    for i, values in enumerate(axes):
        variants = ["+".join([*chosen[:i], value, *chosen[i + 1:]]) for value in values]
        scores = list(map(plan.score, workers.finish(jobs_of(comparison, variants, [0]))))
        chosen[i] = values[scores.index(max(scores))]
    return "+".join(chosen)


@dataclass(frozen=True)
class Experimenter:
    """Sets up the runs of studies and searches; several processes can share its folder."""

    data: ImageSet
    precision: str
    out: Path
    results: Results
    device: object

    def comparison(self, place: str, seed: int | None = None, images: int | None = None,
                   **changes) -> Comparison:
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
        return Comparison(data, out=out, results=self.results, device=self.device,
                          note_failures=True, **settings)

    def search(self) -> str:
        """The winner of the search for the tuned recipe, of which only the sizes are given."""
        sizes = ("preset", "img_size", "patch_size")
        base = {k: v for k, v in RECIPES["tuned"].pretrain.items() if k in sizes}
        return search(self.comparison(
            SMALL, images=plan.SEARCH_IMAGES, recipe="recipe", choosing=True, fine_tune=None,
            base=base | {"precision": self.precision}), SEARCH)

    def jobs(self, study: Study) -> list[Job]:
        """The runs of a study, seed by seed."""
        few = LABEL_COUNTS * (study.place in (SMALL, LETTER))
        changes = {"label_counts": few} if study.fine_tune else {"fine_tune": None}
        jobs = []
        for seed in study.seeds:
            names = study.variants + BASELINES * (study.baselines and seed == study.seeds[0])
            jobs += jobs_of(self.comparison(study.place, seed=seed, **changes), names, [seed])
        return jobs


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.experiments", __doc__)
    add_data_arguments(parser)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), metavar="NAME",
                        choices=["recipe", *STUDIES], help=f"of {', '.join(STUDIES)} (default: all "
                        "of these); recipe: the search")
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
        for name in arguments.studies:  # the search, then the runs of all studies
            if name == "recipe":
                print(f"Best recipe: {experimenter.search()}", flush=True)
                continue
            study = replace(STUDIES[name], **{k: tuple(v) for k in ("seeds", "variants")
                                              if (v := getattr(arguments, k))})
            jobs += experimenter.jobs(study)
        workers.finish(jobs)
    print(f"Done. Records: {results.path}")


if __name__ == "__main__":
    cli.run(main)
