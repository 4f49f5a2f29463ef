# %% [markdown]
# # 1 · Patchify: from an image to a sequence
#
# A Transformer reads a sequence of vectors, for example one for each word of a sentence. A photograph is a grid of
# pixels. In this notebook you turn the grid into a sequence of patches and back again, and you give every patch a
# description of its place. The three functions that do this are the first parts of your own masked autoencoder.
#
# **You will be able to**
#
# - cut images into patches, with a loop and without one, and put them back together;
# - say how many patches an image gives, and how many pairs of them attention compares;
# - find a bug that raises no error: values in the wrong order;
# - explain why patches need positions, and build a two-dimensional position embedding.
#
# **Before you start:** Python, and tensors in PyTorch (`shape`, `reshape`, `permute`).
# [00 · Start here](00_start_here.ipynb) explains the whole idea. **Time:** 75 minutes.

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
from torch import nn

from mae_lib import patches as package
from mae_lib.course.exercises import patchify as check
from mae_lib.course.session import show
from mae_lib.course.widgets import patchify as widgets
from mae_lib.plots import new_figure

show(*widgets.title())

# %% [markdown]
# ## One photograph as numbers
#
# In PyTorch, a photograph is a tensor of channels, rows and columns. We add a batch axis in front, because layers expect
# one, and we scale the values from 0…255 to 0…1.

# %%
coffee = course.photograph("coffee", 224)
images = coffee[None] / 255  # (1, 3, 224, 224)
print(tuple(images.shape), f"{images.numel():,} values")

# %% [markdown]
# The simplest sequence would be one vector per pixel, but it would be expensive. In
# [**self-attention**](GLOSSARY.md#self-attention), the core operation of a Transformer, every vector is compared with
# all vectors, itself included, so the number of pairs is the square of the length of the sequence. What if each vector
# stands for a patch of 16×16 pixels?

# %%
pairs_guess = course.predict("By what factor do 16×16 patches reduce the number of pairs?")

