"""Several processes that train as one, started by torchrun: each takes its share of every batch.

In a single process every function here does nothing, so that the training code has one form.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def join(device: torch.device) -> torch.device:
    """Meet the other processes, if torchrun started this one, and return this one's own device.

    Raises ValueError for more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return device
    if device.type == "cuda":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(f"This machine has {gpus} GPUs: use --nproc-per-node {gpus} at most.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend, own = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    waits = timedelta(days=1)  # the first may have to download
    dist.init_process_group(backend, timeout=waits, device_id=own)
    return device


def require_one_process(command: str) -> None:
    """Raise ValueError if torchrun started this process together with others."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(f"{command} runs in one process: start it with python -m {command}, as "
                         "torchrun is for mae_lib.pretrain only.")


def leave() -> None:
    """Undo `join`."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share(batch_size: int) -> slice:
    """This process's rows of every batch; TrainStep checks that the shares are equal."""
    size = batch_size // world_size()
    first = 0 if is_first() else dist.get_rank() * size
    return slice(first, first + size)


def average(x: Tensor) -> Tensor:
    """The mean over processes, without gradient."""
    return gather(x.detach()[None]).mean(dim=0)


def gather(x: Tensor) -> Tensor:
    """The rows of all processes, (B, …) → (processes · B, …), without gradient.

    In a single process they are `x` itself.
    """
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def broadcast_from_first(value):
    """What the first process gave, in every process."""
    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box)
    return box[0]


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run the block in the first process, then in the others, which find what it left."""
    if not is_first():
        dist.barrier()
    yield
    if is_first() and world_size() > 1:
        dist.barrier()
