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
    kind,
    nearest,
    number,
    require,
    require_gradient,
    require_one_device,
    require_right,
    require_tensor,
)
from mae_lib.course.exercises.reconstruction_loss import require_dtype, require_loss
from mae_lib.course.widgets import laplacian_loss as widgets

ONE_CHANNEL = ("This test image has one channel, not three: take the number of channels from the "
               "image's .shape[1].")


def _low_pass(image: Tensor, keep: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(image) * keep).real


@exercise("Right: slow waves pass, fast ones do not, and the mean brightness stays.")
def low_pass(answer: Callable) -> None:
    torch.manual_seed(0)
    image, cutoff = torch.rand(32, 32) - 0.4, 6
    f = torch.fft.fftfreq(32) * 32
    radius = (f[:, None] ** 2 + f**2).sqrt()
    try:
        found = call(answer, image, cutoff)
    except RuntimeError as error:
        require("(224)" not in str(error),
                "Take the number of pixels from image.shape[-1]: this image has 32, not 224.")
        raise
    require(isinstance(found, Tensor), f"Return an image, a tensor, not {kind(found)}.")
    waves = torch.fft.fft2(image) * (radius <= cutoff)
    require(not close(found.real, waves.real, 1e-3),
            "These are still the coefficients of the waves: transform them back with "
            "torch.fft.ifft2 first, then take .real.")
    require(not found.is_complex(),
            "Your picture is made of complex numbers: take .real at the end. The imaginary part is "
            "rounding error if you kept each wave together with its twin of negative frequency.")
    require_tensor(found, (32, 32), "low_pass(image, cutoff)")
    _explain_low_pass(found, image, radius, cutoff)
    for n, explanation in (
        (32, "Your result is right for a cut-off of 6, but wrong for another one: use the cut-off "
             "that the function is given."),
        (20, "Your function works on 32×32 pixels, but not on 20×20: take the number of pixels "
             "from the image's shape."),
        (21, "Your result is wrong for odd sizes, here 21×21 pixels. If you use torch.fft.irfft2, "
             "pass it s=image.shape; if you use fftshift, undo it with ifftshift."),
    ):
        wave = torch.cos(2 * torch.pi * 4 * torch.arange(n) / n).expand(n, n)
        passes = close(call(answer, wave, 5), wave, 1e-3)
        stops = close(call(answer, wave, 3), 0 * wave, 1e-3)
        require(passes and stops, explanation)


def _explain_low_pass(found: Tensor, image: Tensor, radius: Tensor, cutoff: float) -> None:
    expected = _low_pass(image, radius <= cutoff)
    f, n = torch.fft.fftfreq(32) * 32, torch.arange(32)
    slow = f.abs() <= cutoff
    one_way = (_low_pass(image, keep) for keep in (slow, slow[:, None], 2 * f**2 <= cutoff**2))
    require_right(found, expected, {
        "Nothing was removed. fftfreq gives cycles per pixel, never more than 0.5: multiply by the "
        "number of pixels to get cycles per image, the unit of the cut-off.": image,
        "You kept the frequencies above the cut-off, which a low-pass filter removes: keep those "
        "up to the cut-off.": image - expected,
        "Values below 0 became positive: take .real at the end, not .abs().": expected.abs(),
        "The mean brightness is gone: it is the wave of frequency 0, and must pass.":
            expected - image.mean(),
        "Waves exactly at the cut-off should pass too: compare with <=, not with <.":
            _low_pass(image, radius < cutoff),
        "You compare fx² + fy² with the cut-off: compare it with the square of the cut-off.":
            _low_pass(image, radius**2 <= cutoff),
        "You filter in one direction only. Both fx and fy count: use fft2, and f twice, once as "
        "f[:, None].": nearest(found, *one_way),
        "You kept a square of frequencies. A diagonal wave has frequency √(fx² + fy²), so keep "
        "a disc instead: fx² + fy² ≤ cutoff².": _low_pass(image, slow[:, None] & slow),
        "Your test lets every negative frequency pass, however high: compare absolute values or "
        "squares with the cut-off.": _low_pass(image, (f[:, None] <= cutoff) & (f <= cutoff)),
        "You kept one corner of the coefficients. Negative frequencies are stored at the far end "
        "of each axis: use torch.fft.fftfreq, which gives the frequency at each index.":
            _low_pass(image, n[:, None] ** 2 + n**2 <= cutoff**2),
        "Your disc lies in the middle of the coefficients, where fft2 puts the highest "
        "frequencies: centre it on frequency 0, which is at index [0, 0].":
            _low_pass(image, (n[:, None] - 16) ** 2 + (n - 16) ** 2 <= cutoff**2),
    }, "The shape is right, but the picture is not: multiply fft2 of the image by 1 where "
       "fx² + fy² ≤ cutoff² and by 0 elsewhere, then transform back.", 1e-3)


