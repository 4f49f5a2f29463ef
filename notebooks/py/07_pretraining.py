# %% [markdown]
# # 7 · Pretraining: write the loop, run it, read its curves
#
# You have a model and three losses. What is missing is the training loop: the part that runs for minutes or hours while
# nobody watches. It has to be right before it starts, survive being stopped, and leave curves behind that mean
# something. In this notebook you write the whole loop, train your own masked autoencoder on this computer, and keep its
# encoder for the notebooks that follow. Then you run the specified training on a GPU, or study six runs that we made.
#
# **You will be able to**
#
# - build `schedule_learning_rate`, `parameter_groups`, `total_loss`, `train_step`, `train` and `snapshot`;
# - make every batch, crop and mask follow from the number of the step, so that a run can be repeated and resumed;
# - say before a run how long it will take;
# - compare two methods by their curves without being misled by the loss that each one logs.
#
# **Before you start:** notebooks [02](02_curriculum_masking.ipynb) to [06](06_uniformity_loss.ipynb), for the mask
# schedule, the model and the losses.
#
# **Time:** 45 minutes to read and run, and about 60 more for the exercises. The training on this computer takes one or
# two minutes of it. The run on a GPU goes on by itself, and you can read on meanwhile in another notebook.

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
import copy
import math
import time
from dataclasses import replace

import torch
import torch.nn as nn
import torch.nn.functional as F
from IPython.display import display

from mae_lib import evaluate
from mae_lib.config import RECIPES, PretrainConfig, variant_settings
from mae_lib.course.exercises import pretraining as check
from mae_lib.course.session import show
from mae_lib.course.trained import path_of_model
from mae_lib.course.widgets import pretraining as widgets
from mae_lib.data.augment import crop, denormalise, normalise, random_crops, resize
from mae_lib.data.sources import load_data
from mae_lib.model import PRESETS
from mae_lib.plots import COLOURS, GREY, new_figure
from mae_lib.runtime import hardware
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import load_checkpoint, save_checkpoint

show(*widgets.title())

# %% [markdown]
# Both panels show the same six training runs on a GPU, three for each method. On the left, *improved* is far ahead. On
# the right, the two methods almost coincide. By the end of this notebook you will be able to say which panel to report,
# and why.
#
# From the earlier notebooks we need the parts below. Where you have solved their exercises, your own code is used.

# %%
patchify, unpatchify, schedule_mask_ratio, MAE = course.use(
    "patchify", "unpatchify", "schedule_mask_ratio", "MAE")
mae_loss, laplacian_loss_masked, uniformity_loss = course.use(
    "mae_loss", "laplacian_loss_masked", "uniformity_loss")

# %% [markdown]
# ## Something to learn from
#
# We train on `scenes`, a data set that this course draws itself, so nothing has to be downloaded. Each picture shows
# one large object in front of others. Its class is a pair of a shape and a pattern, such as "striped ring". There are
# 8,000 pictures without labels to train on, and 2,000 with labels for each of training and testing a classifier later.

# %%
recipe = RECIPES["quick"]
scenes = load_data("scenes", counts=recipe.counts, progress=False)
figure, axes = new_figure(2, 6, 10, 3.7)
for axis, image, label in zip(axes.flat, scenes.train, scenes.train_labels, strict=False):
    axis.imshow(image.permute(1, 2, 0))
    axis.set(title=scenes.classes[label], xticks=[], yticks=[])
    axis.grid(visible=False)
show(figure, "Twelve generated scenes, each with one large patterned shape in front of others and "
             "with the name of its class above it.")

# %% [markdown]
# All settings of a run are in one object, a `PretrainConfig`. Ours describes a small model for pictures of 48 pixels.
# The names in it are the ones that your functions will read from their argument `cfg`.

# %%
epochs = session.choose(smoke=4, quick=10, full=10)
cfg = PretrainConfig(**recipe.pretrain, epochs=epochs, precision="fp32")
sizes = {**PRESETS["tiny"], "patch_size": cfg.patch_size, "decoder_depth": cfg.decoder_depth}
iters = len(scenes.unlabeled) // cfg.batch_size
print(f"peak rate {cfg.lr}, warm-up {cfg.warmup_epochs} epoch, weight decay {cfg.weight_decay}")
print(f"{cfg.epochs} epochs of {iters} steps, each with {cfg.batch_size} images "
      f"of {sizes['img_size']} pixels")

# %% [markdown]
# ## Every batch follows from its step
#
# A run carries a **state** from step to step: the weights, the optimizer's memory, and the number of the step. The
# random choices are a danger. If a random generator lives on from step to step, it is a hidden part of the state, and
# a run that is resumed without it becomes a different run. So we make every choice follow from the number of the step.
#
# The order of the images comes first. Imagine an endless row of shuffled passes over the data, cut into batches. The
# slow form writes the row down. The package's `batch_indices` computes any batch directly.

# %%
row = []
for turn in range(3):  # three passes over 250 images, each in an order of its own
    source = hardware.generator(0, hardware.RNG.ORDER, turn)
    row += torch.randperm(250, generator=source).tolist()
slow = [row[32 * step : 32 * (step + 1)] for step in range(20)]
fast = [batch_indices(250, 32, step, seed=0).tolist() for step in range(20)]
print(f"{sum(a == b for a, b in zip(slow, fast, strict=True))} of 20 batches are equal")


# %% [markdown]
# All 20 batches are equal. `batch_indices` finds the batch of step 1,000,000 without drawing a million batches first,
# which is what we need to resume a run.
#
# Each image is then cropped at random, flipped half of the time and scaled to the model's size
# ([He et al. 2022](https://arxiv.org/abs/2111.06377), appendix A.1). The package does this for a whole batch at once,
# on the device where the images are. The first line of `batch_at` also fixes what comes after the crops: the masks that
# your `random_masking` will draw.

# %%
def batches_of(images, cfg, size, device):
    def batch_at(step):
        torch.manual_seed(1_000_000 * cfg.seed + step)  # for the masks, which the model draws next
        source = torch.Generator().manual_seed(1_000_000 * cfg.seed + step)
        chosen = images[batch_indices(len(images), cfg.batch_size, step, cfg.seed)].to(device)
        boxes = random_crops(len(chosen), *chosen.shape[2:], (cfg.crop_scale, 1.0), source)
        return crop(chosen, size, boxes.to(device))

    return batch_at


