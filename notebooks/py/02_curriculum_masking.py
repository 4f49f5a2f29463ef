# %% [markdown]
# # 2 · Curriculum masking: hide most of the image, a little more each step
#
# A masked autoencoder learns by filling holes, so the first question is how much to hide. If too little is missing,
# copying the neighbouring pixels is enough. If too much is missing, nothing is left to reason from. In this notebook
# you write the function that hides patches, and the [**curriculum**](GLOSSARY.md#curriculum) that raises the share of
# hidden patches during training.
#
# **You will be able to**
#
# - hide a random selection of the patches of every image in a batch, and put all patches back in order;
# - recognise four masking bugs that raise no error;
# - write a schedule for the mask ratio and read its curve;
# - say what a curriculum costs;
# - explain why training losses at different mask ratios cannot be compared.
#
# **Before you start:** [01 · Patchify](01_patchify.ipynb). **Time:** 75 minutes.

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
import math

import torch
import torch.nn.functional as F

from mae_lib import masking
from mae_lib.config import PretrainConfig
from mae_lib.course.exercises import curriculum_masking as check
from mae_lib.course.session import show
from mae_lib.course.widgets import curriculum_masking as widgets
from mae_lib.metrics import trivial_reconstructions
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import COLOURS, new_figure

show(*widgets.title())

# %%
patchify, unpatchify = course.use("patchify", "unpatchify")

# %% [markdown]
# ## Why hide so much?
#
# BERT learns language by filling gaps, and it hides 15 % of the words
# ([Devlin et al. 2019](https://arxiv.org/abs/1810.04805)). MAE hides 75 % of the patches, because neighbouring pixels
# look alike and small gaps in an image are easy to fill.
#
# How easy? We measure it with two fills from notebook 00 that have learned nothing: the
# [bilinear fill](GLOSSARY.md#bilinear-fill) and, as its baseline,
# the mean colour of the visible pixels. We print what share of the baseline's squared error the bilinear fill removes.

# %%
photographs = course.photographs(224) / 255  # (5, 3, 224, 224)


def random_masks(ratio, seed=0):
    """Masks (5, 196), 1 = hidden. You will write this step yourself in a moment."""
    noise = widgets.seeded_noise(5, 196, seed)
    return masking.random_mask_ids(noise, int(196 * (1 - ratio)))[1]


# %%
def bilinear_fill(mask):
    """The photographs with their holes filled, and the share of the baseline's error removed."""
    holes = patch_mask_to_pixels(mask, 16)  # (5, 1, 224, 224)
    fills = trivial_reconstructions(photographs, holes)
    smooth, one_colour = fills["bilinear fill"], fills["masked mean"]
    error, baseline = (((x - photographs) ** 2 * holes).sum() for x in (smooth, one_colour))
    return torch.where(holes > 0, smooth, photographs), 1 - (error / baseline).item()


# %% [markdown]
# We also count **isolated** patches: hidden patches whose neighbours above, below, left and right are all hidden. Such
# a patch has no visible pixels along its sides.

# %%
def isolated(mask):
    """The share of hidden patches without a visible neighbour, for masks (B, 196)."""
    grid = mask.view(-1, 14, 14)
    wide = F.pad(grid, (1, 1, 1, 1), value=1)  # beyond the edge there is nothing to see
    vertical = wide[:, :-2, 1:-1] * wide[:, 2:, 1:-1]
    horizontal = wide[:, 1:-1, :-2] * wide[:, 1:-1, 2:]
    return ((grid * vertical * horizontal).sum() / grid.sum()).item()


# %% [markdown]
# **Predict first.** When 75 % of the patches are hidden, what percentage of the hidden ones are isolated? (A patch inside
# the image has four neighbours, and each of them is hidden with a probability of 0.75.)

# %%
guess = course.predict("At 75 % hidden, what percentage of the hidden patches are isolated?")

# %%
ratios, alone, lines = (0.15, 0.5, 0.75, 0.9), {}, []
for ratio in ratios:
    masks = [random_masks(ratio, seed) for seed in range(8)]
    removed = 100 * sum(bilinear_fill(mask)[1] for mask in masks) / 8
    alone[ratio] = 100 * sum(isolated(mask) for mask in masks) / 8
    lines.append(f"{100 * ratio:.0f} % hidden: {alone[ratio]:.1f} % of hidden patches isolated, "
                 f"{removed:.0f} % of the error removed")
guess.reveal("\n".join([f"{alone[0.75]:.0f} %", *lines]))

