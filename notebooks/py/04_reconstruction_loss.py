# %% [markdown]
# # 4 · Reconstruction loss: which patches count, and in which units
#
# The model has painted every patch, and now one number has to say how well. Two choices hide in that number:
# which patches count, and in which units. The first explains the odd patches in the second picture below. The
# second explains how a prediction without light and shade becomes the cup in the third picture, by nothing
# but multiplying, adding, and putting the visible patches back. So who painted the cup?
#
# **You will be able to**
#
# - write the masked loss, and prove which patches it listens to;
# - say why a model must not be paid for copying;
# - normalise a target patch by patch (`norm_pix`), and bring a prediction back from those units;
# - say what a PSNR is worth that borrowed something from the target;
# - overfit one batch, the first test of any training code, and know what its loss curve cannot tell.
#
# **Before you start:** notebooks [01](01_patchify.ipynb) to [03](03_asymmetric_autoencoder.ipynb), or: what
# patches, a mask, an encoder and a decoder are. **Time:** 45 minutes.

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

from mae_lib import losses, metrics
from mae_lib.course.exercises import reconstruction_loss as check
from mae_lib.course.session import show
from mae_lib.course.widgets import reconstruction_loss as widgets
from mae_lib.data.augment import denormalise, normalise
from mae_lib.losses import mae_loss, patch_statistics, predicted_images
from mae_lib.masking import num_visible_patches, random_mask_ids, take_patches
from mae_lib.model import MaskedAutoencoder, hidden_ids
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.plots import COLOURS, new_figure

show(*widgets.title())

# %% [markdown]
# ## A prediction for every patch
#
# We begin small: five photographs of 48×48 pixels, and a tiny model that has learned nothing yet. It hides
# three quarters of the patches and answers with a prediction for **all** of them.

# %%
images = normalise(course.photographs(48))  # (5, 3, 48, 48)
target = patchify(images, 6)  # (B, L, p²·3)
noise = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))

torch.manual_seed(0)
model = MaskedAutoencoder.from_preset("tiny")
output = model(images, 0.75, noise=noise)
pred, mask = output.pred.detach(), output.mask
print("target", tuple(target.shape), " prediction", tuple(pred.shape), " mask", tuple(mask.shape))
print(f"hidden in each image: {mask[0].sum():.0f} of {mask.shape[1]} patches")

# %% [markdown]
# The target is the picture itself, cut in the same way: that is all the supervision there is. Which of the 64
# differences should count? The visible patches were given to the model, so being right there proves little.
# MAE averages the squared error over the set $M$ of hidden patches $i$ of images $b$, each of which has
# $V = 3p^2$ values:
#
# $$\mathcal{L} = \frac{1}{|M|} \sum_{(b, i) \in M} \frac{1}{V} \sum_{v=1}^{V}
# \left(\hat{y}_{biv} - y_{biv}\right)^2 .$$
#
# ## The slow way
#
# Visit every patch of every image. If it was hidden, add its error.

# %%
total, count = 0.0, 0
for b in range(len(images)):
    for i in range(mask.shape[1]):
        if mask[b, i] == 1:
            total += (pred[b, i] - target[b, i]).square().mean()  # over the values of a patch
            count += 1
slow = total / count
print(f"{count} hidden patches, loss {slow:.2f}")


# %% [markdown]
# Five images with 48 hidden patches each. Now without the loop, and by you.

# %% [markdown]
# ### ✏️ Exercise 1 · The masked loss  (★★☆ · 6 minutes)
#
# Write `masked_mse` without a loop: from `pred` and `target` (B, L, V) and `mask` (B, L), in which 1 means
# hidden, to one number.
#
# <details><summary>Hint 1</summary>
#
# First one error for each patch, (B, L): the mean of the squared difference over the last axis.
# </details>
# <details><summary>Hint 2</summary>
#
# Multiplying by the mask makes the visible errors 0. A mean needs a sum and a number: how many patches are
# left in the sum?
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def masked_mse(pred, target, mask):
#     error = (pred - target).square().mean(dim=-1)  # (B, L)
#     return (error * mask).sum() / mask.sum()
# ```
# </details>

# %%
def masked_mse(pred, target, mask):
    ...  # your code


# %%
check.masked_mse(masked_mse)

# %% [markdown]
# Two lines do it. The package's `mae_loss` is the same two lines, starting from images; from here on we use
# that one.