batch_at = batches_of(scenes.unlabeled, cfg, sizes["img_size"], session.device)
torch.testing.assert_close(batch_at(7), batch_at(7), rtol=0, atol=0)
print("the batch of step 7:", tuple(batch_at(7).shape), "and the same again when asked again")

# %%
figure, axes = new_figure(2, 6, 10, 3.6)
for i, (above, below) in enumerate(axes.T):
    image = scenes.unlabeled[batch_indices(len(scenes.unlabeled), cfg.batch_size, 0, cfg.seed)[i]]
    above.imshow(image.permute(1, 2, 0))
    below.imshow(denormalise(batch_at(0)[i].cpu()).permute(1, 2, 0).clamp(0, 1))
    for axis in (above, below):
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
show(figure, "Above, six generated scenes; below, a random crop of each at the model's size, some "
             "of them flipped left to right.")


# %% [markdown]
# ## The learning rate
#
# Let $t$ = epoch + step / iters be the time in epochs. The rate rises in a straight line during a **warm-up** of $w$
# epochs. It then falls along half a cosine until the run ends after $E$ epochs
# ([Loshchilov & Hutter 2017](https://arxiv.org/abs/1608.03983)):
#
# $$\eta(t) = \eta_{\max} \cdot \begin{cases} t / w & t < w \\
# \tfrac12 \left(1 + \cos \pi \dfrac{t - w}{E - w}\right) & t \ge w \end{cases}$$
#
# ### ✏️ Exercise 1 · Up in a line, down a cosine  (★★☆ · 6 minutes)
#
# Write `schedule_learning_rate(epoch, step, iters, cfg)`, where `epoch` and `step` count from 0 and `iters` is the
# number of steps in an epoch. `cfg` has `lr` (the peak), `warmup_epochs` and `epochs`.
#
# <details><summary>Hint 1</summary>
#
# In the middle of epoch 2, $t$ is 2.5.
# </details>
# <details><summary>Hint 2</summary>
#
# There are two cases, so write two `return`s. `math.cos` takes radians, and half a turn is `math.pi`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def schedule_learning_rate(epoch, step, iters, cfg):
#     time = epoch + step / iters  # in epochs
#     if time < cfg.warmup_epochs:
#         return cfg.lr * time / cfg.warmup_epochs
#     progress = (time - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
#     return cfg.lr * (1 + math.cos(math.pi * progress)) / 2
# ```
# </details>

# %%
def schedule_learning_rate(epoch, step, iters, cfg):
    ...  # your code


# %%
check.schedule_learning_rate(schedule_learning_rate)

# %%
schedule_learning_rate = course.use("schedule_learning_rate")

# %% [markdown]
# The report whose claims we check in this course comes with a log: ten epochs of 1,563 steps, a peak of 1.5e-4, two
# epochs of warm-up, and the rate at the end of each epoch. We compare the schedule with that log.

# %%
reported = ("7.50e-05 1.50e-04 1.44e-04 1.28e-04 1.04e-04 7.50e-05 4.63e-05 2.20e-05 5.72e-06 "
            "2.37e-12")
specified = PretrainConfig()  # the defaults are the specification's
ends = [schedule_learning_rate(epoch, 1562, 1563, specified) for epoch in range(10)]
same = sum(f"{rate:.2e}" == said for rate, said in zip(ends, reported.split(), strict=True))
print("ours:", *[f"{rate:.2e}" for rate in ends])
print(f"{same} of 10 rates agree with the log in every digit")

# %% [markdown]
# All ten rates agree. The last one, 2.37e-12, is what half a cosine leaves *one step* before its end. So whoever made
# that log changed the rate at every step, as we do.
#
# **Predict first.** Some loops change the rate only once an epoch, and use $t$ = epoch.

# %%
guess_rate = course.predict("Changed once an epoch, what is the rate throughout the first epoch?")

# %%
schedule_explorer = widgets.schedule_explorer()
schedule_explorer

# %%
guess_rate.reveal(f"{schedule_learning_rate(0, 0, 1563, specified):.2e}")
for change in ({"epochs": 100}, {"epochs": 10, "batch": 512}):
    schedule_explorer.set(**change)
    print(schedule_explorer.frame.text)
_ = schedule_explorer.set(batch=64)

# %% [markdown]
# The rate is zero for the whole first epoch, so a tenth of this run would be spent without learning anything. No error
# is raised, and in a run of 800 epochs nobody would notice.
#
# Move the controls to see two more things. The cosine ends where the *run* ends: in a run of 100 epochs the rate after
# the third epoch is still at its peak. A run of 10 epochs is therefore not the beginning of a run of 100, and you have
# to choose the length first. With batches of 512 the curve keeps its shape, but there are only 1,960 steps instead
# of 15,630. When the batch grows, people also raise the peak: in proportion to the batch
# ([Goyal et al. 2017](https://arxiv.org/abs/1706.02677)), or with its square root for Adam
# ([Malladi et al. 2022](https://arxiv.org/abs/2205.10287)). Either rule gives a first value to try.
#
# ## What decays
#
# **AdamW** divides each gradient by a running estimate of its size, and in the same step it lets the weight **decay**
# towards 0 ([Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101)):
#
# $$w \leftarrow w - \eta \left( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda w \right)$$
#
# Here $\hat m$ and $\hat v$ are running means of the gradient and of its square. They are the optimizer's memory.
# Decay keeps matrices from growing. It makes little sense for a norm's scale, which starts at 1, for a bias, or for
# the mask token, so these are left alone.
#
# **Predict first.** Suppose that we forget this, and that no gradient pulls a norm's scale back to 1. Each step
# multiplies it by $1 - \eta\lambda$.

# %%
guess_decay = course.predict("What is left of a scale of 1 after 10 epochs, and after 800?")


# %%
def left_over(epochs):
    """What decay alone leaves of a weight of 1 in the specified run, made longer or shorter."""
    longer = replace(specified, epochs=epochs)
    rates = [schedule_learning_rate(epoch, 781, 1563, longer) for epoch in range(epochs)]
    return math.exp(-longer.weight_decay * 1563 * sum(rates))  # the middle rate of each epoch


guess_decay.reveal(f"{left_over(10):.3f} after 10 epochs, {left_over(800):.3f} after 800")

