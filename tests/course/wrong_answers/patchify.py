"""Plausible wrong answers to the exercises of notebook 01, and what the check must say."""

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
         "should have shape (2, 3, 6, 6), got (2, 6, 6, 3)"),
        ("def unpatchify(t, p, rows, cols):\n"
         "    x = t.reshape(len(t), rows, cols, p, p, 3).permute(0, 5, 1, 4, 2, 3)\n"
         "    return x.reshape(len(t), 3, rows * p, cols * p)",
         "after permute, the axes should be"),
    ],
    "sincos": [
        ("def sincos(length, dim):\n"
         "    k = dim // 2\n"
         "    a = torch.arange(length)[:, None] * 10000 ** (-torch.arange(k) / k)\n"
         "    return torch.cat([a.cos(), a.sin()], dim=1)", "sines come first"),
        ("def sincos(length, dim):\n"
         "    k = dim // 2\n"
         "    a = torch.arange(length)[:, None] * 10000 ** (-torch.arange(k) / k)\n"
         "    return torch.stack([a.sin(), a.cos()], dim=2).flatten(1)", "alternate"),
        ("def sincos(length, dim):\n"
         "    k = dim // 2\n"
         "    a = torch.arange(length)[:, None] * 10000 ** (torch.arange(k) / k)\n"
         "    return torch.cat([a.sin(), a.cos()], dim=1)", "grow instead of falling"),
        ("def sincos(length, dim):\n"
         "    k = dim // 2\n"
         "    a = torch.arange(length)[:, None] * 10000 ** (-torch.arange(k) / dim)\n"
         "    return torch.cat([a.sin(), a.cos()], dim=1)", "frequencies differ from 10000"),
        ("def sincos(length, dim): return torch.zeros(length, dim)",
         "At position 0 every cosine is 1"),
    ],
}