# %%
figure, axes = new_figure(1, 4, 10, 2.8)
for axis, ratio in zip(axes[0], ratios, strict=True):
    axis.imshow(bilinear_fill(random_masks(ratio))[0][4].permute(1, 2, 0))
    axis.set_title(f"{100 * ratio:.0f} % hidden")
    axis.axis("off")
show(figure, "A portrait of Grace Hopper after the bilinear fill. With 15 % hidden it is nearly "
             "whole. With 50 % large parts are blurred, with 75 % the face is lost, and with "
             "90 % a few sharp patches stand in a coloured fog.")

# %% [markdown]
# At 15 % hardly any hidden patch is isolated, and the bilinear fill removes 53 % of the baseline's error. A model
# trained on this task could get a long way by copying the surroundings. At 75 %, 34 % of the hidden patches are
# isolated, a little more than $0.75^4 = 32\,\%$, because patches at the edge have fewer neighbours. The bilinear fill
# still removes 36 %, because images are [**redundant**](GLOSSARY.md#redundant): nearby pixels say much the same. But to
# fill isolated patches well, a model has to know what faces and cups look like. That is why we hide so much.
#
# ## Hide at random, the slow way
#
# Every patch draws a random number, like a lottery ticket. We sort the patches of each image by their numbers and keep
# the first 49, which is a quarter of 196.

# %%
noise = widgets.seeded_noise(5, 196, seed=0)  # (B, L): a random number for each patch


def keep_slowly(noise, num_visible):
    """For each image, sort the patches by their numbers and keep the first ones."""
    kept = []
    for numbers in noise.tolist():
        order = sorted(range(len(numbers)), key=lambda patch: numbers[patch])
        kept.append(order[:num_visible])
    return torch.tensor(kept)  # (B, num_visible)


slow = keep_slowly(noise, 49)
print(tuple(slow.shape), "the first image keeps patches", slow[0, :6].tolist(), "and so on")

# %% [markdown]
# `argsort` does the same for the whole batch at once. For every row it returns the positions of the numbers, from the
# smallest number to the largest.

# %%
ids_shuffle = noise.argsort(dim=1)  # (B, L)
torch.testing.assert_close(ids_shuffle[:, :49], slow)

# %% [markdown]
# `assert_close` is silent, so the two agree.
#
# ## The way back
#
# `ids_shuffle` says, for each place in the shuffled order, which patch lies there. The decoder will need the opposite:
# for each patch, the place it went to. We work this out on six patches, A to F, of which two stay visible.

# %%
tickets = torch.tensor([[0.61, 0.13, 0.87, 0.30, 0.45, 0.72]])  # (1, 6): A draws 0.61, …
show(*widgets.shuffle_picture(tickets, num_visible=2))

# %% [markdown]
# Follow the arrows. B drew the smallest number and goes to place 0, so `ids_shuffle` starts with 1, the index of B.
# Patch A goes to place 3, so the way back must start with 3. A loop finds all six places.

# %%
six_shuffle = tickets.argsort(dim=1)  # (1, 6)
way_back = torch.zeros_like(six_shuffle)
for place, patch in enumerate(six_shuffle[0].tolist()):
    way_back[0, patch] = place  # this patch went to this place

print("ids_shuffle ", six_shuffle[0].tolist())
print("the way back", way_back[0].tolist())

# %% [markdown]
# There is a shorter way. The `argsort` of `ids_shuffle` reports where each of the numbers 0, 1, 2, … stands in it. The
# 0 stands at the place where patch A went, the 1 at the place where B went, and so on. A row like `ids_shuffle`, with
# each number from 0 to 5 exactly once, is a **permutation**. Its argsort is its **inverse**, the permutation that puts
# everything back.

# %%
ids_restore = six_shuffle.argsort(dim=1)  # (1, 6)
torch.testing.assert_close(ids_restore, way_back)

# %% [markdown]
# Most implementations of MAE use the first four names of this table. B is the number of images in the batch, L the
# number of patches in each image, L_vis the number of visible ones, and D the length of a patch's vector.
#
# | name | shape | meaning |
# |---|---|---|
# | `ids_shuffle` | (B, L) | for each place in the shuffled order, the patch that lies there |
# | `ids_keep` | (B, L_vis) | the first columns of `ids_shuffle`: the visible patches |
# | `ids_restore` | (B, L) | for each patch, its place in the shuffled order |
# | `mask` | (B, L) | in the original order, 1 = hidden and 0 = visible |
# | `x_vis` | (B, L_vis, D) | the vectors of the visible patches, in shuffled order |
#
# To pick the visible vectors without a loop, we use `x.gather(1, ids)`. It reads, along dimension 1, the entries that
# `ids` names, and needs `ids` in the shape of the result. In the next cell a patch has three numbers, so `expand`
# repeats each index three times.

