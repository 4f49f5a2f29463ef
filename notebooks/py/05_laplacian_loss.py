# %% [markdown]
# # 5 · The Laplacian loss: asking for sharpness
#
# The images that a masked autoencoder reconstructs are blurry. The project report proposes a second loss to reduce the
# blur: filter the prediction and the target so that only fine detail is left, and compare the two. In this notebook we
# find out where the blur comes from, build that loss, and test what it really asks for.
#
# **You will be able to**
#
# - explain why a squared error asks for blur;
# - read an image as a sum of waves, and filter waves out of it;
# - write the Laplacian filter and build the masked loss on it, `laplacian_loss_masked`;
# - find the boundary trap, where a filter reads predicted pixels that no loss has trained;
# - work out which prediction minimises a loss, and say what a lower high-frequency error proves.
#
# **Before you start:** [04 · Reconstruction loss](04_reconstruction_loss.ipynb), for the masked squared error and
# `norm_pix`. **Time:** 60 minutes to read and run, and about 55 more for the exercises.

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
import torch.nn as nn
import torch.nn.functional as F

from mae_lib import losses, metrics
from mae_lib.course.exercises import laplacian_loss as check
from mae_lib.course.session import show
from mae_lib.course.widgets import laplacian_loss as widgets
from mae_lib.data.augment import denormalise, normalise, resize
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import COLOURS, GREY, new_figure

show(*widgets.title())

# %% [markdown]
# Like every image, the photograph is a sum of waves. The second picture shows how strong each wave is: slow waves,
# which change gradually, are in the middle, fast waves near the edges, and bright means strong. The third picture keeps
# only the slowest 1.6 % of the waves. The fourth keeps all the others and shows 0 as grey.

# %%
patchify, unpatchify, random_masking, MAE, mae_loss = course.use(
    "patchify", "unpatchify", "random_masking", "MAE", "mae_loss")

# %% [markdown]
# ## Which guess is cheapest?
#
# A row of eight pixels contains an edge from black (0) to white (1), but its place is hidden. The edge comes early,
# after three pixels, or late, after five, and both are equally likely. You make one guess and pay its squared error.

# %%
cheapest = course.predict("Which guess is cheapest on average: early, late, or another row?")

# %%
early = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1.0])
late = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1.0])
lines = ["another row, the mean of the two edges"]
for name, row in {"early": early, "late": late, "mean": (early + late) / 2}.items():
    expected = ((row - early).square().mean() + (row - late).square().mean()) / 2
    lines.append(f"{name:<6} {row.tolist()}  expected squared error {expected:.4f}")
cheapest.reveal("\n".join(lines))

# %% [markdown]
# The mean of the two edges costs 0.0625 on average, half as much as either edge. It wins although it is never right.
#
# This holds in general. Let $T$ be the hidden value. The guess with the lowest expected squared error is the mean of
# $T$: $\arg\min_x \mathbb{E}\,(x - T)^2 = \mathbb{E}\,T$. Where a model does not know the answer, squared error asks
# for the average of all possible answers, and an average of edges is a blur.
#
# ## An image is a sum of waves
#
# To describe what a blur removes, we write an image as a sum of waves in all directions. A slow wave rises and falls
# only a few times across the image, and a fast wave changes from pixel to pixel. The [**Fourier
# transform**](GLOSSARY.md#fourier-transform) (`fft2`) gives one number for each wave, its **coefficient**. We start
# with an image that *is* one wave, with four cycles from left to right.

# %%
across = torch.arange(224) / 224
wave = torch.cos(2 * torch.pi * 4 * across).expand(224, 224)  # (H, W), the same in every row
print((torch.fft.fft2(wave).abs() > 1).nonzero().tolist())

# %% [markdown]
# Two of the 50,176 coefficients are larger than 1; the others are 0 up to rounding. Both are in row 0, because nothing
# changes from top to bottom. Indices past the middle count backwards, so column 220 stands for −4 cycles. The transform
# splits a cosine into two complex waves, one with +4 and one with −4 cycles, whose imaginary parts cancel.
#
# Next we transform a photograph and transform the result back. Nothing should be lost.

# %%
astronaut = course.photograph("astronaut") / 255  # (3, 224, 224)
coefficients = torch.fft.fft2(astronaut)  # (3, 224, 224), complex
torch.testing.assert_close(torch.fft.ifft2(coefficients).real, astronaut, atol=1e-5, rtol=0)
print(f"frequency 0: {coefficients[0, 0, 0].real / 224**2:.3f}   mean: {astronaut[0].mean():.3f}")

# %% [markdown]
# The image comes back to within rounding error. The coefficient at frequency 0, divided by the number of pixels, is the
# mean, here of the red channel.
#
# Each coefficient is a complex number. Its absolute value, the **magnitude**, says how strong the wave is. Its angle,
# the **phase**, says how far the wave is shifted.
#
# ## Where is the variance?
#
# Only 1.6 % of the waves have at most 16 cycles per image. How much of an image is in them? We measure it by their
# share of the variance of the pixel values.

# %%
share_guess = course.predict("What share of the astronaut's variance is in the slowest 1.6 % "
                             "of the waves?")


# %% [markdown]
# Without the mean, the squared magnitudes add up to the variance (times a constant). So we divide their sum within the
# cut-off by the total.

# %%
def share_within(image, cutoff):
    """The share of the variance of an image (3, N, N) in waves up to `cutoff` cycles per image."""
    n = image.shape[-1]
    f = torch.fft.fftfreq(n) * n  # cycles per image: 0, 1, 2, … and then the negative ones
    power = torch.fft.fft2(image).abs().square().sum(dim=0)  # (N, N)
    power[0, 0] = 0  # the mean is not a wave
    return (power * (f[:, None] ** 2 + f**2 <= cutoff**2)).sum() / power.sum()


shares = {name: 100 * share_within(course.photograph(name) / 255, 16)
          for name in course.PHOTOGRAPHS}
lines = [f"{name:<13} {share:.0f} %" for name, share in shares.items()]
share_guess.reveal("\n".join([f"{shares['astronaut']:.0f} %", *lines]))

