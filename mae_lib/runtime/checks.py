"""Is a setting of the kind that it should be, within its range, or one of its choices?"""

import math
import numbers
import operator
from collections.abc import Iterable

from torch import Tensor

BOUNDS = {"above": operator.gt, "at_least": operator.ge,
          "below": operator.lt, "at_most": operator.le}
KINDS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a finite number"),
         bool: (bool, "True or False"), str: (str, "text")}


def check_value(name: str, value, kind: type, **bounds: float) -> None:
    """Raise ValueError, naming the setting, unless `value` is of `kind` and within `bounds`.

    `bounds` are any of `above`, `at_least`, `below` and `at_most`. A float must be finite, but may
    be infinite where `at_most` is. A bool is not a number.
    """
    wanted, words = KINDS.get(kind, (kind, f"of type {kind.__name__}"))
    if (not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool)
            or (kind is float and not math.isfinite(value) and value != bounds.get("at_most"))):
        raise ValueError(f"{name} must be {words}, got {value!r:.60}.")
    if not all(BOUNDS[bound](value, number) for bound, number in bounds.items()):
        asked = [f"{bound.replace('_', ' ')} {number:g}" for bound, number in bounds.items()]
        raise ValueError(f"{name} must be {' and '.join(asked)}, got {value}.")


def check_choice(name: str, value, choices: Iterable[str]) -> None:
    """Raise ValueError, naming the setting, unless `value` is one of `choices`."""
    if value not in list(choices):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def check_shape(x: Tensor, name: str, *shape: int | str) -> None:
    """Raise ValueError unless `x` is a tensor of this shape.

    A letter stands for any number, and for the same one wherever it occurs.
    """
    wanted = f"({', '.join(map(str, shape))})"
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a torch tensor of shape {wanted}, got "
                         f"{type(x).__name__}: use torch.as_tensor, or torch.stack for a list of "
                         "tensors.")
    numbers = dict(zip(shape, x.shape, strict=False))
    if x.shape != tuple(numbers.get(n, 0) if isinstance(n, str) else n for n in shape):
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(x.shape)}.")
