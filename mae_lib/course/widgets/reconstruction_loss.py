"""Notebook 04: patches in units of their own, and predictions brought back from them."""

import functools

import ipywidgets
import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mae_lib import course
from mae_lib.course.widgets import Explorer, Frame, enlarged, side_by_side, to_picture
from mae_lib.data.augment import denormalise, normalise
from mae_lib.losses import patch_statistics, predicted_images
from mae_lib.metrics import composite, masked_psnr
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.training.checkpoints import load_shipped

SIZE, PATCH = 224, 16
VIEWS = ("pixels", "mean", "standard deviation", "normalised")
UNITS = ("as predicted", "hidden patches' own", "average visible patch's")
ORANGE = (213, 94, 0)


def visible_statistics(images: Tensor, mask: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the average visible patch, two tensors (B, 1, 1).

    `images` (B, 3, H, W), `mask` (B, L) with 1 = masked. What is known without the target.
    """
    visible = 1 - mask[:, :, None]  # (B, L, 1)
    mean, std = patch_statistics(patchify(images, patch_size))  # (B, L, 1) each
    return tuple((x * visible).sum(1, keepdim=True) / visible.sum(1, keepdim=True)
                 for x in (mean, std))


def stretched(patches: Tensor) -> Tensor:
    """Normalised values as brightness: 0 is mid-grey, 3 standard deviations are black and white."""
    return (0.5 + patches / 6).clamp(0, 1)


@functools.cache
def views(photograph: str) -> tuple[dict[str, np.ndarray], Tensor, Tensor]:
    """A photograph in each of VIEWS, (SIZE, SIZE, 3) uint8; its patches' means and standard
    deviations."""
    x = normalise(course.photograph(photograph, SIZE)[None])
    patches = patchify(x, PATCH)  # (1, L, p²·3)
    mean, std = patch_statistics(patches)  # (1, L, 1) each
    means = denormalise(unpatchify(mean.expand_as(patches), PATCH))[0]
    deviations = patch_mask_to_pixels(std[..., 0], PATCH)[0, 0]  # (H, W)
    colours = matplotlib.colormaps["cividis"]((deviations / deviations.max()).numpy())
    pictures = {
        "pixels": to_picture(denormalise(x)[0]),
        "mean": to_picture(means),
        "standard deviation": (255 * colours[..., :3]).round().astype(np.uint8),
        "normalised": to_picture(unpatchify(stretched((patches - mean) / std), PATCH)[0]),
    }
    return pictures, mean[0, :, 0], std[0, :, 0]


@functools.cache
def labels() -> np.ndarray:
    """The strip between the two enlarged patches, with the name of each."""
    strip = Image.new("RGB", (13 * PATCH, 2 * SIZE - 2 * 13 * PATCH), "white")
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 17)
    words = "↑ pixels  normalised ↓"
    ImageDraw.Draw(strip).text((strip.width / 2, strip.height / 2), words, "black", font, "mm")
    return np.asarray(strip)


def render(photograph: str = "astronaut", view: str = "normalised", row: int = 2,
           column: int = 3) -> Frame:
    """The photograph in one of VIEWS, a patch of it outlined, and that patch before and after."""
    pictures, means, stds = views(photograph)
    top, left = row * PATCH, column * PATCH
    square = np.s_[top : top + PATCH, left : left + PATCH]
    whole = enlarged(pictures[view], 2)
    frame = whole[2 * top : 2 * (top + PATCH), 2 * left : 2 * (left + PATCH)]
    inside = frame[3:-3, 3:-3].copy()
    frame[:] = ORANGE
    frame[3:-3, 3:-3] = inside
    before, after = (enlarged(pictures[name][square], 13) for name in ("pixels", "normalised"))
    patch = row * (SIZE // PATCH) + column
    mean, std = means[patch], stds[patch]
    text = (f"{photograph}, {view}. Patch in row {row}, column {column}: mean {mean:.1f}, standard "
            f"deviation {std:.2f}, so norm_pix multiplies its contrast by {1 / std:.1f}.")
    return Frame(side_by_side(whole, np.concatenate([before, labels(), after]), gap=32), text)


@functools.cache
def shipped():
    """The weights that come with the package, and all photographs at their size, (5, 3, H, W)."""
    model, facts = load_shipped("original")
    return model, facts["norm_pix"], normalise(course.photographs(model.img_size))


@functools.lru_cache(64)
def predict(photograph: str, mask_ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """One photograph (1, 3, H, W), what is predicted for it (1, L, p²·3), and the mask (1, L)."""
    model, _, images = shipped()
    i = list(course.PHOTOGRAPHS).index(photograph)
    noise = torch.rand(len(images), model.num_patches, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model(images[i : i + 1], mask_ratio, noise=noise[i : i + 1])
    return images[i : i + 1], output.pred, output.mask


def in_units(pred: Tensor, images: Tensor, mask: Tensor, units: str) -> Tensor:
    """A prediction (1, L, p²·3) of the shipped model read in one of UNITS: (1, 3, H, W)."""
    model, norm_pix, _ = shipped()
    if units == UNITS[1]:
        return predicted_images(pred, images, model.patch_size, norm_pix)
    if units == UNITS[2]:
        mean, std = visible_statistics(images, mask, model.patch_size)
        pred = pred * std + mean
    return unpatchify(pred, model.patch_size)


def render_prediction(photograph: str = "coffee", mask_ratio: float = 0.75, units: str = UNITS[0],
                      show: str = "prediction") -> Frame:
    """What the model sees, what it predicts in one of UNITS, and the photograph.

    `show` is "prediction", or "composite" for the true pixels where patches were visible.
    """
    images, pred, mask = predict(photograph, round(mask_ratio, 2))
    size, patch_size = images.shape[-1], shipped()[0].patch_size
    target = denormalise(images).clamp(0, 1)
    mask_img = patch_mask_to_pixels(mask, patch_size)
    found = denormalise(in_units(pred, images, mask, units)).clamp(0, 1)
    psnr = masked_psnr(found, target, mask_img)[0]
    if show == "composite":
        found = composite(found, target, mask_img)
    seen = target * (1 - mask_img) + 0.5 * mask_img
    text = (f"{photograph}, {100 * mask_ratio:.0f} % hidden. Units: {units}. "
            f"{psnr:.1f} dB on hidden pixels.")
    zoom = max(1, 320 // size)
    return Frame(side_by_side(*(to_picture(x[0], zoom) for x in (seen, found, target))), text)


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    images, pred, mask = predict("coffee", 0.75)
    target = denormalise(images).clamp(0, 1)
    mask_img = patch_mask_to_pixels(mask, shipped()[0].patch_size)
    raw, own = (denormalise(in_units(pred, images, mask, units)) for units in UNITS[:2])
    panels = (("what the model sees", target * (1 - mask_img) + 0.5 * mask_img),
              ("what it predicts", raw), ("composite in pixels", composite(own, target, mask_img)),
              ("the photograph", target))
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    for axis, (name, image) in zip(figure.subplots(1, 4), panels, strict=True):
        axis.imshow(to_picture(image[0]))
        axis.set_title(name)
        axis.axis("off")
    return figure, ("Four pictures: a cup of coffee with three quarters of its patches hidden; the "
                    "model's prediction, without light and shade, in which the visible patches "
                    "bulge; the composite in pixels, with a pale cup; the photograph.")


def norm_pix_explorer() -> Explorer:
    last = SIZE // PATCH - 1
    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="astronaut",
                                     description="photograph")
    view = ipywidgets.ToggleButtons(options=VIEWS, value="pixels", description="view")
    row = ipywidgets.IntSlider(2, min=0, max=last, description="row")
    column = ipywidgets.IntSlider(3, min=0, max=last, description="column")
    stills = [{"view": v, "title": v} for v in VIEWS]
    return Explorer(render, stills, photograph=photograph, view=view, row=row, column=column)


def prediction_explorer() -> Explorer:
    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="coffee",
                                     description="photograph")
    ratio = ipywidgets.FloatSlider(0.75, min=0.1, max=0.9, step=0.05,
                                   description="mask ratio")
    units = ipywidgets.ToggleButtons(options=UNITS, description="units")
    shown = ipywidgets.ToggleButtons(options=("prediction", "composite"), description="show")
    stills = [{"units": UNITS[0], "show": "prediction", "title": "prediction, as predicted"}]
    stills += [{"units": units, "show": "composite", "title": f"composite, {units}"}
               for units in UNITS]
    return Explorer(render_prediction, stills, photograph=photograph, mask_ratio=ratio,
                    units=units, show=shown)
