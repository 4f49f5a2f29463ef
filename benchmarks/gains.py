"""What each speed-up of ours is worth: the whole step, with one of them taken back at a time.

  python -m benchmarks.gains
"""

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as TF

from benchmarks import timing
from mae_lib import cli, losses
from mae_lib import step as steps
from mae_lib.augment import normalise
from mae_lib.masking import take_patches
from mae_lib.model import Attention, MaskedAutoencoder
from mae_lib.step import RecordedStep, TrainStep, fastest_step


def embed_all(self: MaskedAutoencoder, images: Tensor, ids_keep: Tensor) -> Tensor:
    """`encode` as in the official code: embed every patch, then drop the hidden ones."""
    x = self.patch_embed.proj(images).flatten(2).mT + self.pos_embed[:, self.num_extra :]
    x = take_patches(x, ids_keep)
    for block in self.blocks:
        x = block(x)
    return self.norm(x)


def products_and_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1) @ v


def attention_at_any_precision(self: Attention, x: Tensor) -> Tensor:
    """Fused attention at the precision of the products around it, bfloat16 included."""
    b, n, d = x.shape
    q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


def torch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    variance = patches.var(dim=-1, keepdim=True)
    return patches.mean(dim=-1, keepdim=True), (variance + losses.NORM_PIX_EPS).sqrt()


def crop_one_by_one(images: Tensor, size: int, crops: Tensor) -> Tensor:
    found = []
    for image, (top, left, h, w, flip) in zip(normalise(images), crops.T.tolist(), strict=True):
        box = int(top), int(left), int(h), int(w)
        x = TF.resized_crop(image, *box, [size, size], antialias=True)
        found.append(TF.hflip(x) if flip else x)
    return torch.stack(found)


class ParameterByParameter(TrainStep):
    """AdamW in Python's loop, torch's default on a CPU."""

    def __init__(self, model, cfg):
        super().__init__(model, cfg)
        groups = copy.copy(self.optimizer.param_groups)
        for group in groups:
            group.update(fused=False, foreach=False)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))


class Compiled(RecordedStep):
    """The model compiled by torch.compile, then recorded."""

    def __init__(self, model, cfg):
        super().__init__(model, cfg)
        self.forward = torch.compile(model)


class CompiledPlain(TrainStep):
    def __init__(self, model, cfg):
        super().__init__(model, cfg)
        self.forward = torch.compile(model)


@contextmanager
def replaced(owner, name: str, new) -> Iterator[None]:
    with mock.patch.object(owner, name, new):
        yield


def main() -> None:
    arguments = timing.settle(timing.parser("gains", __doc__))

    def ours(kind=fastest_step) -> timing.Step:
        return timing.our_step(arguments, kind)

    contenders = {
        "as it is": (ours(), nullcontext),
        "every patch embedded, by a convolution":
            (ours(), lambda: replaced(MaskedAutoencoder, "encode", embed_all)),
        "attention as products and softmax":
            (ours(), lambda: replaced(F, "scaled_dot_product_attention", products_and_softmax)),
        "patch statistics by torch.var":
            (ours(), lambda: replaced(losses, "patch_statistics", torch_statistics)),
    }
    if arguments.device.type == "cuda":
        contenders["every kernel launched from Python"] = ours(TrainStep), nullcontext
        contenders["compiled and recorded"] = ours(Compiled), nullcontext
    else:
        contenders["crops one image at a time"] = (
            ours(), lambda: replaced(steps, "crop", crop_one_by_one))
        contenders["AdamW parameter by parameter"] = ours(ParameterByParameter), nullcontext
        contenders["glibc's usual memory policy"] = ours(), timing.usual_memory
        if shutil.which("g++"):
            contenders["compiled"] = ours(CompiledPlain), nullcontext
        if arguments.precision != "fp32":
            contenders["attention in " + arguments.precision] = (
                ours(), lambda: replaced(Attention, "forward", attention_at_any_precision))
    times = timing.in_turns(contenders, arguments)
    rows = [{"name": name, **timing.speed(found, arguments.batch_size),
             "seconds_ratio": timing.ratio_of(found, times["as it is"])}
            for name, found in times.items()]
    timing.save("gains", arguments, rows=rows)
    print("Written. The tables: python -m benchmarks.report")


if __name__ == "__main__":
    cli.run(main)
