"""Pretraining a masked autoencoder: the loop, its checkpoints and its command line.

Everything random at a step depends on (seed, step) alone, and the state is saved as a whole, so
that a run killed at any moment and started again ends with the weights of an uninterrupted run; on
a GPU, up to rounding.
"""

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.data.augment import check_images, denormalise, resize
from mae_lib.data.fingerprint import fingerprint, fingerprint_of_weights
from mae_lib.data.sources import ImageSet, evenly_spaced, load_data
from mae_lib.losses import mae_loss, predicted_images, uniformity_loss
from mae_lib.masking import training_mask_ratio
from mae_lib.metrics import effective_rank, masked_psnr
from mae_lib.model import PRESETS, MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.runtime import cli, distributed, hardware, workers
from mae_lib.runtime.checks import check_value
from mae_lib.runtime.hardware import RNG
from mae_lib.training import checkpoints
from mae_lib.training.batches import batches, on_device
from mae_lib.training.compute import steps_per_epoch
from mae_lib.training.history import History
from mae_lib.training.optim import NonFiniteLoss, schedule_learning_rate
from mae_lib.training.step import COMPILING_PAYS_FROM, fastest_step

VALIDATION_IMAGES, VALIDATION_MASK_RATIO = 512, 0.75
LOG_SECONDS, CHECKPOINT_SECONDS = 1.0, 60.0


@dataclass
class Run:
    """A finished pretraining: the model, its history, and the time its steps took."""

    model: MaskedAutoencoder
    history: History
    seconds: float  # training steps alone, without validation
    images_per_second: float


@torch.no_grad()
def validate(model: MaskedAutoencoder, images: Tensor, cfg: PretrainConfig) -> dict:
    """Reconstruction loss, masked PSNR (dB), effective rank and uniformity on fixed images (≥ 2).

    Masks are fixed too, at ratio 0.75 whatever the curriculum does, and for every seed and variant:
    only then can losses be compared between runs and epochs.
    """
    device = next(model.parameters()).device
    noise = torch.rand(len(images), model.num_patches, generator=hardware.generator(RNG.VALIDATION))
    size = 64 if device.type == "cpu" else len(images)  # on a GPU few large kernels are faster
    losses, psnr, features = [], [], []
    for part, part_noise in zip(images.split(size), noise.split(size), strict=True):
        x = resize(part.to(device), model.img_size)
        with hardware.autocast(device, cfg.precision):
            output = model(x, VALIDATION_MASK_RATIO, noise=part_noise.to(device))
            features.append(model.features(x).float())
        losses.append(mae_loss(output.pred, x, output.mask, model.patch_size, cfg.norm_pix))
        pred = predicted_images(output.pred, x, model.patch_size, cfg.norm_pix)
        mask = patch_mask_to_pixels(output.mask, model.patch_size)
        psnr.append(masked_psnr(denormalise(pred), denormalise(x), mask))
    features = torch.cat(features).cpu()  # only now does the host wait for the device
    if not features.isfinite().all():
        raise _diverged("The features became nan or infinite", cfg)
    return {
        "val_loss": sum(loss * len(part) for loss, part in zip(
            torch.stack(losses).tolist(), features.split(size), strict=True)) / len(images),
        "val_psnr": float(torch.cat(psnr).cpu().mean()),
        "effective_rank": effective_rank(features),
        "uniformity": float(uniformity_loss(features[:, None]))}


def describe_images(images: Tensor, validation_images: Tensor) -> str:
    """What checkpoints and weights say about the images that they were trained and validated on."""
    validation_images = evenly_spaced(validation_images, VALIDATION_IMAGES)
    return f"{len(images)} (fingerprint {fingerprint(images, validation_images)})"


