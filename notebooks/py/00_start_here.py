# %% [markdown]
# # 0 · Start here: painting what is not there
#
# Take a photograph, throw three quarters of it away, and ask a small network to paint what is missing. To
# guess well it has to learn what the world looks like, and nobody ever has to tell it what is in a picture.
# In about half an hour you will have seen this work, and done most of it with your own hands.
#
# **You will be able to**
#
# - explain a masked autoencoder (MAE) to a friend, with one drawing;
# - hide 75 % of a photograph in four lines, and let a trained model paint it back;
# - judge a reconstruction: in decibels, and beside a filling that costs nothing;
# - find your way around these notebooks: predictions, explorers, exercises, quizzes.
#
# **Before you start:** some Python, and you have met a tensor in PyTorch. Nothing about Transformers. **Time:** 35 minutes.

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

from mae_lib import metrics
from mae_lib.course.exercises import start_here as check
from mae_lib.course.session import show
from mae_lib.course.widgets import start_here as widgets
from mae_lib.data.augment import denormalise, normalise, resize
from mae_lib.losses import predicted_images
from mae_lib.masking import random_masking
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.plots import new_figure
from mae_lib.training.checkpoints import load_shipped

show(*widgets.title())

# %% [markdown]
# Top, photographs. Middle, all that the model saw of them. Bottom, what it painted into the grey places. It is
# a small model for small pictures, and it learned from other photographs than these. It also had some help
# with brightness and contrast; we shall come to that, and measure it.
#
# ## Setup, in two sentences
#
# On your own computer `make lab` has installed everything, and the first cell only says on which device it
# runs and how much it will compute; on Colab it installs the course first. Every notebook begins with that
# same cell, and it is the one to run first when you come back.
#
# ## The whole idea, in one drawing
#
# Follow the arrows, from 1 to 8. The pieces are real: the squares are cut from the photograph, and the stripes
# are the numbers that the model computed for those that are visible.

# %%
show(*widgets.diagram())

# %% [markdown]
# - **1–3** The photograph is cut into squares, its **patches**. Most are hidden, at random.
# - **4–5** The **encoder**, the large part, reads only the visible patches. It turns each into a **token**: a
#   row of numbers that says what is seen there, in view of all the others.
# - **6–7** The tokens return to their places. Each hidden place gets the same stand-in, the **mask token**, which
#   says "something was here, guess". The **decoder**, the small part, makes the guesses.
# - **8** In training, the guesses are compared with the true patches. No labels: the photograph is its own answer.
#
# Both parts are Transformers, networks in which every token looks at every other one; notebook 03 builds them. Why
# hide so much? A single hidden patch could be copied from its neighbours. With three quarters gone, the
# hope is that only understanding helps (He et al. 2022).
#
# ## Hide three quarters by hand
#
# A trained model comes with the package. We load it for its sizes first, and take a photograph that fits.

# %%
model, facts = load_shipped("original")
p = model.patch_size
picture = course.photograph("astronaut", model.img_size)[None] / 255  # (1, 3, H, W)
print(f"{model.img_size}×{model.img_size} pixels, {model.num_patches} patches of {p}×{p}")

# %% [markdown]
# Four lines: cut, choose at random, paint the others grey, put back together. The `mask` is 1 where a patch
# is hidden, and *masked* and *hidden* mean the same in this course. The generator has a seed, so that the
# same patches are hidden whenever you run the cell.

# %%
patches = patchify(picture, p)  # (1, L, p²·3)
visible, mask, _ = random_masking(patches, 0.75, generator=torch.Generator().manual_seed(5))
grey = patches.where(mask[:, :, None] == 0, 0.5)  # (1, L, p²·3)
masked = unpatchify(grey, p)  # (1, 3, H, W)

print(f"{visible.shape[1]} of {mask.shape[1]} patches are visible")


# %% [markdown]
# The next picture is all that the model will know. **What do you see?** Name it, and guess what the middle of the
# photograph shows, before you scroll on.

