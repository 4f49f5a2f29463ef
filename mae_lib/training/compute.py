"""What training costs, in multiply-adds of matrix products, and runs of equal cost."""

import functools

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_lib.config import PretrainConfig
from mae_lib.masking import num_visible_patches, training_mask_ratio


def multiply_adds(cfg: PretrainConfig, num_visible: int) -> int:
    """Multiply-adds of one training step, forward and backward, per image.

    Those of the model; losses have hardly any. Attention makes them a polynomial of degree two in
    the number of visible patches, so three counts give all others.
    """
    if num_visible <= 3:
        return _count(cfg, num_visible)
    one, two, three = (_count(cfg, n) for n in (1, 2, 3))
    steps = num_visible - 1
    return one + steps * (two - one) + steps * (steps - 1) // 2 * (three - 2 * two + one)


@functools.cache
def _count(cfg: PretrainConfig, num_visible: int) -> int:
    """Counted by torch on its "meta" device, where tensors have shapes but no values."""
    with torch.enable_grad(), torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
        model = cfg.build_model()
        images = torch.empty(2, 3, model.img_size, model.img_size)
        with FlopCounterMode(display=False) as counter:
            model(images, num_visible=num_visible, hidden_only=True).pred.sum().backward()
    return counter.get_total_flops() // 2 // len(images)


@functools.cache
def relative_cost(cfg: PretrainConfig, iters: int) -> float:
    """Multiply-adds of a run of `iters` steps an epoch over those at a constant mask ratio."""
    with torch.device("meta"):
        length = cfg.build_model().num_patches
    visible = [num_visible_patches(length, training_mask_ratio(step, iters, cfg))
               for step in range(cfg.epochs * iters)]
    constant = num_visible_patches(length, cfg.mask_ratio)
    cost = {n: multiply_adds(cfg, n) for n in {*visible, constant}}
    return sum(cost[n] for n in visible) / len(visible) / cost[constant]


def steps_per_epoch(cfg: PretrainConfig, images: int) -> int:
    """How many steps make up an epoch, by default one pass over `images` images.

    With `cfg.equal_compute` there are fewer: the run costs what it would at the final mask ratio.
    """
    iters = -(-(cfg.images_per_epoch or images) // cfg.batch_size)
    return max(1, round(iters / relative_cost(cfg, iters))) if cfg.equal_compute else iters