# %%
error = (pred - target).square().mean(dim=-1)  # (B, L)
fast = (error * mask).sum() / mask.sum()  # ()
library = mae_loss(pred, images, mask, patch_size=6, norm_pix=False)
print("fast equal to slow:   ", torch.allclose(fast, slow, atol=1e-5))
print("library equal to fast:", torch.allclose(library, fast, atol=1e-5))

# %% [markdown]
# ## Do visible patches really not matter?
#
# A mask that is off by one axis, or inverted, raises no error. So do not believe, test. **Predict:** on every
# visible patch we replace the prediction by noise, a thousand times as large as the picture. What happens to
# the loss? And what if we write infinity there?

# %%
visible = mask == 0  # (B, L)
spoilt = pred.clone()
spoilt[visible] = 1000 * torch.randn(spoilt[visible].shape)
same = torch.equal(mae_loss(spoilt, images, mask, 6, norm_pix=False), library)
print("noise on visible patches: the same loss to the last bit:", same)

spoilt[visible] = torch.inf
infinite = mae_loss(spoilt, images, mask, 6, norm_pix=False)
print("infinity on visible patches: loss", infinite.item())


# %% [markdown]
# Noise changes nothing, to the last bit. Infinity does: 0 · ∞ is not a number. A mask that multiplies
# silences every finite value and no infinite one, so a half-precision run that overflows on a *visible* patch
# still ends in `nan`.
#
# The second test asks the gradient. It says for each predicted value in which direction training would push
# it. On visible patches it should be zero: not small, zero.

# %%
def pull(loss_function, pred):
    """How strongly a loss pulls at each patch of a prediction: the gradient's length, (B, L)."""
    pred = pred.clone().requires_grad_()
    loss_function(pred).backward()
    return pred.grad.norm(dim=-1)


strength = pull(lambda pred: mae_loss(pred, images, mask, 6, norm_pix=False), pred)
print("strongest pull on a visible patch:", strength[visible].max().item())
print("weakest pull on a hidden patch is above 0:", strength[~visible].min().item() > 0)

# %%
figure, axes = new_figure(2, 5, 10, 4.3)
pixel_mask = patch_mask_to_pixels(mask, 6)  # (B, 1, H, W)
seen = denormalise(images) * (1 - pixel_mask) + 0.5 * pixel_mask
for i, name in enumerate(course.PHOTOGRAPHS):
    axes[0, i].imshow(seen[i].permute(1, 2, 0).clamp(0, 1))
    axes[0, i].set_title(name)
    heat = axes[1, i].imshow(strength[i].reshape(8, 8),  # (L,) → (8, 8)
                             cmap="magma", vmin=0, vmax=strength.max())
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
figure.colorbar(heat, ax=axes[1].tolist(), label="length of the gradient")
show(figure, "Above, five photographs with three quarters of their patches grey. Below, the "
             "gradient of each patch: black exactly where a patch is visible, coloured "
             "where it is hidden.")

# %% [markdown]
# Black squares wherever you see a piece of photograph. Nobody tells the model what to paint there, and you
# have seen the result: the false colours in the second picture of this notebook stand on the visible
# patches of a trained model. It is not a fault. It is what an unsupervised output looks like.
#
# Does it follow that visible patches teach the model nothing? They reach the loss by another way.

# %%
again = model(images, 0.75, noise=noise)  # a graph can be walked back only once
mae_loss(again.pred, images, again.mask, 6, norm_pix=False).backward()
first = model.patch_embed.proj.weight.grad
print("the encoder's first matrix, which reads visible patches only, has a gradient:",
      first.norm().item() > 0)

# %% [markdown]
# They are the question, not the answer. The gradient of the hidden patches flows back through the decoder
# into the encoder, and through it into how visible patches are read.
#
# One consequence saves time: an output that no loss reads need not be computed. In training the package asks
# its model for the hidden patches alone.

# %%
with torch.no_grad():
    short = model(images, 0.75, noise=noise, hidden_only=True)
hidden_target = take_patches(target, hidden_ids(short.ids_restore, 16))  # (B, L_hid, V)
same = torch.allclose((short.pred - hidden_target).square().mean(), library, atol=1e-5)
print("prediction", tuple(short.pred.shape), " the same loss:", same)

# %% [markdown]
# ## Why not all patches?
#
# Two models, neither of which needs training. The **copier** repeats the visible patches perfectly and paints
# the hidden ones in the average colour. The **guesser** is never perfect: it gives every patch, hidden or
# not, its right brightness and no detail. (We hand it these means; a real model would have to infer them.)
# Only the guesser knows anything about what it cannot see.
#
# **Predict:** with the loss over *all* patches, from which mask ratio on does the guesser win?

