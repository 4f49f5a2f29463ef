"""The parts of a masked autoencoder that a learner builds, in their order."""

import ast
import copy
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """One exercise part."""

    name: str
    notebook: str  # which builds it; its check is exercises.NOTEBOOK.NAME
    counterpart: str  # what does the same in the package
    version: int = 1  # of the check: files that passed another one have to pass this one first

    @property
    def check(self) -> Callable[[Any], None]:
        module = f"mae_lib.course.exercises.{self.notebook[3:]}"
        return getattr(importlib.import_module(module), self.name)


PARTS = {part.name: part for part in (
    Part("patchify", "01_patchify", "patches.patchify"),
    Part("unpatchify", "01_patchify", "patches.unpatchify", 2),
    Part("sincos_positions", "01_patchify", "patches.sincos_position_embedding", 2),
    Part("random_masking", "02_curriculum_masking", "masking.random_masking", 3),
    Part("schedule_mask_ratio", "02_curriculum_masking", "masking.schedule_mask_ratio", 2),
    Part("Attention", "03_asymmetric_autoencoder", "model.Attention"),
    Part("Block", "03_asymmetric_autoencoder", "model.Block", 2),
    Part("Encoder", "03_asymmetric_autoencoder", "model.MaskedAutoencoder.encode", 3),
    Part("Decoder", "03_asymmetric_autoencoder", "model.MaskedAutoencoder.decode", 3),
    Part("MAE", "03_asymmetric_autoencoder", "model.MaskedAutoencoder", 3),
    Part("mae_loss", "04_reconstruction_loss", "losses.mae_loss", 3),
    Part("laplacian_loss_masked", "05_laplacian_loss", "losses.laplacian_loss_masked", 3),
    Part("uniformity_loss", "06_uniformity_loss", "losses.uniformity_loss", 3),
    Part("schedule_learning_rate", "07_pretraining", "training.optim.schedule_learning_rate", 3),
    Part("parameter_groups", "07_pretraining", "training.optim.parameter_groups", 2),
    Part("total_loss", "07_pretraining", "losses.total_loss", 2),
    Part("train_step", "07_pretraining", "training.step.TrainStep", 3),
    Part("train", "07_pretraining", "pretrain.pretrain", 2),
    Part("snapshot", "07_pretraining", "training.checkpoints.save_checkpoint", 2),
    Part("extract_features", "08_linear_probe_and_fine_tuning", "evaluate.extract_features", 4),
    Part("knn_predict", "08_linear_probe_and_fine_tuning", "evaluate.knn_predict", 2),
    Part("fit_probe", "08_linear_probe_and_fine_tuning", "evaluate.fit_logistic", 2),
    Part("fine_tune", "08_linear_probe_and_fine_tuning", "evaluate.fine_tune"),
)}
# What a part finds when it is read, besides the parts before it.
GIVEN = {"torch": torch, "nn": nn, "F": F, "math": math, "copy": copy, "Tensor": Tensor}
REFERENCE = Path(__file__).with_name("reference.py")


@cache
def stand_in(name: str) -> tuple[int, str]:
    """The package's version: the first line, and its source with the helpers that come before."""
    text = REFERENCE.read_text("utf-8")
    first, lines = 0, text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = first or node.lineno
            if node.name == name:
                return first, "".join(lines[first - 1 : node.end_lineno])
            if node.name in PARTS:
                first = 0
    raise KeyError(name)


def earlier_parts(name: str) -> list[str]:
    order = list(PARTS)
    return order[: order.index(name)]
