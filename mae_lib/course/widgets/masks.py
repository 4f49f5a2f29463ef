"""Which patches are hidden: at random, in blocks, on a grid, or by hand.

Every kind is an order in which patches disappear. A higher ratio hides more of the same order, so
that a slider that moves only adds patches or takes them away.
"""

import functools

import ipywidgets
import torch
from ipywidgets.widgets.trait_types import TypedTuple
from torch import Tensor

from mae_lib.masking import num_visible_patches, random_mask_ids

KINDS = ("by hand", "random", "block", "grid")
BAYER = ((0, 2), (3, 1))  # the order in which a square of four fills evenly


@functools.cache
def mask_noise(kind: str, grid: tuple[int, int], seed: int) -> Tensor:
    """Noise (1, L) for `random_mask_ids`, whose smallest values stay visible; see KINDS.

    "block" hides rectangles one after the other, as Bao et al. (2022) do; "grid" spreads what is
    visible evenly: every second patch of every second row at 0.75.
    """
    rows, columns = grid
    generator = torch.Generator().manual_seed(seed)
    if kind == "random":
        return torch.rand(1, rows * columns, generator=generator)
    if kind == "grid":
        tile = torch.tensor(BAYER)
        while len(tile) < 8:
            tile = torch.cat([torch.cat([4 * tile + b for b in row], dim=1) for row in BAYER])
        noise = tile.repeat(-(-rows // 8), -(-columns // 8)).roll((seed // 2, seed), dims=(0, 1))
        return noise[:rows, :columns].reshape(1, -1).float()
    return -hiding_times(rows, columns, generator).reshape(1, -1)


def hiding_times(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """The moment at which each patch (rows, columns) is covered by a rectangle, all different."""
    times = torch.full((rows, columns), torch.inf)
    while torch.isinf(times).any():
        share, shape, y, x = torch.rand(4, generator=generator).tolist()
        area = rows * columns * (0.08 + 0.17 * share)
        height = min(rows, max(1, round((area * 3 ** (2 * shape - 1)) ** 0.5)))
        width = min(columns, max(1, round(area / height)))
        top, left = int(y * (rows - height + 1)), int(x * (columns - width + 1))
        block = times[top : top + height, left : left + width]
        covered = torch.isinf(block)
        block[covered] = (rows * columns - torch.isinf(times).sum()
                          + torch.arange(int(covered.sum()))).float()
    return times


def make_mask(
    kind: str, grid: tuple[int, int], mask_ratio: float, seed: int, flipped: tuple[int, ...] = ()
) -> Tensor:
    """A mask (1, L) of one of KINDS, 1 = hidden; patches in `flipped` are then changed over.

    "by hand" starts with nothing hidden. One patch stays visible, whatever is flipped.
    """
    length = grid[0] * grid[1]
    mask = torch.zeros(1, length)
    if kind != "by hand":
        noise = mask_noise(kind, grid, seed)
        visible = num_visible_patches(length, min(mask_ratio, 1 - 1 / length))
        _, mask, _ = random_mask_ids(noise, visible)
    for patch in flipped:
        if patch < length:
            mask[0, patch] = 1 - mask[0, patch]
    if mask.all():
        mask[0, flipped[-1]] = 0
    return mask


def distance_to_visible(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """How far each patch of masks (B, L) is from the nearest visible one, in patches: (B, L)."""
    rows, columns = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()  # (L, 2)
    apart = torch.cdist(place, place)  # (L, L)
    return (apart + 1e9 * mask[:, None]).amin(dim=2)  # (B, L, L) → (B, L)


class PatchGrid(ipywidgets.GridBox):
    """A button over every patch of a picture; `value` are the patches that were clicked.

    A second click on a patch takes it out again. Built-in widgets alone: the buttons are clear, and
    lie over the picture because both stand in the same cell of a grid.
    """

    value = TypedTuple()
    extremes = (), (0, 1, 2)  # values to try it with

    def __init__(self):
        super().__init__()
        self.grid, self._buttons = None, {}  # by grid: ipywidgets never frees buttons
        look = ipywidgets.Layout(width="100%", height="100%", min_width="0", margin="0",
                                 padding="0", border="1px solid rgba(255, 255, 255, 0.25)")
        self._look = {"layout": look, "style": ipywidgets.ButtonStyle(button_color="transparent")}

    def cover(self, grid: tuple[int, int], side: int, left: int, top: int) -> None:
        """Lie over the square of `side` pixels at (left, top) of the picture beneath."""
        rows, columns = grid
        if grid not in self._buttons:
            self._buttons[grid] = [self._button(row, column) for row in range(rows)
                                   for column in range(columns)]
        self.grid, self.children = grid, self._buttons[grid]
        for name, value in {
            "grid_area": "1 / 1 / 2 / 2", "width": f"{side}px", "height": f"{side}px",
            "margin": f"{top}px 0 0 {left}px", "overflow": "hidden",
            "grid_template_columns": f"repeat({columns}, 1fr)",
            "grid_template_rows": f"repeat({rows}, 1fr)",
        }.items():
            setattr(self.layout, name, value)

    def _button(self, row: int, column: int) -> ipywidgets.Button:
        button = ipywidgets.Button(tooltip=f"row {row}, column {column}", **self._look)
        button.on_click(lambda _: self.flip(row, column))
        return button

    def flip(self, row: int, column: int) -> None:
        """What a click on the patch does."""
        patch = row * self.grid[1] + column
        others = tuple(p for p in self.value if p != patch)
        self.value = others if len(others) < len(self.value) else (*others, patch)
