"""Notebook 07: what decays, the sum of the losses, a step and a run of training."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from mae_lib import losses
from mae_lib.config import PretrainConfig
from mae_lib.course import reference
from mae_lib.course.exercises import (
    Mistake,
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


@exercise("Right: every weight is in one group, and only matrices decay.")
def parameter_groups(answer: Callable) -> None:
    torch.manual_seed(0)
    model = reference.MAE(**SIZES)
    model.encoder.cls_token = nn.Parameter(torch.zeros(1, 1, 8))  # as the paper's model has one
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for decay in (0.05, 0.3):
        groups = given(answer(model, decay))
        require(isinstance(groups, list | tuple) and all(isinstance(g, dict) for g in groups),
                "Return a list of dicts, each with the keys 'params' and 'weight_decay'.")
        for group in groups:
            require("params" in group and "weight_decay" in group,
                    "Each group needs 'params' and 'weight_decay'; one of yours has "
                    f"{', '.join(map(repr, group))}.")
        pairs = [(p, g["weight_decay"]) for g in groups for p in list(g["params"])]
        require(not any(isinstance(p, tuple | list | str) for p, _ in pairs),
                "'params' should hold parameters only: of each pair (name, parameter), keep the "
                "second.")
        found = [(id(p), value) for p, value in pairs]
        missing = [name for key, name in names.items() if key not in dict(found)]
        require(not missing, f"{''.join(missing[:1])} is in no group, so it would never learn.")
        require(len(found) == len(names), "Some weights are in two groups, or are not the model's.")
        decays = {names[key]: float(value) for key, value in found}
        require(set(decays.values()) <= {0.0, decay},
                f"The weight decay should be {decay}, the one given, or 0; yours are "
                f"{sorted(set(decays.values()))}.")
        alone = {n for n, p in model.named_parameters() if p.ndim < 2 or n.endswith("_token")}
        require(any(decays.values()), "Nothing decays in your groups.")
        require(not all(decays.values()), "Everything decays in your groups: leave out biases, "
                                          "norms and tokens.")
        require(not all((value > 0) == (name in alone) for name, value in decays.items()),
                "It is the other way round: matrices decay, vectors and tokens do not.")
        for name, value in decays.items():
            kind = ("is a token, which stands for a place" if name.endswith("_token") else
                    "is a bias or a norm's scale, a vector" if name in alone else
                    "is a matrix, though stored with four dimensions" if "patch_embed" in name
                    else "is a matrix")
            require((value > 0) == (name not in alone),
                    f"{name} {kind}: it should {'not ' * (name in alone)}decay.")


def _batch(seed: int) -> tuple[Tensor, ...]:
    """images, prediction, mask and latent tokens as of a small model."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 3, 12, 12, generator=generator)
    pred = torch.randn(3, 16, 27, generator=generator).requires_grad_()
    mask = (torch.rand(3, 16, generator=generator).argsort(1) > 5).float()
    latent = (torch.randn(3, 6, 8, generator=generator) + 0.3).requires_grad_()
    return images, pred, mask, latent


