"""Plausible wrong answers to Attention of notebook 03, and what the check must say."""

from slips import slip

SDPA = "F.scaled_dot_product_attention(q, k, v)"
SIZE = "(d // self.num_heads)"


def attention(scores, *more):
    return slip("Attention", (SDPA, scores), *more)


WRONG = {
    "Attention": [
        (attention("(q @ k.mT).softmax(-1) @ v"), "The scores are not divided"),
        (attention("(q @ k.mT / d**0.5).softmax(-1) @ v"), "so divide by √6"),
        (attention(f"(q @ k.mT / {SIZE}**0.5).softmax(-2) @ v"), "runs over the queries"),
        (attention(f"(q @ k.mT / {SIZE}**0.5) @ v"), "There is no softmax"),
        (attention(f"(k @ q.mT / {SIZE}**0.5).softmax(-1) @ v"), "Queries and keys are swapped"),
        (slip("Attention", ("q, k, v = qkv", "v, k, q = qkv")), "in this order"),
        (slip("Attention", ("x.transpose(1, 2).reshape", "x.reshape")),
         "joined in the wrong order"),
        (slip("Attention", ("self.proj(x.transpose(1, 2).reshape(b, n, d))",
                            "x.transpose(1, 2).reshape(b, n, d)")), "proj is not applied"),
        (slip("Attention", ("n, 3, self.num_heads, d", "n, self.num_heads, 3, d"),
              ("permute(2, 0, 3, 1, 4)", "permute(3, 0, 2, 1, 4)")), "as (heads, 3, size)"),
        (slip("Attention", ("self.num_heads = num_heads", "self.num_heads = 1")),
         "through one head"),
        (slip("Attention", ("self.proj", "self.out")), "hold proj.weight"),
        (slip("Attention", ("3 * dim)", "3 * dim, bias=False)")), "hold qkv.bias"),
        (slip("Attention", ("= self.qkv(x)", "= self.qkv(x.detach())")),
         "their gradient is not"),
        (slip("Attention", ("permute(2, 0, 3, 1, 4)", "permute(2, 0, 1, 3, 4)")),
         "The heads of a token attend to each other"),
        (attention(f"(q @ k.mT / {SIZE}**0.5).softmax(1) @ v"), "runs over the heads"),
        (slip("Attention", ("b, n, d = x.shape", "b, n, d = x.shape; given = x"),
              ("return ", "return given + ")), "x is added to the result"),
        (slip("Attention", ("self.qkv = ", "qkv = "), ("self.proj = ", "proj = ")),
         "Your class has no weights yet"),
        ("Attention = nn.Linear(3, 3)", "a class that inherits from nn.Module"),
    ],
}
