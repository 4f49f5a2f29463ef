"""Notebook 01: counting tokens, putting patches back together, sine-cosine positions."""

from collections.abc import Callable

import torch

from mae_lib import patches
from mae_lib.course.exercises import call, close, exercise, require, require_tensor, several


@exercise("Right: halving the side of a patch gives four times the tokens, each a quarter as long.")
def token_count(answer: Callable) -> None:
    for size, patch in ((224, 16), (96, 8), (64, 16), (224, 14)):
        tokens, values = several(
            call(answer, size, patch), 2,
            "Return two numbers: how many tokens, and how many values each has.")
        n = (size // patch) ** 2
        require(tokens != size // patch,
                f"{tokens} is the number of patches in one row; an image has as many rows as that.")
        require(tokens == n, f"An image of {size}×{size} has {n} patches of {patch}×{patch}, "
                             f"not {tokens}.")
        require(values != patch**2,
                f"{values} counts the pixels of a patch; each pixel has three values.")
        require(values == 3 * patch**2, f"A patch of {patch}×{patch} pixels holds {3 * patch**2} "
                                        f"values, not {values}.")


@exercise("Right: every pixel is back in its place, for images of any shape.")
def unpatchify(answer: Callable) -> None:
    torch.manual_seed(0)
    for rows, cols, size in ((3, 3, 2), (2, 3, 4)):
        images = torch.rand(2, 3, rows * size, cols * size)
        tokens = patches.patchify(images, size)
        found = call(answer, tokens, size, rows, cols)
        require_tensor(found, images.shape, "unpatchify(patches, ...)")
        if close(found, images):
            continue
        x = tokens.reshape(2, rows, cols, 3, size, size).permute(0, 3, 1, 4, 2, 5)
        require(not close(found, x.reshape(images.shape)),
                "The colours are mixed up: a patch lists its values as (row, column, channel), so "
                "the channel is the last of its three axes, not the first.")
        require(not close(found, tokens.reshape(images.shape)),
                "A single reshape keeps the order in memory: patches come out as stripes. "
                "Split the axes, permute, and only then join.")
        x = tokens.reshape(2, rows, cols, size, size, 3).permute(0, 5, 2, 3, 1, 4)
        require(rows != cols or not close(found, x.reshape(images.shape)),
                "Patches are transposed: the order should be patch row, pixel row, patch column, "
                "pixel column.")
        require(False, "The shape is right, but pixels are not where they came from: after "
                       "permute, the axes should be (B, 3, rows, p, cols, p).")


@exercise("Right: each position has its own code, and near positions have similar ones.")
def sincos(answer: Callable) -> None:
    length, dim = 10, 8
    found = call(answer, length, dim)
    require_tensor(found, (length, dim), "sincos(length, dim)")
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    expected = torch.cat([(position * frequency).sin(), (position * frequency).cos()], dim=1)
    swapped = torch.cat([(position * frequency).cos(), (position * frequency).sin()], dim=1)
    woven = torch.stack([(position * frequency).sin(), (position * frequency).cos()], dim=2)
    found = found.double()
    require(not close(found, swapped), "Sines and cosines are swapped: sines come first.")
    require(not close(found, woven.flatten(1)),
            "Sines and cosines alternate, as in the first Transformer; MAE puts all sines first, "
            "then all cosines.")
    require(bool((found[0, dim // 2:] - 1).abs().max() < 1e-4),
            "At position 0 every cosine is 1: check the last half of the first row.")
    slow = (position / frequency).sin()
    require(not close(found[:, : dim // 2], slow),
            "The frequencies grow instead of falling: the exponent of 10000 is negative.")
    require(close(found, expected), "The frequencies differ from 10000^(−i / (dim/2)) for "
                                    "i = 0 … dim/2 − 1.")