# %%
guesser = target.mean(dim=-1, keepdim=True).expand_as(target)  # (B, L, 1) → (B, L, V)
ratios = [r / 20 for r in range(2, 19)]
curves = {}
for ratio in ratios:
    _, m, _ = random_mask_ids(noise, num_visible_patches(64, ratio))  # (B, L)
    copier = target * (1 - m[:, :, None])  # 0 is ImageNet's average colour
    for name, candidate in (("copier", copier), ("guesser", guesser)):
        for patches_counted, counted in (("hidden", m), ("all", torch.ones_like(m))):
            loss = mae_loss(candidate, images, counted, 6, norm_pix=False)
            curves.setdefault((name, patches_counted), []).append(loss.item())

# %%
figure, axes = new_figure(1, 2, 10, 3.2)
for axis, patches_counted in zip(axes[0], ("all", "hidden"), strict=True):
    for colour, marker, name in ((COLOURS[1], "o", "copier"), (COLOURS[0], "s", "guesser")):
        axis.plot(ratios, curves[name, patches_counted], color=colour, marker=marker, label=name)
    axis.set(title=f"loss over {patches_counted} patches", xlabel="mask ratio", ylim=(0, 1.5),
             ylabel="mean squared error")
axes[0, 0].legend()
show(figure, "Left, over all patches: the copier's loss rises in a line from near 0 and crosses "
             "the guesser's level line at a mask ratio of one half. Right, over hidden patches: "
             "two level lines, the guesser's about half as high as the copier's at every ratio.")

# %%
by_all, by_hidden = (torch.tensor(curves["copier", which]) > torch.tensor(curves["guesser", which])
                     for which in ("all", "hidden"))
print("over all patches, the guesser wins from a mask ratio of", ratios[int(by_all.int().argmax())])
print("over hidden patches, it wins at every ratio:", bool(by_hidden.all()))

# %% [markdown]
# Up to one half, the loss over all patches prefers the model that has understood nothing. Masking the loss
# removes this reward, and it also makes the loss mean the same at every ratio: the right-hand lines are
# nearly level, while the copier's left-hand line measures mostly how much was hidden.
#
# How much does it matter at 75 %? He et al. (2022) report only a slight loss of accuracy with all patches. At
# their ratio copying pays little; the danger grows as the ratio falls, as it does early in a curriculum.
#
# ## A patch in its own units: norm_pix
#
# The second choice. A patch with strong contrast has large errors, and the mean of squares listens to those
# first. How unequal are patches? Suppose that a model predicts every patch's mean, and count who owns the
# loss.

# %%
large = normalise(course.photographs(224))  # (5, 3, 224, 224)
large_patches = patchify(large, 16)  # (5, 196, 768)
mean, std = patch_statistics(large_patches)  # (5, 196, 1) each
owned = std.square().flatten().sort(descending=True).values  # error of predicting the mean
for words, part in (("the top tenth", owned[:98]), ("the lower half", owned[490:])):
    print(f"{words} of the patches owns {part.sum() / owned.sum():.0%} of the loss")


# %% [markdown]
# A tenth of the patches owns almost a third of the loss, and half of all patches share less than a sixth. So
# the model is asked about a few strong edges first, and hardly about the rest.
#
# `norm_pix` gives every patch the same voice: the target becomes the patch in units of its own,
#
# $$\tilde{y}_{iv} = \frac{y_{iv} - \mu_i}{\sqrt{\sigma_i^2 + \varepsilon}}, \qquad
# \mu_i = \frac1V \sum_v y_{iv}, \qquad \sigma_i^2 = \frac{1}{V - 1} \sum_v (y_{iv} - \mu_i)^2 ,
# \qquad \varepsilon = 10^{-6}.$$
#
# Note the two details that decide whether your loss agrees with the official code: $V - 1$, the *unbiased*
# variance, and $\varepsilon$ under the root. And one that surprises: the mean runs over pixels *and
# channels*, so it is one brightness and not a colour. One patch, the slow way:

# %%
def normalise_slowly(patch, eps=1e-6):
    """One patch, (V,), in units of its own."""
    values = patch.tolist()
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return torch.tensor([(v - mean) / (variance + eps) ** 0.5 for v in values])


