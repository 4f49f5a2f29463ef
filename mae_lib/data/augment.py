"""Batched augmentation on the device: uint8 images in, normalised float crops out.

A crop, its scaling and its flip are two small matrix products per image, one for rows and one for
columns. The matrices hold PIL's antialiased bilinear filter, so that the result is what
torchvision's `resized_crop(antialias=True)` gives one image at a time.
"""

import math

import torch
from torch import Tensor

# ImageNet's channel statistics, used by the official MAE for its inputs and targets.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def _statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    """MEAN and STD, each (3, 1, 1), of the type of `like` and filled in on its device.

    A copy from the host would make every step wait, and compiled steps could not be recorded.
    """
    return tuple(torch.cat([like.new_full((1, 1, 1), v) for v in values]) for values in (MEAN, STD))


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise ValueError unless `images` is a uint8 tensor (N, 3, S, S), N at least 1.

    Files are cut to their centre where they are read; a tensor is refused rather than squashed.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"{name} must be a torch tensor, got {type(images).__name__}: use "
                         "torch.as_tensor, or torch.stack for a list of tensors.")
    n, c, h, w = images.shape if images.ndim == 4 else (0,) * 4
    if not n or c != 3 or h != w or images.dtype != torch.uint8:
        raise ValueError(f"{name} must be square uint8 images (N, 3, S, S), got {images.dtype} of "
                         f"shape {tuple(images.shape)}: use center_crop, and for floats from 0 to "
                         "1 convert_image_dtype(images, torch.uint8), both of "
                         "torchvision.transforms.functional.")


def normalise(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W), or floats in [0, 1], to about mean 0 and standard deviation 1."""
    x = images if images.is_floating_point() else images.float() / 255
    mean, std = _statistics(x)
    return (x - mean) / std


def denormalise(images: Tensor) -> Tensor:
    """Undo `normalise`: (B, 3, H, W), in [0, 1] for images; predictions may lie outside."""
    mean, std = _statistics(images)
    return images * std + mean


def resample_matrix(start: Tensor, length: Tensor, in_size: int, out_size: int) -> Tensor:
    """Weights (B, out_size, in_size) that scale pixels [start, start + length) to out_size pixels.

    A triangle filter, widened when shrinking, cut at the crop's ends and normalised, as in PIL.
    `start` and `length` are (B,), in pixels.
    """
    scale = (length / out_size).view(-1, 1, 1)  # input pixels per output pixel
    pixel = torch.arange(out_size, device=start.device).view(1, -1, 1)
    centre = start.view(-1, 1, 1) + (pixel + 0.5) * scale  # (B, out, 1)
    source = torch.arange(in_size, device=start.device) + 0.5  # (in,)
    weight = (1 - (source - centre).abs() / scale.clamp(min=1)).clamp(min=0)  # (B, out, in)
    first, last = start.view(-1, 1, 1), (start + length).view(-1, 1, 1)
    weight = weight * ((source > first) & (source < last))
    return weight / weight.sum(dim=2, keepdim=True)


def resize(images: Tensor, size: int) -> Tensor:
    """Scale whole images, uint8 (B, 3, H, W), to normalised floats (B, 3, size, size)."""
    h, w = images.shape[-2:]
    if (h, w) == (size, size):
        return normalise(images)
    whole = torch.zeros(5, 1, device=images.device)  # from top 0 and left 0 on, not flipped
    whole[2], whole[3] = h, w
    return crop(images, size, whole)


def random_crops(n: int, height: int, width: int, scale: tuple[float, float],
                 generator: torch.Generator) -> Tensor:
    """Random boxes and flips for `crop`: (5, n), top, left, height, width, and 1 to flip.

    In pixels, on the generator's device. An area of `scale` times the image's and an aspect ratio
    between 3/4 and 4/3, log-uniform, as in torchvision's RandomResizedCrop; a box too long for the
    image is shortened rather than redrawn, so that no loop waits for the device.
    """
    u = torch.rand(4, n, generator=generator, device=generator.device)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * u[0])
    aspect = torch.exp(math.log(4 / 3) * (2 * u[1] - 1))
    h = (area / aspect).sqrt().round().clamp(1, height)
    w = (area * aspect).sqrt().round().clamp(1, width)
    top = (u[2] * (height - h + 1)).floor().clamp(max=height - h)
    left = (u[3] * (width - w + 1)).floor().clamp(max=width - w)
    flip = torch.rand(n, generator=generator, device=generator.device) < 0.5
    return torch.stack([top, left, h, w, flip.float()])


def crop(images: Tensor, size: int, crops: Tensor) -> Tensor:
    """Cut, scale and flip uint8 images (B, 3, H, W) by `crops` (5, B), see `random_crops`.

    Returns normalised floats (B, 3, size, size).
    """
    h, w = images.shape[-2:]
    top, left, crop_h, crop_w, flip = crops
    rows = resample_matrix(top, crop_h, h, size)  # (B, size, H)
    cols = resample_matrix(left, crop_w, w, size)  # (B, size, W)
    cols = torch.where(flip[:, None, None] > 0, cols.flip(1), cols)
    return rows[:, None] @ normalise(images) @ cols.mT[:, None]


def random_resized_crop(images: Tensor, size: int, generator: torch.Generator,
                        scale: tuple[float, float] = (0.2, 1.0)) -> Tensor:
    """Crop, scale and flip each image at random: uint8 (B, 3, H, W) → floats (B, 3, size, size).

    The pretraining augmentation of He et al. 2022, appendix A.1, with bilinear in place of bicubic
    interpolation. `images` lie on the generator's device; the result is normalised.
    """
    return crop(images, size, random_crops(len(images), *images.shape[-2:], scale, generator))
