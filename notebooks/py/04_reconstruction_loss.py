# %% [markdown]
# # 4 · Reconstruction loss: which patches count, and in which units
#
# The model from notebook 03 predicts every patch, and the loss turns the predictions into one number. That number
# depends on two choices: which patches count, and in which units we measure them. In this notebook you write the loss,
# take a first training step by hand, and train your own model until it knows one batch by heart.
#
# **You will be able to**
#
# - write the masked loss, and test which patches it reads;
# - normalise a target patch by patch (`norm_pix`) and bring a prediction back from those units;
# - say what a PSNR is worth if it borrows statistics from the target;
# - take a gradient step by hand, and with an optimiser;
# - overfit one batch, and say what this test can and cannot show.
#
# **Before you start:** notebooks [01](01_patchify.ipynb) to [03](03_asymmetric_autoencoder.ipynb), or some knowledge of
# patches, masks, encoders and decoders. **Time:** 45 minutes to read and run, and about 35 more for the exercises.

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
import torch
import torch.nn.functional as F
from torch import nn

from mae_lib import losses, metrics
from mae_lib.course.exercises import reconstruction_loss as check
from mae_lib.course.session import show
from mae_lib.course.widgets import reconstruction_loss as widgets
from mae_lib.data.augment import denormalise, normalise
from mae_lib.model import PRESETS
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import COLOURS, new_figure

show(*widgets.title())

# %%
patchify, unpatchify, MAE = course.use("patchify", "unpatchify", "MAE")

# %% [markdown]
# ## A prediction for every patch
#
# The package ships weights of a model that was trained on photographs enlarged to 224×224 pixels and cut into 196
# patches, 14 rows of 14. We load them into your `MAE` and hide three quarters of the patches of five photographs.

# %%
sizes, weights = course.shipped_weights("original")
mae = MAE(**sizes)
mae.load_state_dict(weights)
mae = mae.eval().requires_grad_(False)

# %%
images = normalise(course.photographs())  # (5, 3, 224, 224)
target = patchify(images, 16)  # (B, L, V) = (5, 196, 768)
noise = torch.rand(5, 196, generator=torch.Generator().manual_seed(0))
pred, mask, latent = mae(images, 0.75, noise)
print("target", tuple(target.shape), " prediction", tuple(pred.shape), " mask", tuple(mask.shape))
print("hidden per image:", mask.sum(dim=1).int().tolist())


# %% [markdown]
# The target is the image itself, cut into patches. No labels are involved.
#
# ## The loss, the slow way
#
# The visible patches were given to the model, and MAE leaves them out of the loss. Let $y$ be the target, $\hat{y}$ the
# prediction, and $M$ the set of all hidden patches, where $(b, i)$ is patch $i$ of image $b$. A patch of $p \times p$ pixels
# has $V = 3p^2$ values. The loss averages the squared error over all values of all hidden patches:
#
# $$\mathcal{L} = \frac{1}{|M|} \sum_{(b, i) \in M} \frac{1}{V} \sum_{v=1}^{V}
# \left(\hat{y}_{biv} - y_{biv}\right)^2 .$$
#
# In a loop, we visit every patch and add its error if it was hidden.

# %%
def loss_slowly(pred, target, mask):
    total, count = 0.0, 0
    for b in range(len(mask)):
        for i in range(mask.shape[1]):
            if mask[b, i] == 1:
                total += (pred[b, i] - target[b, i]).square().mean()  # over the patch's values
                count += 1
    return total / count


print(f"{loss_slowly(pred, target, mask):.2f}")

# %% [markdown]
# Is 1.26 a good loss or a bad one? That depends on the units of the target, the second choice.
#
# ## A patch in its own units: `norm_pix`
#
# Some patches have much stronger contrast than others, and the squared error is largest there. How unequal are they?
# Suppose that a model predicts only the mean of every patch. We sort all 980 patches, hidden or not, by their error.

# %%
error = target.var(dim=-1).flatten().sort(descending=True).values  # of predicting the mean

# %%
guess = course.predict("What share of the loss comes from the tenth of the patches "
                       "with the largest errors?")

# %%
top, low = (100 * part.sum() / error.sum() for part in (error[:98], error[490:]))
guess.reveal(f"{top:.0f} % of the loss; the half with the smallest errors has {low:.0f} %")