@exercise("Right: ramps give 0, and every channel is filtered by itself.")
def laplacian(answer: Callable) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 6, 7)
    expected = losses.laplacian(x)
    try:
        found = call(answer, x)
    except RuntimeError as error:
        require("must match the size" not in str(error),
                "The slices that you add have different sizes: crop each of them to "
                "(H − 2, W − 2).")
        raise
    require(not isinstance(found, Tensor) or found.shape != x.shape,
            "Your result is as large as the image. Border pixels lack a neighbour: leave them out "
            "instead of inventing one (torch.roll takes it from the opposite side).")
    together = "The channels were added together: filter each one by itself."
    require(not isinstance(found, Tensor) or found.shape != (2, 1, 4, 5), together)
    require_tensor(found, expected.shape, "laplacian(x)",
                   "Cut off exactly one pixel on each of the four sides, and keep all four axes.")
    up, down, left, right = x[..., :-2, 1:-1], x[..., 2:, 1:-1], x[..., 1:-1, :-2], x[..., 1:-1, 2:]
    centre = x[..., 1:-1, 1:-1]
    cross = up + down + left + right
    diagonal = x[..., :-2, :-2] + x[..., :-2, 2:] + x[..., 2:, :-2] + x[..., 2:, 2:]
    require_right(found, expected, {
        "The sign is reversed: neighbours count +1 and the centre −4.": -expected,
        "The centre is missing: subtract 4 times the pixel itself, so that a flat image gives "
        "0.": cross,
        "−2 is the centre's weight in one direction. There are two directions here, so its weight "
        "should be −4.": cross - 2 * centre,
        "This is the second difference in one direction only; add the other one.":
            nearest(found, up + down - 2 * centre, left + right - 2 * centre),
        "You used all eight neighbours. This kernel has four: above, below, left and right.":
            cross + diagonal - 8 * centre,
        "This is a quarter of the Laplacian: do not divide the sum by 4.": cross / 4 - centre,
        "Keep the sign and leave out .abs(): the Laplacian is negative where a pixel is brighter "
        "than its neighbours.": expected.abs(),
        together: expected.sum(dim=1, keepdim=True).expand_as(expected),
    }, "The shape is right, but the values are not: add the pixels above, below, left and right, "
       "and subtract 4 times the centre.")
    try:
        fits = close(call(answer, x[:, :1]), expected[:, :1])
    except (RuntimeError, IndexError, ValueError):
        fits = False
    require(fits, ONE_CHANNEL)


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
        try:
            found = call(answer, pred, target, mask)
        except (RuntimeError, IndexError) as error:
            said = str(error)
            require(channels > 1 or "channels" not in said, ONE_CHANNEL)
            require("at index 1 does not match" not in said,
                    "A mask with one channel cannot select in all channels: repeat it with "
                    "expand_as(error) first.")
            require(not ("(6)" in said and "(8)" in said) and "mask [2, 3, 8, 8]" not in said,
                    "The filter removes the outermost pixels: take mask_img for the composite, but "
                    "mask_img[..., 1:-1, 1:-1] for the error, which is smaller.")
            raise
        require_loss(found, "The loss", "Take one mean over all hidden values.")
        require_dtype(found, pred, "pred_img")
        _explain_laplacian_loss(found, right, pred, target, mask)
        require_gradient(found, right, pred)
    nothing = call(answer, pred.detach(), target, 0 * mask)
    require(number(nothing, "The loss with nothing hidden") == 0,
            "With nothing hidden the loss should be 0, not 0/0: clamp the count with "
            ".clamp(min=1).")
    require_one_device(answer, pred, target, mask)


