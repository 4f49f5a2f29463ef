"""Notebook 07: the sum of the losses, a step and a run of training."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mae_lib import losses
from mae_lib.config import PretrainConfig
from mae_lib.course import reference
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    given,
    require,
    require_gradient,
    require_right,
    require_tensor,
)
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify

SIZES = dict(img_size=12, patch_size=3, embed_dim=8, depth=1, num_heads=2, decoder_embed_dim=8,
             decoder_depth=1, decoder_num_heads=2)
STOPS = {  # what torch or Python says, for images of 12 × 12 pixels in 4 × 4 patches: why
    r"\((4|12)\) must match .* \((4|12)\)":
        "The mask has one value for each patch, but laplacian_loss_masked needs one for each "
        "pixel: make a mask_img of shape (B, 1, H, W).",
    "//?: 'int' and 'NoneType'":
        "Do not use cfg.patch_size, which may be None: total_loss is given patch_size, and "
        "train_step takes model.patch_size.",
    "non-empty TensorList":
        "Your list of losses is empty. Append the loss of every step, and let start count the "
        "steps of the whole run, not epochs.",
}


def _run(function: Callable, *arguments):
    """What a function returns. Raises Mistake for what stopped it where that tells the cause."""
    try:
        return given(function(*arguments))
    except (RuntimeError, TypeError) as error:
        for said, explanation in STOPS.items():
            require(not re.search(said, str(error)), explanation)
        raise


def _batch(cols: int = 4) -> tuple[Tensor, ...]:
    """images, prediction, mask and latent tokens as of a small model, for 4 × cols patches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 12, 3 * cols, generator=generator)
    pred = torch.randn(3, 4 * cols, 27, generator=generator).requires_grad_()
    mask = (torch.rand(3, 4 * cols, generator=generator).argsort(1) > 5).float()
    latent = (torch.randn(3, 6, 8, generator=generator) + 0.3).requires_grad_()
    return images, pred, mask, latent


