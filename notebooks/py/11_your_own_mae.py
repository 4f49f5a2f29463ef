# %% [markdown]
# # 11 · Your own MAE
#
# In notebooks 01 to 08 you wrote the parts of a masked autoencoder. Now you turn them into one file that needs
# nothing but PyTorch, train it on images that you choose, and find out what it learned. Then you write down what you
# did, so that somebody else can use your model and trust your numbers.
#
# **You will be able to**
#
# - assemble your code into one file, and show that it computes what the package computes;
# - prepare images of your own, and check that no test image is also a training image;
# - plan a training run within a time budget, and defend every choice in the recipe;
# - probe your encoder, and report its accuracy with baselines and an interval;
# - export weights, a card and a picture that others can use.
#
# **Before you start:** [07](07_pretraining.ipynb) and [08](08_linear_probe_and_fine_tuning.ipynb), for training and
# probing. Parts that you have not solved come from the package.
#
# **Time:** 40 minutes to read and run, and about 40 more for the exercises. Your project at the end takes an afternoon
# or longer.

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
import importlib.util
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

from mae_lib import evaluate, losses, plots
from mae_lib.config import PretrainConfig
from mae_lib.course import seam
from mae_lib.course.exercises import your_own_mae as check
from mae_lib.course.session import show
from mae_lib.course.widgets import your_own_mae as widgets
from mae_lib.data.augment import random_resized_crop, resize
from mae_lib.data.sources import evenly_spaced, load_data
from mae_lib.model import PRESETS, MaskedAutoencoder
from mae_lib.results import Accuracy, paired_difference
from mae_lib.runtime.hardware import generator
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import load_shipped, save_weights

show(*widgets.title())

# %% [markdown]
# A model with the course's weights filled in these five photographs. At the end of the notebook you will have such a
# picture from your own model, on your own images.

# %%
course.status()

# %% [markdown]
# The diagram shows all 23 parts. Boxes with a solid frame are yours. If some frames are still dashed, you can go on
# anyway, and run this notebook again when you have solved more.
#
# ## One file
#
# `course.assemble` writes all parts to one file, each part after the parts that it uses. We keep the file in
# `my_mae/capstone`.

# %%
guess_lines = course.predict("How many lines does a whole MAE take, with training and probing?")

# %%
keep = seam.folder() / "capstone"
keep.mkdir(parents=True, exist_ok=True)
file = course.assemble(keep / "my_mae.py")

# %%
code = file.read_text("utf-8")
empty = sum(not line.strip() for line in code.splitlines())
guess_lines.reveal(f"{len(code.splitlines())} lines, {empty} of them empty")

# %% [markdown]
# Without the empty lines, about 300 are left, for everything from cutting patches to fine-tuning. The comment above
# each part says whose code it is.

# %%
owners = [line for line in code.splitlines() if line.startswith("# --- ")]
print(*owners[:4], "…", *owners[-3:], sep="\n")

# %% [markdown]
# **Does it run without the package?** If your file still imported `mae_lib` somewhere, you would not notice it here,
# where the package is installed. So we start a fresh Python process in which every import of `mae_lib` fails, because
# its entry in `sys.modules` is `None`.

# %%
script = ("import runpy, sys; sys.modules['mae_lib'] = None; "
          f"runpy.run_path({str(file)!r}, run_name='__main__')")
done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
print((done.stdout or done.stderr).splitlines()[-1])

# %% [markdown]
# It runs, and its loss is 1.26. The last lines of the file built a model with 4.6 million weights and computed its
# loss for two images of noise. You could send this file to a friend who has PyTorch and nothing else.
#
# From here on we use this file, as a module called `mine`.

# %%
spec = importlib.util.spec_from_file_location("mine", file)
mine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mine)
print("mine has", ", ".join(name for name in ("MAE", "mae_loss", "train", "fit_probe")
                            if hasattr(mine, name)))

# %% [markdown]
# ## Does it compute the same?
#
# A file that runs is not necessarily right. So we give the same trained weights, the same images and the same masks
# to your code and to the package. A mistake in the model or in its loss would almost certainly make the two losses
# differ. Your parts for training and probing are not tested here.

# %%
package, facts = load_shipped("original")
sizes, weights = course.shipped_weights("original")
trained = mine.MAE(**sizes).eval()
print(trained.load_state_dict(weights))

