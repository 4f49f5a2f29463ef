"""Notebook 09: what a model fills in where a photograph, perhaps yours, is hidden."""

import html
import io
from pathlib import Path
from typing import NamedTuple

import ipywidgets
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mae_lib.course.widgets import Frame, live_view, sources, to_picture
from mae_lib.course.widgets.ahead import SPARE, AheadExplorer
from mae_lib.course.widgets.masks import KINDS, PatchGrid, distance_to_visible, make_mask
from mae_lib.course.widgets.panels import GAP, STRIP, bars, heat, in_rows, named, strip
from mae_lib.course.widgets.uploads import upload_limit, uploaded
from mae_lib.data.augment import denormalise
from mae_lib.losses import laplacian, patch_statistics, predicted_images
from mae_lib.metrics import composite, masked_hf_error, masked_psnr, trivial_reconstructions
from mae_lib.patches import patch_mask_to_pixels, unpatchify
from mae_lib.plots import new_figure

__all__ = ["distance_to_visible", "make_mask"]  # which the notebook takes from here

HIDDEN = 0.5  # the grey that stands for a hidden patch
ERROR_TOP, LAPLACIAN_TOP = 0.4, 1.0  # where the colours of the maps end
PSNR_TOP = 30.0  # dB, where the bars end


class Reconstruction(NamedTuple):
    """A photograph, a model's prediction and where it counts; pictures (1, 3, S, S) in [0, 1]."""

    target: Tensor
    pred: Tensor  # for every patch, visible ones included
    mask: Tensor  # (1, 1, S, S), 1 = hidden
    helped: Tensor | None  # a prediction of zeros with the help that norm_pix gets from the target

    @property
    def seen(self) -> Tensor:
        return self.target * (1 - self.mask) + HIDDEN * self.mask

    @property
    def composite(self) -> Tensor:
        return composite(self.pred, self.target, self.mask)


def mask_of(weights: str, kind: str, mask_ratio: float, seed: int, flipped: tuple[int, ...] = (),
            **others) -> Tensor:
    """The mask (1, L) of an explorer's values."""
    grid = sources.weights(weights).model.grid
    return make_mask(kind, grid, round(mask_ratio, 2), seed, flipped)


@torch.no_grad()
def reconstruct(photograph: str, weights: str, mask: Tensor) -> Reconstruction:
    """Hide the patches where `mask` (1, L) is 1, and let a model predict all of them."""
    model, facts = sources.weights(weights)
    x = sources.photograph(photograph, model.img_size)
    # As noise, a mask sorts its visible patches to the front.
    output = model(x, num_visible=int((1 - mask).sum()), noise=mask)
    pred = predicted_images(output.pred, x, model.patch_size, facts["norm_pix"])
    helped = None
    if facts["norm_pix"]:
        means = patch_statistics(output.patches)[0].expand_as(output.patches)
        helped = denormalise(unpatchify(means, model.patch_size)).clamp(0, 1)
    return Reconstruction(denormalise(x).clamp(0, 1), denormalise(pred).clamp(0, 1),
                          patch_mask_to_pixels(mask, model.patch_size), helped)


def scores(found: Reconstruction, weights: str = "model") -> dict[str, tuple[float, float]]:
    """PSNR in dB and HF error on hidden pixels, of the model and of what costs nothing."""
    candidates = {weights: found.pred}
    if found.helped is not None:
        candidates["zeros, helped"] = found.helped
    references = trivial_reconstructions(found.target, found.mask)
    candidates |= {name: references[name]
                   for name in ("bilinear fill", "masked mean", "blurred target")}
    images = torch.cat(list(candidates.values()))  # (K, 3, S, S)
    target, mask = (x.expand(len(images), -1, -1, -1) for x in (found.target, found.mask))
    psnr, hf = masked_psnr(images, target, mask), masked_hf_error(images, target, mask)
    return dict(zip(candidates, zip(psnr.tolist(), hf.tolist(), strict=True), strict=True))


def laplacian_error(found: Reconstruction) -> Tensor:
    """What the HF error averages: how far the composite's Laplacian is off, (S, S)."""
    error = laplacian(found.composite - found.target).abs().mean(dim=1)[0]  # (S − 2, S − 2)
    return F.pad(error, (1, 1, 1, 1)) * found.mask[0, 0]


