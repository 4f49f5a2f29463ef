"""Tests of saving and loading: round trips, damage, full disks and malicious files."""

import errno
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mae_lib.course.foreign import load_official
from mae_lib.model import MaskedAutoencoder
from mae_lib.training import checkpoints
from mae_lib.training.checkpoints import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    write_atomically,
)

SMALL = dict(
    img_size=16,
    patch_size=4,
    embed_dim=16,
    depth=2,
    num_heads=2,
    decoder_embed_dim=8,
    decoder_depth=1,
    decoder_num_heads=2,
)


def files(folder) -> list[str]:
    return sorted(os.listdir(folder))


# Weights


@pytest.mark.parametrize("class_token", [False, True])
def test_weights_come_back_with_sizes_and_facts(tmp_path, class_token):
    model = MaskedAutoencoder(**SMALL, class_token=class_token)
    facts = {"epochs": 400, "data": "stl10", "losses": [0.5, 0.25], "tuned": None}
    save_weights(tmp_path / "new" / "a.safetensors", model, **facts)
    loaded, loaded_facts = load_weights(tmp_path / "new" / "a.safetensors")
    assert loaded_facts == facts
    assert loaded.config == model.config
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert files(tmp_path / "new") == ["a.safetensors"]


def test_others_may_read_weights_as_they_may_any_file(tmp_path):
    (tmp_path / "plain").touch()
    save_weights(tmp_path / "a.safetensors", MaskedAutoencoder.from_preset("tiny"))
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_weights_load_as_float32(tmp_path):
    model = MaskedAutoencoder(**SMALL).bfloat16()
    save_weights(tmp_path / "a.safetensors", model)
    loaded, _ = load_weights(tmp_path / "a.safetensors")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.mask_token, model.mask_token.float())


