"""Everything that a lent GPU should answer, in one command of about eight minutes.

The most important measurements come first. Each is written as soon as it is there, and a second
call goes on where the first one ended, so that this may be interrupted at any time. A measurement
that fails is stored with its error, and the others go on in a new process. Compilation is timed
too, so it begins with an empty cache.

  python -m benchmarks.gpu --out FOLDER
  python -m benchmarks.gpu --out FOLDER --official PATH   # with a checkout of facebookresearch/mae
  python -m benchmarks.gpu --out FOLDER --tiny            # a rehearsal, also on a CPU

With mae_lib/assets for FOLDER, `python -m benchmarks.report` puts the results on its page.
"""

import argparse
import gc
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch._inductor import metrics

from benchmarks import timing
from benchmarks.compiled import gathered_crop, round_residuals
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.pretrain import pretrain
from mae_lib.runtime import cli, hardware
from mae_lib.training import step as steps
from mae_lib.training.batches import batches
from mae_lib.training.checkpoints import write_atomically
from mae_lib.training.step import TrainStep, fastest_step

LAST = "compiled + graphs"
FORMS = ("plain", "graphs", LAST, "compiled")  # LAST's compilation is timed: it compiles first
BATCHES, PEER_BATCHES, PEERS = (64, 1024, 512, 2048), (64, 512, 2048), ("transformers", "lightly")
LOSSES = {"Laplacian": "laplacian", "uniformity": "uniformity", "both": "laplacian+uniformity",
          "all add-ons": "improved"}
BROKE_OFF = {"error": "broke off"}
CROPS = {"matrices": steps.crop, "gathered": gathered_crop}
RATES = (0.5, 0.6, 0.75)  # mask ratios of the curriculum, to see whether one graph serves all


def make_step(arguments: argparse.Namespace, cfg: PretrainConfig, form: str,
              rounded: bool = False) -> TrainStep:
    model = cfg.build_model().to(arguments.device)
    if rounded:
        round_residuals(model, hardware.PRECISIONS[arguments.precision])
    step = (fastest_step if "graphs" in form else TrainStep)(model, cfg)
    if "compiled" in form:
        step.compile(backend=backend(arguments))
    return step


def backend(arguments: argparse.Namespace) -> str:
    return "aot_eager" if arguments.tiny else "inductor"  # which takes a minute each time


def config(arguments: argparse.Namespace, batch: int, variant: str = "original") -> PretrainConfig:
    return PretrainConfig(preset=arguments.preset, precision=arguments.precision, batch_size=batch,
                          **variant_settings(variant))


def images_for(arguments: argparse.Namespace, n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 96, 96), dtype=torch.uint8, device=arguments.device)


def clocked(arguments: argparse.Namespace, batch: int, step: Callable[[], None]) -> dict:
    """The rate of a step, the time until it is ready, and the peak memory of what follows."""
    device, gpu = arguments.device, arguments.device.type == "cuda"
    ready = timing.seconds_of(step, 1, device)  # with compilation
    ready += 5 * timing.seconds_of(step, 5, device)  # and a recording
    each = timing.seconds_of(step, 2, device)
    if gpu:
        torch.cuda.empty_cache()  # of the warm-up; what recordings hold stays
        torch.cuda.reset_peak_memory_stats()
    repeats = max(1, round(arguments.seconds / each))
    times = [timing.seconds_of(step, repeats, device) for _ in range(arguments.rounds)]
    found = {**timing.speed(times, batch), "milliseconds": 1e3 * min(times), "ready_after": ready}
    if gpu:  # reserved: what a recording works in does not count as allocated
        found["peak_memory_mb"] = torch.cuda.max_memory_reserved() / 2**20
    return found


def rates(arguments: argparse.Namespace) -> dict:
    """What the machine can do: multiply-adds and bytes a second."""
    found = {"bytes_per_second": timing.memory_rate(arguments.device)}
    if arguments.device.type == "cuda" or not arguments.tiny:
        found["multiply_adds_per_second"] = timing.matrix_product_rate(
            arguments.device, arguments.precision)
    return found


