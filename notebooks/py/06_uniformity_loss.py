# %% [markdown]
# # 6 · The uniformity loss: keeping points apart
#
# An encoder turns every image into a point on a sphere. If all images land on the same point, the features are useless:
# they have collapsed. The project report's third add-on to MAE is a loss that pushes the points apart. We build that
# loss, watch it work, break it, and ask whether spreading features out makes them better.
#
# **You will be able to**
#
# - explain what collapse is and measure what it costs;
# - build `uniformity_loss` and read its value for any batch;
# - see where the loss pushes hard and where it does not push at all;
# - avoid its traps: pairs of an image with itself, half precision, and a batch split into pieces;
# - compute the effective rank, and distinguish spread-out features from informative ones.
#
# **Before you start:** notebooks [03](03_asymmetric_autoencoder.ipynb) and [04](04_reconstruction_loss.ipynb), for the
# encoder and the loss it is trained with. **Time:** 45 minutes to read and run, and about 40 more for the exercises.

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
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from mae_lib import losses, metrics
from mae_lib.course.exercises import uniformity_loss as check
from mae_lib.course.reference import from_official
from mae_lib.course.session import show
from mae_lib.course.widgets import uniformity_loss as widgets
from mae_lib.data.augment import normalise, resize
from mae_lib.data.sources import load_data
from mae_lib.model import MaskedAutoencoder
from mae_lib.plots import COLOURS, GREY, new_figure

show(*widgets.title())

# %% [markdown]
# These eighty points started in one small clump, and gradient descent on a single number drove them apart. That number
# is the uniformity loss.

# %%
MAE, mae_loss = course.use("MAE", "mae_loss")

# %% [markdown]
# ## From an image to a point
#
# The encoder returns one token for every patch. The mean of an image's tokens is its **feature**. Dividing the feature
# by its length gives a point on a sphere of radius 1. With a mask ratio of 0, the encoder sees every patch.

# %%
sizes, weights = course.shipped_weights("original")
original = MAE(**sizes)
original.load_state_dict(weights)
photographs = normalise(course.photographs())  # (B, 3, 224, 224)
with torch.no_grad():
    tokens, _, _ = original.encoder(photographs, mask_ratio=0)  # (B, N, D)
mean = tokens.mean(dim=1)  # (B, D)
print(tuple(tokens.shape), "→", tuple(mean.shape))
print("lengths of the features:", *[f"{length:.1f}" for length in mean.norm(dim=1).tolist()])


# %% [markdown]
# The five features have 192 dimensions and lengths between 11.6 and 11.7. We divide by the length because otherwise a
# network could move points apart just by making all of its numbers larger.
#
# ### ✏️ Exercise 1 · Onto the sphere  (★☆☆ · 4 minutes)
#
# Write `unit(x, eps)`: divide each row of `x` (B, D) by its length, or by `eps` if that is larger. Without `eps`, a row
# of zeros becomes `nan`, and one bad image spoils the whole batch.
#
# <details><summary>Hint 1</summary>
#
# `x.norm(dim=1)` has shape (B,). With `keepdim=True` it has shape (B, 1) and divides row by row.
# </details>
# <details><summary>Hint 2</summary>
#
# The larger of the length and `eps` is `length.clamp(min=eps)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def unit(x, eps=1e-8):
#     return x / x.norm(dim=1, keepdim=True).clamp(min=eps)
# ```
# </details>

# %%
def unit(x, eps=1e-8):
    ...  # your code


# %%
check.unit(unit)


# %% [markdown]
# ## What collapse costs
#
# A sphere in 192 dimensions is hard to draw, so we use a circle. We place 36 images on it, evenly spaced along an arc.
# The point of another [**view**](GLOSSARY.md#view) of an image, such as a different crop, is off by about 3 degrees. We call
# this the *noise*.
# Which image does it belong to? We pick the nearest point, and count how often that is right.

# %%
def on_circle(degrees):
    angle = torch.deg2rad(degrees)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)  # (…, 2)


def found_again(points, views):
    """Which of the views (N, D) have their own image as the nearest of points (N, D)."""
    nearest = torch.cdist(views, points).argmin(dim=1)  # (N,)
    return nearest == torch.arange(len(points))


# %% [markdown]
# The arc covers 350 degrees first, then 90, 20 and 2. The noise stays at 3 degrees.

# %%
arc_guess = course.predict("How many of the 36 images are found again on an arc of 90 degrees?")

# %%
generator = torch.Generator().manual_seed(0)
wobble = 3 * torch.randn(200, 36, generator=generator, dtype=torch.float64)  # degrees
arcs, lines = {}, []
for degrees in (350, 90, 20, 2):
    place = torch.linspace(-degrees / 2, degrees / 2, 36, dtype=torch.float64)  # (36,)
    arcs[degrees] = on_circle(place), on_circle(place + wobble)  # (36, 2), (200, 36, 2)
    points, views = arcs[degrees]
    share = torch.stack([found_again(points, view) for view in views]).double().mean().item()
    lines.append(f"over {degrees:3} degrees: {100 * share:3.0f} % found again, "
                 f"about {36 * share:2.0f} of 36")
    if degrees == 90:
        lines.insert(0, f"about {36 * share:.0f} of 36 images")
