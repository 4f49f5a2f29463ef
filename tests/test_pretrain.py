"""The training loop: what it computes, that it resumes exactly, and how it stops."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mae_lib import losses
from mae_lib import pretrain as P
from mae_lib.config import FineTuneConfig
from mae_lib.data.augment import normalise
from mae_lib.runtime import hardware
from mae_lib.training import history
from mae_lib.training import step as S
from mae_lib.training.checkpoints import load_weights

CPU = torch.device("cpu")
TINY = P.PretrainConfig(
    preset="tiny", img_size=16, patch_size=4, epochs=3, batch_size=8, lr=1e-3, warmup_epochs=1,
    mask_ratio_warmup_epochs=2, precision="fp32", **P.variant_settings("improved"),
)


def pictures(n=20, side=20, seed=0):
    """Smooth random uint8 images (n, 3, side, side)."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return (255 * torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)).byte()


def train(cfg=TINY, out=None, images=None):
    images = pictures() if images is None else images
    return P.pretrain(images, pictures(8, seed=1), cfg, out, CPU, progress=False)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---------------------------------------------------------------- what is computed


def test_it_learns_and_repeats():
    cfg = replace(TINY, epochs=30, lr=3e-3)
    first, again = train(cfg), train(cfg)
    epochs = first.history.epochs()
    assert epochs[-1]["val_loss"] < 0.8 * epochs[0]["val_loss"]
    assert same(first.model, again.model)
    assert not same(first.model, train(replace(cfg, seed=1)).model)


def test_the_curriculum_changes_how_much_the_encoder_sees(monkeypatch):
    seen, forward = [], S.MaskedAutoencoder.forward

    def spy(self, images, *args, **kwargs):
        if self.training:
            seen.append(kwargs["num_visible"])
        return forward(self, images, *args, **kwargs)

    monkeypatch.setattr(S.MaskedAutoencoder, "forward", spy)
    run = train()
    ratios = [r["mask_ratio"] for r in run.history.records if r["kind"] == "step"]
    assert seen == [int(16 * (1 - ratio)) for ratio in ratios]
    assert seen[0] == 8 and seen[-1] == 4 and sorted(seen, reverse=True) == seen


def test_validation_is_the_same_for_every_seed_variant_and_epoch(monkeypatch):
    """Fixed masks at 0.75: the noise and ratio that validation uses never change."""
    used, forward = [], S.MaskedAutoencoder.forward

    def spy(self, images, *args, **kwargs):
        if not self.training:
            used.append((args, kwargs["noise"].clone()))
        return forward(self, images, *args, **kwargs)

    monkeypatch.setattr(S.MaskedAutoencoder, "forward", spy)
    train()
    train(replace(TINY, seed=3, mask_ratio_sched="const"))
    assert len(used) == 6
    assert all(args == (0.75,) and torch.equal(noise, used[0][1]) for args, noise in used)


def test_validation_sees_images_from_all_over_the_set(monkeypatch):
    """They may be sorted by class; the first ones would be of a single class."""
    monkeypatch.setattr(P, "VALIDATION_IMAGES", 4)
    seen, validate = [], P.validate
    monkeypatch.setattr(P, "validate", lambda model, images, *rest: (
        seen.append(images), validate(model, images, *rest))[1])
    train()
    assert all(torch.equal(images, pictures(8, seed=1)[::2]) for images in seen) and seen


def test_validation_loss_is_the_mean_over_images():
    model, images = TINY.build_model(), pictures(70, 16)
    cast = hardware.autocast(CPU, "fp32")
    found = P.validate(model, images, TINY, cast)
    noise = torch.rand(70, 16, generator=hardware.generator(hardware.RNG.VALIDATION))
    x = normalise(images)
    output = model(x, 0.75, noise=noise)  # in one batch, where validate uses two
    assert found["val_loss"] == pytest.approx(
        losses.mae_loss(output.pred, x, output.mask, 4, True).item(), rel=1e-5
    )
    z = torch.nn.functional.normalize(model.features(x), dim=1).detach().double()
    kernel = [float((-2 * (a - b).square().sum()).exp())
              for i, a in enumerate(z) for j, b in enumerate(z) if i != j]
    assert found["uniformity"] == pytest.approx(np.log(np.mean(kernel)), rel=1e-4)