# %% [markdown]
# A tenth of the patches accounts for 30 % of the loss, and the half with the smallest errors for only 15 %. The model
# would mostly be trained on the patches with strong contrast.
#
# `norm_pix` brings all patches to the same scale. It subtracts the patch's own mean and divides by its own
# [**standard deviation**](GLOSSARY.md#standard-deviation), so that every target patch has mean 0 and standard deviation 1:
#
# $$\tilde{y}_{iv} = \frac{y_{iv} - \mu_i}{\sqrt{\sigma_i^2 + \varepsilon}}, \qquad
# \mu_i = \frac1V \sum_v y_{iv}, \qquad \sigma_i^2 = \frac{1}{V - 1} \sum_v (y_{iv} - \mu_i)^2 ,
# \qquad \varepsilon = 10^{-6}.$$
#
# Three details decide whether your loss agrees with the official code. The variance divides by $V - 1$. The
# $\varepsilon$ is inside the square root. The mean runs over pixels *and channels*, so a patch has one mean, not one
# for each channel. We first normalise one patch, the slow way.

# %%
def normalise_slowly(patch, eps=1e-6):
    """One patch, (V,), in its own units."""
    values = patch.tolist()
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return torch.tensor([(v - mean) / (variance + eps) ** 0.5 for v in values])


eye = target[0, 60]  # a part of the cat's eye on the left of the picture, (768,)
normal = normalise_slowly(eye)
print(f"before: mean {eye.mean():.2f}, standard deviation {eye.std():.2f}")
print(f"after:  mean {normal.mean().abs():.2f}, standard deviation {normal.std():.2f}")

# %% [markdown]
# What does such a target look like? The explorer starts with a patch of smooth, pale wall behind the astronaut, in row
# 2, column 3 (both counted from 0). See what becomes of it, then try the rocket's sky. On the right you see the chosen
# patch in pixels, and below it the normalised one. The view of standard deviations shows small ones in blue and large
# ones in yellow.

# %%
explorer = widgets.norm_pix_explorer()
explorer


# %% [markdown]
# <details><summary>What we see</summary>
#
# The smooth wall turns into violet clouds. Its standard deviation is only 0.07, so its grain is stretched 14 times and
# ends up with as much contrast as an eye. Differences in brightness between patches disappear, because every patch has
# mean 0.
#
# The rocket's sky has hardly any grain, yet in row 2, column 3 its standard deviation is 0.49, because the channels
# differ: blue is higher than red. So the target is a strong, even blue, whether the sky is dark or bright there.
# </details>

# %% [markdown]
# ### ✏️ Exercise 1 · The loss  (★★☆ · 12 minutes)
#
# Write `mae_loss(pred, images, mask, patch_size, norm_pix=False)`, which returns one number as a tensor. `pred` is
# (B, L, V), `images` are (B, 3, H, W), and `mask` is (B, L) with 1 = hidden. Cut the images into patches with `patchify`. If
# `norm_pix` is true, normalise each target patch. Use no loop. Your cell must contain every helper
# that you write; `torch`, `F` and `patchify` are there.
#
# <details><summary>Hint 1</summary>
#
# `target.mean(dim=-1, keepdim=True)` is (B, L, 1), which broadcasts against (B, L, V). `var` takes the same arguments
# and divides by $V - 1$.
# </details>
# <details><summary>Hint 2</summary>
#
# First compute one error for each patch, (B, L). Multiplying by the mask sets visible errors to 0. A mean needs a sum
# and a count: how many patches are left in the sum?
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def mae_loss(pred, images, mask, patch_size, norm_pix=False):
#     target = patchify(images, patch_size)
#     if norm_pix:
#         mean = target.mean(dim=-1, keepdim=True)
#         std = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
#         target = (target - mean) / std
#     error = ((pred - target) ** 2).mean(dim=-1)  # (B, L)
#     return (error * mask).sum() / mask.sum()
# ```
# </details>

# %%
def mae_loss(pred, images, mask, patch_size, norm_pix=False):
    ...  # your code


# %%
check.mae_loss(mae_loss)

# %%
mae_loss = course.use("mae_loss")

# %% [markdown]
# We compare it with the loop and the package's loss. Then we measure the shipped model, which was trained with
# `norm_pix`, in both kinds of units.

# %%
in_pixels = mae_loss(pred, images, mask, 16)
torch.testing.assert_close(in_pixels, loss_slowly(pred, target, mask))
in_own_units = mae_loss(pred, images, mask, 16, norm_pix=True)
torch.testing.assert_close(in_own_units, losses.mae_loss(pred, images, mask, 16, norm_pix=True))
print(f"on pixels {in_pixels:.2f}, with norm_pix {in_own_units:.2f}")

