"""Images to learn from: four sources, one form.

Every source gives an `ImageSet`, made like STL-10 (Coates, Ng & Lee, 2011): many images without
labels for pre-training, and two labelled sets to judge what was learned. The tensors are mapped
from files: a set may exceed the memory, and only the images looked at are read.
"""

import difflib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from glob import escape, glob
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import datasets
from tqdm import tqdm

from mae_lib.data import scenes as generator
from mae_lib.data.cache import cache_key, default_cache, fetch, map_file, open_or_build

NAMES = ("stl10", "cifar10", "imagefolder:PATH", "scenes")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
STL_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
STL_COUNTS = {"unlabeled": 100_000, "train": 5_000, "test": 8_000}
WINDOW = 512  # images held in memory at a time while a set is made
SCENES_VERSION = 1  # increase it when scenes.py draws other images, to leave cached ones unused


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Three splits like STL-10's. Images are uint8 (N, 3, H, W); labels int64 (N,)."""

    name: str  # "scenes", "stl10", "cifar10", "imagefolder:pets" (never a machine's path)
    classes: tuple[str, ...]
    unlabeled: Tensor
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    skipped: tuple[str, ...] = ()  # unreadable files left out, relative to the folder

    def __repr__(self) -> str:
        counts = f"{len(self.unlabeled)} unlabeled, {len(self.train)} train, {len(self.test)} test"
        return f"ImageSet({self.name}: {counts}, {len(self.classes)} classes)"


