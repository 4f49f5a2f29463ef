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
    nearest,
    number,
    require,
    require_gradient,
    require_one_device,
    require_right,
    require_tensor,
)
from mae_lib.course.exercises.reconstruction_loss import require_dtype, require_loss

SQUARED = "You compare eps with the square of the length: compare it with the length itself."


@exercise("Right: every row has length 1, and a row of zeros does no harm.")
def unit(answer: Callable) -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.5], [-6.0, 8.0]])
    found = call(answer, x, 1e-8)
    require(not isinstance(found, list), "unit(x, eps) should be a tensor; yours is a list. To "
                                         "join the rows, return torch.stack(rows).")
    require_tensor(found, x.shape, "unit(x, eps)")
    require(found.dtype in (x.dtype, torch.float64),
            f"Keep the dtype of x: your result has dtype {found.dtype}.")
    length = x.norm(dim=1, keepdim=True)
    require(not close(found, x / length**2),
            "You divide by the squared length: (3, 4) has length 5, not 25. Take the square root.")
    require(not close(found, x / x.norm(dim=0)),
            "Your columns have length 1, but the rows should: divide each row by its own length.")
    require(not close(found, x / x.norm()),
            "You divide by the length of the whole tensor: divide each row by its own length.")
    require(not close(found, x / x.abs().sum(dim=1, keepdim=True)),
            "(3, 4) was divided by 7, the sum of its values; its length is √(3² + 4²) = 5.")
    require(not close(found, F.normalize(x - x.mean(dim=1, keepdim=True), dim=1)),
            "Do not subtract the mean: only divide each row by its length.")
    lengths = found.norm(dim=1)
    require(close(found, x / length),
            "Your rows have length 1, but their directions have changed: do nothing but divide "
            "each row by its length." if close(lengths, torch.ones(3), 1e-3) else
            f"The rows should have length 1; yours have {[round(v, 2) for v in lengths.tolist()]}.")
    zeros = call(answer, torch.zeros(2, 3), 1e-8)
    require(bool(zeros.isfinite().all()),
            "A row of zeros gives nan, which is 0/0: divide by the larger of the length and eps.")
    short = torch.tensor([[0.1, 0.0], [0.6, 0.0], [3.0, 4.0]])
    length, square = short.norm(dim=1, keepdim=True), short.square().sum(dim=1, keepdim=True)
    found = call(answer, short, 0.5)
    for wrong, explanation in (
        (length + 0.5, "You add eps to the length, which makes every row a little too short: with "
                       "eps = 0.5, (3, 4) should still have length 1."),
        (length, "Your function does not use the eps that it is given."),
        (square.clamp(min=0.5).sqrt(), SQUARED),
        (torch.where(square > 0.5, length, 0.5), SQUARED),
        (torch.where(length > 0.5, length, 1),
         "A row that is shorter than eps stays as it is; divide it by eps."),
    ):
        require(not close(found, short / wrong), explanation)
    require(close(found, short / length.clamp(min=0.5)),
            "With eps = 0.5 the row (0.1, 0) is divided by 0.5, as eps is larger than its length, "
            "and (0.6, 0) and (3, 4) by their lengths.")


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
    require_tensor(found, (4, 5), "squared_distances(a, b)",
                   "Compare each point of a with each point of b.")
    inner = a @ b.T
    lengths = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    i, j = divmod(int((found - expected).abs().nan_to_num(math.inf).argmax()), 5)
    require_right(found.clamp(min=0), expected, {  # all are above 0
        "These are distances, but the loss needs their squares: square them, or leave out the "
        "square root.": expected.sqrt(),
        "2 − 2a·b holds only for points of length 1; these have other lengths, so ‖a‖² and ‖b‖² "
        "must be computed.": (2 - 2 * inner).clamp(min=0),
        "The sign of the product is wrong: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.":
            (lengths + 2 * inner).clamp(min=0),
        "You subtract the product once; subtract it twice: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.":
            (lengths - inner).clamp(min=0),
        "The lengths are not squared: ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b.":
            (a.norm(dim=1)[:, None] + b.norm(dim=1) - 2 * inner).clamp(min=0),
        "You take the mean of the squares; a squared distance is their sum.": expected / 3,
        "You clamp the product, which can be negative; clamp the squared distances instead.":
            lengths - 2 * inner.clamp(min=0),
    }, "The shape is right, but not the values: the squared distance between "
       f"a[{i}] and b[{j}] is {expected[i, j]:.3f}; you found {float(found[i, j]):.3f}.")
    near = 30 * torch.randn(40, 64)
    found = call(answer, near, near)
    require(bool((found >= 0).all()),
            "For points that lie close together, rounding makes some of your squared distances "
            "negative: clamp them at 0.")
    require(torch.allclose(found.float(), (near[:, None] - near).square().sum(dim=2), 1e-3, 0.5),
            "For long vectors some of your squared distances are wrong: raise negative ones to "
            "0, and leave all the others as they are.")


