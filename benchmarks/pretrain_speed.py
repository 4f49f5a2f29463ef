"""How fast pretraining is, compared with other implementations of the same model.

Each is timed twice: a step (forward, backward and AdamW on a batch that lies on the device), and
end to end, from uint8 images: ours with its crops of whole batches, the others with the official
recipe's torchvision transforms in a DataLoader. Each has a process of its own, and in ours freed
memory is kept, as in training (hardware.reuse_freed_memory); they take turns.

  pip install lightly   # a peer; left out where it is not installed
  python -m benchmarks.pretrain_speed
  python -m benchmarks.pretrain_speed --precision bf16 --batch-size 512 --official PATH
"""

import argparse
import importlib.util
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import peers, timing
from benchmarks.timing import Step
from mae_lib.data.augment import MEAN, STD
from mae_lib.model import PRESETS
from mae_lib.runtime import cli, hardware
from mae_lib.training.optim import adamw, set_learning_rate

BICUBIC = transforms.InterpolationMode.BICUBIC
PEERS = {"transformers": peers.Transformers, "lightly": peers.Lightly}
COMPILED, END = "ours, compiled", ", end to end"


class Stored(Dataset):
    """Random images in memory, prepared one at a time as the official code does."""

    def __init__(self, size: int):
        self.images = torch.randint(0, 256, (1024, 3, 96, 96), dtype=torch.uint8)
        self.transform = transforms.Compose([
            transforms.ToPILImage(),
            transforms.RandomResizedCrop(size, (0.2, 1.0), interpolation=BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ])

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.transform(self.images[i % len(self.images)])


def model_step(name: str, arguments: argparse.Namespace,
               compiling: Callable = lambda model: model) -> Callable[[torch.Tensor], None]:
    """A training step of the named implementation on normalised images."""
    build = {"ours": peers.Ours, COMPILED: peers.Ours, **PEERS,
             "official": lambda sizes: peers.Official(sizes, arguments.official)}[name]
    torch.manual_seed(0)
    model = build(PRESETS[arguments.preset])
    if arguments.device.type != "cpu":  # `counted` has tensors without values, which cannot move
        model = model.to(arguments.device)
    if name.startswith("ours"):
        optimizer = adamw(model.mae, 0.05)
        set_learning_rate(optimizer, 1e-4)
        model = torch.compile(model) if name == COMPILED else model
    else:
        model = compiling(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    cast = hardware.autocast(arguments.device, arguments.precision)
    scaler = torch.amp.GradScaler(arguments.device.type, enabled=arguments.precision == "fp16")

    def step(images: torch.Tensor) -> None:
        with cast:
            loss = model(images)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def step_of(name: str, arguments: argparse.Namespace,
            compiling: Callable = lambda model: model) -> Step:
    """What is timed under this name; `compiling` may be torch.compile, for the others' models."""
    if name == "ours" + END:
        return timing.our_step(arguments)
    if name == COMPILED + END:
        return timing.our_step(arguments, timing.compiled)
    size, device = PRESETS[arguments.preset]["img_size"], arguments.device
    train = model_step(name.removesuffix(END), arguments, compiling)
    if not name.endswith(END):
        images = torch.randn(arguments.batch_size, 3, size, size, device=device)
        return lambda: train(images)
    loader = DataLoader(Stored(size), arguments.batch_size, num_workers=os.cpu_count() or 1,
                        pin_memory=device.type == "cuda")
    feed = iter(loader)
    return lambda: train(next(feed).to(device, non_blocking=True))


def counted(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Multiply-adds and bytes of a plain step per image; the bytes are counted without computing.

    Half precision is counted as fp16, for which a CPU takes the operations that a GPU takes.
    """
    plain = "ours" if name == COMPILED else name
    cpu = {**vars(arguments), "device": torch.device("cpu")}
    half = "fp32" if arguments.precision == "fp32" else "fp16"
    few = argparse.Namespace(**{**cpu, "batch_size": 4, "precision": "fp32"})
    result = {"multiply_adds": timing.multiply_adds(step_of(plain, few), 4)}
    with suppress(DataDependentOutputException):  # timm reads values while it builds a model
        found = timing.operations(
            lambda: step_of(plain, argparse.Namespace(**{**cpu, "precision": half})))
        result["bytes_moved"] = sum(moved for _, moved in found) / arguments.batch_size
    return result


def measure(names: list[str], arguments: argparse.Namespace) -> list[dict]:
    times, memory = {}, {}
    for group in (names, [name + END for name in names]):
        contenders = {name: timing.Apart("pretrain_speed", name, arguments.precision)
                      for name in group}
        times |= timing.in_turns(contenders, arguments)
        for name, contender in contenders.items():
            memory[name] = contender(0)
            contender.close()
    rate = timing.matrix_product_rate(arguments.device, arguments.precision)
    memory_rate = timing.memory_rate(arguments.device)
    rows = []
    for name in names:
        row = {"name": name, **timing.speed(times[name], arguments.batch_size),
               **timing.ratio_with_interval("ours_is_faster_by", times[name], times["ours"]),
               **counted(name, arguments), "peak_memory_mb": memory[name]}
        row["share_of_matrix_rate"] = row["images_per_second"] * row["multiply_adds"] / rate
        if moved := row.get("bytes_moved"):
            row["share_of_memory_rate"] = row["images_per_second"] * moved / memory_rate
        end = timing.speed(times[name + END], arguments.batch_size)
        row |= {"end_to_end": end["images_per_second"], **timing.ratio_with_interval(
            "ours_is_faster_by_end_to_end", times[name + END], times["ours" + END])}
        rows.append(row)
    return rows


def main() -> None:
    parser = timing.parser("pretrain_speed", __doc__)
    parser.add_argument("--official", type=Path, help="a checkout of facebookresearch/mae")
    arguments = timing.settle(parser)
    if name := arguments.contender:
        if name.startswith("ours") and arguments.device.type == "cpu":
            hardware.reuse_freed_memory()
        return timing.serve(step_of(name, arguments), arguments.device)
    names = ["ours", *([COMPILED] if shutil.which("g++") else [])]
    names += [name for name in PEERS if importlib.util.find_spec(name)]
    names += ["official"] if arguments.official else []
    timing.save("pretrain_speed", arguments, rows=measure(names, arguments))
    print("Written. The tables: python -m benchmarks.report")


if __name__ == "__main__":
    cli.run(main)
