"""Several processes train what one would: started by torchrun, on CPUs, with gloo."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from PIL import Image
from test_step import without_keys_bias

from mae_lib.runtime import distributed
from mae_lib.training import batches
from mae_lib.training.checkpoints import load_weights
from mae_lib.training.history import History

CPU = torch.device("cpu")
WORKER = """
import os
import sys
import torch
torch.set_num_threads(1)
sys.path[:0] = sys.argv[1].split(os.pathsep)
import test_distributed
test_distributed.work(sys.argv[2])
"""
COMMAND = """
    --preset tiny --img-size 16 --patch-size 4 --size 16 --epochs 1 --warmup-epochs 0 --batch-size 4
    --device cpu --precision fp32
"""


def train(out):
    """Train both methods for a few steps; also run in the processes that torchrun starts."""
    from test_pretrain import TINY, pictures

    from mae_lib import config, pretrain
    from mae_lib.runtime import hardware

    # "auto" finds another precision in the second process: it must take the first one's.
    found = "fp32" if distributed.is_first() else "bf16"
    for variant in ("original", "improved"):
        cfg = replace(TINY, lambda_freq=0.0, lambda_unif=0.0, mask_ratio_sched="const",
                      precision="auto")
        # Weights of 1, so that an error in the gradient of one term cannot hide behind another.
        settings = {k: 1.0 if k.startswith("lambda") else v
                    for k, v in config.variant_settings(variant).items()}
        folder = Path(out) / variant
        cfg = replace(cfg, **settings)
        # All images are read for the description by one process alone.
        describe = pretrain.describe_images if distributed.is_first() else None
        with mock.patch.object(hardware, "pick_precision", return_value=found), \
                mock.patch.object(pretrain, "describe_images", describe):
            pretrain.pretrain(pictures(), pictures(8, seed=1), cfg, folder, CPU, progress=False)


def work(folder):
    """What each process does: the command as it is, the training of `train`, and sums."""
    from mae_lib import pretrain

    words = f"--data imagefolder:{folder}/pets --out {folder}/run {COMMAND}".split()
    with mock.patch.object(sys, "argv", ["pretrain", *words]), \
            mock.patch.object(distributed, "leave") as leave:
        pretrain.main()
    assert leave.called and distributed.world_size() == 2
    train(f"{folder}/two")
    rank = torch.distributed.get_rank()
    x = torch.arange(6.0).view(2, 3) if rank else torch.ones(2, 3)
    rows = distributed.gather(x)
    with mock.patch.object(batches, "SHARD", 10):  # a pass over 48 images has five
        images = torch.arange(48).view(48, 1, 1, 1)
        feed = itertools.islice(batches.batches(images, 6, 3, 0, CPU), 8)
        seen = torch.cat(list(feed)).flatten().tolist()
    state = {"share": distributed.share(6), "rows": rows.tolist(), "seen": seen,
             "mean": distributed.average(x).tolist(),
             "told": distributed.broadcast_from_first(f"from {rank}")}
    Path(folder, f"state{rank}.txt").write_text(repr(state))
    distributed.leave()
    assert not torch.distributed.is_initialized()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the same training by one process and by two, which also ran the command."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "worker.py").write_text(WORKER)
    for split in ("train", "test"):
        (folder / "pets" / split / "cat").mkdir(parents=True)
        for i in range(8):
            picture = Image.new("RGB", (16, 16), (30 * i, 100, 200))
            picture.save(folder / "pets" / split / "cat" / f"{i}.png")
    train(folder / "one")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
             folder / "worker.py", os.pathsep.join(sys.path), folder]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MAE_LIB_CACHE": str(folder / "cache")}
    found = subprocess.run(words, capture_output=True, text=True, env=env)
    assert found.returncode == 0, found.stderr
    (folder / "printed.txt").write_text(found.stdout)
    return folder


@pytest.mark.parametrize("variant", ["original", "improved"])
def test_two_processes_train_what_one_does(runs, variant):
    one, two = (History(runs / n / variant / "history.jsonl", 10**9) for n in ("one", "two"))
    assert len(one.records) == len(two.records) == 12  # 3 epochs of 3 steps, each line once
    for a, b in zip(one.records, two.records, strict=True):
        assert a.pop("kind") == b.pop("kind")
        a.pop("seconds", None), b.pop("seconds", None)
        assert a == pytest.approx(b, rel=1e-5)
    models = [load_weights(runs / n / variant / "model.safetensors")[0] for n in ("one", "two")]
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        a, b = (without_keys_bias(name, weights) for weights in (a, b))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_command_under_torchrun(runs):
    """One line of output, one history, and a cache that one process built."""
    assert (runs / "printed.txt").read_text().count("Original: ") == 1
    lines = (runs / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["step", "step", "epoch"]
    assert len(list((runs / "cache").iterdir())) == 1


def test_processes_share_a_pass_without_overlap(runs):
    """Drawn by shards, in the order that one process would see."""
    first, second = (eval((runs / f"state{rank}.txt").read_text())["seen"] for rank in (0, 1))
    assert len(first) == len(second) == 24 and sorted(first + second) == list(range(48))
    with mock.patch.object(batches, "SHARD", 10):
        row = [batches.batch_indices(48, 6, step, 3).tolist() for step in range(8)]
    assert first == [i for batch in row for i in batch[:3]]
    assert second == [i for batch in row for i in batch[3:]]


def test_what_processes_tell_each_other(runs):
    first, second = (eval((runs / f"state{rank}.txt").read_text()) for rank in (0, 1))
    mine = [[1.0] * 3] * 2
    theirs = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert first["rows"] == second["rows"] == mine + theirs
    assert first["mean"] == second["mean"] == [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]
    assert (first["share"], second["share"]) == (slice(0, 3), slice(3, 6))
    assert first["told"] == second["told"] == "from 0"


@pytest.mark.parametrize("first, order", [
    (True, ["block", "barrier"]), (False, ["barrier", "block"])])
def test_the_first_process_is_waited_for(monkeypatch, first, order):
    done = []
    monkeypatch.setattr(distributed, "is_first", lambda: first)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "barrier", lambda: done.append("barrier"))
    with distributed.first_process_first():
        done.append("block")
    assert done == order


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(distributed.dist, "init_process_group",
                        lambda backend, timeout, device_id: asked.append((backend, device_id)))
    assert distributed.join(torch.device("cuda")) == torch.device("cuda", 1)
    own = torch.device("cuda", 1)
    assert asked == [own, ("nccl", own)]
    assert distributed.join(CPU) == CPU and asked[2:] == [("gloo", None)]


@pytest.mark.parametrize("command", ["mae_lib.compare", "mae_lib.evidence.experiments"])
def test_commands_of_one_process_say_so(monkeypatch, command):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.require_one_process(command)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=f"{command} runs in one process: start it with python -m"):
        distributed.require_one_process(command)


def test_alone_everything_is_left_as_it_is():
    x = torch.ones(4, 3, requires_grad=True)
    assert distributed.join(CPU) == CPU
    assert distributed.world_size() == 1 and distributed.is_first()
    assert distributed.share(7) == slice(0, 7)
    assert distributed.gather(x) is x
    assert torch.equal(distributed.average(x), x) and not distributed.average(x).requires_grad
    with distributed.first_process_first():
        pass
    distributed.leave()


@pytest.mark.parametrize("rank", [2, 3])
def test_more_processes_than_gpus_are_explained(monkeypatch, rank):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="has 2 GPUs: use --nproc-per-node 2 at most"):
        distributed.join(torch.device("cuda"))
