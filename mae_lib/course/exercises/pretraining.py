"""Notebook 07: the learning rate, what decays, a state to resume from; see `training_parts` too."""

import inspect
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from mae_lib.config import PretrainConfig
from mae_lib.course import reference
from mae_lib.course.exercises import (
    Mistake,
    call,
    close,
    exercise,
    given,
    kind,
    number,
    require,
)
from mae_lib.course.exercises.training_parts import SIZES, total_loss, train, train_step

__all__ = ["parameter_groups", "schedule_learning_rate", "snapshot", "total_loss", "train",
           "train_step"]


@exercise("Right: up in a line, down half a cosine, a little at every step.")
def schedule_learning_rate(answer: Callable) -> None:
    cfg = PretrainConfig(lr=0.4, warmup_epochs=3, epochs=9)
    iters = 10
    steps = [(epoch, step) for epoch in range(cfg.epochs) for step in range(iters)]
    found = torch.tensor([number(call(answer, *at, iters, cfg)) for at in steps])
    count = torch.arange(len(steps))
    epoch, step, time = count // iters, count % iters, count / iters  # the time is in epochs

    def rate(time, warmup=3.0, span=6.0, start=3.0):
        down = 0.2 * (1 + torch.cos(math.pi * (time - start) / span))
        return torch.where(time < warmup, 0.4 * time / max(warmup, 1e-9), down)

    require(not close(found, rate(time.floor())),
            "Your rate changes only from one epoch to the next: time in epochs is "
            "epoch + step / iters.")
    require(not any(close(found, rate(t)) for t in (epoch + step, count, step + epoch / iters)),
            "Your time is not in epochs: it should be epoch + step / iters.")
    require(not any(close(found[part], rate(time)[part] / 0.4)
                    for part in (slice(30), slice(30, None))),
            "Multiply by cfg.lr, the peak, both during the warm-up and after it.")
    require(not close(found, rate(time, span=9.0, start=0.0)),
            "Your cosine starts at the very beginning, so the rate jumps when the warm-up ends: "
            "its progress should be (t − warm-up) / (epochs − warm-up).")
    require(not close(found, rate(time, span=9.0)),
            f"Your cosine is too long: at the last step the rate is {found[-1]:.2f}, not nearly "
            "0. Only epochs − warm-up are left for it after the warm-up, so divide by that.")
    require(not close(found, rate(time, warmup=0.0)) and not close(found, rate(time, 0, 9, 0)),
            "The warm-up is missing: the rate should be 0 at step 0 and rise in a straight line to "
            "cfg.lr.")
    require(not close(found, torch.where(time < 3, 0.4 * time / 3, 0.4)),
            "Your rate stays at its peak after the warm-up; it should then fall along half a "
            "cosine.")
    require(not close(found, torch.where(time < 3, 0.4 * time / 3, 0.4 * (9 - time) / 6)),
            "Your rate falls in a straight line; with progress p it should be lr · (1 + cos πp) / "
            "2.")
    require(not close(found[30:], 2 * rate(time)[30:]),
            "Your cosine starts at twice the peak: (1 + cos πp) lies between 0 and 2, so halve "
            "it.")
    full_turn = 0.2 * (1 + torch.cos(2 * math.pi * (time - 3) / 6))
    require(not close(found[30:], full_turn[30:]),
            "Your cosine makes a full turn and comes back up. Use cos πp, half a turn, so that the "
            "rate ends near 0.")
    degrees = 0.2 * (1 + torch.cos(180 * (time - 3) / 6))
    require(not close(found[30:], degrees[30:], 1e-3),
            "math.cos takes radians, not degrees: half a turn is math.pi.")
    require(not abs(found[0] - 0.4 / 30) < 1e-6,
            f"The very first step should have rate 0, but yours has {found[0]:.3f}: steps are "
            "counted from 0.")
    require(abs(found[0]) < 1e-6, f"At step 0 the rate should be 0; yours is {found[0]:.3f}. "
                                  "During the warm-up it is lr · t / warmup_epochs.")
    for at, when, hint in (
        (30, "When the warm-up is over", " The progress of the cosine should be 0 there."),
        (15, "Halfway through the warm-up", ""), (60, "In the middle of the cosine", ""),
        (89, "At the last step", " It should follow the cosine to its end, with no lower limit."),
    ):
        require(abs(found[at] - rate(time)[at]) < 1e-4,
                f"{when} (epoch {at // iters}, step {at % iters} of {iters}), the rate should be "
                f"{rate(time)[at]:.3f}; yours is {found[at]:.3f}.{hint}")
    require(close(found, rate(time)), "Your rate is right at the ends and in the middle, but not "
                                      "at every step between.")
    try:
        at_once = number(call(answer, 0, 0, iters, replace(cfg, warmup_epochs=0)))
    except ZeroDivisionError:
        raise Mistake("With warmup_epochs=0, which later cells use, you divide by 0. Divide by "
                      "warmup_epochs only where t < warmup_epochs.") from None
    require(abs(at_once - 0.4) < 1e-4, "With warmup_epochs=0 the first step should have the full "
                                       f"rate, 0.400; yours has {at_once:.3f}.")
    later = number(call(answer, 0, 8, iters, replace(cfg, warmup_epochs=0.5)))
    right = float(rate(torch.tensor(0.8), 0.5, 8.5, 0.5))
    require(abs(later - right) < 1e-4,
            f"With warmup_epochs=0.5 the rate at epoch 0, step 8 of 10 should be {right:.3f}; "
            f"yours is {later:.3f}. Compare t, not epoch, with warmup_epochs, and do not round "
            "either of them.")


