# %% [markdown]
# # 2 · Curriculum masking: hide most of it, little by little
#
# A masked autoencoder learns by filling holes. How much should be missing? Too little, and copying the
# neighbours is enough; too much, and nothing is left to go by. Here you hide patches, bring them back in
# order, let the share grow during training, and find out what that costs.
#
# **You will be able to**
#
# - hide a random share of every image's patches, a whole batch at once, and undo the shuffle;
# - recognise four masking bugs that raise no error;
# - schedule the mask ratio step by step, and read a schedule's curve;
# - price a schedule in multiply-adds, and test the claim that a curriculum costs nothing;
# - say why two training losses at different mask ratios cannot be compared.
#
# **Before you start:** [01 · Patchify](01_patchify.ipynb). **Time:** 45 minutes.

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
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_lib import masking
from mae_lib.config import PretrainConfig
from mae_lib.course.exercises import curriculum_masking as check
from mae_lib.course.session import show
from mae_lib.course.widgets import curriculum_masking as widgets
from mae_lib.data.augment import resize
from mae_lib.losses import mae_loss
from mae_lib.metrics import trivial_reconstructions
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.plots import COLOURS, GREY, new_figure
from mae_lib.runtime import hardware
from mae_lib.training.checkpoints import load_shipped

show(*widgets.title())

# %% [markdown]
# ## Why hide so much?
#
# BERT learns language by filling gaps, and hides 15 % of the words (Devlin et al. 2019). MAE hides 75 % of
# the patches. The reason lies in the pictures: neighbours look alike. To see how much that gives away, we
# fill holes by a rule that has learned nothing and only spreads the visible pixels smoothly into them.
#
# **Predict first.** Painting all holes in one flat colour, the mean of what is visible, makes some
# squared error. How much of it do the neighbours remove when 15 % is hidden? And when 75 % is?

# %%
photographs = course.photographs(224) / 255  # (5, 3, 224, 224)


def random_masks(ratio, seed=0):
    """Masks (5, 196), 1 = hidden, from the library; soon you will have written this."""
    noise = widgets.seeded_noise(5, 196, seed)
    return masking.random_mask_ids(noise, masking.num_visible_patches(196, ratio))[1]


def fill(mask):
    """The photographs with holes filled, and the share of the flat colour's error removed."""
    holes = patch_mask_to_pixels(mask, 16)  # (5, 1, 224, 224)
    fillings = trivial_reconstructions(photographs, holes)
    error = {name: ((x - photographs) ** 2 * holes).sum() for name, x in fillings.items()}
    filled = torch.where(holes > 0, fillings["bilinear fill"], photographs)
    return filled, 1 - (error["bilinear fill"] / error["masked mean"]).item()


# %% [markdown]
# Beside it we count the hidden patches that have no visible neighbour above, below, left or right.

# %%
def isolated(mask):
    """The share of hidden patches all of whose neighbours are hidden too."""
    grid = mask.view(-1, 14, 14)
    wide = torch.nn.functional.pad(grid, (1, 1, 1, 1), value=1)  # beyond the edge: nothing to see
    around = wide[:, :-2, 1:-1] * wide[:, 2:, 1:-1] * wide[:, 1:-1, :-2] * wide[:, 1:-1, 2:]
    return ((grid * around).sum() / grid.sum()).item()


ratios, removed, alone = (0.15, 0.5, 0.75, 0.9), [], []
for ratio in ratios:
    masks = [random_masks(ratio, seed) for seed in range(8)]
    removed.append(sum(fill(mask)[1] for mask in masks) / 8)
    alone.append(sum(isolated(mask) for mask in masks) / 8)
    print(f"{ratio:.0%} hidden: neighbours remove {removed[-1]:.0%} of the error; "
          f"hidden patches without a visible neighbour: {alone[-1]:.0%}")

# %%
figure, axes = new_figure(1, 5, 11, 2.5)
axes[0, 0].plot(ratios, removed, "o-", color=COLOURS[0])
axes[0, 0].plot(ratios, alone, "s--", color=COLOURS[1])
axes[0, 0].text(0.14, 0.62, "error removed", color=COLOURS[0])
axes[0, 0].text(0.16, 0.12, "isolated", color=COLOURS[1])
axes[0, 0].set(xlim=(0, 1), ylim=(0, 0.8), xlabel="share hidden", ylabel="share")
for axis, ratio in zip(axes[0, 1:], ratios, strict=True):
    axis.imshow(fill(random_masks(ratio))[0][0].permute(1, 2, 0))
    axis.set_title(f"{ratio:.0%} filled in")
    axis.axis("off")
show(figure, "Left, the error removed falls slowly as more is hidden, while isolated patches "
             "become the rule. Right, the cat filled in: nearly whole at 15 %, foggy at 75 %.")

# %% [markdown]
# Two things at once. At 15 % a rule without any knowledge removes more than half of the error: a model that
# hides so little is mostly asked to copy. And pictures are **redundant**: five times as much hidden, and the rule
# still removes a third. But look at the second number: at 75 % a third of the holes have no neighbour to
# copy from, at 90 % two thirds. To fill those, one has to know what cats look like. That is the task we want.
#
# ## Hide at random, the slow way
#
# Treat each image as a pack of 196 cards: shuffle, keep the first 49, put the others aside. One way of
# shuffling: every card draws a **lottery number**, and the cards are sorted by their numbers.

