"""Checks behind the notebooks' exercises: they say what is wrong, not only that something is.

Each notebook has its checks in a module of its own. A check never raises, so that a notebook with
unsolved exercises runs to its end.
"""

import functools
import traceback
from collections.abc import Callable

import torch
from torch import Tensor


class Mistake(Exception):
    """What is wrong with an answer, and where to look, in a sentence or two."""


class NotAttempted(Exception):
    """The answer is still the empty stub."""


def exercise(praise: str) -> Callable:
    """Turn test(answer, …), which raises Mistake, into a check that prints one line.

    `praise` says what a right answer has shown.
    """

    def decorate(test: Callable) -> Callable[..., None]:
        @functools.wraps(test)
        def check(*answers) -> None:
            try:
                for answer in answers:
                    given(answer)
                test(*answers)
            except NotAttempted:
                print("✗ Your function returns nothing: is a return missing, perhaps in one branch?"
                      if any(map(_has_a_body, answers)) else "○ Not attempted yet.")
            except Mistake as mistake:
                print(f"✗ {mistake}")
            except Exception as error:
                print(f"✗ Your code stopped with {type(error).__name__}{_where(error)}: {error}")
            else:
                print(f"✓ {praise}")

        return check

    return decorate


def _has_a_body(function) -> bool:
    """Whether it is a function that does more than an empty one does."""
    code = getattr(function, "__code__", None)
    return bool(code) and code.co_code[::2] != (lambda: None).__code__.co_code[::2]


def given(answer):
    """The answer itself. Raises NotAttempted for None or `...`, which a stub holds or returns."""
    if answer is None or answer is ...:
        raise NotAttempted
    return answer


def call(function: Callable, *arguments, **named):
    """What a learner's function returns, on copies of the arguments."""
    copies = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
    return given(function(*copies, **named))


def require(condition: bool, explanation: str) -> None:
    """Raise Mistake with the explanation unless the condition holds."""
    if not condition:
        raise Mistake(explanation)


def several(found, count: int, explanation: str) -> tuple:
    """The `count` things that an answer returned, in a tuple, a list or a tensor, or Mistake."""
    try:
        found = tuple(found)
    except TypeError:  # it is a single thing
        found = ()
    require(len(found) == count, explanation)
    return found


def require_tensor(x, shape: tuple[int, ...], name: str = "The result") -> None:
    """Raise Mistake unless x is a tensor of this shape."""
    require(isinstance(x, Tensor), f"{name} should be a tensor, got {type(x).__name__}.")
    require(tuple(x.shape) == tuple(shape),
            f"{name} should have shape {tuple(shape)}, got {tuple(x.shape)}.")


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), tolerance, tolerance)


def _where(error: Exception) -> str:
    """The line of the notebook's cell in which it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if f.filename.startswith("<") or "ipykernel" in f.filename]
    return f" in line {lines[-1]}" if lines else ""
