"""Tests of cutting images into patches, putting them back, and the position embedding."""

import math

import numpy as np
import pytest
import torch

from mae_lib.patches import (
    patch_mask_to_pixels,
    patchify,
    resample_positions,
    sincos_position_embedding,
    unpatchify,
)
from mae_lib.runtime.checks import check_shape


@pytest.mark.parametrize("shape, asked, fits", [
    ((2, 3, 4, 4), ("B", 3, "S", "S"), True), ((2, 3, 4, 5), ("B", 3, "S", "S"), False),
    ((2, 1, 4, 4), ("B", 3, "S", "S"), False), ((2, 3, 4), ("B", 3, "S", "S"), False),
    ((2, 3, 4, 4, 1), ("B", 3, "S", "S"), False), ((0, 7), ("B", "L"), True), ((), (), True),
])
def test_a_letter_stands_for_one_number(shape, asked, fits):
    try:
        check_shape(torch.zeros(shape), "x", *asked)
    except ValueError as error:
        assert not fits and str(error).endswith(f", got {shape}.")
    else:
        assert fits


def counting_images(b: int, c: int, h: int, w: int) -> torch.Tensor:
    """Images in which every value is different, so that no two orders look the same."""
    return torch.arange(b * c * h * w, dtype=torch.float32).reshape(b, c, h, w)


def patchify_by_loop(images: np.ndarray, p: int) -> np.ndarray:
    """Patches left to right, then top to bottom; in each, values by (row, column, channel)."""
    b, c, h, w = images.shape
    out = []
    for image in images:
        for top in range(0, h, p):
            for left in range(0, w, p):
                patch = []
                for row in range(p):
                    for column in range(p):
                        for channel in range(c):
                            patch.append(image[channel, top + row, left + column])
                out.append(patch)
    return np.array(out).reshape(b, -1, p * p * c)


SHAPES = [(2, 3, 8, 8, 4), (1, 3, 8, 12, 4), (2, 1, 6, 4, 2), (1, 5, 3, 3, 3), (1, 2, 4, 4, 1)]


@pytest.mark.parametrize("b, c, h, w, p", SHAPES)
def test_patchify_equals_a_slow_loop(b, c, h, w, p):
    images = counting_images(b, c, h, w)
    np.testing.assert_array_equal(patchify(images, p).numpy(), patchify_by_loop(images.numpy(), p))


