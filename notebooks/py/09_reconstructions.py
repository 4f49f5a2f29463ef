# %% [markdown]
# # 9 · Reconstructions: what a model fills in
#
# Show a trained MAE part of an image, and it tells you what it expects in the rest. Its answers are fun to look at,
# but easy to misread. A reconstruction can look good because the model was given hints, or bad because of a bug
# outside the model. In this notebook you hide any part of any photograph, your own included, and you find out what
# such pictures prove and what they do not.
#
# **You will be able to**
#
# - write the whole path from a photograph and a mask to a reconstruction;
# - hide patches at random, in blocks, on a grid or by hand, and explain which masks are hard;
# - separate what a model predicted from what it was told;
# - recognise common bugs by the pictures they make, and name some that no picture shows;
# - compare two models, one of them yours, and say which conclusions the comparison allows.
#
# **Before you start:** notebooks [02](02_curriculum_masking.ipynb), for masks from noise,
# [04](04_reconstruction_loss.ipynb), for `norm_pix` and PSNR, and [05](05_laplacian_loss.ipynb), for the HF error. If
# you trained a model in [07](07_pretraining.ipynb), it takes part here. **Time:** 45 minutes to read and run, and about
# 45 more for the exercises.

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

from mae_lib import metrics, results
from mae_lib.course.exercises import reconstructions as check
from mae_lib.course.reference import from_official
from mae_lib.course.session import show
from mae_lib.course.trained import path_of_model
from mae_lib.course.widgets import reconstructions as widgets
from mae_lib.course.widgets import recorded_runs
from mae_lib.data.augment import denormalise, normalise, resize
from mae_lib.data.sources import load_data
from mae_lib.losses import patch_statistics
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import new_figure
from mae_lib.training.checkpoints import load_shipped

show(*widgets.title())

# %% [markdown]
# The same model reconstructs the same cup of coffee twice, each time from a quarter of its patches. In the upper row
# they are scattered, as in training. In the lower row they surround large holes.
#
# ## From a photograph to a reconstruction
#
# We write the whole path from an image to its reconstruction, with the weights `original`: a plain MAE, trained on
# photographs with `norm_pix` and random masks.

# %%
patchify, unpatchify, MAE = course.use("patchify", "unpatchify", "MAE")

# %%
sizes, weights = course.shipped_weights("original")
model = MAE(**sizes)
model.load_state_dict(weights)
size, p = sizes["img_size"], sizes["patch_size"]
side = size // p  # patches in a row, and in a column
photos = course.photographs(size) / 255  # (5, 3, S, S)
print(f"photographs of {size}×{size} pixels, cut into {side}×{side} patches of {p}×{p}")


# %% [markdown]
# How do we give the model a mask of our choice? In notebook [02](02_curriculum_masking.ipynb), masks came from noise:
# the patches with the smallest values stay visible. The noise need not be random, so we pass **the mask itself as the
# noise**. Its zeros, the visible patches, are sorted before its ones.
#
# With `norm_pix`, the model predicts each patch minus its own mean, divided by its own standard deviation. To turn
# its predictions back into pixels, we take the mean and the standard deviation of every hidden patch from the true
# photograph. This helps the model. So we will compare it with a reference that gets the same help, and with a model
# that gets none.

# %%
@torch.no_grad()
def predict(model, x, mask):
    """All patches of x (B, 3, S, S), predicted under one mask (L,), 1 = hidden: (B, L, p²·3)."""
    ratio = (mask.sum().item() - 0.5) / len(mask)  # int() in masking then leaves them all
    pred, used, _ = model(x, ratio, mask.expand(len(x), -1))
    assert torch.equal(used[0], mask)
    return pred


def to_image(pred, x):
    """Give predicted patches the mean and standard deviation of the true ones: (B, 3, S, S)."""
    side = math.isqrt(pred.shape[1])
    p = x.shape[-1] // side
    mean, std = patch_statistics(patchify(x, p))  # (B, L, 1) each
    return unpatchify(pred * std + mean, p, side, side)


def reconstruct(model, images, mask):
    """Images in [0, 1], predicted at every patch."""
    x = normalise(images)
    return denormalise(to_image(predict(model, x, mask), x)).clamp(0, 1)


# %%
scattered = widgets.make_mask("random", (side, side), 0.75, seed=0)[0]  # (L,), 1 = hidden
holes = patch_mask_to_pixels(scattered[None], p)  # (1, 1, S, S)
found = reconstruct(model, photos, scattered)
package = widgets.reconstruct("Grace Hopper", "original", scattered[None])
torch.testing.assert_close(found[4:], package.pred, atol=1e-4, rtol=0)

