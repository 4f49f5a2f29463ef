"""Tests of the three losses: against slow loops, at their known values, and their gradients."""

import functools
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from torch.autograd import gradcheck

from mae_lib.config import PretrainConfig
from mae_lib.losses import (
    gaussian_blur,
    laplacian,
    laplacian_energy_loss,
    laplacian_error_per_image,
    laplacian_loss_masked,
    mae_loss,
    predicted_images,
    total_loss,
    uniformity_loss,
)
from mae_lib.masking import random_masking
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify

KERNEL = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])


def random_case(dtype=torch.float32, ratio=0.5):
    """Prediction (2, 9, 48), images (2, 3, 12, 12) and mask (2, 9) for patches of 4×4 pixels."""
    pred, images = torch.randn(2, 9, 48, dtype=dtype), torch.randn(2, 3, 12, 12, dtype=dtype)
    mask = random_masking(pred, ratio)[1].to(dtype)
    return pred, images, mask


# Reconstruction


def mae_by_loop(pred, images, mask, p: int, norm_pix: bool) -> float:
    """Over masked patches, the mean of the squared errors of all their values."""
    errors = []
    for b in range(len(images)):
        for place in range(mask.shape[1]):
            if mask[b, place] == 0:
                continue
            row, col = divmod(place, images.shape[-1] // p)
            patch = images[b, :, row * p : (row + 1) * p, col * p : (col + 1) * p]
            target = patch.transpose(1, 2, 0).reshape(-1)  # (row, column, channel)
            if norm_pix:  # with the unbiased variance
                variance = ((target - target.mean()) ** 2).sum() / (len(target) - 1)
                target = (target - target.mean()) / math.sqrt(variance + 1e-6)
            errors.append(((pred[b, place] - target) ** 2).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize("norm_pix", [False, True])
@pytest.mark.parametrize("ratio", [0.2, 0.75])
def test_mae_loss_equals_a_slow_loop(norm_pix, ratio):
    pred, images, mask = random_case(torch.float64, ratio)
    expected = mae_by_loop(pred.numpy(), images.numpy(), mask.numpy(), 4, norm_pix)
    assert mae_loss(pred, images, mask, 4, norm_pix).item() == pytest.approx(expected, rel=1e-12)


def test_norm_pix_of_a_flat_patch_is_finite():
    """Its deviation is 0; the target is then 0."""
    pred, images = torch.full((1, 9, 48), 0.5), torch.full((1, 3, 12, 12), 0.7)
    loss = mae_loss(pred, images, torch.ones(1, 9), 4, norm_pix=True)
    assert loss.item() == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_mae_loss_ignores_visible_patches(norm_pix):
    pred, images, mask = random_case()
    before = mae_loss(pred, images, mask, 4, norm_pix)
    other = torch.where(mask[:, :, None] == 0, 1e6, pred)
    pixels = patch_mask_to_pixels(mask, 4)
    other_images = torch.where(pixels == 0, torch.randn_like(images), images)
    assert torch.equal(mae_loss(other, other_images, mask, 4, norm_pix), before)
    other = torch.where(mask[:, :, None] == 1, pred + 1, pred)
    assert not torch.equal(mae_loss(other, images, mask, 4, norm_pix), before)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_mae_loss_gradient(norm_pix):
    pred, images, mask = random_case(torch.float64)
    pred.requires_grad_()
    assert gradcheck(lambda p: mae_loss(p, images, mask, 4, norm_pix), (pred,), fast_mode=True)
    mae_loss(pred, images, mask, 4, norm_pix).backward()
    assert (pred.grad[mask == 0] == 0).all()
    assert (pred.grad[mask == 1] != 0).all()


def test_without_masked_patches_losses_are_0_and_not_nan():
    pred, images, _ = random_case()
    pred.requires_grad_()
    nothing = torch.zeros(2, 9)
    loss = mae_loss(pred, images, nothing, 4, True)
    loss = loss + laplacian_loss_masked(
        predicted_images(pred, images, 4, True), images, patch_mask_to_pixels(nothing, 4)
    )
    loss.backward()
    assert loss.item() == 0
    assert (pred.grad == 0).all()


@pytest.mark.parametrize("norm_pix", [False, True])
def test_perfect_prediction_costs_nothing_and_becomes_the_image(norm_pix):
    """predicted_images undoes the target's normalisation."""
    _, images, mask = random_case()
    target = patchify(images, 4)
    if norm_pix:
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    assert mae_loss(target, images, mask, 4, norm_pix).item() < 1e-10
    torch.testing.assert_close(predicted_images(target, images, 4, norm_pix), images)


@pytest.mark.parametrize("height, width", [(4, 16), (8, 16)])
def test_oblong_images_keep_their_shape(height, width):
    """Also where the number of patches is a square one."""
    images = torch.randn(2, 3, height, width)
    assert torch.equal(predicted_images(patchify(images, 4), images, 4, False), images)


def test_norm_pix_does_not_see_brightness_and_contrast():
    pred, images, mask = random_case(torch.float64)
    same = mae_loss(pred, 3 * images + 5, mask, 4, True)
    torch.testing.assert_close(mae_loss(pred, images, mask, 4, True), same, rtol=1e-5, atol=0)


# Laplacian


@pytest.mark.parametrize("shape", [(2, 3, 9, 7), (1, 1, 3, 3), (1, 4, 5, 16)])
def test_laplacian_equals_scipy_per_channel(shape):
    images = torch.randn(shape, dtype=torch.float64)
    ours = laplacian(images)
    assert ours.shape == (*shape[:2], shape[2] - 2, shape[3] - 2)
    for b in range(shape[0]):
        for c in range(shape[1]):
            plane = images[b, c].numpy()
            expected = scipy.signal.convolve2d(plane, KERNEL, mode="valid")
            np.testing.assert_allclose(ours[b, c].numpy(), expected, atol=1e-12)
            whole = scipy.ndimage.convolve(plane, KERNEL.astype(float), mode="nearest")
            np.testing.assert_allclose(ours[b, c].numpy(), whole[1:-1, 1:-1], atol=1e-12)


def test_laplacian_of_ramps_is_0_and_of_parabolas_constant():
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    assert (laplacian((3 * x - 2 * y + 7)[None, None]) == 0).all()
    assert (laplacian((x * x + 2 * y * y)[None, None]) == 6).all()


def laplacian_loss_by_loop(pred, target, mask, composite: bool) -> float:
    total, count = 0.0, 0
    b, c, h, w = pred.shape
    for i in range(b):
        filled = np.where(mask[i] == 1, pred[i], target[i]) if composite else pred[i]
        for row in range(1, h - 1):
            for col in range(1, w - 1):
                if mask[i, 0, row, col] == 0:
                    continue
                for ch in range(c):
                    window = slice(row - 1, row + 2), slice(col - 1, col + 2)
                    ours = (filled[ch][window] * KERNEL).sum()
                    total += abs(ours - (target[i, ch][window] * KERNEL).sum())
                    count += 1
    return total / count


@pytest.mark.parametrize("composite", [True, False])
@pytest.mark.parametrize("ratio", [0.2, 0.75])
def test_laplacian_loss_equals_a_slow_loop(composite, ratio):
    pred, target = torch.randn(2, 2, 3, 12, 12, dtype=torch.float64)
    mask = patch_mask_to_pixels(random_case(torch.float64, ratio)[2], 4)
    expected = laplacian_loss_by_loop(pred.numpy(), target.numpy(), mask.numpy(), composite)
    ours = laplacian_loss_masked(pred, target, mask, composite)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_laplacian_loss_uses_the_composite_by_default():
    pred, target = torch.randn(2, 2, 3, 12, 12)
    mask = patch_mask_to_pixels(random_case()[2], 4)
    default, composite, raw = (
        laplacian_loss_masked(pred, target, mask, *flag) for flag in ((), (True,), (False,))
    )
    assert torch.equal(default, composite)
    assert not torch.equal(default, raw)


@pytest.mark.parametrize("composite", [True, False])
def test_only_the_raw_variant_reads_predictions_on_visible_patches(composite):
    pred, target = torch.randn(2, 2, 3, 12, 12)
    mask = patch_mask_to_pixels(random_case()[2], 4)
    pred.requires_grad_()
    laplacian_loss_masked(pred, target, mask, composite).backward()
    gradient_on_visible = pred.grad[(mask == 0).expand_as(pred)]
    assert (gradient_on_visible == 0).all() == composite


@pytest.mark.parametrize("composite", [True, False])
def test_laplacian_loss_does_not_depend_on_the_number_of_channels(composite):
    pred, target = torch.randn(2, 2, 3, 12, 12, dtype=torch.float64)
    mask = patch_mask_to_pixels(random_case(torch.float64)[2], 4)
    once = laplacian_loss_masked(pred, target, mask, composite)
    pred, target = pred.repeat(1, 3, 1, 1), target.repeat(1, 3, 1, 1)
    thrice = laplacian_loss_masked(pred, target, mask, composite)
    torch.testing.assert_close(once, thrice)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75, 0.88])