def test_history_has_every_step_and_epoch(tmp_path):
    run = train(out=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines == run.history.records
    steps = [r for r in lines if r["kind"] == "step"]
    assert [r["step"] for r in steps] == list(range(1, 10))  # 3 epochs of ⌈20 / 8⌉ steps
    assert {"lr", "mask_ratio", "loss", "mae", "freq", "unif"} <= steps[0].keys()
    epochs = [r for r in lines if r["kind"] == "epoch"]
    assert [r["epoch"] for r in epochs] == [1, 2, 3]
    assert epochs[0]["loss"] == pytest.approx(np.mean([r["loss"] for r in steps[:3]]))
    model, facts = load_weights(tmp_path / "model.safetensors")
    assert same(model, run.model) and facts["lambda_freq"] == 0.05


def test_an_epoch_may_be_more_than_one_pass():
    run = train(replace(TINY, images_per_epoch=5 * TINY.batch_size - 1))
    assert [r["step"] for r in run.history.epochs()] == [5, 10, 15]


# ---------------------------------------------------------------- interruptions


def test_resuming_in_the_middle_of_an_epoch_changes_nothing(tmp_path, monkeypatch):
    whole = train()
    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(P, "LOG_SECONDS", 0)
    do_step = S.TrainStep.__call__

    def broken(self, images, step, *rest):
        if step == 4:
            raise KeyboardInterrupt
        return do_step(self, images, step, *rest)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(S.TrainStep, "__call__", broken)
        train(out=tmp_path)
    resumed = train(out=tmp_path)
    assert same(whole.model, resumed.model)

    def losses_of(run):
        return [(r["step"], r["loss"]) for r in run.history.records]

    assert losses_of(whole) == losses_of(resumed)


KILLED = """
import sys, torch
torch.set_num_threads(1)
from mae_lib import pretrain as P
from mae_lib.training import step as S
sys.path.insert(0, sys.argv[2])
from test_pretrain import TINY, pictures, CPU, replace
P.CHECKPOINT_SECONDS = P.LOG_SECONDS = 0
cfg = replace(TINY, epochs=10)
P.pretrain(pictures(), pictures(8, seed=1), cfg, sys.argv[1], CPU, progress=False)
"""


def test_sigkill_at_any_moment_ends_with_the_same_weights(tmp_path):
    """Kill the process again and again, at moments that fall into every part of the loop."""

    def start(folder):
        here = str(P.Path(__file__).parent)
        return subprocess.Popen([sys.executable, "-c", KILLED, str(folder), here])

    assert start(tmp_path / "whole").wait() == 0
    killed = tmp_path / "killed"
    log = killed / "history.jsonl"
    kills = 0
    for k in range(4):
        process = start(killed)
        before = log.read_text() if log.exists() else ""
        while process.poll() is None and (not log.exists() or log.read_text() == before):
            time.sleep(0.001)
        time.sleep(0.003 * k)  # a little later each time
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 3
    assert start(killed).wait() == 0
    one, two = (load_weights(tmp_path / f / "model.safetensors")[0] for f in ("whole", "killed"))
    assert same(one, two)


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "h").write_text('{"kind": "step", "step": 1}\n{"kind": "st')
    assert P.History(tmp_path / "h", 5).records == [{"kind": "step", "step": 1}]


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = train(out=tmp_path)
    monkeypatch.setattr(S.TrainStep, "__call__", None)  # calling it would fail
    assert same(first.model, train(out=tmp_path).model)