@exercise("Right: three terms with their weights, each in the units it needs.")
def total_loss(answer: Callable) -> None:
    for norm_pix in (False, True):
        for freq, unif in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.05, 0.01)):
            cfg = PretrainConfig(norm_pix=norm_pix, lambda_freq=freq, lambda_unif=unif)
            images, pred, mask, latent = _batch()
            found = _run(call, answer, pred, images, mask, latent, 3, cfg)
            require_tensor(found, (), "The loss")
            patches = patchify(images, 3)
            mean, std = losses.patch_statistics(patches)
            pixels = pred * std + mean if norm_pix else pred

            def frequency(pred: Tensor, mask=mask, images=images) -> Tensor:
                return losses.laplacian_loss_masked(unpatchify(pred, 3), images,
                                                    patch_mask_to_pixels(mask, 3))

            def by(pred=pred, patches=patches, **options) -> Tensor:  # other statistics
                var, mean = torch.var_mean(patches, keepdim=True, **{"dim": -1, **options})
                return frequency(pred * (var + 1e-6).sqrt() + mean)

            mae = losses.mae_loss(pred, images, mask, 3, norm_pix)
            energy, even = frequency(pixels), losses.uniformity_loss(latent)
            add_ons = freq * energy + unif * even
            right = mae + add_ons
            which = f"With lambda_freq={freq}, lambda_unif={unif}, norm_pix={norm_pix}: "
            laplacian_terms = {
                "the Laplacian reads a prediction in units of each patch's own statistics. Bring "
                "it back to pixels first: multiply by the patch's standard deviation, then add "
                "its mean.": frequency(pred),
                "the mean is not added back before the Laplacian.": frequency(pred * std),
                "multiply by the standard deviation first, then add the mean.":
                    frequency((pred + mean) * std),
                "the prediction is already in pixels. Undo norm_pix only if cfg.norm_pix is true.":
                    by(),
                "before the Laplacian, multiply by the root of the variance.":
                    frequency(pred * std.square() + mean),
                "your variance divides by the number of values, n, but mae_loss divides by n − 1. "
                "Use .var() with its default setting, without unbiased=False.": by(correction=0),
                "take the mean and variance of the true patches, not of pred.": by(patches=pred),
                "take the mean and variance over the last axis, patch by patch.": by(dim=1),
                "the Laplacian term looks at the visible patches. The mask is 1 where a patch is "
                "hidden.": frequency(pixels, 1 - mask),
                "the Laplacian term looks at all patches. Make mask_img from mask.":
                    frequency(pixels, torch.ones_like(mask)),
                "the mask of the Laplacian term should have shape (B, 1, H, W). Keep one channel, "
                "with [:, :1].": energy / 3,
                "the Laplacian term has the wrong sign. It should be added.": -energy,
                "the Laplacian term is missing.": 0 * energy,
            }
            mistakes = {
                "you ignore norm_pix in the reconstruction loss. Pass cfg.norm_pix to mae_loss.":
                    losses.mae_loss(pred, images, mask, 3, not norm_pix) + add_ons,
                "mae_loss needs the prediction as it is. Convert it only for the Laplacian.":
                    losses.mae_loss(pixels, images, mask, 3, norm_pix) + add_ons,
                "mae_loss needs the mask as it is, 1 where a patch is hidden.":
                    losses.mae_loss(pred, images, 1 - mask, 3, norm_pix) + add_ons,
                **{words: mae + freq * term + unif * even
                   for words, term in laplacian_terms.items()},
                "the terms are added without their weights.":
                    mae + (energy if freq else 0) + (even if unif else 0),
                "the weights of the two terms are swapped. Multiply the Laplacian term by "
                "cfg.lambda_freq and the uniformity term by cfg.lambda_unif.":
                    mae + unif * energy + freq * even,
                "take both weights from cfg, since they differ from run to run.":
                    mae + 0.05 * bool(freq) * energy + 0.01 * bool(unif) * even,
                "your function adds terms with the weights 0.05 and 0.01. Take both weights from "
                "cfg.": mae + 0.05 * energy + 0.01 * even,
                "the uniformity term is missing.": mae + freq * energy,
                "both add-ons are missing.": mae,
                "the uniformity term has the wrong sign. It should be added, like the others.":
                    mae + freq * energy - unif * even,
                "uniformity_loss needs the encoder's tokens, latent, not pred.":
                    mae + freq * energy + unif * losses.uniformity_loss(pred),
                "the reconstruction loss itself is missing.": add_ons + 0 * mae,
            }
            require_right(found, right, {which + words: loss for words, loss in mistakes.items()},
                          f"{which}expected {right.item():.4f}, got {found.item():.4f}.", 1e-5)
            require_gradient(found, right, *([pred, latent] if unif else [pred]))
    images, pred, mask, latent = _batch(cols=5)
    try:
        call(answer, pred, images, mask, latent, 3, cfg)
    except Exception as error:  # a square grid, from the number of patches, is right too
        require("(15) must match" not in str(error) and "(12) must match" not in str(error),
                "Your rows and cols are swapped: rows should be images.shape[2] // patch_size, and "
                "cols should be images.shape[3] // patch_size.")


class _Watched(nn.Module):
    """A small model that notes how it was called, in which precision, and what it might draw."""

    def __init__(self):
        super().__init__()
        self.mae, self.patch_size = reference.MAE(**SIZES), 3
        self.ratios, self.modes, self.kinds, self.draws = [], [], [], []

    def forward(self, images: Tensor, mask_ratio: float = 0.75, noise: Tensor | None = None):
        self.ratios.append(float(mask_ratio))
        self.modes.append(self.training)
        self.draws.append(float(torch.rand(())))  # a real model's mask would be drawn here
        noise = torch.rand(len(images), 16, generator=torch.Generator().manual_seed(3))
        pred, mask, latent = self.mae(images, mask_ratio, noise)
        self.kinds.append(pred.dtype)
        return pred, mask, latent.to(pred.dtype)  # both in 16 bits under autocast


class _WatchedSGD(torch.optim.SGD):
    """Notes the learning rates of every step, and how many backward passes came before it."""

    def __init__(self, model: nn.Module):
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim < 2]
        super().__init__([{"params": matrices}, {"params": others}], lr=9.0)
        self.rates, self.gradients, self.passes = [], [], []
        matrices[0].register_hook(self.gradients.append)

    def step(self, closure=None):
        self.rates.append([float(group["lr"]) for group in self.param_groups])
        self.passes.append(len(self.gradients))
        return super().step(closure)