# %%
def row(**pictures):
    """Pictures (3, H, W) in a row, each under its name."""
    figure, axes = new_figure(1, len(pictures), 2.5 * len(pictures), 2.8)
    for axis, (name, image) in zip(axes[0], pictures.items(), strict=True):
        axis.imshow(image.permute(1, 2, 0))
        axis.set_title(name.replace("_", " "))
        axis.axis("off")
    return figure


show(row(what_is_this=masked[0]), "Scraps of a photograph on grey, a quarter of its patches.")

# %% [markdown]
# Whatever you guessed, you guessed it from a few scraps and from everything that you have seen before. That
# second part is the knowledge that we want a network to acquire.
#
# ## Watch it come back
#
# The model wants its input *normalised*, with a mean near 0, so we normalise, run it, and undo this. The same
# seed hides the same patches.

# %%
x = normalise(picture)  # (1, 3, H, W), mean near 0
with torch.no_grad():
    output = model(x, 0.75, generator=torch.Generator().manual_seed(5))
print("prediction:", tuple(output.pred.shape), "hidden as before:", torch.equal(output.mask, mask))

painted = predicted_images(output.pred, x, p, facts["norm_pix"])  # (1, 3, H, W)
painted = denormalise(painted).clamp(0, 1)  # back to 0…1

# %% [markdown]
# The **raw prediction** covers every place; the **composite** takes it only where a patch was hidden, and
# keeps the true pixels elsewhere.

# %%
hidden = patch_mask_to_pixels(output.mask, p)  # (1, 1, H, W), 1 = hidden
composite = metrics.composite(painted, picture, hidden)
figure = row(masked=masked[0], raw_prediction=painted[0], composite=composite[0], target=picture[0])
show(figure, "The masked photograph; the raw prediction, with false colours at the visible "
             "patches; the composite, a blurred person in orange; and the photograph itself.")

# %% [markdown]
# Did you expect the false colours? They stand where patches were visible. In training only hidden patches
# count, so nothing ever taught the model what to say at the others. This is no fault, and it is why one
# looks at composites.
#
# ## How far can you go?
#
# **PSNR**, the peak signal-to-noise ratio, says how near two pictures are, in decibels (dB): more is better, and 10 dB
# more is a tenth of the squared error. We measure hidden pixels only. Beside it stands a filling that knows
# nothing: the mean colour of the visible pixels.
#
# **Predict first.** From 75 % hidden to 95 %, almost everything goes. How will the picture look? And by how many
# decibels does the model get worse: about 1, 5, or 10? Note your answers, then move the slider. Try other seeds too,
# and the weights `improved`, which were trained with the additions of notebooks 02, 05 and 06: can you see a
# difference?

# %%
explorer = widgets.explorer()
explorer

# %%
for mask_ratio in (0.25, 0.75, 0.95):
    explorer.set(mask_ratio=mask_ratio)
    print(explorer.frame.text)

# %% [markdown]
# At 95 % hardly anything of the picture is right. Now compare the last two lines: did the decibels fall as
# far as the picture did? And is the model still ahead of the mean colour? If a number holds up better than
# the picture, either a handful of patches tells the model a great deal, or the number is not what it seems.
# Let us find out. (And `improved`? Our eyes cannot decide that; notebook 10 measures it.)
#
# ## The help, measured
#
# These weights were trained with `norm_pix`: the model predicts each patch *relative to that patch's own mean and
# contrast*. To make a picture of it, somebody must supply these two numbers for every hidden patch, and we took
# them from the target. In real use they would be unknown, so our pictures and decibels are **optimistic**.
#
# What is the help worth? Let a "model" predict zero everywhere, which is nothing at all, and give it the same two
# numbers. **Guess** what its picture looks like before you run the cell.

# %%
images = resize(course.photographs(96), model.img_size)  # (5, 3, H, W), normalised
targets = denormalise(images).clamp(0, 1)


def to_images(pred):
    """Predictions (5, L, p²·3) as images, with the target's mean and contrast of each patch."""
    return denormalise(predicted_images(pred, images, p, facts["norm_pix"])).clamp(0, 1)


