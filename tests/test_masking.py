"""Tests of random masking and of the schedule of its ratio."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mae_lib.config import PretrainConfig
from mae_lib.masking import (
    num_visible_patches,
    random_mask_ids,
    random_masking,
    schedule_mask_ratio,
    take_patches,
    training_mask_ratio,
)

RATIOS = [0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.95]


def mask_by_loop(noise: np.ndarray, num_visible: int):
    """Sort each image's patches by their noise; the first stay visible."""
    keep, mask, restore = [], np.ones_like(noise), np.zeros(noise.shape, dtype=int)
    for b, row in enumerate(noise):
        shuffled = sorted(range(len(row)), key=lambda place: row[place])
        keep.append(shuffled[:num_visible])
        for new_place, old_place in enumerate(shuffled):
            restore[b, old_place] = new_place
            if new_place < num_visible:
                mask[b, old_place] = 0
    return np.array(keep), mask, restore


def test_masking_equals_a_slow_loop():
    for ratio in RATIOS:
        x, noise = torch.randn(4, 25, 3), torch.rand(4, 25)
        x_vis, mask, ids_restore = random_masking(x, ratio, noise=noise)
        keep, expected_mask, expected_restore = mask_by_loop(noise.numpy(), int(25 * (1 - ratio)))
        np.testing.assert_array_equal(mask.numpy(), expected_mask)
        np.testing.assert_array_equal(ids_restore.numpy(), expected_restore)
        for b in range(4):
            np.testing.assert_array_equal(x_vis[b].numpy(), x[b].numpy()[keep[b]])


def test_number_of_visible_patches():
    assert num_visible_patches(196, 0.75) == 49
    for length, ratio in itertools.product((20, 36, 144, 196, 256), RATIOS):
        expected = int(length * (1 - ratio))
        assert num_visible_patches(length, ratio) == expected
        x_vis, mask, ids_restore = random_masking(torch.zeros(3, length, 2), ratio)
        assert x_vis.shape == (3, expected, 2)
        assert ids_restore.shape == mask.shape == (3, length)
        assert ((mask == 0).sum(dim=1) == expected).all()
        assert ((mask == 1).sum(dim=1) == length - expected).all()


def test_ids_restore_puts_every_patch_back():
    x, noise = torch.randn(3, 16, 5), torch.rand(3, 16)
    ids_keep, mask, ids_restore = random_mask_ids(noise, 6)
    visible = take_patches(x, ids_keep)
    hole = torch.full((3, 10, 5), torch.nan)
    restored = take_patches(torch.cat([visible, hole], dim=1), ids_restore)
    seen = mask == 0
    assert torch.equal(restored[seen], x[seen])
    assert restored[~seen].isnan().all()
    assert torch.equal(ids_restore.sort(dim=1).values, torch.arange(16).expand(3, -1))
    assert (mask.gather(1, ids_keep) == 0).all()


def test_equal_noise_breaks_ties_by_place():
    """Half precision noise has ties: the order must still be the same everywhere."""
    ids_keep, mask, _ = random_mask_ids(torch.zeros(1, 8), 3)
    assert ids_keep.tolist() == [[0, 1, 2]]
    assert mask.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]


def test_each_image_has_a_mask_of_its_own():
    _, mask, _ = random_masking(torch.zeros(8, 196, 1), 0.75)
    assert len({tuple(row) for row in mask.tolist()}) == 8


def test_masking_repeats_by_noise_and_by_generator():
    x, noise = torch.randn(2, 36, 4), torch.rand(2, 36)
    for again in (
        lambda: random_masking(x, 0.75, noise=noise),
        lambda: random_masking(x, 0.75, generator=torch.Generator().manual_seed(5)),
    ):
        for first, second in zip(again(), again(), strict=True):
            assert torch.equal(first, second)
    other = random_masking(x, 0.75, generator=torch.Generator().manual_seed(6))
    assert not torch.equal(again()[1], other[1])


