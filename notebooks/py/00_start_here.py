# %% [markdown]
# # 0 · Start here: predict what is missing
#
# Take many photographs, hide three quarters of each, and train a small neural network to predict the missing parts from
# what is left. To predict well, the network has to learn what the world looks like, and nobody has to tell it what is
# in a picture. Such a network is a [**masked autoencoder**](GLOSSARY.md#masked-autoencoder) (MAE). In this course you
# build one yourself, and in this notebook you watch a finished one at work.
#
# **You will be able to**
#
# - explain a masked autoencoder to a friend with one drawing;
# - hide 75 % of a photograph in four lines and let a trained model fill it in;
# - judge a reconstruction in decibels and against a simple baseline;
# - find your way around the course.
#
# **Before you start:** some Python and a little experience with PyTorch tensors. You need no knowledge of Transformers.
# **Time:** 45 minutes.

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

from mae_lib import metrics
from mae_lib.course.exercises import start_here as check
from mae_lib.course.session import show
from mae_lib.course.widgets import start_here as widgets
from mae_lib.data.augment import denormalise, normalise
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.plots import new_figure
from mae_lib.training.checkpoints import load_shipped

show(*widgets.title())

# %% [markdown]
# The top row shows photographs, the middle row shows the part that the model was given, and the bottom row shows its
# reconstruction: the true pixels where they were visible, and the model's prediction everywhere else. The model was not
# trained on these photographs.
#
# ## The whole idea in one drawing
#
# Follow the arrows from 1 to 8.

# %%
show(*widgets.diagram())

# %% [markdown]
# - **Steps 1 to 3.** We cut the photograph into squares, called **patches**, and hide most of them at random.
# - **Steps 4 and 5.** The [**encoder**](GLOSSARY.md#encoder), the large part of the model, reads only the visible
#   patches, and it is told where each of them belongs. It turns each patch into a [**token**](GLOSSARY.md#token), a
#   vector of 192 numbers that describes the patch in the context of the others. Each row in step 5 is one token.
# - **Steps 6 and 7.** The tokens return to their places. Every hidden place gets the same learned vector, the
#   [**mask token**](GLOSSARY.md#mask-token), which says that something is missing here. The
#   [**decoder**](GLOSSARY.md#decoder), the small part of the model, predicts the hidden patches.
# - **Step 8.** During training, the predictions for the hidden patches are compared with the true ones. This needs no
#   labels, because the photograph itself holds the answer.
#
# Both parts are **Transformers**, networks in which every token can use information from every other token. A *block*
# is one of the stages that the tokens pass through, and *192 wide* means that a token has 192 numbers. The
# decoder first shortens each token to 128.
#
# Why do we hide so much? A single hidden patch can often be filled in by copying its neighbours. When three quarters are
# missing, copying is no longer enough, and a good prediction needs some understanding of the scene
# ([He et al. 2022](https://arxiv.org/abs/2111.06377)).
#
# ## Hide three quarters yourself
#
# We load a trained model, and a photograph of the size that it expects.

# %%
model, _ = load_shipped("pixels")
p, (rows, cols) = model.patch_size, model.grid
name = list(course.PHOTOGRAPHS)[2]
picture = course.photograph(name, model.img_size)[None] / 255  # (1, 3, H, W)
print(f"{model.img_size}×{model.img_size} pixels, {model.num_patches} patches of {p}×{p}")

# %% [markdown]
# We also need three functions: one cuts an image into patches, one hides some of them, and one puts the patches back
# together.
# You will write them in notebooks 01 and 02. Until then, we use the versions of the course's package, `mae_lib`.

# %%
patchify, unpatchify, random_masking = course.use("patchify", "unpatchify", "random_masking")

# %% [markdown]
# Before every important result we ask for your guess. Type it into the box, and you will see it next to the result. If
# you leave the box empty, the result stays folded until you click it.

# %%
visible_guess = course.predict("How many patches stay visible when we hide 75 % of them?")

# %% [markdown]
# The next cell draws random numbers, and its other four lines hide three quarters of the patches. They cut the
# photograph into patches, choose which of them stay visible, cover the others, and put the picture back together. In
# the comments, L is the number of patches and p their side, so that a patch holds p²·3 = 768 values. The `mask` is 1
# where a patch is hidden; *masked* and *hidden* mean the same in this course. The random numbers come from a generator
# that starts from a fixed **seed**, so the same patches are hidden every time you run the cell.

