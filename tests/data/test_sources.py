"""Every data set gives the right images, and whatever can be wrong on a disk gives one sentence."""

import errno
import hashlib
import http.server
import io
import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from string import ascii_letters, digits
from types import SimpleNamespace

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from torchvision import datasets

from mae_lib.data import pictures, scenes
from mae_lib.data import sources as data_module
from mae_lib.data.cache import cache_key, default_cache, download, map_file, open_or_build
from mae_lib.data.cache import fetch as fetch_set
from mae_lib.data.sources import evenly_spaced, load_data


@pytest.fixture
def load(tmp_path):
    return partial(load_data, cache=tmp_path / "cache", progress=False)


def picture(seed, side=16):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes, three labelled images each and split; four unlabeled, one in a subfolder."""
    root, seed = tmp_path / "pets", 0
    labelled = [f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")]
    for where in ("unlabeled", "unlabeled/more", *labelled):
        (root / where).mkdir(parents=True)
        for i in range(1 if where.endswith("more") else 3):
            Image.fromarray(picture(seed)).save(root / where / f"{i}.png")
            seed += 1
    return root


def entry(tmp_path, cache="cache"):
    """The one finished folder of the cache."""
    (found,) = (p for p in (tmp_path / cache).iterdir() if p.name != "downloads")
    return found


def one_sentence(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?")), message
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("stl-10", {}, ["no data set 'stl-10'", "stl10, cifar10, imagefolder:PATH, scenes, where"]),
        ("imagefolder", {}, ["no data set 'imagefolder'"]),
        ("imagefolder:", {}, ["no data set 'imagefolder:'"]),
        ("scenes:x", {}, ["no data set 'scenes:x'"]),
        ("stl10", {"size": 64}, ["stl10 has no images of size 64"]),
        ("cifar10", {"size": 96}, ["cifar10 has no images of size 96"]),
        ("scenes", {"size": 0}, ["size must be at least 1, got 0"]),
        ("scenes", {"size": 31}, ["at least 32"]),
        ("scenes", {"counts": (1, 0, 1)}, ["each of counts must be at least 1, got 0"]),
        ("cifar10", {"counts": (1, 1, 1)}, ["scenes only"]),
        ("scenes", {"limit": 0}, ["limit must be at least 1, got 0"]),
        ("scenes", {"limit": 2.5}, ["limit must be a whole number, got 2.5"]),
        ("scenes", {"limit": True}, ["got True"]),
        ("scenes", {"size": "96"}, ["size must be a whole number, got '96'"]),
        ("imagefolder:x", {"size": (96, 96)}, ["size must be a whole number"]),
        ("scenes", {"counts": 5}, ["three numbers of images"]),
        ("scenes", {"counts": (5, 5)}, ["three numbers of images"]),
        ("scenes", {"counts": (5, 5, 0.5)}, ["each of counts must be a whole number"]),
        ("scenes", {"counts": "555"}, ["three numbers of images"]),
        ("", {}, ["no data set ''"]),
        (None, {}, ["no data set None"]),
        (Path("photos"), {}, ["no data set PosixPath('photos')"]),
    ],
)
def test_wrong_arguments(load, name, arguments, parts):
    with pytest.raises(ValueError) as caught:
        load(name, **arguments)
    one_sentence(caught, *parts)


def test_default_cache(monkeypatch):
    monkeypatch.delenv("MAE_LIB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path.home() / ".cache" / "mae_lib"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache() == Path("/x/mae_lib")
    monkeypatch.setenv("MAE_LIB_CACHE", "/y")
    assert default_cache() == Path("/y")


def test_imagefolder(load, folder, tmp_path):
    for junk in ("unlabeled/notes.txt", "unlabeled/.hidden.png", "train/.DS_Store"):
        (folder / junk).write_bytes(b"junk")
    for hidden in ("train/.git", "train/cat/.thumbnails", "unlabeled/more/.old/deep"):
        (folder / hidden).mkdir(parents=True)
        Image.fromarray(picture(0)).save(folder / hidden / "0.png")
    data = load(f"imagefolder:{folder}/", size=16)
    assert (data.name, data.classes, data.skipped) == ("imagefolder:pets", ("cat", "dog"), {})
    # unlabeled/0.png < unlabeled/1.png < unlabeled/2.png < unlabeled/more/0.png
    wanted = torch.from_numpy(np.stack([picture(i) for i in range(4)])).permute(0, 3, 1, 2)
    assert torch.equal(data.unlabeled, wanted)
    assert data.train.shape == data.test.shape == (6, 3, 16, 16)
    assert data.train_labels.tolist() == data.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.dtype == torch.uint8 and data.train_labels.dtype == torch.int64
    assert np.array_equal(data.test[5].permute(1, 2, 0).numpy(), picture(15))
    assert "4 unlabeled, 6 train, 6 test" in repr(data)
    assert str(tmp_path) not in (entry(tmp_path) / "meta.json").read_text()


def test_decoding_in_windows_changes_nothing(load, folder, tmp_path, monkeypatch, capsys):
    whole = load(f"imagefolder:{folder}", size=8)
    monkeypatch.setattr(data_module, "WINDOW", 2)
    windows = load(f"imagefolder:{folder}", size=8, cache=tmp_path / "2", progress=True)
    for a, b in zip(vars(whole).values(), vars(windows).values(), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert "Decoding pets" in capsys.readouterr().err


def test_limit_takes_images_from_all_over_a_folder(load, folder):
    limited = load(f"imagefolder:{folder}", size=16, limit=2)
    assert len(limited.unlabeled) == 2 and len(limited.train) == 6
    assert np.array_equal(limited.unlabeled.permute(0, 2, 3, 1), [picture(0), picture(2)])


def test_limit_is_a_view_and_writing_leaves_the_file_alone(load):
    whole, limited = (load("scenes", size=32, counts=(4, 1, 1), limit=n) for n in (99, 2))
    assert torch.equal(limited.unlabeled, whole.unlabeled[:2])
    assert limited.unlabeled.untyped_storage().nbytes() == 4 * 3 * 32 * 32
    limited.unlabeled.zero_()
    assert load("scenes", size=32, counts=(4, 1, 1)).unlabeled.sum() > 0


def test_too_few_labels_to_judge_by_are_told_at_once(load):
    for train, test in ((4, 4), (5, 1)):
        words = rf"{train} training and {test} test images .* at least 5 and 2\."
        with pytest.raises(ValueError, match=words):
            load("scenes", size=32, counts=(4, train, test), labels=True)
    assert len(load("scenes", size=32, counts=(4, 5, 2), labels=True).test) == 2


def test_without_unlabeled_the_train_images_serve(load, folder, capsys):
    shutil.rmtree(folder / "unlabeled")
    data = load(f"imagefolder:{folder}")
    assert data.train.shape == (6, 3, 96, 96)
    assert torch.equal(data.unlabeled, data.train[[0, 1, 3, 4]])
    assert torch.equal(data.validation, data.train[[2, 5]])  # of both classes
    printed = capsys.readouterr().out
    assert "no folder unlabeled" in printed and "2 of 6 images are held out" in printed
    again = load(f"imagefolder:{folder}", limit=3)
    assert torch.equal(again.validation, data.validation) and len(again.unlabeled) == 3
    assert data.fingerprint == replace(again, unlabeled=data.unlabeled).fingerprint
    tensors = {name: x for name, x in vars(data).items() if isinstance(x, torch.Tensor)}
    changed = {replace(data, **{name: x ^ 1}).fingerprint for name, x in tensors.items()}
    assert len(tensors) == 6 and len(changed | {data.fingerprint}) == 7


def test_with_unlabeled_the_train_images_validate(load, folder, capsys):
    data = load(f"imagefolder:{folder}")
    assert data.held_out is None and data.validation is data.train
    assert capsys.readouterr().out == ""
    fewer = replace(data, train=data.train[:2])
    assert fewer.validation is fewer.train


@pytest.mark.parametrize("layout", ["unlabeled", "plain", "nested", "one fake class"])
def test_unlabeled_photographs_alone(load, tmp_path, layout, capsys):
    root, fake = tmp_path / "photos", layout == "one fake class"
    place = {"plain": root, "nested": root / "2024" / "may"}.get(layout, root / "unlabeled")
    for where in [place] + [root / split / "x" for split in ("train", "test")] * fake:
        where.mkdir(parents=True)
        for i in range(40 if where == place else 1):
            Image.fromarray(picture(i)).save(where / f"{i:02}.png")
    data = load(f"imagefolder:{root}", size=16)
    every = torch.from_numpy(np.stack([picture(i) for i in range(40)])).permute(0, 3, 1, 2)
    held = torch.arange(40) % 10 == 9
    assert torch.equal(data.validation, every[held]) and torch.equal(data.unlabeled, every[~held])
    assert data.classes == (("x",) if fake else ()) and len(data.train) == len(data.test) == fake
    assert data.train.shape[1:] == (3, 16, 16) and len(data.fingerprint) == 8
    *copies, printed = capsys.readouterr().out.splitlines()
    assert printed == "imagefolder:photos: 4 of 40 images are held out to validate pretraining."
    assert len(copies) == fake  # the test image is a training image too
    if not fake:
        with pytest.raises(FileNotFoundError) as caught:
            load(f"imagefolder:{root}", size=16, labels=True, cache=tmp_path / "other")
        one_sentence(caught, "photos/train", "with neither, you can only pretrain")
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("source, place, copies", [
    ("test/cat/0.png", "unlabeled", 1), ("test/cat/0.png", "train/cat", 1),
    ("test/cat", "train/dog", 3), ("train/cat/0.png", "unlabeled", 0),
])
def test_test_images_that_training_sees_are_reported(
    load, folder, source, place, copies, capsys
):
    """Each time the set is opened, under whatever name the copy lies. Others are harmless."""
    source, place = folder / source, folder / place
    for file in source.iterdir() if source.is_dir() else [source]:
        shutil.copy(file, next(place.rglob("*.png")).parent / f"copy-of-{file.name}")
    for _ in range(2):
        load(f"imagefolder:{folder}")
        printed = capsys.readouterr().out
        assert (f"copies of test images ({copies} of them)" in printed) == (copies > 0)


@pytest.mark.parametrize("damaged, part", [(0, "has 3 images: pretraining"),
                                           (2, "has 2 images that can be read (0.png: Unid")])
def test_too_few_photographs_to_hold_some_out(load, tmp_path, damaged, part):
    for i in range(4 if damaged else 3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    for i in range(damaged):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(ValueError) as caught:
        load(f"imagefolder:{tmp_path}", size=16)
    one_sentence(caught, part, "at least 4")


@pytest.mark.parametrize("images, damaged", [(5, 1), (6, 1), (6, 2), (8, 1), (28, 1), (39, 19)])
@pytest.mark.parametrize("split", ["", "train"])
def test_few_photographs_of_which_some_are_damaged(load, tmp_path, split, images, damaged):
    """At least two are held out, and each that can be read is used once."""
    names = [f"{i:02}.png" for i in range(images)]
    if split:
        names = [f"train/{'ab'[i % 2]}/{name}" for i, name in enumerate(names)]
        names += ["test/a/0.png", "test/b/0.png"]
    for i, name in enumerate(names):
        (tmp_path / "few" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(tmp_path / "few" / name)
    for name in names[:damaged]:
        (tmp_path / "few" / name).write_bytes(b"no image")
    data = load(f"imagefolder:{tmp_path / 'few'}", size=16)
    assert len(data.skipped) == damaged and len(data.validation) == 2
    used = torch.cat([data.unlabeled, data.validation]).permute(0, 2, 3, 1).numpy()
    assert sorted(image.tobytes() for image in used) == sorted(
        picture(i).tobytes() for i in range(damaged, images))


def test_each_real_file_is_listed_once(load, folder, tmp_path):
    whole = load(f"imagefolder:{folder}", size=16)
    (folder / "unlabeled/loop").symlink_to(folder / "unlabeled")
    (folder / "unlabeled/more/up").symlink_to("..")
    (folder / "unlabeled/all").symlink_to(folder)  # would make test images unlabeled ones
    (folder / "unlabeled/above").symlink_to(tmp_path)
    (folder / "unlabeled/00.png").symlink_to(folder / "unlabeled/1.png")
    (folder / "unlabeled/self").symlink_to("self")
    (folder / "train/cat/dogs").symlink_to(folder / "train/dog")  # stay dogs
    (folder / "train/cat/up").symlink_to("..")
    (folder / "train/cat/a.png").symlink_to(folder / "train/dog/0.png")
    os.mkfifo(folder / "train/cat/pipe.png")  # opening it would wait for ever
    data = load(f"imagefolder:{folder}", size=16)
    for a, b in zip(vars(whole).values(), vars(data).values(), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_linked_folders_and_files_are_read(load, folder, tmp_path):
    whole = load(f"imagefolder:{folder}", size=16)
    store, linked = folder.rename(tmp_path / "store"), folder
    (linked / "train/dog").mkdir(parents=True)
    (linked / "unlabeled").symlink_to(store / "unlabeled")
    (linked / "test").symlink_to(store / "test")
    (linked / "train/cat").symlink_to(store / "train/cat")
    for i in range(3):
        (linked / f"train/dog/{i}.png").symlink_to(store / f"train/dog/{i}.png")
    (linked / "train/dog/3.png").symlink_to(store / "train/dog/1.png")  # the second link to it
    data = load(f"imagefolder:{linked}", size=16)
    for a, b in zip(vars(whole).values(), vars(data).values(), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_images_that_serve_to_train_and_to_test_are_in_both(load, folder):
    shutil.rmtree(folder / "test")
    (folder / "test").symlink_to("train")
    data = load(f"imagefolder:{folder}", size=16)
    assert torch.equal(data.train, data.test) and data.test_labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_folder_that_cannot_be_read_is_named(load, folder, monkeypatch):
    def scandir(place, real=os.scandir):
        if Path(place).name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError) as caught:
        load(f"imagefolder:{folder}", size=16)
    one_sentence(caught, "unlabeled/more cannot be read (Permission denied)")


def test_all_types_that_can_be_read_are_and_others_are_counted(load, folder, capsys):
    ends = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "JPG": "JPEG", "mpo": "JPEG"}
    if ".avif" in pictures.extensions():
        ends["avif"] = "AVIF"
    for end, kind in ends.items():
        Image.fromarray(picture(0)).save(folder / f"unlabeled/a.{end}", kind)
    for junk in ("a.heic", "b.heic", "c.eps", "d.pfm", "notes.txt", "README", ".hidden"):
        (folder / "unlabeled" / junk).write_bytes(b"")
    data = load(f"imagefolder:{folder}", size=16)
    assert len(data.unlabeled) == 4 + len(ends)
    if ".heic" not in pictures.extensions():
        assert capsys.readouterr().out == (
            "imagefolder:pets: 6 files that are not read as images were passed over (1 .eps, "
            "2 .heic, 1 .pfm, 1 .txt, 1 without a type; install pillow-heif to read HEIC).\n")


def test_a_folder_of_other_files_alone_says_so(load, tmp_path):
    (tmp_path / "a.heix").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        load(f"imagefolder:{tmp_path}")
    one_sentence(caught, "no images, only files that cannot be read here (1 .heix)")


def test_a_heif_plugin_is_used_where_there_is_one(monkeypatch):
    def register_heif_opener():
        monkeypatch.setitem(Image.OPEN, "HEIF", (None, None))
        monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")

    plugin = SimpleNamespace(register_heif_opener=register_heif_opener)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    for cached in (pictures.formats, pictures.extensions):
        cached.cache_clear()
    assert ".heic" in pictures.extensions() and "HEIF" in pictures.formats()
    monkeypatch.undo()
    for cached in (pictures.formats, pictures.extensions):
        cached.cache_clear()


def test_no_picture_starts_another_program(load, folder, monkeypatch, capsys):
    for program in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, program, forbid)
    monkeypatch.setattr(os, "system", forbid)
    Image.fromarray(picture(0)).save(folder / "unlabeled/a.jpg", "EPS")
    data = load(f"imagefolder:{folder}", size=16)
    assert [*data.skipped] == ["unlabeled/a.jpg"]
    assert "; unlabeled/a.jpg: UnidentifiedImageError" in capsys.readouterr().out
    assert not {"EPS", "WMF", "PDF"} & set(pictures.formats())


def test_resize_keeps_the_centre_of_the_shorter_side(load, folder):
    wide = Image.fromarray(picture(0, 60)).crop((0, 0, 60, 20))
    wide.save(folder / "unlabeled" / "0.png")
    centre = wide.resize((30, 10), Image.Resampling.BICUBIC).crop((10, 0, 20, 10))
    checks = np.indices((64, 64)).sum(0) % 2 * 255  # finest chequers: grey if antialiased
    Image.fromarray(checks.astype(np.uint8)).save(folder / "unlabeled" / "1.png")
    data = load(f"imagefolder:{folder}", size=10)
    assert np.array_equal(data.unlabeled[0].permute(1, 2, 0).numpy(), np.asarray(centre))
    assert (data.unlabeled[1].int() - 128).abs().max() < 30


def formats():
    """(file name, bytes, the RGB it should give): 16 x 16 pixels of one colour, or two halves."""

    def saved(image, format, **options):
        image.save(buffer := io.BytesIO(), format, **options)
        return buffer.getvalue()

    red, flat = (200, 30, 40), partial(Image.new, size=(16, 16))
    half = np.zeros((16, 16, 3), np.uint8)
    half[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned clockwise by 90 degrees
    turned = np.broadcast_to(np.rot90(half, -1), (16, 16, 3))
    palette = Image.fromarray(np.full((16, 16), 3, np.uint8)).convert("P")
    palette.putpalette([0, 0, 0] * 3 + list(red))
    deep = Image.fromarray(np.full((16, 16), 200 * 257, np.uint16))
    animated = {"save_all": True, "append_images": [flat("RGB", color=(0, 0, 255))]}
    clear = flat("RGBA", color=(*red, 99))
    on_white = [round(99 / 255 * c + 156) for c in red]
    half_clear = [round(128 / 255 * c + 127) for c in red]
    return [
        ("grey.png", saved(flat("L", color=77), "PNG"), (77, 77, 77)),
        ("grey_alpha.png", saved(flat("LA", color=(77, 0)), "PNG"), (255, 255, 255)),
        ("grey_clear.png", saved(flat("L", color=77), "PNG", transparency=77), (255, 255, 255)),
        ("rgb_clear.png", saved(flat("RGB", color=red), "PNG", transparency=red), (255, 255, 255)),
        ("grey16.png", saved(deep, "PNG"), (200, 200, 200)),
        ("white16.png", saved(Image.fromarray(np.full((16, 16), 65535, np.uint16)), "PNG"),
         (255, 255, 255)),
        ("dark16.png", saved(Image.fromarray(np.full((16, 16), 7 * 257 + 200, np.uint16)), "PNG"),
         (8, 8, 8)),
        ("bits.png", saved(flat("1", color=1), "PNG"), (255, 255, 255)),
        ("rgba.png", saved(clear, "PNG"), on_white),
        ("rgba.webp", saved(clear, "WEBP", lossless=True), on_white),
        ("rgba.tiff", saved(clear, "TIFF"), on_white),
        ("clear.gif", saved(palette, "GIF", transparency=3), (255, 255, 255)),
        ("palette.png", saved(palette, "PNG"), red),
        ("clear_palette.png", saved(palette, "PNG", transparency=b"\xff\xff\xff\x80"),
         half_clear),
        ("cmyk.jpg", saved(flat("CMYK", color=(55, 225, 215, 0)), "JPEG", quality=100), red),
        ("turned.jpg", saved(Image.fromarray(half), "JPEG", exif=exif, quality=100), turned),
        ("animated.gif", saved(flat("RGB", color=red), "GIF", **animated), red),
        ("UPPER.BMP", saved(flat("RGB", color=red), "BMP"), red),
        ("image.webp", saved(flat("RGB", color=red), "WEBP", lossless=True), red),
        ("image.tiff", saved(flat("RGB", color=red), "TIFF"), red),
        ("image.jp2", saved(flat("RGB", color=red), "JPEG2000"), red),
        ("image.jfif", saved(flat("RGB", color=red), "JPEG", quality=100), red),
    ]


@pytest.mark.parametrize(("name", "content", "wanted"), formats(), ids=lambda x: str(x)[:20])
def test_every_format_becomes_rgb(tmp_path, name, content, wanted):
    (tmp_path / name).write_bytes(content)
    image = data_module.decode(tmp_path / name, 16)
    assert image.shape == (3, 16, 16) and image.dtype == np.uint8
    difference = image.transpose(1, 2, 0).astype(int) - np.asarray(wanted)
    tolerance = 3 if name.endswith(("jpg", "jfif")) else 1 if "clear" in name else 0
    assert abs(difference).max() <= tolerance


def test_unreadable_images_are_named_and_skipped(load, folder, tmp_path, capsys):
    whole = (folder / "unlabeled/0.png").read_bytes()
    (folder / "unlabeled/0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train/dog/1.png").write_bytes(b"")
    (folder / "test/cat/2.png").unlink()
    (folder / "test/cat/2.png").symlink_to(folder / "nowhere.png")
    data = load(f"imagefolder:{folder}", size=16)
    wanted = ("unlabeled/0.png", "train/dog/1.png", "test/cat/2.png")
    assert tuple(data.skipped) == wanted and "truncated" in data.skipped["unlabeled/0.png"]
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1] and len(data.unlabeled) == 3
    printed = capsys.readouterr().out
    assert str(tmp_path) not in (entry(tmp_path) / "meta.json").read_text()
    assert "3 unreadable" in printed and all(name in printed for name in wanted)
    for other in ("cache", "cache2"):  # cached without strict, and not cached
        with pytest.raises(ValueError) as caught:
            load(f"imagefolder:{folder}", size=16, strict=True, cache=tmp_path / other)
        one_sentence(caught, str(folder), "3 unreadable", *wanted, "; unlabeled/0.png: OSError")
    assert "; unlabeled/0.png: OSError" in printed


def remove_unlabeled_images(f):
    shutil.rmtree(f / "unlabeled")
    (f / "unlabeled").mkdir()


def damage(f):
    for path in f.rglob("*.png"):
        path.write_bytes(b"no image")


@pytest.mark.parametrize(
    ("change", "error", "parts"),
    [
        (shutil.rmtree, FileNotFoundError, ["no folder", "pets:", "PATH/train/CLASS/"]),
        (lambda f: (shutil.rmtree(f), f.mkdir()), ValueError, ["pets has no images: add some"]),
        (lambda f: (shutil.rmtree(f), f.write_text("")), FileNotFoundError, ["no folder", "pets:"]),
        (lambda f: shutil.rmtree(f / "train"), FileNotFoundError, ["pets/train:"]),
        (lambda f: shutil.rmtree(f / "test"), FileNotFoundError, ["pets/test:", "pretrain."]),
        (lambda f: (f / "test").rename(f / "val"), FileNotFoundError, ["Rename val to test."]),
        (lambda f: (f / "train").rename(f / "val"), FileNotFoundError, ["/train:", "pretrain."]),
        (lambda f: shutil.rmtree(f / "test/dog"), ValueError, ["same class folders", "has dog"]),
        (lambda f: shutil.rmtree(f / "train/cat"), ValueError, ["same class folders", "has cat"]),
        (lambda f: [shutil.rmtree(p) for p in f.glob("t*/*")], ValueError, ["neither has any"]),
        (lambda f: [p.unlink() for p in f.glob("test/dog/*")], ValueError, ["test/dog has no im"]),
        (lambda f: damage(f / "test/dog"), ValueError, ["3 of 3 images for test/dog", "/0.png: "]),
        (lambda f: damage(f / "unlabeled"), ValueError, ["4 of 4 images for unl", "Unidentified"]),
        (remove_unlabeled_images, ValueError, ["unlabeled has no images"]),
    ],
)
def test_wrong_folders(load, folder, tmp_path, change, error, parts):
    change(folder)
    with pytest.raises(error) as caught:
        load(f"imagefolder:{folder}", size=16)
    one_sentence(caught, *parts)
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def forbid(*_, **__):
    raise AssertionError("this should have come from the cache")


def test_second_time_decodes_nothing(load, folder, monkeypatch):
    first = load(f"imagefolder:{folder}", size=16)
    monkeypatch.setattr(data_module, "decode", forbid)
    again = load(f"imagefolder:{folder}", size=16)
    assert torch.equal(first.test, again.test) and again.classes == ("cat", "dog")
    moved = folder.parent / "elsewhere" / "pets"  # names, sizes, times are the same
    moved.parent.mkdir()
    load(f"imagefolder:{folder.rename(moved)}", size=16)
    for size in (17, 16):
        with pytest.raises(AssertionError, match="from the cache"):
            load(f"imagefolder:{moved}", size=size)
        os.utime(moved / "unlabeled/0.png", (1, 1))


def test_folders_of_the_same_names_sizes_and_times_are_not_taken_for_each_other(load, tmp_path):
    """As in archives that were packed with the same time for every file."""
    found = []
    for first, root in ((0, tmp_path / "a" / "pets"), (50, tmp_path / "b" / "pets")):
        root.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(picture(first + i)).save(root / f"{i}.bmp")
            os.utime(root / f"{i}.bmp", (1, 1))
        found.append(load(f"imagefolder:{root}", size=16).fingerprint)
    assert found[0] != found[1]


def test_a_cache_that_cannot_be_read_just_now_is_kept(load, folder, tmp_path, monkeypatch):
    name = f"imagefolder:{folder}"
    load(name, size=16)
    file, before = entry(tmp_path) / "train.bin", (entry(tmp_path) / "train.bin").stat().st_mtime_ns
    with monkeypatch.context() as m, pytest.raises(OSError, match="Too many open files"):
        m.setattr("mae_lib.data.cache._open", lambda *_: (_ for _ in ()).throw(
            OSError(errno.EMFILE, "Too many open files")))
        load(name, size=16)
    assert file.stat().st_mtime_ns == before


def test_a_picture_of_floating_point_numbers_is_no_photograph(load, folder, capsys):
    Image.fromarray(np.random.rand(20, 20).astype(np.float32)).save(folder / "unlabeled/f.tiff")
    data = load(f"imagefolder:{folder}", size=16)
    assert any("f.tiff" in name for name in data.skipped)
    assert "f.tiff" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [np.int32, np.int16])
def test_a_picture_of_integers_of_an_unknown_range_is_no_photograph(tmp_path, kind):
    """Few programs write such files, and the white of some is 255, of others 2**31 - 1."""
    entry, bits = struct.Struct("<HHII"), 8 * np.dtype(kind).itemsize
    tags = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, 1, 8), (278, 3, 1, 16), (279, 4, 1, 256 * bits // 8), (339, 3, 1, 2)]
    pixels = np.full(256, 200, kind).tobytes()
    header = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    ends = struct.pack("<H", len(tags)) + b"".join(entry.pack(*tag) for tag in tags) + bytes(4)
    (tmp_path / "i.tiff").write_bytes(header + pixels + ends)
    assert Image.open(tmp_path / "i.tiff").mode == "I"
    found = data_module.decode(tmp_path / "i.tiff", 16)
    assert found == "ValueError: its pixels are not unsigned integers of 8 or 16 bits"


def test_a_file_that_the_disk_cannot_read_just_now_is_not_called_damaged(
        load, folder, tmp_path, monkeypatch):
    def opened(path, real=Image.open, **options):
        if path.name == "1.png":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, **options)

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(Image, "open", opened)
        load(f"imagefolder:{folder}", size=16)
    one_sentence(caught, "pets/unlabeled/1.png could not be read (Input/output error): run this ag")
    assert not list((tmp_path / "cache").iterdir())
    assert not load(f"imagefolder:{folder}", size=16).skipped


def test_names_of_any_bytes_can_be_printed(load, folder, tmp_path, capsys):
    """On Linux, a file's name need not be UTF-8; old archives have such names."""
    odd = Path(os.fsdecode(b"caf\xe9"))
    try:
        pets = folder.rename(tmp_path / odd)
    except OSError:
        pytest.skip("This file system has no such names.")
    for split in ("train", "test"):
        (pets / split / "cat").rename(pets / split / odd)
    for name in (f"{odd}.png", f"x.{odd}"):
        (pets / "unlabeled" / name).write_bytes(b"no image")
    for _ in range(2):
        data = load(f"imagefolder:{pets}", size=16)
        for text in (data.name, *data.classes, *data.skipped, capsys.readouterr().out):
            text.encode("utf-8")
    assert data.name == "imagefolder:caf\\udce9" and data.classes == ("caf\\udce9", "dog")
    assert [*data.skipped] == ["unlabeled/caf\\udce9.png"]
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("harm", ["cut", "remove", "meta", "meta_list"])
def test_damage_is_found_and_repaired(load, folder, tmp_path, capsys, harm):
    name = f"imagefolder:{folder}"
    wanted = load(name, size=16).train.clone()
    file = entry(tmp_path) / "train.bin"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "remove":
        file.unlink()
    else:
        (entry(tmp_path) / "meta.json").write_text("{" if harm == "meta" else "[]")
    capsys.readouterr()
    assert torch.equal(load(name, size=16).train, wanted)
    assert capsys.readouterr().out.count("is damaged") == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1
    load(name, size=16)
    assert capsys.readouterr().out == ""