def test_generator_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    random_masking(torch.zeros(2, 36, 4), 0.75, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_place_is_masked_equally_often():
    """Counts per place are binomial; the largest of 49 deviations stays under 5 sigma."""
    n, length, ratio = 4000, 49, 0.75
    _, mask, _ = random_masking(torch.zeros(n, length, 1), ratio)
    p = 1 - int(length * (1 - ratio)) / length
    z = (mask.sum(dim=0) - n * p) / math.sqrt(n * p * (1 - p))
    assert z.abs().max() < 5
    assert z.std() > 0.3  # and they do vary, as independent draws must


def test_pairs_of_places_are_masked_independently_of_their_distance():
    """Neighbours are hidden together as often as far patches: there is no block structure."""
    n, length, keep = 8000, 16, 4
    _, mask, _ = random_mask_ids(torch.rand(n, length), keep)
    together = (mask.T @ mask / n)[~torch.eye(length, dtype=torch.bool)]
    hidden = length - keep
    p = hidden * (hidden - 1) / (length * (length - 1))
    assert (together - p).abs().max() < 5 * math.sqrt(p * (1 - p) / n)


def test_gradient_reaches_visible_patches_only():
    x = torch.randn(2, 16, 3, requires_grad=True)
    x_vis, mask, _ = random_masking(x, 0.75)
    x_vis.sum().backward()
    assert torch.equal(x.grad, (1 - mask)[:, :, None].expand(-1, -1, 3))


@pytest.mark.parametrize("ratio, words", [
    *((ratio, "at least 0 and below 1, got") for ratio in (-0.1, -1e-9, 1, 1.0, 1.5)),
    *((ratio, "a finite number, got") for ratio in (math.nan, math.inf, "0.5", None, True, [0.5])),
])
def test_ratio_outside_0_to_1_is_explained(ratio, words):
    with pytest.raises(ValueError, match=f"mask_ratio must be {words}"):
        random_masking(torch.zeros(1, 16, 2), ratio)


def test_ratio_that_leaves_nothing_visible_is_explained():
    with pytest.raises(ValueError, match=r"0.95 leaves none of 16 patches visible: choose a smal"):
        random_masking(torch.zeros(1, 16, 2), 0.95)


@pytest.mark.parametrize("shape", [(2, 15), (1, 16), (16,), (2, 16, 1)])
def test_noise_of_another_shape_is_explained(shape):
    with pytest.raises(ValueError, match=r"noise must have shape \(2, 16\), got"):
        random_masking(torch.zeros(2, 16, 3), 0.5, noise=torch.zeros(shape))


@pytest.mark.parametrize("num_visible, words", [
    *((number, f"at least 1 and at most 16, got {number}") for number in (0, -1, 17)),
    *((number, "a whole number, got") for number in (2.0, "2", None, True)),
])
def test_impossible_number_of_visible_patches_is_explained(num_visible, words):
    with pytest.raises(ValueError, match=f"num_visible must be {words}"):
        random_mask_ids(torch.rand(1, 16), num_visible)


# The curriculum


def config(sched="linear", **changes) -> SimpleNamespace:
    cfg = dict(mask_ratio=0.75, mask_ratio_start=0.5, mask_ratio_warmup_epochs=5)
    return SimpleNamespace(**{**cfg, **changes}, mask_ratio_sched=sched)


def test_linear_schedule_prints_what_the_specification_reports():
    """At the end of each of ten epochs of 1563 steps."""
    printed = [f"{schedule_mask_ratio(e, 1562, 1563, config()):.2f}" for e in range(10)]
    assert printed == ["0.55", "0.60", "0.65", "0.70"] + ["0.75"] * 6


def test_linear_schedule_is_a_straight_line_per_step():
    ours = [schedule_mask_ratio(e, s, 7, config()) for e in range(8) for s in range(7)]
    expected = np.interp(np.arange(56), [0, 35], [0.5, 0.75])
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_cosine_schedule_follows_its_formula():
    cfg, iters = config("cosine"), 10
    ours = np.array([schedule_mask_ratio(e, s, iters, cfg) for e in range(8) for s in range(iters)])
    t = np.minimum(np.arange(80) / 50, 1)
    np.testing.assert_allclose(ours, 0.75 - 0.25 * (1 + np.cos(np.pi * t)) / 2, atol=1e-12)
    assert ours[0] == 0.5
    assert ours[25] == pytest.approx(0.625)  # halfway
    assert ours[50:] == pytest.approx(0.75)
    assert (np.diff(ours[:51]) > 0).all()
    steps = np.diff(ours[:51])
    assert steps[0] < steps[24] / 5 and steps[-1] < steps[24] / 5  # slow at both ends


@pytest.mark.parametrize("sched", ["linear", "cosine"])
def test_schedule_may_also_fall(sched):
    cfg = config(sched, mask_ratio_start=0.9, mask_ratio=0.6)
    ours = [schedule_mask_ratio(e, 0, 3, cfg) for e in range(7)]
    assert ours[0] == pytest.approx(0.9) and ours[-1] == pytest.approx(0.6)
    assert ours == sorted(ours, reverse=True)


@pytest.mark.parametrize("sched", ["linear", "cosine"])
def test_a_ramp_ends_at_the_ratio_itself_and_never_beyond(sched):
    """0.03 + (0.42 − 0.03) is above 0.42: of 100 patches 57 would be visible, and not 58."""
    for start, end in itertools.product(np.arange(3, 97, 6) / 100, np.arange(3, 97) / 100):
        cfg = config(sched, mask_ratio_start=start, mask_ratio=end)
        ours = [schedule_mask_ratio(e, s, 3, cfg) for e in range(6) for s in range(3)]
        assert set(ours[15:]) == {end}
        assert min(start, end) <= min(ours) and max(ours) <= max(start, end)


@pytest.mark.parametrize(
    "cfg", [config("const"), config("linear", mask_ratio_warmup_epochs=0)], ids=["const", "no ramp"]
)
def test_constant_schedules(cfg):
    assert {schedule_mask_ratio(e, s, 4, cfg) for e in range(6) for s in range(4)} == {0.75}


def test_fractional_warmup_ends_within_an_epoch():
    cfg = config(mask_ratio_warmup_epochs=0.5)
    assert [schedule_mask_ratio(0, s, 4, cfg) for s in range(4)] == [0.5, 0.625, 0.75, 0.75]


def test_unknown_schedule_is_explained():
    with pytest.raises(ValueError, match="const, linear, cosine, shuffled, reversed, got 'sine'"):
        schedule_mask_ratio(0, 0, 1, config("sine"))


@pytest.mark.parametrize("change", [dict(mask_ratio=1.0), dict(mask_ratio_start=-0.1)])
def test_schedule_refuses_ratios_that_cannot_be(change):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        schedule_mask_ratio(0, 0, 1, config(**change))


# Holding the ratio, so that a GPU meets few sequence lengths


@pytest.mark.parametrize("iters, holds", [(1563, 4), (7, 3), (12, 4), (5, 1), (3, 4), (1, 4)])
@pytest.mark.parametrize("sched", ["const", "linear", "cosine"])
def test_training_holds_the_ratio_of_the_last_step_of_each_part(iters, holds, sched):
    """Against a list of the parts, written out."""
    cfg, holds = PretrainConfig(mask_ratio_sched=sched, mask_ratio_holds=holds), min(holds, iters)
    for epoch in range(10):
        for k in range(holds):
            part = [s for s in range(iters) if s * holds // iters == k]
            held = {training_mask_ratio(epoch * iters + s, iters, cfg) for s in part}
            assert held == {schedule_mask_ratio(epoch, part[-1], iters, cfg)}


@pytest.mark.parametrize("sched", ["linear", "cosine"])
def test_held_ratios_are_few_and_end_every_epoch_on_the_schedule(sched):
    cfg, iters, holds = PretrainConfig(mask_ratio_sched=sched), 163, 4
    held = [[training_mask_ratio(e * iters + s, iters, cfg) for s in range(iters)]
            for e in range(10)]
    assert [epoch[-1] for epoch in held] == [
        schedule_mask_ratio(e, iters - 1, iters, cfg) for e in range(10)
    ]
    lengths = {num_visible_patches(196, ratio) for epoch in held for ratio in epoch}
    assert len(lengths) <= 5 * holds + 1
    assert sched != "linear" or {88, 78, 68, 58, 49} <= lengths


@pytest.mark.parametrize("sched", ["shuffled", "reversed"])
@pytest.mark.parametrize("iters", [1, 3, 12, 63])
def test_another_order_has_each_of_the_ramps_ratios_also_where_parts_are_unequal(iters, sched):
    ramp, other = ([training_mask_ratio(step, iters, PretrainConfig(mask_ratio_sched=sched))
                    for step in range(10 * iters)] for sched in ("linear", sched))
    assert set(other) == set(ramp)
    assert np.mean(other) == pytest.approx(np.mean(ramp), abs=5e-4)


@pytest.mark.parametrize("iters", [1, 2, 12])
def test_reversed_is_the_ramp_backwards(iters):
    ramp, other = ([training_mask_ratio(step, iters, PretrainConfig(mask_ratio_sched=sched))
                    for step in range(10 * iters)] for sched in ("linear", "reversed"))
    assert other == ramp[::-1] and other[0] == 0.75 and min(ramp) in other[-3:]


def test_shuffling_keeps_the_ratios_and_changes_their_order():
    iters, found = 12, {}
    for sched, seed in (("linear", 0), ("shuffled", 0), ("shuffled", 1)):
        cfg = PretrainConfig(mask_ratio_sched=sched, seed=seed)
        found[sched, seed] = [training_mask_ratio(step, iters, cfg) for step in range(10 * iters)]
    ramp, one, two = found.values()
    assert sorted(one) == sorted(two) == sorted(ramp)
    assert one != ramp and two != ramp and one != two
    ratios = np.array(one).reshape(-1, 3)  # four parts of three steps in every epoch
    assert (ratios == ratios[:, :1]).all()


@pytest.mark.parametrize("x, noise, message", [
    (np.zeros((2, 4, 3)), None, r"x must be a torch tensor of shape \(B, L, D\), got ndarray"),
    ([[[0.0]]], None, "got list: use torch.as_tensor"),
    (torch.zeros(2, 4), None, r"x must have shape \(B, L, D\), got \(2, 4\)"),
    (torch.zeros(2, 4, 3), np.zeros((2, 4)), r"noise must be a torch tensor of shape \(2, 4\)"),
    (torch.zeros(2, 4, 3), torch.zeros(8), r"noise must have shape \(2, 4\), got \(8,\)"),
])
def test_arrays_lists_and_other_shapes_are_explained(x, noise, message):
    with pytest.raises(ValueError, match=message):
        random_masking(x, 0.5, noise)
