# %% [markdown]
# # 7 · Pretraining: a loop that you can trust, and its curves
#
# All parts are made; now they train together. That can take hours in which nobody watches. So the loop has to
# be right before it starts, survive being stopped, and leave curves behind that do not flatter. You will rebuild
# the package's training loop from short cells until it gives the package's losses, train original and improved,
# and break the loop in the ways in which loops get broken.
#
# **You will be able to**
#
# - write a training loop in which every batch, crop, mask and learning rate follows from a seed and a step;
# - say before a run how long it will take, and stop and resume it without a trace;
# - read loss curves without being fooled, at equal epochs and at equal compute;
# - recognise six mistakes that raise no error;
# - train with several processes, and say what changes and what would break first.
#
# **Before you start:** notebooks [02](02_curriculum_masking.ipynb) to [06](06_uniformity_loss.ipynb): the
# masks, the model and the three losses. **Time:** 60 minutes.

# %%
# Setup. Run this first, and again after a restart: on Colab, in JupyterLab or in VS Code.
import sys
from importlib.util import find_spec

# Where Colab finds the course, written by `make colab REPO=owner/name`:
REPO = ""
if REPO and "google.colab" in sys.modules and not find_spec("mae_lib"):
    get_ipython().run_line_magic("pip", f"install -q --no-deps git+https://github.com/{REPO}")
if not find_spec("mae_lib"):
    raise RuntimeError("mae_lib is not installed. On Colab, see that REPO above names the course's "
                       "repository and run this cell again; elsewhere, `make lab` installs it.")

from mae_lib import course

session = course.start()

# %%
import json
import math
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torchvision.transforms.functional import resized_crop

from mae_lib.course.session import show
from mae_lib.course.widgets import pretraining as widgets

show(*widgets.title())

# %% [markdown]
# Two runs on photographs, whose records come with the package, each drawn twice on one scale. How far apart
# are the two methods on the left, and how far on the right? Pictures like the left one get into announcements.
# Keep the question; we need a loop first.

# %%
from mae_lib import losses
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.course.exercises import pretraining as check
from mae_lib.course.widgets import recorded_runs
from mae_lib.course.widgets.live_curves import LiveCurves
from mae_lib.data.augment import crop, denormalise, normalise, random_crops
from mae_lib.data.sources import load_data
from mae_lib.evidence.claims import REPORTED
from mae_lib.masking import schedule_mask_ratio, training_mask_ratio
from mae_lib.plots import COLOURS, new_figure
from mae_lib.pretrain import pretrain
from mae_lib.runtime import hardware
from mae_lib.runtime.hardware import RNG
from mae_lib.training import compute, optim
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import load_checkpoint
from mae_lib.training.compute import steps_per_epoch
from mae_lib.training.optim import schedule_learning_rate
from mae_lib.training.step import TrainStep, fastest_step

# %% [markdown]
# ## A run is a state and a seed
#
# A training run carries a **state** from step to step: the weights, what the optimizer remembers, and the number of
# the step. Everything else it needs, which images, which crops, which masks, should follow from (seed, step) alone.
# If a random generator lived on from step to step, it would be a hidden part of the state, and one to forget when
# you save it.
#
# To see the mechanics we take a toy: the smallest model on 250 generated pictures. All
# its settings, down to the last one, lie in one frozen object.

# %%
CPU = torch.device("cpu")  # the toy trains here on every machine
data = load_data("scenes", size=48, counts=(250, 64, 1), progress=False)
images, validation = data.unlabeled, data.train  # uint8 (250, 3, 48, 48), (64, 3, 48, 48)
toy = PretrainConfig(
    preset="tiny", img_size=24, epochs=3, batch_size=32, lr=4e-3, warmup_epochs=1, seed=1,
    mask_ratio_sched="linear", mask_ratio_warmup_epochs=2, precision="fp32",
)
iters = steps_per_epoch(toy, len(images))
print(f"{len(images)} images in batches of {toy.batch_size}: {iters} steps an epoch, "
      f"{toy.epochs * iters} in all")

# %% [markdown]
# ## Which images
#
# 250 is no multiple of 32. Many loaders end each epoch with a smaller batch, or drop it. Here batches are cut
# from an endless row of shuffled passes over the data, so that all are full. The slow way: write the
# row down, and cut.

# %%
row = []
for turn in range(3):  # three passes over the data, each in an order of its own
    source = hardware.generator(toy.seed, RNG.ORDER, turn)
    row += torch.randperm(len(images), generator=source).tolist()
slow = [row[32 * step : 32 * (step + 1)] for step in range(20)]

library = [batch_indices(len(images), 32, step, toy.seed).tolist() for step in range(20)]
print("library equal to the row, 20 batches:", slow == library)
print("images that batch 7 takes from pass 0:", len(set(library[7]) & set(row[224:250])))

# %% [markdown]
# Batch 7 takes what is left of the first pass and goes on with the second. `batch_indices` needs no row: asked for
# the batch of step 1,000,000 it shuffles the one or two passes that this batch lies in. So a run that is resumed at
# step 1,000,000 does not have to draw a million batches to find its place.
#
# ## Crops, on the device
#
# Each image is cropped at random, flipped half of the time, and scaled to the model's size (He et al. 2022,
# appendix A.1). The usual way is one image at a time, in worker processes on the CPU. The package draws the boxes
# for a whole batch and cuts them with two small matrix products, on the device where the model is: bytes go in,
# crops come out. First the boxes, then one at a time, then all at once.

# %%
batch = images[batch_indices(len(images), 32, 0, toy.seed)]  # (32, 3, 48, 48) uint8
source = hardware.generator(toy.seed, RNG.CROP_AND_MASK, 0)  # step 0
boxes = random_crops(32, 48, 48, (toy.crop_scale, 1.0), source)  # (5, 32)

one_by_one = []
for image, (top, left, height, width, flip) in zip(normalise(batch), boxes.T, strict=True):
    box = int(top), int(left), int(height), int(width)
    piece = resized_crop(image, *box, [24, 24], antialias=True)  # (3, 24, 24)
    one_by_one.append(piece.flip(2) if flip else piece)