# %% [markdown]
# The slowest 1.6 % of the waves hold 86 % of the astronaut's variance, and between 82 % and 90 % in all five
# photographs. Slow waves dominate natural scenes in general ([Field 1987](https://doi.org/10.1364/JOSAA.4.002379)). So
# a model that leaves out the fast waves adds little to its squared error. Yet everything that looks sharp is in those
# waves: the eyes, the hair and the badges on the suit.
#
# The explorer shows four pictures: a photograph; the strength of its waves, with a bright disc over those below a
# cut-off; the image made of these waves, the result of a [**low-pass**](GLOSSARY.md#high-pass) filter; and everything
# else, the result of a **high-pass** filter. Somewhere between 16 and 64 cycles you begin to see in the low-pass image
# that the astronaut is smiling. Where?

# %%
explorer = widgets.frequency_explorer()
explorer


# %% [markdown]
# <details><summary>What we see</summary>
#
# At 16 cycles her mouth is a smudge. At 24 there is a light spot where her teeth are, and at about 32 we see the smile.
# </details>

# %% [markdown]
# ### ✏️ Exercise 1 · A low-pass filter  (★★☆ · 6 minutes)
#
# Write `low_pass(image, cutoff)` for a square greyscale image (H, H). Keep the waves with $\sqrt{f_x^2 + f_y^2}$ up to
# and including `cutoff`, in cycles per image, and return the image that they make.
#
# <details><summary>Hint 1</summary>
#
# There are three steps: `torch.fft.fft2`, a multiplication of the coefficients by a mask, and
# `torch.fft.ifft2(…).real`.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.fft.fftfreq(n) * n` gives the frequency at each index. Use it once for the columns and once, as `[:, None]`, for
# the rows. `share_within` above builds the same mask.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def low_pass(image, cutoff):
#     n = image.shape[-1]
#     f = torch.fft.fftfreq(n) * n  # cycles per image
#     keep = f[:, None] ** 2 + f**2 <= cutoff**2  # (H, H)
#     return torch.fft.ifft2(torch.fft.fft2(image) * keep).real
# ```
# </details>

# %%
def low_pass(image, cutoff):
    ...  # your code


# %%
check.low_pass(low_pass)

# %% [markdown]
# ## The second difference
#
# We want a filter that makes the fast waves strong and removes the slow ones. In a row of pixels, the
# **second difference** is $x_{i-1} - 2x_i + x_{i+1}$. The row 2, 2, 2, 3, 4, 5, 5, 1, 1, 1 is flat, climbs, stays level
# for two pixels, drops and is flat again.

# %%
zeros = course.predict("In which parts of the row is the second difference zero?")

# %%
row = torch.tensor([2, 2, 2, 3, 4, 5, 5, 1, 1, 1])
slow = [(row[i - 1] - 2 * row[i] + row[i + 1]).item() for i in range(1, len(row) - 1)]
torch.testing.assert_close(row.diff(n=2), torch.tensor(slow))  # the fast form
zeros.reveal(f"on the flat parts at both ends and in the middle of the climb: {slow}")

# %% [markdown]
# <details><summary>Why</summary>
#
# The second difference measures how much the slope changes. On a flat part or in a steady climb, it does not change.
# The climb begins with a 1 and ends with a −1. The drop gives a pair of spikes, −4 and +4. The level stretch of two 5s
# gives no zero, because the slope changes at each of them.
# </details>
#
# `diff(n=2)` computes the same numbers without a loop.
#
# ## The Laplacian
#
# In an image we add the second differences along rows and along columns. The result is the
# [**Laplacian**](GLOSSARY.md#laplacian). We can write it as a 3×3 kernel: at each pixel, we multiply the kernel by the
# values under it and add up the products.

# %%
kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.0]])


def laplacian_slowly(channel):
    """(H, W) → (H − 2, W − 2)"""
    h, w = channel.shape
    result = torch.zeros(h - 2, w - 2)
    for r in range(h - 2):
        for c in range(w - 2):
            result[r, c] = (kernel * channel[r : r + 3, c : c + 3]).sum()
    return result


small = course.photograph("astronaut", 48)[None] / 255  # (1, 3, 48, 48)
by_loop = torch.stack([laplacian_slowly(channel) for channel in small[0]])  # (3, 46, 46)
print(tuple(small[0].shape), "→", tuple(by_loop.shape))


# %% [markdown]
# ### ✏️ Exercise 2 · The Laplacian by shifts  (★★☆ · 6 minutes)
#
# Write `laplacian(x)` without a loop, for images (B, C, H, W): the sum of each pixel's four neighbours minus four times
# the pixel. Border pixels lack a neighbour and are left out, so the result is (B, C, H − 2, W − 2).
#
# <details><summary>Hint 1</summary>
#
# The pixels in the middle are `x[..., 1:-1, 1:-1]`. Their upper neighbours are one row higher.
# </details>
# <details><summary>Hint 2</summary>
#
# Upper neighbours: `x[..., :-2, 1:-1]`. Lower neighbours: `x[..., 2:, 1:-1]`. Left and right work the same way on the
# last axis.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def laplacian(x):
#     vertical = x[..., :-2, 1:-1] + x[..., 2:, 1:-1]
#     horizontal = x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
#     return vertical + horizontal - 4 * x[..., 1:-1, 1:-1]
# ```
# </details>

# %%
def laplacian(x):
    ...  # your code


# %%
check.laplacian(laplacian)

# %% [markdown]
# ## The Laplacian as a convolution
#
# The usual fast form is a convolution. The report gives the kernel the shape 1×1×3×3 and applies it to an RGB
# image.

# %%
happens = course.predict("What happens if you filter an RGB image with a 1×1×3×3 kernel?")

# %%
kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.0]]).view(1, 1, 3, 3)  # (out, in, 3, 3)
try:
    F.conv2d(small, kernel)
except RuntimeError as error:
    happens.reveal(f"an error: {error}")

# %% [markdown]
# <details><summary>Why</summary>
#
# The kernel expects images with 1 channel, and ours have 3.
# </details>
#
# There are two ways to apply the kernel to three channels. We can give it three *input* channels. Or we can repeat it
# three times and keep the channels apart with `groups=3`, which is called a **depthwise** convolution. We try both on a
# pixel that is too high in red and too low in green by the same amount.

# %%
colour_error = torch.zeros(1, 3, 5, 5)
colour_error[0, :2, 2, 2] = torch.tensor([1.0, -1.0])  # red too high, green too low
summed = F.conv2d(colour_error, kernel.expand(1, 3, 3, 3))  # (1, 1, 3, 3)
depthwise = F.conv2d(colour_error, kernel.expand(3, 1, 3, 3), groups=3)  # (1, 3, 3, 3)
print("three input channels:", summed.abs().sum().item())
print("depthwise:           ", depthwise.abs().sum().item())