def _explain_laplacian_loss(found, right, pred, target, mask) -> None:
    channels = pred.shape[1]
    inner = mask[..., 1:-1, 1:-1]

    filtered = losses.laplacian

    def mean_of(error: Tensor, inner: Tensor = inner) -> Tensor:
        return (error * inner).sum() / (channels * inner.sum())

    difference = (pred - target) * mask  # of the composite and the target
    error = filtered(difference)
    size = filtered(difference + target).abs() - filtered(target).abs()
    added = error.sum(dim=1, keepdim=True).abs()  # over the channels
    padded = [filtered(F.pad(difference, (1, 1, 1, 1), mode)).abs()
              for mode in ("constant", "reflect", "replicate")]
    centre = difference[..., 1:-1, 1:-1]
    other_filters = (9 * F.avg_pool2d(difference, 3, 1) - 9 * centre,  # eight neighbours
                     difference.diff(n=2, dim=-1)[..., 1:-1, :],
                     difference.diff(n=2, dim=-2)[..., 1:-1])
    raw = filtered(pred - target)
    per_image = ((error.abs() * inner).sum((1, 2, 3)) / (channels * inner.sum((1, 2, 3))))
    require_right(found, right, {
        "Your filter reads the raw prediction even in visible patches, where nothing trains it. "
        "Filter the composite: the target where visible, the prediction where hidden.":
            mean_of(raw.abs()),
        "You count all pixels, including visible ones: multiply |error| by the mask before the "
        "sum, and divide by the number of hidden values.": error.abs().mean(),
        "Your sum runs over hidden pixels, but you divide by the number of all values. Divide by "
        "the number of hidden values.": (error.abs() * inner).mean(),
        "You divide by the number of hidden pixels, but each pixel has one value per channel: "
        "multiply that number by the number of channels.":
            (error.abs() * inner).sum() / inner.sum(),
        "These are squared errors: take absolute values.":
            mean_of(error.square()),
        "Errors of opposite sign cancel: take absolute values before the sum.":
            mean_of(error),
        "This is the error of the pixels themselves: first take the Laplacian of the composite and "
        "of the target.": nearest(found, mean_of(centre.abs()), mean_of(difference.abs(), mask)),
        "This filter is not the Laplacian, which adds up the four neighbours and subtracts four "
        "times the pixel.": nearest(found, *(mean_of(x.abs()) for x in other_filters)),
        "The Laplacian of the target is missing: subtract it from the composite's before you take "
        "absolute values.": mean_of(filtered(difference + target).abs()),
        "|a| − |b| is not |a − b|: subtract the two Laplacians first, then take absolute values.":
            nearest(found, mean_of(size), mean_of(size.abs())),
        "The mask is inverted: 1 means hidden.":
            mean_of(filtered((pred - target) * (1 - mask)).abs(), 1 - inner),
        "The composite is the wrong way round: take the prediction where the mask is 1, the target "
        "elsewhere.": mean_of(filtered((pred - target) * (1 - mask)).abs()),
        "The composite is right, but you average over visible pixels: 1 means hidden.":
            mean_of(error.abs(), 1 - inner),
        "The mask is cropped on one side only: cut off one row and column on each side, "
        "mask_img[..., 1:-1, 1:-1].":
            nearest(found, *(mean_of(error.abs(), m) for m in
                             (mask[..., :-2, :-2], mask[..., 2:, 2:]))),
        "You count the hidden pixels of the uncropped mask: count those of the cropped one.":
            (error.abs() * inner).sum() / (channels * mask.sum()),
        "The channels were added together, so errors of opposite sign cancel: filter each channel "
        "by itself, with groups=C.": nearest(found, mean_of(added), channels * mean_of(added)),
        "The border is padded, which makes edges where there are none: leave out the outermost "
        "pixels (no padding, and mask_img[..., 1:-1, 1:-1]).":
            nearest(found, *(mean_of(x, mask) for x in padded)),
        "Visible pixels next to a hidden patch have an error too, and you count it: multiply by "
        "the mask before the sum.": error.abs().sum() / (channels * inner.sum()),
        ONE_CHANNEL: mean_of(error.abs()) * channels / 3,
        "You average within each image, then over images: take one mean over all hidden values.":
            per_image.mean(),
        "This is the sum: divide it by the number of hidden values.": (error.abs() * inner).sum(),
    }, f"Expected {right.item():.4f}, got {found.item():.4f}. The loss is |Laplacian of the "
       "composite − Laplacian of the target|, averaged over hidden values.")


