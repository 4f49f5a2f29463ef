"""Synthetic photographs, so that the course runs without downloading anything.

A photograph is mostly things in front of other things. The dead-leaves model takes that literally:
it drops opaque "leaves" on a plane, their radii drawn from a power law, and the result has the
edges, the smooth parts and the steep power spectrum of natural images. Here every image is such a
plane with eleven leaves, and in front of them lies one large object. It has one of five shapes and
one of five patterns. A class is a pair of the two, and every shape and every pattern belongs to two
classes, so that neither alone tells the class.

Everything else is random: place, size and tilt of the object, the width and the phase of its
pattern, all colours, whether it is darker or brighter than the ground, and the light. A linear
classifier of pixels can hardly make use of such images, because dark and bright cancel out. Someone
who can continue an outline and a pattern behind a mask can.

The size of the images and the names of the splits imitate STL-10 (Coates, Ng & Lee, 2011). Sources:
  Ruderman, "Origins of scaling in natural images", 1997: occlusion and power-law sizes.
  Lee, Mumford & Huang, "Occlusion models for natural images", 2001: dead leaves, radii ~ r^-3.
  Ruderman, Cronin & Chiao, "Statistics of cone responses to natural images", 1998: in logarithms,
  colours in nature vary independently along light-dark, blue-yellow and red-green.
"""

import math
from functools import lru_cache

import numpy as np

from mae_lib.runtime.checks import check_choice, check_value

SHAPES = ("disc", "ring", "triangle", "star", "cross")
PATTERNS = ("striped", "banded", "checked", "quilted", "plain")
# (shape, pattern) of each class: neighbours in a circle, each shape and each pattern in two pairs.
PAIRS = tuple((shape, (shape + k) % 5) for shape in range(5) for k in (0, 1))
CLASSES: tuple[str, ...] = tuple(f"{PATTERNS[p]} {SHAPES[s]}" for s, p in PAIRS)
SPLITS = ("unlabeled", "train", "test")

OBJECT = 12  # leaves are numbered from the ground, 0, to the nearest, and painted in that order
N_LEAVES = OBJECT + 1
# How the object varies, from and to, in sides of the image. These decide how hard the classes are;
# benchmarks/scenes_search.py measures what a small autoencoder learns about them in minutes.
PLACE, RADIUS = (0.35, 0.65), (0.38, 0.46)
TILT = (-0.25, 0.25)  # in radians
WAVES = (5.6, 6.6)  # how often its pattern would repeat across the image
INK = 1.0  # how far its pattern is from its paint, on the axis of light and dark
NOISE_SIDE = 512
# Ruderman's three axes as RGB directions (one a row), and how far colours spread along each.
COLOUR_AXES = np.array([[1, 1, 1], [0.6, 0.25, -0.85], [0.65, -0.4, 0.1]], np.float32)
COLOUR_SPREAD = np.array([[0.8], [0.5], [0.3]], np.float32)