arc_guess.reveal("\n".join(lines))

# %%
figure, axes = new_figure(1, 4, 10, 2.7)
for axis, (degrees, (points, views)) in zip(axes[0], arcs.items(), strict=True):
    axis.plot(*on_circle(torch.arange(361.0)).T, color="0.85", linewidth=1, zorder=0)
    axis.scatter(*(0.88 * views[0]).T, s=14, color=COLOURS[1])
    axis.scatter(*points.T, s=14, color=COLOURS[0])
    axis.set(title=f"{degrees} degrees", xlim=(-1.1, 1.15), ylim=(-1.1, 1.1), aspect="equal")
    axis.axis("off")
show(figure, "Four circles with 36 blue points, spread over 350, 90, 20 and 2 degrees, and inside "
             "them an orange view of each point. On the last circle the blue points merge into one "
             "dot, and their views form a short arc.")

# %% [markdown]
# Over 350 degrees, 91 % of the images are found again. Over 90 degrees it is only 35 %, because neighbours are less
# than 3 degrees apart and most views land nearer to another image. Over 2 degrees it is 4 %, hardly more than picking
# at random (3 %). In the figure, images are blue and one view of each is orange, drawn a little inside the circle.
#
# What matters is the spread **compared with the noise**. Features that all point in nearly the same direction, in a
# *narrow cone*, do no harm if the views of an image stay even closer together.
#
# ## One number for a batch
#
# [Wang and Isola (2020)](https://arxiv.org/abs/2005.10242) measure how evenly $B$ points $z_1, \dots, z_B$ are spread
# with
#
# $$L_{\text{unif}} = \log \frac{1}{B(B-1)} \sum_{i \neq j} e^{-2 \lVert z_i - z_j \rVert^2}.$$
#
# Each pair contributes a term between 0 and 1. How large is it at each distance?

# %%
for distance in (0, 0.5, 1, math.sqrt(2), 2):
    print(f"distance {distance:.2f}: term {math.exp(-2 * distance**2):.4f}")


# %% [markdown]
# A pair at distance 0 contributes 1, and a pair at distance 2, the largest possible, only 0.0003. So the loss is high
# when points are crowded. At a distance of √2, two points are at right angles.
#
# We first write the formula as a double loop and apply it to four points on a circle.

# %%
def uniformity_slowly(points):
    terms = []
    for i in range(len(points)):
        for j in range(len(points)):
            if i != j:
                square = ((points[i] - points[j]) ** 2).sum()
                terms.append(torch.exp(-2 * square))
    return torch.stack(terms).mean().log()


four = on_circle(torch.tensor([0.0, 60.0, 90.0, 200.0]))  # (4, 2)
print(f"{uniformity_slowly(four):.4f}")


# %% [markdown]
# A batch of 1,024 has over a million pairs, so we need a form without loops. The identity
#
# $$\lVert a - b \rVert^2 = \lVert a \rVert^2 + \lVert b \rVert^2 - 2\, a \cdot b$$
#
# helps, because one matrix product gives $a \cdot b$ for all pairs.
#
# ### ✏️ Exercise 2 · All pairs at once  (★★☆ · 6 minutes)
#
# Write `squared_distances(a, b)` for `a` (N, D) and `b` (M, D): a table (N, M) of ‖aᵢ − bⱼ‖², for points of
# any length. Rounding can make a tiny square negative, so make sure that none is.
#
# <details><summary>Hint 1</summary>
#
# `a @ b.T` is (N, M). The squared lengths of `a` must become a column (N, 1), those of `b` a row (M,).
# </details>
# <details><summary>Hint 2</summary>
#
# `x[:, None]` turns (N,) into (N, 1), and `.clamp(min=0)` replaces what is below 0.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def squared_distances(a, b):
#     length_a, length_b = a.square().sum(dim=1), b.square().sum(dim=1)  # (N,), (M,)
#     return (length_a[:, None] + length_b - 2 * a @ b.T).clamp(min=0)  # (N, M)
# ```
# </details>

# %%
def squared_distances(a, b):
    ...  # your code


# %%
check.squared_distances(squared_distances)


# %% [markdown]
# ## Trap 1: an image and itself
#
# The shortest code ignores the condition $i \neq j$. Every image is at distance 0 from itself, so $B$ of the $B^2$
# terms are always 1. The loss still falls in training, so nobody notices. To see the damage we need the best possible
# points: a regular [**simplex**](GLOSSARY.md#simplex), in which all points are equally far apart. With two points it is
# a pair of opposite points, with three a triangle, with four a tetrahedron. With $B$ points, the wrong loss is
# $\log\big(\tfrac{1}{B} + (1 - \tfrac{1}{B})\, e^{\text{right}}\big)$, where *right* is the right loss. The derivative
# of this expression tells us what share of the right gradient is left.

