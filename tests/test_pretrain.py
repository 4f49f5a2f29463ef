"""The training loop: what it computes, that it resumes exactly, and how it stops."""

import errno
import functools
import importlib
import itertools
import json
import math
import multiprocessing
import runpy
import signal
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
from mae_lib.config import RECIPES, FineTuneConfig
from mae_lib.data.augment import crop, denormalise, random_crops, resize
from mae_lib.masking import training_mask_ratio
from mae_lib.patches import patch_mask_to_pixels, patchify
from mae_lib.runtime import cli, hardware, workers
from mae_lib.training import history
from mae_lib.training import step as S
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)

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


@functools.cache
def whole_run():
    """What an uninterrupted run of TINY gives."""
    return train()


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---------------------------------------------------------------- what is computed


def trained_by_a_plain_loop(images, cfg):
    """What pretraining is, written out for 3 steps an epoch: He et al. 2022, table 8."""
    model, length = cfg.build_model(), 16
    matrices = [p for p in model.parameters() if p.ndim > 1 and p is not model.mask_token]
    others = [p for p in model.parameters() if p.ndim < 2 or p is model.mask_token]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": cfg.weight_decay},
                                   {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.95))
    for step in range(3 * cfg.epochs):
        epoch = step / 3
        if epoch < cfg.warmup_epochs:
            lr = cfg.lr * epoch / cfg.warmup_epochs
        else:
            rest = (epoch - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
            lr = cfg.lr * (1 + np.cos(np.pi * rest)) / 2
        progress = min(epoch / cfg.mask_ratio_warmup_epochs, 1)  # with as many holds as steps
        ratio = cfg.mask_ratio_start + (cfg.mask_ratio - cfg.mask_ratio_start) * progress
        generator = hardware.generator(cfg.seed, hardware.RNG.CROP_AND_MASK, step)
        crops = random_crops(cfg.batch_size, 20, 20, (cfg.crop_scale, 1.0), generator)
        noise = torch.rand(cfg.batch_size, length, generator=generator)
        ids = batch_indices(len(images), cfg.batch_size, step, cfg.seed)
        x = crop(images[ids], 16, crops)
        output = model(x, ratio, noise=noise)
        picture = losses.predicted_images(output.pred, x, 4, cfg.norm_pix)
        mask = patch_mask_to_pixels(output.mask, 4)
        loss = losses.mae_loss(output.pred, x, output.mask, 4, cfg.norm_pix)
        loss = loss + cfg.lambda_freq * losses.laplacian_loss_masked(picture, x, mask)
        loss = loss + cfg.lambda_unif * losses.uniformity_loss(output.latent, t=cfg.unif_t)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def test_pretraining_is_its_recipe():
    """No setting has its default here, so that none can be left out."""
    cfg = replace(TINY, epochs=4, batch_size=7, lr=3e-3, warmup_epochs=0.5, weight_decay=0.4,
                  crop_scale=0.7, mask_ratio=0.6, mask_ratio_start=0.3, mask_ratio_holds=3,
                  mask_ratio_warmup_epochs=3, norm_pix=False, lambda_freq=0.3, lambda_unif=0.2,
                  unif_t=3.0, seed=5)
    found, expected = train(cfg).model, trained_by_a_plain_loop(pictures(), cfg)
    x, noise = resize(pictures(8, seed=1), 16), torch.rand(8, 16)
    with torch.no_grad():  # what they say: biases of keys, which change nothing, are rounding noise
        for a, b in zip(found(x, noise=noise), expected(x, noise=noise), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_it_learns_and_repeats():
    run = train(replace(TINY, epochs=12, lr=5e-3))
    epochs = run.history.epochs()
    assert epochs[-1]["val_loss"] < 0.8 * epochs[0]["val_loss"]
    assert not run.model.training
    once = replace(TINY, epochs=1, warmup_epochs=0)
    first, again, other = train(once), train(once), train(replace(once, seed=1))
    assert same(first.model, again.model) and not same(first.model, other.model)


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


@pytest.mark.parametrize("norm_pix", [True, False])
def test_validation_is_the_mean_over_images(norm_pix):
    """Each of 70, although they come in two batches; the mask ratio is 0.75 whatever trains."""
    model, images = TINY.build_model(), pictures(70, 20)
    cfg = replace(TINY, norm_pix=norm_pix, mask_ratio=0.3, precision="fp32")
    found = P.validate(model, images, cfg)
    noise = torch.rand(70, 16, generator=hardware.generator(hardware.RNG.VALIDATION))
    x = resize(images, 16)
    with torch.no_grad():
        output, features = model(x, 0.75, noise=noise), model.features(x).double()
    assert found["val_loss"] == pytest.approx(
        losses.mae_loss(output.pred, x, output.mask, 4, norm_pix).item(), rel=1e-5)
    picture = losses.predicted_images(output.pred, x, 4, norm_pix)
    error = patchify(denormalise(picture).clamp(0, 1) - denormalise(x), 4).square().mean(dim=2)
    mse = (error * output.mask).sum(dim=1) / output.mask.sum(dim=1)
    assert found["val_psnr"] == pytest.approx(-10 * mse.log10().mean().item(), abs=1e-3)
    singular = np.linalg.svd((features - features.mean(0)).numpy(), compute_uv=False)
    share = singular / singular.sum()
    assert found["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), 1e-4)
    z = torch.nn.functional.normalize(features, dim=1)
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
    for epoch, last in enumerate(epochs):
        own = steps[3 * epoch : 3 * epoch + 3]  # of this epoch alone
        assert last["loss"] == pytest.approx(np.mean([r["loss"] for r in own]))
        assert all(last[name] == own[-1][name] for name in ("step", "lr", "mask_ratio"))
    model, facts = load_weights(tmp_path / "model.safetensors")
    assert same(model, run.model) and facts.items() >= vars(TINY).items()
    assert facts["label"] == "Original" and (
        facts["images"] == P.describe_images(pictures(), pictures(8, seed=1)))


def test_an_epoch_may_be_more_than_one_pass():
    run = train(replace(TINY, images_per_epoch=5 * TINY.batch_size - 1))
    assert [r["step"] for r in run.history.epochs()] == [5, 10, 15]


# ---------------------------------------------------------------- interruptions


def test_resuming_in_the_middle_of_an_epoch_changes_nothing(tmp_path, monkeypatch):
    whole = whole_run()
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


def train_forever(folder):
    torch.set_num_threads(1)  # in a forked process, OpenMP's other threads do not exist
    P.CHECKPOINT_SECONDS = P.LOG_SECONDS = 0
    train(replace(TINY, epochs=6), out=folder)


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills processes")
def test_sigkill_at_any_moment_ends_with_the_same_weights(tmp_path):
    """Kill the process again and again, at moments that fall into every part of the loop."""
    folder, kills = tmp_path / "killed", 0
    log = folder / "history.jsonl"
    whole = train(replace(TINY, epochs=6))
    for k in range(4):
        process = multiprocessing.get_context("fork").Process(target=train_forever, args=(folder,))
        before = log.read_text() if log.exists() else ""
        process.start()
        while process.is_alive() and (not log.exists() or log.read_text() == before):
            time.sleep(0.001)
        time.sleep(0.003 * k)  # a little later each time
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 3
    assert same(whole.model, train(replace(TINY, epochs=6), out=folder).model)


def test_a_folder_with_another_run_is_refused(tmp_path):
    first = train(out=tmp_path)
    others = pictures(20)
    others[-1, 0, 0, 0] ^= 1
    for change, images, message in (
        (dict(lr=0.01, epochs=2), None, r"other settings \(epochs 3 → 2, lr 0.001 → 0.01\)"),
        (dict(epochs=4), None, r"epochs 3 → 4.*from them \(--start FILE\)"),
        ({}, pictures(30), r"other settings \(images 20 .* → 30 .*\)"),
        ({}, others, r"other settings \(images 20 .* → 20 .*\)"),
    ):
        with pytest.raises(ValueError, match=message):
            train(replace(TINY, **change), tmp_path, images)
    with pytest.raises(ValueError, match=r"images 20 .* → 20"):  # validated on others
        P.pretrain(pictures(), pictures(8, seed=2), TINY, tmp_path, "cpu", progress=False)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(S.TrainStep, "__call__", None)  # a finished run is not trained again
        m.setattr(hardware, "pick_precision", lambda *_: "bf16")
        again = train(replace(TINY, precision="auto"), tmp_path)  # auto: as it began
    assert same(first.model, again.model) and not again.model.training


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
    whole = whole_run()
    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(P, "LOG_SECONDS", 0)
    with monkeypatch.context() as m, pytest.raises(kind, match=words) as stopped:
        real = getattr(where, name, open)
        m.setattr(where, name, after(5, error, real), raising=False)
        train(out=tmp_path)
    assert str(stopped.value).count(". ") == 0 and stopped.value.__suppress_context__ == (
        kind is OSError)
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] >= 4
    resumed = train(out=tmp_path)
    assert same(whole.model, resumed.model)
    assert [r["loss"] for r in resumed.history.records] == [
        r["loss"] for r in whole.history.records]


# ---------------------------------------------------------------- clear stops


def test_weights_that_explode_in_the_last_update_end_in_the_same_sentence():
    with pytest.raises(P.NonFiniteLoss, match=r"became nan.* with a lower learning rate"):
        train(replace(TINY, epochs=1, warmup_epochs=0, lr=1e30), images=pictures(8))


def test_a_ramp_that_will_leave_nothing_visible_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(P, "fastest_step", None)  # not even begun
    for ratios in (dict(mask_ratio=0.99), dict(mask_ratio=0.5, mask_ratio_start=0.95)):
        with pytest.raises(ValueError, match="leaves none of 16 patches visible"):
            train(replace(TINY, **ratios))


@pytest.mark.parametrize(
    "term, name, bad",
    [("freq", "Laplacian", "nan"), ("unif", "uniformity", "inf"), ("mae", "reconstruction", "nan")])
def test_a_non_finite_loss_names_step_and_term(monkeypatch, term, name, bad):
    total = losses.total_loss
    calls = []

    def poisoned(*args):
        calls.append(1)
        terms = dict(total(*args))
        if len(calls) == 5:
            terms[term] = terms[term].abs() * float(bad)
            terms["loss"] = terms["loss"] * float(bad)
        return terms

    monkeypatch.setattr(S, "total_loss", poisoned)
    with pytest.raises(P.NonFiniteLoss, match=f"The {name} loss became {bad} at step 5. Start"):
        train()


def test_weights_that_a_bad_gradient_has_spoilt_are_not_saved(tmp_path, monkeypatch):
    """The loss before is still finite; the checkpoint from before stays good."""
    compute = S.TrainStep.compute

    def spoilt(self, *arguments):
        terms = compute(self, *arguments)
        if self.optimizer.state and float(next(iter(self.optimizer.state.values()))["step"]) == 5:
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))
        return terms

    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(P, "LOG_SECONDS", 0)
    monkeypatch.setattr(S.TrainStep, "compute", spoilt)
    with pytest.raises(P.NonFiniteLoss, match=r"weights became nan or infinite at step 5\. Start"):
        train(out=tmp_path)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 4 and all(torch.isfinite(t).all() for t in state["model"].values())


