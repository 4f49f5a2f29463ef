"""Notebook 06: points on a sphere, their distances, how evenly they spread, in how many ways."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_lib import losses, metrics
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    number,
    require,
    require_gradient,
    require_right,
    require_tensor,
)


def _nearest(found: Tensor, *forms: Tensor) -> Tensor:
    """Of the forms that one mistake takes, the one closest to what was found."""
    return min(forms, key=lambda form: (form - found).abs().item())


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
    lengths = found.norm(dim=1)
    require(close(found, x / length),
            "Your rows have length 1, but their directions have changed: do not subtract the "
            "mean, only divide each row by its length." if close(lengths, torch.ones(3), 1e-3) else
            f"The rows should have length 1; yours have {[round(v, 2) for v in lengths.tolist()]}.")
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
    try:
        found = call(answer, a, b)
    except RuntimeError as error:
        require("must match the size" not in str(error),
                "The shapes do not fit: the squared lengths of a must be a column, (N, 1), and "
                "those of b a row, (M,). x[:, None] makes a column.")
        raise
    expected = (a[:, None] - b[None]).square().sum(dim=2)  # (4, 5)
    require(not isinstance(found, Tensor) or not close(found, expected.T),
            "Your table is transposed: row i, column j belongs to point i of a and point j of b.")
    require_tensor(found, (4, 5), "squared_distances(a, b)")
    inner = a @ b.T
    lengths = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    not_squared = a.norm(dim=1)[:, None] + b.norm(dim=1)
    require_right(found.clamp(min=0), expected, {  # all are above 0
        "These are distances; leave out the square root, the loss needs their squares.":
            expected.sqrt(),
        "2 − 2a·b holds only for points of length 1; these have other lengths, so ‖a‖² and ‖b‖² "
        "must be computed.": (2 - 2 * inner).clamp(min=0),
        "The sign of the product is wrong: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.":
            (lengths + 2 * inner).clamp(min=0),
        "You subtract the product once; subtract it twice: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.":
            (lengths - inner).clamp(min=0),
        "The lengths are not squared: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.":
            (not_squared - 2 * inner).clamp(min=0),
    }, "The shape is right, but not the values: the first pair is at squared distance "
       f"{expected[0, 0]:.3f}; you found {float(found[0, 0]):.3f}.")
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
        _explain_uniformity(found.detach(), tokens.detach())
        require_gradient(found, losses.uniformity_loss(tokens), tokens)
    zeros = tokens.detach().clone()
    zeros[0] = 0
    z = F.normalize(zeros.mean(dim=1), dim=1)
    off_diagonal = ~torch.eye(len(z), dtype=torch.bool)
    require_right(torch.tensor(number(call(answer, zeros))), losses.uniformity_loss(zeros), {
        "2 − 2a·b needs rows of length 1, and a row of zeros has length 0: use "
        "‖a‖² + ‖b‖² − 2a·b or torch.pdist.":
            (-2 * (2 - 2 * z @ z.T))[off_diagonal].exp().mean().log(),
    }, "An image whose features are all 0 should stay 0: divide by the length, or by eps where "
       "that is larger (F.normalize does).", 5e-4)


def _explain_uniformity(found: Tensor, tokens: Tensor) -> None:
    """Raise Mistake that names what went wrong, for a loss that was found for tokens (B, N, D)."""
    tokens, b = tokens.double(), len(tokens)

    def squared_distances(z: Tensor) -> Tensor:  # of the pairs i ≠ j
        return torch.cdist(z, z).square()[~torch.eye(len(z), dtype=torch.bool)]

    def loss(z: Tensor) -> Tensor:
        return (-2 * squared_distances(z)).exp().mean().log()

    mean = tokens.mean(dim=1)  # (B, D)
    z, of_length_1 = F.normalize(mean, dim=1), F.normalize(tokens, dim=2).mean(dim=1)
    pairs, right = squared_distances(z), loss(z)
    terms = (-2 * pairs).exp()
    require_right(found.double(), right, {
        "You count the pairs i = i: an image is at distance 0 from itself, so these terms are 1 "
        "whatever the features are. Leave out the diagonal.": ((terms.sum() + b) / b**2).log(),
        "You count the pairs i = i in the sum, but not in their number: leave out the diagonal.":
            ((terms.sum() + b) / (b * (b - 1))).log(),
        "The diagonal is left out of the sum but not of the count: a batch of B has B(B − 1) "
        "pairs, not B².": (terms.sum() / b**2).log(),
        "B(B − 1) counts each pair twice, but torch.pdist returns it once: take .mean().":
            right - math.log(2),
        "This is the mean of the exponents. Take exp of each pair first, then the mean, then the "
        "log.": -2 * pairs.mean(),
        "The log is missing: you return the mean of the terms itself.": terms.mean(),
        "This is the log of the sum over pairs; the loss is the log of their mean.":
            _nearest(found, terms.sum().log(), (terms.sum() / 2).log()),
        "Your exponent has the distance; it needs the squared distance.":
            (-2 * pairs.sqrt()).exp().mean().log(),
        "The factor 2 is missing: your exponent is −‖zᵢ − zⱼ‖², not −2 ‖zᵢ − zⱼ‖².":
            (-pairs).exp().mean().log(),
        "The sign in the exponent is wrong: it is −2 ‖zᵢ − zⱼ‖².": (2 * pairs).exp().mean().log(),
        "The sign is wrong: the loss falls when points move apart.": -right,
        "The features are not on the sphere: divide each mean by its length.": loss(mean),
        "You divide each column by its length: normalise the rows, one for each image, with dim=1.":
            loss(F.normalize(mean, dim=0)),
        "Normalise after the mean over tokens, not before: the mean of vectors of length 1 is "
        "shorter than 1.": loss(of_length_1),
        "You also normalise the tokens before their mean, which makes long and short ones count "
        "the same. Normalise only the mean.": loss(F.normalize(of_length_1, dim=1)),
        "The mean runs along the wrong axis: tokens are (B, N, D), and the mean over the tokens of "
        "an image is taken over dim=1.": _nearest(found, *(
            loss(F.normalize(tokens.mean(dim=dim), dim=1)) for dim in (0, 2))),
        "You use the first token of each image only: take the mean over all of them.":
            loss(F.normalize(tokens[:, 0], dim=1)),
        "You join the tokens of each image into one long vector: take their mean, over dim=1.":
            loss(F.normalize(tokens.flatten(1), dim=1)),
    }, f"For the features of this test the loss is {right:.3f}; you found {found:.3f}.", 3e-4)


@exercise("Right: you can count the directions that a batch of features uses.")
def effective_rank(answer: Callable) -> None:
    torch.manual_seed(0)
    x = torch.randn(30, 6) * torch.tensor([8.0, 4, 2, 1, 0.5, 0.25]) + 5
    found = call(answer, x)
    require(math.prod(getattr(found, "shape", ())) == 1,
            "Return one number, the exponential of the entropy, not one for each direction.")
    found = torch.tensor(number(found))
    _explain_rank(found, x)
    flat = torch.zeros(4, 3)
    flat[:, 0] = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    found = number(call(answer, flat))
    require(not math.isnan(found), "For points on a line the result is nan: some shares are 0, and "
                                   "0 · log 0 is nan. torch.special.entr takes it as 0.")
    require(abs(found - 1) < 1e-3, f"Points on a line use 1 direction; you found {found:.3f}.")
    plane = torch.randn(30, 2) @ torch.randn(2, 6)
    for name, x in (("10 features in 40 dimensions", torch.randn(10, 40)),
                    ("features in a plane", plane)):
        found, right = number(call(answer, x)), metrics.effective_rank(x)
        require(not math.isnan(found),
                f"For {name} the result is nan: rounding makes eigenvalues of 0 a little negative, "
                "and they have no square root. Use torch.linalg.svdvals, or clamp them at 0.")
        require(abs(found / right - 1) < 0.02,  # eigenvalues are less exact than singular values
                f"For {name} the effective rank is {right:.2f}; you found {found:.2f}.")


def _explain_rank(found: Tensor, x: Tensor) -> None:
    """Raise Mistake that names what went wrong, for a rank that was found for features (N, D)."""
    x = x.double()
    mean, of_rows = x.mean(dim=0), x.mean(dim=1, keepdim=True)

    def rank(p: Tensor) -> Tensor:
        return torch.special.entr(p).sum().exp()

    def rank_of(x: Tensor) -> Tensor:
        s = torch.linalg.svdvals(x)
        return rank(s / s.sum())

    s, right = torch.linalg.svdvals(x - mean), rank_of(x - mean)
    entropy = right.log()
    bits = entropy / math.log(2)
    require_right(found.double(), right, {
        "The features are not centred: their common mean counts as a direction. Subtract the mean "
        "over images first.": rank_of(x),
        "You subtract the wrong mean: centre each column with x.mean(dim=0), the mean over images.":
            _nearest(found, rank_of(x - of_rows), rank_of(x - x.mean())),
        "Do not divide by the standard deviation: how strongly each direction is used is what "
        "counts here.": _nearest(found, rank_of((x - mean) / x.std(dim=0)),
                                 rank_of((x - of_rows) / x.std(dim=1, keepdim=True))),
        "You squared the singular values; this definition takes them as they are.":
            rank(s.square() / s.square().sum()),
        "The shares p do not sum to 1: divide the singular values by their sum.":
            _nearest(found, rank(s), rank(s / s.max()), rank(s / s.mean()), rank(s / s.norm()),
                     rank(s.softmax(dim=0))),
        "The entropy has logarithms to base 2 but the exponential has base e; use the natural "
        "logarithm in the entropy.": bits.exp(),
        "The entropy has natural logarithms, so take its exp, not 2**.": 2**entropy,
        "This is the entropy in bits: use the natural logarithm, then take exp.": bits,
        "This is the entropy; its exponential is the effective rank.": entropy,
        "The sign of the entropy is wrong: it is −Σ p log p.": (-entropy).exp(),
        "A rank cannot be negative: the minus belongs inside exp, exp(−Σ p log p).":
            _nearest(found, -right, -(-entropy).exp()),
        "This is the ordinary rank, which counts every direction as 1, however little it is used.":
            (s > 1e-6).sum().double(),
    }, f"For the features of this test it is {right:.3f}; you found {found:.3f}: exp of the "
       "entropy of the shares.", 3e-4)
