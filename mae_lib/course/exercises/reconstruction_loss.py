"""Notebook 04: the masked loss, normalised patches and back, PSNR on hidden pixels."""

from collections.abc import Callable

import torch
from torch import Tensor

from mae_lib import losses
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    require,
    require_gradient,
    require_right,
    require_tensor,
)
from mae_lib.losses import patch_statistics
from mae_lib.metrics import masked_psnr
from mae_lib.patches import patchify


@exercise("Right: only hidden patches count, whatever stands on the visible ones.")
def masked_mse(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.randn(2, 3, 8, 12, generator=generator)  # (B, L, V) each
    mask = torch.tensor([[1, 1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 1, 0, 1.0]]).repeat(2, 1)[:3]
    found = call(answer, pred, target, mask)
    square = (pred - target).square()
    error = square.mean(dim=2)  # (B, L)
    hidden = mask.sum()
    right = (error * mask).sum() / hidden
    if isinstance(found, Tensor) and found.shape == mask.shape:
        require(False, "That is one error for each patch, (3, 8). The loss is one number: their "
                       "mean over the hidden patches.")
    require_tensor(found, (), "The loss")
    require(not close(found, error.mean()),
            "This is the mean over all 24 patches, and the mask plays no part: visible patches "
            "must not count.")
    require(not close(found, (error * (1 - mask)).sum() / (1 - mask).sum()),
            "The mask is inverted: 1 means hidden, and your loss counts the visible patches.")
    require(not close(found, (error * mask).mean()),
            "The visible errors are 0, but they still count as patches: you divide by all 24 "
            "instead of the 18 hidden ones.")
    require(not close(found, (error * mask).sum()),
            "You sum over the hidden patches: divide by their number, 18, or the loss grows "
            "with the batch.")
    summed = square.sum(dim=2)
    require(not close(found, (summed * mask).sum() / hidden),
            "Within a patch you sum its 12 values: take their mean, or the loss grows with the "
            "patch size.")
    require(not close(found, ((pred - target).abs().mean(dim=2) * mask).sum() / hidden),
            "This is the absolute error: square the difference.")
    require(not close(found, right.sqrt()), "This is the root of the mean squared error: leave "
                                            "the root out.")
    require(close(found, right), f"Expected {right:.4f}, got {found:.4f}: the mean over a patch's "
                                 f"values, then the mean over the hidden patches.")
    spoilt = pred + 100 * (1 - mask)[:, :, None]
    require(close(call(answer, spoilt, target, mask), right),
            "The loss changes when the prediction on visible patches does.")


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


@exercise("Right: every patch has mean 0 and deviation 1, and a flat one is all zeros.")
def normalise_patches(answer: Callable) -> None:
    patches = _near_flat()
    found = call(answer, patches)
    require_tensor(found, patches.shape, "normalise_patches(patches)")
    mean, std = patch_statistics(patches)
    expected = (patches - mean) / std
    if close(found, expected, 1e-3):
        return
    usual = torch.ones(2, 6, dtype=torch.bool)  # patches that are not nearly flat
    usual[0, 2] = usual[1, 4] = False

    def like(other: Tensor) -> bool:
        return close(found[usual], other[usual], 1e-3)

    if like(expected):
        require(bool(found.isfinite().all()),
                "One of the patches is flat: its deviation is 0, and 0/0 is not a number. Add eps "
                "to the variance.")
        require(False, "Right, except where a patch is almost flat: eps is added to the variance, "
                       "under the root, not to the deviation.")
    require(not like((patches - mean) / (patches.var(-1, unbiased=False, keepdim=True)
                                         + 1e-6).sqrt()),
            "Almost: this variance divides by 12 values. The official code's is unbiased: it "
            "divides by 11, one less than there are.")
    for axis, words in ((1, "over all patches of an image, for each value by itself"),
                        (0, "over the batch"), ((1, 2), "over the whole image")):
        for unbiased in (True, False):
            var = patches.var(axis, unbiased=unbiased, keepdim=True)
            other = (patches - patches.mean(axis, keepdim=True)) / (var + 1e-6).sqrt()
            require(not like(other), f"Mean and deviation are taken {words}: take them over the "
                                     f"values of each patch, the last axis.")
    pixels = patches.reshape(2, 6, 4, 3)
    by_channel = (pixels - pixels.mean(2, keepdim=True)) / (pixels.var(2, keepdim=True)
                                                            + 1e-6).sqrt()
    require(not like(by_channel.reshape(patches.shape)),
            "Each channel has a mean and a deviation of its own here: take them over all values "
            "of a patch together.")
    require(not like(patches / std), "The mean is still there: subtract it before dividing.")
    require(not like(patches - mean), "The mean is gone; now divide by the deviation.")
    require(not like((patches - mean) / std.square()),
            "You divide by the variance: take its root first.")
    require(False, "Each patch should have mean 0 and deviation 1, taken over its own values.")


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
            "The means are right, but not the contrast: multiply by the deviation first.")
    require(not close(found, (pred + mean) * std),
            "The order is wrong: the mean came off first, so it goes back on last.")
    require(not close(found, (pred - mean) / std),
            "This normalises the prediction once more: turn both steps around.")
    own_mean, own_std = patch_statistics(pred)
    require(not close(found, pred * own_std + own_mean),
            "These are the statistics of the prediction itself: take those of the target's "
            "patches.")
    require(close(found, pred * std + mean, 1e-3),
            "Undo (y − mean) / deviation with patch_statistics(patches): multiply, then add.")


