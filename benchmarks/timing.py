"""What the benchmarks share: options, clocks, memory, and files of results.

Contenders are timed in turns, after a warm-up, so that a machine that slows down does so for all.
The median of several rounds counts.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from mae_lib.config import PretrainConfig
from mae_lib.model import PRESETS, MaskedAutoencoder
from mae_lib.results import student
from mae_lib.runtime import cli, hardware
from mae_lib.runtime.checks import check_value
from mae_lib.training.batches import batches
from mae_lib.training.checkpoints import ASSETS
from mae_lib.training.step import TrainStep, fastest_step

RESULTS = ASSETS
RATIO = 0.75
Step = Callable[[], None]
Contender = Callable[[int], float]  # the seconds of a step, over so many repeats


def number(kind: type, **bounds: float) -> Callable[[str], float]:
    """A `type` for argparse: a number within the bounds of `checks.check_value`."""

    def read(text: str) -> float:
        value = kind(text)  # argparse names what is not a number
        try:
            check_value("the value", value, kind, **bounds)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    read.__name__ = kind.__name__
    return read


def parser(command: str, description: str) -> argparse.ArgumentParser:
    found = cli.parser(f"python -m benchmarks.{command}", description)
    found.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    found.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    found.add_argument("--preset", default="specified", choices=PRESETS,
                       help="model size (default: %(default)s)")
    found.add_argument("--batch-size", type=number(int, at_least=1), default=64,
                       help="images in a step (default: %(default)s)")
    found.add_argument("--rounds", type=number(int, at_least=1), default=7,
                       help="times that each contender is measured (default: %(default)s)")
    found.add_argument("--seconds", type=number(float, above=0), default=3.0,
                       help="seconds of one measurement (default: %(default)s)")
    found.add_argument("--contender", help=argparse.SUPPRESS)
    return found


def settle(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with a definite device and precision."""
    arguments = parser.parse_args()
    arguments.device = hardware.pick_device(arguments.device)
    if arguments.device.type == "mps":
        raise ValueError("Benchmarks cannot wait for an Apple GPU: choose --device cpu or cuda.")
    if arguments.device.type == "cuda":  # the one that is waited for, and whose memory is asked
        torch.cuda.set_device(arguments.device)
    arguments.precision = hardware.pick_precision(arguments.device, arguments.precision)
    return arguments


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


def compiled(model: MaskedAutoencoder, cfg: PretrainConfig) -> TrainStep:
    """Our fastest step, compiled by torch.compile in its default mode."""
    step = fastest_step(model, cfg)
    step.compile()
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


def here(step: Step, device: torch.device, context=nullcontext) -> Contender:
    """A contender in this process, each of whose measurements runs inside `context`."""

    def measure(repeats: int) -> float:
        with context():
            seconds_of(step, 1, device)  # gets used to its context again
            return seconds_of(step, repeats, device)

    return measure


class Apart:
    """A contender in a process of its own, with its own memory policy and `environment` variables.

    It takes the precision that this process has chosen. See `serve`.
    """

    def __init__(self, command: str, name: str, precision: str, **environment: str):
        words = [sys.executable, "-m", f"benchmarks.{command}", *sys.argv[1:], "--precision",
                 precision, "--contender", name]
        self.process = subprocess.Popen(words, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env={**os.environ, **environment})

    def __call__(self, repeats: int) -> float:
        """Seconds of a step; 0 repeats ask for the peak memory in MB instead."""
        print(repeats, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def crowded(measure: Contender) -> Contender:
    """A contender beside a process that keeps one core busy. One step is enough to see it."""

    def beside(_: int) -> float:
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            return measure(1)
        finally:
            other.kill()
            other.wait()

    return beside


def serve(step: Step, device: torch.device) -> None:
    """What the process of an `Apart` does: measure as often as it is asked, print, and wait.

    Memory is the GPU's that was reserved, libraries aside; on a CPU the whole process's.
    """
    for line in sys.stdin:
        if repeats := int(line):
            print(seconds_of(step, repeats, device), flush=True)
        elif device.type == "cuda":
            print(torch.cuda.max_memory_reserved() / 2**20, flush=True)
        elif (status := Path("/proc/self/status")).exists():
            print(int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024, flush=True)
        else:  # a Mac, which counts in bytes
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, flush=True)