# %%
def simplex(corners):
    x = torch.eye(corners, dtype=torch.float64) - 1 / corners
    return x / x.norm(dim=1, keepdim=True)  # (B, B)


def with_itself(points):
    return (-2 * torch.cdist(points, points).square()).exp().mean().log()


for b in (2, 4, 64):
    right, wrong = uniformity_slowly(simplex(b)), with_itself(simplex(b))
    left = (1 - 1 / b) * (right - wrong).exp()  # the derivative of wrong with respect to right
    print(f"B = {b:2}   right {right:.2f}   wrong {wrong:.2f}   gradient left {100 * left:.0f} %")


# %% [markdown]
# For 64 perfectly spread points, the wrong loss is −3.43 instead of −4.06. Both losses have their minimum at the
# simplex, but near it the gradient of the wrong one is too weak: 52 % of the right gradient in a batch of 64, and
# almost nothing in a batch of 2 or 4.
#
# ### ✏️ Exercise 3 · The uniformity loss  (★★★ · 10 minutes)
#
# Write `uniformity_loss(z_tokens, eps)` for tokens (B, N, D): take the mean over the tokens of each image, divide it by
# its length (or by `eps` if that is larger), then return the log of the mean of $e^{-2\lVert z_i - z_j\rVert^2}$ over
# the pairs $i \neq j$. A mean token of 0 stays 0, so do not rely on every vector having length 1. Your cell must
# contain everything that the function needs beyond `torch` and `F`, including any function of yours that you use.
#
# <details><summary>Hint 1</summary>
#
# `F.normalize(x, dim=1, eps=eps)` does what your `unit` does. Take the mean over tokens first, then normalise.
# </details>
# <details><summary>Hint 2</summary>
#
# Either build the table (B, B) of squared distances and select with `~torch.eye(B, dtype=torch.bool)`, or use
# `torch.pdist(z)`, which returns the distance of every pair once.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def uniformity_loss(z_tokens, eps=1e-8):
#     z = F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)  # (B, D)
#     distance = torch.pdist(z).square()  # of every pair once: (j, i) is as far as (i, j)
#     return (-2 * distance).exp().mean().log()
# ```
# </details>

# %%
def uniformity_loss(z_tokens, eps=1e-8):
    ...  # your code


# %%
check.uniformity_loss(uniformity_loss)

# %%
uniformity_loss = course.use("uniformity_loss")

# %% [markdown]
# The loss should agree with the slow form, on four "images" with one token each, and with the package.

# %%
torch.testing.assert_close(uniformity_loss(four[:, None]), uniformity_slowly(four))
torch.testing.assert_close(uniformity_loss(tokens), losses.uniformity_loss(tokens))
print(f"five photographs: {uniformity_loss(tokens):.2f}")

# %% [markdown]
# The five photographs have a loss of −0.05. Is that high or low?
#
# ## The range of the loss
#
# If all points are equal, every term is 1 and the loss is 0, its upper limit. The lower limit belongs to the simplex.

# %%
for name, b in (("opposite pair", 2), ("triangle", 3), ("tetrahedron", 4), ("simplex", 64)):
    loss = uniformity_loss(simplex(b)[:, None])  # (B, 1, B)
    print(f"{name:14} B = {b:2}: {loss:.3f}   −4B/(B − 1) = {-4 * b / (b - 1):.3f}")

# %% [markdown]
# The lowest possible value is $-4B/(B-1)$, which is −4.063 for a batch of 64.
#
# <details><summary>Why: a short proof</summary>
#
# The log of a mean is at least the mean of the logs, so the loss is at least $-2$ times the mean squared distance. That
# mean has an upper limit, because the squared length of a sum of vectors is never negative:
#
# $$\sum_{i \neq j} z_i \cdot z_j = \Big\lVert \sum_i z_i \Big\rVert^2 - B \ge -B
# \quad\Rightarrow\quad \text{mean of } \lVert z_i - z_j \rVert^2 \le 2 + \frac{2}{B-1} = \frac{2B}{B-1}.$$
#
# Equality in both steps requires that all distances are equal, and then the points form a simplex.
# </details>
#
# What is the loss of points that are placed at random?

# %%
random_guess = course.predict("64 random points: is the loss nearer to 0 or to −4.06?")

# %%
generator = torch.Generator().manual_seed(0)
random_points = F.normalize(torch.randn(64, 192, generator=generator, dtype=torch.float64), dim=1)
cosine = (random_points @ random_points.T)[~torch.eye(64, dtype=torch.bool)]
degrees = torch.rad2deg(cosine.acos())
loss = uniformity_loss(random_points[:, None]).item()
random_guess.reveal(f"nearer to {'0' if loss > -2 else '−4.06'}: the loss is {loss:.2f}\n"
                    f"angles between {degrees.min():.0f} and {degrees.max():.0f} degrees")