@hardware.explain_full_memory
def pretrain(images: Tensor, validation_images: Tensor, cfg: PretrainConfig,
             out: Path | None = None, device: torch.device | str | None = None,
             label: str = "Original", progress: bool = True, start: Path | None = None,
             each_epoch: Callable[[MaskedAutoencoder], None] | None = None,
             compile_from: float = COMPILING_PAYS_FROM) -> Run:
    """Pretrain on `images`, uint8 (N, 3, S, S), and validate on 512 others at most, every epoch.

    Under torchrun, after `distributed.join`, the processes share every batch of `cfg.batch_size`,
    and end with the weights that one process would, but for rounding. Each is given all images.

    With `out`, a folder, the run is resumable: it goes on from `out`/checkpoint.pt, logs to
    history.jsonl and ends with model.safetensors; a finished run is only read. `label` is shown
    on the progress bars. `start`, a file of weights of equal sizes, takes the place of random ones.
    `each_epoch` is called with the model after each epoch. One GPU records the step, and compiles
    it if more than `compile_from` seconds of training remain; anywhere else, steps are plain.

    Raises ValueError for bad settings, fewer images than a batch, or a folder that holds a run with
    other settings; NonFiniteLoss; OSError when the disk is full; MemoryError when the memory is.
    """
    check_value("cfg", cfg, PretrainConfig)
    check_value("compile_from", compile_from, float, at_least=0, at_most=math.inf)
    cfg.check()
    check_images(images)
    check_images(validation_images, "validation_images")
    # Validation compares images with each other.
    check_value("the number of validation_images", len(validation_images), int, at_least=2)
    if len(images) < cfg.batch_size:
        raise ValueError(f"{len(images)} images do not fill one batch of {cfg.batch_size}; lower "
                         "batch_size.")
    device = hardware.pick_device(str(device or "auto"))
    if device.type == "cpu":
        hardware.reuse_freed_memory()
    checkpoint = Path(out) / "checkpoint.pt" if out else None
    first = distributed.is_first()  # the process that writes and shows
    # `describe_images` reads every image, so one process does it for all.
    seen = distributed.broadcast_from_first(
        describe_images(images, validation_images) if first else None)
    model = cfg.build_model()
    if start:
        model.load_state_dict(_weights_to_start_from(start, model))
        seen += f", starting from weights {fingerprint_of_weights(model.state_dict())}"
    cfg, state = _resume(checkpoint, cfg, seen, device)
    iters = steps_per_epoch(cfg, len(images))
    if out and (run := _finished(Path(out), cfg, iters, device)):
        return run
    model = model.to(device)
    step, seconds = (state["step"], state["seconds"]) if state else (0, 0.0)
    train_step = fastest_step(model, cfg, compile_from)
    if state:
        train_step.load_state_dict(state)
    history = History(Path(out) / "history.jsonl" if out and first else None, step)
    validation_images = evenly_spaced(validation_images, VALIDATION_IMAGES)
    feed = batches(on_device(images, device), cfg.batch_size, cfg.seed, step, device)

    def save() -> float:
        if checkpoint and first:
            if not torch.stack([p.isfinite().all() for p in model.parameters()]).all():
                raise _diverged(f"The weights became nan or infinite at step {step}", cfg)
            checkpoints.save_checkpoint(checkpoint, {
                "config": dataclasses.asdict(cfg), "images": seen, "step": step,
                "seconds": seconds, **train_step.state_dict()})
        return time.perf_counter()

    saved, paces = time.perf_counter(), []
    while step < cfg.epochs * iters:
        epoch, i = divmod(step, iters)
        title = f"Pretrain {label} E{epoch + 1}/{cfg.epochs}"
        bar = tqdm(total=iters, initial=i, desc=title, disable=not (progress and first))
        model.train()
        while i < iters:
            pending, began = [], time.perf_counter()
            while i < iters and (not pending or time.perf_counter() - began < LOG_SECONDS):
                lr = schedule_learning_rate(epoch, i, iters, cfg)
                mask_ratio = training_mask_ratio(step, iters, cfg)
                terms = train_step(next(feed), step, lr, mask_ratio)
                step, i = step + 1, i + 1
                pending.append((step, lr, mask_ratio, terms))
            records = _read_losses(pending, cfg)  # the only wait for the device
            took = time.perf_counter() - began
            seconds += took
            paces.append(took / len(records))
            plain = min(paces) * (cfg.epochs * iters - step)  # seconds still to come
            if len(paces) > 2 and plain > train_step.compile_from:  # at first a GPU warms up
                train_step.compile()
            history.add(records)
            loss = records[-1]["loss"]
            bar.set_postfix_str(f"lr={lr:.2e}, mask={mask_ratio:.2f}, loss={loss:.4f}", False)
            bar.update(len(records))
            # At an epoch's end the checkpoint waits for the validation, which belongs to it.
            if i < iters and time.perf_counter() - saved > CHECKPOINT_SECONDS:
                saved = save()
        bar.close()
        if first:
            model.eval()
            history.add([{
                "kind": "epoch", "step": step, "epoch": epoch + 1, "lr": lr,
                "mask_ratio": mask_ratio, "loss": history.mean_loss(iters), "seconds": seconds,
                **validate(model, validation_images, cfg)}])
            if each_epoch:
                each_epoch(model)
        saved = save()
    model.eval()
    if out and first:
        checkpoints.save_weights(Path(out) / "model.safetensors", model, label=label, images=seen,
                                 **dataclasses.asdict(cfg))
    return Run(model, history, seconds, step * cfg.batch_size / max(seconds, 1e-9))