eye = large_patches[0, 76]  # (768,)
slow = normalise_slowly(eye)  # (768,)
print(f"before: mean {eye.mean():.2f}, deviation {eye.std():.2f}")
print(f"after:  mean {slow.mean().abs():.2f}, deviation {slow.std():.2f}")


# %% [markdown]
# ### ✏️ Exercise 2 · Every patch in its own units  (★★☆ · 6 minutes)
#
# Write `normalise_patches` for all patches at once, (B, L, V) → (B, L, V). Among those that the check tries,
# one is perfectly flat.
#
# <details><summary>Hint 1</summary>
#
# `mean(dim=-1, keepdim=True)` is (B, L, 1), and broadcasts against (B, L, V).
# </details>
# <details><summary>Hint 2</summary>
#
# `var(dim=-1, keepdim=True)` is unbiased unless told otherwise. Add `eps` to it, then take the root.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def normalise_patches(patches, eps=1e-6):
#     mean = patches.mean(dim=-1, keepdim=True)  # (B, L, 1)
#     variance = patches.var(dim=-1, keepdim=True)  # (B, L, 1)
#     return (patches - mean) / (variance + eps).sqrt()
# ```
# </details>

# %%
def normalise_patches(patches, eps=1e-6):
    ...  # your code


# %%
check.normalise_patches(normalise_patches)

# %% [markdown]
# The library has a `normalise_patches` too. It is written as a LayerNorm, which does the same in one pass over
# the memory. Beside it stands `patch_statistics`, the mean and the deviation with $\varepsilon$ inside, because we
# shall need these to go back.

# %%
normalised = losses.normalise_patches(large_patches)  # (B, L, V)
by_hand = (large_patches - mean) / std  # (B, L, V)
print("library equal to the slow way:", torch.allclose(normalised[0, 76], slow, atol=1e-4))
print("library equal to its own statistics:", torch.allclose(normalised, by_hand, atol=1e-4))

# %% [markdown]
# ## What the target looks like then
#
# **Predict first.** Behind the astronaut, left of her head, the wall is smooth and pale: the patch in row 2,
# column 3. What does it look like once it is normalised: smooth and grey, or something else? Then look. On
# the right stands the chosen patch, above as it is, below normalised; in the view of deviations, blue is
# small and yellow is large. Try the rocket's sky as well: what do you expect there?

# %%
explorer = widgets.norm_pix_explorer()
explorer

# %%
for photograph, row, column in (("astronaut", 2, 3), ("cat", 5, 6), ("rocket", 2, 2)):
    explorer.set(photograph=photograph, view="normalised", row=row, column=column)
    print(explorer.frame.text)


# %% [markdown]
# All five at once, with a helper that draws rows of five pictures:

# %%
def draw_rows(rows, width=10):
    """Rows of five pictures (5, 3, H, W), each row with its name."""
    figure, axes = new_figure(len(rows), 5, width, 0.21 * width * len(rows))
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axis, picture in zip(line, pictures.clamp(0, 1), strict=True):
            axis.imshow(picture.permute(1, 2, 0))
            axis.set(xticks=[], yticks=[])
    return figure


brightness = 0.5 + normalised / 6  # three deviations below the mean are black, three above white
rows = {"photograph": denormalise(large), "normalised": unpatchify(brightness, 16)}
show(draw_rows(rows, width=7),
     "Five photographs and their normalised patches. Fur, wood and cloth show all their fine "
     "structure, a pale wall turns into violet clouds, the rocket's dark sky into one "
     "even strong blue.")

# %% [markdown]
# The smooth wall is a storm of violet: its deviation is small, so its grain is stretched until it has as much
# contrast as an eye. The fine structure of the fur comes out too, and large differences of light and shade
# go. Brightness is gone altogether, as every patch has mean 0. The rocket's sky surprises in the other
# direction: it has hardly any grain, yet its deviation is not small. What varies within such a patch is the
# *channel*: there is more blue than red. So its target is one strong blue, the same where the sky is dark and
# where it is bright.
#
# A model trained on this target is asked for structure within each patch, and is neither asked nor told how
# bright the patch is. He et al. (2022) report better accuracy with it.
#
# ## Two losses that cannot be compared
#
# Here is one picture, every patch painted in its own mean. With `norm_pix` the same picture is written as
# zeros.

# %%
as_pixels = mae_loss(guesser, images, mask, 6, norm_pix=False)
as_units = mae_loss(torch.zeros_like(target), images, mask, 6, norm_pix=True)
print(f"the same picture: loss {as_pixels:.2f} on pixels, {as_units:.3f} with norm_pix")
print(f"(V − 1) / V = {107 / 108:.3f}")

