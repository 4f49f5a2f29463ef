# %% [markdown]
# # 3 · The asymmetric autoencoder: a large reader, a small painter
#
# Three quarters of the picture are hidden. Where do the holes go? One way is to carry them along as blanks, as
# BERT does with hidden words. A masked autoencoder leaves them outside: its encoder does not even learn that something is missing.
# This notebook builds both halves, follows every shape, and counts what that idea saves.
#
# **You will be able to**
#
# - write attention as a loop, as two matrix products and with several heads, and put it into a block;
# - follow a batch from pixels to predictions, and say the shape at every stage;
# - put mask tokens where patches are missing, and say what `ids_restore` is for;
# - count multiply-adds, and judge the claim "three times faster than a symmetric one";
# - recognise three faults that raise no error by the pictures they make.
#
# **Before you start:** [01](01_patchify.ipynb) and [02](02_curriculum_masking.ipynb): patches, positions,
# random masking. **Time:** 45 minutes.

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
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_lib.course.exercises import asymmetric_autoencoder as check
from mae_lib.course.session import show
from mae_lib.course.widgets import asymmetric_autoencoder as widgets
from mae_lib.data.augment import denormalise, normalise, resize
from mae_lib.losses import mae_loss, predicted_images
from mae_lib.masking import num_visible_patches, random_mask_ids, take_patches
from mae_lib.metrics import composite
from mae_lib.model import Attention, Block, MaskedAutoencoder, Mlp
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.plots import COLOURS, new_figure
from mae_lib.training.checkpoints import load_official, load_shipped

show(*widgets.title())

# %% [markdown]
# The lower half is the whole model, to scale. Each line is one token: its length is the number of values,
# its colour the mean colour of the patch it came from. The encoder is wide and deep, and short. The decoder
# is the first to see holes, as blue *mask tokens*, and it is narrow.
#
# What happens inside a block? How do the holes get back in? And is it worth the trouble? In this order.
#
# ## One token asks all the others
#
# *Attention* lets tokens exchange what they know. Each token makes three vectors of itself: a **query**
# $q_i$, what it looks for; a **key** $k_j$, what it has on offer; a **value** $v_j$, what it hands over. It then takes
# the mean of all values, weighted by how well their keys fit its query:
#
# $$o_i = \sum_j a_{ij}\, v_j, \qquad a_{ij} = \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt d}\right).$$
#
# Here $d$ is how many values a query or a key has.
#
# We take the queries, keys and values of a real model: the trained weights that come with this course. In their
# first block, one linear layer makes all three, for all heads at once.

