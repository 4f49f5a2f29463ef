"""Notebook 03: one head, the order inside a block, mask tokens in their places, the price.

The parts of the model, which the learner keeps, are in `model_parts`.
"""

from collections.abc import Callable

import torch

from mae_lib.course.exercises import call, close, exercise, require, require_tensor
from mae_lib.course.exercises.model_parts import MAE, Attention, Block, Decoder, Encoder
from mae_lib.masking import take_patches
from mae_lib.model import Block as PackageBlock

__all__ = ["MAE", "Attention", "Block", "Decoder", "Encoder", "block_multiply_adds", "fill_in",
           "pre_norm_block", "single_head"]


@exercise("Right: two matrix products and a softmax, for any number of images and tokens.")
def single_head(answer: Callable) -> None:
    torch.manual_seed(0)
    for b, n, d in ((2, 5, 8), (3, 4, 16)):
        q, k, v = torch.randn(3, b, n, d).unbind(0)
        scores = q @ k.mT
        scale = d**0.5
        right = (scores / scale).softmax(-1)
        found = call(answer, q, k, v)
        require(not (isinstance(found, torch.Tensor) and close(found, right)),
                "You return the shares. Multiply them with the values: each token gets the mean "
                "of all values, weighted by its shares.")
        require_tensor(found, (b, n, d), "single_head(q, k, v)")
        if close(found, right @ v):
            continue
        require(not close(found, scores.softmax(-1) @ v),
                "The scores are not divided by √d: the longer the vectors, the larger their dot "
                "products, until one token gets everything.")
        require(not close(found, (scores / d).softmax(-1) @ v),
                f"You divide the scores by d = {d}; it is √d = {scale:.2f}, the typical size of "
                f"a dot product of d random numbers.")
        require(not close(found, (scores / scale).softmax(-2) @ v),
                "The softmax runs over the askers: with dim=1 each column sums to 1. Every query "
                "shares itself out over the keys, so each row must: dim=-1.")
        require(not close(found, (scores / scale).softmax(0) @ v),
                "The softmax runs over the images of the batch (dim=0), which should not know of "
                "each other. It belongs over the keys: dim=-1.")
        require(not close(found, scores / scale @ v),
                "There is no softmax: these weights can be negative and do not sum to 1.")
        require(not close(found, right.mT @ v),
                "Keys ask and queries answer here: scores are q @ k.mT, with a row for each query.")
        require(False, "The shape is right, the values are not: softmax(q @ k.mT / √d) over the "
                       "last axis, then times v.")


@exercise("Right: normalise, work, add; twice. The way straight through stays untouched.")
def pre_norm_block(answer: Callable) -> None:
    torch.manual_seed(0)
    block = PackageBlock(8, 2)
    for norm in (block.norm1, block.norm2):
        torch.nn.init.normal_(norm.weight, 1, 0.5)
        torch.nn.init.normal_(norm.bias)
    norm1, attn, norm2, mlp = block.norm1, block.attn, block.norm2, block.mlp
    x = 3 * torch.randn(2, 5, 8) + 1
    with torch.no_grad():
        found = call(answer, x, norm1, attn, norm2, mlp)
        require_tensor(found, x.shape, "pre_norm_block(x, ...)")
        middle = x + attn(norm1(x))
        if close(found, middle + mlp(norm2(middle))):
            return
        after = norm1(x + attn(x))
        bare = x + attn(x)
        mistakes = {
            "This is post-norm, the order of 2017: the norm comes after the sum and rescales all "
            "that came before. Pre-norm normalises only what a layer reads.":
                norm2(after + mlp(after)),
            "Nothing is added to x: without the residual sums each layer has to carry the whole "
            "picture through.": mlp(norm2(attn(norm1(x)))),
            "The MLP reads the block's input. It should read what attention has made of it: "
            "first x = x + attn(norm1(x)), then the MLP on this new x.":
                middle + mlp(norm2(x)),
            "norm1 is used twice. Each layer has a norm of its own, with its own weights.":
                middle + mlp(norm1(middle)),
            "The second sum is missing: the result is the MLP's output alone.":
                mlp(norm2(middle)),
            "The first sum is missing: attention's output replaces x instead of being added.":
                attn(norm1(x)) + mlp(norm2(attn(norm1(x)))),
            "The normalised tokens are added. The sum takes x itself; only the layer reads "
            "norm(x).": norm1(x) + attn(norm1(x)) + mlp(norm2(norm1(x) + attn(norm1(x)))),
            "No norm is used: attn reads norm1(x), and mlp reads norm2 of the sum.":
                bare + mlp(bare),
            "The MLP comes before attention here; tokens first exchange, then each thinks.":
                x + mlp(norm2(x)) + attn(norm1(x + mlp(norm2(x)))),
        }
    for explanation, wrong in mistakes.items():
        require(not close(found, wrong), explanation)
    require(False, "The shape is right, the values are not: x + attn(norm1(x)), then the same "
                   "with norm2 and mlp on the result.")


