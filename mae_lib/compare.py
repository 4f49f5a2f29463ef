"""Original against improved MAE: the same data, model and protocol, baselines included.

Each run is pretrained, evaluated and written as one record of a results file. Finished runs are
skipped and unfinished ones go on, so an interrupted comparison loses nothing.
"""

import dataclasses
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from mae_lib import evaluate, plots
from mae_lib.config import RECIPES, FineTuneConfig, PretrainConfig, variant_settings
from mae_lib.data.sources import ImageSet, evenly_spaced
from mae_lib.model import MaskedAutoencoder
from mae_lib.pretrain import (
    Run,
    add_data_arguments,
    data_from,
    describe_images,
    input_size,
    pretrain,
)
from mae_lib.results import MEASURES, Results, grouped, mean_interval, summarise, table
from mae_lib.runtime import cli, distributed, hardware
from mae_lib.training.checkpoints import load_weights
from mae_lib.training.optim import NonFiniteLoss

RECONSTRUCTION_IMAGES = 1000  # of the test set, for PSNR, HF error and SSIM

FIRST_PICTURE_SECONDS = 30  # of pretraining: about a minute after the start, at the quick recipe
# How long a run takes, compared with a variant's, as measured with the quick recipe on two cores.
SHARES = {"chance": 0.0, "raw pixels": 0.1, "random init": 0.1, "from scratch": 0.8}


def frozen_measures(train: Tensor, mirrored: Tensor, test: Tensor, data: ImageSet) -> dict:
    """Linear probe and kNN of features (N, D)."""
    labels, test_labels = data.train_labels, data.test_labels
    decay, cross_validated = evaluate.choose_decay(train, labels, mirrored)
    probe = evaluate.linear_probe(train, labels, test, test_labels, mirrored, decay)
    found = {"lp": probe.entry(), "lp_cv": cross_validated.entry()}
    views = {"knn": (train, test), "knn_centred": evaluate.centred(train, test),
             "knn_whitened": evaluate.whitened(train, test)}
    for name, (ours, theirs) in views.items():
        found[name] = evaluate.knn(ours, labels, theirs, test_labels).entry()
    return found


def encoder_measures(model: MaskedAutoencoder, data: ImageSet) -> dict:
    """Linear probe and kNN of an encoder as it is."""
    views = (data.train, data.train.flip(3), data.test)
    return frozen_measures(*(evaluate.extract_features(model, x) for x in views), data)


def cross_validated_measure(model: MaskedAutoencoder, data: ImageSet) -> dict:
    """The linear probe on training images alone: no test image is read."""
    features, mirrored = (evaluate.extract_features(model, x)
                          for x in (data.train, data.train.flip(3)))
    return {"lp_cv": evaluate.choose_decay(features, data.train_labels, mirrored)[1].entry()}


def _mean_entries(values: dict[str, Tensor]) -> dict:
    return {name: dict(zip(("value", "low", "high"), mean_interval(value), strict=True),
                       images=len(value)) for name, value in values.items()}