# %%
noise = widgets.seeded_noise(5, 196, seed=0)  # (B, L): a lottery number for each patch


def keep_slowly(noise, num_visible):
    """For each image, sort its patches by their lottery numbers; keep the first."""
    kept = []
    for numbers in noise.tolist():
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        kept.append(order[:num_visible])
    return torch.tensor(kept)  # (B, num_visible)


slow = keep_slowly(noise, 49)
print(tuple(slow.shape), "first image keeps patches", slow[0, :6].tolist(), "…")

# %% [markdown]
# The same for the whole batch at once: `argsort` gives, for every row, the places of the numbers from the
# smallest to the largest. What do you expect the first 49 columns to be?

# %%
ids_shuffle = noise.argsort(dim=1)  # (B, L)
ids_keep = ids_shuffle[:, :49]  # (B, 49)
print("equal to the loop:", torch.equal(ids_keep, slow))

# %% [markdown]
# Equal, without a loop. `ids_shuffle` says for each **place in the shuffled order** which patch lies
# there. The decoder will need the opposite: for each **patch**, the place it went to.
#
# ## The double argsort, on six patches
#
# We work it out on six patches, A to F, with lottery numbers chosen by hand; two of them stay. First the
# way back by a loop that you can follow with a finger.

# %%
lots = torch.tensor([[0.61, 0.13, 0.87, 0.30, 0.45, 0.72]])  # (1, 6): A has 0.61, B has 0.13, …
six_shuffle = lots.argsort(dim=1)  # (1, 6)

way_back = torch.zeros_like(six_shuffle)
for place, patch in enumerate(six_shuffle[0].tolist()):
    way_back[0, patch] = place  # this patch went to this place

print("ids_shuffle", six_shuffle[0].tolist())
print("the way back", way_back[0].tolist())

# %%
show(*widgets.shuffle_picture(lots, num_visible=2))

# %% [markdown]
# Read down the arrows: B has the smallest number and goes to place 0, so `ids_shuffle` begins with 1, which
# is B. Patch A goes to place 3, so the way back begins with 3. Now a small miracle:

# %%
six_restore = six_shuffle.argsort(dim=1)  # (1, 6): the argsort of an argsort
mask = (six_restore >= 2).float()  # (1, 6): places 0 and 1 stay, the others are masked
print("ids_restore", six_restore[0].tolist())
print("equal to the loop:", torch.equal(six_restore, way_back))
print("ids_keep   ", six_shuffle[0, :2].tolist())
print("mask       ", mask[0].int().tolist())


# %% [markdown]
# Why does it work? Sorting `ids_shuffle` brings it to 0, 1, 2, …, and `argsort` reports where each of these
# stood: where 0 stood is the place that patch A went to. An argsort of a permutation is its inverse.
#
# So four small tensors tell everything: `ids_shuffle` (place → patch), `ids_keep` (its beginning),
# `ids_restore` (patch → place) and `mask` (**1 = masked**, 0 = visible, in the original order).

# %% [markdown]
# ### ✏️ Exercise 1 · A mask from noise  (★★☆ · 5 minutes)
#
# Write `random_mask(noise, num_visible)` for noise (B, L). Return `ids_keep` (B, num_visible), `mask` (B, L)
# with 1 = masked, and `ids_restore` (B, L). The smallest numbers stay visible.
#
# <details><summary>Hint 1</summary>
#
# Two argsorts, both along `dim=1`. The first sorts the noise.
# </details>
# <details><summary>Hint 2</summary>
#
# A patch is masked when the place it went to is `num_visible` or beyond.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def random_mask(noise, num_visible):
#     ids_shuffle = noise.argsort(dim=1)
#     ids_restore = ids_shuffle.argsort(dim=1)
#     mask = (ids_restore >= num_visible).float()
#     return ids_shuffle[:, :num_visible], mask, ids_restore
# ```
# </details>

# %%
def random_mask(noise, num_visible):
    ...  # your code: return ids_keep, mask, ids_restore


# %%
check.random_mask(random_mask)

# %% [markdown]
# The library's `random_mask_ids` is these four lines with a check of its input. Two more functions live beside it:
# `take_patches` picks patches by their numbers, and `random_masking` does everything in one call.

# %%
ids_keep, mask, ids_restore = masking.random_mask_ids(noise, 49)
tokens = patchify(photographs, 16)  # (B, 196, 768)

by_loop = torch.stack([tokens[b, ids] for b, ids in enumerate(ids_keep)])  # (B, 49, 768)
x_vis = masking.take_patches(tokens, ids_keep)  # (B, 49, 768)
at_once = masking.random_masking(tokens, 0.75, noise=noise)  # x_vis, mask, ids_restore

print("library keeps what our loop keeps:", torch.equal(ids_keep, slow))
print("take_patches equal to a loop:", torch.equal(x_vis, by_loop))
print("random_masking gives", *(tuple(part.shape) for part in at_once))


