"""Explorers: controls above a picture that a pure function draws from their values.

Each notebook has its own in a module of its own. An explorer shows three things in one output: the
live widget; a PNG with a few stills, for pages without a kernel; and a sentence, which tests read.
"""

import base64
import io
from collections.abc import Callable
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae_lib import plots

VIEW = "application/vnd.jupyter.widget-view+json"


class Frame(NamedTuple):
    """What a render function returns."""

    picture: np.ndarray  # (H, W, 3) uint8
    text: str  # what it shows, in one sentence, with numbers rounded so that all machines agree


Render = Callable[..., Frame]


def png(picture: np.ndarray) -> bytes:
    """A picture as PNG, packed lightly: a slider that moves should not wait for the packing."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def to_picture(image: Tensor, zoom: int = 1) -> np.ndarray:
    """A tensor (3, H, W) or (H, W) in [0, 1] as (zoom·H, zoom·W, 3) uint8, pixels kept sharp."""
    x = image.detach().float().cpu().clamp(0, 1)
    x = x.expand(3, -1, -1) if x.ndim == 2 else x
    x = (255 * x).round().byte().permute(1, 2, 0).numpy()
    return x.repeat(zoom, axis=0).repeat(zoom, axis=1)


def side_by_side(*pictures: np.ndarray, gap: int = 8) -> np.ndarray:
    """Pictures of one height in a row, on white."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, white)][:-1]
    return np.concatenate(row, axis=1)


class Explorer:
    """`render(**values)` above controls, one for each of its parameters; moving one redraws.

    `stills` are the values shown side by side where there is no kernel. `explorer.set(name=value)`
    moves controls from code.
    """

    def __init__(self, render: Render, stills: list[dict], **controls: ipywidgets.Widget):
        self.render, self.stills, self.controls = render, stills, controls
        self.image = ipywidgets.Image(format="png")
        self.caption = ipywidgets.HTML()
        box = ipywidgets.HBox(list(controls.values()))
        box.layout.flex_flow = "row wrap"
        self.view = ipywidgets.VBox([box, self.image, self.caption])
        for control in controls.values():
            control.observe(self._draw, names="value")
        self._draw()

    @property
    def values(self) -> dict:
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values) -> "Explorer":
        for name, value in values.items():
            self.controls[name].value = value
        return self

    def _draw(self, _=None) -> None:
        self.frame = quietly(self.render, **self.values)
        self.image.value = png(self.frame.picture)
        self.caption.value = self.frame.text

    def __repr__(self) -> str:
        return f"[explorer: {self.frame.text}]"

    def still(self) -> bytes:
        """The stills as one PNG, each under its values."""
        frames = [quietly(self.render, **{**self.values, **still}) for still in self.stills]
        columns = min(len(frames), 4 if frames[0].picture.shape[1] < 300 else 2)
        rows = -(-len(frames) // columns)
        height, width = frames[0].picture.shape[:2]
        size = 10, rows * (10 / columns * height / width + 0.35)
        figure, axes = plots.new_figure(rows, columns, *size)
        for axis in axes.flat:
            axis.axis("off")
        for axis, frame, still in zip(axes.flat, frames, self.stills, strict=False):
            axis.imshow(frame.picture, interpolation="antialiased")  # keeps thin lines when shrunk
            axis.set_title(", ".join(f"{k.replace('_', ' ')} {v}" for k, v in still.items()))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None}, facecolor="white")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}
        still = base64.b64encode(self.still()).decode()
        data = {"text/plain": repr(self), "image/png": still, VIEW: view}
        return data, {"image/png": {"alt": f"Stills of an explorer. {self.frame.text}"}}


def quietly(render: Render, **values) -> Frame:
    """Render without gradients on one thread: faster for small models, and beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return render(**values)
    finally:
        torch.set_num_threads(threads)