@exercise("Right: the expected loss of a guess, over all rows that may be the truth.")
def expected_loss(answer: Callable) -> None:
    torch.manual_seed(0)
    for k, n, lam in ((3, 8, 0.4), (4, 18, 2.0)):
        rows = torch.rand(k, n)
        rows[:, 0], rows[:, -1] = 0, 1
        chances = torch.rand(k).softmax(dim=0)
        guess = torch.rand(n)
        guess[0], guess[-1] = 0, 1
        guess.requires_grad_()
        right = widgets.expected_loss(guess, rows, chances, lam)
        found = call(answer, guess, rows, chances, lam)
        require_loss(found, "The expected loss")
        _explain_expected_loss(found, right, guess.detach(), rows, chances, lam)
        require_gradient(found, right, guess)


def _explain_expected_loss(found, right, guess, rows, chances, lam) -> None:
    error = guess - rows
    squared, bends = error[:, 1:-1].square().mean(dim=1), error.diff(n=2, dim=1)
    absolute = bends.abs().mean(dim=1)
    mean = chances @ rows - guess
    between = guess.diff(n=2).abs() - rows.diff(n=2, dim=1).abs()
    of_mean = mean[1:-1].square().mean() + lam * mean.diff(n=2).abs().mean()
    require_right(found, right, {
        "You count all rows equally: weight the loss of row k by chances[k].":
            (squared + lam * absolute).mean(),
        "Take the sum over the rows, not the mean: the chances already add up to 1.":
            (chances * (squared + lam * absolute)).mean(),
        "The first term is the squared error; yours takes absolute values.":
            chances @ (error[:, 1:-1].abs().mean(dim=1) + lam * absolute),
        "The second differences of the hidden pixels need their visible neighbours too: apply diff "
        "to whole rows.":
            chances @ (squared + lam * error[:, 1:-1].diff(n=2, dim=1).abs().mean(dim=1)),
        "These are differences from row to row: take them along the pixels, with dim=1.":
            chances @ squared + lam * error.diff(n=2, dim=0).abs().mean(),
        "|a| − |b| is not |a − b|: subtract the second differences first, then take absolute "
        "values.": nearest(found, *(chances @ (squared + lam * x.mean(dim=1))
                                    for x in (between, between.abs()))),
        "The losses of the rows are added up: weight each by its chance before the sum.":
            (squared + lam * absolute).sum(),
        "Your loss does not depend on lam: add lam times the mean of the absolute second "
        "differences.": chances @ squared,
        "lam is not used: multiply the mean of the second differences by it.":
            chances @ (squared + absolute),
        "lam belongs to the second differences, not to the squared error.":
            chances @ (lam * squared + absolute),
        "lam multiplies both terms, but it belongs to the second differences only.":
            chances @ (lam * squared + lam * absolute),
        "Leave the squared error as it is, without the factor 1 − lam.":
            chances @ ((1 - lam) * squared + lam * absolute),
        "Only the squared error is weighted by the chances: weight the whole loss of each row.":
            nearest(found, chances @ squared + lam * absolute.mean(),
                    chances @ squared + lam * absolute.sum()),
        "Take the absolute values of the second differences, not their squares.":
            chances @ (squared + lam * bends.square().mean(dim=1)),
        "Second differences of opposite sign cancel: take absolute values before the mean.":
            chances @ (squared + lam * bends.mean(dim=1)),
        "These are first differences: .diff(n=2, dim=1) takes the second.":
            chances @ (squared + lam * error.diff(dim=1).abs().mean(dim=1)),
        "The squared error is averaged over all pixels: leave out the first and the last, which "
        "are visible.": chances @ (error.square().mean(dim=1) + lam * absolute),
        "These are sums over the pixels; take means, so that the length of a row does not count.":
            chances @ (error.square().sum(dim=1) + lam * bends.abs().sum(dim=1)),
        "This is the loss against the mean row. The expected loss is the mean of the losses "
        "against each row, weighted by chances.": of_mean,
    }, f"Expected {right.item():.4f}, got {found.item():.4f}. The loss of a row is its mean "
       "squared error plus lam times its mean absolute second difference. Weight these losses by "
       "chances, and add them up.")