# %%
rows = {"visible": photos.where(holes == 0, torch.tensor(0.5)), "prediction": found,
        "composite": found.where(holes == 1, photos), "photograph": photos}
show(widgets.gallery(rows), "Five photographs in four rows: a quarter of their patches on grey; "
     "the predictions, in which the visible patches bulge; the composites of true and predicted "
     "patches; and the photographs themselves.")

# %% [markdown]
# On the photograph we checked, our functions agree with the package. In the second row, visible patches bulge like
# cushions (notebook 04). The third row shows the [**composites**](GLOSSARY.md#composite), with true pixels where they
# are known. We judge composites, and we measure errors on hidden pixels only.
#
# ## The explorer
#
# The explorer shows such pictures for any mask. When you run it, it adds bars and two maps of the composite's errors:
# the error of each pixel, and the Laplacian error of notebook [05](05_laplacian_loss.ipynb), whose mean is the **HF
# error**. Dark means a small error.
#
# The bars compare the model with four references. Two simple fills have learned nothing: the *masked mean*, which is
# the mean colour of the visible pixels, and the [**bilinear fill**](GLOSSARY.md#bilinear-fill), which spreads the
# visible pixels smoothly into the holes. The *blurred target* is the answer itself, blurred: a yardstick, not a rival.
# *Zeros, helped*, called *patch means* in notebook 05, predicts zero everywhere but gets the same help as the model, so
# each hidden patch becomes flat, with its true mean brightness. Only a lead over this reference can be the model's own
# work.
#
# The explorer can hide random patches, large blocks, or everything except an even grid of patches.

# %%
explorer = widgets.explorer()
explorer


# %% [markdown]
# Try the three kinds on several photographs. Then choose "by hand" and **click on patches** in the picture "what the
# model sees" to hide them. (On the keyboard, Tab moves from patch to patch and Space clicks.) Which patches does the
# model need to give the astronaut a face?
#
# ## Masks of your own
#
# The simplest mask to write down is the grid. A slow loop keeps a patch visible if its row and its column are both
# multiples of `step`.

# %%
def grid_mask_slowly(rows, columns, step):
    mask = torch.ones(rows, columns)
    for row in range(rows):
        for column in range(columns):
            if row % step == 0 and column % step == 0:
                mask[row, column] = 0
    return mask


slow = grid_mask_slowly(6, 6, 2)
package_mask = widgets.make_mask("grid", (6, 6), 0.75, seed=0)  # (1, 36)
print(f"{int(slow.sum())} of {slow.numel()} patches are hidden")
torch.testing.assert_close(slow.view(1, -1), package_mask)


# %% [markdown]
# ### ✏️ Exercise 1 · On a grid  (★☆☆ · 3 minutes)
#
# Write `grid_mask(rows, columns, step)` without a loop. Return a tensor (rows, columns) with 1 where a patch is hidden.
# In each square of step × step patches, the upper left one stays visible. The numbers of rows and columns need not be
# multiples of the step.
#
# <details><summary>Hint 1</summary>
#
# Start with ones, and write zeros where patches stay visible.
# </details>
# <details><summary>Hint 2</summary>
#
# `x[::3]` is every third row of x. You can give a slice for each axis.
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
# ### ✏️ Exercise 2 · In blocks  (★★★ · 15 minutes)
#
# Write `block_mask(rows, columns, n, generator)`. Return a tensor (rows, columns) with 1 where a patch is hidden. Hide
# **exactly** `n` patches, in rectangles of random size at random places.
# Draw random numbers with `torch.randint(low, high, (), generator=generator)`, which never returns `high` itself.
#
# <details><summary>Hint 1</summary>
#
# As long as fewer than `n` patches are hidden, draw a height and a width, then a place where the rectangle fits, and
# hide it.
# </details>
# <details><summary>Hint 2</summary>
#
# The last rectangle is usually too large. Find its patches that are still visible, and hide only as many as you need.
# If `block` is the part of the mask in the rectangle, `new = (block == 0).nonzero()[:k]` gives
# the first k places in it, a row and a column each, and `block[new[:, 0], new[:, 1]] = 1` hides them.
# </details>
# <details><summary>Hint 3</summary>
#
# `block = mask[top:bottom, left:right]` is a view. What you write into it appears in the mask.
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
# One photograph under one mask can be misleading. So we take five photographs and several masks of each kind, and
# compare three ways to fill the same pixels: the model, *zeros, helped*, and the bilinear fill.