@exercise("Right: the loss of a batch, safe for features of any size.")
def uniformity_loss(answer: Callable) -> None:
    torch.manual_seed(0)
    for b, n, d in ((6, 3, 4), (4, 5, 8)):
        tokens = (torch.randn(b, n, d) * torch.rand(b, 1, 1).add(0.5) + 0.3).requires_grad_()
        found = _loss_of(answer, tokens)
        _explain_uniformity(found.detach(), tokens.detach())
        require_gradient(found, losses.uniformity_loss(tokens), tokens)
    zeros = tokens.detach().clone()
    zeros[0] = 0
    z = F.normalize(zeros.mean(dim=1), dim=1)
    found = _loss_of(answer, zeros.requires_grad_())
    require_right(found.detach(), losses.uniformity_loss(zeros).detach(), {
        "2 − 2a·b needs rows of length 1, and a row of zeros has length 0: use "
        "‖a‖² + ‖b‖² − 2a·b or torch.pdist.":
            (-2 * (2 - 2 * z @ z.T))[~torch.eye(len(z), dtype=torch.bool)].exp().mean().log(),
    }, "An image whose features are all 0 should stay 0: divide by the length, or by eps where "
       "that is larger, as F.normalize does.", 5e-4)
    require(_has_finite_gradient(found, zeros),
            "For an image of zeros the value is right, but the gradient is nan: a square root has "
            "no slope at 0, and nan_to_num or where repairs only the value of 0/0. Use "
            "F.normalize, or divide by .norm(dim=1, keepdim=True).clamp(min=eps).")
    equal = tokens.detach().clone()
    equal[1] = equal[0]
    pairs = torch.pdist(F.normalize(equal.mean(dim=1), dim=1)).square()
    found = _loss_of(answer, equal.requires_grad_())
    require_right(found.detach(), losses.uniformity_loss(equal).detach(), {
        "You drop every pair at distance 0. Two different images may have the same features, and "
        "they count as a pair: leave out only the pairs with i = j, with ~torch.eye(B, "
        "dtype=torch.bool).": (-2 * pairs[pairs > 1e-6]).exp().mean().log(),
    }, "For a batch with two equal images the loss is wrong: their distance is 0, and the pair "
       "counts like any other.", 5e-4)
    require(_has_finite_gradient(found, equal),
            "For two equal images the gradient is nan: a square root has no slope at 0. Leave the "
            "root out, since you square it again.")
    _explain_eps(answer, tokens.detach())
    require_one_device(answer, tokens)


def _loss_of(answer: Callable, tokens: Tensor, *eps: float) -> Tensor:
    """What the learner's loss is. Raises Mistake unless it is one number of the right dtype."""
    found = call(answer, tokens, *eps)
    require_loss(found, "The loss", "Is the mean over the pairs missing?")
    require_dtype(found, tokens, "z_tokens")
    return found


def _has_finite_gradient(loss: Tensor, tokens: Tensor) -> bool:
    loss = loss + 0 * tokens.sum()  # so that there is one, also for a constant
    return bool(torch.autograd.grad(loss, tokens)[0].isfinite().all())


def _loss(z: Tensor) -> Tensor:
    """The uniformity loss of points (B, D), of which each pair counts once."""
    return (-2 * torch.pdist(z).square()).exp().mean().log()