# %% [markdown]
# The loss of random points is −3.96, close to the best possible −4.06. In 192 dimensions there is so much room that
# random points are nearly at right angles, where a term is $e^{-4}$. So a loss near 0 means that all points are nearly
# in one place, and a loss near −4 that they are spread as well as random points. The photographs, at −0.05, are
# crowded.
#
# ## Watch them repel
#
# We place a small clump of points on a circle and follow the gradient of the loss downhill. A circle lies in a plane.
# Are its two dimensions enough for the points to form a simplex, and so to reach the limit of $-4B/(B-1)$?

# %%
reach_guess = course.predict("3, 4 or 5 points on a circle: "
                             "which of these numbers reach the limit?")

# %%
reached, lines = [], []
for space, points in (("circle", 3), ("circle", 4), ("circle", 5), ("sphere", 4)):
    loss, limit = widgets.descend(space, points, 2).loss[-1], -4 * points / (points - 1)
    lines.append(f"{points} points on a {space}:  loss {loss:.2f}, limit {limit:.2f}")
    if space == "circle" and loss < limit + 0.01:
        reached.append(points)
reach_guess.reveal("\n".join([f"only {', '.join(map(str, reached))}", *lines]))

# %% [markdown]
# On the circle, three points form a triangle and reach the limit of −6.00. Four points form a square and stop at −4.40,
# above their limit of −5.33, because four points need three dimensions to be equally far apart. On the sphere they
# reach it, as a tetrahedron. In general, $B$ points need $B - 1$ dimensions, and 192 are plenty for a batch of 64.
#
# The explorer shows the points on their way, and the dashed line marks the limit. You can also change the 2 in the
# exponent of the loss, which is often called $t$. With a large $t$, only the nearest neighbours matter.

# %%
explorer = widgets.explorer()
explorer

# %% [markdown]
# ## Where it pushes, and how hard
#
# The force on a point is minus the gradient of the loss with respect to that point. We place twelve points on an arc
# and squeeze the arc. First we check that the explorer below computes the same force as autograd.

# %%
leaf = torch.tensor(widgets.arc(60), requires_grad=True)  # (12, 2)
uniformity_loss(leaf[:, None]).backward()
_, force = widgets.loss_and_force(leaf.detach().numpy())  # (12, 2)
torch.testing.assert_close(-leaf.grad, torch.from_numpy(force))

# %%
squeeze = course.predict("Squeezed from 60 degrees to 3: does the strongest "
                         "force grow or fall?")

