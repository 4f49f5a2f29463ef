"""Notebook 04: the loss, a prediction back in pixels, a step of gradient descent."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mae_lib import losses
from mae_lib.course.exercises import (
    Mistake,
    _has_a_body,
    call,
    close,
    exercise,
    given,
    require,
    require_gradient,
    require_right,
    require_tensor,
)
from mae_lib.losses import patch_statistics
from mae_lib.patches import patchify


def require_loss(found, name: str, advice: str = "") -> None:
    """Raise Mistake, with advice for several numbers, unless it is one number in a tensor."""
    require(type(found) is not float,
            f"{name} should be a tensor; yours is a float. Leave out .item() or float(), because "
            "autograd needs the tensor.")
    shape = tuple(getattr(found, "shape", ()))
    require(shape == (), f"{name} should be one number, with shape (); yours has shape {shape}."
                         + f" {advice}" * (bool(advice) and math.prod(shape) > 1))
    require_tensor(found, (), name)


def require_dtype(found: Tensor, pred: Tensor, name: str) -> None:
    """Raise Mistake unless a loss has the data type of `pred`, as the package's loss has."""
    require(found.dtype == pred.dtype,
            f"The loss is {found.dtype}, but {name} is {pred.dtype}: leave out the conversion, for "
            f"example .double(), or undo it with .to({name}.dtype).")


