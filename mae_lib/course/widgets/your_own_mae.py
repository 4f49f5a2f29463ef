"""Notebook 11: photographs of the learner's, their model at work, and a picture to keep."""

from html import escape
from typing import NamedTuple

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mae_lib import course
from mae_lib.course.reference import MAE
from mae_lib.course.widgets import (
    Explorer,
    Frame,
    Live,
    asleep_line,
    live_view,
    side_by_side,
    to_picture,
)
from mae_lib.course.widgets.panels import named
from mae_lib.course.widgets.uploads import decode_upload, safe_name, upload_limit, uploaded
from mae_lib.data.augment import denormalise, resize
from mae_lib.losses import predicted_images
from mae_lib.metrics import composite, masked_psnr
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import new_figure

SEEDS = 9


class Work(NamedTuple):
    """What a model makes of images. All are (N, 3, S, S) in [0, 1], apart from `psnr` (N,)."""

    seen: Tensor
    filled: Tensor
    target: Tensor
    psnr: Tensor  # on hidden pixels, in dB
    visible: int  # patches
    patches: int


def size_of(mae: nn.Module) -> int:
    """The side of the images that a course's MAE takes, in pixels."""
    return round(mae.encoder.pos_embed.shape[1] ** 0.5) * mae.patch_size


@torch.no_grad()
def work(mae: nn.Module, images: Tensor, norm_pix: bool, mask_ratio: float = 0.75,
         seed: int = 0) -> Work:
    """Let a course's MAE reconstruct uint8 images (N, 3, H, W)."""
    device = mae.encoder.pos_embed.device
    x = resize(images, size_of(mae))
    noise = torch.rand(len(x), mae.encoder.pos_embed.shape[1],
                       generator=torch.Generator().manual_seed(seed))
    pred, mask, _ = (y.cpu() for y in mae(x.to(device), mask_ratio, noise.to(device)))
    hidden = patch_mask_to_pixels(mask, mae.patch_size)  # (N, 1, S, S)
    target = denormalise(x).clamp(0, 1)
    pixels = denormalise(predicted_images(pred, x, mae.patch_size, norm_pix)).clamp(0, 1)
    visible = mask.shape[1] - int(mask[0].sum())
    return Work(torch.where(hidden > 0, 0.5, target), composite(pixels, target, hidden), target,
                masked_psnr(pixels, target, hidden), visible, mask.shape[1])


def shipped() -> nn.Module:
    """The package's MAE with the weights that come with the course."""
    sizes, weights = course.shipped_weights("original")
    mae = MAE(**sizes).eval()
    mae.load_state_dict(weights)
    return mae


def explorer(mae: nn.Module | None = None, images: Tensor | None = None,
             norm_pix: bool = True) -> Explorer:
    """What `mae`, a course's MAE, makes of uint8 images (N, 3, H, W), one at a time.

    Without them: the shipped weights, and the photographs of the course. `norm_pix`: whether the
    model predicts in units of each patch's own statistics, which are then borrowed.
    """
    mae = (shipped() if mae is None else mae).eval()
    images = course.photographs() if images is None else images
    zoom = max(1, round(190 / size_of(mae)))

    def render(image: int = 0, mask_ratio: float = 0.75, seed: int = 0) -> Frame:
        done = work(mae, images[image : image + 1], norm_pix, round(mask_ratio, 2), seed)
        pictures = {"what it sees": done.seen, f"filled in: {done.psnr[0]:.1f} dB": done.filled,
                    "the image": done.target}
        text = f"Image {image}: {done.visible} of {done.patches} patches visible, seed {seed}."
        return Frame(side_by_side(*(named(name, to_picture(picture[0], zoom), size=18)
                                    for name, picture in pictures.items())), text)

    stills = [{"mask_ratio": ratio, "title": f"{100 * ratio:.0f} % hidden"}
              for ratio in (0.25, 0.5, 0.75, 0.9)]
    return Explorer(
        render, stills,
        image=ipywidgets.IntSlider(0, min=0, max=len(images) - 1, description="image"),
        mask_ratio=ipywidgets.FloatSlider(0.75, min=0.05, max=0.95, step=0.05,
                                          description="mask ratio"),
        seed=ipywidgets.IntSlider(0, min=0, max=SEEDS, description="seed"))


def poster(mae: nn.Module, images: Tensor, norm_pix: bool, title: str = "") -> Figure:
    """A picture to keep: up to eight uint8 images (N, 3, H, W), as seen, filled in and whole."""
    done = work(mae.eval(), images[:8], norm_pix)
    columns = len(done.target)
    figure, axes = new_figure(3, columns, 10, 3 * 10 / columns + 0.5 * bool(title))
    rows = {"what it sees": done.seen, "filled in": done.filled, "the image": done.target}
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=11)
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture.permute(1, 2, 0))
            axis.set(xticks=[], yticks=[])
    if title:
        figure.suptitle(title)
    return figure


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    figure = poster(shipped(), course.photographs(), norm_pix=True)
    return figure, ("Five photographs in three rows: with three quarters of their patches covered "
                    "in grey, filled in by a masked autoencoder, and whole.")


_arrived: dict[int, dict[str, Tensor]] = {}  # by size: a cell that runs again loses none


class Uploader(Live):
    """A button for photographs, any number of them. `images` are those that could be read."""

    def __init__(self, size: int):
        self.size, self.found = size, _arrived.setdefault(size, {})
        self.button = ipywidgets.FileUpload(accept="image/*", multiple=True,
                                            description="your photographs",
                                            layout=ipywidgets.Layout(width="200px"))
        self.status = ipywidgets.HTML(upload_limit("set source to 'imagefolder:PATH'"))
        if self.found:
            self._say([])
        self.button.observe(self._uploaded, names="value")
        self.view = live_view(self.button, self.status)

    @property
    def images(self) -> Tensor:
        """uint8 (N, 3, size, size). Raises ValueError if there are none yet."""
        if not self.found:
            raise ValueError("No photograph has arrived yet: choose some with the button above, "
                             "or set source to 'imagefolder:PATH'.")
        return torch.stack(list(self.found.values()))

    def _uploaded(self, change) -> None:
        refused = []
        for name, content in uploaded(change["new"]):
            name = safe_name(name)
            try:
                picture = decode_upload(content, self.size)
                while name in self.found and not torch.equal(self.found[name], picture):
                    name += "'"  # phones and cameras use names again
                self.found[name] = picture
            except ValueError as error:
                refused.append(f"✗ {name}: {error}")
        self._say(refused)

    def _say(self, refused: list[str]) -> None:
        self.status.value = "<br>".join(map(escape, [f"Photographs so far: {len(self.found)}.",
                                                     *refused]))

    def __repr__(self) -> str:
        return "[a button that uploads photographs]"

    def asleep(self) -> tuple[dict, dict]:
        return asleep_line("Run the notebook up to this cell to choose photographs.")