# %%
lines = ["it falls"]
for spread in (60, 12, 3, 0):
    force = widgets.strongest(2)[spread // 3]
    lines.append(f"over {spread:2} degrees: strongest force {force:.3f}")
squeeze.reveal("\n".join(lines))

# %%
force_explorer = widgets.force_explorer()
force_explorer

# %% [markdown]
# The strongest force falls from 0.201 at 60 degrees to 0.019 at 3 degrees, and at 0 degrees it is 0. (At 330 degrees it is
# 0 too, because the points are evenly spaced there.) The slope of $e^{-2d^2}$ is
# zero at $d = 0$, so points that coincide do not push each other. **The loss drives a clump apart, slowly at first, but
# it does not move a batch that has fully collapsed.** We test this on 16 artificial features.

# %%
for name, scatter in (("all equal", 0.0), ("nearly equal", 0.01), ("a little spread", 0.3)):
    noise = torch.randn(16, 1, 192, generator=torch.Generator().manual_seed(0))
    batch = (torch.ones(16, 1, 192) + scatter * noise).requires_grad_()
    uniformity_loss(batch).backward()
    print(f"{name:16} length of the gradient {batch.grad.norm():.4f}")

# %% [markdown]
# For equal features the gradient is 0.0000, and for nearly equal ones it is 0.0015. The loss makes collapse unstable,
# like a pencil on its tip. Whether that "prevents collapse" in training, as the report claims, has to be measured.
#
# ## Trap 2: half precision
#
# GPU training often uses `bfloat16`, which keeps two to three decimal digits. On the sphere, a squared distance is
# $2 - 2\, a \cdot b$. For two points that are close together, this is 2 minus a number close to 2. How much
# of the distance is left in `bfloat16`?

# %%
dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
print("distance  " + "".join(f"{str(dtype)[6:]:>12}" for dtype in dtypes))
for distance in (0.3, 0.1, 0.03, 0.01):
    angle = math.degrees(2 * math.asin(distance / 2))
    pair = on_circle(torch.tensor([40, 40 + angle], dtype=torch.float64))
    line = f"{distance:8.2f}  "
    for dtype in dtypes:
        a, b = pair.to(dtype)  # (2,) each
        square = (a * a).sum() + (b * b).sum() - 2 * (a * b).sum()
        line += f"{square.item():12.4f}"
    print(line)

# %% [markdown]
# In `bfloat16` a distance of 0.1 has a square of 0.0078 instead of 0.0100, and a distance of 0.03 becomes 0. When you
# subtract two nearly equal numbers, their common digits disappear, and rounding errors make up much of what is left.
# This is called [**cancellation**](GLOSSARY.md#cancellation). It affects points that are close together, the ones that
# this loss has to push apart. Under autocast, which runs matrix products in half precision, it can happen without any
# warning.

# %%
clump = on_circle(torch.linspace(7, 9, 16))  # (16, 2): 16 points over 2 degrees
with torch.autocast("cpu", dtype=torch.bfloat16):
    product = clump @ clump.T
print(product.dtype)
print(f"smallest cosine in bfloat16: {product.min().item():.4f}")
print(f"smallest cosine in float32:  {(clump @ clump.T).min().item():.4f}")

# %% [markdown]
# The product came out in `bfloat16`, although the points are `float32`. The numbers next to 1 in `bfloat16` are 0.9961
# and 1.0078. A squared distance, 2 − 2·cosine, can then come out as 0, as 0.0078 or even below 0, while the true ones
# here lie between 0 and 0.0012. The package therefore switches autocast off for this product and converts
# half-precision tokens to `float32` first.
#
# ## Trap 3: a batch in pieces
#
# Large training runs split a batch into equal shares. Each process, usually one per GPU, computes the loss of its
# share. If the loss is a mean over images, the mean of these losses is the loss of the whole batch. For a loss over
# pairs it is not. Take two processes with two images each.

# %%
pair = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[:, None]  # (2, 1, 2), two opposite points
print(f"each half {uniformity_loss(pair):.2f}")
print(f"the whole batch {uniformity_loss(torch.cat([pair, pair])):.2f}")

# %% [markdown]
# Each process reports a perfect −8.00. The whole batch has −1.10, because two images lie at each end. They are on
# different processes, so neither process sees it. The package therefore gathers the features of all processes, with
# their gradient, before it computes this loss.

# %% [markdown]
# ## How many directions are in use?
#
# Points that lie evenly on a circle in 192 dimensions are spread out, but they use only 2 directions. The [**effective
# rank**](GLOSSARY.md#effective-rank) ([Roy and Vetterli 2007](https://ieeexplore.ieee.org/document/7098875)) counts
# directions, weighted by how much they are used. We subtract the mean of the features. The first **principal
# direction** is the one along which the features vary most. The second is at right angles to it and captures as much of
# the remaining variation as possible, and so on (this is PCA). Let $\sigma_k$ be the standard deviation along the k-th
# of them. We turn these numbers into shares, and take the exponential of the entropy of the shares:
#
# $$p_k = \frac{\sigma_k}{\sum_l \sigma_l}, \qquad \text{effective rank} = \exp\Big(-\sum_k p_k \log p_k\Big).$$
#
# If $n$ directions are used equally, the result is exactly $n$. We compute it step by step for a cloud in three
# dimensions that is equally wide in two of them and a tenth as wide in the third. The *eigenvalues* of the covariance
# matrix are the variances along the principal directions, so their square roots are the $\sigma_k$.

# %%
generator = torch.Generator().manual_seed(0)
cloud = torch.randn(500, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 1, 0.1])
spread = torch.linalg.eigvalsh(cloud.T.cov()).sqrt()  # (3,), standard deviations
p = spread / spread.sum()
entropy = -(p * p.log()).sum()
print("shares", *[f"{share:.2f}" for share in p.tolist()], f"  effective rank {entropy.exp():.2f}")


# %% [markdown]
# The effective rank is 2.35: two full directions and a third that is used a little.
#
# ### ✏️ Exercise 4 · Effective rank  (★☆☆ · 5 minutes)
#
# Write `effective_rank(x)` for features (N, D). The *singular values* of the centred features,
# `torch.linalg.svdvals(…)`, are the standard deviations above times $\sqrt{N - 1}$, and this factor cancels in the
# shares. Use them: the result is more accurate than with the
# covariance matrix. The features may lie in a plane or on a line, and then
# some shares are 0. You need not handle features that are all equal.
#
# <details><summary>Hint 1</summary>
#
# Subtract the mean, take the singular values, and divide them by their sum. The exponential of the entropy is the
# result.
# </details>
# <details><summary>Hint 2</summary>
#
# `0 * log(0)` is nan. `torch.special.entr(p)` is −p log p with the right value at 0, which is 0.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def effective_rank(x):
#     singular = torch.linalg.svdvals(x - x.mean(dim=0))
#     p = singular / singular.sum()
#     return torch.special.entr(p).sum().exp()
# ```
# </details>

# %%
def effective_rank(x):
    ...  # your code


# %%
check.effective_rank(effective_rank)

# %% [markdown]
# Where do the effective rank and the loss disagree? We compare them on five artificial sets of 400 points.

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(400, 192, generator=generator, dtype=torch.float64)
axis_number = torch.arange(192)
shapes = {"two opposite ends": x * (axis_number < 1), "a circle": x * (axis_number < 2),
          "a sphere in 3-D": x * (axis_number < 3), "random directions": x,
          "a narrow cone": 0.02 * x + (axis_number < 1)}
for name, scattered in shapes.items():
    z = F.normalize(scattered, dim=1)  # (400, 192)
    print(f"{name:18} loss {uniformity_loss(z[:, None]):5.2f}   "
          f"effective rank {metrics.effective_rank(z):5.1f}")