def evenly_spaced(images: Tensor, count: int) -> Tensor:
    """`count` images (N, …) from all over a set, which may be sorted by class; all if fewer."""
    count = min(count, len(images))
    return images[torch.arange(count) * len(images) // max(count, 1)]


def load_data(
    name: str, *, size: int | None = None, counts: tuple[int, int, int] | None = None,
    limit: int | None = None, strict: bool = False, verify: bool = False,
    root: str | Path | None = None, cache: str | Path | None = None, progress: bool = True,
) -> ImageSet:
    """The data set "stl10", "cifar10", "imagefolder:PATH" or "scenes".

    `size`: side in pixels of imagefolder and scenes (default 96).
    `counts`: of scenes only, (unlabeled, train, test) images (default 20000, 5000, 5000).
    `limit`: keep the first so many unlabeled images.
    `strict`: an unreadable image is an error instead of being left out.
    `verify`: compute all checksums, even if nothing seems to have touched the files.
    `root`: where downloads go (default: the folder "downloads" of the cache).
    `cache`: where decoded images go (default: $MAE_LIB_CACHE, else ~/.cache/mae_lib).

    Raises ValueError for a wrong argument or file, FileNotFoundError for a missing one,
    ConnectionError for a failed download, OSError when the disk is too small.
    """
    kind, _, path = name.partition(":")
    kinds = [n.partition(":")[0] for n in NAMES]
    if kind not in kinds or bool(path) != (kind == "imagefolder"):
        near = difflib.get_close_matches(kind, kinds, n=1)
        hint = f"; did you mean {NAMES[kinds.index(near[0])]}?" if near else "."
        raise ValueError(f"There is no data set {name!r}; the names are {', '.join(NAMES)}{hint}")
    if counts is not None and kind != "scenes":
        raise ValueError(f"counts is for scenes only, leave it out for {kind}.")
    if size is not None and (size < 1 or size != {"stl10": 96, "cifar10": 32}.get(kind, size)):
        raise ValueError(f"{kind} has no images of size {size}; leave size out for its default.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}.")

    cache = Path(cache).expanduser() if cache else default_cache()
    root = Path(root).expanduser() if root else cache / "downloads"
    options = {"verify": verify, "progress": progress}
    if kind == "stl10":
        data = stl10(root, **options)
    elif kind == "cifar10":
        data = cifar10(root, cache, **options)
    elif kind == "imagefolder":
        data = imagefolder(path, cache, size=size or 96, strict=strict, **options)
    else:
        data = scenes(cache, size=size or 96, counts=counts or (20000, 5000, 5000), **options)
    return replace(data, unlabeled=data.unlabeled[:limit])


def scenes(cache: Path, *, size: int = 96, counts: tuple[int, int, int] = (20000, 5000, 5000),
           seed: int = 0, verify: bool = False, progress: bool = True) -> ImageSet:
    """Synthetic images (see scenes.py), drawn the first time: about 1,000 a second."""
    if len(counts) != 3 or min(counts) < 1:
        raise ValueError(f"counts must be three positive numbers of images, got {counts}.")

    def build(append):
        for split, count in zip(generator.SPLITS, counts, strict=True):
            for i in tqdm(range(0, count, WINDOW), f"Drawing {split}", disable=not progress):
                stop = min(i + WINDOW, count)
                images, labels = generator.generate(split, i, stop, size=size, seed=seed)
                append(split, images)
                append(f"{split}_labels", labels)
        return {"classes": generator.CLASSES}

    folder = cache / cache_key("scenes", SCENES_VERSION, size, tuple(counts), seed)
    return _open("scenes", folder, build, sum(counts), size, verify)


def imagefolder(path: str | Path, cache: Path, *, size: int = 96, strict: bool = False,
                verify: bool = False, progress: bool = True) -> ImageSet:
    """Your own images: PATH/unlabeled/**, PATH/train/CLASS/** and PATH/test/CLASS/**.

    Without PATH/unlabeled, the training images serve as unlabeled ones. A change of any file's
    name, size or time decodes the folder again. Raises FileNotFoundError or ValueError for missing
    folders or images, and ValueError if most of a folder, or with `strict` any, is unreadable.
    """
    path = Path(path).expanduser().resolve()
    title, (classes, files) = f"imagefolder:{path.name}", _list_folder(path)
    total = sum(map(len, files.values()))
    if "unlabeled" not in files:
        print(f"{title} has no folder unlabeled: its training images serve as unlabeled ones too.")

    def build(append):
        skipped = {}
        bar = tqdm(desc=f"Decoding {path.name}", total=total, unit="image", disable=not progress)
        with bar, ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
            for folder, entries in files.items():
                (split, _, name), failed = folder.partition("/"), {}  # "train/cat", "unlabeled"
                for i in range(0, len(entries), WINDOW):
                    window = [file for file, *_ in entries[i : i + WINDOW]]
                    decoded = pool.map(lambda file: decode(path / file, size), window)
                    found = dict(zip(window, decoded, strict=True))
                    images = [image for image in found.values() if not isinstance(image, str)]
                    failed |= {file: why for file, why in found.items() if isinstance(why, str)}
                    if images:
                        append(split, np.stack(images))
                    bar.update(len(window))
                if 2 * len(failed) > len(entries):
                    file, why = next(iter(failed.items()))
                    raise ValueError(f"{len(failed)} of {len(entries)} images in {path / folder} "
                                     f"cannot be read ({file}: {why}): replace or remove them.")
                label = classes.index(name) if name else -1
                append(f"{split}_labels", np.full(len(entries) - len(failed), label, np.int64))
                skipped |= failed
        return {"classes": classes, "skipped": skipped}

    folder = cache / cache_key(title, size, files)
    data = _open(title, folder, build, total, size, verify)
    if data.skipped:
        some = ", ".join(data.skipped[:3]) + (", ..." if len(data.skipped) > 3 else "")
        found = f"{len(data.skipped)} unreadable images ({some})"
        if strict:
            raise ValueError(f"{path} has {found}: replace them, or leave out strict to skip them.")
        print(f"{title} has {found}: they were left out.")
    return data


def _list_folder(path: Path) -> tuple[list[str], dict[str, list[tuple[str, int, int]]]]:
    """Class names and, by folder ("train/cat"), its images as [(relative path, bytes, time)]."""
    for folder in (path, path / "train", path / "test"):
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}: imagefolder:PATH needs "
                                    "PATH/train/CLASS/ and PATH/test/CLASS/ with images.")
    train, test = ({name[:-1] for name in glob("*/", root_dir=path / s)} for s in ("train", "test"))
    if not train or train != test:
        found = f"only one has {', '.join(sorted(train ^ test))}" if train != test else "has none"
        raise ValueError(f"{path} needs the same class folders in train and test, but {found}.")
    files = {"unlabeled": []} if (path / "unlabeled").is_dir() else {}
    files |= {f"{split}/{name}": [] for split in ("train", "test") for name in sorted(train)}
    for folder in files:
        for file in sorted(glob(f"{escape(folder)}/**/*", root_dir=path, recursive=True)):
            if file.lower().endswith(EXTENSIONS):
                # A link to nowhere is listed too: it is to be reported as unreadable.
                stat = os.stat(path / file, follow_symlinks=os.path.exists(path / file))
                files[folder].append((file, stat.st_size, stat.st_mtime_ns))
        if not files[folder]:
            raise ValueError(f"{path / folder} has no images: add some or remove it.")
    return sorted(train), files