# %% [markdown]
# `x_vis` is all that the encoder will ever see: 49 tokens, still in shuffled order. After it, someone has
# to lay the cards back on the table.
#
# ### ✏️ Exercise 2 · Undo the shuffle  (★★☆ · 6 minutes)
#
# Write `unshuffle(x_vis, ids_restore, hole)`: from the visible tokens (B, K, D) and `ids_restore` (B, L) to
# (B, L, D) in the original order, with the vector `hole` (D,) wherever a patch was hidden.
#
# <details><summary>Hint 1</summary>
#
# First make the shuffled row complete: the K visible tokens, then L − K copies of `hole`. `expand` makes
# the copies, `torch.cat(…, dim=1)` joins.
# </details>
# <details><summary>Hint 2</summary>
#
# `ids_restore[b, i]` is the place of patch `i` in that row, so `masking.take_patches(row, ids_restore)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def unshuffle(x_vis, ids_restore, hole):
#     b, visible, d = x_vis.shape
#     holes = hole.expand(b, ids_restore.shape[1] - visible, d)
#     row = torch.cat([x_vis, holes], dim=1)  # (B, L, D), still shuffled
#     return masking.take_patches(row, ids_restore)
# ```
# </details>

# %%
def unshuffle(x_vis, ids_restore, hole):
    ...  # your code


# %%
check.unshuffle(unshuffle)

# %% [markdown]
# **Trap 1: `ids_shuffle` for the way back.** Both are permutations of 0 … 195, so both fit and no error is
# raised. We hide a quarter of the cat and restore it twice. What will the wrong one look like?

# %%
keep, _, restore = masking.random_mask_ids(noise[:1], 147)
grey = torch.full((1, 49, 768), 0.5)
row = torch.cat([masking.take_patches(tokens[:1], keep), grey], dim=1)  # (1, 196, 768), shuffled
right = unpatchify(masking.take_patches(row, restore), 16)
wrong = unpatchify(masking.take_patches(row, ids_shuffle[:1]), 16)

figure, axes = new_figure(1, 3, 9, 3.2)
pictures = {"in shuffled order": unpatchify(row, 16), "by ids_restore": right,
            "by ids_shuffle": wrong}
for axis, (name, image) in zip(axes[0], pictures.items(), strict=True):
    axis.imshow(image[0].permute(1, 2, 0))
    axis.set_title(name)
    axis.axis("off")
show(figure, "Left, patches of fur in random order, the last quarter grey. Middle, the cat with "
             "grey holes. Right, shuffled again: fur and holes all over the picture.")

# %% [markdown]
# It shuffles the shuffled once more. Nothing would stop you from training this way: every token would stand
# at a stranger's place, and all you would notice is a loss somewhat higher than it could be (notebook 03 measures
# such a fault). Test with an order that is not its own inverse, as our six patches: two swapped patches come back
# either way.
#
# ## How many stay?
#
# The package follows a written **specification** of an original MAE, and of one improved by three additions. With it
# came a log and a table of *reported* results, one run of each, which this course tests (notebook 10 quotes them). It
# says `int(196·(1−ratio))`. At 0.75 this is 49. `int` cuts off what is after the decimal point. **Predict:** of 100 patches we hide 90 %. How many stay?

# %%
for length, ratio in ((196, 0.75), (196, 0.6), (144, 0.75), (100, 0.75), (100, 0.9), (20, 0.9)):
    kept = masking.num_visible_patches(length, ratio)
    print(f"{length:3} patches, ratio {ratio:<4}: {kept:2} stay, "
          f"truly hidden {1 - kept / length:.4f}")
print("because 1 − 0.9 is", 1 - 0.9)

# %% [markdown]
# Nine, not ten: in floating point 1 − 0.9 is a little less than 0.1, and `int` cuts it down. The library keeps
# the plain expression on purpose, so that its counts agree with the official code; what matters is that
# everyone counts alike. With few patches the true ratio can be far from the one asked for. And some
# requests cannot be met:

# %%
for ratio in (1.0, 0.999):
    try:
        masking.num_visible_patches(196, ratio)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## Scrub the ratio
#
# Left is what the encoder gets; right, the place of each patch in the shuffled order. Those below the
# number of visible patches stay, in colour; the others are hidden.
#
# **Predict first.** (a) From which ratio on would you no longer recognise the astronaut? (b) You move the ratio from
# 0.5 to 0.75 and leave the seed. Are the 49 patches that you then see among the 98 of before?

# %%
explorer = widgets.explorer()
explorer

# %%
for ratio in (0.5, 0.75, 0.9):
    explorer.set(mask_ratio=ratio)
    print(explorer.frame.text)
# The same noise, that of seed 0, cut at two places:
at_50, at_75 = (masking.random_mask_ids(noise[:1], kept)[0][0].tolist() for kept in (98, 49))
print("those at 0.75 are among those at 0.5:", set(at_75) <= set(at_50))
explorer.set(mask_ratio=0.75, seed=1)
print(explorer.frame.text)

# %% [markdown]
# (b) Yes: the same noise gives the same order, and the ratio only says where to cut it. The numbers on
# the right do not change until you change the seed. For (a) there is no right answer. If you got
# further than you thought: you fill in from what you know about people, and that is what a model has to learn.
#
# ## Three more silent bugs
#
# **Trap 2: one mask for the whole batch.** One row of noise, spread to all images by broadcasting, is shorter to
# write, and everything runs.