def test_laplacian_loss_does_not_depend_on_the_mask_ratio(ratio):
    """An error whose Laplacian is 2 everywhere costs 2 at every ratio."""
    target = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    error = torch.arange(12.0).square().expand(2, 3, 12, 12)
    mask = patch_mask_to_pixels(random_case(torch.float64, ratio)[2], 4)
    loss = laplacian_loss_masked(target + error, target, mask, composite=False)
    assert loss.item() == pytest.approx(2, abs=1e-10)


def test_laplacian_loss_is_0_for_the_target_and_for_a_whole_image_made_brighter():
    target = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    everything = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    assert laplacian_loss_masked(target, target, everything).item() == 0
    assert laplacian_loss_masked(target + 0.3, target, everything).item() < 1e-12


def test_laplacian_loss_counts_the_seams_of_a_patch_of_wrong_brightness():
    """Composite: only its border pixels are wrong; corners have two foreign neighbours."""
    target, mask = torch.zeros(1, 3, 12, 12), torch.zeros(1, 1, 12, 12)
    mask[..., 4:8, 4:8] = 1
    loss = laplacian_loss_masked(target + 1, target, mask)
    assert loss.item() == pytest.approx((8 * 1 + 4 * 2) / 16)


@pytest.mark.parametrize("composite", [True, False])
def test_laplacian_loss_gradient(composite):
    pred, target = torch.randn(2, 1, 2, 8, 8, dtype=torch.float64)
    mask = patch_mask_to_pixels(torch.tensor([[1.0, 0, 0, 1]]), 4).double()
    pred.requires_grad_()
    loss = functools.partial(laplacian_loss_masked, tgt_img=target, mask_img=mask)
    assert gradcheck(lambda p: loss(p, composite=composite), (pred,), fast_mode=True)