# %% [markdown]
# They disagree on the circle and the cone. The cone's loss of −0.29 looks like a near collapse, but its effective rank
# is 177.7. The circle's loss of −1.58 is much lower, but it uses only 2.0 directions. Neither number is wrong: the loss
# measures distances, and the rank counts directions.
#
# ## Three encoders and two impostors
#
# Now we look at features from three encoders. `untrained` has random weights, and `original` is a plain MAE. `improved`
# was trained with all three add-ons: the curriculum, the Laplacian loss on edges ([notebook
# 05](05_laplacian_loss.ipynb)), and the uniformity loss. We use `scenes`, simple pictures that the course generates.
# Each encoder sees a quarter of the patches of a scene, as in MAE training, and then another quarter, so that the two
# **views** share no patch. Can we find the scene again?

# %%
@torch.no_grad()
def two_views(mae, images):
    """Features of two quarters of the images that share no patch: two tensors (N, D), length 1."""
    noise = torch.rand(len(images), 196, generator=torch.Generator().manual_seed(0))
    latents = [mae.encoder(images, 0.75, order)[0] for order in (noise, 1 - noise)]
    return [F.normalize(latent.mean(dim=1).double(), dim=1) for latent in latents]


# %%
count = session.choose(smoke=300, quick=1000, full=1000)
scenes = load_data("scenes", counts=(1, count, 1), progress=False).train  # (N, 3, 96, 96)
torch.manual_seed(0)
random_weights = from_official(MaskedAutoencoder(**sizes).state_dict())  # under our names
all_weights = {"untrained": random_weights, "original": weights,
               "improved": course.shipped_weights("improved")[1]}
features = {}
for name, state in all_weights.items():
    encoder = MAE(**sizes)
    encoder.load_state_dict(state)
    features[name] = two_views(encoder, resize(scenes, sizes["img_size"]))

# %% [markdown]
# We add two impostors, in which the two views of a scene have nothing to do with each other. *Random points* are drawn
# independently for each view. *Mixed up* has the improved encoder's features, but the second view of each scene belongs
# to the scene before it.

# %%
generator = torch.Generator().manual_seed(0)
points = torch.randn(2, count, 192, generator=generator, dtype=torch.float64)
features["random points"] = list(F.normalize(points, dim=2))
features["mixed up"] = [features["improved"][0], features["improved"][1].roll(1, dims=0)]
best_guess = course.predict("Which of the five sets of features finds the most scenes again?")

# %% [markdown]
# For each we compute six numbers. [**Alignment**](GLOSSARY.md#alignment) is the mean squared distance between the two
# views of a scene. *Others* is the same distance between views of two different scenes, and *ratio* is the first
# divided by the second. The last column is the share of scenes that are found again, with its 95 % **confidence
# interval**. If we repeated this with new scenes, about 95 of 100 such intervals would contain the true share.

# %%
table = {}
lines = [f"{count} scenes      loss   rank   alignment   others   ratio   found again"]
for name, (z, view) in features.items():
    loss, rank = uniformity_loss(z[:, None]).item(), metrics.effective_rank(z)
    alignment = (z - view).square().sum(dim=1).mean().item()
    others = (z - view.roll(1, dims=0)).square().sum(dim=1).mean().item()
    share = found_again(z, view).double().mean().item()
    half = 1.96 * math.sqrt(share * (1 - share) / count)
    table[name] = loss, rank, 100 * share
    lines.append(f"{name:14} {loss:6.2f} {rank:6.0f} {alignment:11.4f} {others:8.4f} "
                 f"{alignment / others:7.2f}   {100 * share:4.0f} % ± {100 * half:.0f}")
best_guess.reveal("\n".join([max(table, key=lambda name: table[name][2]), *lines]))

# %%
titles = ("uniformity loss", "effective rank", "scenes found again, %")
figure, axes = new_figure(1, 3, 10, 2.8)
for k, (axis, title) in enumerate(zip(axes[0], titles, strict=True)):
    axis.barh(list(table), [row[k] for row in table.values()],
              color=[COLOURS[0]] * 3 + [GREY] * 2)
    axis.set_title(title)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    if k:
        axis.set_yticks([])
show(figure, "Bars for five sets of features. The random points have the lowest loss and the "
             "highest effective rank, but they find almost no scenes again, and neither do the "
             "mixed-up features.")

