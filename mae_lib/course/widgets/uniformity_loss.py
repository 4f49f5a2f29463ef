"""Notebook 06: points on a circle and a sphere that repel each other, and the force on each."""

import functools
import math
from pathlib import Path
from typing import NamedTuple

import ipywidgets
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from mae_lib.course.widgets import Explorer, Frame
from mae_lib.plots import COLOURS

STEPS = 120
SPREADS = (0, 3, 6, 12, 24, 36, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330)
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
HEIGHT, WIDTH = 400, 760  # of an explorer's picture: a circle or sphere, and a curve beside it
ZOOM = 2  # drawn larger and shrunk, for smooth edges
BLUE, ORANGE = COLOURS[:2]
INK, PALE = "#333333", "#C8C8C8"


def loss_and_force(z: np.ndarray, t: float = 2.0) -> tuple[float, np.ndarray]:
    """The uniformity loss of points (B, D) of length 1, and how it pushes each, (B, D).

    The force is minus the gradient, as far as it points along the sphere.
    """
    difference = z[:, None] - z[None]  # (B, B, D)
    exponent = -t * (difference**2).sum(axis=2)  # (B, B)
    np.fill_diagonal(exponent, -np.inf)
    top = exponent.max()
    share = np.exp(exponent - top)
    loss = top + math.log(share.sum() / (len(z) * (len(z) - 1)))
    force = 4 * t * (share[:, :, None] / share.sum() * difference).sum(axis=1)  # (B, D)
    return loss, force - (force * z).sum(axis=1, keepdims=True) * z


def on_sphere(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def smallest_distance(z: np.ndarray) -> float:
    distance = np.linalg.norm(z[:, None] - z[None], axis=2)
    return float(distance[~np.eye(len(z), dtype=bool)].min())


class Descent(NamedTuple):
    """Points repelling: where they are after each step, and the loss there."""

    points: np.ndarray  # (STEPS + 1, B, D)
    loss: np.ndarray  # (STEPS + 1,)


@functools.cache
def descend(space: str, points: int, t: float, steps: int = STEPS) -> Descent:
    """Gradient descent on the loss from one small clump; the same clump for every t."""
    middle = {"circle": [1.0, 0.0], "sphere": [0.75, -0.55, 0.37]}[space]
    noise = np.random.Generator(np.random.PCG64(7)).standard_normal((points, len(middle)))
    z = on_sphere(np.array(middle) + 0.08 * noise)
    loss, force = loss_and_force(z, t)
    frames, losses = [z], [loss]
    rate = 0.06 / t * points  # so that a clump grows as fast for every t
    for _ in range(steps):
        for _ in range(20):
            moved = on_sphere(z + rate * force)
            loss, force_there = loss_and_force(moved, t)
            if loss <= losses[-1] + 1e-9:
                break
            rate /= 2  # the step went too far
        z, force = moved, force_there
        frames.append(z)
        losses.append(loss)
    return Descent(np.stack(frames), np.array(losses))


# ---------------------------------------------------------------- drawing


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), size * ZOOM)


