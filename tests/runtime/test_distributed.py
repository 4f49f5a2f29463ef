"""Several processes train what one would: started by torchrun, on CPUs, with gloo."""

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

from mae_lib.runtime import distributed
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
test_distributed.train(sys.argv[2])
"""


def train(out):
    """Train both methods for a few steps; also run in the processes that torchrun starts."""
    from test_pretrain import TINY, pictures

    from mae_lib import config, pretrain
    from mae_lib.runtime import hardware

    device = distributed.join(CPU)
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
        with mock.patch.object(hardware, "pick_precision", return_value=found):
            pretrain.pretrain(pictures(), pictures(8, seed=1), cfg, folder, device, progress=False)
    distributed.leave()


def torchrun(processes, *command):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone",
             f"--nproc-per-node={processes}", *command]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the same training by one process and by two."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "worker.py").write_text(WORKER)
    here = os.pathsep.join(sys.path)
    train(folder / "one")
    found = torchrun(2, folder / "worker.py", here, folder / "two")
    assert found.returncode == 0, found.stderr
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
        if name.endswith("qkv.bias"):
            # Attention does not depend on the keys' bias: its gradient is rounding alone, which
            # Adam makes as large as any other step.
            (a, _, c), (b, _, d) = a.chunk(3), b.chunk(3)
            torch.testing.assert_close(c, d, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_command_line_under_torchrun(tmp_path):
    """One line of output, one history, and a cache that one process built."""
    for split in ("train", "test"):
        (tmp_path / "pets" / split / "cat").mkdir(parents=True)
        for i in range(8):
            picture = Image.new("RGB", (16, 16), (30 * i, 100, 200))
            picture.save(tmp_path / "pets" / split / "cat" / f"{i}.png")
    found = torchrun(
        2, "-m", "mae_lib.pretrain", "--data", f"imagefolder:{tmp_path / 'pets'}", "--size", "16",
        "--preset", "tiny", "--img-size", "16", "--patch-size", "4", "--epochs", "1",
        "--warmup-epochs", "0", "--batch-size", "4", "--device", "cpu", "--precision", "fp32",
        "--out", tmp_path / "run",
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("Original: ") == 1
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["step", "step", "epoch"]


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


def test_a_batch_must_be_shared_equally(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch of 64 cannot be shared equally by 3 processes"):
        distributed.share(64)


def test_more_processes_than_gpus_are_explained(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="has 2 GPUs: use --nproc-per-node 2 at most"):
        distributed.join(torch.device("cuda"))