# %% [markdown]
# The random points have the lowest loss (−3.96) and the highest effective rank (172). No image went into them, and they
# find 1 % of the scenes again. The mixed-up features keep the loss and the rank of the improved encoder, and they find
# 0 %. [**Uniform is not informative**](GLOSSARY.md#uniform-is-not-informative): neither number looks at which point
# belongs to which image. (The intervals come from $1.96\sqrt{p(1-p)/n}$ for a share $p$ of $n$ scenes. Near 0 %, they
# are too narrow.)
#
# Of the three encoders, `original` finds the most scenes, 73 %, although its loss of −0.03 is the closest to collapse.
# `improved` has a loss of −3.59 and an effective rank of 92, and it finds 32 %. The untrained encoder finds 49 %. The
# three intervals do not overlap.
#
# Read these shares with care. The untrained encoder may do well because two quarters of a scene share their colours,
# and random weights keep much of the colour. Each trained model comes from a single run, neither was trained on scenes,
# and the two differ in three add-ons, not in one.
#
# Wang and Isola argue that good features need both uniformity and alignment: features of different images should be far
# apart, and views of one image close together. A *ratio* of 0 would be perfect, and the impostors have about 1. The
# ratio is 0.03 for `untrained`, 0.05 for `original` and 0.58 for `improved`. By this ratio `untrained` is best,
# although `original` finds more scenes: a mean distance does not say which point is nearest.
#
# ## Would an MAE collapse without the term?
#
# A method that only asks the views of an image to agree can collapse, because mapping all images to one point makes
# them agree perfectly. Contrastive methods therefore push different images apart. An MAE has to reconstruct what is
# hidden. If its tokens were the same for every image, it would have to predict the same for all of them. To estimate
# what that would cost, we give the decoder the tokens of another photograph, or the mean tokens of all five.

# %%
mean_guess = course.predict("With its own tokens the loss is 0.47, and zeros cost about 1. "
                            "What does it cost to use the mean tokens of all five photographs?")

# %%
lines = []
noise = torch.rand(1, 196, generator=torch.Generator().manual_seed(0)).expand(5, -1)  # one mask
with torch.no_grad():
    latent, hidden, ids_restore = original.encoder(photographs, 0.75, noise)  # (5, 49, D)
    same = latent.mean(dim=0, keepdim=True).expand_as(latent)
    for name, z in (("own", latent), ("another's", latent.roll(1, 0)), ("mean", same)):
        pred = original.decoder(z, ids_restore)  # (5, 196, V)
        lines.append(f"{name:10} tokens: loss {mae_loss(pred, photographs, hidden, 16, True):.2f}")
mean_guess.reveal("\n".join([lines[-1].split()[-1], *lines]))

# %% [markdown]
# The loss is 0.47 with a photograph's own tokens, 1.30 with another photograph's tokens, and 1.03 with the mean tokens.
# The last two are no better than predicting zeros, which costs about 1. A decoder trained on such tokens could do
# somewhat better, but it could not adapt its prediction to the image. So the reconstruction loss itself works against a
# full collapse. This encoder was trained without the uniformity term and still finds 73 % of the scenes again, far
# above chance, so it has not fully collapsed.
#
# There is a milder form. [Zhang, Wang and Wang (2022)](https://arxiv.org/abs/2210.08344) argue that an MAE can suffer
# from **dimensional collapse**, in which it uses too few directions. They add a uniformity term of a different form
# (U-MAE) and report a higher accuracy of a **linear probe**, a linear classifier on frozen features, after 200 epochs
# of pretraining. Our models were trained much more briefly, so they cannot contradict this result.
#
# There is a third form, which the reconstruction loss does not prevent: the *narrow cone*, in which all features have a
# large part in common. Does it do harm? To find out, we subtract the mean feature of all scenes, which is one constant
# vector, and normalise again.

# %%
shift_guess = course.predict("The uniformity loss of `original` is −0.03. After the subtraction, "
                             "is it nearer to 0 or to −4?")

# %%
lines = []
for name in all_weights:
    z, view = features[name]
    common = z.mean(dim=0)  # (D,)
    moved = [F.normalize(x - common, dim=1) for x in (z, view)]
    before, after = (uniformity_loss(x[:, None]) for x in (z, moved[0]))
    found = [found_again(*views).double().mean() for views in ((z, view), moved)]
    lines.append(f"{name:10} common part {common.norm():.2f} long   loss {before:.2f} → {after:.2f}"
                 f"   found again {100 * found[0]:.0f} % → {100 * found[1]:.0f} %")
    if name == "original":
        lines.insert(0, f"nearer to {0 if after > -2 else -4}: it is {after:.2f}".replace("-", "−"))
shift_guess.reveal("\n".join(lines))