def test_a_copied_cache_is_used(load, folder, tmp_path, monkeypatch):
    load(f"imagefolder:{folder}", size=16)
    os.utime(entry(tmp_path) / "train.bin", (1, 1))
    monkeypatch.setattr(data_module, "decode", forbid)
    load(f"imagefolder:{folder}", size=16)


def test_large_photographs_are_scaled_as_by_pillow(tmp_path):
    """The JPEG decoder spares only detail that is not needed."""
    photograph = Image.fromarray(skimage.data.astronaut())
    photograph.save(tmp_path / "a.jpg", quality=100)
    exact = np.asarray(photograph.resize((64, 64), Image.Resampling.BICUBIC), int)
    found = pictures.decode(tmp_path / "a.jpg", 64).transpose(1, 2, 0)
    assert np.abs(found - exact).mean() < 1.5  # 0.9; 2.2 from half the detail


NUMBERS = np.arange(2000).reshape(1000, 2)


def append_numbers(append):
    for rows in np.split(NUMBERS, 10):
        append("x", np.asfortranarray(rows))
    return {"answer": [42]}


def test_killed_build_leaves_nothing_that_looks_finished(tmp_path):
    def die(append):
        append_numbers(append)
        os.kill(os.getpid(), signal.SIGKILL)

    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=open_or_build, args=(tmp_path / "key", die, 0))
    process.start()
    process.join(30)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".key.") and (left / "entry" / "x.bin").exists()
    arrays, info = open_or_build(tmp_path / "key", append_numbers, 0)
    assert np.array_equal(arrays["x"], NUMBERS) and info == {"answer": [42]}
    assert left.exists()  # it might be another process at work
    for path in (left, left / "entry", left / "entry" / "x.bin"):
        shutil.rmtree(tmp_path / "key")
        open_or_build(tmp_path / "key", append_numbers, 0)
        assert left.exists()  # one that has written something within an hour
        os.utime(path, (time.time() - 4000,) * 2)
    shutil.rmtree(tmp_path / "key")
    (young := tmp_path / ".key.1").mkdir()
    os.utime(young, (time.time() - 3000,) * 2)
    open_or_build(tmp_path / "key", append_numbers, 0)
    assert not left.exists() and young.exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_two_builds_at_once(tmp_path, damaged):
    if damaged:
        (tmp_path / "key").mkdir()
    barrier = threading.Barrier(2)

    def build(append):
        barrier.wait(30)  # both are in the middle of building
        return append_numbers(append)

    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(open_or_build, tmp_path / "key", build, 0) for _ in range(2)]
    assert all(np.array_equal(done.result()[0]["x"], NUMBERS) for done in builds)
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_a_cache_that_is_a_file_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for cache in ("file", "file/below"):
        with pytest.raises(OSError) as caught:
            load_data(f"imagefolder:{folder}", size=16, cache=tmp_path / cache)
        one_sentence(caught, "cannot be made", "MAE_LIB_CACHE")