def test_per_image_errors_add_up_to_the_loss():
    pred, target = torch.randn(2, 2, 3, 12, 12)
    mask = patch_mask_to_pixels(torch.tensor([[1.0] * 9, [1.0, 0, 0] * 3]), 4)
    error, count = laplacian_error_per_image((pred - target) * mask, mask)
    assert count.tolist() == [100, 10 * 3]  # the border is left out
    for i in range(2):
        alone = laplacian_loss_masked(*(x[i : i + 1] for x in (pred, target, mask)))
        torch.testing.assert_close(error[i] / count[i], alone)
    torch.testing.assert_close(error.sum() / count.sum(), laplacian_loss_masked(pred, target, mask))


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 8, 8), (2, 3, 8, 9), (2, 1, 8, 8)],
        [(2, 3, 8, 8), (2, 3, 8, 8), (2, 3, 8, 8)],
        [(2, 3, 8, 8), (2, 3, 8, 8), (1, 1, 8, 8)],
        [(2, 3, 8, 8), (2, 3, 8, 8), (2, 8, 8)],
    ],
)
def test_laplacian_loss_explains_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match=r"(tgt|mask)_img must have shape \(2, [13], 8, 8\), got"):
        laplacian_loss_masked(*map(torch.zeros, shapes))


# Uniformity


