"""AdamW as MAE uses it: which parameters decay, which learn more slowly, and the learning rate."""

import math

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)  # He et al. 2022, table 8


class NonFiniteLoss(ArithmeticError):
    """The loss became nan or infinite, and training stopped."""


def schedule_learning_rate(epoch: int, step: int, iters: int, cfg) -> float:
    """The learning rate at `step` (0 … iters − 1) of `epoch` (from 0).

    Linear warm-up over `cfg.warmup_epochs`, then half a cosine from `cfg.lr` to 0 at `cfg.epochs`,
    both per step (Loshchilov & Hutter 2017; He et al. 2022, table 8).
    """
    position = epoch + step / iters
    if position < cfg.warmup_epochs:
        return cfg.lr * position / cfg.warmup_epochs
    progress = (position - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict]:
    """AdamW groups: matrices decay; biases, norms and tokens do not.

    With `layer_decay` below 1, block i of the encoder learns at layer_decay^(depth − i) times
    the rate, the embedding slowest (Clark et al. 2020; Bao et al. 2022). Each group has an
    "lr_scale" that `set_learning_rate` reads.
    """
    depth = len(getattr(model, "encoder", model).blocks)
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        first, *rest = name.removeprefix("encoder.").split(".")
        if first in ("patch_embed", "cls_token"):
            layer = 0
        elif first == "blocks":
            layer = int(rest[0]) + 1
        else:
            layer = depth + 1
        decay = 0.0 if parameter.ndim < 2 or name.endswith("_token") else weight_decay
        scale = layer_decay ** (depth + 1 - layer)
        new = {"params": [], "weight_decay": decay, "lr_scale": scale}
        groups.setdefault((decay, scale), new)["params"].append(parameter)
    return list(groups.values())


def adamw(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, in its fused form; the rate is set at every step."""
    groups = parameter_groups(model, weight_decay, layer_decay)
    device = next(model.parameters()).device
    gpu = device.type == "cuda"
    for group in groups:  # on a GPU the rate lies there, where recorded steps read it
        group["lr"] = torch.zeros((), device=device) if gpu else 0.0
    return torch.optim.AdamW(groups, betas=BETAS, fused=True, capturable=gpu)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        rate = lr * group["lr_scale"]
        group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