# %% [markdown]
# After 10 epochs 0.943 is left, which you would not notice. After 800 epochs it is 0.009, unless the gradient fights
# the decay for the rest of the run. So this mistake does not show up in a short test. The same numbers tell us that in
# ten epochs the decay hardly affects the *matrices* either: a short run cannot tell you how much decay to use.
#
# ### ✏️ Exercise 2 · Two groups  (★★☆ · 8 minutes)
#
# Write `parameter_groups(model, weight_decay)`. It returns a list of two dicts for AdamW, each with the keys
# `"params"` (a list) and `"weight_decay"`. Matrices decay. Biases, norms and tokens (names that end in `_token`) do
# not. Be careful with the patch embedding: its matrix is stored with four dimensions, as a convolution's.
#
# <details><summary>Hint 1</summary>
#
# `model.named_parameters()` gives pairs of name and parameter. All biases and norms have `parameter.ndim == 1`.
# </details>
# <details><summary>Hint 2</summary>
#
# Tokens have the shape (1, 1, D), so the number of dimensions does not identify them. Use their names.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def decays(name, parameter):
#     return parameter.ndim > 1 and not name.endswith("_token")
#
#
# def parameter_groups(model, weight_decay):
#     named = list(model.named_parameters())
#     return [{"params": [p for name, p in named if decays(name, p)], "weight_decay": weight_decay},
#             {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0}]
# ```
# </details>

# %%
def parameter_groups(model, weight_decay):
    ...  # your code


# %%
check.parameter_groups(parameter_groups)

# %%
parameter_groups = course.use("parameter_groups")


# %%
def build(cfg, sizes, device):
    torch.manual_seed(cfg.seed)
    model = MAE(**sizes).to(device)
    groups = parameter_groups(model, cfg.weight_decay)
    return model, torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))


model, optimizer = build(cfg, sizes, session.device)
for group in optimizer.param_groups:
    count = sum(parameter.numel() for parameter in group["params"])
    print(f"decay {group['weight_decay']:.2f}: {count:7,} weights in {len(group['params'])} tensors")

# %% [markdown]
# Almost all weights are in matrices: 528,384 of 534,944. The two numbers `betas` say how slowly the running means follow
# the gradient. PyTorch's default for the second is 0.999; He et al. use 0.95.
#
# ## One loss from three
#
# The report's *improved* method adds two terms to the reconstruction loss:
#
# $$L = L_{\text{MAE}} + \lambda_{\text{freq}} L_{\text{Laplacian}} + \lambda_{\text{unif}} L_{\text{unif}},
# \qquad \lambda_{\text{freq}} = 0.05,\quad \lambda_{\text{unif}} = 0.01.$$
#
# ### ✏️ Exercise 3 · `total_loss`  (★★★ · 12 minutes)
#
# Write `total_loss(pred, images, mask, latent, patch_size, cfg)`. `pred` is (B, L, p·p·3), `mask` is (B, L), `latent`
# holds the encoder's tokens. `cfg` has `norm_pix`, `lambda_freq` and `lambda_unif`. A term whose weight is 0 need not be
# computed. Your `laplacian_loss_masked` wants images in one unit: with `norm_pix` the prediction is in units of each
# patch's own mean and standard deviation, so convert it back to the images' units first (see
# [notebook 04](04_reconstruction_loss.ipynb)).
#
# <details><summary>Hint 1</summary>
#
# Start with `mae_loss`, and add each other term under an `if`. `unpatchify` turns `pred` into images.
# </details>
# <details><summary>Hint 2</summary>
#
# To convert back, cut the true images into patches, and take the mean and `var` over the last axis with
# `keepdim=True`. Use the same `1e-6` under the root as in `mae_loss`.
# </details>
# <details><summary>Hint 3</summary>
#
# `mask[:, :, None].expand_as(pred)` repeats the mask for every pixel. `unpatchify` makes an image of it, and one
# channel of that, `[:, :1]`, is enough.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def to_pixels(pred, images, patch_size):
#     """Undo norm_pix with the statistics of the target's patches."""
#     target = patchify(images, patch_size)
#     std = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
#     return pred * std + target.mean(dim=-1, keepdim=True)
#
#
# def total_loss(pred, images, mask, latent, patch_size, cfg):
#     loss = mae_loss(pred, images, mask, patch_size, cfg.norm_pix)
#     if cfg.lambda_freq:
#         rows, cols = images.shape[2] // patch_size, images.shape[3] // patch_size
#         pixels = to_pixels(pred, images, patch_size) if cfg.norm_pix else pred
#         pred_img = unpatchify(pixels, patch_size, rows, cols)
#         mask_img = unpatchify(mask[:, :, None].expand_as(pred), patch_size, rows, cols)[:, :1]
#         loss = loss + cfg.lambda_freq * laplacian_loss_masked(pred_img, images, mask_img)
#     if cfg.lambda_unif:
#         loss = loss + cfg.lambda_unif * uniformity_loss(latent)
#     return loss
# ```
# </details>

# %%
def total_loss(pred, images, mask, latent, patch_size, cfg):
    ...  # your code


# %%
check.total_loss(total_loss)

# %%
total_loss = course.use("total_loss")

# %%
images = batch_at(0)
with torch.no_grad():
    pred, mask, latent = model(images, 0.75)
    for name in ("original", "laplacian", "uniformity", "improved"):
        changed = replace(cfg, **variant_settings(name))
        print(f"{name:10} {total_loss(pred, images, mask, latent, 8, changed):5.2f}")

# %% [markdown]
# For one and the same prediction, the original logs 1.42 and improved logs 1.47. The Laplacian term raises the sum, and
# the uniformity term, which is negative, lowers it. So logged losses of different methods are different quantities.
# Keep this in mind for the first picture.
#
# ## Half precision
#
# On a GPU, matrix products in 16 bits are several times faster than in 32. PyTorch's **autocast** computes the products
# within its block in 16 bits and leaves the weights in 32. `bfloat16` has the range of `float32` but only about three
# significant digits. Loss and optimizer should not follow:

# %%
with torch.no_grad(), torch.autocast(session.device.type, dtype=torch.bfloat16):
    half_pred, mask, latent = model(images, 0.75)
print("weights:   ", model.decoder.pred.weight.dtype)
print("prediction:", half_pred.dtype)
final = torch.tensor(widgets.curve("original", "validation loss")[1][-3:])
print("losses of the last three epochs:", *[f"{loss:.4f}" for loss in final.tolist()])
print("the same in bfloat16:           ", *[f"{loss:.4f}" for loss in final.bfloat16().tolist()])

