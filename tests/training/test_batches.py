"""Which images a step gets, and how they are read."""

import itertools
import threading
import weakref

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from mae_lib.training import batches as B

CPU = torch.device("cpu")


def test_batches_are_cut_from_shuffled_passes():
    """Whatever the batch size, every image comes once in each pass."""
    row = torch.cat([B.batch_indices(12, 8, step, seed=5) for step in range(6)])  # 48 = 4 passes
    for turn in row.view(4, 12):
        assert sorted(turn.tolist()) == list(range(12))
    assert not torch.equal(row[:12], row[12:24])
    assert torch.equal(B.batch_indices(12, 8, 4, seed=5), row[32:40])  # no state between calls
    assert not torch.equal(B.batch_indices(12, 8, 0, seed=6), row[:8])


@pytest.mark.parametrize("batch_size", [1, 7, 12, 30])
def test_the_row_of_passes_does_not_depend_on_the_batch_size(batch_size):
    def row(size, count=120):
        steps = range(-(-count // size))
        return torch.cat([B.batch_indices(12, size, s, seed=1) for s in steps])[:count]

    assert torch.equal(row(batch_size), row(8))


@pytest.mark.parametrize("n", [7, 8, 9, 23])
def test_a_long_pass_is_drawn_shard_by_shard(n, monkeypatch):
    """Every image comes once in each pass, each shard's from all over the data."""
    monkeypatch.setattr(B, "SHARD", 4)
    steps = range(3 * n)
    row = torch.cat([B.batch_indices(n, 1, step, seed=5) for step in steps]).view(3, n)
    for turn in row:
        assert sorted(turn.tolist()) == list(range(n))
    shards = -(-n // 4)
    assert len({int(i) % shards for i in row[0, : n // shards]}) == 1
    assert not torch.equal(row[0], row[1])
    batches = torch.cat([B.batch_indices(n, 6, step, seed=5) for step in range(n // 2)])
    assert torch.equal(batches, row.flatten()[: len(batches)])
    held = []
    monkeypatch.setattr(torch, "randperm", lambda k, real=torch.randperm, **named: (
        held.append(k), real(k, **named))[1])
    B._shuffled.cache_clear()
    B.batch_indices(n, 2, 0, seed=5)
    assert max(held) <= 4 and len(held) <= 2


def test_batches_are_the_images_of_their_indices():
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 3, 4, 4)
    found = list(itertools.islice(B.batches(images, 6, 3, 5, CPU), 4))  # over the end of a pass
    for step, batch in enumerate(found, 5):
        assert torch.equal(batch, images[B.batch_indices(20, 6, step, 3)])


def test_reading_ahead_keeps_the_order_and_stays_one_ahead():
    begun, go = [], threading.Semaphore(0)

    def read(step):
        begun.append(step)
        go.acquire()
        return torch.tensor(step)

    found = B.read_ahead(read, 4)
    go.release(2)
    assert next(found) == 4
    go.release()
    assert next(found) == 5
    assert begun[:2] == [4, 5] and max(begun) <= 6  # 6 begins when 5 is handed out, 7 not yet
    go.release(2)
    found.close()


def test_an_error_in_reading_ahead_reaches_the_training():
    def read(step):
        if step == 2:
            raise OSError("the disk went away")
        return torch.tensor(step)

    found = B.read_ahead(read, 0)
    assert [next(found).item() for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="the disk went away"):
        next(found)


def test_on_a_cpu_images_stay_where_they_are():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert B.on_device(images, CPU) is images


def test_a_process_takes_its_share_of_every_batch(monkeypatch):
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 3, 4, 4)
    whole = list(itertools.islice(B.batches(images, 6, 3, 5, CPU), 4))
    monkeypatch.setattr(B.distributed, "share", lambda size: slice(size // 3, size * 2 // 3))
    mine = list(itertools.islice(B.batches(images, 6, 3, 5, CPU), 4))
    for part, batch in zip(mine, whole, strict=True):
        assert torch.equal(part, batch[2:4])


@pytest.mark.parametrize("free, fits", [(19_200, True), (19_199, False)])
def test_images_go_to_the_gpu_if_they_fill_half_of_its_free_memory_at_most(monkeypatch, free, fits):
    """What is free counts, not what it has. Streamed or not, the batches are the same."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    expected = list(itertools.islice(B.batches(images, 8, 1, 3, CPU), 10))
    with pretended_gpu():
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (free, 10**9))
        placed = B.on_device(images, GPU)
        assert placed.device == (GPU if fits else CPU)
        for a, b in zip(B.batches(placed, 8, 1, 3, GPU), expected, strict=False):
            assert a.device == GPU and torch.equal(a.cpu(), b)


def test_what_earlier_trainings_left_is_cleared_before_the_free_memory_is_read(monkeypatch):
    """Or the second of two methods would be streamed, and be slower, for the first one's sake."""
    class Step:
        pass

    step, cleared = Step(), []
    step.itself, left = step, weakref.ref(step)
    del step  # as a compiled step refers to itself
    with pretended_gpu():
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: cleared.append(left() is None))
        monkeypatch.setattr(torch.cuda, "mem_get_info",
                            lambda *_: (10**9 if cleared == [True] else 0, 10**9))
        assert B.on_device(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), GPU).device == GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_images_are_streamed_to_a_real_gpu():
    gpu = torch.device("cuda")
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    resident = images.to(gpu)
    both = zip(B.batches(resident, 8, 0, 0, gpu), B.batches(images, 8, 0, 0, gpu), strict=True)
    for a, b in itertools.islice(both, 10):
        assert a.device.type == b.device.type == "cuda" and torch.equal(a, b)
