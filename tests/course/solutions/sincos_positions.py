def encode(position, dim):
    """One axis: the sines of each position (L,), then its cosines, (L, dim)."""
    frequency = 10000 ** (-torch.arange(dim // 2) / (dim // 2))
    angle = position[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def sincos_positions(dim, rows, cols):
    row = torch.arange(rows).repeat_interleave(cols)  # 0 0 0 1 1 1 …
    col = torch.arange(cols).repeat(rows)  # 0 1 2 0 1 2 …
    return torch.cat([encode(col, dim // 2), encode(row, dim // 2)], dim=1)
