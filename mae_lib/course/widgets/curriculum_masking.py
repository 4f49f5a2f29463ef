"""Notebook 02: hiding patches at any ratio, and the schedule of the ratio with its price."""

import functools
import string

import ipywidgets
import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mae_lib import course
from mae_lib.config import PretrainConfig
from mae_lib.course.widgets import Explorer, Frame, side_by_side, to_picture
from mae_lib.masking import (
    num_visible_patches,
    random_mask_ids,
    schedule_mask_ratio,
    take_patches,
)
from mae_lib.model import PRESETS
from mae_lib.patches import patch_mask_to_pixels, patchify
from mae_lib.plots import COLOURS, GREY, new_figure, styled

CELL = 24  # pixels of a patch in the scrubber's pictures: 14 × 24 = 336
EPOCHS, ITERS = 10, 1563  # of the specification


def seeded_noise(images: int, patches: int, seed: int) -> Tensor:
    """Noise (images, patches) that is the same wherever it is drawn with this seed."""
    return torch.rand(images, patches, generator=torch.Generator().manual_seed(seed))


def covered(images: Tensor, mask: Tensor, patch_size: int) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] with masked patches in grey."""
    return torch.where(patch_mask_to_pixels(mask, patch_size) > 0, 0.5, images)


# ---------------------------------------------------------------- the mask-ratio scrubber


@functools.cache
def _photograph(name: str) -> Tensor:
    return course.photograph(name, 14 * CELL)[None] / 255


@functools.cache
def _numbers() -> np.ndarray:
    """How strongly each pixel of a cell is inked by the numbers 0…195: (196, CELL, CELL)."""
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 11)
    cells = []
    for number in range(196):
        cell = Image.new("L", (CELL, CELL))
        ImageDraw.Draw(cell).text((CELL / 2, CELL / 2), str(number), 255, font, anchor="mm")
        cells.append(np.asarray(cell) / 255)
    return np.stack(cells)


def order_picture(ids_restore: Tensor, num_visible: int) -> np.ndarray:
    """The places (196,) that patches get in the shuffled order; those that stay are coloured."""
    place = ids_restore.numpy()
    seen = (place < num_visible)[:, None]
    paper = matplotlib.colormaps["viridis"](place / 195)[:, :3]
    ink = np.where(paper.mean(axis=1, keepdims=True) > 0.45, 0.0, 1.0)
    paper, ink = np.where(seen, paper, 0.94), np.where(seen, ink, 0.4)
    inked = _numbers()[place][..., None]
    cells = paper[:, None, None] + inked * (ink - paper)[:, None, None]  # (196, CELL, CELL, 3)
    cells[:, 0], cells[:, :, 0] = 1, 1  # thin lines between cells
    grid = cells.reshape(14, 14, CELL, CELL, 3).transpose(0, 2, 1, 3, 4)
    return (255 * grid).round().astype(np.uint8).reshape(14 * CELL, 14 * CELL, 3)


def render(photograph: str = "astronaut", mask_ratio: float = 0.75, seed: int = 0) -> Frame:
    """The photograph with hidden patches, and the place of each patch in the shuffled order."""
    num_visible = num_visible_patches(196, mask_ratio)
    ids_keep, mask, ids_restore = random_mask_ids(seeded_noise(1, 196, seed), num_visible)
    hidden = to_picture(covered(_photograph(photograph), mask, CELL)[0])
    first = ", ".join(str(i) for i in ids_keep[0, :3].tolist())
    text = (f"ratio {mask_ratio:.2f}, seed {seed}: {num_visible} of 196 patches visible, "
            f"{196 - num_visible} hidden; the order starts with patches {first}.")
    return Frame(side_by_side(hidden, order_picture(ids_restore[0], num_visible)), text)


def explorer() -> Explorer:
    ratio = ipywidgets.FloatSlider(0.75, min=0.0, max=0.95, step=0.05, description="mask ratio")
    seed = ipywidgets.IntSlider(0, min=0, max=9, description="seed")
    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="astronaut",
                                     description="photograph")
    stills = [{"mask_ratio": r} for r in (0.25, 0.5, 0.75, 0.9)]
    return Explorer(render, stills, photograph=photograph, mask_ratio=ratio, seed=seed)


# ---------------------------------------------------------------- the schedule and its price


def multiply_adds(num_visible: int, preset: str = "specified") -> int:
    """Multiply-adds of matrix products in one training step, per image: forward and backward.

    Notebook 03 explains the formula, and a test compares it with what torch counts.
    """
    size = PRESETS[preset]
    n, d, narrow = num_visible, size["embed_dim"], size["decoder_embed_dim"]
    length = (size["img_size"] // size["patch_size"]) ** 2
    values = 3 * size["patch_size"] ** 2
    embed = n * values * d
    forward = embed + size["depth"] * (12 * n * d**2 + 2 * n**2 * d) + n * d * narrow
    forward += size["decoder_depth"] * (12 * length * narrow**2 + 2 * length**2 * narrow)
    forward += length * narrow * values
    return 3 * forward - embed  # nothing asks for the gradient of the pixels


@functools.lru_cache(64)  # 250 kB each
def _plan(start: float, end: float, ramp_epochs: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The ratio at every step of ten epochs, and its multiply-adds over those at 0.75."""
    cfg = PretrainConfig(mask_ratio_start=start, mask_ratio=end, mask_ratio_sched=kind,
                         mask_ratio_warmup_epochs=ramp_epochs)
    ramp = 0 if kind == "const" else min(ramp_epochs, EPOCHS)
    ratios = [schedule_mask_ratio(e, i, ITERS, cfg) for e in range(ramp) for i in range(ITERS)]
    ratios += [end] * (ITERS * (EPOCHS - ramp))
    relative = [multiply_adds(n) / multiply_adds(49) for n in range(197)]
    return np.array(ratios), np.array([relative[num_visible_patches(196, r)] for r in ratios])


