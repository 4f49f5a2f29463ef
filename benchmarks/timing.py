"""What the benchmarks share: options, clocks, memory, and files of results.

Contenders are timed in turns in one process, after a warm-up, so that a machine that slows down
does so for all. The median of several rounds counts.
"""

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_lib import cli, hardware
from mae_lib.batches import batches
from mae_lib.config import PretrainConfig
from mae_lib.model import PRESETS
from mae_lib.step import TrainStep, fastest_step

RESULTS = Path(__file__).parent / "results"
RATIO = 0.75
Step = Callable[[], None]


def parser(command: str, description: str) -> argparse.ArgumentParser:
    found = cli.parser(f"python -m benchmarks.{command}", description)
    found.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    found.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    found.add_argument("--preset", default="specified", choices=PRESETS)
    found.add_argument("--batch-size", type=int, default=64)
    found.add_argument("--rounds", type=int, default=7)
    found.add_argument("--seconds", type=float, default=3.0, help="time of one measurement")
    found.add_argument("--memory-of", help=argparse.SUPPRESS)
    return found


def settle(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with a definite device and precision."""
    arguments = parser.parse_args()
    arguments.device = hardware.pick_device(arguments.device)
    arguments.precision = hardware.pick_precision(arguments.device, arguments.precision)
    if arguments.device.type == "cpu":
        hardware.keep_freed_memory()
    return arguments


@contextmanager
def usual_memory() -> Iterator[None]:
    """glibc's own policy, as a process has it that does not call `hardware.keep_freed_memory`.

    Its thresholds grow with the blocks that are freed, up to 32 MB; they are set to where training
    takes them, since a process cannot return to the policy that adapts.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    m_trim_threshold, m_mmap_threshold, m_mmap_max = -1, -3, -4
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(m_mmap_max, 65536)
    libc.mallopt(m_mmap_threshold, 2**25)
    libc.mallopt(m_trim_threshold, 2**26)
    try:
        yield
    finally:
        hardware.keep_freed_memory()


def our_step(
    arguments: argparse.Namespace, kind=fastest_step, ratio: float = RATIO, **settings
) -> Step:
    """A whole step of ours: gather uint8 images, crop, flip, scale, train."""
    device, n = arguments.device, arguments.batch_size
    cfg = PretrainConfig(preset=arguments.preset, batch_size=n, precision=arguments.precision,
                         **settings)
    stored = torch.randint(0, 256, (max(1024, n), 3, 96, 96), dtype=torch.uint8, device=device)
    train_step: TrainStep = kind(cfg.build_model().to(device), cfg)
    feed = enumerate(batches(stored, n, 0, 0, device))

    def step() -> None:
        i, images = next(feed)
        train_step(images, i, 1e-4, ratio)

    return step


def seconds_of(step: Step, repeats: int, device: torch.device) -> float:
    """Seconds of one step, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def in_turns(
    contenders: dict[str, tuple[Step, Callable[[], AbstractContextManager]]],
    arguments: argparse.Namespace,
) -> dict[str, list[float]]:
    """Seconds of a step of each contender, in each round; each runs inside its own context."""
    repeats, times = {}, {}
    for turn in range(-1, arguments.rounds):
        for name, (step, context) in contenders.items():
            with context():
                if turn < 0:
                    seconds_of(step, 4, arguments.device)  # warm-up, and a GPU's recording
                    once = seconds_of(step, 2, arguments.device)
                    repeats[name] = max(1, round(arguments.seconds / once))
                else:
                    seconds_of(step, 1, arguments.device)  # gets used to its context again
                    found = seconds_of(step, repeats[name], arguments.device)
                    times.setdefault(name, []).append(found)
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
    return times


def speed(times: list[float], batch_size: int) -> dict[str, float]:
    speeds = [batch_size / t for t in times]
    return {"images_per_second": statistics.median(speeds),
            "slowest": min(speeds), "fastest": max(speeds)}


def ratio_of(slow: list[float], fast: list[float]) -> float:
    """How many times as long `slow` takes: the median over rounds."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def multiply_adds(step: Step, batch_size: int) -> float:
    """Multiply-adds of matrix products per image of a plain training step, counted by torch."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2 / batch_size


def matrix_product_rate(device: torch.device, precision: str) -> float:
    """The most multiply-adds a second that large matrix products reach here."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, dtype=dtype, device=device)
    times = [seconds_of(lambda: a @ a, 3, device) for _ in range(5)]
    return n**3 / min(times[1:])


def peak_memory(command: str, name: str) -> float:
    """Peak memory in MB of a contender in a process of its own: see `print_peak_memory`."""
    words = [sys.executable, "-m", f"benchmarks.{command}", *sys.argv[1:], "--memory-of", name]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def print_peak_memory(step: Step, device: torch.device) -> None:
    """The GPU's memory that was reserved, libraries aside; on a CPU the whole process's."""
    for _ in range(5):
        step()
    if device.type == "cuda":
        print(torch.cuda.max_memory_reserved() / 2**20)
    else:
        status = Path("/proc/self/status").read_text()  # getrusage would count the parent's too
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def save(command: str, arguments: argparse.Namespace, **found) -> None:
    """Put a measurement into results/COMMAND.json, in place of one of the same settings."""
    about = {
        **hardware.describe(arguments.device), "precision": arguments.precision,
        "preset": arguments.preset, "batch_size": arguments.batch_size,
    }
    path = RESULTS / f"{command}.json"
    others = json.loads(path.read_text()) if path.exists() else []
    others = [o for o in others if any(o.get(k) != v for k, v in about.items())]
    about |= {"rounds": arguments.rounds, "date": time.strftime("%Y-%m-%d")}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*others, {**about, **found}], indent=1) + "\n")