def in_turns(
    contenders: dict[str, Contender], arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of a step of each contender, in each round."""
    repeats, times = {}, {}
    for name, measure in contenders.items():
        measure(4)  # warm-up, and a GPU's recording
        repeats[name] = max(1, round(arguments.seconds / measure(2)))
    for turn in range(arguments.rounds):
        for name, measure in contenders.items():
            times.setdefault(name, []).append(measure(repeats[name]))
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
    return times


def speed(times: list[float], batch_size: int) -> dict[str, float]:
    speeds = [batch_size / t for t in times]
    return {"images_per_second": statistics.median(speeds),
            "slowest": min(speeds), "fastest": max(speeds)}


def ratio_of(slow: list[float], fast: list[float]) -> float:
    """How many times as long `slow` takes: the median over rounds."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def ratio_with_interval(name: str, slow: list[float], fast: list[float]) -> dict[str, float]:
    """`ratio_of` under `name`, and where there are several rounds the 95 % interval of their mean,
    under `name`_low and `name`_high.
    """
    found = {name: ratio_of(slow, fast)}
    if len(slow) > 1:
        _, low, high = student([s / f for s, f in zip(slow, fast, strict=True)])
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def multiply_adds(step: Step, batch_size: int) -> float:
    """Multiply-adds of matrix products per image of a plain training step, counted by torch."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2 / batch_size


class Operations(TorchDispatchMode):
    """The operations that torch runs inside: floating-point operations and bytes of each.

    Bytes are those of the tensors that it reads and writes, as if no cache helped. Views and new
    memory cost nothing.
    """

    def __init__(self):
        super().__init__()
        self.found: list[tuple[float, float]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        schema, packet = function._schema, function.overloadpacket
        changed = [i for i, a in enumerate(schema.arguments) if a.alias_info and
                   a.alias_info.is_write and i < len(args)]
        view = not changed and any(value.alias_info for value in schema.returns)
        free = ("prim.", "empty", "detach", "_unsafe_view")
        if view or any(word in str(packet) for word in free):
            return result
        written = result if schema.returns else [args[i] for i in changed]
        moved = sum(min(x.numel() * x.element_size(), x.untyped_storage().nbytes())
                    for x in tree_leaves((args, kwargs, written)) if isinstance(x, Tensor))
        count = flop_registry.get(packet, lambda *_, **__: 0)
        self.found.append((count(*args, **kwargs, out_val=result), moved))
        return result


def operations(make: Callable[[], Step]) -> list[tuple[float, float]]:
    """Floating-point operations and bytes of each operation of the step that `make` builds.

    Nothing is computed: the step runs on tensors that have shapes but no values.
    """
    with FakeTensorMode():
        step = make()
        step()  # makes the optimizer's moments
        with Operations() as operations:
            step()
    return operations.found


def memory_rate(device: torch.device) -> float:
    """The bytes a second at which a large tensor is read and written here."""
    x = torch.ones(2**28 if device.type == "cuda" else 2**24, device=device)
    y = torch.empty_like(x)
    return 2 * x.nbytes / min(seconds_of(lambda: y.copy_(x), 5, device) for _ in range(4))


def matrix_product_rate(device: torch.device, precision: str) -> float:
    """The most multiply-adds a second that large matrix products reach here."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, dtype=dtype, device=device)
    times = [seconds_of(lambda: a @ a, 3, device) for _ in range(5)]
    return n**3 / min(times[1:])


def processor() -> str:
    """The name of the CPU, which decides how fast a CPU is and how fast a GPU is fed."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or "unknown"


def save(command: str, arguments: argparse.Namespace, **found) -> None:
    """Put a measurement into mae_lib/assets/COMMAND.json, in place of one of the same settings."""
    about = {
        **hardware.describe(arguments.device), "precision": arguments.precision,
        "preset": arguments.preset, "batch_size": arguments.batch_size,
    }
    path = RESULTS / f"{command}.json"
    others = json.loads(path.read_text()) if path.exists() else []
    others = [o for o in others if any(o.get(k) != v for k, v in about.items())]
    about |= {"rounds": arguments.rounds, "date": time.strftime("%Y-%m-%d"),
              "processor": processor()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*others, {**about, **found}], indent=1) + "\n")
