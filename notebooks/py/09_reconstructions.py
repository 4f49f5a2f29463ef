# %% [markdown]
# # 9 · Reconstructions: what a model believes is there
#
# The models are trained; now play with them. Hide what you like of a photograph, your own if you wish, and a model paints what it
# believes was there. On the way you will find out which masks are hard and why, make good weights paint rubbish in several ways,
# and compare two models without fooling yourself.
#
# **You will be able to**
#
# - hide patches at random, in blocks, on a grid or by hand, and say which is hard and why;
# - read a reconstruction beside references that cost nothing;
# - open weights and photographs without trusting whoever sent them;
# - tell by its picture what is wrong with a reconstruction;
# - compare two models by measurement instead of by eye.
#
# **Before you start:** notebooks [04](04_reconstruction_loss.ipynb) for `norm_pix` and PSNR, [05](05_laplacian_loss.ipynb) for the HF
# error. To play, [00](00_start_here.ipynb) is enough. **Time:** 60 minutes.

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
import io
import json
import math
import pickle
import struct
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from mae_lib import metrics, results
from mae_lib.course.exercises import reconstructions as check
from mae_lib.course.session import show
from mae_lib.course.widgets import frames, recorded_runs
from mae_lib.course.widgets import reconstructions as widgets
from mae_lib.data.augment import denormalise, normalise
from mae_lib.losses import predicted_images
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.plots import COLOURS, new_figure
from mae_lib.training import checkpoints

show(*widgets.title())

# %% [markdown]
# One model, one cup, twice the same number of visible patches. Above they are scattered, as in training. Below they
# stand around holes, and what should fill the holes is a guess from further away. Can you tell where the cup ends?
#
# ## The explorer
#
# Six panels: the photograph; what the model sees of it; its **prediction** for every patch, also for the visible ones, which
# nobody supervised; and the **composite**, which keeps the true pixels there. Then two maps of what is wrong with the composite:
# the **error** of each pixel, a mean over the three channels, and the **Laplacian error**, in which only fine detail counts. Dark is
# little and bright is much, as the key above each map says; their lightness alone tells the values, for those who see colours differently.
# The bars compare with fillings that cost nothing. *Zeros, helped* is a prediction of nothing at all with the help that `norm_pix` takes
# from the target (notebook 04): what is above it, the model did.
#
# **Predict first.** A quarter of the patches stays visible: scattered at random, around large blocks, or on an even grid.
# Which mask is the easiest for the model, which the hardest? Does the same order hold for the bilinear fill, which has learned nothing?
#
# Then move things. **Click on patches** in the second picture to hide or show them (with the keyboard: Tab goes from patch to patch, Space
# clicks). "By hand" starts with all of them visible. Can you find the one patch without which the astronaut has no face?

# %%
explorer = widgets.explorer()
explorer

# %%
for kind in ("random", "block", "grid"):
    explorer.set(kind=kind)
    print(f"{kind:7}", explorer.frame.text.split("PSNR ")[1])

# %% [markdown]
# Whatever you expected: this is one photograph with one mask of each kind, and such differences can be luck. We shall measure.
#
# First a look at the false colours in the third panel. Where patches were visible, the model would only have to copy. **Does it paint better there than
# where it sees nothing?**

# %%
mask = widgets.make_mask("random", explorer.patches.grid, 0.75, seed=0)  # (1, L), 1 = hidden
found = widgets.reconstruct("astronaut", "original", mask)
for name, where in (("hidden", found.mask), ("visible", 1 - found.mask)):
    psnr = metrics.masked_psnr(found.pred, found.target, where).item()
    print(f"{name:7} patches: {psnr:.1f} dB")

# %% [markdown]
# It does worse where it could see. The loss never asked about visible patches, so nothing there was ever learned (notebook 04). There is nothing
# to mend: one looks at composites.
#
# Now something that the model has never met in training: hide only the four patches in the middle.
# **Predict:** will it do better than with three quarters hidden, because it sees so much, or worse, because it is not used to it?

