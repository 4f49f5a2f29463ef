"""What a small autoencoder learns of generated scenes in a few minutes, setting by setting.

Every setting changes one thing: how the scenes are drawn, how the original MAE is pretrained, or
how 500 labels are used, by the quick recipe's encoder or from scratch. All scenes are drawn with
seed 1, so the comparison uses others. Finished settings are skipped.

  python -m benchmarks.scenes_search
"""

import functools
import time
from functools import partial
from unittest.mock import patch

import torch

from benchmarks.timing import number
from mae_lib import evaluate
from mae_lib.compare import encoder_measures, frozen_measures
from mae_lib.config import RECIPES, FineTuneConfig, PretrainConfig
from mae_lib.data import scenes
from mae_lib.data.sources import ImageSet
from mae_lib.model import MaskedAutoencoder
from mae_lib.pretrain import pretrain
from mae_lib.results import Results
from mae_lib.runtime import cli, hardware
from mae_lib.training.checkpoints import ASSETS

QUICK = RECIPES["quick"]
BASE = {**QUICK.pretrain, "epochs": 7}  # as the recipe was before this search made it longer
SCENES = {  # changes of the constants of mae_lib/data/scenes.py
    "scenes as they are": {},
    "wider waves, 4 to 5.2": dict(WAVES=(4, 5.2)),
    "weaker pattern": dict(INK=0.45),
    "object turned freely": dict(TILT=(-3.14, 3.14)),
    "larger object, nearer the middle": dict(RADIUS=(0.42, 0.5), PLACE=(0.4, 0.6)),
    "smaller object, further from the middle": dict(RADIUS=(0.33, 0.4), PLACE=(0.32, 0.68)),
}
PRETRAINING = {  # changes of BASE
    "patches of 6 pixels": dict(patch_size=6),
    "target in plain pixels": dict(norm_pix=False),
    "batches of 64": dict(batch_size=64),
    "lr 1e-3": dict(lr=1e-3),
    "lr 4e-3": dict(lr=4e-3),
    "crops from 0.2": dict(crop_scale=0.2),
    "3 epochs": dict(epochs=3),
    "14 epochs": dict(epochs=14),
}
FEW = 500  # labels; from scratch, the longest training tried is still the best
FINE_TUNING = {
    f"{start}, lr {lr:g}, layer decay {decay:g}, {epochs} epochs":
        (start, dict(lr=lr, layer_decay=decay, epochs=epochs))
    for start, choices in {
        "fine-tuned": [(5e-3, 0.6, 17), (5e-3, 0.6, 34), (5e-3, 0.6, 68), (3e-3, 0.6, 34),
                       (5e-3, 0.75, 34)],
        "from scratch": [(1e-3, 1, 17), (1e-3, 1, 34), (1e-3, 1, 68), (1e-3, 1, 136),
                         (2e-3, 1, 68), (5e-4, 1, 68)],
    }.items() for lr, decay, epochs in choices
}


def draw(changes: dict, counts: tuple[int, int, int]) -> ImageSet:
    """Scenes with other constants, and of another seed than those of the comparison."""
    with patch.dict(vars(scenes), changes):
        splits = [map(torch.from_numpy, scenes.generate(split, 0, count, seed=1))
                  for split, count in zip(scenes.SPLITS, counts, strict=True)]
    (unlabeled, _), (train, labels), (test, test_labels) = splits
    return ImageSet("scenes", scenes.CLASSES, unlabeled, train, labels, test, test_labels)


def percents(measures: dict) -> dict:
    return {name: round(entry["value"], 1) for name, entry in measures.items()}


def main() -> None:
    parser = cli.parser("python -m benchmarks.scenes_search", __doc__)
    parser.add_argument("--results", type=cli.file, default=ASSETS / "scenes_search.json",
                        metavar="FILE",
                        help="file of records (default: mae_lib/assets/scenes_search.json)")
    parser.add_argument("--counts", nargs=3, type=number(int, at_least=1),
                        default=QUICK.counts, metavar="N",
                        help="scenes of each split (default: those of the quick recipe)")
    parser.add_argument("--settings", nargs="+", metavar="NAME",
                        choices=(names := [*SCENES, *PRETRAINING, *FINE_TUNING]), default=names,
                        help=f"which settings (default: all of {'; '.join(names)})")
    arguments = parser.parse_args()
    results, device = Results(arguments.results), hardware.pick_device()
    precision = hardware.pick_precision(device)

    def add(name: str, settings: dict, measure) -> None:
        key = f"{name}, {arguments.counts[0]} unlabeled"
        if results.find(key) is None:
            results.add({
                "id": key, "name": name, "settings": settings, "counts": list(arguments.counts),
                **hardware.describe(device), "date": time.strftime("%Y-%m-%d"),
                "command": cli.command(), "measures": measure()})
        found = results.find(key)["measures"]
        print(f"{name}: {found}", flush=True)

    def original(scene_changes: dict, changes: dict) -> dict:
        data = draw(scene_changes, arguments.counts)
        cfg = PretrainConfig(**{**BASE, **changes, "precision": precision})
        run = pretrain(data.unlabeled, data.validation, cfg, device=device)
        found = {"original": percents(encoder_measures(run.model, data)),
                 "seconds": round(run.seconds)}
        if not changes:  # which do not change what these two give
            found["raw pixels"] = percents(frozen_measures(evaluate.pixel_features, data))
            found["random init"] = percents(
                encoder_measures(cfg.build_model().to(device), data))
        return found

    @functools.cache
    def drawn() -> ImageSet:
        return draw({}, arguments.counts)

    @functools.cache
    def pretrained() -> MaskedAutoencoder:
        data = drawn()
        cfg = PretrainConfig(**QUICK.pretrain, precision=precision)
        return pretrain(data.unlabeled, data.validation, cfg, device=device).model

    def few_labels(start: str, changes: dict) -> dict:
        data = drawn()
        model = (pretrained() if start == "fine-tuned" else
                 PretrainConfig(**QUICK.pretrain).build_model().to(device))
        began = time.perf_counter()
        found = evaluate.fine_tune(model, evaluate.with_labels(data, FEW),
                                   FineTuneConfig(**{**QUICK.fine_tune, **changes}),
                                   precision=precision, label=start)
        seconds = round(time.perf_counter() - began)
        return {start: percents({"ft": found.entry()}), "seconds": seconds}

    for name in arguments.settings:
        if name in FINE_TUNING:
            start, changes = FINE_TUNING[name]
            add(name, changes, partial(few_labels, start, changes))
        else:
            changes = SCENES.get(name, {}), PRETRAINING.get(name, {})
            add(name, changes[0] | changes[1], partial(original, *changes))


if __name__ == "__main__":
    cli.run(main)
