"""One training step: crop, mask, reconstruct, update the weights.

All that is random in a step is drawn beforehand, from (seed, step) alone. The step itself only
computes, and never waits for the device, so that a GPU can record it and play it again.
"""

import copy
import math
import sys
import textwrap

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mae_lib.config import PretrainConfig
from mae_lib.data.augment import crop, random_crops
from mae_lib.losses import total_loss
from mae_lib.masking import num_visible_patches
from mae_lib.model import MaskedAutoencoder
from mae_lib.runtime import distributed, hardware
from mae_lib.runtime.hardware import RNG
from mae_lib.training.optim import adamw, set_learning_rate

# Compiling pays if more seconds of training than this remain. Not measured but assumed: it takes a
# minute and then saves half of every step. At batch 64, where a recorded step took an H200 5.4 ms
# (11,807 images/s, benchmarks/README.md), these are 22,000 steps. `python -m benchmarks.gpu`
# measures both parts and prints what should stand here.
COMPILING_PAYS_FROM = 120.0


class TrainStep:
    """A model in training: called once a step, with this process's share of a batch.

    Holds the optimizer and, for fp16, the loss scale. `cfg.precision` is not "auto".
    """

    compile_from = math.inf  # see `fastest_step`; on a CPU compiled steps are hardly faster

    def __init__(self, model: MaskedAutoencoder, cfg: PretrainConfig):
        self.model, self.cfg = model, cfg
        if cfg.batch_size % (cfg.accumulate * distributed.world_size()):
            raise ValueError(f"batch_size {cfg.batch_size} must be a multiple of "
                             f"{distributed.world_size()} processes × accumulate {cfg.accumulate}.")
        self.device = next(model.parameters()).device
        self.optimizer = adamw(model, cfg.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=cfg.precision == "fp16")
        self.forward = model
        if distributed.world_size() > 1:  # averages gradients while they are computed
            self.forward = DistributedDataParallel(
                model, gradient_as_bucket_view=True, broadcast_buffers=False)

    def __call__(self, images: Tensor, step: int, lr: float,
                 mask_ratio: float) -> dict[str, Tensor]:
        """Do step number `step` on uint8 images (B, 3, H, W) that lie on the device.

        Returns the loss terms over all processes, as scalars without gradient on the device.
        """
        set_learning_rate(self.optimizer, lr)
        crops, noise = self.draw(step, images.shape[-2:])
        num_visible = num_visible_patches(self.model.num_patches, mask_ratio)
        return self.compute(images, crops, noise, num_visible)

    def draw(self, step: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Crops (5, B) of images of this size, and mask noise (B, L), for this process's share.

        Every process draws for the whole batch: their number does not change what is trained.
        """
        cfg, n = self.cfg, self.cfg.batch_size
        generator = hardware.generator(cfg.seed, RNG.CROP_AND_MASK, step, device=self.device)
        crops = random_crops(n, *size, (cfg.crop_scale, 1.0), generator)
        noise = torch.rand(n, self.model.num_patches, generator=generator, device=self.device)
        share = distributed.share(n)
        return crops[:, share], noise[share]

    def compute(self, images: Tensor, crops: Tensor, noise: Tensor,
                num_visible: int) -> dict[str, Tensor]:
        """The step as a function of tensors alone."""
        parts = self.cfg.accumulate
        self.optimizer.zero_grad(set_to_none=True)
        values = 0
        for part, boxes, part_noise in zip(
                images.chunk(parts), crops.chunk(parts, dim=1), noise.chunk(parts), strict=True):
            terms = self.losses(part, boxes, part_noise, torch.empty(num_visible, 0))
            self.scaler.scale(terms["loss"] / parts).backward()
            values = values + distributed.average(torch.stack(list(terms.values()))) / parts
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return dict(zip(terms, values.unbind(), strict=True))

    def losses(self, images: Tensor, crops: Tensor, noise: Tensor, visible: Tensor) -> dict:
        """The loss terms of these images, with gradient: what `compile` compiles.

        `visible` has a row for each visible patch: only a tensor's size can change without
        compiling again.
        """
        x = crop(images, self.model.img_size, crops)
        with hardware.autocast(self.device, self.cfg.precision):
            output = self.forward(x, num_visible=len(visible), noise=noise, hidden_only=True)
        return total_loss(self.model, output, self.cfg)

    def compile(self, **options) -> None:
        """Have torch.compile, with its `options`, write kernels for `losses` and its gradients.

        Results differ from the plain step's by rounding. What was compiled earlier in the process
        is dropped, as torch keeps only a few versions of a function.
        """
        self.compile_from, ramps = math.inf, self.cfg.mask_ratio_sched != "const"
        torch.compiler.reset()
        compiled = torch.compile(self.losses, fullgraph=True, **options)

        def losses(images: Tensor, crops: Tensor, noise: Tensor, visible: Tensor) -> dict:
            if ramps:  # one graph for all lengths, twenty by default, instead of one for each
                torch._dynamo.mark_dynamic(visible, 0)
            return compiled(images, crops, noise, visible)

        self.losses = losses

    def state_dict(self) -> dict:
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        # Groups hold settings, which are cfg's, and the learning rate, which lies on the device.
        groups = self.optimizer.state_dict()["param_groups"]
        # A copy: the optimizer would go on to change the moments in `state` itself.
        moments = copy.deepcopy(state["optimizer"]["state"])
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])


class RecordedStep(TrainStep):
    """A TrainStep that a GPU records, once for each number of visible patches, and plays again.

    A small model's step is hundreds of short kernels: Python takes longer to launch them one by one
    than the GPU to run them. A recording (a CUDA graph) launches them all at once. Its kernels are
    those of the plain step, and so are its results; or those that `compile` has written, which are
    fewer and move less memory.
    """

    PLAIN_STEPS = 3  # at each length, before recording: CUDA's libraries prepare themselves in them

    def __init__(self, model: MaskedAutoencoder, cfg: PretrainConfig,
                 compile_from: float = COMPILING_PAYS_FROM):
        super().__init__(model, cfg)
        self.compile_from = compile_from
        self.inputs: list[Tensor] = []
        self.stream = torch.cuda.Stream(self.device)
        self._forget()

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._forget()  # recordings that read the optimizer's old tensors

    def _forget(self) -> None:
        self.plain_steps: dict[int, int] = {}
        self.recordings: dict[int, tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}
        self.memory = torch.cuda.graph_pool_handle()  # shared: one recording plays at a time

    def compile(self, **options) -> None:
        try:
            super().compile(**options)
            self._forget()  # recordings of plain steps
        except RuntimeError as error:  # not for this Python or system
            self._go_on_without("compile", error)

    def compute(self, images: Tensor, crops: Tensor, noise: Tensor,
                num_visible: int) -> dict[str, Tensor]:
        new = [images, crops, noise]
        # A recording reads its inputs from where they were when it was made.
        self.inputs = self.inputs or [torch.empty_like(x) for x in new]
        for mine, x in zip(self.inputs, new, strict=True):
            mine.copy_(x)
        if num_visible not in self.recordings:
            done = self.plain_steps[num_visible] = self.plain_steps.get(num_visible, 0) + 1
            if done <= self.PLAIN_STEPS or not self._record(num_visible):
                return self._on_side_stream(num_visible)
        graph, terms = self.recordings[num_visible]
        graph.replay()
        # A copy, in one kernel: the next step writes to the same places.
        return dict(zip(terms, torch.stack(list(terms.values())).unbind(), strict=True))

    def _on_side_stream(self, num_visible: int) -> dict[str, Tensor]:
        # Recording happens on a side stream; the steps that prepare for it must run there too.
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        with torch.cuda.stream(self.stream):
            try:
                terms = super().compute(*self.inputs, num_visible)
            except Exception as error:  # of many types, from Triton, a C++ compiler or torch
                if "losses" not in vars(self):
                    raise
                self._go_on_without("compile", error)
                del self.losses  # the plain ones are back; no weight has changed yet
                terms = super().compute(*self.inputs, num_visible)
        main.wait_stream(self.stream)
        return terms

    def _record(self, num_visible: int) -> bool:
        """Whether a recording could be made; where not, plain steps do the same more slowly."""
        graph, scaler = torch.cuda.CUDAGraph(), copy.deepcopy(self.scaler)
        try:
            # "thread_local": another thread may pin the next batch's memory meanwhile.
            with torch.cuda.graph(graph, self.memory, self.stream, "thread_local"):
                terms = super().compute(*self.inputs, num_visible)
        except RuntimeError as error:
            if vars(self).pop("losses", None):  # plain steps may still be recorded
                self._go_on_without("compile", error)
                self._forget()
            else:
                self._go_on_without("record", error)
                self.PLAIN_STEPS = math.inf
            self.scaler = scaler
            for name in ("grad_scale", "found_inf"):  # what a step that broke off has left
                vars(self.optimizer).pop(name, None)
            return False
        self.recordings[num_visible] = graph, terms
        return True

    @staticmethod
    def _go_on_without(what: str, error: Exception) -> None:
        if hardware.is_out_of_memory(error):
            raise error
        why = textwrap.shorten(str(error), 200)
        print(f"Cannot {what} steps here ({why}): training continues without that, more slowly.",
              file=sys.stderr)


def fastest_step(model: MaskedAutoencoder, cfg: PretrainConfig,
                 compile_from: float = COMPILING_PAYS_FROM) -> TrainStep:
    """The step in its fastest form: recorded on one GPU, plain on a CPU or several GPUs.

    A recorded step is compiled if more than `compile_from` seconds of training remain.
    Where that fails (no Triton, as on Windows, or a GPU too old for it), one line says so, and
    plain steps go on.
    """
    if next(model.parameters()).device.type == "cuda" and distributed.world_size() == 1:
        return RecordedStep(model, cfg, compile_from)
    return TrainStep(model, cfg)
