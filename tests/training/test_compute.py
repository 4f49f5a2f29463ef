"""Counting the work of a run, and runs of equal work."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.model import PRESETS
from mae_lib.training import compute
from mae_lib.training.step import TrainStep

SMALL = dict(preset="tiny", img_size=32, patch_size=4, batch_size=4, precision="fp32")


@pytest.mark.parametrize("variant", ["original", "improved"])
def test_it_counts_what_a_real_step_does(variant):
    cfg = PretrainConfig(**SMALL, **variant_settings(variant))
    step = TrainStep(cfg.build_model(), cfg)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    crops, noise = step.draw(0, (32, 32))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step.compute(images, crops, noise, 16)
    cropping = 3 * (32 * 32 * 32 + 32 * 32 * 32) * 4
    pairs = 2 * 4 * 4 * 96 if variant == "improved" else 0  # z @ z.T, once and its gradient
    counted = counter.get_total_flops() // 2
    expected = pytest.approx(counted - cropping, abs=4 * pairs + 1)
    assert 4 * compute.multiply_adds(cfg, 16) == expected


def by_hand(size, n, hidden, length):
    """Forward multiply-adds of an image: of every product in turn."""
    d, narrow, values = size["embed_dim"], size["decoder_embed_dim"], 3 * size["patch_size"] ** 2
    encoder = n * values * d + size["depth"] * (12 * n * d * d + 2 * n * n * d) + n * d * narrow
    block = 12 * length * narrow**2 + 2 * length**2 * narrow
    last = 3 * length * narrow**2 + 2 * hidden * length * narrow + 9 * hidden * narrow**2
    decoder = (size["decoder_depth"] - 1) * block + last + hidden * narrow * values
    return 3 * (encoder + decoder) - n * values * d  # nobody asks for the pixels' gradient


def test_the_specified_step_costs_what_its_products_do():
    expected = by_hand(PRESETS["specified"], 49, 147, 196)
    assert compute.multiply_adds(PretrainConfig(), 49) == expected


def test_equal_compute_shortens_a_dear_curriculum_and_lengthens_a_cheap_one():
    cfg = PretrainConfig(**SMALL, **variant_settings("curriculum+equal-compute"))
    iters = compute.steps_per_epoch(cfg, 400)
    assert iters < 100
    length = 64
    visible = [num_visible_patches(length, training_mask_ratio(step, iters, cfg))
               for step in range(cfg.epochs * iters)]
    work = sum(visible.count(n) * compute.multiply_adds(cfg, n) for n in {*visible})
    constant = 1000 * compute.multiply_adds(cfg, 16)
    assert work == pytest.approx(constant, rel=0.01)
    cheap = PretrainConfig(**SMALL, **variant_settings(
        "curriculum+equal-compute+mask_ratio_start=0.9"))
    assert compute.steps_per_epoch(cheap, 400) > 100
    assert compute.steps_per_epoch(PretrainConfig(**SMALL), 401) == 101
    assert compute.steps_per_epoch(PretrainConfig(**SMALL, images_per_epoch=30), 401) == 8


def test_it_counts_where_gradients_are_off():
    cfg = PretrainConfig(**SMALL)
    with torch.no_grad():
        assert compute._count.__wrapped__(cfg, 16) == compute._count(cfg, 16)


@pytest.mark.parametrize("visible", [4, 16, 63, 64])
def test_three_counts_give_all_others(visible):
    cfg = PretrainConfig(**SMALL)
    assert compute.multiply_adds(cfg, visible) == compute._count(cfg, visible)
