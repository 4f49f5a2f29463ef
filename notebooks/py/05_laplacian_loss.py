# %% [markdown]
# # 5 · The Laplacian loss: asking for sharpness
#
# A masked autoencoder paints blurry pictures. One more term in the loss, a filter and an absolute value, is
# said to sharpen them. You will see where the blur comes from, build the term, find the trap at the edge of
# every mask, and meet a number that does not mean what it seems to mean.
#
# **You will be able to**
#
# - explain why a squared error asks for blur;
# - read a picture as a sum of waves, and take waves out of it;
# - write the Laplacian three ways, and the masked loss built from it;
# - find the boundary trap, and decide between raw prediction and composite;
# - say what a lower high-frequency error proves, and what it does not.
#
# **Before you start:** [04 · Reconstruction loss](04_reconstruction_loss.ipynb), or the masked squared error and `norm_pix`. **Time:** 45 minutes.

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
import numpy as np
import torch
import torch.nn.functional as F

from mae_lib import losses, masking, metrics, patches
from mae_lib.course.exercises import laplacian_loss as check
from mae_lib.course.session import show
from mae_lib.course.widgets import laplacian_loss as widgets
from mae_lib.data import augment
from mae_lib.plots import COLOURS, new_figure
from mae_lib.training import checkpoints

show(*widgets.title())

# %% [markdown]
# ## Why a good loss paints a blurry picture
#
# Eight pixels in a row are hidden. From what is visible around them, an edge from black (0) to white (1) must
# lie somewhere in between: after three pixels or after five, both equally likely. You have one guess, and you
# pay the squared error. **Which guess is cheapest on average: either edge, or something else?**

# %%
first = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1.0])
second = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1.0])
for name, guess in {"first": first, "second": second, "mean": (first + second) / 2}.items():
    expected = ((guess - first).square().mean() + (guess - second).square().mean()) / 2
    print(f"{name:<7} {guess.tolist()}  expected squared error {expected:.4f}")

# %% [markdown]
# The mean of both costs half as much as either edge, although it is never right: there is no grey in this
# world. That is no accident. Whatever may be hidden, call it $T$, the guess with the lowest expected squared
# error is its mean, $\arg\min_x \mathbb{E}\,(x - T)^2 = \mathbb{E}\,T$. Where the model does not know, squared
# error asks for the average of all that is possible, and averages of edges are blurs.
#
# To say what "blur" takes away, we need another way to look at pictures.
#
# ## A picture is a sum of waves
#
# Any picture is a sum of waves: slow ones that cross it a few times, fast ones that change from pixel to
# pixel, in all directions. The Fourier transform, `fft2`, gives the strength of each. We begin with a picture
# that *is* one wave, four cycles from left to right.

# %%
x = torch.arange(224) / 224
wave = torch.cos(2 * torch.pi * 4 * x).expand(224, 224)  # (H, W), the same in every row
coefficients = torch.fft.fft2(wave)  # (H, W), complex
print((coefficients.abs() > 1).nonzero().tolist())

# %% [markdown]
# Of 50,176 coefficients two are not zero: in row 0 (no change from top to bottom), at column 4 and at column
# 220. The second stands for −4 cycles, as indices past the middle count backwards: a real wave always comes as
# such a pair. Now a photograph, and back again. Nothing should be lost.

# %%
cat = course.photograph("cat") / 255  # (3, 224, 224)
coefficients = torch.fft.fft2(cat)  # (3, 224, 224), over rows and columns
back = torch.fft.ifft2(coefficients).real
print(f"equal after going there and back: {torch.allclose(back, cat, atol=1e-5)}")
print(f"frequency 0 holds the mean: {coefficients[0, 0, 0].real / 224**2:.3f}, {cat[0].mean():.3f}")

# %% [markdown]
# In the explorer: the photograph; its spectrum, which shows the strength of every wave, slow ones in the
# middle; the picture made of the waves up to the cut-off alone (a **low-pass**); and what was removed (a
# **high-pass**, drawn around grey).
#
# **Predict first.** At a cut-off of 16 cycles per picture 1.6 % of the waves are kept. Which share of the
# cat's variance do they hold: 2 %, 20 %, half, or more than 80 %? And where will the whiskers be?

# %%
explorer = widgets.frequency_explorer()
explorer

# %%
for cutoff in (4, 16, 64):
    explorer.set(cutoff=cutoff)
    print(explorer.frame.text)


# %% [markdown]
# More than 80 %, in one wave of sixty. Yet everything that you would call sharp, whiskers, fur, the glint in
# the eye, is in the part that was removed. A loss that counts squared errors sees mostly the slow waves.