@dataclasses.dataclass
class Comparison:
    """The runs of a comparison: `base` are the settings that all of them share."""

    data: ImageSet
    base: dict
    fine_tune: FineTuneConfig | None  # None: leave fine-tuning out
    out: Path
    results: Results
    device: torch.device
    fresh: bool = False  # do finished runs again
    recipe: str = ""
    progress: bool = True
    choosing: bool = False  # measure by cross-validation on the training images, read no test image
    scratch: FineTuneConfig | None = None  # for random weights; None: fine_tune
    label_counts: tuple[int, ...] = ()  # with how few labels to probe and fine-tune as well ...
    few_labels: str = ""  # ... the variant of this name, and training from scratch; "": all
    first_picture: Path | None = None  # where to show how far pretraining is after a minute
    todo: float = 0.0  # the runs to come, in variants (SHARES), to tell how much time is left
    pace: float = 0.0  # seconds that a variant takes, as far as is known

    def config(self, variant: str, seed: int) -> PretrainConfig:
        return PretrainConfig(**variant_settings(variant, {**self.base, "seed": seed}))

    @property
    def title(self) -> str:
        return (f"{self.data.name}, {len(self.data.unlabeled):,} unlabeled images, "
                f"{hardware.describe(self.device)['device']}")

    def about_data(self) -> dict:
        data = self.data
        return {
            "name": data.name, "unlabeled": len(data.unlabeled), "train": len(data.train),
            "test": len(data.test), "classes": len(data.classes), "pixels": data.train.shape[-1],
            "fingerprint": data.fingerprint,
        }

    def baselines(self, seed: int) -> list[dict]:
        """Chance, raw pixels, a randomly initialised encoder, and training from scratch."""
        cfg, data = self.config("original", seed), self.data
        chance = {"value": 100 * data.test_labels.bincount().max().item() / len(data.test_labels)}
        views = (data.train, data.train.flip(3), data.test)
        sizes = {k: getattr(cfg, k) for k in ("preset", "img_size", "patch_size", "precision")}
        recipe = self.scratch or self.fine_tune

        def scratch(folder: Path) -> dict:
            return self._fine_tune(cfg, cfg.build_model(), recipe, "from scratch", folder)

        def random_init(_: Path) -> dict:
            return encoder_measures(cfg.build_model().to(self.device), data)

        def raw_pixels(_: Path) -> dict:
            return frozen_measures(*map(evaluate.pixel_features, views), data)

        return [
            self._run("chance", None, {}, lambda _: dict.fromkeys(("lp", "ft", "knn"), chance)),
            self._run("raw pixels", None, {}, raw_pixels),
            self._run("random init", seed, sizes, random_init),
            self._run("from scratch", seed,
                      {**sizes, **self._few("from scratch"), "fine_tune": vars(recipe)}, scratch),
        ]

    def variant(self, variant: str, seed: int) -> dict:
        """Pretrain one variant, then evaluate it."""
        cfg, data, label = self.config(variant, seed), self.data, variant.capitalize()

        def measure(folder: Path) -> dict:
            try:
                run = self.pretrain(cfg, folder, label)
            except NonFiniteLoss as error:
                if not self.choosing:
                    raise
                return {"lp_cv": {"value": 0.0}, "failed": str(error)}
            pretraining = {"seconds": run.seconds, "images_per_second": run.images_per_second,
                           "epochs": run.history.epochs()}
            if self.choosing:
                return {**cross_validated_measure(run.model, data), **pretraining}
            images = evenly_spaced(data.test, RECONSTRUCTION_IMAGES)
            quality = evaluate.reconstruction_quality(run.model, images, cfg.norm_pix)
            quality = {method: _mean_entries(values) for method, values in quality.items()}
            return {
                **encoder_measures(run.model, data),
                **self._fine_tune(cfg, run.model, self.fine_tune, variant, folder),
                **quality.pop("model"), "references": quality, **pretraining,
            }

        return self._run(variant, seed, self._settings(cfg, variant), measure)

    def pretrain(self, cfg: PretrainConfig, folder: Path, label: str) -> Run:
        began = time.perf_counter()

        def show(model: MaskedAutoencoder) -> None:
            if self.first_picture and time.perf_counter() - began > FIRST_PICTURE_SECONDS:
                path = plots.save(self.reconstructions({label: (model, cfg.norm_pix)}),
                                  self.first_picture)
                self.tell(f"A first look at what {label} reconstructs so far: {path}")
                self.first_picture = None

        return pretrain(self.data.unlabeled, self.data.validation, cfg, folder, self.device, label,
                        self.progress, each_epoch=show)

    def _few(self, name: str) -> dict:
        """As a setting of a run: with how few labels it is tried as well."""
        tried = self.label_counts and name in (self.few_labels or name, "from scratch")
        return {"label_counts": self.label_counts} if tried else {}

    def _settings(self, cfg: PretrainConfig, variant: str = "") -> dict:
        return {**vars(cfg), **self._few(variant), "choosing": self.choosing,
                "fine_tune": vars(self.fine_tune) if self.fine_tune else None}

    def key(self, variant: str, seed: int) -> str:
        """The identifier of the record of a variant."""
        return self._key(variant, seed, self._settings(self.config(variant, seed), variant))

    def _fine_tune(
        self, cfg, model, recipe: FineTuneConfig | None, name: str, folder: Path
    ) -> dict:
        if recipe is None:
            return {}
        model = model.to(self.device)

        def tune(data: ImageSet) -> dict:
            # Fewer images need more epochs: with a quarter of them, twice as many.
            epochs = round(recipe.epochs * (len(self.data.train) / len(data.train)) ** 0.5)
            result = evaluate.fine_tune(
                model, data, dataclasses.replace(recipe, epochs=epochs), cfg.seed, cfg.precision,
                f"{name}, {len(data.train)} labels,", folder / f"fine-tune-{len(data.train)}.pt",
                self.progress)
            return {"ft": result.entry()}

        measures = tune(self.data)
        if self._few(name) and self.label_counts[0] < len(self.data.train):
            measures["labels"] = evaluate.label_efficiency(
                model, self.data, self.label_counts, tune)
        return measures

    def reconstructions(self, models: dict[str, tuple[MaskedAutoencoder, bool]]) -> Figure:
        """What models, (model, norm_pix) by name, make of five test images."""
        return plots.reconstructions(models, evenly_spaced(self.data.test, 5), 0.75, self.title)

    def folder(self, name: str, seed: int | None) -> Path:
        return self.out / (name.replace(" ", "-") + ("" if seed is None else f"-seed{seed}"))

    def _key(self, name: str, seed: int | None, settings: dict) -> str:
        # Like the device, the precision is the machine's choice: it is recorded, not asked for.
        asked = {k: v for k, v in settings.items() if k != "precision"}
        identity = json.dumps([name, seed, self.about_data(), asked], sort_keys=True)
        return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def _run(
        self, name: str, seed: int | None, settings: dict, measure: Callable[[Path], dict]
    ) -> dict:
        """The stored record of this run, or `measure(folder)` as a new one."""
        key = self._key(name, seed, settings)
        record, folder = self.results.find(key), self.folder(name, seed)
        if self.fresh:
            record = None
            shutil.rmtree(folder, ignore_errors=True)
        share = SHARES.get(name, 1.0)
        if record is None:
            folder.mkdir(parents=True, exist_ok=True)
            left = self.todo * self.pace / 60
            self.tell(f"Now: {name}" + (f" (about {left:.0f} min left in all)" if left else ""))
            began = time.perf_counter()
            record = {
                "id": key, "name": name, "recipe": self.recipe, "seed": seed,
                "data": self.about_data(), "settings": settings, **hardware.describe(self.device),
                "date": time.strftime("%Y-%m-%d"), "command": command(),
                "measures": measure(folder),
            }
            self.results.add(record)
            for leftover in (folder / "checkpoint.pt", *folder.glob("fine-tune*.pt")):
                leftover.unlink(missing_ok=True)
            if share > 0.5:
                self.pace = (time.perf_counter() - began) / share
        self.todo -= share
        return record

    def tell(self, text: str) -> None:
        if self.progress:
            tqdm.write(text, file=sys.stderr)


