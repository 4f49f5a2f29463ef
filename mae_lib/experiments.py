"""The evidence: every run behind the course's claims, by one command that can be interrupted.

  python -m mae_lib.experiments --data imagefolder:PATH --scale gpu --workers 4

First the original's recipe is searched, one setting after another, by cross-validation on the
training images. Then come the studies; one of them searches the add-ons' settings in the same way,
before test images judge what it found. Workers take the next run that nobody has taken; the same
command given again, here or in a second terminal, goes on with what is left.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mae_lib import cli, hardware
from mae_lib.checkpoints import load_weights
from mae_lib.compare import Comparison
from mae_lib.compute import steps_per_epoch
from mae_lib.config import FineTuneConfig, PretrainConfig, variant_settings
from mae_lib.history import History
from mae_lib.pretrain import NonFiniteLoss, Run, add_data_arguments, data_from
from mae_lib.results import Accuracy, Results, paired_difference
from mae_lib.workers import claim, start_workers

# What is searched, in this order: parts of a variant's name. The first is where the search begins.
RECIPE_AXES = (
    ("decoder_depth=1", "decoder_depth=4"),
    ("lr=0.0012", "lr=0.0006", "lr=0.0024"),
    ("batch_size=128", "batch_size=64"),
    ("norm_pix=yes+crop_scale=0.2", "norm_pix=yes+crop_scale=0.08", "norm_pix=no+crop_scale=0.2"),
)
# The same for the add-ons, upon the recipe found: strengths and forms that were not specified.
ADD_ON_AXES = (
    ("lambda_unif=0", "lambda_unif=0.03", "lambda_unif=0.1", "lambda_unif=0.3",
     "lambda_unif=0.1+unif_t=5"),
    ("lambda_freq=0", "lambda_freq=0.2", "lambda_freq=0.2+freq_form=energy"),
    ("mask_ratio_sched=const",
     "mask_ratio_sched=linear+mask_ratio_start=0.9+equal_compute=yes",
     "mask_ratio_sched=linear+mask_ratio_start=0.5+equal_compute=yes"),
)
FOUND = "improved, as searched"  # stands for the variant that the second search finds
FACTORIAL = ("original", "curriculum", "laplacian", "uniformity", "curriculum+laplacian",
             "curriculum+uniformity", "laplacian+uniformity", "improved")


@dataclass(frozen=True)
class Study:
    """Variants of a recipe, each with several seeds: others than the one that chose settings, whose
    winner was also lucky.
    """

    recipe: str  # "specified" or "tuned"
    variants: tuple[str, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    fine_tune: bool = False
    baselines: bool = False  # of the first seed


# In the order of running: what most depends on comes first.
STUDIES = {
    "methods": Study("tuned", ("original", "improved"), baselines=True),
    "reported": Study("specified", ("original", "improved")),
    "add-ons": Study("tuned", FACTORIAL[1:-1]),
    "search": Study("tuned", (FOUND,)),
    "controls": Study("tuned", (
        "curriculum+equal-compute", "improved+equal-compute", "shuffled", "raw-laplacian",
        "low-frequency")),
    "pairs": Study("tuned", ("original+batch_size=512", "uniformity+batch_size=512")),
    "add-ons as specified": Study("specified", FACTORIAL[1:-1]),
    "shapes": Study("tuned", (
        "original+img_size=224+patch_size=16", "original+img_size=64+patch_size=8")),
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
    "cpu": Scale("64-pixel images in patches of 8, 24,000 of them", SMALL, BRIEF, 24_000, 24_000),
    "long": Scale("the same with all images, and the recipe tuned for cpu", SMALL,
                  dict(epochs=30, warmup_epochs=3), None, 24_000),
    "gpu": Scale("the specified shape, epochs of 100,000 images whatever there are",
                 dict(preset="specified", images_per_epoch=100_000), {}),
}


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
            if facts == {"label": label, **vars(cfg)} and len(epochs) == cfg.epochs:
                seconds = epochs[-1]["seconds"]
                speed = cfg.epochs * iters * cfg.batch_size / seconds
                return Run(model.to(self.device), history, seconds, speed)
        return super().pretrain(cfg, folder, label)


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


def best_probe(records: list[dict]) -> int:
    """The place of the record with the highest probe."""
    scores = [record["measures"]["lp_cv"]["value"] for record in records]
    return scores.index(max(scores))


def lowest_loss_of_the_best(records: list[dict]) -> int:
    """The place of the record with the lowest validation loss, of those whose probe cannot be told
    from the highest one: where probes only differ by chance, the model that has learned more. With
    and without norm_pix the loss has different units: there the highest probe decides.
    """
    highest = records[best_probe(records)]
    best = Accuracy.from_entry(highest["measures"]["lp_cv"])

    def loss(i: int) -> float:
        measures = records[i]["measures"]
        same_unit = records[i]["settings"]["norm_pix"] == highest["settings"]["norm_pix"]
        if "failed" in measures or not same_unit:
            return math.inf
        _, low, _ = paired_difference(Accuracy.from_entry(measures["lp_cv"]), best)
        return math.inf if low > 0 else measures["epochs"][-1]["val_loss"]

    return min(range(len(records)), key=loss)


class Laboratory:
    """Runs experiments; several processes can share the folder of `template`, `template.out`.

    `template` holds what all runs share. Its fine-tuning is left out where a study wants none.
    """

    def __init__(self, template: Comparison, tuning_limit: int | None = None):
        self.template, self.tuning_limit = template, tuning_limit

    def _comparison(self, recipe: str, start: str, **changes) -> Comparison:
        base = variant_settings(start or "original", self.template.base)
        found = replace(self.template, base=base, recipe=recipe, **changes)
        return replace(found, out=found.out / f"{recipe}-{len(found.data.unlabeled)}")

    def attempt(self, jobs: list[Job]) -> list[Job]:
        """Does the jobs that no other process is doing; returns the others."""
        left = []
        for job in jobs:
            with claim(job.comparison.folder(job.variant or "baselines", job.seed)) as mine:
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
        chosen, data = [values[0] for values in axes], self.template.data
        data = replace(data, unlabeled=data.unlabeled[: self.tuning_limit])
        comparison = self._comparison(kind, start, data=data, fine_tune=None, choosing=True)
        for i, values in enumerate(axes):
            variants = ["+".join([*chosen[:i], value, *chosen[i + 1:]]) for value in values]
            chosen[i] = values[choose(self.run([Job(comparison, v, 0) for v in variants]))]
        return "+".join(chosen)

    def jobs(self, study: Study) -> list[Job]:
        """The runs of a study. Searches first, where that is not done and the study needs it."""
        start = ""
        if study.recipe == "tuned":
            start = self.search("tuning", RECIPE_AXES, choose=lowest_loss_of_the_best)
        whole = self._comparison(study.recipe, start)  # baselines are fine-tuned, too
        comparison = whole if study.fine_tune else replace(whole, fine_tune=None)
        variants = [self.search("searching", ADD_ON_AXES, start) if variant == FOUND else variant
                    for variant in study.variants]
        baselines = [Job(whole, None, study.seeds[0])] * study.baselines
        return [Job(comparison, v, seed) for seed in study.seeds for v in variants] + baselines


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
    device = hardware.pick_device(arguments.device)
    precision = hardware.pick_precision(device, arguments.precision)
    if arguments.workers > 1:
        return start_workers(arguments.workers, precision, results, out)
    base = {**scale.base, "precision": precision}
    template = Runs(data, base, FineTuneConfig(**scale.fine_tune), out, results, device)
    laboratory = Laboratory(template, scale.tuning_limit)
    left = []
    for name in arguments.studies:  # not waiting for a study's last runs before the next begins
        jobs = laboratory.jobs(STUDIES[name])
        left += laboratory.attempt([j for j in jobs if j.seed in (arguments.seeds or (j.seed,))])
    laboratory.run(left)
    print(f"Done. Records: {results.path}")


if __name__ == "__main__":
    cli.run(main)
