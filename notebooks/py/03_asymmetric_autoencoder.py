# %% [markdown]
# # 3 · The asymmetric autoencoder
#
# Three quarters of the patches are hidden. A model like BERT would put a placeholder at every hidden place and process
# placeholders and visible patches alike. In a masked autoencoder, the encoder works on the visible patches alone, and a
# small decoder fills in the rest. This asymmetric design makes MAE cheap enough to train at scale. In this notebook you
# build all of it, from one attention head to the whole model. Then you load trained weights into *your* code.
#
# **You will be able to**
#
# - write self-attention by hand and then as a module with several heads;
# - assemble `Block`, `Encoder`, `Decoder` and `MAE`, and give the shape at every stage;
# - load trained weights into a model that you wrote, and reconstruct a photograph with it;
# - recognise three mistakes that raise no error, by the pictures they make;
# - count what the mask ratio costs and what the asymmetry saves.
#
# **Before you start:** [01](01_patchify.ipynb) and [02](02_curriculum_masking.ipynb), for patches, positions and random
# masking.
#
# **Time:** 55 minutes to read and run, and about 105 more for the exercises. A good place for a break is before the
# encoder.

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

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_lib.course.exercises import asymmetric_autoencoder as check
from mae_lib.course.reference import to_official
from mae_lib.course.session import show
from mae_lib.course.widgets import asymmetric_autoencoder as widgets
from mae_lib.data.augment import denormalise, normalise
from mae_lib.losses import mae_loss
from mae_lib.model import Attention as PackageAttention
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import new_figure

show(*widgets.title())

# %% [markdown]
# The lower half is the model, drawn to scale. Each line stands for one patch and has its mean colour. Its length is the
# number of values: first the 768 pixel values, and inside the model the values of the **token**, the vector into which
# the patch is embedded. The encoder is wide and deep but has only 49 tokens. The decoder is narrow and shallow. It has
# all 196 tokens, with a blue *mask token* at every hidden place. At the far right, visible patches are light grey,
# because training compares prediction and photograph only where patches are hidden.
#
# From notebooks 01 and 02 we need four parts.

# %%
patchify, unpatchify = course.use("patchify", "unpatchify")
sincos_positions, random_masking = course.use("sincos_positions", "random_masking")

# %% [markdown]
# ## Attention by hand
#
# A token that stands for one patch knows nothing about the other patches. **Self-attention** lets every token collect
# information from all the others, and it learns what to collect. Three matrices turn each token into
#
# - a [**query**](GLOSSARY.md#query) $q_i$: what this token is looking for;
# - a **key** $k_j$: what this token has to offer;
# - a **value** $v_j$: what it hands over if it is chosen.
#
# We start with five tokens of six values each, and with random matrices.

# %%
torch.manual_seed(0)
x = torch.randn(5, 6)  # five tokens of six values
W_q, W_k, W_v = torch.randn(3, 6, 4)  # three matrices, each 6 × 4
q, k, v = x @ W_q, x @ W_k, x @ W_v
print("queries, keys, values:", tuple(q.shape), tuple(k.shape), tuple(v.shape))

# %% [markdown]
# Take token 2 as an example, counting from 0. We compare its query with every key by a dot product. A large product
# means that the key fits. The softmax turns the five products into five
# [**attention weights**](GLOSSARY.md#attention-weights), which are positive and sum to 1.
#
# The dot product of two random vectors with $d$ values each has a standard deviation that grows like $\sqrt d$. We
# divide by $\sqrt d$ so that the softmax behaves in the same way for every $d$.

# %%
scores = torch.stack([q[2] @ key for key in k]) / math.sqrt(4)
weights = scores.softmax(dim=0)
print("scores: ", " ".join(f"{s:6.2f}" for s in scores))
print("weights:", " ".join(f"{w:6.2f}" for w in weights), f"  sum {weights.sum():.2f}")


# %% [markdown]
# Token 2 gives 48 % of its attention to token 3, 36 % to token 1, and almost none to token 4. Its output is the
# weighted sum of all values. The next cell computes all outputs, one after the other.

# %%
def attend_slowly(q, k, v):
    outputs = []
    for query in q:
        scores = torch.stack([query @ key for key in k]) / math.sqrt(len(query))
        weights = scores.softmax(dim=0)  # (N,)
        outputs.append(sum(w * value for w, value in zip(weights, v)))
    return torch.stack(outputs)  # (N, d)


slow = attend_slowly(q, k, v)
print(f"{len(q) * len(k)} comparisons give an output of shape {tuple(slow.shape)}")


# %% [markdown]
# Each output is a sum over *all* tokens, and a sum does not depend on the order of its terms. So attention is
# permutation-equivariant (notebook 01). That is why we must add positions. Once each token carries its own, it makes no
# difference that the visible patches reach the encoder in shuffled order.
#
# ### ✏️ Exercise 1 · Self-attention without a loop  (★★☆ · 10 minutes)
#
# Write `self_attention(x, W_q, W_k, W_v)` for a batch: `x` is (B, N, D), each matrix is (D, d), and the result is
# (B, N, d). All comparisons together are one matrix product, and so are all the weighted sums.
#
# <details><summary>Hint 1</summary>
#
# `q @ k.mT` compares every query with every key. (`.mT` swaps the last two axes.) The result is (B, N, N), with a row
# for each query and a column for each key.
# </details>
# <details><summary>Hint 2</summary>
#
# The weights of one query must sum to 1. Along which axis of the (B, N, N) scores must the softmax run?
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def self_attention(x, W_q, W_k, W_v):
#     q, k, v = x @ W_q, x @ W_k, x @ W_v  # (B, N, d) each
#     scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, N, N)
#     return scores.softmax(dim=-1) @ v  # (B, N, d)
# ```
# </details>

# %%
def self_attention(x, W_q, W_k, W_v):
    ...  # your code


# %%
check.self_attention(self_attention)

# %% [markdown]
# PyTorch has one function that computes the outputs from queries, keys and values. It is *fused*: it does all steps in
# one go and, where it can, avoids storing the N × N weights. It should agree with our loop.

# %%
fused = F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
torch.testing.assert_close(fused, slow)
print("the loop and PyTorch's function agree")

