"""Fine-tuning with and without care, at two rates, briefly and longer: same weights, same images.

The weights are those that come with the package. Each recipe adds a record to
mae_lib/assets/fine_tuning.json, which notebook 08 reads; finished ones are skipped.

  python -m benchmarks.fine_tuning --data imagefolder:PATH --size 64
"""

import hashlib
import itertools
import json
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import number
from mae_lib import evaluate
from mae_lib.compare import views
from mae_lib.config import RECIPES, FineTuneConfig
from mae_lib.data.fingerprint import fingerprint
from mae_lib.data.sources import ImageSet
from mae_lib.pretrain import add_data_arguments, data_from
from mae_lib.results import Results
from mae_lib.runtime import cli, hardware
from mae_lib.training.checkpoints import ASSETS, checksum, load_shipped

RECIPE = FineTuneConfig(**RECIPES["tuned"].fine_tune)
CARE = {
    "careless": dict(warmup_epochs=0.0, layer_decay=1.0, label_smoothing=0.0, crop_scale=1.0),
    "careful": {},
}
RATES = {"low rate": dict(lr=1e-3), "high rate": {}}
TIMES = {"3 epochs": dict(epochs=3, warmup_epochs=0.5), "15 epochs": {}}
RUNS = {  # what each changes of RECIPE; all eight combinations, and another start
    ", ".join(names): TIMES[names[2]] | RATES[names[1]] | CARE[names[0]]
    for names in itertools.product(CARE, RATES, TIMES)
}
RUNS["from the probe, low rate, 3 epochs"] = RUNS["careful, low rate, 3 epochs"]


class Trial:
    """What all recipes share: the weights, the photographs, and their linear probe."""

    def __init__(self, data: ImageSet, device: torch.device):
        self.data, self.model = data, load_shipped("original_64")[0].to(device)
        self.precision = hardware.pick_precision(device)
        self.views = None

    def features(self) -> tuple:
        """Features (N, D) of the training images, their mirror images and the test images."""
        if self.views is None:
            extract = partial(evaluate.extract_features, self.model)
            self.views = [*views(extract, self.data), extract(self.data.test)]
        return self.views

    def probe(self) -> dict:
        train, mirrored, test = self.features()
        labels, test_labels = self.data.train_labels, self.data.test_labels
        found = evaluate.linear_probe(train, labels, test, test_labels, mirrored)
        return {"lp": found.entry()}

    def fine_tune(self, name: str, recipe: FineTuneConfig, seed: int, file: Path) -> dict:
        head = self.head() if name.startswith("from the probe") else None
        found = evaluate.fine_tune(self.model, self.data, recipe, seed, self.precision, name, file,
                                   head=head)
        file.unlink(missing_ok=True)
        return {"ft": found.entry()}

    def head(self) -> Tensor:
        """A head (D + 1, classes), bias last: a probe on raw features, at weight decay 1e-3."""
        train, mirrored, _ = self.features()
        mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
        x, labels = (torch.cat([train, mirrored]) - mean) / std, self.data.train_labels.repeat(2)
        weights = evaluate.fit_logistic(x, labels, len(self.data.classes), 1e-3)
        slopes = weights[:-1] / std[:, None]
        return torch.cat([slopes, (weights[-1] - mean @ slopes)[None]])


def main() -> None:
    parser = cli.parser("python -m benchmarks.fine_tuning", __doc__)
    add_data_arguments(parser)
    parser.add_argument("--seeds", nargs="+", type=number(int, at_least=0), default=[0],
                        metavar="N", help="seeds of the runs (default: 0)")
    parser.add_argument("--recipes", nargs="+", default=list(RUNS), metavar="NAME",
                        choices=RUNS, help=f"which recipes (default: all of {'; '.join(RUNS)})")
    parser.add_argument("--results", type=cli.file, default=ASSETS / "fine_tuning.json",
                        metavar="FILE",
                        help="file of records (default: mae_lib/assets/fine_tuning.json)")
    parser.add_argument("--work", type=cli.folder, default=Path("runs/fine_tuning"),
                        metavar="FOLDER", help="where unfinished runs are kept (runs/fine_tuning)")
    arguments = parser.parse_args()
    size = load_shipped("original_64")[0].img_size
    data, device = data_from(arguments, img_size=size), hardware.pick_device(arguments.device)
    trial, results = Trial(data, device), Results(arguments.results)
    weights = checksum(ASSETS / "original_64.safetensors")
    content = fingerprint(data.train, data.train_labels, data.test, data.test_labels)
    about = {"name": data.name, "fingerprint": content,
             "train": len(data.train), "test": len(data.test),
             "classes": len(data.classes), "pixels": data.train.shape[-1]}

    def add(name: str, seed: int | None, settings: dict, measure) -> None:
        identity = json.dumps([weights, about, settings], sort_keys=True)
        key = f"{name}-{seed}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        if results.find(key) is None:
            record = {"id": key, "name": name, "seed": seed, "weights": weights, "data": about,
                      "settings": settings, **hardware.describe(device),
                      "date": time.strftime("%Y-%m-%d"), "command": cli.command(),
                      "measures": measure()}
            results.add(record)
        found = results.find(key)["measures"]
        print(name, seed, {k: round(entry["value"], 1) for k, entry in found.items()}, flush=True)

    add("linear probe", None, {}, trial.probe)
    for seed in arguments.seeds:
        for name in arguments.recipes:
            recipe = FineTuneConfig(**{**vars(RECIPE), **RUNS[name]})
            file = arguments.work / f"{name.replace(' ', '-')}-{seed}.pt"
            add(name, seed, {**vars(recipe), "precision": trial.precision},
                partial(trial.fine_tune, name, recipe, seed, file))


if __name__ == "__main__":
    cli.run(main)
