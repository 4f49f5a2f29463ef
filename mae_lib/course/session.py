"""What every notebook starts with: the machine, the run level, photographs, pictures with words."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor

from mae_lib import plots
from mae_lib.course import seam
from mae_lib.course.pictures import bundle
from mae_lib.course.reference import from_official
from mae_lib.runtime import hardware
from mae_lib.training.checkpoints import load_shipped

LEVELS = {
    "smoke": "about a minute of computing per notebook, on any computer",
    "quick": "for a GPU such as Colab's T4, up to fifteen minutes per notebook (an estimate)",
    "full": "more training still, for a data-centre GPU",
}
# Free photographs that come inside packages: (package, file), see their licences there.
PHOTOGRAPHS = {
    "cat": ("skimage", "chelsea.png"),
    "coffee": ("skimage", "coffee.png"),
    "astronaut": ("skimage", "astronaut.png"),
    "rocket": ("skimage", "rocket.jpg"),
    "Grace Hopper": ("matplotlib", "grace_hopper.jpg"),
}


@dataclass(frozen=True)
class Session:
    """Where a notebook runs, and how much it may compute."""

    device: torch.device
    level: str  # of LEVELS

    def choose(self, **by_level):
        """The value for this run level: choose(smoke=1, quick=10, full=100)."""
        return by_level[self.level]


def start(level: str | None = None, drive: bool = False) -> Session:
    """Prepare a notebook, and say in one line what it runs on; calling it again does no harm.

    The run level is `level`, else $MAE_LIB_LEVEL, else what suits the machine. On Colab, `drive`
    mounts Google Drive, where other notebooks find the learner's parts. Raises ValueError for an
    unknown run level.
    """
    device = hardware.pick_device()
    level = level or os.environ.get("MAE_LIB_LEVEL")
    level = level or ("quick" if device.type == "cuda" else "smoke")
    if level not in LEVELS:
        raise ValueError(f"There is no run level {level!r}; choose one of {', '.join(LEVELS)}.")
    torch.manual_seed(0)
    torch.set_printoptions(precision=3, sci_mode=False, linewidth=88)
    matplotlib.rcParams.update(plots.STYLE)
    if get_ipython():
        get_ipython().set_custom_exc((NameError, KeyboardInterrupt), _explain)
    print(f"Ready on {device.type}, run level {level}: {LEVELS[level]}.")
    if "google.colab" in sys.modules and not seam.has_drive():
        if drive:
            sys.modules["google.colab"].drive.mount(str(seam.DRIVE.parent))
        else:
            print("Colab gives every notebook a machine of its own. To find your parts in other "
                  "notebooks, keep them in your Google Drive: course.start(drive=True).")
    return Session(device, level)


def _explain(shell, kind, error, trace, tb_offset=None) -> None:
    """Say how to go on from a stopped cell; show a NameError and what it most often means."""
    if kind is KeyboardInterrupt:
        print("Stopped. Run this cell again when you like: a run with checkpoints goes on from its "
              "last one, everything else starts over.")
        return
    if kind is NameError:  # and not one about a variable inside a function
        error.args = (f"{error}. If a cell above defines it, that cell has not run since the "
                      "kernel started: in the Run or Runtime menu, run all cells above this one.",)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def shipped_weights(name: str = "original") -> tuple[dict, dict[str, Tensor]]:
    """Sizes and weights that come with the package, under the names of the learner's `MAE`.

    `MAE(**sizes).load_state_dict(weights)` takes them. Raises ValueError for another name than
    "original", "improved", "scenes", "pixels" or "original_64".
    """
    model, _ = load_shipped(name)
    sizes = {k: v for k, v in model.config.items() if k not in ("mlp_ratio", "class_token")}
    return sizes, from_official(model.state_dict())


def photograph(name: str, size: int = 224) -> Tensor:
    """A free photograph, its centre as uint8 (3, size, size). Raises ValueError for other names."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"There is no photograph {name!r}; there are {', '.join(PHOTOGRAPHS)}.")
    package, file = PHOTOGRAPHS[name]
    if package == "skimage":
        import skimage

        path = Path(skimage.__file__).parent / "data" / file
    else:
        path = Path(matplotlib.get_data_path()) / "sample_data" / file
    with Image.open(path) as image:
        # The faces are in the upper half of both portraits.
        centre = (0.5, 0.1) if name in ("astronaut", "Grace Hopper") else (0.5, 0.5)
        image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC,
                             centering=centre)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def photographs(size: int = 224) -> Tensor:
    """All of them: uint8 (5, 3, size, size)."""
    return torch.stack([photograph(name, size) for name in PHOTOGRAPHS])


class Picture:
    """A PNG and what it shows in words, for those who cannot see it and for the tests."""

    def __init__(self, png: bytes, alt: str):
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return f"[picture: {self.alt}]"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data, alt = bundle(self.png, self.alt)
        return {"text/plain": repr(self), **data}, alt

    def html(self) -> str:
        """As a part of a page."""
        ((mime, content),) = bundle(self.png, self.alt)[0].items()
        return (f'<img style="max-width: 100%" alt="{escape(self.alt)}" '
                f'src="data:{mime};base64,{content}">')


def png_of(figure: Figure) -> bytes:
    """The figure as PNG; pyplot forgets it, so that it is not shown a second time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    with contextlib.suppress(ImportError):
        from matplotlib import pyplot

        pyplot.close(figure)
    return buffer.getvalue()


def show(figure: Figure, alt: str) -> None:
    """Display a figure with `alt`, a sentence that says what it shows."""
    display(Picture(png_of(figure), alt))