def test_a_folder_with_another_run_is_refused(tmp_path):
    train(replace(TINY, epochs=2), out=tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(epochs 2 → 3, lr 0.001 → 0.01\)"):
        train(replace(TINY, lr=0.01), out=tmp_path)


def test_a_folder_with_a_run_on_other_images_is_refused(tmp_path):
    train(replace(TINY, epochs=2), out=tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(images 20 .* → 30 .*\)"):
        train(replace(TINY, epochs=2), tmp_path, pictures(30))
    others = pictures(20).flip(3)
    others[-1, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match=r"other settings \(images 20 .* → 20 .*\)"):
        train(replace(TINY, epochs=2), tmp_path, others)


def test_every_epoch_is_validated_even_if_killed_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(P, "LOG_SECONDS", 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(P, "validate", killed)
        train(out=tmp_path)
    assert [r["epoch"] for r in train(out=tmp_path).history.epochs()] == [1, 2, 3]


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt is not a readable checkpoint"):
        train(out=tmp_path)


def after(calls, error, do=lambda *_, **__: None):
    """A stand-in for `do` that raises `error` from call number `calls` on."""
    count = iter(range(calls))

    def stand_in(*args, **kwargs):
        if next(count, None) is None:
            raise error
        return do(*args, **kwargs)

    return stand_in


FULL_DISK = OSError(errno.ENOSPC, "No space left on device")
FULL_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("where, name, error, kind, words", [
    (torch, "save", FULL_DISK, OSError, "The disk is full: checkpoint.pt could not be written"),
    (history, "open", FULL_DISK, OSError, "The disk is full: history.jsonl could not be written"),
    (S.TrainStep, "compute", FULL_GPU, MemoryError, "not enough memory: lower batch_size"),
])
def test_a_full_disk_or_memory_is_explained_and_loses_nothing(
    tmp_path, monkeypatch, where, name, error, kind, words
):
    whole = train()
    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(P, "LOG_SECONDS", 0)
    with monkeypatch.context() as m, pytest.raises(kind, match=words) as stopped:
        real = getattr(where, name, open)
        m.setattr(where, name, after(5, error, real), raising=False)
        train(out=tmp_path)
    assert str(stopped.value).count(". ") == 0 and stopped.value.__suppress_context__ == (
        kind is OSError)
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))
    assert P.load_checkpoint(tmp_path / "checkpoint.pt")["step"] >= 4
    resumed = train(out=tmp_path)
    assert same(whole.model, resumed.model)
    assert [r["loss"] for r in resumed.history.records] == [
        r["loss"] for r in whole.history.records]


# ---------------------------------------------------------------- clear stops


def test_weights_that_explode_in_the_last_update_end_in_the_same_sentence():
    with pytest.raises(P.NonFiniteLoss, match=r"became nan.* Try a lower learning rate"):
        train(replace(TINY, epochs=1, warmup_epochs=0, lr=1e30), images=pictures(8))


def test_a_ramp_that_will_leave_nothing_visible_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(P, "fastest_step", None)  # not even begun
    with pytest.raises(ValueError, match="leaves none of 16 patches visible"):
        train(replace(TINY, mask_ratio=0.99))


@pytest.mark.parametrize(
    "term, name", [("freq", "Laplacian"), ("unif", "uniformity"), ("mae", "reconstruction")]
)
def test_a_non_finite_loss_names_step_and_term(monkeypatch, term, name):
    total = losses.total_loss
    calls = []

    def poisoned(*args):
        calls.append(1)
        terms = dict(total(*args))
        if len(calls) == 5:
            terms[term] = terms[term] * float("nan")
            terms["loss"] = terms["loss"] * float("nan")
        return terms

    monkeypatch.setattr(S, "total_loss", poisoned)
    with pytest.raises(P.NonFiniteLoss, match=f"The {name} loss became nan at step 5;"):
        train()


def test_weights_after_a_non_finite_loss_are_never_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(P.NonFiniteLoss):
        train(replace(TINY, lr=1e30, epochs=20), out=tmp_path)
    if (tmp_path / "checkpoint.pt").exists():
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert all(torch.isfinite(t).all() for t in state["model"].values())


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(epochs=0), "epochs must be at least 1, got 0"),
        (dict(epochs=1.5), "epochs must be a whole number, got 1.5"),
        (dict(batch_size=True), "batch_size must be a whole number, got True"),
        (dict(lr=-1.0), "lr must be above 0, got -1.0"),
        (dict(lr=float("nan")), "lr must be finite and above 0, got nan"),
        (dict(lr="fast"), "lr must be a number, got 'fast'"),
        (dict(weight_decay=float("inf")), "weight_decay must be finite and at least 0, got inf"),
        (dict(warmup_epochs=3.0), r"warmup_epochs must be below epochs \(3\), got 3"),
        (dict(warmup_epochs=-1.0), "warmup_epochs must be at least 0"),
        (dict(crop_scale=0.0), "crop_scale must be above 0 and at most 1, got 0.0"),
        (dict(crop_scale=1.5), "crop_scale must be above 0 and at most 1, got 1.5"),
        (dict(mask_ratio=1.0), "mask_ratio must be at least 0 and below 1"),
        (dict(mask_ratio=0.95), r"leaves none of 16 patches visible"),
        (dict(mask_ratio_start=-0.1), "mask_ratio_start must be at least 0 and below 1"),
        (dict(mask_ratio_holds=0), "mask_ratio_holds must be at least 1"),
        (dict(lambda_freq=-5.0), "lambda_freq must be at least 0, got -5.0"),
        (dict(lambda_unif=-0.1), "lambda_unif must be at least 0"),
        (dict(unif_t=0.0), "unif_t must be above 0"),
        (dict(target_blur=-1.0), "target_blur must be at least 0"),
        (dict(seed=-1), "seed must be at least 0"),
        (dict(norm_pix="yes"), "norm_pix must be True or False, got 'yes'"),
        (dict(patch_size=2, freq_form="energy"), "patch_size must be at least 3, got 2"),
        (dict(patch_size=3), "img_size 16 is not a multiple of patch_size 3"),
        (dict(accumulate=3, lambda_unif=0.0), "cannot be cut into 3 equal parts"),
        (dict(accumulate=2), "cannot be accumulated in parts"),
        (dict(mask_ratio_sched="linaer"), "mask_ratio_sched must be one of const, linear, cosine"),
        (dict(batch_size=1), "batch_size must be at least 2"),
        (dict(batch_size=64), "20 images do not fill one batch of 64"),
        (dict(preset="tinny"), "Did you mean 'tiny'"),
        (dict(precision="fp8"), "precision must be one of auto, fp32, bf16, fp16, got 'fp8'"),
    ],
)
def test_bad_settings_get_one_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        train(replace(TINY, **change))