@exercise("Right: every weight is in one group, and only matrices decay.")
def parameter_groups(answer: Callable) -> None:
    torch.manual_seed(0)
    model = reference.MAE(**SIZES)
    model.encoder.cls_token = nn.Parameter(torch.zeros(1, 1, 8))  # as the paper's model has one
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for decay in (0.05, 0.3):
        try:
            groups = given(answer(model, decay))
        except RuntimeError as error:
            require("must match the size" not in str(error) and "Boolean value" not in str(error),
                    "`in` and == compare tensors number by number. Compare their names instead, or "
                    "id(p).")
            raise
        require(isinstance(groups, list | tuple) and all(isinstance(g, dict) for g in groups),
                "Return a list of dicts, each with the keys 'params' and 'weight_decay'.")
        for group in groups:
            held = ", ".join(map(repr, group))
            require("params" in group and "weight_decay" in group,
                    "Each group needs 'params' and 'weight_decay'; one of yours "
                    f"{f'has only {held}' if held else 'is empty'}.")
            require(not isinstance(group["params"], set),
                    "'params' should be a list; AdamW refuses a set.")
        pairs = [(p, number(g["weight_decay"], "'weight_decay'"))
                 for g in groups
                 for p in ([g["params"]] if isinstance(g["params"], Tensor) else g["params"])]
        require(all(isinstance(p, Tensor) for p, _ in pairs),
                "'params' should hold parameters only: of each pair (name, parameter), keep the "
                "second.")
        found = [(id(p), value) for p, value in pairs]
        require(all(key in names for key, _ in found),
                "Your groups hold tensors that are not the model's parameters, such as copies or "
                "their .data. Take the parameters themselves, from model.named_parameters().")
        missing = [name for key, name in names.items() if key not in dict(found)]
        require(not missing, f"{''.join(missing[:1])} is in no group, so it would never learn.")
        require(len(found) == len(names), "Some weights appear twice in your groups: list "
                                          "each parameter exactly once.")
        decays = {names[key]: value for key, value in found}
        require(set(decays.values()) <= {0.0, decay},
                f"The weight decay of each group should be {decay}, the one given, or 0; yours "
                f"are {sorted(set(decays.values()))}.")
        alone = {n for n, p in model.named_parameters() if p.ndim < 2 or n.endswith("_token")}
        require(any(decays.values()), "Nothing decays in your groups: give the matrices "
                                      "the weight_decay that was passed in.")
        require(not all(decays.values()), "Everything decays in your groups: give biases, norms "
                                          "and tokens a weight decay of 0.")
        require(not all((value > 0) == (name in alone) for name, value in decays.items()),
                "It is the other way round: matrices decay, vectors and tokens do not.")
        for name, value in decays.items():
            kind = ("token (its name ends in _token)" if name.endswith("_token") else
                    "vector (a bias or a norm's scale)" if name in alone else
                    "matrix (though stored with four dimensions)" if "patch_embed" in name
                    else "matrix")
            require((value > 0) == (name not in alone),
                    f"In the test model, {name} is a {kind}, so it should "
                    f"{'not ' * (name in alone)}decay.")