slow, fast = torch.stack(one_by_one), crop(batch, 24, boxes)  # (32, 3, 24, 24)
print("equal to torchvision's, one at a time:", torch.allclose(slow, fast, atol=1e-4))

# %%
figure, axes = new_figure(2, 6, 10, 3.6)
for i, (above, below) in enumerate(axes.T):
    top, left, height, width, flip = boxes[:, i].tolist()
    above.imshow(batch[i].permute(1, 2, 0))
    above.add_patch(widgets.box(left, top, width, height))
    below.imshow(denormalise(fast[i]).permute(1, 2, 0).clamp(0, 1))
    below.set_xlabel("flipped" if flip else "as it was")
    for axis in (above, below):
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
show(figure, "Above, six generated scenes, each with the box of its crop; below, the six crops, "
             "all scaled to one size, some of them flipped left to right.")


# %% [markdown]
# ## The learning rate
#
# With $t$ = epoch + step / iters, the time in epochs, a warm-up of $w$ epochs and $E$ epochs in all, the rate
# climbs in a line and comes down along half a cosine (Loshchilov and Hutter 2017), a little at every step:
#
# $$\eta(t) = \eta_{\max} \cdot \begin{cases} t / w & t < w \\
# \tfrac12 \left(1 + \cos \pi \dfrac{t - w}{E - w}\right) & t \ge w \end{cases}$$
#
# ### ✏️ Exercise 1 · Up in a line, down a cosine  (★★☆ · 6 minutes)
#
# Write `learning_rate(epoch, step, iters, cfg)`, where epoch and step count from 0. `cfg` has `lr` (the peak),
# `warmup_epochs` and `epochs`.
#
# <details><summary>Hint 1</summary>
#
# In the middle of epoch 2, $t$ is 2.5.
# </details>
# <details><summary>Hint 2</summary>
#
# Two cases, two `return`s. `math.cos` takes radians, and half a turn is `math.pi`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def learning_rate(epoch, step, iters, cfg):
#     t = epoch + step / iters
#     if t < cfg.warmup_epochs:
#         return cfg.lr * t / cfg.warmup_epochs
#     progress = (t - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
#     return cfg.lr * (1 + math.cos(math.pi * progress)) / 2
# ```
# </details>

# %%
def learning_rate(epoch, step, iters, cfg):
    ...  # your code


# %%
check.learning_rate(learning_rate)

# %% [markdown]
# From here on we use the library's `schedule_learning_rate`. The specification comes with the log of a run on
# STL-10: 10 epochs of 1563 steps, peak 1.5e-4, 2 epochs of warm-up, and what the learning rate and the mask ratio
# were at the end of every epoch. Does the package reproduce that log?

# %%
reported = ("7.50e-05 1.50e-04 1.44e-04 1.28e-04 1.04e-04 7.50e-05 4.63e-05 2.20e-05 5.72e-06 "
            "2.37e-12")
reported_ratios = "0.55 0.60 0.65 0.70 0.75 0.75 0.75 0.75 0.75 0.75"
specified = PretrainConfig(mask_ratio_sched="linear")  # all other defaults are the specification's
last = 1563 - 1  # the last step of an epoch
rates = " ".join(f"{schedule_learning_rate(e, last, 1563, specified):.2e}" for e in range(10))
ratios = " ".join(f"{schedule_mask_ratio(e, last, 1563, specified):.2f}" for e in range(10))
print(rates, "\n" + ratios)
print("as reported:", rates == reported, ratios == reported_ratios)

# %% [markdown]
# To the last digit, and the tiny last rate is telling: it is what half a cosine leaves *one step* before its end.
# Whoever logged it changed the rate at every step.
#
# **Predict first,** then move. (a) You train for 100 epochs instead of 10. What is the rate at the end of the third
# epoch: the same, higher, lower? (b) The rate is changed only once an **epoch**. What is it during the first epoch?
# (c) The batch grows from 64 to 512. What happens to the curve, and what to the number of steps?

# %%
explorer = widgets.schedule_explorer()
explorer

# %%
for change in ({}, {"epochs": 100}, {"epochs": 10, "update": "every epoch"},
               {"update": "every step", "batch": 512}):
    explorer.set(**change)
    print(explorer.frame.text)


# %% [markdown]
# (a) Higher: the cosine ends where the *run* ends. A run of 10 epochs is not the beginning of a run of 100, so
# decide the length first. The mask ratio's ramp does not stretch; it lasts 5 epochs in either. (b) Zero. An epoch
# of ten is spent without learning anything: we shall see that below. (c) The curve keeps its shape, with an eighth
# of the steps: an eighth of the updates, each from eight times as many images. More on that at the end.
#
# ## What may shrink
#
# AdamW moves each weight against its gradient, and besides lets it **decay** towards 0 (Loshchilov and Hutter 2019):
#
# $$w \leftarrow w - \eta \left( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda w \right)$$
#
# with running means $\hat m$ of the gradient and $\hat v$ of its square. These two are what the optimizer
# remembers. Decay keeps matrices from growing. For the scale of a norm, a number that starts at 1, or a bias, it
# makes no sense: a layer is not simpler for being quieter. Nor for the tokens that stand for hidden patches.

# %% [markdown]
# ### ✏️ Exercise 2 · What decays  (★★☆ · 6 minutes)
#
# Write `decays(name, parameter)` → True or False for a parameter of the model. Matrices decay; biases, norms and
# tokens (`mask_token`, and `cls_token` where there is one) do not. Take care: the patch embedding's matrix is
# stored with four dimensions, as a convolution's.
#
# <details><summary>Hint 1</summary>
#
# `parameter.ndim` is 1 for all biases and all norms.
# </details>
# <details><summary>Hint 2</summary>
#
# The tokens are (1, 1, D), so the number of dimensions does not betray them. Their name does.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def decays(name, parameter):
#     return parameter.ndim > 1 and not name.endswith("_token")
# ```
# </details>

# %%
def decays(name, parameter):
    ...  # your code


# %%
check.decays(decays)

# %% [markdown]
# The library's `parameter_groups` makes these two groups. How many weights does each have in the specified model?

