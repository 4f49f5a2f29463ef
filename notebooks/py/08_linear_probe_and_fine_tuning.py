# %% [markdown]
# # 8 · Linear probe and fine-tuning: what are the features worth?
#
# Pretraining ends with a decoder that fills in hidden patches, but the decoder is thrown away. What we keep is the encoder, and the
# question is how well its features tell what an image shows. That is easy to measure and easy to measure wrongly: without a baseline, with a
# peek at the test set, or with a difference that is only noise. In this notebook you write the whole evaluation yourself and use it on your own encoder.
#
# **You will be able to**
#
# - turn an encoder into features, and judge them by nearest neighbours, by a linear probe and by fine-tuning;
# - say why cosine neighbours fail for features in a narrow cone, and repair them;
# - choose a weight decay without the test set, and say what choosing on few images costs;
# - put baselines first, among them an encoder that has never been trained;
# - put a confidence interval on a difference, over test images and over seeds.
#
# **Before you start:** notebook [03](03_asymmetric_autoencoder.ipynb), for the encoder, and [07](07_pretraining.ipynb), which trains
# yours. **Time:** 60 minutes to read and run, and about 45 more for the exercises.

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
import json
import math
from dataclasses import replace

import torch
import torch.nn as nn
import torch.nn.functional as F

# %%
from mae_lib import evaluate, plots, results
from mae_lib.config import FineTuneConfig
from mae_lib.course.exercises import linear_probe_and_fine_tuning as check
from mae_lib.course.reference import from_official
from mae_lib.course.session import show
from mae_lib.course.widgets import linear_probe_and_fine_tuning as widgets
from mae_lib.course.widgets import scene_neighbours
from mae_lib.data.augment import random_resized_crop, resize
from mae_lib.data.sources import load_data
from mae_lib.evidence.claims import REPORTED
from mae_lib.model import MaskedAutoencoder
from mae_lib.plots import COLOURS, GREY, new_figure
from mae_lib.results import Accuracy
from mae_lib.training import optim
from mae_lib.training.checkpoints import ASSETS, load_shipped

show(*widgets.title())

# %% [markdown]
# These are the ten classes of our generated scenes. A class is a pattern on a shape, and every pattern and every shape belongs to
# two classes. Colours, sizes and backgrounds are random, so no single pixel gives a class away. An encoder whose features separate these
# classes well must have picked up outlines and patterns.

# %%
MAE, schedule_learning_rate = course.use("MAE", "schedule_learning_rate")

# %% [markdown]
# ## Images, labels and two encoders
#
# We work with small sets of scenes, so that every step runs on a laptop. The encoders see them at 48×48 pixels. Later results on photographs
# come from **records**, which say for every test photograph whether a method was right.

# %%
count = session.choose(smoke=400, quick=2000, full=5000)
data = load_data("scenes", counts=(1, count, count), progress=False)
labels, test_labels, classes = data.train_labels, data.test_labels, len(data.classes)
images, test_images = (resize(part, 48).to(session.device) for part in (data.train, data.test))
print(f"{len(images)} training and {len(test_images)} test scenes, {classes} classes")

# %% [markdown]
# Two encoders are enough to begin with. `original` is the encoder that comes with the package, a plain MAE trained on photographs. `untrained` has
# the same sizes and random weights. `at_size` adapts the position embeddings from 64 to 48 pixels, and then the weights go into your `MAE`.

# %%
sizes, _ = course.shipped_weights("original")
sizes["img_size"] = 48


def encoder_of(model):
    mae = MAE(**sizes)
    mae.load_state_dict(from_official(model.state_dict()))
    return mae.encoder.to(session.device)


# %%
trained = load_shipped("original")[0].at_size(48)
torch.manual_seed(0)
untrained = MaskedAutoencoder(**trained.config)
encoders = {"untrained": encoder_of(untrained), "original": encoder_of(trained)}
print(f"{trained.num_patches} patches of {trained.patch_size}×{trained.patch_size} pixels")

# %% [markdown]
# ## From tokens to a feature
#
# An encoder returns one token for every patch. A classifier needs one vector for the whole image, so we take the **mean** of the tokens. Here is the slow form for one scene.

# %%
with torch.no_grad():
    tokens, _, _ = encoders["original"](images[:1], mask_ratio=0.0)  # (1, L, D)
slow = torch.zeros_like(tokens[0, 0])  # (D,)
for token in tokens[0]:
    slow += token / len(tokens[0])
torch.testing.assert_close(slow, tokens.mean(dim=1)[0])
print(f"{tokens.shape[1]} tokens → {len(slow)} features")

# %% [markdown]
# In training, three quarters of the patches were hidden. A common mistake is to leave the mask on while extracting features. **Predict:** how
# similar are two features of the *same* scene under two random masks, compared with features of different scenes?

# %%
with torch.no_grad():
    one, two = (encoders["original"](images[:16], 0.75, noise.to(session.device))[0].mean(dim=1)
                for noise in torch.rand(2, 16, 36, generator=torch.Generator().manual_seed(0)))
same = F.cosine_similarity(one, two).mean().item()
other = F.cosine_similarity(one, two.roll(1, dims=0)).mean().item()
print(f"cosine, same scene under two masks: {same:.2f}; different scenes: {other:.2f}")


# %% [markdown]
# The same scene has a cosine of 0.98 under two masks, and different scenes have 0.92. So masking adds noise of its own to every feature. We
# show the whole image instead. The cosine of different scenes is surprisingly high, and we will come back to it.
#
# ### ✏️ Exercise 1 · Features  (★☆☆ · 6 minutes)
#
# Write `extract_features(encoder, images, batch_size)`: the mean token of every image (N, 3, H, W) with nothing hidden, as one tensor (N, D). Send the images
# through in batches, put the encoder into evaluation mode, and keep no gradients.
#
# <details><summary>Hint 1</summary>
#
# `images.split(batch_size)` gives the batches, and `torch.cat` joins the results.
# </details>
# <details><summary>Hint 2</summary>
#
# The encoder returns `latent, mask, ids_restore`. Call it with `mask_ratio=0.0`, under `torch.no_grad()`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# @torch.no_grad()
# def extract_features(encoder, images, batch_size=64):
#     encoder.eval()
#     features = []
#     for batch in images.split(batch_size):
#         tokens, _, _ = encoder(batch, mask_ratio=0.0)  # (B, L, D)
#         features.append(tokens.mean(dim=1))
#     return torch.cat(features)
# ```
# </details>

# %%
def extract_features(encoder, images, batch_size=64):
    ...  # your code


# %%
check.extract_features(extract_features)

# %%
extract_features = course.use("extract_features")

# %%
few = extract_features(encoders["original"], images[:8]).cpu()
package = evaluate.extract_features(trained, data.train[:8])
torch.testing.assert_close(few, package, rtol=1e-3, atol=1e-3)

# %% [markdown]
# Now for your own encoder. If you trained one in notebook 07, it is loaded here. Otherwise the `improved` encoder of the package takes its place.

# %%
own_images, own_test_images = images, test_images
kept = course.kept_model("scenes")
if kept:
    own_sizes, own_weights = kept
    own, mae = "yours", MAE(**own_sizes)
    mae.load_state_dict(own_weights)
    encoders[own] = mae.encoder.to(session.device)
    own_images, own_test_images = (resize(part, own_sizes["img_size"]).to(session.device)
                                   for part in (data.train, data.test))
