"""Pictures with a name above and bars below, put together fast enough to follow a slider."""

import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from mae_lib.course.widgets import enlarged
from mae_lib.plots import COLOURS, GREY

STRIP = 26  # height of a name above a picture, in pixels
ROW = 21  # height of a bar
GAP = 12
START = 118  # where bars begin
BLUE, PALE = (ImageColor.getrgb(colour) for colour in (COLOURS[0], GREY))
# Dark for little, bright for much; its lightness rises evenly, so it reads without colour vision.
MAGMA = (255 * matplotlib.colormaps["magma"](np.arange(256))[:, :3]).round().astype(np.uint8)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


def heat(values: Tensor, top: float, zoom: int = 1) -> np.ndarray:
    """A map (H, W) in colours, `top` and above the brightest: (zoom·H, zoom·W, 3) uint8."""
    levels = (255 / top * values).round().clamp(0, 255).byte().numpy()
    return enlarged(MAGMA[levels], zoom)


@functools.cache
def strip(name: str, width: int, top: float | None = None, size: int = 15) -> np.ndarray:
    """A name, and for a map the key of its colours from 0 to `top`: (STRIP, width, 3) uint8."""
    canvas = Image.new("RGB", (width, STRIP), "white")
    draw, middle = ImageDraw.Draw(canvas), STRIP / 2
    draw.text((0, middle), name, "black", font(size), anchor="lm")
    if top is not None:
        label = f"≥ {top:g}"
        end = width - round(font(12).getlength(label)) - 6
        draw.text((width, middle), label, "black", font(12), anchor="rm")
        start = max(end - 50, round(font(size).getlength(name)) + 20)
        draw.text((start - 5, middle), "0", "black", font(12), anchor="rm")
        canvas.paste(Image.fromarray(MAGMA[None, ::3]).resize((end - start, 10)), (start, 8))
    return np.asarray(canvas)


def named(
    name: str, picture: np.ndarray, top: float | None = None, size: int = 15
) -> np.ndarray:
    """A picture under its name."""
    return np.concatenate([strip(name, picture.shape[1], top, size), picture])


@functools.cache
def board(title: str, names: tuple[str, ...], width: int) -> np.ndarray:
    """A title and the names of bars, before there are any."""
    canvas = Image.new("RGB", (width, ROW * (len(names) + 1) + 4), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((0, ROW / 2), title, "black", font(15), anchor="lm")
    for i, name in enumerate(names, start=1):
        short = name if len(name) <= 14 else f"{name[:13]}…"
        draw.text((START - 8, ROW * (i + 0.5)), short, "black", font(13), anchor="rm")
    return np.asarray(canvas)


@functools.lru_cache(4096)
def number(text: str) -> np.ndarray:
    canvas = Image.new("RGB", (46, ROW), "white")
    ImageDraw.Draw(canvas).text((0, ROW / 2), text, "black", font(13), anchor="lm")
    return np.asarray(canvas)


def bars(title: str, rows: dict[str, float], top: float, digits: int, width: int) -> np.ndarray:
    """Numbers as bars from 0 to `top`, each with its name; the first is the one that matters."""
    picture = board(title, tuple(rows), width).copy()
    for i, value in enumerate(rows.values(), start=1):
        length = round((width - START - 52) * min(max(value / top, 0), 1))
        line = picture[ROW * i : ROW * (i + 1)]
        line[3:-3, START : START + max(length, 1)] = BLUE if i == 1 else PALE
        line[:, START + length + 6 : START + length + 52] = number(f"{value:.{digits}f}")
    return picture


def in_rows(*rows: list[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Rows of pictures, those of a row of one height, on white."""
    width = max(sum(p.shape[1] for p in row) + gap * (len(row) - 1) for row in rows)
    lines = []
    for row in rows:
        line = np.full((row[0].shape[0], width, 3), 255, np.uint8)
        x = 0
        for picture in row:
            line[:, x : x + picture.shape[1]] = picture
            x += picture.shape[1] + gap
        lines += [line, np.full((gap // 2, width, 3), 255, np.uint8)]
    return np.concatenate(lines[:-1])
