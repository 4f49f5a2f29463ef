"""Notebook 00: counting what stays visible, the simplest filling, decibels."""

import math
from collections.abc import Callable

import torch

from mae_lib.course.exercises import call, close, exercise, number, require, require_tensor
from mae_lib.masking import num_visible_patches


@exercise("Right: of 196 patches, 49 stay visible at a mask ratio of 75 %, and only 19 at 90 %.")
def visible_patches(answer: Callable) -> None:
    for patches, ratio in ((196, 0.75), (144, 0.8), (64, 0.9), (196, 0.9)):
        found = number(call(answer, patches, ratio))
        expected, exact = num_visible_patches(patches, ratio), patches * (1 - ratio)
        at = f"of {patches} patches at mask ratio {ratio}"
        require(found not in (int(patches * ratio), patches - expected),
                f"{found:g} {at} is how many are hidden. Return how many stay visible.")
        require(not math.isclose(found, 1 - ratio),
                f"{found:.2f} is the visible share: multiply it by the number of patches.")
        require(found == expected or not math.isclose(found, exact),
                f"You keep {found:.1f} {at}, but a patch is visible or it is not. Drop the "
                "decimals with int().")
        require(found == expected or found not in (round(exact), math.ceil(exact)),
                f"{found:g} {at} is rounded up from {exact:.1f}; int() cuts off the decimals, "
                f"which gives {expected}.")
        require(found == expected, f"You keep {found:g} {at}, expected {expected}, which is "
                                   f"{patches} × {1 - ratio:.2f} without the decimals.")


@exercise("Right: this baseline uses a single colour. A model that has learned anything must "
          "beat it.")
def mean_fill(answer: Callable) -> None:
    image = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
    image[0] = 0.5 + image[0] / 2  # a reddish picture, brighter in its hidden part
    hidden = torch.zeros(1, 6, 8)
    hidden[:, :4, 3:] = 1
    image = image * (0.5 + 0.5 * hidden)
    image[0, 5, :4] = 0  # black is not hidden
    found = call(answer, image, hidden)
    require_tensor(found, image.shape, "mean_fill(image, hidden)")
    visible = 1 - hidden
    sums, count = (image * visible).sum(dim=(1, 2)), visible.sum()

    def fill(colour, where=hidden):
        colour = torch.as_tensor(colour).expand(3)[:, None, None]
        return torch.where(where > 0, colour, image)

    require(not close(found, image),
            "Nothing has changed: hidden pixels still have their own values.")
    require(not close(found, fill(sums / count, torch.ones_like(hidden))),
            "The colour is right, but the visible pixels have it too. They should stay as they "
            "are.")
    require(not close(found, fill(sums / count, visible)),
            "You filled the visible pixels and kept the hidden ones: hidden is 1 where a pixel is "
            "hidden.")
    require(close(found * visible, image * visible),
            "Visible pixels have changed: keep them as they are.")
    require(not close(found, fill(image.mean(dim=(1, 2)))),
            "You averaged over all pixels, including the hidden ones. That is peeking, so "
            "average only the visible ones.")
    require(not close(found, fill(sums / visible.numel())),
            f"Too dark: you divided by all {visible.numel()} pixels, but only {int(count)} are "
            "visible.")
    require(not close(found, fill(sums / hidden.sum())),
            f"You divided by the number of hidden pixels, {int(hidden.sum())}. Divide by the "
            f"number of visible ones, {int(count)}.")
    require(not close(found, fill(sums.sum() / (3 * count))),
            "One grey for all three channels is not the mean colour. Take the mean of each "
            "channel separately.")
    require(not close(found, fill((image * hidden).sum(dim=(1, 2)) / hidden.sum())),
            "That is the mean colour of the hidden pixels, which nobody knows: average the "
            "visible ones.")
    require(close(found, fill(sums / count)),
            "Visible pixels are right, but the colour is not: expected (" +
            ", ".join(f"{value:.3f}" for value in (sums / count).tolist()) +
            f") at a hidden pixel, got ({', '.join(f'{v:.3f}' for v in found[:, 0, 3].tolist())}).")


@exercise("Right: dividing the mean squared error by 10 always adds 10 dB.")
def psnr(answer: Callable) -> None:
    for mse in (0.01, 0.001, 0.25, 1e-5):
        found = number(call(answer, torch.tensor(mse, dtype=torch.float64)))
        expected = -10 * math.log10(mse)

        def near(value, found=found):
            return math.isclose(found, value, abs_tol=0.01)

        at = f"for a mean squared error of {mse}"
        require(not near(-expected), f"{found:.2f} dB {at} has the wrong sign: a smaller error "
                                     "should give more decibels.")
        require(not near(-10 * math.log(mse)),
                f"{found:.2f} dB {at} comes from the natural logarithm, but decibels use log10.")
        require(not near(2 * expected),
                f"{found:.2f} dB {at} is twice as much as it should be: 20 · log10 is for the "
                "root of the mean squared error.")
        require(not near(expected / 2),
                f"{found:.2f} dB {at} is half of what it should be: the factor 10 goes with "
                "the mean squared error itself, so take no root.")
        require(not near(expected / 10),
                f"{found:.2f} {at} is in bels; a decibel is a tenth of one, so multiply by 10.")
        require(not near(expected + 20 * math.log10(255)),
                f"{found:.2f} dB {at} comes from a peak of 255, which is for values from 0 to "
                "255; ours go from 0 to 1.")
        require(near(expected), f"{found:.2f} dB {at}, expected {expected:.2f}.")
