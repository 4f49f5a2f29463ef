"""Whatever a learner uploads becomes a picture or one clear sentence; weights and clicks too."""

import base64
import functools
import http.server
import io
import pickle
import struct
import sys
import threading
import types
import zlib
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from mae_lib.course.widgets import (
    Explorer,
    Frame,
    frames,
    masks,
    panels,
    reconstructions,
    sources,
    uploads,
    your_own_mae,
)
from mae_lib.course.widgets.uploads import decode_upload
from mae_lib.data.pictures import decode
from mae_lib.model import MaskedAutoencoder
from mae_lib.training.checkpoints import save_weights

RED, BLUE = (220, 30, 40), (30, 60, 200)
TINY = dict(img_size=16, patch_size=4, embed_dim=8, depth=1, num_heads=2,
            decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)


@pytest.fixture(autouse=True)
def nothing_added(monkeypatch):
    """Photographs and weights that a test adds are gone after it."""
    monkeypatch.setattr(sources, "_photographs", {})
    monkeypatch.setattr(sources, "_weights", {})
    sources.photograph.cache_clear()


def halves(mode="RGB", left=RED, right=BLUE, size=(80, 80)):
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def left_right(content, size=16):
    found = decode_upload(content, size)
    assert found.shape == (3, size, size) and found.dtype == torch.uint8
    return found[:, size // 2, 2].tolist(), found[:, size // 2, -3].tolist()


def near(found, wanted, tolerance=4):
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


# ---------------------------------------------------------------- pictures that work


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_ordinary_files(kind):
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    left, right = left_right(saved(halves(), kind, **options))
    assert near(left, RED, 12) and near(right, BLUE, 12)


def test_cmyk():
    content = saved(halves("CMYK", (0, 220, 210, 30), (220, 180, 0, 40)), "JPEG", quality=100)
    with Image.open(io.BytesIO(content)) as image:
        wanted = [image.convert("RGB").getpixel((x, 40)) for x in (10, 70)]
    assert all(map(near, left_right(content), wanted))
    assert left_right(content)[0][0] > left_right(content)[1][0]  # red is left


def test_sixteen_bits_are_scaled_not_clipped():
    deep = np.full((80, 80), 40 * 257, np.uint16)
    deep[:, 40:] = 200 * 257
    assert left_right(saved(Image.fromarray(deep))) == ([40] * 3, [200] * 3)


@pytest.mark.parametrize("mode, left, right", [("L", 20, 200), ("1", 0, 1), ("P", 3, 200)])
def test_grey_and_palette(mode, left, right):
    image = halves(mode, left, right)
    if mode == "P":
        image.putpalette([i for grey in range(256) for i in (grey,) * 3])
    found = left_right(saved(image))
    assert found[0][0] == found[0][1] == found[0][2] < found[1][0] == found[1][2]


def test_of_an_animation_the_first_picture():
    content = saved(halves(), "GIF", save_all=True, append_images=[halves(left=BLUE, right=RED)])
    left, right = left_right(content)
    assert near(left, RED) and near(right, BLUE)


@pytest.mark.parametrize("image, options", [
    (halves("RGBA", (0, 0, 0, 0), (*BLUE, 255)), {}),
    (halves("LA", (0, 0), (200, 255)), {}),
    (halves("RGB", (0, 0, 0), BLUE), {"transparency": (0, 0, 0)}),
])
def test_transparency_is_white(image, options):
    left, right = left_right(saved(image, **options))
    assert near(left, (255, 255, 255)) and right != left


def test_a_transparent_palette_is_white():
    image = halves("RGB", (0, 0, 0), BLUE).quantize(4)
    clear = image.getpixel((0, 0))
    left, right = left_right(saved(image, transparency=clear))
    assert near(left, (255, 255, 255)) and near(right, BLUE, 12)


def test_the_same_file_is_the_same_picture_as_in_a_data_set(tmp_path):
    deep = Image.fromarray(np.full((80, 80), 7000, np.uint16))
    palette = halves("RGB", (0, 0, 0), BLUE).quantize(4)
    files = [saved(halves("RGBA", (*RED, 90), (*BLUE, 255))), saved(halves("LA", (9, 0), (80, 99))),
             saved(palette, transparency=palette.getpixel((0, 0))), saved(deep),
             saved(halves(), "JPEG2000"), saved(halves("RGB", size=(300, 300)), "JPEG")]
    for content in files:
        (tmp_path / "picture").write_bytes(content)
        wanted = decode(tmp_path / "picture", 16)
        assert np.array_equal(decode_upload(content, 16).numpy(), wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photograph_taken_sideways_is_turned_upright(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn to the right: left becomes top
    found = decode_upload(saved(halves(), kind, exif=exif), 16)
    assert near(found[:, 2, 8].tolist(), RED, 12) and near(found[:, -3, 8].tolist(), BLUE, 12)


def test_damaged_exif_does_no_harm_or_is_explained():
    content = saved(halves(), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 30)
    try:
        decode_upload(content, 16)
    except ValueError as error:
        one_sentence(error)


def test_one_pixel_becomes_a_plain_picture():
    found = decode_upload(saved(Image.new("RGB", (1, 1), RED)), 16)
    assert (found == torch.tensor(RED, dtype=torch.uint8)[:, None, None]).all()
    sources.add_photograph("dot.png", saved(Image.new("RGB", (1, 1), RED)))
    frame = reconstructions.render(photograph="dot.png")
    assert "patches hidden" in frame.text and "nan" not in frame.text


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000)])
def test_long_and_thin(size):
    assert decode_upload(saved(Image.new("RGB", size, RED)), 16).float().std(dim=(1, 2)).max() < 1