def test_missing_weights_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        load_weights(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_weights_are_explained(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    save_weights(path, MaskedAutoencoder(**SMALL))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged or not a safetensors file"):
        load_weights(path)


def test_foreign_files_are_explained(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("<html>404 not found</html>" * 10)
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_weights(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="does not hold weights that mae_lib has written"):
        load_weights(path)


def test_weights_that_do_not_fit_their_sizes_are_explained(tmp_path):
    """As of another version of the package, or another program that writes `config`."""
    path = tmp_path / "a.safetensors"
    metadata = {"mae_lib": json.dumps({"config": SMALL, "facts": {}})}
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        load_weights(path)


# Training states


def test_training_state_comes_back(tmp_path):
    model = MaskedAutoencoder(**SMALL)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "name": "run",
        "history": [{"loss": 0.5}, {"loss": 0.25}],
        "best": None,
    }
    save_checkpoint(tmp_path / "a.pt", state)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert loaded.keys() == state.keys()
    for name in ("epoch", "name", "history", "best"):
        assert loaded[name] == state[name]
    for name, tensor in state["model"].items():
        assert torch.equal(loaded["model"][name], tensor)
    for number, moments in state["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(loaded["optimizer"]["state"][number][name], tensor)


def test_missing_training_state(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("damage", [b"", b"\xffgarbage", "half", "flipped"])
def test_damaged_training_state_is_explained(tmp_path, damage):
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"x": torch.randn(1000)})
    whole = path.read_bytes()
    if damage == "half":
        damage = whole[: len(whole) // 2]
    elif damage == "flipped":  # the first bytes of the zip
        damage = bytes(255 - b for b in whole[:200]) + whole[200:]
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=r"a\.pt is not a readable checkpoint: .* to start over"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match=r"Download or copy it again\.$"):
        load_official(path)  # no run of ours wrote it


@pytest.mark.parametrize("load", [load_checkpoint, load_official])
@pytest.mark.parametrize("content, message", [
    (b"<!DOCTYPE html><html>", "it is text that begins with '<!DOCTYPE html>"),
    (b"version https://git-lfs.github.com/spec/v1", "text that begins with 'version https://'"),
    (Path("x"), r"holds more than tensors and plain values \(pathlib\S*\), and mae_lib runs no"),
    (torch.nn.Linear(2, 2), r"\(torch.nn.modules.linear.Linear\).* state_dict\(\) alone"),
])
def test_a_file_of_another_kind_gets_advice_that_fits(tmp_path, load, content, message):
    if isinstance(content, bytes):
        (tmp_path / "a.pt").write_bytes(content)
    else:
        torch.save({"model": content}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path / "a.pt")
    assert "start over" not in str(error.value) and "\n" not in str(error.value)


def test_full_memory_is_not_called_damage(tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(MemoryError):
        load_checkpoint(tmp_path / "a.pt")


def test_shipped_weights_are_checked(tmp_path, monkeypatch):
    path = tmp_path / "original.safetensors"
    save_weights(path, MaskedAutoencoder(**SMALL), epochs=3)
    (tmp_path / "weights.json").write_text(
        json.dumps({"original": {"checksum": checkpoints.checksum(path)}}))
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    assert checkpoints.load_shipped()[1] == {"epochs": 3}
    with pytest.raises(ValueError, match="name must be one of original, got 'x'"):
        checkpoints.load_shipped("x")
    save_weights(path, MaskedAutoencoder(**SMALL), epochs=4)  # whole, but not what was shipped
    with pytest.raises(ValueError, match=r"original\.safetensors is missing or damaged: install"):
        checkpoints.load_shipped()
    path.unlink()
    with pytest.raises(ValueError, match="is missing or damaged"):
        checkpoints.load_shipped()


def test_a_folder_in_place_of_a_file_is_not_called_damaged(tmp_path):
    with pytest.raises(OSError, match=r"directory|Permission"):
        load_checkpoint(tmp_path)


def test_something_else_than_a_training_state_is_explained(tmp_path):
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds a list, not a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


class Malice:
    """Unpickling this makes a folder: it stands for any code."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("load", [load_checkpoint, load_official, load_weights])
@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_code_in_a_file_does_not_run(tmp_path, load, write):
    path, crime = tmp_path / "a.pt", tmp_path / "crime"
    if write == "torch":
        torch.save({"model": Malice(crime)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Malice(crime)}, protocol=2))
    with pytest.raises(ValueError, match=r"a\.pt is (not a readable checkpoint|damaged)"):
        load(path)
    assert not crime.exists()
    if write == "torch":  # the file does work where code is allowed
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert crime.exists()


def test_nothing_in_the_package_unpickles():
    """Data sets do: torchvision reads CIFAR-10's own pickles, whose checksums it knows."""
    calls = re.compile(r"\bpickle\b|\b(?:torch|np|numpy|joblib|dill)\.load\(.*")
    found = [line for path in sorted(Path(checkpoints.__file__).parents[1].rglob("*.py"))
             for line in calls.findall(path.read_text("utf-8"))]
    assert found and all("weights_only=True" in line for line in found), found


# Atomic writing


def writers():
    model = MaskedAutoencoder(**SMALL)
    return {
        "checkpoint": lambda path: save_checkpoint(path, {"model": model.state_dict()}),
        "weights": lambda path: save_weights(path, model, epochs=1),
        "text": lambda path: write_atomically(path, lambda temporary: temporary.write_text("new")),
    }


def test_write_atomically_replaces_the_content_and_makes_folders(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    for text in ("first, longer", "second"):
        write_atomically(path, lambda temporary, text=text: temporary.write_text(text))
        assert path.read_text() == text
    assert files(path.parent) == ["a.txt"]


def test_the_file_is_whole_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(temporary):
        assert temporary.parent == path.parent  # on the same disk, so that the rename is one step
        temporary.write_text("half")
        assert path.read_text() == "old"
        temporary.write_text("new")

    write_atomically(path, write)
    assert path.read_text() == "new"


FULL_DISK = """
import os, sys
from pathlib import Path
import torch
from mae_lib.training.checkpoints import save_checkpoint, save_weights, write_atomically
from mae_lib.model import MaskedAutoencoder

path = Path(sys.argv[1], "a.bin")
model = MaskedAutoencoder.from_preset("tiny")
for write in (
    lambda: save_checkpoint(path, model.state_dict()),
    lambda: save_weights(path, model),
    lambda: write_atomically(path, lambda temporary: temporary.write_bytes(bytes(10**6))),
):
    path.write_text("old")
    try:
        write()
    except OSError as error:
        print(error.errno, "disk is full" in str(error), path.read_text(), os.listdir(path.parent))
"""


def test_a_really_full_disk_leaves_the_old_file(tmp_path):
    """A disk of 256 KiB, mounted in a namespace of its own where the system allows it."""
    mount = 'mount -t tmpfs -o size=256k none "$1" && touch "$1.mounted" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        result = subprocess.run(
            [*command, str(disk), sys.executable, FULL_DISK], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if not (tmp_path / "disk.mounted").exists():
        pytest.skip(f"no disk can be mounted here: {result.stderr.strip()}")
    expected = f"{errno.ENOSPC} True old ['a.bin']\n"
    assert result.stdout == 3 * expected, result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("kind", ["checkpoint", "text"])
def test_a_device_that_takes_nothing_leaves_the_old_file(tmp_path, kind, monkeypatch):
    """The temporary file leads to /dev/full, where every write fails."""
    path = tmp_path / "a.bin"
    path.write_text("old")

    def random_part_of_its_name(count):
        (tmp_path / ".a.bin.00000000.tmp").symlink_to("/dev/full")
        return bytes(count)

    monkeypatch.setattr(checkpoints.os, "urandom", random_part_of_its_name)
    with pytest.raises(OSError, match=r"full: a\.bin could not be .* free some space") as error:
        writers()[kind](path)
    assert error.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert files(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_explained(tmp_path, code):
    path = tmp_path / "a.bin"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half of it")
        raise OSError(code, os.strerror(code))

    with pytest.raises(OSError, match="disk is full"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["a.bin"]


def test_a_disk_that_fills_up_when_flushed_leaves_the_old_file(tmp_path, monkeypatch):
    """Network disks report it only then."""
    path = tmp_path / "a.bin"
    path.write_text("old")

    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", fsync)
    with pytest.raises(OSError, match="disk is full"):
        writers()["text"](path)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError("other"), KeyboardInterrupt(), TypeError("no"),
                                   PermissionError(errno.EACCES, "Permission denied")],
                         ids=lambda e: type(e).__name__)
def test_interrupts_and_errors_leave_no_temporary_file(tmp_path, error):
    """As when the stop button of a notebook is pressed during a save."""

    def write(temporary):
        temporary.write_text("half of it")
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(tmp_path / "a.bin", write)
    assert caught.value is error
    assert files(tmp_path) == []


def test_a_checkpoint_replaces_what_a_killed_process_had_begun_to_write(tmp_path):
    for name in (".a.pt.0123abcd.tmp", ".b.pt.0123abcd.tmp"):
        (tmp_path / name).touch()
    save_checkpoint(tmp_path / "a.pt", {"epoch": 1})
    assert files(tmp_path) == [".b.pt.0123abcd.tmp", "a.pt"]  # another one may be in the making