def _read_losses(pending: list[tuple], cfg: PretrainConfig) -> list[dict]:
    """Turn pending (step, lr, mask_ratio, terms) into records, or raise NonFiniteLoss."""
    values = torch.stack([torch.stack(list(terms.values())) for *_, terms in pending]).tolist()
    names = {"mae": "reconstruction", "freq": "Laplacian", "unif": "uniformity", "loss": "total"}
    records = []
    for (step, lr, mask_ratio, terms), row in zip(pending, values, strict=True):
        record = dict(zip(terms, row, strict=True))
        for name, long_name in names.items():
            if not math.isfinite(value := record.get(name, 0.0)):
                raise _diverged(f"The {long_name} loss became {value} at step {step}", cfg)
        records.append({"kind": "step", "step": step, "lr": lr, "mask_ratio": mask_ratio, **record})
    return records


def _resume(path: Path | None, cfg: PretrainConfig, images: str,
            device: torch.device) -> tuple[PretrainConfig, dict | None]:
    """The settings with a definite precision, and the checkpoint at `path`, if any."""
    state, found = None, {}
    if path and path.exists():
        state = checkpoints.load_checkpoint(path)
        if not {"config", "images", "step", "seconds", "model", "optimizer"} <= state.keys():
            raise ValueError(f"{path} does not hold a training run: choose another folder, or move "
                             "that file.")
        found = {**state["config"], "images": state["images"]}
    elif path and (weights := path.with_name("model.safetensors")).exists():
        _, found = checkpoints.load_weights(weights)
    ours = {**dataclasses.asdict(cfg), "images": images}
    if found and ours["precision"] == "auto":  # what was chosen when the run began
        ours["precision"] = found.get("precision", "auto")
    changed = [f"{k} {found.get(k)} → {v}" for k, v in ours.items() if found and found.get(k) != v]
    if changed:
        raise ValueError(f"{path.parent} holds a run with other settings ({', '.join(changed)}); "
                         "choose another folder, or delete that one. To train finished weights "
                         "further, start a run in another folder from them (--start FILE).")
    # "auto" may have to measure, and the processes could find differently.
    precision = distributed.broadcast_from_first(hardware.pick_precision(device, ours["precision"]))
    return dataclasses.replace(cfg, precision=precision), state


def _finished(folder: Path, cfg: PretrainConfig, iters: int, device: torch.device) -> Run | None:
    """What a run with these settings left in a folder when it had finished, or None.

    It needs no checkpoint, which may have been deleted since then.
    """
    weights, steps = folder / "model.safetensors", cfg.epochs * iters
    history = weights.exists() and History(folder / "history.jsonl", steps)
    if not history or len(history.epochs()) < cfg.epochs:
        return None
    model, _ = checkpoints.load_weights(weights)
    seconds = history.epochs()[-1]["seconds"]
    return Run(model.to(device), history, seconds, steps * cfg.batch_size / seconds)


def _diverged(what: str, cfg: PretrainConfig) -> NonFiniteLoss:
    return NonFiniteLoss(f"{what}. Start again in another folder, with a lower learning rate than "
                         f"{cfg.lr:g}, a longer warm-up, or --precision fp32.")