# %%
def fillings(images, mask):
    """Three ways to fill the hidden patches of images, and where those are, (B, 1, S, S)."""
    x = normalise(images)
    where = patch_mask_to_pixels(mask[None], p).expand(len(images), -1, -1, -1)
    zeros = denormalise(to_image(torch.zeros_like(patchify(x, p)), x)).clamp(0, 1)
    fill = metrics.trivial_reconstructions(images, where)["bilinear fill"]
    pictures = {"model": reconstruct(model, images, mask), "zeros, helped": zeros,
                "bilinear fill": fill}
    return pictures, where


def mean_psnr(images, masks):
    """The mean PSNR of each filling over all images and masks, in dB."""
    scores = {}
    for mask in masks:
        pictures, where = fillings(images, mask)
        for name, picture in pictures.items():
            scores.setdefault(name, []).append(metrics.masked_psnr(picture, images, where))
    return {name: torch.cat(values).mean().item() for name, values in scores.items()}


# %%
COUNT = session.choose(smoke=6, quick=20, full=50)  # masks of each kind


def masks_of(kind):
    return [widgets.make_mask(kind, (side, side), 0.75, seed)[0] for seed in range(COUNT)]


table = {kind: mean_psnr(photos, masks_of(kind)) for kind in ("grid", "random", "block")}

# %%
guess_blocks = course.predict("By how many dB is the model worse on blocks than on a grid?")

# %%
lines = [f"{table['grid']['model'] - table['block']['model']:.1f} dB",
         "PSNR, dB" + "".join(f"{name:>16}" for name in table["grid"])]
for kind, psnr in table.items():
    lines.append(f"{kind:8}" + "".join(f"{value:16.2f}" for value in psnr.values()))
guess_blocks.reveal("\n".join(lines))

# %% [markdown]
# On our five photographs, blocks are the hardest masks and grids the easiest, for the model (17.5 and 19.0 dB) and for
# the bilinear fill alike (14.4 and 16.3 dB). Our model was trained on random masks, so we might blame its trouble with
# blocks on a lack of practice. But from grids to blocks the fill, which has never been trained on anything, loses even
# more than the model, which loses 1.5 dB. So lack of practice cannot be the whole reason. Perhaps blocks are hard
# because their hidden patches are farther from the nearest visible one.
#
# A slow loop over all visible patches finds this distance for one patch.

# %%
toy = widgets.make_mask("block", (6, 6), 0.75, seed=2).view(6, 6)
row, column = 3, 2
nearest = min(((row - r) ** 2 + (column - c) ** 2) ** 0.5
              for r in range(6) for c in range(6) if toy[r, c] == 0)
print(toy.int())
print(f"from row {row}, column {column}, the nearest visible patch is {nearest:.2f} patches away")


# %% [markdown]
# ### ✏️ Exercise 3 · How far to look  (★★☆ · 7 minutes)
#
# Write `nearest_visible(mask)` for a mask (rows, columns). For every patch, return the straight-line distance to the nearest
# visible one, in patches, as a tensor (rows, columns). The distance is 0 for visible patches.
#
# <details><summary>Hint 1</summary>
#
# Make a table with the places of all patches, (L, 2), and one with the places of the visible ones, (K, 2).
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.ones_like(mask).nonzero()` lists the places of all patches in order, and `(mask == 0).nonzero()` the visible ones.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.cdist(a, b)` gives the distances of all pairs, (L, K), for tables of floats. `.amin(dim=1)` is the smallest in
# each row.
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


# %%
def package_distances(mask):
    return widgets.distance_to_visible(mask.view(1, -1), mask.shape).view(mask.shape)


distances = check.nearest_visible.yours_or(package_distances)
torch.testing.assert_close(distances(toy)[row, column].item(), nearest, atol=1e-4, rtol=0)
for kind in table:
    far = [distances(mask.view(side, side)).flatten()[mask == 1].mean() for mask in masks_of(kind)]
    print(f"{kind:8} {torch.stack(far).mean():.1f} patches to the nearest visible one, on average")

# %% [markdown]
# The mean distances come in the same order as the difficulty: grid, random, block. That fits
# the idea that distance makes a mask hard. It does not prove it, because the three kinds of masks differ in more than
# this distance.
#
# He et al. (2022, [table 1f](https://arxiv.org/abs/2111.06377)) *trained* a model with each kind of mask. With grids
# the task was easier and the reconstructions sharper; with blocks the task was harder. The best features came from
# random masks.
#
# ## Take the help away
#
# How good is the model at filling blocks? That depends on the reference.

# %%
for other in ("bilinear fill", "zeros, helped"):
    leads = [f"{kind} {psnr['model'] - psnr[other]:.1f} dB" for kind, psnr in table.items()]
    print(f"lead over {other + ':':15} {', '.join(leads)}")

