"""Variants of the step that are fast only when compiled.

What a GPU confirms (`python -m benchmarks.gpu`) moves into the package.
"""

import math

import torch
from torch import Tensor

from mae_lib.data.augment import MEAN, STD
from mae_lib.model import MaskedAutoencoder


def round_residuals(model: MaskedAutoencoder, dtype: torch.dtype | None) -> None:
    """Keep in `dtype` the sums that blocks add to, which autocast leaves in float32."""
    for blocks in (model.blocks, model.decoder_blocks):
        blocks[0].register_forward_pre_hook(
            lambda _, inputs: (inputs[0].to(dtype or inputs[0].dtype), *inputs[1:]))


def filter_taps(start: Tensor, length: Tensor, in_size: int,
                out_size: int) -> tuple[Tensor, Tensor]:
    """The entries of `resample_matrix` that are not 0: places and weights, (B, out_size, K)."""
    scale = (length / out_size).view(-1, 1, 1)
    centre = start.view(-1, 1, 1) + (
        torch.arange(out_size, device=start.device).view(1, -1, 1) + 0.5) * scale
    radius = scale.clamp(min=1)
    taps = torch.arange(math.ceil(2 * max(1, in_size / out_size)), device=start.device)
    place = (centre - radius + 0.5).floor() + taps  # (B, out, K)
    weight = (1 - (place + 0.5 - centre).abs() / radius).clamp(min=0)
    first, last = start.view(-1, 1, 1), (start + length).view(-1, 1, 1)
    weight = weight * ((place + 0.5 > first) & (place + 0.5 < last))
    return place.clamp(0, in_size - 1).long(), weight / weight.sum(dim=2, keepdim=True)


def gathered_crop(images: Tensor, size: int, crops: Tensor) -> Tensor:
    """`crop` pixel by pixel, each from the few source pixels that its filter reaches."""
    h, w = images.shape[-2:]
    top, left, crop_h, crop_w, flip = crops
    rows, row_weight = filter_taps(top, crop_h, h, size)  # (B, size, K)
    cols, col_weight = filter_taps(left, crop_w, w, size)
    turned = flip[:, None, None] > 0
    cols = torch.where(turned, cols.flip(1), cols)
    col_weight = torch.where(turned, col_weight.flip(1), col_weight)
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1, 1)
    channels = []
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        x = images[batch, channel, rows[:, :, None, :, None], cols[:, None, :, None, :]].float()
        x = (x * row_weight[:, :, None, :, None] * col_weight[:, None, :, None, :]).sum((3, 4))
        channels.append((x / 255 - mean) / std)
    return torch.stack(channels, dim=1)
