"""Notebook 03: attention with several heads, as the learner's own module."""

import torch
from torch import Tensor, nn

from mae_lib import model as package
from mae_lib.course.exercises import (
    build,
    exercise,
    give_weights,
    given,
    require_gradient,
    require_right,
    require_tensor,
)


def randomised(module: nn.Module) -> nn.Module:
    """The module with other weights than it starts with, so that none of them can be left out."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.normal_(part.weight, 1, 0.3)
    return module


@exercise("Right: every head attends on its own, and the trained weights fit your class.")
def Attention(answer: type) -> None:
    torch.manual_seed(0)
    for b, n, d, heads in ((2, 5, 12, 2), (1, 4, 16, 4)):
        module, right = build(answer, d, heads), randomised(package.Attention(d, heads))
        give_weights(module, right.state_dict())
        x = torch.randn(b, n, d, requires_grad=True)
        found = given(module(x))
        require_tensor(found, x.shape, "Attention(dim, num_heads)(x)")

        def variant(scale: float = (d / heads) ** -0.5, axis: int = -1, heads: int = heads,
                    merge: tuple = (0, 2, 1, 3), order: str = "qkv", project: bool = True,
                    split: str = "khd", among_heads: bool = False, x: Tensor = x,
                    right: nn.Module = right) -> Tensor:
            b, n, d = x.shape
            size = d // heads
            y = right.qkv(x)
            if split == "khd":  # 3, heads, size: as it should be
                q, k, v = y.reshape(b, n, 3, heads, size).permute(2, 0, 3, 1, 4)
            else:
                q, k, v = y.reshape(b, n, heads, 3, size).permute(3, 0, 2, 1, 4)
            q, k, v = ({"q": q, "k": k, "v": v}[name] for name in order)
            q, k, v = (y.transpose(1, 2) if among_heads else y for y in (q, k, v))
            scores = q @ k.mT * scale
            y = (scores.softmax(axis) if axis else scores) @ v
            y = y.permute(merge).reshape(b, n, d)
            return right.proj(y) if project else y

        require_right(found, right(x), {
            "The scores are not divided: divide by √(dim / num_heads), the root of a head's size.":
                variant(scale=1.0),
            f"You divide by √{d}, but {d} is the size of all heads together. Each head "
            f"compares vectors of {d // heads} values, so divide by √{d // heads}.":
                variant(scale=d**-0.5),
            "All values go through one head: split them into num_heads heads before q @ k.mT.":
                variant(heads=1, scale=d**-0.5),
            "All values go through one head, although the scores are divided by the root of a "
            "head's size. Split the values into num_heads heads before q @ k.mT.": variant(heads=1),
            "The softmax runs over the queries. The weights of one query must sum to 1 over "
            "the keys, so use dim=-1.": variant(axis=-2),
            "The softmax runs over the heads (dim=1). It should run over the keys: dim=-1.":
                variant(axis=1),
            "There is no softmax: the attention weights of a query should sum to 1.":
                variant(axis=0),
            "The heads of a token attend to each other, because the axis of the heads comes "
            "after the axis of the tokens. Bring it in front with permute(2, 0, 3, 1, 4).":
                variant(among_heads=True),
            "x is added to the result. Block does that; Attention should return only what proj "
            "gives.": x + right(x),
            "Queries and keys are swapped. The scores should be q @ k.mT, with a row for each "
            "query.":
                variant(order="kqv"),
            "qkv holds queries, keys and values in this order, but you take them in another.":
                variant(order="vkq"),
            "The heads are joined in the wrong order: bring the tokens in front of the heads "
            "(transpose(1, 2)) before you reshape.": variant(merge=(0, 1, 2, 3)),
            "proj is not applied. Pass the joined heads through proj, which mixes what they "
            "have found.": variant(project=False),
            "The values of qkv are split as (heads, 3, size), but they are stored as (3, "
            "heads, size).":
                variant(split="hkd"),
        }, "The shape is right, but the values are not. Each head computes softmax(q @ k.mT / "
           "√size) @ v; then the heads, side by side, go through proj.")
        require_gradient(found, right(x), x)