# %%
noise = torch.rand(1, model.num_patches, generator=torch.Generator().manual_seed(5))

patches = patchify(picture, p)  # (1, L, p²·3)
visible, mask, _ = random_masking(patches, 0.75, noise)
covered = patches.where(mask[:, :, None] == 0, 0.5)  # hidden patches become grey
masked = unpatchify(covered, p, rows, cols)  # (1, 3, H, W)

# %%
visible_guess.reveal(f"{visible.shape[1]} of {mask.shape[1]} patches")


# %% [markdown]
# The model will see only 49 of the 196 patches. Here they are, on grey.

# %%
def row(**pictures):
    """Pictures (3, H, W) in a row, each under its name."""
    figure, axes = new_figure(1, len(pictures), 2.4 * len(pictures), 2.7)
    for axis, (title, image) in zip(axes[0], pictures.items(), strict=True):
        axis.imshow(image.permute(1, 2, 0))
        axis.set_title(title.replace("_", " "), fontsize=12)
        axis.axis("off")
    return figure


show(row(visible_patches=masked[0]), "A quarter of a photograph's patches on grey.")

# %%
subject_guess = course.predict("What does this photograph show?")


# %% [markdown]
# To guess, you use the few visible patches and what you know from everything you have seen in your life. We want the
# network to gain such knowledge from its training images.
#
# ### ✏️ Exercise 1 · How many stay visible?  (★☆☆ · 3 minutes)
#
# Write a function that takes the number of patches and the **mask ratio**, the share of the patches that we hide. It
# returns how many patches stay visible. If the result is not a whole number, drop the decimals: 6.4 patches become 6.
#
# <details><summary>Hint 1</summary>
#
# If a share of 0.75 is hidden, what share is visible?
# </details>
# <details><summary>Hint 2</summary>
#
# `int` drops everything after the decimal point. `round` does something else.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def visible_patches(num_patches, mask_ratio):
#     return int(num_patches * (1 - mask_ratio))
# ```
#
# For some numbers this gives one patch too few, because the computer stores 1 − 0.9 as slightly less than 0.1.
# </details>

# %%
def visible_patches(num_patches, mask_ratio):
    ...  # your code


# %%
check.visible_patches(visible_patches)

# %% [markdown]
# ## Watch it come back
#
# The model expects **normalised** images: from each colour channel we subtract its mean over many photographs, and we
# divide by its standard deviation. We run the model with the same random numbers as before and undo the normalisation.

# %%
x = normalise(picture)  # (1, 3, H, W)
with torch.no_grad():
    output = model(x, 0.75, noise=noise)
raw = unpatchify(output.pred, p, rows, cols)  # (1, 3, H, W), normalised
raw = denormalise(raw).clamp(0, 1)  # back to 0…1
torch.testing.assert_close(output.mask, mask)  # the same patches are hidden

# %% [markdown]
# The **raw prediction** is the model's output for every patch. The [**composite**](GLOSSARY.md#composite) takes the
# prediction only where a patch was hidden and the true pixels everywhere else. Compare the two where the patches were
# visible.

# %%
hidden = patch_mask_to_pixels(output.mask, p)  # (1, 1, H, W), 1 = hidden
composite = torch.where(hidden > 0, raw, picture)
figure = row(masked=masked[0], raw_prediction=raw[0], composite=composite[0],
             photograph=picture[0])
subject_guess.reveal(f"an {name}", figure,
                     "The visible patches; the raw prediction, blurred, with squares of wrong "
                     "colours where patches were visible; the composite, a person in an orange "
                     "suit without eyes or nose; and the photograph.")

# %% [markdown]
# The composite suggests a person in an orange suit, but the eyes and the nose are missing. The raw prediction shows
# squares of wrong colours where patches were visible. The training loss ignores those patches, so the model never
# learned to copy what it sees. This is why we look at composites from here on.
#
# ## How much can you hide?
#
# To compare two images we use [**PSNR**](GLOSSARY.md#psnr), the *peak signal-to-noise ratio*, measured in decibels
# (dB). A higher PSNR is better, and 10 dB more means a tenth of the mean squared error. We measure it on the hidden
# pixels only and take the mean over the five photographs of the course.

# %%
photos = course.photographs(model.img_size) / 255  # (5, 3, H, W)
images = normalise(photos)