def zoom_of(size: int, width: int = 192) -> int:
    """How many times a panel is enlarged, to be at least `width` pixels wide.

    At 192 there is room for its name, the six panels, bars and controls fit a laptop's screen, and
    a move is drawn sooner.
    """
    return -(-width // size)


def render(
    photograph: str = "astronaut", weights: str = "original", kind: str = "random",
    mask_ratio: float = 0.75, seed: int = 0, flipped: tuple[int, ...] = (),
) -> Frame:
    """Six panels and the numbers; `flipped` patches are hidden or shown by hand."""
    model = sources.weights(weights).model
    mask = mask_of(weights, kind, mask_ratio, seed, flipped)
    found = reconstruct(photograph, weights, mask)
    zoom = zoom_of(model.img_size)

    def panel(name: str, image: Tensor):
        return named(name, to_picture(image[0], zoom))

    error = (found.composite - found.target).abs().mean(dim=1)[0]
    above = [panel("target", found.target), panel("what the model sees", found.seen),
             panel("prediction", found.pred)]
    below = [panel("composite", found.composite),
             named("error", heat(error, ERROR_TOP, zoom), ERROR_TOP),
             named("Laplacian error", heat(laplacian_error(found), LAPLACIAN_TOP, zoom),
                   LAPLACIAN_TOP)]
    hidden, width = int(mask.sum()), (3 * zoom * model.img_size + GAP) // 2
    text = f"{photograph}, {weights}, {kind}: {hidden} of {model.num_patches} patches hidden"
    if not hidden:
        empty = [bars("Nothing is hidden: click on patches.", {}, 1, 0, 2 * width)]
        return Frame(in_rows(above, below, empty), f"{text}, so there is nothing to measure.",
                     zoom == 1)
    numbers = scores(found, weights)
    psnr, hf = ({name: pair[i] for name, pair in numbers.items()} for i in (0, 1))
    boards = [bars("PSNR, dB (higher is better)", psnr, PSNR_TOP, 1, width),
              bars("HF error (lower is better)", hf, 1.2 * max(hf.values()), 3, width)]
    others = "; ".join(f"{name} {value:.1f}" for name, value in list(psnr.items())[1:])
    text += f". PSNR {psnr[weights]:.1f} dB ({others}); HF error {hf[weights]:.3f}."
    return Frame(in_rows(above, below, boards), text, photographic=zoom == 1)


def mask_controls() -> dict[str, ipywidgets.Widget]:
    """How patches are hidden."""
    return {
        "kind": ipywidgets.ToggleButtons(options=KINDS, value="random",
                                         style={"button_width": "84px"}),
        "mask_ratio": ipywidgets.FloatSlider(0.75, min=0.05, max=0.95, step=0.05,
                                             description="mask ratio"),
        "seed": ipywidgets.IntSlider(0, min=0, max=9, description="mask seed"),
    }


def picture_controls(photograph: str) -> dict[str, ipywidgets.Widget]:
    """The photograph and the model."""
    return {
        "photograph": ipywidgets.Dropdown(options=sources.photographs(), value=photograph,
                                          description="photograph"),
        "weights": ipywidgets.Dropdown(options=sources.all_weights(), description="weights"),
    }


class ReconstructionExplorer(AheadExplorer):
    """The explorer whose patches can be clicked, and that opens photographs and weights of yours.

    `explorer.open(path)` does so from code, and says in one sentence what came of it.
    """

    def __init__(self, stills: list[dict], photograph: str):
        self.patches, self.covered = PatchGrid(), None
        super().__init__(render, stills, **picture_controls(photograph), **mask_controls(),
                         flipped=self.patches)
        self.upload = ipywidgets.FileUpload(accept="image/*", description="your photograph",
                                            layout=ipywidgets.Layout(width="190px"))
        self.source = ipywidgets.Text(placeholder="a path, such as runs/mine/model.safetensors",
                                      description="or open", continuous_update=False,
                                      layout=ipywidgets.Layout(width="420px"))
        self.status = ipywidgets.HTML(upload_limit())
        self.upload.observe(self._uploaded, names="value")
        self.source.observe(self._typed, names="value")
        self.controls["photograph"].observe(self._forget, names="value")
        show = self.controls
        rows = [[show["photograph"], show["weights"]], [self.upload, self.source, self.status],
                [ipywidgets.Label("hide patches"), show["kind"]],
                [show["mask_ratio"], show["seed"]]]
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        stage = ipywidgets.GridBox([self.image, self.patches])
        self.view = live_view(*(ipywidgets.HBox(row, layout=wrap) for row in rows), stage,
                              self.caption)

    def _draw(self, change=None) -> None:
        by_hand = self.controls["kind"].value == "by hand"  # which ratio and seed leave alone
        for name in ("mask_ratio", "seed"):
            self.controls[name].disabled = by_hand
        moves = ("kind",) if by_hand else ("kind", "mask_ratio", "seed")
        mask_moved = change and (
            change["owner"] in [self.controls[k] for k in moves]
            or sources.weights(self.controls["weights"].value).model.grid != self.patches.grid)
        if mask_moved and self.patches.value:  # clicks were about another mask
            self.patches.value = ()  # which draws
            return
        super()._draw()
        model = sources.weights(self.values["weights"]).model
        height, width = self.frame.picture.shape[:2]
        if self.covered != (model.grid, height, width):
            side = zoom_of(model.img_size) * model.img_size
            self.patches.cover(model.grid, side, left=side + GAP, top=STRIP)
            for name, value in {"grid_area": "1 / 1 / 2 / 2", "width": f"{width}px",
                                "height": f"{height}px", "max_width": "none"}.items():
                setattr(self.image.layout, name, value)
            self.covered = model.grid, height, width

    def still(self, stills: list[dict] | None = None, note: str = "") -> bytes:
        """The stills below each other, in their main pictures: with all six they would be small."""
        lines = []
        for still in stills or self.stills:
            title = still.get("title") or ", ".join(f"{k} {v}" for k, v in still.items())
            values = self.values | {k: v for k, v in still.items() if k != "title"}
            found = reconstruct(values["photograph"], values["weights"], mask_of(**values))
            zoom = zoom_of(found.target.shape[-1])
            row = [named(name, to_picture(image[0], zoom)) for name, image in
                   (("what the model sees", found.seen), ("prediction", found.pred),
                    ("composite", found.composite), ("target", found.target))]
            lines += [[strip(title, in_rows(row).shape[1], size=18)], row]
        if note:
            lines.append([strip(note, in_rows(row).shape[1])])
        buffer = io.BytesIO()
        Image.fromarray(in_rows(*lines)).save(buffer, "png")
        return buffer.getvalue()

    def open(self, source: str | Path, progress: bool = True, **how) -> str:
        """Take a photograph's file, a file of weights, or official weights, and show them.

        `how`, such as `norm_pix=True`, is for weights: see `sources.add_weights`.
        """
        suffix = Path(source).suffix.lower()
        try:
            if source in sources.OFFICIAL or suffix in sources.WEIGHTS_FILES:
                return self._choose("weights", sources.add_weights(source, progress, **how))
            path = sources.find(source)
            return self._choose("photograph", sources.add_photograph(path.name, path.read_bytes()))
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: no such user's home
            return f"✗ {error}"
        except Exception as error:  # a file may hold anything
            return f"✗ {source} cannot be opened ({type(error).__name__}: {error})."

    def _choose(self, control: str, name: str) -> str:
        SPARE.want({})  # the name may have stood for another file
        control = self.controls[control]
        if control.value == name:  # another file under this name: no change of value draws it
            self._draw()
        elif name in control.options:
            control.value = name
        else:
            control.options = (name, *control.options)  # which chooses the first
        return f"✓ Opened {name}."

    def _say(self, sentence: str) -> None:
        self.status.value = html.escape(sentence)

    def _forget(self, change) -> None:
        """What was said about an earlier file does not hold for another photograph."""
        self.status.value = upload_limit()

    def _uploaded(self, change) -> None:
        for name, content in uploaded(change["new"])[-1:]:
            try:
                self._say(self._choose("photograph", sources.add_photograph(name, content)))
            except ValueError as error:
                self._say(f"✗ {error}")

    def _typed(self, change) -> None:
        if source := change["new"].strip():
            self._say(f"Opening {source} …")
            self._say(self.open(source, progress=False))
            self.source.value = ""  # so that the same can be typed again


def explorer(photograph: str = "astronaut") -> ReconstructionExplorer:
    for name in ("original", "improved"):
        sources.weights(name)  # now, so that the first move of a control does not wait for it
    stills = [{"title": "Three quarters hidden, at random", "kind": "random"},
              {"title": "Three quarters hidden, in blocks", "kind": "block"},
              {"title": "Three quarters hidden, on a grid", "kind": "grid"},
              {"title": "Nine tenths hidden, at random", "kind": "random", "mask_ratio": 0.9}]
    return ReconstructionExplorer(stills, photograph)


def gallery(rows: dict[str, Tensor]) -> Figure:
    """Rows of pictures (N, 3, S, S) in [0, 1], each with its name on the left."""
    count = len(next(iter(rows.values())))
    figure, axes = new_figure(len(rows), count, 7.6, 7.6 / count * len(rows))
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axis, image in zip(line, images, strict=True):
            axis.imshow(to_picture(image))
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)
    return figure


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and its description in words."""
    model = sources.weights("original").model
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplot_mosaic("aabc\naade", width_ratios=(1.05, 1.05, 1, 1))
    found = [reconstruct("coffee", "original", make_mask(kind, model.grid, 0.75, seed))
             for kind, seed in (("random", 0), ("block", 0))]
    panels = [("a", found[0].target, "a photograph"), ("b", found[0].seen, "a quarter visible"),
              ("d", found[1].seen, "a quarter visible"), ("c", found[0].composite, "reconstructed"),
              ("e", found[1].composite, "reconstructed")]
    for name, image, label in panels:
        axes[name].imshow(to_picture(image[0]))
        axes[name].set_title(label)
        axes[name].axis("off")
    return figure, ("A photograph of a cup of coffee. Above right, a quarter of its patches, "
                    "scattered, and a model's reconstruction: a blurred cup. Below, as many "
                    "patches around large holes, and a reconstruction that is hard to recognise.")
