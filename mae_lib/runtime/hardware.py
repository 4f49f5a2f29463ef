"""What the machine offers: device, precision, memory allocator, reproducible randomness."""

import ctypes
import functools
import platform
import timeit
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch

from mae_lib.runtime.checks import check_choice

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class RNG(IntEnum):
    """The independent streams of random numbers; see `generator`."""

    ORDER = 0
    CROP_AND_MASK = 1
    WEIGHTS = 2
    VALIDATION = 3
    RATIOS = 4
    FINE_TUNE = 10
    TEST_MASKS = 12
    FOLDS = 13
    LABELS = 14


def pick_device(name: str = "auto") -> torch.device:
    """The device by name: "cpu", "cuda", "cuda:N" or, on a Mac, "mps"; "auto" takes a CUDA GPU
    where there is one, else the CPU.

    Raises ValueError for an unknown device or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"Unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("No Apple GPU is available here: choose --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"No CUDA GPU is available here as {name!r}: choose --device cpu, or in "
                         "Colab select Runtime → Change runtime type → T4 GPU.")
    return device


def pick_precision(device: torch.device, name: str = "auto") -> str:
    """The precision of matrix products: "fp32", "bf16" or "fp16".

    "auto" takes bf16 on GPUs that have it natively (compute capability 8.0 and up; a T4 only
    emulates it), fp16 on older ones, bf16 on a CPU where a short measurement finds it faster (the
    instructions alone do not tell), else fp32. Raises ValueError for an impossible name.
    """
    if name != "auto":
        check_choice("precision", name, ["auto", *PRECISIONS])
        if name == "fp16" and device.type != "cuda":
            raise ValueError("Precision fp16 needs a CUDA GPU; use bf16 or fp32 on a CPU.")
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and _product_seconds(torch.bfloat16) * 1.2 < _product_seconds():
        return "bf16"
    return "fp32"


def settled_precision(device: torch.device, name: str, path: Path, anew: bool = False) -> str:
    """`pick_precision`, but "auto" repeats what an earlier start wrote to `path`, unless `anew`.

    A full disk leaves that file empty: then it is chosen again.
    """
    earlier = path.read_text("utf-8") if path.exists() else ""
    if name == "auto" and earlier and not anew:
        return pick_precision(device, earlier)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(precision := pick_precision(device, name), "utf-8")
    return precision


def _product_seconds(dtype: torch.dtype = torch.float32) -> float:
    a, b = torch.ones(2048, 192, dtype=dtype), torch.ones(192, 768, dtype=dtype)
    return min(timeit.repeat(lambda: a @ b, number=1, repeat=6))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which matrix products run at `precision`."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")


def generator(*numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator that depends on `numbers` (seed, RNG, step, …) alone.

    Nothing random in this package carries state from one step to the next, so a resumed run draws
    what an uninterrupted one would have.
    """
    # SeedSequence takes no notice of zeros at the end; the length keeps (3,) and (3, 0) apart.
    seed = np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(seed >> np.uint64(1)))


def reuse_freed_memory() -> None:
    """Ask glibc to keep freed memory instead of returning it to the system after every tensor.

    A training step frees and allocates the same large tensors again and again, which can cost a
    few per cent of a step on a CPU (benchmarks/README.md). Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_max = -1, -4
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def explain_full_memory(function: Callable) -> Callable:
    """`function`, raising MemoryError with one sentence when GPU or main memory is full."""

    @functools.wraps(function)
    def explained(*arguments, **named):
        try:
            return function(*arguments, **named)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Not inside `except`: notebooks keep the last error, and it would keep what it came from,
        # with every tensor that was alive there.
        raise MemoryError("There is not enough memory: lower batch_size, or take a smaller preset "
                          "or img_size; what was saved is kept.")

    return explained


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error`, or one behind it, is full memory: a broken CUDA graph is reported last."""
    words = ("out of memory", "ALLOC_FAILED",  # a GPU, and its libraries
             "can't allocate memory", "not enough memory")  # Linux; Windows
    return error is not None and (
        any(word in str(error) for word in words) or is_out_of_memory(error.__context__))


def describe(device: torch.device) -> dict[str, str | int]:
    """Device and versions, for the record of a result."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "mps":
        name = f"Apple {platform.machine()} GPU"
    else:
        threads = torch.get_num_threads()
        name = f"{platform.machine()} CPU, {threads} thread{'s' * (threads > 1)}"
    return {"device": name, "python": platform.python_version(), "torch": torch.__version__}