@torch.no_grad()
def reconstruct(mask_ratio):
    """The model's images (5, 3, H, W) in 0…1, and which pixels were hidden (5, 1, H, W)."""
    output = model(images, mask_ratio, noise=noise.expand(5, -1))
    pictures = denormalise(unpatchify(output.pred, p, rows, cols)).clamp(0, 1)
    return pictures, patch_mask_to_pixels(output.mask, p)


def quality(mask_ratio):
    """The mean PSNR over the five photographs, in dB."""
    pictures, where = reconstruct(mask_ratio)
    return metrics.masked_psnr(pictures, photos, where).mean().item()


for mask_ratio in (0.25, 0.5, 0.75):
    print(f"{100 * mask_ratio:.0f} % hidden: {quality(mask_ratio):.1f} dB")

# %% [markdown]
# Hiding more lowers the PSNR. What happens when almost everything is hidden?

# %%
drop_guess = course.predict("How many dB does the model reach at 95 % hidden?")

# %%
drop_guess.reveal(f"{quality(0.95):.1f} dB, {quality(0.75) - quality(0.95):.1f} less than at 75 %")

# %% [markdown]
# From 75 to 95 % hidden, the model loses 2.3 dB and ends at 14.9 dB.
#
# The next cell opens an explorer, in which you choose a photograph, the mask ratio and the seed of the mask. When you
# run the notebook, a line below the pictures compares the model with a simple **baseline**, which has learned nothing:
# it fills every hidden pixel with the mean colour of the visible ones. Try several photographs and seeds, and move the
# mask ratio to 0.95. What is lost, and what does the model still get right from nine patches?

# %%
explorer = widgets.explorer()
explorer


# %% [markdown]
# Take the woman in the dark cap, with mask seed 0 and 95 % hidden. From nine patches, the model still draws a
# skin-coloured blur under a dark cap, dark shoulders and a blue background to the right, but the glasses, the stripes
# and the stars are gone. Is that good? To answer, we need
# a baseline and the PSNR, and you first build both for one image. (The cells after the exercises use the package's
# versions, which take several images at once.)
#
# ### ✏️ Exercise 2 · The baseline  (★★☆ · 6 minutes)
#
# Fill the hidden pixels with the mean colour of the visible ones. `image` has shape (3, H, W), and `hidden` has shape
# (1, H, W) with 1 where a pixel is hidden. The visible pixels stay as they are. Return a new tensor (3, H, W), and do not
# change `image` itself.
#
# <details><summary>Hint 1</summary>
#
# `image * (1 - hidden)` is zero at every hidden pixel, so its sum is the sum of the visible pixels. How many visible
# pixels are there?
# </details>
# <details><summary>Hint 2</summary>
#
# A colour has shape (3,), and `colour[:, None, None]` has shape (3, 1, 1), which fits the image.
# `torch.where(hidden > 0, a, b)` takes `a` where a pixel is hidden and `b` elsewhere.
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
# If pixels lie between 0 and 1 and their mean squared error is $\text{mse}$, then
#
# $$\text{PSNR} = -10 \, \log_{10} \text{mse}.$$
#
# Write `psnr(mse)`, where `mse` is a tensor with one number.
#
# <details><summary>Hint 1</summary>
#
# `mse.log10()` is the logarithm to base 10. Watch the sign: a smaller error gives more decibels.
# </details>
# <details><summary>Hint 2</summary>
#
# An error of 0.01 should give 20 dB, and an error of 0.001 should give 30 dB.
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
# ## Is that good?
#
# The mean colour is a weak baseline. The [**bilinear fill**](GLOSSARY.md#bilinear-fill) is a stronger one: it spreads
# the visible pixels smoothly into the holes. It has learned nothing either.

# %%
pictures, where = reconstruct(0.75)
smooth = metrics.trivial_reconstructions(photos, where)["bilinear fill"]
figure = row(bilinear_fill=smooth[2], model=metrics.composite(pictures, photos, where)[2],
             photograph=photos[2])
show(figure, "Left, the bilinear fill: the visible patches in a smooth haze of their colours. "
             "Middle, the model's composite, where head, suit and arms are joined. Right, the "
             "photograph of an astronaut in an orange suit.")

# %%
lead_guess = course.predict("At 75 % hidden, by how many dB does the model beat the bilinear fill?")