def counts(arguments: argparse.Namespace, name: str, batch: int) -> dict:
    """Multiply-adds and bytes of a plain step on normalised images, per image."""
    check_peer(arguments, name)
    from benchmarks import pretrain_speed  # needs torchvision

    few = argparse.Namespace(**{**vars(arguments), "batch_size": batch})
    return pretrain_speed.counted(name, few)


def bare(arguments: argparse.Namespace, batch: int, form: str, variant: str = "original",
         crop: str = "matrices", rounded: bool = False) -> dict:
    """A whole step, crops included, on images that lie on the device."""
    cfg = config(arguments, batch, variant)
    metrics.reset()  # torch counts the bytes of kernels that it writes, the optimizer's apart
    with mock.patch.object(steps, "crop", CROPS[crop]):
        train_step = make_step(arguments, cfg, form, rounded)
        feed = enumerate(batches(images_for(arguments, max(1024, batch)), batch, 0, 0,
                                 arguments.device))

        def step(ratio: float = timing.RATIO) -> None:
            i, images = next(feed)
            train_step(images, i, 1e-4, ratio)

        found = clocked(arguments, batch, step)
        if metrics.num_bytes_accessed:
            found["bytes_moved"] = metrics.num_bytes_accessed / batch
        if variant == "improved":  # further lengths: how long until each is ready
            found["further_lengths_ready_after"] = [
                5 * timing.seconds_of(partial(step, ratio), 5, arguments.device)
                for ratio in RATES[:2]]
        if arguments.device.type == "cuda" and form == LAST:
            i, images = next(feed)  # at the end of a pass this waits: a new order is uploaded
            torch.cuda.set_sync_debug_mode("error")  # nothing in a step should wait for the device
            try:
                train_step(images, i, 1e-4, timing.RATIO)
            except RuntimeError as error:
                found["waits"] = str(error)[:200]
            finally:
                torch.cuda.set_sync_debug_mode("default")
    return found