def test_full_disk(load, folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(OSError) as caught:
            load(f"imagefolder:{folder}", size=16)
        one_sentence(caught, "only 0 MB are free", "MAE_LIB_CACHE")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError) as caught:
            load(f"imagefolder:{folder}", size=16)
        one_sentence(caught, "became full", "MAE_LIB_CACHE")
    assert not list((tmp_path / "cache").iterdir())
    assert len(load(f"imagefolder:{folder}", size=16).train) == 6


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ")
def test_a_set_larger_than_memory_can_be_mapped(tmp_path):
    path = tmp_path / "huge"
    path.touch()
    try:
        os.truncate(path, 2**43)  # 8 TB of holes: no disk is used
    except OSError:
        pytest.skip("this file system has no such large files")
    tensor = map_file(path, np.uint8, (2**43,))
    assert len(tensor) == 2**43 and tensor[2**42] == 0


def test_scenes(load, monkeypatch):
    monkeypatch.setattr(data_module, "WINDOW", 2)
    data = load("scenes", size=32, counts=(5, 4, 3))
    for split, count in (("unlabeled", 5), ("train", 4), ("test", 3)):
        images, labels = scenes.generate(split, 0, count, size=32)
        assert np.array_equal(getattr(data, split), images)
        assert split == "unlabeled" or np.array_equal(getattr(data, f"{split}_labels"), labels)
    assert data.classes == scenes.CLASSES and data.name == "scenes"
    monkeypatch.setattr(scenes, "generate", forbid)
    assert len(load("scenes", size=32, counts=[5, 4, 3]).test) == 3
    for size, counts in ((33, (5, 4, 3)), (32, (5, 4, 2))):
        with pytest.raises(AssertionError, match="from the cache"):
            load("scenes", size=size, counts=counts)
    monkeypatch.setattr(data_module, "SCENES_VERSION", data_module.SCENES_VERSION + 1)
    with pytest.raises(AssertionError, match="from the cache"):
        load("scenes", size=32, counts=(5, 4, 3))