# %% [markdown]
# These losses are the means of our three GPU runs of the original. Between 0.25 and 0.5, the numbers of `bfloat16` are
# 0.002 apart. The last epoch lowered the loss by 0.0006; in `bfloat16` this looks like 0.0019. Late in a run, all
# progress is that small. So we convert the prediction to `float32` and compute the loss outside the block.
#
# Older cards such as Colab's T4 have no fast `bfloat16`, only `float16`. Its smallest number is about 6·10⁻⁸, and
# gradients are often smaller. We take random errors of the size of one specified batch and look at the gradient of
# their mean square.

# %%
guess_half = course.predict("What share of these gradients is off by more than 1 % in float16?")

# %%
error = torch.randn(64, 147, 768, generator=torch.Generator().manual_seed(0))
gradient = 2 * error / error.numel()  # of the mean of the squares
for scale in (1, 2**16):
    half = (gradient * scale).half().float() / scale
    off = ((half - gradient).abs() > 0.01 * gradient.abs()).float().mean()
    print(f"multiplied by {scale:>6}: {(half == 0).float().mean():.0%} become 0, {off:.0%} are off")
    if scale == 1:
        result = f"{off:.0%}"
guess_half.reveal(result)


# %% [markdown]
# In `float16`, 9 % of the gradients become zero and 93 % are off by more than 1 %. When the loss is multiplied by 65,536
# first, none are. A `GradScaler` does this multiplication, undoes it before the update, and skips a step that has
# overflowed ([Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740)). The package uses one on a T4. Your own step
# will do without: it uses `bfloat16` where that is fast, and `float32` elsewhere.
#
# ### ✏️ Exercise 4 · One step  (★★★ · 10 minutes)
#
# Write `train_step(model, optimizer, images, lr, mask_ratio, cfg)`. It sets the rate `lr` in every group of the
# optimizer, runs the model, computes `total_loss` in `float32`, and updates the weights once. It returns the loss as a
# tensor without its graph. If `cfg.precision` is `"bf16"`, the model runs under autocast. The patch size is
# `model.patch_size`.
#
# <details><summary>Hint 1</summary>
#
# The optimizer's groups are dicts in `optimizer.param_groups`, each with a key `"lr"`.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=...)` can be switched off by its last argument.
# Call `total_loss` after the block, with `pred.float()` and `latent.float()`.
# </details>
# <details><summary>Hint 3</summary>
#
# Then comes the usual trio: `zero_grad`, `backward`, `step`. `loss.detach()` lets go of the graph.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def train_step(model, optimizer, images, lr, mask_ratio, cfg):
#     for group in optimizer.param_groups:
#         group["lr"] = lr
#     half = cfg.precision == "bf16"
#     with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
#         pred, mask, latent = model(images, mask_ratio)
#     loss = total_loss(pred.float(), images, mask, latent.float(), model.patch_size, cfg)
#     optimizer.zero_grad()
#     loss.backward()
#     optimizer.step()
#     return loss.detach()
# ```
# </details>

# %%
def train_step(model, optimizer, images, lr, mask_ratio, cfg):
    ...  # your code


# %%
check.train_step(train_step)

# %%
train_step = course.use("train_step")

# %% [markdown]
# Why does it return a tensor, and not a number? On a GPU, Python only *orders* work and runs ahead of it. `loss.item()`
# makes Python wait until the work is done. We keep tensors, and ask for numbers only where we need them.
#
# ## The loop
#
# ### ✏️ Exercise 5 · `train`  (★★☆ · 10 minutes)
#
# Write `train(model, optimizer, batch_at, iters, cfg, start=0)`. It takes all steps from `start` to the end of
# `cfg.epochs` epochs of `iters` steps. Each step has its own batch, `batch_at(step)`, its own learning rate and its own
# mask ratio. Put the model in training mode first. Return all losses as one tensor.
#
# <details><summary>Hint 1</summary>
#
# `batch_at` counts steps over the whole run. The two schedules want the epoch and the step within it:
# `divmod(step, iters)` gives both.
# </details>
# <details><summary>Hint 2</summary>
#
# Collect the losses in a list and `torch.stack` them at the end.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def train(model, optimizer, batch_at, iters, cfg, start=0):
#     model.train()
#     losses = []
#     for step in range(start, cfg.epochs * iters):
#         epoch, i = divmod(step, iters)
#         lr = schedule_learning_rate(epoch, i, iters, cfg)
#         mask_ratio = schedule_mask_ratio(epoch, i, iters, cfg)
#         loss = train_step(model, optimizer, batch_at(step), lr, mask_ratio, cfg)
#         losses.append(loss)
#     return torch.stack(losses)
# ```
# </details>

# %%
def train(model, optimizer, batch_at, iters, cfg, start=0):
    ...  # your code


# %%
check.train(train)

# %%
train = course.use("train")

# %% [markdown]
# Together with the parts it calls, this is a complete pretraining loop. Before we trust it with a long run, we test it
# with a short one.
#
# ## Stop, and go on
#
# Long runs get interrupted: you press stop, Colab takes the machine away, the power fails. Then you want to go on from
# the last **checkpoint**, a file that holds the state, as if nothing had happened.
#
# ### ✏️ Exercise 6 · `snapshot`  (★★☆ · 6 minutes)
#
# Write `snapshot(model, optimizer, step)`. It returns a dict with the keys `"model"`, `"optimizer"` and `"step"`, from
# which a run can go on. It stays in memory while training continues, and it must still hold the state **of that moment**
# when it is used later.
#
# <details><summary>Hint 1</summary>
#
# Models and optimizers both have a `state_dict()`.
# </details>
# <details><summary>Hint 2</summary>
#
# A `state_dict()` holds the tensors themselves. What happens to them at the next step? `copy.deepcopy` copies nested
# dicts with all tensors in them.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# import copy
#
#
# def snapshot(model, optimizer, step):
#     return {"model": copy.deepcopy(model.state_dict()),
#             "optimizer": copy.deepcopy(optimizer.state_dict()),
#             "step": step}
# ```
# </details>

# %%
def snapshot(model, optimizer, step):
    ...  # your code


# %%
check.snapshot(snapshot)

# %%
snapshot = course.use("snapshot")

# %% [markdown]
# For the test we train for 20 steps, two epochs of ten. Then we train again from the same start and press stop at
# step 13. `KeyboardInterrupt` is what the stop button raises. A snapshot was taken before step 8.

