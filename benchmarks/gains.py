"""What each speed-up of ours is worth: the whole step, with one of them taken back at a time.

  python -m benchmarks.gains
"""

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as TF

from benchmarks import timing
from mae_lib import losses, model
from mae_lib.data.augment import normalise
from mae_lib.masking import take_patches
from mae_lib.model import Attention, MaskedAutoencoder
from mae_lib.patches import unpatchify
from mae_lib.runtime import cli, hardware
from mae_lib.training import step as steps
from mae_lib.training.step import TrainStep, fastest_step

decode = MaskedAutoencoder.decode


def decode_all(self: MaskedAutoencoder, latent: Tensor, ids_restore: Tensor, ids: Tensor) -> Tensor:
    """Predict visible patches too, which the loss then leaves out."""
    return decode(self, latent, ids_restore)


def embed_all(self: MaskedAutoencoder, patches: Tensor, ids_keep: Tensor,
              pos_embed: Tensor) -> Tensor:
    """As in the official code: embed every patch, then drop the hidden ones."""
    images = unpatchify(patches, self.patch_size)
    x = self.patch_embed.proj(images).flatten(2).mT + pos_embed[:, self.num_extra :]
    x = take_patches(x, ids_keep)
    for block in self.blocks:
        x = block(x)
    return self.norm(x)


def gather_patches(x: Tensor, ids: Tensor) -> Tensor:
    return x.gather(1, ids[:, :, None].expand(-1, -1, x.shape[2]))


def products_and_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v


def attention(
    self: Attention, x: Tensor, ids: Tensor | None = None,
    attend: Callable = F.scaled_dot_product_attention, dtype: torch.dtype | None = None,
) -> Tensor:
    """Attention by torch's fused kernels, at `dtype` or the precision of the products around it.

    `attend` stands for another way to compute it.
    """
    b, n, d = x.shape
    qkv = self.qkv(x)
    q, k, v = qkv.to(dtype or qkv.dtype).reshape(b, n, 3, self.num_heads, -1).unbind(2)
    if ids is not None:
        q = take_patches(q.flatten(2), ids).unflatten(2, q.shape[2:])
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    with torch.autocast(x.device.type, enabled=False):
        x = attend(q, k, v).to(qkv.dtype)
    return self.proj(x.transpose(1, 2).reshape(b, -1, d))


def normalise_in_passes(patches: Tensor) -> Tensor:
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + losses.NORM_PIX_EPS).sqrt()


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


def main() -> None:
    arguments = timing.settle(timing.parser("gains", __doc__))
    device = arguments.device
    if device.type == "cpu" and arguments.contender != "usual":  # glibc's usual memory policy
        hardware.reuse_freed_memory()
    if arguments.contender:
        return timing.serve(timing.our_step(arguments), device)

    def ours(*replaced: tuple, kind=fastest_step) -> timing.Contender:
        """A step of this kind, with (owner, name, new) `replaced` in it."""

        @contextmanager
        def context() -> Iterator[None]:
            with ExitStack() as stack:
                for owner_name_new in replaced:
                    stack.enter_context(mock.patch.object(*owner_name_new))
                yield

        return timing.here(timing.our_step(arguments, kind), device, context)

    contenders = {
        "as it is": ours(),
        "every patch predicted": ours((MaskedAutoencoder, "decode", decode_all)),
        "every patch embedded, by a convolution":
            ours((MaskedAutoencoder, "_encode", embed_all)),
        "patches picked value by value": ours((model, "take_patches", gather_patches),
                                              (losses, "take_patches", gather_patches)),
        "patches normalised in several passes":
            ours((losses, "normalise_patches", normalise_in_passes)),
    }
    if device.type == "cpu" and arguments.precision == "bf16":  # ours is products and softmax
        for name, changes in {
            "attention's values not together": {"attend": products_and_softmax},
            "fused attention": {}, "fused attention in float32": {"dtype": torch.float32},
        }.items():
            contenders[name] = ours((Attention, "forward", partialmethod(attention, **changes)))
    else:
        contenders["attention as products and softmax"] = ours(
            (F, "scaled_dot_product_attention", products_and_softmax))
    if device.type == "cuda":
        contenders["every kernel launched from Python"] = ours(kind=TrainStep)
        contenders["compiled and recorded"] = ours(kind=timing.compiled)
    else:
        contenders["crops one image at a time"] = ours((steps, "crop", crop_one_by_one))
        contenders["AdamW parameter by parameter"] = ours(kind=ParameterByParameter)
        contenders["glibc's usual memory policy"] = timing.Apart(
            "gains", "usual", arguments.precision)
        spinning = timing.Apart("gains", "kept", arguments.precision,
                                GOMP_SPINCOUNT="300000")  # GNU OpenMP's default
        contenders["threads that wait awake"] = spinning
        contenders["as it is, beside a busy process"] = timing.crowded(ours())
        contenders["threads that wait awake, beside a busy process"] = timing.crowded(spinning)
        if shutil.which("g++"):
            contenders["compiled"] = ours(kind=timing.compiled)
    times = timing.in_turns(contenders, arguments)
    rows = [{"name": name, **timing.speed(found, arguments.batch_size),
             "seconds_ratio": timing.ratio_of(found, times["as it is"])}
            for name, found in times.items()]
    timing.save("gains", arguments, rows=rows)
    print("Written. The tables: python -m benchmarks.report")


if __name__ == "__main__":
    cli.run(main)