# %% [markdown]
# Compared with the fill, the model does better on blocks than on random masks: it leads by 3.0 dB instead of 2.7 dB.
# Compared with *zeros, helped*, it does worse: it leads by 2.1 dB instead of 3.2 dB. Both comparisons are right. The
# fill has to take the brightness of a hole from its rim, and in a block the rim is far away. The model is *told* the
# brightness and contrast (the mean and the standard deviation) of every hidden patch. So is *zeros, helped*, which
# can use only the brightness.
#
# Notebook 04 took this help away: with brightness and contrast guessed from the visible patches, the model was at best
# as good as the fill.
#
# A model that was trained on pixels needs no help. How far does it get on the same masks?

# %%
pixel_model = MAE(**sizes)
pixel_model.load_state_dict(course.shipped_weights("pixels")[1])


def on_pixels(images, mask):
    """PSNR of the model trained on pixels, which borrows nothing."""
    where = patch_mask_to_pixels(mask[None], p).expand(len(images), -1, -1, -1)
    pred = predict(pixel_model, normalise(images), mask)
    picture = denormalise(unpatchify(pred, p, side, side)).clamp(0, 1)
    return metrics.masked_psnr(picture, images, where)  # (B,)


for kind, psnr in table.items():
    unaided = torch.cat([on_pixels(photos, mask) for mask in masks_of(kind)]).mean().item()
    lead = unaided - psnr["bilinear fill"]
    print(f"{kind:7} {unaided:.1f} dB, lead over the fill {lead:+.1f} dB")

# %% [markdown]
# With nothing borrowed, this model leads the fill by 1.2 dB on random masks, by 1.8 dB on grids and by 0.5 dB on
# blocks. So masked autoencoders do learn to fill in. `original` was simply never asked to predict the brightness and
# the contrast.
#
# ## Your model among the others
#
# If you trained a model in notebook 07, it is loaded now and called `yours`. Otherwise `small` takes its place, the
# small model of notebook 08, which we trained on generated scenes. We compare it with `original`, which is larger and
# was trained on photographs. Both get the same number of patches and the same masks, and we shrink larger
# reconstructions to the size of the smaller ones before we measure.

# %%
kept = course.kept_model("scenes")
own = "yours" if kept else "small"
own_sizes, own_weights = kept or course.shipped_weights("scenes")
own_size = own_sizes["img_size"]
own_side = own_size // own_sizes["patch_size"]

resized = load_shipped("original")[0].at_size(own_side * p)  # for as many patches
models = {own: MAE(**own_sizes), "original": MAE(**sizes | {"img_size": own_side * p})}
models[own].load_state_dict(own_weights)
models["original"].load_state_dict(from_official(resized.state_dict()))
for name, each in models.items():
    at = own_size if name == own else own_side * p
    print(f"{name:9} {sum(w.numel() for w in each.parameters()):9,} weights, {at}×{at} pixels")

# %%
guess_own = course.predict(f"Which model fills in scenes better: {own} or original?")

# %%
scenes = load_data("scenes", counts=(1, 1, 100), progress=False).test  # (100, 3, 96, 96) uint8
subjects = {"photographs": course.photographs(), "scenes": scenes}
own_masks = [widgets.make_mask("random", (own_side, own_side), 0.75, seed)[0]
             for seed in range(COUNT)]


def shrunk(images, size):
    return denormalise(resize(images, size)).clamp(0, 1)


def filled_by(name, images, mask):
    """Target and reconstruction, both at the size of the smaller model, (B, 3, S, S)."""
    at = own_size if name == own else own_side * p
    found = reconstruct(models[name], shrunk(images, at), mask)
    return shrunk(images, own_size), shrunk(found, own_size)


# %%
def scores_of(name, images):
    """The PSNR of each image, a mean over the masks: (B,)."""
    found = []
    for mask in own_masks:
        target, picture = filled_by(name, images, mask)
        where = patch_mask_to_pixels(mask[None], own_sizes["patch_size"])
        found.append(metrics.masked_psnr(picture, target, where.expand(len(target), -1, -1, -1)))
    return torch.stack(found).mean(dim=0)


# %%
lines = [f"PSNR, dB     {own:>7}   original   difference, 95 % interval"]
for subject, images in subjects.items():
    scores = {name: scores_of(name, images) for name in models}
    mean, low, high = results.student((scores[own] - scores["original"]).tolist())
    better = own if low > 0 else "original" if high < 0 else "neither, as far as we can tell"
    lines.append(f"{subject:11} {scores[own].mean():8.1f} {scores['original'].mean():10.1f}   "
                 f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]")