# %% [markdown]
# With three input channels the result is 0, because the errors of red and green cancel when the filter adds the
# channels. A loss built on this form would miss such an error. The depthwise form reports 16, so we use it. The next
# cell makes sure that the loop, the convolution and the package's version agree.

# %%
by_convolution = F.conv2d(small, kernel.expand(3, 1, 3, 3), groups=3)[0]  # (3, 46, 46)
torch.testing.assert_close(by_convolution, by_loop)
torch.testing.assert_close(losses.laplacian(small)[0], by_loop)

# %% [markdown]
# ## What to do at the border
#
# A pixel at the border has no neighbour on one side. `conv2d(padding=1)` invents zeros there, which `F.pad` calls
# `constant`. We can also mirror the image (`reflect`) or repeat its border (`replicate`). We try each on a steady ramp,
# where the second difference should be 0.

# %%
ramp = torch.arange(8.0).expand(1, 1, 8, 8)
for mode in ("constant", "reflect", "replicate"):
    padded = F.pad(ramp, (1, 1, 1, 1), mode=mode)  # (1, 1, 10, 10)
    print(f"{mode:<10} largest response {losses.laplacian(padded).abs().max():.0f}")
print(f"no padding largest response {losses.laplacian(ramp).abs().max():.0f}")

# %% [markdown]
# Every kind of padding makes the filter respond where there is nothing to find: up to 15 with zeros. We therefore use
# no padding and leave out the outermost ring of pixels. On a photograph the result looks like this.

