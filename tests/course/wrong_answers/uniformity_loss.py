"""Plausible wrong answers to the exercises of notebook 06, and what the check must say."""

from slips import slip


def rank(lines: str, centre: str = "x - x.mean(dim=0)") -> str:
    return (f"def effective_rank(x):\n    s = torch.linalg.svdvals({centre})\n"
            f"    p = s / s.sum()\n    {lines}")


WRONG = {
    "uniformity_loss": [
        (slip("uniformity_loss", ("[~itself]", ".flatten()")), "You count the pairs i = i"),
        (slip("uniformity_loss", ("F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)",
                                  "z_tokens.mean(dim=1)"),
              ("square = z", "square = z")), "not on the sphere"),
        (slip("uniformity_loss", ("F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)",
                                  "F.normalize(z_tokens, dim=2).mean(dim=1)")),
         "Normalise after the mean"),
        (slip("uniformity_loss", ("(-2 * distance)", "(2 * distance)")), "sign in the exponent"),
        (slip("uniformity_loss", ("(-2 * distance)", "(-distance)")), "you found"),
        (slip("uniformity_loss", (" - math.log(len(z) * (len(z) - 1))", "")), "log of the sum"),
        (slip("uniformity_loss", ("(-2 * distance)", "(-2 * distance.clamp(min=1e-12).sqrt())")),
         "Your exponent has the distance"),
        (slip("uniformity_loss", ("return (-2", "return -(-2"),
              (" - math.log(len(z)", " + math.log(len(z)")), "The sign is wrong"),
        (slip("uniformity_loss", ("len(z) * (len(z) - 1)", "len(z) ** 2")),
         "B(B − 1) pairs, not B²"),
        (slip("uniformity_loss", ("z_tokens.mean", "z_tokens.detach().mean")), "no gradient"),
        (slip("uniformity_loss", ("F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)",
                                  "(lambda m: m / m.norm(dim=1, keepdim=True))"
                                  "(z_tokens.mean(dim=1))")), "should stay 0"),
    ],
    "unit": [
        ("def unit(x, eps=1e-8): return x / x.norm(dim=1, keepdim=True)",
         "A row of zeros gives nan"),
        ("def unit(x, eps=1e-8): return x / (x.norm(dim=1, keepdim=True) + eps)",
         "You add eps to the length"),
        ("def unit(x, eps=1e-8):\n"
         "    return x / x.square().sum(dim=1, keepdim=True).clamp(min=eps)",
         "You divide by the squared length"),
        ("def unit(x, eps=1e-8): return x / x.norm(dim=0).clamp(min=eps)",
         "Each column has length 1 now"),
        ("def unit(x, eps=1e-8): return x / x.norm().clamp(min=eps)",
         "divide everything by the length of the whole tensor"),
        ("def unit(x, eps=1e-8): return x / x.abs().sum(dim=1, keepdim=True).clamp(min=eps)",
         "the sum of its values"),
        ("def unit(x, eps=1e-8): return x / x.norm(dim=1).clamp(min=eps)",
         "Your code stopped with RuntimeError"),
    ],
    "squared_distances": [
        ("def squared_distances(a, b): return torch.cdist(a, b)", "leave out the square root"),
        ("def squared_distances(a, b): return 2 - 2 * a @ b.T", "only for points of length 1"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) + 2 * a @ b.T",
         "The sign of the product is wrong"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) - a @ b.T",
         "The product counts twice"),
        ("def squared_distances(a, b): return torch.cdist(b, a).square()",
         "Your table is transposed"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T",
         "clamp them at 0"),
        ("def squared_distances(a, b): return (a[:4] - b[:4]).square().sum(1)",
         "should have shape (4, 5), got (4,)"),
    ],
    "effective_rank": [
        (rank("return torch.special.entr(p).sum().exp()", centre="x"), "The features are not cent"),
        (rank("p = s**2 / (s**2).sum(); return torch.special.entr(p).sum().exp()"),
         "You squared the singular values"),
        (rank("return (-(p * p.log2()).sum()).exp()"), "logarithms to base 2"),
        (rank("return -(p * p.log2()).sum()"), "This is the entropy in bits"),
        (rank("return torch.special.entr(p).sum()"), "its exponential is the effective rank"),
        (rank("return (p * p.log()).sum().exp()"), "The sign of the entropy is wrong"),
        (rank("return torch.linalg.matrix_rank(x - x.mean(dim=0))"), "This is the ordinary rank"),
        (rank("return (-(p * p.log()).sum()).exp()"), "0 · log 0 is nan"),
    ],
}
