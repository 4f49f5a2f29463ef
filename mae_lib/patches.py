"""Images as sequences of patches, and where each patch was.

A patch vector lists its values in the order (row, column, channel), as in the official MAE code.
Mixing this order with (channel, row, column) scrambles colours silently.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_lib.runtime.checks import check_shape, check_value


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images (B, C, H, W) into non-overlapping patches (B, L, patch_size² · C).

    Patches run left to right, then top to bottom: L = (H / patch_size) · (W / patch_size).

    Raises ValueError if `images` is not a four-dimensional tensor or its sides are not multiples of
    `patch_size`.
    """
    check_shape(images, "images", *"BCHW")
    check_value("patch_size", patch_size, int, at_least=1)
    b, c, h, w = images.shape
    if h % patch_size or w % patch_size:
        raise ValueError(f"Images of {h}×{w} pixels cannot be cut into whole patches of "
                         f"{patch_size}×{patch_size}; choose a patch size that divides both "
                         "sides, or resize the images.")
    rows, cols = h // patch_size, w // patch_size
    x = images.reshape(b, c, rows, patch_size, cols, patch_size)
    x = x.permute(0, 2, 4, 3, 5, 1)  # (B, rows, cols, patch row, patch column, C)
    return x.reshape(b, rows * cols, patch_size * patch_size * c)  # (B, L, p²·C)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int] | None = None) -> Tensor:
    """Put patches (B, L, patch_size² · C) back together into images (B, C, H, W).

    `grid` is (rows, columns) of patches; by default the image is square.

    Raises ValueError if L does not fit the grid or a patch does not hold whole pixels.
    """
    check_shape(patches, "patches", "B", "L", "p²·C")
    check_value("patch_size", patch_size, int, at_least=1)
    b, length, values = patches.shape
    rows, cols = grid or (round(length**0.5),) * 2
    if rows * cols != length:
        raise ValueError(f"{length} patches do not fill a grid of {rows}×{cols}; pass "
                         "grid=(rows, columns).")
    if values % patch_size**2:
        raise ValueError(f"A patch of {values} values is not a whole number of channels of "
                         f"{patch_size}×{patch_size} pixels.")
    c = values // patch_size**2
    x = patches.reshape(b, rows, cols, patch_size, patch_size, c)
    x = x.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, patch row, cols, patch column)
    return x.reshape(b, c, rows * patch_size, cols * patch_size)


def patch_mask_to_pixels(mask: Tensor, patch_size: int,
                         grid: tuple[int, int] | None = None) -> Tensor:
    """Spread a mask over patches (B, L) to a mask over pixels (B, 1, H, W)."""
    check_shape(mask, "mask", *"BL")
    patches = mask[:, :, None].expand(-1, -1, patch_size**2)  # (B, L, p²)
    return unpatchify(patches, patch_size, grid)


def sincos_position_embedding(dim: int, grid: tuple[int, int], class_token: bool = False) -> Tensor:
    """Fixed 2-D sine-cosine position embedding, (L, dim), or (1 + L, dim) with a class token.

    Half of the values encode the column, half the row, each as sines then cosines of the position
    at frequencies 10000^(−i / (dim/4)). The class token, which has no place, gets zeros. The order
    column-then-row is the official code's (He et al. 2022; Vaswani et al. 2017, section 3.5).

    Raises ValueError if `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"A 2-D sine-cosine embedding needs a dim divisible by 4, got {dim}.")
    rows, cols = grid
    frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")

    def encode(position: Tensor) -> Tensor:
        angle = position.flatten()[:, None] * frequencies  # (L, dim/4)
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (L, dim/2)

    embedding = torch.cat([encode(x), encode(y)], dim=1).float()  # (L, dim)
    return F.pad(embedding, (0, 0, int(class_token), 0))  # zeros in front: (1 + L, dim)


def resample_positions(embedding: Tensor, grid: tuple[int, int], num_extra: int = 0) -> Tensor:
    """The position embedding (1, E + L, D) of a square grid, for another `grid`: (1, E + L', D).

    Places are interpolated by a bicubic filter, as DINO and timm do. The first `num_extra` tokens,
    which have no place, stay as they are.
    """
    extra, places = embedding[:, :num_extra], embedding[:, num_extra:]
    side = round(places.shape[1] ** 0.5)
    if grid == (side, side):
        return embedding
    x = places.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    x = F.interpolate(x, grid, mode="bicubic", antialias=True)
    return torch.cat([extra, x.flatten(2).mT.to(embedding.dtype)], dim=1)
