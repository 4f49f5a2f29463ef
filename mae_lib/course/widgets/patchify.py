"""Notebook 01: cutting a photograph into patches of any size."""

import functools

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mae_lib import course
from mae_lib.course.widgets import Explorer, Frame, to_picture
from mae_lib.patches import patchify, unpatchify

SIZES = (4, 7, 8, 14, 16, 28, 32, 56, 112)
read = functools.cache(course.photograph)
SIDE = 560  # pixels of the explorer's picture, at any patch size


def explode(image: Tensor, patch_size: int, gap: int = 2) -> np.ndarray:
    """A uint8 image (3, H, W) with white gaps between its patches, (H', W', 3) uint8."""
    patches = patchify(image[None] / 255, patch_size)  # (1, L, p²·3)
    rows, cols = (side // patch_size for side in image.shape[1:])
    tiles = patches.view(rows * cols, patch_size, patch_size, 3)  # (L, p, p, 3)
    framed = torch.ones(rows * cols, patch_size + gap, patch_size + gap, 3)
    framed[:, :patch_size, :patch_size] = tiles
    framed = framed.view(1, rows * cols, -1)
    whole = unpatchify(framed, patch_size + gap, (rows, cols))[0]
    return to_picture(whole[:, :-gap, :-gap] if gap else whole)


def render(photograph: str = "coffee", patch_size: int = 16) -> Frame:
    """The photograph cut up, and how long a sequence it gives."""
    image = read(photograph, 224)
    gap = 1 if patch_size < 14 else 3
    n = 224 // patch_size
    text = (f"{patch_size}×{patch_size} pixels: {n}×{n} = {n * n:,} patches of "
            f"{3 * patch_size**2:,} values; attention compares {n**4:,} pairs.")
    picture = Image.fromarray(explode(image, patch_size, gap)).resize((SIDE, SIDE))
    return Frame(np.asarray(picture), text)


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    coffee = course.photograph("coffee", 224)
    patches = patchify(coffee[None] / 255, 16)[0].view(196, 16, 16, 3).numpy()
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3.4, 1))
    pictures = to_picture(coffee / 255), explode(coffee, 16, 4)
    for axis, picture in zip(above.subplots(1, 2), pictures, strict=True):
        axis.imshow(picture)
        axis.axis("off")
    for axis, i in zip(below.subplots(1, 14), range(70, 84), strict=True):
        axis.imshow(patches[i])
        axis.axis("off")
    return figure, ("A photograph of a cup of coffee; the same cut into 14 by 14 squares; and "
                    "the 14 squares of the sixth row, like words in a sentence.")


def explorer() -> Explorer:
    size = ipywidgets.SelectionSlider(options=SIZES, value=16, description="patch size")
    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="coffee",
                                     description="photograph")
    stills = [{"patch_size": p, "title": f"{p}×{p}: {(224 // p) ** 4:,} pairs"}
              for p in (56, 32, 16, 8)]
    return Explorer(render, stills, photograph=photograph, patch_size=size)
