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
        (uniformity(square="(z[:, None] - z).square().sum(2)",
                    result="((-2 * square).exp() * (1 - torch.eye(len(z)))).sum().log() "
                           "- math.log(len(z) * (len(z) - 1))"), "On a GPU this would stop"),
        (slip("uniformity_loss", ("[~itself]", ".flatten()")), "You count the pairs with i = j"),
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
        (uniformity("F.normalize(z_tokens.mean(0), dim=1, eps=eps)"),
         "Your mean runs along the wrong axis"),
        (uniformity("F.normalize(z_tokens.mean(-1), dim=1, eps=eps)"),
         "z_tokens has shape (B, N, D)"),
        (uniformity("F.normalize(z_tokens[:, 0], dim=1, eps=eps)"), "the first token of each"),
        (uniformity("F.normalize(z_tokens.flatten(1), dim=1, eps=eps)"), "one long vector"),
        (uniformity("F.normalize(z_tokens.mean(1), dim=0, eps=eps)"), "each column by its length"),
        (uniformity("F.normalize(F.normalize(z_tokens, dim=2).mean(1), dim=1, eps=eps)"),
         "You also normalise the tokens"),
        (uniformity(result="(-3 * square).exp().mean().log()"), "Take the log of the mean"),
        (uniformity(result="(-2 * square).exp().mean().log() * torch.nan"), "you found nan"),
        (slip("uniformity_loss", (" - math.log(len(z) * (len(z) - 1))", "")), "log of the sum"),
        (slip("uniformity_loss", ("(-2 * distance)", "(-2 * distance.clamp(min=1e-12).sqrt())")),
         "Your exponent has the distance"),
        (slip("uniformity_loss", ("return (-2", "return -(-2"),
              (" - math.log(len(z)", " + math.log(len(z)")), "The sign of your loss is wrong"),
        (slip("uniformity_loss", ("len(z) * (len(z) - 1)", "len(z) ** 2")),
         "B(B − 1) pairs, not B²"),
        (slip("uniformity_loss", ("z_tokens.mean", "z_tokens.detach().mean")), "no gradient"),
        (slip("uniformity_loss", ("F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)",
                                  "(lambda m: m / m.norm(dim=1, keepdim=True))"
                                  "(z_tokens.mean(dim=1))")), "should stay 0"),
        (uniformity("F.normalize(z_tokens.sum(1), dim=1, eps=eps)"),
         "the mean of the tokens, not their sum"),
        (uniformity("F.normalize(z_tokens.mean(1), dim=1)"), "does not use the eps"),
        (uniformity("(lambda m: m / (m.norm(dim=1, keepdim=True) + eps))(z_tokens.mean(1))"),
         "You add eps to the length"),
        (uniformity("(lambda m: m / m.square().sum(1, keepdim=True).clamp(min=eps).sqrt())"
                    "(z_tokens.mean(1))"),
         "compare it with the length itself"),
        (uniformity("F.normalize(z_tokens.mean(1), dim=1)",
                    "((-2 * square).exp().mean() + eps).log()"), "Take eps out of the log"),
        (uniformity("(lambda m: m / m.square().sum(1, keepdim=True).sqrt().clamp(min=eps))"
                    "(z_tokens.mean(1))"), "nan_to_num or where repairs only the value"),
        (uniformity("(lambda m: (m / m.norm(dim=1, keepdim=True)).nan_to_num())"
                    "(z_tokens.mean(1))"), "For an image of zeros the value is right"),
        (uniformity(square="(z[:, None] - z).square().sum(2)",
                    result="(-2 * square[square > 0]).exp().mean().log()"),
         "You drop every pair at distance 0"),
        (uniformity(square="torch.cdist(z, z)",
                    result="(lambda e: e[e < 1].mean().log())((-2 * square.square()).exp())"),
         "leave out only the pairs with i = j"),
        (uniformity(square="torch.stack([(a - b).square().sum().sqrt() for i, a in enumerate(z) "
                           "for b in z[:i]]) ** 2"), "For two equal images the gradient is nan"),
        (uniformity("F.normalize(z_tokens.double().mean(1), dim=1, eps=eps)"),
         ".to(z_tokens.dtype)"),
        (uniformity(result="square"), "yours has shape (15,). Is the mean over the pairs missing"),
        (uniformity(result="(-2 * square).exp().mean().log2()"), "Take the natural logarithm"),
        (uniformity(result="(-2 * square).exp().mean().log10()"), ".log()"),
        (uniformity(square="torch.cdist(z, z).square()[tuple(torch.triu_indices(len(z), len(z)))]"),
         "The diagonal is among your pairs"),
        (uniformity(square="torch.cdist(z, z).square().triu(1)"), "The zeros that triu leaves"),
        (uniformity(square="torch.cdist(z, z).square()[~torch.eye(len(z), dtype=torch.bool)]"
                           ".view(len(z), -1)", result="(-2 * square).exp().mean(1).log().mean()"),
         "Take one mean over all pairs"),
        (uniformity("F.normalize(z_tokens.mean(1, keepdim=True), dim=2, eps=eps)",
                    square="torch.cdist(z, z).square()"), "All your distances are 0"),
        (uniformity("F.normalize(z_tokens.flatten(0, 1), dim=1, eps=eps)"),
         "You treat each token as a point of its own"),
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
         "Your columns have length 1"),
        ("def unit(x, eps=1e-8): return x / x.norm().clamp(min=eps)",
         "You divide by the length of the whole tensor"),
        ("def unit(x, eps=1e-8): return x / x.abs().sum(dim=1, keepdim=True).clamp(min=eps)",
         "the sum of its values"),
        ("def unit(x, eps=1e-8): return x / x.norm(dim=1).clamp(min=eps)",
         "Your code stopped with RuntimeError"),
        ("def unit(x, eps=1e-8):\n"
         "    d = x - x.mean(1, keepdim=True)\n"
         "    return d / d.norm(dim=1, keepdim=True).clamp(min=eps)",
         "only divide each row by its length"),
        ("def unit(x, eps=1e-8): return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)",
         "Do not subtract the mean"),
        ("def unit(x, eps=1e-8): return (x / x.norm(dim=1, keepdim=True).clamp(min=eps)).abs()",
         "their directions have changed: do nothing but divide"),
        ("def unit(x, eps=1e-8): return (x / x.norm(dim=1, keepdim=True).clamp(min=eps)).half()",
         "Keep the dtype of x: your result has dtype torch.float16"),
        ("def unit(x, eps=1e-8): return [row / max(row.norm(), eps) for row in x]",
         "yours is a list. To join the rows, return torch.stack(rows)"),
        ("def unit(x, eps=1e-8): return x / max(x.norm(dim=1, keepdim=True), eps)",
         "Python's max, min, if and while"),
        ("def unit(x, eps=1e-8): return x / x.norm(dim=1, keepdim=True).max(eps)",
         "for the larger of each value and a number"),
        ("def unit(x, eps=1e-8): return F.normalize(x, dim=1)", "does not use the eps"),
        ("def unit(x, eps=1e-8):\n"
         "    return x / x.square().sum(1, keepdim=True).clamp(min=eps).sqrt()",
         "You compare eps with the square of the"),
        ("def unit(x, eps=1e-8):\n    n = x.norm(dim=1, keepdim=True)\n"
         "    return x / torch.where(n * n > eps, n, eps)", "compare it with the length itself"),
        ("def unit(x, eps=1e-8):\n    n = x.norm(dim=1, keepdim=True)\n"
         "    return torch.where(n > eps, x / n, x)", "stays as it is"),
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
         "should have shape (4, 5); yours has shape (4,). Compare each point"),
        ("def squared_distances(a, b):\n"
         "    return (a.norm(dim=1)[:, None] + b.norm(dim=1) - 2 * a @ b.T).clamp(min=0)",
         "The lengths are not squared"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1) + b.square().sum(1)[:, None] - 2 * a @ b.T",
         "of a must be a column"),
        ("def squared_distances(a, b):\n"
         "    return a.square().sum(1) + b.square().sum(1) - 2 * a @ b.T",
         "x[:, None] makes a column"),
        ("def squared_distances(a, b): return (a[:, None] - b).square().mean(2)",
         "You take the mean of the squares"),
        ("def squared_distances(a, b):\n"
         "    product = (a @ b.T).clamp(min=0)\n"
         "    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * product",
         "You clamp the product"),
        ("def squared_distances(a, b):\n"
         "    return (b[:, None] - a).square().sum(2).reshape(len(a), len(b))",
         "squared distance between a[0] and b[2] is 38.997"),
        ("def squared_distances(a, b): return torch.cdist(a, b).square().clamp(0, 100)",
         "raise negative ones to 0"),
    ],
    "effective_rank": [
        (rank("return torch.special.entr(p).sum().exp()", centre="x"), "The features are not cent"),
        (rank("p = s**2 / (s**2).sum(); return torch.special.entr(p).sum().exp()"),
         "You squared the singular values"),
        (rank("return (-(p * p.log2()).sum()).exp()"), "Your entropy uses logarithms to base 2"),
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
        (rank("return 2 ** torch.special.entr(p).sum()"), "take its exp, not a power of 2"),
        (rank("return -(p * p.log()).sum().exp()"), "the minus sign belongs inside exp"),
        (rank("return -torch.special.entr(p).sum().exp()"),
         "leave out the minus sign in front of exp"),
        (rank("return torch.special.entr(s).sum().exp()"), "do not sum to 1"),
        (rank("return torch.special.entr(s / s.max()).sum().exp()"),
         "the singular values divided by their sum"),
        (rank("return torch.special.entr(s.softmax(0)).sum().exp()"), "Do not take the softmax"),
        (rank("return torch.special.entr(p).exp()"), "not one for each direction"),
        (rank("return torch.special.entr(p).sum().exp() * torch.nan"), "you found nan"),
        (rank("s = torch.linalg.eigvalsh(x.T.cov()).sqrt(); p = s / s.sum(); "
              "return torch.special.entr(p).sum().exp()"), "eigenvalues of 0 a little negative"),
        (rank("s = x.std(dim=0); p = s / s.sum(); return torch.special.entr(p).sum().exp()"),
         "not along the principal directions"),
        (rank("return torch.special.entr(p).sum().exp()",
              "F.normalize(x, dim=1) - F.normalize(x, dim=1).mean(dim=0)"),
         "do not divide each row by its length"),
        (rank("return torch.special.entr(p[p > 1e-2]).sum().exp()"), "every share above 0 counts"),
        (rank("return torch.special.entr(p[p > 1e-3]).sum().exp()"), "a small share"),
        (rank("p = s[:10] / s[:10].sum(); return torch.special.entr(p).sum().exp()"),
         "Is every direction used, whatever the shape of x"),
        (rank("s = torch.linalg.svd(x); p = s / s.sum()"), "svd returns U, S and Vh: take S"),
    ],
}

ALSO_RIGHT = {
    "uniformity_loss": [
        uniformity(),
        uniformity(square="(z[:, None] - z).square().sum(2)[~torch.eye(len(z), dtype=torch.bool)]"),
        uniformity("(lambda m: m / m.norm(dim=1, keepdim=True).clamp(min=eps))(z_tokens.mean(1))"),
        uniformity(result="torch.logsumexp(-2 * square, 0) - math.log(len(square))"),
        uniformity(square="(z[:, None] - z).square().sum(2)",
                   result="(lambda e: e.flatten().sort().values[:-len(z)].mean().log())"
                          "((-2 * square).exp())"),
        uniformity(square="(z[:, None] - z).norm(dim=2).square().fill_diagonal_(torch.inf)",
                   result="((-2 * square).exp().sum() / (len(z) * (len(z) - 1))).log()"),
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