# %%
x = torch.arange(18.0).view(1, 6, 3)  # (1, 6, 3): patch A is (0, 1, 2), B is (3, 4, 5), …
ids = torch.tensor([[4, 0]])  # patches E and A
print(x.gather(1, ids[:, :, None].expand(-1, -1, 3)))


# %% [markdown]
# ### ✏️ Exercise 1 · Random masking  (★★☆ · 15 minutes)
#
# Write `random_masking(x, mask_ratio, noise=None)` for `x` of shape (B, L, D). Return `x_vis`, `mask` and `ids_restore`
# as in the table, the mask as floats. The `int(L * (1 - mask_ratio))` patches with the smallest noise stay visible. If
# `noise` is `None`, draw it with `torch.rand`, one number for each patch of each image. Use `device=x.device`: later
# your model may run on a GPU.
#
# <details><summary>Hint 1</summary>
#
# Two argsorts along `dim=1`: the first sorts the noise, the second inverts the first.
# </details>
# <details><summary>Hint 2</summary>
#
# A patch is hidden when the place it went to is `num_visible` or beyond. `(… >= …).float()` turns the answer into
# zeros and ones.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def random_masking(x, mask_ratio, noise=None):
#     b, length, d = x.shape
#     if noise is None:
#         noise = torch.rand(b, length, device=x.device)
#     num_visible = int(length * (1 - mask_ratio))
#     ids_shuffle = noise.argsort(dim=1)
#     ids_restore = ids_shuffle.argsort(dim=1)
#     ids_keep = ids_shuffle[:, :num_visible]
#     x_vis = x.gather(1, ids_keep[:, :, None].expand(-1, -1, d))
#     mask = (ids_restore >= num_visible).float()
#     return x_vis, mask, ids_restore
# ```
# </details>

# %%
def random_masking(x, mask_ratio, noise=None):
    ...  # your code: return x_vis, mask, ids_restore


# %%
check.random_masking(random_masking)

# %%
random_masking = course.use("random_masking")

# %% [markdown]
# We compare `random_masking` with our loop and with the package's function, on the five photographs.

# %%
patches = patchify(photographs, 16)  # (5, 196, 768)
x_vis, mask, ids_restore = random_masking(patches, 0.75, noise)
by_loop = torch.stack([image[ids] for image, ids in zip(patches, slow, strict=True)])
torch.testing.assert_close(x_vis, by_loop)
torch.testing.assert_close(x_vis, masking.random_masking(patches, 0.75, noise)[0])
print("x_vis", tuple(x_vis.shape), " mask", tuple(mask.shape))

# %% [markdown]
# All three agree. `x_vis` is all that the encoder will see of each image: 49 of its 196 patches.
#
# ## Four silent bugs
#
# Masking bugs rarely raise an error, because a wrong mask or a wrong order still has the right shape.
#
# **Bug 1: the wrong way back.** To restore the order, we look up each patch's place in `ids_restore`. Suppose the code
# uses `ids_shuffle` instead. Both hold the numbers 0 to 195, so both run. We hide a quarter of a photograph of a cup and
# restore it with each.

# %%
guess = course.predict("If we restore by ids_shuffle, will you still recognise the cup?")

# %%
coffee_vis, _, restore = random_masking(patches[1:2], 0.25, noise[:1])
shuffled = torch.cat([coffee_vis[0], torch.full((49, 768), 0.5)])  # (196, 768): grey for hidden
shuffle = restore[0].argsort()
rows = {"in shuffled order": shuffled, "restored by ids_restore": shuffled[restore[0]],
        "restored by ids_shuffle": shuffled[shuffle]}

# %%
figure, axes = new_figure(1, 3, 9, 3.2)
for axis, (name, tiles) in zip(axes[0], rows.items(), strict=True):
    axis.imshow(unpatchify(tiles[None], 16, 14, 14)[0].permute(1, 2, 0))
    axis.set_title(name)
    axis.axis("off")
guess.reveal("no", figure, "Left, patches of a cup of coffee in random order, the last quarter "
             "grey. Middle, the cup with grey holes. Right, patches and holes scattered over the "
             "whole picture.")

# %% [markdown]
# No cup can be recognised, because `ids_shuffle` shuffles the patches a second time. In a model, the decoder would get
# nearly every visible patch at a wrong place, and during training the only sign would be a loss that is too high. Test
# the way back with an order that is not its own inverse, such as the order of our six patches. A swap of two patches is
# its own inverse, so it would hide the bug.
#
# **Bug 2: one mask for the whole batch.** One row of noise, broadcast to all images, is shorter to write.