@pytest.mark.parametrize("change, message", [
    (dict(epochs=0), "epochs must be at least 1"),
    (dict(lr=0.0), "lr must be above 0"),
    (dict(warmup_epochs=50.0), r"warmup_epochs must be below epochs \(50\)"),
    (dict(layer_decay=1.5), "layer_decay must be above 0 and at most 1, got 1.5"),
    (dict(label_smoothing=1.0), "label_smoothing must be at least 0 and below 1"),
    (dict(crop_scale=-0.5), "crop_scale must be above 0 and at most 1"),
])
def test_bad_settings_of_fine_tuning_get_one_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        FineTuneConfig(**change).check()


@pytest.mark.parametrize("images, message", [
    (np.zeros((20, 3, 20, 20), np.uint8), "images must be a torch tensor, got ndarray"),
    ([torch.zeros(3, 20, 20)], "images must be a torch tensor, got list"),
    (torch.rand(20, 3, 20, 20), "images must be uint8 images of shape .*, got torch.float32"),
    (pictures().permute(0, 2, 3, 1), r"got torch.uint8 of shape \(20, 20, 20, 3\)"),
    (pictures()[:, :1], r"of shape \(20, 1, 20, 20\)"),
    (pictures()[:0], r"of shape \(0, 3, 20, 20\)"),
])
def test_what_are_no_images_is_named(images, message):
    with pytest.raises(ValueError, match=message):
        train(images=images)
    with pytest.raises(ValueError, match="validation_images must be"):
        P.pretrain(pictures(), images, TINY, None, CPU, progress=False)


def test_a_batch_in_parts_trains_what_a_whole_one_does():
    """The mean over equal parts is the mean over the batch.

    Not quite so for the Laplacian loss, whose number of inner pixels differs from part to part.
    """
    cfg = replace(TINY, lambda_unif=0.0, lambda_freq=0.0, epochs=2)
    whole, parts = train(cfg), train(replace(cfg, accumulate=4))
    for a, b in zip(whole.history.records, parts.history.records, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=5e-4)


