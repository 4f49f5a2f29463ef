# %% [markdown]
# # 1 · Patchify: a picture becomes a sentence
#
# A Transformer reads sequences: words, one after another. A photograph is no sequence. This notebook cuts
# it into one, and puts it back together without losing a pixel.
#
# **You will be able to**
#
# - cut images into patches and back, with a loop and without one;
# - say how many tokens a patch size gives, and what that costs;
# - spot the quietest bug of the trade, scrambled channels;
# - explain why patches need positions, and read a position embedding.
#
# **Before you start:** Python, and tensors in PyTorch (`shape`, `reshape`, `permute`); [00 · Start here](00_start_here.ipynb)
# has the whole idea. **Time:** 40 minutes.

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

from mae_lib import patches
from mae_lib.course.exercises import patchify as check
from mae_lib.course.session import show
from mae_lib.course.widgets import patchify as widgets
from mae_lib.plots import new_figure

show(*widgets.title())

# %% [markdown]
# ## One photograph, as numbers
#
# In PyTorch a photograph is a tensor of channels, rows and columns. We add a batch axis in front, as
# every layer expects one, and bring the values from 0…255 to 0…1.

# %%
cat = course.photograph("cat", 224)
images = cat[None] / 255  # (1, 3, 224, 224)
print(tuple(images.shape), f"{images.numel():,} values")

# %% [markdown]
# Could each pixel be a token? Attention compares every token with every other one, so its cost grows
# with the square of their number. Count before you read on: how many pairs would that be?