def _explain_eps(answer: Callable, tokens: Tensor) -> None:
    """Raise Mistake unless eps is what the length of the mean of tokens (B, N, D) is clamped to."""
    length = tokens.mean(dim=1, keepdim=True).norm(dim=2, keepdim=True)  # (B, 1, 1)
    tokens = tokens / length * torch.tensor([0.05, 0.4, 0.6, 2.0])[:, None, None]
    mean = tokens.mean(dim=1)
    square = mean.square().sum(dim=1, keepdim=True)
    ignored, right = _loss(mean / square.sqrt()), _loss(F.normalize(mean, dim=1, eps=0.5))
    found = _loss_of(answer, tokens, 0.5).detach()
    require_right(found, right, {
        "Your loss does not use the eps that it is given: F.normalize needs eps=eps.": ignored,
        "You add eps to the length. Divide by the length, or by eps if that is larger.":
            _loss(mean / (square.sqrt() + 0.5)),
        SQUARED: _loss(mean / square.clamp(min=0.5).sqrt()),
        "Take the mean of the tokens, not their sum: the sum is N times as long, so the comparison "
        "with eps goes wrong.": _loss(F.normalize(tokens.sum(dim=1), dim=1, eps=0.5)),
        "Take eps out of the log: it belongs with the length, as in F.normalize(…, eps=eps).":
            nearest(found, *((x.exp() + 0.5).log() for x in (ignored, right))),
    }, f"With eps = 0.5 and features shorter than that, the loss is {right:.3f}; you found "
       f"{found:.3f}. Divide by the length, or by eps where that is larger.", 5e-4)


def _explain_uniformity(found: Tensor, tokens: Tensor) -> None:
    """Raise Mistake that names what went wrong, for a loss that was found for tokens (B, N, D)."""
    tokens, b = tokens.double(), len(tokens)
    mean = tokens.mean(dim=1)  # (B, D)
    z, of_length_1 = F.normalize(mean, dim=1), F.normalize(tokens, dim=2).mean(dim=1)
    right, pairs = _loss(z), torch.cdist(z, z).square()[~torch.eye(b, dtype=torch.bool)]  # i ≠ j
    terms = (-2 * pairs).exp()
    require_right(found.double(), right, {
        "You count the pairs with i = j: an image is at distance 0 from itself, so these terms are "
        "1 whatever the features are. Leave out the diagonal.": ((terms.sum() + b) / b**2).log(),
        "You count the pairs with i = j in the sum, but not in the number of pairs: leave out the "
        "diagonal.": ((terms.sum() + b) / (b * (b - 1))).log(),
        "The diagonal is left out of the sum but not of the count: a batch of B has B(B − 1) "
        "pairs, not B².": (terms.sum() / b**2).log(),
        "B(B − 1) counts each pair twice, but torch.pdist returns it once: take .mean().":
            right - math.log(2),
        "This is the mean of the exponents. Take exp of each pair first, then the mean, then the "
        "log.": -2 * pairs.mean(),
        "The log is missing: you return the mean of the terms itself.": terms.mean(),
        "Take the natural logarithm, .log().":
            nearest(found, right / math.log(2), right / math.log(10)),
        "Take one mean over all pairs, then one log, not a mean and a log for each image.":
            terms.view(b, b - 1).mean(dim=1).log().mean(),
        "The diagonal is among your pairs: torch.triu_indices(B, B, offset=1) leaves it out.":
            ((terms.sum() / 2 + b) / (b * (b + 1) / 2)).log(),
        "The zeros that triu leaves below the diagonal count as pairs at distance 0: select the "
        "pairs with ~torch.eye(B, dtype=torch.bool).":
            ((terms.sum() / 2 + b * (b + 1) / 2) / b**2).log(),
        "All your distances are 0: print the shape of z, which should be (B, D), without the axis "
        "that keepdim=True leaves.": torch.zeros(()),
        "This is the log of the sum over pairs; the loss is the log of their mean.":
            nearest(found, terms.sum().log(), (terms.sum() / 2).log()),
        "Your exponent has the distance; it needs the squared distance.":
            (-2 * pairs.sqrt()).exp().mean().log(),
        "The factor 2 is missing: your exponent is −‖zᵢ − zⱼ‖², not −2 ‖zᵢ − zⱼ‖².":
            (-pairs).exp().mean().log(),
        "The sign in the exponent is wrong: it is −2 ‖zᵢ − zⱼ‖².": (2 * pairs).exp().mean().log(),
        "The sign of your loss is wrong: it should fall when points move apart.": -right,
        "The features are not on the sphere: divide each mean by its length.": _loss(mean),
        "You divide each column by its length: normalise the rows, one for each image, with dim=1.":
            _loss(F.normalize(mean, dim=0)),
        "Normalise after the mean over tokens, not before: the mean of vectors of length 1 is "
        "shorter than 1.": _loss(of_length_1),
        "You also normalise the tokens before their mean, which makes long and short ones count "
        "the same. Normalise only the mean.": _loss(F.normalize(of_length_1, dim=1)),
        "Your mean runs along the wrong axis: z_tokens has shape (B, N, D), so take the mean over "
        "the tokens with dim=1.": nearest(found, *(
            _loss(F.normalize(tokens.mean(dim=dim), dim=1)) for dim in (0, 2))),
        "You use the first token of each image only: take the mean over all of them.":
            _loss(F.normalize(tokens[:, 0], dim=1)),
        "You join the tokens of each image into one long vector: take their mean, over dim=1.":
            _loss(F.normalize(tokens.flatten(1), dim=1)),
        "You treat each token as a point of its own: first take the mean over dim=1.":
            _loss(F.normalize(tokens.flatten(0, 1), dim=1)),
    }, f"For the features in this test the loss should be {right:.3f}; you found {found:.3f}. Take "
       "the log of the mean over pairs of exp(−2 ‖zᵢ − zⱼ‖²).", 3e-4)


