"""Explorers: controls above a picture that a pure function draws from their values.

Each notebook has its own in a module of its own. An explorer shows three things in one output: the
live widget; a PNG with a few stills, for pages without a kernel; and a sentence, which tests read.
A second output, which nobody sees, is for JupyterLab where it has lost the widget.
"""

import io
import struct
import zlib
from collections.abc import Callable
from html import escape
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from IPython.display import display
from PIL import Image
from torch import Tensor

from mae_lib import plots
from mae_lib.course.pictures import bundle

VIEW = "application/vnd.jupyter.widget-view+json"
ASLEEP = "These are still pictures. Run the notebook up to this cell to move the controls."
# JupyterLab marks what has lost its kernel with this class, and with a broken link for every part.
GONE = """<style>
.mae-live.jupyter-widgets-disconnected::before {
  content: "These controls have lost their kernel. Run the notebook up to this cell again.";
  font: italic var(--jp-ui-font-size1) var(--jp-ui-font-family);
  color: var(--jp-error-color1); width: auto; height: auto; }
.mae-live.jupyter-widgets-disconnected .jupyter-widgets-disconnected::before { display: none; }
.mae-live.jupyter-widgets-disconnected > * {
  opacity: 0.5; pointer-events: none; interactivity: inert; }
</style>"""
# A file keeps only the name of a saved widget. Opened again, JupyterLab shows an error instead:
# an output with this class and no element in it. A page that is not JupyterLab has no such thing.
LOST = """<style class="mae-lost">
.jp-OutputArea-child:has(+ * .mae-lost) > .jupyter-widgets:not(:has(*)) {
  font-size: 0; visibility: hidden; }
.jp-OutputArea-child:has(+ * .mae-lost) > .jupyter-widgets:not(:has(*))::after {
  content: "Run the notebook up to this cell to bring this back.";
  font: italic var(--jp-ui-font-size1) var(--jp-ui-font-family); visibility: visible; }
.jp-OutputArea-child:has(.mae-lost) { display: none; }
</style>"""


class Frame(NamedTuple):
    """What a render function returns."""

    picture: np.ndarray  # (H, W, 3) uint8
    text: str  # what it shows, in one sentence, with numbers rounded so that all machines agree
    photographic: bool = False  # photographs, not enlarged: a JPEG is ready sooner, and small


Render = Callable[..., Frame]


def png(picture: np.ndarray) -> bytes:
    """A picture as PNG, packed lightly: a slider that moves should not wait for it.

    Each row is stored as its difference from the row above, all zeros where pixels are enlarged.
    Pillow would try five ways for each row, which takes about twice as long or more, to save 1 to
    13 %; exact WebP is smaller, but its default settings take many times as long.
    """
    height, width = picture.shape[:2]
    rows = np.full((height, 1 + 3 * width), 2, np.uint8)  # 2 in front: "minus the row above"
    flat = picture.reshape(height, 3 * width)
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
             (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts)


def packed(frame: Frame) -> bytes:
    """A frame's picture as a file that is quickly made and quickly shown."""
    if not frame.photographic:
        return png(frame.picture)
    buffer = io.BytesIO()
    Image.fromarray(frame.picture).save(buffer, "jpeg", quality=92, subsampling=0)
    return buffer.getvalue()


def to_picture(image: Tensor, zoom: int = 1) -> np.ndarray:
    """A tensor (3, H, W) or (H, W) in [0, 1] as (zoom·H, zoom·W, 3) uint8, pixels kept sharp."""
    x = image.detach().float().cpu().clamp(0, 1)
    x = x.expand(3, -1, -1) if x.ndim == 2 else x
    return enlarged((255 * x).round().byte().permute(1, 2, 0).numpy(), zoom)


def enlarged(picture: np.ndarray, zoom: int) -> np.ndarray:
    """A picture (H, W, 3) with each pixel as zoom × zoom pixels."""
    return picture if zoom == 1 else picture.repeat(zoom, axis=1).repeat(zoom, axis=0)


def side_by_side(*pictures: np.ndarray, gap: int = 8) -> np.ndarray:
    """Pictures of one height in a row, on white."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, white)][:-1]
    return np.concatenate(row, axis=1)


class Live:
    """What has a `view` with controls where there is a kernel, and is `asleep()` elsewhere."""

    view: ipywidgets.Widget

    def asleep(self) -> tuple[dict, dict]:
        """What to show without a kernel: data by MIME type, and their metadata."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data, metadata = self.asleep()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}
        return {"text/plain": repr(self), **data, VIEW: view}, metadata

    def _ipython_display_(self) -> None:
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        display({"text/plain": "", "text/html": LOST}, raw=True)


