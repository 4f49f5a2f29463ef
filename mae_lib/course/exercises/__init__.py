"""Checks behind the notebooks' exercises: they say what is wrong, not only that something is.

Each notebook has its checks in a module of its own. A check never raises, so that a notebook with
unsolved exercises runs to its end. What passes the check of a part (see `seam`) is kept.
"""

import functools
import inspect
import linecache
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from IPython import get_ipython
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mae_lib.course import seam
from mae_lib.course.parts import PARTS


class Mistake(Exception):
    """What is wrong with an answer, and where to look, in a sentence or two."""


class NotAttempted(Exception):
    """The answer is still the empty stub."""


_begun = weakref.WeakSet()  # classes of learners that have weights already

HINTS = {  # what torch says: what to look at; the first that fits is shown
    "must match the size of tensor b": "Print both shapes: is an axis swapped, or is a "
                                       "keepdim=True missing?",
    "tensors used as indices must be": "A mask of floats cannot be used as an index, so write "
                                       "x[mask == 1].",
    "shape of the mask [1, ": "A mask (1, H, W) fits one channel only. To select pixels in all "
                              "channels, write for example image[:, hidden[0] == 0].",
    "shape of the mask": "A mask must have the shape of the axes that it selects from: print both "
                         "shapes.",
    "return_types.linalg_svd": "torch.linalg.svd returns U, S and Vh: take S, or use "
                               "torch.linalg.svdvals.",
    "torch.return_types": "min(dim=…) and max(dim=…) return values and indices, so take "
                          ".values.",
    "max() received an invalid": ".max does not take a number: for the larger of each value and a "
                                 "number, write x.clamp(min=…).",
    "Boolean value of Tensor": "Python's max, min, if and while need single numbers. For the "
                               "larger of each value and a number, write x.clamp(min=…). To ask "
                               "whether an argument was given, write noise is None.",
    "in an in-place operation": "x += y changes the tensor that was passed in, so write x = x "
                                "+ y instead.",
    "Can't call numpy()": "Stay in PyTorch: NumPy passes no gradients back.",
    "two bool tensors": "Convert them first, for example with .double(): ^ would lose the sign.",
    "'Tensor' object is not callable": "You put parentheses after a tensor, which calls it like a "
                                       "function. To pass a function itself, leave out its "
                                       "parentheses, as in step(closure).",
    "shapes cannot be multiplied": "The last axis of the first must be as long as the first axis "
                                   "of the second: is the mean over the right dimension?",
    "cannot assign to field": "cfg cannot be changed, so return the value instead.",
}


def exercise(praise: str) -> Callable:
    """Turn test(answer, …), which raises Mistake, into a check that prints one line.

    `praise` says what a right answer has shown. If the test has the name of a part, a right answer
    is kept, and a second line says so. `check.yours_or(other)` is the last answer that passed, and
    `other` until one has: so later cells can use what the learner wrote.
    """

    def decorate(test: Callable) -> Callable[..., None]:
        name = test.__name__
        passed = []

        @functools.wraps(test)
        def check(*answers) -> None:
            if error := _stopped_before():
                print(f"The cell that you ran before this one stopped with {error}. Fix it and "
                      "run it again first. The next line is about the version that was "
                      "defined before.")
            try:
                for answer in answers:
                    given(answer)
                if name in PARTS and seam.is_packages(answers[0]):
                    print(f"○ This is the package's {name}, not yours. Run the cell that "
                          "defines yours first, then run this one.")
                    return
                with torch.enable_grad():  # whatever an earlier try has switched off
                    test(*answers)
                    require(torch.is_grad_enabled(),
                            "You leave autograd switched off for everything that follows: use a "
                            "with torch.no_grad() block, which ends by itself.")
            except NotAttempted:
                if any(map(_has_a_body, answers)):
                    print("✗ Your function returns nothing: is a return missing, perhaps in one "
                          "branch?")
                elif name in PARTS and seam.read(name)[0]:
                    print("○ This function or class is still empty. The course still uses "
                          f"your earlier {name}.")
                elif any(answer in _begun for answer in answers):
                    print("○ Not finished yet: forward is still empty.")
                else:
                    print("○ Not attempted yet.")
            except Mistake as mistake:
                print(f"✗ {mistake}")
            except KeyboardInterrupt as stop:
                print(f"✗ Stopped{_where(stop, 0)}. If a loop there never ends, check the "
                      "condition that should end it. Then run your cell again, and this one "
                      "after it.")
            except Exception as error:
                said = str(error).partition(", but expected one of")[0].rstrip(".")
                hint = next((f". {hint}" for words, hint in HINTS.items() if words in said), "")
                print(f"✗ Your code stopped with {type(error).__name__}{_where(error)}" +
                      f": {said}" * bool(said) + hint)
            else:
                print(f"✓ {praise}")
                passed[:] = answers
                if name in PARTS:
                    print(seam.keep(name, *answers, test))

        check.yours_or = lambda other: passed[0] if passed else other
        return check

    return decorate


