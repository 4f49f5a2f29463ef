"""Work done once and kept on disk: arrays made from images, and downloads.

An entry of the cache is a folder of raw arrays and a meta.json that describes them. It is built
under a temporary name and renamed when complete: it is whole or absent. It is checked when opened,
and mapped rather than read: that takes milliseconds, and a set may exceed the memory.
"""

import hashlib
import json
import os
import shutil
import tarfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torchvision.datasets.utils import check_integrity
from tqdm import tqdm

FORMAT = 3  # increase it when the meaning of the files changes: old entries are then left unused
ADVICE = "free some space, or set MAE_LIB_CACHE to a folder on a larger disk"


def default_cache() -> Path:
    """$MAE_LIB_CACHE, else $XDG_CACHE_HOME/mae_lib, else ~/.cache/mae_lib."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("MAE_LIB_CACHE") or base / "mae_lib").expanduser()


def cache_key(name: str, *content) -> str:
    """A folder name that changes with `content`, all that the cached arrays depend on."""
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    return f"{safe}-{hashlib.sha256(repr((FORMAT, name, content)).encode()).hexdigest()[:16]}"


def open_or_build(folder: Path, build: Callable[[Callable], dict],
                  needed_bytes: int) -> tuple[dict[str, Tensor], dict]:
    """The arrays of the cache entry `folder`, by name, and what `build` returned.

    If it is absent or damaged, `build(append)` makes it: each `append(name, rows)` adds rows to an
    array, and the returned dict must fit JSON. Raises OSError if the disk is too
    small or the folder cannot be made.
    """
    if folder.exists():
        try:
            return _open(folder)
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError) as error:
            print(f"The cache {folder.name} is damaged ({error}): it is built again.")
        shutil.rmtree(folder, ignore_errors=True)
    _build(folder, build, needed_bytes)
    return _open(folder)


def _open(folder: Path) -> tuple[dict[str, Tensor], dict]:
    meta, arrays = json.loads((folder / "meta.json").read_text("utf-8")), {}
    for name, file in meta["files"].items():
        arrays[name] = map_file(folder / f"{name}.bin", file["dtype"], tuple(file["shape"]))
    return arrays, meta["info"]


def map_file(path: Path, dtype, shape: tuple[int, ...]) -> Tensor:
    """The file as a tensor, read on access. Do not write to it: a large map is read-only."""
    try:
        return torch.from_numpy(np.memmap(path, dtype, "c", shape=shape))
    except OSError:  # Linux refuses a writable map larger than memory; a read-only one it allows
        return torch.from_numpy(np.memmap(path, dtype, "r", shape=shape))


def check_disk(folder: Path, needed_bytes: int) -> None:
    """Raise OSError if the disk of the existing `folder` has less than `needed_bytes` free."""
    needed, free = needed_bytes / 1e6, shutil.disk_usage(folder).free / 1e6
    if free < needed:
        raise OSError(f"{folder} needs {needed:,.0f} MB, only {free:,.0f} MB are free: {ADVICE}.")


def _build(folder: Path, build: Callable[[Callable], dict], needed_bytes: int) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"The cache folder {folder.parent} cannot be made ({error.strerror}): set "
                      "MAE_LIB_CACHE to a folder that you may write to.") from None
    for old in folder.parent.glob(f".{folder.name}.*"):  # untouched for an hour: its build died
        with suppress(OSError):
            if time.time() - max(p.stat().st_mtime for p in (old, *old.rglob("*"))) > 3600:
                shutil.rmtree(old)
    check_disk(folder.parent, needed_bytes)
    files: dict[str, dict] = {}

    def append(name: str, rows: np.ndarray) -> None:
        rows = np.ascontiguousarray(rows)
        # Not through a map: there, a full disk would end the process instead of raising OSError.
        with open(work / f"{name}.bin", "ab") as f:
            f.write(rows.data)
        file = files.setdefault(name, {"dtype": rows.dtype.str, "shape": [0, *rows.shape[1:]]})
        file["shape"][0] += len(rows)

    try:
        with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            work = Path(temporary) / "entry"
            work.mkdir()
            info = build(append)
            (work / "meta.json").write_text(json.dumps({"files": files, "info": info}), "utf-8")
            for path in work.iterdir():
                with open(path, "rb+") as f:
                    os.fsync(f.fileno())  # complete on the disk before the name says so
            with suppress(OSError):  # if another process was faster: its entry is as good
                os.rename(work, folder)
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        raise OSError(f"The disk of {folder.parent} became full: {ADVICE}.") from None


def download(url: str, path: Path, md5: str | None, progress: bool = True,
             attempts: int = 5) -> None:
    """Fetch `url` to `path`, going on where a broken transfer stopped (`path`.part).

    Raises ConnectionError if it takes more than `attempts` connections, OSError if the disk becomes
    full, ValueError for a wrong md5 (None: only the length is checked).
    """
    part, reason = path.with_name(f"{path.name}.part"), "it broke off"
    for attempt in range(attempts):
        time.sleep(attempt)
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                have = have if answer.status == 206 else 0  # a server without ranges starts over
                total = have + int(answer.headers.get("Content-Length", 0))
                bar = tqdm.wrapattr(answer, "read", desc=path.name, initial=have, total=total,
                                    disable=not progress)
                with bar as body, open(part, "ab" if have else "wb") as f:
                    shutil.copyfileobj(body, f)
            if part.stat().st_size >= total:
                break
        except (OSError, HTTPException) as error:  # OSError includes all of urllib's errors
            if getattr(error, "code", None) == 416:  # nothing left to send: it is whole, or wrong
                break
            if getattr(error, "errno", None) in (ENOSPC, EDQUOT):
                raise OSError(f"The disk of {path.parent} became full: {ADVICE}.") from None
            reason = str(error)
    else:
        raise ConnectionError(f"Could not download {url} ({reason}): run this again to go on.")
    if not check_integrity(part, md5):
        part.unlink()
        raise ValueError(f"{url} came with a wrong checksum and was deleted: run this again.")
    os.replace(part, path)


def fetch(source, root: Path, needed_bytes: int, progress: bool) -> Path:
    """The folder under `root` of a torchvision data set, downloaded and extracted if not there."""
    folder, archive = root / source.base_folder, root / source.filename
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{folder.name}.lock"):  # another process waits, and then finds it
        if folder.exists():
            return folder
        for old in root.glob(f".{folder.name}.extracting*"):  # by a process that was killed
            shutil.rmtree(old)
        here = sum(path.stat().st_size for path in root.glob(f"{archive.name}*"))
        check_disk(root, needed_bytes - here)
        if not check_integrity(archive, source.tgz_md5):
            download(source.url, archive, source.tgz_md5, progress)
        # Extracted elsewhere first: an interrupted extraction must not look complete.
        with (TemporaryDirectory(prefix=f".{folder.name}.extracting", dir=root) as temporary,
              tarfile.open(archive) as tar):
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 has it
            tar.extractall(temporary)
            os.rename(Path(temporary) / folder.name, folder)
        archive.unlink()  # the extracted files replace it
    return folder
