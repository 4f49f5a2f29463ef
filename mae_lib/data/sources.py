"""Images to learn from: four sources, one form.

Every source gives an `ImageSet`, made like STL-10 (Coates, Ng & Lee, 2011): many images without
labels for pre-training, and two labelled sets to judge what was learned. The tensors are mapped
from files: a set may exceed the memory, and only the images looked at are read.
"""

import functools
import math
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets
from tqdm import tqdm

from mae_lib.data import scenes as generator
from mae_lib.data.cache import cache_key, default_cache, fetch, map_file, open_or_build
from mae_lib.data.fingerprint import fingerprint
from mae_lib.data.pictures import decode, extensions, list_files, printable
from mae_lib.runtime.checks import check_value

NAMES = ("stl10", "cifar10", "imagefolder:PATH", "scenes")
STL_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
STL_COUNTS = {"unlabeled": 100_000, "train": 5_000, "test": 8_000}
HELD_OUT = 512  # validation images taken from the others, at the most (about)
WINDOW = 512  # images held in memory at a time while a set is made
SCENES_VERSION = 2  # increase it when scenes.py draws other images, to leave cached ones unused


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Three splits like STL-10's. Images are uint8 (N, 3, H, W); labels int64 (N,).

    A folder of unlabeled photographs has no classes, and empty `train` and `test`.
    """

    name: str  # "scenes", "stl10", "cifar10", "imagefolder:pets" (never a machine's path)
    classes: tuple[str, ...]
    unlabeled: Tensor
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    skipped: dict[str, str] = field(default_factory=dict)  # files left out, and why they were
    held_out: Tensor | None = None  # images to validate on, where `train` cannot serve

    @property
    def validation(self) -> Tensor:
        """Images on which pretraining is validated; none of them is taken from `unlabeled`."""
        return self.train if self.held_out is None else self.held_out

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with any image or label; see `fingerprint.fingerprint`."""
        held_out = [] if self.held_out is None else [self.held_out]
        return fingerprint(self.unlabeled, self.train, self.train_labels, self.test,
                           self.test_labels, *held_out)

    def __repr__(self) -> str:
        counts = f"{len(self.unlabeled)} unlabeled, {len(self.train)} train, {len(self.test)} test"
        return f"ImageSet({self.name}: {counts}, {len(self.classes)} classes)"