else:
    own = "improved"
    encoders[own] = encoder_of(load_shipped(own)[0].at_size(48))
print(f"The third encoder is `{own}`.")

# %% [markdown]
# We also need a baseline that has no encoder at all: the **raw pixels** of the image, shrunk to 8×8.

# %%
features = {"raw pixels": [evaluate.pixel_features(part, 8) for part in (data.train, data.test)]}
for name, encoder in encoders.items():
    parts = (own_images, own_test_images) if name == own else (images, test_images)
    features[name] = [extract_features(encoder, part).cpu() for part in parts]
for name, (train, test) in features.items():
    print(f"{name:10} train {tuple(train.shape)}, test {tuple(test.shape)}")

# %% [markdown]
# ## Ask the neighbours
#
# The simplest judge trains nothing. For a test image, find the $k$ training images with the largest **cosine similarity** and let them vote for
# their class. Near neighbours count more, with weight $e^{\cos/0.07}$ ([Wu et al. 2018](https://arxiv.org/abs/1805.01978)). This is called **kNN**. Here is one test scene, step by step.

# %%
train, test = features["original"]  # (N, D), (M, D)
cosine = [float(test[0] @ row / (test[0].norm() * row.norm())) for row in train]
nearest = sorted(range(len(train)), key=lambda i: -cosine[i])[:5]
votes = {}
for i in nearest:
    voter = data.classes[labels[i]]
    votes[voter] = votes.get(voter, 0) + math.exp(cosine[i] / 0.07)
    print(f"cosine {cosine[i]:.2f}: {voter}")
print(f"the vote: {max(votes, key=votes.get)}; the truth: {data.classes[test_labels[0]]}")


# %% [markdown]
# ### ✏️ Exercise 2 · All votes at once  (★★☆ · 8 minutes)
#
# Write `knn_predict(train, labels, test, k, classes)` for features `train` (N, D) with `labels` (N,) and `test` (M, D). Return the
# predicted labels, (M,).
#
# <details><summary>Hint 1</summary>
#
# With rows of length 1, `test @ train.T` is the table of cosines, (M, N). `topk(k)` gives the largest of each row and
# their places, both (M, k).
# </details>
# <details><summary>Hint 2</summary>
#
# `labels[places]` are the voters' classes. Either multiply the weights by `F.one_hot(…, classes)` and sum over the neighbours, or use `scatter_add` on a table of zeros (M, classes).
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def knn_predict(train, labels, test, k, classes):
#     similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T  # (M, N)
#     nearest, ids = similarity.topk(k, dim=1)
#     votes = (nearest / 0.07).exp()[:, :, None] * F.one_hot(labels[ids], classes)  # (M, k, C)
#     return votes.sum(dim=1).argmax(dim=1)
# ```
# </details>

# %%
def knn_predict(train, labels, test, k, classes):
    ...  # your code


# %%
check.knn_predict(knn_predict)

# %%
knn_predict = course.use("knn_predict")


# %%
def percent(predicted):
    return 100 * (predicted == test_labels).double().mean().item()


predicted = knn_predict(train, labels, test, 5, classes)
assert torch.equal(predicted, evaluate.knn_predict(train, labels, test, 5, classes))
assert data.classes[predicted[0]] == max(votes, key=votes.get)

# %%
knn_guess = course.predict("Chance is 10 %. How many % does kNN reach with the original encoder?")

# %%
print("k =           10     20     50")
for name, (train, test) in features.items():
    row = [percent(knn_predict(train, labels, test, k, classes)) for k in (10, 20, 50)]
    print(f"{name:10}" + "".join(f"{value:5.0f} %" for value in row))
    if name == "original":
        result = f"{row[0]:.0f} % with 10 neighbours, {row[2]:.0f} % with 50"
knn_guess.reveal(result)


# %% [markdown]
# The original encoder reaches 52 % with 10 neighbours and only 44 % with 50. Raw pixels (16 % with 10 neighbours) and the untrained encoder (12 %) are
# close to chance. In the example above, five scenes of four classes all have a cosine of 0.99. Why do more votes make `original` worse? The weights should make distant neighbours count little, so 40 more of them should do no harm.
#
# ## A narrow cone
#
# We look at the cosines themselves. How similar are *any* two scenes, and how much more does the first neighbour count than the 20th?

# %%
def cone(train, test):
    cosine = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T  # (M, N)
    votes = (cosine.topk(20).values / 0.07).exp()  # (M, 20)
    return cosine.mean().item(), (votes[:, 0] / votes[:, -1]).median().item()


for name, parts in features.items():
    print(f"{name:10} mean cosine {{:5.2f}}, first vote / 20th vote {{:5.2f}}".format(*cone(*parts)))


# %% [markdown]
# For the original encoder, any two scenes have a mean cosine of 0.94. All of its features point in nearly the same direction: they lie in
# a **narrow cone**. Its first neighbour counts only 1.13 times as much as the 20th, so the vote is nearly a plain count. The features
# share a large common part, which says nothing about a single image.
#
# The cure is to subtract the mean of the training features from both sets. This is called **centring**.

# %%
def centre(train, test):
    mean = train.mean(dim=0)  # (D,), of the training images only
    return train - mean, test - mean


cosine, ratio = cone(*centre(*features["original"]))
print(f"original, centred: mean cosine {abs(cosine):.2f}, first vote / 20th vote {ratio:.1f}")


# %% [markdown]
# After centring, the mean cosine is about 0 and the first neighbour counts 8.3 times as much as the 20th.
#
# One problem remains. A few directions vary a lot and dominate the cosine, although directions with little variance may matter just as much for the
# class. **Whitening** rotates the features onto their principal directions and divides each by its standard deviation.

# %%
def whiten(train, test):
    train, test = centre(train, test)
    _, singular, directions = torch.linalg.svd(train, full_matrices=False)  # (D,), (D, D)
    scale = singular.clamp(min=1e-3 * singular[0].item()) / (len(train) - 1) ** 0.5
    return train @ directions.T / scale, test @ directions.T / scale


for own_form, package_form in ((centre, evaluate.centred), (whiten, evaluate.whitened)):
    torch.testing.assert_close(own_form(*features["original"]), package_form(*features["original"]))

# %% [markdown]
# The floor for the scale keeps directions that hardly vary from being blown up into noise. **Predict:** which features gain most from whitening?

# %%
print("k = 50       plain   centred   whitened")
for name, parts in features.items():
    row = [percent(knn_predict(train, labels, test, 50, classes))
           for train, test in (parts, centre(*parts), whiten(*parts))]
    print(f"{name:10} {row[0]:5.0f} % {row[1]:7.0f} % {row[2]:8.0f} %")

# %% [markdown]
# With 50 neighbours, centring raises the original encoder from 44 % to 54 %, and whitening to 59 %. The untrained encoder rises
# from 14 % to 32 %. The encoders did not change. We only changed how we measure similarity. A paper that compares
# two encoders by plain kNN may be comparing the shapes of their cones. For example, a uniformity loss (notebook 06) spreads features out, which can raise plain
# kNN although the features carry no more information. So report whitened kNN as well.
#
# ## Look at the neighbours
#
# Numbers hide what the neighbours look like. In the explorer, a blue frame marks a neighbour of the right class. **Predict first:** what will the nearest scenes
# have in common with the query by raw pixels, by the untrained encoder and by the trained one: colour, shape or pattern?