def uniformity_by_loop(tokens: np.ndarray, eps: float = 1e-8) -> float:
    z = [t.mean(axis=0) / max(np.linalg.norm(t.mean(axis=0)), eps) for t in tokens]
    terms = []
    for i in range(len(z)):
        for j in range(len(z)):
            if i != j:
                terms.append(math.exp(-2 * ((z[i] - z[j]) ** 2).sum()))
    return math.log(np.mean(terms))


@pytest.mark.parametrize("b, n, d", [(2, 1, 2), (5, 7, 3), (16, 4, 32)])
def test_uniformity_equals_a_double_loop(b, n, d):
    tokens = torch.randn(b, n, d, dtype=torch.float64)
    expected = uniformity_by_loop(tokens.numpy())
    assert uniformity_loss(tokens).item() == pytest.approx(expected, rel=1e-10)
    assert uniformity_loss(tokens.float()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("b", [2, 3, 4, 8, 32])
def test_uniformity_of_a_regular_simplex_is_the_lowest_possible(b):
    """The corners of a regular simplex lie at squared distance 2B / (B − 1) from each other."""
    corners = torch.eye(b, dtype=torch.float64) - 1 / b
    lowest = -4 * b / (b - 1)
    spread = torch.randn(b, 1, b, dtype=torch.float64)
    tokens = torch.cat([corners[:, None] + spread, corners[:, None] - spread], dim=1)
    assert uniformity_loss(tokens).item() == pytest.approx(lowest)  # the mean over tokens counts
    assert uniformity_loss(torch.randn(b, 3, b, dtype=torch.float64)).item() > lowest


@pytest.mark.parametrize("b", [2, 7])
def test_uniformity_of_equal_features_is_0(b):
    tokens = torch.randn(1, 4, 16).expand(b, -1, -1) * torch.arange(1.0, b + 1)[:, None, None]
    assert uniformity_loss(tokens).item() == pytest.approx(0, abs=1e-5)


def test_uniformity_does_not_depend_on_lengths_and_order():
    tokens = torch.randn(6, 3, 8, dtype=torch.float64)
    lengths = torch.rand(6, 1, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(uniformity_loss(tokens * lengths), uniformity_loss(tokens))
    torch.testing.assert_close(uniformity_loss(tokens[torch.randperm(6)]), uniformity_loss(tokens))


def test_uniformity_gradient():
    tokens = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(uniformity_loss, (tokens,))


def test_descending_uniformity_pushes_features_apart():
    tokens = (torch.randn(1, 1, 8) + 0.1 * torch.randn(5, 1, 8)).requires_grad_()
    optimizer = torch.optim.Adam([tokens], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = uniformity_loss(tokens)
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(-4 * 5 / 4, abs=0.01)  # they reach the simplex


@pytest.mark.parametrize("zeros", [slice(0, 1), slice(None)], ids=["one", "all"])
def test_uniformity_of_zero_features_is_finite_with_its_gradient(zeros):
    tokens = torch.randn(4, 2, 8)
    tokens[zeros] = 0
    tokens.requires_grad_()
    loss = uniformity_loss(tokens)
    loss.backward()
    assert loss.isfinite()
    assert tokens.grad.isfinite().all()


@pytest.mark.parametrize("zeros", [slice(0, 1), slice(None)], ids=["one", "all"])
def test_uniformity_of_zero_features_equals_a_double_loop(zeros):
    """Collapse to zero is a collapse too: the loss of all-zero features is 0, not −4."""
    tokens = torch.randn(4, 2, 8, dtype=torch.float64)
    tokens[zeros] = 0
    expected = uniformity_by_loop(tokens.numpy())
    assert uniformity_loss(tokens).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 4, 8), (0, 4, 8), (4, 8), (8,), (2, 3, 4, 5)])
