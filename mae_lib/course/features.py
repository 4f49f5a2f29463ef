"""Features of real photographs that come with the course, where the photographs cannot."""

import json
from typing import NamedTuple

from torch import Tensor

from mae_lib.training.checkpoints import ASSETS, read_safetensors

PARTS = ("train", "test", "mean", "step")  # of the features of one encoder


class Features(NamedTuple):
    """Of training and test images: features (N, D), and labels (N,) that `classes` names."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: list[str]


def rounded(features: Tensor, mean: Tensor, step: Tensor) -> Tensor:
    """Features (N, D) minus their mean (D,) in whole steps (D,), as int8; larger ones are cut."""
    return ((features - mean) / step.clamp(min=1e-12)).round().clamp(-127, 127).char()


def encoders() -> list[str]:
    """The names of the encoders whose features come with the package."""
    return list(_read()[0]["measured"])


def features(name: str) -> Features:
    """The features of one of `encoders()`. Raises ValueError for another name."""
    facts, tensors = _read()
    if name not in facts["measured"]:
        raise ValueError(f"name must be one of {', '.join(facts['measured'])}, got {name!r}.")
    train, test, mean, step = (tensors[f"{name} {part}"] for part in PARTS)
    labels, test_labels = (tensors[f"{part} labels"].long() for part in ("train", "test"))
    return Features(train * step + mean, labels, test * step + mean, test_labels, facts["classes"])


def _read() -> tuple[dict, dict[str, Tensor]]:
    header, tensors = read_safetensors(ASSETS / "features.safetensors")
    return json.loads(header["mae_lib"]), tensors