def _stopped_before() -> str:
    """The name of the error with which the last cell before this one stopped, if it did."""
    result = getattr(get_ipython(), "last_execution_result", None)
    error = result and (result.error_before_exec or result.error_in_exec)
    return type(error).__name__ if error else ""


def _has_a_body(function) -> bool:
    """Whether a function, or the forward of a class, does more than an empty one."""
    code = getattr(getattr(function, "forward", function), "__code__", None)
    return bool(code) and code.co_code[::2] != (lambda: None).__code__.co_code[::2]


def given(answer):
    """The answer itself. Raises NotAttempted for None or `...`, which a stub holds or returns."""
    if answer is None or answer is ...:
        raise NotAttempted
    return answer


def call(function: Callable, *arguments, **named):
    """What a learner's function returns, on copies of the arguments, which it must not change."""
    copies = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
    found = given(function(*copies, **named))
    for i, (before, after) in enumerate(zip(arguments, copies, strict=True)):
        if isinstance(before, Tensor) and not torch.equal(before, after):
            name = list(inspect.signature(function).parameters)[i]
            raise Mistake(f"Your function changes {name} in place, but the caller still needs it. "
                          f"Begin with {name}.clone(), or write x = x - y instead of x -= y.")
    return found


def require(condition: bool, explanation: str) -> None:
    """Raise Mistake with the explanation unless the condition holds."""
    if not condition:
        raise Mistake(explanation)


def build(answer: type, *sizes) -> torch.nn.Module:
    """The module of a learner's class for these sizes. Raises NotAttempted for an empty one."""
    require(isinstance(answer, type) and issubclass(answer, torch.nn.Module),
            "This should be a class that inherits from nn.Module: pass the class itself, not an "
            "instance of it.")
    module = answer(*sizes)
    if not module.state_dict():
        require(not _has_a_body(answer),
                "Your class has no weights yet: create its layers in __init__, after "
                "super().__init__(), as attributes of self.")
        raise NotAttempted
    _begun.add(answer)
    blocks = getattr(module, "blocks", None)
    if isinstance(blocks, torch.nn.ModuleList | torch.nn.Sequential):
        require(len(set(map(id, blocks))) == len(blocks),
                "Your blocks are all the same object, so they share their weights: [Block(…)] "
                "* depth repeats one block. Write [Block(…) for _ in range(depth)] instead.")
    return module


def give_weights(module: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights into a learner's module. Raises Mistake that names the first misfit."""
    theirs = module.state_dict()
    missing = [name for name in weights if name not in theirs]
    for name in {name.split(".")[0] for name in missing}:
        held = getattr(module, name, None)
        require(not isinstance(held, Tensor),
                f"{name} is a plain tensor, so it is not saved or moved with the model. Use "
                "nn.Parameter for what training should change, and register_buffer for the rest.")
        require(not isinstance(held, list | tuple),
                f"{name} is a Python list, which hides its modules from PyTorch: use nn.ModuleList "
                "or nn.Sequential.")
    other = [name for name in theirs if name not in weights]
    hint = f" (it has {', '.join(other[:3])})" if other else ""
    require(not missing, f"The shipped weights hold {''.join(missing[:1])}, but your class has "
                         f"no parameter or buffer of that name{hint}. These names come from "
                         "your attributes: self.proj = nn.Linear(…) gives proj.weight and "
                         "proj.bias.")
    require(not other, f"Your class has {''.join(other[:1])}, which is not among the shipped "
                       "weights. Leave it out.")
    for name, value in weights.items():
        require(theirs[name].shape == value.shape,
                f"{name} should have shape {tuple(value.shape)}, but yours has "
                f"{tuple(theirs[name].shape)}.")
    module.load_state_dict(weights)


def require_depth(module: torch.nn.Module, blocks: str, depth: int, name: str = "depth") -> None:
    """Raise Mistake unless `depth` blocks, or none, have weights that begin with `blocks`."""
    built = {key.removeprefix(blocks).split(".")[0] for key in module.state_dict()
             if key.startswith(blocks)}
    require(len(built) in (0, depth),
            f"Your class makes {len(built)} blocks, but {name} is {depth}.")


def several(found, count: int, explanation: str) -> tuple:
    """The `count` things that an answer returned, as a tuple. Raises Mistake for another count."""
    require(not isinstance(found, dict), "Return a tuple, not a dict.")
    try:
        found = tuple(found)
    except TypeError:  # it is a single thing
        found = ()
    require(len(found) == count, explanation)
    return found


def kind(x) -> str:
    """What something is, as part of a sentence: "a list", "an int"."""
    if isinstance(x, Tensor):
        return f"a tensor of shape {tuple(x.shape)}"
    name = type(x).__name__
    return "None" if x is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def number(found, name: str = "The result") -> float:
    """What an answer returned, as a float. Raises Mistake for what is not a single number."""
    try:
        return float(None if isinstance(found, str) else found)
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"{name} should be one number; yours is {kind(found)}.") from None