# %%
explorer = widgets.neighbours_explorer()
explorer

# %%
print("10 nearest by       difference of colours   same shape   same pattern   same class")
for kind in (*scene_neighbours.FEATURES, "any scene"):
    colour, *shares = scene_neighbours.agreement(kind, 10)
    print(f"{kind:18} {colour:22.2f}" + "".join(f"{share:12.0%}" for share in shares))


# %% [markdown]
# The untrained encoder finds scenes of nearly the same colours: the mean colours of its neighbours differ by 0.09, compared with 0.39 for any two scenes. It finds the right pattern in 23 % of the cases and the right shape in 24 %, hardly more than the 20 % of a
# random choice. The original encoder cares less about colours (0.28). It finds the right pattern in 48 % of the cases, and the right class in 22 %, compared with 12 % for the other two. (Only twenty scenes are asked here, so small differences mean nothing.)
#
# ## A linear probe
#
# Neighbours treat all directions alike. A **linear probe** learns which directions matter: it is one linear layer on top of the frozen encoder,
#
# $$\text{logits} = f W + b, \qquad \text{trained by cross-entropy}.$$
#
# The encoder does not change, so we compute the features once. What is left is logistic regression on a table of numbers. He et al. (2022) put
# a BatchNorm in front of it. Why? To find out, we multiply all features by 0.1 or by 10, which adds no information and removes none. Then we take 100 steps of plain gradient descent at a rate of 0.1. **Predict:** does the factor matter?

# %%
def descend(x, rate, steps, decay=0.0):
    """The loss at every step of gradient descent on a probe for features x (N, D)."""
    weight, losses = torch.zeros(x.shape[1], classes, requires_grad=True), []
    for _ in range(steps):
        loss = F.cross_entropy(x @ weight, labels) + decay / 2 * weight.square().sum()
        gradient, = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= rate * gradient
        losses.append(loss.item())
    return losses


# %%
train, test = features["original"]
mean, std = train.mean(dim=0), train.std(dim=0)  # (D,) each
for factor in (0.1, 1, 10):
    last = descend(factor * train, 0.1, 100)[-1]
    print(f"features × {factor:4}: loss {f'{last:.1f}' if last < 10 else 'diverges':>8}")
print(f"standardised:    loss {descend((train - mean) / std, 0.1, 100)[-1]:8.1f}")


# %% [markdown]
# The factor decides the result. The loss ends at 2.3 (which is $\log 10$: nothing was learned), at 1.9, or it diverges. With every feature at mean 0 and standard deviation 1, it ends at 0.4. So without a fixed
# scale, we would be comparing the scales of two encoders and not their features.
#
# ### ✏️ Exercise 3 · One scale for all  (★☆☆ · 4 minutes)
#
# Write `standardise(train, test)`: from both, subtract the mean of the **training** features and divide by their standard deviation, column by
# column. A column may be the same for all images.
#
# <details><summary>Hint 1</summary>
#
# `train.mean(dim=0)` and `train.std(dim=0)` have shape (D,), one number for each feature.
# </details>
# <details><summary>Hint 2</summary>
#
# A standard deviation of 0 must not divide: `.clamp(min=1e-6)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def standardise(train, test):
#     mean = train.mean(dim=0)
#     std = train.std(dim=0).clamp(min=1e-6)
#     return (train - mean) / std, (test - mean) / std
# ```
# </details>

# %%
def standardise(train, test):
    ...  # your code


# %%
check.standardise(standardise)

# %% [markdown]
# In evaluation mode, a BatchNorm that has seen all training features as one batch does exactly this.

# %%
train, test = features["original"]
norm = nn.BatchNorm1d(train.shape[1], affine=False, eps=1e-12, momentum=None)
norm(train)  # in training mode: it collects mean and variance
norm.eval()
x, x_test = (train - mean) / std, (test - mean) / std  # (N, D), (M, D)
torch.testing.assert_close(norm(test), x_test, rtol=1e-3, atol=1e-3)


# %% [markdown]
# ### The best probe there is
#
# Gradient descent needs a learning rate and a number of steps, and both change the score. But the loss of a probe with a **weight decay** $\lambda$,
#
# $$\text{mean cross-entropy} + \frac{\lambda}{2} \lVert W \rVert^2,$$
#
# has a single lowest value. **L-BFGS** finds it without a learning rate: it estimates the curvature from the last few gradients and searches along each step. In PyTorch it
# calls a function `closure()` that computes the loss and its gradient, as often as it needs.
#
# ### ✏️ Exercise 4 · A linear probe  (★★★ · 12 minutes)
#
# Write `fit_probe(x, labels, classes, decay)`: the `weight` (D, classes) and `bias` (classes,) that minimise the loss above for features `x` (N, D). The bias does not decay.
#
# <details><summary>Hint 1</summary>
#
# `torch.optim.LBFGS(parameters, max_iter=500, line_search_fn="strong_wolfe")`, and one call of `optimizer.step(closure)`.
# </details>
# <details><summary>Hint 2</summary>
#
# `closure` sets the gradient to zero, computes the loss, calls `backward()` and returns the loss. Return detached tensors at the end.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def fit_probe(x, labels, classes, decay):
#     probe = nn.Linear(x.shape[1], classes)
#     nn.init.zeros_(probe.weight)
#     optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=500, line_search_fn="strong_wolfe")
#
#     def closure():
#         optimizer.zero_grad()
#         penalty = decay / 2 * probe.weight.square().sum()
#         loss = F.cross_entropy(probe(x), labels) + penalty
#         loss.backward()
#         return loss
#
#     optimizer.step(closure)
#     return probe.weight.detach().T, probe.bias.detach()
# ```
# </details>

# %%
def fit_probe(x, labels, classes, decay):
    ...  # your code


# %%
check.fit_probe(fit_probe)

# %%
fit_probe = course.use("fit_probe")

# %% [markdown]
# How far is gradient descent from the lowest loss after 300 steps? We also compare with the package, whose `fit_logistic` does the same in fewer steps.

# %%
weight, bias = fit_probe(x, labels, classes, 0.1)
package = evaluate.fit_logistic(x, labels, classes, 0.1)  # (D + 1, classes), the bias last
torch.testing.assert_close(x @ weight, x @ package[:-1], rtol=0.01, atol=0.01)
lowest = F.cross_entropy(x @ weight + bias, labels) + 0.1 / 2 * weight.square().sum()
print(f"L-BFGS: {lowest.item():.2f}")
for rate in (0.001, 0.01, 0.1):
    print(f"gradient descent, rate {rate}: {descend(x, rate, 300, decay=0.1)[-1]:.2f}")
print(f"test accuracy of this probe: {percent((x_test @ weight + bias).argmax(dim=1)):.0f} %")

