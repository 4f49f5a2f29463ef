"""Saving and loading: training checkpoints and finished weights.

Nothing here unpickles code: weights are safetensors, or read by `torch.load(weights_only=True)`.
Every file is written under a temporary name and renamed, so that a kill leaves the old one whole.
"""

import errno
import hashlib
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mae_lib.model import MaskedAutoencoder
from mae_lib.runtime.checks import check_choice

ASSETS = Path(__file__).parents[1] / "assets"


@contextmanager
def explain_full_disk(path: Path):
    """Raise OSError with one sentence where there is no room to write `path`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        words = ("No space left", "file write failed", "enforce fail")  # of torch and safetensors
        if not full and not any(word in str(error) for word in words):
            raise
        raise OSError(errno.ENOSPC, f"The disk is full: {path.name} could not be written, any "
                      "earlier one is intact; free some space and run the same command again",
                      str(path.parent)) from None


def write_atomically(path: Path, write) -> None:
    """Call `write(temporary_path)`, then put the file in place of `path` in one step.

    Raises OSError with one sentence when the disk is full; the previous file is then intact.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with explain_full_disk(path):
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a training state (tensors, numbers, strings, dicts and lists of them).

    No other process may write the same one at the same time.
    """
    for leftover in Path(path).parent.glob(f".{Path(path).name}.*.tmp"):  # of a killed process
        leftover.unlink(missing_ok=True)
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path, advice: str = "If a run of yours wrote it, delete it to start over."
                    ) -> dict:
    """What `torch.save` wrote. Raises ValueError, with `advice` where the file is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        with open(path, "rb") as file:
            start = file.read(16)
        objects = re.search(r"GLOBAL (\S+)|(TorchScript)", str(error))
        if objects:
            why = (f"it holds more than tensors and plain values ({objects[1] or objects[2]}), and "
                   "mae_lib runs no code from a file. Save the model's state_dict() alone.")
        elif start.isascii() and start[:1] >= b" " and start[:2] != b"PK":
            why = f"it is text that begins with {start.decode()!r}, not a file of tensors."
        else:
            why = f"it is {'damaged or cut short' if start else 'empty'}. {advice}"
        raise ValueError(f"{path} is not a readable checkpoint: {why}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a checkpoint.")
    return state


def save_weights(path: Path, model: MaskedAutoencoder, **facts) -> None:
    """Write a model as safetensors, its sizes and any `facts` (JSON values) in the header."""
    # One entry: safetensors would write several in a different order every time.
    metadata = {"mae_lib": json.dumps({"config": model.config, "facts": facts})}
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata)))


def load_weights(path: Path) -> tuple[MaskedAutoencoder, dict]:
    """Read what `save_weights` wrote: the model, in float32 and eval mode, and the facts.

    Raises FileNotFoundError, or ValueError with one sentence for a damaged or foreign file.
    """
    metadata, tensors = read_safetensors(path)
    try:
        about = json.loads(metadata["mae_lib"])
        model = MaskedAutoencoder(**about["config"])
        model.load_state_dict(tensors)
        return model.eval(), about["facts"]
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise ValueError(f"{path} does not hold weights that mae_lib has written; mae_lib.course."
                         "foreign.load_official reads those of other programs.") from None


def read_safetensors(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """The header's metadata and the tensors of a file. Raises ValueError if it is damaged."""
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder: name the file model.safetensors in it.")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}). Pretraining "
                         "writes weights to model.safetensors, beside checkpoint.pt.") from None


def load_shipped(name: str = "original") -> tuple[MaskedAutoencoder, dict]:
    """The weights that come with the package under this name; assets/README.md describes each.

    Raises ValueError for another name or a file that is not what was shipped.
    """
    shipped = json.loads((ASSETS / "weights.json").read_text("utf-8"))
    check_choice("name", name, shipped)
    path = ASSETS / f"{name}.safetensors"
    if not path.exists() or checksum(path) != shipped[name]["checksum"]:
        raise ValueError(f"{path} is missing or damaged: install mae_lib again, or run git "
                         "checkout on it.")
    return load_weights(path)


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