# %% [markdown]
# Subtracting one constant vector takes the loss of `original` from −0.03 to −2.41, which covers much of the distance to
# `improved` at −3.59. It finds 73 % of the scenes before the subtraction and 71 % after it, so in this test we see no
# harm from the common part. The subtraction teaches the encoder nothing, so a lower loss alone does not mean better
# features.
#
# ## What the report claims
#
# The project report claims that this term raises linear-probe accuracy by 2 to 5 points, adds about 2 % of compute, is
# parameter-free, and prevents collapse. The term adds no trained weights, but you have to choose its weight λ in the
# total loss and the factor $t$. A low uniformity loss is no evidence of a higher accuracy, because random points have
# it too. It shows that the features have not fully collapsed, but not that the term prevented this: `original` was trained
# without the term and has not fully collapsed either. [Notebook 10](10_claims.ipynb) has the measurements.
#
# ### ✏️ Open exercise · Improve a number, not the encoder  (★★☆ · 15 minutes)
#
# Without any training, change the finished features of `original` so that their uniformity loss falls and their
# effective rank rises as far as you can, if possible beyond `improved`. Then check how many scenes are still found
# again. You could subtract the mean, remove the strongest directions, or rescale all directions to the same spread
# ([**whitening**](GLOSSARY.md#whitening)).
# `_, s, directions = torch.linalg.svd(z - z.mean(dim=0), full_matrices=False)` gives the principal directions of `z`,
# one in each row, the strongest first. What does your result say about judging encoders by these two numbers?
#
# <details><summary>What a good answer shows</summary>
#
# - One or more changes, each with four numbers before and after: loss, effective rank, scenes found again, and its
#   interval.
# - The same transformation for both views, computed from one of them only.
# - A comparison with the `improved` row, and a statement on whether the difference is larger than the intervals.
# - The conclusion that a number which you can change without learning anything cannot by itself show that training was
#   better, and what could show it, such as accuracy on labels over several seeds.
# </details>

# %%
z, view = features["original"]
# Try your own change here.

# %% [markdown]
# ## Quiz
#
# **1. A batch of 64 has a uniformity loss of −3.96. What do you know about the encoder?**
#
# <details><summary>It has learned good features</summary>
#
# ✗ Random points have this value too. The loss does not know which point belongs to which image.
# </details>
# <details><summary>Most pairs of its features are nearly at right angles</summary>
#
# ✓ A term of e⁻⁴ belongs to a squared distance of 2, which is a right angle. The loss is a mean, so a few pairs may
# still be close together.
# </details>
# <details><summary>It has reached the lowest possible value</summary>
#
# ✗ It is close, but the simplex of 64 points has −4 · 64/63 = −4.06.
# </details>
#
# **2. You train in bfloat16, and the uniformity loss is sometimes a little above 0. What is going on?**
#
# <details><summary>The features are worse than collapsed</summary>
#
# ✗ No features are worse than collapsed ones: equal points give 0, and every distance makes the loss smaller.
# </details>
# <details><summary>The learning rate is too high</summary>
#
# ✗ No set of features has a positive loss, however it was trained.
# </details>
# <details><summary>Rounding made some squared distances negative</summary>
#
# ✓ Points that are close together lose their distance to cancellation. Compute the product in float32, outside
# autocast, and clamp at 0.
# </details>
#
# **3. Adding the term raises the effective rank from 40 to 90, and the linear probe does not change. What is your verdict?**
#
# <details><summary>The term spreads the features; the claim about the probe fails here</summary>
#
# ✓ The spread rose and the accuracy did not. In this case, too few directions were not what held the probe back.
# </details>
# <details><summary>The effective rank must be wrong</summary>
#
# ✗ Rank and accuracy are different things. Random points have a high rank and know nothing.
# </details>
# <details><summary>Raise λ until the probe improves</summary>
#
# ✗ That searches for the result you want to see. The reconstruction suffers, and sooner or later a lucky run appears.
# </details>
#
# ## Key takeaways
#
# - Features have collapsed when all images land on the same point. Images get mixed up when the
#   distance between them is not much larger than the distance between two views of one image (the noise).
# - The uniformity loss is the log of the mean of $e^{-2d^2}$ over pairs $i \neq j$. It is 0 for equal points,
#   $-4B/(B-1)$ for a simplex, and about −4 for random points in many dimensions.
# - It does not push points that coincide. Collapse is unstable under this loss, but not forbidden.
# - Leave out the pairs $i = j$, compute in float32, and gather the features of all processes, with their gradient.
# - The effective rank counts directions. Neither the rank nor the uniformity loss measures how informative features
#   are: random points score better in both than all three encoders.
# - The reconstruction loss by itself works against a full collapse of an MAE.
#
# **Next:** [07 · Pretraining](07_pretraining.ipynb) combines the three losses and the curriculum in one training run.
#
# **Further reading**
#
# - Wang & Isola (2020). [*Understanding contrastive representation learning through alignment and uniformity on the
#   hypersphere.*](https://arxiv.org/abs/2005.10242) ICML.
# - Zhang, Wang & Wang (2022). [*How mask matters: towards theoretical understandings of masked
#   autoencoders.*](https://arxiv.org/abs/2210.08344) NeurIPS. Proposes the uniformity term for MAE (U-MAE).
# - Jing, Vincent, LeCun & Tian (2022). [*Understanding dimensional collapse in contrastive self-supervised
#   learning.*](https://arxiv.org/abs/2110.09348) ICLR.
# - Roy & Vetterli (2007). [*The effective rank: a measure of effective
#   dimensionality.*](https://ieeexplore.ieee.org/document/7098875) EUSIPCO.
# - Cohn & Kumar (2007). [*Universally optimal distribution of points on spheres.*](https://arxiv.org/abs/math/0607446)
#   Journal of the AMS. Why the polygons, the tetrahedron and the simplex win.