guess_own.reveal("\n".join([better, *lines]))  # on the last subject, which is the scenes

# %%
where = patch_mask_to_pixels(own_masks[0][None], own_sizes["patch_size"])  # (1, 1, S, S)
few = torch.cat([course.photographs(96)[2:], scenes[:3]])
rows = {"visible": shrunk(few, own_size).where(where == 0, torch.tensor(0.5))}
for name in models:
    target, picture = filled_by(name, few, own_masks[0])
    rows[name] = picture.where(where == 1, target)
rows["true"] = target
show(widgets.gallery(rows), "Three photographs and three generated scenes, in four rows: their "
     "visible patches, the composites of two models, and the true pictures.")

# %% [markdown]
# On scenes, `small` is 0.34 dB better than `original`, and the 95 % [confidence
# interval](GLOSSARY.md#confidence-interval) excludes zero. On photographs `original` is ahead by 0.40 dB, but the
# interval over five photographs contains zero, so we cannot tell which of the two is better there. So on the kind of
# images that it was trained on, a model with less than an eighth of the weights beats the large one. (If you see
# `yours`, use your own numbers. If you trained it without `norm_pix`, its pictures are wrong here, because `to_image`
# expects normalised predictions.)
#
# The comparison tells us *which* model fills in scenes better, but not why. Besides their training images, the two
# models differ in size, in training time and in how many images they saw, and `original` was trained at 224 pixels but
# works at 96 here.
#
# ## Bugs you can see, and bugs you cannot
#
# Many ugly reconstructions are caused by the code around the model. You have seen the pictures of a missing decoder
# (notebook 03), of values in the wrong order (01) and of `norm_pix` that was not undone (04). We now make three more
# mistakes, one at a time, with the same weights:
#
# - **0 to 255, not 0 to 1**: the pixels are not divided by 255 before they are normalised;
# - **blue, green, red**: the colour channels go in and come out in this order, as in some libraries;
# - **images not normalised**: the mean and standard deviation of ImageNet are left out, both ways.

# %%
guess_bug = course.predict("How many of these three mistakes cost less than 0.3 dB?")

# %%
x, swapped = normalise(photos), normalise(photos.flip(1))
mistakes = {
    "none": denormalise(to_image(predict(model, x, scattered), x)),
    "0 to 255, not 0 to 1": denormalise(to_image(
        predict(model, normalise(255 * photos), scattered), x)),
    "blue, green, red": denormalise(to_image(predict(model, swapped, scattered), swapped)).flip(1),
    "images not normalised": to_image(predict(model, photos, scattered), photos),
}

# %%
where = holes.expand(len(photos), -1, -1, -1)
psnr = {name: metrics.masked_psnr(images, photos, where).mean().item()
        for name, images in mistakes.items()}
unseen = [name for name in mistakes if name != "none" and psnr["none"] - psnr[name] < 0.3]
lines = [f"{len(unseen)} of 3: {'; '.join(unseen)}"]
lines += [f"{name:23} {value:5.1f} dB" for name, value in psnr.items()]

figure, axes = new_figure(1, 5, 10, 2.5)
shown = {"photograph": photos, **mistakes}
for axis, (name, images) in zip(axes.flat, shown.items(), strict=True):
    axis.imshow(images[1].clamp(0, 1).where(holes[0] == 1, photos[1]).permute(1, 2, 0))
    axis.set_title(name if name != "none" else "no mistake")
    axis.axis("off")
guess_bug.reveal(
    "\n".join(lines), figure, "A cup of coffee and four composites of it: without a mistake, with "
    "dull patches for 0 to 255, and two that look as if there were no mistake.")


# %% [markdown]
# Swapped colour channels and images that are not normalised leave no visible trace and hardly change the PSNR. Pixels
# in the wrong range show as dull patches and cost 2.5 dB.
#
# Are the invisible mistakes harmless for the features, too? We compute how far each one moves the encoder's features of
# a photograph, as a share of the mean distance between the features of two photographs.

# %%
@torch.no_grad()
def features(x):
    return model.encoder(x, mask_ratio=0.0)[0].mean(dim=1)  # (5, D)


right = features(x)
for name, wrong in (("not normalised", photos), ("blue, green, red", swapped)):
    moved = (features(wrong) - right).norm(dim=1).mean() / torch.pdist(right).mean()
    print(f"{name:17} moves the features by {100 * moved:.0f} % of the distance between "
          "photographs")

# %% [markdown]
# They are not. Forgetting to normalise moves the features by 59 % of the mean distance between two photographs, and
# swapping the channels moves them by 115 %. The pictures hide this, at least in part, because the mistake is undone on
# the way out, and because the true brightness and contrast are handed back. A classifier that was trained on correct
# features gets no such help.
#
# ## Original and improved: a blind test
#
# Can you see a difference between `original` and `improved`, which was trained with all three add-ons? In each column,
# both models got the same mask, and a coin toss decided which of them is A.