# %%
pixels = 224 * 224
patches_16 = (224 // 16) ** 2
print(f"tokens: {pixels:,} pixels, or {patches_16} patches of 16×16")
print(f"pairs:  {pixels**2:,} or {patches_16**2:,}: {(pixels / patches_16) ** 2:,.0f} times fewer")


# %% [markdown]
# 2.5 billion pairs for one picture, in every head of every layer. A patch of 16×16 pixels as one token
# makes that 65,536 times less. This is the bargain of the Vision Transformer (Dosovitskiy et al. 2021):
# *an image is worth 16×16 words*.
#
# ## Cutting, the slow way
#
# Walk over the rows and columns of the grid, cut a square, and write its numbers in a line. In which
# order? Rows of pixels from top to bottom, in each the pixels from left to right, for each pixel red,
# green, blue. Remember this order: **(row, column, channel)**.

# %%
def patchify_slowly(image, p):
    """(3, H, W) → its patches, (L, p·p·3)."""
    tokens = []
    for top in range(0, image.shape[1], p):
        for left in range(0, image.shape[2], p):
            square = image[:, top : top + p, left : left + p]  # (3, p, p)
            tokens.append(square.permute(1, 2, 0).flatten())  # (p, p, 3), then (p·p·3,)
    return torch.stack(tokens)


slow = patchify_slowly(images[0], 16)  # (L, p²·3)
print(tuple(slow.shape))

# %% [markdown]
# 196 tokens of 768 numbers. Nothing was computed, only moved: 196 · 768 is 3 · 224 · 224.
#
# Here are the first tokens as they stand in the sequence, and four from the sixth row, across an eye. To
# show a token we undo its flattening.

# %%
figure, axes = new_figure(1, 8, 10, 1.6)
for axis, i in zip(axes[0], [0, 1, 2, 3, 73, 74, 75, 76], strict=True):
    axis.imshow(slow[i].reshape(16, 16, 3))  # (p·p·3,) → (p, p, 3)
    axis.set_title(f"token {i}")
    axis.axis("off")
show(figure, "Tokens 0 to 3 are fur at the upper edge; tokens 73 to 76 cross an eye of the cat.")

# %% [markdown]
# ## How large should a patch be?
#
# **Predict first.** You halve the side of a patch, from 16 to 8. How many times as many tokens, values in
# a token, and pairs in attention? Write the three numbers down, then move the slider.

# %%
explorer = widgets.explorer()
explorer

# %%
for patch_size in (32, 16, 8):
    explorer.set(patch_size=patch_size)
    print(explorer.frame.text)


# %% [markdown]
# Four times the tokens, a quarter of the values in each, **sixteen** times the pairs. At 4×4 pixels a
# patch holds an edge at most; at 56×56 a patch is a picture of its own, and guessing a hidden one from its
# neighbours becomes hopeless. MAE uses 16×16 for photographs of 224×224; the weights that come with this course
# use 8×8, for 64×64.

# %% [markdown]
# ### ✏️ Exercise 1 · Count tokens  (★☆☆ · 3 minutes)
#
# Write a function of the image's side and the patch's side that returns two numbers: how many tokens an
# RGB image gives, and how many values each of them has.
#
# <details><summary>Hint 1</summary>
#
# How many patches fit into one row? The image has as many rows of patches.
# </details>
# <details><summary>Hint 2</summary>
#
# A pixel has three values. 16×16 pixels have 768.
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
    ...  # your code: return tokens, values


# %%
check.token_count(token_count)

# %% [markdown]
# ## Cutting, the fast way
#
# The loop visits patches one after another; a GPU wants it all at once. The trick is to see the patches
# that are already there: an axis of 224 rows *is* 14 rows of patches times 16 rows of pixels.
#
# 1. `reshape` splits both axes: $(B, 3, H, W) \to (B, 3, \text{rows}, p, \text{cols}, p)$;
# 2. `permute` brings the axes of the grid to the front, those of the pixel to the back;
# 3. `reshape` joins: grid axes into one sequence, pixel axes into one vector.

# %%
b, c, h, w = images.shape
p, rows, cols = 16, h // 16, w // 16
x = images.reshape(b, c, rows, p, cols, p)  # (B, 3, 14, 16, 14, 16)
x = x.permute(0, 2, 4, 3, 5, 1)  # (B, 14, 14, 16, 16, 3)
fast = x.reshape(b, rows * cols, p * p * c)  # (B, 196, 768)
print(tuple(fast.shape), "equal to the loop:", torch.equal(fast[0], slow))

# %% [markdown]
# Equal to the last bit. The package's `patchify` is these three lines with a check of the input, and it
# is what we use from here on. Its complaints are worth reading once:

# %%
tokens = patches.patchify(images, 16)  # (B, 196, 768)
print("library equal to ours:", torch.equal(tokens, fast))
try:
    patches.patchify(images, 15)
except ValueError as error:
    print(error)


# %% [markdown]
# ### ✏️ Exercise 2 · And back again  (★★☆ · 10 minutes)
#
# Write `unpatchify`: from tokens (B, L, p·p·3) to images (B, 3, H, W), for a grid of `rows` × `cols`
# patches. It is the same three steps, walked backwards.
#
# <details><summary>Hint 1</summary>
#
# First undo the joining: `reshape` to six axes, `(B, rows, cols, p, p, 3)`.
# </details>
# <details><summary>Hint 2</summary>
#
# Before the last `reshape` the axes must be `(B, 3, rows, p, cols, p)`. Number the six axes from 0 to 5
# and write down where each of them has to go.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def unpatchify(tokens, p, rows, cols):
#     x = tokens.reshape(len(tokens), rows, cols, p, p, 3)
#     x = x.permute(0, 5, 1, 3, 2, 4)  # (B, 3, rows, p, cols, p)
#     return x.reshape(len(tokens), 3, rows * p, cols * p)
# ```
# </details>

# %%
def unpatchify(tokens, p, rows, cols):
    ...  # your code


# %%
check.unpatchify(unpatchify)

# %% [markdown]
# ## The silent bug
#
# What if someone flattens a patch as (channel, row, column) and someone else reads it as (row, column,
# channel)? The shapes agree. No error is raised. A model trained this way even learns. **What will the
# picture look like?** Guess before you run the cell.

# %%
x = images.reshape(b, c, rows, p, cols, p).permute(0, 2, 4, 1, 3, 5)  # (B, 14, 14, 3, 16, 16)
wrong = x.reshape(b, rows * cols, c * p * p)  # (B, 196, 768), but channel first
scrambled = patches.unpatchify(wrong, 16)  # (B, 3, 224, 224), read as channel last

figure, axes = new_figure(1, 2, 6, 3.2)
pairs = [("as cut", images), ("read in another order", scrambled)]
for axis, (title, image) in zip(axes[0], pairs, strict=True):
    axis.imshow(image[0].permute(1, 2, 0))
    axis.set(title=title, xticks=[], yticks=[])
show(figure, "Left, the cat. Right, the same values read in another order: a cat can be made out, "
             "but it is grey, and every patch is full of stripes.")


# %% [markdown]
# The colours are gone, as three neighbours of one channel are now read as the red, green and blue of one pixel.
# And every patch is a small mess, yet the cat can still be made out, and this is what makes the bug last: loss
# curves look fine, and people blame the model. A test picture with one flat grey in each patch would not show it
# at all. So test with what is **asymmetric**: another value in every channel, every row and every column.

# %%
def survives(cut, join):
    """Whether an image that is different everywhere comes back as it was."""
    different = torch.arange(3 * 4 * 6.0).reshape(1, 3, 4, 6)
    return torch.equal(join(cut(different)), different)


def cut_wrongly(x):
    x = x.reshape(1, 3, 2, 2, 3, 2).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(1, 6, 12)


def join(tokens):
    return patches.unpatchify(tokens, 2, grid=(2, 3))


print("right order:", survives(lambda x: patches.patchify(x, 2), join))
print("wrong order:", survives(cut_wrongly, join))

# %% [markdown]
# ## From patch to token
#
# 768 numbers are turned into a token of the model's width, 192 here, by one matrix: a linear layer, the same
# for all patches. Much published code writes it as a convolution whose kernel is as large as its stride. **Is that the
# same thing?** It is, if the weights are laid out alike:

# %%
torch.manual_seed(0)
convolution = torch.nn.Conv2d(3, 192, kernel_size=16, stride=16)
by_convolution = convolution(images).flatten(2).mT  # (B, 192, 14, 14) → (B, 196, 192)

weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # (192, 3, 16, 16) → (192, 768)
by_matrix = tokens @ weight.T + convolution.bias  # (B, 196, 768) → (B, 196, 192)

print(tuple(by_matrix.shape), f"largest difference {(by_matrix - by_convolution).abs().max():.4f}")

# %% [markdown]
# The matrix has an advantage that the next notebooks live on: it can be applied to *some* of the patches.
# A convolution must slide over all of them, also those that are about to be thrown away.
#
# ## Where was I?
#
# A sequence has an order, but a Transformer does not see it: shuffle the tokens that go in, and the same
# tokens come out, shuffled. We check this on a layer of PyTorch's own.

# %%
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(192, nhead=6, dropout=0.0, batch_first=True).eval()
order = torch.randperm(196)
with torch.no_grad():
    shuffled_before = layer(by_matrix[:, order])  # (B, 196, 192)
    shuffled_after = layer(by_matrix)[:, order]  # (B, 196, 192)
print(f"largest difference {(shuffled_before - shuffled_after).abs().max():.4f}")


# %% [markdown]
# So to this layer a cat and a shuffled cat are the same set of patches. An MAE must know *which* patch is
# missing, so every token is given its place: a fixed vector is added to it. For one axis, position $t$ gets
# sines and cosines of falling frequencies (Vaswani et al. 2017),
#
# $$e(t) = \big(\sin \omega_0 t, \dots, \sin \omega_{k-1} t,\ \cos \omega_0 t, \dots, \cos \omega_{k-1} t\big),
# \qquad \omega_i = 10000^{-i/k},$$
#
# like the hands of many clocks: fast ones tell neighbours apart, slow ones tell left from right.
#
# ### ✏️ Exercise 3 · Clock hands  (★★☆ · 8 minutes)
#
# Write `sincos(length, dim)`: row $t$ holds $e(t)$, with $k$ = `dim` / 2 sines, then as many cosines.
#
# <details><summary>Hint 1</summary>
#
# `position[:, None] * frequency` is a matrix of all angles, (length, k).
# </details>
# <details><summary>Hint 2</summary>
#
# The frequencies are `10000 ** (-torch.arange(k) / k)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def sincos(length, dim):
#     k = dim // 2
#     frequency = 10000 ** (-torch.arange(k) / k)
#     angle = torch.arange(length)[:, None] * frequency  # (length, k)
#     return torch.cat([angle.sin(), angle.cos()], dim=1)
# ```
# </details>

# %%
def sincos(length, dim):
    ...  # your code


# %%
check.sincos(sincos)

# %% [markdown]
# An image has two axes: half of the vector encodes the column, half the row. Left, the embedding of all 196
# patches. Right, how similar the place of one patch is to every other place.

# %%
embedding = patches.sincos_position_embedding(192, grid=(14, 14))  # (196, 192)
place = embedding[14 * 4 + 9]  # row 4, column 9: (192,)
similarity = torch.nn.functional.cosine_similarity(place, embedding, dim=1)  # (196,)

figure, axes = new_figure(1, 2, 9, 3.6)
axes[0, 0].imshow(embedding, aspect="auto", cmap="cividis")
axes[0, 0].set(title="position embedding", xlabel="value", ylabel="patch")
picture = axes[0, 1].imshow(similarity.reshape(14, 14), cmap="cividis")
axes[0, 1].set(title="similarity to row 4, column 9", xlabel="column", ylabel="row",
               xticks=range(0, 14, 2), yticks=range(0, 14, 2))
for axis in axes[0]:
    axis.grid(visible=False)
figure.colorbar(picture)
show(figure, "Left, stripes: one half of the values repeats with the column, the other grows with "
             "the row. Right, a bright cross centred on row 4, column 9.")

# %% [markdown]
# A bright spot where the patch is, and bright arms along its row and its column. Nothing here was learned:
# the embedding is fixed, so it needs no training data and works for any grid. That is all that a Transformer
# needs to read pictures.

# %%
position = embedding[None]  # (1, 196, 192)
encoder_input = by_matrix + position  # (B, 196, 192)
print(tuple(images.shape), "→", tuple(tokens.shape), "→", tuple(encoder_input.shape))

# %% [markdown]
# ## Quiz
#
# **1. An image of 96×96 pixels is cut into patches of 8×8. How many tokens?**
#
# <details><summary>12</summary>
#
# ✗ That is one row of patches; there are 12 such rows.
# </details>
# <details><summary>144</summary>
#
# ✓ 96 / 8 = 12 patches in a row, and 12 rows of them.
# </details>
# <details><summary>432</summary>
#
# ✗ The three channels are not three tokens: each patch holds the values of all channels.
# </details>
#
# **2. Your reconstructions look grey and striped inside every patch, while the loss falls nicely. What do you suspect?**
#
# <details><summary>The learning rate</summary>
#
# ✗ A learning rate shows in the loss. The loss falls.
# </details>
# <details><summary>The order of the values in a patch</summary>
#
# ✓ One side writes (row, column, channel), the other reads (channel, row, column): consistent for the loss, wrong for the eye.
# </details>
# <details><summary>Too few patches</summary>
#
# ✗ Large patches give blur, and blur that varies from patch to patch, but not stripes of the wrong colour.
# </details>
#
# **3. Why does an MAE without position embeddings fail?**
#
# <details><summary>Attention would not run</summary>
#
# ✗ It runs, on any set of tokens. That is the trouble.
# </details>
# <details><summary>It could not tell which patch is missing where</summary>
#
# ✓ All hidden places would look alike to the decoder, so it could only paint the same patch into all of them.
# </details>
# <details><summary>It would be slower</summary>
#
# ✗ Adding a vector costs next to nothing, and leaving it out saves nothing.
# </details>
#
# ## What you take along
#
# - An image of H×W becomes (H/p)·(W/p) tokens of p²·3 values; attention pays for the square of the number of tokens.
# - `reshape`, `permute`, `reshape`: cutting moves numbers and computes none.
# - Order inside a patch is (row, column, channel). Test it with something asymmetric.
# - A Transformer has no notion of place. Fixed sine-cosine codes give it one.
#
# **Next:** [02 · Curriculum masking](02_curriculum_masking.ipynb) throws three quarters of these tokens away.
#
# **Further reading**
#
# - Dosovitskiy, Beyer, Kolesnikov et al. (2021). *An image is worth 16×16 words: transformers for image recognition at scale.* ICLR.
# - Vaswani, Shazeer, Parmar et al. (2017). *Attention is all you need.* NeurIPS. Section 3.5 has the sines.
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR.
# - Xiao, Singh, Mintun et al. (2021). *Early convolutions help transformers see better.* NeurIPS. What the patch matrix misses.
