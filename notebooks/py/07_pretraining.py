# %% [markdown]
# # 7 · Pretraining: write the loop, run it, read its curves
#
# You have a model and three losses. What is missing is the training loop. It runs for minutes or hours while nobody
# watches, so it has to be right before it starts, survive being stopped, and leave curves behind that mean something.
# You write the whole loop, train your own masked autoencoder on this computer, and keep it for later notebooks. Then
# you run the longer training of the report on a GPU, or study six such runs that we made.
#
# **You will be able to**
#
# - build `schedule_learning_rate`, `parameter_groups`, `total_loss`, `train_step`, `train` and `snapshot`;
# - make every batch, crop and mask follow from the step number, so that a run can be repeated and resumed;
# - estimate how long a run will take before you start it;
# - compare two methods by their curves without being misled by their training losses.
#
# **Before you start:** notebooks [02](02_curriculum_masking.ipynb) to [04](04_reconstruction_loss.ipynb), for the mask
# schedule, the model and its loss. The two extra losses are from [05](05_laplacian_loss.ipynb) and
# [06](06_uniformity_loss.ipynb); if you skipped those, the package's versions are used.
#
# **Time:** 55 minutes to read and run, and about 75 more for the exercises. The 55 minutes include one or two minutes
# of training on this computer. The run on a GPU needs no attention.

# %%
# Setup. Run this first, and again after a restart: on Colab, in JupyterLab or in VS Code.
import os
import re
import sys
from contextlib import suppress
from importlib.util import find_spec
from urllib import parse, request

REPO = ""  # If Colab asks: where the course is on GitHub, "owner/name" or "owner/name@branch".
if "google.colab" in sys.modules and not find_spec("mae_lib"):
    with suppress(Exception):  # Colab knows from which page of GitHub this notebook was opened.
        sessions = "http://{COLAB_JUPYTER_IP}:{KMP_TARGET_PORT}/api/sessions".format(**os.environ)
        opened = parse.unquote(parse.unquote(request.urlopen(sessions, timeout=5).read()))
        (page,) = set(re.findall(r"//github\.com/([\w/.-]+)/blob/([\w/.-]+)/notebooks/", opened))
        REPO = REPO or "@".join(page)
    if REPO:
        print(f"Installing only mae_lib, from github.com/{REPO}: torch, numpy and ipywidgets stay.")
        get_ipython().run_line_magic("pip", f"install -q --no-deps git+https://github.com/{REPO}")
if not find_spec("mae_lib"):
    raise RuntimeError('mae_lib is not installed: on Colab, set REPO above to the "owner/name" of '
                       "the course on GitHub and run this cell again; elsewhere, run `make lab`.")

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
from mae_lib.data.augment import crop, denormalise, random_crops, resize
from mae_lib.data.sources import load_data
from mae_lib.model import PRESETS
from mae_lib.plots import COLOURS, GREY, new_figure
from mae_lib.runtime import hardware
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import load_checkpoint, save_checkpoint

show(*widgets.title())

# %% [markdown]
# Both panels show the same six training runs, three for each method; a line is the mean of three. *Original* is the
# plain masked autoencoder. *Improved* adds the mask schedule of notebook 02 and the losses of 05 and 06. On the left,
# the improved method is far ahead. On the right, the two methods almost coincide. Which panel should you report?
#
# From the earlier notebooks we need the parts below.

# %%
patchify, unpatchify, schedule_mask_ratio, MAE = course.use(
    "patchify", "unpatchify", "schedule_mask_ratio", "MAE")
mae_loss, laplacian_loss_masked, uniformity_loss = course.use(
    "mae_loss", "laplacian_loss_masked", "uniformity_loss")

# %% [markdown]
# ## The data
#
# We train on `scenes`, a data set that this course draws itself, so nothing has to be downloaded. Each picture shows
# one large object in front of smaller ones. Its class combines a shape with a pattern, as in "striped cross".
# Pretraining uses 8,000 pictures without labels. Later, 2,000 labelled pictures train a classifier, and 2,000 more test
# it.

# %%
scenes = load_data("scenes", counts=(8000, 2000, 2000), progress=False)
figure, axes = new_figure(2, 6, 10, 3.7)
for axis, image, label in zip(axes.flat, scenes.train, scenes.train_labels, strict=False):
    axis.imshow(image.permute(1, 2, 0))
    axis.set(title=scenes.classes[label], xticks=[], yticks=[])
    axis.grid(visible=False)
show(figure, "Twelve generated scenes, each with one large patterned shape in front of others and "
             "with the name of its class above it.")

# %% [markdown]
# All settings of a run are in one object, a `PretrainConfig`. Ours describes a short run of a small model, on pictures
# of 48 × 48 pixels. Your functions will receive it as their argument `cfg`.

# %%
epochs = session.choose(smoke=4, quick=10, full=10)
cfg = replace(PretrainConfig(**RECIPES["quick"].pretrain), epochs=epochs, precision="fp32")
sizes = {**PRESETS["tiny"], "patch_size": cfg.patch_size, "decoder_depth": cfg.decoder_depth}
iters = len(scenes.unlabeled) // cfg.batch_size
print(f"peak rate {cfg.lr}, warm-up {cfg.warmup_epochs} epoch, weight decay {cfg.weight_decay}")
print(f"{cfg.epochs} epochs of {iters} steps, each with {cfg.batch_size} images "
      f"of {sizes['img_size']} pixels")