def test_a_photograph_of_a_hundred_megapixels():
    """Decoded at a fraction, as JPEG can; as anything else it is refused before it is decoded."""
    image = Image.new("L", (12_000, 8_500), 90)
    left, _ = left_right(saved(image, "JPEG"))
    assert near(left, (90, 90, 90))
    with pytest.raises(ValueError, match="102 million pixels, but the limit is 50 mi") as error:
        decode_upload(saved(image, "PNG", compress_level=1), 16)
    one_sentence(error.value)


# ---------------------------------------------------------------- what does not


def one_sentence(error):
    said = str(error)
    assert said.endswith(".") and "\n" not in said and 5 <= len(said.split()) <= 40, said


NOISE = Image.effect_noise((200, 200), 60).convert("RGB")


def claims_to_be_huge() -> bytes:
    """A PNG of a hundred bytes that says it has 30,000×30,000 pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        length, checksum = (struct.pack(">I", n) for n in (len(data), zlib.crc32(kind + data)))
        return length + kind + data + checksum

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99))



@pytest.mark.parametrize("content, words", [
    (b"", "The file is empty"),
    (b"This is no picture. " * 50, "This is not a picture"),
    (b"\x89PNG\r\n\x1a\n", "This is not a picture"),
    (saved(NOISE, "JPEG")[:9000], "cut off or damaged"),
    (saved(NOISE, "PNG")[:9000], "cut off or damaged"),
    (saved(NOISE, "GIF")[:9000], "cut off or damaged"),
    (saved(NOISE, "WEBP", lossless=True)[:9000], "cut off or damaged"),
    (saved(NOISE, "TIFF")[:9000], ""),
    (claims_to_be_huge(), "million pixels"),
    (saved(NOISE, "EPS"), "This is not a picture"),
    (b"%PDF-1.7\n" + bytes(range(256)) * 9, "This is not a picture"),
    (b"\x00\x00\x00\x18ftypheic" + bytes(200), "export HEIC from a phone as JPEG"),
])
def test_what_is_no_whole_picture_is_explained(content, words, capsys):
    with pytest.raises(ValueError) as error:
        decode_upload(content, 16)
    assert words in str(error.value)
    one_sentence(error.value)
    assert capsys.readouterr() == ("", "")


def test_any_bytes_at_all_end_in_a_picture_or_a_sentence():
    rng, whole = np.random.default_rng(0), saved(NOISE.resize((40, 40)), "PNG")
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 4):
            content[place] = rng.integers(256)
        try:
            assert decode_upload(bytes(content), 16).shape == (3, 16, 16)
        except ValueError as error:
            one_sentence(error)


# ---------------------------------------------------------------- the upload button


def as_in(version, name, content):
    if version == 7:
        return {name: {"metadata": {"name": name, "type": "image/png"}, "content": content}}
    return ({"name": name, "type": "image/png", "content": memoryview(content)},)


@pytest.mark.parametrize("version", [7, 8])
def test_both_forms_of_an_upload(version):
    assert uploads.uploaded(as_in(version, "a.png", b"abc")) == [("a.png", b"abc")]
    assert uploads.uploaded(type(as_in(version, "a", b""))()) == []


@pytest.mark.parametrize("name, shown", [
    ("holiday 1.jpg", "holiday 1.jpg"), ("<img src=x onerror=alert(1)>.png", "_img src_x onerror_"),
    ("C:\\me\\cat.png", "cat.png"), ("a/b/c.png", "c.png"), ("", "upload"), ("x" * 90, "x" * 40),
    ("größe.png", "größe.png"),
])
def test_names_are_safe_to_show(name, shown):
    found = uploads.safe_name(name)
    assert found.startswith(shown) and not set(found) & set("<>&\"'=/\\")


@pytest.fixture(scope="module")
def explorer():
    return reconstructions.explorer()


def test_the_label_says_what_the_button_cannot_carry(tmp_path, monkeypatch):
    """In Colab files of 1 MB and more never arrive; those in Files or Drive are opened by name."""
    here = reconstructions.explorer().status.value
    assert here.endswith("10 MB at a time. For more, type the file's path.")
    assert "For more, set source to 'imagefolder:PATH'." in your_own_mae.Uploader(16).status.value
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(uploads, "COLAB", tmp_path / "content")
    monkeypatch.setattr(uploads, "DRIVE", tmp_path / "content/drive/MyDrive")
    monkeypatch.setattr(your_own_mae, "_arrived", {})
    there = reconstructions.explorer()
    for status in (there.status, your_own_mae.Uploader(16).status):
        assert "less than 1 MB at a time. For more, use its Files pane" in status.value
        assert "mounted Drive, and" in status.value
    uploads.DRIVE.mkdir(parents=True)
    (uploads.COLAB / "mine.png").write_bytes(saved(halves()))
    (uploads.DRIVE / "old.png").write_bytes(saved(halves()))
    for name in ("mine.png", "old.png", "MyDrive/old.png"):
        there.source.value = name
        assert there.status.value == f"✓ Opened {Path(name).name}."
    monkeypatch.delitem(sys.modules, "google.colab")
    assert there.open("mine.png").startswith("✗ There is no file mine.png")


@pytest.mark.parametrize("version", [7, 8])
def test_an_upload_is_shown_and_a_bad_one_explained(explorer, version):
    explorer._uploaded({"new": as_in(version, "mine.png", saved(halves()))})
    assert explorer.values["photograph"] == "mine.png" and "mine.png" in explorer.frame.text
    assert explorer.status.value == "✓ Opened mine.png."
    explorer._uploaded({"new": as_in(version, "bad.png", b"nothing")})
    assert explorer.status.value.startswith("✗ This is not a picture")
    assert explorer.values["photograph"] == "mine.png"
    explorer._uploaded({"new": as_in(version, "mine.png", saved(halves(left=BLUE)))})
    assert explorer.values["photograph"] == "mine.png'"
    explorer._uploaded({"new": type(as_in(version, "", b""))()})
    explorer.set(photograph="cat")


# ---------------------------------------------------------------- weights of one's own


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MaskedAutoencoder(**TINY).eval()


def test_own_weights_are_opened_and_shown(explorer, model, tmp_path):
    path = tmp_path / "run" / "model.safetensors"
    save_weights(path, model, norm_pix=False)
    assert explorer.open(path) == "✓ Opened own run."
    assert explorer.values["weights"] == "own run"
    assert "of 16 patches hidden" in explorer.frame.text
    assert explorer.patches.grid == (4, 4) and len(explorer.patches.children) == 16
    assert "zeros, helped" not in explorer.frame.text  # without norm_pix there is no help
    explorer.source.value = str(path)  # typed once more
    assert explorer.status.value == "✓ Opened own run." and explorer.source.value == ""
    explorer.set(weights="original")


@pytest.mark.parametrize("size", [16, 80, 144, 160, 192, 208, 224])
def test_models_of_any_size_have_panels_with_room_for_their_names(explorer, size, tmp_path):
    path = tmp_path / f"of {size}" / "model.safetensors"
    model = MaskedAutoencoder(**TINY | {"img_size": size, "patch_size": 16})
    save_weights(path, model, norm_pix=True)
    assert explorer.open(path) == f"✓ Opened own of {size}."
    side = (explorer.frame.picture.shape[1] - 2 * panels.GAP) / 3
    assert 192 <= side <= 400 and side % size == 0
    name = panels.strip("Laplacian error", int(side), 1.0)  # the longest, with a key
    free = (name == 255).all(axis=(0, 2))
    key = (name.max(axis=2) > name.min(axis=2)).any(axis=0).argmax()  # where its colours begin
    end = round(panels.font(15).getlength("Laplacian error"))
    assert free[end + 2 : end + 6].all() and key > end + 15
    explorer.set(weights="original")


def test_weights_opened_again_are_the_new_ones(explorer, model, tmp_path):
    path = tmp_path / "again" / "model.safetensors"
    save_weights(path, model, norm_pix=False)
    explorer.open(path)
    first = explorer.frame.picture
    torch.manual_seed(1)
    save_weights(path, MaskedAutoencoder(**TINY), norm_pix=False)
    assert explorer.open(path) == "✓ Opened own again."
    assert not np.array_equal(explorer.frame.picture, first)
    explorer.set(weights="original")


def test_a_mask_made_by_hand_stays_while_weights_are_compared(explorer):
    explorer.set(weights="original", kind="by hand")
    explorer.patches.value = (3, 9)
    for change in (dict(weights="improved"), dict(seed=5), dict(mask_ratio=0.5)):
        explorer.set(**change)
        assert explorer.patches.value == (3, 9) and "2 of 196 patches hidden" in explorer.frame.text
    explorer.set(kind="random")
    assert explorer.patches.value == ()
    explorer.patches.value = (3,)
    explorer.set(seed=6)  # clicks were about another mask
    assert explorer.patches.value == ()
    explorer.set(weights="original")


def test_the_highest_ratio_leaves_one_of_sixteen_patches(explorer, model, tmp_path):
    path = tmp_path / "few" / "model.safetensors"
    save_weights(path, model, norm_pix=False)
    explorer.open(path)
    assert "15 of 16 patches hidden" in explorer.set(mask_ratio=0.95).frame.text
    explorer.set(weights="original", mask_ratio=0.75)


def test_weights_are_found_one_level_up(model, tmp_path, monkeypatch):
    save_weights(tmp_path / "runs" / "a" / "model.safetensors", model, norm_pix=True)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert sources.add_weights("runs/a/model.safetensors") == "own a"


def test_norm_pix_is_read_or_given(explorer, model, tmp_path):
    """Official checkpoints say it in their settings, if they have any; then the user can."""
    heads = {"num_heads": model.config["num_heads"],
             "decoder_num_heads": model.config["decoder_num_heads"]}
    path = tmp_path / "a.pth"
    for settings, given, expected in (({"norm_pix_loss": True}, {}, True), ({}, {}, False),
                                      ({}, {"norm_pix": True}, True)):
        torch.save({"model": model.state_dict(), "args": settings}, path)
        assert explorer.open(path, **heads, **given) == "✓ Opened own a."
        assert sources.weights("own a").facts == {"norm_pix": expected}
    explorer.set(weights="original")
    save_weights(tmp_path / "b.safetensors", model)  # ours, without a word
    sources.add_weights(tmp_path / "b.safetensors")
    assert sources.weights("own b").facts == {"norm_pix": True}


def test_an_encoder_alone_is_not_shown(explorer, model, tmp_path):
    encoder = MaskedAutoencoder(**{**model.config, "decoder_depth": 0})
    save_weights(tmp_path / "a.safetensors", encoder)
    said = explorer.open(tmp_path / "a.safetensors")
    assert said.startswith("✗ a.safetensors holds an encoder without its decoder")


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("opened"),)


@pytest.mark.parametrize("name, content, words", [
    ("model.safetensors", b"", "damaged or not a safetensors file"),
    ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!", "damaged"),
    ("model.pth", pickle.dumps(Hostile(), protocol=2), "not a readable checkpoint"),
    ("model.pth", b"garbage", "not a readable checkpoint"),
    ("checkpoint.pt", b"", "the state of a training run: open the model.safetensors"),
    ("~nobody-of-that-name/x.jpg", None, "home"),
    ("photo.jpg", b"garbage", "This is not a picture"),
])
def test_a_damaged_or_hostile_file_is_explained_and_runs_nothing(
    explorer, name, content, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = explorer.values
    said = explorer.open(name)
    assert said.startswith("✗ ") and words in said and "\n" not in said
    assert explorer.values == before and not (tmp_path / "opened").exists()


def test_a_file_that_breaks_in_an_unforeseen_way_is_explained(explorer, monkeypatch):
    monkeypatch.setattr(sources, "add_weights", lambda *_, **__: 1 / 0)
    assert explorer.open("zero.pth") == (
        "✗ zero.pth cannot be opened (ZeroDivisionError: division by zero).")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "last.ckpt", "A.SAFETENSORS"])
def test_weights_of_other_endings_are_weights(explorer, model, tmp_path, name):
    path = tmp_path / name
    if name == "A.SAFETENSORS":
        save_weights(path, model, norm_pix=True)
    else:
        torch.save(model.state_dict(), path)
    assert explorer.open(path, num_heads=2, decoder_num_heads=2) == f"✓ Opened own {path.stem}."
    explorer.set(weights="original")


def test_opening_weights_draws_once_and_leaves_clicks(model, tmp_path, monkeypatch):
    here = reconstructions.explorer()
    here.set(kind="by hand")
    for name in ("first", "second"):
        save_weights(tmp_path / f"{name}.safetensors", model, norm_pix=True)
    here.open(tmp_path / "first.safetensors")
    here.patches.value = (1, 2)
    drawn, draw = [], here.render
    monkeypatch.setattr(here, "render", lambda **values: drawn.append(values) or draw(**values))
    here.open(tmp_path / "second.safetensors")
    assert here.patches.value == (1, 2) and here.values["weights"] == "own second"
    assert [values["weights"] for values in drawn] == ["own second"]


def test_buttons_over_a_picture_are_made_once_for_each_grid():
    grid = masks.PatchGrid()
    for _ in range(3):
        grid.cover((2, 2), 10, 0, 0)
        first = grid.children
        grid.cover((3, 3), 10, 0, 0)
        assert len(first) == 4 and len(grid.children) == 9
    grid.cover((2, 2), 10, 0, 0)
    assert grid.children == first


def test_photographs_of_one_name_are_all_kept_also_when_the_cell_runs_again(monkeypatch):
    monkeypatch.setattr(your_own_mae, "_arrived", {})
    first = your_own_mae.Uploader(16)
    for content in (saved(halves()), saved(halves(left=BLUE)), saved(halves())):
        first._uploaded({"new": as_in(8, "image.png", content)})
    assert first.images.shape == (2, 3, 16, 16)
    again = your_own_mae.Uploader(16)
    assert torch.equal(again.images, first.images)
    assert again.status.value == "Photographs so far: 2."


def test_a_missing_file_is_explained(explorer):
    assert "There is no file runs/x/model.safetensors" in explorer.open("runs/x/model.safetensors")


# ---------------------------------------------------------------- the official weights


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this machine in place of the official one, and an empty cache."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}/mae_visualize_{{}}.pth"
        monkeypatch.setattr(sources, "ADDRESS", address)
        monkeypatch.setenv("MAE_LIB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sources, "OFFICIAL", {"vit_base": 0.001})
        yield folder
        running.shutdown()


def test_official_weights_are_fetched_once_and_checked(server, model, monkeypatch, capsys):
    torch.save({"model": model.state_dict()}, server / "mae_visualize_vit_base.pth")
    monkeypatch.setattr(sources, "load_official", lambda path, **how: (model, how))
    assert sources.add_weights("vit_base") == "official vit_base"
    assert "mae_visualize_vit_base.pth" in capsys.readouterr().err  # the progress
    assert sources.weights("official vit_base").facts == {"norm_pix": False}
    (server / "mae_visualize_vit_base.pth").unlink()
    path = sources.fetch_official("vit_base")  # from the cache
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="since its download and was deleted: open v"):
        sources.fetch_official("vit_base")
    assert not path.exists()


def test_without_a_network_one_sentence_says_so(explorer, server, monkeypatch):
    monkeypatch.setattr(sources, "download", functools.partial(sources.download, attempts=1))
    said = explorer.open("vit_base")
    assert said.startswith("✗ The official weights could not be downloaded") and "\n" not in said
    assert "this needs the internet" in said


# ---------------------------------------------------------------- masks and clicks


@pytest.mark.parametrize("grid", [(8, 8), (14, 14), (4, 6)])
@pytest.mark.parametrize("kind", masks.KINDS[1:])
def test_masks_hide_as_many_as_the_ratio_says_and_more_of_the_same(kind, grid):
    length, before = grid[0] * grid[1], torch.zeros(1, grid[0] * grid[1])
    for ratio in (0.05, 0.25, 0.5, 0.75, 0.9):
        mask = masks.make_mask(kind, grid, ratio, seed=3)
        assert mask.shape == (1, length) and set(mask.unique().tolist()) <= {0.0, 1.0}
        assert length - int(mask.sum()) == int(length * (1 - ratio))
        assert (mask >= before).all()
        before = mask
    assert torch.equal(mask, masks.make_mask(kind, grid, 0.9, seed=3))
    assert not torch.equal(mask, masks.make_mask(kind, grid, 0.9, seed=4))


def test_the_grid_is_every_second_patch_and_blocks_reach_furthest():
    mask = masks.make_mask("grid", (8, 8), 0.75, seed=0).view(8, 8)
    assert (mask[::2, ::2] == 0).all() and mask.sum() == 48
    far = {kind: torch.stack([masks.distance_to_visible(
        masks.make_mask(kind, (8, 8), 0.75, seed), (8, 8)) for seed in range(10)]).mean().item()
        for kind in masks.KINDS[1:]}
    assert far["grid"] < far["random"] < far["block"]


def test_distances_are_those_of_a_loop():
    mask = masks.make_mask("random", (4, 6), 0.7, seed=1)
    found = masks.distance_to_visible(mask, (4, 6)).view(4, 6)
    seen = (mask.view(4, 6) == 0).nonzero().tolist()
    for row in range(4):
        for column in range(6):
            wanted = min(((row - y) ** 2 + (column - x) ** 2) ** 0.5 for y, x in seen)
            assert found[row, column] == pytest.approx(wanted, abs=1e-4)


def test_a_click_changes_one_patch_and_a_second_click_changes_it_back(explorer):
    explorer.set(kind="by hand", weights="original")
    assert "0 of" in explorer.frame.text and "nothing to measure" in explorer.frame.text
    buttons = explorer.patches.children
    buttons[9].click()
    assert explorer.patches.value == (9,) and ": 1 of" in explorer.frame.text
    buttons[10].click()
    buttons[9].click()
    assert explorer.patches.value == (10,) and ": 1 of" in explorer.frame.text
    assert buttons[10].tooltip and len({b.tooltip for b in buttons}) == len(buttons)
    explorer.set(kind="random")
    assert explorer.patches.value == ()  # another mask: the clicks were about the last one


def test_one_patch_stays_visible():
    for kind in ("by hand", "random"):
        base = masks.make_mask(kind, (2, 2), 0.5, 0)[0]
        rest = tuple(int(i) for i in (base == 0).nonzero())
        assert masks.make_mask(kind, (2, 2), 0.5, 0, rest).sum() == 3
    assert masks.make_mask("by hand", (4, 4), 0.5, 0, tuple(range(16))).sum() == 15


# ---------------------------------------------------------------- the player


def test_a_player_is_a_page_of_its_own_with_every_frame():
    pictures = [np.full((40, 60, 3), 20 * i, np.uint8) for i in range(6)]
    page = frames.player_html(pictures, [f"level {i} </script>" for i in range(6)],
                              list("abcdef"), "level")
    assert page.count("</script>") == 2 and "http" not in page and 'max="5"' in page
    kind, content = frames.sheet_of(pictures, list("abcdef"), quality=90)
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    step_x, step_y = 60 + 2 * frames.GAP, 40 + frames.STRIP + frames.GAP
    assert sheet.shape == (2 * step_y, 4 * step_x, 3) and kind == "image/webp"
    assert near(sheet[frames.STRIP + 20, 3 * step_x + 30], [60] * 3, 6)
    assert near(sheet[step_y + frames.STRIP + 20, 30], [80] * 3, 6)


def test_any_explorer_can_be_played():
    def render(level, red):
        return Frame(np.full((40, 60, 3), level, np.uint8), f"level {level}, {red}")

    explorer = Explorer(render, [{"level": 0}], level=ipywidgets.IntSlider(3, min=0, max=9),
                        red=ipywidgets.Checkbox(True))
    player = frames.Player(explorer, "level", range(10))
    data, metadata = player._repr_mimebundle_()
    assert "level 9, True" in data["text/plain"] and "level 4, True" in data["text/html"]
    (kind,) = metadata
    assert Image.open(io.BytesIO(base64.b64decode(data[kind]))).size[0] > 600
    assert len(metadata[kind]["alt"]) > 30
    assert explorer.values["level"] == 3  # the explorer itself has not moved