# %% [markdown]
# One picture, two numbers. With `norm_pix` the answer "nothing but means" costs $(V-1)/V$ whatever the
# photographs are: the squared deviations add up to $(V-1)\,\sigma^2$, so to $V - 1$ after dividing by
# $\sigma^2$, and the mean divides by $V$. This makes the loss easy to read by itself, 1 is ignorance and 0 is
# perfection, and useless beside a loss on pixels. When someone reports a loss of 0.43, ask: in which units?
#
# ## Aside: a flat patch
#
# What is $\varepsilon$ for? Without it a patch of deviation 0 becomes 0/0. **Predict** which of these two
# patches is flat: a piece of white paper, or the zeros with which a batch of normalised images is padded?

# %%
paper = normalise(torch.full((1, 3, 6, 6), 255, dtype=torch.uint8))
padding = torch.zeros(1, 3, 6, 6)  # put there after normalising
for name, image in (("white paper", paper), ("zero padding", padding)):
    flat = patchify(image, 6)  # (1, 1, 108)
    mean_1, std_1 = patch_statistics(flat)
    without = (flat - mean_1) / flat.std(dim=-1, keepdim=True)
    with_eps = (flat - mean_1) / std_1
    print(f"{name}: deviation {flat.std():.2f}; a number without eps: "
          f"{bool(without.isfinite().all())}, with eps: {bool(with_eps.isfinite().all())}")

# %% [markdown]
# White paper is not flat: normalising the image has shifted each channel by another amount, and the
# difference is what norm_pix then stretches. The padding is flat, and without $\varepsilon$ its target is not
# a number. One such patch among thousands is enough: the mean over the batch is `nan`, and after the next
# step so is the model.
#
# ## The most asked question about MAE
#
# "I have downloaded the weights, and my reconstructions look all wrong." We load a model that was trained
# with `norm_pix`, and show what comes out of it as if it were pixels.

# %%
from mae_lib.training.checkpoints import load_shipped