def _weights_to_start_from(path: Path, model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The weights in a file, if they fit the model. Raises ValueError if not."""
    found, _ = checkpoints.load_weights(path)
    other = {k: v for k, v in found.config.items() if model.config[k] != v}
    if other:
        words = ", ".join(f"{k} {v}, not {model.config[k]}" for k, v in other.items())
        raise ValueError(f"The weights in {path} have other sizes ({words}): set theirs.")
    return found.state_dict()


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="scenes", metavar="NAME",
                        help="scenes, stl10, cifar10 or imagefolder:PATH (default: scenes)")
    parser.add_argument("--size", type=int, metavar="N",
                        help="side at which an imagefolder's images are stored, in pixels (96, "
                             "or the model's input if that is larger)")
    parser.add_argument("--limit", type=int, metavar="N", help="use only N unlabelled images")
    parser.add_argument("--strict", action="store_true", help="stop at an unreadable image")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")


def input_size(cfg: PretrainConfig) -> int:
    """Side of the model's input in pixels."""
    return cfg.img_size or PRESETS[cfg.preset]["img_size"]


def data_from(arguments: argparse.Namespace, counts: tuple | None = None, img_size: int = 96,
              labels: bool = True) -> ImageSet:
    """The data set that `add_data_arguments` describe; `counts` are for scenes.

    Without --size, an imagefolder is stored at `img_size`, the model's input, but at least at 96.
    """
    size = arguments.size
    if size is None and str(arguments.data).startswith("imagefolder:"):
        size = max(96, img_size)
    return load_data(arguments.data, size=size, limit=arguments.limit, strict=arguments.strict,
                     counts=counts if arguments.data == "scenes" else None, labels=labels)


def main() -> None:
    parser = cli.parser(
        "python -m mae_lib.pretrain",
        "Pretrain a masked autoencoder. Run the same command again to resume.\n\n"
        "  python -m mae_lib.pretrain --data scenes --preset tiny --variant improved\n"
        "  python -m mae_lib.pretrain --data stl10 --out runs/stl10-original")
    add_data_arguments(parser)
    parser.add_argument("--variant", default="original", metavar="NAME", help="original, improved, "
                        "or some of curriculum, laplacian, uniformity joined by + (original)")
    parser.add_argument("--out", type=cli.folder, metavar="FOLDER", help="(runs/DATA-VARIANT)")
    parser.add_argument("--start", type=Path, metavar="FILE",
                        help="weights to start from, instead of random ones")
    parser.add_argument("--compile-from", type=float, metavar="SECONDS",
                        default=COMPILING_PAYS_FROM, help="compile on a GPU if this much training "
                        "remains; 0: soon, inf: never (default: %(default)g)")
    cli.add_options(parser, PretrainConfig)
    arguments = parser.parse_args()
    given = cli.given(arguments, PretrainConfig)
    cfg = PretrainConfig(**variant_settings(arguments.variant, given))
    cfg.check()
    check_value("--compile-from", arguments.compile_from, float, at_least=0, at_most=math.inf)
    device = distributed.join(hardware.pick_device(arguments.device))
    hardware.pick_precision(device, cfg.precision)  # what the device cannot do is told at once
    if arguments.start:
        _weights_to_start_from(arguments.start, cfg.build_model())
    with distributed.first_process_first():  # which builds the cache
        data = data_from(arguments, img_size=input_size(cfg), labels=False)
    out = arguments.out or Path("runs") / f"{data.name.replace(':', '-')}-{arguments.variant}"
    label = arguments.variant.capitalize()
    with workers.take(out) if distributed.is_first() else nullcontext():
        run = pretrain(data.unlabeled, data.validation, cfg, out, device, label,
                       start=arguments.start, compile_from=arguments.compile_from)
    if distributed.is_first():
        print(f"{label}: {run.seconds:.0f} s of training at {run.images_per_second:.0f} images/s. "
              f"Weights: {out / 'model.safetensors'}")
        for last in run.history.epochs()[-1:]:  # none where its file is gone
            print(f"Validation loss {last['val_loss']:.4f}, PSNR {last['val_psnr']:.2f} dB.")
    distributed.leave()


if __name__ == "__main__":
    cli.run(main)
