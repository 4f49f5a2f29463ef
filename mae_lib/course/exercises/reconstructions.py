"""Notebook 09: masks on a grid and in blocks, how far they look, and files that strangers send."""

import io
import struct
import zlib
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from mae_lib.course.exercises import Mistake, call, close, exercise, require, require_tensor


def require_mask(found, rows: int, columns: int, name: str) -> Tensor:
    """The mask as floats. Raises Mistake unless it is (rows, columns) of zeros and ones."""
    require_tensor(found, (rows, columns), name)
    found = found.float()
    require(bool(((found == 0) | (found == 1)).all()),
            f"A mask has 1 where a patch is hidden and 0 where it is visible; yours has values "
            f"from {found.min():.2f} to {found.max():.2f}.")
    return found


@exercise("Right: one patch of every square stays, and no patch is far from a visible one.")
def grid_mask(answer: Callable) -> None:
    for rows, columns, step in ((6, 6, 2), (6, 9, 3), (7, 5, 2)):
        found = require_mask(call(answer, rows, columns, step), rows, columns,
                             f"grid_mask({rows}, {columns}, {step})")
        right = torch.ones(rows, columns)
        right[::step, ::step] = 0
        visible = torch.zeros(rows, columns)
        visible[::step] = 1
        require(not close(found, 1 - right),
                "The mask is inverted: 1 means hidden, and your 1s are the patches that stay.")
        require(not close(found, 1 - visible) and not close(found.T, 1 - visible[:, :1]),
                f"In every {step}th row all patches stay: only one in {step} of them should.")
        columns_only = torch.ones(rows, columns)
        columns_only[:, ::step] = 0
        require(not close(found, columns_only),
                f"In every {step}th column all patches stay: only one in {step} of them should.")
        checkers = (torch.arange(rows)[:, None] + torch.arange(columns)) % step
        require(not close(found, (checkers > 0).float()),
                f"These are diagonals: one patch in {step} stays, where one in {step * step} "
                "should.")
        wanted, got = int((right == 0).sum()), int((found == 0).sum())
        require(got == wanted, f"{got} of {rows}×{columns} patches are visible for step {step}, "
                               f"expected {wanted}.")
        require(close(found, right), "As many are visible as should be, but at other places: "
                                     "begin with the patch in the upper left corner.")


def changes(mask: Tensor) -> int:
    """How many pairs of neighbours differ: few for blocks, many for scattered patches."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def changes_along(mask: Tensor) -> int:
    """The same, reading row by row."""
    return int((mask.flatten().diff() != 0).sum())


@exercise("Right: whole blocks disappear, and exactly as many patches as were asked for.")
def block_mask(answer: Callable) -> None:
    rows, columns = 8, 10
    found = {}
    for n in (1, 31, 47, 60):
        for seed in range(4):
            mask = call(answer, rows, columns, n, torch.Generator().manual_seed(seed))
            mask = require_mask(mask, rows, columns, f"block_mask({rows}, {columns}, {n}, …)")
            hidden = int(mask.sum())
            require(hidden == n or hidden != rows * columns - n,
                    f"{hidden} patches are hidden and {n} visible: it should be the other way "
                    "round, 1 means hidden.")
            require(hidden <= n, f"{hidden} patches are hidden, expected exactly {n}: of the last "
                                 "block, hide only as many as are still missing.")
            require(hidden == n, f"{hidden} patches are hidden, expected exactly {n}: go on with "
                                 "further blocks until there are enough.")
            found[n, seed] = mask
    again = call(answer, rows, columns, 31, torch.Generator().manual_seed(0)).float()
    require(close(again, found[31, 0]), "The same generator should give the same mask: pass "
                                        "generator=generator wherever you draw.")
    many = [found[31, seed] for seed in range(4)]
    require(not all(close(many[0], other) for other in many[1:]),
            "Every seed gives the same mask: draw the blocks' places at random.")
    require(not all(changes_along(mask) <= 2 for mask in many),
            "The hidden patches are one run from row to row: hide whole rectangles.")
    random = 2 * (31 / 80) * (49 / 80) * (7 * 10 + 8 * 9)  # expected of scattered patches
    require(sum(map(changes, many)) / 4 < 0.75 * random,
            "The number is right, but the patches are scattered: hide whole rectangles.")


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
    require(not close(found, distance(mask == 1)),
            "These are distances to the nearest hidden patch: visible ones have a mask of 0.")
    require(not close(found, right.square()), "These are squared distances: take the root.")
    require(not close(found, distance(mask == 0, p=1.0)),
            "These are distances along rows and columns: take the straight line, "
            "√(rows² + columns²).")
    require(not close(found, distance(mask == 0, p=torch.inf)),
            "This is the larger of the two offsets: take the straight line, √(rows² + columns²).")
    require(not close(found, distance(mask == 0, reduce=torch.amax)),
            "This is the distance to the furthest visible patch: take the smallest.")
    require(not close(found, distance(mask == 0, reduce=torch.mean)),
            "This is the mean distance to all visible patches: take the smallest.")
    worst = int((found.double() - right).abs().argmax())
    require(close(found, right), f"In row {worst // 7}, column {worst % 7} the nearest visible "
                                 f"patch is {right.flatten()[worst]:.2f} away, you found "
                                 f"{found.flatten()[worst]:.2f}.")


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(first, second, mode: str = "RGB") -> Image.Image:
    """A picture of 40×40 pixels, its left half in one colour, its right half in another."""
    image = Image.new(mode, (40, 40), first)
    image.paste(second, (20, 0, 40, 40))
    return image


def claims_to_be_huge() -> bytes:
    """A PNG of a hundred bytes that says it has 30,000×30,000 pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        length, checksum = (struct.pack(">I", n) for n in (len(data), zlib.crc32(kind + data)))
        return length + kind + data + checksum

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99))