def test_training_can_start_from_given_weights(tmp_path):
    first = train(out=tmp_path / "first")
    weights = tmp_path / "first" / "model.safetensors"
    still = replace(TINY, epochs=1, warmup_epochs=0, lr=1e-12, seed=5)

    def go_on(out, cfg=still):
        return P.pretrain(pictures(), pictures(8, seed=1), cfg, out, CPU, progress=False,
                          start=weights)

    found = go_on(tmp_path / "second").model
    for a, b in zip(first.model.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=r"other settings .*starting from weights"):
        P.pretrain(pictures(), pictures(8, seed=1), still, tmp_path / "second", CPU, progress=False)
    with pytest.raises(ValueError, match=r"have other sizes .*patch_size 4, not 8"):
        go_on(None, replace(still, patch_size=8))
    with pytest.raises(FileNotFoundError, match="There are no weights at"):
        P.pretrain(pictures(), pictures(8), still, None, CPU, progress=False,
                   start=tmp_path / "nothing")


def test_a_file_that_is_no_training_run_is_named(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint.pt does not hold a training run"):
        train(out=tmp_path)


def test_more_epochs_for_a_finished_run_are_refused_with_the_way_to_go_on(tmp_path):
    train(out=tmp_path)
    with pytest.raises(ValueError, match=r"epochs 3 → 4.*from them \(--start FILE\)"):
        train(replace(TINY, epochs=4), out=tmp_path)


def test_the_time_of_a_resumed_run_is_that_of_both_parts(tmp_path, monkeypatch):
    """Seconds and images/s of a record count the training before an interruption too."""
    whole = train(out=tmp_path)
    again = train(out=tmp_path)  # nothing left to do
    assert again.seconds == whole.seconds > 0
    assert again.images_per_second == pytest.approx(whole.images_per_second)
    assert again.seconds == again.history.epochs()[-1]["seconds"]


def test_variants():
    assert P.variant_settings("original") == {}
    assert P.variant_settings("improved") == {
        "mask_ratio_sched": "linear", "lambda_freq": 0.05, "lambda_unif": 0.01,
    }
    assert P.variant_settings("laplacian+curriculum") == {
        "mask_ratio_sched": "linear", "lambda_freq": 0.05,
    }
    with pytest.raises(ValueError, match="Unknown variant 'laplace'"):
        P.variant_settings("laplace")


def test_a_variant_may_name_settings_too():
    found = P.variant_settings("improved+lambda_unif=0.1+norm_pix=no+decoder_depth=2")
    assert found["lambda_unif"] == 0.1 and found["lambda_freq"] == 0.05
    assert found["norm_pix"] is False and found["decoder_depth"] == 2
    base = {"lambda_freq": 0.2, "lr": 1e-3}
    assert P.variant_settings("laplacian+lr=0.002", base) == {"lambda_freq": 0.2, "lr": 0.002}
    assert P.variant_settings("laplacian+equal-compute")["equal_compute"] is True
    for wrong in ("lr=fast", "norm_pix=maybe", "epochs=1.5"):
        with pytest.raises(ValueError, match=f"'{wrong.split('=')[1]}' is no value for"):
            P.variant_settings(wrong)


@pytest.mark.parametrize("change, words", [
    ({"freq_form": "l2"}, "freq_form must be one of composite, raw, energy, got 'l2'"),
    ({"target_blur": -1.0}, "target_blur must be at least 0"),
])
def test_settings_of_the_experiments_are_checked(change, words):
    with pytest.raises(ValueError, match=words):
        P.PretrainConfig(**change).check()


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "mae_lib.pretrain", *words], capture_output=True, text=True
    )


def test_help_lists_every_setting_with_its_default():
    text = command("--help").stdout
    for name in P.PretrainConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in text
    assert "peak learning rate (default: 0.00015)" in text
    assert max(map(len, text.splitlines())) <= 100