# %%
for group in optim.parameter_groups(specified.build_model(), specified.weight_decay):
    weights = sum(parameter.numel() for parameter in group["params"])
    print(f"decay {group['weight_decay']:.2f}: {weights:9,} weights in "
          f"{len(group['params'])} parameters")


# %% [markdown]
# **Trap 1: decay on everything.** One line instead of two groups, and nothing complains. How much does it matter?
# Take the scale of a norm, 1, that no gradient defends. Each step multiplies it by $1 - \eta\lambda$, so at the end
# about $e^{-\lambda \sum \eta}$ is left. **Guess** for 10 epochs, and for 800.

# %%
def left_over(cfg, iters):
    """What decay alone leaves of a weight of 1."""
    total = sum(schedule_learning_rate(e, iters // 2, iters, cfg) * iters
                for e in range(cfg.epochs))  # the rate in the middle of each epoch, times its steps
    return math.exp(-cfg.weight_decay * total)


print(f"our toy: {left_over(toy, iters):.3f}")
for epochs in (10, 400, 800):
    print(f"{epochs} epochs as specified: {left_over(replace(specified, epochs=epochs), 1563):.3f}")

# %% [markdown]
# In ten epochs a few per cent: you would not notice. In 400 or 800 the scale is all but gone, unless the gradient
# keeps pulling it back, and then the two fight for the rest of the run. This is a mistake that small experiments do
# not show. (The same count says that in ten epochs the decay hardly does anything for the *matrices* either. A
# short run cannot tell you how to choose it.)
#
# ## Half precision
#
# On a GPU, matrix products in 16 bits are several times faster. **Autocast** runs them so and leaves the weights
# and the optimizer in 32. A T4 takes `float16`; cards from 2020 on take `bfloat16`, with the range of
# `float32` and fewer digits. The loss must not follow:

# %%
model = toy.build_model()
with hardware.autocast(CPU, "bf16"):
    output = model(fast, 0.75)
terms = losses.total_loss(model, output, toy)  # outside autocast; takes the prediction as float32
for name, tensor in (("weights", model.decoder_pred.weight), ("prediction", output.pred),
                     ("loss", terms["loss"])):
    print(f"{name:10} {tensor.dtype}")

# %% [markdown]
# **Trap 2: a loss in half precision.** It has three faces. First, what would be left of the final validation losses
# of the two recorded runs?

# %%
for name in ("original", "improved"):
    before, final = torch.tensor(recorded_runs.curve(name, "validation loss")[1][-2:])
    print(f"{name}: {final:.4f} in float64, {final.bfloat16().item():.4f} in bfloat16; "
          f"the last epoch improved it by {before - final:.4f}")
print(f"bfloat16 knows steps of {torch.finfo(torch.bfloat16).eps / 2:.4f} between 0.5 and 1")

# %% [markdown]
# What is closer together than such a step may become one number. Late in a run that is most of what happens.
#
# Second and third, in `float16`, whose numbers end at 65,504 above and at 6·10⁻⁸ below. We imitate the errors of
# one specified batch: 64 images, 147 hidden patches, 768 values. **Predict:** what is the sum of their squares? And
# what becomes of the gradient of their mean, $2\,e / N$?

# %%
generator = torch.Generator().manual_seed(0)
error = torch.randn(64, 147, 768, generator=generator)
print("sum of squares:", error.half().square().sum().item())

gradient = 2 * error / error.numel()  # of the mean squared error
for scale in (1, 2**16):
    half = (gradient * scale).half().float() / scale
    wrong = (half - gradient).abs() > 0.01 * gradient.abs()
    print(f"gradient · {scale}: {(half == 0).float().mean():.0%} of it becomes 0, "
          f"{wrong.float().mean():.0%} is more than 1 % off")


# %% [markdown]
# The sum overflows. The gradient is so small that a part of it vanishes and nearly all of it is coarse, without any
# warning. The remedy is to multiply the loss by a large number before the backward pass and divide the gradients by
# it after: a `GradScaler` does this, finds a scale that fits, and skips a step that overflowed. The package uses it
# with `float16` only; `bfloat16` has range enough.
#
# ## The whole loop
#
# Everything is there. Inputs first: two draws from one generator, made of (seed, purpose, step).

# %%
def inputs(cfg, step):
    """Crops (B, 3, H, W) and mask noise (B, L) of this step, whatever was drawn before."""
    batch = images[batch_indices(len(images), cfg.batch_size, step, cfg.seed)]
    source = hardware.generator(cfg.seed, RNG.CROP_AND_MASK, step)
    boxes = random_crops(len(batch), *batch.shape[2:], (cfg.crop_scale, 1.0), source)
    noise = torch.rand(len(batch), 16, generator=source)  # the toy has 16 patches
    return crop(batch, cfg.img_size, boxes), noise


# %%
def by_hand(cfg, steps):
    model = cfg.build_model().train()
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        alone = parameter.ndim < 2 or name.endswith("_token")
        (others if alone else matrices).append(parameter)
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay},
              {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    logged = []
    for step in range(steps):
        epoch, i = divmod(step, iters)
        for group in optimizer.param_groups:
            group["lr"] = schedule_learning_rate(epoch, i, iters, cfg)
        x, noise = inputs(cfg, step)
        output = model(x, training_mask_ratio(step, iters, cfg), noise=noise)
        loss = losses.mae_loss(output.pred, x, output.mask, model.patch_size, cfg.norm_pix)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        logged.append(loss.detach())
    return torch.stack(logged)


# %% [markdown]
# That is all of pretraining, but for the two extra losses. (`training_mask_ratio` is the ramp of notebook 02, held
# for a quarter of an epoch.) The package's `pretrain` has a loop of its own, predicts hidden patches only and uses
# a fused optimizer. **Predict:** with the same settings, will its 24 losses agree with ours in no digit, in two or
# three, or in nearly all?

# %%
mine = by_hand(toy, toy.epochs * iters)
whole = pretrain(images, validation, toy, device=CPU, progress=False)
theirs = torch.tensor([r["loss"] for r in whole.history.records if r["kind"] == "step"])
print("steps:", len(mine), len(theirs))
print("equal to within 1e-4 at every step:", torch.allclose(mine, theirs, rtol=0, atol=1e-4))


# %% [markdown]
# Nearly all. What differs is the order in which numbers are added up. Take the package's step and only the loop
# from us, and not a bit should differ:

# %%
def train(cfg, steps=None, lr_of=schedule_learning_rate, restore=lambda train_step: None):
    """The package's step in our loop: the losses, and the step with its model and optimizer."""
    train_step = TrainStep(cfg.build_model().train(), cfg)
    restore(train_step)
    logged = []
    for step in steps or range(cfg.epochs * iters):
        epoch, i = divmod(step, iters)
        batch = images[batch_indices(len(images), cfg.batch_size, step, cfg.seed)]
        ratio = training_mask_ratio(step, iters, cfg)
        terms = train_step(batch, step, lr_of(epoch, i, iters, cfg), ratio)
        logged.append(terms["loss"])
    return torch.stack(logged), train_step


again, _ = train(toy)
print("the same losses to the last bit:", torch.equal(again, theirs))


# %% [markdown]
# This is worth more than it seems. A loop that repeats to the last bit can be tested: any change that should not
# change anything can be checked in seconds. The library's `TrainStep` is what we use from here on.
#
# **Trap 3: the rate changed once an epoch.** In the explorer the first epoch then had the rate 0. One epoch of that:

# %%
def once_an_epoch(epoch, i, iters, cfg):
    return schedule_learning_rate(epoch, 0, iters, cfg)


_, after = train(toy, steps=range(iters), lr_of=once_an_epoch)
start = toy.build_model().state_dict()
same = all(torch.equal(weight, start[name]) for name, weight in after.model.state_dict().items())
print("after a whole epoch every weight is where it began:", same)

# %% [markdown]
# Not one bit has moved. In a run of 800 epochs nobody would notice; in one of 10 it is a tenth of the budget.
#
# **Trap 4: no warm-up.** "Without warm-up it diverges", one reads. Does it? Five epochs of the toy, at a low and at
# a high peak, each with one epoch of warm-up and with none. Since steps see the same images and masks in both, we
# can subtract: what is above zero is worse without warm-up. **Predict** both curves.

# %%
figure, axes = new_figure(1, 2, 10, 3)
later = {}
for axis, peak in zip(axes[0], (1e-3, 8e-3), strict=True):
    cfg = replace(toy, epochs=5, lr=peak, mask_ratio_sched="const")
    (warm, _), (cold, _) = (train(replace(cfg, warmup_epochs=w)) for w in (1, 0))
    worse = cold - warm  # step by step on the same images, crops and masks
    later[peak] = worse[-iters:].mean()
    axis.axhline(0, color="0.5")
    axis.fill_between(range(len(worse)), worse.clamp(max=0), color=COLOURS[2], alpha=0.5)
    axis.fill_between(range(len(worse)), worse.clamp(min=0), color=COLOURS[1], alpha=0.5)
    axis.plot(worse, color="black", linewidth=1)
    axis.set(title=f"peak learning rate {peak:g}", xlabel="step", ylim=(-0.15, 0.1),
             ylabel="loss without − with warm-up")
show(figure, "The loss without warm-up minus that with it. At the low peak it begins far below "
             "zero and stays below. At the high one it crosses zero, falls below once more, "
             "then stays above.")
for peak, worse in later.items():
    print(f"peak {peak:g}: worse without warm-up in the last epoch: {bool(worse > 0)}")


# %% [markdown]
# Nothing diverged. At the low peak the warm-up only cost time. At the high one, skipping it looks clever for a
# dozen steps and is paid for until the end. Adam divides by a running mean of squared gradients, which has seen
# almost nothing at the first steps, so they are as long as the rate allows, in directions that a single batch
# suggests (Liu et al. 2020). Warm-up buys the right to a higher peak. (A toy, five epochs, one seed. Try others:
# with `seed=0` neither run at the high peak gets anywhere, and the comparison says nothing.)
#
# **Trap 5: reading the loss at every step.** Our loop kept the losses as tensors and never called `.item()`. On a
# CPU that makes no difference. On a GPU, Python only *orders* the work and runs ahead; `.item()` makes it wait
# until all of it is done, and the GPU then idles until the next orders come. The package reads its losses once a
# second. We measure both while we find out something else.
#
# ## How long will it take?
#
# Now the real training. At run level `smoke` it is a toy once more; at `quick` it is the specification to the
# letter, ten epochs on STL-10 (2.6 GB are downloaded the first time); at `full` 400 epochs of it.

# %%
def settings(variant):
    small = dict(preset="tiny", img_size=24, epochs=6, batch_size=32, lr=4e-3, precision="fp32",
                 seed=1)
    chosen = session.choose(smoke=small, quick={}, full={"epochs": 400})  # or 800: production
    return PretrainConfig(**{**variant_settings(variant), **chosen})


real = data if session.level == "smoke" else load_data("stl10")
epochs = settings("original").epochs
real_iters = steps_per_epoch(settings("original"), len(real.unlabeled))
print(f"{real.name}: {len(real.unlabeled):,} images, {epochs} epochs of {real_iters:,} steps")


# %% [markdown]
# Before a long run, time a short one, and throw it away:

# %%
def images_per_second(cfg, steps, item=False):
    precision = hardware.pick_precision(session.device, cfg.precision)
    cfg = replace(cfg, precision=precision)
    train_step = fastest_step(cfg.build_model().to(session.device), cfg)
    batch = real.unlabeled[: cfg.batch_size].to(session.device)
    for step in range(5 + steps):
        terms = train_step(batch, step, cfg.lr, cfg.mask_ratio)
        if item or step == 4:
            terms["loss"].item()
        if step == 4:  # the first steps prepare what later ones use
            start = time.perf_counter()
    terms["loss"].item()  # wait for the device
    return cfg.batch_size * steps / (time.perf_counter() - start)


steps = session.choose(smoke=6, quick=100, full=300)
for words, item in (("as it is", False), (".item() at every step", True)):
    print(f"{words}: {images_per_second(settings('original'), steps, item):,.0f} images/s")

# %% [markdown]
# On a CPU the two rates differ by chance only, and two measurements of one rate may differ as much. On a GPU they
# tell what waiting costs. Now the bill for both methods, before anything is spent:

# %%
for variant in ("original", "improved"):
    cfg = settings(variant)
    rate = images_per_second(cfg, steps)  # at the final mask ratio
    price = recorded_runs.price_of_steps(cfg, real_iters)
    more = price.mean() / price[-1]  # the curriculum's early steps cost more than its last
    minutes = epochs * real_iters * cfg.batch_size / rate * more / 60
    print(f"{variant}: about {minutes:.1f} min at {rate:,.0f} images/s; "
          f"of multiply-adds, the curriculum adds {more - 1:.0%}")

# %% [markdown]
# Validation, checkpoints and a busy machine come on top. And if you have no GPU yet and want to know whether one
# would do? Then count. The **specified** model costs a number of multiply-adds an image, and a T4 can do 65·10¹²
# half-precision operations a second, two of them a multiply-add. It also has to move what it computes: 320·10⁹
# bytes a second. Each activation kept for the backward pass makes about five journeys: written, read by the next
# layer, read again backwards, and its gradient written and read.

# %%
seconds = REPORTED["original"]["seconds"]
per_image = compute.multiply_adds(specified, 49)  # forward and backward, 49 visible patches
kept = recorded_runs.bytes_kept(specified) / 2  # counted in float32; half precision takes half
by_products, by_memory = 65e12 / (2 * per_image), 320e9 / (5 * kept)
print(f"{per_image / 1e9:.2f} billion multiply-adds and {kept / 1e6:.0f} MB kept, per image")
print(f"ceilings: {by_products:,.0f} images/s by products, {by_memory:,.0f} images/s by memory")
for share in (1 / 2, 1 / 5):
    rate = share * min(by_products, by_memory)
    print(f"at {share:.0%} of the lower one: ten epochs of 100,000 in {1e6 / rate / 60:.0f} min")
print(f"the run in the specification's log: {10 * 1563 * 64 / seconds:,.0f} images/s")

# %% [markdown]
# **This is an estimate, not a measurement.** The products are counted, the five journeys are a rule of thumb, and
# that a small model reaches between a fifth and a half of the lower ceiling is a guess: many of its operations are
# too small to fill a GPU. It is for one method; both take twice as long, and a little more for the add-ons. On a
# machine that you have, the timed warm-up above is the better oracle, and the run below shows its own images/s and
# the time left. Notice which ceiling is lower: for this model, memory and not arithmetic. The
# specification's log does not say which GPU it was written on.
#
# ## Train
#
# Checkpoints go to a folder. On Colab the machine may be taken away; set `KEEP_ON_DRIVE = True` there, and Google
# will ask for permission to keep them on your Drive. After an interruption, run the notebook again: finished epochs
# are not repeated. (At level `smoke` the folder is a temporary one.)

# %%
KEEP_ON_DRIVE = False


def runs_folder():
    if KEEP_ON_DRIVE and "google.colab" in sys.modules:
        from google.colab import drive

        drive.mount("/content/drive")
        return Path("/content/drive/MyDrive/mae_lib_runs")
    return Path(tempfile.mkdtemp() if session.level == "smoke" else "runs")


folder = runs_folder()
live = LiveCurves(epochs, real_iters, settings("original").batch_size)
live

# %% [markdown]
# Both methods, one after the other. The curves above grow meanwhile, and below them stands how long it will still
# take. At the levels with long runs there is also a bar for each epoch, `Pretrain Original E1/10` and so on, with
# learning rate, mask ratio and loss.

# %%
runs = {}
for variant in ("original", "improved"):
    cfg, place = settings(variant), folder / f"{real.name}-{variant}-{epochs}"
    with live.follow(variant, place):
        runs[variant] = pretrain(
            real.unlabeled, real.train, cfg, place, session.device, variant.capitalize(),
            progress=session.level != "smoke",
        )
    print(f"{variant}: {runs[variant].seconds:.0f} s of training, "
          f"{runs[variant].images_per_second:,.0f} images/s")


# %% [markdown]
# ## Which method is ahead?
#
# Three numbers were logged in every epoch. The *logged loss* is what the optimizer lowers: for improved it includes
# the Laplacian and the uniformity term. The *reconstruction loss* is one part of it, on the training crops, at the
# ratio of the moment. The *validation loss* is the reconstruction on fixed images, with fixed masks at 0.75, after
# the epoch. **Predict:** will they agree on who is ahead?

# %%
def by_epoch(run):
    """(3, epochs): logged loss, reconstruction loss, validation loss."""
    steps = [r for r in run.history.records if r["kind"] == "step"]
    mae = torch.tensor([r["mae"] for r in steps]).view(epochs, -1).mean(dim=1)
    ends = run.history.epochs()
    logged, fixed = (torch.tensor([e[key] for e in ends]) for key in ("loss", "val_loss"))
    return torch.stack([logged, mae, fixed])


curves = {name: by_epoch(run) for name, run in runs.items()}
NAMES = "logged loss", "reconstruction, training", "reconstruction, validation"
figure, axes = new_figure(1, 3, 11, 3)
for k, (axis, name) in enumerate(zip(axes[0], NAMES, strict=True)):
    for variant, (colour, style) in recorded_runs.STYLES.items():
        axis.plot(range(1, epochs + 1), curves[variant][k], style, color=colour, label=variant)
    axis.set(title=name, xlabel="epoch")
axes[0, 0].legend()
show(figure, "Original and improved by three measures: the logged loss, its reconstruction part, "
             "and the reconstruction on fixed images and masks.")

# %%
for k, name in enumerate(NAMES):
    ahead = ["original" if a < b else "improved"
             for a, b in zip(curves["original"][k], curves["improved"][k], strict=True)]
    print(f"{name:27} ahead in epochs 2 and 3: {ahead[1]}, {ahead[2]}")
terms = [r for r in runs["improved"].history.records if r["kind"] == "step"][-1]
print(f"improved's last step: {terms['mae']:.1f} + 0.05 · {terms['freq']:.1f} "
      f"+ 0.01 · ({terms['unif']:.0f})")
late = curves["original"][1, 0] > curves["original"][2, 0]
print("in epoch 1, original's training loss lies above its validation loss:", bool(late))

# %% [markdown]
# Do the rows agree? In the run that is stored on this page they do not: the same training is behind by one measure
# and ahead by another. Nobody has lied; the three answer three questions.
#
# - The logged losses of two methods with different terms are **different quantities**. The terms may be of either
#   sign, as uniformity is negative.
# - The training reconstruction depends on the ratio of the moment: [notebook 02](02_curriculum_masking.ipynb) had a
#   frozen model whose "curve" changed with the ratio alone.
# - It is also a mean over the epoch, of a model that was worse at its beginning, on random crops. So it can lie
#   *above* the validation loss, and that means nothing either.
#
# Only the third is one yardstick for all runs and all epochs. Even it measures reconstruction only; what the
# features are worth is for [notebook 08](08_linear_probe_and_fine_tuning.ipynb).
#
# At level `smoke` these were the smallest of runs. Back to the photographs of the first picture:

# %%
print(recorded_runs.about_records() + "\n\nimproved beside original, in per cent, after each epoch")
for measured in ("training loss", "validation loss"):
    a, b = (recorded_runs.curve(name, measured)[1] for name in ("original", "improved"))
    print(f"{measured:15}", " ".join(f"{100 * more:+5.1f}" for more in b / a - 1))

# %% [markdown]
# Read the first row alone, and then the second beside it, above all while the ratio still ramps. How much of the
# lead is left? The second row is the one to report, with its number of seeds, and with the question of the next
# section.
#
# ## Equal epochs, equal compute
#
# In its first epochs the curriculum shows the encoder more patches, and pays for them. At equal **epochs** both
# methods have seen as many images; at equal **compute** both have done as many multiply-adds. We count them for
# every step of the recorded runs, by torch's own counter.

# %%
paid = {}
for name in ("original", "improved"):
    paid[name], loss = recorded_runs.curve(name, "validation loss", "multiply-adds")
    print(f"{name}: {paid[name][-1]:.1f}·10¹² multiply-adds, validation loss {loss[-1]:.4f}")
print(f"improved has paid {paid['improved'][-1] / paid['original'][-1] - 1:+.1%}")

# %% [markdown]
# With what improved has paid on top, the original could have trained longer. **Predict first:** when the axis
# changes from epochs to multiply-adds, which curve moves, and in which direction? And when it changes to minutes?
# The dotted line is as far as both have come.

# %%
explorer = widgets.curve_explorer()
explorer

# %%
for against in recorded_runs.AGAINST:
    explorer.set(measured="validation loss", against=against, first=1)
    print(explorer.frame.text)

# %% [markdown]
# The curve that paid more moves to the right. Multiply-adds are a property of the method; minutes are one of a
# machine as well, and these were measured on the device named above, on which other work may have run. Whoever is
# ahead on all three axes is ahead. Whoever changes places with the axis has an advantage that somebody pays for.
# One caution remains: at a smaller budget one would have *planned* a shorter run, with its learning rate at zero in
# the end. So a curve cut off in the middle flatters the run that is allowed to finish. The package can plan for it:
# with `equal_compute` a run gets as many fewer steps as its steps cost more.

# %%
for variant in ("original", "improved", "improved+equal-compute"):
    cfg = replace(toy, **{"mask_ratio_sched": "const", **variant_settings(variant)})
    print(f"{variant:23} {steps_per_epoch(cfg, 100_000):,} steps an epoch")


# %% [markdown]
# (For the toy, on 100,000 images.) [Notebook 10](10_claims.ipynb) judges the claim of zero overhead.
#
# ## Stop, and go on
#
# Long runs get interrupted: you press stop, Colab takes the machine, the power fails. We let `KeyboardInterrupt`,
# which is what the stop button raises, strike in the middle of the second epoch of the toy's run.

# %%
class PressStop(TrainStep):
    """A training step with somebody's hand on the stop button."""

    def __call__(self, images, step, lr, mask_ratio):
        if step == 13:
            raise KeyboardInterrupt
        return super().__call__(images, step, lr, mask_ratio)


place = Path(tempfile.mkdtemp())
try:
    with mock.patch("mae_lib.pretrain.fastest_step", PressStop):
        pretrain(images, validation, toy, place, CPU, progress=False)
except KeyboardInterrupt:
    state = load_checkpoint(place / "checkpoint.pt")
    print("stopped at step 13; the checkpoint is of step", state["step"])
print("in the folder:", ", ".join(sorted(path.name for path in place.iterdir())))
print("in the checkpoint:", ", ".join(state))

# %% [markdown]
# Checkpoints are written at the end of every epoch and once a minute, under another name first, and then put in
# place in one step, so that a crash while writing leaves the old one whole. Five steps are lost. Now the same call
# again. **Predict:** do the final weights equal those of the run that was never stopped: roughly, to six digits, or
# to the bit?

# %%
resumed = pretrain(images, validation, toy, place, CPU, progress=False)
a, b = whole.model.state_dict(), resumed.model.state_dict()
print("the same weights to the last bit:", all(torch.equal(a[name], b[name]) for name in a))
log = [[r["loss"] for r in run.history.records] for run in (whole, resumed)]
print("the same losses, each once:", log[0] == log[1])


# %% [markdown]
# To the bit, and the history shows no seam. Nothing was recorded of any random generator: there is none to record.
# Your turn to say what belongs into a state.
#
# ### ✏️ Exercise 3 · A state to resume from  (★★☆ · 7 minutes)
#
# Write `snapshot(model, optimizer, step)`: a dict with the keys "model", "optimizer" and "step". It stays in memory
# while training goes on, and must still hold the state **of that moment** when it is used later.
#
# <details><summary>Hint 1</summary>
#
# Models and optimizers both have a `state_dict()`.
# </details>
# <details><summary>Hint 2</summary>
#
# A `state_dict()` holds the tensors themselves. What happens to them at the next step? `copy.deepcopy` copies
# nested dicts and the tensors within.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# import copy
#
# def snapshot(model, optimizer, step):
#     return {"model": copy.deepcopy(model.state_dict()),
#             "optimizer": copy.deepcopy(optimizer.state_dict()), "step": step}
# ```
# </details>

# %%
def snapshot(model, optimizer, step):
    ...  # your code


# %%
check.snapshot(snapshot)


# %% [markdown]
# **Trap 6: a checkpoint of the weights alone.** The weights are the result, so many save only them. We go on from
# the checkpoint of step 8 in three ways: with everything; with the weights, but a fresh optimizer; with weights and
# optimizer, but counting steps from 0 again. **Predict** the three curves.

# %%
def weights_only(train_step):
    train_step.model.load_state_dict(state["model"])


ways = {"everything": train(toy, range(8, 24), restore=lambda s: s.load_state_dict(state))[0],
        "weights only": train(toy, range(8, 24), restore=weights_only)[0],
        "step forgotten": train(toy, range(16), restore=lambda s: s.load_state_dict(state))[0]}
figure, axes = new_figure(1, 1, 8, 3)
axes[0, 0].plot(range(24), theirs, color="0.7", linewidth=6, label="never stopped")
for (name, logged), colour, style in zip(ways.items(), COLOURS, ("-", "--", "-."), strict=False):
    axes[0, 0].plot(range(8, 24), logged, style, color=colour, label=name)
axes[0, 0].set(xlabel="step", ylabel="training loss")
axes[0, 0].legend()
show(figure, "A broad grey loss curve that was never stopped. From step 8 on, the run resumed "
             "with everything lies exactly on it; the other two leave it.")

# %%
for name, logged in ways.items():
    gap = (logged - theirs[8:]).abs()
    print(f"{name:14} equal to the bit: {torch.equal(logged, theirs[8:])}; "
          f"ever off by more than 0.01: {bool(gap.max() > 0.01)}")


# %% [markdown]
# With a fresh optimizer the first loss is right, as the weights are, and then the run departs: the running means
# start empty, and the first steps are as rash as those without warm-up, at a rate that is no longer small. With the
# step forgotten, the schedule warms up once more and the first batches are seen again. Both runs go on without an
# error, may end a little higher or lower, and after a long training nobody will see it in the curve. But they are
# other runs than the one that you planned, and no two interruptions give the same.
#
# ## Several processes
#
# With several GPUs, each gets a process of its own with a copy of the model and a **share of every batch**; the
# gradients are averaged before each step, so all copies stay the same. If the mean of the shares' losses is the
# loss of the batch, $N$ processes train what one would. [Notebook 06](06_uniformity_loss.ipynb) showed the one term
# for which this needs care.

# %% [markdown]
# ### ✏️ Exercise 4 · A process's share  (★☆☆ · 4 minutes)
#
# Write `share_of_batch(order, step, batch_size, rank, world)`: of the images `order` (a shuffled pass, long
# enough), those that process `rank` of `world` processes takes at `step`. `batch_size` is for all processes
# together and divisible by `world`; process 0 takes the batch's first part, process 1 the next.
#
# <details><summary>Hint 1</summary>
#
# First the whole batch of this step, as one process would take it.
# </details>
# <details><summary>Hint 2</summary>
#
# Each share has `batch_size // world` images; that of `rank` begins at `rank` times as many.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def share_of_batch(order, step, batch_size, rank, world):
#     each = batch_size // world
#     first = step * batch_size + rank * each
#     return order[first : first + each]
# ```
# </details>

# %%
def share_of_batch(order, step, batch_size, rank, world):
    ...  # your code


# %%
check.share_of_batch(share_of_batch)

# %% [markdown]
# The usual `DistributedSampler` deals a data set out like cards. That is as good for training, but `N` processes
# then do not take the images in the order in which one would, and there is nothing to compare with. Here there is:
# we run the toy again, with all three add-ons, in one process and in two. `torchrun` starts a script several times;
# `join` lets the processes find each other.

# %%
improved = replace(toy, **variant_settings("improved"))
place = Path(tempfile.mkdtemp())
(place / "together.py").write_text(f"""
import torch
from pathlib import Path
from mae_lib.runtime import distributed
from mae_lib.config import PretrainConfig
from mae_lib.data.sources import load_data
from mae_lib.pretrain import pretrain

device = distributed.join(torch.device("cpu"))
data = load_data("scenes", size=48, counts=(250, 64, 1), progress=False)
cfg = {improved}
pretrain(data.unlabeled, data.train, cfg, Path({str(place)!r}), device, progress=False)
distributed.leave()
""")
command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
           str(place / "together.py")]