# %% [markdown]
# The same prediction scores 1.26 on pixels and 0.48 with `norm_pix`. Only the second number says anything about this model,
# because only then are the prediction and the target in the same units.
#
# A model that predicts nothing but each patch's mean is a simple reference for such numbers. On pixels it predicts the
# means themselves. With `norm_pix` it predicts zeros, which stand for the same picture.

# %%
only_means = target.mean(dim=-1, keepdim=True).expand_as(target)  # (B, L, V)
zeros = torch.zeros_like(target)
print(f"on pixels {mae_loss(only_means, images, mask, 16):.2f}, "
      f"with norm_pix {mae_loss(zeros, images, mask, 16, norm_pix=True):.3f}")

# %% [markdown]
# The same pictures get two losses, 0.65 on pixels and 0.999 with `norm_pix`. The second is very nearly $(V - 1)/V =
# 767/768$ for any photographs without flat patches, because the variance divides by $V - 1$. So with `norm_pix`, zeros
# reach a loss near 1, and a perfect prediction reaches 0. On pixels, the loss of predicting the means depends on the
# photographs. If a paper reports a loss of 0.43, you need to know its units.
#
# ## Do visible patches really not matter?
#
# An inverted or shifted mask raises no error, so we test which patches the loss reads. We replace the prediction on all
# visible patches by noise, a thousand times as strong as the picture. The loss should not change. Then we write
# infinity there instead.

# %%
guess = course.predict("What is the loss with infinity on the visible patches?")

# %%
visible = mask == 0  # (B, L)
spoilt = pred.clone()
spoilt[visible] = 1000 * torch.randn(spoilt[visible].shape)
torch.testing.assert_close(mae_loss(spoilt, images, mask, 16), in_pixels)

spoilt[visible] = torch.inf
guess.reveal(mae_loss(spoilt, images, mask, 16).item())

# %% [markdown]
# The noise changes nothing. Infinity turns a loss that multiplies by the mask into `nan`, because 0 · ∞ is not a
# number. (If yours selects the hidden patches, as in `error[mask == 1]`, it has not changed.) This can happen in
# practice: in half precision (`float16`), numbers above about 65,500 become infinity, and one of them on a *visible*
# patch is enough.
#
# The second test uses the gradient of the loss with respect to each predicted value, which says how much the loss
# changes when this value changes a little. On visible patches it should be
# exactly zero.

# %%
leaf = pred.clone().requires_grad_()
mae_loss(leaf, images, mask, 16, norm_pix=True).backward()
strength = leaf.grad.norm(dim=-1)  # (B, L): one length for each patch
print("largest on visible patches:", strength[visible].max().item())
print("all above 0 on hidden patches:", bool((strength[~visible] > 0).all()))

# %%
figure, axes = new_figure(2, 5, 10, 4.3)
seen = torch.where(patch_mask_to_pixels(mask, 16) > 0, 0.5, denormalise(images))
for i, name in enumerate(course.PHOTOGRAPHS):
    axes[0, i].imshow(seen[i].permute(1, 2, 0).clamp(0, 1))
    axes[0, i].set_title(name)
    heat = axes[1, i].imshow(strength[i].view(14, 14), cmap="magma", vmin=0,
                             vmax=strength.max())
    rows, columns = visible[i].view(14, 14).nonzero().T
    axes[1, i].plot(columns, rows, "w.")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
figure.colorbar(heat, ax=axes[1].tolist(), label="length of the gradient")
show(figure, "Above, five photographs with three quarters of their patches grey. Below, the "
             "gradient of each patch: black where a patch is visible, marked by a dot; coloured "
             "where it is hidden, but almost black in most of the rocket's sky and in the blue "
             "background behind Grace Hopper.")

# %% [markdown]
# All visible patches, marked by a dot, are black. Most hidden patches of the rocket's sky and of the blue background
# behind Grace Hopper look black too. They are predicted well, so their gradient is small, but not zero.
#
# Without a gradient, nothing directly teaches the model what to output on visible patches. That is why raw predictions
# look odd on exactly those patches, and why we show composites.
#
# Visible patches still matter for learning: the gradient of the hidden patches flows back through the decoder into the
# encoder, and changes how visible patches are read.
#
# ## Why not count all patches?
#
# The loss over all patches splits into two parts. With a share $r$ of the patches hidden,
# $\mathcal{L}_\text{all} = r\,\mathcal{L}_\text{hidden} + (1 - r)\,\mathcal{L}_\text{visible}$.