def test_uniformity_explains_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"\(B, N, D\).* got"):
        uniformity_loss(torch.zeros(shape))


# All together


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_give_float32_losses(dtype):
    """Equal to what the same, rounded, values give in float32."""
    pred, images, mask = random_case()
    pred, tokens = pred.to(dtype), torch.randn(4, 9, 8).to(dtype)
    pixels = patch_mask_to_pixels(mask, 4)
    image = predicted_images(pred, images, 4, True)
    for half, single in (
        (mae_loss(pred, images, mask, 4, True), mae_loss(pred.float(), images, mask, 4, True)),
        (image, predicted_images(pred.float(), images, 4, True)),
        (predicted_images(pred, images, 4, False), unpatchify(pred.float(), 4)),
        (uniformity_loss(tokens), uniformity_loss(tokens.float())),
        (
            laplacian_loss_masked(image.to(dtype), images, pixels),
            laplacian_loss_masked(image.to(dtype).float(), images, pixels),
        ),
    ):
        assert half.dtype == torch.float32
        assert torch.equal(half, single)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_images_of_bytes_do_not_wrap(norm_pix):
    first, second = torch.randint(256, (2, 1, 3, 8, 8), dtype=torch.uint8)
    pred, mask, pixels = patchify(first, 4), torch.ones(1, 4), torch.ones(1, 1, 8, 8)
    assert torch.equal(mae_loss(pred, second, mask, 4, norm_pix),
                       mae_loss(pred.float(), second.float(), mask, 4, norm_pix))
    assert torch.equal(laplacian_loss_masked(first, second, pixels),
                       laplacian_loss_masked(first.float(), second.float(), pixels))


def test_a_mask_in_half_precision_can_count_more_than_65504_patches():
    images, mask = torch.randn(64, 3, 32, 32), torch.ones(64, 1024)
    pred, pixels = patchify(images, 1) + 1, mask.view(64, 1, 32, 32)
    torch.testing.assert_close(mae_loss(pred, images, mask.half(), 1, False), torch.tensor(1.0))
    other = torch.randn_like(images)
    assert torch.equal(laplacian_loss_masked(other, images, pixels.half()),
                       laplacian_loss_masked(other, images, pixels))


def losses_of(pred, images, mask, tokens):
    pixels, image = patch_mask_to_pixels(mask, 4), predicted_images(pred, images, 4, True)
    return {
        "mae": mae_loss(pred, images, mask, 4, True),
        "laplacian": laplacian_loss_masked(image, images, pixels),
        "uniformity": uniformity_loss(tokens),
    }


