"""Plausible wrong answers to the exercises of notebook 01, and what the check must say."""

from slips import slip

WRONG = {
    "token_count": [
        ("def token_count(size, patch): return size // patch, 3 * patch**2",
         "14 is the number of patches in one row"),
        ("def token_count(size, patch): return (size // patch)**2, patch**2",
         "each pixel has three values"),
        ("def token_count(size, patch): return (size // patch)**2", "Return two numbers"),
        ("def token_count(size, patch): return size**2 // patch, 3 * patch**2",
         "has 196 patches of 16×16, not 3136"),
        ("def token_count(size, patch): return (size // patch)**2, 3 * patch", "holds 768 values"),
    ],
    "patchify": [
        (slip("patchify", ("b, c, h, w = images.shape", "b, _, h, w = images.shape; c = 3")),
         "take C from images.shape"),
        ("def patchify(images, p):\n"
         "    b, c, h, w = images.shape\n"
         "    return images.reshape(b, h // p * (w // p), c * p * p)", "holds a stripe"),
        (slip("patchify", ("0, 2, 4, 3, 5, 1", "0, 2, 4, 1, 3, 5")), "channel by channel"),
        (slip("patchify", ("0, 2, 4, 3, 5, 1", "0, 4, 2, 3, 5, 1")), "down the columns"),
        (slip("patchify", ("0, 2, 4, 3, 5, 1", "0, 2, 4, 5, 3, 1")), "Each patch is transposed"),
        (slip("patchify", ("0, 2, 4, 3, 5, 1", "0, 3, 5, 2, 4, 1")), "joined in the wrong order"),
        ("def patchify(images, p):\n"
         "    b, c, h, w = images.shape\n"
         "    x = images.reshape(b, c, p, h // p, p, w // p).permute(0, 3, 5, 2, 4, 1)\n"
         "    return x.reshape(b, -1, p * p * c)", "Each axis is split in the wrong order"),
        ("def patchify(images, p):\n"
         "    b, c, h, w = images.shape\n"
         "    x = images.reshape(b, h // p, p, w // p, p, c).permute(0, 1, 3, 2, 4, 5)\n"
         "    return x.reshape(b, -1, p * p * c)", "cannot move the channels to the end"),
        ("def patchify(images, p):\n"
         "    return torch.from_numpy(images.numpy())", "NumPy passes no gradients back"),
        (slip("patchify", ("0, 2, 4, 3, 5, 1", "0, 4, 2, 5, 3, 1")), "where they belong"),
        (slip("patchify", ("(b, -1, ", "(-1, ")), "should have shape (2, 6, 48)"),
        (slip("patchify", ("= images.reshape", "= images.detach().reshape")), "no gradient"),
    ],
    "unpatchify": [
        ("def unpatchify(t, p, rows, cols): return t.reshape(len(t), 3, rows * p, cols * p)",
         "A single reshape keeps the order in memory"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), rows, cols, 3, p, p).permute(0, 3, 1, 4, 2, 5)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)", "The colours are mixed up"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), rows, cols, p, p, 3).permute(0, 5, 2, 3, 1, 4)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)", "Patches are transposed"),
        ("def unpatchify(t, p, rows, cols): return t.reshape(len(t), rows * p, cols * p, 3)",
         "should have shape (2, 3, 6, 6); yours has shape (2, 6, 6, 3)"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), rows, cols, p, p, 3).permute(0, 5, 1, 4, 2, 3)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)",
         "Each patch is transposed"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), cols, rows, p, p, 3).permute(0, 5, 1, 3, 2, 4)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)", "rows and cols are swapped"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), cols, rows, p, p, 3).permute(0, 5, 2, 3, 1, 4)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)", "Patches are"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), rows, cols, p, p, 3).permute(0, 5, 2, 4, 1, 3)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)",
         "after permute, the axes should be"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    import numpy as np\n"
         "    x = t.numpy().reshape(len(t), rows, cols, p, p, 3).transpose(0, 5, 1, 3, 2, 4)\n"
         "    return torch.from_numpy(x.reshape(len(t), 3, rows * p, cols * p))",
         "NumPy passes no gradients back"),
        (slip("unpatchify", ("def unpatchify", "@torch.no_grad()\ndef unpatchify")),
         "no gradient comes back"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.double().reshape(len(t), rows, cols, p, p, 3).permute(0, 5, 1, 3, 2, 4)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)", "of type torch.float64"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = torch.zeros(len(t), 3, rows * p, cols * p)\n"
         "    for i in range(rows * cols):\n"
         "        r, c = divmod(i, cols)\n"
         "        patch = t[:, i].reshape(-1, p, p, 3).permute(0, 3, 1, 2)\n"
         "        x[:, :, r * p : r * p + p, c * p : c * p + p] = patch\n"
         "    return x", "On a GPU this would stop"),
    ],
    "sincos_positions": [
        (slip("sincos_positions", ("(x, y)]", "(y, x)]")), "The row comes first here"),
        ("def sincos_positions(dim, rows, cols):\n"
         "    f = 10000.0 ** (-torch.arange(dim // 2) / (dim // 2))\n"
         "    a = torch.arange(rows * cols)[:, None] * f\n"
         "    return torch.cat([a.sin(), a.cos()], dim=1)", "knows nothing of rows"),
        (slip("sincos_positions", ("place.flatten()", "place.T.flatten()")), "down the columns"),
        (slip("sincos_positions", ("(a.sin(), a.cos())", "(a.cos(), a.sin())")),
         "sines come first"),
        (slip("sincos_positions", ("** (-torch", "** (torch")), "grow instead of falling"),
        (slip("sincos_positions", ("/ (dim // 4))", "/ (dim // 2))")), "fall too slowly"),
        (slip("sincos_positions", ("torch.cat([wave for a in angles for wave in "
                                   "(a.sin(), a.cos())], dim=1)",
                                   "torch.cat([torch.stack([a.sin(), a.cos()], 2).flatten(1) "
                                   "for a in angles], dim=1)")), "alternate"),
        (slip("sincos_positions", ("for place in (x, y)", "for place in (x, x)")),
         "Both halves encode the column"),
        (slip("sincos_positions", ("for place in (x, y)", "for place in (y, y)")),
         "Both halves encode the row"),
        (slip("sincos_positions", ("wave for a in angles for wave in (a.sin(), a.cos())",
                                   "wave(a) for wave in (torch.sin, torch.cos) for a in angles")),
         "Sines of both axes come first"),
        (slip("sincos_positions", ("torch.arange(dim // 4, ", "torch.arange(1, dim // 4 + 1, ")),
         "start with i = 1"),
        (slip("sincos_positions", ("10000.0", "1000.0")), "The frequencies of each half should be"),
        (slip("sincos_positions", (".float()", ".float()[None]")), "should have shape (10, 24)"),
        ("def sincos_positions(dim, rows, cols):\n"
         "    import numpy as np\n"
         "    y, x = np.divmod(np.arange(rows * cols), cols)\n"
         "    f = 10000.0 ** (-np.arange(dim // 4) / (dim // 4))\n"
         "    waves = [w(p[:, None] * f) for p in (x, y) for w in (np.sin, np.cos)]\n"
         "    return torch.from_numpy(np.concatenate(waves, 1))", "so add .float()"),
    ],
}