# %%
coin = torch.randint(2, (4,), generator=torch.Generator().manual_seed(9)).tolist()
improved = MAE(**sizes)
improved.load_state_dict(course.shipped_weights("improved")[1])
by_original, by_improved = (reconstruct(each, photos, scattered).where(holes == 1, photos)[1:]
                            for each in (model, improved))  # (4, 3, S, S) each
heads = torch.tensor(coin).view(4, 1, 1, 1) == 1
rows = {"visible": photos.where(holes == 0, torch.tensor(0.5))[1:],
        "A": by_improved.where(heads, by_original), "B": by_original.where(heads, by_improved)}
show(widgets.gallery(rows), "Four photographs with three quarters of their patches hidden, and "
     "below each two reconstructions, A and B, that look nearly the same.")

# %%
guess_blind = course.predict("Which is the improved model in each column? For example ABBA.")

# %%
guess_blind.reveal("".join("BA"[heads] for heads in coin))


# %% [markdown]
# If you guess at random, you get all four right once in sixteen tries. So even four right answers would prove little.
# We measure instead, with the same masks for both models, and take the difference for each photograph.

# %%
def psnr_of(model):
    return torch.stack([metrics.masked_psnr(reconstruct(model, photos, mask), photos,
                                            patch_mask_to_pixels(mask[None], p).expand_as(where))
                        for mask in masks_of("random")]).mean(dim=0)  # (5,)


gains = psnr_of(improved) - psnr_of(model)
for name, gain in zip(course.PHOTOGRAPHS, gains.tolist(), strict=True):
    print(f"{name:13} {gain:+.2f} dB")
mean, low, high = results.student(gains.tolist())
print(f"{'mean':13} {mean:+.2f} dB, 95 % interval over photographs [{low:+.2f}, {high:+.2f}]")

# %% [markdown]
# The improved weights are better by 0.35 dB on average, and the interval excludes zero. Such a [**paired
# difference**](GLOSSARY.md#paired-difference) is precise, because whatever makes a photograph or a mask hard is the
# same for both models and cancels. But the interval is only about other *photographs*. We have a single training run
# of each method, and another run of the same method would give a different result. For a statement about methods we
# need several runs of each. The package's records contain them, for models whose images have 64×64 pixels.

# %%
runs, measures = recorded_runs.recorded(), {"psnr": "PSNR in dB", "hf_error": "HF error"}
table_of_runs = {name: [results.summarise(group, measure)[0] for measure in measures]
                 for name, group in runs.items()}
for name, found in runs["original"][0]["measures"]["references"].items():
    table_of_runs[name] = [found[measure]["value"] for measure in measures]
print(f"{len(runs['original'])} runs of each method\n\n                PSNR, dB   HF error")
for name, (psnr_value, hf_value) in table_of_runs.items():
    print(f"{name:15} {psnr_value:8.2f} {hf_value:10.4f}")

# %%
for measure, label in measures.items():
    mean, low, high = results.difference(runs["original"], runs["improved"], measure)
    print(f"improved − original, {label}: {mean:+.5f}, 95 % interval [{low:+.5f}, {high:+.5f}]")


# %% [markdown]
# Over eight training runs of each method at 64 pixels, the improved method gains 0.08 dB, and the interval just
# excludes zero. Nobody would see this difference in a picture. The HF error of the improved method is lower by 0.0010,
# and this interval excludes zero as well. But the bilinear fill, which has learned nothing, has a lower HF error than
# both models. So even a real difference in this number is no evidence of better pictures.
#
# HF errors also depend on the images: in notebook
# [05](05_laplacian_loss.ipynb), on other photographs and at 224 pixels, the bilinear fill had an HF error of 0.067, and
# here it has 0.102. So compare HF errors only on the same images at the same size.
#
# ## Look at the tokens
#
# The two models draw nearly the same pictures. Are they alike inside, too? The encoder turns each patch into 192
# numbers. We give it whole photographs, and find the three directions along which the tokens of all five vary most,
# the first three *principal directions* (notebook 06). We show the positions of each token along them as red, green
# and blue. Patches of similar colour are alike for the encoder, as far as three numbers can show. The colours
# themselves mean nothing, and they cannot be compared between encoders.