# %%
shared = noise[:1].expand(5, -1)  # (5, 196), but all rows are the same
figure, axes = new_figure(2, 5, 10, 4.3)
for row, (numbers, name) in zip(axes, ((shared, "one for all"), (noise, "own masks")), strict=True):
    images = widgets.covered(photographs, masking.random_mask_ids(numbers, 49)[1], 16)
    for axis, image in zip(row, images, strict=True):
        axis.imshow(image.permute(1, 2, 0))
        axis.axis("off")
    row[0].set_title(name)
show(figure, "Five photographs twice, three quarters hidden. Above, the holes are at the same "
             "places in all five; below, each photograph has holes of its own.")

# %%
batch = widgets.seeded_noise(64, 196, seed=0)
for name, numbers in {"one for all": batch[:1].expand(64, -1), "own masks": batch}.items():
    mask = masking.random_mask_ids(numbers, 49)[1]  # (64, 196)
    nowhere = (mask.sum(dim=0) == 64).sum()
    print(f"{name}: {len(mask.unique(dim=0))} different masks in a batch of 64, "
          f"{nowhere} places that no image shows")

# %% [markdown]
# With one mask for all, the whole step asks about the same 147 places and never about the other 49:
# 64 images, one question. Nothing in the log tells you.
#
# **Trap 3: the mask's meaning inverted.** Attention masks, for one, often write 1 for *keep*. Read ours that way, and the loss is
# taken on the visible patches. We ask a trained model, the package's own, for both. **Predict:** on
# which patches does it do better, on those it was given or on those it had to guess?

# %%
mae, facts = load_shipped("original")
pixels = resize(course.photographs(224), mae.img_size)  # (5, 3, H, W), normalised


@torch.no_grad()
def losses(ratio, seeds=8):
    """Reconstruction loss on hidden and on visible patches: five photographs, several masks."""
    images = pixels.repeat(seeds, 1, 1, 1)  # (seeds · 5, 3, H, W)
    noise = widgets.seeded_noise(len(images), mae.num_patches, seed=0)
    output = mae(images, ratio, noise=noise)
    return [mae_loss(output.pred, images, mask, mae.patch_size, facts["norm_pix"]).item()
            for mask in (output.mask, 1 - output.mask)]


hidden, visible = losses(0.75)
print(f"loss on hidden patches {hidden:.2f}, on visible ones {visible:.1f}")


# %% [markdown]
# Worse on what it was *shown*. Nobody ever asked it for visible patches: the loss leaves them out, so its
# output there is whatever falls out. (In these units about 1.0 is what painting every patch in its own mean
# brightness would score; notebook 04 has the reason.) Measured with an inverted mask, a good model looks
# bad. Trained with one, a model would only be asked to copy what it is given, the very task we wanted to
# get away from.
#
# **Trap 4: the same mask every epoch.** `manual_seed(0)` at the start of each epoch is meant to make a run
# repeatable. Here is how often each place of the cat was visible over ten epochs, with and without.

# %%
def times_visible(seeds):
    noise = torch.cat([widgets.seeded_noise(1, 196, seed) for seed in seeds])  # (10, 196)
    mask = masking.random_mask_ids(noise, 49)[1]
    return (1 - mask).sum(dim=0).view(14, 14)


figure, axes = new_figure(1, 2, 6.4, 3)
for axis, (name, seeds) in zip(axes[0], {"seed reused": [0] * 10, "fresh": range(10)}.items(),
                               strict=True):
    times = times_visible(seeds)
    print(f"{name}: {(times > 0).sum()} of 196 places seen at least once in ten epochs")
    picture = axis.imshow(times, cmap="cividis", vmin=0, vmax=10)
    axis.set(title=name, xticks=[], yticks=[])
figure.colorbar(picture, ax=axes[0].tolist(), label="times visible")
show(figure, "Left, 49 places visible all ten times and the others never. Right, nearly every "
             "place visible a few times.")


# %% [markdown]
# With a reused seed, three quarters of the cat are never an input, and ten epochs ask one question ten times.
# The package draws its noise from a generator made of (seed, purpose, **step**): another mask at every step, and yet
# the same run every time.

# %%
def step_noise(step):
    source = hardware.generator(0, hardware.RNG.CROP_AND_MASK, step)
    return torch.rand(1, 196, generator=source)


print("steps 0 and 1563 draw the same:", torch.equal(step_noise(0), step_noise(1563)))
print("step 1563 drawn again, the same:", torch.equal(step_noise(1563), step_noise(1563)))

# %% [markdown]
# ## Aside: blocks and grids
#
# Who says that the noise must be random? Any numbers give an order. Numbers that rise towards the middle hide a
# **block**; those that are smallest in every second row and column keep a **grid**. **Which of the three is easiest
# for the rule that spreads neighbours, which hardest?**

# %%
row, column = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
to_middle = torch.maximum((row - 6.5).abs(), (column - 6.5).abs()).flatten()
patterns = {"grid": ((row % 2) | (column % 2)).flatten().float().expand(5, -1),
            "random": noise, "block": -to_middle.expand(5, -1)}