# %%
shared = noise[:1].expand(5, -1)  # (5, 196), but all rows are the same
figure, axes = new_figure(2, 5, 10, 4.3)
for line, name, numbers in zip(axes, ("one mask for all", "own masks"), (shared, noise),
                               strict=True):
    images = widgets.covered(photographs, random_masking(patches, 0.75, numbers)[1], 16)
    for axis, image in zip(line, images, strict=True):
        axis.imshow(image.permute(1, 2, 0))
        axis.axis("off")
    line[0].set_title(name)
show(figure, "Five photographs twice, three quarters hidden. Above, the holes are at the same "
             "places in all five. Below, each photograph has holes of its own.")

# %% [markdown]
# A training step then predicts the same 147 places in every image and none of the other 49. A count over a batch of 64
# finds the bug.

# %%
batch = widgets.seeded_noise(64, 196, seed=0)
for name, numbers in (("one mask for all", batch[:1].expand(64, -1)), ("own masks", batch)):
    mask = random_masking(torch.zeros(64, 196, 1), 0.75, numbers)[1]  # (64, 196)
    print(f"{name}: different masks: {len(mask.unique(dim=0))}, "
          f"places hidden in all 64 images: {int((mask.sum(dim=0) == 64).sum())}")

# %% [markdown]
# With one mask for all, 147 places are hidden in all 64 images. When each image has its own mask, no place is.
#
# **Bug 3: the mask inverted.** Elsewhere in deep learning, masks often use 1 for *keep*. Ours uses 1 for *hidden*. One
# line of code shows which way round a mask is.

# %%
mask = random_masking(patches, 0.75, noise)[1]
print("hidden per image:", mask.sum(dim=1).int().tolist())
print("with the mask inverted:", (1 - mask).sum(dim=1).int().tolist())

# %% [markdown]
# The correct mask hides 147 patches per image, and the inverted one hides 49.
#
# **Bug 4: the same masks in every epoch.** Some people call `manual_seed(0)` at the start of each
# [epoch](GLOSSARY.md#epoch), one pass over the training images, to make a run repeatable. Each image then keeps one
# mask for ever. We count how many of the 196 places of an image are visible at least once in ten epochs.

# %%
guess = course.predict("With fresh masks, how many of the 196 places are visible at least once "
                       "in ten epochs?")


# %%
def places_seen(seeds):
    masks = [random_masking(patches[:1], 0.75, widgets.seeded_noise(1, 196, s))[1] for s in seeds]
    return int((torch.cat(masks) == 0).any(dim=0).sum())


guess.reveal(f"{places_seen(range(10))} of 196 places with a new seed in every epoch\n"
             f"{places_seen([0] * 10)} of 196 places with the same seed in every epoch")

# %% [markdown]
# With a reused seed, only 49 places are ever visible, because every epoch uses the same mask. With fresh masks, 181
# places are. (A place is hidden in all ten epochs with probability $0.75^{10}$, so we expect about
# $196\,(1-0.75^{10})\approx185$.) If you want masks that are fresh *and* repeatable, derive the seed of each step from
# the run's seed and the step number.
#
# ## How many patches stay?
#
# The official MAE code keeps `int(L * (1 - mask_ratio))` patches. At 0.75 that is 49 of 196. `int` cuts off everything
# after the decimal point.

# %%
guess = course.predict("Of 100 patches at mask ratio 0.9, how many stay visible?")

# %%
lines = [f"{int(100 * (1 - 0.9))}, because 1 - 0.9 is {1 - 0.9}"]
for length, ratio in ((196, 0.75), (196, 0.6), (100, 0.9), (20, 0.9)):
    kept = int(length * (1 - ratio))
    hidden = 100 * (1 - kept / length)
    lines.append(f"{length:3} patches, ratio {ratio:<4}: {kept:2} stay, {hidden:.2f} % hidden")
guess.reveal("\n".join(lines))

# %% [markdown]
# Nine stay, not ten. In floating point 1 − 0.9 is slightly less than 0.1, and `int` cuts 9.99… down to 9. We keep the
# plain expression, so that our counts agree with the official code. With few patches the true ratio can be far
# from the requested one: with 20 patches, 90 % becomes 95 %.
#
# ## Another ratio, the same noise
#
# At a ratio of 0.5, 98 of the 196 patches are visible, and at 0.75, 49 are. We use the same noise for both.

# %%
guess = course.predict("How many of the 49 patches visible at 0.75 are also visible at 0.5?")

# %%
at_50, at_75 = (random_masking(patches[:1], ratio, noise[:1])[1] == 0 for ratio in (0.5, 0.75))
guess.reveal(f"{int((at_50 & at_75).sum())} of {int(at_75.sum())}")