@exercise("Right: one number in decibels for each image, from its hidden pixels alone.")
def hidden_psnr(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(3, 3, 6, 6, generator=generator)
    pred = target + 0.4 * torch.randn(target.shape, generator=generator)
    mask = torch.ones(3, 1, 6, 6)
    for image, rows in enumerate((2, 4, 1)):
        mask[image, :, :rows] = 0
    found = call(answer, pred, target, mask)
    clipped = pred.clamp(0, 1)
    square = (clipped - target).square()  # (B, 3, H, W)
    mse = (square * mask).mean(dim=(1, 2, 3)) / mask.mean(dim=(1, 2, 3))
    if isinstance(found, Tensor) and found.ndim == 0:
        require(False, "One number for the whole batch: give one for each image, so sum over all "
                       "axes but the first.")
    require_tensor(found, (3,), "hidden_psnr(pred, target, mask)")

    def like(error: Tensor, factor: float = -10) -> bool:
        return close(found, factor * error.log10(), 1e-3)

    require(not like(mse, 10), "The sign is wrong: a smaller error is a larger PSNR.")
    require(not close(found, -10 * mse.log(), 1e-3),
            "This is the natural logarithm: decibels take the one to base 10.")
    require(not like(mse, -20), "−20 goes with the root of the squared error; with the squared "
                                "error itself it is −10.")
    require(not like(square.mean(dim=(1, 2, 3))),
            "The visible pixels are in it too: multiply the squared error by the mask.")
    require(not like((square * mask).mean(dim=(1, 2, 3))),
            "You divide by all pixels: the visible ones then count as perfect, and PSNR is too "
            "high. Divide by the number of hidden values.")
    require(not like(3 * mse),
            "You divide by the hidden pixels, but each has three values: the error is three "
            "times too large.")
    per_image = (square * mask).sum(dim=(1, 2, 3))
    require(not any(like(per_image / count) for count in (mask.sum(), 3 * mask.sum())),
            "You divide by the hidden values of the whole batch: each image has its own number of "
            "them.")
    raw = ((pred - target).square() * mask).mean(dim=(1, 2, 3)) / mask.mean(dim=(1, 2, 3))
    require(not like(raw), "Clip the prediction to [0, 1] first: no screen can show more.")
    right = masked_psnr(pred, target, mask)
    require(close(found, right, 1e-3), f"Expected {right[0]:.2f} dB for the first image, got "
                                       f"{found[0]:.2f}.")