# %%
everywhere = torch.ones_like(mask)
hidden_part, visible_part = (mae_loss(pred, images, m, 16, norm_pix=True) for m in (mask, 1 - mask))
in_all = mae_loss(pred, images, everywhere, 16, norm_pix=True)
torch.testing.assert_close(in_all, 0.75 * hidden_part + 0.25 * visible_part)
print(f"hidden {hidden_part:.2f}, visible {visible_part:.2f}, all {in_all:.2f}")


# %% [markdown]
# The shipped model scores 0.48 on hidden patches and 0.66 on visible ones, for which it was never trained. A model
# trained with the loss over all patches has to copy the visible patches *and* predict the hidden ones. Copying may take
# some of its capacity, and at a low mask ratio the copying term has most of the weight.
#
# In practice the effect is small: He et al. (2022) report that counting all pixels costs them about half a point of
# accuracy at a ratio of 75 %.
#
# ## Why do my reconstructions look wrong?
#
# Many people ask this, for example in the [official repository](https://github.com/facebookresearch/mae/issues/12).
# They download weights trained with `norm_pix` and show the prediction as if it were pixels. We do the same.

# %%
def draw_rows(rows, width=10):
    """Rows of five pictures (5, 3, H, W) in [0, 1], each row with its name."""
    figure, axes = new_figure(len(rows), 5, width, 0.21 * width * len(rows))
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axis, picture in zip(line, pictures.clamp(0, 1), strict=True):
            axis.imshow(picture.permute(1, 2, 0))
            axis.set(xticks=[], yticks=[])
    return figure


raw = denormalise(unpatchify(pred, 16, 14, 14))  # (5, 3, H, W)
show(draw_rows({"what it sees": seen, "raw prediction": raw}),
     "Above, five photographs with hidden patches grey. Below, the raw prediction. Visible patches "
     "bulge like cushions. All patches are about equally bright, so most subjects are hard to "
     "recognise.")


# %% [markdown]
# The weights are fine. Many of the visible patches bulge like cushions, because the loss never trained the predictions
# there. The hidden patches are still in their own units, so the light and dark areas of the photograph are missing.

# %% [markdown]
# ### ✏️ Exercise 2 · Back to pixels  (★☆☆ · 4 minutes)
#
# Write `denormalise_prediction(pred, patches)`. `pred` (B, L, V) is in each patch's own units, and `patches` (B, L, V) are
# the target's pixels. `losses.patch_statistics(patches)` returns their means and standard deviations, (B, L, 1) each, with
# $\varepsilon$ included.
#
# <details><summary>Hint 1</summary>
#
# Solve the formula of `norm_pix` for $y$.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def denormalise_prediction(pred, patches):
#     mean, std = losses.patch_statistics(patches)  # (B, L, 1) each
#     return pred * std + mean
# ```
# </details>

# %%
def denormalise_prediction(pred, patches):
    ...  # your code


# %%
check.denormalise_prediction(denormalise_prediction)

# %% [markdown]
# The package's version, `predicted_images`, goes from the prediction and the images straight to images, which are still
# normalised.

# %%
truth = denormalise(images).clamp(0, 1)  # (5, 3, H, W)
holes = patch_mask_to_pixels(mask, 16)  # (5, 1, H, W)
in_colour = denormalise(losses.predicted_images(pred, images, 16, norm_pix=True))
whole = metrics.composite(in_colour, truth, holes)
show(draw_rows({"in pixels": in_colour, "composite": whole, "photograph": truth}),
     "Three rows of five pictures. In pixels the prediction has light and shade again, but "
     "visible patches still bulge. In the composite they are true. Below, the photographs.")

# %% [markdown]
# In pixels, light and shade are back. In the composite, the cushions are gone too.
#
# The next explorer shows one photograph at a time. The number below it is the [**PSNR**](GLOSSARY.md#psnr) on the
# hidden pixels, in decibels (dB): the higher, the closer to the photograph. Switch between "as predicted" and "hidden
# patches' own", and find the photograph whose PSNR differs most. Then choose "average visible patch's", which needs no
# statistics of hidden patches.

# %%
explorer = widgets.prediction_explorer()
explorer