def command() -> str:
    """The command line, without folders of this machine and without what changes no result."""
    words, silent = [], ("--out", "--results", "--figures", "--work", "--workers")
    for before, word in zip(sys.argv, sys.argv[1:], strict=False):
        if {before, word.partition("=")[0]}.isdisjoint(silent):
            head, kind, folder = word.partition("imagefolder:")
            words.append(head + kind + Path(folder).name)
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None: a notebook, a script
    return shlex.join(["python", "-m", spec.name if spec else "mae_lib.compare", *words])


def label_lines(groups: dict[str, list[dict]]) -> dict[str, list[tuple[int, float]]]:
    """Points (labels, accuracy in percent) of each line of the label-efficiency plot."""
    lines = {}
    for name, (record, *_) in groups.items():
        found = record["measures"]
        if "labels" in found:
            points = {**{int(n): few for n, few in found["labels"].items()},
                      record["data"]["train"]: found}
            titles = {"ft": f"{name}, fine-tuned", "lp": f"{name}, linear probe"}
            if name == "from scratch":
                titles = {"ft": name}
            for measure, title in titles.items():
                lines[title] = [(n, few[measure]["value"]) for n, few in points.items()]
    return lines


def draw(comparison: Comparison, records: list[dict], folder: Path) -> list[Path]:
    """Write the figures of a comparison; reconstructions only where the weights are at hand."""
    data = comparison.data
    title = comparison.title
    groups = grouped(records)
    pretrained = {n: g[0] for n, g in groups.items() if "epochs" in g[0]["measures"]}
    histories = {n: r["measures"]["epochs"] for n, r in pretrained.items()}
    rows = [(name, {MEASURES[m][0]: found for m in ("lp", "ft", "knn")
                    if (found := summarise(group, m))}) for name, group in groups.items()]
    paths = [plots.save(plots.curves(histories, title), folder / "compare_curves.png"),
             plots.save(plots.accuracy_bars(rows, title), folder / "compare_accuracy.png")]
    models = {}
    for name, record in pretrained.items():
        path = comparison.folder(name, record["seed"]) / "model.safetensors"
        if path.exists():
            model, facts = load_weights(path)
            expected = record["settings"] | {
                "label": facts["label"], "images": describe_images(data.unlabeled)}
            if facts.items() <= expected.items():  # not of a later run with other settings or data
                models[name] = model, facts["norm_pix"]
    if models:
        figure = comparison.reconstructions(models)
        paths.append(plots.save(figure, folder / "compare_reconstructions.png"))
    lines = label_lines(groups)
    if lines:
        paths.append(plots.save(plots.label_efficiency(lines, title),
                                folder / "compare_labels.png"))
    return paths