figure, axes = new_figure(2, 3, 7, 5)
for axis, (name, numbers) in zip(axes.T, patterns.items(), strict=True):
    mask = masking.random_mask_ids(numbers, 49)[1]
    filled, removed = fill(mask)
    print(f"{name}: {int(mask[0].sum())} hidden, neighbours remove {removed:.0%} of the error")
    axis[0].imshow(widgets.covered(photographs, mask, 16)[2].permute(1, 2, 0))
    axis[1].imshow(filled[2].permute(1, 2, 0))
    axis[0].set_title(name)
    axis[0].axis("off")
    axis[1].axis("off")
show(figure, "The astronaut with a grid, a random set and a frame of patches visible; below, "
             "filled from neighbours: her colours are right, half in fog, an empty smear.")

# %% [markdown]
# All three hide 147 patches, and they set three different tasks. The grid is easiest, nearly an exercise in zooming;
# the block is hardest, as it leaves little to go by. He et al. (2022, table 1) tried all three and found random masks at 75 % to
# serve the learned features best.

# %% [markdown]
# ## The curriculum
#
# Teachers go from easy to hard (Bengio et al. 2009). The method that this course examines does so with the
# mask ratio $r$: from 0.5 it rises to 0.75 over the first 5 epochs, a little with every **step**, then it stays:
#
# $$r(t) = r_0 + (r_1 - r_0)\, p, \qquad p = \min(t / T, 1), \qquad t = \text{epoch} + \text{step} / \text{iters},$$
#
# with epochs and steps counted from 0, and iters steps in an epoch. The settings come in an object, `cfg`:

# %%
cfg = PretrainConfig(mask_ratio_sched="linear")
print("r₀ = cfg.mask_ratio_start =", cfg.mask_ratio_start)
print("r₁ = cfg.mask_ratio =", cfg.mask_ratio)
print("T  = cfg.mask_ratio_warmup_epochs =", cfg.mask_ratio_warmup_epochs)


# %% [markdown]
# ### ✏️ Exercise 3 · The linear schedule  (★★☆ · 5 minutes)
#
# Write `linear_ratio(epoch, step, iters, cfg)`: the mask ratio at this step.
#
# <details><summary>Hint 1</summary>
#
# Time in epochs is a fraction: in the middle of epoch 2, $t$ is 2.5.
# </details>
# <details><summary>Hint 2</summary>
#
# `min(t / cfg.mask_ratio_warmup_epochs, 1)` is 0 at the start and stays at 1 after the ramp.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def linear_ratio(epoch, step, iters, cfg):
#     progress = min((epoch + step / iters) / cfg.mask_ratio_warmup_epochs, 1)
#     return cfg.mask_ratio_start + (cfg.mask_ratio - cfg.mask_ratio_start) * progress
# ```
# </details>

# %%
def linear_ratio(epoch, step, iters, cfg):
    ...  # your code


# %%
check.linear_ratio(linear_ratio)

# %% [markdown]
# The library's `schedule_mask_ratio` knows two more shapes: `const`, and `cosine`, where the progress $p$
# becomes $(1 - \cos \pi p) / 2$, slow at both ends. We ask it step by step, as training does, and compare
# with both formulas written for all steps at once. 100,000 images in batches of 64 make 1563 steps an epoch.

# %%
epochs, iters = 10, 1563


def schedule(kind):
    """The ratio at each of the 15,630 steps, from the library."""
    cfg = PretrainConfig(mask_ratio_sched=kind)
    return [masking.schedule_mask_ratio(e, i, iters, cfg)
            for e in range(epochs) for i in range(iters)]


time = torch.arange(epochs * iters, dtype=torch.float64) / iters  # (15630,) in epochs
progress = (time / 5).clamp(max=1)
linear = 0.5 + 0.25 * progress
cosine = 0.5 + 0.25 * (1 - torch.cos(torch.pi * progress)) / 2
for kind, ours in {"linear": linear, "cosine": cosine}.items():
    library = torch.tensor(schedule(kind), dtype=torch.float64)
    print(f"{kind} equal to the library: {torch.allclose(ours, library)}")

# %%
figure, axes = new_figure(1, 1, 7, 3)
axis = axes[0, 0]
for i, (kind, style) in enumerate({"linear": "-", "cosine": "--", "const": ":"}.items()):
    axis.plot(time[::50], schedule(kind)[::50], style, color=COLOURS[i], linewidth=2, label=kind)
axis.set(xlabel="epoch", ylabel="mask ratio", xlim=(0, 10), ylim=(0.45, 0.8))
axis.legend(loc="lower right")
show(figure, "The linear schedule rises straight from 0.50 to 0.75 over five epochs; the cosine "
             "starts and ends gently and crosses it halfway; the constant one stays at 0.75.")

# %% [markdown]
# The specification comes with the log of a run: ratios at the end of each epoch, 0.55 0.60 0.65 0.70 0.75, then
# 0.75 to the end. Does our ramp reproduce them?

# %%
at_the_end = schedule("linear")[iters - 1 :: iters]  # the last step of each epoch
print(" ".join(f"{ratio:.2f}" for ratio in at_the_end))