def evenly_spaced(images: Tensor, count: int) -> Tensor:
    """`count` images (N, …) from all over a set, which may be sorted by class; all if fewer."""
    if count >= len(images):
        return images  # as they are: a copy of a large set would have to fit into memory
    return images[torch.arange(count) * len(images) // max(count, 1)]


def load_data(name: str, *, size: int | None = None, counts: tuple[int, int, int] | None = None,
              limit: int | None = None, strict: bool = False, labels: bool = False,
              cache: str | Path | None = None, progress: bool = True) -> ImageSet:
    """The data set "stl10", "cifar10", "imagefolder:PATH" or "scenes".

    `size`: side in pixels of imagefolder and scenes (default 96).
    `counts`: of scenes only, (unlabeled, train, test) images (default 20000, 5000, 5000).
    `limit`: keep this many unlabeled images: the first, or evenly spaced ones of an imagefolder.
    `strict`: an unreadable image is an error instead of being left out.
    `labels`: an imagefolder without train/ and test/ is an error; pretraining can do without.
    `cache`: where downloads and decoded images go (default: see `cache.default_cache`).

    Raises ValueError for a wrong argument or file, FileNotFoundError for a missing one,
    ConnectionError for a failed download, OSError when the disk is too small.
    """
    kind, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in [n.partition(":")[0] for n in NAMES] or bool(path) != (kind == "imagefolder"):
        raise ValueError(f"There is no data set {name!r}; the names are {', '.join(NAMES)}, where "
                         "PATH is a folder of yours.")
    for what, number in (("size", size), ("limit", limit)):
        if number is not None:
            check_value(what, number, int, at_least=1)
    if size not in (None, {"stl10": 96, "cifar10": 32}.get(kind, size)):
        raise ValueError(f"{kind} has no images of size {size}; leave size out.")
    if counts is not None and kind != "scenes":
        raise ValueError(f"counts is for scenes only, leave it out for {kind}.")
    cache = Path(os.path.realpath(os.path.expanduser(cache or default_cache())))
    if kind == "imagefolder":
        data = imagefolder(path, cache, size or 96, strict, labels, progress)
    elif kind == "scenes":
        data = scenes(cache, size or 96, counts or (20000, 5000, 5000), progress)
    else:
        data = {"stl10": stl10, "cifar10": cifar10}[kind](cache, progress)
    if data.held_out is not None:
        held, total = len(data.held_out), len(data.held_out) + len(data.unlabeled)
        print(f"{data.name}: {held:,} of {total:,} images are held out to validate pretraining.")
    if labels and (len(data.train) < 5 or len(data.test) < 2):
        raise ValueError(f"{data.name} has {len(data.train)} training and {len(data.test)} test "
                         "images with labels; judging an encoder takes at least 5 and 2.")
    if limit and kind == "imagefolder":  # whose files are sorted, perhaps by what they show
        return replace(data, unlabeled=evenly_spaced(data.unlabeled, limit))
    return replace(data, unlabeled=data.unlabeled[:limit])


def _held_out_count(images: int) -> int:
    """How many of so many images are held out: a tenth, but at least 2 and at most HELD_OUT."""
    return min(HELD_OUT, max(2, images // 10))


def scenes(cache: Path, size: int, counts: tuple[int, int, int], progress: bool) -> ImageSet:
    """Synthetic images (see scenes.py), drawn the first time: about 1,000 a second."""
    counts = tuple(counts) if isinstance(counts, (tuple, list)) else (counts,)
    if len(counts) != 3:
        raise ValueError(f"counts must be three numbers of images, got {counts}.")
    for number in counts:
        check_value("each of counts", number, int, at_least=1)

    def build(append):
        for split, count in zip(generator.SPLITS, counts, strict=True):
            for i in tqdm(range(0, count, WINDOW), f"Drawing {split}", disable=not progress):
                images, labels = generator.generate(split, i, min(i + WINDOW, count), size=size)
                append(split, images)
                append(f"{split}_labels", labels)
        return {"classes": generator.CLASSES}

    folder = cache / cache_key("scenes", SCENES_VERSION, size, counts)
    return _open("scenes", folder, build, sum(counts), size)


def imagefolder(path: str, cache: Path, size: int, strict: bool, labels: bool,
                progress: bool) -> ImageSet:
    """Your own images: PATH/unlabeled/**, PATH/train/CLASS/** and PATH/test/CLASS/**.

    Without train and test, which `labels` asks for, the images in PATH/unlabeled, or else all in
    PATH, are unlabeled ones. Without PATH/unlabeled, the training images serve as unlabeled ones.
    Where no training images are left to validate on, evenly spaced images are held out. Copies of
    test images in the other folders are counted and reported; copies of training images in
    PATH/unlabeled are not, as only the validation loss of pretraining profits. A change of any
    file's name, size or times decodes the folder again. Raises FileNotFoundError or ValueError
    for missing folders or images, ValueError if most of a folder, or with `strict` any, is
    unreadable, and OSError if the disk fails.
    """
    path = Path(os.path.realpath(os.path.expanduser(path)))
    title, (classes, files) = f"imagefolder:{printable(path.name)}", _list_folder(path, labels)
    labelled = sum(len(entries) for folder, entries in files.items() if folder[:6] == "train/")
    # Validation compares images with each other, so that one training image is not enough.
    source = "train" if "unlabeled" not in files else "unlabeled" if labelled < 2 else ""
    total, every = sum(map(len, files.values())), None
    if source:
        candidates = labelled if source == "train" else len(files["unlabeled"])
        every = max(1, candidates // _held_out_count(candidates))
    if source == "train":
        print(f"{title} has no folder unlabeled: its training images serve as unlabeled ones too.")

    def build(append):
        unreadable, place, seen = {}, 0, defaultdict(set)
        bar = tqdm(desc=f"Decoding {path.name}", total=total, unit="image", disable=not progress)
        with bar, ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
            for folder, entries in files.items():
                (split, _, name), failed = folder.partition("/"), {}  # "train/cat", "unlabeled"
                for i in range(0, len(entries), WINDOW):
                    window = [file for file, *_ in entries[i : i + WINDOW]]
                    decoded = pool.map(lambda file: decode(path / file, size), window)
                    found = dict(zip(window, decoded, strict=True))
                    failed |= {file: why for file, why in found.items() if isinstance(why, str)}
                    images = [found[file] for file in window if file not in failed]
                    seen[split].update(hash(image.tobytes()) for image in images)
                    parts = {split: np.array(images, np.uint8).reshape(-1, 3, size, size)}
                    if split == source:
                        held = np.arange(place, place + len(images)) % every == every - 1
                        parts |= {"held_out": parts[split][held], "unlabeled": parts[split][~held]}
                        place += len(images)
                    for part, chosen in parts.items():
                        append(part, chosen)
                    bar.update(len(window))
                if 2 * len(failed) > len(entries):
                    raise ValueError(
                        f"{len(failed)} of {len(entries)} images for {folder} in {path} cannot be "
                        f"read ({_first(failed)}): replace or remove them.")
                label = classes.index(name) if name else -1
                append(f"{split}_labels", np.full(len(entries) - len(failed), label, np.int64))
                unreadable |= {printable(file): why for file, why in failed.items()}
        if source and place < 4:
            damaged = f" that can be read ({_first(unreadable)})" if unreadable else ""
            raise ValueError(f"{path} has {place} images{damaged}: pretraining needs at least 4.")
        copies = len(seen["test"] & (seen["train"] | seen["unlabeled"]))
        return {"classes": [*map(printable, classes)], "skipped": unreadable, "copies": copies}

    folder = cache / cache_key(title, size, files, every)
    needed = total + (labelled if source == "train" else 0)
    data = _open(title, folder, build, needed, size)
    if source and len(data.held_out) < 2:  # of the few images, some could not be read
        data = replace(data, unlabeled=data.unlabeled[:-1],
                       held_out=torch.cat([data.held_out, data.unlabeled[-1:]]))
    if data.skipped:
        some = ", ".join([*data.skipped][:3]) + ", ..." * (len(data.skipped) > 3)
        found = f"{len(data.skipped)} unreadable images ({some}; {_first(data.skipped)})"
        if strict:
            raise ValueError(f"{path} has {found}: replace them, or leave out strict to skip them.")
        print(f"{title} has {found}: they were left out.")
    return data


def _list_folder(path: Path, labels: bool
                 ) -> tuple[list[str], dict[str, list[tuple[str, int, int, int]]]]:
    """Class names and, by folder ("train/cat"), its images as [(path, bytes, mtime, ctime)].

    An archive can give many files the same modification time; ctime, the time of unpacking, tells
    them apart.
    """
    alone = path.is_dir() and not (path / "train").is_dir() and not (path / "test").is_dir()
    groups, train = [], set()
    if not alone or labels:
        for folder in (path, path / "train", path / "test"):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"There is no folder {folder}: imagefolder:PATH needs an existing PATH, with "
                    "PATH/train/CLASS/ and PATH/test/CLASS/; with neither, you can only pretrain."
                    + " Rename val to test." * (folder.name == "test" and (path / "val").is_dir()))
        train, test = ({name[:-1] for name in glob("*/", root_dir=path / split)}
                       for split in ("train", "test"))
        if not train or train != test:
            lonely = ", ".join(sorted(train ^ test))
            raise ValueError(f"{path} needs the same class folders in train and test, but "
                             f"{f'only one has {lonely}' if lonely else 'neither has any'}.")
        groups = [[f"{split}/{name}" for name in sorted(train)] for split in ("train", "test")]
    if (path / "unlabeled").is_dir():
        groups.insert(0, ["unlabeled"])
    elif alone:
        groups = [[""]]
    files, passed_over = {}, Counter()
    for folder, names in (item for group in groups for item in list_files(path, group).items()):
        images = [name for name in names if name.lower().endswith(tuple(extensions()))]
        others = Counter(printable(Path(name).suffix.lower()) or "without a type"
                         for name in set(names).difference(images))
        if not images:
            only = f", only files that cannot be read here ({_counted(others)})" * bool(others)
            raise ValueError(f"{path / folder} has no images{only}: add some or remove it.")
        passed_over += others
        entries = files[folder or "unlabeled"] = []
        for name in images:
            # A link to nowhere is listed too: it is to be reported as unreadable.
            stat = os.stat(path / name, follow_symlinks=os.path.exists(path / name))
            entries.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    if passed_over:
        print(f"imagefolder:{printable(path.name)}: {passed_over.total()} files that are not read "
              f"as images were passed over ({_counted(passed_over)}).")
    return sorted(train), files


def _first(unreadable: dict[str, str]) -> str:
    return ": ".join(next(iter(unreadable.items())))


def _counted(types: Counter) -> str:
    """For example "3 .heic, 1 .txt"; for photographs of a phone, what would read them."""
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items()))
    return words + "; install pillow-heif to read HEIC" * bool({".heic", ".heif"} & types.keys())


def _open(name: str, folder: Path, build, images: int, size: int) -> ImageSet:
    tensors, info = open_or_build(folder, build, images * (3 * size**2 + 8))
    tensors.pop("unlabeled_labels", None)
    if copies := info.get("copies"):
        print(f"{name}: train or unlabeled hold copies of test images ({copies} of them), which "
              "makes results look better than they are: remove them there.")
    if "unlabeled" not in tensors:  # CIFAR-10, whose images lie in random order
        held = _held_out_count(len(tensors["train"]))
        tensors["unlabeled"], tensors["held_out"] = tensors["train"].tensor_split([-held])
    for split in ("train", "test"):
        tensors.setdefault(split, tensors["unlabeled"][:0])
        tensors.setdefault(f"{split}_labels", torch.zeros(0, dtype=torch.int64))
    return ImageSet(name, tuple(info["classes"]), skipped=info.get("skipped", {}), **tensors)


def cifar10(cache: Path, progress: bool) -> ImageSet:
    """CIFAR-10 (Krizhevsky, 2009), 32 x 32 pixels, downloaded on first use (170 MB).

    The 50,000 training images serve as unlabeled ones too, but for the last 512, on which
    pretraining is validated. Raises ConnectionError or ValueError for a failed download.
    """
    root = cache / "downloads"

    def build(append):
        fetch(datasets.CIFAR10, root, 4 * 10**8, progress)
        for split in ("train", "test"):
            # With `download`, torchvision replaces damaged files.
            part = datasets.CIFAR10(root, train=split == "train", download=True)
            append(split, part.data.transpose(0, 3, 1, 2))
            append(f"{split}_labels", np.array(part.targets, np.int64))
        return {"classes": part.classes}

    return _open("cifar10", cache / cache_key("cifar10"), build, 60000, 32)


def stl10(cache: Path, progress: bool) -> ImageSet:
    """STL-10 (Coates, Ng & Lee, 2011), 96 x 96 pixels: 100,000 unlabeled, 5,000 train, 8,000 test.

    Downloaded on first use (2.6 GB), and mapped from its own files in the cache. Raises
    ConnectionError for a failed download, ValueError for damaged files.
    """
    # Room for the archive and its content.
    folder = fetch(datasets.STL10, cache / "downloads", 6 * 10**9, progress)

    def read(file: str, *shape: int) -> Tensor:
        path, wanted = folder / file, math.prod(shape)
        length = path.stat().st_size if path.exists() else 0
        if length != wanted:
            raise ValueError(f"{path} has {length} bytes, not {wanted}: delete {folder} and run "
                             "this again.")
        return map_file(path, np.uint8, shape)

    tensors = {}
    for split, count in STL_COUNTS.items():
        # Files hold (N, 3, W, H). Gathering from a view is as fast as from a copy.
        tensors[split] = read(f"{split}_X.bin", count, 3, 96, 96).transpose(2, 3)
        if split != "unlabeled":
            tensors[f"{split}_labels"] = read(f"{split}_y.bin", count).long() - 1
    return ImageSet("stl10", STL_CLASSES, **tensors)