@functools.cache
@styled
def _stage():
    """Axes that never change, drawn once: a slider that moves only redraws the curves."""
    figure, axes = new_figure(1, 2, 6.8, 2.6)
    for axis in axes[0]:
        axis.set(xlabel="epoch", xlim=(0, EPOCHS), xticks=range(0, EPOCHS + 1, 2))
    axes[0, 0].set(title="Mask ratio", ylim=(0, 1))
    axes[0, 1].set(title="Multiply-adds of a step (1 = at ratio 0.75)", ylim=(0, 2.6))
    axes[0, 0].axhline(0.75, color=GREY, linestyle="--")
    axes[0, 1].axhline(1, color=GREY, linestyle="--")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas, axes[0], canvas.copy_from_bbox(figure.bbox)


def render_schedule(start: float = 0.5, end: float = 0.75, ramp_epochs: int = 5,
                    kind: str = "linear") -> Frame:
    """A schedule of ten epochs and what it costs compared with 0.75 throughout."""
    ratios, price = _plan(round(start, 2), round(end, 2), ramp_epochs, kind)
    canvas, (left, right), background = _stage()
    canvas.restore_region(background)
    every = slice(None, None, 20)
    epoch = np.arange(len(ratios))[every] / ITERS
    dear = right.fill_between(epoch, 1, price[every], where=price[every] >= 1, lw=0,
                              color=COLOURS[1], alpha=0.4)
    cheap = right.fill_between(epoch, 1, price[every], where=price[every] <= 1, lw=0,
                               color=COLOURS[2], alpha=0.4)
    lines = [axis.plot(epoch, y[every], color=COLOURS[0], linewidth=2)[0]
             for axis, y in ((left, ratios), (right, price))]
    for artist in (dear, cheap, *lines):
        artist.axes.draw_artist(artist)
        artist.remove()
    extra = price.mean() - 1
    ramp = f"from {start:.2f} to {end:.2f} over {ramp_epochs} epochs"
    than = f"{100 * abs(extra):.1f} % {'more' if extra > 0 else 'fewer'} multiply-adds than"
    text = (f"{kind} {ramp if kind != 'const' else f'{end:.2f}'}: mean ratio {ratios.mean():.3f}, "
            f"{than if abs(extra) >= 5e-4 else 'as many multiply-adds as'} 0.75 throughout.")
    return Frame(np.asarray(canvas.buffer_rgba())[..., :3].copy(), text)