def _toy() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    model.register_buffer("pos_embed", torch.arange(3.0))  # as an encoder has one
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, start: int, stop: int) -> None:
    for step in range(start, stop):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@exercise("Right: weights, the optimizer's memory and the step, and all of it as it was then.")
def snapshot(answer: Callable) -> None:
    model, optimizer = _toy()
    _train(model, optimizer, 0, 5)
    then = [p.detach().clone() for p in model.parameters()]
    state = given(answer(model, optimizer, 5))
    require(isinstance(state, dict), f"Return a dict; yours is {kind(state)}.")
    reasons = {"model": "the weights, training would start from scratch",
               "optimizer": "its two running means, the next update would be a different one",
               "step": "it, schedules, masks and data would start from the beginning"}
    other = [repr(key) for key in state if isinstance(key, str) and key not in reasons]
    unnamed = dict.fromkeys(type(key).__name__ for key in state if not isinstance(key, str))
    yours = (f"objects of type {', '.join(unnamed)}. Put the names in quotes." if unnamed else
             f"{', '.join(other[:3])}.")
    for name, reason in reasons.items():
        require(name in state or not (other or unnamed),
                "The keys should be the strings 'model', 'optimizer' and 'step'; yours include "
                f"{yours}")
        require(name in state, f"The state has no {name!r}. Without {reason}.")
    require(state["step"] == 5, f"state['step'] should be 5, the number that was given, "
                                f"not {state['step']!r}.")
    for name in ("model", "optimizer"):
        require(not inspect.ismethod(state[name]),
                f"state[{name!r}] is a method, which has to be called: write state_dict(), with "
                "parentheses.")
        require(isinstance(state[name], dict),
                f"state[{name!r}] is of type {type(state[name]).__name__}: store what its "
                "state_dict() returns, which can be written to a file.")
    require({"state", "param_groups"} <= set(state["optimizer"]),
            "state['optimizer'] should be what optimizer.state_dict() returns.")
    for name, right in model.state_dict().items():
        require(name in state["model"],
                f"state['model'] has no {name}: store everything that model.state_dict() returns, "
                "buffers as well as weights.")
        stored = state["model"][name]
        require(isinstance(stored, Tensor), f"state['model'] should hold tensors, but its {name} "
                                            f"is of type {type(stored).__name__}.")
        require(stored.dtype == right.dtype and torch.equal(stored, right),
                "The weights in your state are not exactly those of the model: copy them as they "
                f"are, in {right.dtype}.")
    _train(model, optimizer, 5, 8)  # training goes on before the state is used
    fresh, restored = _toy()
    fresh.load_state_dict(state["model"])
    require(all(torch.equal(a, b) for a, b in zip(fresh.parameters(), then, strict=True)),
            "The weights in your state changed when training went on: state_dict() returns the "
            "tensors themselves, not copies. Copy them (copy.deepcopy).")
    restored.load_state_dict(state["optimizer"])
    _train(fresh, restored, 5, 8)
    same = all(torch.equal(a, b) for a, b in
               zip(fresh.parameters(), model.parameters(), strict=True))
    require(same, "After restoring from your state, three more steps give different weights, "
                  "because it does not hold the optimizer's means as they were at the snapshot. "
                  "They change at every step, so copy the optimizer's state, too (copy.deepcopy).")