# %% [markdown]
# The decoder of this model has one block, while the one in notebook 03 had four. This saves time, and it has a price.
# In [He et al. (2022)](https://arxiv.org/abs/2111.06377), table 1a, on the photographs of ImageNet, the depth of the
# decoder hardly matters after *fine-tuning*, which trains the encoder further on labels. But the accuracy of a **linear
# probe**, a linear classifier on frozen features, is 65.5 % with one block and 73.5 % with eight. Their explanation is
# that the last layers of an autoencoder specialise in reconstruction. With a shallow decoder, these layers are in the
# encoder.
#
# ## Every batch follows from its step
#
# A run carries a **state** from step to step: the weights, the optimiser's memory, and the step number. If one random
# generator served the whole run, we would have to save its state too, or a resumed run would become a different one. So
# we make every random choice depend on the seed and the step number alone.
#
# We start with the order of the images. Imagine that we shuffle the data for every pass, put all passes in one long row
# and cut the row into batches. The slow form below writes this row down. The package's `batch_indices` computes any
# batch directly.

# %%
row = []
for turn in range(3):  # three passes over 250 images, each in an order of its own
    source = hardware.generator(0, hardware.RNG.ORDER, turn)
    row += torch.randperm(250, generator=source).tolist()
slow = [row[32 * step : 32 * (step + 1)] for step in range(20)]
fast = [batch_indices(250, 32, step, seed=0).tolist() for step in range(20)]
print(f"{sum(a == b for a, b in zip(slow, fast, strict=True))} of 20 batches are equal")


# %% [markdown]
# All 20 batches are equal, and `batch_indices` finds the batch of step 1,000,000 without drawing a million batches
# first. We need this to resume a run.
#
# Each image is then cropped at random, flipped half of the time, scaled to the model's size and normalised ([He et al.
# 2022](https://arxiv.org/abs/2111.06377), section 4.1 and appendix A.1). Random changes of this kind, which leave the
# content as it is, are called [**augmentation**](GLOSSARY.md#augmentation). The first line of `batch_at` seeds the
# generator from which the crops and then, in your `random_masking`, the masks of this step are drawn.

# %%
def batches_of(images, cfg, size, device):
    def batch_at(step):
        source = torch.manual_seed(1_000_000 * cfg.seed + step)  # the model draws its masks next
        chosen = images[batch_indices(len(images), cfg.batch_size, step, cfg.seed)].to(device)
        boxes = random_crops(len(chosen), *chosen.shape[2:], (cfg.crop_scale, 1.0), source)
        return crop(chosen, size, boxes.to(device))

    return batch_at


batch_at = batches_of(scenes.unlabeled, cfg, sizes["img_size"], session.device)
torch.testing.assert_close(batch_at(7), batch_at(7), rtol=0, atol=0)
print("the batch of step 7:", tuple(batch_at(7).shape), "and the same when we ask again")

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
# Because the crops differ from pass to pass, the model hardly ever sees the same picture twice. MAE needs no other
# augmentation, because a fresh mask already makes a new task of every image. In He et al. (2022, table 1e), a linear
# probe reaches 65.7 % without augmentation, 73.5 % with crops, and 71.9 % if the colours of the crops are changed at
# random too.
#
# ## The learning rate
#
# Let $t$ = epoch + step / iters be the time in epochs, where iters is the number of steps in an epoch. The rate rises
# in a straight line to its peak $\eta_{\max}$ during a [**warm-up**](GLOSSARY.md#warm-up) of $w$ epochs. It then falls
# along half a cosine until the run ends after $E$ epochs ([Loshchilov & Hutter
# 2017](https://arxiv.org/abs/1608.03983)):
#
# $$\eta(t) = \eta_{\max} \cdot \begin{cases} t / w & t < w \\
# \tfrac12 \left(1 + \cos \pi \dfrac{t - w}{E - w}\right) & t \ge w \end{cases}$$
#
# ### ✏️ Exercise 1 · Up in a line, down a cosine  (★★☆ · 6 minutes)
#
# Write `schedule_learning_rate(epoch, step, iters, cfg)`, where `epoch` and `step` count from 0 and `iters` is the
# number of steps in an epoch. `cfg` has `lr` (the peak), `warmup_epochs` (which may be 0) and `epochs`.
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
# The report whose claims we check comes with a log: ten epochs of 1,563 steps, a peak of 1.5e-4, two epochs of warm-up,
# and the rate at the end of each epoch. (He et al. also write 1.5e-4, but they multiply it by the
# batch size over 256, which makes 2.4e-3 for their batches of 4,096.) We compare our schedule with the report's.

# %%
reported = ("7.50e-05 1.50e-04 1.44e-04 1.28e-04 1.04e-04 7.50e-05 4.63e-05 2.20e-05 5.72e-06 "
            "2.37e-12")
specified = PretrainConfig()  # the defaults are the report's settings
ends = [schedule_learning_rate(epoch, 1562, 1563, specified) for epoch in range(10)]
same = sum(f"{rate:.2e}" == said for rate, said in zip(ends, reported.split(), strict=True))
print("ours:", *[f"{rate:.2e}" for rate in ends])
print(f"{same} of 10 rates agree with the log in every digit")

# %% [markdown]
# All ten rates agree. The last one, 2.37e-12, is what half a cosine leaves *one step* before its end. So the report's
# authors also changed the rate at every step.
#
# **Predict first.** Some loops change the rate only once an epoch, and use $t$ = epoch.

# %%
guess_rate = course.predict("If updated once an epoch, what is the rate in the first epoch?")

# %%
guess_rate.reveal(f"{schedule_learning_rate(0, 0, 1563, specified):g}")

# %%
schedule_explorer = widgets.schedule_explorer()
schedule_explorer

# %%
for change in ({"epochs": 100}, {"epochs": 10, "batch": 512}):
    schedule_explorer.set(**change)
    print(schedule_explorer.frame.text)