# %% [markdown]
# ### ✏️ Exercise 1 · A low-pass filter  (★★★ · 8 minutes)
#
# Write `low_pass(image, cutoff)` for a grey square image (H, H): keep the waves with $\sqrt{f_x^2 + f_y^2}$ up to
# and including `cutoff`, in cycles per picture, and return the picture that they make.
#
# <details><summary>Hint 1</summary>
#
# Three steps: `torch.fft.fft2`, multiply by a mask of the coefficients, `torch.fft.ifft2(…).real`.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.fft.fftfreq(n) * n` gives the frequency at each index, 0, 1, 2, … then the negative ones. It serves rows
# and, as `[:, None]`, columns.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def low_pass(image, cutoff):
#     n = image.shape[-1]
#     f = torch.fft.fftfreq(n) * n  # cycles per picture
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
# ## Aside: how the strength falls with frequency
#
# Is the cat special? For each photograph we average the power (the squared strength) of all waves of one
# frequency, whatever their direction. The window fades the picture out at its border, whose left side does
# not fit its right side.

# %%
def radial_power(image):
    """(3, N, N) → mean power at 0, 1, 2, … cycles per picture."""
    n = image.shape[-1]
    f = torch.fft.fftfreq(n) * n
    radius = (f[:, None] ** 2 + f**2).sqrt().round().long().flatten()  # (N·N,)
    window = torch.hann_window(n)
    grey = image.mean(dim=0)
    power = torch.fft.fft2((grey - grey.mean()) * window * window[:, None]).abs().square()
    return torch.bincount(radius, power.flatten()) / torch.bincount(radius)


spectra = {name: radial_power(course.photograph(name) / 255) for name in course.PHOTOGRAPHS}

# %%
figure, axes = new_figure(1, 1, 6.5, 4)
f = np.arange(4, 90)
for (name, power), colour in zip(spectra.items(), COLOURS, strict=False):
    power = power[4:90].numpy()
    slope = np.polyfit(np.log10(f), np.log10(power), 1)[0]
    axes[0, 0].loglog(f, power, color=colour, label=name)
    print(f"{name:<13} power falls as 1 / f^{-slope:.1f}")
axes[0, 0].loglog(f, 3e6 / f**2.0, "--", color="black", label="1 / f²")
axes[0, 0].set(xlabel="frequency, cycles per picture", ylabel="mean power")
axes[0, 0].legend(ncols=2)
show(figure, "Five nearly straight lines on logarithmic axes, falling from left to right, all "
             "steeper than the dashed line of 1 over f squared.")

# %% [markdown]
# Five pictures of different things, one law: straight lines on logarithmic axes. Over many natural scenes the
# power falls about as $1/f^2$, the strength as $1/f$ (Field 1987); our five fall faster, as the
# printed exponents say. Fast waves are weak in every photograph, so a model that leaves them out pays little.
#
# The idea of the Laplacian term: filter prediction and target so that fast waves become strong, and compare
# the results.
#
# ## A filter that sees only change of change
#
# On a row of pixels the **second difference** is $x_{i-1} - 2x_i + x_{i+1}$: how far the neighbours' sum is from
# twice the pixel. This row is flat, climbs, is flat again and then jumps. **Where will the result be 0?**

# %%
row = torch.tensor([2, 2, 2, 3, 4, 5, 5, 1, 1, 1])
slow = [(row[i - 1] - 2 * row[i] + row[i + 1]).item() for i in range(1, len(row) - 1)]
fast = row[:-2] - 2 * row[1:-1] + row[2:]  # (10 − 2,)
print(slow)
print("shifted rows give the same:", fast.tolist() == slow)

# %% [markdown]
# Zero where the row is flat, and also on the climb: a steady change is no change of change. Where the climb
# begins there is a 1, where it ends a −1, and at the jump a pair of spikes, −4 and +4. No loop was needed: three
# shifted views of the row, added.
#
# In an image we add the second differences along rows and along columns. That is the **Laplacian**, with
# this kernel. Slowly first: lay it over every pixel, multiply, sum.

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


small = course.photograph("cat", 48)[None] / 255  # (1, 3, 48, 48)
slow = torch.stack([laplacian_slowly(channel) for channel in small[0]])  # (3, 46, 46)
print(tuple(slow.shape), "from", tuple(small[0].shape))


# %% [markdown]
# ### ✏️ Exercise 2 · The Laplacian by shifts  (★★☆ · 6 minutes)
#
# Write `laplacian(x)` without a loop, for images (B, C, H, W): each pixel's four neighbours minus four times the
# pixel. Border pixels lack a neighbour and are left out, so the result is (B, C, H − 2, W − 2).
#
# <details><summary>Hint 1</summary>
#
# The pixels in the middle are `x[..., 1:-1, 1:-1]`. Their upper neighbours are one row higher.
# </details>
# <details><summary>Hint 2</summary>
#
# Upper neighbours: `x[..., :-2, 1:-1]`. Lower: `x[..., 2:, 1:-1]`. Left and right go the same way on the last axis.
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
# ## The snippet that does not run
#
# The usual way is a convolution. The specification of this course's model gives the kernel the shape
# 1×1×3×3 and hands it an RGB image. **What happens?**

# %%
kernel = kernel.view(1, 1, 3, 3)  # (out channels, in channels, 3, 3)
try:
    F.conv2d(small, kernel)
except RuntimeError as error:
    print(error)

