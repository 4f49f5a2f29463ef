"""Notebook 05: a low-pass filter, the Laplacian by shifts, the masked mean, the composite."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_lib import losses, metrics
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    require,
    require_gradient,
    require_right,
    require_tensor,
)


def _low_pass(image: Tensor, keep: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(image) * keep).real


@exercise("Right: slow waves pass, fast ones do not, and the mean brightness stays.")
def low_pass(answer: Callable) -> None:
    torch.manual_seed(0)
    image, cutoff = torch.rand(32, 32) - 0.4, 6
    f = torch.fft.fftfreq(32) * 32
    radius = (f[:, None] ** 2 + f**2).sqrt()
    expected = _low_pass(image, radius <= cutoff)
    found = call(answer, image, cutoff)
    require(isinstance(found, Tensor), f"Return an image, a tensor, not {type(found).__name__}.")
    require(not found.is_complex(),
            "Your picture is made of complex numbers: take .real at the end. The imaginary part is "
            "rounding error if you kept each wave together with its twin of negative frequency.")
    require_tensor(found, (32, 32), "low_pass(image, cutoff)")
    if not close(found, expected, 1e-3):
        _explain_low_pass(found, image, radius, cutoff)
    wave = torch.cos(2 * torch.pi * 4 * torch.arange(20) / 20).expand(20, 20)
    passes = close(call(answer, wave, 5), wave, 1e-3)
    stops = close(call(answer, wave, 3), 0 * wave, 1e-3)
    require(passes and stops,
            "It works on 32×32 pixels only. Take the number of pixels from the image's shape.")


def _explain_low_pass(found: Tensor, image: Tensor, radius: Tensor, cutoff: float) -> None:
    expected = _low_pass(image, radius <= cutoff)
    f = torch.fft.fftfreq(32) * 32
    n = torch.arange(32)
    require(not close(found, image, 1e-3),
            "Nothing was removed. fftfreq counts in cycles per pixel, all below 0.5; multiplied by "
            "the number of pixels it counts in cycles per picture, as the cut-off does.")
    require(not close(found, image - expected, 1e-3),
            "This is what a low-pass removes: you kept the frequencies above the cut-off.")
    require(not close(found, expected.abs(), 1e-3),
            "What is below 0 became positive: take .real at the end, not .abs().")
    require(not close(found, expected - image.mean(), 1e-3),
            "The mean brightness is gone: it is the wave of frequency 0, and must pass.")
    require(not close(found, _low_pass(image, radius < cutoff), 1e-3),
            "Waves of exactly the cut-off should pass too: compare with <=, not with <.")
    square = torch.maximum(f[:, None].abs(), f.abs()) <= cutoff
    require(not close(found, _low_pass(image, square), 1e-3),
            "You kept a square of frequencies. A diagonal wave has frequency √(fx² + fy²), so what "
            "passes is a disc.")
    corner = (n[:, None] ** 2 + n**2).sqrt() <= cutoff
    require(not close(found, _low_pass(image, corner), 1e-3),
            "You kept one corner of the coefficients. Negative frequencies are stored at the far "
            "end of each axis; torch.fft.fftfreq knows which index is which.")
    centre = ((n[:, None] - 16) ** 2 + (n - 16) ** 2).sqrt() <= cutoff
    require(not close(found, _low_pass(image, centre), 1e-3),
            "Your disc lies in the middle of the coefficients, where fft2 keeps the fastest waves: "
            "frequency 0 is at index [0, 0].")
    require(False, "The shape is right, but the picture is not: multiply fft2 of the image by 1 "
                   "where fx² + fy² ≤ cutoff² and by 0 elsewhere, then transform back.")


@exercise("Right: ramps give 0, and every channel is filtered by itself.")
def laplacian(answer: Callable) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 6, 7)
    expected = losses.laplacian(x)
    found = call(answer, x)
    require(not isinstance(found, Tensor) or found.shape != x.shape,
            "Your result is as large as the image. Border pixels lack a neighbour: leave them out "
            "instead of inventing one (torch.roll brings it from the opposite side).")
    require_tensor(found, expected.shape, "laplacian(x)")
    if close(found, expected):
        return
    up, down, left, right = x[..., :-2, 1:-1], x[..., 2:, 1:-1], x[..., 1:-1, :-2], x[..., 1:-1, 2:]
    centre = x[..., 1:-1, 1:-1]
    cross = up + down + left + right
    diagonal = x[..., :-2, :-2] + x[..., :-2, 2:] + x[..., 2:, :-2] + x[..., 2:, 2:]
    require(not close(found, -expected),
            "The sign is reversed: neighbours count +1 and the centre −4.")
    require(not close(found, cross),
            "The centre is missing: subtract 4 times the pixel itself, or a flat image does not "
            "give 0.")
    require(not close(found, cross - 2 * centre),
            "−2 is the centre's weight in one direction. There are two directions here, so −4.")
    one_way = (up + down - 2 * centre, left + right - 2 * centre)
    require(not any(close(found, wrong) for wrong in one_way),
            "This is the second difference in one direction only; add the other one.")
    require(not close(found, cross + diagonal - 8 * centre),
            "You used all eight neighbours. This kernel has four: above, below, left and right.")
    require(not close(found, cross / 4 - centre), "Divide by nothing: this is a quarter of it.")
    require(False, "The shape is right, but the values are not: add the pixels above, below, left "
                   "and right, and subtract 4 times the centre.")


@exercise("Right: the same errors give the same loss, however many patches or channels there are.")
def masked_l1(answer: Callable) -> None:
    torch.manual_seed(0)
    error = torch.randn(2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, :2], mask[1, :, :1, :2] = 1, 1  # 8 pixels in one image, 2 in the other
    found = call(answer, error, mask)
    found = torch.tensor(found) if isinstance(found, float) else found
    require_tensor(found, (), "masked_l1(error, mask)")
    total = (error.abs() * mask).sum()
    hidden = mask.sum()
    per_image = (error.abs() * mask).sum(dim=(1, 2, 3)) / (3 * mask.sum(dim=(1, 2, 3)))
    for wrong, explanation in (
        (total / error.numel(),
         "You divide by all values, also visible ones: with half as many masked patches the same "
         "errors would give half the loss."),
        (error.abs().mean(), "The mask is not used: errors on visible pixels must not count."),
        (total / hidden,
         "You divide by the number of masked pixels. Each has three values, so the loss is three "
         "times too large, and would change with the number of channels."),
        (total, "This is the sum. Divide by how many values it was taken over."),
        (per_image.mean(),
         "You average within each image, then over images: a value then counts more where fewer "
         "are masked. Take one mean over all masked values of the batch."),
        ((error.square() * mask).sum() / hidden / 3,
         "These are squares. L1 takes absolute values."),
        ((error * mask).sum() / hidden / 3,
         "Errors of opposite sign cancel: take absolute values before the sum."),
        ((error.abs() * (1 - mask)).sum() / (1 - mask).sum() / 3,
         "This is the error on visible pixels. In the mask, 1 means hidden."),
    ):
        require(not close(found, wrong), explanation)
    require(close(found, total / hidden / 3),
            f"Expected {float(total / hidden / 3):.4f}, got {float(found):.4f}: the sum of "
            f"|error| over masked values, divided by their number.")
    one = call(answer, error[:, :1], mask)
    require(close(torch.as_tensor(one), (error[:, :1].abs() * mask).sum() / hidden),
            "With one channel it is wrong: take the number of channels from error.shape.")
    nothing = torch.as_tensor(call(answer, error, 0 * mask))
    require(bool(nothing.isfinite()), "With nothing masked it gives nan: clamp the count to 1.")
    require(float(nothing) == 0, f"With nothing masked it should be 0, not {float(nothing):.4f}.")


@exercise("Right: the truth where it is visible, the prediction where it is hidden.")
def composite(answer: Callable) -> None:
    torch.manual_seed(0)
    pred, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mask = (torch.rand(2, 1, 4, 4) < 0.5).float()
    found = call(answer, pred, target, mask)
    require_tensor(found, pred.shape, "composite(pred, target, mask)")
    require(not close(found, metrics.composite(target, pred, mask)),
            "The two are swapped: 1 in the mask means hidden, so the prediction belongs there.")
    require(not close(found, pred * mask),
            "Visible pixels are black. Add the true ones: target * (1 - mask).")
    require(not close(found, target * (1 - mask)),
            "Hidden pixels are black: this is the masked input. Add the prediction there.")
    require(not close(found, pred),
            "This is the raw prediction. Where pixels are visible, take them from the target.")
    require(not close(found, pred * mask + target),
            "Hidden pixels hold the sum of both: the target must be multiplied by 1 - mask.")
    require(close(found, metrics.composite(pred, target, mask)),
            "Each pixel should be either the target's or the prediction's, as the mask says.")


@exercise("Right: edges count, only where they were hidden, and no visible prediction leaks in.")
def laplacian_loss_masked(answer: Callable) -> None:
    torch.manual_seed(0)
    for b, channels, h, w in ((2, 3, 8, 8), (3, 1, 6, 10)):
        pred = torch.rand(b, channels, h, w, requires_grad=True)
        target = torch.rand(b, channels, h, w)
        mask = torch.zeros(b, 1, h, w)
        mask[:, :, :4, 2:6] = 1
        mask[0, :, 4:6] = 1
        right = losses.laplacian_loss_masked(pred, target, mask)
        found = call(answer, pred, target, mask)
        require_tensor(found, (), "The loss")
        _explain_laplacian_loss(found, right, pred, target, mask)
        require_gradient(found, right, pred)
    nothing = call(answer, pred.detach(), target, 0 * mask)
    require(bool(nothing.isfinite()) and float(nothing) == 0,
            "With nothing hidden the loss should be 0, not 0/0: clamp the count, .clamp(min=1).")


def _explain_laplacian_loss(found, right, pred, target, mask) -> None:
    channels = pred.shape[1]
    inner = mask[..., 1:-1, 1:-1]
    count = channels * inner.sum()

    def filtered(x: Tensor, padded: bool = False) -> Tensor:
        return losses.laplacian(F.pad(x, (1, 1, 1, 1)) if padded else x)

    difference = (pred - target) * mask  # of the composite and the target
    error = filtered(difference)
    padded = filtered(difference, True)
    raw = filtered(pred - target)
    per_image = ((error.abs() * inner).sum((1, 2, 3)) / (channels * inner.sum((1, 2, 3))))
    require_right(found, right, {
        "The filter reads the raw prediction, also where patches are visible and nothing trained "
        "it. Filter the composite: the target where visible, the prediction where hidden.":
            (raw.abs() * inner).sum() / count,
        "All pixels count, visible ones too: multiply |error| by the mask before the sum, and "
        "divide by the number of hidden values.": error.abs().mean(),
        "The sum runs over hidden pixels, but you divide by all pixels.":
            (error.abs() * inner).mean(),
        "You divide by the number of hidden pixels; each has as many values as there are "
        "channels.": (error.abs() * inner).sum() / inner.sum(),
        "These are squared errors: L1 takes absolute values.":
            (error.square() * inner).sum() / count,
        "Errors of opposite sign cancel: take absolute values before the sum.":
            (error * inner).sum() / count,
        "There is no Laplacian in it: this is the error of the pixels themselves.":
            (difference[..., 1:-1, 1:-1].abs() * inner).sum() / count,
        "The mask is inverted: 1 means hidden.":
            (filtered((pred - target) * (1 - mask)).abs() * (1 - inner)).sum()
            / (channels * (1 - inner).sum()),
        "The border is padded with zeros, which makes edges where there are none: leave out the "
        "outermost pixels (no padding, and mask_img[..., 1:-1, 1:-1]).":
            (padded.abs() * mask).sum() / (channels * mask.sum()),
        "You average within each image, then over images: take one mean over all hidden values.":
            per_image.mean(),
        "This is the sum: divide it by the number of hidden values.": (error.abs() * inner).sum(),
    }, f"Expected {right.item():.4f}, got {found.item():.4f}: |Laplacian of the composite − "
       "Laplacian of the target|, averaged over hidden values.")
