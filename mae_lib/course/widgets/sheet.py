"""A sheet of paper for explorers: lines, words, intervals, fast enough to follow a slider."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from mae_lib.course.widgets import Frame
from mae_lib.course.widgets.panels import font

INK, ZOOM = "#333333", 2


class Sheet:
    """A white picture to draw on, in pixels; drawn larger and shrunk, for smooth edges."""

    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (ZOOM * width, ZOOM * height), "white")
        self.draw, self.pictures = ImageDraw.Draw(self.image), []

    def line(self, points: list[tuple[float, float]], colour: str = INK, width: float = 1.5):
        self.draw.line([(ZOOM * x, ZOOM * y) for x, y in points], colour, round(ZOOM * width))

    def text(self, x: float, y: float, words: str, anchor: str = "mm", colour: str = INK,
             size: int = 12):
        """`anchor` is two letters: l, m or r across, and t or m down; several lines hang from y."""
        anchor = anchor[0] + ("a" if anchor[1] == "t" or "\n" in words else "m")
        self.draw.text((ZOOM * x, ZOOM * y), words, colour, font(ZOOM * size), anchor,
                       align="center")

    def box(self, left: float, top: float, right: float, bottom: float, colour: str):
        self.draw.rectangle([ZOOM * v for v in (left, top, right, bottom)], colour)

    def dot(self, x: float, y: float, radius: float, colour: str):
        self.draw.ellipse([ZOOM * v for v in (x - radius, y - radius, x + radius, y + radius)],
                          colour)

    def area(self, points: list[tuple[float, float]], colour: str):
        """A translucent polygon."""
        layer = Image.new("L", self.image.size)
        ImageDraw.Draw(layer).polygon([(ZOOM * x, ZOOM * y) for x, y in points], fill=115)
        self.image.paste(ImageColor.getrgb(colour), mask=layer)

    def put(self, picture: np.ndarray, left: int, top: int):
        """A picture (H, W, 3) with its pixels kept sharp."""
        self.pictures.append((picture, left, top))

    def axis(self, left: float, right: float, y: float, low: float, high: float,
             name: str) -> Callable[[float], float]:
        """A horizontal axis with its name below; returns where a value is, clipped to the ends."""
        self.line([(left, y), (right, y)])
        step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50) if (high - low) / s <= 9)

        def place(value: float) -> float:
            return left + (right - left) * min(max((value - low) / (high - low), 0.0), 1.0)

        for tick in np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step:
            self.line([(place(tick), y), (place(tick), y + 4)])
            self.text(place(tick), y + 6, f"{tick:g}".replace("-", "−"), "mt")
        self.text((left + right) / 2, y + 22, name, "mt", size=13)
        return place

    def interval(self, place: Callable[[float], float], y: float, middle: float, half: float,
                 colour: str):
        low, high = place(middle - half), place(middle + half)
        self.line([(low, y), (high, y)], colour, 2.5)
        for x in (low, high):
            self.line([(x, y - 6), (x, y + 6)], colour, 2)
        self.dot(place(middle), y, 5, colour)

    def frame(self, text: str) -> Frame:
        picture = np.asarray(self.image.reduce(ZOOM)).copy()
        for part, left, top in self.pictures:
            picture[top : top + part.shape[0], left : left + part.shape[1]] = part
        return Frame(picture, text)