# %%
photos = resize(course.photographs(), sizes["img_size"])  # (5, 3, S, S)
patches_per_image = (sizes["img_size"] // sizes["patch_size"]) ** 2
noise = torch.rand(5, patches_per_image, generator=torch.Generator().manual_seed(4))

# %%
with torch.no_grad():
    output = package(photos, 0.75, noise=noise)
    pred, mask, latent = trained(photos, 0.75, noise)
theirs = losses.mae_loss(output.pred, photos, output.mask, sizes["patch_size"], norm_pix=True)
ours = mine.mae_loss(pred, photos, mask, sizes["patch_size"], norm_pix=True)
torch.testing.assert_close(ours, theirs)
print(f"package {theirs:.4f}, mine {ours:.4f}")

# %% [markdown]
# Both losses are 0.4489. Would a mistake have shown? The number of attention heads changes no shape, so the weights,
# which were trained with six heads, also fit a model with four.

# %%
guess_heads = course.predict("With four heads instead of six, how much higher is the loss?")

# %%
wrong = mine.MAE(**sizes | {"num_heads": 4}).eval()
print(wrong.load_state_dict(weights))
with torch.no_grad():
    pred, wrong_mask, _ = wrong(photos, 0.75, noise)
higher = mine.mae_loss(pred, photos, wrong_mask, sizes["patch_size"], norm_pix=True) - ours
guess_heads.reveal(f"{higher:.4f}")

# %% [markdown]
# The loss rises by 0.0021, or half a per cent. That is small, but far more than rounding, so our comparison would have
# found the mistake. Little else would: PyTorch reports that all keys match, and you could hardly see the mistake in a
# reconstruction. So compare numbers with a reference.
#
# Our file has its own names for the weights. The next cell compares the masks, translates the names back to those of
# the official code, and checks that no value has changed.

# %%
assert torch.equal(mask, output.mask)
weights_back = mine.to_official(trained.state_dict())
assert all(torch.equal(weights_back[name], value) for name, value in package.state_dict().items())
print(f"{len(weights_back)} tensors there and back, nothing changed")

# %% [markdown]
# ## Your images
#
# Now choose what your model learns from.
#
# | `source` | what it is | what to expect |
# |---|---|---|
# | `"scenes"` | pictures that the course generates in seconds, with ten classes | learning shows within two minutes on any computer |
# | `"imagefolder:PATH"` | your folder of images; those in subfolders `train/CLASS` and `test/CLASS` have labels | at least 1,000 images, or start from the shipped weights |
# | `"upload"` | photographs from your computer or phone | dozens of images: start from the shipped weights |
# | `"cifar10"`, `"stl10"` | public photographs; the downloads are 170 MB and 2.6 GB | good results need a GPU |
#
# Use only images that you are allowed to use. A model that sees a few photographs thousands of times can memorise them.
# So if your images show people, ask them before you publish the weights.

# %%
source = "scenes"  # your choice

# %% [markdown]
# For `"upload"`, run the next cell, choose your photographs, and go on when the counter shows all of them.

# %%
uploader = widgets.Uploader(size=96)
uploader


# %%
def load(source):
    """The images to train on, images held out from training, and the data set if there is one."""
    if source == "upload":
        images = uploader.images
        tenth = max(2, len(images) // 10)
        return images[tenth:], images[:tenth], None
    wanted = {"size": 48, "counts": (6000, 1000, 1000)} if source == "scenes" else {}
    data = load_data(source, progress=source != "scenes", **wanted)
    return data.unlabeled, evenly_spaced(data.validation, 500), data


images, held, data = load(source)
print(f"{len(images):,} images to train on and {len(held):,} held out, "
      f"{images.shape[3]} × {images.shape[2]} pixels")

# %% [markdown]
# Look at them before anything else. Are they upright? Do you recognise what they show at this size? Are there
# screenshots among them, or many copies of one picture?

# %%
figure, axes = plots.new_figure(3, 8, 10, 4)
for axis, image in zip(axes.flat, evenly_spaced(images, 24), strict=False):
    axis.imshow(image.permute(1, 2, 0))
for axis in axes.flat:
    axis.axis("off")
show(figure, "Twenty-four of the images to train on, from all over the set.")


# %% [markdown]
# Each of the `"scenes"` shows one large object in front of smaller shapes. The object's shape and pattern together are
# the class.
#
# ### The same picture twice
#
# Phones take bursts of pictures, and people sometimes save a picture twice. If one copy lands among the training
# images and the other among the held-out images, the model is tested on something that it has seen. Such a
# [**leak**](GLOSSARY.md#leak) makes the results on the held-out images look better than they are.
#
# Copies that were saved again or made a little lighter differ from the original in almost every pixel, but at a small
# size they still look alike. So we shrink
# all images to [**thumbnails**](GLOSSARY.md#thumbnails) of 8 × 8 pixels, and compare two thumbnails by the root of
# their mean squared difference. `leaks_slowly` takes one test image at a time, and marks it if a training image is
# closer than `limit`.

# %%
def thumbnails(images):
    """uint8 images (N, 3, H, W) as (N, 192) values in [0, 1]."""
    return torch.cat([F.adaptive_avg_pool2d(part.float() / 255, 8).flatten(1)
                      for part in images.split(1000)])


def leaks_slowly(train, test, limit):
    found = []
    for image in test:
        difference = (train - image).square().mean(dim=1).sqrt()  # from each training image, (N,)
        found.append(bool((difference < limit).any()))
    return torch.tensor(found)


# %% [markdown]
# ### ✏️ Exercise 1 · Find the leaks  (★★☆ · 8 minutes)
#
# Write `leaks(train, test, limit)` without a loop. `train` is (N, D) and `test` is (M, D). The result is a tensor (M,)
# with one entry for each *test* image, `True` where at least one training image is closer than `limit`. Avoid a table
# (M, N, D): here it would take 2 GB.
#
# <details><summary>Hint 1</summary>
#
# `torch.cdist(test, train)` gives all distances at once, (M, N). A distance is the root of a *sum* of squares. How do
# you get the root of the *mean*?
# </details>
# <details><summary>Hint 2</summary>
#
# The root of the mean is the distance divided by the root of D. A test image leaks if the smallest value in its row is
# below the limit.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def leaks(train, test, limit):
#     difference = torch.cdist(test, train) / test.shape[1] ** 0.5  # (M, N)
#     return difference.amin(dim=1) < limit
# ```
# </details>

# %%
def leaks(train, test, limit):
    ...  # your code


# %%
check.leaks(leaks)

# %% [markdown]
# To see whether the search works, we make three training images 2 % lighter and add these copies to the held-out images.

# %%
lighter = (images[:3].float() * 1.02).clamp(max=255).byte()
train_small, test_small = thumbnails(images), thumbnails(torch.cat([held, lighter]))
find = check.leaks.yours_or(leaks_slowly)
found = find(train_small, test_small, 0.02)
print(f"copies found: {int(found[-3:].sum())} of 3; others marked: {int(found[:-3].sum())}")

# %% [markdown]
# All three copies are found, and none of the other held-out images is marked. With your own photographs, look at the
# marked images, `held[found[:-3]]`, before the next cell takes them out. Images from one burst count as copies too.
# If the limit of 0.02 misses them, raise it and run the cell above again. If your folder has labelled test images,
# check `data.test` in the same way.

# %%
held = held[~found[:-3]] if len(held) == len(found) - 3 else held  # once is enough
print(f"{len(held)} held-out images remain")

# %% [markdown]
# ## A recipe that you can defend
#
# A [**recipe**](GLOSSARY.md#recipe) is the list of all settings of a training run. You cannot try every combination,
# so start from a known recipe and change a few things, each for a reason.
#
# | choice | start with | change it if |
# |---|---|---|
# | where to start | random weights | you have fewer than about 1,000 images: start from the shipped weights |
# | size of the model | `tiny`, 0.5 million weights | you have a GPU and 20,000 images or more |
# | patch size | a sixth to an eighth of the image's side | small details matter: smaller patches, which cost more compute |
# | mask ratio | 0.75 | your data, like text, have little redundancy: lower it |
# | `norm_pix` | on | you want reconstructions that borrow nothing: off |
# | peak learning rate | 2e-3 for a small model with batches of 32 | the loss jumps: halve it; you start from the shipped weights: a tenth |
# | epochs | as many as fit into your time | the loss on held-out images rises: fewer |
# | add-ons | none | you want to test one: then train with and without it, with several seeds; begin with `lambda_unif=0.002` ([notebook 10](10_claims.ipynb)) |
#
# How many epochs fit? First measure what a step costs on your machine. `batch_at(step)` gives the randomly cropped
# images for that step.

# %%
SEED = 0
model_sizes, first_weights = {**PRESETS["tiny"], "patch_size": 8, "decoder_depth": 1}, None
# To start from the shipped weights: model_sizes, first_weights = course.shipped_weights("original")
batch_size = min(32, len(images))
epochs = max(session.choose(smoke=8, quick=60, full=300),
             -(-300 // (len(images) // batch_size)))  # rounded up: at least 300 steps
recipe = PretrainConfig(epochs=epochs, batch_size=batch_size, warmup_epochs=1,
                        lr=2e-3 if first_weights is None else 2e-4, crop_scale=0.5,
                        mask_ratio=0.75, norm_pix=True, precision="fp32", seed=SEED)


def batch_at(step):
    chosen = images[batch_indices(len(images), recipe.batch_size, step, SEED)]  # (B, 3, H, W)
    crops = generator(SEED, step, device=session.device)
    return random_resized_crop(chosen.to(session.device), model_sizes["img_size"], crops,
                               (recipe.crop_scale, 1))


# %%
def new_model(weights=None):
    """A model with these weights or random ones, always the same, and an optimiser for it."""
    torch.manual_seed(SEED)
    model = mine.MAE(**model_sizes).to(session.device)
    if weights is not None:
        model.load_state_dict(weights)
    groups = mine.parameter_groups(model, recipe.weight_decay)
    return model, torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95))


model, optimizer = new_model(first_weights)
count = sum(weight.numel() for weight in model.parameters())
print(f"{count:,} weights; a batch has shape {tuple(batch_at(0).shape)}")

# %% tags=["nbval-ignore-output"]
for step in range(12):
    if step == 2:  # the first steps are slow: memory is set up
        start = time.perf_counter()
    loss = mine.train_step(model, optimizer, batch_at(step), recipe.lr, recipe.mask_ratio, recipe)
loss.item()  # waits for the GPU, if there is one
seconds = (time.perf_counter() - start) / 10
print(f"{1000 * seconds:.0f} ms per step")


# %% [markdown]
# Your number will differ, since it depends on your machine.
#
# ### ✏️ Exercise 2 · What fits into your time?  (★☆☆ · 5 minutes)
#
# Write `epochs_that_fit(minutes, seconds_per_step, images, batch_size)`: how many whole epochs fit into the budget?
# Here `images` is the number of images, not the tensor. An epoch has as many steps as there are *full* batches in the
# images.
#
# <details><summary>Hint 1</summary>
#
# How many steps does an epoch have, and how many seconds does it take? Watch the units of the budget.
# </details>
# <details><summary>Hint 2</summary>
#
# `//` divides and rounds down. With floats it returns a float, which `int` turns into a whole number.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def epochs_that_fit(minutes, seconds_per_step, images, batch_size):
#     steps = images // batch_size
#     return int(60 * minutes // (steps * seconds_per_step))
# ```
# </details>

# %%
def epochs_that_fit(minutes, seconds_per_step, images, batch_size):
    ...  # your code


# %%
check.epochs_that_fit(epochs_that_fit)

# %% [markdown]
# Put your own budget in place of ten minutes. Then change `epochs` in the cell that defines the recipe, and run that
# cell again.

# %% tags=["nbval-ignore-output"]
fit = epochs_that_fit(10, seconds, len(images), recipe.batch_size)
print("epochs that fit into ten minutes:", "solve the exercise first" if fit is None else fit)

# %% [markdown]
# ### ✏️ Open exercise · Defend your recipe  (★★☆ · 15 minutes)
#
# Write your recipe down **before** you train, with one reason for each choice in the table above. Add two sentences: what
# do you expect the loss and the probe to be, and which result would make you change the recipe? A short first run with a
# tenth of the epochs is allowed. Looking at test accuracies to choose a recipe is not.
#
# <details><summary>What a good answer shows</summary>
#
# - **A known start.** The recipe names what it starts from, and lists every difference.
# - **A reason for each difference**, from a measurement in this course, from a paper, or from the images. "It looked
#   better" is not a reason, but "I did not have time to test it" is an honest one.
# - **A budget**: the measured time per step, multiplied by the number of steps.
# - **A prediction** for the loss and the probe, and a result that would change the plan.
# - **A clean separation.** Choices were made on held-out images or by cross-validation. The test images were used
#   once, at the end.
# </details>
#
# ## Train it
#
# A model that has learned nothing can still predict zero everywhere. With `norm_pix`, the loss of that prediction is
# close to 1.

# %%
guess_end = course.predict("From random weights, the loss starts near 1.4. Where will it end?")

# %% tags=["nbval-ignore-output"]
iters = len(images) // recipe.batch_size
model, optimizer = new_model(first_weights)
start = time.perf_counter()
curve = mine.train(model, optimizer, batch_at, iters, recipe).cpu()  # (steps,)
minutes = (time.perf_counter() - start) / 60
guess_end.reveal(f"{curve[-iters:].mean():.2f} on average over the last epoch; "
                 f"{len(curve):,} steps took {minutes:.1f} minutes")

# %%
figure, axes = plots.new_figure(1, 1, 10, 2.8)
axis = axes[0, 0]
axis.plot(curve, color=plots.GREY, linewidth=0.5)
window = min(25, len(curve))
smooth = curve.unfold(0, window, 1).mean(dim=1)
axis.plot(range(window // 2, window // 2 + len(smooth)), smooth, color=plots.COLOURS[0],
          label=f"mean of {window} steps")
axis.axhline(1, color=plots.COLOURS[1], linestyle="--", label="predicting zero")
axis.set(xlabel="step", ylabel="loss on hidden patches", ylim=(0, 1.5))
axis.legend()
show(figure, "The training loss falls steeply at first and then slowly. It is soon below the "
             "dashed line at 1, which is the loss of predicting zero.")


# %% [markdown]
# In the stored run, the loss falls from about 1.4 to 0.70. Over the last 400 steps it hardly changes. This does not
# show that the model has finished learning, because the learning rate falls towards zero during these steps. To find
# out whether more epochs would help, train a longer run from the start.
#
# Does the model fill in held-out images just as well as images that it has seen? We compare the two sets, using whole
# images instead of crops, and the same masks for both.

# %%
def loss_on(images):
    model.to(session.device).eval()
    x = resize(images, model_sizes["img_size"]).to(session.device)
    noise = torch.rand(len(x), model.encoder.pos_embed.shape[1], generator=generator(7))
    with torch.no_grad():
        pred, mask, _ = model(x, recipe.mask_ratio, noise.to(session.device))
    return mine.mae_loss(pred, x, mask, model.patch_size, recipe.norm_pix).item()


# %% tags=["nbval-ignore-output"]
on_train, on_held = loss_on(evenly_spaced(images, len(held))), loss_on(held)
print(f"trained on: {on_train:.3f}   held out: {on_held:.3f}")

# %% [markdown]
# In the stored run, the two losses are almost the same: 0.717 on training images and 0.713 on held-out ones. So the
# model does not rely on having memorised its training images. With a few dozen photographs and many epochs you will
# probably see a gap. Then stop earlier or collect more photographs.
#
# ## Look at it
#
# The explorer shows held-out images. What does your model fill in well, and where does it fail? Look
# at large areas, edges, regular patterns and small objects. Then look for an image that contradicts your first
# impression.

# %%
explorer = widgets.explorer(model, held, recipe.norm_pix)
explorer

# %% [markdown]
# After this short run, the filled-in patches in the stored pictures have about the right colour, but hardly any
# outlines. The hue is the model's own prediction. With `norm_pix`, the brightness and contrast of each patch are
# borrowed from the true image ([notebook 04](04_reconstruction_loss.ipynb)).
#
# Does the model fill in parts of memorised training images? The next picture shows eight held-out images, what the
# model makes of them, and the training image whose thumbnail is closest to each.

# %%
done = widgets.work(model, held[:8], recipe.norm_pix)
closest = torch.cdist(thumbnails(held[:8]), thumbnails(images)).argmin(dim=1)
rows = {"held out": done.target, "filled in": done.filled, "closest": images[closest] / 255}
figure, axes = plots.new_figure(3, 8, 10, 4.2)
for line, (name, pictures) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axis, picture in zip(line, pictures, strict=False):
        axis.imshow(picture.permute(1, 2, 0))
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
show(figure, "Three rows: eight held-out images, what the model fills in, and the training image "
             "that is closest to each held-out image.")

# %% [markdown]
# In the stored picture, no filled-in image looks like the closest training image. The model continues stripes where
# it sees some of them. Elsewhere, its patches are almost flat, with hues like those of the visible ones. So we see no
# sign of memorisation.
#
# ## What are its features worth?
#
# We freeze the encoder, compute its features for labelled images, and fit a [linear probe](GLOSSARY.md#linear-probe).
# If your images have no classes, we probe on scenes. Say so when you report the result.

# %%
labelled = data if data and data.classes else load("scenes")[2]
x_train, x_test = (resize(evenly_spaced(part, 2000), model_sizes["img_size"])
                   for part in (labelled.train, labelled.test))
y_train, y_test = (evenly_spaced(part, 2000)
                   for part in (labelled.train_labels, labelled.test_labels))
print(f"{len(y_train):,} labelled images to fit on, {len(y_test):,} to test on, "
      f"{len(labelled.classes)} classes")


# %%
def features(model):
    """Of training and test images: (N, D) each, on the CPU."""
    model.to(session.device)
    return [mine.extract_features(model.encoder, x.to(session.device)).cpu()
            for x in (x_train, x_test)]


asked = {"your encoder": features(model), "random weights": features(new_model()[0])}
if first_weights is not None:
    asked["where it began"] = features(new_model(first_weights)[0])
asked["raw pixels"] = [F.adaptive_avg_pool2d(x, 8).flatten(1) for x in (x_train, x_test)]


# %% [markdown]
# [**Random weights**](GLOSSARY.md#random-weights) are the baseline that matters most: the same network, untrained.
# Whatever your encoder scores above them is what training added. If you started from the shipped weights, they are
# another baseline, *where it began*. *Raw pixels* is a probe without a network, on thumbnails of 8 × 8 pixels, and
# *chance* is the accuracy of always naming the most frequent class. We choose the
# [weight decay](GLOSSARY.md#weight-decay) of the probe by [cross-validation](GLOSSARY.md#cross-validation) on the
# training images.

# %%
def probe(train, labels, test, decay):
    """The classes that a linear probe predicts for features (M, D)."""
    mean, std = train.mean(dim=0), train.std(dim=0) + 1e-6
    weight, bias = mine.fit_probe((train - mean) / std, labels, len(labelled.classes), decay)
    return ((test - mean) / std @ weight + bias).argmax(dim=1)


def cross_validated(train, labels, decay):
    """The share of training images that probes fitted without them classify correctly."""
    fold, right = evaluate.folds(labels), 0
    for k in range(evaluate.FOLDS):
        rest, out = fold != k, fold == k
        right += (probe(train[rest], labels[rest], train[out], decay) == labels[out]).sum().item()
    return right / len(labels)


# %%
guess_probe = course.predict("By how many percentage points will the probe of your encoder "
                             "beat that of random weights?")

# %% tags=["nbval-ignore-output"]
judged, lines = {}, []
for name, (train, test) in asked.items():
    decay = max((0.1, 0.01, 0.001, 0.0001), key=lambda d: cross_validated(train, y_train, d))
    judged[name] = Accuracy(probe(train, y_train, test, decay) == y_test)
    low, high = judged[name].interval()
    lines.append(f"{name:14} {judged[name].percent:5.1f} % [{low:.1f}, {high:.1f}], decay {decay}")
chance = 100 * y_test.bincount().max().item() / len(y_test)
lines.append(f"{'chance':14} {chance:5.1f} %")
gain, low, high = paired_difference(judged["random weights"], judged["your encoder"])
lines.insert(0, f"{gain:+.1f} percentage points [{low:+.1f}, {high:+.1f}], on the same test images")
guess_probe.reveal("\n".join(lines))

# %% [markdown]
# In the stored run, training raised the accuracy from 29.0 % to 64.1 %, by 35.1 points. The interval from 31.3 to
# 38.9 says how much this difference would vary with other test images, but not how much it would vary with another
# seed, because you trained only one model. So write "one run", and do not call one recipe better than another because
# of a few points.

# %%
figure, axes = plots.new_figure(1, 1, 7, 2.4)
axis = axes[0, 0]
for place, (name, accuracy) in enumerate(reversed(judged.items())):
    low, high = accuracy.interval()
    colour = plots.COLOURS[0] if name == "your encoder" else plots.GREY
    axis.plot([low, high], [place, place], color=colour)
    axis.plot(accuracy.percent, place, "o", color=colour)
axis.axvline(chance, color=plots.COLOURS[1], linestyle="--", label="chance")
axis.set_yticks(range(len(judged)), list(reversed(judged)))
axis.set(xlabel="linear probe, % right on test images", xlim=(0, None),
         ylim=(-0.5, len(judged) - 0.5))
axis.legend()
show(figure, "A dot with its interval for the probe on your encoder, on the same network with "
             "random weights and on small thumbnails. The dashed line is chance.")

# %% [markdown]
# ## Something to keep
#
# Others can use your weights only if they know where the weights come from and what they are good for. So we export
# the weights, a card that answers these questions, and a picture.
#
# ### The weights
#
# We store the weights under the names of the official code, as a [**safetensors**](GLOSSARY.md#safetensors) file.
# Many weights on the internet are pickles (`.pth`, `.pt`, `.bin`), and loading a pickle can run any code; a
# safetensors file holds only data. `save_weights` also writes the sizes of the model into the file, so the explorer
# in [notebook 09](09_reconstructions.ipynb) can open it.

# %%
twin = MaskedAutoencoder(**model_sizes)
twin.load_state_dict(mine.to_official(model.cpu().eval().state_dict()))
save_weights(keep / "weights.safetensors", twin, norm_pix=recipe.norm_pix, source=source)

# %% [markdown]
# Always read back what you have written. We load the file into a fresh model and check that the predictions are the
# same, bit for bit.

# %%
again = mine.MAE(**model_sizes).eval()
again.load_state_dict(mine.from_official(load_file(keep / "weights.safetensors")))
few = resize(held[:4], model_sizes["img_size"])
noise = torch.rand(len(few), model.encoder.pos_embed.shape[1], generator=generator(1))
with torch.no_grad():
    assert torch.equal(model(few, 0.75, noise)[0], again(few, 0.75, noise)[0])
print("read back: the same predictions, bit for bit")


# %% [markdown]
# ### The card
#
# A [**model card**](GLOSSARY.md#model-card) is a page that goes with the weights ([Mitchell et al.,
# 2019](https://arxiv.org/abs/1810.03993)). It says how the model was trained and on what, how well it does compared
# with baselines, and what it should not be used for.

# %%
def said(name):
    low, high = judged[name].interval()
    return f"{judged[name].percent:.1f} % [{low:.1f}, {high:.1f}]"


card_facts = {
    "name": "my first MAE",  # your choice
    "images": f"{len(images):,} images without labels, {source.partition(':')[0]}",
    "sizes": ", ".join(f"{name} {value}" for name, value in model_sizes.items()),
    "recipe": f"from {'random' if first_weights is None else 'the shipped'} weights, "
              f"{recipe.epochs} epochs, batch {recipe.batch_size}, peak rate {recipe.lr}, "
              f"mask ratio {recipe.mask_ratio}, norm_pix {recipe.norm_pix}, seed {SEED}",
    "held-out loss": f"{on_held:.3f}, one run",
    "linear probe": f"{said('your encoder')} on {len(y_test):,} test images of {labelled.name}",
    "random weights": said("random weights"), "chance": f"{chance:.1f} %, always the largest class"}


# %% [markdown]
# ### ✏️ Exercise 3 · Write the card  (★★☆ · 10 minutes)
#
# Write `model_card(facts)`, which returns the card as one string of Markdown:
#
# - the first line is the title, `# ` and `facts["name"]`;
# - every other fact has a line of its own, with its name;
# - the lines for the linear probe, random weights and chance follow each other;
# - a section `## Limits` says, in at least two sentences of your own (20 words or more), what the model was not tested
#   on and what it should not be used for.
#
# <details><summary>Hint 1</summary>
#
# `facts.items()` gives names and values in their order. `"\n".join(lines)` makes one string of a list of lines.
# </details>
# <details><summary>Hint 2</summary>
#
# A Markdown list has lines such as `- **images:** 2,000 generated scenes`. Leave an empty line before and after it.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def model_card(facts):
#     lines = [f"# {facts['name']}", ""]
#     lines += [f"- **{name}:** {value}" for name, value in facts.items() if name != "name"]
#     lines += ["", "## Limits", "",
#               f"It was trained once, with one seed, on {facts['images']}, and nobody has "
#               "tested it on other images.",
#               "Its pictures borrow the brightness and contrast of patches: they are no evidence."]
#     return "\n".join(lines)
# ```
# </details>

# %%
def model_card(facts):
    ...  # your code


# %%
check.model_card(model_card)

# %%
card = model_card(card_facts)
if card is None:  # until yours is there, the bare facts
    card = "\n".join(f"- {name}: {value}" for name, value in card_facts.items())
(keep / "README.md").write_text(card + "\n", "utf-8")
print(f"a card of {len(card_facts)} facts")

# %% [markdown]
# ### The picture
#
# The picture shows the first eight held-out images, not the best ones. If you pick the best ones, say so on the card.

# %%
figure = widgets.poster(model, held, recipe.norm_pix, title=card_facts["name"])
plots.save(figure, keep / "picture.png")
show(figure, "Eight held-out images in three rows: with three quarters of their patches hidden, "
             "filled in by the model that was trained in this notebook, and whole.")

# %%
for name in ("my_mae.py", "weights.safetensors", "README.md", "picture.png"):
    print(f"{name:20} {'there' if (keep / name).exists() else 'missing'}")

# %% [markdown]
# All four files are in `my_mae/capstone`. On Colab, unless you use your Drive, download them before the session ends:
# open the folder in the *Files* pane on the left.
#
# ## After a small MAE
#
# Your model is small and its training was short. He et al. trained for 800 to 1,600 epochs on 1.3 million photographs,
# and their largest model reached 87.8 % on ImageNet after fine-tuning. Such encoders can do more than classify. To
# detect or segment objects, you keep the tokens on their grid instead of taking their mean.
#
# If a project of yours needs features of photographs, start from a published encoder. [Notebook
# 09](09_reconstructions.ipynb) can load the official `vit_base`. Look up four things first: how its images were
# normalised; at which size it was trained; whether its feature is the mean of the patch tokens or the *class token*,
# an extra token that stands for the whole image; and its licence. Then fine-tune it. If the features have to stay
# frozen, encoders such as DINOv2 (see the table in notebook 08) usually give a higher accuracy.
#
# ## Going further: three projects
#
# Each project changes one thing in a model that works. Choose one, write down what you expect, and change nothing
# else. Train the changed model and the plain one with the same images, the same steps and at least three seeds each.
#
# ### Project 1 · Another mask  (an afternoon)
#
# Hide blocks instead of random patches, or hide the same places in all images of a batch, or hide the patches with
# the most contrast. You need no new model: `MAE` takes `noise`, and the patches with the smallest noise stay visible.
# So any rule that gives every patch a number defines a mask.
#
# <details><summary>Where to begin</summary>
#
# Copy `train_step` into a cell, and write `mine.total_loss` in it, because the cell does not know the names in your
# file. Pass your noise, a tensor (B, L), to the model, and assign the copy to `mine.train_step`. Count the hidden
# patches: there must be as many as before, or you compare two mask ratios and not two masks. Your rule may look at
# pixels that will be hidden, but say so in your report.
# </details>
# <details><summary>What a good answer shows</summary>
#
# - **Two measures, not one**: the reconstruction loss of both models under *both* masks, and the probe. A harder mask
#   gives a higher loss and can still give better features.
# - **Equal terms**: the same number of hidden patches, the same steps, the same seeds for data order and weights.
# - **A picture** of ten masks, so that readers see what your rule does.
# - **A link to others' results.** He et al. (2022), table 1f, find random masks best among those they tried. Later work
#   finds masks that help, for example [Li et al. (2022)](https://arxiv.org/abs/2206.10207). Does yours agree with
#   one of them, and is your experiment large enough to disagree?
# - **A verdict with an interval over seeds**, even if it is "inconclusive".
# </details>
#
# ### Project 2 · Another loss  (an afternoon)
#
# Replace or extend the squared error. You could use absolute errors, predict a blurred image or the *Fourier magnitudes* of
# each patch, or add the error on the visible patches, with a small weight.
#
# <details><summary>Where to begin</summary>
#
# Write the new loss with the signature of `mae_loss` and assign it to `mine.mae_loss`, where `total_loss` looks it up.
# Overfit one batch first, as in notebook 04. Work out the loss of one patch by hand, and check that your code gives the
# same value.
# </details>
# <details><summary>What a good answer shows</summary>
#
# - **A test of the loss itself** before any training: its value for a perfect prediction, for the mean, and for a shifted
#   image, and where its gradient is zero.
# - **A measure that is not the loss.** Every model is best at what it was trained for. Compare the models by the
#   probe, and by an image measure that neither was trained on.
# - **The scale.** If you add a loss with other units, its weight decides how much the model follows it. Try at least
#   three weights, with the same compute for the plain model.
# - **An explanation that could fail**: "it should help most where …, and there we see …".
# - **Its price:** milliseconds per step for both losses.
# </details>
#
# ### Project 3 · Another modality  (a weekend)
#
# Nothing in an MAE needs photographs. You could use spectrograms of sound (time on one axis, pitch on the other),
# satellite images with more than three channels, or video clips, with patches in time as well. You could also cut a table
# of measurements over time into pieces of a few steps each.
#
# <details><summary>Where to begin</summary>
#
# The shortest way is a spectrogram with one channel, repeated three times.
# `torch.stft(…, return_complex=True).abs().log1p()` makes one from a recording. For another number of channels, in a
# copy of the file, change the convolution, the last linear layer and, if your `unpatchify` contains a 3, that number. Keep
# the sizes of `tiny`.
# </details>
# <details><summary>What a good answer shows</summary>
#
# - **What redundancy there is.** How well does a simple fill do, such as the mean of the visible patches or the nearest
#   one? This helps you to choose a mask ratio. Video MAEs hide 90 % ([Feichtenhofer et al.,
#   2022](https://arxiv.org/abs/2205.09113)).
# - **What a patch is**, and why it has this shape. Is a shift along each axis harmless, as it is for images? For pitch it
#   is not.
# - **Which augmentation is allowed.** A mirrored spectrogram is sound played backwards.
# - **A baseline from the field**, such as the mean energy in each frequency band, next to random weights and chance.
# - **Splits that cannot leak**: recordings of one speaker, or neighbouring tiles of one satellite image, belong on the
#   same side of the split.
# - **Honest limits** on the card. [Huang et al. (2022)](https://arxiv.org/abs/2207.06405) show what a large audio MAE
#   can achieve.
# </details>
#
# ## Quiz
#
# **1. Your MAE was trained on 60 photographs of your cat. Its loss is 0.2 on these photographs, and 0.9 on held-out
# ones. What do you do first?**
#
# <details><summary>Train longer, because 0.2 is not yet 0</summary>
#
# ✗ The gap shows that the model has memorised its 60 photographs. More epochs make the gap wider.
# </details>
# <details><summary>Start from the shipped weights, and stop early</summary>
#
# ✓ The shipped weights were trained on 100,000 photographs. Sixty are too few to learn from scratch what images look like.
# </details>
# <details><summary>Raise the mask ratio to 0.95</summary>
#
# ✗ A harder task does not add images, and the data are still too few.
# </details>
#
# **2. Your file loads the shipped weights without an error. What have you shown?**
#
# <details><summary>That it computes the same as the package</summary>
#
# ✗ Only names and shapes were compared. A forgotten residual connection has no weights, so nothing would tell you.
# </details>
# <details><summary>That its names and shapes fit</summary>
#
# ✓ That is all. To show that the computation is the same, compare the losses for the same images and masks.
# </details>
# <details><summary>That it was trained correctly</summary>
#
# ✗ The weights come from someone else's training. Your training code has not run yet.
# </details>
#
# **3. You trained six recipes and report the one with the best test accuracy, 43.1 %. What is wrong?**
#
# <details><summary>Nothing, if the interval is printed as well</summary>
#
# ✗ The interval holds for one model that was chosen before the test. The best of six is partly the luckiest of six.
# </details>
# <details><summary>The test images helped to choose, so 43.1 % is too optimistic</summary>
#
# ✓ Choose by cross-validation on training images, and use the test images once, for the chosen recipe.
# </details>
# <details><summary>Six recipes are too few</summary>
#
# ✗ With more recipes the problem grows, because the luckiest of sixty is luckier still.
# </details>
#
# ## Key takeaways
#
# - A whole MAE is one file of a few hundred lines. It needs PyTorch and nothing else.
# - Loading weights shows only that names and shapes fit. Reproducing a known loss is strong evidence that the model
#   computes the right thing.
# - Look for leaks before you train, and choose everything before you look at test images.
# - Report an accuracy together with its interval, the number of runs, and the accuracies of random weights and of chance.
# - Publish weights together with a card: what they were trained on, how well they do, and what their limits are.

# %%
course.status()

# %% [markdown]
# You have reached the end of the course. The [glossary](GLOSSARY.md) explains the main terms of all notebooks. If you build
# something with your MAE, show it to somebody.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision
#   learners.*](https://arxiv.org/abs/2111.06377) CVPR. Read it once more: you now know every part.
# - Mitchell et al. (2019). [*Model cards for model reporting.*](https://arxiv.org/abs/1810.03993) FAT\*. What belongs
#   on a card, and why.
# - Li et al. (2022). [*SemMAE: semantic-guided masking for learning masked
#   autoencoders.*](https://arxiv.org/abs/2206.10207) NeurIPS. For project 1.
# - Wei et al. (2022). [*Masked feature prediction for self-supervised visual
#   pre-training.*](https://arxiv.org/abs/2112.09133) CVPR. Predicts features instead of pixels, for project 2.
# - Huang et al. (2022). [*Masked autoencoders that listen.*](https://arxiv.org/abs/2207.06405) NeurIPS. Sound, for
#   project 3.
# - Feichtenhofer, Fan, Li & He (2022). [*Masked autoencoders as spatiotemporal
#   learners.*](https://arxiv.org/abs/2205.09113) NeurIPS. Video, for project 3.
# - Karpathy (2019). [*A recipe for training neural networks.*](https://karpathy.github.io/2019/04/25/recipe/) How to
#   proceed in small steps that can be checked.