# %% [markdown]
# All 49 are visible at both ratios. The same noise gives the same order, and the ratio only says where to cut it.
#
# On the left, the explorer shows the patches that the encoder gets. On the right, it shows each patch's place in the
# shuffled order, coloured where the patch is visible: the earlier the place, the darker. When you move the ratio, the
# numbers on the right stay the same. They change only when you change the seed.

# %%
explorer = widgets.explorer()
explorer

# %% [markdown]
# ### ✏️ Open exercise · A pattern of your own  (★★☆ · 15 minutes)
#
# The noise need not be random: any numbers give an order. Give small numbers to the patches where every second row
# crosses every second column, and a regular **grid** of 49 patches stays visible. Numbers that rise towards the centre
# hide the centre: as a disc, or almost as a **square**, depending on how you measure the distance. Design at least one
# pattern of your own, with 147 hidden patches. Before you run it, write down whether the bilinear fill will find it
# easier or harder than random masks. Then measure. What would a model have to learn in order to fill your pattern?

# %%
row, column = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
patterns = {"random": noise}
# Add yours, for example: patterns["left to right"] = column.flatten().float().expand(5, -1)

for name, numbers in patterns.items():
    mask = random_masking(patches, 0.75, numbers)[1]
    print(f"{name}: {int(mask[0].sum())} hidden, the bilinear fill removes "
          f"{100 * bilinear_fill(mask)[1]:.0f} % of the error")

# %% [markdown]
# <details><summary>What a good answer shows</summary>
#
# - A prediction that was written down before measuring, with a reason.
# - A pattern that hides 147 patches, checked by counting.
# - A comparison with random masks on the same photographs. In our runs a grid is easier than random masks (40 to 42 %
#   of the error removed, depending on where it starts, against 35 %) and a central square is harder (24 %).
# - A sentence on what the number does not say. A pattern that is easier to fill need not teach better or worse
#   features.
# - A look at the literature. [He et al. (2022)](https://arxiv.org/abs/2111.06377), table 1f, compare random masks with
#   a grid and with *blocks*, several hidden rectangles. Random masks gave the best features.
# </details>
#
# ## The curriculum
#
# Teachers go from easy to hard, and [Bengio et al. (2009)](https://dl.acm.org/doi/10.1145/1553374.1553380) proposed the
# same for neural networks. The project report that this course examines applies the idea to MAE. Its mask ratio $r$
# starts at 0.5 and rises to 0.75 during the first 5 epochs, a little with every training step. Then it stays at 0.75.
#
# $$r(t) = r_0 + (r_1 - r_0)\, p, \qquad p = \min(t / T, 1), \qquad t = \text{epoch} + \text{step} / \text{iters}$$
#
# Epochs and steps are counted from 0, and an epoch has `iters` steps. So $t$ is the time in epochs, and $p$ goes from 0
# to 1 during the first $T$ epochs, which we call the ramp. The settings come in one object, `cfg`.

# %%
cfg = PretrainConfig(mask_ratio_sched="linear")
print("r₀ = cfg.mask_ratio_start =", cfg.mask_ratio_start)
print("r₁ = cfg.mask_ratio =", cfg.mask_ratio)
print("T  = cfg.mask_ratio_warmup_epochs =", cfg.mask_ratio_warmup_epochs)


# %% [markdown]
# The schedule can have two other shapes. With `cfg.mask_ratio_sched == "const"` the ratio is `cfg.mask_ratio` at every
# step. With `"cosine"`, $p$ is replaced by $(1 - \cos \pi p) / 2$, which starts and ends slowly.
#
# ### ✏️ Exercise 2 · The schedule  (★★☆ · 12 minutes)
#
# Write `schedule_mask_ratio(epoch, step, iters, cfg)`, which returns the mask ratio at this step as a number. It
# handles `"const"`, `"linear"` and `"cosine"`. If `cfg.mask_ratio_warmup_epochs` is 0, the ratio is `cfg.mask_ratio`
# from the first step on.
#
# <details><summary>Hint 1</summary>
#
# Time in epochs is a fraction: in the middle of epoch 2, $t$ is 2.5.
# </details>
# <details><summary>Hint 2</summary>
#
# Treat the constant case first. Then compute $p$, replace it if the shape is a cosine, and put it into the formula for
# $r(t)$, which is the same for both shapes.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def schedule_mask_ratio(epoch, step, iters, cfg):
#     time = epoch + step / iters
#     if cfg.mask_ratio_sched == "const" or time >= cfg.mask_ratio_warmup_epochs:
#         return cfg.mask_ratio
#     progress = time / cfg.mask_ratio_warmup_epochs
#     if cfg.mask_ratio_sched == "cosine":
#         progress = (1 - math.cos(math.pi * progress)) / 2
#     return cfg.mask_ratio_start + progress * (cfg.mask_ratio - cfg.mask_ratio_start)
# ```
# </details>