@exercise("Right: the hidden patches of a whole batch, in pixels or in units of their own.")
def mae_loss(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    for size, rows, cols in ((2, 4, 2), (3, 2, 5)):
        images = 2 * torch.rand(3, 3, rows * size, cols * size, generator=generator) + 0.5
        target = patchify(images, size)
        pred = torch.randn(target.shape, generator=generator).requires_grad_()
        noise = torch.rand(target.shape[:2], generator=generator)
        mask = (noise > torch.tensor([[0.2], [0.5], [0.4]])).float()
        mask[:, 0], mask[:, 1] = 1, 0
        for norm_pix in (False, True):
            right = losses.mae_loss(pred, images, mask, size, norm_pix)
            named = {"norm_pix": True} if norm_pix else {}  # which is False by default
            found = call(answer, pred, images, mask, size, **named)
            require_loss(found, f"The loss with norm_pix={norm_pix}",
                         "Take one mean over all hidden patches of the batch.")
            require_dtype(found, pred, "pred")
            _explain_mae_loss(found, right, pred, target, mask, norm_pix)
            require_gradient(found, right, pred)
    contrast = torch.tensor([0, 3e-4, 1.2e-3]).view(3, 1, 1, 1)  # a flat patch, two almost flat
    images[..., :size, :size] = 0.5 + contrast * torch.randn(3, 3, size, size, generator=generator)
    mask = torch.zeros(target.shape[:2])
    mask[:, 0] = 1  # these three, and no other
    found = call(answer, pred, images, mask, size, norm_pix=True)
    _explain_epsilon(found, pred, images, mask, size)


def _explain_epsilon(found, pred, images, mask, size: int) -> None:
    """Raise Mistake if the loss on patches with hardly any contrast shows another ε than 1e-6."""
    target = patchify(images, size)
    from_mean = target - target.mean(dim=-1, keepdim=True)
    var = target.var(dim=-1, keepdim=True)

    def loss(std: Tensor) -> Tensor:
        return ((pred - from_mean / std).square().mean(dim=-1) * mask).sum() / mask.sum()

    require(not found.isnan(), "With norm_pix=True: a patch whose values are all equal gives nan, "
                               "which is 0/0. Add ε = 1e-6 to the variance, under the square root.")
    require_right(found, losses.mae_loss(pred, images, mask, size, True), {
        "With norm_pix=True: ε belongs under the square root, (variance + 1e-6).sqrt(); you add it "
        "to the standard deviation.": loss(var.sqrt() + 1e-6),
    }, "With norm_pix=True: nearly flat patches come out wrong. Divide by (variance + ε).sqrt(), "
       "with ε = 1e-6.", 1e-3)


def _explain_mae_loss(found, right, pred, target, mask, norm_pix: bool) -> None:
    mean, std = patch_statistics(target)
    biased = (target.var(dim=-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    whole = (target - target.mean()) / target.std()
    normal = (target - mean) / std if norm_pix else target
    square = (pred - normal).square()  # (B, L, V)
    error, hidden = square.mean(dim=-1), mask.sum()

    def loss(target: Tensor, pred: Tensor = pred) -> Tensor:
        return ((pred - target).square().mean(dim=-1) * mask).sum() / hidden

    def normal_over(x: Tensor, dim: int) -> Tensor:
        return (x - x.mean(dim, keepdim=True)) / (x.var(dim, keepdim=True) + 1e-6).sqrt()

    per_image = (error * mask).sum(1) / mask.sum(1)
    by_channel = normal_over(target.unflatten(-1, (-1, 3)), -2).flatten(-2)  # values are (p, p, 3)
    total = (error * mask).sum()
    reordered = normal.unflatten(-1, (-1, 3)).transpose(-2, -1).flatten(-2)  # values are (3, p, p)
    count = round((total / found).nan_to_num(0, 0, 0).clamp(0, 1e3).item())
    which = f"With norm_pix={norm_pix}: "
    only_norm_pix = {
        "only the mean is subtracted; divide by the standard deviation too.": loss(target - mean),
        "your variance divides by the number of values. Divide by one less, as the official code "
        "does (unbiased, the default of torch.var).": loss((target - mean) / biased),
        "you use the mean and standard deviation of the whole batch. Take those of each patch "
        "instead.": loss(whole),
        "you take one mean for each channel. Take one mean for each patch, over all its pixels and "
        "channels.": loss(by_channel),
        "you take the mean over patches. Take it over the values of each patch, with dim=-1.":
            loss(normal_over(target, 1)),
        "the prediction is already in normalised units. Normalise only the target.":
            loss(normal, (pred - mean) / std),
        "you bring the prediction back to pixels; normalise the target instead.":
            loss(target, pred * std + mean),
    }
    mistakes = {
        "this is the mean over all patches, including visible ones. Multiply each patch's error by "
        "the mask, and divide the sum by mask.sum().": error.mean(),
        "the mask is inverted. 1 means hidden, but your loss counts the visible patches.":
            (error * (1 - mask)).sum() / (1 - mask).sum(),
        "the errors of visible patches are 0 but still count. Divide by the number of hidden "
        "patches, mask.sum().": (error * mask).mean(),
        "this is a sum over hidden patches. Divide it by their number.": total,
        "you sum the squared errors within each patch. Take their mean instead.":
            (square.sum(dim=-1) * mask).sum() / hidden,
        "these are absolute errors. Square the errors instead.":
            ((pred - normal).abs().mean(dim=-1) * mask).sum() / hidden,
        "you average within each image first. Take one mean over all hidden patches of the batch.":
            per_image.mean(),
        "the target is not normalised. Subtract each patch's mean and divide by its standard "
        "deviation." if norm_pix else
        "the target is normalised, which only norm_pix=True asks for.":
            loss(target if norm_pix else (target - mean) / std),
        "the prediction is normalised as well; only the target should be.":
            (((pred - pred.mean(-1, keepdim=True)) / pred.std(-1, keepdim=True) - normal).square()
             .mean(dim=-1) * mask).sum() / hidden,
        "you index with whole numbers, so the 0s and 1s of your mask pick out images 0 and 1. "
        "Write [mask == 1] instead.": error[mask.long()].mean(),
        "your target has the values of each patch in a different order from the prediction. Cut "
        "the images with patchify(images, patch_size).": loss(reordered),
        "this is the square root of the loss. Leave out the square root.": right.sqrt(),
        "this is half the loss. Leave out the factor 0.5.": right / 2,
        f"you divide by {count}, but there are {hidden:.0f} hidden patches here. Count them with "
        "mask.sum().": total / max(count, 1),
    } | (only_norm_pix if norm_pix else {})
    require_right(found, right, {which + said: wrong for said, wrong in mistakes.items()},
                  f"{which}expected {right.item():.4f}, got {found.item():.4f}" + (
                      ". The loss on pixels is right, so look at the target: it should be (target "
                      "− mean) / (variance + 1e-6).sqrt(), with one mean and one variance for each "
                      "patch." if norm_pix else
                      ". Take the mean squared error of each patch, then the mean over hidden "
                      "patches."), 1e-5)


def _near_flat() -> Tensor:
    """Patches (2, 6, 12): ordinary ones, one flat, one almost flat."""
    patches = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(1))
    patches = 0.5 * patches + torch.linspace(-1, 1, 6)[:, None]
    patches[0, 2] = 0.7
    patches[1, 4] = 0.3 + 0.002 * patches[1, 4]
    return patches


@exercise("Right: the prediction is back in the units of the picture.")
def denormalise_prediction(answer: Callable) -> None:
    patches = _near_flat() + 0.4
    pred = torch.randn(patches.shape, generator=torch.Generator().manual_seed(2))
    found = call(answer, pred, patches)
    require_tensor(found, patches.shape, "denormalise_prediction(pred, patches)")
    mean, std = patch_statistics(patches)
    own_mean, own_std = patch_statistics(pred)
    require_right(found, pred * std + mean, {
        "The contrast is right, but the values lie around 0: add the mean back.": pred * std,
        "The means are right, but not the contrast: multiply by the standard deviation first.":
            pred + mean,
        "The order is wrong: the mean came off first, so it goes back on last.":
            (pred + mean) * std,
        "The mean and the standard deviation are swapped: patch_statistics returns the mean first.":
            pred * mean + std,
        "This normalises the prediction once more: reverse both steps.": (pred - mean) / std,
        "These are the statistics of the prediction itself: take those of the target's patches.":
            pred * own_std + own_mean,
        "These are the statistics of the whole batch: take those of each patch, from "
        "patch_statistics(patches).": pred * patches.std() + patches.mean(),
        "This is almost right, but take the standard deviation from patch_statistics, which "
        "includes ε.": pred * patches.std(dim=-1, keepdim=True) + mean,
        "patch_statistics returns the standard deviation itself, with ε included: do not take its "
        "square root.": pred * (std + 1e-6).sqrt() + mean,
    }, "This does not undo (y − mean) / std. Take mean and std from patch_statistics(patches), "
       "multiply by std, then add mean.", 1e-3)


@exercise("Right: one step downhill for every parameter, and the gradients are cleared.")
def descend(answer: Callable) -> None:
    _check_step(answer, list)
    try:
        _check_step(answer, iter)
    except Exception:
        raise Mistake("This works for a list, but model.parameters() is a generator: it cannot be "
                      "indexed, and you can go through it only once. Do the step and p.grad = None "
                      "in one loop, or begin with parameters = list(parameters).") from None


def _check_step(answer: Callable, form: Callable) -> None:
    """Raise Mistake unless `answer` makes the right step with `form` of a list of parameters."""
    generator = torch.Generator().manual_seed(4)
    before, gradients = ([torch.randn(3, size, generator=generator) for size in (2, 4, 5, 3)]
                         for _ in range(2))
    lr, parameters = 0.3, [torch.nn.Parameter(x.clone()) for x in before]
    for i in (0, 1, 3):  # the one between has no gradient
        parameters[i].grad = gradients[i].clone()
    try:
        answer(form(parameters), lr)
    except RuntimeError as error:
        require("leaf Variable" not in str(error),
                "Autograd does not allow a parameter to be changed in place while it is recording: "
                "make the change inside a with torch.no_grad() block.")
        raise
    except (TypeError, AttributeError) as error:
        if "NoneType" not in str(error):
            raise
        require("data has to be" not in str(error),
                ".data cannot be None. To clear a gradient, write p.grad = None.")
        require(parameters[0].grad is not None or not torch.equal(parameters[0], before[0]),
                "You clear the gradient before you use it: change the parameter first.")
        require(False, "One of the parameters has no gradient (its .grad is None): leave that "
                       "parameter as it is.")

    def moved(step: float, which: tuple[int, ...] = (0, 1, 3)) -> bool:
        """Whether these parameters, which have a gradient, moved by `step` times it."""
        return all(close(parameters[i].detach(), before[i] + step * gradients[i]) for i in which)

    if moved(0):
        given(... if not _has_a_body(answer) else answer)
        require(any(p.grad is not None and p.grad.any() for p in parameters),
                "The gradients are cleared, but no parameter has changed. Use each gradient before "
                "you clear it, and change p itself, with p -= … or p.sub_(…).")
        require(False, "No parameter has changed. p = p - … only makes a new tensor: change p "
                       "itself, with p -= … or p.sub_(…).")
    require(not moved(lr),
            "You are climbing: the step should go against the gradient, so subtract it.")
    require(not moved(-1), "The step should be lr times the gradient; yours leaves lr out.")
    require(not moved(0, (1, 3)),
            "Only the first parameter has changed: go through all of them. Is there a return "
            "inside the loop?")
    require(not moved(0, (3,)),
            "Your loop ends at the first parameter without a gradient: skip only that one and "
            "continue with the next.")
    require(moved(-lr), "The parameters have moved, but not by −lr times their gradient.")
    require(close(parameters[2].detach(), before[2]),
            "A parameter without a gradient has changed: leave it as it is.")
    require(all(p.requires_grad for p in parameters),
            "Your step sets requires_grad to False, so nothing can be learned afterwards: let "
            "torch.no_grad() switch off recording instead.")
    require(not any(p.grad is not None and bool(p.grad.any()) for p in parameters),
            "The step is right, but the gradients are still there, and the next backward() would "
            "add to them: set p.grad to None.")