# %% [markdown]
# Read the error from the middle: the weight is made for images with 1 channel, ours has 3. There are two ways to
# make it run. One gives the kernel three *input* channels. The other repeats it three times and tells the
# convolution to keep the channels apart: `groups=3`, a **depthwise** convolution. Both run. **Which is right?**
# We try them on an error that is red in one pixel and, there, as much too little green.

# %%
error = torch.zeros(1, 3, 5, 5)
error[0, :2, 2, 2] = torch.tensor([1.0, -1.0])  # red too high, green too low
summed = F.conv2d(error, kernel.expand(1, 3, 3, 3))  # (1, 1, 3, 3)
depthwise = F.conv2d(error, kernel.expand(3, 1, 3, 3), groups=3)  # (1, 3, 3, 3)
print("three input channels:", summed.abs().sum().item())
print("depthwise:           ", depthwise.abs().sum().item())

# %% [markdown]
# With three input channels the errors of different colours are added before anyone looks, and cancel: this
# loss is blind to a wrong colour of the right brightness. Depthwise sees 8 in red and 8 in green. Now all
# ways together, with the library's, which is made of shifts like your exercise.

# %%
by_convolution = F.conv2d(small, kernel.expand(3, 1, 3, 3), groups=3)[0]  # (3, 46, 46)
by_library = losses.laplacian(small)[0]  # (3, 46, 46)
print("loop = convolution:", torch.allclose(slow, by_convolution, atol=1e-5))
print("loop = library:    ", torch.allclose(slow, by_library, atol=1e-5))

# %% [markdown]
# ## What about the border?
#
# A pixel at the border lacks a neighbour. `conv2d(padding=1)` invents a 0 there; one can also repeat the border
# or mirror it (`replicate`, `reflect`). We try all on a ramp, where a second difference has nothing to report.

# %%
ramp = torch.arange(8.0).expand(1, 1, 8, 8)
for name, mode in (("zeros", "constant"), ("reflect", "reflect"), ("replicate", "replicate")):
    padded = F.pad(ramp, (1, 1, 1, 1), mode=mode)  # (1, 1, 10, 10)
    print(f"{name:<11} largest answer {losses.laplacian(padded).abs().max():.0f}")
print(f"no padding  largest answer {losses.laplacian(ramp).abs().max():.0f}")

# %% [markdown]
# Every kind of padding makes up an edge that is not there. Our decision: no padding, and the outermost ring of
# pixels does not count. So a ramp gives exactly 0. And the cat?

# %%
edges = losses.laplacian(cat[None])[0].mean(dim=0)  # (222, 222)
figure = widgets.gallery([("photograph", cat), ("Laplacian, mean of channels", edges)],
                         label="second difference", cmap="RdBu_r", vmin=-0.3, vmax=0.3)
show(figure, "Left, the cat. Right, its Laplacian: white over large areas, with thin pairs of red "
             "and blue lines along whiskers, fur and the rims of the eyes.")


# %% [markdown]
# White is 0. Large areas vanish, and edges become pairs of a positive and a negative line.
#
# ## Its answer to each frequency
#
# Give a linear filter a wave, and the same wave comes out, stronger or weaker. How many times stronger is called its **gain**. For
# this kernel, at frequencies $f_x, f_y$ in cycles per pixel,
#
# $$\text{gain} = 4 - 2\cos 2\pi f_x - 2\cos 2\pi f_y ,$$
#
# with a minus sign on the wave. We measure it on real waves, and draw the formula through the points.

# %%
def measured_gain(k, diagonal):
    """Of a wave of k cycles per 224 pixels, from left to right or also from top to bottom."""
    phase = 2 * torch.pi * k * torch.arange(224) / 224
    wave = torch.cos(phase) * torch.cos(phase if diagonal else 0 * phase)[:, None]  # (H, W)
    return (losses.laplacian(wave).norm() / wave[1:-1, 1:-1].norm()).item()


cycles = (4, 14, 28, 56, 84, 112)
for k in cycles:
    along, across = measured_gain(k, False), measured_gain(k, True)
    print(f"{k:>3} cycles: gain {along:.3f} along a row, {across:.3f} in both directions")

# %%
f = torch.fft.fftshift(torch.fft.fftfreq(224))  # −0.5 … 0.5 cycles per pixel
gain = 4 - 2 * torch.cos(2 * torch.pi * f)[:, None] - 2 * torch.cos(2 * torch.pi * f)  # (224, 224)

figure, axes = new_figure(1, 2, 9.5, 3.6)
for diagonal, label in enumerate(("along a row", "in both directions")):
    line = (1 + diagonal) * (2 - 2 * torch.cos(2 * torch.pi * torch.arange(113) / 224))
    axes[0, 0].plot(line, color=COLOURS[diagonal], label=label)
    axes[0, 0].plot(cycles, [measured_gain(k, diagonal) for k in cycles], "o",
                    color=COLOURS[diagonal])