# %%
lines = ["hidden   mean colour   bilinear fill     model"]
for mask_ratio in (0.25, 0.5, 0.75, 0.95):
    pictures, where = reconstruct(mask_ratio)
    fills = metrics.trivial_reconstructions(photos, where)
    a, b, c = (metrics.masked_psnr(filled, photos, where).mean()
               for filled in (fills["masked mean"], fills["bilinear fill"], pictures))
    lines.append(f"{100 * mask_ratio:4.0f} % {a:9.1f} dB {b:12.1f} dB {c:9.1f} dB")
    if mask_ratio == 0.75:
        lines.insert(0, f"{c - b:.1f} dB\n")
lead_guess.reveal("\n".join(lines))

# %% [markdown]
# On these five photographs, at 75 % hidden, the model is 3.4 dB above the mean colour, but only 1.2 dB above the
# bilinear fill, and at 95 % less than half a decibel. Yet in the picture, the model joins the head to the suit, and the
# bilinear fill shows a haze. The PSNR hardly shows this difference, because it favours a cautious blur: where a model
# cannot know what is hidden, the average of everything that could be there has the smallest squared error on average.
#
# ### ✏️ Open exercise · When does it fail?  (★★☆ · 10 minutes)
#
# Go back to the explorer. Keep the mask ratio at 0.75 and find one reconstruction that looks good and one that looks
# bad. Write down, in three or four sentences, what you think makes the difference. Then find a third case that could
# prove you wrong, predict its result, and look.
#
# <details><summary>What a good answer shows</summary>
#
# - It names photographs, seeds and decibels, so that somebody else can see the same.
# - The explanation is about what the visible patches reveal. For example: "the model continues smooth areas and long
#   edges, but it loses objects that fall entirely between the visible patches."
# - It compares the model with the mean colour on the same pixels, because a smooth background gives a high PSNR without
#   any understanding.
# - The third case was chosen so that the explanation could have failed. It is fine if it did.
# </details>
#
# ## Why would anyone want this?
#
# The reconstructions are not the goal. After training, we throw the decoder away and keep the encoder. It now gets all
# patches of a photograph, and the mean of its tokens is a vector of D = 192 numbers, the
# [**features**](GLOSSARY.md#feature) of the photograph.

# %%
with torch.no_grad():
    features = model.features(images)  # (5, D)
print(f"{len(features)} photographs → {features.shape[1]} features each")

# %% [markdown]
# We hope that similar pictures get similar features, so that a few labels are enough to learn a new task. Notebook 08
# measures whether this holds.
#
# ## What this course examines
#
# The masked autoencoder of this course follows the paper by He et al. We also follow one **project report**, which we
# call *the report*. Its authors built a small MAE for the [STL-10](https://cs.stanford.edu/~acoates/stl10/) images and
# proposed three **add-ons**: a curriculum that hides fewer patches at first, a loss on fine detail, and a loss that
# spreads out the features. They reported better results with the add-ons than without, from a single run of each
# method. You build all three, and in notebook 10 you judge the report's claims against repeated runs.
#
# ## How the course works
#
# **What you build is kept.** The functions and classes that make up an MAE are exercises. When your version of one
# passes its check, it is saved as a file in the folder `my_mae`. From then on, every notebook uses it instead of the
# package's version. At the end you have a complete masked autoencoder that you wrote yourself. `course.status()` shows
# which parts you have built. The exercises of this notebook are a warm-up and do not count.

# %%
course.status()

# %% [markdown]
# - **You cannot break anything.** Every notebook also works with the package's versions, so you can skip an exercise.
#   `course.reset("patchify")` sets your version aside.
# - **On Colab, use your Google Drive.** Colab deletes a notebook's files when the session ends. Write
#   `course.start(drive=True)` in the first cell of each notebook, and `my_mae` is kept in your Drive, where the other
#   notebooks find it.
# - **Predict, then look.** You learn more from a wrong guess than from an answer that you only read.
# - **Exercises** show their difficulty in stars, and hints and solutions open with a click. The check below your code
#   says what is wrong and where to look. Open exercises have no check but a folded
#   list of what a good answer shows.
# - **The time** at the top of a notebook includes the exercises, unless their time is given separately. You can leave
#   exercises with three stars and sections called *Aside* for a second visit, but run their cells.
# - **New terms** are bold where we explain them. A linked term leads to the [glossary](GLOSSARY.md).
# - **If a cell fails,** read the last line of the error. Most trouble comes from cells that were run in the wrong
#   order, so restart and run everything: *Kernel → Restart Kernel and Run All Cells* in JupyterLab, *Runtime → Restart
#   session and run all* in Colab, *Restart* and *Run All* in VS Code.
# - **You do not need a GPU.** If you want one in Colab, choose *Runtime → Change runtime type → T4 GPU* before you begin.
# - **Run levels** decide how much is computed. The course picks one for your machine; `course.start("quick")` in the
#   first cell picks another.