def test_sizes_and_counts_when_none_are_given(load, monkeypatch):
    class Asked(Exception):
        pass

    def ask(folder, build, needed_bytes):
        raise Asked(needed_bytes)

    monkeypatch.setattr(data_module, "open_or_build", ask)
    for arguments, images in (({}, 30_000), ({"counts": (7, 2, 1)}, 10)):
        with pytest.raises(Asked) as asked:
            load("scenes", **arguments)
        assert asked.value.args == (images * (3 * 96 * 96 + 8),)


def test_caches_depend_on_name_content_and_format(monkeypatch):
    keys = {cache_key("a", 1), cache_key("a", 2), cache_key("b", 1), cache_key("a", "1")}
    monkeypatch.setattr("mae_lib.data.cache.FORMAT", -1)
    keys |= {cache_key("a", 1), cache_key("a/ü b", 1)}
    assert len(keys) == 6 and all(set(key) <= set("ü-" + ascii_letters + digits) for key in keys)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def stl(tmp_path, monkeypatch):
    """A small STL-10 in the real format, with the checksums torchvision expects."""
    root, rng = tmp_path / "cache/downloads", np.random.default_rng(0)
    counts = {"unlabeled": 4, "train": 3, "test": 2}
    (folder := root / "stl10_binary").mkdir(parents=True)
    for split, n in counts.items():
        rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{split}_X.bin")
        if split != "unlabeled":
            np.array([10, 1, 5][:n], np.uint8).tofile(folder / f"{split}_y.bin")
    monkeypatch.setattr(data_module, "STL_COUNTS", counts)
    for which in ("train_list", "test_list"):
        files = [[file, md5(folder / file)] for file, _ in getattr(datasets.STL10, which)]
        monkeypatch.setattr(datasets.STL10, which, files)
    return root