def test_a_run_begun_in_half_precision_does_not_go_on_where_there_is_none(tmp_path):
    train(out=tmp_path)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    state["config"]["precision"] = "fp16"
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(ValueError, match="fp16 needs a CUDA GPU"):
        train(replace(TINY, precision="auto"), tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(epochs=0), "epochs must be at least 1, got 0"),
        (dict(epochs=1.5), "epochs must be a whole number, got 1.5"),
        (dict(batch_size=True), "batch_size must be a whole number, got True"),
        (dict(lr=-1.0), "lr must be above 0, got -1.0"),
        (dict(lr=float("nan")), "lr must be a finite number, got nan"),
        (dict(lr="fast"), "lr must be a finite number, got 'fast'"),
        (dict(weight_decay=float("inf")), "weight_decay must be a finite number, got inf"),
        (dict(warmup_epochs=3.0), r"warmup_epochs must be below epochs \(3\), got 3"),
        (dict(warmup_epochs=-1.0), "warmup_epochs must be at least 0"),
        (dict(crop_scale=0.0), "crop_scale must be above 0 and at most 1, got 0.0"),
        (dict(crop_scale=1.5), "crop_scale must be above 0 and at most 1, got 1.5"),
        (dict(mask_ratio=1.0), "mask_ratio must be above 0 and below 1"),
        (dict(mask_ratio=0.0), "mask_ratio must be above 0 and below 1, got 0.0"),  # nothing hidden
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
        (dict(patch_size=3), "img_size 16 must be a multiple of patch_size 3"),
        (dict(accumulate=3, lambda_unif=0.0), "cannot be cut into 3 equal parts"),
        (dict(accumulate=2), "batch_size must be at least 2, and accumulate 1"),
        (dict(mask_ratio_sched="linaer"), "mask_ratio_sched must be one of const, linear, cosine"),
        (dict(batch_size=1), "batch_size must be at least 2"),
        (dict(batch_size=64), "20 images do not fill one batch of 64"),
        (dict(preset="tinny"), "preset must be one of .*, got 'tinny'"),
        (dict(precision="fp8"), "precision must be one of auto, fp32, bf16, fp16, got 'fp8'"),
        (dict(freq_form="l2"), "freq_form must be one of composite, energy, got 'l2'"),
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
    (torch.rand(20, 3, 20, 20), "images must be square uint8 images .*, got torch.float32"),
    (pictures().permute(0, 2, 3, 1), r"got torch.uint8 of shape \(20, 20, 20, 3\)"),
    (pictures()[:, :1], r"of shape \(20, 1, 20, 20\)"),
    (pictures()[:0], r"of shape \(0, 3, 20, 20\)"),
    (pictures()[..., :16], r"of shape \(20, 3, 20, 16\): .*center_crop"),
])
def test_what_are_no_images_is_named(images, message):
    with pytest.raises(ValueError, match=message):
        train(images=images)
    with pytest.raises(ValueError, match="validation_images must be"):
        P.pretrain(pictures(), images, TINY, None, CPU, progress=False)


