"""Notebook 05: a photograph by frequency, and what the weight of the Laplacian term does."""

import functools

import ipywidgets
import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from mae_lib import course
from mae_lib.course.widgets import Explorer, Frame, side_by_side, to_picture
from mae_lib.course.widgets.panels import font, named
from mae_lib.plots import COLOURS, GREY, new_figure

SIZE = 224

# ---------------------------------------------------------------- a photograph by frequency


@functools.cache
def _radius() -> tuple[Tensor, Tensor]:
    """Cycles per image of each wave: as rfft2 stores them, and as a map with the lowest central.

    The first has half of the columns, as a wave's twin of negative frequency is implied.
    """
    cycles = torch.fft.fftfreq(SIZE) * SIZE
    radius = (cycles[:, None] ** 2 + cycles**2).sqrt()
    return radius[:, : SIZE // 2 + 1], torch.fft.fftshift(radius)


@functools.cache
def _waves(photograph: str) -> tuple[Tensor, Tensor, Tensor]:
    """A photograph in [0, 1] (3, H, W), its waves as rfft2 stores them, the power of all (H, W)."""
    image = course.photograph(photograph, SIZE) / 255
    power = torch.fft.fft2(image).abs().square().sum(dim=0)
    return image, torch.fft.rfft2(image), torch.fft.fftshift(power)


def spectrum(photograph: str) -> Tensor:
    """The power of all waves on a logarithmic scale from 0 to 1, the slowest central: (H, W)."""
    power = _waves(photograph)[2].log10()
    low, high = power.quantile(0.01), power.quantile(0.9999)
    return ((power - low) / (high - low)).clamp(0, 1)


@functools.cache
def _spectrum_pictures(photograph: str) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum in bright and in dim colours, two (H, W, 3) uint8."""
    colours = matplotlib.colormaps["magma"](spectrum(photograph).numpy())[..., :3]
    return (255 * colours).astype(np.uint8), (255 * (0.3 * colours + 0.1)).astype(np.uint8)


def split(photograph: str, cutoff: float) -> tuple[Tensor, Tensor, float, float]:
    """The waves up to `cutoff` cycles per picture, the others, and two shares of the kept part.

    Two images (3, H, W), then how much of the photograph's variance the kept waves hold (the
    mean, which is no wave, not counted), and how many of all waves they are.
    """
    image, waves, power = _waves(photograph)
    stored, radius = _radius()
    kept = torch.fft.irfft2(waves * (stored <= cutoff), s=(SIZE, SIZE))
    inside, moving = radius <= cutoff, radius > 0
    variance = float(power[inside & moving].sum() / power[moving].sum())
    return kept, image - kept, variance, float(inside.float().mean())


def render(photograph: str = "astronaut", cutoff: int = 16) -> Frame:
    """Photograph, spectrum with the kept waves bright, kept part, removed part."""
    kept, removed, variance, count = split(photograph, cutoff)
    inside = (_radius()[1] <= cutoff).numpy()[..., None]
    picture = side_by_side(
        named("photograph", to_picture(_waves(photograph)[0]), size=22),
        named("its waves", np.where(inside, *_spectrum_pictures(photograph)), size=22),
        named("low-pass", to_picture(kept), size=22),
        named("high-pass", to_picture(0.5 + removed), size=22))
    text = (f"The low-pass keeps waves up to {cutoff} cycles per image: {100 * count:.1f} % of the "
            f"waves, with {100 * variance:.1f} % of the variance.")
    return Frame(picture, text)


def frequency_explorer() -> Explorer:
    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="astronaut",
                                     description="photograph")
    cutoff = ipywidgets.IntSlider(16, min=1, max=112, description="cut-off")
    stills = [{"cutoff": c, "title": f"cut-off: {c} cycles per image"} for c in (4, 16, 64)]
    return Explorer(render, stills, photograph=photograph, cutoff=cutoff)


def gallery(panels: list[tuple[str, Tensor]], label: str = "", width: float = 10,
            **style) -> Figure:
    """Images (3, H, W) in [0, 1] and maps (H, W), each under its name, at most four in a row.

    Maps are drawn with `style` (cmap, vmin, vmax), with a colour bar when they have a `label`.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(rows, columns, width, rows * ((width - bool(label)) / columns + 0.35))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, image) in zip(axes.flat, panels, strict=False):
        colours = image.detach().clamp(0, 1).permute(1, 2, 0) if image.ndim == 3 else image
        drawn = axis.imshow(colours.numpy(), **(style if image.ndim == 2 else {}))
        axis.set_title(name)
    if label:
        figure.colorbar(drawn, ax=axes[0, -1], label=label, shrink=0.8)
    return figure


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    image = _waves("astronaut")[0]
    kept, removed, *_ = split("astronaut", 16)
    figure = gallery([
        ("a photograph", image), ("the strength of its waves", spectrum("astronaut")),
        ("the slowest 1.6 % of them", kept), ("all the others", 0.5 + removed)], cmap="magma")
    return figure, ("A photograph of an astronaut; its spectrum, bright in the middle; the "
                    "astronaut blurred; and what the blur has lost: fine lines of hair, "
                    "eyes and suit on grey.")


# ---------------------------------------------------------------- what the weight does

ROW, FIRST, LAST = 24, 4, 20  # a row of pixels, hidden from FIRST up to LAST
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def _edge(place: int) -> np.ndarray:
    return (np.arange(ROW) >= place).astype(float)


def _stripes(phase: int) -> np.ndarray:
    row = np.full(ROW, 0.5)
    row[FIRST:LAST] = (np.arange(FIRST, LAST) + phase) // 2 % 2
    return row


