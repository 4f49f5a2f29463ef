"""Plausible wrong answers to the exercises of notebook 09, and what the check must say."""

GRID = "def grid_mask(rows, columns, step):\n    mask = torch.ones(rows, columns)\n"
BLOCK = (
    "def block_mask(rows, columns, n, generator):\n"
    "    def draw(low, high):\n"
    "        return int(torch.randint(low, high, (), generator=generator))\n"
    "    mask = torch.zeros(rows, columns)\n"
)
ONE_BLOCK = (
    "        height, width = draw(2, rows // 2 + 1), draw(2, columns // 2 + 1)\n"
    "        top, left = draw(0, rows - height + 1), draw(0, columns - width + 1)\n"
)
TRIMMED = (
    "        block = mask[top : top + height, left : left + width]\n"
    "        new = (block == 0).nonzero()[: n - int(mask.sum())]\n"
    "        block[new[:, 0], new[:, 1]] = 1\n"
)
PLACES = (
    "def nearest_visible(mask):\n"
    "    rows, columns = mask.shape\n"
    "    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')\n"
    "    place = torch.stack([y.flatten(), x.flatten()], dim=1).float()\n"
)

WRONG = {
    "grid_mask": [
        (GRID + "    mask[::step] = 0\n    return mask", "In one row out of 2, all patches stay"),
        (GRID + "    mask[:, ::step] = 0\n    return mask", "In one column out of 2, all patches"),
        (GRID + "    mask[::step, ::step] = 0\n    return 1 - mask", "The mask is inverted"),
        (GRID + "    return ((torch.arange(rows)[:, None] + torch.arange(columns)) % step > 0)",
         "These are diagonals"),
        (GRID + "    mask[1::step, 1::step] = 0\n    return mask", "in the wrong places"),
        (GRID + "    mask.view(-1)[:: step * step] = 0\n    return mask", "multiples of step"),
        (GRID + "    mask[: rows // step * step : step, : columns // step * step : step] = 0\n"
         "    return mask", "that the edge cuts off"),
        (GRID + "    mask[::2, ::2] = 0\n    return mask", "expected 6"),
        (GRID + "    mask[::step, ::step] = 0\n    return mask.flatten()", "should have shape"),
        (GRID + "    mask[::step, ::step] = 0.5\n    return mask", "values from 0.50 to 1.00"),
    ],
    "block_mask": [
        (BLOCK + "    while mask.sum() < n:\n" + ONE_BLOCK
         + "        mask[top : top + height, left : left + width] = 1\n    return mask",
         "In the last block, hide only as many patches as you still need"),
        (BLOCK + "    order = torch.rand(rows * columns, generator=generator).argsort()\n"
         "    mask.view(-1)[order[:n]] = 1\n    return mask", "the patches are scattered"),
        (BLOCK + "    while mask.sum() < n:\n" + ONE_BLOCK + TRIMMED + "    return 1 - mask",
         "it should be the other way round"),
        (BLOCK + "    mask.view(-1)[:n] = 1\n    return mask",
         "Every generator gives the same mask"),
        (BLOCK.replace("generator=generator", "") + "    while mask.sum() < n:\n" + ONE_BLOCK
         + TRIMMED + "    return mask", "The same generator should give the same mask"),
        (BLOCK + "    if n:\n        height = width = int(n ** 0.5)\n"
         "        top, left = draw(0, rows - height + 1), draw(0, columns - width + 1)\n"
         "        mask[top : top + height, left : left + width] = 1\n    return mask",
         "go on with further blocks"),
        (BLOCK + "    start = draw(0, rows * columns - n + 1)\n"
         "    mask.view(-1)[start : start + n] = 1\n    return mask", "one run from row to row"),
        (BLOCK + "    start = draw(0, rows * columns - n + 1)\n"
         "    mask.view(-1)[start : start + n] = 1\n    return mask.view(columns, rows).T",
         "one run from column to column"),
        (BLOCK + "    while mask.sum() < n:\n" + ONE_BLOCK.replace("height + 1", "height").replace(
            "width + 1", "width") + TRIMMED + "    return mask",
         "no patch of the last row is hidden"),
        (BLOCK + "    return mask.flatten()", "should have shape (8, 10); yours has shape (80,)"),
    ],
    "nearest_visible": [
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 1]).amin(1)"
         ".view(mask.shape)", "distances to the nearest hidden patch"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).amax(1)"
         ".view(mask.shape)", "the distance to the furthest visible patch"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).mean(1)"
         ".view(mask.shape)", "the mean distance to all visible patches"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0], p=1).amin(1)"
         ".view(mask.shape)", "along rows and columns"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).square().amin(1)"
         ".view(mask.shape)", "squared distances"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).amin(1)",
         "should have shape (5, 7); yours has shape (35,)"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).amin(1)"
         ".view(mask.shape).int()", "you rounded, or took the larger"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0], p=torch.inf).amin(1)"
         ".view(mask.shape)", "The straight line is √(rows² + columns²)"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).min(1)"
         ".view(mask.shape)", "take .values"),
        (PLACES + "    return torch.cdist(place, place[mask.flatten() == 0]).amin(1)"
         ".view(mask.shape).round(decimals=2)", "is 1.414 away, but you found 1.410"),
        (PLACES + "    return mask * 1.0", "the nearest visible patch is"),
    ],
}
