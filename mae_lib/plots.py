"""Every figure, in one style. Functions return the figure; `save` writes it."""

import copy
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mae_lib.data.augment import check_images, denormalise, resize
from mae_lib.losses import predicted_images
from mae_lib.metrics import composite, masked_psnr
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.results import BASELINES

# Okabe & Ito's colours, told apart by colour-blind readers too; grey is for baselines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#8A8A8A"
STYLE = {
    "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 110,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "axes.axisbelow": True, "font.size": 10, "legend.frameon": False,
    "axes.titlesize": 10, "figure.titlesize": 11, "figure.titleweight": "bold",
    "image.interpolation": "nearest", "figure.constrained_layout.h_pad": 0.08,
}
styled = matplotlib.rc_context(STYLE)  # a decorator: the style holds within a function


def new_figure(rows: int, cols: int, width: float, height: float, title: str = "",
               **ratios: tuple[float, ...]) -> tuple[Figure, np.ndarray]:
    """A figure that no pyplot state holds on to, and its axes (rows, cols).

    `ratios` can be width_ratios and height_ratios, as in matplotlib.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:  # "$" is a plain character in it, as in a folder's name, not the start of maths
        figure.suptitle(title.replace("$", r"\$"))
    return figure, figure.subplots(rows, cols, squeeze=False, **ratios)


@styled
def save(figure: Figure, path: Path, **words: str) -> Path:
    """Write a figure as PNG, with `words` as its metadata; returns the path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None, **words})  # no version, for equal files
    return Path(path)


@styled
def curves(histories: dict[str, list[dict]], title: str) -> Figure:
    """Validation loss, PSNR and effective rank by epoch; `histories` are epoch records by label."""
    panels = (("val_loss", "reconstruction loss, fixed masks at 0.75"),
              ("val_psnr", "masked PSNR in dB, fixed masks at 0.75"),
              ("effective_rank", "effective rank of the features"))
    figure, axes = new_figure(1, 3, 12, 3.6, title)
    for axis, (key, name) in zip(axes[0], panels, strict=True):
        for i, (label, records) in enumerate(histories.items()):
            x, y = [r["epoch"] for r in records], [r[key] for r in records]
            axis.plot(x, y, "o-", markersize=4, color=COLOURS[i % len(COLOURS)], label=label)
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].legend()
    return figure


@styled
def accuracy_bars(rows: list[tuple[str, dict[str, tuple]]], title: str) -> Figure:
    """Bars with intervals, a panel per measure; `rows`: (name, {measure: (value, low, high)})."""
    measures = list(dict.fromkeys(m for _, found in rows for m in found))
    figure, axes = new_figure(1, len(measures), 4 * len(measures), 3.8, title)
    for axis, measure in zip(axes[0], measures, strict=True):
        shown = [(name, found[measure]) for name, found in rows if measure in found]
        methods = 0
        for i, (name, (value, low, high)) in enumerate(shown):
            colour = GREY if name in BASELINES else COLOURS[methods % len(COLOURS)]
            methods += name not in BASELINES
            axis.bar(i, value, color=colour, width=0.7)
            if low == low:
                error = [[value - low], [high - value]]
                axis.errorbar(i, value, yerr=error, color="black", capsize=4)
            axis.annotate(f"{value:.1f}", (i, high if high == high else value), ha="center",
                          va="bottom", xytext=(0, 3), textcoords="offset points")
        axis.set_xticks(range(len(shown)), [name.replace(" ", "\n") for name, _ in shown])
        axis.set(title=measure, ylabel="test accuracy, %")
        axis.grid(axis="x", visible=False)
        axis.margins(y=0.12)
    return figure


@styled
@torch.no_grad()
def reconstructions(models: dict[str, tuple[MaskedAutoencoder, bool]], images: Tensor,
                    mask_ratio: float, title: str) -> Figure:
    """Target, masked input and each model's composite, one row per uint8 image (N, 3, H, W).

    `models` are (model, norm_pix) by label. All see the same masks.
    """
    check_images(images)
    first = next(iter(models.values()))[0]
    x = resize(images, first.img_size)
    noise = torch.rand(len(x), first.num_patches, generator=torch.Generator().manual_seed(1))
    target = denormalise(x).clamp(0, 1)
    cols = 2 + len(models)
    figure, axes = new_figure(len(x), cols, 2.1 * cols, 2.15 * len(x) + 0.5, title)

    def show(column: int, name: str, pictures: Tensor, below: list[str]) -> None:
        axes[0, column].set_title(name)
        for axis, picture, words in zip(axes[:, column], pictures, below, strict=True):
            axis.imshow(picture.permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(words, fontsize=9)
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)

    for column, (label, (model, norm_pix)) in enumerate(models.items(), 2):
        output = copy.deepcopy(model).cpu().eval()(x, mask_ratio, noise=noise)
        mask = patch_mask_to_pixels(output.mask, model.patch_size)
        pred = denormalise(predicted_images(output.pred, x, model.patch_size, norm_pix)).clamp(0, 1)
        psnr = [f"{decibels:.1f} dB" for decibels in masked_psnr(pred, target, mask)]
        show(column, label, composite(pred, target, mask), psnr)
    show(0, "target", target, [""] * len(x))
    show(1, f"{mask_ratio:.0%} masked", target * (1 - mask) + 0.5 * mask, [""] * len(x))
    return figure


def label_lines(groups: dict[str, list[dict]]) -> dict[str, list[tuple[int, float]]]:
    """Points (labels, mean accuracy in percent) of each line of the label-efficiency plot."""
    lines = {}
    for name, group in groups.items():
        found = [{**{int(n): few for n, few in r["measures"]["labels"].items()},
                  r["data"]["train"]: r["measures"]} for r in group if "labels" in r["measures"]]
        titles = {"ft": name} if name == "from scratch" else {
            "ft": f"{name}, fine-tuned", "lp": f"{name}, linear probe"}
        for measure, title in titles.items() if found else ():
            lines[title] = [(n, sum(run[n][measure]["value"] for run in found) / len(found))
                            for n in found[0]]
    return lines


@styled
def label_efficiency(lines: dict[str, list[tuple[int, float]]], title: str) -> Figure:
    """Accuracy by the number of labels: points (labels, percent) of each line by its name."""
    figure, axes = new_figure(1, 1, 6.5, 4.2, title)
    axis, ticks, methods = axes[0, 0], sorted({n for line in lines.values() for n, _ in line}), {}
    for name, points in lines.items():
        method, _, kind = name.partition(", ")
        colour = COLOURS[methods.setdefault(method, len(methods)) % len(COLOURS)] if kind else GREY
        axis.plot(*zip(*points, strict=True), "o--" if "probe" in kind else "o-", color=colour,
                  markersize=4, label=name)
    axis.set(xscale="log", xlabel="labelled images", ylabel="test accuracy, %", ylim=(0, None))
    axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axis.set_xticks([], minor=True)
    axis.legend()
    return figure