axes[0, 0].set(xlabel="frequency, cycles per 224 pixels", ylabel="gain", title="measured: dots")
axes[0, 0].legend()
picture = axes[0, 1].imshow(gain, cmap="cividis", extent=(-112, 112, 112, -112))
axes[0, 1].set(xlabel="cycles along a row", ylabel="along a column", title="gain of every wave")
axes[0, 1].grid(visible=False)
figure.colorbar(picture)
show(figure, "Left, two curves that rise from 0 at frequency 0 to 4 and to 8 at 112 cycles, with "
             "measured dots on them. Right, a map, dark in the middle and bright in the corners.")


# %% [markdown]
# A high-pass filter, from 0 for a flat picture to 8 for a checkerboard. A wave of 4 cycles is weakened about
# eighty times, the fastest ones are magnified. This turns the photograph's law around: how much of the
# variance now lies above 28 cycles, in waves shorter than 8 pixels?

# %%
def share_above(image, cutoff):
    """The share of an image's variance in waves faster than `cutoff` cycles per 224 pixels."""
    f = torch.fft.fftfreq(image.shape[-1]) * 224
    power = torch.fft.fft2(image).abs().square().sum(dim=0)  # (H, W)
    power[0, 0] = 0
    return (power * (f[:, None] ** 2 + f**2 > cutoff**2)).sum() / power.sum()


print(f"cat:           {share_above(cat, 28):.0%} above 28 cycles")
print(f"its Laplacian: {share_above(losses.laplacian(cat[None])[0], 28):.0%}")

# %% [markdown]
# What was a detail to the squared error is nearly all that this filter sees. It is nearly blind to the rest:
# brightness, shading and slow colour are invisible to it. So it can stand beside the reconstruction
# loss, $L_\text{MAE}$ from here on, but not in its place.
#
# ## From the filter to a loss
#
# $L_\text{freq}$ is the mean absolute difference of the two Laplacians on **masked** pixels. "Mean" hides a decision:
# divided by what? We make the same errors everywhere, noise of deviation 0.1, and only change how much of it is
# masked, and how many channels there are. A good loss would not notice.

# %%
torch.manual_seed(0)
error = losses.laplacian(0.1 * torch.randn(1, 3, 224, 224)).abs()  # (1, 3, 222, 222)
print("masked  channels   all values   masked pixels   masked values")
for ratio in (0.5, 0.75):
    noise = torch.rand(1, 196, generator=torch.Generator().manual_seed(0))
    _, mask, _ = masking.random_mask_ids(noise, int(196 * (1 - ratio)))
    mask = patches.patch_mask_to_pixels(mask, 16)[..., 1:-1, 1:-1]  # (1, 1, 222, 222)
    for c in (1, 3):
        total = (error[:, :c] * mask).sum()
        by = [total / error[:, :c].numel(), total / mask.sum(), total / (c * mask.sum())]
        print(f"{ratio:>6.0%}  {c:>8}   {by[0]:>10.2f}   {by[1]:>13.2f}   {by[2]:>13.2f}")


# %% [markdown]
# Divided by all values, the same errors cost more because more is masked. Under a curriculum, whose mask ratio
# rises from 0.5 to 0.75, the weight of the term would rise in secret. Divided by the number of masked pixels
# it is three times as large for colour as for grey. Only the number of masked **values** gives the same loss in
# all four lines. That is the package's decision.

# %% [markdown]
# ### ✏️ Exercise 3 · A masked mean  (★★☆ · 5 minutes)
#
# Write `masked_l1(error, mask)`: one mean of the absolute values of `error` (B, C, H, W) over all masked values of the
# batch together. `mask` is (B, 1, H, W), 1 = masked; images may differ in how much is masked. With nothing masked, return 0.
#
# <details><summary>Hint 1</summary>
#
# `error.abs() * mask` spreads the mask over the channels. What is the sum to be divided by?
# </details>
# <details><summary>Hint 2</summary>
#
# `mask.sum()` counts masked pixels; each has `error.shape[1]` values. `clamp(min=1)` avoids 0 / 0.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def masked_l1(error, mask):
#     count = mask.sum() * error.shape[1]
#     return (error.abs() * mask).sum() / count.clamp(min=1)
# ```
# </details>

# %%
def masked_l1(error, mask):
    ...  # your code


# %%
check.masked_l1(masked_l1)

# %% [markdown]
# ## A real prediction, in real units
#
# Now a model: the plain one that comes with the package, trained without the Laplacian term. It predicts each
# patch in units of the patch's own mean and deviation (`norm_pix`, notebook 04).

