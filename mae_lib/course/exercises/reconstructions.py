"""Notebook 09: masks on a grid and in blocks, and how far the nearest visible patch is."""

from collections.abc import Callable

import torch
from torch import Tensor

from mae_lib.course.exercises import call, close, exercise, require, require_tensor


def require_mask(found, rows: int, columns: int, name: str) -> Tensor:
    """The mask as floats. Raises Mistake unless it is (rows, columns) of zeros and ones."""
    require_tensor(found, (rows, columns), name)
    found = found.float()
    require(bool(((found == 0) | (found == 1)).all()),
            f"A mask has 1 where a patch is hidden and 0 where it is visible; yours has values "
            f"from {found.min():.2f} to {found.max():.2f}.")
    return found


@exercise("Right: one patch of every square stays visible, and no patch is far from a visible "
          "one.")
def grid_mask(answer: Callable) -> None:
    for rows, columns, step in ((6, 6, 2), (6, 9, 3), (7, 5, 2)):
        found = require_mask(call(answer, rows, columns, step), rows, columns,
                             f"grid_mask({rows}, {columns}, {step})")
        right = torch.ones(rows, columns)
        right[::step, ::step] = 0
        visible = torch.zeros(rows, columns)
        visible[::step] = 1
        require(not close(found, 1 - right),
                "The mask is inverted: 1 means hidden, but your 1s are the patches that should "
                "stay visible.")
        require(not close(found, 1 - visible),
                f"In one row out of {step}, all patches stay visible. In such a row, only one "
                f"patch in {step} should.")
        columns_only = torch.ones(rows, columns)
        columns_only[:, ::step] = 0
        require(not close(found, columns_only),
                f"In one column out of {step}, all patches stay visible. In such a column, "
                f"only one patch in {step} should.")
        checkers = (torch.arange(rows)[:, None] + torch.arange(columns)) % step
        require(not close(found, (checkers > 0).float()),
                f"These are diagonals: one patch in {step} stays visible, but only one in "
                f"{step * step} should.")
        wanted, got = int((right == 0).sum()), int((found == 0).sum())
        require(got == wanted, f"{got} of {rows}×{columns} patches are visible for step "
                               f"{step}, expected {wanted}. Every square keeps its upper left "
                               "patch, even a square that the edge cuts off.")
        require(bool(found[0, 0]) or close(found, right),
                "The number of visible patches is right, but they are in the wrong places. The "
                "row and the column of a visible patch should both be multiples of step.")
        require(close(found, right), "The number of visible patches is right, but they are in "
                                     "the wrong places. Begin with the patch in the upper left "
                                     "corner.")


def changes(mask: Tensor) -> int:
    """How many pairs of neighbours differ: few for blocks, many for scattered patches."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def changes_along(mask: Tensor) -> int:
    """The same, reading row by row."""
    return int((mask.flatten().diff() != 0).sum())


@exercise("Right: whole blocks are hidden, and the number of hidden patches is exactly n.")
def block_mask(answer: Callable) -> None:
    rows, columns = 8, 10
    found = {}
    for n in (1, 31, 47, 60):
        for seed in range(4):
            mask = call(answer, rows, columns, n, torch.Generator().manual_seed(seed))
            mask = require_mask(mask, rows, columns, f"block_mask({rows}, {columns}, {n}, …)")
            hidden = int(mask.sum())
            require(hidden == n or hidden != rows * columns - n,
                    f"{hidden} patches are hidden and {n} are visible, but it should be the "
                    "other way round: 1 means hidden.")
            require(hidden <= n, f"{hidden} patches are hidden, but it should be exactly {n}. "
                                 "In the last block, hide only as many patches as you still "
                                 "need. (nonzero() gives pairs of row and column, so write "
                                 "block[new[:, 0], new[:, 1]] = 1.)")
            require(hidden == n, f"{hidden} patches are hidden, expected exactly {n}: go on with "
                                 "further blocks until there are enough.")
            found[n, seed] = mask
    again = call(answer, rows, columns, 31, torch.Generator().manual_seed(0)).float()
    require(close(again, found[31, 0]), "The same generator should give the same mask. Pass "
                                        "generator=generator wherever you draw random numbers.")
    many = [found[31, seed] for seed in range(4)]
    require(not all(close(many[0], other) for other in many[1:]),
            "Every generator gives the same mask: draw the blocks' places at random, from the "
            "generator that is passed in.")
    for way, turned in (("row to row", many), ("column to column", [m.T for m in many])):
        require(not all(changes_along(mask) <= 2 for mask in turned),
                f"The hidden patches form one run from {way}. Hide whole rectangles instead.")
    random = 2 * (31 / 80) * (49 / 80) * (7 * 10 + 8 * 9)  # expected of scattered patches
    require(sum(map(changes, many)) / 4 < 0.75 * random,
            "The number is right, but the patches are scattered: hide whole rectangles.")
    ever = torch.stack(list(found.values())).amax(dim=0)
    for name, edge in (("first row", ever[0]), ("last row", ever[-1]),
                       ("first column", ever[:, 0]), ("last column", ever[:, -1])):
        require(bool(edge.any()),
                f"In {len(found)} masks, no patch of the {name} is hidden. A block's top "
                "should range from 0 to rows − height, and its left edge from 0 to columns − "
                "width. randint never returns its upper end, so add 1 to it.")


@exercise("Right: visible patches are at distance 0, and the middle of a hole is furthest away.")
def nearest_visible(answer: Callable) -> None:
    mask = torch.ones(5, 7)
    mask[1, 1] = mask[4, 6] = mask[0, 4] = 0
    found = call(answer, mask)
    require_tensor(found, mask.shape, "nearest_visible(mask)")
    place = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij"), dim=2)
    place = place.flatten(0, 1).double()  # (35, 2)

    def distance(to: Tensor, p: float = 2.0, reduce=torch.amin) -> Tensor:
        return reduce(torch.cdist(place, place[to.flatten()], p=p), dim=1).reshape(mask.shape)

    right = distance(mask == 0)
    whole = right.floor(), right.round(), distance(mask == 0, p=torch.inf)
    require(not any(close(found.double(), numbers) for numbers in whole),
            "These are whole numbers: you rounded, or took the larger of the two offsets. The "
            "straight line is √(rows² + columns²), for example 2.24.")
    require(not close(found, distance(mask == 1)),
            "These are distances to the nearest hidden patch. Measure to the visible ones, "
            "where mask is 0.")
    require(not close(found, right.square()), "These are squared distances: take the root.")
    require(not close(found, distance(mask == 0, p=1.0)),
            "These are distances along rows and columns: take the straight line, "
            "√(rows² + columns²).")
    require(not close(found, distance(mask == 0, reduce=torch.amax)),
            "This is the distance to the furthest visible patch. Take the smallest distance "
            "instead.")
    require(not close(found, distance(mask == 0, reduce=torch.mean)),
            "This is the mean distance to all visible patches. Take the smallest distance "
            "instead.")
    worst = int((found.double() - right).abs().argmax())
    require(close(found, right), f"In row {worst // 7}, column {worst % 7} (counted from 0), the "
                                 f"nearest visible patch is {right.flatten()[worst]:.3f} away, "
                                 f"but you found {found.flatten()[worst]:.3f}.")