# %% [markdown]
# The lowest possible loss is 0.68. After 300 steps, gradient descent has reached 0.70 at a rate of 0.1, 0.77 at 0.01 and 1.35 at 0.001. From the curve alone we could not tell how far it still has to go.
# `fit_probe` needs neither a rate nor a number of steps. It is right on 77 % of the test scenes, far more than the neighbours were.
#
# ### A BatchNorm that goes on learning
#
# A BatchNorm hides a trap. If you forget `eval()`, test images are scaled by the statistics of *their own batch*. We use the same probe on the same images, first in batches of 8
# in random order, then in batches of one class each.

# %%
test = features["original"][1]


def in_batches(batches):
    own_scale = [nn.BatchNorm1d(test.shape[1], affine=False)(test[ids]) for ids in batches]
    found = (torch.cat(own_scale) @ weight + bias).argmax(dim=1)
    return 100 * (found == test_labels[torch.cat(batches)]).double().mean().item()


shuffled = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
by_class = [(test_labels == label).nonzero()[:, 0] for label in range(classes)]
print(f"evaluation mode:             {percent((x_test @ weight + bias).argmax(dim=1)):.0f} %")
print(f"training mode, batches of 8: {in_batches(list(shuffled.split(8))):.0f} %")
print(f"training mode, by class:     {in_batches(by_class):.0f} %")


# %% [markdown]
# In evaluation mode the probe is right on 77 % of the test scenes. Batches of 8 in training mode bring it down to 69 %, and batches of one class to 13 %, close to chance: what a class has in common is
# exactly what its batch subtracts. There is no error message, and the score of an image depends on the others in its batch.
#
# ## Choose the decay without the test set
#
# One setting is left to choose, the weight decay. If we choose it by test accuracy, the test set has taken part in training and no longer tells us
# about new images. So we use **cross-validation**: cut the training images into five folds, fit on four, judge the fifth, and repeat five
# times. Every training image is then judged once, by a probe that has not seen it.

# %%
def cross_validate(x, decay):
    """Which of the training images (N,) a probe gets right that was fitted to the other folds."""
    fold, right = evaluate.folds(labels), torch.zeros(len(x), dtype=torch.bool)
    for i in range(5):
        held = fold == i
        probe = evaluate.Probe(x[~held], labels[~held], classes, decay)  # standardises, then fits
        right[held] = probe.predict(x[held]) == labels[held]
    return right


# %%
decays = (1.0, 0.1, 0.01, 0.001)
right, tested = {}, {}
print("decay                      fitted   cross-validated   test")
for name in ("untrained", "original"):
    train, test = features[name]
    for decay in decays:
        probe = evaluate.Probe(train, labels, classes, decay)
        fitted = 100 * (probe.predict(train) == labels).double().mean().item()
        right[name, decay] = cross_validate(train, decay)
        tested[name, decay] = percent(probe.predict(test))
        print(f"{name:10} {decay:5} {fitted:14.0f} % "
              f"{100 * right[name, decay].double().mean().item():13.0f} % "
              f"{tested[name, decay]:8.0f} %")

# %% [markdown]
# On the images that were fitted, a weaker decay is always better, up to 100 %: the probe learns them by heart. On images that it has not seen, the original encoder is best with decays around 0.1 and 0.01,
# and the untrained encoder with 0.001. Cross-validation chooses 0.01 for the original (76 % on the test scenes; the best would have been 77 % with 0.1) and 0.001 for the untrained (32 %, the best).
#
# ### What choosing on few images costs
#
# Cross-validation is slower than holding out a fifth of the images once. Does it matter? We choose the decay on a random sample of the cross-validated
# images, 1,000 times, and look up the test accuracy that each choice leads to. (We look at the test set here to learn about the procedure. No decay is chosen by it.)

# %%
generator = torch.Generator().manual_seed(0)
print("images that choose     mean loss   largest loss, points")
for name in ("untrained", "original"):
    score, test_score = (torch.stack([torch.as_tensor(table[name, d]).double() for d in decays])
                         for table in (right, tested))  # (decays, N), (decays,)
    for size in (40, 80, 200, 400):
        ids = torch.randint(len(labels), (1000, size), generator=generator)
        chosen = score[:, ids].sum(dim=2).argmax(dim=0)  # (1000,)
        loss = test_score.max() - test_score[chosen]
        print(f"{name:10} {size:4} {loss.mean().item():19.1f} {loss.max().item():14.1f}")

# %% [markdown]
# For the untrained encoder, choosing on 40 images costs 1.5 points on average and up to 15.5 points. With all 400 images the mean loss is 0.0 points. For the original encoder, some 0.8 points remain even
# with all images, because two decays are nearly equal and 400 images cannot tell which is better. But the large losses, 6.2 points with 40 or 80 images, are gone. Cross-validation is worth
# its time because it uses every training image to choose.
#
# The same happens with photographs. In the first edition of this course, the decay was chosen on 500 held-out photographs. Five of 140 runs chose a decay of 0.01,
# and they ended 1.2 to 2.9 points below the other runs of their group. One encoder scores 59.6 % at a decay of 0.001 and 56.0 % at 0.01. That difference is as
# large as many reported gains, and it comes from choosing one number on too few images.

# %% [markdown]
# ### What a peek costs
#
# Whatever chooses must not report. To see why, we let a thousand classifiers *guess* on 500 images with ten classes, keep the best, and test it on 500 new images.

# %%
peek_guess = course.predict("1,000 classifiers guess: what % does the best of them score?")

# %%
generator = torch.Generator().manual_seed(0)


def scores_of_guessers(count):
    truth = torch.randint(10, (count,), generator=generator)
    guesses = torch.randint(10, (1000, count), generator=generator)
    return 100 * (guesses == truth).double().mean(dim=1)  # (1000,)


first, second = scores_of_guessers(500), scores_of_guessers(500)
best = first.argmax()
peek_guess.reveal(f"{first[best]:.1f} %, and {second[best]:.1f} % on new images")

# %% [markdown]
# The best guesser scores 14.0 %, four points above chance, and 9.6 % on new images. In the explorer, every setting is right on the same share of all images,
# and you see what the best of many scores. **Predict first:** by how many points is the best of eleven decays overestimated on 500 images?

# %%
peeking = widgets.peeking_explorer()
peeking

# %%
for settings, count in ((11, 500), (11, 8000), (5, 8000), (1000, 8000)):
    print(peeking.set(accuracy=40, settings=settings, test_images=count).frame.text)

# %% [markdown]
# The best of eleven is overestimated by 3.5 points on 500 images, and by 0.9 points on 8,000. This is the worst case, in which the settings differ by luck alone and are independent. The third line describes
# a common practice: reporting the best of five seeds adds 0.6 points that are not real.
#
# ## Baselines first
#
# We now have a complete judge: standardise, choose the decay by cross-validation, fit on all training images, and read the test set once. Before it judges a trained encoder, it
# judges the baselines.

# %%
untrained_guess = course.predict("Photographs of ten classes: what % does a probe on random weights get?")


# %%
def judge(train, test):
    decay, _ = evaluate.choose_decay(train, labels, decays=decays)
    return evaluate.linear_probe(train, labels, test, test_labels, decay=decay)


here = {name: judge(*parts) for name, parts in features.items()}
for name, found in here.items():
    low, high = found.interval()
    print(f"scenes       {name:12} {found.percent:5.0f} %   [{low:.0f}, {high:.0f}]   {found.chosen}")

