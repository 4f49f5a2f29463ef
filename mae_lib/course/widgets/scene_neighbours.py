"""Generated scenes, and which of them are alike by raw pixels or by an encoder's features."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from mae_lib import evaluate
from mae_lib.course.widgets import enlarged
from mae_lib.data import scenes
from mae_lib.model import MaskedAutoencoder
from mae_lib.training.checkpoints import load_shipped

SIZE, BANK, QUERIES = 64, 150, 20  # pixels of a scene, scenes with labels, query scenes
FEATURES = ("raw pixels", "untrained encoder", "original")
OTHERS: dict[str, Tensor] = {}  # more features of the bank's scenes, (BANK + QUERIES, D), by name


@functools.cache
def bank() -> tuple[Tensor, Tensor]:
    """Scenes as uint8 (BANK + QUERIES, 3, SIZE, SIZE), and their labels."""
    parts = [scenes.generate(split, 0, count, size=SIZE)
             for split, count in (("train", BANK), ("test", QUERIES))]
    return tuple(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))


@functools.cache
def _features(kind: str) -> Tensor:
    """One of FEATURES of the bank's scenes, (BANK + QUERIES, D)."""
    images, _ = bank()
    if kind == FEATURES[0]:
        return evaluate.pixel_features(images)
    model, _ = load_shipped("original_64")
    if kind == FEATURES[1]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = MaskedAutoencoder(**model.config)
    return evaluate.extract_features(model, images, 64)


def similarities(features: str) -> Tensor:
    """Cosine similarity of each query scene to each labelled scene, (QUERIES, BANK)."""
    x = F.normalize(OTHERS[features] if features in OTHERS else _features(features), dim=1)
    return x[BANK:] @ x[:BANK].T


def framed(image: int, colour: str, zoom: int = 1) -> np.ndarray:
    """A scene of the bank in a frame of this colour."""
    pixels = enlarged(bank()[0][image].permute(1, 2, 0).numpy(), zoom)
    frame = np.empty((len(pixels) + 8, len(pixels) + 8, 3), np.uint8)
    frame[:] = ImageColor.getrgb(colour)
    frame[4:-4, 4:-4] = pixels
    return frame


def agreement(features: str, k: int) -> tuple[float, float, float, float]:
    """What query scenes have in common with their k nearest, or, for `features` "any scene", all.

    The difference of their mean colours (0 to 1), and the shares of the same shape, pattern and
    class.
    """
    images, labels = bank()
    ids = (torch.arange(BANK).expand(QUERIES, -1) if features == "any scene"
           else similarities(features).topk(k).indices)  # (QUERIES, k)
    colours = images.float().mean(dim=(2, 3)) / 255
    distance = (colours[BANK:, None] - colours[ids]).norm(dim=2).mean()
    mine, theirs = labels[BANK:, None], labels[ids]
    shape, pattern = torch.tensor(scenes.PAIRS).T  # of each class
    same = [part[mine] == part[theirs] for part in (shape, pattern)] + [mine == theirs]
    return float(distance), *(float(s.double().mean()) for s in same)
