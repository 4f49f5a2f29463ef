"""Notebook 07: the learning rate, and a state to resume from; the rest is in `training_parts`."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from mae_lib.config import PretrainConfig
from mae_lib.course.exercises import (
    Mistake,
    call,
    close,
    exercise,
    given,
    number,
    require,
)
from mae_lib.course.exercises.training_parts import (
    parameter_groups,
    total_loss,
    train,
    train_step,
)

__all__ = ["parameter_groups", "schedule_learning_rate", "snapshot", "total_loss", "train",
           "train_step"]


@exercise("Right: up in a line, down half a cosine, a little at every step.")
def schedule_learning_rate(answer: Callable) -> None:
    cfg = PretrainConfig(lr=0.4, warmup_epochs=3, epochs=9)
    iters = 10
    steps = [(epoch, step) for epoch in range(cfg.epochs) for step in range(iters)]
    found = torch.tensor([number(call(answer, *at, iters, cfg)) for at in steps])
    time = torch.arange(len(steps)) / iters  # in epochs

    def rate(time, warmup=3.0, span=6.0, start=3.0):
        down = 0.2 * (1 + torch.cos(math.pi * (time - start) / span))
        return torch.where(time < warmup, 0.4 * time / max(warmup, 1e-9), down)

    require(not close(found, rate(time.floor())),
            "Your rate changes only from one epoch to the next: time in epochs is "
            "epoch + step / iters.")
    require(not close(found, rate(time, span=9.0, start=0.0)),
            "Your cosine starts at the very beginning, so that the rate jumps when the warm-up "
            "ends: its progress is (t − warm-up) / (epochs − warm-up).")
    require(not close(found, rate(time, span=9.0)),
            f"Your cosine is too long: at the last step the rate is {found[-1]:.2f}, not nearly "
            "0. After the warm-up, epochs − warm-up of the epochs are left for it.")
    require(not close(found, rate(time, warmup=0.0)) and not close(found, rate(time, 0, 9, 0)),
            "The warm-up is missing: at step 0 the rate is 0, and it rises in a line.")
    require(not close(found, torch.where(time < 3, 0.4 * time / 3, 0.4)),
            "Your rate stays at its peak after the warm-up; it should fall, by half a cosine.")
    require(not close(found, torch.where(time < 3, 0.4 * time / 3, 0.4 * (9 - time) / 6)),
            "Your rate falls in a straight line: with progress p it is lr · (1 + cos πp) / 2.")
    require(not close(found[30:], 2 * rate(time)[30:]),
            "Your cosine starts at twice the peak: (1 + cos πp) lies between 0 and 2, halve it.")
    full_turn = 0.2 * (1 + torch.cos(2 * math.pi * (time - 3) / 6))
    require(not close(found[30:], full_turn[30:]),
            "Your cosine makes a full turn and comes back up; the rate should end near 0: cos πp.")
    degrees = 0.2 * (1 + torch.cos(180 * (time - 3) / 6))
    require(not close(found[30:], degrees[30:], 1e-3),
            "math.cos takes radians, not degrees: half a turn is math.pi.")
    require(abs(found[0]) < 1e-6, f"The very first step should have rate 0, yours has "
                                  f"{found[0]:.3f}: steps are counted from 0.")
    for at, when in ((30, "When the warm-up is over"), (15, "Halfway through the warm-up"),
                     (60, "In the middle of the cosine"), (89, "At the last step")):
        require(abs(found[at] - rate(time)[at]) < 1e-4,
                f"{when}, at epoch {at // iters}, step {at % iters} of {iters}, the rate should be "
                f"{rate(time)[at]:.3f}; yours is {found[at]:.3f}.")
    require(close(found, rate(time)), "Your rate is right at the ends and in the middle, but not "
                                      "at every step between.")
    try:
        at_once = number(call(answer, 0, 0, iters, replace(cfg, warmup_epochs=0)))
    except ZeroDivisionError:
        raise Mistake("With warmup_epochs=0, which later cells use, you divide by 0: divide by "
                      "it only where t < warmup_epochs.") from None
    require(abs(at_once - 0.4) < 1e-4, "With warmup_epochs=0 the first step should have the full "
                                       f"rate, 0.400; yours has {at_once:.3f}.")


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
    require(isinstance(state, dict), f"Return a dict, got {type(state).__name__}.")
    for name, reason in (("model", "the weights"),
                         ("optimizer", "the optimizer's two running means, without which the next "
                                       "update is another one"),
                         ("step", "without which schedules, masks and data start from the "
                                  "beginning")):
        require(name in state, f"The state has no {name!r}: {reason}.")
    require(state["step"] == 5, f"state['step'] should be 5, the number that was given, "
                                f"not {state['step']}.")
    for name in ("model", "optimizer"):
        require(isinstance(state[name], dict),
                f"state[{name!r}] is a {type(state[name]).__name__}: store what its state_dict() "
                "returns, which can be written to a file.")
    missing = [name for name in model.state_dict() if name not in state["model"]]
    require(not missing, f"state['model'] has no {', '.join(missing)}: store "
                         "everything that model.state_dict() returns: weights and buffers.")
    _train(model, optimizer, 5, 8)  # training goes on before the state is used
    fresh, restored = _toy()
    fresh.load_state_dict(state["model"])
    require(all(torch.equal(a, b) for a, b in zip(fresh.parameters(), then, strict=True)),
            "The weights in your state moved when training went on: state_dict() returns the "
            "tensors themselves, not copies. Copy them (copy.deepcopy).")
    restored.load_state_dict(state["optimizer"])
    _train(fresh, restored, 5, 8)
    same = all(torch.equal(a, b) for a, b in
               zip(fresh.parameters(), model.parameters(), strict=True))
    require(same, "Restored from your state, three more steps end elsewhere: the optimizer's "
                  "means are not those of that moment. Copy its state too (copy.deepcopy).")