# %% [markdown]
# To the last digit. Small agreements like this one are worth having: they say that "per step" and "over the first 5
# epochs" were understood as meant.
#
# ### Aside: steps in the ramp
#
# Each number of visible patches is another length of the encoder's sequence. On a GPU the package records a
# training step once per length and then replays the recording, which spares it from launching hundreds of small
# operations one by one; each new length has to be prepared anew. So it holds the ratio for a quarter of an
# epoch (`cfg.mask_ratio_holds` is 4): `masking.hold` names the step whose ratio is used.

# %%
def visible(ratios):
    return [masking.num_visible_patches(196, ratio) for ratio in ratios]


held = [masking.schedule_mask_ratio(e, masking.hold(i, iters, cfg.mask_ratio_holds), iters, cfg)
        for e in range(epochs) for i in range(iters)]
lengths = [len(set(visible(ratios))) for ratios in (schedule("linear"), held)]
print(f"lengths to prepare: {lengths[0]} per step, {lengths[1]} held")
print("ends of epochs:", " ".join(f"{ratio:.2f}" for ratio in held[iters - 1 :: iters]))

figure, axes = new_figure(1, 1, 7, 2.8)
axes[0, 0].plot(time, visible(schedule("linear")), color=GREY, label="per step")
axes[0, 0].plot(time, visible(held), color=COLOURS[0], label="held")
axes[0, 0].set(xlabel="epoch", ylabel="visible patches", xlim=(0, 6))
axes[0, 0].legend()
show(figure, "Visible patches fall from 98 to 49 over five epochs: in steps of one patch, or, "
             "held, in a staircase of four stairs an epoch that lies just below.")

# %% [markdown]
# Fewer than half as many lengths, and every epoch still ends where it should. The staircase reads each quarter's
# *last* ratio, so it lies slightly below the grey line: a choice that saves a little compute, to be remembered below.
#
# ## What does a step cost?
#
# We count **multiply-adds**: how often a training step multiplies two numbers and adds the result. Torch has a counter;
# it counts a multiply-add as two operations. Attention is computed by plain matrix products here, as the counter
# does not know every fused form of it.
#
# **Predict first.** At ratio 0.5 the encoder sees twice as many patches as at 0.75. Does a step cost twice as much?

# %%
model = MaskedAutoencoder.from_preset("specified")
two = resize(course.photographs(224)[:2], 224)  # (2, 3, 224, 224)


