"""Which patches the encoder may see: random masking and the curriculum of its ratio."""

import math

import torch
from torch import Tensor

from mae_lib.runtime.checks import check_choice, check_shape, check_value
from mae_lib.runtime.hardware import RNG, generator

SCHEDULES = ("const", "linear", "cosine", "shuffled", "reversed")


def num_visible_patches(num_patches: int, mask_ratio: float) -> int:
    """How many patches stay visible: int(num_patches · (1 − mask_ratio)), 49 of 196 at 0.75.

    The plain expression of the official code, kept so that counts agree with it everywhere,
    rounding of floats included. Raises ValueError if the ratio is outside [0, 1) or leaves nothing
    visible.
    """
    check_value("mask_ratio", mask_ratio, float, at_least=0, below=1)
    visible = int(num_patches * (1 - mask_ratio))
    if visible < 1:
        raise ValueError(f"mask_ratio {mask_ratio} leaves none of {num_patches} patches visible: "
                         "choose a smaller one.")
    return visible


def random_mask_ids(noise: Tensor, num_visible: int) -> tuple[Tensor, Tensor, Tensor]:
    """Turn noise (B, L) into a per-image random mask: the smallest values stay visible.

    Returns `ids_keep` (B, num_visible), the places of the visible patches in shuffled order; `mask`
    (B, L), 0 = visible and 1 = masked; and `ids_restore` (B, L), which undoes the shuffle.
    """
    length = noise.shape[1]
    check_value("num_visible", num_visible, int, at_least=1, at_most=length)
    ids_shuffle = noise.argsort(dim=1, stable=True)  # (B, L): shuffled place → original place
    ids_restore = ids_shuffle.argsort(dim=1)  # (B, L): original place → shuffled place
    mask = (ids_restore >= num_visible).float()  # (B, L)
    return ids_shuffle[:, :num_visible], mask, ids_restore


def random_masking(x: Tensor, mask_ratio: float, noise: Tensor | None = None,
                   generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Keep a random share of each image's patches (He et al. 2022, section 3, "Masking").

    `x` is (B, L, D). Returns `x_vis` (B, L_vis, D), `mask` (B, L) with 1 = masked, and
    `ids_restore` (B, L). The mask repeats when the caller passes `noise` (B, L) or a seeded
    `generator`.

    Raises ValueError if a shape or the mask ratio does not fit.
    """
    check_shape(x, "x", *"BLD")
    b, length, _ = x.shape
    if noise is None:
        noise = torch.rand(b, length, device=x.device, generator=generator)
    check_shape(noise, "noise", b, length)
    ids_keep, mask, ids_restore = random_mask_ids(noise, num_visible_patches(length, mask_ratio))
    return take_patches(x, ids_keep), mask, ids_restore


def take_patches(x: Tensor, ids: Tensor) -> Tensor:
    """Pick patches `ids` (B, K), each from 0 to L − 1, of x (B, L, D): (B, K, D)."""
    b, length, _ = x.shape
    first = torch.arange(0, b * length, length, device=x.device)  # of each image, in the batch
    # Copies patch by patch: many times faster than gather, which picks every value by itself.
    taken = x.flatten(0, 1).index_select(0, (first[:, None] + ids).flatten())
    return taken.unflatten(0, ids.shape)


def schedule_mask_ratio(epoch: int, step: int, iters: int, cfg) -> float:
    """The mask ratio at `step` (0 … iters − 1) of `epoch` (from 0): the curriculum.

    Ramps from `cfg.mask_ratio_start` to `cfg.mask_ratio` over the first
    `cfg.mask_ratio_warmup_epochs` epochs, per step, then stays. `cfg.mask_ratio_sched` is "linear",
    "cosine" (slow at both ends of the ramp) or "const" (`cfg.mask_ratio` throughout). "shuffled"
    and "reversed" are controls of "linear": here the same; `training_mask_ratio` orders their
    values anew.
    """
    check_value("mask_ratio", cfg.mask_ratio, float, at_least=0, below=1)
    check_choice("mask_ratio_sched", cfg.mask_ratio_sched, SCHEDULES)
    time = epoch + step / iters
    if cfg.mask_ratio_sched == "const" or time >= cfg.mask_ratio_warmup_epochs:
        return cfg.mask_ratio  # exactly: start + (end − start) may be larger, by rounding
    check_value("mask_ratio_start", cfg.mask_ratio_start, float, at_least=0, below=1)
    progress = time / cfg.mask_ratio_warmup_epochs
    if cfg.mask_ratio_sched == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return cfg.mask_ratio_start + (cfg.mask_ratio - cfg.mask_ratio_start) * progress


def training_mask_ratio(step: int, iters: int, cfg) -> float:
    """The mask ratio that training uses at `step`, counted from the run's first one.

    `schedule_mask_ratio`, held constant in each of `cfg.mask_ratio_holds` parts of an epoch: a GPU
    must record its step again for every new sequence length. With "shuffled", the parts of the
    whole run come in a random order that depends on `cfg.seed`; with "reversed", the last part
    comes first. (Where the holds do not divide an epoch evenly, both change the mean ratio a
    little.)
    """
    epoch, i = divmod(step, iters)
    holds = min(cfg.mask_ratio_holds, iters)
    part = i * holds // iters
    if cfg.mask_ratio_sched == "shuffled":
        order = torch.randperm(cfg.epochs * holds, generator=generator(cfg.seed, RNG.RATIOS))
        epoch, part = divmod(int(order[epoch * holds + part]), holds)
    elif cfg.mask_ratio_sched == "reversed":
        epoch, part = divmod((cfg.epochs - epoch) * holds - 1 - part, holds)
    last = -(-(part + 1) * iters // holds) - 1  # step: so epochs end at the scheduled ratio
    return schedule_mask_ratio(epoch, last, iters, cfg)