# %%
@torch.no_grad()
def tokens_of(encoder):
    """All tokens (5, L, D), every number with mean 0 and standard deviation 1."""
    in_order = torch.arange(side * side).expand(len(photos), -1)  # as noise: nothing is shuffled
    tokens, _, _ = encoder(normalise(photos), 0.0, in_order)  # nothing is hidden
    return (tokens - tokens.mean(dim=(0, 1))) / tokens.std(dim=(0, 1))


def as_colours(tokens):
    """Positions along the first three principal directions as colours: (5, 3, side, side)."""
    x = tokens.flatten(0, 1)  # (5·L, D)
    _, _, directions = torch.linalg.svd(x, full_matrices=False)  # (D, D)
    parts = x @ directions[:3].T  # (5·L, 3)
    low, high = parts.quantile(0.02, dim=0), parts.quantile(0.98, dim=0)
    colours = ((parts - low) / (high - low)).clamp(0, 1)
    return colours.view(5, side, side, 3).permute(0, 3, 1, 2)


# %%
torch.manual_seed(0)
untrained = MAE(**sizes)
tokens = {"untrained": tokens_of(untrained.encoder), "original": tokens_of(model.encoder),
          "improved": tokens_of(improved.encoder)}
rows = {"photograph": photos} | {name: as_colours(x) for name, x in tokens.items()}
show(widgets.gallery(rows), "Five photographs, and below each the tokens of three encoders as "
     "coloured squares. Untrained: areas of one colour stand out. Original: outlines, such as the "
     "rim of the cup, the towers beside the rocket and a face. Improved: colours that change from "
     "left to right and from top to bottom in the same way in most photographs.")

# %% [markdown]
# Untrained tokens mostly follow the colours of the photograph. Those of `original` pick out parts: the rim of the
# cup, the towers beside the rocket, the face. For `improved`, the colours change in the same way from left to right
# and from top to bottom in most photographs, as if the tokens mainly said *where* a patch is.
#
# We can measure this. From the tokens of each photograph we subtract their mean, because what is the same all over a
# photograph says nothing about places. Then we average the tokens of each place over the five photographs, and ask what
# share of the variance these averages have. If the place made no difference, the share would be about a fifth, since an
# average over five has a fifth of the variance.

# %%
place_guess = course.predict("What share of the variance do the averages of each place have for "
                             "the improved model, in %?")


# %%
def share_of_place(tokens):
    x = tokens - tokens.mean(dim=1, keepdim=True)  # (5, L, D), less the mean of each photograph
    by_place = x.mean(dim=0)  # (L, D)
    return 100 * (by_place.var(dim=0).sum() / x.flatten(0, 1).var(dim=0).sum()).item()


shares = {name: share_of_place(x) for name, x in tokens.items()}
lines = [f"{name:10} {share:.0f} %" for name, share in shares.items()]
place_guess.reveal("\n".join([f"{shares['improved']:.0f} %", *lines]))

# %% [markdown]
# For `original` and the untrained network, the share is about a quarter, not much more than a fifth. For `improved` it
# is more than half. So the encoders of `original` and `improved` differ a lot, although their reconstructions do not.
# (We have one run of each, so we cannot say which add-on causes this.) Which of them has the better features? The share
# does not tell us. The probe of notebook [08](08_linear_probe_and_fine_tuning.ipynb) averages the tokens over all
# places. A part that depends only on the place then adds the same vector to every image, so it neither helps nor harms
# the probe.
#
# ## Your own photographs
#
# The explorer works with your own pictures too: use the button "your photograph", or type a path. The button works
# only up to a certain file size, and it cannot warn you when a file is too large.
#
# - **On Colab** the limit is about 1 MB, which most phone photographs exceed. Open the Files pane (the folder icon on
#   the left), upload the photograph there, and type its name into the explorer. Or use your Drive with
#   `course.start(drive=True)`, and type the path inside `MyDrive`.
# - **In Jupyter** started by `make lab`, large files work. Otherwise, files of more than 10 MB are lost, so type their
#   path.
#
# The path field takes weights as well: those of a run (`runs/…/model.safetensors`), or the official models `vit_base`
# (0.45 GB) and `vit_large` (1.3 GB), which are downloaded once. The explorer also offers `scenes`, which is the model
# called `small` above, and `pixels`, the one trained on pixels. `pixels` and the official models were trained without
# `norm_pix` and get no help, so you cannot compare their PSNR with the PSNR of the other models. The next cell opens
# photographs and weights from code, and it adds your model from notebook 07 if you trained one.

# %%
sources = []  # for example ["holiday.jpg", "MyDrive/pets/dog.jpg", "vit_base"]
if kept:
    sources.append(path_of_model("scenes"))
for source in sources:
    print(explorer.open(source))
print("the explorer has these weights:", ", ".join(explorer.controls["weights"].options))

