"""Picture files: which of them are read, where they lie in a folder, how they become arrays.

Data sets and uploads follow the same rules.
"""

import functools
import importlib
import os
from contextlib import suppress
from errno import EHOSTDOWN, EIO, EMFILE, ENFILE, ENOTCONN, ESTALE, ETIMEDOUT
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# No others are tried, whatever a file is called: for EPS, Pillow starts another program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
# What a file cannot be blamed for: a disk or its network fails, or too many files are open.
PASSING = (EHOSTDOWN, EIO, EMFILE, ENFILE, ENOTCONN, ESTALE, ETIMEDOUT)


def printable(name: str) -> str:
    """A file's name as text that can be printed: on Linux, a name can be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that can be read here; HEIF needs the package pillow-heif or pi-heif."""
    for plugin in ("pillow_heif", "pi_heif"):
        with suppress(ImportError):
            importlib.import_module(plugin).register_heif_opener()
            break
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def extensions() -> frozenset[str]:
    """The file types that can be read here, without .pfm: it holds distances, not photographs."""
    readable = {*formats(), "MPO"}  # several JPEGs in one file, which Pillow opens as JPEG
    known = Image.registered_extensions()
    return frozenset(end for end, name in known.items() if name in readable) - {".pfm"}


def list_files(root: Path, folders: list[str]) -> dict[str, list[str]]:
    """The files below each of `folders`, relative to `root`, sorted, without hidden ones.

    Each real file is listed once, under its own name rather than a link's. A link to a folder that
    contains the data set is not followed. Raises ValueError for a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise ValueError(f"The folder {error.filename} cannot be read ({error.strerror}): change "
                         "its permissions or remove it.") from None

    start = {folder: os.path.realpath(root / folder) for folder in folders}
    above = {str(parent) for place in (root.resolve() / "x", *map(Path, start.values()))
             for parent in place.parents} - {*start.values()}
    best, seen = {}, set()  # best: real path -> (is it by a link?, path, folder)
    for folder, base in start.items():
        for top, inner, names in os.walk(base, onerror=fail, followlinks=True):
            real = os.path.realpath(top)
            linked = real != top
            if real in above or (linked and real in seen):
                inner.clear()
                continue
            seen.add(real)
            inner[:] = [name for name in inner if not name.startswith(".")]
            for name in names:
                file = os.path.join(real, name)
                # A link to nowhere is listed, to be reported as unreadable; a pipe is not.
                if name.startswith(".") or (os.path.exists(file) and not os.path.isfile(file)):
                    continue
                path = str(Path(folder, os.path.relpath(top, base), name))
                found = (linked or os.path.islink(file), path, folder)
                file = os.path.realpath(file) if os.path.islink(file) else file
                best[file] = min(best.get(file, found), found)
    return {folder: sorted(path for _, path, owner in best.values() if owner == folder)
            for folder in folders}


def decode(path: Path, size: int) -> np.ndarray | str:
    """The centre of the image, uint8 (3, size, size) in RGB; or why it cannot be read.

    Raises OSError for a fault that may pass, such as a disk that does not answer.
    """
    try:
        with Image.open(path, formats=formats()) as image:
            image.draft(None, (2 * size, 2 * size))  # spares the JPEG decoder unneeded detail
            return centre_square(image, size)
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise almost anything
        if getattr(error, "errno", None) in PASSING:
            raise OSError(f"{path} could not be read ({os.strerror(error.errno)}): run this again, "
                          "and remove the file if it still cannot be read.") from None
        why = f"{type(error).__name__}: {error}".replace(str(path), path.name)
        return " ".join(why.split()).rstrip(".")


def centre_square(image: Image.Image, size: int) -> np.ndarray:
    """The centre of an image, uint8 (3, size, size) in RGB, upright, transparency on white
    (but not in grey images of 16 bits).

    Raises ValueError if its pixels are floats or 32-bit integers.
    """
    if image.mode == "F" or (image.mode, image.format) == ("I", "TIFF"):
        raise ValueError("its pixels are not unsigned integers of 8 or 16 bits")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip to 255 rather than scale
        deep = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((deep / 257).round().astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        # What lies behind the transparency is arbitrary, and often black.
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)