def counted(ratio):
    """Multiply-adds of one training step, forward and backward, per image."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model(two, ratio)
        mae_loss(output.pred, two, output.mask, 16, norm_pix=True).backward()
    return counter.get_total_flops() / 2 / len(two)


counts = {ratio: counted(ratio) for ratio in (0.5, 0.75, 0.9)}
for ratio, count in counts.items():
    print(f"ratio {ratio:.2f}: {count / 1e9:.3f} billion, "
          f"{count / counts[0.75]:.2f} × that at 0.75")

# %% [markdown]
# Half as much again, not twice. Why? We count by hand. With $n$ visible of $L = 196$ patches, width $d = 192$
# in the encoder and $d' = 128$ in the decoder, the forward pass takes
#
# $$\underbrace{768\,nd + 8\,(12\,nd^2 + 2\,n^2 d) + n d d'}_{\text{grows with what is visible}}
# \; + \; \underbrace{4\,(12\,Ld'^2 + 2\,L^2 d') + 768\,Ld'}_{\text{the decoder: always all patches}}$$
#
# A block has matrices of $4d^2$ numbers in its attention and $8d^2$ in its MLP, hence 12; attention compares
# $n^2$ pairs and mixes $n^2$ values. The backward pass costs twice the forward pass, except that nobody asks
# for the gradient of the pixels. (This is the step as specified. The package's own training also leaves out
# the predictions that no loss looks at, which shrinks the whole bill a little.)

# %%
d, narrow, length, values = 192, 128, 196, 768
decoder = 4 * (12 * length * narrow**2 + 2 * length**2 * narrow) + length * narrow * values


def multiply_adds(n):
    """Of a training step, per image, with n visible patches."""
    embed = n * values * d
    encoder = embed + 8 * (12 * n * d**2 + 2 * n**2 * d) + n * d * narrow
    return 3 * (encoder + decoder) - embed


by_hand = [multiply_adds(n) for n in visible(counts)]
print("by hand equal to torch's count:", by_hand == list(counts.values()))
of_explorer = [widgets.multiply_adds(n) for n in visible(counts)]
print("equal to what the explorer below uses:", by_hand == of_explorer)
print(f"the decoder's share at 0.75: {3 * decoder / multiply_adds(49):.0%}")

# %%
grid = torch.linspace(0, 0.95, 96).tolist()
whole = [multiply_adds(n) / 1e9 for n in visible(grid)]
figure, axes = new_figure(1, 1, 7, 3)
axis = axes[0, 0]
axis.fill_between(grid, 3 * decoder / 1e9, color=COLOURS[4], alpha=0.6)
axis.fill_between(grid, 3 * decoder / 1e9, whole, color=COLOURS[5], alpha=0.6)
axis.plot(list(counts), [count / 1e9 for count in counts.values()], "ko", label="counted by torch")
axis.text(0.05, 0.25, "decoder")
axis.text(0.05, 1.2, "embedding and encoder")
axis.set(xlabel="mask ratio", ylabel="multiply-adds, billions", xlim=(0, 0.95), ylim=(0, 3.3))
axis.legend()
show(figure, "Multiply-adds of a step fall from 3.1 billion with nothing hidden to 0.9 billion at "
             "0.9. The decoder's part is the same at every ratio; torch's counts lie on the curve.")


# %% [markdown]
# Equal to the last digit. The decoder works on all 196 places whatever is hidden: its part does not shrink, and at
# 0.75 it is more than half of the bill.
#
# ## "Zero compute overhead"
#
# The curriculum was reported to cost no compute at all, and to make early epochs 3–5 % *faster*. Both are
# claims, so we test them: the price of each epoch, compared with 0.75 throughout.

# %%
def extra(ratios):
    """Mean multiply-adds over the steps, compared with 0.75 at every step."""
    return sum(multiply_adds(n) for n in visible(ratios)) / len(ratios) / multiply_adds(49) - 1


ramp = schedule("linear")
by_epoch = [extra(ramp[e * iters : (e + 1) * iters]) for e in range(epochs)]
print("epochs 1 to 10:", " ".join(f"{100 * more:+.0f}%" for more in by_epoch))
print(f"all ten: {extra(ramp):+.1%} per step, {extra(held):+.1%} when held")

# %% [markdown]
# Neither holds in this count. The first epoch has the *most* visible patches and costs nearly half as much again; the ten
# epochs together cost about 12 % more. A ramp that starts with less hidden starts with more work.
#
# Multiply-adds are not seconds: a GPU that is mostly waiting may hide some of the difference. [Notebook 10](10_claims.ipynb)
# has the measured times. But work that is done was not free, and it decides what a fair comparison is:

# %%
budget = epochs * iters * multiply_adds(49)  # ten epochs at 0.75
spent, steps = 0, 0
for n in visible(ramp):
    spent += multiply_adds(n)
    steps += spent <= budget
print(f"for the price of 10 epochs at 0.75, the curriculum gets {steps / iters:.1f} epochs")
print(f"for the price of 10 epochs of curriculum, 0.75 gets {10 * (1 + extra(ramp)):.1f} epochs")


# %% [markdown]
# So there are two fair questions, **equal epochs** (the same images seen) and **equal compute** (the same
# bill), and a result that holds for one need not hold for the other. A report should say which it answers.
#
# ### ✏️ Exercise 4 · What the encoder sees  (★★★ · 7 minutes)
#
# Write `mean_visible(cfg, epochs, iters, length)`: how many of `length` patches are visible at a step, on average over
# all steps of all epochs, with the ratio of `schedule_mask_ratio` at every step (not held). No step sees half a patch.
# The price of a schedule depends on this number, as the cell after the check will show.
#
# <details><summary>Hint 1</summary>
#
# Two loops, over epochs and steps; at each, `masking.schedule_mask_ratio(epoch, step, iters, cfg)`.
# </details>
# <details><summary>Hint 2</summary>
#
# `masking.num_visible_patches(length, ratio)` counts for one step. The mean comes last.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def mean_visible(cfg, epochs, iters, length):
#     total = 0
#     for epoch in range(epochs):
#         for step in range(iters):
#             ratio = masking.schedule_mask_ratio(epoch, step, iters, cfg)
#             total += masking.num_visible_patches(length, ratio)
#     return total / (epochs * iters)
# ```
# </details>

# %%
def mean_visible(cfg, epochs, iters, length):
    ...  # your code


# %%
check.mean_visible(mean_visible)

# %%
mean = sum(visible(ramp)) / len(ramp)
print(f"the ramp shows {mean:.1f} of 196 patches on average, 0.75 throughout shows 49")
more = multiply_adds(mean) / multiply_adds(49) - 1
print(f"{mean:.1f} patches at every step would cost {more:+.0%}")

# %% [markdown]
# The same 12 %: a step's price is nearly a straight line in the number of visible patches, so their mean is nearly
# all that matters, whatever the shape of the curve.
#
# ## Design a schedule
#
# Left the ratio, right what each step costs beside 0.75: orange is paid on top, green is saved.
#
# **Predict first.** (a) `cosine` instead of `linear`: dearer, cheaper, or the same? (b) Is there a curriculum that
# costs *less* than 0.75 throughout?

# %%
planner = widgets.schedule_explorer()
planner

# %%
for settings in ({"kind": "const"}, {"kind": "cosine"}, {"kind": "linear", "start": 0.9},
                 {"end": 0.7}):
    planner.set(**settings)
    print(planner.frame.text)

# %% [markdown]
# (a) The same mean ratio, as the cosine lies as far above the line later as below it before; and, to the digit shown,
# the same price. (b) Yes: start with *more* hidden and go down. From 0.9 to 0.75 the ramp saves compute; from 0.9
# to 0.7 its mean ratio is 0.75, and it comes out about even. A curriculum is not dear as such: one that begins with
# little hidden is.
#
# ## The trap in the training curve
#
# One more thing changes with the ratio: the loss. We take the trained model from above, **frozen**, and ask
# for its loss on the five photographs while more and more is hidden. **Predict:** rising, falling, level?

# %%
by_ratio = {ratio: losses(ratio)[0] for ratio in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.9)}
print("loss:", ", ".join(f"{loss:.2f} at {ratio}" for ratio, loss in by_ratio.items()))

# %% [markdown]
# It rises: the more is hidden, the harder the guess. (These are five pictures, with eight masks each.) Now pretend that
# these were training curves. The model learns *nothing*; one curve is logged under the curriculum, the other at 0.75.

# %%
ends = [round(ratio, 2) for ratio in [0.5, *at_the_end]]  # the ratio after 0, 1, … 10 epochs
figure, axes = new_figure(1, 1, 7, 3)
axis = axes[0, 0]
axis.plot(range(11), [by_ratio[0.75]] * 11, "s--", color=COLOURS[0], label="0.75 throughout")
axis.plot(range(11), [by_ratio[r] for r in ends], "o-", color=COLOURS[1], label="curriculum")
axis.set(title="one frozen model, logged twice", xlabel="epoch", ylabel="loss at that ratio")
axis.legend()
show(figure, "Two curves from one model that never changes: under the curriculum the loss starts "
             "lower and rises for five epochs to meet the other curve, which is level.")

# %% [markdown]
# How large is this effect beside what was reported? In its first epoch, which ends at ratio 0.55, the improved method's
# training loss was 0.6655; the original's, at 0.75, was 0.7210.

# %%
print(f"reported in the first epoch: {1 - 0.6655 / 0.7210:.0%} lower")
print(f"our frozen model, from the ratio alone: {1 - by_ratio[0.55] / by_ratio[0.75]:.0%} lower")

# %% [markdown]
# A ratio alone can make a gap of this order. (Another model, other images, and the improved method's loss has
# two more terms: our number explains nothing away, it shows that such a gap by itself proves nothing.) In a
# real run, learning pulls the curve down while the ramp pushes it up, and nobody can tell the two apart. The
# remedy is cheap: a **fixed validation set with fixed masks at 0.75**, for every method and every epoch. The
# package's training loop does this, and [notebook 07](07_pretraining.ipynb) shows it at work.

# %% [markdown]
# ## Quiz
#
# **1. An image has 196 patches, 49 stay visible, and `ids_restore[5]` is 60. What do you know about patch 5?**
#
# <details><summary>It is visible, at place 60 of the image</summary>
#
# ✗ 60 is a place in the shuffled order, not in the image, and only the first 49 of that order are visible.
# </details>
# <details><summary>It is hidden</summary>
#
# ✓ It went to place 60 of the shuffled order; places 0 to 48 are kept, so its mask is 1.
# </details>
# <details><summary>Patch 60 was moved to place 5</summary>
#
# ✗ That would be `ids_shuffle[5]` = 60: which patch lies at place 5. Here it is the other way round.
# </details>
#
# **2. After two epochs the curriculum's training loss is lower than the constant run's. What follows?**
#
# <details><summary>The curriculum converges faster</summary>
#
# ✗ Its task is easier at that moment: less is hidden. A frozen model would show the same.
# </details>
# <details><summary>The constant run has a bug</summary>
#
# ✗ A higher loss at a higher mask ratio is what we measured on one and the same model.
# </details>
# <details><summary>Nothing, until both are measured with the same masks</summary>
#
# ✓ Fixed images, fixed masks, one ratio: then the numbers speak about the models.
# </details>
#
# **3. You move the ratio from 0.75 to 0.5. Why does a training step not cost twice as much?**
#
# <details><summary>The decoder processes all patches at any ratio</summary>
#
# ✓ Half of the bill at 0.75 is the decoder's, and it stays the same; only the rest doubles.
# </details>
# <details><summary>Attention grows with the square of the tokens</summary>
#
# ✗ That would make it more than twice, not less; at these lengths the squares are a small part.
# </details>
# <details><summary>The loss is taken on fewer patches</summary>
#
# ✗ The loss is a tiny part of the work. What the decoder costs is attention and MLPs over all places.
# </details>
#
# ## What you take along
#
# - Noise, argsort, argsort: `ids_keep`, `mask` (1 = masked), `ids_restore`. The argsort of a permutation is its inverse.
# - Masks per image, fresh at every step, repeatable from (seed, step). Four bugs raise no error; look at pictures and counts.
# - The count is `int(L·(1−ratio))`, rounding of floats included.
# - A ramp from 0.5 to 0.75 over half of the epochs costs about 12 % more multiply-adds, all of them during the ramp. Say whether you compare at equal epochs or equal compute.
# - Losses at different ratios measure different tasks. Compare on fixed masks.
#
# **Next:** [03 · Asymmetric autoencoder](03_asymmetric_autoencoder.ipynb) builds what reads the visible patches and paints the hidden ones.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR. Figure 5 and table 1 vary the ratio and the pattern.
# - Devlin, Chang, Lee & Toutanova (2019). *BERT: pre-training of deep bidirectional transformers for language understanding.* NAACL.
# - Bengio, Louradour, Collobert & Weston (2009). *Curriculum learning.* ICML.
# - Bao, Dong, Piao & Wei (2022). *BEiT: BERT pre-training of image transformers.* ICLR. Hides blocks.
# - Wettig, Gao, Zhong & Chen (2023). *Should you mask 15 % in masked language modeling?* EACL. Even for words the answer is not so clear.
