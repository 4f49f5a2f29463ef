"""Notebook 06: points on a sphere, their distances, how evenly they spread, in how many ways."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mae_lib import losses, metrics
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    require,
    require_gradient,
    require_tensor,
)


@exercise("Right: every row has length 1, and a row of zeros does no harm.")
def unit(answer: Callable) -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.5], [-6.0, 8.0]])
    found = call(answer, x, 1e-8)
    require_tensor(found, x.shape, "unit(x, eps)")
    length = x.norm(dim=1, keepdim=True)
    require(not close(found, x / length**2),
            "You divide by the squared length: (3, 4) has length 5, not 25. Take the square root.")
    require(not close(found, x / x.norm(dim=0)),
            "Each column has length 1 now; it is the rows, one for each image, that need it.")
    require(not close(found, x / x.norm()),
            "You divide everything by the length of the whole tensor; each row has its own.")
    require(not close(found, x / x.abs().sum(dim=1, keepdim=True)),
            "(3, 4) was divided by 7, the sum of its values; its length is √(3² + 4²) = 5.")
    require(close(found, x / length), f"The rows should have length 1; yours have "
                                      f"{[round(v, 2) for v in found.norm(dim=1).tolist()]}.")
    zeros = call(answer, torch.zeros(2, 3), 1e-8)
    require(bool(zeros.isfinite().all()),
            "A row of zeros gives nan, which is 0/0: divide by the larger of length and eps.")
    short = call(answer, torch.tensor([[0.1, 0.0], [3.0, 4.0]]), 1.0)
    require(not close(short[1], torch.tensor([0.5, 2 / 3])),
            "You add eps to the length, which makes every row a little too short: with eps = 1, "
            "(3, 4) should still have length 1.")
    require(close(short, torch.tensor([[0.1, 0.0], [0.6, 0.8]])),
            "With eps = 1 the row (0.1, 0) is divided by 1, as eps is larger than its length, and "
            "(3, 4) by its length 5.")


@exercise("Right: all pairs at once, for points of any length, and never below 0.")
def squared_distances(answer: Callable) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 3) * 2, torch.randn(5, 3)
    found = call(answer, a, b)
    expected = (a[:, None] - b[None]).square().sum(dim=2)  # (4, 5)
    require(not isinstance(found, Tensor) or not close(found, expected.T),
            "Your table is transposed: row i, column j belongs to point i of a and point j of b.")
    require_tensor(found, (4, 5), "squared_distances(a, b)")
    inner = a @ b.T
    lengths = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    require(not close(found, expected.sqrt()),
            "These are distances; leave out the square root, the loss needs their squares.")
    require(not close(found, 2 - 2 * inner) and not close(found, (2 - 2 * inner).clamp(min=0)),
            "2 − 2a·b holds only for points of length 1; these have other lengths, so ‖a‖² and "
            "‖b‖² must be computed.")
    require(not close(found, lengths + 2 * inner),
            "The sign of the product is wrong: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.")
    require(not close(found, lengths - inner),
            "The product counts twice: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.")
    require(close(found, expected), "The shape is right, but not the values: the first pair is "
            f"at squared distance {expected[0, 0]:.3f}, you found {float(found[0, 0]):.3f}.")
    near = 30 * torch.randn(40, 64)
    require(bool((call(answer, near, near) >= 0).all()),
            "For points that lie close together, rounding makes some of your squared distances "
            "negative: clamp them at 0.")


@exercise("Right: the loss of a batch, safe for features of any size.")
def uniformity_loss(answer: Callable) -> None:
    torch.manual_seed(0)
    for b, n, d in ((6, 3, 4), (4, 5, 8)):
        tokens = (torch.randn(b, n, d) * torch.rand(b, 1, 1).add(0.5) + 0.3).requires_grad_()
        found = call(answer, tokens)
        require_tensor(found, (), "The loss")
        explain_uniformity(found.item(), tokens.detach())
        require_gradient(found, losses.uniformity_loss(tokens), tokens)
    zeros = tokens.detach().clone()
    zeros[0] = 0
    require(abs(float(call(answer, zeros)) - float(losses.uniformity_loss(zeros))) < 1e-3,
            "An image whose features are all 0 should stay 0: divide by the length, or by eps "
            "where that is larger (F.normalize does).")


def explain_uniformity(found: float, tokens: Tensor) -> None:
    """Raise Mistake that names what went wrong, for a loss that was found for tokens (B, N, D)."""
    itself = torch.eye(len(tokens), dtype=torch.bool)

    def squared_distances(z: Tensor) -> Tensor:
        return torch.cdist(z, z).square()

    raw = tokens.double().mean(dim=1)  # (B, D)
    square = squared_distances(torch.nn.functional.normalize(raw, dim=1))
    pairs, terms = square[~itself], (-2 * square[~itself]).exp()
    raw = (-2 * squared_distances(raw)[~itself]).exp().mean().log()
    first = torch.nn.functional.normalize(tokens.double(), dim=2).mean(dim=1)
    first = (-2 * squared_distances(first)[~itself]).exp().mean().log()
    mistakes = [
        ((-2 * square).exp().mean().log(),
         "You count the pairs i = i: an image is at distance 0 from itself, so these terms are 1 "
         "whatever the features are. Leave out the diagonal."),
        ((-2 * square).exp().sum().log() - math.log(len(tokens) * (len(tokens) - 1)),
         "You count the pairs i = i in the sum, though not in their number: leave out the "
         "diagonal."),
        (terms.sum().log() - 2 * math.log(len(tokens)),
         "The diagonal is left out of the sum but not of the count: a batch of B has B(B − 1) "
         "pairs, not B²."),
        (-2 * pairs.mean(), "This is the mean of the exponents. Take exp of each pair first, "
                            "then the mean, then the log."),
        (terms.mean(), "The log is missing: you return the mean of the terms itself."),
        (terms.sum().log(), "This is the log of the sum over pairs; the loss has their mean."),
        ((-2 * pairs.sqrt()).exp().mean().log(),
         "Your exponent has the distance; it should be the squared distance."),
        (-terms.mean().log(), "The sign is wrong: the loss falls when points move apart."),
        (raw, "The features are not on the sphere: divide each mean by its length."),
        (first, "Normalise after the mean over tokens, not before: the mean of vectors of length "
                "1 is shorter than 1."),
        ((2 * pairs).exp().mean().log(), "The sign in the exponent is wrong: it is −2 ‖zᵢ − zⱼ‖²."),
    ]
    right = float(terms.mean().log())
    if abs(found - right) < 1e-3:
        return
    for value, explanation in mistakes:
        require(abs(found - float(value)) > 1e-3, explanation)
    require(False, f"For the features of this test the loss is {right:.3f}, you found "
                   f"{found:.3f}.")


@exercise("Right: you can count the directions that a batch of features uses.")
def effective_rank(answer: Callable) -> None:
    torch.manual_seed(0)
    x = torch.randn(30, 6) * torch.tensor([8.0, 4, 2, 1, 0.5, 0.25]) + 5
    found = call(answer, x)
    require(isinstance(found, Tensor | float | int),
            f"Return one number, got {type(found).__name__}.")
    require(not isinstance(found, Tensor) or found.numel() == 1,
            "Return one number, the exponential of the entropy, not one for each direction.")
    found, centred = float(found), x.double() - x.double().mean(dim=0)
    s = torch.linalg.svdvals(centred)
    entropy = float(torch.special.entr(s / s.sum()).sum())
    power = s.square() / s.square().sum()
    off_centre = torch.linalg.svdvals(x.double())
    off_centre = torch.special.entr(off_centre / off_centre.sum()).sum().exp()
    bits = entropy / math.log(2)
    mistakes = [
        (off_centre, "The features are not centred: their common mean counts as a direction. "
                     "Subtract the mean over images first."),
        (torch.special.entr(power).sum().exp(),
         "You squared the singular values; this definition takes them as they are."),
        (math.exp(bits), "The entropy has logarithms to base 2 but the exponential has base e; "
                         "use the natural logarithm in the entropy."),
        (bits, "This is the entropy in bits: use the natural logarithm, then take exp."),
        (entropy, "This is the entropy; its exponential is the effective rank."),
        (math.exp(-entropy), "The sign of the entropy is wrong: it is −Σ p log p."),
        (float((s > 1e-6).sum()), "This is the ordinary rank, which counts every direction "
                                  "as 1, however little it is used."),
    ]
    right = metrics.effective_rank(x)
    if abs(found - right) > 1e-3:
        for value, explanation in mistakes:
            require(abs(found - float(value)) > 1e-3, explanation)
        require(False, f"For the features of this test it is {right:.3f}, you found {found:.3f}. "
                       "Do the shares p sum to 1?")
    flat = torch.zeros(4, 3)
    flat[:, 0] = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    found = float(call(answer, flat))
    require(not math.isnan(found), "For points on a line the result is nan: some shares are 0, and "
                                   "0 · log 0 is nan. torch.special.entr takes it as 0.")
    require(abs(found - 1) < 1e-3, f"Points on a line use 1 direction, you found {found:.3f}.")