def main() -> None:
    recipes = "\n".join(f"  {name:10} {recipe.about}" for name, recipe in RECIPES.items())
    parser = cli.parser(
        "python -m mae_lib.compare",
        "Pretrain and evaluate original and improved MAE, with baselines, and print the table.\n"
        f"Run the same command again to go on after an interruption.\n\nrecipes:\n{recipes}",
    )
    add_data_arguments(parser)
    parser.add_argument("--recipe", default="quick", choices=RECIPES, help="(default: quick)")
    parser.add_argument("--variants", nargs="+", default=["original", "improved"], metavar="NAME",
                        help="original, improved, or add-ons joined by + (original improved)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="(0)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(runs/RECIPE-DATA)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="(OUT/results.json)")
    parser.add_argument("--figures", type=Path, metavar="FOLDER",
                        help="(figures for the quick recipe on scenes, else OUT/figures)")
    parser.add_argument("--fresh", action="store_true", help="do finished runs again")
    cli.add_options(parser, PretrainConfig)
    cli.add_options(parser, FineTuneConfig, "ft-")
    arguments = parser.parse_args()
    distributed.require_one_process("mae_lib.compare")
    recipe = RECIPES[arguments.recipe]
    base = recipe.pretrain | cli.given(arguments, PretrainConfig)
    given = cli.given(arguments, FineTuneConfig, "ft_")
    fine_tune, scratch = recipe.fine_tunings(given)
    configs = [PretrainConfig(**variant_settings(name, base)) for name in arguments.variants]
    for settings in (*configs, fine_tune, scratch):
        settings.check()
    device = hardware.pick_device(arguments.device)
    base["precision"] = hardware.pick_precision(device, base.get("precision", "auto"))
    data = data_from(arguments, recipe.counts, max(map(input_size, configs)))

    name = f"{arguments.recipe}-{data.name.replace(':', '-')}"
    out = arguments.out or Path("runs") / name
    results = Results(arguments.results or out / "results.json")
    comparison = Comparison(data, base, fine_tune, out, results, device, arguments.fresh,
                            arguments.recipe, scratch=scratch, label_counts=recipe.label_counts,
                            few_labels=arguments.variants[0], first_picture=out / "first_look.png",
                            todo=len(arguments.seeds) * (len(configs) + sum(SHARES.values())))
    records = {}
    for seed in arguments.seeds:
        pretrained = [comparison.variant(variant, seed) for variant in arguments.variants]
        found = comparison.baselines(seed) + pretrained  # in the order of the table's rows
        records |= {record["id"]: record for record in found}
    default = Path("figures") if name == "quick-scenes" else out / "figures"
    paths = draw(comparison, list(records.values()), arguments.figures or default)
    print(f"\n{data.name}: {len(data.unlabeled):,} unlabeled, {len(data.train):,} train, "
          f"{len(data.test):,} test images\n\n{table(list(records.values()))}\n")
    print(f"Records: {results.path}\nFigures: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    cli.run(main)