@pytest.mark.parametrize("b, c, h, w, p", SHAPES)
def test_unpatchify_undoes_patchify(b, c, h, w, p):
    images = counting_images(b, c, h, w)
    assert torch.equal(unpatchify(patchify(images, p), p, (h // p, w // p)), images)


def test_specified_size_is_196_patches_of_768_values():
    assert patchify(torch.zeros(2, 3, 224, 224), 16).shape == (2, 196, 768)


def test_unpatchify_takes_a_square_grid_by_default():
    images = counting_images(2, 3, 12, 12)
    assert torch.equal(unpatchify(patchify(images, 4), 4), images)


def test_each_channel_keeps_its_colour():
    """A red, a green and a blue half: an order mixed up between channel and pixel shows at once."""
    images = torch.zeros(1, 3, 4, 4)
    for channel, value in enumerate((1.0, 2.0, 3.0)):
        images[:, channel] = value
    patch = patchify(images, 4)[0, 0]
    assert patch.tolist() == [1.0, 2.0, 3.0] * 16


def test_same_patches_and_images_as_transformers():
    import transformers

    config = transformers.ViTMAEConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    )
    reference = transformers.ViTMAEForPreTraining(config)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(patchify(images, 8), reference.patchify(images))
    patches = torch.randn(2, 16, 192)
    assert torch.equal(unpatchify(patches, 8), reference.unpatchify(patches))


def test_gradient_of_patchify_goes_back_to_each_pixel():
    images = torch.randn(1, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    weight = counting_images(1, 3, 4, 6).double()
    (patchify(images, 2) * patchify(weight, 2)).sum().backward()
    assert torch.equal(images.grad, weight)


def test_integer_and_non_contiguous_images():
    images = counting_images(1, 4, 4, 3).to(torch.uint8).permute(0, 3, 1, 2)
    assert patchify(images, 2).dtype == torch.uint8
    assert torch.equal(patchify(images, 2), patchify(images.contiguous(), 2))


@pytest.mark.parametrize("grid", [(2, 3), (3, 2), (1, 6)])
def test_mask_spreads_over_the_pixels_of_its_patch(grid):
    mask = (torch.rand(2, 6) < 0.5).float()
    pixels = patch_mask_to_pixels(mask, 4, grid)
    expected = mask.reshape(2, 1, *grid).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(pixels, expected)


def test_mask_over_pixels_covers_the_patches_that_patchify_cuts():
    images, mask = torch.rand(2, 3, 12, 12), (torch.rand(2, 9) < 0.5).float()
    by_pixel = images * patch_mask_to_pixels(mask, 4)
    assert torch.equal(by_pixel, unpatchify(patchify(images, 4) * mask[:, :, None], 4))


@pytest.mark.parametrize(
    "images, p, message",
    [
        (torch.zeros(3, 8, 8), 4, r"shape \(B, C, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 9), 4, "8×9 pixels cannot be cut into whole patches of 4×4"),
        (torch.zeros(1, 3, 9, 8), 4, "9×8 pixels cannot be cut into whole patches of 4×4"),
        (torch.zeros(1, 3, 8, 8), 16, "choose a patch size that divides both sides"),
        (torch.zeros(1, 3, 8, 8), 0, "patch_size must be at least 1, got 0"),
        (torch.zeros(1, 3, 8, 8), "4", "patch_size must be a whole number, got '4'"),
        (torch.zeros(1, 3, 8, 8), 4.0, "patch_size must be a whole number, got 4.0"),
        (torch.zeros(1, 3, 8, 8), None, "patch_size must be a whole number, got None"),
        (np.zeros((1, 3, 8, 8)), 4, r"shape \(B, C, H, W\), got ndarray: use torch.as_tensor"),
        ([torch.zeros(3, 8, 8)], 4, "got list: use .* torch.stack for a list of tensors"),
        (None, 4, "got NoneType"),
    ],
)
def test_patchify_explains_bad_input(images, p, message):
    with pytest.raises(ValueError, match=message):
        patchify(images, p)


@pytest.mark.parametrize(
    "shape, grid, message",
    [
        ((4, 48), None, r"\(B, L, p²·C\), got \(4, 48\)"),
        ((1, 6, 48), None, r"6 patches do not fill a grid of 2×2; pass grid="),
        ((1, 6, 48), (2, 2), "6 patches do not fill a grid of 2×2"),
        ((1, 4, 50), None, "50 values is not a whole number of channels of 4×4 pixels"),
    ],
)
def test_unpatchify_explains_bad_input(shape, grid, message):
    with pytest.raises(ValueError, match=message):
        unpatchify(torch.zeros(shape), 4, grid)


@pytest.mark.parametrize("call", [lambda x: unpatchify(x, 4), lambda x: patch_mask_to_pixels(x, 4)])
@pytest.mark.parametrize("x", [np.zeros((1, 4, 48)), [[[0.0]]]])
def test_arrays_and_lists_are_explained(call, x):
    with pytest.raises(ValueError, match=r"must be a torch tensor of .*, got (ndarray|list)"):
        call(x)


# Position embedding


def embedding_by_loop(dim: int, rows: int, cols: int) -> np.ndarray:
    """Of each place: sines then cosines of the column, then of the row (Vaswani et al. 2017)."""
    quarter, out = dim // 4, np.zeros((rows * cols, dim))
    for row in range(rows):
        for col in range(cols):
            for i in range(quarter):
                for half, position in enumerate((col, row)):
                    angle = position / 10000 ** (i / quarter)
                    out[row * cols + col, 2 * quarter * half + i] = math.sin(angle)
                    out[row * cols + col, 2 * quarter * half + quarter + i] = math.cos(angle)
    return out


@pytest.mark.parametrize("dim, grid", [(192, (14, 14)), (128, (14, 14)), (16, (3, 5)), (4, (1, 1))])
def test_embedding_equals_a_slow_loop(dim, grid):
    ours = sincos_position_embedding(dim, grid)
    assert ours.shape == (grid[0] * grid[1], dim)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), embedding_by_loop(dim, *grid), atol=1e-6)


@pytest.mark.parametrize("class_token", [False, True])
def test_embedding_equals_that_of_transformers(class_token):
    from transformers.models.vit_mae import modeling_vit_mae as reference

    if hasattr(reference, "get_2d_sincos_pos_embed"):  # transformers 4
        theirs = reference.get_2d_sincos_pos_embed(32, 5, add_cls_token=class_token)
    else:  # transformers 5, whose model swaps the halves to the official order afterwards
        theirs = reference.build_2d_sinusoidal_position_embedding(5, 5, 32, cls_token=class_token)
        theirs = torch.cat([theirs[:, 16:], theirs[:, :16]], dim=1)
    ours = sincos_position_embedding(32, (5, 5), class_token)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), atol=1e-6)


def test_embedding_of_the_class_token_is_zeros_in_front():
    plain, extra = (sincos_position_embedding(16, (3, 5), flag) for flag in (False, True))
    assert extra.shape == (16, 16)
    assert torch.equal(extra[0], torch.zeros(16))
    assert torch.equal(extra[1:], plain)


def test_embedding_tells_every_place_apart():
    distance = torch.pdist(sincos_position_embedding(192, (14, 14)).double())
    assert distance.min() > 0.5


@pytest.mark.parametrize("dim", [1, 2, 6, 130])
def test_embedding_explains_a_dim_that_is_not_a_multiple_of_4(dim):
    with pytest.raises(ValueError, match=f"divisible by 4, got {dim}"):
        sincos_position_embedding(dim, (2, 2))


@pytest.mark.parametrize("num_extra", [0, 1])
@pytest.mark.parametrize("grid", [(14, 14), (5, 5), (4, 4), (2, 2), (6, 9)])
def test_resampled_positions_equal_those_of_timm(grid, num_extra):
    from timm import layers

    embedding = torch.randn(1, num_extra + 25, 16)
    expected = layers.resample_abs_pos_embed(embedding, list(grid), num_prefix_tokens=num_extra)
    torch.testing.assert_close(resample_positions(embedding, grid, num_extra), expected)


def test_resampled_positions_keep_half_precision_and_the_class_token():
    embedding = torch.randn(1, 26, 16).bfloat16()
    resampled = resample_positions(embedding, (7, 7), 1)
    assert resampled.dtype == torch.bfloat16 and resampled.shape == (1, 50, 16)
    assert torch.equal(resampled[:, 0], embedding[:, 0])