# %%
short = replace(cfg, epochs=2)
whole = train(*build(short, sizes, session.device), batch_at, 10, short)
model, optimizer = build(short, sizes, session.device)
saved = {}


# %%
def stopped(step):
    if step == 8:
        saved.update(snapshot(model, optimizer, step))
    if step == 13:
        raise KeyboardInterrupt
    return batch_at(step)


try:
    train(model, optimizer, stopped, 10, short)
except KeyboardInterrupt:
    print("stopped at step 13, with a snapshot of step", saved["step"])


# %% [markdown]
# We go on from the snapshot in three ways: with all of it; with the weights but a fresh optimizer; and with weights and
# optimizer but counting from step 0 again. Twelve steps are left.
#
# **Predict first.**

# %%
guess_equal = course.predict("In each way, how many of the 12 losses equal the unbroken run's?")


# %%
def resumed(optimizer_too=True, step_too=True):
    model, optimizer = build(short, sizes, session.device)
    model.load_state_dict(saved["model"])
    if optimizer_too:
        optimizer.load_state_dict(saved["optimizer"])
    start = saved["step"] if step_too else 0
    return train(model, optimizer, batch_at, 10, short, start)[:12]


ways = {"everything": resumed(), "weights only": resumed(optimizer_too=False),
        "step forgotten": resumed(step_too=False)}
equal = {name: int((rest == whole[8:]).sum()) for name, rest in ways.items()}
guess_equal.reveal(", ".join(f"{name}: {count}" for name, count in equal.items()))

# %%
figure, axes = new_figure(1, 1, 8, 3)
axes[0, 0].plot(range(20), whole.cpu(), color="0.75", linewidth=6, label="never stopped")
for (name, rest), colour, style in zip(ways.items(), COLOURS, ("-", "--", "-."), strict=False):
    axes[0, 0].plot(range(8, 20), rest.cpu(), style, color=colour, label=name)
axes[0, 0].set(xlabel="step", ylabel="training loss", xticks=range(0, 20, 2))
axes[0, 0].legend()
show(figure, "A broad grey loss curve that was never stopped. From step 8 on, the run resumed "
             "with everything lies exactly on it; the other two leave it.")

# %% [markdown]
# Resumed with everything, all 12 losses are equal to the last bit, because every batch, crop and mask follows from its
# step. With a fresh optimizer only the first loss is right: the weights are the same, but the running means start
# empty. With the step forgotten, the images and the rates are different ones from the start. Neither run raises an
# error, and after a long training you would not see it in the curve.
#
# A loop that repeats to the last bit has another use. Any change that should not change the result can be tested in a
# second.
#
# ## Train your model
#
# A training loss changes with the batch, the crop and the mask ratio of the moment. To see what a model has learned we
# also need a fixed measure: the reconstruction loss on 256 fixed images that it does not train on, with fixed masks at
# a ratio of 0.75. We call it the **validation loss**.