# %% [markdown]
# ## Several heads in one module
#
# With one softmax, a token has only one set of attention weights, but it may need different things from different
# tokens. A Transformer therefore splits the queries, keys and values among several [**heads**](GLOSSARY.md#heads). With
# tokens of 192 values and 6 heads, each head has queries, keys and values of length 32 and attends on its own. A last
# linear layer, `proj`, mixes what the heads have found.
#
# One linear layer, `qkv`, computes the queries, keys and values of all heads at once. The order of its outputs is a
# convention, and trained weights rely on it. To see the order for 4 values and 2 heads, we number the 12 outputs of
# `qkv` and reshape them to (3, heads, size).

# %%
numbers = torch.arange(12).reshape(3, 2, 2)  # (3, heads, size)
for name, part in zip(("queries", "keys", "values"), numbers):
    print(f"{name:<8} head 0: {part[0].tolist()}   head 1: {part[1].tolist()}")


# %% [markdown]
# The first third of the outputs are queries, the second third keys, and the last third values. Within each third the
# heads come one after the other.
#
# In PyTorch, a part of a model is a class that inherits from `nn.Module`. It creates its layers in `__init__`, after
# `super().__init__()`, and uses them in `forward`. This example shows all you need for this notebook.

# %%
class Example(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Linear(dim, dim)
        self.stack = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.shift = nn.Parameter(torch.zeros(dim))
        self.register_buffer("scale", torch.full((dim,), 0.5))

    def forward(self, x):
        return self.scale * self.stack(self.mix(x)) + self.shift


example = Example(6)
print("output", tuple(example(x).shape))
trained = dict(example.named_parameters())
for name, value in example.state_dict().items():
    print(f"{name:<15} {tuple(value.shape)!s:<9}", "trained" if name in trained else "fixed")


# %% [markdown]
# You call a module like a function: `example(x)` runs `forward`. A module registers these things under the names of their
# attributes:
#
# - a layer, or any other module, such as `mix`;
# - several layers in a row, as in `stack`, which `nn.Sequential` numbers from 0 (number 1, the activation function
#   GELU, has no weights);
# - a tensor that training should change, such as `shift`: an `nn.Parameter`;
# - a tensor that stays fixed but belongs to the model, such as `scale`: a [**buffer**](GLOSSARY.md#buffer), which
#   `register_buffer` creates.
#
# So `example.parameters()` can hand all trained tensors to an optimiser, `example.to(device)` moves everything, and
# `example.state_dict()` lists everything by name. (A plain tensor or a Python list of layers would not be registered.)
# A file of trained weights holds such a list, so its weights fit only a class whose attributes have the same names.
#
# ### ✏️ Exercise 2 · `Attention`  (★★★ · 18 minutes)
#
# Write the module. It takes tokens (B, N, D) and returns tokens of the same shape. It has exactly two layers with
# weights, and their names must be `qkv` (D → 3D) and `proj` (D → D), as in the trained weights.
#
# <details><summary>Hint 1</summary>
#
# `self.qkv(x).reshape(B, N, 3, heads, size)`, then `permute` so that the 3 comes first and the heads come before the
# tokens. Unpacking then gives q, k and v, each (B, heads, N, size).
# </details>
# <details><summary>Hint 2</summary>
#
# The scores and weighted sums of exercise 1 work for any number of leading axes. Each head has vectors of length
# `size`.
# </details>
# <details><summary>Hint 3</summary>
#
# To join the heads, bring the tokens in front of them again with `transpose(1, 2)`. Then `reshape` to (B, N, D).
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class Attention(nn.Module):
#     def __init__(self, dim, num_heads):
#         super().__init__()
#         self.num_heads = num_heads
#         self.qkv = nn.Linear(dim, 3 * dim)
#         self.proj = nn.Linear(dim, dim)
#
#     def forward(self, x):
#         b, n, d = x.shape
#         size = d // self.num_heads
#         qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, size)
#         q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, size)
#         shares = (q @ k.mT / size**0.5).softmax(dim=-1)  # (B, heads, N, N)
#         x = (shares @ v).transpose(1, 2)  # (B, N, heads, size)
#         return self.proj(x.reshape(b, n, d))
# ```
# </details>

# %%
class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        ...  # your code: num_heads, qkv, proj

    def forward(self, x):
        ...  # your code: (B, N, D) → (B, N, D)


# %%
check.Attention(Attention)

# %%
Attention = course.use("Attention")

# %% [markdown]
# We copy the random weights of a new `Attention` into the package's fast version and compare the two.

# %%
batch = torch.randn(2, 49, 192)  # two images with 49 tokens each
ours, fast = Attention(192, 6), PackageAttention(192, 6)
fast.load_state_dict(ours.state_dict())
torch.testing.assert_close(ours(batch), fast(batch))
print("same outputs, of shape", tuple(ours(batch).shape))

# %% [markdown]
# ## The block
#
# Attention moves information between tokens. A Transformer block adds a second layer that works on each token alone:
# an **MLP** of two linear layers, 192 → 768 → 192, with an activation function (GELU) between them.
#
# **Predict first.** We change 1 of 49 tokens. Then we pass all 49 through attention and, separately, through an MLP.

# %%
guess_change = course.predict("How many of the 49 outputs change: in attention, and in the MLP?")

# %%
torch.manual_seed(0)
before = torch.randn(1, 49, 192)
after = before.clone()
after[0, 20] += 1
mlp = nn.Sequential(nn.Linear(192, 768), nn.GELU(), nn.Linear(768, 192))
moved = [int(((layer(before) - layer(after)).abs().amax(dim=2) > 1e-6).sum())
         for layer in (Attention(192, 6), mlp)]
guess_change.reveal(f"attention: {moved[0]} of 49, MLP: {moved[1]} of 49")


# %% [markdown]
# All 49 outputs of attention change, because each one contains a share of every token. Only one output of the MLP
# changes.
#
# Two more ingredients make deep stacks trainable. [**LayerNorm**](GLOSSARY.md#layernorm) shifts and scales each token
# to mean 0 and standard deviation 1, and then applies a learned scale and shift. A
# [**residual connection**](GLOSSARY.md#residual-connection) adds the output of a layer to its input. The block is then
#
# $$y = x + \operatorname{attn}(\operatorname{norm}_1(x)), \qquad z = y + \operatorname{mlp}(\operatorname{norm}_2(y)).$$
#
# This order is called *pre-norm*: only what a layer *reads* is normalised, so the sums run straight from the first
# block to the last, and the gradients straight back. Such blocks are easier to train than the original Transformer's,
# which normalise the sums ([Xiong et al. 2020](https://arxiv.org/abs/2002.04745)).
#
# ### ✏️ Exercise 3 · `Block`  (★★☆ · 12 minutes)
#
# Write the module with the attributes `norm1`, `attn`, `norm2` and `mlp`. The MLP is four times as wide inside, and its
# layers are named `fc1` and `fc2`. The trained weights expect LayerNorm with `eps=1e-6`. A wrong order of norm, layer
# and sum gives the right shape, too, so compare your code with the formula.
#
# <details><summary>Hint 1</summary>
#
# For the names `mlp.fc1` and `mlp.fc2`, write a small class `Mlp` in the same cell, above `Block`.
# </details>
# <details><summary>Hint 2</summary>
#
# `forward` has two lines. Each has one norm, one layer and one sum, and the second works on the result of the first.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class Mlp(nn.Module):
#     def __init__(self, dim):
#         super().__init__()
#         self.fc1 = nn.Linear(dim, 4 * dim)
#         self.fc2 = nn.Linear(4 * dim, dim)
#
#     def forward(self, x):
#         return self.fc2(F.gelu(self.fc1(x)))
#
#
# class Block(nn.Module):
#     def __init__(self, dim, num_heads):
#         super().__init__()
#         self.norm1 = nn.LayerNorm(dim, eps=1e-6)
#         self.attn = Attention(dim, num_heads)
#         self.norm2 = nn.LayerNorm(dim, eps=1e-6)
#         self.mlp = Mlp(dim)
#
#     def forward(self, x):
#         x = x + self.attn(self.norm1(x))
#         x = x + self.mlp(self.norm2(x))
#         return x
# ```
# </details>

# %%
class Block(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        ...  # your code: norm1, attn, norm2, mlp

    def forward(self, x):
        ...  # your code: (B, N, D) → (B, N, D)


# %%
check.Block(Block)

# %%
Block = course.use("Block")

# %%
for name, part in Block(192, 6).named_children():
    print(f"{name:<6} {sum(weight.numel() for weight in part.parameters()):>8,} parameters")

# %% [markdown]
# Two thirds of a block's parameters are in the MLP, and one third is in attention.
#
# ## The encoder sees only what is visible
#
# The encoder first turns patches into tokens. Like the official code, we use a convolution. It computes the same as a
# matrix applied to each flattened patch (notebook 01).

# %%
images = normalise(course.photographs(224)[:2])  # (2, 3, 224, 224)
conv = nn.Conv2d(3, 192, kernel_size=16, stride=16)
tokens = conv(images).flatten(2).mT  # (2, 192, 14, 14) → (2, 196, 192)

matrix = conv.weight.permute(2, 3, 1, 0).reshape(768, 192)  # in the order of patchify
print("tokens:", tuple(tokens.shape))

# %% [markdown]
# Next, we add to every token the position embedding of its place. Then we drop most tokens, and the rest pass through
# the blocks.
#
# Does it matter whether we embed and then mask, or mask and then embed? We do both and compare.

# %%
guess_first = course.predict("Will masking first give the same tokens as masking last?")

# %%
positions = sincos_positions(192, 14, 14)[None]  # (1, 196, 192)
noise = torch.rand(2, 196, generator=torch.Generator().manual_seed(0))
mask_last = random_masking(tokens + positions, 0.75, noise)[0]  # (2, 49, 192)

kept_patches = random_masking(patchify(images, 16), 0.75, noise)[0]  # (2, 49, 768)
kept_positions = random_masking(positions.expand(2, -1, -1), 0.75, noise)[0]
mask_first = kept_patches @ matrix + conv.bias + kept_positions
torch.testing.assert_close(mask_first, mask_last)
guess_first.reveal(f"yes: each order gives the same tokens, of shape {tuple(mask_last.shape)}")


# %% [markdown]
# Both orders give the same tokens, because embedding works on each patch alone. Masking first is cheaper. Embedding
# first is shorter to write, so your encoder may do that.
#
# In both orders each visible patch carries *its own* position, and nothing else says where it came from. No token
# stands for a missing patch when the blocks run, so missing patches cost nothing there.
#
# ### ✏️ Exercise 4 · `Encoder`  (★★☆ · 15 minutes)
#
# Write the module. `forward(images, mask_ratio, noise)` embeds the images, adds the positions, masks, runs the blocks
# and applies a last norm. It returns the tokens, the mask and `ids_restore`. The attributes are `patch_embed` (a module with
# the convolution as its attribute `proj`), `pos_embed` (1, L, D), `blocks` and `norm` (again with `eps=1e-6`). Positions
# are fixed, so `pos_embed` is a buffer.
#
# <details><summary>Hint 1</summary>
#
# Write a small class `PatchEmbed` with the convolution `proj` in the same cell, above `Encoder`.
# </details>
# <details><summary>Hint 2</summary>
#
# `self.register_buffer("pos_embed", sincos_positions(dim, side, side)[None])`, with `side = img_size // patch_size`.
# `nn.Sequential(*[Block(dim, num_heads) for _ in range(depth)])` makes `depth` blocks.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class PatchEmbed(nn.Module):
#     def __init__(self, patch_size, dim):
#         super().__init__()
#         self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
#
#     def forward(self, images):
#         return self.proj(images).flatten(2).transpose(1, 2)  # (B, L, D)
#
#
# class Encoder(nn.Module):
#     def __init__(self, img_size, patch_size, dim, depth, num_heads):
#         super().__init__()
#         side = img_size // patch_size
#         self.patch_embed = PatchEmbed(patch_size, dim)
#         self.register_buffer("pos_embed", sincos_positions(dim, side, side)[None])
#         self.blocks = nn.Sequential(*[Block(dim, num_heads) for _ in range(depth)])
#         self.norm = nn.LayerNorm(dim, eps=1e-6)
#
#     def forward(self, images, mask_ratio=0.75, noise=None):
#         x = self.patch_embed(images) + self.pos_embed  # (B, L, D)
#         x, mask, ids_restore = random_masking(x, mask_ratio, noise)
#         return self.norm(self.blocks(x)), mask, ids_restore
# ```
# </details>

# %%
class Encoder(nn.Module):
    def __init__(self, img_size, patch_size, dim, depth, num_heads):
        super().__init__()
        ...  # your code: patch_embed, pos_embed, blocks, norm

    def forward(self, images, mask_ratio=0.75, noise=None):
        ...  # your code: tokens, mask, ids_restore


# %%
check.Encoder(Encoder)

# %%
Encoder = course.use("Encoder")

# %%
encoder = Encoder(img_size=224, patch_size=16, dim=192, depth=8, num_heads=6)
latent, mask, ids_restore = encoder(images, mask_ratio=0.75, noise=noise)
print("images     ", tuple(images.shape))
print("latent     ", tuple(latent.shape))
print("mask       ", tuple(mask.shape), f"{mask[0].sum():.0f} of them hidden")
print("ids_restore", tuple(ids_restore.shape))


# %% [markdown]
# The encoder returns 49 tokens for each image, one for each visible patch. They are called the
# [**latent**](GLOSSARY.md#latent) representation. After pretraining, this encoder is what we keep.
#
# ## The decoder fills the holes
#
# The decoder first makes the tokens narrower, from 192 to 128 values. Then every hidden place gets the same learned
# vector, the **mask token**, and the visible tokens go back to their places. Imagine a list with the visible tokens
# first, in shuffled order, and mask tokens after them. `ids_restore` (notebook 02) tells each place which entry of this
# list to read. The next cell does this in a loop, for simplicity with the tokens of 192
# values, before they are made narrower.

# %%
def fill_slowly(x, mask_token, ids_restore):
    length = ids_restore.shape[1]
    filled = mask_token.repeat(len(x), length, 1)  # (B, L, D'): mask tokens everywhere
    for image in range(len(x)):
        for place in range(length):
            if ids_restore[image, place] < x.shape[1]:  # this place is visible
                filled[image, place] = x[image, ids_restore[image, place]]
    return filled


filled = fill_slowly(latent, torch.zeros(1, 1, 192), ids_restore)
print(tuple(latent.shape), "becomes", tuple(filled.shape))


# %% [markdown]
# After that the decoder adds position embeddings of its own. All mask tokens are the same vector, so without positions
# nothing would distinguish one hidden place from another. After several blocks and a norm, a linear layer `pred`
# predicts all 768 values of each patch.
#
# ### ✏️ Exercise 5 · `Decoder`  (★★★ · 18 minutes)
#
# Write the module with the attributes `embed`, `mask_token` (1, 1, D'), `pos_embed`, `blocks`, `norm` (with `eps=1e-6`)
# and `pred`. D' is the decoder's width, `decoder_dim`. `forward(latent, ids_restore)` returns (B, L, p·p·3). Fill the
# holes without a loop.
#
# <details><summary>Hint 1</summary>
#
# The mask token is an `nn.Parameter`. `self.mask_token.expand(B, number, -1)` repeats it without
# copying.
# </details>
# <details><summary>Hint 2</summary>
#
# Join the visible tokens and the mask tokens with `torch.cat` along `dim=1`, in this order. `x.gather(1, index)` then
# reads along the tokens. It wants an index for every value: `ids_restore[:, :, None].expand_as(x)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class Decoder(nn.Module):
#     def __init__(self, img_size, patch_size, dim, decoder_dim, depth, num_heads):
#         super().__init__()
#         side = img_size // patch_size
#         self.embed = nn.Linear(dim, decoder_dim)
#         self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
#         self.register_buffer("pos_embed", sincos_positions(decoder_dim, side, side)[None])
#         self.blocks = nn.Sequential(*[Block(decoder_dim, num_heads) for _ in range(depth)])
#         self.norm = nn.LayerNorm(decoder_dim, eps=1e-6)
#         self.pred = nn.Linear(decoder_dim, 3 * patch_size**2)
#
#     def forward(self, latent, ids_restore):
#         x = self.embed(latent)  # (B, L_vis, D')
#         num_hidden = ids_restore.shape[1] - x.shape[1]
#         x = torch.cat([x, self.mask_token.expand(len(x), num_hidden, -1)], dim=1)
#         x = x.gather(1, ids_restore[:, :, None].expand_as(x))  # every token in its place
#         return self.pred(self.norm(self.blocks(x + self.pos_embed)))
# ```
# </details>

# %%
class Decoder(nn.Module):
    def __init__(self, img_size, patch_size, dim, decoder_dim, depth, num_heads):
        super().__init__()
        ...  # your code: embed, mask_token, pos_embed, blocks, norm, pred

    def forward(self, latent, ids_restore):
        ...  # your code: (B, L_vis, D) → (B, L, p·p·3)


# %%
check.Decoder(Decoder)

# %%
Decoder = course.use("Decoder")

# %%
decoder = Decoder(img_size=224, patch_size=16, dim=192, decoder_dim=128, depth=4, num_heads=4)
print("latent    ", tuple(latent.shape))
print("prediction", tuple(decoder(latent, ids_restore).shape))


# %% [markdown]
# The decoder turns 49 tokens into predictions for all 196 patches.
#
# ### ✏️ Exercise 6 · `MAE`  (★★☆ · 12 minutes)
#
# Write the module with the attributes `patch_size`, `encoder` and `decoder`. `forward` returns the prediction, the mask
# and the latent tokens. Also set the initial weights much as the official code does: `nn.init.xavier_uniform_` for
# the weight of every linear layer and of the convolution (reshaped to a matrix, with a row for each output), zeros for the
# biases, and
# `nn.init.normal_` with `std=0.02` for the mask token.
#
# <details><summary>Hint 1</summary>
#
# `for module in self.modules(): if isinstance(module, (nn.Linear, nn.Conv2d)): ...` reaches every layer.
# </details>
# <details><summary>Hint 2</summary>
#
# `module.weight.view(module.weight.shape[0], -1)` is the weight as a matrix, for both kinds of layer.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def initialise(module):
#     if isinstance(module, (nn.Linear, nn.Conv2d)):
#         nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
#         nn.init.zeros_(module.bias)
#
#
# class MAE(nn.Module):
#     def __init__(self, img_size=224, patch_size=16, embed_dim=192, depth=8, num_heads=6,
#                  decoder_embed_dim=128, decoder_depth=4, decoder_num_heads=4):
#         super().__init__()
#         self.patch_size = patch_size
#         self.encoder = Encoder(img_size, patch_size, embed_dim, depth, num_heads)
#         self.decoder = Decoder(img_size, patch_size, embed_dim, decoder_embed_dim,
#                                decoder_depth, decoder_num_heads)
#         self.apply(initialise)
#         nn.init.normal_(self.decoder.mask_token, std=0.02)
#
#     def forward(self, images, mask_ratio=0.75, noise=None):
#         latent, mask, ids_restore = self.encoder(images, mask_ratio, noise)
#         pred = self.decoder(latent, ids_restore)
#         return pred, mask, latent
# ```
# </details>

# %%
class MAE(nn.Module):
    def __init__(self, img_size=224, patch_size=16, embed_dim=192, depth=8, num_heads=6,
                 decoder_embed_dim=128, decoder_depth=4, decoder_num_heads=4):
        super().__init__()
        ...  # your code: patch_size, encoder, decoder, and the initial weights

    def forward(self, images, mask_ratio=0.75, noise=None):
        ...  # your code: pred, mask, latent


# %%
check.MAE(MAE)

# %%
MAE = course.use("MAE")

# %% [markdown]
# The default sizes of the model are those of the project report.

# %%
guess_size = course.predict("The encoder has … times as many parameters as the decoder.")

# %%
count = {name: sum(weight.numel() for weight in half.parameters())
         for name, half in MAE().named_children()}
guess_size.reveal(f"{count['encoder'] / count['decoder']:.1f} times as many: "
                  f"{count['encoder']:,} compared with {count['decoder']:,}")

# %% [markdown]
# The encoder has 3.7 million parameters, 4.0 times as many as the decoder.
#
# ## Trained weights in your model
#
# This course ships the weights of a model called `pixels`, which learned from 100,000 photographs without labels. If
# every name and every shape in your classes is right, these weights fit.

# %%
sizes, trained = course.shipped_weights("pixels")
mae = MAE(**sizes).eval()
print(mae.load_state_dict(trained))
print(", ".join(f"{name} {number}" for name, number in sizes.items()))

# %% [markdown]
# All keys (the names of the tensors) match. (The official code has other names: our `decoder.blocks.0` is its
# `decoder_blocks.0`. `shipped_weights` translates them.)
#
# We hide three quarters of the patches of five photographs and let the model predict.

# %%
p, side = sizes["patch_size"], sizes["img_size"] // sizes["patch_size"]
photos = normalise(course.photographs(224))  # (5, 3, S, S)
draw = torch.rand(5, side**2, generator=torch.Generator().manual_seed(4))  # the noise
with torch.no_grad():
    pred, hidden, seen = mae(photos, mask_ratio=0.75, noise=draw)
print(f"{seen.shape[1]} of {side**2} patches visible; prediction {tuple(pred.shape)}")

# %% [markdown]
# To show the result, we make the **composite** of notebook 00: predicted patches where patches were hidden, and the
# true pixels elsewhere.

# %%
hidden_pixels = patch_mask_to_pixels(hidden, p) > 0  # (5, 1, S, S)
original = denormalise(photos).clamp(0, 1)  # (5, 3, S, S)
covered = torch.where(hidden_pixels, 0.5, original)  # grey where hidden


def as_predicted(pred):
    return denormalise(unpatchify(pred, p, side, side)).clamp(0, 1)  # (5, 3, S, S)


def composite(pred):
    return torch.where(hidden_pixels, as_predicted(pred), original)  # (5, 3, S, S)


# %%
def in_rows(rows):
    """A figure in which each row is (title, five images)."""
    figure, axes = new_figure(len(rows), 5, 10, 2.15 * len(rows))
    for row, (title, pictures) in zip(axes, rows):
        for axis, picture in zip(row, pictures):
            axis.imshow(picture.permute(1, 2, 0))
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(title, fontsize=12)
    return figure


figure = in_rows([("what it sees", covered), ("reconstruction", composite(pred)),
                  ("original", original)])
show(figure, "Five photographs in three rows: with three quarters of the patches covered, "
             "reconstructed by the model, and the originals.")


# %% [markdown]
# That is a working masked autoencoder. The body of the rocket continues through hidden patches, the table comes back
# orange and the sky blue. Fine detail does not come back: the faces are blurred or missing.
#
# How large is the model's error? We take the mean squared error on hidden patches, in normalised pixels (you write this
# `mae_loss` in notebook 04), and compare it with
# the errors of two other predictions: zero everywhere, which is the mean colour of many photographs, and the output of
# a model with its initial weights.

# %%
def hidden_error(pred):
    return mae_loss(pred, photos, hidden, p, norm_pix=False).item()


torch.manual_seed(0)
with torch.no_grad():
    untrained = MAE(**sizes).eval()(photos, 0.75, draw)[0]
print(f"trained weights: {hidden_error(pred):.2f}")
print(f"predicting zero: {hidden_error(torch.zeros_like(pred)):.2f}")
print(f"initial weights: {hidden_error(untrained):.1f}")

# %% [markdown]
# The trained model has an error of 0.51. Predicting zero gives 1.39, and the initial weights give 1.6.
#
# Last, we put the same weights into the package's fast model, which should make the same predictions.

# %%
package = MaskedAutoencoder(**sizes).eval()
package.load_state_dict(to_official(mae.state_dict()))
with torch.no_grad():
    torch.testing.assert_close(package(photos, 0.75, noise=draw).pred, pred, atol=1e-4, rtol=1e-4)
print("your model and the package's model make the same predictions")

# %% [markdown]
# The explorer below runs the same `mae`. Move the mask ratio, and change the seed to hide other patches.
#
# At which ratio can you no longer tell what the photograph shows?

# %%
reconstruction_explorer = widgets.reconstruction_explorer(mae)
reconstruction_explorer

# %% [markdown]
# ## Where does a patch look?
#
# The attention weights of a trained model tell us where each patch looks. In a convolutional network the first layers
# see a small neighbourhood and the last layers see far. Is it the same in an MAE's encoder? We take another model that
# comes with this course, called `original`, and hide no patch.
#
# For each block and head we ask how much of the attention goes to the patch itself and its neighbours, a square of
# 3 × 3 patches. We average over every patch of five photographs.

# %%
guess_near = course.predict("Which block keeps more of its attention near: the first or the last?")

# %%
near = widgets.neighbours(widgets.shipped().grid)  # (N, N), True for itself and those around
maps = torch.stack([widgets.recorded(name) for name in course.PHOTOGRAPHS])
share = (maps * near).sum(dim=-1).mean(dim=(0, 3))  # (5, blocks, heads, N, N) → (blocks, heads)
rows = {"mean, %": share.mean(dim=1), "most, %": share.amax(dim=1), "least, %": share.amin(dim=1)}
nearer = "the first" if share[0].mean() > share[-1].mean() else "the last"
lines = [nearer, "block:    " + "".join(f"{b:>4}" for b in range(len(share)))]
lines += [f"{name + ':':<10}" + "".join(f"{100 * s:>4.0f}" for s in row)
          for name, row in rows.items()]
lines.append(f"looking at all patches evenly would give {100 * near.float().mean():.0f} %")
guess_near.reveal("\n".join(lines))

# %% [markdown]
# Evenly spread attention would put 4 % on a patch and its neighbours. The first block puts 7 % there, the second 10 %,
# and the last 5 %, hardly more than evenly spread attention. So the early blocks of this encoder prefer near patches,
# but only weakly. In the first block the heads differ, from 5 to 11 %. In the last they hardly do.
#
# The explorer draws the weights of one patch, which a square marks on the left. In the middle, the photograph is bright
# where this patch looks. The map on the right shows the same weights, the largest in yellow. Move `block` and `head`,
# and compare the first block with the last one. A single patch and head can differ from the average: in block 0, head
# 0, the patch that is shown first gives only 3 % to its neighbourhood. (Evenly spread attention would give it 9/196 = 5
# %. Patches at the edge have fewer neighbours, hence the 4 % on average.)

# %%
attention_explorer = widgets.attention_explorer()
attention_explorer

# %% [markdown]
# This is one small model and five photographs. In larger studies,
# [Raghu et al. (2021)](https://arxiv.org/abs/2108.08810) find that *supervised* Transformers look both near and far in
# their first layers and mostly far in their last ones. [Xie et al. (2023)](https://arxiv.org/abs/2205.13543) find that
# after *masked* pretraining, every layer has heads that look near, and the heads of a layer differ strongly.
# Our model does not show this: in its last block, every head gives 4 to 5 % to the neighbourhood, about as
# much as evenly spread attention.
#
# ## Three ways to break it
#
# Three common mistakes raise no error, and all shapes are correct. We make them on purpose, with the trained weights,
# and look at the pictures.
#
# ### 1. The order is not restored
#
# Suppose the decoder forgets `ids_restore`. The visible tokens then stay in front, and all mask tokens come after them.

# %%
guess_order = course.predict("If the order is not restored, where will the picture look worst?")

# %%
in_order = torch.arange(side**2).expand(5, -1)  # "entry i belongs to place i"
with torch.no_grad():
    unrestored = mae.decoder(seen, in_order)
figure = in_rows([("correct", composite(pred)), ("not restored", composite(unrestored))])
guess_order.reveal(
    f"in the first rows; the error is {hidden_error(unrestored):.2f} "
    f"instead of {hidden_error(pred):.2f}",
    figure, "Five reconstructions, correct in the upper row. Below, with the order not restored, "
    "the first rows are full of gaudy stripes, and the rest is a smooth haze between the visible "
    "patches.")

# %% [markdown]
# The error rises from 0.51 to 1.60, so even predicting zero would be better. The 49 visible tokens now stand in the
# first 49 places, the top three and a half rows. There you see the decoder's output for visible tokens, which training
# never compared with anything. All other places have mask tokens and get a haze.
#
# ### 2. The decoder has no positions
#
# Suppose that no position is added in the decoder.

# %%
guess_places = course.predict("Will the predictions for two hidden patches of an image differ?")

# %%
broken = copy.deepcopy(mae)
broken.decoder.pos_embed.zero_()
with torch.no_grad():
    lost = broken(photos, 0.75, draw)[0]
lines = ["no"]
for name, found in (("with positions", pred), ("without", lost)):
    spread = torch.stack([one[m > 0].std(dim=0).mean() for one, m in zip(found, hidden)]).mean()
    lines.append(f"{name:<15} error {hidden_error(found):.2f}, "
                 f"standard deviation between hidden patches {spread:.2f}")

# %%
figure = in_rows([("correct", composite(pred)), ("no positions", composite(lost))])
guess_places.reveal("\n".join(lines), figure, "Five reconstructions, correct in the upper row. "
                    "Below, without positions in the decoder, one greenish patch is repeated like "
                    "wallpaper at every hidden place.")

# %% [markdown]
# All mask tokens are the same vector, so without positions, all hidden patches of an image get the same prediction. The
# standard deviation between them is 0.00, and the error is 1.81.
#
# ### 3. The checkpoint has no decoder
#
# Many published MAE checkpoints (files of weights) hold only the encoder, since the decoder is not needed for
# classification. With `strict=False`, PyTorch loads what it finds and leaves the rest as it is.

# %%
guess_decoder = course.predict("With no decoder in the file, what will fill the hidden places?")

# %%
encoder_only = {name: w for name, w in trained.items() if name.startswith("encoder.")}
torch.manual_seed(0)
halved = MAE(**sizes).eval()
report = halved.load_state_dict(encoder_only, strict=False)
with torch.no_grad():
    noisy = halved(photos, 0.75, draw)[0]
figure = in_rows([("complete", composite(pred)), ("no decoder", composite(noisy))])
guess_decoder.reveal(
    f"coloured noise: {len(report.missing_keys)} tensors are missing, no error is raised, "
    f"and the error on hidden patches is {hidden_error(noisy):.1f}",
    figure, "Five reconstructions by the complete model; below, with an untrained decoder, "
    "coloured noise at every hidden place.")

# %% [markdown]
# We get coloured noise. The error is 1.6, that of a model with its initial weights, although the encoder is as good as
# before. If your reconstructions look like this, print the missing keys first.
#
# ### ✏️ Open exercise · What can your model do without?  (★★☆ · 15 minutes)
#
# Remove one thing from the trained model and measure what it costs. For example, switch off one head, the attention of
# one block, the MLP of one block, or a whole block. Before each measurement, write down what you expect. Which block
# matters most? Finish with two sentences that you would defend to a sceptical colleague.
#
# The cell below shows one example of such an [**ablation**](GLOSSARY.md#ablation). It sets the weights and the bias of
# `proj` to zero, so that the attention of block 0 adds nothing.
#
# <details><summary>What a good answer shows</summary>
#
# - **One change at a time**, each on a fresh copy of the trained model, with a prediction written down beforehand.
# - **A scale.** The error is compared with 0.51 (the complete model) and with 1.39 (predicting zero).
# - **All blocks, not one.** A table or plot shows the error for every block.
# - **Some idea of noise.** The measurement is repeated with other masks (another seed), and differences smaller than
#   the spread are not interpreted.
# - **A careful conclusion.** "Without the MLP of block 3 the error rises from … to …" is a result. "Block 3
#   detects edges" is not: nothing here measured edges. Five photographs and one model give only a hint.
# - **Doubt about a surprise.** If a removal changes nothing, a good answer first makes sure that it took effect, for
#   example by comparing the two predictions.
# </details>

# %%
ablated = copy.deepcopy(mae)
nn.init.zeros_(ablated.encoder.blocks[0].attn.proj.weight)
nn.init.zeros_(ablated.encoder.blocks[0].attn.proj.bias)
with torch.no_grad():
    error = hidden_error(ablated(photos, 0.75, draw)[0])
print(f"complete: {hidden_error(pred):.3f}, without attention in block 0: {error:.3f}")


# %% [markdown]
# Without the attention of block 0, the error rises only from 0.511 to 0.520. Look for a part that the model needs more.
#
# ## Aside: what does it cost?
#
# In notebook 02 you saw what a curriculum costs in [**multiply-adds**](GLOSSARY.md#multiply-add). Now you count them
# yourself. Almost all the work of a Transformer is matrix products, so we count only those. A matrix of A × B values,
# applied to N tokens, costs N·A·B multiply-adds.
#
# ### ✏️ Exercise 7 · The price of a block  (★★☆ · 6 minutes)
#
# Write `block_multiply_adds(n, d)`: the multiply-adds of one block on `n` tokens of `d` values, with an MLP four times
# as wide.
#
# <details><summary>Hint 1</summary>
#
# List the matrices with weights, in units of d²: queries, keys, values, `proj`, and the two of the MLP.
# </details>
# <details><summary>Hint 2</summary>
#
# Attention has two products without weights: queries with keys, and attention weights with values. The heads share the
# d values among them, so their number does not matter.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def block_multiply_adds(n, d):
#     return 12 * n * d**2 + 2 * n**2 * d
# ```
# </details>

# %%
def block_multiply_adds(n, d):
    ...  # your code


# %%
check.block_multiply_adds(block_multiply_adds)


# %% [markdown]
# PyTorch can count for us. `FlopCounterMode` counts one multiply-add as two operations, so we halve its result. We ask
# for the plain form of attention (`MATH`), whose two products it can see. Counting needs only shapes, so we put the
# model on PyTorch's `meta` device, where tensors have shapes but no values.

# %%
def multiply_adds(step, *arguments):
    """Multiply-adds of the matrix products in step(*arguments), per image of a batch of two."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(*arguments)
    return counter.get_total_flops() / 2 / 2  # two operations each, two images


with torch.device("meta"):
    meta_block = Block(192, 6)
    counted = {n: multiply_adds(meta_block, torch.zeros(2, n, 192)) for n in (49, 196)}
for n, number in counted.items():
    print(f"{n:>3} tokens: {number / 1e6:6.1f} million multiply-adds")
print(f"ratio: {counted[196] / counted[49]:.2f}")

# %% [markdown]
# Four times as many tokens cost 4.49 times as much. The cost of the weight matrices grows in proportion to the number
# of tokens. The cost of the two products inside attention grows with the square of this number, but at this size it is
# still a small part.
#
# ### The mask ratio
#
# How much does the mask ratio change the cost of a forward pass? We count with the package's model, which masks before
# it embeds, so that hidden patches cost nothing in the encoder.
#
# **Predict first.** At ratio 0.5 the encoder sees twice as many patches as at 0.75.

# %%
guess_ratio = course.predict("At 0.5 a forward pass costs … times as much as at 0.75.")

# %%
with torch.device("meta"):
    model = MaskedAutoencoder.from_preset("specified")
    blank, places = torch.zeros(2, 3, 224, 224), torch.zeros(2, 196, dtype=torch.long)


def price(num_visible):
    """Million multiply-adds of the encoder and of the decoder, for one image."""
    ids = torch.zeros(2, num_visible, dtype=torch.long, device="meta")
    latents = torch.zeros(2, num_visible, 192, device="meta")
    return (multiply_adds(model.encode, blank, ids) / 1e6,
            multiply_adds(model.decode, latents, places) / 1e6)


# %%
prices = {n: price(n) for n in (196, 98, 49, 19)}
lines = [f"{sum(prices[98]) / sum(prices[49]):.2f} times as much",
         "patches                    encoder + decoder   compared with 49 visible"]
for n, (first, second) in prices.items():
    both = first + second
    lines.append(f"{n:>3} visible, {100 - n / 1.96:>2.0f} % hidden: {first:>5.1f} + {second:.1f} = "
                 f"{both:>7,.1f} million   {both / sum(prices[49]):.2f} times")
guess_ratio.reveal("\n".join(lines))

# %% [markdown]
# At ratio 0.5 a forward pass costs 1.51 times as much as at 0.75, not twice as much. The decoder has 196 tokens at every
# ratio, so its cost hardly changes. At 0.75 it does 53 % of the work with a fifth of the parameters. That is also why
# hiding 90 % of the patches saves only another 29 %.
#
# A training step costs about three times a forward pass at every mask ratio, because the backward pass needs two products
# for each one of the forward pass. So the ratios above hold for training, and the curriculum of notebook 02 is not free.
#
# ### Symmetric designs
#
# "Symmetric" can mean two things: mask tokens already in the encoder, as in BERT, or a decoder as large as the encoder.
# What if a model has both?

# %%
guess_design = course.predict("With mask tokens in the encoder and a large decoder, "
                              "the cost is … times ours.")

# %%
designs = {"our design": (0, 0), "mask tokens in the encoder": (1, 0),
           "a decoder like the encoder": (0, 1), "both": (1, 1)}
totals = {name: sum(widgets.multiply_adds(49, widgets.ENCODERS[e], widgets.DECODERS[d])) / 1e6
          for name, (e, d) in designs.items()}
torch.testing.assert_close(totals["our design"], sum(price(49)))  # as the explorer counts
lines = [f"{totals['both'] / totals['our design']:.2f} times ours"]
lines += [f"{name:<27} {total:>5,.0f} million, {total / totals['our design']:.2f} times"
          for name, total in totals.items()]
guess_design.reveal("\n".join(lines))

# %% [markdown]
# With mask tokens in the encoder, a forward pass costs 2.58 times as much as ours. With a decoder as large as the
# encoder it costs 2.56 times as much, and with both changes 4.15 times. So the two halves of the idea, an encoder with
# few tokens and a small decoder, save about the same here.
#
# In the explorer you choose the mask ratio and the design. The upper bar shows the multiply-adds
# of the design that you chose, the lower bar those of our design with mask tokens in the encoder, for comparison.

# %%
flow_explorer = widgets.flow_explorer()
flow_explorer

# %% [markdown]
# ### Three times faster?
#
# The report claims that an asymmetric model is three times faster than a symmetric one. The MAE paper says "3× or more"
# for its own, much larger models. We can count the paper's ViT-Large as well. It has a [**class
# token**](GLOSSARY.md#class-token): one extra learned token, not tied to any patch, that our model leaves out. So its
# encoder sees 49 + 1 tokens.

# %%
with torch.device("meta"):
    large = MaskedAutoencoder.from_preset("vit_large")
    ids, tokens_50 = torch.zeros(2, 49, dtype=torch.long), torch.zeros(2, 50, 1024)
    decoding = multiply_adds(large.decode, tokens_50, places)
    short = multiply_adds(large.encode, blank, ids) + decoding
    full = multiply_adds(large.encode, blank) + decoding
print(f"decoder's share: {100 * decoding / short:.0f} %")
print(f"all tokens in the encoder: {full / short:.1f} times the cost")

# %% [markdown]
# For ViT-Large we count 3.2 times; He et al. report 3.3 (their table 1c). In hours of training, their speed-up is 2.8
# to 4.1, depending on the encoder and decoder (table 2). For our small model we count 2.58 for the same change, and
# 4.15 with a large decoder as well. So if "symmetric" means mask tokens in the encoder, "three times" is about right
# for the paper's models and too high for ours. If it means a large decoder as well, it is too low for ours.
# Multiply-adds are not seconds: notebook 10 measures the speed.
#
# Cost is not the only reason to keep mask tokens out of the encoder. With them, the accuracy of the paper's linear
# probe, a linear classifier on the frozen features, falls from 73.5 % to 59.6 % (table 1c). Their explanation is that
# such an encoder is pretrained on inputs full of mask tokens, which whole images do not contain.
#
# ## Quiz
#
# **1. At a mask ratio of 90 % the encoder sees 19 patches instead of 49. Why does a training step not cost 60 % less?**
#
# <details><summary>The cost of attention grows with the square of the number of tokens</summary>
#
# ✗ That would make the saving larger, not smaller: the number of pairs falls by 85 %.
# </details>
# <details><summary>The decoder works on all places, whatever the ratio is</summary>
#
# ✓ It has 196 tokens at any ratio, and at 75 % it already does more than half of the work.
# </details>
# <details><summary>Mask tokens cost more than visible tokens</summary>
#
# ✗ All tokens cost the same in a matrix product.
# </details>
#
# **2. Why does the encoder not need `ids_restore`?**
#
# <details><summary>Its tokens are still in the order of the image</summary>
#
# ✗ They are in shuffled order. Attention is permutation-equivariant, and the MLP works on each token alone.
# </details>
# <details><summary>Each token carries its own position, added before the blocks</summary>
#
# ✓ A visible patch carries its position embedding with it, so its place in the list does not matter.
# </details>
# <details><summary>It does need it, but the library applies it silently</summary>
#
# ✗ You wrote the encoder yourself. It returns `ids_restore` for the decoder and never reads it.
# </details>
#
# **3. All hidden patches of your reconstruction show exactly the same smooth pattern. What do you suspect?**
#
# <details><summary>The decoder has no positions</summary>
#
# ✓ Then all mask tokens stay equal through every block, and the decoder predicts the same patch for each of them.
# </details>
# <details><summary>The decoder was not in the checkpoint</summary>
#
# ✗ An untrained decoder gives fine, coloured noise.
# </details>
# <details><summary>The order was not restored</summary>
#
# ✗ Then hidden patches still differ from each other, because each one has a position of its own.
# </details>
#
# ## Key takeaways
#
# - Self-attention is a softmax between two matrix products. It is permutation-equivariant, so positions must be added.
# - In a block, attention first moves information between tokens, and then the MLP works on each token alone. Norms and
#   residual sums make deep stacks trainable.
# - The encoder sees the visible patches and their positions and nothing else: B × 49 × 192. The decoder adds mask
#   tokens, restores the order, adds positions, and predicts B × 196 × 768.
# - Trained weights fit any code that has the same names, shapes and conventions.
# - A wrong order, missing positions and a missing decoder raise no error. You recognise them by the pictures.
# - At a mask ratio of 0.75 the decoder does more than half of the work. With mask tokens in the encoder, a forward
#   pass would cost 2.58 times as much here and 3.2 times as much in ViT-Large.

# %%
course.status()

# %% [markdown]
# **Next:** [04 · Reconstruction loss](04_reconstruction_loss.ipynb), where your model takes its first training
# steps.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Section 3, tables 1 and 2.
# - Vaswani et al. (2017). [*Attention is all you need.*](https://arxiv.org/abs/1706.03762) NeurIPS. Attention, heads
#   and blocks.
# - Dosovitskiy et al. (2021). [*An image is worth 16x16 words.*](https://arxiv.org/abs/2010.11929) ICLR. The Vision
#   Transformer. Our encoder is one.
# - Xiong et al. (2020). [*On layer normalization in the Transformer architecture.*](https://arxiv.org/abs/2002.04745)
#   ICML. Why the norm comes first.
# - Raghu et al. (2021). [*Do vision transformers see like convolutional neural
#   networks?*](https://arxiv.org/abs/2108.08810) NeurIPS. How far supervised models look.
# - Xie et al. (2023). [*Revealing the dark secrets of masked image modeling.*](https://arxiv.org/abs/2205.13543) CVPR.
#   How far masked models look.
# - Xie et al. (2022). [*SimMIM: a simple framework for masked image modeling.*](https://arxiv.org/abs/2111.09886) CVPR.
#   The other choice: mask tokens in the encoder, one linear layer as decoder.