# %%
def schedule_mask_ratio(epoch, step, iters, cfg):
    ...  # your code


# %%
check.schedule_mask_ratio(schedule_mask_ratio)

# %%
schedule_mask_ratio = course.use("schedule_mask_ratio")

# %% [markdown]
# We call it for every step of a run: 10 epochs of 1563 steps. Each epoch is 100,000 images in batches of 64.

# %%
epochs, iters = 10, 1563


def schedule(kind, function=schedule_mask_ratio):
    """The ratio at each of the 15,630 steps."""
    cfg = PretrainConfig(mask_ratio_sched=kind)
    steps = [(epoch, step) for epoch in range(epochs) for step in range(iters)]
    return torch.tensor([function(epoch, step, iters, cfg) for epoch, step in steps])


for kind in ("const", "linear", "cosine"):
    torch.testing.assert_close(schedule(kind), schedule(kind, masking.schedule_mask_ratio))

# %%
figure, axes = new_figure(1, 1, 7, 3)
axis = axes[0, 0]
time = torch.arange(epochs * iters) / iters  # in epochs
for i, (kind, style) in enumerate({"linear": "-", "cosine": "--", "const": ":"}.items()):
    axis.plot(time[::50], schedule(kind)[::50], style, color=COLOURS[i], linewidth=2, label=kind)
axis.set(xlabel="epoch", ylabel="mask ratio", xlim=(0, 10), ylim=(0.45, 0.8))
axis.legend(loc="lower right")
show(figure, "The linear schedule rises straight from 0.50 to 0.75 over five epochs. The cosine "
             "starts and ends gently and crosses it halfway. The constant one stays at 0.75.")

# %% [markdown]
# All three schedules agree with the package's at every step. Does the linear one also agree with the report? In its log
# of a run of the *improved* method, which adds the curriculum and two more loss terms to the original MAE, the mask
# ratios at the ends of the ten epochs are 0.55, 0.60, 0.65, 0.70, 0.75, and then 0.75 to the end.

# %%
at_the_end = schedule("linear")[iters - 1 :: iters]  # the last step of each epoch
print(" ".join(f"{ratio:.2f}" for ratio in at_the_end.tolist()))


# %% [markdown]
# All ten ratios agree with the report's log, which does not show how the ratio changes within an epoch.
#
# Three other curricula change *which* patches are hidden, not how many. [CL-MAE](https://arxiv.org/abs/2308.16572)
# trains a second network to choose the masks, first easy ones and later hard ones. [Hard Patches
# Mining](https://arxiv.org/abs/2304.05919) predicts which patches have a high loss and hides more of those over time.
# [SemMAE](https://arxiv.org/abs/2206.10207) first hides patches within each part of an object, and later whole parts.
# All three report better features than random masks at a fixed ratio.
#
# ## What does the curriculum cost?
#
# The report says that its curriculum has "zero compute overhead" and makes early epochs 3–5 % faster. The encoder works
# on visible patches only, so we can check the first claim by counting them.

# %% [markdown]
# ### ✏️ Exercise 3 · Visible patches on average  (★☆☆ · 5 minutes)
#
# Write `mean_visible(ratios, length)`. `ratios` is a list with the mask ratio of every step, and `length` is the number
# of patches. Return how many patches are visible at a step, on average. The count at each step is a whole number.
#
# <details><summary>Hint 1</summary>
#
# Count the visible patches of each step with the same expression as in `random_masking`. The mean comes last.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def mean_visible(ratios, length):
#     counts = [int(length * (1 - ratio)) for ratio in ratios]
#     return sum(counts) / len(counts)
# ```
# </details>

# %%
def mean_visible(ratios, length):
    ...  # your code


# %%
check.mean_visible(mean_visible)

# %% [markdown]
# Now we measure with `random_masking` itself: we hide patches at every step of the linear curriculum and look at the
# shape of `x_vis`. If 75 % are always hidden, the encoder sees 49 patches.

# %%
guess = course.predict("Under the linear curriculum, how many of the 196 patches are visible "
                       "on average?")

# %%
dots = torch.zeros(1, 196, 1)  # 196 patches of a single number
visible = torch.tensor([random_masking(dots, ratio)[0].shape[1]
                        for ratio in schedule("linear").tolist()]).float()  # (15630,)
by_epoch = visible.view(epochs, iters).mean(dim=1)
guess.reveal(f"{visible.mean():.1f} patches over all ten epochs, which is "
             f"{100 * (visible.mean() / 49 - 1):.0f} % more than 49\nby epoch: "
             + " ".join(f"{n:.0f}" for n in by_epoch))