# %%
def validation_on(images, sizes, device):
    x = resize(images, sizes["img_size"]).to(device)
    length = (sizes["img_size"] // sizes["patch_size"]) ** 2
    noise = torch.rand(len(x), length, generator=torch.Generator().manual_seed(0)).to(device)

    @torch.no_grad()
    def validate(model):
        pred, mask, _ = model(x, 0.75, noise)
        return mae_loss(pred, x, mask, sizes["patch_size"], norm_pix=True).item()

    return validate


validate = validation_on(scenes.train[:256], sizes, session.device)
print(f"untrained: {validate(build(cfg, sizes, session.device)[0]):.1f}")

# %% [markdown]
# The untrained model has a loss of 1.4. With `norm_pix` the targets have mean 0 and variance 1, so a model that
# always predicts 0 would have a loss of about 1.
#
# How do we look at a loop from outside? `train` asks `batch_at` for a batch at the beginning of each step. So we wrap
# `batch_at`: at the first step of every epoch, the wrapper notes the validation loss and writes a checkpoint, and it
# shows how much time is left.

# %%
def watched(batch_at, model, optimizer, iters, validate, log, progress, checkpoint=None):
    def batch_and_notes(step):
        progress.at(step)
        if step % iters == 0:
            log[step // iters] = validate(model)
            if checkpoint:
                save_checkpoint(checkpoint, {**snapshot(model, optimizer, step), "log": log})
        return batch_at(step)

    return batch_and_notes


# %% [markdown]
# **Predict first.** After training, how far will the validation loss have come down, between 1 (nothing but the mean)
# and 0 (every hidden pixel correct)?

# %%
guess_loss = course.predict("The validation loss after training will be …")

# %%
progress = widgets.Progress(cfg.epochs * iters, cfg.batch_size)
progress

# %% [markdown]
# The next cell trains the model. On two CPU cores it takes about a minute.

# %%
model, optimizer = build(cfg, sizes, session.device)
before, log = copy.deepcopy(model), {}
losses = train(model, optimizer, watched(batch_at, model, optimizer, iters, validate, log, progress),
               iters, cfg).cpu()
log[cfg.epochs] = validate(model)
progress.at(cfg.epochs * iters)
guess_loss.reveal(f"{log[cfg.epochs]:.1f}")

# %%
figure, axes = new_figure(1, 1, 8, 3.2)
smooth = losses.unfold(0, 25, 5).mean(dim=1)  # the mean of 25 steps, every 5 steps
axes[0, 0].plot((torch.arange(len(smooth)) * 5 + 12) / iters, smooth, color=COLOURS[0],
                label="training loss, mean of 25 steps")
axes[0, 0].plot(list(log), list(log.values()), "s--", color=COLOURS[1], label="validation loss")
axes[0, 0].axhline(1, color=GREY, linestyle=":")
axes[0, 0].set(xlabel="epoch", ylabel="loss")
axes[0, 0].legend()
show(figure, "The training loss and the validation loss fall together, quickly in the first epoch "
             "and more slowly later.")

# %% [markdown]
# The validation loss falls to ‹VAL›. The picture shows what that number means. We hide 75 % of six new scenes, and
# compare your model before and after its training.

# %%
@torch.no_grad()
def reconstruct(model, x, noise):
    """The true pixels where patches are visible, the model's prediction elsewhere."""
    p, side = sizes["patch_size"], sizes["img_size"] // sizes["patch_size"]
    target = patchify(x, p)
    pred, mask, _ = model(x, 0.75, noise)
    std = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    pred = pred * std + target.mean(dim=-1, keepdim=True)
    hidden = mask[:, :, None] > 0
    return [unpatchify(patches, p, side, side) for patches in
            (target * ~hidden, torch.where(hidden, pred, target))]


# %%
x = resize(scenes.test[:6], sizes["img_size"]).to(session.device)
noise = torch.rand(6, (sizes["img_size"] // sizes["patch_size"]) ** 2,
                   generator=torch.Generator().manual_seed(1)).to(session.device)
masked, untrained = reconstruct(before, x, noise)
rows = {"visible": masked, "before": untrained, "after": reconstruct(model, x, noise)[1],
        "original": x}
figure, axes = new_figure(4, 6, 9, 6.2)
for across, (name, pictures) in zip(axes, rows.items(), strict=True):
    across[0].set_ylabel(name)
    for axis, picture in zip(across, denormalise(pictures.cpu()).clamp(0, 1), strict=True):
        axis.imshow(picture.permute(1, 2, 0))
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
show(figure, "Six scenes in four rows: the visible patches, the reconstruction by the untrained "
             "model, by the trained model, and the original.")

# %% [markdown]
# ‹RECON: one sentence on what the third row shows, after looking at it.› As in notebook 04, the mean and the contrast of
# each patch come from the true picture, because the model predicts normalised patches. What you judge here is the
# pattern within the patches.
#
# ## Has it learned anything?
#
# The model has never seen a label. Do its features tell the classes apart anyway? The usual test is a **linear probe**:
# a linear classifier on features that stay as they are. You will write one in
# [notebook 08](08_linear_probe_and_fine_tuning.ipynb). Here we use the package's, and compare three kinds of features:
# the raw pixels, your encoder before training, and your encoder after it. Guessing would be right for 10 % of the
# pictures.

# %%
guess_probe = course.predict("Accuracy from raw pixels, before training, and after: … %, … %, … %")


# %%
@torch.no_grad()
def features(model, images):
    parts = [model.encoder(resize(part, sizes["img_size"]).to(session.device), mask_ratio=0.0)[0]
             for part in images.split(256)]
    return torch.cat([tokens.mean(dim=1).cpu() for tokens in parts])  # (N, D)


kinds = {"raw pixels": evaluate.pixel_features, "before": lambda x: features(before, x),
         "after": lambda x: features(model, x)}
accuracy = {}
for name, of in kinds.items():
    accuracy[name] = evaluate.linear_probe(
        of(scenes.train), scenes.train_labels, of(scenes.test), scenes.test_labels).percent
guess_probe.reveal(", ".join(f"{name} about {10 * round(percent / 10)} %"
                             for name, percent in accuracy.items()))

# %% [markdown]
# ‹PROBE: the three numbers above, in one sentence.› With all ten epochs, the same recipe reaches 62 %, against 17 % for
# raw pixels and 26 % for random weights. Filling in hidden patches was the only task it had. To continue a hidden
# stripe or the outline of a star, it had to represent patterns and shapes, and those are what the classes are made of.
#
# This is a model of yours, so we keep it. Notebooks 08, 09 and 11 find it under the name "scenes". If you train again
# with other settings, the new model replaces it.

# %%
course.keep_model("scenes", model, sizes, data="scenes", epochs=cfg.epochs, lr=cfg.lr,
                  norm_pix=cfg.norm_pix)

# %% [markdown]
# ## How long will the specified run take?
#
# The specification asks for a larger model: 224 pixels, 4.6 million weights, ten epochs of 100,000 images in batches
# of 64. Before a long run you should know its length. We time a few steps and multiply. The first steps do not count,
# since they prepare what later ones use. `.item()` makes Python wait until the device has finished, and without it we
# would time how fast Python can *order* the work.

# %%
guess_time = course.predict("How many minutes would the specified run take on this machine?")


# %%
def seconds_per_step(cfg, sizes, steps, first=1):
    model, optimizer = build(cfg, sizes, session.device)
    images = torch.randn(cfg.batch_size, 3, sizes["img_size"], sizes["img_size"])
    images = images.to(session.device)
    for step in range(first + steps):
        loss = train_step(model, optimizer, images, 1e-4, 0.75, cfg)
        if step == first - 1:
            loss.item()
            began = time.perf_counter()
    loss.item()
    return (time.perf_counter() - began) / steps


on_gpu = session.device.type == "cuda"
has_bf16 = on_gpu and hardware.pick_precision(session.device) == "bf16"
specified = replace(specified, precision="bf16" if has_bf16 else "fp32")
each = seconds_per_step(specified, PRESETS["specified"], session.choose(smoke=2, quick=50, full=99))
guess_time.reveal(f"about {15_630 * each / 60:.0f} min for 15,630 steps, in {specified.precision}")

# %% [markdown]
# Reading images, validation and a busy machine come on top. On a laptop's CPU the run takes many hours, and on a GPU
# minutes. For Colab's T4 we only have an estimate. The run needs 1.16·10¹⁵ multiply-adds, and in `float32` a T4 can do
# 4·10¹² of them in a second. So it needs at least five minutes, and probably several times that, because many
# operations of such a small model wait for memory. The number that the cell above prints for your machine is better.
#
# ## The specified run
#
# With a GPU, for example on Colab (Runtime → Change runtime type → T4), the next two cells run the specified training
# with your parts. The photographs are STL-10, which is downloaded first (2.6 GB). At the start of every epoch, a
# checkpoint is written beside your parts. When Colab takes the machine away, run the notebook again, and the training
# goes on from there. For this, your parts have to be on Google Drive, so mount it first:
# `from google.colab import drive; drive.mount("/content/drive")`. Without a GPU these cells train nothing.

# %%
checkpoint = path_of_model("specified").with_suffix(".pt")
run_it = session.level != "smoke"  # or set it to False, to read on first
if run_it:
    photos = load_data("stl10")
    long_progress = widgets.Progress(10 * 1563, 64)
    display(long_progress)
else:
    print("The specified run needs a GPU. The recorded runs below stand in for it.")


# %%
def run_specified(cfg, sizes, device):
    """Train with the learner's parts; goes on from the checkpoint if there is one."""
    model, optimizer = build(cfg, sizes, device)
    start, log = 0, {}
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, log = state["step"], state["log"]
    batch_at = batches_of(photos.unlabeled, cfg, sizes["img_size"], device)
    validate = validation_on(photos.train[:256], sizes, device)
    batch_at = watched(batch_at, model, optimizer, 1563, validate, log, long_progress, checkpoint)
    if start < 1563 * cfg.epochs:
        train(model, optimizer, batch_at, 1563, cfg, start)
    log[cfg.epochs] = validate(model)
    save_checkpoint(checkpoint, {**snapshot(model, optimizer, 1563 * cfg.epochs), "log": log})
    return model


if run_it:
    trained = run_specified(specified, PRESETS["specified"], session.device)
    course.keep_model("specified", trained, PRESETS["specified"], data="stl10", epochs=10,
                      lr=specified.lr, norm_pix=True)

# %% [markdown]
# Here is a run as a GPU made it: the log of one of six runs at the specified sizes that come with this course. They
# were trained by the package's loop on 60,000 photographs of 64 pixels, enlarged to 224, on an H100 and an H200.

# %%
print("epoch   step     rate   training loss   validation loss   PSNR, dB   effective rank")
for line in widgets.log():
    if line["method"] == "original" and line["seed"] == 2:
        print(f"{line['epoch']:5.0f} {line['step']:6,.0f} {line['lr']:8.2e} {line['loss']:15.4f} "
              f"{line['val_loss']:17.4f} {line['val_psnr']:10.2f} {line['effective_rank']:16.1f}")

# %% [markdown]
# The validation loss falls from 0.6607 after the first epoch to 0.4629 after the last, and most of this happens early:
# the last two epochs bring only 0.0032, because the rate is already close to zero. In the first epoch the *training*
# loss is higher than the validation loss, 0.8005 against 0.6607. It is a mean over the epoch, and at its beginning the
# model knew nothing.
#
# The next figure shows all three runs of the original. If you have run the specified training, your curve is drawn over
# them. Expect the same form but not the same values, since STL-10 has other photographs.

# %%
figure, axes = new_figure(1, 1, 8, 3.2)
for seed, values in enumerate(widgets.column("original", "val_loss"), start=1):
    axes[0, 0].plot(range(1, 11), values, color=COLOURS[0], alpha=0.4 + 0.2 * seed,
                    label=f"recorded, seed {seed}")
if checkpoint.exists():
    mine = load_checkpoint(checkpoint)["log"]
    axes[0, 0].plot([e for e in mine if e], [mine[e] for e in mine if e], "s--", color=COLOURS[1],
                    label="your run")
axes[0, 0].set(xlabel="epoch", ylabel="validation loss", xticks=range(1, 11))
axes[0, 0].legend()
show(figure, "The validation loss of three runs on a GPU that differ in their seed. They fall in "
             "the same way and end between 0.46 and 0.50.")

# %% [markdown]
# The three runs differ in nothing but their seed, and end at 0.498, 0.463 and 0.471. Remember how wide this spread is:
# 0.035 between the best and the worst.
#
# ## Which method is better?
#
# Now we compare *original* with *improved*, which has a mask ratio that rises from 0.5 to 0.75, the Laplacian loss and
# the uniformity loss. We take the mean of three seeds for each.

# %%
guess_gap = course.predict("Improved's validation loss at the end, compared with the original: … %")

# %%
print("improved compared with original, in per cent, after each epoch")
for measured in ("training loss", "validation loss"):
    a, b = (widgets.curve(name, measured)[1] for name in ("original", "improved"))
    print(f"{measured:15}", " ".join(f"{100 * more:+5.1f}" for more in b / a - 1))
guess_gap.reveal(f"{100 * (b[-1] / a[-1] - 1):+.1f} %")

# %% [markdown]
# By the training loss, improved is 8.9 % lower at the end and up to 11.4 % lower on the way. By the validation loss it
# is behind for four epochs, and at the end it is 1.0 % lower. The training loss misleads for two reasons:
#
# - **Another sum.** Improved's logged loss contains two more terms. The uniformity term is negative: on the validation
#   images it is about −3.5 at the end, which with its weight of 0.01 makes −0.035. The whole gap is 0.038.
# - **Another task.** In the first epochs fewer patches are hidden from it, and they are easier to fill in.
#
# Is the remaining 1.0 % real? We look at the seeds one by one.

# %%
gaps = widgets.column("improved", "val_loss")[:, -1] - widgets.column("original", "val_loss")[:, -1]
print("improved − original at the end, by seed:", " ".join(f"{gap:+.4f}" for gap in gaps))
print(f"mean {gaps.mean():+.4f}, standard deviation {gaps.std(ddof=1):.4f}")

# %% [markdown]
# With two seeds improved ends *higher*, and with one it ends much lower. The mean of −0.0049 comes from that one seed,
# and it is small compared with a standard deviation of 0.0230. These runs do not tell which method reconstructs better.
# In [notebook 10](10_claims.ipynb) you will find out how many seeds it takes.
#
# ## At equal epochs, or at equal effort?
#
# Showing more patches in the first epochs costs computation. At equal **epochs**, both methods have seen as many
# images. At equal **effort**, both have done as many multiply-adds.
#
# **Predict first.** In the explorer, switch the axis from epochs to multiply-adds. Which curve moves, and in which
# direction? The dotted line marks how far both have come.

# %%
curve_explorer = widgets.curve_explorer()
curve_explorer

# %%
for against in widgets.AGAINST:
    curve_explorer.set(measured="validation loss", against=against, first=1)
    print(curve_explorer.frame.text)
paid = [widgets.curve(name, "validation loss", "multiply-adds")[0][-1]
        for name in ("original", "improved")]
print(f"improved has paid {paid[1] / paid[0] - 1:+.1%}")
_ = curve_explorer.set(against="epochs")

# %% [markdown]
# Improved's curve moves to the right, since it has paid 11.1 % more. Its lead shrinks from 0.0049 to 0.0039. Even
# this favours the original a little: at that point it has finished its schedule, and improved has not. A fair comparison plans both runs for the same effort. The package can do that: its
# setting `equal_compute` gives improved 1,406 steps an epoch instead of 1,563.
#
# ### ✏️ Open exercise · One change, predicted  (★★☆ · 20 minutes)
#
# Change one thing in the recipe of your model on `scenes`. For example: no warm-up at a peak of 2e-3 and of 8e-3; a
# mask ratio of 0.5 or 0.9; ten times the weight decay; `mask_ratio_sched="linear"`; batches of 128 with one of the two
# rules for the peak. Before you run it, write down what you expect, as a number. Then measure it with at least two
# seeds for each setting, and write three sentences that a colleague could check.
#
# The cell compares two settings over two epochs. It takes about half a minute for each run on a CPU.
#
# <details><summary>What a good answer shows</summary>
#
# - **One change**, with everything else equal, seeds included, and a number predicted before the run.
# - **One yardstick.** The validation loss with its fixed masks, or a linear probe. Not the training loss, which changes
#   its meaning when the mask ratio or the loss changes.
# - **The spread.** The difference between settings is compared with the difference between seeds of one setting.
# - **The effort.** If one setting costs more (a lower mask ratio does), the answer says how much, or gives the other
#   setting the same effort.
# - **The limits.** A few hundred steps on generated pictures say little about 800 epochs of photographs. A good answer
#   says which conclusion might change with the length of the run, as decay's does.
# - **A surprise is checked.** If nothing changes, a good answer first shows that the setting took effect.
# </details>

# %%
def final_loss(**changes):
    changed = replace(cfg, epochs=2, **changes)
    model, optimizer = build(changed, sizes, session.device)
    batches = batches_of(scenes.unlabeled, changed, sizes["img_size"], session.device)
    whole_epoch = len(scenes.unlabeled) // changed.batch_size
    steps = session.choose(smoke=20, quick=whole_epoch, full=whole_epoch)  # of an epoch
    train(model, optimizer, batches, steps, changed)
    return validate(model)


for changes in ({}, {"warmup_epochs": 0}):
    found = [final_loss(seed=seed, **changes) for seed in (0, 1)]
    print(changes or "unchanged", "→", *[f"{loss:.1f}" for loss in found])

# %% [markdown]
# On this page each epoch of this comparison had only 20 steps, so it shows how to ask and not what the answer is. For
# your own answer, set `steps = whole_epoch`.
#
# ## In one command
#
# The package's own loop does the same with fewer multiply-adds (it predicts hidden patches only), and it can share a
# batch among several GPUs. In a terminal it is one line, and the same line again resumes.
#
# ```sh
# python -m mae_lib.pretrain --data stl10 --variant improved --out runs/stl10-improved
# torchrun --nproc-per-node 2 -m mae_lib.pretrain --data stl10 --batch-size 128 --lr 3e-4
# ```
#
# `torchrun` starts the program several times, once for each GPU, and the processes average their gradients before each
# step. [benchmarks/README.md](../benchmarks/README.md) has measured rates and costs.
#
# ## Quiz
#
# **1. In epoch 2, improved has a training loss 8.6 % below the original's. What do you report?**
#
# <details><summary>That it converges faster</summary>
#
# ✗ At that moment less is hidden from it, and its loss has other terms. The two numbers measure different tasks.
# </details>
# <details><summary>The difference on fixed images with fixed masks, for several seeds</summary>
#
# ✓ That is one yardstick for both methods. On it, improved was 1.3 % *behind* after epoch 2.
# </details>
# <details><summary>The training loss, divided by the mask ratio</summary>
#
# ✗ The difficulty does not grow in proportion to the ratio, and the extra terms would still be in it.
# </details>
#
# **2. A run was resumed. The first loss is right, and then the curve leaves the planned one. What is missing from the
# checkpoint?**
#
# <details><summary>The optimizer's state</summary>
#
# ✓ The weights are right, so the first loss is right too. The running means start empty, and the next updates differ.
# </details>
# <details><summary>The weights</summary>
#
# ✗ Then the first loss would be the loss of an untrained model.
# </details>
# <details><summary>The number of the step</summary>
#
# ✗ Then the first batch would be another one, with another loss, and the learning rate would warm up again.
# </details>
#
# **3. You have ten hours on one GPU and want to compare two methods. A step of one costs 10 % more. What is fair?**
#
# <details><summary>Train both for the same number of epochs and compare the ends</summary>
#
# ✗ This answers another question: which is better for the same number of images seen. Say so, if that is what you ask.
# </details>
# <details><summary>Train both for the same number of epochs and cut the more expensive curve off early</summary>
#
# ✗ At the cut its learning rate is still high, while the other run has finished its schedule. It looks worse than it is.
# </details>
# <details><summary>Plan both runs so that each finishes its schedule within the same effort</summary>
#
# ✓ Equal effort, and each learning rate reaches zero. Then use the hours for several seeds.
# </details>
#
# ## Key takeaways
#
# - If every batch, crop and mask follows from the number of the step, a run is its weights, its optimizer and that
#   number. It can then be repeated, tested and resumed to the last bit.
# - Schedules change with every step, and the cosine ends where the run ends. Choose the length first.
# - Matrices decay; biases, norms and tokens do not. Products may be in 16 bits, the loss and the weights stay in 32.
# - A checkpoint without the optimizer or the step goes on without an error, as another run.
# - Time a few steps before a long run.
# - A logged loss compares neither methods nor mask ratios. Here it showed a lead of 8.9 % where fixed images and masks
#   show 1.0 %, which is less than the spread between seeds.
# - A minute of filling in hidden patches, without one label, makes an encoder that tells shapes and patterns apart.

# %%
course.status()

# %% [markdown]
# **Next:** [08 · Linear probe and fine-tuning](08_linear_probe_and_fine_tuning.ipynb), where you measure what your
# encoder is worth.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision learners.*](https://arxiv.org/abs/2111.06377) CVPR. Appendix A.1 has every setting of the pretraining.
# - Loshchilov & Hutter (2017). [*SGDR: stochastic gradient descent with warm restarts.*](https://arxiv.org/abs/1608.03983) ICLR. The cosine.
# - Loshchilov & Hutter (2019). [*Decoupled weight decay regularization.*](https://arxiv.org/abs/1711.05101) ICLR. AdamW.
# - Goyal, Dollár, Girshick et al. (2017). [*Accurate, large minibatch SGD: training ImageNet in 1 hour.*](https://arxiv.org/abs/1706.02677) Warm-up, and the rate in proportion to the batch.
# - Malladi, Lyu, Panigrahi & Arora (2022). [*On the SDEs and scaling rules for adaptive gradient algorithms.*](https://arxiv.org/abs/2205.10287) NeurIPS. The square root.
# - Micikevicius, Narang, Alben et al. (2018). [*Mixed precision training.*](https://arxiv.org/abs/1710.03740) ICLR. Loss scaling.