def _project(z: np.ndarray, centre: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (…, 2) of points on a circle or sphere, and how far to the front each is, (…)."""
    if z.shape[-1] == 2:
        flat, depth = z, np.ones(z.shape[:-1])
    else:  # seen from a little above
        x, y, up = np.moveaxis(z, -1, 0)
        tilt = 0.35
        flat = np.stack([y, up * math.cos(tilt) - x * math.sin(tilt)], axis=-1)
        depth = up * math.sin(tilt) + x * math.cos(tilt)
    return centre + radius * flat * np.array([1, -1]), depth


@functools.cache
def _ground(space: str, size: int) -> Image.Image:
    """An empty circle, or a shaded ball with its circles of latitude and longitude."""
    centre, radius = size / 2, 0.42 * size
    box = (centre - radius, centre - radius, centre + radius, centre + radius)
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    if space == "circle":
        draw.ellipse(box, outline=PALE, width=2 * ZOOM)
        return image
    y, x = (np.mgrid[:size, :size] - centre) / radius
    bright = np.sqrt(np.clip(1 - (x + 0.35) ** 2 * 0.6 - (y + 0.4) ** 2 * 0.6, 0, 1))
    ball = np.where(x**2 + y**2 <= 1, 205 + 45 * bright, 255).astype(np.uint8)
    image = Image.fromarray(ball).convert("RGB")
    draw = ImageDraw.Draw(image)
    turn = np.linspace(0, 2 * np.pi, 181)
    for angle in np.pi * np.arange(6) / 6:
        up, out = np.sin(turn), np.cos(turn)
        _wire(draw, np.stack([out * np.cos(angle), out * np.sin(angle), up], 1), centre, radius)
    for up in (-0.866, -0.5, 0, 0.5, 0.866):
        out = math.sqrt(1 - up**2)
        ring = np.stack([out * np.cos(turn), out * np.sin(turn), np.full_like(turn, up)], 1)
        _wire(draw, ring, centre, radius)
    draw.ellipse(box, outline=PALE, width=ZOOM)
    return image


def _wire(draw: ImageDraw.ImageDraw, line: np.ndarray, centre: float, radius: float) -> None:
    """A line on the ball, where it is in front."""
    pixel, depth = _project(line, centre, radius)
    for a, b, front in zip(pixel[:-1], pixel[1:], depth[1:] > 0, strict=True):
        if front:
            draw.line((*a, *b), fill="#B4B4B4", width=1)


def _colours(count: int) -> list[tuple[int, int, int]]:
    """One for each point, dark to light, by its number."""
    shades = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.9, count))
    return [tuple(int(255 * v) for v in shade[:3]) for shade in shades]


def draw_points(space: str, path: np.ndarray, size: int, tail: int = 30) -> Image.Image:
    """The last of the frames (S, B, D), each point with the tail of its way: size × size pixels."""
    size *= ZOOM
    image = _ground(space, size).copy()
    draw = ImageDraw.Draw(image)
    pixel, depth = _project(path[-tail:], size / 2, 0.42 * size)  # (S, B, 2)
    colours, dot = _colours(path.shape[1]), size / 70
    for i in np.argsort(depth[-1]):  # those in front are drawn last
        behind = depth[-1, i] < 0
        colour = tuple((c + 2 * 225) // 3 for c in colours[i]) if behind else colours[i]
        if len(pixel) > 1:
            draw.line([tuple(p) for p in pixel[:, i]], fill=colour, width=ZOOM)
        r = dot * (0.7 if behind else 1)
        x, y = pixel[-1, i]
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline="white", width=ZOOM)
    return image


@functools.cache
def _curve(x: tuple, y: tuple, bottom: float, top: float, labels: tuple[str, str, str],
           floor: float | None = None) -> tuple[Image.Image, list[tuple[float, float]]]:
    """A curve, and the pixel of each of its points; `labels` are of x, y and the line `floor`."""
    width, height = (WIDTH - HEIGHT) * ZOOM, HEIGHT * ZOOM
    left, right, upper, lower = 62 * ZOOM, width - 20 * ZOOM, 40 * ZOOM, height - 52 * ZOOM
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)

    def place(a, b):
        return (left + (right - left) * (a - x[0]) / (x[-1] - x[0]),
                lower - (lower - upper) * (b - bottom) / (top - bottom))

    draw.line((left, upper, left, lower, right, lower), fill=INK, width=2 * ZOOM)
    for a in (x[0], x[-1]):
        draw.text((place(a, 0)[0], lower + 6 * ZOOM), f"{a:g}", INK, _font(16), "ma")
    for b in (bottom if floor is None else floor, top):
        name = f"{b:.3g}".replace("-", "−")
        draw.text((left - 6 * ZOOM, place(0, b)[1]), name, INK, _font(16), "rm")
    draw.text(((left + right) / 2, lower + 25 * ZOOM), labels[0], INK, _font(17), "ma")
    draw.text((left - 40 * ZOOM, upper - 28 * ZOOM), labels[1], INK, _font(17), "la")
    if floor is not None:
        level = place(0, floor)[1]
        for a in np.arange(left, right, 8 * ZOOM):
            draw.line((a, level, a + 4 * ZOOM, level), fill=ORANGE, width=2 * ZOOM)
        draw.text((right, level - 5 * ZOOM), labels[2], ORANGE, _font(17), "rs")
    pixels = [place(a, b) for a, b in zip(x, y, strict=True)]
    draw.line(pixels, fill=BLUE, width=3 * ZOOM)
    return image, pixels


def _decimals(x: float) -> str:
    """Two digits, and never a zero with a sign."""
    return f"{round(float(x), 2) + 0.0:.2f}".replace("-", "−")


def _compose(picture: Image.Image, curve: tuple[Image.Image, list], now: int) -> np.ndarray:
    """Points on the left, the curve with a dot at `now` on the right: (HEIGHT, WIDTH, 3) uint8."""
    whole = Image.new("RGB", (WIDTH * ZOOM, HEIGHT * ZOOM), "white")
    whole.paste(picture, (0, 0))
    whole.paste(curve[0], (HEIGHT * ZOOM, 0))
    x, y = curve[1][now]
    x, r = x + HEIGHT * ZOOM, 6 * ZOOM
    ImageDraw.Draw(whole).ellipse((x - r, y - r, x + r, y + r), fill=BLUE)
    return np.asarray(whole.reduce(ZOOM))


# ---------------------------------------------------------------- what the notebook shows


def render(space: str = "circle", points: int = 5, t: float = 2, step: int = 0) -> Frame:
    """Points on their way apart, and the loss on its way down."""
    descent = descend(space, points, t)
    lowest = -2 * t * points / (points - 1)
    curve = _curve(tuple(range(STEPS + 1)), tuple(descent.loss), 1.08 * lowest, 0,
                   ("step", "loss", f"a simplex, in {points - 1} dimensions"), lowest)
    picture = draw_points(space, descent.points[: step + 1], HEIGHT)
    loss, distance = descent.loss[step], smallest_distance(descent.points[step])
    text = (f"{points} points on a {space} after {step} steps with t = {t:g}: the loss is "
            f"{_decimals(loss)} (a simplex has {_decimals(lowest)}) and the smallest distance "
            f"{distance:.2f}.")
    return Frame(_compose(picture, curve, step), text)


@functools.cache
def arc(spread: float, points: int = 12) -> np.ndarray:
    """Points (B, 2) evenly along an arc of `spread` degrees, around the right end of a circle."""
    angle = np.radians(np.linspace(-spread / 2, spread / 2, points))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@functools.cache
def strongest(t: float) -> tuple[float, ...]:
    """The largest force when the points spread over 0, 3, 6, … 330 degrees."""
    spreads = np.arange(0, 331, 3.0)
    return tuple(np.linalg.norm(loss_and_force(arc(s), t)[1], axis=1).max() for s in spreads)


def render_force(spread: int = 60, t: float = 2) -> Frame:
    """The force on each of twelve points, as an arrow, and the strongest one at every spread."""
    z, now = arc(spread), spread // 3
    loss, force = loss_and_force(z, t)
    size = HEIGHT * ZOOM
    image = draw_points("circle", z[None], HEIGHT)
    draw = ImageDraw.Draw(image)
    ends = z + 1.1 * force  # one scale for every spread and t: at most 0.74 long, with t = 8
    tails, tips = (_project(p, size / 2, 0.42 * size)[0] for p in (z, ends))
    for tail, tip in zip(tails, tips, strict=True):
        length = np.linalg.norm(tip - tail)
        if length < 2 * ZOOM:
            continue
        back = (tail - tip) / length * min(8 * ZOOM, length)
        side = back[::-1] / 2 * (1, -1)
        draw.line((*tail, *tip), fill=ORANGE, width=2 * ZOOM)
        draw.polygon([tuple(p) for p in (tip, tip + back + side, tip + back - side)], fill=ORANGE)
    top = math.ceil(11 * max(strongest(t))) / 10
    curve = _curve(tuple(range(0, 331, 3)), strongest(t), 0, top,
                   ("spread in degrees", "strongest force", ""))
    text = (f"12 points over {spread} degrees with t = {t:g}: the loss is {_decimals(loss)} and "
            f"the strongest force {strongest(t)[now]:.3f}.")
    return Frame(_compose(image, curve, now), text)


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    descent = descend("sphere", 80, 2)
    figure = Figure(figsize=(10, 3.7), layout="constrained")
    for axis, step in zip(figure.subplots(1, 3), (0, 18, STEPS), strict=True):
        picture = draw_points("sphere", descent.points[: step + 1], 420, tail=60)
        axis.imshow(np.asarray(picture.crop((44, 44, 796, 796))), interpolation="antialiased")
        axis.set_title(f"loss {_decimals(descent.loss[step])}")
        axis.axis("off")
    return figure, ("Eighty points on a sphere: first all in one small clump; then flying apart, "
                    "each with a trail; last spread evenly over the whole sphere.")


def explorer() -> Explorer:
    space = ipywidgets.ToggleButtons(options=["circle", "sphere"], description="space")
    points = ipywidgets.SelectionSlider(options=[2, 3, 4, 5, 6, 12, 40], value=5,
                                        description="points")
    t = ipywidgets.SelectionSlider(options=[0.5, 2, 8], value=2, description="t")
    step = ipywidgets.IntSlider(0, min=0, max=STEPS, description="step")
    stills = [{"space": space, "points": points, "step": step,
               "title": f"{points} points on a {space}, after {step} steps"}
              for space, points, step in (("circle", 12, 8), ("circle", 12, 25),
                                          ("sphere", 40, 25), ("sphere", 40, STEPS))]
    return Explorer(render, stills, space=space, points=points, t=t, step=step)


def force_explorer() -> Explorer:
    spread = ipywidgets.SelectionSlider(options=SPREADS, value=60, description="spread")
    t = ipywidgets.SelectionSlider(options=[0.5, 2, 8], value=2, description="t")
    stills = [{"spread": spread, "t": t, "title": f"over {spread} degrees, t = {t}"}
              for spread, t in ((6, 2), (60, 2), (330, 2), (60, 8))]
    return Explorer(render_force, stills, spread=spread, t=t)