def _start() -> tuple[_Watched, _WatchedSGD]:
    torch.manual_seed(0)
    model = _Watched()
    return model, _WatchedSGD(model)


def _images(step: int) -> Tensor:
    return torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(step))


def _weights_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _step_by_step(rates: tuple, cfg: PretrainConfig, keep: bool = False) -> list[Tensor]:
    """The weights after every step; with `keep`, gradients of earlier steps stay."""
    model, optimizer = _start()
    found = []
    for step, lr in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = lr
        pred, mask, latent = model(_images(step), 0.5)
        loss = reference.total_loss(pred, _images(step), mask, latent, 3, cfg)
        if not keep:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(_weights_of(model))
    return found


@exercise("Right: rate, loss, gradient, update; and no gradient left from the step before.")
def train_step(answer: Callable) -> None:
    cfg, rates = PretrainConfig(precision="fp32", lambda_unif=0.01), (0.1, 0.2, 0.05)
    model, optimizer = _start()
    before = _weights_of(model)
    right, kept = _step_by_step(rates, cfg), _step_by_step(rates, cfg, keep=True)
    for step, lr in enumerate(rates):
        with torch.no_grad():
            fresh = _images(step)
            pred, mask, latent = model(fresh, 0.5)
            expected = reference.total_loss(pred, fresh, mask, latent, 3, cfg)
        model.ratios.clear(), model.kinds.clear()
        loss = _run(answer, model, optimizer, fresh, lr, 0.5, cfg)
        require(model.ratios == [0.5], f"The model was called with mask ratios {model.ratios}; "
                                       "call it once, with the mask_ratio that was given.")
        require(model.kinds == [torch.float32],
                "cfg.precision is 'fp32', but the model ran under autocast: switch it on only "
                "for 'bf16' (autocast takes an argument called enabled).")
        count = len(optimizer.rates) - step
        require(count == 1, f"Your function called step() of the given optimizer {count} times; it "
                            "should call it once.")
        require(optimizer.rates[-1] == [lr, lr],
                f"The groups of the optimizer have the rates {optimizer.rates[-1]}; set "
                f'group["lr"] to {lr} for every group in optimizer.param_groups before '
                "optimizer.step().")
        require(isinstance(loss, Tensor), "The loss should be a tensor: return loss.detach().")
        require_tensor(loss, (), "The loss")
        require(loss.dtype == torch.float32,
                f"Return the loss in torch.float32, as total_loss does; yours is in {loss.dtype}.")
        require(not loss.requires_grad, "Return loss.detach(): otherwise each loss that is stored "
                                        "keeps the whole graph of its computation in memory.")
        found = _weights_of(model)
        require(not close(found, before) or optimizer.passes[-1] <= step,
                "The weights did not change, because zero_grad is called between backward and step "
                "and erases the gradient: call it before loss.backward().")
        require(not close(found, before), "The weights did not change: is loss.backward() called "
                                          "before optimizer.step()?")
        require(step == 0 or close(found, right[step], 1e-5) or not close(found, kept[step], 1e-5),
                "Gradients of earlier steps are added to this one's: call optimizer.zero_grad() "
                "before loss.backward().")
        require(close(found, right[step], 1e-5),
                f"After step {step + 1} the weights are wrong. Compute total_loss from the "
                "model's results, then call zero_grad, backward and step, in this order.")
        require(close(loss, expected, 1e-4), f"The loss should be {expected.item():.4f}, that of "
                                             f"the weights before the step; you return "
                                             f"{loss.item():.4f}.")
        before = found
    require(len(set(model.draws)) == len(model.draws),
            "Every step hides the same patches, because your function calls torch.manual_seed. "
            "Leave that to batch_at, which seeds each step differently.")
    mixed = replace(cfg, precision="bf16", lambda_freq=0.5, lambda_unif=0.5)
    model, optimizer = _start()
    usual = torch.get_autocast_dtype("cpu")
    torch.set_autocast_dtype("cpu", torch.float16)  # the default of a GPU
    try:
        loss = given(answer(model, optimizer, _images(0), 0.1, 0.5, mixed))
    finally:
        torch.set_autocast_dtype("cpu", usual)
    require_tensor(loss, (), "With precision 'bf16' the loss")
    require(all(p.dtype == torch.float32 for p in model.parameters()),
            "With precision 'bf16' your function converts the weights themselves. Leave them in "
            "float32: autocast converts what it needs for each product.")
    require(model.kinds != [torch.float16],
            "With precision 'bf16' the model computed in float16: write dtype=torch.bfloat16 in "
            "torch.autocast. Without it, autocast uses float16 on a GPU.")
    require(model.kinds == [torch.bfloat16],
            "With precision 'bf16' the model did not compute in bfloat16: call it inside "
            "torch.autocast(images.device.type, dtype=torch.bfloat16). If you pass enabled, make "
            "sure it is True when cfg.precision is the string 'bf16'.")
    model, optimizer = _start()
    right = reference.train_step(model, optimizer, _images(0), 0.1, 0.5, mixed)
    require(loss.dtype == torch.float32 and close(loss, right, 3e-5),
            "With precision 'bf16' part of the loss is computed in 16 bits. Call total_loss "
            "after the autocast block, with pred.float() and latent.float().")