print("trained with norm_pix:", facts["norm_pix"])
zeros = torch.zeros(5, model.num_patches, 3 * p * p)  # (5, L, p²·3)
figure = row(zeros_helped=to_images(zeros)[2], target=targets[2])
show(figure, "Left, a mosaic of evenly grey squares, as bright as the photograph at right.")

# %% [markdown]
# Nothing was predicted, and yet a grey mosaic of the photograph appears. The help gives the brightness of every
# hidden patch. (Contrast, the second number, plays no part here: times zero it is nothing.) It gives no colours, and no edges or shapes within a patch: what you saw of those was the model's own
# work. Now the same in decibels, averaged over our five photographs. **Expect** one column that hardly changes.

# %%
print("hidden   mean colour   zeros, helped   model, helped")
for mask_ratio in (0.25, 0.75, 0.95):
    with torch.no_grad():
        output = model(images, mask_ratio, generator=torch.Generator().manual_seed(5))
    blank = patch_mask_to_pixels(output.mask, p)  # (5, 1, H, W), 1 = hidden
    mean_colour = metrics.trivial_reconstructions(targets, blank)["masked mean"]
    fillings = mean_colour, to_images(zeros), to_images(output.pred)
    a, b, c = (metrics.masked_psnr(filling, targets, blank).mean() for filling in fillings)
    print(f"{mask_ratio:5.0%} {a:10.1f} dB {b:12.1f} dB {c:12.1f} dB")

# %% [markdown]
# The help does not shrink when more is hidden: the middle column hardly moves, while the model comes down
# towards it. This is a good part of why the decibels fall less than the picture. The fair question is not "is
# the model better than the mean colour?" but "how far is it above the middle column?": a clear step at 25 %,
# a smaller one at 95 %. Five photographs are few, and this is one model; notebook 04 explains `norm_pix` and
# why one trains with it all the same.
#
# Take this along as a habit: **before you believe a number, ask what a model that knows nothing would get.**
#
# ## Why would anyone want this?
#
# Not for the painting. After training, the decoder is thrown away. What remains is the encoder, which turns
# any photograph into a row of numbers, its *features*, and was trained without a single label.

# %%
with torch.no_grad():
    features = model.features(images)  # (5, D)
print(f"{len(features)} photographs → {features.shape[1]} features each")

# %% [markdown]
# The hope is that pictures of similar things get similar features, so that a few labels suffice to learn a task
# from them. Whether this small encoder fulfils it is a question for measurement, beside an encoder that was never
# trained: notebook 08 does it.
#
# ## How these notebooks work
#
# - **Predict, then look.** Before an explorer or a surprising cell you are asked for a guess. Write it down: a wrong guess
#   that you wrote down teaches more than a right one that you did not.
# - **Exercise cards** carry stars and minutes. Below each is an empty function for your code, then a *check*,
#   which says what is wrong and where to look. Hints and the solution open with a click. Nothing later
#   depends on your answers.
# - **The minutes** in the head of a notebook are for reading, running, predicting and the cards of one and
#   two stars. Cards of three stars, and sections called *Aside*, can be left for a second visit; only run
#   their cells.
# - **The quiz** at the end explains every option, right or wrong. Open the one that you believe.
# - **When a cell fails,** read the last line of the error. Then restart and run all from the top: *Kernel → Restart
#   Kernel and Run All Cells* in JupyterLab, *Runtime → Restart session and run all* in Colab, *Restart* and *Run
#   All* in VS Code. Most trouble comes from cells that were run out of order.
# - **A GPU** is not needed. On Colab you get one by *Runtime → Change runtime type → T4 GPU*, before you begin.
# - **Run levels** say how much to compute. The machine decides, unless you do: `course.start("quick")` in place of
#   `course.start()`, or the environment variable `MAE_LIB_LEVEL=quick` before Jupyter starts.

# %%
for level, meaning in course.LEVELS.items():
    print(f"{level:6} {meaning}" + (" ← this one" if level == session.level else ""))


