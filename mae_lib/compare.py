"""Original against improved MAE: the same data, model and protocol, baselines included.

Each run is pretrained, evaluated and written as one record of a results file. Finished runs are
skipped and unfinished ones go on, so an interrupted comparison loses nothing. On a CPU with several
cores two processes share the runs. Their results are those of one process, except that rounding
depends on the number of threads of a process.
"""

import dataclasses
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from mae_lib import evaluate, plots
from mae_lib.config import RECIPES, FineTuneConfig, PretrainConfig, variant_settings
from mae_lib.data.sources import ImageSet, evenly_spaced
from mae_lib.model import MaskedAutoencoder
from mae_lib.pretrain import Run, add_data_arguments, data_from, input_size, pretrain
from mae_lib.results import BASELINES, MEASURES, Results, grouped, mean_interval, summarise, table
from mae_lib.runtime import cli, distributed, hardware, workers
from mae_lib.runtime.checks import check_value
from mae_lib.training.checkpoints import load_weights
from mae_lib.training.optim import NonFiniteLoss

RECONSTRUCTION_IMAGES = 1000  # of the test set, for PSNR and HF error

FIRST_PICTURE_SECONDS = 30  # of pretraining: about a minute after the start, at the quick recipe


def views(extract: Callable[..., Tensor], data: ImageSet) -> tuple[Tensor, Tensor]:
    """The features (N, D) that `extract` makes of training images, and of their mirror images."""
    return extract(data.train), extract(data.train, mirrored=True)


def frozen_measures(extract: Callable[..., Tensor], data: ImageSet) -> dict:
    """Linear probe and kNN of the features (N, D) that `extract` makes of images."""
    (train, mirrored), test = views(extract, data), extract(data.test)
    labels, test_labels = data.train_labels, data.test_labels
    decay, cross_validated = evaluate.choose_decay(train, labels, mirrored)
    probe = evaluate.linear_probe(train, labels, test, test_labels, mirrored, decay)
    found = {"lp": probe.entry(), "lp_cv": cross_validated.entry()}
    forms = {"knn": (train, test), "knn_centred": evaluate.centred(train, test),
             "knn_whitened": evaluate.whitened(train, test)}
    for name, (ours, theirs) in forms.items():
        found[name] = evaluate.knn(ours, labels, theirs, test_labels).entry()
    return found


def encoder_measures(model: MaskedAutoencoder, data: ImageSet) -> dict:
    """Linear probe and kNN of an encoder as it is."""
    return frozen_measures(partial(evaluate.extract_features, model), data)


def reconstruction_measures(model: MaskedAutoencoder, images: Tensor, norm_pix: bool) -> dict:
    """{method: {measure: mean with 95 % interval}} of at most RECONSTRUCTION_IMAGES images."""
    images = evenly_spaced(images, RECONSTRUCTION_IMAGES)
    return {method: {name: dict(zip(("value", "low", "high"), mean_interval(value), strict=True),
                                images=len(value)) for name, value in values.items()}
            for method, values in
            evaluate.reconstruction_quality(model, images, norm_pix).items()}


def about_data(data: ImageSet) -> dict:
    """What a record says about its data."""
    counts = {k: len(getattr(data, k)) for k in ("unlabeled", "train", "test", "classes")}
    return {"name": data.name, **counts, "pixels": data.train.shape[-1],
            "fingerprint": data.fingerprint}