@pytest.mark.parametrize("settings, words", [
    (dict(cfg=None), "cfg must be of type PretrainConfig, got None"),
    (dict(cfg={"epochs": 1}), "cfg must be of type PretrainConfig, got {'epochs': 1}"),
    (dict(compile_from=-1.0), "compile_from must be at least 0 and at most inf, got -1"),
    (dict(compile_from=float("nan")), "compile_from must be a finite number, got nan"),
    (dict(compile_from="soon"), "compile_from must be a finite number, got 'soon'"),
])
def test_other_arguments_of_the_wrong_kind_are_named(settings, words):
    arguments = {"cfg": TINY, "device": CPU, "progress": False, **settings}
    with pytest.raises(ValueError, match=words):
        P.pretrain(pictures(), pictures(8), **arguments)


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
    with pytest.raises(FileNotFoundError, match="nothing"):
        P.pretrain(pictures(), pictures(8), still, None, CPU, progress=False,
                   start=tmp_path / "nothing")


def test_a_file_that_is_no_training_run_is_named(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint.pt does not hold a training run"):
        train(out=tmp_path)


def test_the_time_of_a_resumed_run_is_that_of_both_parts(tmp_path, monkeypatch):
    """By a clock that ticks when it is read: 5 ticks an epoch, and only steps count."""
    ticks = itertools.count()
    monkeypatch.setattr(P, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(P, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(P, "LOG_SECONDS", 0)
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(S.TrainStep, "compute", after(5, KeyboardInterrupt(), S.TrainStep.compute))
        train(out=tmp_path)
    for _ in range(2):  # going on, and again when there is nothing left to do
        run = train(out=tmp_path)
        assert run.seconds == 15 and run.images_per_second == pytest.approx(9 * 8 / 15)
        assert [r["seconds"] for r in run.history.epochs()] == [5, 10, 15]


def test_the_command_trains_the_variant_from_the_weights_that_are_asked_for(tmp_path, monkeypatch):
    weights, asked = tmp_path / "start.safetensors", {}
    save_weights(weights, P.PretrainConfig(
        preset="tiny", img_size=16, patch_size=4).build_model())
    images = SimpleNamespace(name="toy", unlabeled=pictures(), validation=pictures(8, seed=1))
    run = SimpleNamespace(seconds=1.0, images_per_second=1.0, history=SimpleNamespace(epochs=list))
    monkeypatch.setattr(P, "data_from", lambda *_, **__: images)
    monkeypatch.setattr(P, "pretrain", lambda images, validation, cfg, *_, **named: (
        asked.update(named, cfg=vars(cfg)), run)[1])
    words = (f"--img-size 16 --patch-size 4 --variant improved --start {weights} --lr 0.01 "
             f"--compile-from inf --out {tmp_path / 'run'}")
    monkeypatch.setattr(sys, "argv", ["pretrain", *SHORT, *words.split()])
    P.main()
    assert (asked["start"], asked["compile_from"]) == (weights, math.inf)
    assert asked["cfg"].items() >= P.variant_settings("improved", {"lr": 0.01}).items()


def test_options_of_the_data_reach_it(monkeypatch):
    asked = []
    monkeypatch.setattr(P, "load_data", lambda name, **options: asked.append(options))
    for data in ("scenes", "stl10"):
        P.data_from(SimpleNamespace(data=data, size=None, limit=7, strict=True), (5, 4, 3))
    assert [(o["limit"], o["strict"], o["counts"]) for o in asked] == [
        (7, True, (5, 4, 3)), (7, True, None)]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_finished_run_is_only_read(checkpoint, tmp_path):
    """Its folder may be one that cannot be written."""
    train(out=tmp_path)
    if not checkpoint:
        (tmp_path / "checkpoint.pt").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    P.pretrain(pictures(), pictures(8, seed=1), TINY, tmp_path, CPU, "Another name", False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_finished_run_is_found_again_without_its_checkpoint(tmp_path, monkeypatch):
    run, log = train(out=tmp_path), tmp_path / "history.jsonl"
    lines = log.read_text()
    (tmp_path / "checkpoint.pt").unlink()
    monkeypatch.setattr(P, "fastest_step", None)  # nothing is trained
    for cfg in (TINY, replace(TINY, precision="auto")):
        again = train(cfg, tmp_path)
        assert same(again.model, run.model) and again.history.epochs() == run.history.epochs()
        assert again.seconds == pytest.approx(run.seconds) and log.read_text() == lines
        assert again.images_per_second == pytest.approx(run.images_per_second)
    for other in (replace(TINY, lr=TINY.lr / 2), replace(TINY, lambda_unif=0.1)):
        with pytest.raises(ValueError, match="holds a run with other settings"):  # not overwritten
            train(other, tmp_path)
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(images=pictures(seed=2), out=tmp_path)
    assert log.read_text() == lines
    monkeypatch.undo()
    log.unlink()
    assert train(out=tmp_path).history.epochs()  # without it, the run is made again


def test_the_precision_is_the_one_asked_for(tmp_path):
    cfg = replace(TINY, epochs=1, warmup_epochs=0, precision="bf16")
    run = train(cfg, tmp_path)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["config"] == vars(cfg)
    assert not same(run.model, train(replace(cfg, precision="fp32")).model)


def test_defaults_are_those_of_the_specification_and_of_the_papers():
    """He et al. 2022, tables 8 and 9, with fewer epochs and the specification's learning rate."""
    found = vars(P.PretrainConfig())
    assert found.items() >= dict(
        preset="specified", epochs=10, batch_size=64, lr=1.5e-4, warmup_epochs=2, weight_decay=0.05,
        crop_scale=0.2, mask_ratio=0.75, mask_ratio_sched="const", mask_ratio_start=0.5,
        mask_ratio_warmup_epochs=5, norm_pix=True, lambda_freq=0, lambda_unif=0, unif_t=2,
        freq_form="composite", equal_compute=False, target_blur=0, accumulate=1, seed=0).items()
    assert vars(FineTuneConfig()) == dict(
        epochs=50, batch_size=128, lr=1e-3, warmup_epochs=5, weight_decay=0.05, layer_decay=0.75,
        label_smoothing=0.1, crop_scale=0.35)
    tune, scratch = RECIPES["tuned"].fine_tunings({"epochs": 7})
    assert tune.epochs == scratch.epochs == 7
    assert (tune.layer_decay, scratch.layer_decay) == (0.75, 1.0) and tune.lr != scratch.lr


def test_the_constant_ratio_of_the_control_is_about_the_curriculums_mean():
    cfg, control = (P.PretrainConfig(**P.variant_settings(name))
                    for name in ("curriculum", "mean-ratio"))
    ramp = np.mean([training_mask_ratio(step, 250, cfg) for step in range(2500)])
    assert control.mask_ratio == pytest.approx(ramp, abs=4e-3)


def test_a_config_builds_its_model_and_leaves_random_numbers_alone():
    state = torch.get_rng_state()
    one, same_seed, two = (replace(TINY, seed=seed, decoder_depth=1).build_model()
                           for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(one.decoder_blocks) == 1 and (one.img_size, one.patch_size) == (16, 4)
    assert same(one, same_seed) and not same(one, two)


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
    for wrong, wanted in (("lr=fast", "a finite number"), ("norm_pix=maybe", "yes or no"),
                          ("epochs=1.5", "a whole number")):
        name, value = wrong.split("=")
        with pytest.raises(ValueError, match=f"^{name} must be {wanted}, got '{value}'"):
            P.variant_settings(wrong)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_the_command_lists_every_setting_with_its_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pretrain", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("mae_lib.pretrain", run_name="__main__")
    text = capsys.readouterr().out
    for name in P.PretrainConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in text
    assert "peak learning rate (default: 0.00015)" in text
    assert max(map(len, text.splitlines())) <= 100


def command(monkeypatch, module, *words):
    """The sentence in which a command ends."""
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(SystemExit) as stopped:
        cli.run(importlib.import_module(f"mae_lib.{module}").main)
    return str(stopped.value)


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


def test_the_command_refuses_a_folder_in_which_another_process_works(tmp_path, monkeypatch):
    images = SimpleNamespace(name="toy", unlabeled=pictures(), validation=pictures(8, seed=1))
    monkeypatch.setattr(P, "data_from", lambda *_, **__: images)
    words = (*SHORT, "--img-size", "16", "--patch-size", "4", "--out", str(tmp_path))
    with workers.take(tmp_path):
        said = command(monkeypatch, "pretrain", *words)
    assert said == f"error: Another process uses {tmp_path}: wait, or name another --out."
    assert not (tmp_path / "history.jsonl").exists()
    P.main()
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("module", ["compare", "evidence.experiments"])
def test_commands_that_need_labels_refuse_such_a_folder_at_once(tmp_path, module, monkeypatch):
    photographs(tmp_path / "photos", 4)
    monkeypatch.setenv("MAE_LIB_CACHE", str(tmp_path / "cache"))
    said = command(monkeypatch, module, "--data", f"imagefolder:{tmp_path / 'photos'}",
                   "--out", str(tmp_path / "run"), "--device", "cpu")
    assert not (tmp_path / "cache").exists()
    assert len(said.splitlines()) == 1 and "PATH/train/CLASS/" in said
    assert said.startswith("error: ") and "with neither, you can only pretrain" in said


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
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = command(monkeypatch, "pretrain", "--preset", "tiny", *words)
    assert found.startswith(said) and len(found.splitlines()) == 1
