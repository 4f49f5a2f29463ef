"""How fast pretraining is, beside other implementations of the same model.

All are timed in one process, after a warm-up, in turns, so that a machine that slows down or speeds
up does so for all; the median of several rounds counts. A step is forward, backward and AdamW on a
batch that lies on the device. "ours, whole step" starts from uint8 images and includes gathering,
cropping, flipping and scaling; the others would pay for these too.

  pip install lightly   # a peer; left out where it is not installed
  python -m benchmarks.pretrain_speed
  python -m benchmarks.pretrain_speed --precision bf16 --batch-size 512 --official PATH
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from mae_lib import cli, hardware
from mae_lib.config import PretrainConfig
from mae_lib.model import PRESETS
from mae_lib.optim import adamw, set_learning_rate
from mae_lib.pretrain import batch_indices, train_step

HERE = Path(__file__).parent


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def step_of(name: str, arguments: argparse.Namespace) -> Callable[[], None]:
    """A function that does one training step of the named implementation."""
    device, precision = arguments.device, arguments.precision
    sizes = PRESETS[arguments.preset]
    batch = arguments.batch_size
    cast = hardware.autocast(device, precision)
    torch.manual_seed(0)
    if name == "ours, whole step":
        stored = torch.randint(0, 256, (max(1024, batch), 3, 96, 96), dtype=torch.uint8).to(device)
        cfg = PretrainConfig(preset=arguments.preset, batch_size=batch)
        model = cfg.build_model().to(device)
        optimizer = adamw(model, cfg.weight_decay)
        set_learning_rate(optimizer, 1e-4)
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        steps = iter(range(10**9))

        def whole_step() -> None:
            step = next(steps)
            images = stored[batch_indices(len(stored), batch, step, 0).to(device)]
            train_step(model, images, optimizer, scaler, cast, peers.RATIO, step, cfg)

        return whole_step
    build = {"ours": peers.Ours, "transformers": peers.Transformers, "lightly": peers.Lightly,
             "official": lambda s: peers.Official(s, arguments.official)}[name]
    model = build(sizes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    images = torch.randn(batch, 3, sizes["img_size"], sizes["img_size"], device=device)

    def step() -> None:
        with cast:
            loss = model(images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def multiply_adds(name: str, arguments: argparse.Namespace) -> float:
    """Multiply-adds per image of a training step, counted by torch."""
    small = argparse.Namespace(**{**vars(arguments), "batch_size": 4, "precision": "fp32"})
    step = step_of(name, small)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2 / 4


def matrix_product_rate(device: torch.device, precision: str) -> float:
    """The most multiply-adds a second that large matrix products reach here."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, dtype=dtype, device=device)
    times = [seconds_of(lambda: a @ a, 3, device) for _ in range(5)]
    return n**3 / min(times[1:])


def peak_memory(name: str, arguments: argparse.Namespace) -> float:
    """Peak memory in MB: the GPU's here, or, on a CPU, of a process of its own."""
    if arguments.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step = step_of(name, arguments)
        step(), step()
        return torch.cuda.max_memory_allocated() / 2**20
    command = [sys.executable, "-m", "benchmarks.pretrain_speed", *sys.argv[1:]]
    command += ["--memory-of", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(names: list[str], arguments: argparse.Namespace) -> list[dict]:
    device = arguments.device
    steps, repeats = {}, {}
    for name in names:
        steps[name] = step_of(name, arguments)
        seconds_of(steps[name], 2, device)  # warm-up
        once = seconds_of(steps[name], 2, device)
        repeats[name] = max(1, round(arguments.seconds / once))
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(arguments.rounds):
        for name in names:
            times[name].append(seconds_of(steps[name], repeats[name], device))
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
    rate = matrix_product_rate(device, arguments.precision)
    rows = []
    for name in names:
        speeds = [arguments.batch_size / t for t in times[name]]
        ratios = [other / t for t, other in zip(times["ours"], times[name], strict=True)]
        work = multiply_adds(name, arguments)
        rows.append({
            "name": name, "images_per_second": statistics.median(speeds),
            "slowest": min(speeds), "fastest": max(speeds),
            "ours_is_faster_by": statistics.median(ratios), "multiply_adds": work,
            "share_of_matrix_rate": statistics.median(speeds) * work / rate,
            "peak_memory_mb": peak_memory(name, arguments),
        })
    return rows


def main() -> None:
    parser = cli.parser("python -m benchmarks.pretrain_speed", __doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--preset", default="specified", choices=PRESETS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="time of one measurement")
    parser.add_argument("--official", type=Path, help="a checkout of facebookresearch/mae")
    parser.add_argument("--json", type=Path, default=HERE / "pretrain_speed.json")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.device = hardware.pick_device(arguments.device)
    arguments.precision = hardware.pick_precision(arguments.device, arguments.precision)
    if arguments.device.type == "cpu":
        hardware.keep_freed_memory()
    if arguments.memory_of:
        step = step_of(arguments.memory_of, arguments)
        step(), step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    names = ["ours", "ours, whole step"]
    names += [name for name in ("transformers", "lightly") if importlib.util.find_spec(name)]
    names += ["official"] if arguments.official else []
    rows = measure(names, arguments)
    about = {
        **hardware.describe(arguments.device), "precision": arguments.precision,
        "preset": arguments.preset, "batch_size": arguments.batch_size,
        "date": time.strftime("%Y-%m-%d"),
    }
    arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    print(", ".join(f"{k} {v}" for k, v in about.items()))
    print(f"{'':18}{'images/s':>10}{'ours is':>10}{'Mmult-add':>11}{'of limit':>10}{'MB':>8}")
    for r in rows:
        print(f"{r['name']:18}{r['images_per_second']:10.0f}{r['ours_is_faster_by']:9.2f}×"
              f"{r['multiply_adds'] / 1e6:11.0f}{r['share_of_matrix_rate']:10.0%}"
              f"{r['peak_memory_mb']:8.0f}")


if __name__ == "__main__":
    cli.run(main)