# %% [markdown]
# <details><summary>What we see</summary>
#
# The rocket loses most: it has 23.6 dB with the hidden patches' own statistics and 12.8 dB as predicted. Its sky is
# much darker than a patch of mean 0. With the average visible patch's statistics it reaches 18.9 dB, because its sky is
# much the same everywhere. The coffee's PSNR rises only from 11.7 to 12.3 dB, because most of its patches are far from
# the average patch.
# </details>
#
# ## Who drew the cup, the model or the target?
#
# To return to pixels, we took two numbers from every hidden patch of the *target*: its mean and its standard deviation.
# A real reconstruction would not have them. How much of the result do these borrowed numbers explain? First we compute
# the statistics of the average visible patch, which need no hidden patch.

# %%
mean, std = losses.patch_statistics(target)  # (B, L, 1) each
shown = (1 - mask)[:, :, None]  # (B, L, 1)
visible_mean, visible_std = ((x * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True)
                             for x in (mean, std))  # (B, 1, 1) each

# %% [markdown]
# Then we compare six versions of each photograph on the hidden pixels. The **bilinear fill** spreads the visible pixels
# into the holes and has learned nothing. One version takes the brightness of each hidden patch from it. The last three
# borrow nothing.

# %%
smooth = metrics.trivial_reconstructions(truth, holes)["bilinear fill"]
brightness = patchify(normalise(smooth), 16).mean(dim=-1, keepdim=True)  # (B, L, 1)
candidates = {
    "prediction, borrowed mean and std": pred * std + mean,
    "prediction, borrowed mean only": pred * visible_std + mean,
    "zeros, borrowed mean": mean.expand_as(pred),
    "prediction, average visible patch": pred * visible_std + visible_mean,
    "prediction, brightness of the fill": pred * visible_std + brightness,
    "bilinear fill": patchify(normalise(smooth), 16),
}
pictures = {name: denormalise(unpatchify(patches, 16, 14, 14))
            for name, patches in candidates.items()}
psnr = {name: metrics.masked_psnr(x, truth, holes) for name, x in pictures.items()}  # (5,) each

# %%
guess = course.predict("Two versions of the prediction borrow nothing. By how many dB does the "
                       "better one beat the bilinear fill?")

# %%
alone = max(psnr[name].mean() for name in list(psnr)[3:5])
lines = [f"by {alone - psnr['bilinear fill'].mean():.1f} dB"]
for name, values in psnr.items():
    lines.append(f"{name:34} {values.mean():.1f} dB on average, coffee {values[1]:.1f} dB")
guess.reveal("\n".join(lines))

# %%
figure, axes = new_figure(1, 6, 11, 2.5)
titles = ("mean and std borrowed", "mean borrowed", "zeros, mean borrowed", "average visible patch",
          "brightness of the fill", "bilinear fill")
for axis, title, picture in zip(axes[0], titles, pictures.values(), strict=True):
    filled = metrics.composite(picture.clamp(0, 1), truth, holes)
    axis.imshow(filled[1].permute(1, 2, 0))
    axis.set_title(title, fontsize=9)
    axis.axis("off")
show(figure, "The coffee six times. With borrowed means a pale cup is visible, also where the "
             "prediction is all zeros. With nothing borrowed and with the bilinear fill there is "
             "no cup except for its visible pieces.")

# %% [markdown]
# With both statistics borrowed, the prediction reaches 18.4 dB on average, 2.6 dB more than the bilinear fill. With
# nothing borrowed, the result depends on where the means come from. The average visible patch gives 14.2 dB, 1.6 dB
# *less* than the fill. The brightness of the fill gives 15.9 dB, hardly more than the fill itself. So nearly all of the
# lead comes from the borrowed statistics.
#
# Which borrowed number matters? Borrowing the mean alone gives 18.3 dB, so the standard deviation adds next to nothing
# here. Zeros with the borrowed mean reach 15.4 dB and already show the pale cup, although without its colours. On top
# of the borrowed means, the model itself adds the step from 15.4 to 18.3 dB, or 2.9 dB: colour and structure within the
# patches.
#
# A PSNR that uses statistics of the target is therefore [**optimistic**](GLOSSARY.md#optimistic), and a report should
# say so. (Users of another implementation [noticed the same problem](https://github.com/pengzhiliang/MAE-pytorch/issues/40).) Compare two models by PSNR only if both borrow the same
# statistics, and always print a reference such as the bilinear fill. (Our five photographs illustrate the point. They
# are not a measurement of the model.)
#
# Can a masked autoencoder fill in without help at all? The weights `pixels` come from a model that was trained on
# pixels, without `norm_pix`. We let it fill the same holes.