# %% [markdown]
# ### ✏️ Open exercise · Does it know which way is up?  (★★☆ · 20 minutes)
#
# People notice at once when a photograph is upside down. Does the model? Turning a photograph keeps its colours and
# textures; only its layout becomes unusual. Before you measure anything, decide which result would mean "it knows".
# Then choose at least one further change, such as negatives, grey photographs or pictures of your own, and write
# three or four sentences on what your measurements show and what they do not.

# %%
changed = {"as they are": photos, "upside down": photos.rot90(2, (2, 3))}
# Add your own, for example: changed["negatives"] = 1 - photos
for name, images in changed.items():
    ...  # your measurement, for example with fillings(images, mask) and metrics.masked_psnr

# %% [markdown]
# <details><summary>What a good answer shows</summary>
#
# - A criterion that was written down first, and a result that could have gone against it.
# - The lead over a reference on the same pixels, not the bare PSNR. A change may make pictures easier for every
#   filling: grey photographs, for example, are easier for *zeros, helped*.
# - Differences taken photograph by photograph, with an interval or at least the spread over photographs and masks.
# - A careful conclusion. If the lead stays the same, the model did not need to know which way is up *for this
#   measure*. The encoder may still know more.
# - An idea for a measure that could tell, for example a probe (notebook 08) that separates upright from turned photographs.
# </details>
#
# ## Quiz
#
# **1. Model X fills the holes of a block mask 2 dB better than a bilinear fill. It was trained with `norm_pix`. What do
# you know?**
#
# <details><summary>It understands what was in the holes</summary>
#
# ✗ It was given the brightness and contrast of every patch in the holes. The fill was not.
# </details>
# <details><summary>Little, until you know what the help alone would give</summary>
#
# ✓ Compare it with zeros that get the same help, or take the help away.
# </details>
# <details><summary>It was trained on block masks</summary>
#
# ✗ Our model was trained on random masks, and it has a lead on blocks as well.
# </details>
#
# **2. Your model has the same lead over the bilinear fill on upright and on upside-down photographs. What follows?**
#
# <details><summary>The model does not know which way is up</summary>
#
# ✗ It did not need to know it for this measure. Its features may still contain the information.
# </details>
# <details><summary>The model was trained on upside-down photographs</summary>
#
# ✗ The measurement says nothing about the training images.
# </details>
# <details><summary>For filling in, measured by PSNR, the orientation made no difference</summary>
#
# ✓ This is what was measured. For the features, use a probe.
# </details>
#
# **3. B's PSNR is higher than A's by 0.02 dB on 30 photographs, with a 95 % interval of [0.01, 0.03] over photographs.
# One run each. What may you say?**
#
# <details><summary>Method B reconstructs better than method A</summary>
#
# ✗ Another run of the same method would also differ, perhaps by more than 0.02 dB.
# </details>
# <details><summary>These weights of B reconstruct a little better than these weights of A</summary>
#
# ✓ The interval is about photographs. A statement about methods needs several runs of each.
# </details>
# <details><summary>Nothing, because nobody can see 0.02 dB</summary>
#
# ✗ A paired difference can be real and invisible. Whether it matters is another question.
# </details>
#
# ## Key takeaways
#
# - Any mask can be passed to the model as noise: random, blocks, a grid or your own pattern.
# - Masks whose hidden patches are far from visible ones are hard, both for the model and for a fill that has learned
#   nothing.
# - With `norm_pix`, part of every reconstruction comes from the target. Compare with zeros that get the same help, or
#   take it away.
# - Two encoders can draw the same pictures and still describe an image differently. Look at their tokens.
# - Some bugs show in the pictures. Others change the features and hardly change the pictures.
# - Compare models on the same images and masks, blind or by a paired difference. Ask what an interval is about:
#   photographs, masks or training runs.
#
# **Next:** [10 · Claims](10_claims.ipynb) puts the claims about the add-ons to the test.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Figure 6 and table 1f: random, block and grid masks.
# - Bao, Dong, Piao & Wei (2022). [*BEiT: BERT pre-training of image transformers.*](https://arxiv.org/abs/2106.08254)
#   ICLR. The source of block masks.
# - Pathak, Krähenbühl, Donahue, Darrell & Efros (2016). [*Context encoders: feature learning by
#   inpainting.*](https://arxiv.org/abs/1604.07379) CVPR. One large hole instead of many small ones.
# - Geirhos, Jacobsen, Michaelis et al. (2020). [*Shortcut learning in deep neural
#   networks.*](https://arxiv.org/abs/2004.07780) Nature Machine Intelligence. Why a good number can have a bad reason.