# %%
edges = losses.laplacian(astronaut[None])[0].mean(dim=0)  # (222, 222)
figure = widgets.gallery([("photograph", astronaut), ("Laplacian, mean of the channels", edges)],
                         label="Laplacian", width=8, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
show(figure, "Left, the astronaut. Right, her Laplacian: white over smooth areas, with thin pairs "
             "of red and blue lines along outlines, hair and the badges on the suit.")


# %% [markdown]
# White means 0. Smooth areas vanish, and every edge becomes two lines, one positive (red) and one negative (blue).
#
# ## How strongly the filter passes each frequency
#
# Filtering with a symmetric kernel only multiplies a wave by a number. The size of that number is called the filter's
# **gain**. For this kernel, at frequencies $f_x, f_y$ in cycles per pixel, the gain is
#
# $$\text{gain} = 4 - 2\cos 2\pi f_x - 2\cos 2\pi f_y .$$
#
# We measure the gain on real waves and draw the formula through the points.

# %%
def measured_gain(k, diagonal):
    """Gain for k cycles per 224 pixels, from left to right or also from top to bottom."""
    angle = 2 * torch.pi * k * torch.arange(224) / 224
    wave = torch.cos(angle) * torch.cos(angle if diagonal else 0 * angle)[:, None]  # (H, W)
    return (losses.laplacian(wave).norm() / wave[1:-1, 1:-1].norm()).item()


print(f"4 cycles: {measured_gain(4, False):.3f}   112 cycles: {measured_gain(112, False):.3f}")
print(f"checkerboard: {measured_gain(112, True):.3f}")

# %%
figure, axes = new_figure(1, 1, 6.5, 3.6)
formula = 2 - 2 * torch.cos(2 * torch.pi * torch.arange(113) / 224)  # along a row
for diagonal, label in enumerate(("along a row", "in both directions")):
    axes[0, 0].plot((1 + diagonal) * formula, color=COLOURS[diagonal], label=label)
    cycles = (4, 14, 28, 56, 84, 112)
    axes[0, 0].plot(cycles, [measured_gain(k, diagonal) for k in cycles], "o",
                    color=COLOURS[diagonal])
axes[0, 0].set(xlabel="frequency, cycles per 224 pixels", ylabel="gain",
               title="Gain of the Laplacian: formula (lines) and measurement (dots)")
axes[0, 0].legend()
show(figure, "Two curves that rise from 0 at frequency 0 to 4 and to 8 at 112 cycles, with "
             "measured dots on them.")

# %% [markdown]
# The gain rises from 0 for a flat image to 8 for a checkerboard. Is that enough to outweigh the strong slow waves? We
# compare the share of the variance in waves shorter than 8 pixels, those of more than 28 cycles, before and after the
# filter.

# %%
filtered = F.pad(losses.laplacian(astronaut[None])[0], (1, 1, 1, 1))  # (3, 224, 224)
print(f"above 28 cycles, photograph: {100 * (1 - share_within(astronaut, 28)):.0f} %")
print(f"above 28 cycles, Laplacian:  {100 * (1 - share_within(filtered, 28)):.0f} %")

# %% [markdown]
# Waves of more than 28 cycles hold 7 % of the astronaut's variance, and 96 % of the variance of her Laplacian. The
# filter hardly responds to brightness, shading and slow changes of colour. The Laplacian loss can therefore supplement
# the reconstruction loss, $L_\text{MAE}$, but it cannot replace it.

# %% [markdown]
# ## From the filter to a loss
#
# The new term, $L_\text{freq}$, is the mean absolute difference between the Laplacians of prediction and target on
# **masked** pixels. What should we divide by? In the next cell the errors are equally strong everywhere. We only change
# how many patches are masked and how many channels there are. A good loss should have the same value each time.

# %%
noisy = 0.1 * torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
error = losses.laplacian(noisy).abs()  # (1, 3, 222, 222)
print("masked  channels   all values   masked pixels   masked values")
for ratio in (0.5, 0.75):
    draw = torch.rand(1, 196, generator=torch.Generator().manual_seed(0))
    _, patch_mask, _ = random_masking(torch.zeros(1, 196, 1), ratio, draw)  # (1, 196)
    area = patch_mask_to_pixels(patch_mask, 16)[..., 1:-1, 1:-1]  # (1, 1, 222, 222)
    for c in (1, 3):
        total = (error[:, :c] * area).sum()
        by = [total / error[:, :c].numel(), total / area.sum(), total / (c * area.sum())]
        print(f"{100 * ratio:>4.0f} %  {c:>8}   {by[0]:>10.2f}   {by[1]:>13.2f}   {by[2]:>13.2f}")

# %% [markdown]
# Only the last column is the same in all four lines. So we divide by the number of masked **values**, which is the
# number of masked pixels times the number of channels. If we divide by all values, the same errors cost 0.18 at a mask
# ratio of 0.5 and 0.27 at 0.75, so a curriculum that raises the ratio would raise the weight of the term unnoticed. If
# we divide by masked pixels, RGB costs three times as much as grey.
#
# ## A real prediction, in real units
#
# We load the shipped weights of `original`, a plain MAE trained without the Laplacian loss, into the `MAE` from notebook 03.

# %%
sizes, weights = course.shipped_weights("original")
mae = MAE(**sizes)
mae.load_state_dict(weights)
images = normalise(course.photographs())  # (5, 3, 224, 224)
noise = torch.rand(5, 196, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    pred, hidden, _ = mae(images, 0.75, noise)
p, mask = mae.patch_size, patch_mask_to_pixels(hidden, mae.patch_size)  # mask: (5, 1, H, W)
print("prediction", tuple(pred.shape), "  mask", tuple(mask.shape))


# %% [markdown]
# This model was trained with `norm_pix` (notebook 04), so its prediction for a patch is in the patch's own units. The
# Laplacian needs the same units in every patch. We therefore [**de-normalise**](GLOSSARY.md#de-normalise) the patches
# first: we multiply each one by its standard deviation and add its mean. (The package's `denormalise` does something
# else: it undoes the normalisation of whole images.)

# %%
def to_images(pred):
    """De-normalise predicted patches (B, L, V) with the target's statistics: (B, 3, H, W)."""
    target = patchify(images, p)  # (B, L, V)
    std = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return unpatchify(pred * std + target.mean(dim=-1, keepdim=True), p, 14, 14)


torch.testing.assert_close(to_images(pred), losses.predicted_images(pred, images, p, True))

# %% [markdown]
# The statistics come from the target, so everything we measure on these images is optimistic. What happens if you forget
# to de-normalise? We test it with a perfect prediction, the normalised target itself. Its loss should be 0.

# %%
perfect = losses.normalise_patches(patchify(images, p))  # (5, L, V)
forgotten = unpatchify(perfect, p, 14, 14)
for name, picture in {"forgotten": forgotten, "de-normalised": to_images(perfect)}.items():
    print(f"{name:<14} loss {losses.laplacian_loss_masked(picture, images, mask):.2f}")

# %% [markdown]
# The perfect prediction costs 0.27 when we forget to de-normalise it, and 0.00 when we remember. Forgetting raises no
# error, but training would pull a perfect prediction away from the truth.
#
# ## The boundary trap
#
# $L_\text{MAE}$ is computed on masked patches only. Nothing in training ever compares the prediction on **visible**
# patches with anything. On hidden patches the shipped model reaches a [**PSNR**](GLOSSARY.md#psnr) of 18.6 dB (18.4 dB
# in notebook 04, with other masks).

# %%
visible_guess = course.predict("What PSNR does the raw prediction reach on the visible patches?")

# %%
target, raw = denormalise(images), denormalise(to_images(pred))  # (5, 3, H, W) in [0, 1]
on_hidden, on_visible = (metrics.masked_psnr(raw, target, where).mean()
                         for where in (mask, 1 - mask))
visible_guess.reveal(f"{on_visible:.1f} dB, compared with {on_hidden:.1f} dB on hidden patches")

# %%
rocket, portrait = 3, 4  # which photographs to show
composite = torch.where(mask > 0, raw, target)
figure = widgets.gallery([("target", target[rocket]),
                          ("what the model sees", (target * (1 - mask) + 0.5 * mask)[rocket]),
                          ("raw prediction", raw[rocket]), ("composite", composite[rocket])])
show(figure, "A rocket at dusk; the visible quarter of its patches on grey; the raw "
             "prediction, in which visible patches are unlike the target; the composite, in which "
             "they are true.")

# %% [markdown]
# The raw prediction reaches 16.4 dB on visible patches, so it is even farther from the truth there than on hidden ones.
#
# This matters for our filter, because a Laplacian reads four neighbours, and at the rim of a hidden patch some of them
# may be visible. If we filter the raw prediction, the result depends on pixels that no loss has trained. We compute the
# error separately for masked pixels that touch a visible one and for all other masked pixels. (The Laplacian of the
# mask finds the former: it is 0 where a pixel and its four neighbours are all masked or all visible.)

# %%
inner = mask[..., 1:-1, 1:-1]  # (5, 1, H − 2, W − 2)
touching = inner * (losses.laplacian(mask) != 0)  # masked pixels next to a visible one
for name, picture in (("raw", raw), ("composite", composite)):
    error = (losses.laplacian(picture) - losses.laplacian(target)).abs().mean(dim=1, keepdim=True)
    rim = (error * touching).sum() / touching.sum()
    rest = (error * (inner - touching)).sum() / (inner - touching).sum()
    print(f"{name:<10} error at the rim {rim:.3f}, elsewhere {rest:.3f}")


# %% [markdown]
# Away from the rim, both errors are 0.077: all four neighbours are masked there, so raw prediction and composite agree.
# At the rim, the raw prediction has an error of 0.166 and the composite only 0.118. The raw variant measures how well a
# hidden patch fits its *predicted* neighbour, which is replaced in the composite. The composite measures how well it
# fits the *true* neighbour. So we filter the composite.

# %% [markdown]
# ### ✏️ Exercise 3 · The Laplacian loss  (★★★ · 12 minutes)
#
# Write `laplacian_loss_masked(pred_img, tgt_img, mask_img)` for images (B, C, H, W) and a mask (B, 1, H, W) with 1 = masked.
# It combines the decisions of this notebook: filter the composite and the target, each channel by itself and without
# padding; take the absolute difference; average it over the masked values of the whole batch. Return 0 when nothing is
# masked. Your cell must contain everything that the function needs, so repeat your `laplacian` in it if you use it.
#
# <details><summary>Hint 1</summary>
#
# `torch.where(mask_img > 0, a, b)` takes `a` where a pixel is masked. It is safer than multiplying by the mask,
# because `nan * 0` is `nan`.
# </details>
# <details><summary>Hint 2</summary>
#
# The filter removes the outermost pixels, so the mask has to lose them too. `expand_as(error)` repeats the mask over
# the channels; then its sum is the number of masked values. `.clamp(min=1)` avoids 0/0.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def laplacian(x):
#     """The sum of the four neighbours minus four times the pixel: (B, C, H − 2, W − 2)."""
#     up, down = x[..., :-2, 1:-1], x[..., 2:, 1:-1]
#     left, right = x[..., 1:-1, :-2], x[..., 1:-1, 2:]
#     return up + down + left + right - 4 * x[..., 1:-1, 1:-1]
#
#
# def laplacian_loss_masked(pred_img, tgt_img, mask_img):
#     composite = torch.where(mask_img > 0, pred_img, tgt_img)
#     error = (laplacian(composite) - laplacian(tgt_img)).abs()
#     inner = mask_img[..., 1:-1, 1:-1].expand_as(error)
#     return (error * inner).sum() / inner.sum().clamp(min=1)
# ```
# </details>

# %%
def laplacian_loss_masked(pred_img, tgt_img, mask_img):
    ...  # your code


# %%
check.laplacian_loss_masked(laplacian_loss_masked)

# %%
laplacian_loss_masked = course.use("laplacian_loss_masked")

# %% [markdown]
# We test that the loss agrees with the package's. The package's version can also filter the raw prediction, so we use
# it to measure how much of the gradient goes to visible patches.

# %%
torch.testing.assert_close(
    laplacian_loss_masked(raw, target, mask), losses.laplacian_loss_masked(raw, target, mask))
for use_composite in (False, True):
    free = raw.clone().requires_grad_()
    losses.laplacian_loss_masked(free, target, mask, composite=use_composite).backward()
    strength = free.grad.abs()
    share = 100 * (strength * (1 - mask)).sum() / strength.sum()
    print(f"composite {use_composite!s:<6} {share:.1f} % of the gradient goes to visible pixels")

# %% [markdown]
# When we filter the raw prediction, 1.4 % of the gradient goes to visible pixels. The share is small, because only the
# pixels at the rim of a hidden patch have visible neighbours. When we filter the composite, the share is 0.
#
# ## Seams
#
# We hide one patch of 16×16 pixels. The prediction is perfect, except that all its pixels are 0.1 too bright, on the hidden
# patch and around it.

# %%
notices = course.predict("Which one shows the error: filtering the raw prediction, "
                         "or filtering the composite?")

# %%
hole = torch.zeros(1, 1, 48, 48)
hole[..., 16:32, 16:32] = 1
lines = ["filtering the composite"]
for use_composite in (False, True):
    loss = losses.laplacian_loss_masked(small + 0.1, small, hole, composite=use_composite)
    lines.append(f"composite {use_composite!s:<6} loss {loss:.4f}")
notices.reveal("\n".join(lines))

# %% [markdown]
# <details><summary>Why</summary>
#
# A constant has no second difference, so the raw variant sees no error. The composite has a jump at the rim of the
# patch. We can check its loss by hand. For an offset $c$ and a patch of $p \times p$ pixels, each pixel on a side of
# the patch contributes $c$ and each corner $2c$. The sum is $4(p-2)c + 4 \cdot 2c = 4pc$, and divided by $p^2$ pixels
# it is $4c/p$. Here this is $0.4 / 16 = 0.025$.
# </details>
#
# Now we do the same with all hidden patches of our photographs: each is perfect except for an offset of ±0.1.

# %%
sign = torch.randint(0, 2, (5, 196, 1), generator=torch.Generator().manual_seed(0))
offset = unpatchify((0.2 * sign - 0.1).expand(-1, -1, 3 * p * p), p, 14, 14)  # (5, 3, H, W)
tiles = torch.where(mask > 0, target + offset, target)
seams = (losses.laplacian(tiles) - losses.laplacian(target)).abs().mean(dim=1) * inner[:, 0]
figure = widgets.gallery([("target", target[portrait]), ("hidden patches ±0.1", tiles[portrait]),
                          ("error", seams[portrait])],
                         label="|difference of Laplacians|", cmap="magma")
show(figure, "Grace Hopper; the same with hidden patches a little brighter or darker, like tiles; "
             "and the error, bright lines along many patch borders and black elsewhere.")

# %% [markdown]
# The error forms lines along the borders of patches, wherever two neighbouring patches have different offsets. How much
# of it lies on the outermost ring of pixels in each patch?

# %%
step = torch.arange(224) % p
border = (step == 0) | (step == p - 1)
ring = (border[:, None] | border)[1:-1, 1:-1]  # (H − 2, W − 2)
on_ring = 100 * (seams * ring).sum() / seams.sum()
print(f"share of the error on the outermost ring: {on_ring:.0f} %")


# %% [markdown]
# All of the error, 100 %, is on the borders of patches. These lines are called [**seams**](GLOSSARY.md#seams). A model
# can lower this loss by joining its patches better, without adding any fine detail. That is useful, but it is not
# sharpness.

# %% [markdown]
# ## Which prediction minimises the loss?
#
# The total loss is $L_\text{MAE} + \lambda L_\text{freq}$, and the report sets $\lambda = 0.05$. What is the *best
# possible* prediction under this total if we know everything that may be hidden and how likely it is? In a photograph
# we cannot know this, but for a row of pixels we can choose the possibilities and their chances ourselves. Our rows
# have 18 pixels. The first and the last are visible, and the 16 between them are hidden.

# %%
def edge(place):
    return (torch.arange(18) >= place).float()


def stripes(shift):
    row = torch.full((18,), 0.5)
    row[1:17] = ((torch.arange(16) + shift) // 2 % 2).float()
    return row


possible = {  # rows (K, 18), and the chance of each (K,)
    "two edges, 50:50": (torch.stack([edge(6), edge(12)]), torch.tensor([0.5, 0.5])),
    "two edges, 70:30": (torch.stack([edge(6), edge(12)]), torch.tensor([0.7, 0.3])),
    "five edges": (torch.stack([edge(5 + 2 * i) for i in range(5)]), torch.full((5,), 0.2)),
    "stripes": (torch.stack([stripes(i) for i in range(4)]), torch.full((4,), 0.25)),
}


# %% [markdown]
# ### ✏️ Exercise 4 · The expected loss  (★★☆ · 8 minutes)
#
# Write `expected_loss(guess, rows, chances, lam)`: what a `guess` (n,) costs on average when the truth is row k of
# `rows` (K, n) with probability `chances[k]`. The loss of one row is the mean squared error over the hidden pixels,
# plus `lam` times the mean absolute difference between the second differences of the guess and those of the row. Return
# a tensor. The hidden pixels are all but the first and the last, and each of them has one second difference.
#
# <details><summary>Hint 1</summary>
#
# The second difference is linear, so you can apply it to `guess - rows`: `.diff(n=2, dim=1)` gives (K, n − 2).
# </details>
# <details><summary>Hint 2</summary>
#
# Compute the K losses first, with a mean over `dim=1`. The expected value is `(chances * loss).sum()`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def expected_loss(guess, rows, chances, lam):
#     error = guess - rows  # (K, n)
#     squared = error[:, 1:-1].square().mean(dim=1)
#     absolute = error.diff(n=2, dim=1).abs().mean(dim=1)
#     return (chances * (squared + lam * absolute)).sum()
# ```
# </details>

# %%
def expected_loss(guess, rows, chances, lam):
    ...  # your code


# %%
check.expected_loss(expected_loss)

# %% [markdown]
# The best guess is the one with the lowest expected loss. We start from the mean row and walk downhill with the
# optimiser Adam, whose step size falls to zero so that the guess settles. Only the hidden pixels may move. The cell
# uses your `expected_loss` if it passed its check, and the package's until then.

# %%
cost = check.expected_loss.yours_or(widgets.expected_loss)


def best_row(rows, chances, lam, cost=cost, start=0.0, steps=1500):
    guess = (chances @ rows + start).requires_grad_()  # (18,)
    optimizer = torch.optim.Adam([guess], lr=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        cost(guess, rows, chances, lam).backward()
        guess.grad[[0, -1]] = 0  # visible pixels stay as they are
        optimizer.step()
        schedule.step()
    return guess.detach()


# %% [markdown]
# How sharp is the result? We look at its steepest step from one pixel to the next. In every possible row that step is 1. With squared
# error alone, λ = 0, the best guess is the mean, and five equally likely edges give a staircase with steps of 0.20.

# %%
steeper = course.predict("With five edges, is the steepest step at λ = 1 larger or smaller "
                         "than 0.20?")

# %%
lines = ["smaller"]
for name, (rows, chances) in possible.items():
    best = {0: chances @ rows} | {lam: best_row(rows, chances, lam) for lam in (0.05, 1)}
    steps = "   ".join(f"λ = {lam}: {row.diff().abs().max():.2f}" for lam, row in best.items())
    lines.append(f"{name:<17} {steps}")
steeper.reveal("\n".join(lines))

# %% [markdown]
# With five edges the steepest step becomes smaller. In general, the result depends on how sure we are of the edge:
#
# - **Two edges, 70:30.** The steepest step grows from 0.70 to 0.72 at λ = 0.05 and to 0.97 at λ = 1. The prediction
#   becomes sharper at the likelier edge. At λ = 1 the other edge is gone. Slow ramps make up the rest: the values sink a
#   little below 0 before the likelier edge, stay near 0.8 after it, and then climb to 1. The second differences of ramps
#   are almost 0, so the Laplacian loss hardly charges for them.
# - **Two edges, 50:50.** Nothing happens: 0.50 for every λ.
# - **Five edges.** The steepest step *falls* from 0.20 to 0.13 and then to 0.09. The loss that should sharpen makes the
#   prediction blurrier.
# - **Stripes whose position is unknown.** The best prediction is flat grey for every λ.
#
# The explorer shows these best rows for more values of λ. It shows three more visible pixels on each side, and its
# solver is more exact, so its rows differ a little from ours. The possible rows are at the top, and the best prediction
# and its profile are below.

# %%
weight_explorer = widgets.weight_explorer()
weight_explorer

# %% [markdown]
# ## Why: the mean and the median
#
# The mean minimises an expected squared error. The [**median**](GLOSSARY.md#median) minimises an expected absolute
# error. So $L_\text{freq}$ asks at each pixel for the median of the possible second differences. (In the total,
# $L_\text{MAE}$ asks for the mean row at the same time, and the best prediction is a compromise.) We compare three
# candidates under $L_\text{freq}$ alone: the likeliest edge, the mean, and a straight line across the hidden part. The
# numbers are sums over the hidden pixels.

# %%
line = torch.arange(18) / 17
print("expected |difference| of second differences   edge   mean   line")
for name, (rows, chances) in list(possible.items())[:3]:
    for_each = [(guess - rows).diff(n=2, dim=1).abs().sum(dim=1) @ chances
                for guess in (rows[chances.argmax()], chances @ rows, line)]
    print(f"{name:<44}" + "".join(f"{price:>7.1f}" for price in for_each))

# %% [markdown]
# With two equally likely edges, all three candidates cost 2.0, so $L_\text{freq}$ has no preference, and $L_\text{MAE}$
# decides for the mean. If one place has an edge with a chance of 70 %, the median has the edge too, and committing to
# it costs only 1.2. With five possible places, each has a chance of 20 %, so the median has no edge anywhere: the
# straight line costs 2.0 and any edge 3.2. In short, the loss sharpens what the model is sure of and smooths what it is
# unsure of. The exact place of a hidden hair or blade of grass is nearly always uncertain.
#
# ## Aside: the amount of detail
#
# You can skip this section at first: only notebook 10 uses its loss again.
#
# The Laplacian loss compares detail pixel by pixel, so it prefers no detail to detail in the wrong place. We can
# compare *amounts* instead. Let $e$ be the mean absolute Laplacian inside a patch. The [**energy
# form**](GLOSSARY.md#energy-form) of the loss is
#
# $$\big|\log(e(\hat y) + 0.1) - \log(e(y) + 0.1)\big| ,$$
#
# averaged over the hidden patches, with prediction and target in the patch's own units. (The 0.1 keeps the logarithm of
# a flat patch finite.) This form is an idea of ours, not of the report. In the package it is `freq_form="energy"`. We
# try it at λ = 0.2 on our rows, each of which stands for one patch, without normalising them. We start a little off the
# mean, because the gradient of this form is zero at a perfectly flat row.

# %%
replaces = course.predict("With the energy form, is the best prediction for the stripes flat grey, "
                          "one of the true rows, or something else?")


# %%
def detail(rows):
    return rows.diff(n=2, dim=-1).abs().mean(dim=-1)


def energy_cost(guess, rows, chances, lam):
    squared = (guess - rows)[:, 1:-1].square().mean(dim=1)  # (K,)
    amount = ((detail(guess) + 0.1).log() - (detail(rows) + 0.1).log()).abs()
    return (chances * (squared + lam * amount)).sum()


nudge = 0.05 * torch.randn(18, generator=torch.Generator().manual_seed(0))
nudge[[0, -1]] = 0
best = {name: best_row(*found, 0.2, energy_cost, nudge) for name, found in possible.items()}

# %%
lines = ["something else: fast stripes with the same amount of detail",
         "amount of detail      before   after   truth"]
for name, (rows, chances) in possible.items():
    lines.append(f"{name:<20} {detail(chances @ rows):>7.2f} {detail(best[name]):>7.2f} "
                 f"{detail(rows[0]):>7.2f}")
figure, axes = new_figure(1, 1, 8, 2.4)
axes[0, 0].plot(possible["stripes"][0][0], color=GREY, label="one of four possible rows")
axes[0, 0].plot(best["stripes"], "o-", color=COLOURS[0], markersize=4, label="what best_row finds")
axes[0, 0].set(xlabel="pixel", ylabel="value", xticks=range(0, 18, 2))
axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
replaces.reveal("\n".join(lines), figure,
                "A row of true stripes, two pixels wide, and the prediction found, which jumps up "
                "and down around grey from one pixel to the next in most places.")

# %% [markdown]
# The flat grey becomes fast stripes, finer and weaker than the true ones. (This form has many local minima. From another
# start, `best_row` finds other fast stripes, some of them a little cheaper.) The amount of detail rises from 0.00 in the
# mean row (the column "before") to 0.94, as much as the truth has. So a prediction cannot lower this form by being
# smoother than the truth. It does not make the detail right, either: any fine texture with the right amount of detail
# will do. For the edges hardly anything changes, because the mean of several edges has as much detail in total as one
# edge. Whether this form makes the *features* better is a question for [notebook 10](10_claims.ipynb).
#
# ## How strong is the Laplacian loss in a real total?
#
# At the shipped model's prediction we compare $L_\text{MAE}$ and the report's $L_\text{freq}$: their values, and the
# lengths of their gradients with respect to the prediction.

# %%
free = pred.clone().requires_grad_()
plain = mae_loss(free, images, hidden, p, norm_pix=True)
freq = laplacian_loss_masked(to_images(free), images, mask)
slope_mae, slope_freq = (torch.autograd.grad(term, free)[0] for term in (plain, freq))  # (5, L, V)
for lam in (0.01, 0.05, 0.25, 1.0):
    share = 100 * lam * freq / (plain + lam * freq)
    length = 100 * lam * slope_freq.norm() / slope_mae.norm()
    print(f"λ = {lam:<4}  share of the total {share:>2.0f} %   gradient vs MAE's {length:>3.0f} %")

# %% [markdown]
# At λ = 0.05 the Laplacian loss is 4 % of the total, and its gradient is 12 % as long as the gradient of the MAE loss.
# At this prediction, it is a small correction.
#
# ## What does a lower number prove?
#
# The report measures success by a masked [**HF error**](GLOSSARY.md#hf-error) (high-frequency error), which is the
# Laplacian loss computed on images with values from 0 to 1. We measure it, together with the masked PSNR, for two
# shipped models: `original`, and `improved`, which was trained with the Laplacian loss, the curriculum and the
# uniformity loss of notebook 06. We also measure both numbers for five reference images that need no training:
#
# - **masked mean**: the mean colour of the visible pixels;
# - [**bilinear fill**](GLOSSARY.md#bilinear-fill): visible pixels spread smoothly into the holes;
# - **blurred target**: the truth after a Gaussian blur;
# - **patch means**: each hidden patch is flat, with the true mean over its pixels and channels (so it has no colour of
#   its own and looks brownish, because each channel is normalised differently). Every `norm_pix` model gets this for
#   free when it predicts zeros;
# - **moved by 2 px**: the truth, perfectly sharp, shifted by two pixels.
#
# We rank all seven by their HF error, from 1 (the lowest) to 7.

# %%
ranks = course.predict("Where do the two models rank, from 1 to 7?")


# %%
def prediction_of(name):
    sizes, weights = course.shipped_weights(name)
    model = MAE(**sizes)
    model.load_state_dict(weights)
    with torch.no_grad():
        pred, _, _ = model(images, 0.75, noise)  # the same masks for all
    return denormalise(to_images(pred))  # (5, 3, H, W)


candidates = {name: prediction_of(name) for name in ("original", "improved")}
candidates |= metrics.trivial_reconstructions(target, mask)
candidates["patch means"] = denormalise(to_images(torch.zeros_like(pred)))
candidates["moved by 2 px"] = target.roll(2, dims=-1)

# %%
hf = {name: metrics.masked_hf_error(x, target, mask).mean() for name, x in candidates.items()}
psnr = {name: metrics.masked_psnr(x, target, mask).mean() for name, x in candidates.items()}
order = sorted(candidates, key=hf.get)  # lowest first
places = sorted(1 + order.index(name) for name in ("original", "improved"))
lines = [f"{places[0]} and {places[1]}; the {order[0]} is first"]
for name in order:
    lines.append(f"{name:<15} HF error {hf[name]:.3f}   PSNR {psnr[name]:5.1f} dB")
ranks.reveal("\n".join(lines))

# %%
filled = {name: torch.where(mask > 0, candidates[name], target)[portrait] for name in order}
figure = widgets.gallery([(f"{name}: {hf[name]:.3f}", x) for name, x in filled.items()])
show(figure, "Grace Hopper with her hidden patches filled in seven ways, in the order of their HF "
             f"error over five photographs: {order[0]} first, {order[-1]} last.")

# %% [markdown]
# The blurred target wins, with an HF error of 0.065, although it has almost no fine detail. The shifted target is
# perfectly sharp and comes last, with 0.103. `improved` has 0.077 and `original` 0.079. Even the bilinear fill and the
# masked mean, which have learned nothing, are ahead of them.
#
# PSNR tells a different story. `improved` reaches 19.0 dB and `original` 18.6 dB, and the bilinear fill only 15.9. Much
# of this lead is borrowed (notebook 04). But the models are also more than three decibels above the patch means (15.5),
# which use the same true means. So they do know something that the HF error does not show.
#
# Five photographs with one mask each are enough to show what can happen, but not to rank the two models.
#
# Why do smooth images have such low HF errors? One reason is that a detail in a slightly wrong place costs twice, once
# where it is and once where it should be. Leaving the detail out costs only once. What HF error would a prediction have
# if its Laplacian were 0 at every hidden pixel?

# %%
size_of_detail = losses.laplacian(target).abs().mean(dim=1, keepdim=True)
print(f"no detail at all: HF error {(size_of_detail * inner).sum() / inner.sum():.3f}")
enlarged = denormalise(resize(course.photographs(96), 224))
for name, x in {"224 pixels": target, "96, enlarged to 224": enlarged}.items():
    print(f"{name:<20} mean |Laplacian| {losses.laplacian(x).abs().mean():.3f}")

# %% [markdown]
# A prediction with no detail and no seams would have an HF error of 0.066, lower than the errors of both models. When
# you read an HF error, you need this value next to it. You also cannot compare HF errors across sets of images. At 224
# pixels, our photographs have a mean absolute Laplacian of 0.065. Enlarged from 96 pixels, as the report does with
# STL-10 images, the same photographs have only 0.017, about a quarter. Enlarging an image adds no detail, and both
# models were trained on photographs enlarged in this way. So the sharp photographs of this section contain far more
# fine detail than anything that they have learned to predict.
#
# The report measured a lower HF error with its three add-ons together than without them, but in only one run of each
# kind. [Notebook 10](10_claims.ipynb) repeats the comparison with several seeds.
#
# ### ✏️ Open exercise · Design a case  (★★★ · 20 minutes)
#
# Invent two sets of possible rows, other than those above, give each row a probability, and find the best prediction
# for each set with `best_row`. For one set, λ = 1 should make the best prediction clearly sharper than λ = 0 does. For
# the other, it should make it clearly blurrier. Then take three edges, one of them with probability q and the other two
# equally likely. How large must q be before the step at the likely edge is larger at λ = 1 than at λ = 0, where it is
# q? What does your answer suggest about where this loss helps in a photograph of, say, a zebra on grass?
#
# <details><summary>What a good answer shows</summary>
#
# - Two sets, each with a number such as the steepest step at λ = 0 and at λ = 1.
# - An explanation by the median: the loss sharpens an edge if the rows that have it are, together, more likely than all
#   others.
# - The switch for three edges, with values of q tried on both sides of it. It lies near q = 50 %, up to about eight
#   percentage points below or above, depending on where the edges are: the squared error counts too, so the median does
#   not decide alone.
# - A careful statement about photographs: outlines that the visible patches determine (the zebra's back) may become
#   sharper, while grass, whose exact position nobody can know, becomes smoother. It says that this is a hypothesis and
#   names a measurement that would test it.
# </details>

# %%
# Try your own rows here, for example:
my_rows, my_chances = torch.stack([edge(6), edge(12)]), torch.tensor([0.6, 0.4])
print(f"steepest step at λ = 1: {best_row(my_rows, my_chances, 1.0).diff().abs().max():.1f}")

# %% [markdown]
# ## Quiz
#
# **1. Where nothing can be known, what does an MAE trained with squared error predict?**
#
# <details><summary>One of the possible textures, at random</summary>
#
# ✗ A single texture may be right, but on average it costs twice as much as the mean of all textures.
# </details>
# <details><summary>The mean of all possible textures</summary>
#
# ✓ The mean has the lowest expected squared error, and the mean of many textures is flat.
# </details>
# <details><summary>Noise</summary>
#
# ✗ Noise adds its own variance to the error, so a smooth prediction is cheaper.
# </details>
#
# **2. Your Laplacian loss on raw predictions is low, but every patch of the composites looks like a tile. Why?**
#
# <details><summary>The kernel is too small to see tiles</summary>
#
# ✗ It reaches one pixel in each direction, which is enough to read across a border.
# </details>
# <details><summary>Hidden patches fit the predicted visible patches, not the true ones</summary>
#
# ✓ Each patch fits its predicted neighbour. The seams appear when the true pixels are put back, and only the composite
# shows them to the loss.
# </details>
# <details><summary>The loss should be divided by the number of all pixels</summary>
#
# ✗ That would make the loss depend on the mask ratio and would leave the seams as they are.
# </details>
#
# **3. Method B has a 9 % lower masked HF error than method A. What do you know?**
#
# <details><summary>B's images are sharper</summary>
#
# ✗ The blurred target had the lowest HF error of all. Smoothness alone can lower it.
# </details>
# <details><summary>B knows more about images</summary>
#
# ✗ The bilinear fill and the masked mean, which have learned nothing, were ahead of both models.
# </details>
# <details><summary>Not much, before you see PSNR, reference images and several seeds</summary>
#
# ✓ Better seams, more smoothness, more correct detail or chance can each lower this number.
# </details>
#
# ## Key takeaways
#
# - Squared error asks for the mean of what is possible, and the mean of several edges is a blur.
# - Photographs have most of their variance in slow waves. What we call sharp is in the fast, weak ones.
# - The Laplacian is a high-pass filter: 0 for ramps, with a gain of up to 8. On RGB it must be depthwise, and without
#   padding it invents no edges.
# - Divide by the number of masked values, de-normalise before you filter, and filter the composite instead of the raw
#   prediction.
# - The absolute error of a Laplacian asks for the median. It sharpens what the model is sure of and smooths the rest.
# - An HF error means something only next to PSNR and references that have learned nothing.
#
# **Next:** [06 · Uniformity loss](06_uniformity_loss.ipynb) turns from pixels to features.
#
# **Further reading**
#
# - Field (1987). [*Relations between the statistics of natural images and the response properties of cortical
#   cells.*](https://doi.org/10.1364/JOSAA.4.002379) JOSA A 4(12). How the strength of waves falls with frequency.
# - Oppenheim & Lim (1981). [*The importance of phase in signals.*](https://doi.org/10.1109/PROC.1981.12022) Proceedings
#   of the IEEE 69(5). An image with the phases of one picture and the magnitudes of another looks like the first.
# - Burt & Adelson (1983). [*The Laplacian pyramid as a compact image code.*](https://doi.org/10.1109/TCOM.1983.1095851)
#   IEEE Transactions on Communications 31(4). A similar filter, an image minus its blurred copy, at every scale.
# - Mathieu, Couprie & LeCun (2016). [*Deep multi-scale video prediction beyond mean square
#   error.*](https://arxiv.org/abs/1511.05440) ICLR. Blur from squared error, and a loss on image gradients against it.
# - Blau & Michaeli (2018). [*The perception-distortion tradeoff.*](https://arxiv.org/abs/1711.06077) CVPR. Why an image
#   cannot have both the lowest error and the most natural look.
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR.