def decode(path: Path, size: int) -> np.ndarray | str:
    """The centre of the image, uint8 (3, size, size) in RGB; or why it cannot be read."""
    try:
        with Image.open(path) as image:
            return centre_square(image, size)
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise almost anything
        return f"{type(error).__name__}: {error}".replace(str(path), path.name)


def centre_square(image: Image.Image, size: int) -> np.ndarray:
    """The centre of an opened image, uint8 (3, size, size) in RGB, turned upright."""
    image.draft(None, (2 * size, 2 * size))  # spares the JPEG decoder unneeded detail
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of an unknown range")
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip to 255 rather than scale
        grey = np.asarray(image).clip(0, 65535) / 257
        image = Image.fromarray(grey.round().astype(np.uint8))
    if "transparency" in image.info:  # such a palette has no direct way to RGB
        image = image.convert("RGBA")
    image = image.convert("RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def _open(name: str, folder: Path, build, images: int, size: int, verify: bool) -> ImageSet:
    tensors, info = open_or_build(folder, build, images * (3 * size**2 + 8), verify)
    tensors.pop("unlabeled_labels", None)
    tensors.setdefault("unlabeled", tensors["train"])
    return ImageSet(name, tuple(info["classes"]), skipped=tuple(info.get("skipped", ())), **tensors)


def cifar10(root: Path, cache: Path, *, verify: bool = False, progress: bool = True) -> ImageSet:
    """CIFAR-10 (Krizhevsky, 2009), 32 x 32 pixels, downloaded on first use (170 MB).

    The 50,000 training images serve as unlabeled ones too. Raises ConnectionError or ValueError
    for a failed download.
    """

    def build(append):
        fetch(datasets.CIFAR10, root, 4 * 10**8, progress)
        for split in ("train", "test"):
            # With `download`, torchvision replaces damaged files.
            part = datasets.CIFAR10(root, train=split == "train", download=True)
            append(split, part.data.transpose(0, 3, 1, 2))
            append(f"{split}_labels", np.array(part.targets, np.int64))
        return {"classes": part.classes}

    return _open("cifar10", cache / cache_key("cifar10"), build, 60000, 32, verify)


def stl10(root: Path, *, verify: bool = False, progress: bool = True) -> ImageSet:
    """STL-10 (Coates, Ng & Lee, 2011), 96 x 96 pixels: 100,000 unlabeled, 5,000 train, 8,000 test.

    Downloaded on first use (2.6 GB), and mapped from its own files in ROOT/stl10_binary. Raises
    ConnectionError for a failed download, ValueError for damaged files.
    """
    source, tensors = datasets.STL10, {}
    folder = fetch(source, root, 6 * 10**9, progress)  # room for the archive and its content

    def check(sound, problem):
        if not sound:
            raise ValueError(f"{problem}: delete {folder} and run this again to download it anew.")

    for file, md5 in source.train_list + source.test_list:
        path = folder / file
        split, kind = path.stem.split("_")
        shape = torch.Size((STL_COUNTS[split], *((3, 96, 96) if kind == "X" else ())))
        length = path.stat().st_size if path.exists() else 0
        check(length == shape.numel(), f"{path} has {length} bytes, not {shape.numel()}")
        check(not verify or datasets.utils.check_integrity(path, md5), f"{path} has a bad checksum")
        tensor = map_file(path, np.uint8, shape)
        if kind == "X":
            # Files hold (N, 3, W, H). Gathering 512 images: view 5.1 ms, transposed copy 4.9 ms.
            tensors[split] = tensor.transpose(2, 3)
        else:
            labels = tensors[f"{split}_labels"] = tensor.long() - 1
            check(labels.min() >= 0 and labels.max() < 10, f"{path} has a label outside 1 to 10")
    return ImageSet("stl10", STL_CLASSES, **tensors)