@dataclasses.dataclass
class Comparison:
    """The runs of a comparison: `base` are the settings that all of them share."""

    data: ImageSet
    base: dict
    fine_tune: FineTuneConfig | None  # None: leave fine-tuning out
    out: Path
    results: Results
    device: torch.device
    recipe: str = ""
    choosing: bool = False  # measure by cross-validation on the training images, read no test image
    scratch: FineTuneConfig | None = None  # for random weights; None: fine_tune
    label_counts: tuple[int, ...] = ()  # smaller label sets to probe and fine-tune with as well,
    few_labels: str = ""  # only for this variant and training from scratch; "": for all
    note_failures: bool = False  # True: record a run that diverges; False: let it stop all
    first_picture: Path | None = None  # where to save an early look at reconstructions
    planned: Collection[str] = ()  # the keys of all runs

    def config(self, name: str, seed: int | None) -> PretrainConfig:
        """The settings of a variant; those of the original for a baseline."""
        variant = "original" if name in BASELINES else name
        return PretrainConfig(**variant_settings(variant, {**self.base, "seed": seed}))

    @property
    def title(self) -> str:
        return (f"{self.data.name}, {len(self.data.unlabeled):,} unlabelled images, "
                f"{hardware.describe(self.device)['device']}")

    def settings(self, name: str, seed: int | None) -> dict:
        """What the result of a run depends on, besides seed and data."""
        cfg, recipe = self.config(name, seed), self._recipe(name)
        sizes = {k: getattr(cfg, k) for k in ("preset", "img_size", "patch_size", "precision")}
        tuned = {"fine_tune": vars(recipe) if recipe else None}
        if self._few(name):
            tuned["label_counts"] = self.label_counts
        baselines = {"chance": {}, "raw pixels": {}, "random init": sizes,
                     "from scratch": {**sizes, **tuned}}
        return baselines.get(name, {**vars(cfg), **tuned, "choosing": self.choosing})

    def _few(self, name: str) -> tuple[int, ...]:
        """The smaller label sets that a run is tried with as well."""
        return self.label_counts if name in (self.few_labels or name, "from scratch") else ()

    def _recipe(self, name: str) -> FineTuneConfig | None:
        return (name == "from scratch" and self.scratch) or self.fine_tune

    def key(self, name: str, seed: int | None) -> str:
        """The identifier of the record of a run."""
        return f"{name}-{self._digest(name, seed, self.settings(name, seed))}"

    def folder(self, name: str, seed: int | None) -> Path:
        """Where a run works. Another pretraining, or one on other data, has another folder."""
        digest = self._digest(name, seed, vars(self.config(name, seed)))[:6]
        return self.out / f"{name.replace(' ', '-')}-seed{seed or 0}-{digest}"

    def _digest(self, name: str, seed: int | None, settings: dict) -> str:
        # Like the device, precision may be the machine's choice: recorded, but not part of the key.
        asked = {k: v for k, v in settings.items() if k != "precision"}
        identity = json.dumps([name, seed, about_data(self.data), asked], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:12]

    def run(self, name: str, seed: int | None) -> dict:
        """The stored record of a variant or baseline, or a new one."""
        key, folder = self.key(name, seed), self.folder(name, seed)
        if (record := self.results.find(key)) is None:
            folder.mkdir(parents=True, exist_ok=True)
            self.tell(f"Now: {name}")
            try:
                measures = self.measures(name, seed, folder)
            except NonFiniteLoss as error:
                if not self.note_failures:
                    raise
                measures = {"failed": str(error)}
            record = {
                "id": key, "name": name, "recipe": self.recipe, "seed": seed,
                "data": about_data(self.data), "settings": self.settings(name, seed),
                **hardware.describe(self.device), "date": time.strftime("%Y-%m-%d"),
                "command": cli.command(), "measures": measures}
            self.results.add(record)
            for leftover in folder.glob("*.pt*"):  # checkpoints, also one that a kill has cut
                leftover.unlink(missing_ok=True)
        return record

    def measures(self, name: str, seed: int | None, folder: Path) -> dict:
        """Make a run, which works in `folder`, and measure what came of it."""
        cfg, data = self.config(name, seed), self.data
        if name == "chance":
            share = data.test_labels.bincount().max().item() / len(data.test_labels)
            return {measure: {"value": 100 * share} for measure in ("lp", "ft", "knn")}
        if name == "raw pixels":
            return frozen_measures(evaluate.pixel_features, data)
        if name == "random init":
            return encoder_measures(cfg.build_model().to(self.device), data)
        if name == "from scratch":
            return self._fine_tune(cfg, cfg.build_model().to(self.device), name, folder)
        run = self.pretrain(cfg, folder, name.capitalize())
        pretraining = {"seconds": run.seconds, "images_per_second": run.images_per_second,
                       "epochs": run.history.epochs()}
        if self.choosing:
            train, mirrored = views(partial(evaluate.extract_features, run.model), data)
            chosen = evaluate.choose_decay(train, data.train_labels, mirrored)[1]
            return {"lp_cv": chosen.entry(), **pretraining}
        self.tell(f"Now: probe and kNN of {name}")
        quality = reconstruction_measures(run.model, data.test, cfg.norm_pix)
        return {**encoder_measures(run.model, data),
                **self._fine_tune(cfg, run.model, name, folder),
                **quality.pop("model"), "references": quality, **pretraining}

    def pretrain(self, cfg: PretrainConfig, folder: Path, label: str) -> Run:
        """Pretrain in `folder`; a finished run there is loaded, as it may only lack measures."""
        began = time.perf_counter()

        def show(model: MaskedAutoencoder) -> None:
            if self.first_picture and time.perf_counter() - began > FIRST_PICTURE_SECONDS:
                path = plots.save(self.reconstructions({label: (model, cfg.norm_pix)}),
                                  self.first_picture)
                self.tell(f"A first look at what {label} reconstructs so far: {path}")
                self.first_picture = None

        return pretrain(self.data.unlabeled, self.data.validation, cfg, folder, self.device, label,
                        each_epoch=show)

    def _fine_tune(self, cfg: PretrainConfig, model, name: str, folder: Path) -> dict:
        recipe = self._recipe(name)
        if recipe is None:
            return {}

        def tune(data: ImageSet) -> dict:
            result = evaluate.fine_tune(
                model, data, self._for_labels(recipe, len(data.train)), cfg.seed, cfg.precision,
                f"{name}, {len(data.train)} labels,",
                folder / f"fine-tune-{self.key(name, cfg.seed)}-{len(data.train)}.pt")
            return {"ft": result.entry()}

        measures, extract = tune(self.data), partial(evaluate.extract_features, model)
        counts = [count for count in self._few(name) if count < len(self.data.train)]
        test = extract(self.data.test) if counts else None
        for few in (evaluate.with_labels(self.data, count) for count in counts):
            train, mirrored = views(extract, few)
            probe = evaluate.linear_probe(train, few.train_labels, test, few.test_labels, mirrored)
            found = {"lp": probe.entry(), **tune(few)}
            measures.setdefault("labels", {})[str(len(few.train))] = found
        return measures

    def _for_labels(self, recipe: FineTuneConfig, count: int) -> FineTuneConfig:
        """Fewer images need more epochs: with a quarter of them, twice as many."""
        epochs = round(recipe.epochs * (len(self.data.train) / count) ** 0.5)
        return dataclasses.replace(recipe, epochs=epochs)

    def reconstructions(self, models: dict[str, tuple[MaskedAutoencoder, bool]]) -> Figure:
        """What models, (model, norm_pix) by name, make of five test images."""
        title = self.title + ("\neach patch's brightness and contrast come from the target "
                              "(norm_pix)" * any(norm_pix for _, norm_pix in models.values()))
        return plots.reconstructions(models, evenly_spaced(self.data.test, 5), 0.75, title)

    def tell(self, text: str) -> None:
        """Write a line, with how many of the planned runs are done."""
        if self.planned:
            done = sum(record["id"] in self.planned for record in self.results.read())
            text += f" ({done} of {len(self.planned)} runs done)"
        tqdm.write(text, file=sys.stderr)