# %%
model, facts = checkpoints.load_shipped("original")
p, norm_pix = model.patch_size, facts["norm_pix"]
images = augment.resize(course.photographs(224), model.img_size)  # (5, 3, H, W)
noise = torch.rand(5, model.num_patches, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    output = model(images, 0.75, noise=noise)
mask = patches.patch_mask_to_pixels(output.mask, p)  # (5, 1, H, W)
print("prediction", tuple(output.pred.shape), "mask", tuple(mask.shape))

# %% [markdown]
# The Laplacian belongs to pictures, so the prediction must first be **de-normalised**: times each patch's deviation,
# plus its mean. What if one forgets? Take a prediction that is perfect: the normalised target itself. **What should
# its loss be?**

# %%
truth = patches.patchify(images, p)  # (5, L, p²·3)
mean, deviation = losses.patch_statistics(truth)
for name, pred in {"perfect": (truth - mean) / deviation, "the model's": output.pred}.items():
    forgotten = losses.laplacian_loss_masked(patches.unpatchify(pred, p), images, mask)
    restored = losses.predicted_images(pred, images, p, norm_pix=True)  # (5, 3, H, W)
    right = losses.laplacian_loss_masked(restored, images, mask)
    print(f"{name:<12} as it is {forgotten:.2f}   de-normalised {right:.2f}")

# %% [markdown]
# A perfect prediction must cost 0, and does so only after de-normalising. Forgotten, nothing fails: the loss
# is a plausible number, and it pulls even a perfect prediction away from the truth. `predicted_images` does it
# right. It takes each hidden patch's mean and deviation from the target, so what we show and measure below is
# somewhat better than an honest guess could be.
#
# ## The boundary trap
#
# In training nothing compares the prediction on **visible** patches with anything: $L_\text{MAE}$ looks at masked ones
# only. **What does the model paint where nobody looks?** Compare the second picture with the third.

# %%
target = augment.denormalise(images)  # (5, 3, H, W) in [0, 1]
pred = augment.denormalise(losses.predicted_images(output.pred, images, p, norm_pix))
filled = metrics.composite(pred, target, mask)
for name, where in (("hidden", mask), ("visible", 1 - mask)):
    psnr = metrics.masked_psnr(pred, target, where).mean()
    print(f"PSNR of the raw prediction on {name} patches: {psnr:.1f} dB")

rocket, portrait = 3, 4  # which photographs to show
figure = widgets.gallery([("target", target[rocket]),
                          ("what the model sees", (target * (1 - mask) + 0.5 * mask)[rocket]),
                          ("raw prediction", pred[rocket]), ("composite", filled[rocket])])
show(figure, "A rocket before an evening sky; the visible quarter of its patches on grey; the raw "
             "prediction, in which visible patches are unlike the target; the composite, in which "
             "they are true.")


# %% [markdown]
# Even where the answer lies in plain sight the raw prediction is far from it: the model was never asked to copy what it saw. Before we show a picture we put the true pixels back, which makes the **composite**.

# %% [markdown]
# ### ✏️ Exercise 4 · The composite  (★☆☆ · 3 minutes)
#
# Write `composite(pred, target, mask)`: images (B, 3, H, W) that hold the prediction where the mask (B, 1, H, W) is 1,
# and the target where it is 0.
#
# <details><summary>Hint 1</summary>
#
# Multiply one of them by the mask. What has the other to be multiplied by?
# </details>
# <details><summary>Hint 2</summary>
#
# `1 - mask` is 1 exactly where a pixel is visible.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def composite(pred, target, mask):
#     return pred * mask + target * (1 - mask)
# ```
# </details>

# %%
def composite(pred, target, mask):
    ...  # your code


# %%
check.composite(composite)

# %% [markdown]
# A Laplacian reads four neighbours. At the rim of a hidden patch one of them may be *visible*, and from the raw
# prediction the filter then reads what nobody supervised. `laplacian_loss_masked` can do both. We split its error
# into masked pixels that touch a visible one, and the others. (Where the Laplacian of the mask is not 0, a pixel
# touches the mask's edge.)

# %%
inner = mask[..., 1:-1, 1:-1]  # (5, 1, H − 2, W − 2)
touching = inner * (losses.laplacian(mask) != 0)  # (5, 1, H − 2, W − 2)
maps = {}
for name, use in (("raw", False), ("composite", True)):
    loss = losses.laplacian_loss_masked(pred, target, mask, composite=use)
    difference = (pred - target) * (mask if use else 1)  # of both, as the filter is linear
    error = losses.laplacian(difference).abs().mean(dim=1, keepdim=True)  # (5, 1, H − 2, W − 2)
    rim = (error * touching).sum() / touching.sum()
    rest = (error * (inner - touching)).sum() / (inner - touching).sum()
    maps[f"error, {name}"] = (error * inner)[rocket, 0]
    print(f"{name:<10} loss {loss:.3f}: at the rim {rim:.3f}, elsewhere {rest:.3f}")

# %%
figure = widgets.gallery([("composite", filled[rocket]), *maps.items()],
                         label="|difference of Laplacians|", cmap="magma", vmin=0, vmax=0.3)
show(figure, "The composite, and two maps of the error on masked pixels. Both have straight lines "
             "along the borders of patches; only the raw one has faint frames around visible "
             "patches in the quiet sky.")

# %% [markdown]
# Away from the rim the two agree exactly: there all four neighbours are masked. At the rim they differ. The straight
# lines along the borders of patches are **seams**, and in the quiet sky the raw map draws faint frames around visible
# patches: errors of a picture that nobody will ever see. The raw variant measures how well a hidden patch fits its *predicted*
# neighbour; the composite, how well it fits the *true* one. The gradients differ too. Whom does each variant train?

# %%
for name, use in (("raw", False), ("composite", True)):
    free = output.pred.clone().requires_grad_()  # (5, L, p²·3)
    image = losses.predicted_images(free, images, p, norm_pix)
    losses.laplacian_loss_masked(image, images, mask, composite=use).backward()
    size = free.grad.abs().sum(dim=2)  # (5, L)
    share = (size * (1 - output.mask)).sum() / size.sum()
    print(f"{name:<10} {share:.1%} of the gradient goes to visible patches")

# %% [markdown]
# The raw variant spends a part of its gradient on the rims of visible patches, which no picture ever shows.
# With the composite exactly none goes there.
#
# ## Seams inside the composite
#
# The composite has something to teach as well. Hide one patch of 16×16 and predict it perfectly, but for a
# constant: everything a tenth too bright. **What do both variants say?**

# %%
hole = torch.zeros(1, 9)
hole[0, 4] = 1
hole = patches.patch_mask_to_pixels(hole, 16)  # (1, 1, 48, 48)
brighter = small + 0.1
for name, use in (("raw", False), ("composite", True)):
    print(f"{name:<10} {losses.laplacian_loss_masked(brighter, small, hole, composite=use):.4f}")
print(f"4c / p     {4 * 0.1 / 16:.4f}")

# %% [markdown]
# Raw: nothing, as a constant has no second difference. The composite reports the jump at the patch's rim: a pixel
# at a side gives $c$, one at a corner $2c$, together $4(p-2)c + 4 \cdot 2c = 4pc$ on $p^2$ pixels, so the mean is $4c/p$. For an offset
# of a tenth and patches of 16 that is 0.025. Now all hidden patches of our photographs, each perfect but for an
# offset of ±0.1.

# %%
sign = torch.randint(0, 2, (5, model.num_patches, 1), generator=torch.Generator().manual_seed(0))
offset = patches.unpatchify((0.2 * sign - 0.1).expand(-1, -1, 3 * p * p), p)  # (5, 3, H, W)
step = torch.arange(model.img_size) % p
border = (step == 0) | (step == p - 1)
ring = (border[:, None] | border)[1:-1, 1:-1]  # outermost pixels of patches: (H − 2, W − 2)

seams = losses.laplacian(offset * mask).abs().mean(dim=1, keepdim=True) * inner
share = (seams * ring).sum() / seams.sum()
print(f"share of the error on the outermost ring of patches: {share:.0%}")

# %%
almost = metrics.composite(target + offset, target, mask)
figure = widgets.gallery([("target", target[portrait]), ("hidden patches ±0.1", almost[portrait]),
                          ("its error", seams[portrait, 0])],
                         label="|difference of Laplacians|", cmap="magma")
show(figure, "Grace Hopper; the same with hidden patches a little brighter or darker, like tiles; "
             "and the error, a grid of bright lines along patch borders and black elsewhere.")

# %% [markdown]
# All of the error is at the borders. So this loss punishes patches that do not join, and a model can lower it by
# joining them better, without painting a single hair. That is worth having: seams are ugly. But it is not sharpness.
#
# ## What λ does
#
# The total is $L_\text{MAE} + \lambda L_\text{freq}$, with $\lambda = 0.05$ as specified. What would the *best possible* prediction under this total look
# like, if we knew everything that may be hidden? For a row of pixels we can compute it exactly. Above, what may be
# hidden, and how likely it is; below, the row with the lowest expected loss.
#
# **Predict first**, for growing λ: (a) two edges, 70:30. Does the blur become an edge? (b) Five places
# for the edge, all equally likely. Does it become sharper? (c) Stripes, of which only the place is unknown. Do they appear?

# %%
explorer = widgets.weight_explorer()
explorer

# %%
for possible in widgets.POSSIBLE:
    for weight in (0.0, 0.05, 1.0):
        explorer.set(possible=possible, weight=weight)
        print(explorer.frame.text)
_ = explorer.set(possible="two edges, 70:30", weight=0.0)  # as it was


# %% [markdown]
# (a) Yes: towards the likelier edge, though only a large λ goes nearly all the way, and the rest of the row bends
# to make up for it. (b) No: it comes close to a straight ramp, *blurrier* than with squared error alone. (c) Grey at every λ. And for
# two equal edges nothing happens at all. To see why, we price three guesses: the likeliest edge, the mean, and
# a straight line through the hidden part.

# %%
def bends(rows):
    return rows[..., :-2] - 2 * rows[..., 1:-1] + rows[..., 2:]  # (..., n − 2)


hidden = widgets.LAST - widgets.FIRST
line = np.clip((np.arange(widgets.ROW) - widgets.FIRST + 1) / (hidden + 1), 0, 1)  # (n,)
print("expected L1 of second differences   edge   mean   line")
for name in list(widgets.POSSIBLE)[:3]:
    rows, chance = widgets.POSSIBLE[name]  # (K, n), (K,)
    guesses = (rows[chance.argmax()], chance @ rows, line)
    price = [chance @ np.abs(bends(guess) - bends(rows)).sum(axis=1) for guess in guesses]
    print(f"{name:<34}" + "".join(f"{value:>7.1f}" for value in price))

# %% [markdown]
# An absolute error is lowest at the **median**, where a squared one is lowest at the mean. So $L_\text{freq}$
# asks, pixel by pixel, for the median of the possible bends. If an edge is here with a chance of 70 %, the
# median has a bend here: sharp, 1.2. If it is here with 20 %, the median has none: 2.1 for the line, 3.2 for
# any edge. Sure of the place, it sharpens; unsure, it smooths. Fur, grass and the texture of a coat are all
# unsure. (One can also ask for *as much* detail as the target has, wherever it lies. The package has such a
# form for the experiments, `freq_form="energy"`; notebook 10 tells what it is worth.) And since a squared error
# shrinks faster with the contrast than an absolute one, the same λ weighs more on a faint edge than on this one.
#
# How strong is the term in a real total? We compare it with $L_\text{MAE}$ at the shipped model's prediction: in value, and
# in the length of the gradient with respect to the prediction.

# %%
free = output.pred.clone().requires_grad_()
mae = losses.mae_loss(free, images, output.mask, p, norm_pix)
image = losses.predicted_images(free, images, p, norm_pix)
freq = losses.laplacian_loss_masked(image, images, mask)
slope_mae, slope_freq = (torch.autograd.grad(term, free)[0] for term in (mae, freq))  # (5, L, p²·3)
for weight in (0.01, 0.05, 0.25, 1.0):
    share = weight * freq / (mae + weight * freq)
    length = weight * slope_freq.norm() / slope_mae.norm()
    print(f"λ = {weight:<4}  share of the total {share:>4.0%}   gradient over MAE's {length:>4.0%}")

# %%
signs = [patches.unpatchify(slope.sign(), p)[portrait].mean(dim=0)  # (H, W)
         for slope in (slope_mae, slope_freq)]
figure = widgets.gallery([("target", target[portrait]), ("MAE pushes", signs[0]),
                          ("Laplacian term pushes", signs[1])],
                         label="sign of the gradient", cmap="RdBu_r", vmin=-1, vmax=1)
show(figure, "Grace Hopper, and the sign of both gradients: in MAE's, red and blue areas several "
             "pixels wide; in the Laplacian term's, a fine pattern of single pixels.")


# %% [markdown]
# At the specified λ the term is a small correction. And it speaks of other things: MAE pushes areas
# up or down, the Laplacian term pushes single pixels against their neighbours. (Red: the gradient is positive, so
# training pushes down; blue: up. Pale: the three channels disagree.
# White: a visible patch, which neither pushes.)
#
# ## What does a lower number prove?
#
# The masked **HF error** of the reported results is this very loss, in pixels from 0 to 1. We measure it, with the
# masked PSNR (higher is better), for both shipped models, "improved" trained with this term and the two other additions, and for references
# that have learned nothing: the mean colour, a bilinear fill, the target blurred, and each patch's true mean (one grey,
# as `norm_pix` takes one mean for all channels), which is what `predicted_images` makes of a model that outputs zeros. The last one is the target itself, perfectly sharp, moved
# by two pixels. **Which has the lowest HF error?** Write down an order first.

# %%
def prediction_of(name):
    model, facts = checkpoints.load_shipped(name)
    with torch.no_grad():
        output = model(images, 0.75, noise=noise)  # the same masks for all
    image = losses.predicted_images(output.pred, images, model.patch_size, facts["norm_pix"])
    return augment.denormalise(image)  # (5, 3, H, W)


candidates = {name: prediction_of(name) for name in ("original", "improved")}
candidates |= metrics.trivial_reconstructions(target, mask)
zeros = torch.zeros_like(output.pred)
candidates["patch means"] = augment.denormalise(losses.predicted_images(zeros, images, p, True))
candidates["moved by 2 px"] = target.roll(2, dims=-1)
hf, psnr = ({name: measure(image, target, mask).mean().item() for name, image in candidates.items()}
            for measure in (metrics.masked_hf_error, metrics.masked_psnr))
order = sorted(candidates, key=hf.get)  # lowest first
for name in order:
    print(f"{name:<15} HF error {hf[name]:.3f}   PSNR {psnr[name]:5.1f} dB")
ahead = min(order.index("original"), order.index("improved"))
print(f"references ahead of both models: {ahead}")

# %%
pictures = [metrics.composite(candidates[name], target, mask)[portrait] for name in order]
titles = [f"{name}\n{hf[name]:.3f}" for name in order]
figure = widgets.gallery(list(zip(titles, pictures, strict=True)))
show(figure, "Grace Hopper, hidden patches filled in seven ways, in the order of their HF error "
             f"over five photographs: {order[0]} first, {order[-1]} last.")

# %% [markdown]
# Read it slowly, the references first: no training can move these. The blurred target, which has next to no
# detail, is ahead of every other reference: smooth is cheap. The sharpest of all, every hair in it but two
# pixels off, is the last of them. Now find the models. The last line counts how many references are
# ahead of both. Then look at PSNR: are the models above both fillings there,
# and above the patch means, the floor that de-normalising hands to anyone? If so, they do know something
# about pictures, and the HF error does not show it. (Five photographs, one mask each: enough to show what can
# happen, too few to rank the two models.)
#
# The reason is the median again. A detail in a slightly wrong place is paid for twice, once where it is and
# once where it should be. Painting no detail is paid for once. That gives a yardstick: what would a
# prediction score whose Laplacian is 0 on every hidden pixel? And does that depend on the size of the
# picture?

# %%
score = (losses.laplacian(target).abs().mean(dim=1, keepdim=True) * inner).sum() / inner.sum()
print(f"no detail at all, no seams: HF error {score:.3f}")
enlarged = augment.denormalise(augment.resize(course.photographs(96), 224))
versions = {"64 pixels": course.photographs(64) / 255, "224 pixels": course.photographs(224) / 255,
            "96, enlarged to 224": enlarged}  # (5, 3, size, size) each
for name, version in versions.items():
    print(f"{name:<20} mean |Laplacian| {losses.laplacian(version).abs().mean():.3f}")

# %% [markdown]
# Always ask what painting nothing would have scored: without that, an HF error says little. And never compare it across
# picture sizes: enlarged from 96 pixels to 224, as STL-10's pictures are, the same five photographs have a seventh of the
# Laplacian that they have at 64 pixels, because enlarging adds no detail.
#
# ## Two reported numbers
#
# The results that this course tests report a masked HF error that fell from 0.03324 to 0.03037 with all the
# improvements, one run each. Alongside stands the claim "−33 % high-frequency error". Let a cell compare them.

# %%
before, after = 0.03324, 0.03037  # reported
print(f"reported values: {after / before - 1:+.1%}")
print(f"a fall of 33 % would have ended at {before * (1 - 0.33):.5f}")

# %% [markdown]
# −8.6 %, not −33 %: the two cannot both describe this pair of numbers. Whether there is any effect, and whether
# sharper pictures are behind it or fewer seams or more smoothness, takes several seeds, PSNR and trivial references
# beside it. [Notebook 10](10_claims.ipynb) has that evidence; here we leave it open.
#
# ## Quiz
#
# **1. Where nothing can be known, an MAE trained with squared error paints…**
#
# <details><summary>one of the possible textures, at random</summary>
#
# ✗ Each single one is right now and then, but on average it costs twice as much as their mean.
# </details>
# <details><summary>the mean of all possible textures</summary>
#
# ✓ The mean has the lowest expected squared error, and the mean of many textures is flat.
# </details>
# <details><summary>noise</summary>
#
# ✗ Noise adds its own variance to the error. Smooth is cheaper.
# </details>
#
# **2. Your Laplacian loss on raw predictions is low, but the composites show every patch as a tile. Why?**
#
# <details><summary>The kernel is too small to see tiles</summary>
#
# ✗ It reaches one pixel to each side, and that is enough to read across a border.
# </details>
# <details><summary>The raw prediction joins its own visible patches, not the true ones</summary>
#
# ✓ Each patch fits its predicted neighbour, for example when all are too bright by the same amount. The seams arise when true pixels are put back, and only the composite shows them to the loss.
# </details>
# <details><summary>The loss should be divided by all pixels</summary>
#
# ✗ That would scale the loss with the mask ratio and leave the seams as they are.
# </details>
#
# **3. Method B has a 9 % lower masked HF error than method A. What do you know?**
#
# <details><summary>B's pictures are sharper</summary>
#
# ✗ The blurred target had the lowest HF error of all references. Smoothness alone can do it.
# </details>
# <details><summary>B knows more about images</summary>
#
# ✗ Fillings that have learned nothing can be ahead of a trained model.
# </details>
# <details><summary>Not much before seeing PSNR, trivial references and several seeds</summary>
#
# ✓ Better seams, more smoothness, more detail or luck: each of them lowers the number.
# </details>
#
# ## What you take along
#
# - Squared error asks for the mean of what is possible. The mean of edges is a blur.
# - Photographs have most of their variance in slow waves; what we call sharp is in the fast, weak ones.
# - The Laplacian is a high-pass: 0 for ramps, gain up to 8. On RGB it must be depthwise; without padding it invents no edges.
# - Divide by the number of masked values; de-normalise before filtering; filter the composite, not the raw prediction.
# - L1 of a Laplacian asks for the median bend: it sharpens what is sure and smooths what is not.
# - An HF error means something only beside PSNR and references that know nothing.
#
# **Next:** [06 · Uniformity loss](06_uniformity_loss.ipynb) leaves the pixels and looks at the features.
#
# **Further reading**
#
# - Field (1987). *Relations between the statistics of natural images and the response properties of cortical cells.* JOSA A 4(12). The 1/f law.
# - Burt & Adelson (1983). *The Laplacian pyramid as a compact image code.* IEEE Transactions on Communications 31(4). The same filter idea at every scale.
# - Mathieu, Couprie & LeCun (2016). *Deep multi-scale video prediction beyond mean square error.* ICLR. Blur from squared error, and a loss on image gradients against it.
# - Blau & Michaeli (2018). *The perception-distortion tradeoff.* CVPR. Why low error and natural looks cannot both be had.
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR.