shipped, facts = load_shipped("original")
p = shipped.patch_size
x = normalise(course.photographs(shipped.img_size))  # (5, 3, H, W)
shipped_noise = torch.rand(5, shipped.num_patches, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    trained = shipped(x, 0.75, noise=shipped_noise)
raw = denormalise(unpatchify(trained.pred, p))  # (5, 3, H, W), the trap
show(draw_rows({"as it comes": raw}),
     "The raw prediction for five photographs: violet and blue on patches that were visible, "
     "and on the hidden ones faint colours without light and shade, so that the motifs can hardly "
     "be told.")
print("trained with norm_pix:", facts["norm_pix"])


# %% [markdown]
# The weights are fine. Two things are wrong with the picture, and you have met both: the violet patches are
# visible ones, which nobody supervised, and all others are in units of their own, without brightness. We
# mend the units first.

# %% [markdown]
# ### ✏️ Exercise 3 · Back to pixels  (★☆☆ · 4 minutes)
#
# Write `denormalise_prediction(pred, patches)`: `pred` (B, L, V) is in each patch's own units, `patches`
# (B, L, V) are the target's. `patch_statistics(patches)` gives you their means and deviations.
#
# <details><summary>Hint 1</summary>
#
# Solve the formula of norm_pix for $y$.
# </details>
# <details><summary>Hint 2</summary>
#
# What was done last is undone first: multiply by the deviation, then add the mean.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def denormalise_prediction(pred, patches):
#     mean, std = patch_statistics(patches)  # (B, L, 1) each
#     return pred * std + mean
# ```
# </details>

# %%
def denormalise_prediction(pred, patches):
    ...  # your code


# %%
check.denormalise_prediction(denormalise_prediction)

# %% [markdown]
# The library's version is `predicted_images`. It takes the images, finds the statistics, and puts the patches
# together.

# %%
truth = denormalise(x).clamp(0, 1)
hidden = patch_mask_to_pixels(trained.mask, p)  # (5, 1, H, W)
mended = denormalise(predicted_images(trained.pred, x, p, norm_pix=True))  # (5, 3, H, W)
whole = metrics.composite(mended, truth, hidden)  # true pixels where visible
show(draw_rows({"mended units": mended, "and visible": whole, "photograph": truth}),
     "The same prediction in three rows. In the right units light and shade are back, but patches "
     "of false colour remain. With the true visible patches they are gone. Below, the photographs.")

# %% [markdown]
# The units bring back light and shade, the visible pixels replace the false colours. And something like a cup of
# coffee has appeared, although all we did to the prediction was to multiply and add.
#
# **Predict**, then move: which photograph suffers most from the wrong units? What happens if you do not know
# the hidden patches' means and deviations, and take those of the average visible patch?

# %%
explorer = widgets.prediction_explorer()
explorer

# %%
print(" " * 14 + "".join(f"{units:>26}" for units in widgets.UNITS))
for photograph in course.PHOTOGRAPHS:
    found = []
    for units in widgets.UNITS:
        explorer.set(photograph=photograph, units=units)
        found.append(explorer.frame.text.split(": ")[1].split(" on")[0])
    print(f"{photograph:14}" + "".join(f"{psnr:>26}" for psnr in found))


# %% [markdown]
# The rocket suffers most, by far: its sky is much darker than a patch of mean 0. With the statistics of the
# average visible patch the sky is nearly right again, as it is much the same everywhere. The cup is not: its white
# rim is unlike the average patch, and the prediction does not contain it.
#
# ### ✏️ Exercise 4 · PSNR on hidden pixels  (★★☆ · 5 minutes)
#
# Those decibels are the *peak signal-to-noise ratio* of notebook 00, $-10 \log_{10} \text{MSE}$ for values in
# 0…1: 10 dB more is a tenth of the squared error. Write `hidden_psnr(pred, target, mask)` for images (B, 3,
# H, W) and a mask (B, 1, H, W): clip the prediction to 0…1, as a screen does, and return one number for each
# image, (B,), measured on its hidden pixels.
#
# <details><summary>Hint 1</summary>
#
# `(error * mask).sum(dim=(1, 2, 3))` is one sum for each image.
# </details>
# <details><summary>Hint 2</summary>
#
# How many *values* are hidden? The mask has one channel, the error three.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def hidden_psnr(pred, target, mask):
#     error = (pred.clamp(0, 1) - target).square() * mask  # (B, 3, H, W)
#     mse = error.sum(dim=(1, 2, 3)) / (3 * mask.sum(dim=(1, 2, 3)))  # (B,)
#     return -10 * mse.log10()
# ```
# </details>

# %%
def hidden_psnr(pred, target, mask):
    ...  # your code


# %%
check.hidden_psnr(hidden_psnr)

# %% [markdown]
# ## Who painted the cup?
#
# De-normalising took two numbers from every hidden patch of the *target*. A real reconstruction would not
# have them. So we measure what they are worth on their own, with a prediction of zeros, what the model
# reaches when it must take the visible patches' average, and two fillings that have learned nothing: the
# visible pixels' mean colour, and a smooth fill between visible pixels. The library's `metrics.masked_psnr`
# measures.

# %%
borrowed_mean, borrowed_std = widgets.visible_statistics(x, trained.mask, p)  # (5, 1, 1) each
zeros = torch.zeros_like(trained.pred)
fillings = metrics.trivial_reconstructions(truth, hidden)
candidates = {
    "prediction, hidden patches' own": predicted_images(trained.pred, x, p, norm_pix=True),
    "zeros, hidden patches' own": predicted_images(zeros, x, p, norm_pix=True),
    "prediction, average visible": unpatchify(trained.pred * borrowed_std + borrowed_mean, p),
    "mean colour of visible pixels": normalise(fillings["masked mean"]),
    "smooth fill between them": normalise(fillings["bilinear fill"]),
}
scores = {name: metrics.masked_psnr(denormalise(picture), truth, hidden)
          for name, picture in candidates.items()}
print(" " * 33 + "  ".join(f"{name.split()[-1]:>9}" for name in course.PHOTOGRAPHS) + "     mean")
for name, psnr in scores.items():
    print(f"{name:33}" + "  ".join(f"{value:9.1f}" for value in psnr) + f"{psnr.mean():9.1f}")

# %%
own, zero, average, colour, smooth = (psnr.mean() for psnr in scores.values())
print("more than the smooth fill, with the hidden patches' statistics:", bool(own > smooth))
print("more than the smooth fill, without them:", bool(average > smooth))
print("more than what the statistics give by themselves:", bool(own > zero))

# %%
figure, axes = new_figure(1, 5, 10, 2.7)
names = ("own statistics", "zeros, own statistics", "average visible", "mean colour", "smooth fill")
drawn = zip(axes[0], names, candidates.values(), scores.values(), strict=True)
for axis, name, picture, psnr in drawn:
    filled = metrics.composite(denormalise(picture).clamp(0, 1), truth, hidden)
    axis.imshow(filled[1].permute(1, 2, 0))
    axis.set(title=name, xticks=[], yticks=[], xlabel=f"{psnr[1]:.1f} dB")
show(figure, "The coffee five times. With the hidden patches' own statistics a white cup is seen, "
             "also where the prediction is all zeros. With the visible average, the mean colour or "
             "the smooth fill there is no cup but for its visible pieces.")

# %% [markdown]
# There is your cup: the second picture has it, in grey, and its prediction is nothing but zeros. The statistics of the
# target painted it. What the first picture has beyond it, colour and structure within patches, is the model's
# own, and a real gain. But compare the first row of the table with the smooth fill, and you would think that
# the model is far ahead of it. The printed lines say whether it still is when it must do without what it
# borrowed. The fill has never seen another picture.
#
# Three rules follow. A PSNR of a `norm_pix` model is **optimistic**, and has to be reported as such. Two
# models may be compared by it if both borrow the same. And a number stands beside its trivial references, or
# it says nothing. (Five photographs and one mask each are an illustration, not a measurement.)
#
# ## Overfit one batch
#
# You now have a loss. Does the training code work? The first test is always the same: take **one** batch,
# keep the masks fixed, and train until it is learned by heart. If that fails, nothing larger can succeed. We
# leave `norm_pix` off, so that pictures show what the model itself has painted.
#
# **Predict:** 240 hidden patches of 108 values. How low can the loss go?

# %%
values = int(mask.sum()) * target.shape[2]
weights = sum(w.numel() for w in model.parameters())
print(f"{values:,} values to learn, {weights:,} weights to hold them")


# %%
def fit(counts, steps):
    """Train a tiny model on the one batch; counts(mask) are the patches that enter the loss."""
    torch.manual_seed(0)
    model = MaskedAutoencoder.from_preset("tiny")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), fused=True)
    loss_curve, on_hidden, preds = [], [], {}
    for step in range(steps + 1):
        output = model(images, 0.75, noise=noise)  # the same masks at every step
        loss = mae_loss(output.pred, images, counts(output.mask), 6, norm_pix=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pred = output.pred.detach()
        loss_curve.append(loss.item())
        on_hidden.append(mae_loss(pred, images, mask, 6, norm_pix=False).item())  # a second opinion
        if step in (0, steps // 6, steps):
            preds[f"step {step}"] = pred
    return loss_curve, on_hidden, preds


# %%
def draw_curve(loss_curve, on_hidden, title):
    figure, axes = new_figure(1, 1, 10, 2.6)
    axis = axes[0, 0]
    axis.semilogy(loss_curve, color=COLOURS[0], label="training loss")
    axis.semilogy(on_hidden, color=COLOURS[1], linestyle="--", label="error on hidden patches")
    axis.set(title=title, xlabel="step", ylabel="mean squared error")
    axis.legend()
    return figure


steps = session.choose(smoke=600, quick=1200, full=3000)
loss_curve, on_hidden, preds = fit(lambda mask: mask, steps)
show(draw_curve(loss_curve, on_hidden, "one batch, the loss on hidden patches"),
     "On a logarithmic axis the training loss falls from about 2 to a hundredth of that or less. "
     "The dashed line of the error on hidden patches lies exactly on it.")


# %%
def in_place(pred):
    """A prediction as pictures, with the true pixels where they were visible."""
    return denormalise(metrics.composite(unpatchify(pred, 6), images, pixel_mask))  # (5, 3, H, W)


show(draw_rows({name: in_place(pred) for name, pred in preds.items()}),
     "Five photographs at three moments. In the hidden patches: coloured noise at the start, "
     "blurred colours on the way, and at the end nearly the photographs themselves.")
print("the loss fell to less than a tenth:", loss_curve[-1] < loss_curve[0] / 10)

# %% [markdown]
# Zero is within reach: there are far more weights than values. First come the colours, then the details. The
# model has learned nothing about cats. But we have learned that gradients flow and that the optimiser works,
# and the pictures show that masks, patches and targets line up.
#
# ## The same test, with a bug
#
# Someone reads the mask the other way round, and the loss counts the *visible* patches. **Predict** the loss
# curve: does it fall faster, slower, or not at all?

# %%
bad_curve, bad_on_hidden, bad_preds = fit(lambda mask: 1 - mask, steps // 2)
show(draw_curve(bad_curve, bad_on_hidden, "one batch, the loss on visible patches by mistake"),
     "The training loss falls steeply on a logarithmic axis. The dashed line, the error on hidden "
     "patches, dips at first, then stays level at about 2, where it began.")
print("lower than the right loss after as many steps:", bad_curve[-1] < loss_curve[steps // 2])
print("the loss fell to less than a tenth:", bad_curve[-1] < bad_curve[0] / 10)
print("error on hidden patches above 1 all the time:", min(bad_on_hidden) > 1)

# %%
last = bad_preds[f"step {steps // 2}"]
everything = denormalise(unpatchify(last, 6))  # (5, 3, H, W)
show(draw_rows({"in place": in_place(last), "all predicted": everything}),
     "The buggy model at the end, five photographs. Hidden patches are coloured noise. In the "
     "lower row, which shows the whole prediction, visible patches are copied nearly perfectly.")

# %% [markdown]
# It falls faster, and lower: copying is easy, and the lower row shows that the model now does it nearly
# perfectly. By the loss curve alone, the broken code is the better one. Whoever shows only training loss
# would have celebrated. What found the bug is a second number, computed apart from the training loss, and a
# look at the pictures. And our test of the gradient would have found it before the first step:

# %%
strength = pull(lambda pred: mae_loss(pred, images, 1 - mask, 6, norm_pix=False), pred)
print("pull on visible patches is zero:", strength[visible].max().item() == 0)
print("pull on hidden patches is zero: ", strength[~visible].max().item() == 0)

# %% [markdown]
# ## Quiz
#
# **1. Your model's prediction on visible patches is coloured noise. What do you do?**
#
# <details><summary>Train longer</summary>
#
# ✗ No step ever pulls at those values: their gradient is exactly zero, today and after a million steps.
# </details>
# <details><summary>Show the true pixels there</summary>
#
# ✓ Nothing supervises these outputs, and nobody needs them: the true pixels are known. Use `metrics.composite`.
# </details>
# <details><summary>Add the visible patches to the loss</summary>
#
# ✗ That would remove the noise, and pay the model for copying, the more the less is hidden.
# </details>
#
# **2. Run A ends with a loss of 0.55, run B with 0.65. Which reconstructs better?**
#
# <details><summary>A</summary>
#
# ✗ Only if both have the same units. A might use norm_pix, in which predicting nothing but means costs about 1.
# </details>
# <details><summary>B</summary>
#
# ✗ There is no reason for it; a higher loss does not become better by a doubt about the other one.
# </details>
# <details><summary>It cannot be said without more facts</summary>
#
# ✓ Are both on pixels or both with norm_pix? Measured on the same images and the same masks? Only then do numbers compare.
# </details>
#
# **3. Overfitting one batch brings the loss to nearly zero. What is proven?**
#
# <details><summary>That the model will work on new pictures</summary>
#
# ✗ It has learned five pictures by heart. This says nothing about a sixth.
# </details>
# <details><summary>That the training code is correct</summary>
#
# ✗ The inverted mask passed the same test, and faster than the right one.
# </details>
# <details><summary>That this loss can be minimised by this code</summary>
#
# ✓ That, and no more. Whether it is the loss you meant is for the pictures and an independent measure to say.
# </details>
#
# ## What you take along
#
# - The loss is a mean over hidden patches. Visible ones are silent: change them and no bit of the loss moves, unless by `inf`.
# - Over all patches copying pays. With few patches hidden, it pays better than understanding.
# - `norm_pix` gives each patch its own units: every patch has the same voice, and brightness is not asked for. Going back borrows the target's
#   statistics, so PSNR is optimistic.
# - Losses in different units do not compare. With `norm_pix`, 1 is ignorance.
# - Overfit one batch first. Then look at pictures and at a number that the training code did not make.
#
# **Next:** [05 · Laplacian loss](05_laplacian_loss.ipynb) asks where the fine detail went, and adds a loss
# that looks for it.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR. Section 3 and table 1d: the reconstruction target.
# - Vincent, Larochelle, Bengio & Manzagol (2008). *Extracting and composing robust features with denoising autoencoders.* ICML. The ancestor, with its loss over everything.
# - Xie, Zhang, Cao et al. (2022). *SimMIM: a simple framework for masked image modeling.* CVPR. Compares losses on hidden and on all pixels.
# - Wei, Fan, Xie et al. (2022). *Masked feature prediction for self-supervised visual pre-training.* CVPR. Another target than pixels.
