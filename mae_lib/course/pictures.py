"""How pictures are stored in a notebook: as small as they can be without looking different."""

import base64
import io

import numpy as np
from PIL import Image

FLAT = 1.0  # mean error of a copy in 256 colours, of 255, up to which a picture is a drawing


def packed(png: bytes) -> tuple[str, bytes]:
    """A picture's MIME type and content: drawings as PNG with 256 colours, photographs as JPEG.

    A picture that is much smaller as JPEG, such as a photograph of few colours, becomes one too.
    """
    image = Image.open(io.BytesIO(png)).convert("RGB")
    few = image.quantize(256, kmeans=2, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(few.convert("RGB"), np.int16) - np.asarray(image, np.int16)).mean()
    few.save(drawing := io.BytesIO(), "PNG", optimize=True)
    image.save(photograph := io.BytesIO(), "JPEG", quality=60, optimize=True, progressive=True)
    if error < FLAT and drawing.tell() < 1.5 * photograph.tell():
        return "image/png", drawing.getvalue()
    return "image/jpeg", photograph.getvalue()


def bundle(png: bytes, alt: str) -> tuple[dict, dict]:
    """What Jupyter stores of a picture: data and metadata, which hold what it shows in words."""
    mime, content = packed(png)
    return {mime: base64.b64encode(content).decode()}, {mime: {"alt": alt}}
