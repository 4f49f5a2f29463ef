"""Tests of the learning rate, of who decays and of who learns more slowly."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mae_lib.evaluate import Classifier
from mae_lib.model import MaskedAutoencoder
from mae_lib.training.optim import (
    BETAS,
    adamw,
    parameter_groups,
    schedule_learning_rate,
    set_learning_rate,
)

SPECIFIED = SimpleNamespace(lr=1.5e-4, warmup_epochs=2, epochs=10)


@pytest.fixture(scope="module")
def model():
    return MaskedAutoencoder.from_preset("tiny", class_token=True)


# The learning rate


def test_rate_prints_what_the_specification_reports():
    """At the end of each of ten epochs of 1563 steps."""
    printed = [f"{schedule_learning_rate(e, 1562, 1563, SPECIFIED):.2e}" for e in range(10)]
    assert printed == [
        "7.50e-05", "1.50e-04", "1.44e-04", "1.28e-04", "1.04e-04",
        "7.50e-05", "4.63e-05", "2.20e-05", "5.72e-06", "2.37e-12",
    ]


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_rate_equals_that_of_torch_schedulers(warmup):
    """Step by step, LinearLR and then CosineAnnealingLR."""
    cfg, iters = SimpleNamespace(lr=0.3, warmup_epochs=warmup, epochs=5), 20
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.lr)
    schedulers = torch.optim.lr_scheduler
    cosine = (cfg.epochs - warmup) * iters
    parts = [schedulers.CosineAnnealingLR(optimizer, T_max=cosine)]
    if warmup:
        # LinearLR starts from a factor above 0; so small a one is 0 in the comparison
        linear = schedulers.LinearLR(optimizer, 1e-12, 1.0, total_iters=warmup * iters)
        parts.insert(0, linear)
    scheduler = schedulers.SequentialLR(optimizer, parts, [warmup * iters][: len(parts) - 1])
    for epoch in range(cfg.epochs):
        for step in range(iters):
            ours = schedule_learning_rate(epoch, step, iters, cfg)
            assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-10)
            optimizer.step()
            scheduler.step()


def test_rate_of_every_step_equals_numpy():
    iters = 13
    ours = [schedule_learning_rate(e, s, iters, SPECIFIED) for e in range(10) for s in range(iters)]
    t = np.arange(10 * iters) / iters
    cosine = 1.5e-4 * (1 + np.cos(np.pi * (t - 2) / 8)) / 2
    np.testing.assert_allclose(ours, np.where(t < 2, 1.5e-4 * t / 2, cosine), rtol=1e-9, atol=1e-18)
    assert ours[0] == 0
    assert max(ours) == ours[2 * iters] == 1.5e-4
    assert min(ours[1:]) > 0


# Groups


def named_groups(model, **kwargs) -> dict[str, dict]:
    """The group of each trainable parameter, by name; every one must be in exactly one group."""
    names = {id(p): n for n, p in model.named_parameters()}
    out = {}
    for group in parameter_groups(model, 0.05, **kwargs):
        for parameter in group["params"]:
            assert names[id(parameter)] not in out
            out[names[id(parameter)]] = group
    return out


@pytest.mark.parametrize("layer_decay", [1.0, 0.75])
def test_every_trainable_parameter_is_in_exactly_one_group(model, layer_decay):
    groups = named_groups(model, layer_decay=layer_decay)
    assert groups.keys() == dict(model.named_parameters()).keys()


def test_frozen_parameters_are_left_out(model):
    model = copy.deepcopy(model)
    model.patch_embed.requires_grad_(False)
    names = named_groups(model).keys()
    assert names == {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any(n.startswith("patch_embed") for n in names)


def test_only_weights_of_linear_layers_and_the_projection_decay(model):
    """By the type of the module that owns a parameter, not by its name or shape."""
    decaying = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    groups = named_groups(model)
    assert {n for n, group in groups.items() if group["weight_decay"]} == decaying
    assert {group["weight_decay"] for group in groups.values()} == {0.0, 0.05}
    for name in ("cls_token", "mask_token", "norm.weight", "blocks.0.mlp.fc1.bias"):
        assert groups[name]["weight_decay"] == 0


def test_layer_decay_follows_the_rule_of_beit(model):
    """The embedding is layer 0, block i is layer i + 1, what follows is layer depth + 1."""
    decay, depth, groups = 0.6, 4, named_groups(model, layer_decay=0.6)
    expected = {"patch_embed.proj.weight": 0, "patch_embed.proj.bias": 0, "cls_token": 0}
    for i in range(depth):
        for name, _ in model.blocks[i].named_parameters():
            expected[f"blocks.{i}.{name}"] = i + 1
    for name, _ in model.named_parameters():
        layer = expected.get(name, depth + 1)
        assert groups[name]["lr_scale"] == pytest.approx(decay ** (depth + 1 - layer)), name
    assert groups["norm.weight"]["lr_scale"] == 1
    assert groups["blocks.3.attn.qkv.weight"]["lr_scale"] == pytest.approx(0.6)
    assert groups["cls_token"]["lr_scale"] == pytest.approx(0.6**5)


def test_layers_are_recognised_inside_a_classifier(model):
    """Fine-tuning wraps the model as `encoder` and adds a head."""
    scale = {
        n: g["lr_scale"] for n, g in named_groups(Classifier(model, 10), layer_decay=0.5).items()
    }
    assert scale["head.weight"] == scale["encoder.norm.weight"] == 1
    assert scale["encoder.blocks.2.mlp.fc1.weight"] == 0.5**2
    assert scale["encoder.patch_embed.proj.weight"] == scale["encoder.cls_token"] == 0.5**5


def test_set_learning_rate_scales_each_group(model):
    optimizer = adamw(model, 0.05, layer_decay=0.5)
    set_learning_rate(optimizer, 3.0)
    for group in optimizer.param_groups:
        assert group["lr"] == 3.0 * group["lr_scale"]
    assert {g["lr"] for g in optimizer.param_groups} == {3.0 * 0.5**i for i in range(6)}


def test_adamw_without_a_rate_changes_nothing():
    model = MaskedAutoencoder.from_preset("tiny")
    before = copy.deepcopy(model.state_dict())
    optimizer = adamw(model, 0.05)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_steps_equal_adamw_in_numpy():
    """Five steps on a decaying matrix and a bias that does not (Loshchilov & Hutter 2019)."""
    model = MaskedAutoencoder.from_preset("tiny")
    optimizer = adamw(model, weight_decay=0.3)
    rng = np.random.default_rng(0)
    for parameter, decay in ((model.decoder_pred.weight, 0.3), (model.decoder_pred.bias, 0.0)):
        with torch.no_grad():
            parameter.normal_()
        w = parameter.detach().double().numpy().copy()
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t in range(1, 6):
            grad, lr = rng.normal(size=w.shape), 0.01 * t
            optimizer.zero_grad(set_to_none=True)
            parameter.grad = torch.tensor(grad, dtype=torch.float32)
            set_learning_rate(optimizer, lr)
            optimizer.step()
            w = w - lr * decay * w
            m = 0.9 * m + 0.1 * grad
            v = 0.95 * v + 0.05 * grad**2
            w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
            np.testing.assert_allclose(parameter.detach().numpy(), w, atol=2e-6)
    assert BETAS == (0.9, 0.95)
