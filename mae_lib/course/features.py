"""Features of real photographs that come with the course, where the photographs cannot."""

import json
from typing import NamedTuple

import torch
from torch import Tensor

from mae_lib.training.checkpoints import ASSETS, read_safetensors

PARTS = ("train", "test", "mean", "basis")  # of the features of one encoder


class Features(NamedTuple):
    """Of training and test images: features (N, D), and labels (N,) that `classes` names."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: list[str]


def steps(features: Tensor) -> Tensor:
    """The principal directions of centred features (N, D), a row each: (D, D).

    127 times as long, a direction reaches over five standard deviations of the features along it.
    Rounded feature by feature instead, directions of small variance would drown in
    the noise of large ones, and a linear probe needs them.
    """
    _, deviations, directions = torch.linalg.svd(features.double(), full_matrices=False)
    return (directions * deviations[:, None] * 5 / 127 / len(features)**0.5).float().contiguous()


def rounded(features: Tensor, basis: Tensor) -> Tensor:
    """Centred features (N, D) in whole steps of orthogonal directions (D, D), as int8, or cut."""
    lengths = (basis**2).sum(dim=1).clamp(min=1e-30)
    return (features @ basis.T / lengths).round().clamp(-127, 127).char()


def features(name: str) -> Features:
    """The features of one encoder, of those that come along. Raises ValueError for another name."""
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
