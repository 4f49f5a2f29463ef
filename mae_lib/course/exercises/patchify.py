"""Notebook 01: counting tokens, patches and back, sine-cosine positions in two axes."""

from collections.abc import Callable

import torch

from mae_lib import patches
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    require,
    require_gradient,
    require_one_device,
    require_right,
    require_tensor,
    several,
)


@exercise("Right: halving the side of a patch gives four times as many patches, each with a "
          "quarter of the values.")
def token_count(answer: Callable) -> None:
    for size, patch in ((224, 16), (96, 8), (64, 16), (224, 14)):
        tokens, values = several(
            call(answer, size, patch), 2,
            "Return two numbers: how many patches the image gives, and how many values each of "
            "them has.")
        n = (size // patch) ** 2
        require(tokens != size // patch,
                f"{tokens} is the number of patches in one row. The image has just as many "
                "rows.")
        require(tokens == n, f"An image of {size}×{size} has {n} patches of {patch}×{patch}, "
                             f"not {tokens}.")
        require(values != patch**2,
                f"{values} counts the pixels of a patch; each pixel has three values.")
        require(values == 3 * patch**2, f"A patch of {patch}×{patch} pixels holds {3 * patch**2} "
                                        f"values, not {values}.")


@exercise("Right: the patches run row by row, and the values of each patch are ordered by row, "
          "column and channel.")
def patchify(answer: Callable) -> None:
    torch.manual_seed(0)
    for channels, rows, cols, size in ((3, 2, 3, 4), (3, 2, 2, 2), (1, 3, 2, 2)):
        images = torch.rand(2, channels, rows * size, cols * size, requires_grad=True)
        right = patches.patchify(images, size)
        try:
            found = call(answer, images, size)
        except RuntimeError as error:
            require(channels == 3 or "is invalid for input" not in str(error), "This stops for "
                    "images with one channel: take C from images.shape instead of writing 3.")
            raise
        require_tensor(found, right.shape, f"patchify of images {tuple(images.shape)} with "
                                           f"patch_size {size}")
        x = images.reshape(2, channels, rows, size, cols, size)  # (B, C, rows, p, cols, p)
        require_right(found, right, {
            "A single reshape keeps the order in memory, so each patch holds a stripe of the "
            "image. Split the axes, permute, and only then join them.": images.reshape(right.shape),
            "Each patch lists its values channel by channel. The order should be (row, column, "
            "channel), so the channel must be the last axis after permute.":
                x.permute(0, 2, 4, 1, 3, 5).reshape(right.shape),
            "The patches run down the columns of the grid. They should run along its rows, from "
            "left to right.": x.permute(0, 4, 2, 3, 5, 1).reshape(right.shape),
            "Each patch is transposed. Inside a patch, the row should come before the column.":
                x.permute(0, 2, 4, 5, 3, 1).reshape(right.shape),
            "The axes are joined in the wrong order. The axes of the grid (rows, cols) should "
            "come first, then those inside a patch (p, p, C).":
                x.permute(0, 3, 5, 2, 4, 1).reshape(right.shape),
            "Each axis is split in the wrong order: an axis of rows · p values is (rows, p), not "
            "(p, rows).": images.reshape(2, channels, size, rows, size, cols)
                                .permute(0, 3, 5, 2, 4, 1).reshape(right.shape),
            "A reshape cannot move the channels to the end, because it keeps the order in memory. "
            "Split into (B, C, rows, p, cols, p), and let permute move them.":
                images.reshape(2, rows, size, cols, size, channels)
                      .permute(0, 1, 3, 2, 4, 5).reshape(right.shape),
        }, "The shape is right, but the values are not where they belong: after permute, the axes "
           "should be (B, rows, cols, p, p, C).")
        require_gradient(found, right, images)


@exercise("Right: every pixel is back in its place, for images of any shape.")
def unpatchify(answer: Callable) -> None:
    torch.manual_seed(0)
    for rows, cols, size in ((3, 3, 2), (2, 3, 4)):
        images = torch.rand(2, 3, rows * size, cols * size)
        tokens = patches.patchify(images, size).requires_grad_()
        found = call(answer, tokens, size, rows, cols)
        require_tensor(found, images.shape, "unpatchify(patches, ...)")
        if close(found, images):
            require(found.dtype == images.dtype, f"The values are right, but of type {found.dtype}."
                    f" The patches are {images.dtype}, and so should the images be.")
            require_gradient(found, patches.unpatchify(tokens, size, (rows, cols)), tokens)
            require_one_device(answer, tokens, size, rows, cols)
            continue
        x = tokens.reshape(2, rows, cols, 3, size, size).permute(0, 3, 1, 4, 2, 5)
        require(not close(found, x.reshape(images.shape)),
                "The colours are mixed up: a patch lists its values as (row, column, channel), so "
                "the channel is the last of its three axes, not the first.")
        require(not close(found, tokens.reshape(images.shape)),
                "A single reshape keeps the order in memory, so the patches come out as "
                "stripes. Split the axes, permute, and only then join them.")
        x = tokens.reshape(2, rows, cols, size, size, 3).permute(0, 5, 2, 3, 1, 4)
        require(rows != cols or not close(found, x.reshape(images.shape)),
                "Patches are transposed within the grid: after permute, the order should be "
                "patch row, pixel row, patch column, pixel column.")
        x = tokens.reshape(2, cols, rows, size, size, 3).permute(0, 5, 2, 3, 1, 4)
        require(not close(found, x.reshape(images.shape)),
                "Patches are filled in column by column, but patchify lists them row by row. "
                "Split the second axis into (rows, cols).")
        x = tokens.reshape(2, cols, rows, size, size, 3).permute(0, 5, 1, 3, 2, 4)
        require(not close(found, x.reshape(images.shape)),
                "rows and cols are swapped: split the second axis into (rows, cols), in this "
                "order.")
        x = tokens.reshape(2, rows, cols, size, size, 3).permute(0, 5, 1, 4, 2, 3)
        require(not close(found, x.reshape(images.shape)),
                "Each patch is transposed. Inside a patch, the row should come before the column.")
        require(False, "The shape is right, but the pixels are not back in their places: after "
                       "permute, the axes should be (B, 3, rows, p, cols, p).")


@exercise("Right: each place in the grid has its own position embedding, and neighbouring "
          "places have similar ones.")
def sincos_positions(answer: Callable) -> None:
    for dim, rows, cols in ((24, 2, 5), (16, 3, 3)):
        right = patches.sincos_position_embedding(dim, (rows, cols))
        found = call(answer, dim, rows, cols)
        require_tensor(found, right.shape, f"sincos_positions({dim}, {rows}, {cols})")
        y = torch.arange(rows).repeat_interleave(cols)
        x = torch.arange(cols).repeat(rows)

        def code(*places: torch.Tensor, cut: float = dim / 4, sign: int = -1,
                 weave: bool = False, flip: bool = False, first: int = 0,
                 dim: int = dim) -> torch.Tensor:
            n = dim // (2 * len(places))
            i = torch.arange(first, first + n, dtype=torch.float64)
            frequency = 10000.0 ** (sign * i / cut)
            found = []
            for place in places:
                angle = place[:, None] * frequency
                waves = [angle.cos(), angle.sin()] if flip else [angle.sin(), angle.cos()]
                found.append(torch.stack(waves, 2).flatten(1) if weave else torch.cat(waves, 1))
            return torch.cat(found, dim=1)

        sines_then_cosines = code(x, y).reshape(-1, 2, 2, dim // 4).transpose(1, 2).flatten(1)
        require_right(found.detach(), right, {
            "The row comes first here, but the column should. As in the official code, the "
            "first half encodes the column (x) and the second half encodes the row (y).":
                code(y, x),
            "This encodes each patch's number in the sequence, which knows nothing of rows: "
            "the patch directly below counts as a whole row away. Encode the column in the "
            "first half and the row in the second.": code(torch.arange(rows * cols), cut=dim / 2),
            "Both halves encode the column. The second half should encode the row.": code(x, x),
            "Both halves encode the row. The first half should encode the column.": code(y, y),
            "Sines of both axes come first, then cosines of both. Keep each axis together: sines "
            "and cosines of the column, then those of the row.": sines_then_cosines,
            "The frequencies start with i = 1. They should start with i = 0, where the frequency "
            "is 1.": code(x, y, first=1),
            "The places run down the columns. They should run along the rows, as patches do.":
                code(torch.arange(cols).repeat_interleave(rows), torch.arange(rows).repeat(cols)),
            "Sines and cosines are swapped. In each half it should be the other way round, so "
            "that sines come first.": code(x, y, flip=True),
            "Sines and cosines alternate, as in the original Transformer. MAE puts all the "
            "sines of a half first, then its cosines.": code(x, y, weave=True),
            "The frequencies grow instead of falling. The exponent of 10000 should be negative.":
                code(x, y, sign=1),
            "The frequencies fall too slowly. Each half has dim/4 of them, so the exponent "
            "should be −i / (dim/4).": code(x, y, cut=dim / 2),
        }, "The shape is right, but the values are not. The frequencies of each half should be "
           "10000^(−i / (dim/4)) for i = 0 … dim/4 − 1, and each half should hold first their "
           "sines and then their cosines.", 1e-3)
        require(found.dtype == torch.float32,
                f"The values are right, but of type {found.dtype}: the model computes in float32, "
                "so add .float().")