# %%
trained, facts = load_shipped("original")
heads, dim = trained.config["num_heads"], trained.embed_dim
cat = resize(course.photograph("cat")[None], trained.img_size)  # (1, 3, H, W)
attn = trained.blocks[0].attn
with torch.no_grad():
    tokens = trained.patch_embed(patchify(cat, trained.patch_size)) + trained.pos_embed
    x = trained.blocks[0].norm1(tokens)  # (1, N, D)
    qkv = attn.qkv(x).reshape(1, -1, 3, heads, dim // heads)  # (1, N, 3, heads, d)
q, k, v = qkv[0, :, :, 0].unbind(1)  # head 0: each (N, d)
print(f"{trained.num_patches} tokens of {dim} values, {heads} heads; q, k, v:", tuple(q.shape))


# %% [markdown]
# Now the formula, read aloud: take a query, compare it with every key, turn the scores into shares that sum
# to 1, add up the values by their shares. Then the next query.

# %%
def attend_slowly(q, k, v):
    """One head, token by token: (N, d) each → (N, d)."""
    answers = []
    for query in q:
        scores = torch.stack([query @ key for key in k]) / len(query) ** 0.5  # (N,)
        shares = scores.softmax(dim=0)  # (N,), they sum to 1
        answers.append(sum(s * value for s, value in zip(shares, v, strict=True)))  # (d,)
    return torch.stack(answers)


slow = attend_slowly(q, k, v)  # (N, d)
print(tuple(slow.shape), f"from {len(q) * len(k):,} comparisons of two vectors")


# %% [markdown]
# ### ✏️ Exercise 1 · Attention without a loop  (★★☆ · 6 minutes)
#
# Write `single_head(q, k, v)` for a batch: each is (B, N, d), and so is the answer. All comparisons together
# are one matrix product, and so are all the weighted sums.
#
# <details><summary>Hint 1</summary>
#
# A row of the matrix of scores belongs to one query, a column to one key: (B, N, N). `k.mT` swaps the last two
# axes of `k`.
# </details>
# <details><summary>Hint 2</summary>
#
# Which axis must sum to 1? Each *query* shares itself out over all keys.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def single_head(q, k, v):
#     scores = q @ k.mT / q.shape[-1] ** 0.5  # (B, N, N)
#     return scores.softmax(dim=-1) @ v  # (B, N, d)
# ```
# </details>

# %%
def single_head(q, k, v):
    ...  # your code


# %%
check.single_head(single_head)


# %% [markdown]
# Ours, beside the loop. It works for any axes in front, and that gives us several heads without a further line.

# %%
def attend(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (..., N, N)
    return scores.softmax(dim=-1) @ v  # (..., N, d)


print(f"largest difference from the loop: {(attend(q, k, v) - slow).abs().max():.4f}")

# %% [markdown]
# ## Several heads
#
# One softmax can look in one way only. So the 192 values are dealt out to six *heads* of 32, each attends on its
# own, and a last matrix, `proj`, joins what they found. PyTorch has a fused function that need not store the N×N
# matrix; the library's `Attention` calls it here. Expect all three to agree.

# %%
q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (1, heads, N, d)
by_hand = attend(q, k, v)  # (1, heads, N, d)
by_torch = F.scaled_dot_product_attention(q, k, v)  # (1, heads, N, d)
with torch.no_grad():
    joined = attn.proj(by_hand.transpose(1, 2).reshape(x.shape))  # (1, N, heads·d) → (1, N, D)
    by_library = attn(x)  # (1, N, D)
print(f"ours and PyTorch's:   {(by_hand - by_torch).abs().max():.4f}")
print(f"ours and the library: {(joined - by_library).abs().max():.4f}")

# %% [markdown]
# ## Where does a patch look?
#
# The shares $a_{ij}$ can be seen. The explorer shows the trained encoder with all patches visible: left, the patch
# that asks, in a square; in the middle, the photograph lit where it looks; right, the same shares as a map. The line below says over how many
# patches the shares are spread: $e^{\text{entropy}}$, which is 1 if one patch gets all, and $N$ if all get the same.
#
# **Predict first.** In a convolutional network early layers see a small neighbourhood and late ones see far.
# Will the first block of this encoder look near or far? And the last? Choose, then move `block` and `head`.

# %%
explorer = widgets.attention_explorer()
explorer

# %%
for block in (0, trained.config["depth"] // 2, trained.config["depth"] - 1):
    explorer.set(block=block)
    print(explorer.frame.text.replace("; ", "\n    "))

# %% [markdown]
# One patch of one cat proves little. So let us take the mean over every patch of five photographs, for every
# block and head: how much of the attention stays within the 3×3 patches around the one that asks?

# %%
near = widgets.neighbours(trained.grid)  # (N, N), True where two patches touch
maps = torch.stack([widgets.recorded(name) for name in course.PHOTOGRAPHS])
share = (maps * near).sum(dim=-1).mean(dim=(0, 3))  # (5, blocks, heads, N, N) → (blocks, heads)
even = near.float().mean()

figure, axes = new_figure(1, 1, 6, 3.6)
picture = axes[0, 0].imshow(100 * share.T, cmap="cividis", vmin=0)
axes[0, 0].set(title="attention within 3×3 patches", xlabel="block", ylabel="head")
axes[0, 0].grid(visible=False)
figure.colorbar(picture, label="%")
show(figure, f"A map with a column for each of {len(share)} blocks and a row for each of {heads} "
             f"heads; the brighter a cell, the more of that head's attention stays near.")

# %%
print("mean of each block:", ", ".join(f"{s:.0%}" for s in share.mean(dim=1)))
print(f"looking at all patches evenly would give {even:.0%}")
spread = share.max(dim=1).values - share.min(dim=1).values
print(f"heads differ most in block {spread.argmax()}: "
      f"from {share[spread.argmax()].min():.0%} to {share[spread.argmax()].max():.0%}")
sight = "closer by" if share[-1].mean() > share[0].mean() else "further away"
print(f"After {facts['epochs']} epochs of training, the last block looks {sight} than the first.")

# %% [markdown]
# A convolution's sight is fixed by its kernel, and can only widen with depth. Attention is free in every
# block, and what it does is learned: the last line says which way it went here, for this one model and five
# photographs. Longer training or other data may give another answer. The heads of one block differ, too: that
# is what several heads are for.
#
# ## Each token by itself
#
# The other half of a block is an *MLP*: two linear layers with a bend (GELU) between, 192 → 768 → 192. **Change one
# token of 49. How many tokens come out different, after the MLP, and after attention?**

# %%
torch.manual_seed(0)
x = torch.randn(1, 49, 192)  # (B, N, D)
changed = x.clone()
changed[0, 20] += 1
with torch.no_grad():
    for layer in (Mlp(192, 4 * 192), Attention(192, num_heads=6)):
        differs = (layer(x) - layer(changed)).abs().amax(dim=2) > 1e-6  # (B, N)
        print(f"{type(layer).__name__:<9} changes {differs.sum()} of 49 tokens")


# %% [markdown]
# So a block has two beats: tokens *exchange* (attention), then each one *thinks* by itself (MLP).
#
# ### ✏️ Exercise 2 · The order inside a block  (★☆☆ · 4 minutes)
#
# A *pre-norm* block normalises what a layer reads (LayerNorm: each token to mean 0 and deviation 1), and **adds**
# what the layer says to what was there (a *residual* sum):
#
# $$y = x + \operatorname{attn}(\operatorname{norm}_1(x)), \qquad z = y + \operatorname{mlp}(\operatorname{norm}_2(y)).$$
#
# Write `pre_norm_block(x, norm1, attn, norm2, mlp)`. Every wrong order gives the right shape, so shapes will not help.
#
# <details><summary>Hint 1</summary>
#
# Two lines. Each has one norm, one layer, one sum.
# </details>
# <details><summary>Hint 2</summary>
#
# The second line must read what the first one made, in both places.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def pre_norm_block(x, norm1, attn, norm2, mlp):
#     x = x + attn(norm1(x))
#     return x + mlp(norm2(x))
# ```
# </details>

# %%
def pre_norm_block(x, norm1, attn, norm2, mlp):
    ...  # your code


# %%
check.pre_norm_block(pre_norm_block)

# %% [markdown]
# The library's `Block` is these two lines. Only what a layer reads is normalised, so the sums lead straight from the first
# block to the last, and gradients straight back; such blocks train stably even without the warm-up of the learning rate
# that blocks with the norm after the sum need (Xiong et al. 2020). The first block of the trained model, taken apart:

# %%
block = trained.blocks[0]
with torch.no_grad():
    y = tokens + block.attn(block.norm1(tokens))  # (1, N, D)
    z = y + block.mlp(block.norm2(y))  # (1, N, D)
    print(f"largest difference from Block: {(z - block(tokens)).abs().max():.4f}")
print(f"parameters of a Block(192, 6): {sum(p.numel() for p in Block(192, 6).parameters()):,}")


# %% [markdown]
# ## The encoder: only what is visible
#
# Now the specified sizes: 224×224 pixels, 196 patches. Weights are random here, since we follow shapes, and a mask comes
# from noise, as in notebook 02. This small helper prints each shape and stops if it is not what the specification says.

# %%
def stage(name, x, *specified):
    assert tuple(x.shape) == specified, f"{name}: {tuple(x.shape)}, specified {specified}"
    print(f"{name:<26} {' × '.join(map(str, x.shape)):<18} as specified")


torch.manual_seed(0)
model = MaskedAutoencoder.from_preset("specified").eval()
images = normalise(course.photographs(224)[:2])  # (2, 3, 224, 224)
noise = torch.rand(2, 196, generator=torch.Generator().manual_seed(0))
ids_keep, mask, ids_restore = random_mask_ids(noise, num_visible_patches(196, 0.75))
stage("images", images, 2, 3, 224, 224)
stage("mask (1 = hidden)", mask, 2, 196)
stage("places of visible patches", ids_keep, 2, 49)

# %% [markdown]
# The specification embeds all patches, adds positions, and then masks. **Would it be the same to mask first and embed
# what is left?**

# %%
patches = patchify(images, 16)  # (B, 196, 768)
with torch.no_grad():
    everything = model.patch_embed(patches) + model.pos_embed  # (B, 196, 192)
    mask_last = take_patches(everything, ids_keep)  # (B, 49, 192)
    positions = take_patches(model.pos_embed.expand(2, -1, -1), ids_keep)  # (B, 49, 192)
    mask_first = model.patch_embed(take_patches(patches, ids_keep)) + positions  # (B, 49, 192)
stage("embedded, all", everything, 2, 196, 192)
stage("embedded, visible", mask_first, 2, 49, 192)
print(f"largest difference: {(mask_last - mask_first).abs().max():.4f}")

# %% [markdown]
# The same, because the embedding treats each patch by itself, and four times cheaper. Note what must not be
# forgotten: each visible patch takes *its own* position along. After the shuffle, that is all that says where it was.
#
# The rest of the encoder is eight blocks and a last norm. What comes out, a token for each visible patch, is
# called the **latent**. No line below knows that 147 patches are missing.

# %%
with torch.no_grad():
    x = mask_first  # (B, 49, 192)
    for block in model.blocks:
        x = block(x)  # (B, 49, 192)
    latent = model.norm(x)  # (B, 49, 192)
    same = torch.allclose(latent, model.encode(images, ids_keep), atol=1e-5)
stage("latent", latent, 2, 49, 192)
print("equal to model.encode:", same)

# %% [markdown]
# ## The decoder: holes come back
#
# The decoder first makes tokens narrower, 192 → 128. Then every hidden place gets the same learned vector,
# the **mask token**, which says "paint here". How the visible tokens find their places, with six patches to see it:

# %%
few = torch.tensor([[0.7, 0.2, 0.9, 0.5, 0.1, 0.8]])  # the noise of patches A B C D E F
keep, _, restore = random_mask_ids(few, num_visible=2)
joined = ["ABCDEF"[i] for i in keep[0]] + ["·"] * 4
print("visible, then holes:", " ".join(joined))
print("ids_restore:        ", " ".join(str(int(i)) for i in restore[0]))
print("restored:           ", " ".join(joined[i] for i in restore[0]))


# %% [markdown]
# Place A reads entry 3 of the joined list, a hole; place B reads entry 1, which is B. `ids_restore` says for each place
# where to read. First the slow way, which *writes* each visible token to its place:

# %%
def fill_in_slowly(x, mask_token, ids_keep, length):
    filled = mask_token.repeat(len(x), length, 1)  # (B, L, D)
    for image in range(len(x)):
        for token, place in zip(x[image], ids_keep[image], strict=True):
            filled[image, place] = token
    return filled


with torch.no_grad():
    narrow = model.decoder_embed(latent)  # (B, 49, 128)
    slow = fill_in_slowly(narrow, model.mask_token, ids_keep, 196)  # (B, 196, 128)
stage("narrower", narrow, 2, 49, 128)
stage("with mask tokens", slow, 2, 196, 128)


# %% [markdown]
# ### ✏️ Exercise 3 · Fill in the holes  (★★★ · 8 minutes)
#
# Write `fill_in(x, mask_token, ids_restore)` without a loop: visible tokens `x` (B, K, D), `mask_token` (1, 1, D),
# `ids_restore` (B, L). The result is (B, L, D), each token in its place and the mask token at all others.
#
# <details><summary>Hint 1</summary>
#
# First join: `x`, then as many mask tokens as are missing. `expand` repeats the mask token without copying it.
# </details>
# <details><summary>Hint 2</summary>
#
# `joined.gather(1, index)` reads along the tokens. It wants an index for every value, (B, L, D): give `ids_restore` a last
# axis and expand it. The library's `take_patches(joined, ids)` gives the same.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def fill_in(x, mask_token, ids_restore):
#     missing = ids_restore.shape[1] - x.shape[1]
#     joined = torch.cat([x, mask_token.expand(len(x), missing, -1)], dim=1)  # (B, L, D)
#     return take_patches(joined, ids_restore)  # (B, L, D), in order
# ```
# </details>

# %%
def fill_in(x, mask_token, ids_restore):
    ...  # your code


# %%
check.fill_in(fill_in)


# %% [markdown]
# Ours, shown equal to the loop. Then the decoder's own positions, its blocks, a norm and the head, which predicts all 768
# values of each patch.

# %%
def with_holes(x, mask_token, ids_restore):
    missing = ids_restore.shape[1] - x.shape[1]
    joined = torch.cat([x, mask_token.expand(len(x), missing, -1)], dim=1)  # (B, L, D)
    return take_patches(joined, ids_restore)  # (B, L, D), in order


with torch.no_grad():
    filled = with_holes(narrow, model.mask_token, ids_restore)  # (B, 196, 128)
    x = filled + model.decoder_pos_embed  # (B, 196, 128)
    for block in model.decoder_blocks:
        x = block(x)  # (B, 196, 128)
    pred = model.decoder_pred(model.decoder_norm(x))  # (B, 196, 768)
print("equal to the loop:", torch.equal(filled, slow))
stage("prediction", pred, 2, 196, 768)

# %% [markdown]
# ## All of it in one call
#
# `MaskedAutoencoder.forward` is what we have just walked through. On the same noise it must give our numbers.

# %%
with torch.no_grad():
    output = model(images, mask_ratio=0.75, noise=noise)
print(f"prediction: largest difference {(output.pred - pred).abs().max():.4f}")
print(f"latent:     largest difference {(output.latent - latent).abs().max():.4f}")
print("mask equal:", torch.equal(output.mask, mask))

# %% [markdown]
# From now on we use the library's model.
#
# ## Where are the parameters?
#
# **Predict two things.** Which half has more parameters, encoder or decoder, and how many times as many? And which half
# does more *work* for a picture? Write both down; the second answer comes further below.

# %%
parts = {
    "patch embedding": [model.patch_embed], "encoder blocks": [model.blocks, model.norm],
    "decoder embedding": [model.decoder_embed],
    "decoder blocks": [model.decoder_blocks, model.decoder_norm], "head": [model.decoder_pred],
}
count = {n: sum(p.numel() for m in ms for p in m.parameters()) for n, ms in parts.items()}
count["mask token"] = model.mask_token.numel()
for name, number in count.items():
    print(f"{name:<18} {number:>9,}")
print(f"{'together':<18} {sum(count.values()):>9,}")
print("all counted:", sum(count.values()) == sum(p.numel() for p in model.parameters()))

# %%
figure, axes = new_figure(1, 1, 8, 2.8)
colours = [COLOURS[name not in ("patch embedding", "encoder blocks")] for name in count]
bars = axes[0, 0].barh(list(count), [n / 1e6 for n in count.values()], color=colours)
axes[0, 0].bar_label(bars, [f"{n / sum(count.values()):.1%}" for n in count.values()], padding=4)
axes[0, 0].set(title="encoder (blue) and decoder (orange)", xlabel="million parameters")
axes[0, 0].margins(x=0.12)
axes[0, 0].invert_yaxis()
show(figure, "Bars: the encoder's blocks hold more than three quarters of all parameters, the "
             "decoder's about a sixth, embeddings and head little, the mask token next to nothing.")
first, second = list(count.values())[:2], list(count.values())[2:]
print(f"the encoder has {sum(first) / sum(second):.1f} times the decoder's parameters")


# %% [markdown]
# Positions do not appear: they are fixed, so nothing about them is learned. And the mask token, the whole notion of "something
# is missing here", is 128 numbers. After pretraining the decoder is thrown away; what is kept is the encoder.
#
# ## What does a block cost?
#
# We count **multiply-adds** (one multiplication with one addition) in matrix products; all else is small beside them. A matrix
# of A×B values applied to N tokens costs N·A·B.
#
# ### ✏️ Exercise 4 · The price of a block  (★★☆ · 5 minutes)
#
# Write a formula for the multiply-adds of one block on `n` tokens of `d` values, with an MLP four times as wide.
#
# <details><summary>Hint 1</summary>
#
# Matrices with weights, in units of D²: queries, keys, values, `proj`, and the two of the MLP, D×4D and 4D×D.
# </details>
# <details><summary>Hint 2</summary>
#
# Attention has two products without weights: all queries with all keys, and all shares with all values. Heads divide
# D among them, so that their number does not matter.
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
# PyTorch can count for us: `FlopCounterMode` watches every product that really runs. It counts a multiply-add as two
# operations, so we halve. We ask for the plain form of attention (`MATH`), whose two products it sees one by one on every
# device, and for a batch of two, so that we count as one counts in training; the number is per image.

# %%
def multiply_adds(step, *arguments):
    """Of the matrix products in step(*arguments), for each image of a batch of two."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(*arguments)
    return counter.get_total_flops() / 2 / 2


counted = {n: multiply_adds(model.blocks[0], torch.zeros(2, n, 192)) for n in (49, 196)}
for n, number in counted.items():
    formula = 12 * n * 192**2 + 2 * n**2 * 192
    print(f"{n:>3} tokens: counted {number:>11,.0f}, by formula {formula:>11,}")
print(f"ratio {counted[196] / counted[49]:.2f}")

# %% [markdown]
# Equal, to the last one, to $12\,N D^2 + 2\,N^2 D$. Four times the tokens cost 4.5 times as much: the part
# with $N^2$ grows sixteenfold, but is still small here. So matrices with weights, not the famous square, are
# what we pay for at this size.
#
# ## What asymmetry saves
#
# The explorer draws the tokens of each stage and the price below. A *symmetric* design can mean two things, and the
# controls have both: mask tokens already in the encoder, or a decoder as large as the encoder.
#
# **Predict first.** At 75 % the encoder works on a quarter of the tokens. How many times cheaper is a whole forward pass than
# with mask tokens in the encoder: four times, three, two?
# Then change `encoder sees` and `decoder`: which of the two saves more?

# %%
explorer = widgets.flow_explorer()
explorer

# %%
for ratio in (0.5, 0.75, 0.9):
    explorer.set(mask_ratio=ratio)
    print(explorer.frame.text.replace("; ", "\n    "))


# %% [markdown]
# At 75 %, 2.58 times, not four. The decoder always sees 196 tokens, and its price does not fall; at 75 % it already does more than half of the
# work with a fifth of the parameters, which answers the second question above. Hide more, and you save on the
# smaller part.
#
# A picture can be drawn wrongly, so we count what runs. Here is the symmetric encoder, in the fairest form: it also embeds
# only visible patches, and gets a mask token of its own.

# %%
def encode_with_holes(model, images, mask_token, ids_keep, ids_restore):
    patches = take_patches(patchify(images, model.patch_size), ids_keep)  # (B, 49, 768)
    x = with_holes(model.patch_embed(patches), mask_token, ids_restore)  # (B, 196, 192)
    x = x + model.pos_embed
    for block in model.blocks:
        x = block(x)  # (B, 196, 192)
    return model.norm(x)


def run(model, everything=False):
    """The loss after a forward pass; `everything` puts mask tokens into the encoder, too."""
    if everything:
        token = torch.zeros(1, 1, model.embed_dim)  # a real model would learn it
        latent = encode_with_holes(model, images, token, ids_keep, ids_restore)
        in_order = torch.arange(196).expand(2, -1)  # nothing is left to restore
        pred = model.decode(latent, in_order)
    else:
        pred = model(images, noise=noise).pred
    return mae_loss(pred, images, mask, model.patch_size, norm_pix=False)


def step(model, everything=False):
    run(model, everything).backward()


# %%
twin = MaskedAutoencoder.from_preset("specified", decoder_embed_dim=192, decoder_depth=8,
                                     decoder_num_heads=6)
rows = (("visible only, narrow decoder (MAE)", model, False),
        ("mask tokens in the encoder, narrow decoder", model, True),
        ("visible only, decoder like the encoder", twin, False),
        ("mask tokens in the encoder, large decoder", twin, True))
ours = None
print(f"{'million multiply-adds an image':<44} forward   training step")
for name, network, everything in rows:
    with torch.no_grad():
        forward = multiply_adds(run, network, everything)
    training = multiply_adds(step, network, everything)
    ours = ours or (forward, training)
    times = f"{forward / ours[0]:.2f}×, {training / ours[1]:.2f}×"
    print(f"{name:<44} {forward / 1e6:>7,.0f} {training / 1e6:>10,.0f}   {times}")

# %% [markdown]
# A training step costs about three forward passes, since the backward pass has two products for each one of the forward pass;
# the ratios hardly change. What was counted are matrix products alone, of one image at 75 %.
#
# **"Three times faster than a symmetric one"** was reported. Counted, MAE needs 2.6 times fewer multiply-adds
# than the design with mask tokens in the encoder, and 4.2 times fewer than one that is symmetric in both
# ways. The claim has the right size, and is exact for neither. Read the middle rows, too: from 1,667, leaving
# the holes out of the encoder leads to 1,030, a narrow decoder to 1,036, and both together to 402. The two
# halves of the idea save about the same, and each needs the other.
#
# ### Aside: a larger model, and seconds
#
# The paper's model is far larger: ViT-Large, whose decoder is small beside its encoder. A model on the `meta`
# device has shapes and no numbers, so that we can count it without needing the memory that it would fill.

# %%
with torch.device("meta"):
    large = MaskedAutoencoder.from_preset("vit_large")
    pictures = torch.zeros(2, 3, 224, 224)
    keep, _, restore = random_mask_ids(torch.zeros(2, 196), 49)
    short = multiply_adds(large.encode, pictures, keep)
    full = multiply_adds(large.encode, pictures)
    latents = torch.zeros(2, 50, 1024)  # 49 and a class token
    decoding = multiply_adds(large.decode, latents, restore)
print(f"decoder's share: {decoding / (short + decoding):.0%} of the forward pass")
print(f"all tokens in the encoder: {(full + decoding) / (short + decoding):.1f} times as many")

# %% [markdown]
# There the claim holds: 3.2 by our count, and He et al. report 3.3 (their table 1c); details of what is counted may differ. A
# number that is right for one model does not carry over to another.
#
# Cost is not the only reason to keep mask tokens out of the encoder. One that met them in every training picture never
# meets them later, on whole pictures; He et al. report clearly worse features for it (the same table).
#
# Multiply-adds are not seconds. A rough check of time, in turns and on whatever machine you have; this is the one cell whose
# output differs from run to run.

# %% tags=["nbval-ignore-output"]
repeats = session.choose(smoke=3, quick=10, full=10)


def seconds(everything):
    start = time.perf_counter()
    for _ in range(repeats):
        step(model, everything)
    return time.perf_counter() - start


_ = seconds(False), seconds(True)  # warm-up
rounds = [(seconds(True), seconds(False)) for _ in range(5)]
symmetric, asymmetric = (min(times) for times in zip(*rounds, strict=True))  # least disturbed
print(f"on this CPU, mask tokens in the encoder take {symmetric / asymmetric:.1f} times as long")


# %% [markdown]
# It need not be 2.6. Softmax, norms, moving memory and starting each operation cost time too, and none of it was counted; at a batch of
# two they weigh more, and on a GPU such small products would not fill the device. A claim about time needs the machine and the
# batch size beside it.
#
# ## Three ways to break it
#
# All three raise no error and keep every shape. We break the trained model and look. A prediction can be shown in two ways: *as
# predicted*, in the model's own units, or *rebuilt*, brought back to colours and with the true pixels where visible.

# %%
def as_predicted(pred):
    return (0.5 + unpatchify(pred, trained.patch_size) / 4).clamp(0, 1)  # (B, 3, H, W)


def rebuilt(pred):
    picture = predicted_images(pred, photos, trained.patch_size, facts["norm_pix"])
    pixels = patch_mask_to_pixels(hidden, trained.patch_size)  # (B, 1, H, W)
    return composite(denormalise(picture), denormalise(photos), pixels).clamp(0, 1)


def loss(pred, mask):
    return mae_loss(pred, photos, mask, trained.patch_size, facts["norm_pix"])


photos = resize(course.photographs(), trained.img_size)  # (5, 3, H, W)
length = trained.num_patches
one_mask = torch.rand(1, length, generator=torch.Generator().manual_seed(0)).expand(5, -1)
visible, hidden, restore = random_mask_ids(one_mask, num_visible_patches(length, 0.75))
with torch.no_grad():
    latent = trained.encode(photos, visible)  # (5, K, D)
    right = trained.decode(latent, restore)  # (5, L, p²·3)
print(f"loss on hidden patches of five photographs {loss(right, hidden):.2f}, "
      f"norm_pix {facts['norm_pix']}")

# %% [markdown]
# ### 1. Nobody restored the order
#
# The visible tokens stay in front, all mask tokens behind. In pixels, this is what the decoder believes it
# sees. **What will it make of it?**

# %%
unrestored = torch.arange(length).expand(5, -1)
with torch.no_grad():
    wrong = trained.decode(latent, unrestored)  # (5, L, p²·3)
seen = take_patches(patchify(denormalise(photos), trained.patch_size), visible)
blue = torch.tensor(widgets.MASK_TOKEN).repeat(trained.patch_size**2) / 255  # (p²·3,)
believed = [unpatchify(with_holes(seen, blue, ids), trained.patch_size)
            for ids in (restore, unrestored)]  # each (5, 3, H, W)

figure, axes = new_figure(1, 4, 10, 2.9)
panels = (("decoder's input", believed[0]), ("not restored", believed[1]),
          ("rebuilt", rebuilt(right)), ("rebuilt, not restored", rebuilt(wrong)))
for axis, (title, image) in zip(axes[0], panels, strict=True):
    axis.imshow(image[1].permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
show(figure, "Patches of a cup of coffee among blue mask tokens, once in their places, once all in "
             "the upper rows. Rebuilt from the first, a cup; from the second, a patchy one.")

# %%
other_order = torch.randperm(visible.shape[1], generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    exchanged = trained.decode(latent[:, other_order], restore)
print(f"hidden patches, restored: {loss(right, hidden):.2f}, not: {loss(wrong, hidden):.2f}")
print(f"restored, but visible tokens exchanged with each other: {loss(exchanged, hidden):.2f}")

# %% [markdown]
# Worse, and yet there is a cup: a loss of 1 is what predicting nothing costs with `norm_pix` (notebook 04). The last line says
# why: there every visible token stands at some other's place. Compare its loss with the first one, and with 1. As far as
# it stays below, the decoder does not need to *find* the tokens in the right places: they went through the encoder
# with *its* positions, and still tell where they come from. That makes the fault treacherous: it looks like a
# model that has not trained long enough.
#
# ### 2. A decoder without positions
#
# All mask tokens are the same vector. **If nothing says where they stand, what will differ between two hidden patches?**

# %%
broken = copy.deepcopy(trained)
broken.decoder_pos_embed.zero_()
with torch.no_grad():
    lost = broken.decode(latent, restore)  # (5, L, p²·3)
for name, pred in (("with positions", right), ("without", lost)):
    of_one = pred[1][hidden[1] > 0]  # (hidden patches, p²·3)
    print(f"{name:<15} deviation between hidden patches {of_one.std(dim=0).mean():.2f}, "
          f"loss {loss(pred, hidden):.2f}")

figure, axes = new_figure(1, 4, 10, 2.9)
panels = (("as predicted", as_predicted(right)), ("without positions", as_predicted(lost)),
          ("rebuilt", rebuilt(right)), ("rebuilt, without positions", rebuilt(lost)))
for axis, (title, image) in zip(axes[0], panels, strict=True):
    axis.imshow(image[1].permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
show(figure, "As predicted with positions, patches that differ; without, the same patch at every "
             "hidden place, like wallpaper. Rebuilt, it is light and dark where the cup is.")

# %% [markdown]
# Not one number differs: wallpaper. But look at the picture on the right, which has light and shade in the right places. Where from?
# These weights predict in units of each patch's own mean and deviation (`norm_pix`), and to show colours we give every patch its
# *true* mean and deviation back. The rebuilt picture hides a decoder that knows nothing. Notebook 04 returns to this.
#
# ### 3. A checkpoint without its decoder
#
# Many published MAE checkpoints hold the encoder only, as the decoder is not needed for classification. Told
# `strict=False`, PyTorch fills what it can and leaves the rest at random. **What will the reconstruction look
# like?**

# %%
encoder_only = {name: tensor for name, tensor in trained.state_dict().items()
                if not name.startswith(("decoder", "mask_token"))}
torch.manual_seed(0)
halved = MaskedAutoencoder(**trained.config).eval()
report = halved.load_state_dict(encoder_only, strict=False)
with torch.no_grad():
    noisy = halved.decode(halved.encode(photos, visible), restore)  # (5, L, p²·3)
print(f"{len(report.missing_keys)} tensors were missing, and no error was raised")
print(f"loss: whole {loss(right, hidden):.2f}, encoder only {loss(noisy, hidden):.2f}, "
      f"predicting zero {loss(torch.zeros_like(right), hidden):.2f}")

figure, axes = new_figure(1, 4, 10, 2.9)
shown = (("whole: rebuilt", rebuilt(right)[1]), ("encoder only: rebuilt", rebuilt(noisy)[1]),
         ("whole: rebuilt", rebuilt(right)[4]), ("encoder only: rebuilt", rebuilt(noisy)[4]))
for axis, (title, image) in zip(axes[0], shown, strict=True):
    axis.imshow(image.permute(1, 2, 0))
    axis.set_title(title)
    axis.axis("off")
show(figure, "A cup and a portrait rebuilt with the whole model; the same with a decoder at "
             "random: coloured noise at every hidden place.")

# %% [markdown]
# Worse than predicting nothing, from an encoder that is as good as before. A loader should say so before anyone looks at noise. Ours
# loads such a file as an encoder alone. It gives features, and if you ask it to reconstruct, it names the files to take instead:

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "encoder.pth"
    torch.save({"model": encoder_only}, path)
    try:
        load_official(path)[0](photos)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## Quiz
#
# **1. You raise the mask ratio from 75 % to 90 %. Why does a step not become two and a half times cheaper?**
#
# <details><summary>Attention in the encoder grows with the square of the tokens</summary>
#
# ✗ That would make it even cheaper than in proportion: fewer tokens, far fewer pairs.
# </details>
# <details><summary>The decoder works on all places, whatever the ratio</summary>
#
# ✓ It sees 196 tokens at any ratio, and at 75 % it already does more than half of the work.
# </details>
# <details><summary>Mask tokens cost more than visible ones</summary>
#
# ✗ In a matrix product all tokens cost the same. The encoder has no mask tokens at all.
# </details>
#
# **2. Why does the encoder not need `ids_restore`?**
#
# <details><summary>Its tokens are still in the order of the image</summary>
#
# ✗ They are in the order of the shuffle. Attention and MLP do not care about order.
# </details>
# <details><summary>Each of its tokens carries its own position, added before the blocks</summary>
#
# ✓ A visible patch takes its position vector along, so the list may stand in any order.
# </details>
# <details><summary>It does, but the library does it silently</summary>
#
# ✗ `encode` only gets `ids_keep`, the places of the visible patches. Order is restored in `decode`.
# </details>
#
# **3. All hidden patches of your reconstruction have the same texture, in different shades. What do you suspect?**
#
# <details><summary>The decoder has lost its positions</summary>
#
# ✓ Then all mask tokens stay equal through every block. The shades come from de-normalising with the target's mean and deviation.
# </details>
# <details><summary>The decoder was not in the checkpoint</summary>
#
# ✗ A decoder at random gives harsh noise in all colours, from pixel to pixel. A texture that repeats comes from a trained decoder that knows no place.
# </details>
# <details><summary>The order was not restored</summary>
#
# ✗ Then rubbish gathers in the first rows, where visible tokens stand, and hidden patches still differ from each other.
# </details>
#
# ## What you take along
#
# - Attention is two matrix products and a softmax; heads look in several ways for the price of one.
# - A block: normalise, exchange, add; normalise, think, add.
# - The encoder sees visible patches with their positions and nothing else: B×49×192. The decoder gets mask tokens, order and positions:
#   B×196×128, and predicts B×196×768.
# - Most parameters are in the encoder, but at 75 % more than half of the multiply-adds are in the decoder. Against mask
#   tokens in the encoder we counted 2.6 times fewer, not 3; for ViT-Large 3.2.
# - Wrong order, lost positions, a missing decoder: no error, right shapes, wrong pictures. Look at them before de-normalising, too.
#
# **Next:** [04 · The reconstruction loss](04_reconstruction_loss.ipynb) tells the decoder what to paint.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR. Section 3, and table 1 for decoder sizes and mask tokens.
# - Vaswani, Shazeer, Parmar et al. (2017). *Attention is all you need.* NeurIPS. Attention, heads and blocks.
# - Xiong, Yang, He et al. (2020). *On layer normalization in the Transformer architecture.* ICML. Why the norm comes first.
# - Raghu, Unterthiner, Kornblith, Zhang & Dosovitskiy (2021). *Do vision transformers see like convolutional neural networks?* NeurIPS. How far each layer looks.
# - Xie, Zhang, Cao et al. (2022). *SimMIM: a simple framework for masked image modeling.* CVPR. The other choice: mask tokens in the encoder, and one linear layer as decoder.