def runs_of(names: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int | None]]:
    """(name, seed) for all, seed by seed; what no seed changes comes once, with None."""
    return list(dict.fromkeys((name, None if name in ("chance", "raw pixels") else seed)
                              for seed in seeds for name in names))


def draw(comparison: Comparison, records: list[dict], folder: Path) -> list[Path]:
    """Write the figures of a comparison; reconstructions only where the weights are at hand."""
    title, groups = comparison.title, grouped(records)
    pretrained = {n: g[0] for n, g in groups.items() if "epochs" in g[0]["measures"]}
    histories = {n if len(groups[n]) < 2 else f"{n}, seed {r['seed']}": r["measures"]["epochs"]
                 for n, r in pretrained.items()}
    rows = [(name, {MEASURES[m][0]: found for m in ("lp", "ft", "knn")
                    if (found := summarise(group, m))}) for name, group in groups.items()]
    figures = {"curves": plots.curves(histories, title),
               "accuracy": plots.accuracy_bars(rows, title)}
    loaded = {name: load_weights(file) for name, record in pretrained.items()
              if (file := comparison.folder(name, record["seed"]) / "model.safetensors").exists()}
    models = {name: (model, facts["norm_pix"]) for name, (model, facts) in loaded.items()}
    if models:
        figures["reconstructions"] = comparison.reconstructions(models)
    if lines := plots.label_lines(groups):
        figures["labels"] = plots.label_efficiency(lines, title)
    return [plots.save(figure, folder / f"compare_{name}.png") for name, figure in figures.items()]


