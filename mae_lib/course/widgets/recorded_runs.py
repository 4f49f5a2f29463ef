"""The recorded runs of original and improved that come with the package, and what they cost."""

import dataclasses
import functools
import json

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae_lib.config import ADD_ONS, PretrainConfig
from mae_lib.evidence.records import Evidence
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.plots import COLOURS
from mae_lib.results import Results
from mae_lib.training.checkpoints import ASSETS
from mae_lib.training.compute import multiply_adds

STYLES = {"original": (COLOURS[0], "o-"), "improved": (COLOURS[1], "s--")}


def pixels(figure: Figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@functools.cache
def recorded() -> dict[str, list[dict]]:
    """Records of original and improved, alike in everything else, one a seed: {name: records}.

    They are on the photographs of the ledger. Of several such comparisons, one with fine-tuning; of
    these the one with most seeds, and then the one with the tuned recipe.
    """
    photographs = Evidence().runs("original")[0]["data"]
    varied = {"seed", "precision", *(s for changes in ADD_ONS.values() for s in changes)}
    found: dict[str, dict[str, dict]] = {}
    for record in Results(ASSETS / "results.json").read():
        if (record["name"] in STYLES and "epochs" in record["measures"]
                and record["data"] == photographs):
            same = {k: v for k, v in record["settings"].items() if k not in varied}
            key = json.dumps([record["data"], record["device"], same], sort_keys=True)
            by_name = found.setdefault(key, {name: {} for name in STYLES})
            by_name[record["name"]][record["seed"]] = record
    pairs = []
    for by_name in found.values():
        both = sorted(by_name["original"].keys() & by_name["improved"].keys())
        pairs.append({name: [by_name[name][seed] for seed in both] for name in STYLES})

    def rank(pair: dict[str, list[dict]]) -> tuple[bool, int, bool]:
        runs = pair["original"]
        whole = bool(runs) and all("ft" in run["measures"] for run in runs)
        return whole, len(runs), bool(runs) and runs[0]["recipe"] == "tuned"

    return max(pairs, key=rank)


def settings_of(record: dict) -> PretrainConfig:
    """The settings of a recorded run; it may have been made before some of them existed."""
    known = {field.name for field in dataclasses.fields(PretrainConfig)}
    epochs = record["measures"]["epochs"]
    every_step = {"mask_ratio_holds": epochs[0]["step"]}  # as it was before there was a choice
    given = {k: v for k, v in record["settings"].items() if k in known}
    return PretrainConfig(**every_step | given)


@functools.cache
def prices(preset: str, img_size: int | None = None, patch_size: int | None = None,
           decoder_depth: int | None = None) -> tuple[int, ...]:
    """Multiply-adds of a training step, per image, with 0 … L visible patches.

    A polynomial of second degree: attention compares all pairs of visible patches, and everything
    else is done once for each patch. Three counts give it exactly.
    """
    cfg = PretrainConfig(preset=preset, img_size=img_size, patch_size=patch_size,
                         decoder_depth=decoder_depth)
    length = cfg.build_model().num_patches
    known = 1, length // 2, length - 1
    with torch.enable_grad():  # an explorer draws without gradients, but they are counted
        counts = [multiply_adds(cfg, n) for n in known]
    polynomial = np.polyfit(known, counts, 2)
    return tuple(np.rint(np.polyval(polynomial, np.arange(length + 1))).astype(int).tolist())


def price_of_steps(cfg: PretrainConfig, iters: int) -> np.ndarray:
    """Multiply-adds of each step of a run with `iters` steps an epoch, for a whole batch."""
    price = prices(cfg.preset, cfg.img_size, cfg.patch_size, cfg.decoder_depth)
    ratios = [training_mask_ratio(step, iters, cfg) for step in range(cfg.epochs * iters)]
    visible = [num_visible_patches(len(price) - 1, ratio) for ratio in ratios]
    return np.array([price[n] for n in visible]) * cfg.batch_size