def check_stl(data, root):
    assert data.classes[0] == "airplane" and data.classes[9] == "truck" and data.name == "stl10"
    assert list(data.classes) == sorted(data.classes)
    for split in ("unlabeled", "train", "test"):
        theirs, ours = datasets.STL10(root, split=split), getattr(data, split)
        assert ours.dtype == torch.uint8 and np.array_equal(ours.numpy(), theirs.data)
        if split != "unlabeled":
            assert getattr(data, f"{split}_labels").tolist() == theirs.labels.tolist()


def test_stl10_reads_what_torchvision_reads(load, stl):
    data = load("stl10")
    check_stl(data, stl)
    assert len(load("stl10", limit=2).unlabeled) == 2
    data.train.zero_()  # a change in memory only
    check_stl(load("stl10"), stl)


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("unlabeled_X.bin", bytes(27648 + 5), "27653 bytes, not 110592"),
        ("train_X.bin", b"", "0 bytes, not 82944"),
        ("train_X.bin", bytes(82944 + 1), "82945 bytes, not 82944"),
        ("test_y.bin", bytes([1]), "1 bytes, not 2"),
    ],
)
def test_stl10_wrong_files(load, stl, file, content, part):
    (stl / "stl10_binary" / file).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load("stl10")
    one_sentence(caught, file, part, "delete ")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`, breaking off each of the first `cuts` answers half-way."""

    content, cuts, ranges, asked, pause = b"", 0, True, [], 0.0

    def do_GET(self):
        cls, wanted = type(self), self.headers.get("Range")
        cls.asked.append(wanted)
        start = int(wanted[len("bytes=") : -1]) if wanted and cls.ranges else 0
        if start >= len(cls.content):
            self.send_error(416)
            return
        rest = cls.content[start:]
        threading.Event().wait(cls.pause)
        self.send_response(206 if wanted and cls.ranges else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if cls.cuts:
            cls.cuts, rest = cls.cuts - 1, rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "*")
    Server.content, Server.cuts, Server.ranges, Server.asked = os.urandom(100_000), 0, True, []
    Server.pause = 0.0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        Server.url = f"http://127.0.0.1:{listening.server_port}/stl10_binary.tar.gz"
        yield Server
        listening.shutdown()


def fetch(server, path, content=None):
    digest = hashlib.md5(server.content if content is None else content).hexdigest()
    download(server.url, path, digest, progress=False)
    assert path.read_bytes() == server.content and list(path.parent.iterdir()) == [path]


def test_download_resumes(server, tmp_path):
    path, part = tmp_path / "file", tmp_path / "file.part"
    server.cuts = 3
    fetch(server, path)
    assert server.asked == [None, "bytes=50000-", "bytes=75000-", "bytes=87500-"]
    for have, ranges in ((60_000, True), (100_000, True), (60_000, False)):  # from an earlier run
        server.ranges = ranges  # a server without them starts over
        path.unlink()
        part.write_bytes(server.content[:have])
        fetch(server, path)
        assert server.asked[4:] == [f"bytes={have}-"]
        del server.asked[4:]


def test_download_failures(server, tmp_path):
    with pytest.raises(ValueError) as caught:
        fetch(server, tmp_path / "file", content=b"other")
    one_sentence(caught, "wrong checksum")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConnectionError) as caught:
        download("http://127.0.0.1:9/file", tmp_path / "file", "", progress=False, attempts=2)
    one_sentence(caught, "Could not download", "run this again")
    server.ranges, server.cuts = False, 99
    with pytest.raises(ConnectionError, match="Could not download"):  # does not try for ever
        fetch(server, tmp_path / "file")


def test_a_disk_that_becomes_full_during_a_download_is_not_the_connections_fault(
        server, tmp_path, monkeypatch):
    def copy(body, file):
        file.write(body.read(60_000))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(shutil, "copyfileobj", copy)
        fetch(server, tmp_path / "file")
    one_sentence(caught, "became full: free some space", "MAE_LIB_CACHE")
    assert type(caught.value) is OSError and len(server.asked) == 1
    fetch(server, tmp_path / "file")
    assert server.asked == [None, "bytes=60000-"]


def test_a_download_that_was_cut_is_not_taken_as_whole_and_goes_on(server, tmp_path):
    """Also where no checksum is known."""
    path, server.cuts = tmp_path / "file", 99
    with pytest.raises(ConnectionError) as caught:
        download(server.url, path, None, progress=False, attempts=2)
    one_sentence(caught, "Could not download", "run this again to go on")
    assert [p.name for p in tmp_path.iterdir()] == ["file.part"]
    server.cuts = 0
    download(server.url, path, None, progress=False)
    assert path.read_bytes() == server.content and server.asked[-1] == "bytes=75000-"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_stl10_is_downloaded_and_extracted(load, stl, server, tmp_path, monkeypatch):
    with tarfile.open(archive := tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(stl / "stl10_binary", "stl10_binary")
    server.content, server.cuts = archive.read_bytes(), 1
    monkeypatch.setattr(datasets.STL10, "url", server.url)
    monkeypatch.setattr(datasets.STL10, "tgz_md5", md5(archive))
    check_stl(load("stl10", cache=tmp_path / "new"), downloads := tmp_path / "new/downloads")
    assert len(server.asked) == 2
    assert [p.name for p in downloads.glob("[!.]*")] == ["stl10_binary"]
    load("stl10", cache=tmp_path / "new")
    assert len(server.asked) == 2
    cut = tmp_path / "cut/downloads"
    cut.mkdir(parents=True)  # an archive that something else had left unfinished
    (cut / datasets.STL10.filename).write_bytes(server.content[:5])
    check_stl(load("stl10", cache=tmp_path / "cut"), cut)
    assert len(server.asked) == 3
    monkeypatch.setattr(datasets.STL10, "tgz_md5", "0" * 32)
    with pytest.raises(ValueError) as caught:
        load("stl10", cache=tmp_path / "other")
    one_sentence(caught, "wrong checksum")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(OSError, match="only 1,000 MB are free"):
        load("stl10", cache=tmp_path / "other")


def test_two_programs_download_a_set_once_and_clear_up_after_a_third(stl, server, tmp_path,
                                                                     monkeypatch):
    with tarfile.open(archive := tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(stl / "stl10_binary", "stl10_binary")
    server.content, server.pause = archive.read_bytes(), 0.2
    monkeypatch.setattr(datasets.STL10, "url", server.url)
    monkeypatch.setattr(datasets.STL10, "tgz_md5", md5(archive))
    root = tmp_path / "downloads"
    (killed := root / ".stl10_binary.extracting1").mkdir(parents=True)  # while it extracted
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda _: fetch_set(datasets.STL10, root, 0, False), range(2))
    assert list(found) == [root / "stl10_binary"] * 2 and server.asked == [None]
    assert not killed.exists()


def test_what_is_here_already_needs_no_room_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.STL10, "url", server.url)
    (tmp_path / f"{datasets.STL10.filename}.part").write_bytes(bytes(60_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50_000))
    with pytest.raises(ValueError, match="wrong checksum"):  # it went on
        fetch_set(datasets.STL10, tmp_path, 110_000, False)
    with pytest.raises(OSError, match="are free"):
        fetch_set(datasets.STL10, tmp_path, 110_000, False)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A small CIFAR-10 in the real format: pickled batches of 3 images."""
    root, rng, source = tmp_path / "cache/downloads", np.random.default_rng(0), datasets.CIFAR10
    (folder := root / source.base_folder).mkdir(parents=True)
    for which in ("train_list", "test_list"):
        files = []
        for file, _ in getattr(source, which):
            pixels = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
            batch = {"data": pixels, "labels": rng.integers(0, 10, 3).tolist()}
            (folder / file).write_bytes(pickle.dumps(batch))
            files.append([file, md5(folder / file)])
        monkeypatch.setattr(source, which, files)
    names = [f"class{i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    meta = {**source.meta, "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(source, "meta", meta)
    return root


def test_cifar10_reads_what_torchvision_reads(load, cifar, monkeypatch):
    wanted = {s: datasets.CIFAR10(cifar, train=s == "train") for s in ("train", "test")}
    for _ in range(2):
        data = load("cifar10")
        assert data.name == "cifar10" and data.classes == tuple(f"class{i}" for i in range(10))
        for split, theirs in wanted.items():
            ours = getattr(data, split)
            assert np.array_equal(ours.permute(0, 2, 3, 1).numpy(), theirs.data)
            assert getattr(data, f"{split}_labels").tolist() == theirs.targets
        assert torch.equal(torch.cat([data.unlabeled, data.validation]), data.train)
        assert len(data.validation) == 2 and len(data.train) == 15
        monkeypatch.setattr(datasets, "CIFAR10", forbid)  # the second time comes from the cache


def test_cifar10_is_downloaded_and_repaired(load, cifar, server, tmp_path, monkeypatch):
    with tarfile.open(archive := tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(cifar / datasets.CIFAR10.base_folder, datasets.CIFAR10.base_folder)
    server.content = archive.read_bytes()
    monkeypatch.setattr(datasets.CIFAR10, "url", server.url)
    with pytest.raises(ValueError) as caught:
        load("cifar10", cache=tmp_path / "r")
    one_sentence(caught, "wrong checksum")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    assert len(load("cifar10", cache=tmp_path / "r").train) == 15
    (tmp_path / "r/downloads" / datasets.CIFAR10.base_folder / "test_batch").write_bytes(b"damage")
    shutil.rmtree(entry(tmp_path, "r"))
    assert len(load("cifar10", cache=tmp_path / "r").test) == 3


@pytest.mark.parametrize("images, held", [(4, 2), (29, 2), (30, 3), (5_119, 511), (100_000, 512)])
def test_a_tenth_is_held_out_but_not_too_few_nor_too_many(images, held):
    assert data_module._held_out_count(images) == held


@pytest.mark.parametrize("count, places", [
    (3, [0, 3, 6]), (6, [0, 1, 3, 5, 6, 8]), (10, range(10)), (99, range(10)), (0, [])])
def test_a_part_of_a_set_is_spread_over_all_of_it(count, places):
    """Image folders are sorted by class: the first images would be all of one."""
    assert evenly_spaced(torch.arange(10), count).tolist() == list(places)
    assert evenly_spaced(torch.arange(0), count).tolist() == []