# What may be hidden: (rows (K, ROW), their chances (K,)).
POSSIBLE = {
    "two edges, 50:50": (np.stack([_edge(9), _edge(15)]), np.array([0.5, 0.5])),
    "two edges, 70:30": (np.stack([_edge(9), _edge(15)]), np.array([0.7, 0.3])),
    "five edges": (np.stack([_edge(8 + 2 * i) for i in range(5)]), np.full(5, 0.2)),
    "stripes, place unknown": (np.stack([_stripes(i) for i in range(4)]), np.full(4, 0.25)),
}


@functools.cache
def best_rows(possible: str) -> np.ndarray:
    """For each of WEIGHTS the row with the lowest expected loss: (weights, ROW).

    The loss is the squared error plus weight times the L1 distance of second differences, both
    over the hidden pixels, averaged over what is possible. It is convex; solved by the alternating
    direction method of multipliers (Boyd et al. 2011, section 6.1), for all weights at once.
    """
    rows, chance = POSSIBLE[possible]
    targets = rows[:, FIRST:LAST]  # (K, n)
    n, rho = LAST - FIRST, 1.0
    a = np.eye(n, k=1) + np.eye(n, k=-1) - 2 * np.eye(n)  # the true pixels stand on either side
    inverse = np.linalg.inv(2 * np.eye(n) + rho * len(rows) * a.T @ a)
    mean, bent = chance @ targets, targets @ a.T  # (n,), (K, n)
    limit = np.array(WEIGHTS)[:, None, None] * chance[:, None] / rho  # (weights, K, 1)
    z = np.zeros((len(WEIGHTS), *targets.shape))
    u = np.zeros_like(z)
    for _ in range(3000):
        x = (2 * mean + rho * (z + bent - u).sum(axis=1) @ a) @ inverse  # (weights, n)
        r = (x @ a.T)[:, None] - bent  # (weights, K, n)
        z = np.sign(r + u) * np.maximum(np.abs(r + u) - limit, 0)
        u += r - z
    found = np.repeat(rows[:1], len(WEIGHTS), axis=0)
    found[:, FIRST:LAST] = x
    return found


def expected_loss(guess: Tensor, rows: Tensor, chances: Tensor, lam: float) -> Tensor:
    """What a row of pixels (n,) costs on average if the truth is one of `rows` (K, n): a scalar.

    The cost of a row is the mean squared error plus `lam` times the mean absolute difference of
    second differences, over all pixels but the first and the last, which are visible.
    """
    error = guess - rows
    absolute = error.diff(n=2, dim=1).abs().mean(dim=1)
    return (chances * (error[:, 1:-1].square().mean(dim=1) + lam * absolute)).sum()


def render_weight(possible: str = "two edges, 70:30", weight: float = 0.05) -> Frame:
    """What may be hidden, and the row of pixels that this loss would most like to see there."""
    rows, chance = POSSIBLE[possible]
    best = best_rows(possible)[WEIGHTS.index(weight)]
    cell, left, top = 24, 190, 8
    height = 180 // len(rows) - 6  # of a strip
    canvas = Image.new("RGB", (left + ROW * cell + 12, 436), "white")
    draw = ImageDraw.Draw(canvas)

    def strip(row: np.ndarray, y: int, height: int, label: str) -> None:
        draw.text((left - 12, y + height / 2), label, "black", font(18), anchor="rm")
        for i, value in enumerate(row):
            grey = (round(255 * min(max(value, 0), 1)),) * 3
            draw.rectangle((left + i * cell, y, left + (i + 1) * cell - 1, y + height - 1), grey)
        draw.rectangle((left, y, left + ROW * cell - 1, y + height - 1), outline=GREY,
                       width=2)

    def profile(row: np.ndarray, colour: str, width: int) -> None:
        points = [(left + (i + side) * cell, round(bottom - 110 * value))
                  for i, value in enumerate(row) for side in (0, 1)]
        draw.line(points, colour, width)

    for i, (row, p) in enumerate(zip(rows, chance, strict=True)):
        strip(row, top + i * (height + 6), height, f"possible, {100 * p:.0f} %")
    strip(best, top + 188, 36, "best prediction")
    bottom = canvas.height - 48
    for x in (FIRST, LAST):
        x = left + x * cell
        draw.line((x, top, x, canvas.height - 8), COLOURS[1], 2)
    draw.text((left + (FIRST + LAST) / 2 * cell, canvas.height - 12), "hidden", COLOURS[1],
              font(18), anchor="mm")
    for row in rows:
        profile(row, "#B8B8B8", 2)
    profile(best, COLOURS[0], 4)
    for value in (0, 1):
        draw.text((left - 12, bottom - 110 * value), f"{value}", "black", font(18), anchor="rm")
    steepest = np.abs(np.diff(best)).max()
    text = (f"{possible}, λ = {weight:g}: the steepest step of the best prediction is "
            f"{steepest:.2f}. In every possible row it is 1.")
    return Frame(np.asarray(canvas), text)


def weight_explorer() -> Explorer:
    for name in POSSIBLE:
        best_rows(name)
    possible = ipywidgets.Dropdown(options=list(POSSIBLE), value="two edges, 70:30",
                                   description="possible")
    weight = ipywidgets.SelectionSlider(options=WEIGHTS, value=0.0, description="λ")
    stills = [{"possible": name, "weight": w, "title": f"{name}, λ = {w:g}"}
              for name in ("two edges, 70:30", "five edges") for w in (0.0, 1.0)]
    return Explorer(render_weight, stills, possible=possible, weight=weight)