@exercise("Right: three terms with their weights, each in the units it needs.")
def total_loss(answer: Callable) -> None:
    for norm_pix in (False, True):
        for freq, unif in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.05, 0.01)):
            cfg = PretrainConfig(norm_pix=norm_pix, lambda_freq=freq, lambda_unif=unif)
            images, pred, mask, latent = _batch(0)
            found = call(answer, pred, images, mask, latent, 3, cfg)
            require_tensor(found, (), "The loss")
            patches = patchify(images, 3)
            mean, std = losses.patch_statistics(patches)
            biased = (patches.var(dim=-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
            pixels = pred * std + mean if norm_pix else pred

            def frequency(pred: Tensor, mask=mask, images=images) -> Tensor:
                return losses.laplacian_loss_masked(unpatchify(pred, 3), images,
                                                    patch_mask_to_pixels(mask, 3))

            mae = losses.mae_loss(pred, images, mask, 3, norm_pix)
            energy, even = frequency(pixels), losses.uniformity_loss(latent)
            right = mae + freq * energy + unif * even
            which = f"With lambda_freq={freq}, lambda_unif={unif}, norm_pix={norm_pix}: "
            require_right(found, right, {
                which + "you ignore norm_pix in the reconstruction loss.":
                    losses.mae_loss(pred, images, mask, 3, not norm_pix) + freq * energy
                    + unif * even,
                which + "the Laplacian reads a prediction in units of each patch's own statistics. "
                "Bring it back to pixels first: times the standard deviation, plus the mean.":
                    mae + freq * frequency(pred) + unif * even,
                which + "the mean is not added back before the Laplacian.":
                    mae + freq * frequency(pred * std) + unif * even,
                which + "the prediction is already in pixels: undo norm_pix only if cfg.norm_pix.":
                    mae + freq * frequency(pred * std + mean) + unif * even,
                which + "before the Laplacian, multiply by the root of the variance.":
                    mae + freq * frequency(pred * std.square() + mean) + unif * even,
                which + "mae_loss takes the variance without unbiased=False, so do the same here.":
                    mae + freq * frequency(pred * biased + mean) + unif * even,
                which + "the Laplacian term looks at the visible patches. The mask is 1 where a "
                "patch is hidden.": mae + freq * frequency(pixels, 1 - mask) + unif * even,
                which + "the mask of the Laplacian term should be (B, 1, H, W): keep one channel, "
                "[:, :1].": mae + freq * energy / 3 + unif * even,
                which + "the terms are added without their weights.":
                    mae + (energy if freq else 0) + (even if unif else 0),
                which + "the weight of one term stands in front of the other.":
                    mae + unif * energy + freq * even,
                which + "the Laplacian term is missing.": mae + unif * even,
                which + "the uniformity term is missing.": mae + freq * energy,
                which + "both add-ons are missing.": mae,
                which + "the uniformity term has the wrong sign: it is added like the others.":
                    mae + freq * energy - unif * even,
                which + "the reconstruction loss itself is missing.":
                    freq * energy + unif * even + 0 * mae,
            }, f"{which}expected {right.item():.4f}, got {found.item():.4f}.", 1e-5)
            require_gradient(found, right, *([pred, latent] if unif else [pred]))


class _Watched(nn.Module):
    """A small model that notes how it was called, and in which precision it computed."""

    def __init__(self):
        super().__init__()
        self.mae, self.patch_size = reference.MAE(**SIZES), 3
        self.ratios, self.modes, self.kinds = [], [], []

    def forward(self, images: Tensor, mask_ratio: float = 0.75, noise: Tensor | None = None):
        self.ratios.append(float(mask_ratio))
        self.modes.append(self.training)
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
        loss = given(answer(model, optimizer, fresh, lr, 0.5, cfg))
        require(model.ratios == [0.5], f"The model was called with mask ratios {model.ratios}; "
                                       "call it once, with the mask_ratio that was given.")
        require(model.kinds == [torch.float32],
                "cfg.precision is 'fp32', but the model ran under autocast: switch it on only "
                "for 'bf16' (autocast has an argument enabled).")
        require(len(optimizer.rates) == step + 1,
                "optimizer.step() was not called once, so the weights do not learn as they should.")
        require(optimizer.rates[-1] == [lr, lr],
                f"The groups of the optimizer have the rates {optimizer.rates[-1]}; set the lr of "
                f"every one of optimizer.param_groups to {lr} before its step.")
        require_tensor(loss, (), "The loss")
        require(not loss.requires_grad, "Return loss.detach(): the loss keeps the whole graph of "
                                        "its computation in memory as long as it is kept.")
        found = _weights_of(model)
        require(not close(found, before) or optimizer.passes[-1] <= step,
                "The weights did not change, because zero_grad is called between backward and step "
                "and erases the gradient: call it before loss.backward().")
        require(not close(found, before), "The weights did not change: is loss.backward() called "
                                          "before optimizer.step()?")
        require(step == 0 or close(found, right[step], 1e-5)
                or not close(found, kept[step], 1e-5),
                "Gradients of earlier steps are added to this one's: call optimizer.zero_grad() "
                "before loss.backward().")
        require(close(found, right[step], 1e-5),
                f"After step {step + 1} the weights are not where they should be: total_loss of "
                "the model's results, zero_grad, backward, step, in this order.")
        require(close(loss, expected, 1e-4), f"The loss should be {expected.item():.4f}, that of "
                                             f"the weights before the step; you return "
                                             f"{loss.item():.4f}.")
        before = found
    mixed = replace(cfg, precision="bf16", lambda_freq=0.5, lambda_unif=0.5)
    model, optimizer = _start()
    loss = given(answer(model, optimizer, _images(0), 0.1, 0.5, mixed))
    require_tensor(loss, (), "With precision 'bf16' the loss")
    require(all(p.dtype == torch.float32 for p in model.parameters()),
            "With precision 'bf16' your function converts the weights themselves. Leave them in "
            "float32: autocast converts what it needs for each product.")
    require(model.kinds == [torch.bfloat16],
            "With precision 'bf16' the model did not compute in bfloat16: call it within "
            "torch.autocast(images.device.type, dtype=torch.bfloat16).")
    model, optimizer = _start()
    right = reference.train_step(model, optimizer, _images(0), 0.1, 0.5, mixed)
    require(loss.dtype == torch.float32 and close(loss, right, 3e-5),
            "With precision 'bf16' part of the loss is computed in 16 bits. Call total_loss "
            "after the autocast block, with pred.float() and latent.float().")


@exercise("Right: every step has its own rate, mask ratio and batch, and a run can go on.")
def train(answer: Callable) -> None:
    cfg = PretrainConfig(epochs=3, warmup_epochs=1, lr=0.2, mask_ratio_sched="linear",
                         mask_ratio_start=0.3, mask_ratio_warmup_epochs=2, precision="fp32")
    iters = 4
    steps = [divmod(step, iters) for step in range(cfg.epochs * iters)]
    rates = [reference.schedule_learning_rate(*at, iters, cfg) for at in steps]
    ratios = [reference.schedule_mask_ratio(*at, iters, cfg) for at in steps]
    for start in (0, 5):
        asked: list[int] = []

        def batch_at(step: int, asked: list[int] = asked) -> Tensor:
            asked.append(step)
            return _images(step)

        model, optimizer = _start()
        model.eval()
        found = given(answer(model, optimizer, batch_at, iters, cfg, *[start] * bool(start)))
        said = f"From step {start} to {len(steps) - 1}: " if start else ""
        count = len(steps) - start
        require(len(model.ratios) == count, f"{said}{len(model.ratios)} steps were taken, expected "
                                            f"{count}: {cfg.epochs} epochs of {iters}"
                                            f"{', less those before start' * bool(start)}.")
        require(asked == list(range(start, len(steps))),
                f"{said}batches were asked for at steps {asked}; ask once for each step, counted "
                "over all epochs.")
        for name, got, right in (("learning rate", [r[0] for r in optimizer.rates], rates[start:]),
                                 ("mask ratio", model.ratios, ratios[start:])):
            wrong = [i for i, (a, b) in enumerate(zip(got, right, strict=False))
                     if abs(a - b) > 1e-6]
            require(len(set(got)) > 1, f"{said}the {name} is {got[0]:.3f} throughout; ask the "
                                       "schedule anew at every step.")
            if wrong:
                raise Mistake(f"{said}at step {start + wrong[0]} the {name} is "
                              f"{got[wrong[0]]:.4f}, expected {right[wrong[0]]:.4f}: epoch and "
                              "step within it are divmod(step, iters).")
        require(all(model.modes), "The model is in evaluation mode while it trains: call "
                                  "model.train() first.")
        require_tensor(found, (count,), f"{said}the losses")
        require(not found.requires_grad, "The losses hold on to the graph of every step: keep "
                                         "loss.detach().")
        model, optimizer = _start()
        right = reference.train(model, optimizer, _images, iters, cfg, start)
        require(close(found, right, 1e-3), f"{said}the losses are not those of the steps in their "
                                           "order.")
