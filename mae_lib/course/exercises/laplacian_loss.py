"""Notebook 05: a low-pass filter, the Laplacian, the masked loss on it, an expected loss."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
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
from mae_lib.course.widgets import laplacian_loss as widgets


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


@exercise("Right: the average price of a guess, whichever row turns out to be the truth.")
def expected_loss(answer: Callable) -> None:
    torch.manual_seed(0)
    for k, n, lam in ((3, 8, 0.5), (4, 18, 2.0)):
        rows = torch.rand(k, n)
        rows[:, 0], rows[:, -1] = 0, 1
        chances = torch.rand(k).softmax(dim=0)
        guess = torch.rand(n)
        guess[0], guess[-1] = 0, 1
        guess.requires_grad_()
        right = widgets.expected_loss(guess, rows, chances, lam)
        found = call(answer, guess, rows, chances, lam)
        require_tensor(found, (), "The expected loss")
        _explain_expected_loss(found, right, guess.detach(), rows, chances, lam)
        require_gradient(found, right, guess)


def _explain_expected_loss(found, right, guess, rows, chances, lam) -> None:
    error = guess - rows
    squared, bends = error[:, 1:-1].square().mean(dim=1), error.diff(n=2, dim=1)
    absolute = bends.abs().mean(dim=1)
    mean = chances @ rows - guess
    of_mean = mean[1:-1].square().mean() + lam * mean.diff(n=2).abs().mean()
    require_right(found, right, {
        "All rows count the same: weight the loss of row k by chances[k].":
            (squared + lam * absolute).mean(),
        "The losses of the rows are added up: weight each by its chance before the sum.":
            (squared + lam * absolute).sum(),
        "The second term is missing, or lam is not used.": chances @ squared,
        "lam is not used: multiply the mean of the second differences by it.":
            chances @ (squared + absolute),
        "lam belongs to the second differences, not to the squared error.":
            chances @ (lam * squared + absolute),
        "The second differences should be compared by their absolute values, not by squares.":
            chances @ (squared + lam * bends.square().mean(dim=1)),
        "Second differences of opposite sign cancel: take absolute values before the mean.":
            chances @ (squared + lam * bends.mean(dim=1)),
        "These are first differences: .diff(n=2, dim=1) takes the second.":
            chances @ (squared + lam * error.diff(dim=1).abs().mean(dim=1)),
        "The squared error is averaged over all pixels: leave out the first and the last, which "
        "are visible.": chances @ (error.square().mean(dim=1) + lam * absolute),
        "These are sums over the pixels; take means, so that the length of a row does not count.":
            chances @ (error.square().sum(dim=1) + lam * bends.abs().sum(dim=1)),
        "This is the loss against the mean row. The expected loss is the mean of the losses.":
            of_mean,
    }, f"Expected {right.item():.4f}, got {found.item():.4f}: for each row the mean squared error "
       "plus lam times the mean absolute second difference, then the average by chances.")