def test_losses_stay_in_float32_inside_autocast():
    case = (*random_case(), torch.randn(16, 9, 32))
    expected = losses_of(*case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name, loss in losses_of(*case).items():
            torch.testing.assert_close(loss, expected[name], rtol=1e-6, atol=1e-7)


def small_run(class_token=False):
    model = MaskedAutoencoder(img_size=16, patch_size=4, embed_dim=16, depth=1, num_heads=2,
                              decoder_embed_dim=16, decoder_depth=1, decoder_num_heads=2,
                              class_token=class_token)
    images = torch.randn(4, 3, 16, 16)
    return model, images, model(images)


@pytest.mark.parametrize("norm_pix", [False, True])
@pytest.mark.parametrize("freq, unif", [(0.0, 0.0), (0.05, 0.0), (0.0, 0.01), (0.05, 0.01), (2, 3)])
def test_total_is_the_weighted_sum_of_the_terms_in_use(freq, unif, norm_pix):
    model, images, output = small_run()
    cfg = PretrainConfig(norm_pix=norm_pix, lambda_freq=freq, lambda_unif=unif)
    terms = total_loss(model, output, cfg)
    mae = mae_loss(output.pred, images, output.mask, 4, norm_pix)
    pixels = patch_mask_to_pixels(output.mask, 4)
    image = predicted_images(output.pred, images, 4, norm_pix)
    expected = {"mae": mae}
    if freq:
        expected["freq"] = laplacian_loss_masked(image, images, pixels)
    if unif:
        expected["unif"] = uniformity_loss(output.latent)
    weights = {"mae": 1, "freq": freq, "unif": unif}
    expected["loss"] = sum(weights[name] * term for name, term in expected.items())
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name])


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("norm_pix", [False, True])
def test_predicting_hidden_patches_alone_changes_neither_losses_nor_gradients(
    class_token, norm_pix
):
    model, images, _ = small_run(class_token)
    cfg = PretrainConfig(norm_pix=norm_pix, lambda_freq=1.0, lambda_unif=1.0)
    noise, found = torch.rand(4, 16), []
    for hidden_only in (False, True):
        model.zero_grad()
        output = model(images, 0.75, noise=noise, hidden_only=hidden_only)
        assert output.pred.shape[1] == (12 if hidden_only else 16)
        terms = total_loss(model, output, cfg)
        terms["loss"].backward()
        found.append((terms, [p.grad.clone() for p in model.parameters()]))
    (terms, gradients), (same_terms, same_gradients) = found
    for name, term in terms.items():
        torch.testing.assert_close(term, same_terms[name])
    for a, b in zip(gradients, same_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_nothing_hidden_is_no_error():
    model, images, _ = small_run()
    cfg = PretrainConfig(norm_pix=True, lambda_freq=1.0, lambda_unif=0.0)
    terms = total_loss(model, model(images, 0.0, hidden_only=True), cfg)
    assert terms["loss"].item() == terms["mae"].item() == terms["freq"].item() == 0


def test_class_token_does_not_count_for_uniformity():
    model, _, output = small_run(class_token=True)
    cfg = PretrainConfig(norm_pix=True, lambda_freq=0.0, lambda_unif=1.0)

    def unif(latent):
        return total_loss(model, output._replace(latent=latent), cfg)["unif"]

    before, latent = unif(output.latent), output.latent.clone()
    latent[:, 0] = torch.randn_like(latent[:, 0])
    assert torch.equal(unif(latent), before)
    latent[:, 1] = torch.randn_like(latent[:, 1])
    assert not torch.equal(unif(latent), before)


def test_a_blurred_target_is_what_is_reconstructed():
    model, images, output = small_run()
    cfg = PretrainConfig(norm_pix=True, target_blur=1.7)
    blurred = gaussian_blur(images, 1.7)
    expected = mae_loss(output.pred, blurred, output.mask, 4, norm_pix=True)
    torch.testing.assert_close(total_loss(model, output, cfg)["loss"], expected)


def test_gaussian_blur_is_scipys():
    images = torch.randn(2, 3, 20, 24, dtype=torch.float64)
    expected = scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, 2, 2), mode="mirror",
                                             truncate=3)
    torch.testing.assert_close(gaussian_blur(images, 2.0), torch.from_numpy(expected))


def test_a_blur_wider_than_the_image_leaves_next_to_its_mean():
    images = torch.rand(2, 3, 16, 12, dtype=torch.float64)
    blurred = gaussian_blur(images, 1000.0)
    assert blurred.shape == images.shape and blurred.std((2, 3)).max() < 0.05
    assert (blurred.mean((2, 3)) - images.mean((2, 3))).abs().max() < 0.05