def require_tensor(x, shape: tuple[int, ...], name: str = "The result", advice: str = "") -> None:
    """Raise Mistake, with advice for another shape, unless x is a tensor of this shape."""
    plural = name.endswith(("features", "labels", "losses", "tokens"))
    require(isinstance(x, Tensor),
            f"{name} should be a tensor; yours {'are' if plural else 'is'} {kind(x)}.")
    require(tuple(x.shape) == tuple(shape),
            f"{name} should have shape {tuple(shape)}; yours {'have' if plural else 'has'} shape "
            f"{tuple(x.shape)}." + f" {advice}" * bool(advice))


def require_right(found: Tensor, right: Tensor, mistakes: dict[str, Tensor], otherwise: str,
                  tolerance: float = 1e-4) -> None:
    """Raise Mistake unless `found` is right, with the words of the mistake that gives it."""
    if close(found, right, tolerance):
        return
    for explanation, wrong in mistakes.items():
        require(not close(found, wrong, tolerance), explanation)
    raise Mistake(otherwise)


class _OneDevice(TorchFunctionMode):
    """Refuses what a GPU refuses: tensors of two devices in one operation, indices aside.

    A slice of a GPU's tensor can be set to a tensor of the CPU, but not places given by indices.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        mixed = (*args, *(kwargs or {}).values())
        if func.__name__ == "__getitem__":
            mixed = ()
        elif func.__name__ == "__setitem__":
            index = args[1] if isinstance(args[1], tuple) else args[1:2]
            indexed = any(isinstance(i, Tensor) for i in index)
            mixed = args[::2] if indexed or args[0].device.type == "cpu" else ()
        found = [x for a in mixed for x in (a if isinstance(a, list | tuple) else [a])]
        places = {x.device.type for x in found if isinstance(x, Tensor) and x.dim()}
        if len(places) > 1:
            raise Mistake("On a GPU this would stop, because a tensor that you create stays on the "
                          "CPU. Give it the device of the input, as in torch.rand(…, "
                          "device=x.device).")
        return func(*args, **(kwargs or {}))


def require_one_device(function: Callable, *arguments) -> None:
    """Raise Mistake if a right answer would mix the CPU's tensors with those of another device.

    The other device is torch's meta device, whose tensors have no values. An answer that reads
    values stops there, and passes.
    """
    try:
        with suppress(NotImplementedError, RuntimeError), _OneDevice():
            function(*(a.detach().to("meta") if isinstance(a, Tensor) else a for a in arguments))
    except TypeError as error:
        require("to numpy" not in str(error), "On a GPU this would stop, because NumPy reads only "
                                              "tensors on the CPU. Stay in PyTorch.")
        raise


def require_gradient(found: Tensor, right: Tensor, *inputs: Tensor) -> None:
    """Raise Mistake unless `found` and `right` pass the same gradients back to the inputs."""
    require(found.requires_grad,
            "The values are right, but no gradient comes back through them, so the model "
            "cannot learn. Is there a detach(), an item() or a no_grad() somewhere along the way?")
    weights = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    found, right = (torch.autograd.grad((x * weights).sum(), inputs, allow_unused=True)
                    for x in (found, right))
    require(all(a is not None and close(a, b, 1e-3) for a, b in zip(found, right, strict=True)),
            "The values are right, but their gradient is not. Check that every step is a "
            "differentiable operation and that nothing is detached.")


def nearest(found: Tensor, *forms: Tensor) -> Tensor:
    """Of the forms that one mistake takes, the one closest to what was found."""
    return min(forms, key=lambda form: (form - found).abs().max().item())


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), tolerance, tolerance)


def _where(error: BaseException, which: int = -1) -> str:
    """The line of the learner's code in which it happened, as " on line 3, `while True:`".

    Of several that called each other, the last one, or the first (which=0).
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_learners(f.filename)]
    if not frames:
        return ""
    frame = frames[which]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    return f" on line {frame.lineno}" + (f", `{line}`" if line else "")


def _is_learners(file: str) -> bool:
    """Whether a file is a notebook's cell or one of the kept parts."""
    typed = file.startswith("<") and file != "<string>"  # which is what dataclasses compile
    cell = typed or "ipykernel" in file or "ipython-input" in file  # the last in Colab
    return cell or seam.folder().name in Path(file).parts
