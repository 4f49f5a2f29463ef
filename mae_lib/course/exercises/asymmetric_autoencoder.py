"""Notebook 03: self-attention by hand, and the price of a block.

The parts of the model, which the learner keeps, are in `model_parts`.
"""

from collections.abc import Callable

import torch

from mae_lib.course.exercises import (
    call,
    exercise,
    require,
    require_gradient,
    require_right,
    require_tensor,
)
from mae_lib.course.exercises.model_parts import MAE, Attention, Block, Decoder, Encoder

__all__ = ["MAE", "Attention", "Block", "Decoder", "Encoder", "block_multiply_adds",
           "self_attention"]


@exercise("Right: three products make queries, keys and values; a softmax between two more does "
          "the rest.")
def self_attention(answer: Callable) -> None:
    torch.manual_seed(0)
    for b, n, width, d in ((2, 5, 6, 4), (3, 4, 8, 8)):
        x = torch.randn(b, n, width, requires_grad=True)
        w_q, w_k, w_v = torch.randn(3, width, d).unbind(0)
        q, k, v = x @ w_q, x @ w_k, x @ w_v
        scores, scale = q @ k.mT, d**0.5
        weights = (scores / scale).softmax(-1)
        found = call(answer, x, w_q, w_k, w_v)
        if isinstance(found, torch.Tensor) and found.shape == weights.shape and n != d:
            require(False, f"Your result has shape {tuple(found.shape)}, like the attention "
                           "weights. Multiply the weights by the values, `@ v`: each output is a "
                           "weighted sum of values.")
        require_tensor(found, (b, n, d), "self_attention(x, W_q, W_k, W_v)")
        require_right(found, weights @ v, {
            "The scores are not divided by √d. The longer the vectors are, the larger their dot "
            "products become, until one token gets all the weight.": scores.softmax(-1) @ v,
            f"You divide the scores by d = {d}. It should be √d = {scale:.2f}, the typical size of "
            "a dot product of two random vectors.": (scores / d).softmax(-1) @ v,
            f"You divide by √{width}, from the length of a token. The vectors that are compared "
            f"are queries and keys, of length {d}.": (scores / width**0.5).softmax(-1) @ v,
            f"You divide by √4 also where the queries have {d} values: take √d from their shape.":
                (scores / 2).softmax(-1) @ v,
            f"You divide by √{b}, from the number of images: len(q) is the first axis. Queries "
            f"have length {d}, their last axis.": (scores / b**0.5).softmax(-1) @ v,
            "The softmax runs over the queries, so that each column sums to 1. The weights of one "
            "query must sum to 1, along each row: dim=-1.": (scores / scale).softmax(-2) @ v,
            "The softmax runs over the images of the batch (dim=0), which should not know of each "
            "other. It should run over the keys: dim=-1.": (scores / scale).softmax(0) @ v,
            "There is no softmax: your weights can be negative and do not sum to 1.":
                scores / scale @ v,
            "Queries and keys are swapped: the scores are q @ k.mT, with a row for each query.":
                (scores.mT / scale).softmax(-1) @ v,
            "You return a weighted sum of the keys. The weights belong to the values, x @ W_v.":
                weights @ k,
        }, "The shape is right but the values are not. They should be softmax(q @ k.mT / √d) along "
           "the last axis, times v.")
        require_gradient(answer(x, w_q, w_k, w_v), weights @ v, x)


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
                "and attention weights times values, N·N·D each.")
        require(found != 12 * n * d**2 + n**2 * d,
                "One product of attention is missing: there is queries times keys, and attention "
                "weights times values, N·N·D each.")
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