def _told(start: int, words: str) -> str:
    """The words as a sentence, which begins with the start where that is not 0."""
    return f"With start={start}, {words}" if start else words[0].upper() + words[1:]


@exercise("Right: every step has its own rate, mask ratio and batch, and a run can go on.")
def train(answer: Callable) -> None:
    cfg = PretrainConfig(epochs=3, warmup_epochs=1, lr=0.2, mask_ratio_sched="linear",
                         mask_ratio_start=0.3, mask_ratio_warmup_epochs=2, precision="fp32")
    iters = 4
    steps = [divmod(step, iters) for step in range(cfg.epochs * iters)]
    rates = [reference.schedule_learning_rate(*at, iters, cfg) for at in steps]
    ratios = [reference.schedule_mask_ratio(*at, iters, cfg) for at in steps]
    for start in (0, 5):
        told, count = partial(_told, start), len(steps) - start
        model, optimizer = _start()
        model.eval()
        asked: list[int] = []

        def batch_at(step: int, asked: list[int] = asked, model: nn.Module = model) -> Tensor:
            require(step in asked or len(model.ratios) >= len(set(asked)),
                    "Ask for each batch at the beginning of its step, not earlier: batch_at also "
                    "seeds the masks of that step.")
            asked.append(step)
            return _images(step)

        found = _run(answer, model, optimizer, batch_at, iters, cfg, *[start] * bool(start))
        taken = len(model.ratios)
        require(taken != 1, told("only one step was taken. Is the return inside the loop?"))
        require(taken == count, told(f"{taken} steps were taken. There should be {count}, from "
                                     f"step {start} to step {len(steps) - 1}, the last of "
                                     f"{cfg.epochs} epochs of {iters} steps."))
        require(asked == list(range(start, len(steps))),
                told(f"batches were asked for at steps {asked}; ask once for each step, "
                     + (f"beginning with step {start}." if start else "counted over all epochs.")))
        lrs = [r[0] for r in optimizer.rates]
        require(not close(torch.tensor(lrs), torch.tensor(ratios[start:])),
                "The learning rate and the mask ratio are swapped: train_step takes lr first.")
        for name, got, right in (("learning rate", lrs, rates[start:]),
                                 ("mask ratio", model.ratios, ratios[start:])):
            require(len(set(got)) > 1, told(f"the {name} is {got[0]:.3f} throughout; call the "
                                            "schedule again at every step."))
            for i, (a, b) in enumerate(zip(got, right, strict=False)):
                require(abs(a - b) <= 1e-6, told(f"at step {start + i} the {name} is {a:.4f}, but "
                        f"it should be {b:.4f}. Get the epoch and the step within it from "
                        "divmod(step, iters)."))
        require(all(model.modes), "The model is in evaluation mode while it trains: call "
                                  "model.train() first.")
        require_tensor(found, (count,), told("the losses"))
        require(not found.requires_grad, "The losses hold on to the graph of every step: keep "
                                         "loss.detach().")
        model, optimizer = _start()
        right = reference.train(model, optimizer, _images, iters, cfg, start)
        require(close(found, right, 1e-3), told("the losses are not those of the steps in their "
                                                "order."))