def schedule_explorer() -> Explorer:
    start = ipywidgets.FloatSlider(0.5, min=0.1, max=0.9, step=0.05, description="start")
    end = ipywidgets.FloatSlider(0.75, min=0.5, max=0.95, step=0.05, description="end")
    ramp = ipywidgets.IntSlider(5, min=0, max=EPOCHS, description="ramp epochs")
    kind = ipywidgets.Dropdown(options=("const", "linear", "cosine"), value="linear",
                               description="kind")
    stills = [{"start": 0.5, "title": "from 0.5 to 0.75 in 5 epochs"},
              {"start": 0.25, "title": "from 0.25 to 0.75 in 5 epochs"},
              {"ramp_epochs": 2, "title": "from 0.5 to 0.75 in 2 epochs"},
              {"ramp_epochs": 10, "title": "from 0.5 to 0.75 in 10 epochs"}]
    return Explorer(render_schedule, stills, start=start, end=end, ramp_epochs=ramp, kind=kind)


# ---------------------------------------------------------------- pictures


def shuffle_picture(noise: Tensor, num_visible: int) -> tuple[Figure, str]:
    """Six patches of a face in order, with their `noise` (1, 6); shuffled by it; and restored."""
    ids_keep, _, ids_restore = random_mask_ids(noise, num_visible)
    face = course.photograph("Grace Hopper", 224)[None] / 255
    tiles = patchify(face, 16)[:, 74:80]  # (1, 6, 768)
    order = noise.argsort(dim=1, stable=True)
    shuffled = take_patches(tiles, order)
    rows = [(tiles[0], range(6), "in order"), (shuffled[0], order[0].tolist(), "shuffled"),
            (tiles[0], range(6), "restored")]
    figure, ((axis,),) = new_figure(1, 1, 8, 4.2)
    for r, (row, names, label) in enumerate(rows):
        y = 2 * (2 - r)
        axis.text(-0.75, y + 0.5, label, ha="right", va="center")
        for i, name in enumerate(names):
            shown = r == 0 or (r == 1 and i < num_visible) or name in ids_keep[0].tolist()
            axis.imshow(row[i].view(16, 16, 3), extent=(i, i + 0.8, y, y + 0.9),
                        alpha=1.0 if shown else 0.12)
            axis.text(i + 0.4, y - 0.08, f"{string.ascii_uppercase[name]}  {i}", ha="center",
                      va="top", color="black" if shown else GREY)
            if r == 0:
                axis.text(i + 0.4, y + 1.0, f"{noise[0, i]:.2f}", ha="center", va="bottom")
            if r < 2:
                target = ids_restore[0, i].item() if r == 0 else name
                seen = (name if r else i) in ids_keep[0].tolist()
                axis.annotate("", (target + 0.4, y - 1.06), (i + 0.4, y - 0.38), arrowprops=dict(
                    arrowstyle="->", color=COLOURS[0] if seen else "#C8C8C8"))
    axis.text(-0.75, 5.0, "number drawn", ha="right", va="bottom")
    axis.set(xlim=(-2.1, 6), ylim=(-0.5, 5.4))
    axis.axis("off")
    kept = " and ".join(string.ascii_uppercase[i] for i in ids_keep[0].tolist())
    return figure, (f"Six patches, A to F, with the number each drew. Sorted by it, {kept} come "
                    "first and stay; the others fade. Restored, all are in their old places again.")


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    cfg = PretrainConfig(mask_ratio_sched="linear")
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.1, 1.5))
    coffee, noise = course.photograph("coffee", 224)[None] / 255, seeded_noise(1, 196, 3)
    for epoch, axis in enumerate(above.subplots(1, 6)):
        ratio = schedule_mask_ratio(epoch, 0, ITERS, cfg)
        _, mask, _ = random_mask_ids(noise, num_visible_patches(196, ratio))
        axis.imshow(to_picture(covered(coffee, mask, 16)[0]))
        axis.set_title(f"{epoch} epoch{'s' * (epoch != 1)}: {100 * ratio:.0f} %", fontsize=12)
        axis.axis("off")
    axis = below.subplots()
    epochs = np.linspace(0, EPOCHS, 201)
    axis.plot(epochs, [schedule_mask_ratio(0, t, 1, cfg) for t in epochs], color=COLOURS[0])
    axis.plot(range(6), [schedule_mask_ratio(e, 0, 1, cfg) for e in range(6)], "o",
              color=COLOURS[1])
    axis.set(xlabel="epochs completed", ylabel="mask ratio", ylim=(0.45, 0.8), xlim=(-0.2, EPOCHS))
    return figure, ("A cup of coffee after 0 to 5 epochs. Half of its patches are hidden "
                    "at first, three quarters in the end. Below, the mask ratio rises from 0.50 to "
                    "0.75 over five epochs and then stays.")