# %%
stored = {name: widgets.recorded(name, "lp") for name in ("raw pixels", "random init", "original")}
for name, found in stored.items():
    low, high = found.interval()
    print(f"photographs  {name:12} {found.percent:5.1f} %   [{low:.1f}, {high:.1f}]")
untrained_guess.reveal(f"{stored['random init'].percent:.1f} %")

# %%
figure, axes = new_figure(1, 2, 10, 3)
sources = {"scenes": here, "photographs (records)": stored}
for axis, (title, found) in zip(axes[0], sources.items(), strict=True):
    for i, (name, probe) in enumerate(found.items()):
        value, (low, high) = probe.percent, probe.interval()
        is_trained = name in ("original", own)
        axis.bar(i, value, color=COLOURS[0] if is_trained else GREY, width=0.7)
        axis.errorbar(i, value, yerr=[[value - low], [high - value]], color="black", capsize=4)
    axis.axhline(10, color="black", linestyle=":")
    axis.set_xticks(range(len(found)), list(found))
    axis.set(title=title, ylabel="linear probe, %")
show(figure, "Bars with intervals for scenes and for photographs; a dotted line marks chance, 10 %. "
             "Random weights are far above chance on both, and trained encoders above them.")

# %% [markdown]
# On the photographs, an encoder with random weights reaches 40.5 %. Raw pixels reach 36.0 % and the trained encoder 53.2 %, so random weights cover 71 % of the distance from chance to the trained encoder.
# The untrained network has never seen a photograph. Its features are fixed random mixtures of pixels. They keep the colours, as you saw at the neighbours, and photographs of one class often share colours. On the scenes, where no colour gives a class away, it still gets 32 %, raw pixels 13 % and the original
# encoder 76 %. Saxe et al. (2011) found the same for convolutional networks: part of what is credited to learning belongs to the architecture. So measure random weights on *your* images, with *your* sizes.
#
# The brackets are 95 % **confidence intervals** by Wilson's formula ([1927](https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval)), which stays inside 0 to 100 %. With 8,000 test photographs they are about ± 1.1 points wide, and with a few hundred scenes about ± 4.
#
# The project report gives these numbers for STL-10, after ten epochs and one run for each method.

# %%
for name, found in REPORTED.items():
    print(f"{name:12} linear probe {found['lp']:.2f} %, fine-tuned {found['ft']:.2f} %")

# %% [markdown]
# The report has no baseline with random weights. Without one, we cannot say how much of its 40.27 % was learned. Our 40.5 % does not answer this either, because accuracies on different
# photographs cannot be compared. The baseline has to be measured on the same images.
#
# ### Different probes
#
# Even on the same images, two papers may use different probes. Which block do the features come from? Do mirror images train as well? We gave one
# encoder to several probes and scored them by cross-validation (`python -m benchmarks.probe_protocols`).

# %%
rows = json.loads((ASSETS / "probe_protocols.json").read_text("utf-8"))["rows"]
plain = Accuracy.from_entry(rows[0]["lp_cv"])
print(f"{plain.percent:.1f} %       {rows[0]['name']}: {rows[0]['features']} numbers")
for row in rows[1:]:
    mean, low, high = results.paired_difference(plain, Accuracy.from_entry(row["lp_cv"]))
    print(f"{mean:+5.1f} ± {(high - low) / 2:.1f}   {row['name']}: {row['features']} numbers")

# %% [markdown]
# The scores range from 54.3 % to 58.0 %, for the same encoder. Leaving out mirror images costs 1.7 points, and adding the standard deviation over the tokens gains 2.1. Features from two blocks earlier are 1.0 ± 0.9
# points better. So compare two encoders only with the same probe, and fix it before you look.
#
# ## Where the probe is wrong
#
# One accuracy hides which classes are confused. In a **confusion matrix**, the row is the true class, the column is the predicted one, and each cell counts test scenes.

# %%
train, test = features["original"]
predicted = evaluate.Probe(train, labels, classes, 0.01).predict(test)  # the decay chosen above
confusion = torch.zeros(classes, classes, dtype=torch.long)
for truth, guess in zip(test_labels, predicted, strict=True):
    confusion[truth, guess] += 1
show(*widgets.confusion(confusion, data.classes))

# %% [markdown]
# **Predict:** when the probe is wrong, does it get the shape right more often, or the pattern?

# %%
words = [name.split() for name in data.classes]  # (pattern, shape) of each class
wrong = [(words[t], words[p]) for t, p in zip(test_labels, predicted, strict=True) if t != p]
for i, part in enumerate(("pattern", "shape")):
    agree = sum(truth[i] == guess[i] for truth, guess in wrong)
    print(f"right {part} in {agree} of {len(wrong)} mistakes ({agree / len(wrong):.0%})")

# %% [markdown]
# Of 94 mistakes, 80 have the right pattern with a wrong shape, and none has the right shape with a wrong pattern. Guessing at random among the nine wrong classes would give 11 % for either. So the
# features hold the pattern well and the shape less well. The mean over all patches may be a reason: a pattern repeats in many patches, and an outline is spread over the whole image.
#
# ## With fewer labels
#
# Pretraining needs no labels, so its use should be greatest where labels are scarce. We repeat the probe with a part of the training labels. `with_labels` picks
# the same images every time, spread evenly over the classes.

# %%
lines = {}
for name in ("untrained", "original", own):
    train, test = features[name]
    points = []
    for few_labels in (50, 100, 200):
        part = evaluate.with_labels(replace(data, train=train), few_labels)
        decay, _ = evaluate.choose_decay(part.train, part.train_labels, decays=decays)
        probe = evaluate.Probe(part.train, part.train_labels, classes, decay)
        points.append((few_labels, percent(probe.predict(test))))
    points.append((len(labels), here[name].percent))
    lines[f"{name}, linear probe"] = points
    print(f"{name:10}" + "".join(f"{value:5.0f} % with {n:<4}" for n, value in points))
show(plots.label_efficiency(lines, "scenes"),
     "Test accuracy against the number of labels. Trained encoders are far above the untrained one "
     "with any number of labels.")

# %% [markdown]
# With 50 labels, five per class, the probe on the original encoder gets 53 %. The untrained encoder gets 17 % with 50 labels and 32 % with all 400. So an eighth of
# the labels with a pretrained encoder is worth more than all of them without pretraining.
#
# ## How sure is a difference?
#
# Which probe is better, the one on `original` or the one on `improved`? Both were tested on the same 8,000 photographs, so we know for each photograph who was right.

# %%
a, b = (widgets.recorded(name, "lp").correct for name in ("original", "improved"))  # (N,) bool
print(f"both right {int((a & b).sum())}, neither {int((~a & ~b).sum())}")
print(f"only the original {int((a & ~b).sum())}, only the improved {int((~a & b).sum())}")
show(*widgets.disagreement())


