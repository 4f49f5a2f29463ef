"""Photographs that a learner brings: whatever the file holds, a picture or one clear sentence."""

import io
import re
import sys
import warnings
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mae_lib.data.pictures import centre_square, formats

MAX_PIXELS = 50_000_000  # to decode: 150 MB in RGB
COLAB = Path("/content")  # where Colab's Files pane puts what is uploaded there
DRIVE = COLAB / "drive" / "MyDrive"


def decode_upload(content: bytes, size: int) -> Tensor:
    """The centre of an image file, uint8 (3, size, size) in RGB, upright; an animation's first.

    Raises ValueError with one sentence for anything other than an image of sensible size.
    """
    if not content:
        raise ValueError("The file is empty: choose another one.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures: they are judged here
            with Image.open(io.BytesIO(content), formats=formats()) as image:
                image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at an eighth
                pixels = image.width * image.height
                if pixels <= MAX_PIXELS:
                    return torch.from_numpy(centre_square(image, size).copy())
    except UnidentifiedImageError:
        raise ValueError("This is not a picture that can be read here. Use JPEG, PNG, WebP or "
                         "GIF, and export HEIC from a phone as JPEG.") from None
    except Image.DecompressionBombError:
        pixels = 2 * Image.MAX_IMAGE_PIXELS
    except MemoryError:
        raise ValueError("The picture does not fit into memory: make it smaller.") from None
    except Exception as error:  # damaged files make Pillow raise almost anything
        raise ValueError(f"The picture is cut off or damaged ({type(error).__name__}): fetch it "
                         "again, or choose another one.") from None
    raise ValueError(f"The picture has at least {pixels / 1e6:,.0f} million pixels, but the "
                     f"limit is {MAX_PIXELS / 1e6:.0f} million: make it smaller.")


def upload_limit(instead: str = "type the file's path") -> str:
    """How much the upload button carries, and what to do `instead` with larger files.

    Files that are chosen together travel as one message. One that is too large is lost between the
    browser and the kernel, which never hears of it. Colab's connection loses those of 1 MB and more
    (jupyter-widgets/ipywidgets#3452), Jupyter's those of more than 10 MB (#2522 there), unless it
    was started by `make lab`.
    """
    if "google.colab" in sys.modules:
        return ("Colab uploads less than 1 MB at a time. For more, use its Files pane (the folder "
                f"icon on the left) or your mounted Drive, and {instead}.")
    return f"Jupyter may upload only 10 MB at a time. For more, {instead}."


def places() -> list[Path]:
    """The folders in which a file that the learner names is looked for, in this order.

    Notebooks run in a folder of their own, so that the project's folder is one level up.
    """
    colab = [COLAB, DRIVE.parent, DRIVE] if "google.colab" in sys.modules else []
    return [Path(), Path(".."), *colab]


def uploaded(value) -> list[tuple[str, bytes]]:
    """Name and content of the files in a FileUpload's value: ipywidgets 7 has a dict, 8 a tuple."""
    if isinstance(value, dict):
        value = [{"name": name, **file} for name, file in value.items()]
    return [(file["name"], bytes(file["content"])) for file in value]


def safe_name(name: str) -> str:
    """A file's name as it may be shown: no path, no markup, not long."""
    return re.sub(r"[^\w .()-]+", "_", re.split(r"[/\\]", name)[-1])[-40:] or "upload"
