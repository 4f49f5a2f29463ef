"""Features of real photographs that come with the course, where the photographs cannot."""

import json
from typing import NamedTuple

import torch
from torch import Tensor

from mae_lib.training.checkpoints import ASSETS, read_safetensors

PARTS = ("train", "test", "mean", "basis")  # of the features of one encoder


class Features(NamedTuple):
    """Features (N, D) and labels (N,) of training and test images; `classes` names the labels."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: list[str]


def steps(features: Tensor) -> Tensor:
    """The principal directions of centred features (N, D), a row each: (D, D).

    Each is 5/127 of a standard deviation (of the features along it) long, so int8 covers ±5 of
    them. Rounding feature by feature would lose directions of small variance, which a probe needs.
    """
    _, deviations, directions = torch.linalg.svd(features.double(), full_matrices=False)
    return (directions * deviations[:, None] * 5 / 127 / len(features)**0.5).float().contiguous()


def rounded(features: Tensor, basis: Tensor) -> Tensor:
    """Centred features (N, D) in steps along orthogonal directions (D, D): int8, up to ±127."""
    lengths = (basis**2).sum(dim=1).clamp(min=1e-30)
    return (features @ basis.T / lengths).round().clamp(-127, 127).char()


def features(name: str) -> Features:
    """The shipped features of one encoder. Raises ValueError for an unknown name."""
    facts, tensors = _read()
    if name not in facts["measured"]:
        raise ValueError(f"name must be one of {', '.join(facts['measured'])}, got {name!r}.")
    train, test, mean, basis = (tensors[f"{name} {part}"] for part in PARTS)
    labels, test_labels = (tensors[f"{part} labels"].long() for part in ("train", "test"))
    train, test = (x.float() @ basis + mean for x in (train, test))
    return Features(train, labels, test, test_labels, facts["classes"])


def _read() -> tuple[dict, dict[str, Tensor]]:
    header, tensors = read_safetensors(ASSETS / "features.safetensors")
    return json.loads(header["mae_lib"]), tensors