@exercise("Right: whatever the file holds, it becomes a picture or one clear sentence.")
def open_photo(answer: Callable) -> None:
    red, blue = (220, 30, 40), (30, 60, 200)
    pictures = {
        "An ordinary PNG": file_of(halves(red, blue), "PNG"),
        "A JPEG in CMYK": file_of(halves((0, 220, 210, 30), (220, 180, 0, 40), "CMYK"), "JPEG",
                                  quality=100),
        "A grey picture": file_of(halves(20, 200, "L"), "PNG"),
    }
    for name, content in pictures.items():
        found = call(answer, content, 8)
        require_tensor(found, (3, 8, 8), f"{name}: open_photo(content, 8)")
        require(found.dtype == torch.uint8, f"{name}: bytes from 0 to 255 are wanted, torch.uint8; "
                                            f"this is {found.dtype}.")
        with Image.open(io.BytesIO(content)) as image:
            left, right = (image.convert("RGB").getpixel((x, 20)) for x in (5, 35))
        seen = found[:, 4, 1].tolist(), found[:, 4, 6].tolist()
        require(_near(seen[0], left) and _near(seen[1], right),
                f"{name}: left and right should be {left} and {right}, yours are "
                f"{tuple(seen[0])} and {tuple(seen[1])}.")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn to the right
    found = call(answer, file_of(halves(red, blue), "PNG", exif=exif), 8)
    require(_near(found[:, 1, 4].tolist(), red) and _near(found[:, 6, 4].tolist(), blue),
            "A photograph that was taken with the camera on its side should be turned upright: "
            "ImageOps.exif_transpose reads how it was held.")
    clear = file_of(halves((0, 0, 0, 0), (*blue, 255), "RGBA"), "PNG")
    found = call(answer, clear, 8)
    require(_near(found[:, 4, 1].tolist(), (255, 255, 255)),
            "What is transparent should be white: lay the picture on a white one with "
            "Image.alpha_composite, or the black behind it shows.")
    whole = file_of(Image.effect_noise((64, 64), 60).convert("RGB"), "JPEG")
    for name, content in {"an empty file": b"", "a text file": b"No picture.\n" * 20,
                          "a file cut in half": whole[: len(whole) // 2],
                          "a file that claims 900 million pixels": claims_to_be_huge()}.items():
        try:
            answer(content, 8)
        except ValueError as error:
            said = str(error)
            require(len(said.split()) >= 3 and "\n" not in said,
                    f"For {name} say in a sentence what is wrong; your ValueError says {said!r}.")
        except Exception as error:
            raise Mistake(f"For {name} your function stops with {type(error).__name__}: catch "
                          f"it, and raise ValueError with a sentence.") from None
        else:
            raise Mistake(f"For {name} your function returns as if it were a picture: raise "
                          f"ValueError.")


def _near(colour, wanted, tolerance: int = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, wanted, strict=True))
