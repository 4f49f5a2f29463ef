"""Notebook 00: hide most of a photograph, and see what a trained model reconstructs."""

import functools

import ipywidgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from mae_lib import course
from mae_lib.course.widgets import Explorer, Frame, side_by_side, to_picture
from mae_lib.course.widgets.panels import named
from mae_lib.data.augment import denormalise, normalise
from mae_lib.metrics import composite, masked_psnr, trivial_reconstructions
from mae_lib.model import MAEOutput, MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.plots import COLOURS
from mae_lib.training.checkpoints import load_shipped

HIDDEN = 0.5  # the grey that stands for a hidden patch
GALLERY = ("coffee", "Grace Hopper", "rocket", "cat")
FIRST = 0.75, 6  # ratio and mask of the first picture and of the drawing
BLUE, ORANGE, PALE = COLOURS[0], COLOURS[1], "#D9D9D9"


@functools.cache
def trained() -> MaskedAutoencoder:
    """The shipped model that predicts plain pixels: its pictures owe nothing to the target."""
    return load_shipped("pixels")[0]


@functools.cache
def _normalised(photograph: str, size: int) -> Tensor:
    """The photograph as a model wants it, (1, 3, size, size)."""
    return normalise(course.photograph(photograph, size)[None])


@functools.cache
def _noise(num_patches: int, seed: int) -> Tensor:
    """What decides which patches are hidden, (1, L); a higher ratio hides more of the same."""
    return torch.rand(1, num_patches, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def reconstruct(
    photograph: str, mask_ratio: float, seed: int
) -> tuple[Tensor, Tensor, Tensor, MAEOutput]:
    """The target and the prediction in [0, 1], both (1, 3, H, W), the mask (1, 1, H, W), and all
    that the model returned."""
    model = trained()
    x = _normalised(photograph, model.img_size)
    output = model(x, mask_ratio, noise=_noise(model.num_patches, seed))
    pred = unpatchify(output.pred, model.patch_size, model.grid)
    mask = patch_mask_to_pixels(output.mask, model.patch_size)
    return denormalise(x).clamp(0, 1), denormalise(pred).clamp(0, 1), mask, output


def cover(image: Tensor, mask: Tensor) -> Tensor:
    """The image with grey where the mask is 1."""
    return image * (1 - mask) + HIDDEN * mask


def render(
    photograph: str = "Grace Hopper", mask_ratio: float = 0.75, seed: int = 0
) -> Frame:
    """Target, what the encoder sees, and what comes back."""
    target, pred, mask, output = reconstruct(photograph, round(mask_ratio, 2), seed)
    size, length = target.shape[-1], output.mask.shape[1]
    zoom = max(1, 320 // size)
    pictures = {"photograph": target, "visible patches": cover(target, mask),
                "reconstruction": composite(pred, target, mask)}
    picture = side_by_side(*(named(name, to_picture(image[0], zoom), size=17)
                             for name, image in pictures.items()))
    mean_fill = trivial_reconstructions(target, mask)["masked mean"]
    ours, theirs = (round(float(masked_psnr(x, target, mask)), 1) for x in (pred, mean_fill))
    text = (f"{length - int(output.mask.sum())} of {length} patches visible. Hidden pixels: "
            f"{ours:.1f} dB, {abs(ours - theirs):.1f} dB {'better' if ours >= theirs else 'worse'} "
            f"than the mean colour ({theirs:.1f} dB).")
    return Frame(picture, text, photographic=zoom == 1)


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows; the README has it as well."""
    rows = ("photographs", "three quarters hidden", "reconstructions")
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    axes = figure.subplots(len(rows), len(GALLERY))
    for column, name in enumerate(GALLERY):
        target, pred, mask, _ = reconstruct(name, *FIRST)
        pictures = (target, cover(target, mask), composite(pred, target, mask))
        for axis, image in zip(axes[:, column], pictures, strict=True):
            axis.imshow(to_picture(image[0]))
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)
    for axis, text in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(text, fontsize=13)
    return figure, ("Photographs of a cup of coffee, a woman in uniform, a rocket at dusk and a "
                    "cat; below, the same with three quarters of their patches grey; below, the "
                    "reconstructions: the grey places are blurred, in roughly the right colours.")


# ---------------------------------------------------------------- the idea in one drawing

WIDE, STEP = 20, 26.6  # a column's width, and from one column to the next
TOP, BOTTOM = 30, 0  # the lower edges of the two rows


def diagram() -> tuple[Figure, str]:
    """A masked autoencoder from a photograph and back, made of what really passes through it."""
    model = trained()
    target, pred, mask, output = reconstruct(GALLERY[0], *FIRST)
    rows, columns = model.grid
    visible = output.mask[0].view(rows, columns) == 0
    tiles = patchify(target, model.patch_size)[0].view(rows, columns, model.patch_size, -1, 3)
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axis = figure.subplots()

    _picture(axis, _at(0, TOP), target[0], "1 · a photograph")
    _tiles(axis, _at(1, TOP), tiles, torch.ones_like(visible), "2 · cut into patches")
    _tiles(axis, _at(2, TOP), tiles, visible, "3 · a quarter stays visible")
    _machine(axis, _at(3, TOP), BLUE, 20, "4 · encoder, large",
             f"sees visible\npatches only\n\n{_blocks(model.blocks)}\n{model.embed_dim} wide")
    _vectors(axis, _at(3, BOTTOM), output.latent[0, model.num_extra :])
    _places(axis, _at(2, BOTTOM), visible)
    _machine(axis, _at(1, BOTTOM), ORANGE, 14, "7 · decoder, small",
             f"{_blocks(model.decoder_blocks)}\n{model.config['decoder_embed_dim']} wide")
    _picture(axis, _at(0, BOTTOM), composite(pred, target, mask)[0], "8 · hidden patches predicted")

    for column in range(3):
        right, left = column * STEP + WIDE, (column + 1) * STEP
        _arrow(axis, (right + 0.8, TOP + WIDE / 2), (left - 0.8, TOP + WIDE / 2))
        _arrow(axis, (left - 0.8, BOTTOM + WIDE / 2), (right + 0.8, BOTTOM + WIDE / 2))
    _arrow(axis, (3 * STEP + WIDE / 2, TOP - 0.8), (3 * STEP + WIDE / 2, BOTTOM + WIDE + 4.6))
    axis.set(xlim=(-0.5, 3 * STEP + WIDE + 0.5), ylim=(BOTTOM - 0.8, TOP + WIDE + 4.2),
             aspect="equal")
    axis.axis("off")
    return figure, (
        "A drawing in eight steps. Above, left to right: a photograph of a cup, cut into patches, "
        "a quarter of them left, the large encoder. Below, right to left: the tokens that it "
        "gives, put back in their places among question marks, the small decoder, and the cup "
        "with its hidden patches predicted.")


def _blocks(blocks) -> str:
    return f"{len(blocks)} block" + "s" * (len(blocks) != 1)


def _at(column: int, bottom: float) -> tuple[float, float]:
    return column * STEP, bottom


def _label(axis: Axes, corner: tuple[float, float], text: str) -> None:
    axis.text(corner[0] + WIDE / 2, corner[1] + WIDE + 1.1, text, ha="center", va="bottom",
              fontsize=11)


def _picture(axis: Axes, corner: tuple[float, float], image: Tensor, label: str) -> None:
    x, y = corner
    axis.imshow(to_picture(image), extent=(x, x + WIDE, y, y + WIDE), interpolation="nearest")
    _label(axis, corner, label)


def _squares(corner: tuple[float, float], rows: int, columns: int):
    """(row, column, left, bottom, side) of each square of a grid with gaps."""
    pitch = WIDE / max(rows, columns)
    for row in range(rows):
        for column in range(columns):
            left, top = corner[0] + column * pitch, corner[1] + WIDE - row * pitch
            yield row, column, left + 0.06 * pitch, top - 0.94 * pitch, 0.88 * pitch


def _tiles(
    axis: Axes, corner: tuple[float, float], tiles: Tensor, shown: Tensor, label: str
) -> None:
    """Patches (rows, columns, p, p, 3) with gaps, those that are not shown as pale outlines."""
    for row, column, left, bottom, side in _squares(corner, *shown.shape):
        if shown[row, column]:
            axis.imshow(tiles[row, column].numpy(), interpolation="nearest",
                        extent=(left, left + side, bottom, bottom + side))
        else:
            axis.add_patch(Rectangle((left, bottom), side, side, fill=False, color=PALE, lw=0.8))
    _label(axis, corner, label)


def _places(axis: Axes, corner: tuple[float, float], visible: Tensor) -> None:
    """All places again: tokens of the encoder, and the mask token where a patch is hidden."""
    size = min(9.0, 72 / len(visible))
    for row, column, left, bottom, side in _squares(corner, *visible.shape):
        token = bool(visible[row, column])
        axis.add_patch(Rectangle((left, bottom), side, side, color=BLUE if token else PALE, lw=0))
        if not token:
            axis.text(left + side / 2, bottom + side / 2, "?", ha="center", va="center_baseline",
                      fontsize=size, color="#444444")
    _label(axis, corner, "6 · every place, “?” = hidden")


def _vectors(axis: Axes, corner: tuple[float, float], latent: Tensor) -> None:
    """The encoder's tokens (K, D), a row of numbers each, less what all of them share."""
    x, y = corner
    width = latent.shape[1]
    differences = latent - latent.mean(dim=0)
    axis.imshow(differences / (4 * differences.std()) + 0.5, cmap="cividis", vmin=0, vmax=1,
                extent=(x, x + WIDE, y, y + WIDE), aspect="auto", interpolation="nearest")
    _label(axis, corner, f"5 · tokens of {width} numbers")


def _machine(
    axis: Axes, corner: tuple[float, float], colour: str, height: float, label: str, text: str
) -> None:
    x, y = corner
    lower = y + (WIDE - height) / 2
    axis.add_patch(FancyBboxPatch((x + 1.5, lower + 0.6), WIDE - 3, height - 1.2, lw=0,
                                  boxstyle="round,pad=0,rounding_size=1.5", color=colour))
    axis.text(x + WIDE / 2, y + WIDE / 2, text, ha="center", va="center", color="white",
              fontsize=11, fontweight="bold")
    _label(axis, corner, label)


def _arrow(axis: Axes, start: tuple[float, float], stop: tuple[float, float]) -> None:
    axis.annotate("", stop, start, arrowprops=dict(arrowstyle="-|>", lw=1.8, color="#444444"))


def explorer() -> Explorer:
    trained()  # now, so that the first move of a control does not wait for it
    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="Grace Hopper",
                                     description="photograph")
    ratio = ipywidgets.FloatSlider(value=0.75, min=0.1, max=0.95, step=0.05,
                                   description="mask ratio")
    seed = ipywidgets.IntSlider(value=0, min=0, max=9, description="mask seed")
    stills = [{"mask_ratio": share, "title": f"{100 * share:.0f} % hidden"}
              for share in (0.25, 0.5, 0.75, 0.95)]
    return Explorer(render, stills, photograph=photograph, mask_ratio=ratio, seed=seed)
