"""What the explorer can show: photographs and weights, by name, and how others join them."""

import functools
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from torch import Tensor

from mae_lib import course
from mae_lib.course.foreign import load_official
from mae_lib.course.widgets.uploads import decode_upload, places, safe_name
from mae_lib.data.augment import normalise
from mae_lib.data.cache import check_disk, default_cache, download
from mae_lib.model import MaskedAutoencoder
from mae_lib.training.checkpoints import checksum, load_shipped

WEIGHTS_FILES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# Encoder and decoder as their authors show them (github.com/facebookresearch/mae): trained on
# pixels, without norm_pix. In GB.
OFFICIAL = {"vit_base": 0.45, "vit_large": 1.3}
ADDRESS = "https://dl.fbaipublicfiles.com/mae/visualize/mae_visualize_{}.pth"


class Weights(NamedTuple):
    """A model that reconstructs, and what is known about it."""

    model: MaskedAutoencoder
    facts: dict  # how it was trained; "norm_pix" at the least


_photographs: dict[str, bytes] = {}  # added ones: the content of their files
_weights: dict[str, Weights] = {}  # added ones


@functools.lru_cache(64)
def photograph(name: str, size: int) -> Tensor:
    """One of `photographs()` as a model wants it: normalised, (1, 3, size, size)."""
    if name in _photographs:
        return normalise(decode_upload(_photographs[name], size)[None])
    return normalise(course.photograph(name, size)[None])


def photographs() -> tuple[str, ...]:
    return *course.PHOTOGRAPHS, *_photographs


def add_photograph(name: str, content: bytes) -> str:
    """Take a file's content among the photographs; returns the name under which it is known.

    Raises ValueError with one sentence if it is none.
    """
    decode_upload(content, 64)
    name = safe_name(name)
    while name in photographs() and _photographs.get(name) != content:
        name = f"{name}'"
    _photographs[name] = content
    return name


@functools.cache
def _shipped(name: str) -> Weights:
    return Weights(*load_shipped(name))


def weights(name: str) -> Weights:
    """One of `all_weights()`."""
    return _weights[name] if name in _weights else _shipped(name)


def all_weights() -> tuple[str, ...]:
    return "original", "improved", "pixels", "scenes", *_weights


def add_weights(source: str | Path, progress: bool = True, **how) -> str:
    """Take a file of weights, or one of OFFICIAL, among the weights; returns its name here.

    `how` can be `norm_pix`, for a file that does not say how it was trained (without: False for
    OFFICIAL, True for others), and the other arguments of `load_official`. Raises ValueError or
    OSError with one sentence if the weights cannot be obtained or cannot reconstruct.
    """
    if source in OFFICIAL:
        name = f"official {source}"
        path = fetch_official(source, progress)
        _weights[name] = Weights(*load_official(path, **{"norm_pix": False, **how}))
        return name
    path = find(source)
    if path.name == "checkpoint.pt":
        raise ValueError("checkpoint.pt is the state of a training run: open the "
                         "model.safetensors that the run writes when it ends.")
    model, facts = load_official(path, **how)
    if not model.config["decoder_depth"]:
        raise ValueError(f"{path.name} holds an encoder without its decoder, which cannot "
                         "reconstruct: open a mae_visualize_* checkpoint, which has both.")
    run = path.resolve().parent.name if path.stem == "model" else path.stem
    name = f"own {safe_name(run)}"
    _weights[name] = Weights(model, {**facts, "norm_pix": bool(facts.get("norm_pix", True))})
    return name


def find(source: str | Path) -> Path:
    """The file, looked for in `places()`. Raises FileNotFoundError."""
    path = Path(source).expanduser()
    for found in (folder / path for folder in places()):
        if found.is_file():
            return found
    raise FileNotFoundError(f"There is no file {source}: give its path from the project's folder, "
                            f"such as runs/mine/model.safetensors.")


def fetch_official(name: str, progress: bool = True) -> Path:
    """The official checkpoint's file, downloaded on first use into the cache.

    Its authors publish no checksum: the length is checked on arrival, and the SHA-256 noted then
    is checked on every later use. Raises ConnectionError, or ValueError for a changed file.
    """
    path = default_cache() / "official" / ADDRESS.format(name).split("/")[-1]
    note = path.with_suffix(".sha256")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # another notebook may be downloading it
        if not path.exists():
            check_disk(path.parent, int(1e9 * OFFICIAL[name]))
            try:
                download(ADDRESS.format(name), path, md5=None, progress=progress)
            except ConnectionError:
                raise ConnectionError(
                    f"The official weights could not be downloaded ({OFFICIAL[name]} GB from "
                    f"{ADDRESS.split('/')[2]}): this needs the internet. Everything else works "
                    "without.") from None
            note.write_text(checksum(path))
        if not note.exists() or note.read_text() != checksum(path):
            path.unlink()
            raise ValueError(f"{path.name} had changed since its download and was deleted: open "
                             f"{name} again to download it.")
    return path