# %% [markdown]
# On 6,278 photographs the two probes agree, and these tell us nothing about which one is better. Hard photographs are hard for both. If we subtract image by image, $d_i = b_i - a_i$ is
# $-1$, $0$ or $1$, and what both have in common cancels:
#
# $$\bar d \pm 1.96 \, \frac{\operatorname{std}(d)}{\sqrt n}
# \qquad \text{instead of} \qquad
# \bar d \pm 1.96 \sqrt{\frac{p_a(1-p_a)}{n} + \frac{p_b(1-p_b)}{n}} .$$
#
# The first is a **paired** interval. The second is unpaired and would be right for two different test sets.
#
# ### ✏️ Exercise 5 · The same images  (★★☆ · 5 minutes)
#
# Write `paired_interval(a, b)` for two boolean tensors (N,): by how many **points** `b` is better than `a`, and the low and the high end of the 95 % interval.
#
# <details><summary>Hint 1</summary>
#
# Boolean tensors cannot be subtracted; `.double()` makes them 0 and 1.
# </details>
# <details><summary>Hint 2</summary>
#
# A point is a hundredth, so multiply the differences by 100. Then take the mean, `.std()`, and √n.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def paired_interval(a, b):
#     difference = 100 * (b.double() - a.double())  # (N,)
#     mean = difference.mean()
#     half = 1.96 * difference.std() / len(difference) ** 0.5
#     return mean, mean - half, mean + half
# ```
# </details>

# %%
def paired_interval(a, b):
    ...  # your code


# %%
check.paired_interval(paired_interval)

# %%
print("improved − original, points   unpaired                     paired")
for measure, title in (("lp", "linear probe"), ("knn", "neighbours"), ("ft", "fine-tuned")):
    a, b = (widgets.recorded(name, measure) for name in ("original", "improved"))
    mean, low, high = results.paired_difference(a, b)
    p, q, n = a.percent / 100, b.percent / 100, len(a.correct)
    unpaired = 196 * math.sqrt((p * (1 - p) + q * (1 - q)) / n)
    row = f"{title:12} {mean:+14.1f}  "
    for half in (unpaired, (high - low) / 2):
        row += f"   ± {half:.1f}: {widgets.verdict(mean, half, 'original', 'improved'):19}"
    print(row.rstrip())

# %% [markdown]
# For the linear probe, `original` is 1.9 ± 1.0 points better. For neighbours, `improved` is 1.4 ± 1.2 points better, and only the paired interval can tell. The fine-tuned models are not
# distinguishable. "Cannot tell" does not mean "equal": the true difference may be anywhere in the interval.
#
# **Predict first:** how many test images would it take to distinguish 0.3 points?

# %%
intervals = widgets.interval_explorer()
intervals

# %%
for difference in (0.3, 1.0, 2.0):
    print(intervals.set(accuracy=50, difference=difference, differ=22, test_images=8000).frame.text)

# %% [markdown]
# A difference of 0.3 points needs about 94,000 test images, and 1.0 point about 8,400. At that size, a true difference is detected only every other time. For four times in five, take twice as many.
#
# ## How sure is a training?
#
# The intervals so far describe *these weights* on other photographs. Another seed would have given other weights. If the claim is about a **method**, the
# trainings are the sample, and there are only as many as there are seeds. For so few, 1.96 is too small. **Student's t** distribution gives the right factor:
# 12.71 for two seeds, 4.30 for three and 2.26 for ten.
#
# Pairs help here too, *if* a seed moves both methods alike. In the explorer the scores are made up: `shared` is how much a seed moves both methods, and `own` how much it moves each by itself. **Predict
# first:** when is the paired interval narrower, and can it be wider?

# %%
seeds_explorer = widgets.seeds_explorer()
seeds_explorer

# %%
for shared, own_part in ((1.5, 0.2), (0.0, 0.5)):
    print(seeds_explorer.set(shared=shared, own=own_part, difference=1.0, seeds=3).frame.text)

# %% [markdown]
# If the seeds are shared, the paired interval is ± 0.5 points and the unpaired one ± 2.9. If nothing is shared, the paired one is wider, ± 1.3 instead of ± 0.6. Decide before
# you look. Here are the records again, this time with seeds as the sample.

# %%
records = widgets.records()
groups = results.grouped(records)
seeds = sorted({r["seed"] for r in groups["original"]} & {r["seed"] for r in groups["improved"]})
print("seeds:", *seeds)
for measure, title in (("lp", "linear probe"), ("knn", "neighbours"), ("ft", "fine-tuned")):
    mean, low, high = results.difference(groups["original"], groups["improved"], measure)
    words = widgets.verdict(mean, (high - low) / 2, "original", "improved")
    print(f"{title:12} improved − original: {mean:+.1f} ± {(high - low) / 2:.1f} points, {words}")

# %% [markdown]
# With three seeds, none of the three differences is distinguishable from zero. The verdict about the weights of one seed, 1.9 ± 1.0 points, was right about those weights. It does
# not carry over to the methods. (Notebook 10 has more seeds.)
#
# ## Fine-tuning
#
# A probe leaves the encoder as it is. **Fine-tuning** trains the encoder further on the labels, together with a new head. A few hundred labels must not wreck what
# pretraining has built, so the recipe of He et al. (2022, table 9) treats layers differently. The head learns at the full rate, and every layer below at 0.75 times the rate of the layer above.
# This is called **layer-wise learning-rate decay**. The package's `parameter_groups` gives each group of weights its factor, `lr_scale`.

# %%
for group in optim.parameter_groups(encoder_of(trained), 0.05, layer_decay=0.75):
    if group["weight_decay"]:
        print(f"factor {group['lr_scale']:.2f}, matrices: {len(group['params'])}")


# %% [markdown]
# The patch embedding learns at 0.08 of the full rate, and the last of the eight blocks at 0.75. (The biases and norms of each layer have a group of their own, without weight decay.)
#
# ### ✏️ Exercise 6 · Fine-tune  (★★★ · 12 minutes)
#
# Write `fine_tune(encoder, head, optimizer, batch_at, iters, cfg)`. It takes `cfg.epochs * iters` steps. `batch_at(step)` gives images and labels. The rate of every step is
# `schedule_learning_rate(epoch, i, iters, cfg)` times the group's `lr_scale`, or times 1 where a group has none. The loss is the cross-entropy of the head's logits, with
# `label_smoothing=cfg.label_smoothing`. Nothing is hidden. Return the losses, detached, as one tensor.
#
# <details><summary>Hint 1</summary>
#
# It is the loop of notebook 07 with labels. `group.get("lr_scale", 1.0)` reads the factor.
# </details>
# <details><summary>Hint 2</summary>
#
# The head takes the mean token of `encoder(images, mask_ratio=0.0)`. Put the encoder into training mode first.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def fine_tune(encoder, head, optimizer, batch_at, iters, cfg):
#     encoder.train()
#     losses = []
#     for step in range(cfg.epochs * iters):
#         lr = schedule_learning_rate(step // iters, step % iters, iters, cfg)
#         for group in optimizer.param_groups:
#             group["lr"] = lr * group.get("lr_scale", 1.0)
#         images, labels = batch_at(step)
#         tokens, _, _ = encoder(images, mask_ratio=0.0)
#         logits = head(tokens.mean(dim=1))
#         loss = F.cross_entropy(logits, labels, label_smoothing=cfg.label_smoothing)
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
#         losses.append(loss.detach())
#     return torch.stack(losses)
# ```
# </details>