def energy_by_loop(pred, target, p):
    """Of each patch: |log of the ratio of mean absolute Laplacians|, 0.1 added to each."""
    distances = []
    for a, b in zip(pred.reshape(-1, p, p, 3), target.reshape(-1, p, p, 3), strict=True):
        energy = [np.mean([np.abs(scipy.signal.convolve2d(x[..., c], KERNEL, mode="valid"))
                           for c in range(3)]) for x in (a, b)]
        distances.append(abs(math.log(energy[0] + 0.1) - math.log(energy[1] + 0.1)))
    return np.mean(distances)


def test_the_energy_form_equals_a_slow_loop():
    pred, target = (torch.randn(2, 5, 48, dtype=torch.float64) for _ in range(2))
    expected = energy_by_loop(pred.numpy(), target.numpy(), 4)
    assert laplacian_energy_loss(pred, target, 4).item() == pytest.approx(expected)
    assert laplacian_energy_loss(pred[:, :0], target[:, :0], 4).item() == 0
    model, images, output = small_run()
    cfg = PretrainConfig(norm_pix=False, lambda_freq=1.0, freq_form="energy")
    pred, target = (x[output.mask.bool()][None] for x in (output.pred, patchify(images, 4)))
    expected = laplacian_energy_loss(pred, target, 4)
    torch.testing.assert_close(total_loss(model, output, cfg)["freq"], expected)


def test_blur_raises_the_energy_form_where_it_lowers_the_l1_form():
    """The detail of a texture cannot be guessed: blur beats a wrong guess by L1, not by energy."""
    target, guess = torch.randn(2, 4, 192), torch.randn(2, 4, 192)
    blur = torch.zeros_like(target)
    l1 = [(p - target).abs().mean() for p in (blur, guess)]
    energy = [laplacian_energy_loss(p, target, 8) for p in (blur, guess)]
    assert l1[0] < l1[1] and energy[0] > energy[1]


@pytest.mark.parametrize("t", [0.5, 2.0, 5.0])
def test_uniformity_for_any_t(t):
    tokens = torch.randn(5, 3, 8, dtype=torch.float64)
    z = torch.nn.functional.normalize(tokens.mean(dim=1), dim=1)
    pairs = torch.pdist(z).square()
    assert uniformity_loss(tokens, t=t).item() == pytest.approx(
        (-t * pairs).exp().mean().log().item())
    model, _, output = small_run()
    cfg = PretrainConfig(lambda_unif=1.0, unif_t=t)
    torch.testing.assert_close(total_loss(model, output, cfg)["unif"],
                               uniformity_loss(output.latent, t=t))


# Bad input


@pytest.mark.parametrize("pred, mask", [((2, 4, 48), (1, 4)), ((2, 4, 48), (2, 5)),
                                        ((2, 4, 16), (2, 4)), ((1, 4, 48), (2, 4))])
def test_mae_loss_explains_shapes_that_do_not_fit(pred, mask):
    """A mask of one image for two would count its patches once and their errors twice."""
    with pytest.raises(ValueError, match=r"(pred|mask) must have shape \(2, 4.*\), got"):
        mae_loss(torch.zeros(pred), torch.zeros(2, 3, 8, 8), torch.ones(mask), 4, False)


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("change", [np.asarray, torch.Tensor.tolist])
def test_arrays_and_lists_are_explained(change, position):
    images, mask = torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    for call, arguments in (
        (laplacian_loss_masked, [images, images, mask]),
        (lambda *x: mae_loss(*x, 4, True), [torch.rand(2, 4, 48), images, torch.ones(2, 4)]),
        (lambda x, *_: uniformity_loss(x), [torch.rand(2, 4, 8)] * 3),
    ):
        if arguments[0].ndim == 3 and arguments[1].ndim == 3:  # uniformity has one argument
            arguments[0] = change(arguments[0])
        else:
            arguments[position] = change(arguments[position])
        with pytest.raises(ValueError, match=r"must be a torch tensor .*got (ndarray|list): use"):
            call(*arguments)