def main() -> None:
    recipes = "\n".join(f"  {name:10} {recipe.about}" for name, recipe in RECIPES.items())
    parser = cli.parser(
        "python -m mae_lib.compare",
        "Pretrain and evaluate original and improved MAE, with baselines, and print the table.\n"
        f"Run the same command again to go on after an interruption.\n\nrecipes:\n{recipes}\n\n"
        "The defaults below are those of --recipe specified; the other recipes change some.")
    add_data_arguments(parser)
    parser.add_argument("--recipe", default="quick", choices=RECIPES, help="(default: quick)")
    parser.add_argument("--variants", nargs="+", default=["original", "improved"], metavar="NAME",
                        help="original, improved, or add-ons and settings joined by +, such as "
                        "laplacian+lambda_freq=0.1 (original improved)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="(0)")
    parser.add_argument("--out", type=cli.folder, metavar="FOLDER", help="(runs/RECIPE-DATA)")
    parser.add_argument("--results", type=cli.file, metavar="FILE", help="(OUT/results.json)")
    parser.add_argument("--figures", type=cli.folder, metavar="FOLDER", help="(OUT/figures)")
    parser.add_argument("--fresh", action="store_true", help="delete these runs and start over")
    workers.add_options(parser, "2 on a CPU with two cores or more, else 1")
    # The add-ons' settings belong to variants: options would change the original too.
    cli.add_options(parser, PretrainConfig, without=("seed", *variant_settings("improved")))
    cli.add_options(parser, FineTuneConfig, "ft-")
    arguments = parser.parse_args()
    check_value("--workers", 1 if arguments.workers is None else arguments.workers, int, at_least=1)
    distributed.require_one_process("mae_lib.compare")
    recipe = RECIPES[arguments.recipe]
    base = recipe.pretrain | cli.given(arguments, PretrainConfig)
    fine_tune, scratch = recipe.fine_tunings(cli.given(arguments, FineTuneConfig, "ft_"))
    configs = [PretrainConfig(**{**variant_settings(name, base), "seed": seed})
               for name in (*arguments.variants, "original") for seed in arguments.seeds]
    for settings in (*configs, fine_tune, scratch):
        try:
            settings.check()
        except ValueError as error:
            where = "In fine-tuning (options --ft-…): " * isinstance(settings, FineTuneConfig)
            raise ValueError(f"{where}{error}") from None
    with torch.device("meta"):  # without memory
        sizes = {(input_size(cfg), cfg.build_model().num_patches) for cfg in configs}
    if len(sizes) > 1:
        raise ValueError("Variants and baselines need the same img_size and patch_size: give them "
                         "as --img-size and --patch-size.")
    device = hardware.pick_device(arguments.device)
    asked = arguments.helper or base.get("precision", "auto")
    hardware.pick_precision(device, asked)  # what the device cannot do is told at once
    data = data_from(arguments, recipe.counts, max(map(input_size, configs)))

    out = arguments.out or Path("runs") / f"{arguments.recipe}-{data.name.replace(':', '-')}"
    results = Results(arguments.results or out / "results.json")
    comparison = Comparison(data, base, fine_tune, out, results, device, arguments.recipe,
                            scratch=scratch, label_counts=recipe.label_counts,
                            few_labels=arguments.variants[0],
                            first_picture=None if arguments.helper else out / "first_look.png")
    # The longest first: then no process has to wait long for another at the end.
    runs = runs_of([*arguments.variants, *reversed(BASELINES)], arguments.seeds)
    jobs = [(comparison.folder(*run), partial(comparison.run, *run)) for run in runs]
    made = {record["settings"].get("precision", asked) for run in runs
            if (record := results.find(comparison.key(*run)))}
    if (other := made - {asked}) and not (
            asked == "auto" or arguments.helper or arguments.fresh):
        raise ValueError(f"{results.path} holds these runs in {' and '.join(other)}: name another "
                         "--out (or --results, if you set it), or start over with --fresh.")
    comparison.planned = () if arguments.helper else {comparison.key(*run) for run in runs}
    if arguments.fresh and not arguments.helper:
        with ExitStack() as held:
            for folder, _ in jobs:  # all of them, before anything is deleted
                held.enter_context(workers.take(folder))
            results.add(without=comparison.planned)
            for folder, _ in jobs:
                shutil.rmtree(folder, ignore_errors=True)
    # Only now, so that a request that was refused does not change what the next start takes.
    base["precision"] = hardware.settled_precision(device, asked, out / "precision",
                                                   arguments.fresh)
    default = 2 if device.type == "cpu" and torch.get_num_threads() > 1 else 1
    with workers.helped("mae_lib.compare", arguments, default, base["precision"], out,
                        comparison.tell, every=15):
        records = workers.finish(jobs)
    if arguments.helper:
        return
    paths = draw(comparison, records, arguments.figures or out / "figures")
    print(f"\n{data.name}: {len(data.unlabeled):,} unlabelled, {len(data.train):,} train, "
          f"{len(data.test):,} test images\n\n{table(records)}\n")
    print(f"Records: {results.path}\nFigures: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    cli.run(main)
