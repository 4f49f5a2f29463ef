"""Tests of the metrics: against scikit-image, SciPy and slow loops, and at their known values."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from mae_lib.metrics import (
    composite,
    effective_rank,
    masked_hf_error,
    masked_psnr,
    trivial_reconstructions,
)
from mae_lib.patches import patch_mask_to_pixels


def random_case(b: int = 3, size: int = 32, patch: int = 8, ratio: float = 0.6):
    """Smooth target images in [0, 1], a noisy prediction that leaves [0, 1], a mask of patches."""
    noise = np.random.default_rng(0).random((b, 3, size, size))
    smooth = torch.tensor(scipy.ndimage.gaussian_filter(noise, (0, 0, 2, 2))).float()
    low, high = smooth.amin((1, 2, 3), keepdim=True), smooth.amax((1, 2, 3), keepdim=True)
    target = (smooth - low) / (high - low)
    pred = target + 0.2 * torch.randn_like(target)
    assert pred.min() < 0 and pred.max() > 1
    mask = torch.rand(b, (size // patch) ** 2) < ratio
    return pred, target, patch_mask_to_pixels(mask.float(), patch)


METRICS = [masked_psnr, masked_hf_error]


# Images


def test_composite_is_the_prediction_where_masked():
    pred, target, mask = random_case()
    mixed, hidden = composite(pred, target, mask), (mask == 1).expand_as(pred)
    assert torch.equal(mixed[hidden], pred[hidden])
    assert torch.equal(mixed[~hidden], target[~hidden])


def test_psnr_equals_scikit_image_on_masked_pixels():
    pred, target, mask = random_case()
    ours = masked_psnr(pred, target, mask)
    assert ours.shape == (3,)
    for i in range(3):
        hidden = np.broadcast_to(mask[i].numpy() == 1, pred[i].shape)
        shown = pred[i].numpy().clip(0, 1)  # what a screen shows
        expected = peak_signal_noise_ratio(target[i].numpy()[hidden], shown[hidden], data_range=1)
        assert ours[i].item() == pytest.approx(expected, rel=1e-4)


def test_psnr_of_a_known_error():
    target, mask = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 1, 8, 8)
    mask[..., :2] = 1
    assert masked_psnr(target + 0.1, target, mask).item() == pytest.approx(20, abs=1e-3)
    assert masked_psnr(target, target, mask).item() == 100


def test_hf_error_equals_a_slow_loop():
    pred, target, mask = random_case(size=16, patch=4)
    ours = masked_hf_error(pred, target, mask)
    shown = np.where(mask.numpy() == 1, pred.numpy().clip(0, 1), target.numpy())
    kernel = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    for i in range(3):
        errors = []
        for row in range(1, 15):
            for col in range(1, 15):
                if mask[i, 0, row, col] == 1:
                    window = slice(row - 1, row + 2), slice(col - 1, col + 2)
                    for c in range(3):
                        difference = shown[i, c][window] - target[i, c].numpy()[window]
                        errors.append(abs((difference * kernel).sum()))
        assert ours[i].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_identical_images_are_perfect():
    _, target, mask = random_case()
    assert (masked_hf_error(target, target, mask) == 0).all()
    assert (masked_psnr(target, target, mask) == 100).all()


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_ignore_predictions_on_visible_pixels(metric):
    pred, target, mask = random_case()
    other = torch.where(mask == 0, torch.rand_like(pred), pred)
    assert torch.equal(metric(other, target, mask), metric(pred, target, mask))
    other = torch.where(mask == 1, torch.rand_like(pred), pred)
    assert not torch.equal(metric(other, target, mask), metric(pred, target, mask))


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_per_image(metric):
    pred, target, mask = random_case()
    alone = torch.cat([metric(pred[i][None], target[i][None], mask[i][None]) for i in range(3)])
    torch.testing.assert_close(metric(pred, target, mask), alone)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_clip_predictions_to_what_a_screen_shows(metric):
    pred, target, mask = random_case()
    assert torch.equal(metric(pred, target, mask), metric(pred.clamp(0, 1), target, mask))


def test_more_noise_is_worse_by_every_metric():
    _, target, mask = random_case(size=48)
    noise = torch.randn_like(target)
    for metric, sign in ((masked_psnr, -1), (masked_hf_error, 1)):
        values = [sign * metric(target + s * noise, target, mask).mean() for s in (0.02, 0.1, 0.3)]
        assert values == sorted(values)


def test_without_masked_pixels():
    pred, target, mask = random_case()
    nothing = torch.zeros_like(mask)
    assert (masked_psnr(pred, target, nothing) == 100).all()
    assert (masked_hf_error(pred, target, nothing) == 0).all()


# Effective rank


def test_effective_rank_equals_its_formula():
    features = torch.randn(40, 12) @ torch.diag(torch.logspace(0, -3, 12)) + 5
    x = features.double().numpy()
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    p = singular / singular.sum()
    assert effective_rank(features) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_effective_rank_of_k_equal_directions_is_k(k):
    directions = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0][:k]
    features = torch.cat([directions, -directions]) + torch.randn(8)
    assert effective_rank(features) == pytest.approx(k, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
def test_effective_rank_of_equal_rows_is_0(offset):
    assert effective_rank((torch.randn(1, 16) + offset).expand(10, -1)) == 0
    assert effective_rank(torch.zeros(10, 16)) == 0


def test_effective_rank_of_a_line_is_1():
    line = torch.randn(20, 1, dtype=torch.float64) * torch.randn(1, 6, dtype=torch.float64)
    assert effective_rank(line) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.randn(2, 6)) == pytest.approx(1, abs=1e-6)  # two points


def test_effective_rank_does_not_depend_on_scale_shift_and_rotation():
    x = torch.randn(30, 6, dtype=torch.float64) * torch.arange(1, 7)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    expected = effective_rank(x)
    assert 1 < expected < 6
    for same in (1e-15 * x, 1e3 * x, x + 100, x @ rotation, x[torch.randperm(30)]):
        assert effective_rank(same) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 8), (0, 8), (8,), (2, 3, 4)])
def test_effective_rank_explains_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"features .*\(N, D\).* got"):
        effective_rank(torch.zeros(shape))


# Trivial references


@pytest.mark.parametrize("shape, ratio", [((32, 32), 0.75), ((24, 40), 0.75), ((32, 32), 0.95)])
def test_every_reference_reproduces_a_constant_image(shape, ratio):
    target = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, *shape)
    mask = (torch.rand(2, 1, *shape) < ratio).float()
    references = trivial_reconstructions(target, mask)
    assert references.keys() == {"masked mean", "bilinear fill", "blurred target"}
    for image in references.values():
        torch.testing.assert_close(image, target, atol=1e-5, rtol=0)


def test_masked_mean_equals_a_loop():
    _, target, mask = random_case()
    filled = trivial_reconstructions(target, mask)["masked mean"]
    for i in range(3):
        for c in range(3):
            visible = target[i, c][mask[i, 0] == 0]
            np.testing.assert_allclose(filled[i, c], visible.mean(), rtol=1e-5)


def test_blurred_target_equals_scipy():
    _, target, mask = random_case()
    blurred = trivial_reconstructions(target, mask)["blurred target"]
    expected = scipy.ndimage.gaussian_filter(
        target.double().numpy(), (0, 0, 2, 2), truncate=3, mode="mirror"
    )
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("size, patch", [(64, 8), (40, 1)])
def test_bilinear_fill_keeps_visible_pixels_and_stays_between_them(size, patch, ratio):
    target = torch.rand(2, 3, size, size)
    length = (size // patch) ** 2
    ids = torch.rand(2, length).argsort(dim=1).argsort(dim=1)
    mask = patch_mask_to_pixels((ids >= max(1, int(length * (1 - ratio)))).float(), patch)
    filled = trivial_reconstructions(target, mask)["bilinear fill"]
    assert filled.isfinite().all()
    visible = (mask == 0).expand_as(filled)
    assert torch.equal(filled[visible], target[visible])
    for i in range(2):
        seen = target[i][:, mask[i, 0] == 0]
        assert (filled[i].amax((1, 2)) <= seen.amax(1) + 1e-5).all()
        assert (filled[i].amin((1, 2)) >= seen.amin(1) - 1e-5).all()


def test_bilinear_fill_of_one_hole_is_pillows_enlargement_of_averages():
    """Of 2×2 pixels; where nothing is visible the average is that of the three others."""
    target, mask = torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., :2, :2] = 1
    averages = torch.nn.functional.avg_pool2d(target, 2)[0, 0]
    averages[0, 0] = averages.flatten()[1:].mean()
    enlarged = Image.fromarray(averages.numpy()).resize((4, 4), Image.Resampling.BILINEAR)
    filled = trivial_reconstructions(target, mask)["bilinear fill"][0, 0, :2, :2]
    np.testing.assert_allclose(filled, np.asarray(enlarged)[:2, :2], atol=1e-5)


def test_bilinear_fill_does_not_read_masked_pixels():
    _, target, mask = random_case()
    other = torch.where(mask == 1, torch.rand_like(target), target)
    for name in ("masked mean", "bilinear fill"):
        expected = trivial_reconstructions(target, mask)[name]
        assert torch.equal(trivial_reconstructions(other, mask)[name], expected)


def test_bilinear_fill_beats_the_mean_on_smooth_images():
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    target = torch.stack([x, y, (x + y) / 2])[None]
    mask = patch_mask_to_pixels((torch.rand(1, 36) < 0.6).float(), 8)
    psnr = {
        name: masked_psnr(image, target, mask)
        for name, image in trivial_reconstructions(target, mask).items()
    }
    assert psnr["bilinear fill"] > psnr["masked mean"] + 3


@pytest.mark.parametrize("shape", [(32, 32), (16, 64), (40, 24)])
def test_bilinear_fill_reaches_far_holes(shape):
    """Only one corner is visible: its colour is all that is known."""
    target, mask = torch.full((1, 3, *shape), 0.5), torch.ones(1, 1, *shape)
    mask[..., :4, :4] = 0
    filled = trivial_reconstructions(target, mask)["bilinear fill"]
    torch.testing.assert_close(filled, target, atol=1e-5, rtol=0)


def test_references_of_a_wholly_masked_image_are_finite():
    _, target, mask = random_case()
    for image in trivial_reconstructions(target, torch.ones_like(mask)).values():
        assert image.isfinite().all()


@pytest.mark.parametrize("measure", METRICS)
def test_arrays_and_shapes_that_do_not_fit_are_explained(measure):
    image, mask = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    with pytest.raises(ValueError, match=r"pred_img must be a torch tensor .*, got ndarray"):
        measure(image.numpy(), image, mask)
    with pytest.raises(ValueError, match=r"mask_img must have shape \(2, 1, 16, 16\), got"):
        measure(image, image, mask[:1])
    with pytest.raises(ValueError, match=r"tgt_img must have shape \(2, 3, 16, 16\), got"):
        measure(image, image[:1], mask)
