"""Which images make up the batch of a step, and how they get to the device."""

import functools
import gc
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from mae_lib.runtime import distributed, hardware
from mae_lib.runtime.hardware import RNG

# A pass over more images is shuffled shard by shard, so that no process holds an order of all of
# them: 8 GB for a billion images. A shard takes every n-th image, where n is
# the number of shards, because neighbours in a folder are alike.
SHARD = 2**20


@functools.lru_cache(maxsize=2)
def _shuffled(n: int, shard: int, shards: int, seed: int, turn: int,
              device: torch.device) -> Tensor:
    """Images shard, shard + shards, … below n, in the order in which pass `turn` takes them."""
    generator = hardware.generator(seed, RNG.ORDER, turn * shards + shard)
    # On the CPU, so that it is the same everywhere.
    order = torch.randperm(len(range(shard, n, shards)), generator=generator)
    return (order * shards + shard).to(device)


def batch_indices(n: int, batch_size: int, step: int, seed: int,
                  device: torch.device | str = "cpu") -> Tensor:
    """Which of n images make up the batch at `step`: (batch_size,).

    Batches are cut from an endless sequence of shuffled passes over the data, so that all are full
    and each image is seen once in a pass. The sequence depends on `n` and `seed` alone, not on the
    number of processes; each process takes its own rows of every batch.
    """
    place, stop, shards, parts = step * batch_size, (step + 1) * batch_size, -(-n // SHARD), []
    while place < stop:
        (turn, i), shard = divmod(place, n), 0
        while i >= (size := len(range(shard, n, shards))):
            shard, i = shard + 1, i - size
        order = _shuffled(n, shard, shards, seed, turn, torch.device(device))
        parts.append(order[i : i + stop - place])
        place += len(parts[-1])
    return torch.cat(parts)


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Images moved to a GPU if they fit into half of what is free there, else as they are."""
    if device.type != "cuda":
        return images
    gc.collect()  # earlier runs: a compiled step is a reference cycle, and torch caches memory
    torch.cuda.empty_cache()
    return images if images.nbytes > torch.cuda.mem_get_info(device)[0] / 2 else images.to(device)


def read_ahead(read: Callable[[int], Tensor], step: int) -> Iterator[Tensor]:
    """read(step), read(step + 1), …, each begun by a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(read, step)
        for following in itertools.count(step + 1):
            batch, pending = pending.result(), pool.submit(read, following)
            yield batch


def batches(images: Tensor, batch_size: int, seed: int, step: int,
            device: torch.device) -> Iterator[Tensor]:
    """This process's share of the batch at `step`, the next one, and so on, on `device`."""
    share = distributed.share(batch_size)

    def read(step: int) -> Tensor:
        return images[batch_indices(len(images), batch_size, step, seed, images.device)[share]]

    if images.device.type == device.type:
        yield from map(read, itertools.count(step))
    pinned = device.type == "cuda"
    for batch in read_ahead(lambda step: read(step).pin_memory() if pinned else read(step), step):
        yield batch.to(device, non_blocking=pinned)
