"""Plausible wrong answers to the exercises of notebook 06, and what the check must say."""

from slips import slip


def rank(lines: str, centre: str = "x - x.mean(dim=0)") -> str:
    return (f"def effective_rank(x):\n    s = torch.linalg.svdvals({centre})\n"
            f"    p = s / s.sum()\n    {lines}")


def uniformity(z="F.normalize(z_tokens.mean(1), dim=1, eps=eps)",
               result="(-2 * square).exp().mean().log()", square="torch.pdist(z).square()"):
    return ("def uniformity_loss(z_tokens, eps=1e-8):\n"
            f"    z = {z}\n"
            f"    square = {square}\n"
            f"    return {result}")


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
        (slip("uniformity_loss", ("(-2 * distance)", "(-distance)")),
         "your exponent is −‖zᵢ − zⱼ‖²"),
        (uniformity(square="(2 - 2 * z @ z.T).clamp(min=0)[~torch.eye(len(z), dtype=torch.bool)]"),
         "2 − 2a·b needs rows of length 1"),
        (uniformity(result="(-2 * square).exp().sum().log()"), "log of the sum over pairs"),
        (uniformity(result="((-2 * square).exp().sum() / (len(z) * (len(z) - 1))).log()"),
         "counts each pair twice"),
        (uniformity("F.normalize(z_tokens.mean(0), dim=1, eps=eps)"), "along the wrong axis"),
        (uniformity("F.normalize(z_tokens.mean(-1), dim=1, eps=eps)"), "tokens are (B, N, D)"),
        (uniformity("F.normalize(z_tokens[:, 0], dim=1, eps=eps)"), "the first token of each"),
        (uniformity("F.normalize(z_tokens.flatten(1), dim=1, eps=eps)"), "one long vector"),
        (uniformity("F.normalize(z_tokens.mean(1), dim=0, eps=eps)"), "each column by its length"),
        (uniformity("F.normalize(F.normalize(z_tokens, dim=2).mean(1), dim=1, eps=eps)"),
         "You also normalise the tokens"),
        (uniformity(result="(-3 * square).exp().mean().log()"), "you found"),
        (uniformity(result="(-2 * square).exp().mean().log() * torch.nan"), "you found nan"),
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
        ("def unit(x, eps=1e-8):\n"
         "    d = x - x.mean(1, keepdim=True)\n"
         "    return d / d.norm(dim=1, keepdim=True).clamp(min=eps)", "do not subtract the mean"),
        ("def unit(x, eps=1e-8): return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)",
         "their directions have changed"),
        ("def unit(x, eps=1e-8):\n"
         "    x /= x.norm(dim=1, keepdim=True).clamp(min=eps)\n    return x", "changes x in place"),
    ],
    "squared_distances": [
        ("def squared_distances(a, b): return torch.cdist(a, b)", "leave out the square root"),
        ("def squared_distances(a, b): return 2 - 2 * a @ b.T", "only for points of length 1"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) + 2 * a @ b.T",
         "The sign of the product is wrong"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) - a @ b.T",
         "You subtract the product once"),
        ("def squared_distances(a, b): return torch.cdist(b, a).square()",
         "Your table is transposed"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T",
         "clamp them at 0"),
        ("def squared_distances(a, b): return (a[:4] - b[:4]).square().sum(1)",
         "should have shape (4, 5), got (4,)"),
        ("def squared_distances(a, b):\n"
         "    return (a.norm(dim=1)[:, None] + b.norm(dim=1) - 2 * a @ b.T).clamp(min=0)",
         "The lengths are not squared"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1) + b.square().sum(1)[:, None] - 2 * a @ b.T",
         "of a must be a column"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1) + b.square().sum(1) - 2 * a @ b.T",
         "x[:, None] makes a column"),
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
        (rank("return torch.special.entr(p).sum().exp()", "x - x.mean(1, keepdim=True)"),
         "centre each column with x.mean(dim=0)"),
        (rank("return torch.special.entr(p).sum().exp()", "x - x.mean()"), "wrong mean"),
        (rank("return torch.special.entr(p).sum().exp()", "(x - x.mean(0)) / x.std(0)"),
         "Do not divide by the standard deviation"),
        (rank("return torch.special.entr(p).sum().exp()",
              "(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)"),
         "how strongly each direction is used"),
        (rank("return 2 ** torch.special.entr(p).sum()"), "take its exp, not 2**"),
        (rank("return -(p * p.log()).sum().exp()"), "A rank cannot be negative"),
        (rank("return -torch.special.entr(p).sum().exp()"), "the minus belongs inside exp"),
        (rank("return torch.special.entr(s).sum().exp()"), "do not sum to 1"),
        (rank("return torch.special.entr(s / s.max()).sum().exp()"), "divide the singular values"),
        (rank("return torch.special.entr(p).exp()"), "not one for each direction"),
        (rank("return torch.special.entr(p).sum().exp() * torch.nan"), "you found nan"),
        (rank("s = torch.linalg.eigvalsh(x.T.cov()).sqrt(); p = s / s.sum(); "
              "return torch.special.entr(p).sum().exp()"), "eigenvalues of 0 a little negative"),
    ],
}

ALSO_RIGHT = {
    "uniformity_loss": [
        uniformity(),
        uniformity("F.normalize(z_tokens.sum(1), dim=1, eps=eps)"),
        uniformity("(lambda m: m / m.norm(dim=1, keepdim=True).clamp(min=eps))(z_tokens.mean(1))"),
        uniformity(result="torch.logsumexp(-2 * square, 0) - math.log(len(square))"),
    ],
    "unit": [
        "def unit(x, eps):\n"
        "    return torch.stack([row / max(float(row.norm()), eps) for row in x])",
    ],
    "squared_distances": [
        "def squared_distances(a, b): return (a[:, None] - b).square().sum(-1)",
        "def squared_distances(a, b):\n"
        "    return torch.stack([torch.stack([((x - y) ** 2).sum() for y in b]) for x in a])",
    ],
    "effective_rank": [
        rank("return torch.special.entr(p).sum().exp().item()"),
        "import numpy as np\n"
        "def effective_rank(x):\n"
        "    x = x.numpy()\n"
        "    s = np.linalg.svd(x - x.mean(0), compute_uv=False)\n"
        "    p = s[s > 0] / s.sum()\n"
        "    return np.exp(-(p * np.log(p)).sum())",
        rank("s = torch.linalg.eigvalsh(x.T.cov()).clamp(min=0).sqrt(); p = s / s.sum(); "
             "return torch.special.entr(p).sum().exp()"),
    ],
}