def asleep_line(sentence: str) -> tuple[dict, dict]:
    """One sentence, as what a `Live` shows while it is asleep."""
    return {"text/html": f"<p><i>{sentence}</i></p>"}, {}


class Explorer(Live):
    """Controls above what `render(**values)` draws, one for each parameter; moving one redraws.

    `stills` are the values shown side by side where there is no kernel, each under its "title", if
    it has one, or else under its values. `explorer.set(name=value)`
    moves controls from code.
    """

    def __init__(self, render: Render, stills: list[dict], **controls: ipywidgets.Widget):
        self.render, self.stills, self.controls = render, stills, controls
        # At its own size: enlarged to the page's width, it would push its controls off the screen.
        self.image = ipywidgets.Image(layout=ipywidgets.Layout(
            align_self="flex-start", max_width="100%"))
        self.caption = ipywidgets.HTML()
        box = ipywidgets.HBox(list(controls.values()))
        box.layout.flex_flow, box.layout.grid_gap = "row wrap", "4px 16px"
        self.view = live_view(box, self.image, self.caption)
        for control in controls.values():
            make_room(control)
            without_echo(control)
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
        try:
            frame = quietly(self.render, **self.values)
        except Exception as error:  # the picture that stands there shows other values
            self.caption.value = escape(f"✗ Not drawn: {type(error).__name__}: {error}")
            raise
        self._show(frame)

    def _show(self, frame: Frame, content: bytes | None = None) -> None:
        self.frame = frame
        self.caption.value = frame.text  # first: the browser takes it in while we pack
        with self.image.hold_sync():
            self.image.format = "jpeg" if frame.photographic else "png"
            self.image.value = content or packed(frame)

    def __repr__(self) -> str:
        return f"[explorer: {self.frame.text}]"

    def still(self, stills: list[dict] | None = None, note: str = "") -> bytes:
        """The stills, or others, as one PNG, each under its values; below them the note, if any."""
        stills = stills or self.stills
        titles = [still.get("title") or ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in still.items())
            for still in stills]
        stills = [{k: v for k, v in still.items() if k != "title"} for still in stills]
        frames = [quietly(self.render, **{**self.values, **still}) for still in stills]
        height, width = frames[0].picture.shape[:2]
        columns = 4 if width < 1.2 * height else 2 if width < 3.5 * height else 1
        columns = min(len(frames), columns)
        rows = -(-len(frames) // columns)
        size = 10, rows * (10 / columns * height / width + 0.35) + 0.3 * bool(note)
        figure, axes = plots.new_figure(rows, columns, *size)
        for axis in axes.flat:
            axis.axis("off")
        for axis, frame, title in zip(axes.flat, frames, titles, strict=False):
            axis.imshow(frame.picture, interpolation="antialiased")  # keeps thin lines when shrunk
            axis.set_title(title)
        if note:
            figure.supxlabel(note, x=0.01, ha="left", size=10, style="italic", color="#555555")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None}, facecolor="white")
        return buffer.getvalue()

    def asleep(self) -> tuple[dict, dict]:
        return bundle(self.still(note=ASLEEP), f"Stills of an explorer. {self.frame.text}")


def live_view(*children: ipywidgets.Widget) -> ipywidgets.VBox:
    """The children below each other, in a box that says so when their kernel is gone."""
    style = ipywidgets.HTML(GONE, layout=ipywidgets.Layout(display="none"))
    view = ipywidgets.VBox([*children, style])
    view.add_class("mae-live")
    return view


def make_room(control: ipywidgets.Widget) -> None:
    """Let a control show its whole name, and toggle buttons all of their words."""
    style = getattr(control, "style", None)
    if style is not None and style.has_trait("description_width"):
        style.description_width = "initial"
    if isinstance(control, ipywidgets.ToggleButtons):
        control.layout.width = control.layout.width or "max-content"
        style.button_width = style.button_width or "max-content"


def without_echo(control: ipywidgets.Widget) -> None:
    """Do not tell the browser again what it has just told: it delays the picture.

    ipywidgets 8 does so for a second browser in which the same notebook is open.
    """
    known = control.trait_metadata
    control.trait_metadata = lambda name, key, default=None: (
        False if key == "echo_update" else known(name, key, default))


def quietly(render: Render, **values) -> Frame:
    """Render without gradients on one thread: faster for small models, and beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return render(**values)
    finally:
        torch.set_num_threads(threads)