# %%
def fine_tune(encoder, head, optimizer, batch_at, iters, cfg):
    ...  # your code


# %%
check.fine_tune(fine_tune)

# %%
fine_tune = course.use("fine_tune")


# %% [markdown]
# ### Start at the probe
#
# The probe is a linear map of standardised features. If we fold the standardising into the weights, it is a head:
#
# $$\frac{f - \mu}{\sigma} W + b = f \, \frac{W}{\sigma} + \Big(b - \frac{\mu}{\sigma} W\Big).$$
#
# So fine-tuning can start exactly at the probe ([Kumar et al. 2022](https://arxiv.org/abs/2202.10054)). If it ends below the probe, the training is to blame, not the features.

# %%
def start(name):
    """A copy of an encoder to train, and a head that predicts what a probe of it predicts."""
    train, _ = features[name]
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    weight, bias = fit_probe((train - mean) / std, labels, classes, 0.1)
    head = nn.Linear(len(mean), classes)
    with torch.no_grad():
        head.weight.copy_((weight / std[:, None]).T)
        head.bias.copy_(bias - mean / std @ weight)
    return copy.deepcopy(encoders[name]), head.to(session.device)


# %%
def accuracy(encoder, head, part, truth):
    found = head.cpu()(extract_features(encoder, part).cpu()).argmax(dim=1)
    head.to(session.device)
    return 100 * (found == truth).double().mean().item()


encoder, head = start("original")
at_first = accuracy(encoder, head, test_images, test_labels)
print(f"before the first step: {at_first:.0f} % of the test scenes")


# %% [markdown]
# Batches are random crops of the training scenes, always the same ones for a given step.

# %%
def batch_at(step):
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(len(data.train), (32,), generator=generator)
    crops = random_resized_crop(data.train[ids], 48, generator, (0.6, 1.0))  # (32, 3, 48, 48)
    return crops.to(session.device), labels[ids].to(session.device)


def tuned(name, cfg, layer_decay, iters):
    """Fine-tune from the probe; the encoder and the head after training."""
    encoder, head = start(name)
    groups = optim.parameter_groups(encoder, cfg.weight_decay, layer_decay)
    groups.append({"params": list(head.parameters()), "lr_scale": 1.0})
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))
    fine_tune(encoder, head, optimizer, batch_at, iters, cfg)
    return encoder, head


# %% [markdown]
# First a careless recipe: the full rate from the first step, for all layers. How much is left of the probe after six steps? We look at training scenes, so that nothing is decided on the test set.

# %%
careless = FineTuneConfig(epochs=1, lr=3e-3, warmup_epochs=0, label_smoothing=0.0)
part, truth = images[:200], labels[:200]
before = accuracy(*start("original"), part, truth)
after = accuracy(*tuned("original", careless, 1.0, iters=6), part, truth)
print(f"the probe is right on most training scenes: {before > 80}")
print(f"after six careless steps less than half of that is left: {after < before / 2}")

# %% [markdown]
# Six careless steps destroy more than half of what the probe knew. The first steps of AdamW have full size however small the gradient is, and at the full rate they carry every weight of the encoder away from what
# pretraining found.
#
# Now a careful recipe: a warm-up, a lower rate, layer-wise decay and smoothed labels. It takes about a minute on a CPU.

# %%
tuning_guess = course.predict("Fine-tuned carefully: how many points above the probe?")

# %%
careful = FineTuneConfig(epochs=session.choose(smoke=6, quick=20, full=40), lr=5e-4,
                         warmup_epochs=1)
iters = len(images) // 32
probed = here["original"].percent
found = accuracy(*tuned("original", careful, 0.75, iters), test_images, test_labels)
tuning_guess.reveal(f"{'above' if found > probed else 'not above'} the probe of the same encoder")

# %% [markdown]
# Because training rounds differently on every machine, the page only says whether fine-tuning ended above the probe. Run `found - probed` to see your number. With a small set like
# ours the gain is a few points at most, and the interval of either accuracy is about ± 4.
#
# ### Fine-tuning below the probe
#
# In the project report, fine-tuning ends *below* the probe, by 4.7 points for the original and by 8.0 for the improved. STL-10 has 8,000 test images, so even unpaired intervals of ± 1.5
# points exclude 0. Something was wrong with the recipe. To find out what, we tried all combinations of three choices on the photographs, from the weights of the package
# (`python -m benchmarks.fine_tuning`):
#
# - **care**: careful has a warm-up, layer-wise decay, random crops and smoothed labels; careless has none of them;
# - **rate**: low is the package's default, 0.001; high is 0.012 and was found by a search on training images;
# - **time**: 3 epochs or 15.
#
# A ninth recipe starts from the probe. **Predict:** which of the nine end below the probe?

# %%
trials = results.Results(ASSETS / "fine_tuning.json").read()
probe = Accuracy.from_entry(trials[0]["measures"]["lp"])
recipes = {r["name"]: Accuracy.from_entry(r["measures"]["ft"])
           for r in sorted(trials[1:], key=lambda r: r["name"]) if r["seed"] == 0}
print(f"{'linear probe':34} {probe.percent:.1f} % of {len(probe.correct):,} photographs")
for name, found in recipes.items():
    mean, low, high = results.paired_difference(probe, found)
    words = widgets.verdict(mean, (high - low) / 2, "the probe", "fine-tuning")
    print(f"{name:34} {found.percent:.1f} %, {mean:+5.1f} ± {(high - low) / 2:.1f} points: {words}")

# %%
gains = {name: results.paired_difference(probe, found) for name, found in recipes.items()}
gains = dict(sorted(gains.items(), key=lambda run: run[1]))
figure, ((axis,),) = new_figure(1, 1, 8, 0.8 + 0.35 * len(gains))
for i, (mean, low, high) in enumerate(gains.values()):
    colour = COLOURS[2] if low > 0 else COLOURS[1] if high < 0 else GREY
    axis.errorbar(mean, i, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=5)
axis.axvline(0, color="black")
axis.set_yticks(range(len(gains)), list(gains))
axis.set(xlabel="fine-tuned − linear probe, points")
show(figure, "Each recipe's difference to the probe, with its interval, from careless at the high "
             "rate for 3 epochs, −22 points, to careful at the high rate for 15, +10 points.")

# %% [markdown]
# Five of the nine recipes end below the probe, by up to 22.0 points. Two are not distinguishable from it, and two end above it, by up to 9.7 points. The weights and the photographs are the same in every line.
#
# All eight combinations were tried, so we can judge each choice four times with the other two held fixed.

# %%
for less, more in (("3 epochs", "15 epochs"), ("low rate", "high rate"), ("careless", "careful")):
    print(f"{more} instead of {less}")
    for name in recipes:
        if less in name and "probe" not in name:
            both = recipes[name], recipes[name.replace(less, more)]
            mean, low, high = results.paired_difference(*both)
            fixed = ", ".join(word for word in name.split(", ") if word != less)
            print(f"  {fixed:22} {mean:+5.1f} ± {(high - low) / 2:.1f} points")