# %%
sizes, weights = course.shipped_weights("pixels")
on_pixels = MAE(**sizes)
on_pixels.load_state_dict(weights)
with torch.no_grad():
    pixel_pred, _, _ = on_pixels(images, 0.75, noise)  # (B, L, V)
filled_in = denormalise(unpatchify(pixel_pred, 16, 14, 14)).clamp(0, 1)
unaided = metrics.masked_psnr(filled_in, truth, holes).mean()
print(f"{unaided:.1f} dB on average, with nothing borrowed")
show(draw_rows({"on pixels": metrics.composite(filled_in, truth, holes)}),
     "The five photographs, filled in by the model trained on pixels: blurred in holes, "
     "with colours that continue those of the visible patches.")

# %% [markdown]
# The model trained on pixels reaches 17.0 dB, 1.2 dB more than the bilinear fill. If you want pictures without borrowed
# statistics, train on pixels. If you want features, `norm_pix` was the better choice in the paper: fine-tuned accuracy
# rose from 84.9 to 85.4 % ([He et al. 2022](https://arxiv.org/abs/2111.06377), table 1d).
#
# ## A first training step
#
# The simplest optimiser is [**gradient descent**](GLOSSARY.md#gradient-descent). It moves every weight a little against
# its gradient, $w \leftarrow w - \eta\, \partial \mathcal{L} / \partial w$, where $\eta$ is the
# [**learning rate**](GLOSSARY.md#learning-rate).
#
# PyTorch's *autograd* computes these gradients. It records every operation that leads from the weights to the loss.
# `loss.backward()` goes through this record backwards and stores each weight's gradient in its `.grad`. A second call
# would add to it, so we clear the gradients after every step. We start with a fresh, tiny model and images of 48×48
# pixels, cut into 64 patches of 6×6.

# %%
small = normalise(course.photographs(48))  # (5, 3, 48, 48)
small_noise = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
model = MAE(**PRESETS["tiny"])
pred_small, mask_small, _ = model(small, 0.75, small_noise)
loss = mae_loss(pred_small, small, mask_small, 6)
loss.backward()  # every parameter now has a .grad
without = [name for name, p in model.named_parameters() if p.grad is None]
print("parameters without a gradient:", without)


# %% [markdown]
# The list is empty: every parameter has received a gradient. The loss reads only hidden patches, which the encoder
# never sees. The encoder's gradients have come through the decoder, whose attention connects hidden patches with
# visible ones.

# %% [markdown]
# ### ✏️ Exercise 3 · Gradient descent  (★★☆ · 6 minutes)
#
# Write `descend(parameters, lr)`. It changes every parameter [**in place**](GLOSSARY.md#in-place) by `-lr` times its
# gradient, and then sets the gradient to `None`, so that the next `backward()` starts from nothing. `parameters` is
# what `model.parameters()` gives, and you can go through it only once. Parameters whose gradient is `None` stay as they
# are. Autograd must not record the change.
#
# <details><summary>Hint 1</summary>
#
# `with torch.no_grad():` switches recording off. `p -= …` changes a tensor in place; `p = p - …` only makes a new one.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def descend(parameters, lr):
#     with torch.no_grad():
#         for p in parameters:
#             if p.grad is not None:
#                 p -= lr * p.grad
#                 p.grad = None
# ```
# </details>

# %%
def descend(parameters, lr):
    ...  # your code


# %%
check.descend(descend)

# %% [markdown]
# `torch.optim.SGD` does the same. One step on our batch should lower the loss. (To use your own function, put
# `descend(model.parameters(), lr=0.1)` in place of the three lines with `optimizer`. A step uses its gradients up, so
# run the cell with `loss.backward()` again before you repeat this one.)

# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.step()
optimizer.zero_grad()
pred_small, mask_small, _ = model(small, 0.75, small_noise)
after = mae_loss(pred_small, small, mask_small, 6)
print("the loss is lower after one step:", bool(after < loss))

# %% [markdown]
# The loss is lower after one step. MAE is trained with [**AdamW**](GLOSSARY.md#adamw), which adapts the step for each
# weight and usually needs far fewer steps. `step()` and `zero_grad()` stay the same, and
# [notebook 07](07_pretraining.ipynb) explains the settings.
#
# ## Overfit one batch
#
# The first test of any training code is to take **one** batch, keep the masks fixed, and train until the model knows
# the batch by heart. If that fails, nothing larger can succeed. We leave `norm_pix` off, so that we can show
# predictions without borrowing from the target.