@exercise("Right: you can count the directions that a batch of features uses.")
def effective_rank(answer: Callable) -> None:
    torch.manual_seed(0)
    x = torch.randn(30, 7) * torch.tensor([8.0, 4, 2, 1, 0.5, 0.25, 0.01]) + 5
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
    for name, x in (("25 features in 40 dimensions", torch.randn(25, 40)),
                    ("features in a plane", plane)):
        found, right = number(call(answer, x)), metrics.effective_rank(x)
        require(not math.isnan(found),
                f"For {name} the result is nan: rounding makes eigenvalues of 0 a little negative, "
                "and they have no square root. Use torch.linalg.svdvals, or clamp them at 0.")
        require(abs(found / right - 1) < 0.02,  # eigenvalues are less exact than singular values
                f"For {name} the effective rank is {right:.2f}; you found {found:.2f}."
                + " Is every direction used, whatever the shape of x?" * (found < right))


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
    shares = s / s.sum()
    entropy = right.log()
    bits = entropy / math.log(2)
    require_right(found.double(), right, {
        "The features are not centred: their common mean counts as a direction. Subtract the mean "
        "over images first.": rank_of(x),
        "You subtract the wrong mean: centre each column with x.mean(dim=0), the mean over images.":
            nearest(found, rank_of(x - of_rows), rank_of(x - x.mean())),
        "Do not divide by the standard deviation: how strongly each direction is used is what "
        "counts here.": nearest(found, rank_of((x - mean) / x.std(dim=0)),
                                rank_of((x - of_rows) / x.std(dim=1, keepdim=True))),
        "These are the spreads along the axes, not along the principal directions: use "
        "torch.linalg.svdvals.": rank(x.std(dim=0) / x.std(dim=0).sum()),
        "Take the features as they are, and do not divide each row by its length.":
            nearest(found, *(rank_of(y - y.mean(dim=0)) for y in (
                F.normalize(x, dim=1), F.normalize(x - mean, dim=1)))),
        "You squared the singular values; this definition takes them as they are.":
            rank(s.square() / s.square().sum()),
        "The shares in your entropy do not sum to 1: use the singular values divided by their sum.":
            nearest(found, rank(s), rank(s / s.max()), rank(s / s.mean()), rank(s / s.norm())),
        "Do not take the softmax of the singular values: divide them by their sum.":
            rank(s.softmax(dim=0)),
        "Your entropy uses logarithms to base 2, but exp has base e: use the natural logarithm in "
        "the entropy.": bits.exp(),
        "Your entropy uses natural logarithms, so take its exp, not a power of 2.": 2**entropy,
        "This is the entropy in bits: use the natural logarithm, then take exp.": bits,
        "This is the entropy; its exponential is the effective rank.": entropy,
        "The sign of the entropy is wrong: it is −Σ p log p.": (-entropy).exp(),
        "A rank cannot be negative: leave out the minus sign in front of exp.": -right,
        "A rank cannot be negative: the minus sign belongs inside exp, as in exp(−Σ p log p).":
            -(-entropy).exp(),
        "This is the ordinary rank, which counts every direction as 1, however little it is used. "
        "Take the exponential of the entropy of the shares instead.": (s > 1e-6).sum().double(),
        "You leave out directions with a small share: every share above 0 counts.":
            rank(shares[shares > 1e-3]),
    }, f"For the features in this test the effective rank is {right:.3f}; you found {found:.3f}. "
       "Take the exponential of the entropy of the shares.", 3e-4)