# %%
for level, meaning in course.LEVELS.items():
    print(f"{level:6} {meaning}" + (" ← this one" if level == session.level else ""))

# %% [markdown]
# ## The road ahead
#
# In [01](01_patchify.ipynb) to [04](04_reconstruction_loss.ipynb) you build the model, its loss and one of the add-ons,
# the curriculum; work through them in order. If you have little time, continue with [07](07_pretraining.ipynb), where
# you train the model without labels (*pretraining*), [08](08_linear_probe_and_fine_tuning.ipynb), where you find out
# what its features are worth, and [11](11_your_own_mae.ipynb), where it learns from images that you choose. Notebooks
# [05](05_laplacian_loss.ipynb) and [06](06_uniformity_loss.ipynb) build the other two add-ons, in either order.
# Notebooks [09](09_reconstructions.ipynb) and [10](10_claims.ipynb) examine what the add-ons change.
#
# ## Quiz
#
# **1. What does the encoder get when 75 % of 196 patches are hidden?**
#
# <details><summary>196 patches, of which 147 are grey</summary>
#
# ✗ We draw them grey for our own eyes. Grey patches would cost as much to process as real ones and contain nothing.
# </details>
# <details><summary>49 patches, and the position of each</summary>
#
# ✓ It reads only the visible patches, and it is told where each one belongs. The mask tokens for the hidden places
# enter only at the decoder.
# </details>
# <details><summary>The 147 hidden patches, as the answer to learn</summary>
#
# ✗ Then nothing would be left to predict. The hidden patches are used only to judge the predictions.
# </details>
#
# **2. A friend shows you reconstructions with a PSNR of 18 dB. Are they good?**
#
# <details><summary>Yes, because the squared error is below 0.02</summary>
#
# ✗ On a smooth picture even the mean colour gets that far. Compare numbers only on the same pictures and masks.
# </details>
# <details><summary>No, because photographs need 30 dB or more</summary>
#
# ✗ That is a rule of thumb for compressed images. No model can know every detail of what is hidden.
# </details>
# <details><summary>We cannot say without a baseline</summary>
#
# ✓ Ask what the mean colour and the bilinear fill reach on the same hidden pixels.
# </details>
#
# **3. Why is the raw prediction wrong even where patches were visible?**
#
# <details><summary>The loss ignores these patches</summary>
#
# ✓ Only hidden patches count during training, so nothing taught the decoder what to predict at the others.
# </details>
# <details><summary>The weights were not loaded properly</summary>
#
# ✗ Then the hidden patches would be nonsense too. Here they are blurred, but most of them fit their surroundings.
# </details>
# <details><summary>The encoder destroys what it sees</summary>
#
# ✗ Its tokens carry enough information to predict the neighbouring patches.
# </details>
#
# ## Key takeaways
#
# - A masked autoencoder hides most patches of an image and learns to predict them. It needs no labels.
# - A large encoder reads the visible patches. A small decoder predicts the rest and is thrown away after training.
# - Look at composites. The loss ignores visible patches, so the raw prediction is not reliable there.
# - Compare every PSNR with a baseline that has learned nothing, such as the bilinear fill, and look at the picture too.
#
# **Next:** [01 · Patchify](01_patchify.ipynb), where you build the first three parts of your MAE.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. The paper behind this course; figures 1 to 4 are enough for
#   today.
# - Pathak, Krähenbühl, Donahue, Darrell & Efros (2016). [*Context encoders: feature learning by
#   inpainting.*](https://arxiv.org/abs/1604.07379) CVPR. The same goal, before Transformers.
# - Devlin, Chang, Lee & Toutanova (2019). [*BERT: pre-training of deep bidirectional transformers for language
#   understanding.*](https://arxiv.org/abs/1810.04805) NAACL. Hiding words instead of patches.
# - Vincent, Larochelle, Bengio & Manzagol (2008). [*Extracting and composing robust features with denoising
#   autoencoders.*](https://www.cs.toronto.edu/~larocheh/publications/icml-2008-denoising-autoencoders.pdf) ICML.
#   Learning features by repairing a damaged input.