def photographs(folder, count=40, side=20):
    folder.mkdir(parents=True)
    for i, image in enumerate(pictures(count, side).permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{i:02}.png")


SHORT = ("--preset", "tiny", "--epochs", "2", "--warmup-epochs", "0", "--batch-size", "8",
         "--precision", "fp32", "--device", "cpu")


@pytest.mark.parametrize("layout", ["unlabeled", "plain", "one fake class", "no unlabeled"])
def test_photographs_without_labels_are_enough(tmp_path, layout, monkeypatch, capsys):
    """And no image that validates is trained on."""
    root, used = tmp_path / "photos", []
    photographs({"plain": root, "no unlabeled": root / "train/x"}.get(layout, root / "unlabeled"))
    if layout in ("one fake class", "no unlabeled"):
        photographs(root / "test/x", 1)
        photographs(root / "train/x", 1) if layout == "one fake class" else None
    monkeypatch.setattr(P, "pretrain", lambda images, validation, *rest, real=P.pretrain, **named: (
        used.extend([images, validation]), real(images, validation, *rest, **named))[1])
    monkeypatch.setattr(sys, "argv", ["pretrain", "--data", f"imagefolder:{root}", "--size", "16",
                                      *SHORT, "--out", str(tmp_path / "run")])
    monkeypatch.setenv("MAE_LIB_CACHE", str(tmp_path / "cache"))
    P.main()
    assert "4 of 40 images are held out to validate pretraining" in capsys.readouterr().out
    trained, held = ({image.numpy().tobytes() for image in part} for part in used)
    assert len(trained) == 36 and len(held) == 4 and not trained & held
    assert (tmp_path / "run/model.safetensors").exists()


@pytest.mark.parametrize("module", ["compare", "evidence.experiments"])
def test_commands_that_need_labels_refuse_such_a_folder_at_once(tmp_path, module):
    photographs(tmp_path / "photos", 4)
    found = subprocess.run(
        [sys.executable, "-m", f"mae_lib.{module}", "--data", f"imagefolder:{tmp_path / 'photos'}",
         "--out", str(tmp_path / "run"), "--device", "cpu"], capture_output=True, text=True,
        env=os.environ | {"MAE_LIB_CACHE": str(tmp_path / "cache")})
    assert found.returncode == 1 and not (tmp_path / "cache").exists()
    assert len(found.stderr.splitlines()) == 1 and "PATH/train/CLASS/" in found.stderr
    assert "only pretraining can do without" in found.stderr


@pytest.mark.parametrize("data, given, cfg, size", [
    ("imagefolder:x", None, dict(preset="specified"), 224),
    ("imagefolder:x", None, dict(preset="tiny"), 96),
    ("imagefolder:x", None, dict(preset="tiny", img_size=192), 192),
    ("imagefolder:x", 64, dict(preset="specified"), 64),
    ("scenes", None, dict(preset="specified"), None),
    ("stl10", None, dict(preset="specified"), None),
])
def test_photographs_are_stored_at_the_size_of_the_input(monkeypatch, data, given, cfg, size):
    monkeypatch.setattr(P, "load_data", lambda name, **options: options["size"])
    arguments = SimpleNamespace(data=data, size=given, limit=None, strict=False)
    assert P.data_from(arguments, img_size=P.input_size(P.PretrainConfig(**cfg))) == size
    assert P.data_from(arguments) == (given or (96 if data == "imagefolder:x" else None))


@pytest.mark.parametrize("module, words, size", [
    ("pretrain", ("--preset", "specified"), 224), ("pretrain", ("--preset", "tiny"), 96),
    ("compare", ("--preset", "specified", "--img-size", "160", "--patch-size", "16"), 160),
])
def test_the_commands_say_so_to_the_data(monkeypatch, module, words, size):
    asked = []

    def load_data(name, **options):
        asked.append(options["size"])
        raise KeyboardInterrupt

    monkeypatch.setattr(P, "load_data", load_data)
    monkeypatch.setattr(sys, "argv", [module, "--data", "imagefolder:x", "--device", "cpu", *words])
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(f"mae_lib.{module}").main()
    assert asked == [size]


def test_one_image_to_validate_on_is_refused_at_the_start():
    with pytest.raises(ValueError, match="validation_images must be at least 2"):
        P.pretrain(pictures(), pictures(1), TINY, None, CPU, progress=False)


@pytest.mark.parametrize("words, said", [
    (("--data", "imagefolder:nowhere"), "error: There is no folder"),
    (("--device", "cuda"), "error: No CUDA GPU is available here as 'cuda': choose --device cpu"),
])
def test_errors_on_the_command_line_are_one_sentence(monkeypatch, words, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = command("--preset", "tiny", *words)
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert found.stderr.startswith(said) and len(found.stderr.splitlines()) == 1