# %% [markdown]
# Try it on three small exercises. Together they rebuild the sentence below the explorer.
#
# ### ✏️ Exercise 1 · What stays visible  (★☆☆ · 2 minutes)
#
# Write a function of the number of patches and the mask ratio that returns how many patches stay visible. When it is
# not a whole number, cut it off: of 6.4 patches, 6 are visible.
#
# <details><summary>Hint 1</summary>
#
# The mask ratio is the share that is hidden. Which share is visible?
# </details>
# <details><summary>Hint 2</summary>
#
# `int` cuts off everything after the decimal point; `round` does something else.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def visible_patches(num_patches, mask_ratio):
#     return int(num_patches * (1 - mask_ratio))
# ```
# </details>

# %%
def visible_patches(num_patches, mask_ratio):
    ...  # your code


# %%
check.visible_patches(visible_patches)


# %% [markdown]
# ### ✏️ Exercise 2 · The filling to beat  (★☆☆ · 6 minutes)
#
# Fill the hidden pixels with the mean colour of the visible ones. `image` is (3, H, W), `hidden` is (1, H, W) with
# 1 where a pixel is hidden. Visible pixels stay as they are.
#
# <details><summary>Hint 1</summary>
#
# `image * (1 - hidden)` has zeros in all hidden places, so its sum is the sum of the visible pixels. How many
# are there?
# </details>
# <details><summary>Hint 2</summary>
#
# A colour is three numbers, (3,); `colour[:, None, None]` is (3, 1, 1) and fits the image.
# `torch.where(hidden > 0, a, b)` takes a where a pixel is hidden, b elsewhere.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def mean_fill(image, hidden):
#     visible = 1 - hidden  # (1, H, W)
#     colour = (image * visible).sum(dim=(1, 2)) / visible.sum()  # (3,)
#     return torch.where(hidden > 0, colour[:, None, None], image)  # (3, H, W)
# ```
# </details>

# %%
def mean_fill(image, hidden):
    ...  # your code


# %%
check.mean_fill(mean_fill)


# %% [markdown]
# ### ✏️ Exercise 3 · Decibels  (★☆☆ · 4 minutes)
#
# For pixels between 0 and 1 with a mean squared error of $\text{mse}$,
#
# $$\text{PSNR} = -10 \, \log_{10} \text{mse}.$$
#
# Write `psnr(mse)`, where `mse` is a tensor with one number.
#
# <details><summary>Hint 1</summary>
#
# `mse.log10()` is the logarithm to base 10. Mind the sign: a smaller error gives more decibels.
# </details>
# <details><summary>Hint 2</summary>
#
# An error of 0.01 should give 20 dB, one of 0.001 should give 30 dB.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def psnr(mse):
#     return -10 * mse.log10()
# ```
# </details>

# %%
def psnr(mse):
    ...  # your code


# %%
check.psnr(psnr)

# %% [markdown]
# The library has all three. Here they are on the astronaut from above, by hand and then by the explorer.
# **Expect** the same numbers twice.

# %%
filled = metrics.trivial_reconstructions(picture, hidden)["masked mean"]  # (1, 3, H, W)
for name, image in {"painted": painted, "mean colour": filled}.items():
    error = (image - picture).square().mean(dim=1, keepdim=True)  # (1, 1, H, W)
    mse = (error * hidden).sum() / hidden.sum()
    print(f"{name}: {-10 * mse.log10():.1f} dB by hand, "
          f"{metrics.masked_psnr(image, picture, hidden).item():.1f} dB by the library")
print(explorer.set(photograph="astronaut", mask_ratio=0.75, seed=5).frame.text)