# %%
values = int(mask_small.sum()) * 6 * 6 * 3
print(f"{values:,} hidden values to learn")
print(f"{sum(p.numel() for p in model.parameters()):,} weights to hold them")

# %%
guess = course.predict("After how many steps is the loss a tenth of what it was at the start?")


# %%
def fit(counts, steps):
    """Train on the one batch; counts(mask) are the patches that enter the loss."""
    torch.manual_seed(0)
    model = MAE(**PRESETS["tiny"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    curve, on_hidden, preds = [], [], {}
    for step in range(steps + 1):
        pred, mask, _ = model(small, 0.75, small_noise)  # the same masks at every step
        loss = mae_loss(pred, small, counts(mask), 6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
        on_hidden.append(mae_loss(pred.detach(), small, mask, 6).item())
        if step in (0, steps // 6, steps // 2, steps):
            preds[f"step {step}"] = pred.detach()
    return curve, on_hidden, preds


# %% [markdown]
# `counts` decides which patches enter the loss. With `lambda mask: mask` these are the hidden ones. `on_hidden` records
# the error on hidden patches separately from the training loss. In this first run, the two are the same.

# %%
def draw_curve(curve, on_hidden, title):
    figure, axes = new_figure(1, 1, 10, 2.6)
    axis = axes[0, 0]
    axis.semilogy(curve, color=COLOURS[0], label="training loss")
    axis.semilogy(on_hidden, color=COLOURS[1], linestyle="--", label="error on hidden patches")
    axis.set(title=title, xlabel="step", ylabel="mean squared error")
    axis.legend()
    return figure


steps = session.choose(smoke=600, quick=1200, full=3000)
curve, on_hidden, preds = fit(lambda mask: mask, steps)
tenth = sum(loss > curve[0] / 10 for loss in curve)
guess.reveal(f"about {round(tenth, -2)}",
             draw_curve(curve, on_hidden, "One batch, loss on hidden patches"),
             "On a logarithmic axis the training loss falls from about 2 to a hundredth of that or "
             "less. The dashed line of the error on hidden patches lies exactly on it.")

# %%
holes_small = patch_mask_to_pixels(mask_small, 6)  # (5, 1, 48, 48)


def in_place(pred):
    """A prediction as pictures, with the true pixels where they were visible."""
    pictures = unpatchify(pred, 6, 8, 8)
    return denormalise(metrics.composite(pictures, small, holes_small))  # (5, 3, H, W)


show(draw_rows({name: in_place(pred) for name, pred in preds.items()}),
     "Five photographs at four moments. In the hidden patches: coloured noise at the start, "
     "blurred colours on the way, and at the end nearly the photographs themselves.")
print("the loss fell to less than a tenth:", curve[-1] < curve[0] / 10)

# %% [markdown]
# The loss falls to less than a tenth of its initial value. Colours come first, details later. This says nothing about a
# sixth photograph, but the curve shows that gradients flow and that the optimiser works, and the pictures show that
# masks, patches and targets fit together.
#
# ## The same test, with a bug
#
# Suppose that the loss counts the *visible* patches, because somebody inverted the mask. What will the loss curve look
# like?

# %%
guess = course.predict("With the mask inverted, does the loss fall faster, slower or not at all?")

# %%
bad_curve, bad_on_hidden, bad_preds = fit(lambda mask: 1 - mask, steps // 2)
assert bad_curve[-1] < curve[steps // 2] and min(bad_on_hidden) > 0.8
guess.reveal("faster, and it ends lower than the right loss at the same step; "
             "the error on hidden patches stays above 0.8 at every step",
             draw_curve(bad_curve, bad_on_hidden, "One batch, loss on visible patches by mistake"),
             "The training loss falls steeply on a logarithmic axis. The dashed line, the error on "
             "hidden patches, stays near 1 or above.")

# %%
half = f"step {steps // 2}"
show(draw_rows({"with the bug": in_place(bad_preds[half]), "without": in_place(preds[half])}),
     "Composites of five photographs after the same number of steps. With the bug, the hidden "
     "patches all show nearly the same mottled pattern. Without it, they are close to "
     "the photographs.")

# %% [markdown]
# With the bug, the loss falls faster and ends lower, because copying is easier than predicting. If you look only at the
# loss curve, the broken code seems better. Two things reveal the bug: the pictures and the error on hidden patches. The
# gradient on visible patches would have revealed it before the first step, because it is not zero.
#
# ### ✏️ Open exercise · Break it yourself  (★★☆ · 12 minutes)
#
# Put a bug of your own into a copy of `fit`. Some ideas: leave out `zero_grad`; draw new noise at every step; give the
# optimiser only the decoder's parameters; use `norm_pix` in the loss but not for the pictures; shift the target by one
# patch, with `small.roll(6, dims=-1)` in the loss. (With new noise, save `model(small, 0.75, small_noise)[0]` for the
# pictures, since `in_place` fills in the visible pixels of that mask.) First write down which of these four checks will
# notice it: the loss curve, the error on hidden patches, the gradient on visible patches (call `pred.retain_grad()`
# before `backward()`, then look at `pred.grad`), the pictures. Then run it.

# %%
# your copy of fit, with a bug

# %% [markdown]
# <details><summary>What a good answer shows</summary>
#
# - One change at a time, compared with the right version for the same number of steps and the same seed.
# - A prediction for each of the four checks, made before the run, and a reason for each one that turned out wrong.
# - At least one bug that the loss curve does not reveal.
# - An explanation of what new noise at every step does. In real training it is right. Here it keeps the loss higher for
#   longer, because the model has to learn every patch of the five images.
# - A conclusion of the form "to find this kind of bug, look at …".
# </details>
#
# ## Quiz
#
# **1. Your model's prediction on visible patches looks wrong. What do you do?**
#
# <details><summary>Train longer</summary>
#
# ✗ The gradient of these values is exactly zero, now and after a million steps.
# </details>
# <details><summary>Show the true pixels there</summary>
#
# ✓ Nothing trains these outputs, and nobody needs them, because the true pixels are known. Use a composite.
# </details>
# <details><summary>Add the visible patches to the loss</summary>
#
# ✗ That would improve these patches, but the model would spend capacity on copying.
# </details>
#
# **2. Run A ends with a loss of 0.55, run B with 0.65. Which reconstructs better?**
#
# <details><summary>A</summary>
#
# ✗ Only if both use the same units, images and masks. A might use `norm_pix`, where predicting zeros costs about 1.
# </details>
# <details><summary>B</summary>
#
# ✗ Its loss is higher, but perhaps in other units.
# </details>
# <details><summary>We cannot say without more facts</summary>
#
# ✓ Do both use pixels, or both `norm_pix`? The same images and the same masks? Only then can you compare the numbers.
# </details>
#
# **3. Overfitting one batch brings the loss to nearly zero. What have you shown?**
#
# <details><summary>That the model will work on new pictures</summary>
#
# ✗ It has learned five pictures by heart, which says nothing about a sixth.
# </details>
# <details><summary>That the training code is correct</summary>
#
# ✗ The code with the inverted mask passed the same test, and faster.
# </details>
# <details><summary>That this code can minimise this loss</summary>
#
# ✓ That and no more. Pictures and an independent measure must show that it is the loss you meant.
# </details>
#
# ## Key takeaways
#
# - The loss is a mean over hidden patches. Predictions on visible patches have no effect on it, unless they are infinite.
# - `norm_pix` puts each target patch into its own units. All patches then have the same scale, and the model need not
#   predict their brightness.
# - With `norm_pix`, predicting zeros costs about 1. Losses in different units cannot be compared.
# - To go back to pixels, we borrow the target's mean and standard deviation. A PSNR of the result is optimistic.
# - Overfit one batch first. Then look at pictures, and at an error that you compute separately from the training loss.
#
# **Next:** [05 · Laplacian loss](05_laplacian_loss.ipynb) asks where the fine detail went and adds a loss that looks for it.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Section 3 and table 1d: the reconstruction target.
# - Xie, Zhang, Cao, Lin, Bao, Yao, Dai & Hu (2022). [*SimMIM: a simple framework for masked image
#   modeling.*](https://arxiv.org/abs/2111.09886) CVPR. Compares losses on hidden and on all pixels.
# - Wei, Fan, Xie, Wu, Yuille & Feichtenhofer (2022). [*Masked feature prediction for self-supervised visual
#   pre-training.*](https://arxiv.org/abs/2112.09133) CVPR. Predicts something other than pixels.
# - Karpathy (2019). [*A recipe for training neural networks.*](https://karpathy.github.io/2019/04/25/recipe/)
#   Overfitting one batch and other checks.
