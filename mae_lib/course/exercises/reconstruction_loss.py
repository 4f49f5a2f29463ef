"""Notebook 04: the loss, a prediction back in pixels, a step of gradient descent."""

from collections.abc import Callable

import torch
from torch import Tensor

from mae_lib import losses
from mae_lib.course.exercises import (
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
            require_tensor(found, (), f"The loss with norm_pix={norm_pix}")
            _explain_mae_loss(found, right, pred, target, mask, norm_pix)
            require_gradient(found, right, pred)


def _explain_mae_loss(found, right, pred, target, mask, norm_pix: bool) -> None:
    mean, std = patch_statistics(target)
    biased = (target.var(dim=-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    whole = (target - target.mean()) / target.std()
    normal = (target - mean) / std if norm_pix else target
    square = (pred - normal).square()  # (B, L, V)
    error, hidden = square.mean(dim=-1), mask.sum()

    def loss(target: Tensor) -> Tensor:
        return ((pred - target).square().mean(dim=-1) * mask).sum() / hidden

    per_image = (error * mask).sum(1) / mask.sum(1)
    which = f"With norm_pix={norm_pix}: "
    require_right(found, right, {
        which + "this is the mean over all patches, visible ones too: multiply each patch's error "
        "by the mask.": error.mean(),
        which + "the mask is inverted: 1 means hidden, and your loss counts the visible patches.":
            (error * (1 - mask)).sum() / (1 - mask).sum(),
        which + "visible errors are 0 but still count: divide by the number of hidden patches, "
        "mask.sum().": (error * mask).mean(),
        which + "this is a sum over hidden patches: divide by their number.":
            (error * mask).sum(),
        which + "the values of a patch are summed: take their mean.":
            (square.sum(dim=-1) * mask).sum() / hidden,
        which + "these are absolute errors: square them.":
            ((pred - normal).abs().mean(dim=-1) * mask).sum() / hidden,
        which + "you average within each image first. Take one mean over all hidden patches of "
        "the batch.": per_image.mean(),
        which + ("the target is not normalised: subtract each patch's mean and divide by its "
                 "standard deviation." if norm_pix else
                 "the target is normalised, which only norm_pix=True asks for."):
            loss(target if norm_pix else (target - mean) / std),
        which + "only the mean is subtracted; divide by the standard deviation too.":
            loss(target - mean) if norm_pix else torch.tensor(torch.nan),
        which + "the variance divides by the number of values; the official code's divides by one "
        "less (unbiased, the default of torch.var).":
            loss((target - mean) / biased) if norm_pix else torch.tensor(torch.nan),
        which + "mean and standard deviation are those of the whole batch; each patch has its own.":
            loss(whole) if norm_pix else torch.tensor(torch.nan),
        which + "the prediction is normalised as well; only the target should be.":
            (((pred - pred.mean(-1, keepdim=True)) / pred.std(-1, keepdim=True) - normal).square()
             .mean(dim=-1) * mask).sum() / hidden,
    }, f"{which}expected {right.item():.4f}, got {found.item():.4f}: the mean squared error of "
       "each patch, then the mean over hidden patches.", 1e-5)


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
    require(not close(found, pred * std),
            "The contrast is right, but every patch is around 0: add the mean back.")
    require(not close(found, pred + mean),
            "The means are right, but not the contrast: multiply by the standard deviation first.")
    require(not close(found, (pred + mean) * std),
            "The order is wrong: the mean came off first, so it goes back on last.")
    require(not close(found, (pred - mean) / std),
            "This normalises the prediction once more: turn both steps around.")
    own_mean, own_std = patch_statistics(pred)
    require(not close(found, pred * own_std + own_mean),
            "These are the statistics of the prediction itself: take those of the target's "
            "patches.")
    require(close(found, pred * std + mean, 1e-3),
            "Undo (y − mean) / std with patch_statistics(patches): multiply, then add.")


@exercise("Right: one step downhill for every parameter, and the gradients are cleared.")
def descend(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(4)
    before, gradients = ([torch.randn(3, size, generator=generator) for size in (2, 4, 5)]
                         for _ in range(2))
    lr, parameters = 0.3, [torch.nn.Parameter(x.clone()) for x in before]
    for parameter, gradient in zip(parameters[:2], gradients, strict=False):
        parameter.grad = gradient.clone()  # the last one has none
    try:
        answer(parameters, lr)
    except RuntimeError as error:
        require("leaf Variable" not in str(error),
                "Autograd records your change and refuses it: make it in a with torch.no_grad() "
                "block.")
        raise
    except TypeError:
        require(not _has_a_body(answer),
                "One of the parameters has no gradient, its .grad is None: leave it as it is.")
        raise

    def moved(step: float) -> bool:
        """Whether both parameters with a gradient moved by `step` times it."""
        return all(close(p.detach(), x + step * g) for p, x, g in
                   zip(parameters[:2], before, gradients, strict=False))

    if moved(0):
        given(... if not _has_a_body(answer) else answer)
        require(False, "No parameter has changed. p = p - … only makes a new tensor: change p "
                       "itself, with p -= … or p.sub_(…).")
    require(not moved(lr), "You climb: the step goes against the gradient, so subtract it.")
    require(not moved(-1), "The step should be lr times the gradient; yours leaves lr out.")
    require(bool((parameters[1].detach() != before[1]).any()),
            "Only the first parameter has changed: go through all of them. Is a return inside the "
            "loop?")
    require(moved(-lr), "The parameters have moved, but not by −lr times their gradient.")
    require(close(parameters[2].detach(), before[2]),
            "A parameter without a gradient has changed: leave it as it is.")
    require(not any(p.grad is not None and bool(p.grad.any()) for p in parameters),
            "The step is right, but the gradients are still there, and the next backward() would "
            "add to them: set p.grad to None.")