# %% [markdown]
# The same numbers, from four lines of arithmetic. There is no more than this behind the explorer's sentence.
#
# ## The road ahead
#
# | notebook | what happens there |
# |---|---|
# | [00 · Start here](00_start_here.ipynb) | the whole idea; you are here |
# | [01 · Patchify](01_patchify.ipynb) | cut pictures into patches and back, give every patch its place |
# | [02 · Curriculum masking](02_curriculum_masking.ipynb) | write the random mask, raise its ratio during training, count the cost |
# | [03 · Asymmetric autoencoder](03_asymmetric_autoencoder.ipynb) | build the large encoder and the small decoder, follow every shape |
# | [04 · Reconstruction loss](04_reconstruction_loss.ipynb) | the loss on hidden patches, and what `norm_pix` changes |
# | [05 · Laplacian loss](05_laplacian_loss.ipynb) | see pictures as frequencies, ask for sharper edges |
# | [06 · Uniformity loss](06_uniformity_loss.ipynb) | watch features collapse, and push them apart |
# | [07 · Pretraining](07_pretraining.ipynb) | the full training loop, its curves, stopping and going on |
# | [08 · Linear probe and fine-tuning](08_linear_probe_and_fine_tuning.ipynb) | find out what the features are worth, with honest baselines |
# | [09 · Reconstructions](09_reconstructions.ipynb) | explore models and masks, on photographs of your own |
# | [10 · Claims](10_claims.ipynb) | test every claim made about the improved MAE, and give a verdict |
#
# Go through 01 to 04 in order. 05 and 06 can change places, and 09 can be visited at any time for pleasure.
#
# ## Quiz
#
# **1. What does the encoder get when 75 % of 64 patches are hidden?**
#
# <details><summary>64 patches, 48 of them grey</summary>
#
# ✗ That is how we draw it for our eyes. Grey patches would cost as much to process as real ones, and say nothing.
# </details>
# <details><summary>16 patches, and where each of them was</summary>
#
# ✓ It reads the visible patches only. The stand-ins for the others come in later, at the small decoder.
# </details>
# <details><summary>The 48 hidden patches, as the answer to learn</summary>
#
# ✗ Then there would be nothing to guess. The hidden patches are used only to judge the guesses.
# </details>
#
# **2. A friend shows you reconstructions of 18 dB. Are they good?**
#
# <details><summary>Yes: the squared error is below 0.02</summary>
#
# ✗ That sounds small, but on a smooth picture even the mean colour gets as far. Numbers compare on the same pictures and masks.
# </details>
# <details><summary>No: photographs need 30 dB and more</summary>
#
# ✗ That is a rule of thumb for compressed pictures. Nobody can know every detail of what is hidden.
# </details>
# <details><summary>One cannot say without a reference</summary>
#
# ✓ Ask for the mean colour on the same hidden pixels, and whether the model had any help from the target.
# </details>
#
# **3. Why has the raw prediction false colours at the visible patches?**
#
# <details><summary>The loss never looked at them</summary>
#
# ✓ Only hidden patches are judged in training, so the decoder was free to say anything elsewhere. Composites leave it out.
# </details>
# <details><summary>The weights were not loaded properly</summary>
#
# ✗ Then the hidden patches would be rubbish as well. Here they are blurred, but fit their surroundings.
# </details>
# <details><summary>The encoder destroys what it sees</summary>
#
# ✗ Its tokens carry enough to paint the neighbours. Nobody asked the decoder to repeat what is known.
# </details>
#
# ## What you take along
#
# - A masked autoencoder hides most patches of a picture and learns to predict them; the picture is its own answer.
# - A large encoder reads what is visible; a small decoder guesses the rest, and is thrown away after training.
# - Look at composites. The raw prediction means nothing where patches were visible.
# - A decibel needs a reference. With `norm_pix`, pictures also carry help from the target.
#
# **Next:** [01 · Patchify](01_patchify.ipynb) cuts a picture into the words that a Transformer reads.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). *Masked autoencoders are scalable vision learners.* CVPR. The paper behind this course; figures 1 to 4 suffice for today.
# - Pathak, Krähenbühl, Donahue, Darrell & Efros (2016). *Context encoders: feature learning by inpainting.* CVPR. The same wish, before Transformers.
# - Devlin, Chang, Lee & Toutanova (2019). *BERT: pre-training of deep bidirectional transformers for language understanding.* NAACL. Hiding words instead of patches.
# - Vincent, Larochelle, Bengio & Manzagol (2008). *Extracting and composing robust features with denoising autoencoders.* ICML. Where the idea of repairing a damaged input comes from.
