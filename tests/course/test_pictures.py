"""Stored pictures are small and look the same."""

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from mae_lib.course.pictures import bundle, packed


def png_of(pixels):
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def drawing():
    figure = Figure(figsize=(6, 3))
    figure.subplots().plot([0, 1, 4, 9], "o-", label="a curve")
    figure.savefig(buffer := io.BytesIO(), format="png")
    return buffer.getvalue()


def grey_photograph():
    """256 colours are enough for it, but its noise takes much room as PNG."""
    return data.astronaut().mean(2).astype(np.uint8)[..., None].repeat(3, 2)


@pytest.mark.parametrize("png, kind, smaller", [
    (drawing(), "image/png", 0.8), (png_of(data.astronaut()), "image/jpeg", 0.3),
    (png_of(grey_photograph()), "image/jpeg", 0.5)])
def test_a_picture_keeps_its_looks_and_takes_less_room(png, kind, smaller):
    found, content = packed(png)
    assert found == kind and len(content) < smaller * len(png)
    before, after = (np.asarray(Image.open(io.BytesIO(x)).convert("RGB"), float)
                     for x in (png, content))
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 4


def test_the_words_belong_to_the_kind_of_picture_that_is_stored():
    content, words = bundle(png_of(data.chelsea()), "a cat")
    assert words == {"image/jpeg": {"alt": "a cat"}}
    assert Image.open(io.BytesIO(base64.b64decode(content["image/jpeg"]))).size == (451, 300)