_ = schedule_explorer.set(batch=64)

# %% [markdown]
# In a run of 10 epochs, each dot is the last step of an epoch. If the rate is set once an epoch, it is zero for the
# whole first epoch, so a run of ten epochs would spend a tenth of its steps without learning anything. No error is
# raised, and in a run of 800 epochs, as in He et al., nobody would notice.
#
# The cosine ends where the *run* ends: in a run of 100 epochs, the rate is still at its peak after the third epoch. A
# run of 10 epochs is therefore not the beginning of a run of 100, and you have to choose the length first. With batches
# of 512 the curve keeps its shape, but there are only 1,960 steps instead of 15,630. When the batch grows, people also
# raise the peak: in proportion to the batch ([Goyal et al. 2017](https://arxiv.org/abs/1706.02677)), or with its square
# root for Adam ([Malladi et al. 2022](https://arxiv.org/abs/2205.10287)).
#
# ## What decays
#
# [**AdamW**](GLOSSARY.md#adamw) divides a running mean of the gradient by a running estimate of its size. In the same
# step it makes the weight **decay** towards 0 ([Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101)):
#
# $$\theta \leftarrow \theta - \eta \left( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda \theta \right)$$
#
# Here $\theta$ is a weight, $\lambda$ is the weight decay, the tiny $\epsilon$ prevents a division by zero, and $\hat
# m$ and $\hat v$ are running means of the gradient and of its square. These means are the optimiser's memory. Decay
# keeps matrices from growing. It makes little sense for a norm's scale, which starts at 1, for a bias, or for the mask
# token, so these are left alone.
#
# **Predict first.** Suppose that we let everything decay, and that no gradient pulls a norm's scale back to 1. Each
# step multiplies it by $1 - \eta\lambda$. In a run with the report's settings, the *specified* run, an epoch has 1,563
# steps, $\lambda$ is 0.05, and $\eta$ is $7.5 \cdot 10^{-5}$ on average.

# %%
guess_decay = course.predict("What is left of a scale of 1 after 800 epochs?")


# %%
def left_over(epochs):
    """What decay alone leaves of a weight of 1 in the specified run, made longer or shorter."""
    longer = replace(specified, epochs=epochs)
    rates = [schedule_learning_rate(epoch, 781, 1563, longer) for epoch in range(epochs)]
    return math.exp(-longer.weight_decay * 1563 * sum(rates))  # the middle rate of each epoch


guess_decay.reveal(f"{left_over(800):.3f}; after 10 epochs, {left_over(10):.3f} is left")


# %% [markdown]
# After 10 epochs 0.943 is left, which you would not notice. After 800 epochs it is 0.009. So this mistake does not show
# up in a short test. In ten epochs the decay hardly affects the *matrices* either, so a short run cannot tell you how
# much decay to use.
#
# ### ✏️ Exercise 2 · Two groups  (★★☆ · 8 minutes)
#
# Write `parameter_groups(model, weight_decay)`. It returns a list of two dicts for AdamW, each with the keys `"params"`
# (a list) and `"weight_decay"`. Matrices decay. Biases, norms and tokens (names that end in `_token`) do not. Be
# careful with the patch embedding: its matrix is stored as the kernel of a convolution, with four dimensions.
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
    decay, tensors = group["weight_decay"], group["params"]
    count = sum(tensor.numel() for tensor in tensors)
    print(f"decay {decay:.2f}: {count:7,} weights in {len(tensors)} tensors")


# %% [markdown]
# Almost all weights are in matrices: 528,384 of 534,944. The two `betas` set how slowly the two running means change.
# PyTorch's default for the second is 0.999; He et al. use 0.95.
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
# Write `total_loss(pred, images, mask, latent, patch_size, cfg)`. `pred` is (B, L, p·p·3), `mask` is (B, L) with 1
# where a patch is hidden, and `latent` holds the encoder's tokens. `cfg` has `norm_pix`, `lambda_freq` and
# `lambda_unif`. A term whose weight is 0 need not be computed. Your `laplacian_loss_masked` compares whole images, so
# prediction and target must be in the same units. With `norm_pix` the prediction is in units of each patch's own mean
# and standard deviation. Convert it back first, as in [notebook 04](04_reconstruction_loss.ipynb). You wrote
# `unpatchify(patches, patch_size, rows, cols)`, where `rows` and `cols` follow from the size of `images`,
# `mae_loss(pred, images, mask, patch_size, norm_pix)`, `laplacian_loss_masked(pred_img, tgt_img, mask_img)` with
# `mask_img` (B, 1, H, W), and `uniformity_loss(z_tokens, eps=1e-8)`.
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
# For the same prediction, the original logs 1.41 and the improved method logs 1.46. The Laplacian term raises the sum,
# and the uniformity term, which is negative, lowers it. So the losses that different methods log are different
# quantities, and you cannot compare them.
#
# ## Half precision
#
# On a GPU, matrix products in 16 bits are several times faster than in 32. PyTorch's
# [**autocast**](GLOSSARY.md#autocast) computes the products within its block in 16 bits and leaves the weights in 32.
# `bfloat16` has the range of `float32` but only two to three significant digits. The loss needs more than that.

# %%
with torch.no_grad(), torch.autocast(session.device.type, dtype=torch.bfloat16):
    half_pred, mask, latent = model(images, 0.75)
print("weights:   ", model.decoder.pred.weight.dtype)
print("prediction:", half_pred.dtype)
final = torch.tensor(widgets.curve("original", "validation loss")[1][-3:])
print("losses of the last three epochs:", *[f"{loss:.4f}" for loss in final.tolist()])
print("the same in bfloat16:           ", *[f"{loss:.4f}" for loss in final.bfloat16().tolist()])