# %% [markdown]
# More **time** helps in all four cases, by 11.9 to 15.1 points. **Care** costs about 6 points at the low rate and gains about 19 at the high rate. The high **rate** gains 9 to 12 points with care and costs 13 to 16
# without. This is an **interaction**: the effect of one setting depends on another. Someone who starts with the careless recipe at the low rate and changes one thing at a time finds that both the higher
# rate and more care make it worse, and misses the best recipe, which has both. A likely reason is that care slows the lower layers down, so that they hardly move at the low rate.
#
# This is one encoder on one data set. And the best of nine on the test set is a little lucky, as you saw.
#
# If your own fine-tuning ends below the probe, first print the probe and training from scratch next to it. Then give it more epochs or start at the probe, and
# search the rate together with warm-up and layer-wise decay, by cross-validation. There are two exceptions. With very few labels, or on test images unlike the
# training images, fine-tuning can lose to a probe although nothing is broken ([Kumar et al. 2022](https://arxiv.org/abs/2202.10054)).
#
# ## The whole table
#
# A fair report has baselines first, every judge, and intervals. `python -m mae_lib.compare` prints such a table.

# %%
print(results.table(records))
scratch, tuned_original = (widgets.recorded(name, "ft") for name in ("from scratch", "original"))
mean, low, high = results.paired_difference(scratch, tuned_original)
print(f"\nwhat pretraining is worth to fine-tuning: {mean:+.1f} ± {(high - low) / 2:.1f} points")

# %% [markdown]
# Pretraining is worth 9.5 ± 1.1 points to fine-tuning, for the first seed: 63.2 % against 53.7 % from scratch. That difference answers the question in the title better than any single accuracy.
#
# ### ✏️ Open exercise · Judge your encoder  (★★☆ · 20 minutes)
#
# Write the row of your own encoder for such a table. Measure whitened kNN and a linear probe, with intervals, next to raw pixels and an *untrained encoder of the same sizes as yours*. Say in two
# sentences what your pretraining was worth, and what your measurement cannot show. If you have not trained an encoder yet, judge `improved`.
#
# <details><summary>What a good answer shows</summary>
#
# - An untrained baseline with your sizes and your image size, and the paired difference to it with an interval.
# - k and the decay chosen on training images only, and the number of settings tried.
# - One protocol for all rows.
# - The statement that one training is one seed: the interval covers test images, not the method.
# - A remark on what the scenes can show, since pretraining and probing used the same kind of image.
# </details>

# %%
train, test = features[own]
# Your measurements here.

# %% [markdown]
# ## Quiz
#
# **1. A paper reports 47 % linear-probe accuracy on a new data set of ten classes, "which shows that the features are meaningful". What is missing?**
#
# <details><summary>Nothing: chance is 10 %.</summary>
#
# ✗ On photographs, random weights are far above chance too.
# </details>
# <details><summary>The probe of an untrained encoder of the same sizes.</summary>
#
# ✓ Only what lies above it was learned. Raw pixels and training from scratch belong in the table as well.
# </details>
# <details><summary>A fine-tuned accuracy, which would be higher.</summary>
#
# ✗ Without its own baseline, training from scratch, it would not show what was learned either.
# </details>
#
# **2. By plain kNN, encoder B beats encoder A by 8 points. By whitened kNN they are equal. What do you conclude?**
#
# <details><summary>B has learned more about the classes.</summary>
#
# ✗ Whitening teaches A nothing, and A catches up. The information was there.
# </details>
# <details><summary>A's features share a large common part or a few dominant directions, which hides what it knows from the cosine.</summary>
#
# ✓ Plain kNN measures the shape of the feature cloud as well as its content.
# </details>
# <details><summary>Whitening is unfair, because it uses the training features.</summary>
#
# ✗ It uses them for both encoders and never looks at a test label. The linear probe uses them too.
# </details>
#
# **3. On the same 10,000 images, A has 62.0 % and B 62.6 %. Their own intervals overlap. The paired interval of B − A is 0.6 ± 0.4. What do you report?**
#
# <details><summary>Cannot tell, because the intervals overlap.</summary>
#
# ✗ For the same images, overlap is the wrong test: most of that scatter is common to both and cancels.
# </details>
# <details><summary>Method B is better than method A.</summary>
#
# ✗ That is a claim about trainings, and there was one of each. Another seed may reverse it.
# </details>
# <details><summary>These weights of B are better than these of A. A claim about the methods needs more seeds.</summary>
#
# ✓ The interval covers test images only. Several paired trainings, with Student's t, would speak about the methods.
# </details>
#
# **4. Fine-tuning ends 5 points below the linear probe of the same encoder, with 5,000 labels. What now?**
#
# <details><summary>Report the probe: it is the better way to use these features.</summary>
#
# ✗ Fine-tuning could have stayed where the probe is. A fault in the recipe would affect every comparison made with it.
# </details>
# <details><summary>Suspect the recipe: rate, warm-up, layers, epochs.</summary>
#
# ✓ It starts from the same features that the probe reads. Improve it on training images until it beats the probe and training from scratch.
# </details>
# <details><summary>Pretrain longer: the features are too weak.</summary>
#
# ✗ Weak features are no reason to end below their own probe.
# </details>
#
# ## Key takeaways
#
# - A feature is the mean of the patch tokens of the whole image, in evaluation mode, with nothing hidden.
# - Baselines come first: chance, raw pixels, **random weights**, and training from scratch.
# - Features in a narrow cone make cosine neighbours nearly equal. Centre and whiten before kNN.
# - A probe: standardise by the training images, go to the lowest loss, choose the decay by cross-validation, read the test set once.
# - Choosing on few images costs accuracy, and the score of the chosen setting is too good. Whatever chooses must not report.
# - Use paired intervals on the same images. For a claim about a method, use several paired trainings and Student's t.
# - Fine-tuning contains the probe. If it ends below, fix the recipe before you believe anything else in the table.
#
# **Next:** [09 · Reconstructions](09_reconstructions.ipynb) looks at what these encoders and their decoders predict.
#
# **Further reading**
#
# - He, Chen, Xie, Li, Dollár & Girshick (2022). [*Masked autoencoders are scalable vision learners.*](https://arxiv.org/abs/2111.06377) CVPR. Appendix A.1 has the recipes for probe and fine-tuning.
# - Saxe, Koh, Chen, Bhand, Suresh & Ng (2011). *On random weights and unsupervised feature learning.* ICML. How far random weights go, and why.
# - Wu, Xiong, Yu & Lin (2018). [*Unsupervised feature learning via non-parametric instance discrimination.*](https://arxiv.org/abs/1805.01978) CVPR. The weighted vote of neighbours.
# - Kumar, Raghunathan, Jones, Ma & Liang (2022). [*Fine-tuning can distort pretrained features and underperform out-of-distribution.*](https://arxiv.org/abs/2202.10054) ICLR. Start at the probe.
# - Clark, Luong, Le & Manning (2020). [*ELECTRA: pre-training text encoders as discriminators rather than generators.*](https://arxiv.org/abs/2003.10555) ICLR. Learning rates that fall from layer to layer.
# - Dietterich (1998). *Approximate statistical tests for comparing supervised classification learning algorithms.* Neural Computation.
# - Bouthillier et al. (2021). [*Accounting for variance in machine learning benchmarks.*](https://arxiv.org/abs/2103.03098) MLSys. Seeds, splits and pairs.
