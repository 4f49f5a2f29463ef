"""The recorded runs of original and improved that come with the package, and what they cost."""

import dataclasses
import functools

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae_lib.config import PretrainConfig
from mae_lib.evidence.records import Evidence
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.plots import COLOURS
from mae_lib.training.compute import multiply_adds

STYLES = {"original": (COLOURS[0], "o-"), "improved": (COLOURS[1], "s--")}


def pixels(figure: Figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@functools.cache
def evidence() -> Evidence:
    """The evidence that comes with the package."""
    return Evidence()


@functools.cache
def recorded() -> dict[str, list[dict]]:
    """The small, tuned runs of original and improved, one a seed: {name: records}."""
    return {name: sorted(evidence().runs(name), key=lambda r: r["seed"]) for name in STYLES}


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