# %% [markdown]
# Under autocast the prediction is in `bfloat16`, while the weights stay in `float32`. The printed losses are the
# original's, from the right panel at the top. Between 0.25 and 0.5, neighbouring numbers of `bfloat16` are 0.002 apart.
# The last epoch lowered the loss by 0.0006, but in `bfloat16` this looks like 0.0019. Late in a run, all progress is
# that small. So we convert the prediction to `float32` and compute the loss outside the block.
#
# Older cards such as Colab's T4 have no fast `bfloat16`, only `float16`. Its smallest positive number is larger than
# many gradients, so these would become 0. There the package multiplies the loss by a large number and divides the
# gradients by it again, with PyTorch's `GradScaler` ([Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740)).
# Your step uses `bfloat16` or `float32`, so it does not need this.
#
# ### ✏️ Exercise 4 · One step  (★★★ · 10 minutes)
#
# Write `train_step(model, optimizer, images, lr, mask_ratio, cfg)`. It sets the rate `lr` in every group of the
# optimiser, runs the model (`model(images, mask_ratio)` returns `pred, mask, latent`), computes `total_loss` in
# `float32`, and updates the weights once. It returns the loss as a tensor without its graph. If `cfg.precision` is
# `"bf16"`, the model runs under autocast to `bfloat16`. The patch size is `model.patch_size`.
#
# <details><summary>Hint 1</summary>
#
# The optimiser's groups are dicts in `optimizer.param_groups`, each with a key `"lr"`.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=...)` can be switched off by its last argument.
# Call `total_loss` after the block, with `pred.float()` and `latent.float()`.
# </details>
# <details><summary>Hint 3</summary>
#
# Then comes the usual trio: `zero_grad`, `backward`, `step`. `loss.detach()` drops the graph.
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
# Why does `train_step` return a tensor rather than a number? On a GPU, Python only *queues* the work and runs ahead of
# it. `loss.item()` would make Python wait at every step until the work is done.
#
# ## The loop
#
# ### ✏️ Exercise 5 · `train`  (★★☆ · 10 minutes)
#
# Write `train(model, optimizer, batch_at, iters, cfg, start=0)`. A whole run has `cfg.epochs` epochs of `iters` steps
# each, and the function takes the steps from `start` to the end. Each step has its own batch, `batch_at(step)`, its own
# learning rate and its own mask ratio. Put the model in training mode first. Return all losses as one tensor. You can
# use `schedule_learning_rate(epoch, step, iters, cfg)`, `schedule_mask_ratio(epoch, step, iters, cfg)` and
# `train_step(model, optimizer, images, lr, mask_ratio, cfg)`.
#
# <details><summary>Hint 1</summary>
#
# `batch_at` counts steps over the whole run. The two schedules need the epoch and the step within it:
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
# Together with the parts it calls, this is a complete pretraining loop. We test it with a short run first.
#
# ## Stopping and resuming
#
# Long runs get interrupted: you press stop, Colab takes the machine away, the power fails. Then you want to resume from
# the last [**checkpoint**](GLOSSARY.md#checkpoint), a file that holds the state, as if nothing had happened.
#
# ### ✏️ Exercise 6 · `snapshot`  (★★☆ · 6 minutes)
#
# Write `snapshot(model, optimizer, step)`. It returns a dict with the keys `"model"`, `"optimizer"` and `"step"`, from
# which a run can be resumed. The dict stays in memory while training continues, and it must still hold the state **of
# that moment** when it is used later.
#
# <details><summary>Hint 1</summary>
#
# Models and optimisers both have a `state_dict()`.
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
# For the test we train for 20 steps, as two epochs of ten. Then we train again from the same start, take a snapshot
# before step 8, and stop at step 13 by raising `KeyboardInterrupt`, as the stop button does.

# %%
short = replace(cfg, epochs=2)
whole = train(*build(short, sizes, session.device), batch_at, 10, short)


# %%
def stopped(step):
    if step == 8:
        saved.update(snapshot(model, optimizer, step))
    if step == 13:
        raise KeyboardInterrupt
    return batch_at(step)


model, optimizer = build(short, sizes, session.device)
saved = {}
try:
    train(model, optimizer, stopped, 10, short)
except KeyboardInterrupt:
    print("stopped at step 13, with a snapshot of step", saved["step"])

# %% [markdown]
# **Predict first.** We resume from the snapshot in three ways. The first uses all of it. The second uses the weights,
# but a fresh optimiser. The third uses both, but counts from step 0 again. Twelve steps are left.

# %%
guess_equal = course.predict("Fresh optimiser: how many of the 12 losses equal the unbroken run's?")


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
guess_equal.reveal(f"{equal['weights only']} of 12; with everything, {equal['everything']}; "
                   f"with the step forgotten, {equal['step forgotten']}")

# %%
figure, axes = new_figure(1, 1, 8, 3)
axes[0, 0].plot(range(20), whole.cpu(), color="0.75", linewidth=6, label="never stopped")
for (name, rest), colour, style in zip(ways.items(), COLOURS, ("-", "--", "-."), strict=False):
    axes[0, 0].plot(range(8, 20), rest.cpu(), style, color=colour, label=name)
axes[0, 0].set(xlabel="step", ylabel="training loss", xticks=range(0, 20, 2))
axes[0, 0].legend()
show(figure, "A broad grey curve shows the loss of the run that was never stopped. From step 8 "
             "on, the run resumed with everything lies exactly on it; the other two leave it.")