# %%
try:
    subprocess.run(command, capture_output=True, check=True, timeout=300)
    lines = map(json.loads, (place / "history.jsonl").read_text().splitlines())
    two = torch.tensor([line["loss"] for line in lines if line["kind"] == "step"])
    one, _ = train(improved)
    print("steps:", len(one), "and", len(two))
    print("losses equal to within 1e-3:", torch.allclose(one, two, rtol=0, atol=1e-3))
except (OSError, subprocess.SubprocessError) as error:
    print(f"Two processes cannot be run here ({type(error).__name__}); you can go on without.")

# %% [markdown]
# Two processes, one history, the same losses but for rounding: averages of halves are added up in another order.
# Each process drew crops and masks for the whole batch and used its own half, which is why their number does not
# matter.
#
# ## Larger
#
# Two GPUs that share a batch of 64 do 32 images each, and mostly wait. So with more GPUs the batch grows, and with
# it the question of the learning rate. The **linear rule** (Goyal et al. 2017): $k$ times the batch, $k$ times the
# rate, because one step replaces $k$. The official MAE states its rate for a batch of 256, 1.5e-4, and scales (He
# et al. 2022). For Adam others derive a **square root** (Malladi et al. 2022).

# %%
print("batch   linear from 64   square root   linear from 256   steps an epoch, 100,000 images")
for batch_size in (64, 128, 256, 1024, 4096):
    k = batch_size / 64
    print(f"{batch_size:5} {1.5e-4 * k:16.1e} {1.5e-4 * k**0.5:13.1e} {1.5e-4 * k / 4:17.1e} "
          f"{math.ceil(100_000 / batch_size):12,}")
