"""Notebook 03: self-attention by hand, and the price of a block.

The parts of the model, which the learner keeps, are in `attention` and `model_parts`.
"""

from collections.abc import Callable

import torch

from mae_lib.course.exercises import (
    call,
    exercise,
    number,
    require,
    require_gradient,
    require_right,
    require_tensor,
)
from mae_lib.course.exercises.attention import Attention
from mae_lib.course.exercises.model_parts import MAE, Block, Decoder, Encoder

__all__ = ["MAE", "Attention", "Block", "Decoder", "Encoder", "block_multiply_adds",
           "self_attention"]


@exercise("Right: three matrix products make the queries, keys and values, and a softmax "
          "between two more products does the rest.")
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
            f"You divide by √{width}, but {width} is the length of a token. The vectors that "
            f"you compare are queries and keys, which have length {d}.":
                (scores / width**0.5).softmax(-1) @ v,
            f"You divide by √4 also when the queries have {d} values. Take d from the size of "
            "their last axis.":
                (scores / 2).softmax(-1) @ v,
            f"You divide by √{b}, but {b} is the number of images: len(q) is the size of the "
            f"first axis. Queries have length {d}, the size of their last axis.":
                (scores / b**0.5).softmax(-1) @ v,
            "The softmax runs over the queries, so each column sums to 1. The weights of one "
            "query form a row, and each row must sum to 1: use dim=-1.":
                (scores / scale).softmax(-2) @ v,
            "The softmax runs over the images of the batch (dim=0), which should not affect "
            "each other. It should run over the keys: use dim=-1.": (scores / scale).softmax(0) @ v,
            "There is no softmax: your weights can be negative and do not sum to 1.":
                scores / scale @ v,
            "Queries and keys are swapped. The scores should be q @ k.mT, with a row for each "
            "query.":
                (scores.mT / scale).softmax(-1) @ v,
            "You return a weighted sum of the keys. Apply the weights to the values, x @ W_v, "
            "instead.":
                weights @ k,
        }, "The shape is right but the values are not. They should be softmax(q @ k.mT / √d) along "
           "the last axis, times v.")
        require_gradient(answer(x, w_q, w_k, w_v), weights @ v, x)


@exercise("Right: 12·N·D² for the matrices, and 2·N²·D for attention, the part that grows "
          "fastest with N.")
def block_multiply_adds(answer: Callable) -> None:
    for n, d in ((49, 192), (196, 192), (196, 128)):
        found = number(call(answer, n, d))
        right = 12 * n * d**2 + 2 * n**2 * d
        words = f"N = {n}, D = {d}"
        require(found != 2 * right, "That is twice as many as it should be: you count "
                                    "multiplications and additions separately. A multiply-add "
                                    "is one of each.")
        require(found != 12 * n * d**2,
                "The matrices with weights are right. Two products have none, and they are "
                "missing: queries times keys, and attention weights times values, with N·N·D "
                "each.")
        require(found != 12 * n * d**2 + n**2 * d,
                "One product of attention is missing. There are two: queries times keys, and "
                "attention weights times values, with N·N·D each.")
        require(found != 11 * n * d**2 + 2 * n**2 * d,
                "attn.proj is missing, the D×D matrix that joins the heads.")
        require(found != 8 * n * d**2 + 2 * n**2 * d,
                "Only one of the MLP's matrices is counted: fc1 is D×4D, and fc2 is 4D×D.")
        require(found != 12 * d**2 + 2 * n**2 * d,
                "The matrices act on each of the N tokens, so each D×D matrix costs N·D².")
        require(found not in (12 * n * d**2 + 2 * n**2 * d * h for h in (4, 6)),
                "Heads do not multiply the work. Each has D / heads values, so all heads "
                "together cost N·N·D for each of the two products.")
        require(found == right, f"For {words}, a block needs {right:,} multiply-adds, not "
                                f"{found:,.0f}. Add up the six matrices with weights for each "
                                "token, in units of D², and then the two products of "
                                "attention.")