# %% [markdown]
# When we resume with everything, all 12 losses are equal to the last bit, because every batch, crop and mask follows
# from its step. With a fresh optimiser only the first loss is right. The weights are the same, but the running means
# start empty. When the step is forgotten, no loss is right, because the images differ from the first step on. Neither
# mistake raises an error, and the curve of the fresh optimiser even happens to lie lower at most of these steps. (On a
# GPU, expect small differences in the last digits even in the first case.)
#
# ## Train your model
#
# A training loss depends on the batch, the crops and the mask ratio of its step. To see what a model has learned we also
# need a fixed measure. We use the reconstruction loss on 256 fixed images that it does not train on, with fixed masks at
# a ratio of 0.75, and call it the **validation loss**.

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
print(f"untrained: {validate(build(cfg, sizes, session.device)[0]):.2f}")


# %% [markdown]
# The untrained model has a loss of 1.4. With `norm_pix` the targets have mean 0 and variance 1, so a model that
# always predicts 0 would have a loss of about 1.
#
# How do we watch the loop without changing it? `train` asks `batch_at` for a batch at the beginning of each step, so we
# wrap `batch_at`. The wrapper shows how much time is left. At the first step of every epoch, it also notes the
# validation loss and, in the specified run below, writes a checkpoint.

# %%
def watched(batch_at, model, optimizer, iters, validate, log, progress, checkpoint=None, **run):
    def batch_and_notes(step):
        progress.at(step)
        if step % iters == 0:
            log[step // iters] = validate(model)
            if checkpoint:
                save_checkpoint(checkpoint, {**snapshot(model, optimizer, step), "log": log, **run})
        return batch_at(step)

    return batch_and_notes


# %% [markdown]
# **Predict first.** Predicting zeros costs about 1, and a loss of 0 means that every hidden pixel is right. Where
# between them will the validation loss be after training?

# %%
guess_loss = course.predict("What will the validation loss be after training?")

# %%
progress = widgets.Progress(cfg.epochs * iters, cfg.batch_size)
progress

# %% [markdown]
# The next cell trains the model. On two CPU cores it takes about a minute.

# %% tags=["nbval-ignore-output"]
model, optimizer = build(cfg, sizes, session.device)
before, log = copy.deepcopy(model), {}
batch_and_notes = watched(batch_at, model, optimizer, iters, validate, log, progress)
losses = train(model, optimizer, batch_and_notes, iters, cfg).cpu()
log[cfg.epochs] = validate(model)
progress.at(cfg.epochs * iters)
guess_loss.reveal(f"{log[cfg.epochs]:.2f}")

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
# The validation loss falls from 1.40 to 0.69 in four epochs; after the first it is already below 0.8. (With the run level
# `quick` you train for ten epochs and get further.) What does such a number look like? We hide 75 % of six new scenes,
# and compare your model before and after its training.

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
# The trained model continues the stripes of the disc and of the red cross across hidden patches. It has not learned to
# continue the checks of the ring or the quilted pattern of the triangle, and mostly predicts a plain patch there. The
# mean and the contrast of each patch come from the true picture, because the model predicts normalised patches. So look
# only at the pattern within the patches.
#
# ## Has it learned anything?
#
# The model has never seen a label. Can we still recognise the classes from its features? The usual test is a linear
# probe. (You will write one in [notebook 08](08_linear_probe_and_fine_tuning.ipynb); here we use the package's.) We
# compare three kinds of features: raw pixels, your encoder before training, and your encoder after it. There are ten
# classes, so guessing is right for 10 % of the pictures.

# %%
guess_probe = course.predict("What accuracy does the probe reach after training, in %?")


# %% tags=["nbval-ignore-output"]
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
guess_probe.reveal(f"{accuracy['after']:.0f} %; with the encoder before training, "
                   f"{accuracy['before']:.0f} %; with raw pixels, {accuracy['raw pixels']:.0f} %")

# %% [markdown]
# The probe is right for 63 % of the pictures with the trained encoder, for 37 % with the same encoder before training,
# and for 18 % with raw pixels. The model's only task was to fill in hidden patches. Such a task is called a
# [**pretext task**](GLOSSARY.md#pretext-task), because it is solved only to learn features. To continue a stripe, the
# model has to represent the pattern and its direction. This probably explains the gain, because each class is a pattern
# on a shape.
#
# We keep the model under the name "scenes" for notebooks 08 and 09. If you train again, the new model replaces it.

# %%
course.keep_model("scenes", model, sizes, data="scenes", epochs=cfg.epochs, lr=cfg.lr,
                  norm_pix=cfg.norm_pix)

# %% [markdown]
# ## How much should you hide?
#
# We hid 75 % of the patches. Are the features best there? We trained twelve models on 8,000 scenes, three for each of
# four mask ratios. Their training and their probes differ from yours, so
# compare the four ratios with each other, and not with your number. (`python -m benchmarks.mask_ratios` repeats these
# runs.)

# %%
ratio_guess = course.predict("25, 50, 75 or 90 % hidden: which gives the best linear probe?")

# %%
probes, work = widgets.mask_ratios()  # by ratio: the probes of the seeds, a step's multiply-adds

# %%
figure, axes = new_figure(1, 2, 9, 3)
ticks = [100 * ratio for ratio in probes]
for ratio, values in probes.items():
    places = [100 * ratio + shift for shift in (-2, 0, 2)]  # side by side, to see all seeds
    axes[0, 0].plot(places, values, "o", color=COLOURS[0])
axes[0, 0].set(xlabel="hidden, %", ylabel="linear probe, %", ylim=(0, 90), xticks=ticks)
axes[0, 1].plot(ticks, [w / work[0.75] for w in work.values()], "s-",
                color=COLOURS[1])
axes[0, 1].set(xlabel="hidden, %", ylabel="work of a step (75 % = 1)", ylim=(0, None),
               xticks=ticks)
best = max(probes, key=lambda ratio: sum(probes[ratio]))
rivals = [f"{100 * ratio:.0f}" for ratio, values in probes.items()
          if max(values) >= min(probes[best])]
lines = [f"we cannot tell {', '.join(rivals)} % apart: their seeds overlap"]
for ratio, values in probes.items():
    mean, low, high = sum(values) / len(values), min(values), max(values)
    lines.append(f"{100 * ratio:3.0f} % hidden: probe {mean:.1f} %, seeds from {low:.1f} to "
                 f"{high:.1f}, work of a step {work[ratio] / work[0.75]:.2f}")
ratio_guess.reveal("\n".join(lines), figure,
                   "Left, the linear probe by mask ratio, a dot for each seed: nearly flat from 25 "
                   "to 75 %, much lower at 90 %. Right, the work of a step, which falls steadily.")

# %% [markdown]
# From 25 to 75 % hidden, the means lie within 1.1 points, and three seeds cannot tell them apart. At 90 %, only three
# of 36 patches are visible, and the probe is 18 points lower than at 75 %. So on these scenes, after this short
# training, we see no difference between 25, 50 and 75 %. Of the three, 75 % needs the least work: a step at 25 % takes
# 2.3 times as much, and a step at 50 % takes 1.6 times as much. On ImageNet, the ratio also matters below 75 %: in He
# et al. (2022, figure 5), the probe rises from 54.6 % with a tenth of the patches hidden to 73.5 % with three quarters.
#
# ## How long will the specified run take?
#
# The *specified* run trains the original method with the report's settings. It is longer than yours: ten epochs of
# 100,000 images in batches of 64. Its model is larger, with images of 224 pixels and 4.6 million weights. To estimate
# how long it takes, we time a few steps and multiply. We leave out the first step, which also sets up what later steps
# use, such as the optimiser's memory. The cell calls `loss.item()`, which waits for the device. Without it we would
# time how fast Python can *queue* the work.

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
# The estimate leaves out the time for reading images and for validation. On a few CPU cores, the run takes half a day
# or more. On an H100 or H200, the training of each of our recorded runs took about 5 to 8 minutes. For Colab's T4 we
# only have an estimate: about five minutes for the multiply-adds alone, in `float32`, and probably several times that
# in all. If you are on a T4, trust the time that the cell above measured there.
#
# ## The specified run
#
# With a GPU, for example on Colab (Runtime → Change runtime type → T4), the next three cells run the specified training
# with your parts, if you set `run_it = True`. They first download the photographs, STL-10 (2.6 GB). At the start of
# every epoch, a checkpoint is written to the folder that holds your parts. If Colab takes the machine away, run the
# notebook again, and the training resumes from there. For this, the folder has to be on Google Drive: write
# `course.start(drive=True)` in the first cell.

# %%
checkpoint = path_of_model("specified").with_suffix(".pt")
run_it = False  # True, with a GPU: downloads 2.6 GB and trains as long as estimated above
if run_it:
    photos = load_data("stl10")
    long_progress = widgets.Progress(10 * 1563, 64)
    display(long_progress)
else:
    print("The specified run is switched off. See the recorded runs below.")


# %%
def run_specified(cfg, sizes, device):
    """Train with the learner's parts; goes on from the checkpoint if there is one."""
    model, optimizer = build(cfg, sizes, device)
    start, log = 0, {}
    run = {"run": {**vars(cfg), **sizes, "photographs": photos.fingerprint}}
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        if state.get("run") != run["run"]:
            raise ValueError(f"{checkpoint} is of another run: move it, then run this cell again.")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, log = state["step"], state["log"]
    batch_at = batches_of(photos.unlabeled, cfg, sizes["img_size"], device)
    validate = validation_on(photos.train[:256], sizes, device)
    batch_at = watched(batch_at, model, optimizer, 1563, validate, log, long_progress, checkpoint,
                       **run)
    if start < 1563 * cfg.epochs:
        train(model, optimizer, batch_at, 1563, cfg, start)
    log[cfg.epochs] = validate(model)
    end = snapshot(model, optimizer, 1563 * cfg.epochs)
    save_checkpoint(checkpoint, {**end, "log": log, **run})
    return model


# %%
if run_it:
    trained = run_specified(specified, PRESETS["specified"], session.device)
    course.keep_model("specified", trained, PRESETS["specified"], data="stl10", epochs=10,
                      lr=specified.lr, norm_pix=True)

# %% [markdown]
# Six logs of such runs come with this course. The runs used the package's loop and 60,000 photographs of 64 pixels,
# enlarged to 224, with the specified 1,563 steps an epoch, so an epoch is 1.7 passes
# over the photographs. We print one of the logs.

# %%
print("epoch   step     rate   training loss   validation loss   PSNR, dB   effective rank")
for line in widgets.log():
    if line["method"] == "original" and line["seed"] == 2:
        print(f"{line['epoch']:5.0f} {line['step']:6,.0f} {line['lr']:8.2e} {line['loss']:15.4f} "
              f"{line['val_loss']:17.4f} {line['val_psnr']:10.2f} {line['effective_rank']:16.1f}")

# %% [markdown]
# The validation loss falls from 0.6607 after the first epoch to 0.4629 after the last. Most of this happens early. The
# last two epochs bring only 0.0032, because the rate is already close to zero. In the first epoch the *training* loss
# is higher than the validation loss, 0.8005 against 0.6607, because it is a mean over the whole epoch, and at the start
# of the epoch the model knew nothing. From the third epoch on it is lower. One reason is probably that random crops are
# enlarged further than the whole photographs of the validation set, so they are smoother and easier to predict.
#
# The next figure shows all three runs of the original. If you have run the specified training, your curve is drawn over
# them. Expect the same shape but not the same values, since the photographs are different.

# %%
figure, axes = new_figure(1, 1, 8, 3.2)
for values, style, seed in zip(widgets.column("original", "val_loss"), ("-", "--", ":"), (1, 2, 3),
                               strict=True):
    axes[0, 0].plot(range(1, 11), values, style, color=COLOURS[0], label=f"recorded, seed {seed}")
if checkpoint.exists():
    mine = load_checkpoint(checkpoint)["log"]
    axes[0, 0].plot([e for e in mine if e], [mine[e] for e in mine if e], "s--", color=COLOURS[1],
                    label="your run")
axes[0, 0].set(xlabel="epoch", ylabel="validation loss", xticks=range(1, 11))
axes[0, 0].legend()
show(figure, "The validation loss of three runs on a GPU that differ in their seed. They fall in "
             "the same way and end between 0.46 and 0.50.")

# %% [markdown]
# The three runs differ only in their seed, and they end at 0.498, 0.463 and 0.471. Remember this spread of 0.035
# between the best and the worst.
#
# ## Which method is better?
#
# Now we compare the original with the improved method, by the mean of three seeds for each.

# %%
print("improved, compared with the original, in per cent, after each epoch:")
for measured in ("training loss", "validation loss"):
    a, b = (widgets.curve(name, measured)[1] for name in ("original", "improved"))
    more = 100 * (b / a - 1)  # (epochs,)
    print(f"{measured:15}  " + ", ".join(f"{percent:+5.1f}" for percent in more))

# %% [markdown]
# The improved method's training loss is 8.9 % lower at the end, and up to 11.4 % lower on the way. Its validation loss
# is higher for four epochs, and 1.0 % lower at the end. The training loss misleads for two reasons:
#
# - **A different sum.** The improved method's training loss contains two more terms. The Laplacian term raises it,
#   and the uniformity term lowers it. The latter can be as low as −4 (notebook 06), which with its weight of 0.01 makes
#   −0.04. At the end, the whole gap between the training losses is 0.038.
# - **A different task.** In the first five epochs the improved method hides fewer patches, and they are easier to fill
#   in.
#
# Is the remaining 1.0 % real? We look at the seeds one by one.

# %%
guess_gap = course.predict("With how many of the three seeds does the improved method end with the "
                           "lower validation loss?")

# %%
gaps = widgets.column("improved", "val_loss")[:, -1] - widgets.column("original", "val_loss")[:, -1]
by_seed = " ".join(f"{gap:+.4f}" for gap in gaps)
guess_gap.reveal(f"with {(gaps < 0).sum()}\nimproved − original at the end, by seed: {by_seed}\n"
                 f"mean {gaps.mean():+.4f}, standard deviation {gaps.std(ddof=1):.4f}")

# %% [markdown]
# For two seeds the improved method ends *higher*, and for one it ends much lower. The mean of −0.0049 comes from that
# one seed, and it is small compared with a standard deviation of 0.0230. These runs cannot tell us which method
# reconstructs better. So report the loss on fixed images with fixed masks, as in the right panel of the first figure,
# for each seed. In [notebook 10](10_claims.ipynb) you will find out how many seeds it takes.
#
# ## At equal epochs, or at equal compute?
#
# Showing more patches in the first epochs costs computation. At [**equal epochs**](GLOSSARY.md#equal-epochs), both
# methods have seen the same number of images. At [**equal compute**](GLOSSARY.md#equal-compute), both have done the
# same number of multiply-adds.
#
# In the explorer, switch the axis from epochs to multiply-adds, and watch which curve moves in which
# direction. The dotted line marks how far both have come.

# %%
curve_explorer = widgets.curve_explorer()
curve_explorer

# %%
for against in widgets.AGAINST:
    curve_explorer.set(measured="validation loss", against=against, first=1)
    print(curve_explorer.frame.text)
paid = [widgets.curve(name, "validation loss", "multiply-adds")[0][-1]
        for name in ("original", "improved")]
print(f"the improved method costs {100 * (paid[1] / paid[0] - 1):.1f} % more")
_ = curve_explorer.set(against="epochs")


# %% [markdown]
# The improved method needs 11.1 % more multiply-adds, so its curve moves to the right. (In notebook 02 it was
# 12.2 %. Here it is less, because the decoder predicts hidden patches only, which saves more the fewer are hidden, and
# because the ratio rises only four times an epoch, always a little early.) The lead of the improved method shrinks
# from 0.0049 to 0.0039.
# Even this comparison favours the original a little: at that point the original has finished its schedule, and the
# improved method has not. For a fair comparison, plan both runs for the same compute. With the package's setting
# `equal_compute`, the improved method gets 1,406 steps an epoch instead of 1,563.
#
# ### ✏️ Open exercise · One change, predicted  (★★☆ · 20 minutes)
#
# Change one thing in the recipe of your model on `scenes`. For example: no warm-up (`warmup_epochs=0`) instead of one
# epoch, both at the peak of 2e-3 or both with `lr=8e-3`; a mask ratio of 0.5 or 0.9 (`mask_ratio`); ten times the
# weight decay (`weight_decay=0.5`); `mask_ratio_sched="linear"` with `mask_ratio_warmup_epochs=1`, because the default
# ramp of five epochs is longer than these runs; `batch_size=128` with one of the two rules for the peak. Before you run
# it, write down the number you expect. Then measure it with at least two seeds for each setting, and write three
# sentences that a colleague could check.
#
# The cell compares two settings over two epochs, with two seeds each. With whole epochs, each of the four runs takes
# about half a minute on a CPU.
#
# <details><summary>What a good answer shows</summary>
#
# - **One change**, with everything else equal, seeds included, and a number predicted before the run.
# - **One yardstick.** The validation loss with its fixed masks, or a linear probe. Not the training loss, which changes
#   its meaning when the mask ratio or the loss changes.
# - **The spread.** The difference between settings is compared with the difference between seeds of one setting.
# - **The compute.** If one setting costs more (a lower mask ratio does), the answer says how much, or gives the other
#   setting the same compute.
# - **The limits.** A few hundred steps on generated pictures say little about 800 epochs of photographs. A good answer
#   says which conclusion might change with the length of the run, as with weight decay.
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
    print(changes or "unchanged", "→", *[f"{loss:.2f}" for loss in found])

# %% [markdown]
# On this page each epoch of the comparison had only 20 steps, so these numbers only show how the cell works. For your
# own answer, set `steps = whole_epoch`.
#
# ## In one command
#
# The package's own loop does nearly the same with fewer multiply-adds, because its decoder predicts hidden patches
# only, and it can share a batch among several GPUs. Start it from a terminal, in the repository's folder, with one of
# these lines. The same line again resumes a run.
#
# ```sh
# .venv/bin/python -m mae_lib.pretrain --data stl10 --variant improved --out runs/stl10-improved
# .venv/bin/torchrun --nproc-per-node 2 -m mae_lib.pretrain --data stl10 --batch-size 128 --lr 3e-4
# ```
#
# `torchrun` starts the program once for each GPU, and the processes average their gradients before each step. Measured
# speeds and costs are in [benchmarks/README.md](../benchmarks/README.md).
#
# ## Quiz
#
# **1. In epoch 2, the improved method has a training loss 8.6 % below the original's. What do you report?**
#
# <details><summary>That it converges faster</summary>
#
# ✗ In epoch 2 it hides fewer patches, and its loss has other terms. The two numbers measure different tasks.
# </details>
# <details><summary>The difference on fixed images with fixed masks, for several seeds</summary>
#
# ✓ That is one yardstick for both methods. By this measure, the improved method was 1.3 % *behind* after epoch 2.
# </details>
# <details><summary>The training loss, divided by the mask ratio</summary>
#
# ✗ The difficulty does not grow in proportion to the ratio, and the extra terms would still be in it.
# </details>
#
# **2. A run was resumed. The first loss is right, but the later ones differ from those of an unbroken run. What is
# missing from the checkpoint?**
#
# <details><summary>The optimiser's state</summary>
#
# ✓ The weights are right, so the first loss is right too. The running means start empty, and the next updates differ.
# </details>
# <details><summary>The weights</summary>
#
# ✗ Then the first loss would be the loss of an untrained model.
# </details>
# <details><summary>The step number</summary>
#
# ✗ Then the first batch would be a different one, with a different loss, and the learning rate would warm up again.
# </details>
#
# **3. You have ten hours on one GPU and want to compare two methods. A step of the first costs 10 % more. What is fair?**
#
# <details><summary>Train both for the same number of epochs and compare the ends</summary>
#
# ✗ This answers a different question: which is better for the same number of images seen. Say so, if that is what you ask.
# </details>
# <details><summary>Train both for the same number of epochs and cut the more expensive curve off early</summary>
#
# ✗ At the cut its learning rate is not yet zero, while the other run has finished its schedule. It looks worse than it is.
# </details>
# <details><summary>Plan both runs so that each finishes its schedule within the same compute</summary>
#
# ✓ Equal compute, and each learning rate reaches zero. Then use the hours for several seeds.
# </details>
#
# ## Key takeaways
#
# - If every batch, crop and mask follows from the step number, the state of a run is its weights, its optimiser and
#   that number. The run can then be repeated and resumed, on a CPU to the last bit.
# - Schedules change with every step, and the cosine ends where the run ends. Choose the length first.
# - Matrices decay; biases, norms and tokens do not. Matrix products may use 16 bits; the loss and the weights need 32.
# - A run that is resumed without its optimiser or its step raises no error, but it becomes a different run.
# - Time a few steps before a long run.
# - The training loss is not a fair comparison of methods or mask ratios. Here it showed a lead of 8.9 %. Fixed images and
#   masks showed 1.0 %, which is less than the spread between seeds.
# - A minute of filling in hidden patches, without any labels, raised the accuracy of a linear probe from 37 % to 63 %.

# %%
course.status()

# %% [markdown]
# **Next:** [08 · Linear probe and fine-tuning](08_linear_probe_and_fine_tuning.ipynb), where you measure what your
# encoder is worth.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Appendix A.1 has every setting of the pretraining.
# - Loshchilov & Hutter (2017). [*SGDR: stochastic gradient descent with warm
#   restarts.*](https://arxiv.org/abs/1608.03983) ICLR. The cosine.
# - Loshchilov & Hutter (2019). [*Decoupled weight decay regularization.*](https://arxiv.org/abs/1711.05101) ICLR. AdamW.
# - Goyal, Dollár, Girshick et al. (2017). [*Accurate, large minibatch SGD: training ImageNet in 1
#   hour.*](https://arxiv.org/abs/1706.02677) Warm-up, and the rate in proportion to the batch.
# - Malladi, Lyu, Panigrahi & Arora (2022). [*On the SDEs and scaling rules for adaptive gradient
#   algorithms.*](https://arxiv.org/abs/2205.10287) NeurIPS. The square root.
# - Micikevicius, Narang, Alben et al. (2018). [*Mixed precision training.*](https://arxiv.org/abs/1710.03740) ICLR.
#   Loss scaling.