# %% [markdown]
# The encoder sees 61.0 patches on average, 24 % more than without the curriculum. (So
# `mean_visible(schedule("linear").tolist(), 196)` is 61.0, if your function is right.) In the first epoch it sees almost
# twice as many as 49. So the early epochs have the *most* work, and the curriculum is not free.
#
# On average, a training step does not cost 24 % more, though. The decoder always works on all 196 places, and at 0.75
# it does about half of the work. The next explorer counts the [**multiply-adds**](GLOSSARY.md#multiply-add) of the
# package's model: how often a step multiplies two numbers and adds the product to a sum. The right plot shows the
# multiply-adds of each step relative to a step at 0.75. Orange is extra work, green is work saved.
#
# Answer two questions with it. (a) Does the cosine cost more than the straight line, less, or the same? (b) Is there a
# curriculum that costs *less* than always hiding 75 %?

# %%
planner = widgets.schedule_explorer()
planner

# %% [markdown]
# <details><summary>Our answers</summary>
#
# (a) Both cost the same, 12.2 % more than always hiding 75 %. The cosine lies as far above the straight line in the
# second half of the ramp as below it in the first half, so the mean ratio is the same, and the cost depends almost
# linearly on the ratio.
#
# (b) Yes, if it runs the other way, from hard to easy. A ramp from 0.9 down to 0.75 over 5 epochs saves 7.4 %, because a
# step costs less when more is hidden.
# </details>
#
# So the linear curriculum costs 12.2 % more multiply-adds over ten epochs. (Multiply-adds are not seconds;
# [notebook 10](10_claims.ipynb) reports measured times.) The extra work affects what counts as a fair comparison. At
# [**equal epochs**](GLOSSARY.md#equal-epochs), a run with the curriculum and a run at 0.75 see the same number of
# images. At [**equal compute**](GLOSSARY.md#equal-compute), the curriculum run gets fewer steps. A result that holds
# for one comparison may not hold for the other, so a report should say which one it makes.
#
# ## The trap in the training curve
#
# What does the mask ratio do to the loss? We take a trained model from the package and keep it
# [**frozen**](GLOSSARY.md#frozen), which means that its weights do not change. Then we hide more and more of the five
# photographs. The loss (`mae_loss`, which you write in notebook 04 together with its option `norm_pix`) is the mean
# squared error on hidden patches.

# %%
from mae_lib.data.augment import resize
from mae_lib.losses import mae_loss
from mae_lib.training.checkpoints import load_shipped

mae, facts = load_shipped("original")
pixels = resize(course.photographs(224), mae.img_size).repeat(8, 1, 1, 1)  # (40, 3, H, W)


@torch.no_grad()
def frozen_loss(ratio):
    """The model's mean error on hidden patches: five photographs, eight masks each."""
    noise = widgets.seeded_noise(40, mae.num_patches, seed=0)
    output = mae(pixels, ratio, noise=noise)
    return mae_loss(output.pred, pixels, output.mask, mae.patch_size, facts["norm_pix"]).item()


# %%
guess = course.predict("As more is hidden, does the frozen model's loss rise, fall or stay level?")

# %%
ends = [0.5, *(round(r, 2) for r in at_the_end.tolist())]  # the ratio after 0, 1, …, 10 epochs
by_ratio = {ratio: frozen_loss(ratio) for ratio in sorted(set(ends))}
guess.reveal("it rises: " + ", ".join(f"{loss:.2f} at {ratio}" for ratio, loss in by_ratio.items()))

# %% [markdown]
# The loss rises from 0.41 to 0.47, because more hidden patches make the task harder. Now pretend that we train this
# model and log its loss twice: once under the curriculum and once at 0.75 throughout.

# %%
figure, axes = new_figure(1, 1, 7, 3)
axis = axes[0, 0]
axis.plot(range(11), [by_ratio[0.75]] * 11, "s--", color=COLOURS[0], label="always 0.75")
axis.plot(range(11), [by_ratio[r] for r in ends], "o-", color=COLOURS[1], label="curriculum")
axis.set(title="One frozen model, logged twice", xlabel="epochs completed",
         ylabel="loss at the current ratio")
axis.legend()
show(figure, "Two curves from one model that never changes. Under the curriculum the loss starts "
             "lower and rises for five epochs until it meets the other curve, which is level.")