ours = recorded_runs.recorded()["original"][0]["settings"]
print(f"the recorded runs: batch {ours['batch_size']}, peak {ours['lr']:.1e}")

# %% [markdown]
# The rules disagree by a lot, and they say how a good pair *moves*, not what a good pair is. The specified 1.5e-4
# at 64 is four times what the official rule gives there. Compare it with the last line, too. A rule gives the first
# value to try; what decides is a validation loss.
#
# And what breaks first when everything grows? A list by arithmetic, for 100,000 images and for a billion:

# %%
parameters = sum(weights.numel() for weights in specified.build_model().parameters())
print("in MB:  batch         images       pairs   order of a pass   gradients")
for batch_size, dataset in ((64, 10**5), (4096, 10**9), (131_072, 10**9)):
    pairs, order = 4 * batch_size**2, 8 * dataset  # float32 distances, int64 numbers
    print(f"{batch_size:13,} {dataset:14,} {pairs / 1e6:11,.1f} {order / 1e6:17,.1f} "
          f"{4 * parameters / 1e6:11,.1f}")

# %% [markdown]
# On every process. "Pairs" is the uniformity loss's table of distances. Gradients, which everyone thinks of first,
# do not grow with anything here. The table of pairs grows with the *square* of the batch, and a shuffled list of
# all images with the data. [benchmarks/README.md](../benchmarks/README.md) goes on from here: measured rates of
# this loop and of other implementations, prices of the add-ons, and an estimate for a billion images.
#
# ## One command
#
# All of this is in the package, and in a terminal it is one line. The same line again resumes.
#
# ```sh
# python -m mae_lib.pretrain --data stl10 --variant improved --out runs/stl10-improved
# torchrun --nproc-per-node 2 -m mae_lib.pretrain --data stl10 --batch-size 128 --lr 3e-4
# python -m mae_lib.compare --data stl10 --recipe specified --seeds 0 1 2
# ```
#
# The first pretrains one method, with a bar for each epoch that shows learning rate, mask ratio and loss. The
# second does so on two GPUs. The third does everything the claims are about: both methods with three seeds, their
# probes and fine-tuning with all baselines, one table in the end. Finished runs are skipped and unfinished ones go
# on, so it can be stopped at any time. `--help` lists every setting with its default.
#
# ## Quiz
#
# **1. In epoch 2, improved has a training loss 5 % below the original's. What do you report?**
#
# <details><summary>That it converges faster</summary>
#
# ✗ At that moment less is hidden for it, and its loss has other terms. The number compares two different tasks.
# </details>
# <details><summary>The difference on fixed images and masks</summary>
#
# ✓ One yardstick for both, and then also how many seeds, and at equal epochs or equal compute.
# </details>
# <details><summary>The training loss, after dividing it by the mask ratio</summary>
#
# ✗ How hard a task is does not grow in proportion to the ratio, and the mean over the epoch and the extra terms
# would still be in it.
# </details>
#
# **2. A run was resumed. The loss is right at first, then jumps up and recovers in some hundred steps. What is
# missing from the checkpoint?**
#
# <details><summary>The optimizer's state</summary>
#
# ✓ The weights are right, hence the first loss; the running means start empty, hence rash first steps.
# </details>
# <details><summary>The weights</summary>
#
# ✗ Then the first loss after resuming would be that of an untrained model.
# </details>
# <details><summary>The random generator's state</summary>
#
# ✗ Other masks and crops change the loss a little at every step; they do not make it jump and recover.
# </details>
#
# **3. You have 10 hours of one GPU and want to compare two methods, one of which costs 10 % more a step. What is
# fair?**
#
# <details><summary>Train both for 400 epochs and compare the ends</summary>
#
# ✗ A fair answer to another question: what is better per image seen. Say so, if that is what you ask.
# </details>
# <details><summary>Train both for 400 epochs and cut the dearer curve off where the other one ends</summary>
#
# ✗ At the cut its learning rate has not come down yet, while the other run has finished: it looks worse than it is.
# </details>
# <details><summary>Plan both runs so that each ends its schedule within the same budget</summary>
#
# ✓ Equal compute, each with a learning rate that reaches zero. Then several seeds, if the hours allow.
# </details>
#
# ## What you take along
#
# - State plus (seed, step): if all that is random follows from these two, a run repeats, resumes and splits over
#   processes without a trace.
# - Schedules run by steps, not by epochs. The cosine ends where the run ends: choose the length first.
# - Matrices decay; biases, norms and tokens do not. Losses stay in float32. Nothing in a step waits for the device.
# - Time a warm-up before a long run. If you cannot, count multiply-adds and bytes, and call it an estimate.
# - A training loss compares neither methods nor epochs when the ratio ramps. Fixed images, fixed masks; then ask:
#   equal epochs, or equal compute?
# - A small run is a test of the code, not of the method.
#
# **Next:** [08 · Linear probe and fine-tuning](08_linear_probe_and_fine_tuning.ipynb) asks what the features are
# worth.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR. Appendix
#   A.1: every setting of the pretraining.
# - Loshchilov & Hutter (2017). *SGDR: stochastic gradient descent with warm restarts.* ICLR; and (2019) *Decoupled
#   weight decay regularization.* ICLR.
# - Goyal, Dollár, Girshick et al. (2017). *Accurate, large minibatch SGD: training ImageNet in 1 hour.* The linear
#   rule and its warm-up.
# - Malladi, Lyu, Panigrahi & Arora (2022). *On the SDEs and scaling rules for adaptive gradient algorithms.*
#   NeurIPS. The square root.
# - Liu, Jiang, He et al. (2020). *On the variance of the adaptive learning rate and beyond.* ICLR. Why Adam needs a
#   warm-up.
# - Micikevicius, Narang, Alben et al. (2018). *Mixed precision training.* ICLR. Loss scaling.