@exercise("Right: every token is back in its place, and each hole holds the mask token.")
def fill_in(answer: Callable) -> None:
    torch.manual_seed(0)
    for b, n, visible, d in ((2, 9, 3, 4), (3, 16, 4, 8)):
        ids_shuffle = torch.rand(b, n).argsort(dim=1)
        ids_restore = ids_shuffle.argsort(dim=1)
        x, token = torch.randn(b, visible, d), torch.randn(1, 1, d)
        found = call(answer, x, token, ids_restore)
        holes = token.expand(b, n - visible, d)
        joined = torch.cat([x, holes], dim=1)
        if isinstance(found, torch.Tensor) and found.ndim == 3:
            require(found.shape[1] != n + visible,
                    f"You added {n} mask tokens to {visible} visible ones. Together they must be "
                    f"{n}: only {n - visible} places are empty.")
        require_tensor(found, (b, n, d), "fill_in(x, mask_token, ids_restore)")
        if close(found, take_patches(joined, ids_restore)):
            continue
        require(not close(found, joined),
                "The visible tokens stand in front, all mask tokens behind: the order is not "
                "restored. Take place ids_restore[i] of the joined tokens for patch i.")
        require(not close(found, take_patches(joined, ids_shuffle)),
                "This shuffles once more instead of undoing the shuffle. Gather, with ids_restore "
                "as it is: patch i reads from place ids_restore[i]. Its argsort, or scatter, "
                "goes the other way.")
        require(not close(found, take_patches(torch.cat([holes, x], dim=1), ids_restore)),
                "The mask tokens are in front of the visible ones. The shuffle had put the "
                "visible patches first.")
        require(not close(found, joined[:, ids_restore[0]]),
                "All images get the order of the first one. Each has a mask of its own: gather "
                "along dim 1 with an index for every image.")
        zeros = torch.cat([x, torch.zeros_like(holes)], dim=1)
        require(not close(found, take_patches(zeros, ids_restore)),
                "The places are right, but the holes hold zeros: put mask_token there.")
        require(False, "The shape is right, but tokens are not where they came from: join "
                       "visible and mask tokens, then gather with ids_restore along dim 1.")


@exercise("Right: 12·N·D² for the matrices, and 2·N²·D for attention, the part that grows fastest.")
def block_multiply_adds(answer: Callable) -> None:
    for n, d in ((49, 192), (196, 192), (196, 128)):
        found = call(answer, n, d)
        require(isinstance(found, int | float), f"Return a number, got {type(found).__name__}.")
        right = 12 * n * d**2 + 2 * n**2 * d
        words = f"N = {n}, D = {d}"
        require(found != 2 * right, "That is twice as many: you count multiplications and "
                                    "additions apart. A multiply-add is one of each.")
        require(found != 12 * n * d**2,
                "The matrices with weights are right. Two products have none: queries times keys, "
                "and shares times values, N·N·D each.")
        require(found != 12 * n * d**2 + n**2 * d,
                "One product of attention is missing: there is queries times keys, and shares "
                "times values, N·N·D each.")
        require(found != 11 * n * d**2 + 2 * n**2 * d,
                "attn.proj is missing, the D×D matrix that joins the heads.")
        require(found != 8 * n * d**2 + 2 * n**2 * d,
                "Only one of the MLP's matrices is counted: fc1 is D×4D, and fc2 is 4D×D.")
        require(found != 12 * d**2 + 2 * n**2 * d,
                "The matrices act on each of the N tokens: N times D² for each D×D matrix.")
        require(found not in (12 * n * d**2 + 2 * n**2 * d * h for h in (4, 6)),
                "Heads do not multiply the work: each has D / heads values, so that all heads "
                "together cost N·N·D.")
        require(found == right, f"For {words} a block needs {right:,} multiply-adds, "
                                f"not {found:,.0f}. Add up six matrices for each token, in units "
                                f"of D², then the two products of attention.")