# %% [markdown]
# Under the curriculum, the loss rises from 0.41 to 0.47 in five epochs and then stays level with the other curve. The
# plot looks like two different models, but there is only one. Compare it with the report. For the first epoch, which
# ends at ratio 0.55, the report logs a training loss of 0.6655 for its improved method, whose loss has two more terms.
# The *original* method, always at 0.75, has 0.7210. How large is that gap compared with the effect of the ratio alone?

# %%
print(f"reported in epoch 1: {100 * (1 - 0.6655 / 0.7210):.0f} % lower")
lower = 100 * (1 - by_ratio[0.55] / by_ratio[0.75])
print(f"our frozen model at 0.55 instead of 0.75: {lower:.0f} % lower")

# %% [markdown]
# The reported loss is 8 % lower, and the ratio alone makes our frozen model's loss 11 % lower. The two numbers come
# from different models, images and losses, so we have not explained the gap. But we have shown that such a gap proves
# nothing by itself. The remedy is a [**fixed validation set with fixed
# masks**](GLOSSARY.md#fixed-validation-set-with-fixed-masks): images kept out of training, masked in the same way, at
# 0.75, for every method and every epoch.
#
# ## Quiz
#
# **1. An image has 196 patches, 49 stay visible, and its row of `ids_restore` has 60 at index 5. What do you know about
# patch 5?**
#
# <details><summary>It is visible, at place 60 of the image</summary>
#
# ✗ 60 is a place in the shuffled order, not in the image, and only the first 49 places of that order are visible.
# </details>
# <details><summary>It is hidden</summary>
#
# ✓ It went to place 60 of the shuffled order. Places 0 to 48 are kept, so its mask is 1.
# </details>
# <details><summary>Patch 60 was moved to place 5</summary>
#
# ✗ Then `ids_shuffle` would have 60 at index 5, not `ids_restore`.
# </details>
#
# **2. After two epochs the curriculum's training loss is lower than the constant run's. What follows?**
#
# <details><summary>The curriculum converges faster</summary>
#
# ✗ Its task is easier at that moment, because less is hidden.
# </details>
# <details><summary>The constant run has a bug</summary>
#
# ✗ We measured a higher loss at a higher mask ratio on one and the same model.
# </details>
# <details><summary>Nothing, until both are measured with the same masks</summary>
#
# ✓ With fixed images, fixed masks and one ratio, a difference in the numbers is a difference between the models.
# </details>
#
# **3. After ten epochs, the curriculum's features are better than those of a run at 0.75. What do you check first?**
#
# <details><summary>That its training loss is lower, too</summary>
#
# ✗ A training loss measures how well hidden patches are predicted, not how good the features are.
# </details>
# <details><summary>That the gain remains at equal compute</summary>
#
# ✓ The curriculum used 12 % more compute. Shorten its run until it uses as much as the run at 0.75. If the gain then
# disappears, the extra work can explain it.
# </details>
# <details><summary>Nothing, because both saw the same number of images</summary>
#
# ✗ They saw the same images, but the curriculum's encoder saw more patches of them, and that costs compute.
# </details>
#
# ## Key takeaways
#
# - Random noise and two argsorts give `mask`, `ids_keep` and `ids_restore`. The argsort of a permutation is its inverse.
# - Every image gets its own mask, fresh at every step. Masking bugs rarely raise an error, so look at pictures and
#   counts.
# - `int(L * (1 - ratio))` patches stay visible. Floating-point rounding can make that one fewer than you expect.
# - A ramp from 0.5 to 0.75 over the first five of ten epochs costs about 12 % more multiply-adds. Say whether you
#   compare at equal epochs or at equal compute.
# - Losses at different mask ratios measure different tasks. Compare models on fixed masks.

# %%
course.status()

# %% [markdown]
# **Next:** [03 · Asymmetric autoencoder](03_asymmetric_autoencoder.ipynb) builds the model that reads the visible patches
# and predicts the hidden ones.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Figure 5 varies the mask ratio, table 1f the pattern.
# - Bengio, Louradour, Collobert & Weston (2009). [*Curriculum
#   learning.*](https://dl.acm.org/doi/10.1145/1553374.1553380) ICML.
# - Madan, Ristea, Nasrollahi, Moeslund & Ionescu (2024). [*CL-MAE: Curriculum-learned masked
#   autoencoders.*](https://arxiv.org/abs/2308.16572) WACV.
# - Bao, Dong, Piao & Wei (2022). [*BEiT: BERT pre-training of image transformers.*](https://arxiv.org/abs/2106.08254)
#   ICLR. Hides blocks of patches.
# - Wettig, Gao, Zhong & Chen (2023). [*Should you mask 15 % in masked language
#   modeling?*](https://arxiv.org/abs/2202.08005) EACL. For large BERT models, hiding 40 % of the words works better
#   than 15 %.