# %%
pixels = 224 * 224
patches_16 = (224 // 16) ** 2
pairs_guess.reveal(f"by a factor of {(pixels // patches_16) ** 2:,}\n"
                   f"{pixels:,} pixels: {pixels**2:,} pairs\n"
                   f"{patches_16} patches: {patches_16**2:,} pairs")


# %% [markdown]
# Pixels would give 2.5 billion pairs for one photograph, in every layer. Patches of 16×16 give 38,416 pairs, which is
# 65,536 times fewer. To make a sequence of patches is the idea of the Vision Transformer (ViT,
# [Dosovitskiy et al. 2021](https://arxiv.org/abs/2010.11929)).
#
# ## Cut it up, the slow way
#
# We walk over the grid, cut out one square after another, and write its values in a line. Their order is a convention:
# pixel rows from top to bottom, in each row the pixels from left to right, and for each pixel red, green, blue.
# Remember it as **(row, column, channel)**.

# %%
def patchify_slowly(image, p):
    """The L patches of an image (3, H, W), as a tensor (L, p·p·3)."""
    found = []
    for top in range(0, image.shape[1], p):
        for left in range(0, image.shape[2], p):
            square = image[:, top : top + p, left : left + p]  # (3, p, p)
            found.append(square.permute(1, 2, 0).flatten())  # (p, p, 3), then (p·p·3,)
    return torch.stack(found)


slow = patchify_slowly(images[0], 16)
print(tuple(slow.shape))

# %% [markdown]
# We get 196 patches of 768 values each, together as many values as the photograph has, because the loop only moves
# them. To look at a patch, we undo its flattening.

# %%
figure, axes = new_figure(1, 8, 10, 1.7)
for axis, i in zip(axes[0], [0, 1, 2, 3, 73, 74, 75, 76], strict=True):
    axis.imshow(slow[i].reshape(16, 16, 3))  # (p·p·3,) → (p, p, 3)
    axis.set_title(f"patch {i}", fontsize=12)
    axis.axis("off")
show(figure, "Patches 0 to 3 begin the top row; patches 73 to 76 lie in the sixth row.")

# %% [markdown]
# The patches are numbered row by row, 14 in each. The sixth row starts with patch 5 · 14 = 70, so patches 73 to 76 lie
# there, next to each other.
#
# ## How large should a patch be?
#
# Suppose you halve the side of a patch, from 16 to 8 pixels. You get more patches, so attention compares more pairs.

# %%
half_guess = course.predict("By what factor do 8×8 patches increase the number of pairs?")

# %%
pairs_16, pairs_8 = (224 // 16) ** 4, (224 // 8) ** 4
half_guess.reveal(f"by a factor of {pairs_8 // pairs_16}, from {pairs_16:,} to {pairs_8:,} pairs")

# %% [markdown]
# Halving the side gives **16 times** as many pairs, 614,656 instead of 38,416.
#
# <details><summary>Why 16 times?</summary>
#
# Half the side gives twice as many patches in a row and twice as many rows, so 4 times as many patches. The number of
# pairs is the square of the number of patches, and 4² = 16.
# </details>
#
# Move the slider of the explorer and see how much of the photograph one patch holds, and how many pairs there are.

# %%
explorer = widgets.explorer()
explorer


# %% [markdown]
# A patch of 4×4 pixels holds an edge at most, and 3,136 of them give almost ten million pairs. A patch of 56×56 pixels
# is a small picture of its own, and it is very hard to predict from its neighbours. MAE uses 16×16 patches on images of
# 224×224 pixels, or 14×14 in its largest model ([He et al. 2022](https://arxiv.org/abs/2111.06377)).
#
# ### ✏️ Exercise 1 · Count  (★☆☆ · 3 minutes)
#
# Write `token_count(size, patch)` for a square RGB image whose side is `size` pixels and patches whose side is `patch`
# pixels. It returns two numbers: how many patches the image gives, and how many values each of them has. Each patch
# will become one *token*.
#
# <details><summary>Hint 1</summary>
#
# How many patches fit into one row? There are just as many rows.
# </details>
# <details><summary>Hint 2</summary>
#
# A pixel has three values, so 16×16 pixels have 768.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def token_count(size, patch):
#     per_row = size // patch
#     return per_row**2, 3 * patch**2
# ```
# </details>

# %%
def token_count(size, patch):
    ...  # your code: return the number of patches, and of values in each


# %%
check.token_count(token_count)

# %% [markdown]
# ## Cut it up, the fast way
#
# The loop is slow, because it visits one patch after another. We can cut all patches at once with `reshape` and
# `permute`. Take a grid of 4×4 numbers that we cut into patches of 2×2.
#
# 1. `reshape` splits each axis in two. An axis of 4 rows is the same as 2 rows of patches with 2 rows of pixels each.

# %%
grid = torch.arange(16).reshape(4, 4)
split = grid.reshape(2, 2, 2, 2)  # (patch row, pixel row, patch column, pixel column)
print(grid)

# %% [markdown]
# 2. `permute` reorders the axes, so that the two axes inside a patch come last.
# 3. `reshape` joins the axes again: one axis for the patches, and one for the values of a patch.

# %%
print(split.permute(0, 2, 1, 3).reshape(4, 4))


# %% [markdown]
# Every row is now one patch. The first row, 0, 1, 4, 5, is the upper left corner of the grid.
#
# ### ✏️ Exercise 2 · `patchify`  (★★☆ · 10 minutes)
#
# Write `patchify` for a batch of images (B, C, H, W). It returns patches (B, L, p·p·C), where L is the number of patches
# of an image and p is `patch_size`. The values of each patch are in the order (row, column, channel). Two axes are new
# compared with the example: the batch, which stays in front, and the channels.
#
# When the check passes, the code of your cell is saved as the first part of your own MAE. If you need a helper function
# or an import of your own, write it in the same cell.
#
# <details><summary>Hint 1</summary>
#
# The first `reshape` makes six axes: `(B, C, rows, p, cols, p)`.
# </details>
# <details><summary>Hint 2</summary>
#
# Before the last `reshape`, the axes must be `(B, rows, cols, p, p, C)`. Number the six axes from 0 to 5, and give
# `permute` these numbers in their new order.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def patchify(images, patch_size):
#     b, c, h, w = images.shape
#     rows, cols = h // patch_size, w // patch_size
#     x = images.reshape(b, c, rows, patch_size, cols, patch_size)
#     x = x.permute(0, 2, 4, 3, 5, 1)  # (B, rows, cols, p, p, C)
#     return x.reshape(b, rows * cols, patch_size * patch_size * c)
# ```
# </details>

# %%
def patchify(images, patch_size):
    ...  # your code


# %%
check.patchify(patchify)

# %%
patchify = course.use("patchify")

# %% [markdown]
# The line above says whose `patchify` we use from now on: yours if the check has passed, and the package's if not.
# Either one has to agree with the loop. `assert_close` is silent when its arguments are equal up to rounding, and
# raises an error when they are not.

# %%
patches = patchify(images, 16)  # (B, 196, 768)
torch.testing.assert_close(patches[0], slow)
torch.testing.assert_close(patches, package.patchify(images, 16))
print(tuple(patches.shape), "equal to the loop and to the package's patchify")


# %% [markdown]
# ### ✏️ Exercise 3 · `unpatchify`  (★★☆ · 10 minutes)
#
# `unpatchify` is the inverse: it turns patches (B, L, p·p·3) back into images (B, 3, H, W), for a grid of `rows` ×
# `cols` patches. It takes the same three steps in reverse.
#
# <details><summary>Hint 1</summary>
#
# First undo the joining: `reshape` to six axes, `(B, rows, cols, p, p, 3)`.
# </details>
# <details><summary>Hint 2</summary>
#
# Before the last `reshape`, the axes must be `(B, 3, rows, p, cols, p)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def unpatchify(patches, patch_size, rows, cols):
#     b = len(patches)
#     x = patches.reshape(b, rows, cols, patch_size, patch_size, 3)
#     x = x.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, p, cols, p)
#     return x.reshape(b, 3, rows * patch_size, cols * patch_size)
# ```
# </details>

# %%
def unpatchify(patches, patch_size, rows, cols):
    ...  # your code


# %%
check.unpatchify(unpatchify)

# %%
unpatchify = course.use("unpatchify")

# %%
torch.testing.assert_close(unpatchify(patches, 16, 14, 14), images)
print("unpatchify undoes patchify: every pixel is back in its place")

# %% [markdown]
# ## A bug that raises no error
#
# Suppose one function writes the values of a patch as (channel, row, column), and another one reads them as (row,
# column, channel). The shapes agree, so no error is raised.

# %%
bug_guess = course.predict("Will you recognise a photograph that is read in the wrong order?")

# %%
cat = course.photograph("cat", 224)[None] / 255  # (1, 3, 224, 224)
x = cat.reshape(1, 3, 14, 16, 14, 16).permute(0, 2, 4, 1, 3, 5)  # (1, 14, 14, 3, 16, 16)
scrambled = unpatchify(x.reshape(1, 196, 768), 16, 14, 14)  # written channel first

figure, axes = new_figure(1, 2, 6.4, 3.4)
for axis, image in zip(axes[0], (cat, scrambled), strict=True):
    axis.imshow(image[0].permute(1, 2, 0))
    axis.set_title("photograph" if image is cat else "wrong order", fontsize=12)
    axis.axis("off")
bug_guess.reveal("yes, but it is almost grey and every patch is full of stripes", figure,
                 "Left, a cat. Right, the same values read in another order: the cat can be made "
                 "out, but it is almost grey, and every patch is full of stripes.")


# %% [markdown]
# The cat is still there, but it is almost grey and every patch is full of stripes. Most pixels take three neighbouring
# values of *one* channel as their red, green and blue. These are nearly equal, and equal amounts of the three colours
# make grey. The fine stripes appear because a row of 16 pixels now takes 48 values, which are
# three rows of one channel side by side, each squeezed to a third of its width.
#
# This bug can stay hidden for a long time. The loss falls as usual, because the targets are written in the same wrong
# order, and the model learns to predict that order. A flat grey test image would not show it either. So test with an
# image that is **different everywhere**: in every channel, every row and every column.

# %%
def written_channel_first(x):
    """Patches of 2×2 of an image (1, 3, 4, 6), their values in the wrong order."""
    return x.reshape(1, 3, 2, 2, 3, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 6, 12)


flat = torch.full((1, 3, 4, 6), 0.5)
different = torch.arange(72.0).reshape(1, 3, 4, 6)
for name, image in {"flat grey": flat, "different everywhere": different}.items():
    back = unpatchify(written_channel_first(image), 2, 2, 3)
    print(f"{name}: the wrong order {'goes unnoticed' if torch.equal(back, image) else 'is found'}")

# %% [markdown]
# ## From patch to token
#
# A linear layer, the same for all patches, turns the 768 values of a patch into a vector of 192 values (192 is the
# *width* of the model). This vector is the patch's [**token**](GLOSSARY.md#token), before the encoder adds the context
# of the others. Many published models use a convolution instead, which slides a window over the image. If the window
# (the *kernel*) and the step (the *stride*) are as large as a patch, the two layers compute the same numbers, provided
# that their weights are arranged in the same order.

# %%
torch.manual_seed(0)
convolution = nn.Conv2d(3, 192, kernel_size=16, stride=16)
by_convolution = convolution(images).flatten(2).mT  # (B, 192, 14, 14) → (B, 196, 192)

weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # (192, 3, 16, 16) → (192, 768)
tokens = F.linear(patches, weight, convolution.bias)  # (B, 196, 768) → (B, 196, 192)
torch.testing.assert_close(tokens, by_convolution, rtol=1e-4, atol=1e-4)
print(tuple(tokens.shape), "the same from the linear layer and from the convolution")


# %% [markdown]
# The linear layer has one advantage: it can be applied to *some* of the patches, while a convolution slides over all of
# them, including those that an MAE is about to hide.
#
# ## A Transformer does not know the order
#
# A sequence has an order, but self-attention does not use it. Its core replaces every token by a weighted mean of all
# tokens, in which tokens similar to it get larger weights. Here it is in one line, without learned parameters. `x.mT`
# swaps the last two axes, so `x @ x.mT` measures the similarity of every pair of tokens by their dot product. Dot
# products tend to grow with D, the number of values in a token, so we divide by the square root of D. `softmax` then
# turns each row into positive weights with a sum of 1.

# %%
def attend(x):
    """Each token (B, L, D) becomes a mean of all tokens, weighted by similarity."""
    return (x @ x.mT / x.shape[-1] ** 0.5).softmax(dim=-1) @ x


order = torch.randperm(196, generator=torch.Generator().manual_seed(0))
torch.testing.assert_close(attend(tokens[:, order]), attend(tokens)[:, order])
print("shuffling before or after gives the same result")


# %% [markdown]
# If we shuffle the tokens first, we get the same vectors as before, only shuffled. A function with this property is
# called [**permutation-equivariant**](GLOSSARY.md#permutation-equivariant). The other layers of a Transformer treat
# each token separately, so they have it too. To a Transformer, a cat and a shuffled cat are the same set of patches.
#
# An MAE must know *which* patch is missing. So we add to every token a vector that describes its place, a
# [**position embedding**](GLOSSARY.md#position-embedding).
#
# ## Sines and cosines along one axis
#
# MAE uses a fixed embedding that is not learned. Along one axis, position $t$ gets sines and cosines of $k$ different
# frequencies ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)):
#
# $$e(t) = \big(\sin \omega_0 t, \dots, \sin \omega_{k-1} t,\ \cos \omega_0 t, \dots, \cos \omega_{k-1} t\big),
# \qquad \omega_i = 10000^{-i/k}.$$

# %%
def encode_slowly(t, dim):
    """The code of position t, (dim,)."""
    k = dim // 2
    angles = [t * 10000 ** (-i / k) for i in range(k)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


codes = torch.stack([encode_slowly(t, 96) for t in range(14)])  # (14, 96)
print(tuple(codes.shape))

# %% [markdown]
# The 96 values are 48 sines and 48 cosines, a pair for each frequency. The picture shows five of the sines at the 14
# positions of a row.

# %%
figure, axes = new_figure(1, 1, 8, 2.8)
for i in (0, 6, 12, 18, 30):
    axes[0, 0].plot(codes[:, i], "o-", markersize=4, label=f"sine {i}")
axes[0, 0].set(xlabel="position", ylabel="value", xticks=range(0, 14, 2))
axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(figure, "Five curves over 14 positions: sine 0 swings up and down, sine 6 rises and falls "
             "once, sine 12 only rises, sine 18 rises more slowly, and sine 30 stays close to "
             "zero.")



# %% [markdown]
# Sines and cosines of a high frequency tell neighbouring positions apart. Those of a low frequency, such as number 30,
# hardly change across the image. Such low frequencies are there because the base of 10000 comes from the first
# Transformer, which translated sentences that are often longer than 14 words, and MAE kept it.
#
# ### ✏️ Exercise 4 · `sincos_positions`  (★★★ · 20 minutes)
#
# A patch has a column and a row. The first half of its vector is $e(\text{column})$ and the second half is
# $e(\text{row})$, each with `dim // 2` values. Write `sincos_positions(dim, rows, cols)`, which returns the embedding
# of all patches, (rows·cols, dim) in float32, in the order in which `patchify` lists them. Try it without a loop over
# positions.
#
# <details><summary>Hint 1</summary>
#
# First write the columns and rows of all patches as two tensors of length rows·cols. For 2 × 3 patches they are
# `0 1 2 0 1 2` and `0 0 0 1 1 1`. Look up `Tensor.repeat` and `torch.repeat_interleave`.
# </details>
# <details><summary>Hint 2</summary>
#
# For a tensor `position` of length L, `position[:, None] * frequency` holds all angles, (L, k).
# </details>
# <details><summary>Hint 3</summary>
#
# Each half has `dim // 2` values, so k is `dim // 4`, and the frequencies are `10000 ** (-torch.arange(k) / k)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def encode(position, dim):
#     """One axis: the sines of each position (L,), then its cosines, (L, dim)."""
#     frequency = 10000 ** (-torch.arange(dim // 2) / (dim // 2))
#     angle = position[:, None] * frequency
#     return torch.cat([angle.sin(), angle.cos()], dim=1)
#
#
# def sincos_positions(dim, rows, cols):
#     row = torch.arange(rows).repeat_interleave(cols)  # 0 0 0 1 1 1 …
#     col = torch.arange(cols).repeat(rows)  # 0 1 2 0 1 2 …
#     return torch.cat([encode(col, dim // 2), encode(row, dim // 2)], dim=1)
# ```
# </details>

# %%
def sincos_positions(dim, rows, cols):
    ...  # your code


# %%
check.sincos_positions(sincos_positions)

# %%
sincos_positions = course.use("sincos_positions")

# %%
positions = sincos_positions(192, 14, 14)  # (196, 192)
torch.testing.assert_close(positions[:14, :96], codes, rtol=1e-4, atol=1e-4)  # the first row
torch.testing.assert_close(positions, package.sincos_position_embedding(192, (14, 14)),
                           rtol=1e-4, atol=1e-4)
print(tuple(positions.shape), "first row equal to the loop, all equal to the package's embedding")

# %% [markdown]
# The left picture shows the whole embedding, one line for each of the 196 patches. The right picture shows how similar
# the vector of one patch is to the vectors of all others, measured by the cosine of the angle between two vectors,
# which is 1 if they point the same way.

# %%
place = positions[14 * 4 + 9]  # row 4, column 9: (192,)
similarity = F.cosine_similarity(place, positions, dim=1)  # (196,)

figure, axes = new_figure(1, 2, 9, 3.8)
whole = axes[0, 0].imshow(positions, aspect="auto", cmap="cividis")
axes[0, 0].set(xlabel="index of the value", ylabel="patch")
axes[0, 0].set_title("values of the position embedding", fontsize=12)
similar = axes[0, 1].imshow(similarity.reshape(14, 14), cmap="cividis")
axes[0, 1].set(xlabel="column", ylabel="row", xticks=range(0, 14, 2), yticks=range(0, 14, 2))
axes[0, 1].set_title("similarity to row 4, column 9", fontsize=12)
for axis in axes[0]:
    axis.grid(visible=False)
figure.colorbar(whole, label="value")
figure.get_layout_engine().set(wspace=0.08)
figure.colorbar(similar, label="cosine similarity")
show(figure, "Left, stripes: the first half of the values repeats in every row of patches, the "
             "second half changes from row to row, and much of both is flat. Right, a bright "
             "spot at row 4, column 9, with a fainter cross along that row and that column.")

# %% [markdown]
# The similarity is 1 at the patch itself and at least 0.84 along its row and its column, where half of the vector
# is the same. Even in the corner that is farthest away it is 0.68, because the low frequencies hardly change across
# the image. In the left picture, they are the flat areas: the sines stay close to 0 (grey) and the cosines close to 1
# (yellow).
#
# Adding the positions to the tokens gives the sequence that a Transformer can read.

# %%
encoder_input = tokens + positions  # (B, 196, 192)
print(tuple(images.shape), "→", tuple(patches.shape), "→", tuple(encoder_input.shape))

# %% [markdown]
# ### ✏️ Open exercise · Is one number enough?  (★★☆ · 10 minutes)
#
# A simpler embedding would number the patches from 0 to 195 and encode that one number, as for the words of a sentence.
# Build it with `encode_slowly`, with 192 values, and draw the same similarity picture. What does a Transformer no longer
# see directly? Would you expect an MAE to learn anyway?
#
# <details><summary>What a good answer shows</summary>
#
# - A picture next to the one above, for the same patch and with the same range of colours.
# - The observation that the patch directly below is less similar (0.65) than any patch of the same row (at least 0.69),
#   because its number is 14 away. The last patch of a row and the first one of the next row are as similar as two
#   neighbours (0.97), although they lie on opposite sides of the image.
# - A reasoned guess about learning. All 196 vectors are still different, so a model *can* learn from data which of them
#   belong to neighbours. The original ViT learned its embedding from scratch and found the
#   two-dimensional layout by itself (figure 7 of the paper), and a 2-D embedding gave it no clear gain (appendix D.4).
# - An idea for a test: train both for the same time and compare their losses on the same masks.
# </details>
#
# ## Quiz
#
# **1. An image of 96×96 pixels is cut into patches of 8×8. How many tokens does it give?**
#
# <details><summary>12</summary>
#
# ✗ That is one row of patches, and there are 12 such rows.
# </details>
# <details><summary>144</summary>
#
# ✓ There are 96 / 8 = 12 patches in a row, and 12 rows of them.
# </details>
# <details><summary>432</summary>
#
# ✗ The three channels do not give three tokens. Each patch holds the values of all channels.
# </details>
#
# **2. Your reconstructions are grey and striped inside every patch, but the loss falls nicely. What do you suspect?**
#
# <details><summary>The learning rate</summary>
#
# ✗ A bad learning rate would show in the loss, and the loss falls.
# </details>
# <details><summary>The order of the values in a patch</summary>
#
# ✓ One function writes (channel, row, column) and another one reads (row, column, channel). The loss cannot see this.
# </details>
# <details><summary>Too few patches</summary>
#
# ✗ Large patches make reconstructions blurred or blocky, but they do not cause stripes and lost colours.
# </details>
#
# **3. Why does an MAE fail without position embeddings?**
#
# <details><summary>Attention would not run</summary>
#
# ✗ It runs on any set of tokens. It just ignores their order.
# </details>
# <details><summary>The decoder could not tell the hidden places apart</summary>
#
# ✓ The decoder gets the same vector, the mask token, for every hidden patch. Without positions it could only predict
# the same patch for every hidden place.
# </details>
# <details><summary>It would be slower</summary>
#
# ✗ Adding a vector costs next to nothing, so leaving it out saves nothing.
# </details>
#
# ## Key takeaways
#
# - An image of H×W pixels gives (H/p)·(W/p) patches of p²·3 values. Attention compares every pair of them, so its cost
#   grows with the square of their number.
# - `reshape`, `permute`, `reshape` cuts an image into patches. It moves values and computes nothing.
# - The order inside a patch is (row, column, channel). Test it with an image that is different everywhere.
# - Self-attention is permutation-equivariant. A fixed sine-cosine embedding tells it where each patch is.
#
# Three parts of your MAE are done if all checks have passed.

# %%
course.status()

# %% [markdown]
# **Next:** [02 · Curriculum masking](02_curriculum_masking.ipynb) hides three quarters of these patches.
#
# **Further reading**
#
# - Dosovitskiy, Beyer, Kolesnikov et al. (2021). [*An image is worth 16×16 words: transformers for image recognition at
#   scale.*](https://arxiv.org/abs/2010.11929) ICLR.
# - Vaswani, Shazeer, Parmar et al. (2017). [*Attention is all you need.*](https://arxiv.org/abs/1706.03762) NeurIPS.
#   Section 3.5 has the sines.
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Its [code](https://github.com/facebookresearch/mae) has the same
#   two-dimensional embedding in `util/pos_embed.py`.
# - Xiao, Singh, Mintun et al. (2021). [*Early convolutions help transformers see
#   better.*](https://arxiv.org/abs/2106.14881) NeurIPS. It shows what a single linear layer per patch misses.