def epoch(arguments: argparse.Namespace, batch: int, compile_from: float) -> dict:
    """Epochs of `pretrain` as shipped; compared with `bare`, they show what its loop costs."""
    images = images_for(arguments, 64 if arguments.tiny else 100_000).cpu()
    # Large batches compile in the second epoch, after three groups of a second: the third is timed.
    cfg = PretrainConfig(preset=arguments.preset, precision=arguments.precision, batch_size=batch,
                         epochs=3, warmup_epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(images, images[:512], cfg, Path(folder), arguments.device, progress=False,
                       compile_from=compile_from)
    one, two, three = (record["seconds"] for record in run.history.epochs())
    return {"images_per_second": -(-len(images) // batch) * batch / (three - two),
            "first_epoch": one, "second_epoch": two - one, "third_epoch": three - two}


def quality(arguments: argparse.Namespace, form: str, rounded: bool = False,
            crop: str = "matrices") -> dict:
    """The loss of 200 steps on the same images, crops and masks, whatever the form."""
    cfg = config(arguments, 8 if arguments.tiny else 64)
    n = 3 if arguments.tiny else 200
    generator = hardware.generator(0, 1)
    coarse = torch.rand(256, 3, 12, 12, generator=generator)  # smooth, to be learnable
    images = (torch.nn.functional.interpolate(coarse, size=96, mode="bicubic") * 255).clamp(0, 255)
    images = images.to(torch.uint8).to(arguments.device)
    with mock.patch.object(steps, "crop", CROPS[crop]):
        step = make_step(arguments, cfg, form, rounded)
        feed = batches(images, cfg.batch_size, 0, 0, arguments.device)
        losses = [step(next(feed), i, 3e-4 * min(1, i / 20), 0.75)["loss"] for i in range(n)]
    losses = torch.stack(losses).tolist()
    return {"losses": losses, "last_20": sum(losses[-20:]) / len(losses[-20:])}


def peer(arguments: argparse.Namespace, name: str, batch: int, compiled: bool) -> dict:
    """Another implementation, on normalised images that lie on the device."""
    check_peer(arguments, name)
    from benchmarks import pretrain_speed  # needs torchvision

    few = argparse.Namespace(**{**vars(arguments), "batch_size": batch})
    compiling = partial(torch.compile, backend=backend(arguments))
    torch.compiler.reset()
    return clocked(few, batch, pretrain_speed.step_of(
        name, few, compiling if compiled else lambda model: model))


def check_peer(arguments: argparse.Namespace, name: str) -> None:
    """Raise ModuleNotFoundError for an implementation that is not here."""
    if name == "official" and not arguments.official:
        raise ModuleNotFoundError("--official names no checkout")
    if name in PEERS and not importlib.util.find_spec(name):
        raise ModuleNotFoundError(f"{name} is not installed")


def measurements(arguments: argparse.Namespace) -> dict[str, Callable[[], dict]]:
    """All of them by name, the most important first."""
    sizes = (8,) if arguments.tiny else BATCHES
    first, *others = sizes
    plan = {"rates": partial(rates, arguments)}

    def add(name: str, function: Callable, *values, **named) -> None:
        plan[name] = partial(function, arguments, *values, **named)

    for form in FORMS:
        add(f"step, batch {first}, {form}", bare, first, form)
    for form in ("plain", LAST):
        add(f"loss of 200 steps, {form}", quality, form)
    add(f"step, batch {first}, {LAST}, gathered crop", bare, first, LAST, crop="gathered")
    add(f"step, batch {first}, {LAST}, bf16 residuals", bare, first, LAST, rounded=True)
    add("loss of 200 steps, bf16 residuals", quality, LAST, rounded=True)
    add("loss of 200 steps, gathered crop", quality, LAST, crop="gathered")
    for batch in others:
        for form in ("graphs", LAST):
            add(f"step, batch {batch}, {form}", bare, batch, form)
    add(f"step, batch {sizes[-1]}, {LAST}, everything", bare, sizes[-1], LAST, crop="gathered",
        rounded=True)
    for batch in sizes[:2]:
        add(f"epochs, batch {batch}, graphs", epoch, batch, math.inf)
        add(f"epochs, batch {batch}, {LAST}", epoch, batch, 0.0)
    for name, variant in LOSSES.items():
        for form in ("graphs", LAST):
            add(f"step, batch {first}, {form}, {name}", bare, first, form, variant)
    add("counts of ours", counts, "ours", first)
    for batch in ((8,) if arguments.tiny else PEER_BATCHES):
        for name in ("official", *PEERS):
            for compiled in (False, True):
                add(f"{name}, batch {batch}, {'compiled' if compiled else 'plain'}", peer, name,
                    batch, compiled)
    for name in ("official", *PEERS):
        add(f"counts of {name}", counts, name, first)
    for batch in others:
        for form in ("plain", "compiled"):
            add(f"step, batch {batch}, {form}", bare, batch, form)
    return plan


class Stored:
    """The file of results, rewritten after every measurement."""

    def __init__(self, path: Path):
        self.path = path
        self.found = json.loads(path.read_text()) if path.exists() else {}

    def retry(self) -> None:
        """Forget what broke off, failed or had no --official, so that it is measured again."""
        self.found = {name: v for name, v in self.found.items() if not {"error", "skipped"} & {*v}}
        self._write()

    def put(self, name: str, value: dict) -> None:
        self.found[name] = value
        self._write()
        if value != BROKE_OFF:
            shown = {key: v for key, v in value.items() if key != "losses"}
            print(f"{name}: {shown}", flush=True)

    def _write(self) -> None:
        text = json.dumps(self.found, indent=1) + "\n"
        write_atomically(self.path, lambda temporary: temporary.write_text(text))


def machine(arguments: argparse.Namespace) -> dict:
    """What measurements in one file have in common."""
    return {**hardware.describe(arguments.device), "preset": arguments.preset,
            "precision": arguments.precision, "rounds": arguments.rounds}


def work(arguments: argparse.Namespace, stored: Stored) -> None:
    """Measure what is missing until the time is up. Ends after an error: see `main`."""
    stored.put("machine", {**machine(arguments), "date": time.strftime("%Y-%m-%d")})
    for name, measure in measurements(arguments).items():
        if name in stored.found:
            continue
        if time.time() > arguments.until:
            return
        stored.put(name, BROKE_OFF)  # replaced below, unless the process dies
        began = time.perf_counter()
        try:
            found = measure()
        except ModuleNotFoundError as error:
            stored.put(name, {"skipped": str(error)})
            continue
        except Exception as error:
            stored.put(name, {"error": f"{type(error).__name__}: {error}"[:500]})
            raise SystemExit(1) from None  # an error may leave the GPU unusable to this process
        stored.put(name, {**found, "took": time.perf_counter() - began})
        gc.collect()  # a compiled step refers to itself
        if arguments.device.type == "cuda":
            torch.cuda.empty_cache()


def summary(found: dict) -> str:
    """What compiling saves, and from how much training to come it pays."""
    lines, rates, work = [], found.get("rates", {}), found.get("counts of ours", {})
    for batch in sorted(BATCHES):
        pair = [found.get(f"step, batch {batch}, {form}", {}) for form in ("graphs", LAST)]
        if not all("images_per_second" in row for row in pair):
            continue
        before, now = (row["images_per_second"] for row in pair)
        graphs, both = pair
        extra, saved = both["ready_after"] - graphs["ready_after"], 1 - before / now
        pays = "does not pay"
        if saved > 0:
            seconds = extra / saved  # of recorded steps
            pays = (f"pays after {1e3 * seconds / graphs['milliseconds']:,.0f} steps: COMPILING_"
                    f"PAYS_FROM in mae_lib/training/step.py should be {seconds:.0f} seconds")
        shares = {"product": (work.get("multiply_adds"), rates.get("multiply_adds_per_second")),
                  "memory": (both.get("bytes_moved"), rates.get("bytes_per_second"))}
        lines.append(
            f"batch {batch}: {before:,.0f} images/s recorded, {now:,.0f} compiled and recorded; "
            f"compiling ({extra:.0f} s, {saved:.0%} of a step saved) {pays}" + "".join(
                f"; {now * each / rate:.1%} of the {kind} rate"
                for kind, (each, rate) in shares.items() if each and rate))
    return "\n".join(lines)


def main() -> None:
    parser = timing.parser("gpu", __doc__)
    parser.set_defaults(rounds=3, seconds=0.5)
    parser.add_argument("--out", type=cli.folder, default=Path("runs/gpu"),
                        help="folder of gpu.json")
    parser.add_argument("--official", type=Path, help="a checkout of facebookresearch/mae")
    parser.add_argument("--minutes", type=timing.number(float, above=0), default=7.5,
                        help="begin no measurement after this many minutes")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to rehearse")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = timing.settle(parser)
    if arguments.batch_size != parser.get_default("batch_size"):
        raise ValueError("benchmarks.gpu measures several batch sizes, so leave out --batch-size.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.tiny:
        arguments.preset, arguments.rounds, arguments.seconds = "tiny", 1, 0.01
    path = arguments.out / "gpu.json"
    if arguments.until:
        with suppress(ValueError):  # unknown to this version of torch
            torch._logging.set_logs(inductor_metrics=True)  # or `metrics` would count no bytes
        return work(arguments, Stored(path))
    stored = Stored(path)
    here, there = machine(arguments), stored.found.get("machine", {})
    if other := [f"{k} {there[k]}, not {v}" for k, v in here.items() if there.get(k, v) != v]:
        raise ValueError(f"{path} has other settings ({'; '.join(other)}): name another --out.")
    stored.retry()
    until = time.time() + 60 * arguments.minutes
    words = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--until", str(until)]
    with tempfile.TemporaryDirectory() as cache:  # Triton's lies inside it
        empty = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        empty.pop("TRITON_CACHE_DIR", None)
        before = stored.found
        while subprocess.run(words, env=empty).returncode and time.time() < until:
            found = Stored(path).found
            if found.keys() <= before.keys() | {"machine"}:
                break  # a process that cannot even begin
            before = found
            print("A measurement failed; going on with the next one in a new process.", flush=True)
    found = Stored(path).found
    print(summary(found))
    missing = [name for name in measurements(arguments) if "error" in found.get(name, BROKE_OFF)]
    print(f"{path} is written. " + (f"Run this again for: {', '.join(missing)}." if missing else
                                    "Nothing is missing."))


if __name__ == "__main__":
    cli.run(main)