# %%
rows, columns = explorer.patches.grid
middle = tuple(row * columns + column for row in (rows // 2 - 1, rows // 2)
               for column in (columns // 2 - 1, columns // 2))
explorer.set(kind="by hand", flipped=middle)
print("middle ", explorer.frame.text.split("PSNR ")[1])
_ = explorer.set(kind="random", flipped=())  # where ratio and seed have something to say

# %% [markdown]
# Careful: these are *other pixels* than before, and the middle of this photograph is full of detail. Compare the model with its
# references instead of with the lines above. A decibel on other pixels is another decibel.
#
# ## A mask is an order
#
# How does one model take four kinds of masks? In notebook 02 a random mask came from noise: sort it, keep the patches with the smallest
# values. Nothing says that the noise must be random. **Any order in which patches disappear is a mask for every ratio.** Here are the
# three orders of the explorer, bright for what is hidden first, and below what remains at 75 %.

# %%
picture = course.photograph("cat", 224) / 255  # (3, H, W)
figure, axes = new_figure(2, 3, 8, 5.4)
for column, kind in zip(axes.T, ("random", "block", "grid"), strict=True):
    noise = widgets.mask_noise(kind, (8, 8), seed=2)  # (1, 64)
    mask = widgets.make_mask(kind, (8, 8), 0.75, seed=2)  # (1, 64), 1 = hidden
    column[0].imshow(noise.argsort().argsort().view(8, 8), cmap="magma")
    column[0].set_title(kind)
    seen = torch.where(patch_mask_to_pixels(mask, 28)[0] > 0, 0.5, picture)  # (3, H, W)
    column[1].imshow(seen.permute(1, 2, 0))
for axis in axes.flat:
    axis.axis("off")
show(figure, "Above, three squares of 8×8 cells, coloured by the order of hiding: speckled, in "
             "patches of even colour, in a fine regular weave. Below, what remains of a cat: "
             "scattered squares, a few clumps, and every second square of every second row.")


# %% [markdown]
# The grid is the simplest to write down. The slow way visits every patch, and keeps it if its row and its column are both multiples
# of the step.

# %%
def grid_mask_slowly(rows, columns, step):
    mask = torch.ones(rows, columns)
    for row in range(rows):
        for column in range(columns):
            if row % step == 0 and column % step == 0:
                mask[row, column] = 0
    return mask


slow = grid_mask_slowly(8, 8, 2)
print(f"{int(slow.sum())} of {slow.numel()} hidden: {slow.mean():.0%}")


# %% [markdown]
# ### ✏️ Exercise 1 · On a grid  (★☆☆ · 3 minutes)
#
# Write `grid_mask(rows, columns, step)` without a loop: (rows, columns), 1 where a patch is hidden. Of each square of step × step
# patches the upper left one stays visible. The grid need not be a multiple of the step.
#
# <details><summary>Hint 1</summary>
#
# Begin with ones, and write zeros where patches stay.
# </details>
# <details><summary>Hint 2</summary>
#
# `x[::3]` is every third row of x. A slice can be given for each axis.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def grid_mask(rows, columns, step):
#     mask = torch.ones(rows, columns)
#     mask[::step, ::step] = 0
#     return mask
# ```
# </details>

# %%
def grid_mask(rows, columns, step):
    ...  # your code


# %%
check.grid_mask(grid_mask)

# %% [markdown]
# The package's version works at any ratio: it hides the patches of every square of four one after the other, in an order that keeps
# what stays evenly spread (Bayer's matrix, known from dithering). At 75 % it is the same mask. And the model takes each of them, also one of your own making, *as noise*: zeros sort before ones.

# %%
library = widgets.make_mask("grid", (8, 8), 0.75, seed=0)  # (1, 64)
print("slow equal to library:", torch.equal(slow.view(1, -1), library))

model, facts = checkpoints.load_shipped("original")
grid, p = model.grid, model.patch_size
photos = course.photographs(model.img_size) / 255  # (5, 3, S, S)
x = normalise(photos)
mine = torch.ones(1, model.num_patches)
mine[0, :: grid[1] + 1] = 0  # a diagonal stays
with torch.no_grad():
    output = model(x[:1], num_visible=int((1 - mine).sum()), noise=mine)
print("the model's mask is ours:", torch.equal(output.mask, mine))


# %% [markdown]
# ### ✏️ Exercise 2 · In blocks  (★★★ · 10 minutes)
#
# Write `block_mask(rows, columns, n, generator)`: hide **exactly** `n` patches, in rectangles of random size and place. Random numbers
# come from `torch.randint(low, high, (), generator=generator)`, which excludes `high`.
#
# <details><summary>Hint 1</summary>
#
# `while mask.sum() < n`: draw a height and a width, then a place where the rectangle fits, and write ones.
# </details>
# <details><summary>Hint 2</summary>
#
# The last rectangle is usually too large. Which of its patches are still 0, and how many are missing?
# `(block == 0).nonzero()[:k]` are the places of the first k.
# </details>
# <details><summary>Hint 3</summary>
#
# `block = mask[top:bottom, left:right]` is a view: what you write into it stands in the mask.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def block_mask(rows, columns, n, generator):
#     def draw(low, high):
#         return int(torch.randint(low, high, (), generator=generator))
#
#     mask = torch.zeros(rows, columns)
#     while mask.sum() < n:
#         height, width = draw(2, rows // 2 + 1), draw(2, columns // 2 + 1)
#         top, left = draw(0, rows - height + 1), draw(0, columns - width + 1)
#         block = mask[top : top + height, left : left + width]  # a view
#         new = (block == 0).nonzero()[: n - int(mask.sum())]  # as many as are missing
#         block[new[:, 0], new[:, 1]] = 1
#     return mask
# ```
# </details>

# %%
def block_mask(rows, columns, n, generator):
    ...  # your code


# %%
check.block_mask(block_mask)

# %% [markdown]
# ## Which masks are hard?
#
# Now the measurement: five photographs, several masks of each kind, all with three quarters hidden, every candidate on the same pixels.

# %%
MASKS = session.choose(smoke=6, quick=20, full=50)  # of each kind, for each photograph


def cases(kind, names=course.PHOTOGRAPHS, weights="original"):
    """Every photograph with every mask of a kind: pairs of the mask (1, L) and what came of it."""
    for name in names:
        for seed in range(MASKS):
            mask = widgets.make_mask(kind, grid, 0.75, seed)
            yield mask, widgets.reconstruct(name, weights, mask)


def mean_psnr(found):
    """The mean PSNR of each candidate over cases, in dB."""
    scores = [widgets.scores(case) for _, case in found]
    return {name: sum(s[name][0] for s in scores) / len(scores) for name in scores[0]}


# %% [markdown]
# **Predict** before you run it, with the explorer in mind: how many decibels lie between the easiest and the hardest kind for the
# model, and how many for the bilinear fill?

# %%
table = {kind: mean_psnr(cases(kind)) for kind in ("grid", "random", "block")}
names = list(table["grid"])
print("PSNR, dB" + "".join(f"{name:>16}" for name in names))
for kind, psnr in table.items():
    print(f"{kind:8}" + "".join(f"{psnr[name]:16.1f}" for name in names))
print(f"\n{5 * MASKS} pictures a row. From the easiest to the hardest kind:")
for name in ("model", "bilinear fill"):
    order = sorted(table, key=lambda kind: -table[kind][name])
    lost = table[order[0]][name] - table[order[-1]][name]
    print(f"  for the {name}: {', '.join(order)}; {lost:.1f} dB between the ends")

# %% [markdown]
# The fill suffers from blocks as well, although it has never been trained on any masks. So blocks are not hard *only* because they
# are unlike the training masks, which were random. Something about them is hard for everybody. A candidate: how far away the nearest visible
# patch is.
#
# For one patch, the slow way: walk over all visible patches, and keep the smallest distance.

# %%
mask = widgets.make_mask("block", (8, 8), 0.75, seed=2).view(8, 8)
row, column = 4, 2
nearest = min(((row - r) ** 2 + (column - c) ** 2) ** 0.5
              for r in range(8) for c in range(8) if mask[r, c] == 0)
print(f"patch ({row}, {column}): hidden {bool(mask[row, column])}, nearest visible {nearest:.2f}")


# %% [markdown]
# ### ✏️ Exercise 3 · How far to look  (★★☆ · 7 minutes)
#
# Write `nearest_visible(mask)` for a mask (rows, columns): for every patch the straight-line distance to the nearest visible one, in
# patches, (rows, columns). Visible patches have distance 0.
#
# <details><summary>Hint 1</summary>
#
# Make a table of all patches' places, (L, 2), and take from it the places of those that are visible, (K, 2).
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.cdist(a, b)` gives the distances of all pairs, (L, K); `.amin(dim=1)` the smallest in each row. It wants floats.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.ones_like(mask).nonzero()` lists the places of all patches in order; `(mask == 0).nonzero()` those of the visible ones.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def nearest_visible(mask):
#     everywhere = torch.ones_like(mask).nonzero().float()  # (L, 2)
#     visible = (mask == 0).nonzero().float()  # (K, 2)
#     return torch.cdist(everywhere, visible).amin(dim=1).view(mask.shape)
# ```
# </details>

# %%
def nearest_visible(mask):
    ...  # your code


# %%
check.nearest_visible(nearest_visible)

# %% [markdown]
# The package's `distance_to_visible` does it for a batch of masks (B, L). Does it agree with the slow way? And does distance
# order the kinds as the decibels did?

# %%
library = widgets.distance_to_visible(mask.view(1, -1), (8, 8)).view(8, 8)
print("slow equal to library:", abs(library[row, column].item() - nearest) < 1e-4)
for kind in table:
    far = [(widgets.distance_to_visible(m, grid) * m).sum() / m.sum() for m, _ in cases(kind)]
    print(f"{kind:8} a hidden patch is {torch.stack(far).mean():.1f} patches from a visible one")


# %% [markdown]
# Grid, random, block: the same order as for the fill. Now the question behind it: **if two hidden patches are equally far from what is
# visible, does it still matter which kind of mask hides them?** If the model were lost in unfamiliar masks, it should.

# %%
def hidden_patches(kind):
    """Of every hidden patch: how far it is from a visible one, and the model's and the fill's
    squared error, (N, 3)."""
    found_patches = []
    for mask, found in cases(kind):
        fill = metrics.trivial_reconstructions(found.target, found.mask)["bilinear fill"]
        columns = [widgets.distance_to_visible(mask, grid)]  # (1, L)
        for image in (found.pred, fill):
            columns.append(patchify((image - found.target) ** 2, p).mean(dim=2))  # (1, L)
        found_patches.append(torch.stack(columns, dim=2)[mask == 1])  # (hidden, 3)
    return torch.cat(found_patches)


hidden = {kind: hidden_patches(kind) for kind in table}

# %%
CLASSES = {"1": (0, 1.2), "1.4": (1.2, 1.7), "2 to 2.3": (1.7, 2.4), "more": (2.4, 99)}


def psnr_by_distance(kind, column):
    """PSNR in each class of distance, nan where there are fewer than 20 patches."""
    far, error = hidden[kind][:, 0], hidden[kind][:, column]
    parts = [error[(far > low) & (far <= high)] for low, high in CLASSES.values()]
    return [-10 * e.mean().log10().item() if len(e) >= 20 else math.nan for e in parts]


by_distance = {name: {kind: psnr_by_distance(kind, column) for kind in table}
               for column, name in ((1, "model"), (2, "bilinear fill"))}

# %%
figure, axes = new_figure(1, 2, 9, 3.2)
axes[0, 1].sharey(axes[0, 0])
for axis, (name, lines) in zip(axes[0], by_distance.items(), strict=True):
    for (kind, psnr), colour, marker in zip(lines.items(), COLOURS[:3], "s^o", strict=True):
        axis.plot(psnr, marker=marker, color=colour, label=kind)
    axis.set(title=name, xlabel="distance to the nearest visible patch", ylabel="PSNR, dB")
    axis.set_xticks(range(len(CLASSES)), CLASSES)
axes[0, 0].legend()
show(figure, "Two panels with PSNR over the distance to the nearest visible patch, for the model "
             "and for the bilinear fill. All lines fall. Those of grid, random and block masks "
             "lie close together for the model; the fill's are lower and steeper, and for blocks "
             "the lowest.")

# %%
print("beside a visible patch, all kinds are within   with distance, blocks lose")
for name, lines in by_distance.items():
    beside = [psnr[0] for psnr in lines.values()]
    fallen = lines["block"][0] - lines["block"][-1]
    print(f"{name:36} {max(beside) - min(beside):6.1f} dB {fallen:26.1f} dB")
for kind in table:
    print(f"{kind:8} {(hidden[kind][:, 0] > 2.4).double().mean():4.0%} of its hidden patches "
          "are further away than 2.4")

# %% [markdown]
# Compare the two numbers of a line. If the second is the larger one, distance counts for more than the kind of the mask, and blocks are hard
# mostly because so many of their patches are far from anything. What remains between the kinds at equal distance may be unfamiliarity, or
# that a patch at the rim of a block has fewer visible neighbours in all: this experiment cannot tell these apart. He et al. (2022, table 1f)
# trained with each kind. Blocks made a harder task and grids an easier one, with sharper pictures; random masks gave the better encoder.
#
# ## Two references, two answers
#
# How good is the model at blocks, then? One would look at its lead over a reference. Here are its leads over two, from the table above.

# %%
for other in ("bilinear fill", "zeros, helped"):
    leads = {kind: psnr["model"] - psnr[other] for kind, psnr in table.items()}
    print(f"lead over {other + ':':15}" + ", ".join(f"{k} {v:.1f} dB" for k, v in leads.items())
          + f"; largest for {max(leads, key=leads.get)}")

# %% [markdown]
# If the two lines disagree, neither lies. The fill has to fetch the brightness of a hole from its rim. The model is *given* the brightness and contrast of
# every hidden patch, at any distance, because `norm_pix` is undone with the target's own numbers (notebook 04); so is *zeros, helped*.
#
# Let us take the help away from the model. An honest restorer could put the prediction on the brightness of the smooth fill, and give it
# the contrast of the average visible patch. **What do you expect to remain of the lead over the fill?**

# %%
from mae_lib.course.widgets.reconstruction_loss import visible_statistics


def without_help(mask, found):
    """The prediction (1, 3, S, S) on brightness and contrast that are known without the target."""
    target = normalise(found.target)
    with torch.no_grad():
        pred = model(target, num_visible=int((1 - mask).sum()), noise=mask).pred  # (1, L, p²·3)
    fill = metrics.trivial_reconstructions(found.target, found.mask)["bilinear fill"]
    brightness = patchify(normalise(fill), p).mean(dim=2, keepdim=True)  # (1, L, 1)
    _, contrast = visible_statistics(target, mask, p)  # (1, 1, 1)
    return denormalise(unpatchify(pred * contrast + brightness, p))


# %%
print("lead over the bilinear fill, dB: with help   without")
for kind, psnr in table.items():
    honest = [metrics.masked_psnr(without_help(m, c), c.target, c.mask) for m, c in cases(kind)]
    alone = torch.cat(honest).mean().item()
    leads = [score - psnr["bilinear fill"] for score in (psnr["model"], alone)]
    print(f"{kind:32} {leads[0]:9.1f} {leads[1]:9.1f}")

# %% [markdown]
# The right-hand column is what this model would add to a smooth fill if nobody told it anything about the hidden patches. Think of it
# when a reconstruction looks impressive. (There may be better ways to guess brightness; this is one.) It says nothing against the features:
# painting was never the aim.
#
# ## From all to nothing
#
# A film of the mask ratio. It was computed when this notebook was built, so it plays wherever the page may run scripts, with or
# without a kernel; elsewhere, as on GitHub, all its frames lie side by side. **Predict:** at which ratio would you no longer
# know that it is a cat? Then play it, or move the slider with the arrow keys.

# %%
ratios = [round(0.05 * i, 2) for i in range(1, 20)]
player = frames.Player(widgets.morph_explorer(), "mask_ratio", ratios)
player

# %% [markdown]
# Follow one hidden patch, beside an eye for example: when does it change, and what has just disappeared then? `frames.Player` plays any
# explorer of this course, with any of its controls: `frames.Player(explorer, "seed", range(10))`.
#
# ## Weights from a stranger
#
# Everything so far came from a file of weights. What is in such a file? Ours are **safetensors**: eight bytes that say how long the
# header is, a header in JSON, and then nothing but numbers.

# %%
content = (checkpoints.ASSETS / "original.safetensors").read_bytes()
(length,) = struct.unpack("<Q", content[:8])
header = json.loads(content[8 : 8 + length])
about = json.loads(header.pop("__metadata__")["mae_lib"])
print(len(header), "tensors, for example mask_token:", header["mask_token"]["dtype"],
      header["mask_token"]["shape"])
print("sizes:", {k: about["config"][k] for k in ("img_size", "patch_size", "embed_dim", "depth")})
print("norm_pix:", about["facts"]["norm_pix"], "  mask ratio:", about["facts"]["mask_ratio"])


# %% [markdown]
# Many weights on the internet are **pickles** instead (`.pth`, `.pt`, `.bin`). A pickle is a program. **What can happen
# when you load one?**

# %%
class Gift:
    def __reduce__(self):  # what unpickling is asked to do
        return eval, ("print('...and this ran on your computer while you were loading weights.')",)


pickled = pickle.dumps({"weights": [1.0, 2.0], "gift": Gift()}, protocol=2)
loaded = pickle.loads(pickled)  # never do this with a file from somebody else


# %% [markdown]
# It could as well have read your files. `torch.load` refuses such things since version 2.6, unless it is told `weights_only=False`, which
# many answers on the web still recommend. This package never runs what a pickle asks for: it reads safetensors, or tensors and plain values with
# `weights_only=True`. Five files, and what it says to each.

# %%
def attempt(name, load, data):
    """Write a file, try to load it, and print what is said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        torch.save(data, path) if isinstance(data, dict) else path.write_bytes(data)
        try:
            load(path)
            said = f"loads without a word; checksum right: {data == content}"
        except (ValueError, OSError) as error:
            said = str(error).replace(f"{path} ", "").split(" (")[0].split(":")[0]
    print(f"{name:21} {said}")


# %%
encoder = {k: t for k, t in model.state_dict().items() if not k.startswith(("decoder", "mask_"))}
flipped = bytearray(content)
flipped[-1000] ^= 255  # one byte of the numbers

attempt("whole.safetensors", checkpoints.load_weights, content)
attempt("cut.safetensors", checkpoints.load_weights, content[:-5000])
attempt("one-byte.safetensors", checkpoints.load_weights, bytes(flipped))
attempt("gift.pth", checkpoints.load_checkpoint, pickled)
attempt("encoder-only.pth", lambda path: checkpoints.load_official(path)[0](x), encoder)

# %% [markdown]
# A file that was cut, a program in place of weights, an encoder without its decoder: each is refused in a sentence. But one flipped byte
# loads without a word, for no format can know which numbers you meant. Only a **checksum** can. `load_shipped` compares one, and so should
# you, wherever one is published.
#
# ## Loud mistakes and quiet ones
#
# The last refusal deserves a look. The official `mae_pretrain_*.pth` files hold no decoder, and a careless
# `load_state_dict(strict=False)` accepts them. What does that look like, and what do other mistakes look like? Here are six, each made by
# many people before you. **Predict:** which will cost the most decibels, and which will nobody see?

# %%
torch.manual_seed(0)
headless = MaskedAutoencoder(**model.config).eval()
headless.load_state_dict(encoder, strict=False)  # its decoder is as random as it was born

mask = widgets.make_mask("random", grid, 0.75, seed=2)  # (1, L)
blank = patch_mask_to_pixels(mask, p).expand(len(photos), -1, -1, -1)  # (5, 1, S, S)


def paint(x, by=model, norm_pix=True):
    """The prediction for images as a model takes them, in the same units."""
    with torch.no_grad():
        pred = by(x, num_visible=int((1 - mask).sum()), noise=mask.expand(len(x), -1)).pred
    return predicted_images(pred, x, p, norm_pix)


# %%
right = denormalise(paint(x))
values = patchify(right, p).unflatten(2, (3, p * p))  # (5, L, 3, p²), but they are (p², 3)
wrong_order = values.mT.flatten(2)  # (5, L, p²·3)
paintings = {
    "as it should be": right,
    "decoder missing": denormalise(paint(x, by=headless)),
    "norm_pix not undone": denormalise(paint(x, norm_pix=False)),
    "values in wrong order": unpatchify(wrong_order, p),
    "0 to 255, not 0 to 1": denormalise(paint(normalise(255 * photos))) / 255,
    "blue, green, red": denormalise(paint(normalise(photos.flip(1)))).flip(1),
    "mean and std forgotten": paint(photos),
}

# %%
figure, axes = new_figure(2, 4, 10, 5.6)
shown = [("photograph", photos), *paintings.items()]
for axis, (name, image) in zip(axes.flat, shown, strict=True):
    filled = metrics.composite(image.clamp(0, 1), photos, blank)  # (5, 3, S, S)
    axis.imshow(filled[1].permute(1, 2, 0))
    axis.set_title(name)
for axis in axes.flat:
    axis.axis("off")
show(figure, "A cup of coffee and seven composites of it. Coloured speckles where the decoder is "
             "missing, a fine weave where values are in the wrong order, wrong brightness without "
             "undoing norm_pix. Some others can hardly be told from the right one.")

# %%
psnr = {name: metrics.masked_psnr(image, photos, blank).mean().item()
        for name, image in paintings.items()}
for name in sorted(psnr, key=psnr.get):
    lost = psnr["as it should be"] - psnr[name]
    print(f"{name:23} {psnr[name]:5.1f} dB" + (f"   {lost:4.1f} lost" if lost else ""))
print("quiet (less than 0.5 dB):",
      ", ".join(n for n in paintings if 0 < psnr["as it should be"] - psnr[n] < 0.5))

# %% [markdown]
# The loud ones cannot be missed. Learn their faces: speckles mean a decoder that was never trained; a weave, values in the wrong order; patches
# of the wrong brightness, units. The quiet ones in the last line nobody finds by eye. If the forgotten mean and std are among them, the mistake
# that every tutorial warns of: is the warning wrong?
#
# Painting is not what the encoder is for. So ask its **features**: take each photograph with and without normalising. The nearest
# neighbour of the careless one should be its own twin.

# %%
for name in ("original", "improved"):
    encoder_of, _ = checkpoints.load_shipped(name)
    with torch.no_grad():
        right_ones, careless = (torch.nn.functional.normalize(encoder_of.features(images), dim=1)
                                for images in (x, photos))  # (5, D) each
    similar = careless @ right_ones.T  # (5, 5)
    found = (similar.argmax(dim=1) == torch.arange(5)).sum().item()
    print(f"{name}: {found} of 5 photographs find their twin; "
          f"mean similarity to it {similar.diagonal().mean():.2f} (1 would be the same)")

# %% [markdown]
# Had nothing changed, it would read 5 of 5 and 1.00. The reconstruction forgave the mistake because it undoes it on the way out, and because
# `norm_pix` hands back brightness and contrast; a classifier on top of these features would not. **A good picture does not prove that
# the input was right.**
#
# ## Original and improved, side by side
#
# First by eye. Below are four photographs; in every column one painting is by `original` and one by `improved`, under the same mask, and a
# coin has decided which is A. **Write down** your four guesses.

# %%
coin = torch.randint(2, (4,), generator=torch.Generator().manual_seed(9)).tolist()
figure, axes = new_figure(3, 4, 10, 7.4)
for column, name, side in zip(axes.T, list(course.PHOTOGRAPHS)[:4], coin, strict=True):
    pair = [widgets.reconstruct(name, weights, mask) for weights in ("original", "improved")]
    pair = pair[::-1] if side else pair  # side 1: A is improved
    shown = (pair[0].seen, pair[0].composite, pair[1].composite)
    for axis, label, image in zip(column, ("what they see", "A", "B"), shown, strict=True):
        axis.imshow(image[0].permute(1, 2, 0))
        axis.set_title(label)
        axis.axis("off")
show(figure, "Four photographs with three quarters hidden, and below each two paintings, A and B, "
             "that look nearly the same.")

# %%
print("improved is:", ", ".join("BA"[side] for side in coin))


# %% [markdown]
# By guessing one gets two right on average. Even four right would come from guessing once in sixteen times, so a row of four proves nothing; the eye
# is also easily led by which one it looks at last. So count: the same masks for both, and for each photograph the mean difference.

# %%
def paired(name):
    """improved − original on the same masks of a photograph: mean PSNR and HF differences."""
    found = [[widgets.scores(case)["model"] for _, case in cases("random", [name], weights)]
             for weights in ("improved", "original")]
    difference = torch.tensor(found[0]) - torch.tensor(found[1])  # (masks, 2)
    return difference.mean(dim=0)


differences = torch.stack([paired(name) for name in course.PHOTOGRAPHS])  # (5, 2)
for name, (psnr_gain, hf_gain) in zip(course.PHOTOGRAPHS, differences.tolist(), strict=True):
    print(f"{name:13} PSNR {psnr_gain:+.2f} dB   HF error {hf_gain:+.4f}")
mean, low, high = results.student(differences[:, 0].tolist())
print(f"PSNR, mean of five photographs: {mean:+.2f} ± {(high - low) / 2:.2f} dB (95 %)")

# %% [markdown]
# Such a paired difference is sharp: what is hard about a photograph or a mask is the same for both, and drops out. So it can find hundredths of a decibel that
# nobody sees. But five photographs are few, and there is **one training run** of each: even a sure difference between two files of
# weights is not yet a difference between two methods.
#
# The records that come with the package hold the same measures on many test images that no model had seen. The models' 95 % intervals are over
# trainings with several seeds; those of the fillings, which nobody trains, are over the images. **How large is the difference beside the
# intervals?** And where do the trivial references stand?

# %%
group = recorded_runs.recorded()
print(recorded_runs.about_records())
rows = {name: {m: results.summarise(runs, m) for m in ("psnr", "hf_error")}
        for name, runs in group.items()}
for name, measures in group["original"][0]["measures"]["references"].items():
    rows[name] = {m: results.summarise([{"measures": measures}], m) for m in measures}
for name, measures in rows.items():
    (a, low, high), (b, b_low, b_high) = measures["psnr"], measures["hf_error"]
    print(f"{name:15} PSNR {a:.2f} [{low:.2f}, {high:.2f}]   "
          f"HF error {b:.4f} [{b_low:.4f}, {b_high:.4f}]")

# %% [markdown]
# Read it as a judge. Where the HF error of a filling that has learned nothing is as low as the models', a lower HF error is no evidence of a
# better picture: blur is rewarded (notebook 05). Overlap of two intervals does not prove equality; the pairs of a seed must say (notebook 08).
# And whether anybody could see a difference of that size is another question. [Notebook 10](10_claims.ipynb) gives the verdict.
#
# ## Your own photograph
#
# What should you expect of your own pictures? That depends on what the model has seen. Its card says so:

# %%
card = (checkpoints.ASSETS / "README.md").read_text("utf-8")
section = card.split("## original")[1].split("\n## ")[0]
for line in section.splitlines():
    if line.startswith(("| sizes", "| data", "| schedule")):
        print(" ".join(line.split()).strip("| ").replace(" | ", ": "))
print(card.split("\n\n")[2])

# %% [markdown]
# Photographs of things, taken by people for people: hardly any is upside down, a negative, or a page of text. **Predict:** for which of
# the following does the model lose its lead over the bilinear fill? Upside-down photographs? Negatives? A wall? Text? Noise?

# %%
import skimage

from mae_lib.course.widgets import sources

originals = [Image.fromarray(course.photograph(n, 224).permute(1, 2, 0).numpy())
             for n in course.PHOTOGRAPHS]
folder = Path(skimage.__file__).parent / "data"
noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
collections = {
    "photographs": originals,
    "upside down": [image.rotate(180) for image in originals],
    "negatives": [ImageOps.invert(image) for image in originals],
    "without colour": [image.convert("L") for image in originals],
    "brick, grass, gravel": [Image.open(folder / f"{n}.png") for n in ("brick", "grass", "gravel")],
    "pages of text": [Image.open(folder / f"{n}.png") for n in ("page", "text")],
    "noise": [Image.fromarray(noise)],
}


# %%
def file(image, kind="PNG", **options):
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


print("lead of the model, dB     over the fill   over zeros, helped")
for name, images in collections.items():
    known = [sources.add_photograph(f"{name} {i}", file(im)) for i, im in enumerate(images)]
    psnr = mean_psnr(cases("random", known))
    leads = [psnr["model"] - psnr[other] for other in ("bilinear fill", "zeros, helped")]
    print(f"{name:24} {leads[0]:14.1f} {leads[1]:20.1f}")

# %% [markdown]
# Three things to look for, the last of them a small shock.
#
# - Noise cannot be predicted, and textures hardly: the lead over *zeros, helped* says how much there was to know.
# - Without colour, *zeros, helped* becomes much stronger: it is grey, and that is no fault any more. How far the lead drops from the first
#   line shows how much of the model's own work is colour.
# - Upside down and as negatives, a person sees at once that something is wrong. Does the model? If its lead is about the same, then what it
#   uses does not depend on sky being above and faces being light: it continues colours and edges, and recognises little. That is
#   the honest portrait of a small model after a short training. A larger one, trained for longer on larger pictures, might be told apart by this line.
#
# ## Opening a stranger's picture
#
# The explorer has a button for your own photograph. What arrives there is a file, and files from outside are odd. Ten of them, made here;
# `decode_upload` turns bytes into a picture (3, size, size) or into one sentence. **Which of them will work?**

# %%
cat = Image.fromarray(course.photograph("cat", 224).permute(1, 2, 0).numpy())
sideways = Image.Exif()
sideways[0x0112] = 6  # how the camera was held
clear = Image.new("RGBA", (90, 90), (0, 0, 0, 0))
clear.paste(cat.resize((60, 60)), (15, 15))
deep = Image.fromarray(np.asarray(cat.convert("L")).astype(np.uint16) * 257)
odd = {
    "CMYK, for printers": file(cat.convert("CMYK"), "JPEG"), "16 bits": file(deep),
    "animated": file(cat, "GIF", save_all=True, append_images=[cat.rotate(90)] * 3),
    "taken sideways": file(cat.rotate(90), "JPEG", exif=sideways), "transparent": file(clear),
    "one pixel": file(cat.resize((1, 1))), "cut off": file(cat, "JPEG")[:3000],
    "claims 900 million pixels": check.claims_to_be_huge(), "no picture": b"Dear diary, " * 99,
    "empty": b"",
}

# %%
pictures = {}
for name, content in odd.items():
    try:
        pictures[name] = widgets.decode_upload(content, 64)  # (3, 64, 64) uint8
        print(f"{name:26} → {tuple(pictures[name].shape)}")
    except ValueError as error:
        print(f"{name:26} {error}")

# %%
figure, axes = new_figure(1, len(pictures), 10, 2.1)
for axis, (name, image) in zip(axes[0], pictures.items(), strict=True):
    axis.imshow(image.permute(1, 2, 0))
    axis.set_title(name, fontsize=9)
    axis.axis("off")
show(figure, "The cat six times: in its colours from the printer's file, without colour from 16 "
             "bits, the animation's first frame, upright, smaller on white, and as one colour.")


# %% [markdown]
# The file that claims 900 million pixels has some hundred bytes; unpacked, it would have filled nearly three gigabytes of memory. So one looks
# at the size *before* decoding.
#
# ### ✏️ Exercise 4 · Open a photo  (★★☆ · 9 minutes)
#
# Write `open_photo(content, size)`: bytes to a `torch.uint8` tensor (3, size, size). Turn it upright, lay transparent pictures on white, and
# raise `ValueError` with a sentence for everything that cannot be opened. `Image`, `ImageOps`, `io`, `np` are imported above.
#
# <details><summary>Hint 1</summary>
#
# `Image.open(io.BytesIO(content))` reads only the header; damage further on shows when the pixels are needed. Keep all of it inside the `try`.
# </details>
# <details><summary>Hint 2</summary>
#
# `ImageOps.exif_transpose(image)` turns upright, `ImageOps.fit(image, (size, size))` cuts out the centre. Pillow raises all kinds of errors.
# </details>
# <details><summary>Hint 3</summary>
#
# `Image.alpha_composite(white, image)` wants both in mode "RGBA" and of one size: `Image.new("RGBA", image.size, "white")`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def open_photo(content, size):
#     try:
#         with Image.open(io.BytesIO(content)) as image:
#             image = ImageOps.exif_transpose(image).convert("RGBA")
#             white = Image.new("RGBA", image.size, "white")
#             image = Image.alpha_composite(white, image).convert("RGB")
#             image = ImageOps.fit(image, (size, size))
#     except Exception as error:
#         raise ValueError(f"This is no picture that opens ({type(error).__name__}).") from None
#     return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, size, size)
# ```
# </details>

# %%
def open_photo(content, size):
    ...  # your code


# %%
check.open_photo(open_photo)

# %% [markdown]
# ## Everything of your own
#
# Now it is your turn. Beside the upload button, the explorer above has a field for **paths**: a photograph, weights of your own from
# notebook 07 (`runs/…/model.safetensors`), or `vit_base` and `vit_large`, the official models at 224 pixels, downloaded once. The same from code:

# %%
own = ""  # such as "runs/mine/model.safetensors", or the path of a photograph
official = ""  # "vit_base" (0.45 GB) or "vit_large" (1.3 GB)
for source in filter(None, (own, official)):
    print(explorer.open(source))
print("weights in the explorer:", ", ".join(explorer.controls["weights"].options))

# %% [markdown]
# Some things to try:
#
# - Your own face, then only its eyes hidden, by hand. Then the eyes alone visible.
# - The same photograph for `original` and an official model. Those were trained on pixels, without `norm_pix`: **no help**. Mind this before you
#   compare decibels, and that their pictures have other pixels.
# - A photograph that you can explain, and no model can know: whose cup is it?
#
# A file of more than 10 MB arrives through the button only where Jupyter was started by `make lab`. Elsewhere the connection between browser and
# kernel drops it without a word, and the explorer stays deaf until its cell is run again. Upload such a file with Jupyter's own file browser, and type its path. A hundred megapixels are no problem for a JPEG, which can be decoded at an eighth of its size.
#
# ## Quiz
#
# **1. Model X paints the hole of a block mask 2 dB better than a bilinear fill. It was trained with `norm_pix`. What do you know?**
#
# <details><summary>It understands what was in the hole</summary>
#
# ✗ Brightness and contrast of every patch in the hole were given to it. Ask first what zeros with the same help would get.
# </details>
# <details><summary>Too little, until the help is priced</summary>
#
# ✓ The fill had to fetch the brightness from afar, the model was told. Compare with zeros, helped, or take the help away.
# </details>
# <details><summary>It was trained on block masks</summary>
#
# ✗ Ours was not, and has a lead as well. A number on one mask does not reveal the training.
# </details>
#
# **2. You load new weights and the hidden patches are full of coloured speckles. The most likely reason?**
#
# <details><summary>The decoder's weights were not in the file</summary>
#
# ✓ A random decoder paints speckles. Look for what `load_state_dict(strict=False)` returned under `missing_keys`.
# </details>
# <details><summary>The pictures were not normalised</summary>
#
# ✗ Speckles do not come from that. It can be a quiet mistake: the painting looks nearly right, and the features suffer.
# </details>
# <details><summary>The model needs more training</summary>
#
# ✗ A model that was trained too little paints dull blurs, not speckles: even the mean colour is learned within minutes.
# </details>
#
# **3. Upside-down photographs are painted as well as upright ones. What follows?**
#
# <details><summary>The model is robust, which is good</summary>
#
# ✗ A model that had learned that sky is above would be surprised. Not to be surprised is a sign of not knowing.
# </details>
# <details><summary>The model was trained on upside-down photographs</summary>
#
# ✗ It was not: the crops of training are flipped from left to right at the most.
# </details>
# <details><summary>What it uses hardly depends on what things are</summary>
#
# ✓ Continuing colours and edges works in any direction. Knowledge of objects would have shown here as a difference.
# </details>
#
# **4. A colleague prefers the pictures of model B, and B's PSNR on 30 photographs is 0.1 dB higher with overlapping intervals. Ship B?**
#
# <details><summary>Yes, eye and number agree</summary>
#
# ✗ The eye knew which was which, and overlapping intervals settle the number neither way: these are not two independent witnesses.
# </details>
# <details><summary>It cannot be told from this; measure the paired difference, blind, on more</summary>
#
# ✓ The same masks for both, the difference per photograph, an interval of that difference, and several training runs.
# </details>
# <details><summary>No, A is better then</summary>
#
# ✗ "Cannot tell" is a verdict of its own, and not the opposite of a claim.
# </details>
#
# ## What you take along
#
# - A mask is an order of patches. Random, blocks, a grid, a shape of your own: for the model they are all noise to be sorted.
# - Hard is what is far from anything visible. Blocks are hard for a smooth fill as well.
# - Two references, two answers: say against what, and with which help.
# - Never unpickle a stranger's file. Safetensors hold numbers only; a checksum tells whether they are the right ones.
# - Loud mistakes show in pictures. Quiet ones show in features, or nowhere until you measure.
# - Compare models on the same masks, blind or by numbers, with an interval.
#
# **Next:** [10 · Claims](10_claims.ipynb) puts every claim about the improved MAE on trial.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR. Figure 6 and table 1f: random, block and grid masks.
# - Bao, Dong, Piao & Wei (2022). *BEiT: BERT pre-training of image transformers.* ICLR. Where block masks come from.
# - Pathak, Krähenbühl, Donahue, Darrell & Efros (2016). *Context encoders: feature learning by inpainting.* CVPR. One large hole instead of many small ones.
# - Geirhos, Jacobsen, Michaelis et al. (2020). *Shortcut learning in deep neural networks.* Nature Machine Intelligence. Why a good number may rest on the wrong reasons.