def generate(split: str, start: int, stop: int, *, size: int = 96,
             seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images start to stop-1 of a split, uint8 (n, 3, size, size), and labels, int64 (n,).

    Image i depends on (seed, split, i, size) only, so workers may cut a split as they like. Raises
    ValueError for an unknown split or a number out of range.
    """
    check_choice("split", split, SPLITS)
    check_value("start", start, int, at_least=0)
    check_value("stop", stop, int, at_least=start)
    check_value("size", size, int, at_least=32)
    check_value("seed", seed, int, at_least=0)
    images = np.empty((stop - start, 3, size, size), np.uint8)
    labels = np.empty(stop - start, np.int64)
    for n, i in enumerate(range(start, stop)):
        # In a counter-based generator the image's number can be the counter: no stream is shared.
        counter = (0, 0, i, SPLITS.index(split))
        rng = np.random.Generator(np.random.Philox(key=seed, counter=counter))
        labels[n] = rng.integers(len(CLASSES))
        shape, pattern = PAIRS[labels[n]]
        images[n] = _render(rng, SHAPES[shape], PATTERNS[pattern], size)
    return images, labels


def _render(rng: np.random.Generator, shape: str, pattern: str, size: int) -> np.ndarray:
    """Draw one image: uint8 (3, size, size)."""
    u = rng.random((9, N_LEAVES), np.float32)  # a column for each leaf
    z = rng.standard_normal((2, 3, N_LEAVES), np.float32)
    place = _window(size) + rng.integers(NOISE_SIDE**2)
    rough, smooth = (_noise(power).take(place, mode="wrap") for power in (0.6, 2))
    pad = size // 16  # a margin from which shadows fall into the image, whose own side is 1
    t = ((np.arange(-pad, size + pad) + 0.5) / size).astype(np.float32)
    cx, cy, radius, squash, tilt = _scatter(u)
    pile, box, across, along = _pile(t, cx, cy, radius, squash, tilt, u[5] < 0.3, shape)
    leaf = pile[pad:-pad, pad:-pad].copy()  # (size, size): the leaf that a pixel shows
    x, y = t[pad:-pad], t[pad:-pad, None]

    def per_pixel(table):  # (..., N_LEAVES) -> (..., size, size)
        return table.take(leaf, axis=-1, mode="clip")

    # Colour, in logarithms, where light and paint add up. The object stands out from the ground and
    # its pattern from the object; which of them is the brighter one is left to chance.
    paint = 0.7 * z[0] + 0.4 * z[0, :, :1]  # leaves take after the ground, as if in the same light
    paint[0, OBJECT] = paint[0, 0] + np.copysign(0.8, z[0, 0, OBJECT]) + 0.3 * z[0, 0, OBJECT]
    ink = 0.4 * z[1, :, OBJECT]
    ink[0] = np.copysign(INK, z[1, 0, OBJECT]) + 0.2 * z[1, 0, OBJECT]
    paint, ink = (COLOUR_AXES.T @ (COLOUR_SPREAD * c) for c in (paint, ink[:, None]))
    image = per_pixel(paint)
    waves = 2 * np.pi * _between(WAVES, u[6, OBJECT]) * radius[OBJECT]  # per unit across or along
    drawn = _pattern(pattern, waves * across, waves * along, *(2 * np.pi * u[7:, OBJECT]))
    inked = np.zeros(pile.shape, np.float32)
    inked[box] = np.clip(4 * drawn, -1, 1) * (pile[box] == OBJECT)
    image += ink[:, :, None] * inked[pad:-pad, pad:-pad]

    # Light from above, left or right: every leaf is bright on that side and throws a shadow.
    lx, ly = (0.6 if u[0, 0] < 0.5 else -0.6), 0.8
    bulge = -0.6 / radius
    bulge[0] = z[0, 0, 0]  # the ground is lit evenly from side to side, not like a ball
    light = (lx * x + ly * y - per_pixel(lx * cx + ly * cy)) * per_pixel(bulge)
    light = np.clip(light, -0.7, 0.7) + 0.2 * smooth
    for s in (1, 2):  # two steps, for a soft border
        down = s * max(1, size // 40)
        left = pad - (down if lx > 0 else -down)
        hidden = pile[pad - down : -pad - down, left : left + size] > leaf
        light -= np.float32(0.4) * hidden
    image += light

    # Film: a little grain, and soft saturation at both ends.
    image += 0.1 * rough
    return (255 / (1 + np.exp(-image))).astype(np.uint8)


def _scatter(u):
    """Centre x and y, radius, flatness and tilt of every leaf, (N_LEAVES,) each."""
    cx, cy = 1.2 * u[:2] - 0.1
    radius = (0.09**-2 + u[2] * (0.6**-2 - 0.09**-2)) ** -0.5  # between 0.09 and 0.6, ~ r^-3
    squash, tilt = 0.3 + 0.5 * u[3], 2 * np.pi * u[4]
    # As people take photographs: the object near the middle, large and nearly upright.
    cx[OBJECT], cy[OBJECT] = _between(PLACE, u[:2, OBJECT])
    radius[OBJECT] = _between(RADIUS, u[2, OBJECT])
    squash[OBJECT] = 0.9 + 0.1 * u[3, OBJECT]
    tilt[OBJECT] = _between(TILT, u[4, OBJECT])
    return cx, cy, radius, squash, tilt


def _between(limits, u):
    """Where u, from 0 to 1, lies between two limits."""
    low, high = limits
    return low + (high - low) * u


def _pile(t, cx, cy, radius, squash, tilt, boxy, shape):
    """Paint the leaves in order: (len(t), len(t)) numbers of the leaf seen at each pixel.

    Also the rows and columns of the object's box, and the places of their pixels in the object's
    own axes, where it fills |across|, |along| < 1.
    """
    cos, sin = np.cos(tilt), np.sin(tilt)
    wide = radius * (np.abs(cos) + squash * np.abs(sin))
    high = radius * (np.abs(sin) + squash * np.abs(cos))
    wide[OBJECT] = high[OBJECT] = 1.3 * radius[OBJECT]  # as far as the tips of triangle and cross
    left, right, top, bottom = (np.searchsorted(t, edge).tolist() for edge in (
        cx - wide, cx + wide, cy - high, cy + high))
    # Pixel (i, j) is at (uy[i] + ux[j], vy[i] + vx[j]) in a leaf's own axes. These rows and columns
    # cost little for all leaves; the sums are left to each box.
    cos, sin, squash = (a[:, None] for a in (cos, sin, squash))
    dx, dy = ((t - c[:, None]) / radius[:, None] for c in (cx, cy))
    ux, vx = cos * dx, -sin * dx / squash
    uy, vy = (sin * dy)[:, :, None], (cos * dy / squash)[:, :, None]
    kinds = ["box" if b else "ellipse" for b in boxy.tolist()]
    kinds[OBJECT] = shape
    seen = np.zeros((len(t), len(t)), np.intp)
    for k in range(1, N_LEAVES):
        box = rows, cols = slice(top[k], bottom[k]), slice(left[k], right[k])
        across, along = uy[k, rows] + ux[k, cols], vy[k, rows] + vx[k, cols]
        np.copyto(seen[box], k, where=_inside(kinds[k], across, along))
    return seen, box, across, along  # the last leaf is the object


def _inside(shape, u, v):
    """Which of the points (u, v) lie in the shape of about unit radius; booleans like u."""
    if shape == "box":
        return np.maximum(u * u, v * v) < 0.7
    if shape in ("disc", "ellipse"):
        return u * u + v * v < 0.85
    if shape == "ring":
        return np.abs(u * u + v * v - 0.6) < 0.37
    if shape == "cross":
        u, v = np.abs(u), np.abs(v)
        return (np.minimum(u, v) < 0.33) & (np.maximum(u, v) < 1)
    # A point is in a regular polygon if it is behind every side, in a star if behind all but one.
    n, apothem = {"triangle": (3, 0.6), "star": (5, 0.4)}[shape]
    first = second = np.full_like(u, -9)
    for k in range(n):
        side = math.cos(2 * math.pi * k / n) * v + math.sin(2 * math.pi * k / n) * u
        second = np.maximum(second, np.minimum(first, side))
        first = np.maximum(first, side)
    return (second if shape == "star" else first) < apothem


def _pattern(kind, u, v, p, q):
    """Waves of phases p and q at points (u, v), in radians: about -1 to 1, like u.

    Checks are two waves multiplied; quilts are checks turned by 45 degrees.
    """
    if kind == "plain":
        return np.zeros_like(u)
    if kind == "striped":
        return np.sin(u + p)
    if kind == "banded":
        return np.sin(v + p)
    if kind == "quilted":
        u, v = math.sqrt(0.5) * (u + v), math.sqrt(0.5) * (u - v)
    return 1.4 * np.sin(u + p) * np.sin(v + q)


@lru_cache
def _window(size):
    """Flat places in the noise under the pixels of an image: (size, size)."""
    i = (np.arange(size) * (192 / size)).astype(np.intp)
    return i[:, None] * NOISE_SIDE + i


@lru_cache
def _noise(power):
    """Gaussian noise of amplitude 1/f^power and unit variance: (NOISE_SIDE, NOISE_SIDE)."""
    rng = np.random.Generator(np.random.Philox(key=1997))
    white = rng.standard_normal((NOISE_SIDE, NOISE_SIDE))
    f = np.hypot(np.fft.fftfreq(NOISE_SIDE)[:, None], np.fft.rfftfreq(NOISE_SIDE))
    f[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(white) / f**power)
    return (noise / noise.std()).astype(np.float32)
