# %% [markdown]
# # 6 · Uniformity loss: points that keep apart
#
# An encoder turns every picture into a point on a sphere. If all pictures land on one spot, nothing can be
# told apart: the features have collapsed. The third loss of the improved MAE pushes the points away from each
# other. You will build it, watch it work, break it in three ways, and then ask whether it does what is claimed.
#
# **You will be able to**
#
# - say what collapse is, and show what it costs;
# - write the uniformity loss, and read its value for any batch;
# - see where it pushes hard and where it does not push at all;
# - avoid its three traps: pairs of a picture with itself, half precision, a batch cut into pieces;
# - count the directions that features use, and tell spread from knowledge.
#
# **Before you start:** notebooks [03](03_asymmetric_autoencoder.ipynb) and
# [04](04_reconstruction_loss.ipynb): the encoder, and the loss that it is trained with. **Time:** 45 minutes.

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
import inspect
import math

import torch
import torch.nn.functional as F

from mae_lib import losses, metrics
from mae_lib.course.exercises import uniformity_loss as check
from mae_lib.course.session import show
from mae_lib.course.widgets import uniformity_loss as widgets
from mae_lib.data.augment import resize
from mae_lib.data.sources import load_data
from mae_lib.model import MaskedAutoencoder
from mae_lib.plots import COLOURS, GREY, new_figure
from mae_lib.results import Accuracy
from mae_lib.runtime import distributed
from mae_lib.training.checkpoints import load_shipped

show(*widgets.title())

# %% [markdown]
# Nobody told these eighty points where to go. Each ran away from the others, downhill on one number. We shall
# find that number, and first the points.
#
# ## A picture becomes a point
#
# The encoder gives one token for every patch. Their mean is the picture's **feature**, and the mean divided by
# its length is a point on a sphere of radius 1. The sphere has as many dimensions as the tokens have values.

# %%
original, facts = load_shipped("original")
photographs = resize(course.photographs(224), original.img_size)  # (B, 3, H, W)
with torch.no_grad():
    tokens = original.encode(photographs)  # (B, N, D)
mean = tokens.mean(dim=1)  # (B, D)
z = mean / mean.norm(dim=1, keepdim=True)  # (B, D)
print(tuple(tokens.shape), "→", tuple(mean.shape))
print("lengths before:", *[f"{v:.1f}" for v in mean.norm(dim=1).tolist()])
print("lengths after: ", *[f"{v:.1f}" for v in z.norm(dim=1).tolist()])


# %% [markdown]
# Five photographs, five points. Dividing by the length keeps the direction and forgets the rest: otherwise a
# network could move points apart by making all its numbers larger, which tells nobody anything.
#
# What if a length is 0? Then this division gives `nan`, and one bad picture poisons the batch.
#
# ### ✏️ Exercise 1 · On to the sphere  (★☆☆ · 4 minutes)
#
# Write `unit(x, eps)`: divide each row of `x` (B, D) by its length, or by `eps` if that is larger.
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
# A sphere of 192 dimensions is hard to draw, so take a circle. 36 pictures stand on it in a row. Someone shows
# you another **view** of one of them, another crop for example: its point is off by a few degrees. Which picture
# was it? You answer with the nearest point.

# %%
def on_circle(degrees):
    angle = torch.deg2rad(degrees)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)  # (…, 2)


def found_again(z, views):
    """Which of the views (N, D) have their own picture as the nearest of z (N, D): (N,) of bool."""
    nearest = torch.cdist(views, z).argmin(dim=1)  # (N,)
    return nearest == torch.arange(len(z))


# %% [markdown]
# The noise is 3 degrees in every case. **Predict first:** the row covers nearly the whole circle, then a quarter
# of it, then 20 degrees, then 2. In which of these cases do you find more than half of the pictures again?

# %%
generator = torch.Generator().manual_seed(0)
noise = 3 * torch.randn(200, 36, generator=generator, dtype=torch.float64)  # degrees

figure, axes = new_figure(1, 4, 10, 2.9)
for axis, arc in zip(axes[0], (350, 90, 20, 2), strict=True):
    place = torch.linspace(-arc / 2, arc / 2, 36, dtype=torch.float64)  # (36,)
    z, views = on_circle(place), on_circle(place + noise)  # (36, 2), (200, 36, 2)
    share = torch.stack([found_again(z, view) for view in views]).double().mean().item()
    print(f"over {arc:3} degrees: {share:4.0%} found again")
    axis.plot(*on_circle(torch.arange(361.0)).T, color="0.85", linewidth=1, zorder=0)
    for points, radius, colour in ((views[0], 0.88, COLOURS[1]), (z, 1.0, COLOURS[0])):
        axis.scatter(*(radius * points).T, s=14, color=colour)
    axis.set(title=f"{arc} degrees: {share:.0%}", xlim=(-1.1, 1.15), ylim=(-1.1, 1.1))
    axis.set_aspect("equal")
    axis.axis("off")
show(figure, "Four circles with 36 blue points, spread over 350, 90, 20 and 2 degrees, and inside "
             "them an orange view of each. On the last, all blue ones are a dot, its views an arc.")

# %% [markdown]
# Only in the first. Blue are the pictures, orange one view of each. A quarter of the circle looks spacious, yet
# its neighbours are under 3 degrees apart and most views land nearer to a stranger. At 2 degrees you might as
# well draw lots: one in 36 is 3 %.
#
# Keep one thing in mind: what counts is the spread **compared with the noise**. Features in a narrow cone are
# no harm if views of one picture stay even closer. We shall come back to this with real encoders.
#
# ## One number for a batch
#
# Wang and Isola (2020) measure how evenly $B$ points are spread by
#
# $$L_{\text{unif}} = \log \frac{1}{B(B-1)} \sum_{i \neq j} e^{-2 \lVert z_i - z_j \rVert^2}.$$
#
# Each pair puts a term between 0 and 1 on a pile, and the loss is the log of the pile's mean. How much does a
# pair at each distance contribute?

# %%
for distance in (0, 0.5, 1, math.sqrt(2), 2):
    print(f"distance {distance:.2f}: term {math.exp(-2 * distance**2):.4f}")


# %% [markdown]
# Near pairs count, far ones hardly: the loss complains about crowding. Two points on a sphere of radius 1 are
# never further apart than 2; at a distance of √2 they stand at right angles.
#
# Now the whole formula, as a double loop over four points on a circle.

# %%
def uniformity_slowly(z):
    terms = []
    for i in range(len(z)):
        for j in range(len(z)):
            if i != j:
                square = ((z[i] - z[j]) ** 2).sum()
                terms.append(torch.exp(-2 * square))
    return torch.stack(terms).mean().log()


four = on_circle(torch.tensor([0.0, 60.0, 90.0, 200.0]))  # (4, 2)
slow = uniformity_slowly(four)
print(f"{slow:.4f}")


# %% [markdown]
# A batch of 64 has 4,032 pairs, and a batch of 1,024 over a million: no loop. The tool is an old acquaintance,
#
# $$\lVert a - b \rVert^2 = \lVert a \rVert^2 + \lVert b \rVert^2 - 2\, a \cdot b,$$
#
# because $a \cdot b$ for all pairs is one matrix product.
#
# ### ✏️ Exercise 2 · All pairs at once  (★★☆ · 6 minutes)
#
# Write `squared_distances(a, b)` for `a` (N, D) and `b` (M, D): a table (N, M) of ‖aᵢ − bⱼ‖², for points of
# any length. Rounding can make a tiny square negative; see to it that none is.
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
# On the sphere all lengths are 1, so the squared distance is $2 - 2\, z_i \cdot z_j$. The diagonal of the table
# holds the pairs $i = i$; we leave it out.

# %%
def uniformity_fast(z):
    square = 2 - 2 * z @ z.T  # (B, B)
    pairs = square[~torch.eye(len(z), dtype=torch.bool)]  # (B·(B − 1),)
    return (-2 * pairs).exp().mean().log()


fast, library = uniformity_fast(four), losses.uniformity_loss(four[:, None])  # (4, 2) → (4, 1, 2)
print(f"{slow:.4f} {fast:.4f} {library:.4f}")
print("equal:", torch.allclose(slow, fast) and torch.allclose(slow, library))

# %% [markdown]
# Three times the same. The package's `uniformity_loss` takes **tokens** (B, N, D), averages and normalises them
# itself; we gave it one token for each point. From here on we use it. For the five photographs:

# %%
print(f"five photographs: {losses.uniformity_loss(tokens):.2f}")


# %% [markdown]
# ## What does the value say?
#
# A number without its extremes says nothing. The upper one is easy: if all points are equal, every term is 1
# and the loss is 0. **How low can it go?** Take two points first, then three, four, and 64, as far apart as they
# can be: the corners of a regular **simplex**, which is a pair, a triangle, a tetrahedron, and so on.

# %%
def simplex(corners):
    x = torch.eye(corners, dtype=torch.float64) - 1 / corners
    return x / x.norm(dim=1, keepdim=True)  # (B, B)


for name, b in (("opposite pair", 2), ("triangle", 3), ("tetrahedron", 4), ("simplex", 64)):
    loss = losses.uniformity_loss(simplex(b)[:, None])  # (B, 1, B)
    print(f"{name:14} B = {b:2}: {loss:.3f}, −4B/(B − 1) = {-4 * b / (b - 1):.3f}")
collapsed = losses.uniformity_loss(torch.ones(64, 1, 192, dtype=torch.float64))
print(f"all equal      B = 64: {abs(collapsed):.3f}")

# %% [markdown]
# The lowest value is $-4B/(B-1)$, and here is why. The log of a mean is at least the mean of the logs, so the loss
# is at least $-2$ times the mean squared distance. And that mean has a limit, since a sum of vectors has no
# negative length:
#
# $$\sum_{i \neq j} z_i \cdot z_j = \Big\lVert \sum_i z_i \Big\rVert^2 - B \ge -B
# \quad\Rightarrow\quad \text{mean of } \lVert z_i - z_j \rVert^2 \le 2 + \frac{2}{B-1} = \frac{2B}{B-1}.$$
#
# Equality needs all distances to be the same: a simplex. Mind that the limit depends on $B$: how near to it a loss
# is must be judged by the limit of its own batch size.
#
# Next, 64 **random** points in 192 dimensions. **Predict:** nearer to 0 or nearer to the limit of −4.06?

# %%
generator = torch.Generator().manual_seed(0)
random_points = F.normalize(torch.randn(64, 192, generator=generator, dtype=torch.float64), dim=1)
angle = torch.rad2deg((random_points @ random_points.T).clamp(-1, 1).acos())  # (64, 64)
angle = angle[~torch.eye(64, dtype=torch.bool)]
print(f"loss {losses.uniformity_loss(random_points[:, None]):.2f}")
print(f"angles between {angle.min():.0f} and {angle.max():.0f} degrees")

# %% [markdown]
# Random points are nearly as good as the best. In 192 dimensions there is so much room that strangers stand at
# about right angles, where a pair's term is $e^{-4}$. So a batch can be read like this: near 0, all in one
# place; near −4, as good as random. Remember the second half of that sentence, it will matter.
#
# ## Watch them repel
#
# The explorer starts with a small clump and follows the slope of the loss. On the right is the loss, with the
# limit of the simplex below it. **Predict first:** on a circle, where do 3 points end? 4? 5? And which of these
# three reaches the dashed line? Then move `step`.

# %%
explorer = widgets.explorer()
explorer

# %%
for points in (3, 4, 5):
    explorer.set(space="circle", points=points, t=2, step=120)
    print(explorer.frame.text)
explorer.set(space="sphere", points=4)
print(explorer.frame.text)

# %% [markdown]
# A triangle, a square, a pentagon: the smallest distances are their sides. But only the triangle reaches the
# limit. Four points need three dimensions to be all equally far apart; on the sphere they get them and become
# a tetrahedron. In general $B$ points need $B - 1$ dimensions, and 192 are plenty for a batch of 64.
#
# The 2 in the formula is a choice, often called $t$: $e^{-t \lVert z_i - z_j \rVert^2}$. **Predict:** with a small
# $t$, 0.5, do twelve points on a circle stand more evenly after 120 steps, or less evenly, than with 2?

# %%
for t in (0.5, 2, 8):
    explorer.set(space="circle", points=12, t=t, step=120)
    print(explorer.frame.text)

# %% [markdown]
# Less evenly: with $t = 0.5$ two of them still nearly sit on top of each other. They are not at rest: even spacing is
# the lowest for every $t$ (Cohn and Kumar 2007), but with a small $t$ there is next to nothing to gain from it, and the
# points need thousands of steps. A small $t$ lets every point feel all others about equally: it settles the **global**
# balance, a sum of zero, and hardly cares for neighbours. A large $t$ feels only the nearest, so it cares for **local**
# order (with 8 the points are nearly, but not quite, at rest after 120 steps). $t = 2$ stands between.
#
# ## Where does it push, and how hard?
#
# The force on a point is minus the gradient of the loss. The widget computes it by a formula; let us see that it
# is what autograd finds for the package's loss.

# %%
points = torch.tensor(widgets.arc(60), requires_grad=True)  # (12, 2)
losses.uniformity_loss(points[:, None]).backward()
_, force = widgets.loss_and_force(points.detach().numpy())  # (12, 2)
print("equal:", torch.allclose(-points.grad, torch.from_numpy(force)))

# %% [markdown]
# Twelve points, spread over an arc. **Predict:** you squeeze them from 60 degrees to 12, to 3, to 0. Does the
# repulsion grow, as between magnets, or does it fall?

# %%
force_explorer = widgets.force_explorer()
force_explorer

# %%
for spread in (60, 12, 3, 0, 330):
    force_explorer.set(spread=spread, t=2)
    print(force_explorer.frame.text)

# %% [markdown]
# It falls, and at 0 degrees it is gone. The slope of $e^{-2d^2}$ is zero at $d = 0$: points that coincide do not
# feel each other. (At 330 degrees they stand evenly and the forces cancel.) In words: **the loss drives a clump
# apart, slowly first, but it does not move a batch that has fully collapsed.** Here is that batch in the package.

# %%
for name, scatter in (("all equal", 0.0), ("nearly equal", 0.01), ("spread a little", 0.3)):
    torch.manual_seed(0)
    features = torch.ones(16, 1, 192) + scatter * torch.randn(16, 1, 192)
    features.requires_grad_()
    losses.uniformity_loss(features).backward()
    print(f"{name:16} gradient {features.grad.norm():.4f}")


# %% [markdown]
# So the claim "prevents collapse" needs care. The term makes collapse an unstable place, like a pencil on its tip.
# Whether it wins against everything else that pulls on the features must be measured.
#
# ## Trap 1: a picture and itself
#
# The shortest code forgets $i \neq j$. A picture is at distance 0 from itself, so $B$ terms of the mean are 1
# forever. The loss still falls in training, and nobody notices. What is lost?

# %%
def with_itself(z):
    return (-2 * torch.cdist(z, z).square()).exp().mean().log()


print("  B   right   wrong   −log B   gradient left")
for b in (2, 4, 64):
    right, wrong = losses.uniformity_loss(simplex(b)[:, None]), with_itself(simplex(b))
    left = (1 - 1 / b) * (right - wrong).exp()  # ∂ wrong / ∂ right
    print(f"{b:3} {right:7.2f} {wrong:7.2f} {-math.log(b):8.2f} {left:10.1%}")


# %% [markdown]
# The wrong loss cannot fall below $-\log B$, however well the points are spread: $B$ of its $B^2$ terms are 1. The
# places where it is lowest are the same. But near them its gradient fades: about half of the right one
# remains in a batch of 64, and almost nothing in a small batch.
#
# ### ✏️ Exercise 3 · The uniformity loss  (★★★ · 12 minutes)
#
# Write `uniformity(tokens, t)` for tokens (B, N, D) and any $t$: mean over tokens, normalise, then the log of the
# mean of $e^{-t\lVert z_i - z_j\rVert^2}$ over the pairs $i \neq j$. It must hold for $t = 200$ too, where
# $e^{-800}$ is 0 on a computer and its log is $-\infty$.
#
# <details><summary>Hint 1</summary>
#
# First without the large t: `F.normalize(tokens.mean(dim=1), dim=1)`, the table of squared distances, and
# `~torch.eye(B, dtype=torch.bool)` to choose the pairs.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.logsumexp(x, dim=0)` is log(Σ exp(x)) without underflow. A mean is a sum over its number of terms, and the log
# turns that division into a subtraction of log(B(B − 1)).
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def uniformity(tokens, t=2.0):
#     z = F.normalize(tokens.mean(dim=1), dim=1)  # (B, D)
#     b = len(z)
#     square = (2 - 2 * z @ z.T).clamp(min=0)  # (B, B)
#     exponents = -t * square[~torch.eye(b, dtype=torch.bool)]  # (B·(B − 1),)
#     return exponents.logsumexp(dim=0) - math.log(b * (b - 1))
# ```
# </details>

# %%
def uniformity(tokens, t=2.0):
    ...  # your code


# %%
check.uniformity(uniformity)

# %% [markdown]
# ## Trap 2: half precision
#
# Training on a GPU often runs in `bfloat16`, numbers with two to three decimal digits. Distances are computed as
# 2 minus something close to 2. **What becomes of the distance of two near points?**

# %%
dtypes = {name: getattr(torch, name) for name in ("float64", "float32", "float16", "bfloat16")}
print("distance  " + "".join(f"{name:>12}" for name in dtypes))
for distance in (0.3, 0.1, 0.03, 0.01):
    pair = on_circle(torch.tensor([40.0, 40.0 + math.degrees(distance)], dtype=torch.float64))
    row = f"{distance:8.2f}  "
    for dtype in dtypes.values():
        half = pair.to(dtype)  # (2, 2)
        length = half.square().sum(dim=1)  # (2,)
        square = length[0] + length[1] - 2 * (half @ half.T)[0, 1]
        row += f"{square.item():12.6f}"
    print(row)

# %% [markdown]
# The first column is right. In `bfloat16` a distance of 0.1 has a square that is a fifth off, and at 0.03 nothing is
# left; `float16` holds out until 0.01. Subtracting two nearly equal numbers leaves only their rounding errors: this
# is **cancellation**. It strikes near points, the ones that the loss exists for.
#
# You need not ask for it. Under `autocast` matrix products turn to `bfloat16` silently, in the middle of your loss:

# %%
for name, width in (("16 points over 2 degrees", 2.0), ("16 equal points", 0.0)):
    clump = on_circle(torch.linspace(8 - width / 2, 8 + width / 2, 16))  # (16, 2), float32
    exact = losses.uniformity_loss(clump.double()[:, None])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, library = uniformity_fast(clump), losses.uniformity_loss(clump[:, None])
    exact, ours, library = (round(v.item(), 4) + 0.0 for v in (exact, ours, library))
    print(f"{name:25} exact {exact:.4f}   ours {ours:.4f}   the package's {library:.4f}")

# %% [markdown]
# Points over 2 degrees come out as if they had collapsed, and points that have collapsed get a value above 0, which
# no batch can have: their squared distances came out negative. The package switches autocast off for this product and
# takes half-precision tokens as float32 first: two lines in `mae_lib/losses.py`.
#
# **Is the push wrong, too?** Guess before you compare the gradients.

# %%
clump = on_circle(torch.linspace(7, 9, 16)).requires_grad_()  # (16, 2)
with torch.autocast("cpu", dtype=torch.bfloat16):
    ours = uniformity_fast(F.normalize(clump, dim=1))
in_half, = torch.autograd.grad(ours, clump)
in_full, = torch.autograd.grad(losses.uniformity_loss(clump[:, None]), clump)
cosine = F.cosine_similarity(in_half.flatten(), in_full.flatten(), dim=0)
print(f"loss {ours.abs():.4f}; cosine of the two gradients above 0.95:", bool(cosine > 0.95))

# %% [markdown]
# It points the right way: the derivative is made of the points themselves, not of their ruined distances. That is the
# nasty part. Training may go on as if nothing were wrong, while the number that you watch is made up, and the smallest
# distance or any root of it is worth nothing.
#
# ## Aside, trap 3: a batch in pieces
#
# Large trainings split a batch over several processes, and each computes the loss of its share. For the
# reconstruction loss, the mean of the shares is the whole. **And for a loss over pairs?** Two processes, two
# pictures each, as well spread as two points can be:

# %%
pair = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[:, None]  # (2, 1, 2)
halves = [losses.uniformity_loss(pair), losses.uniformity_loss(pair)]
whole = losses.uniformity_loss(torch.cat([pair, pair]))  # of (4, 1, 2)
print(f"each half {halves[0]:.2f}, their mean {sum(halves) / 2:.2f}, the whole batch {whole:.2f}")

# %% [markdown]
# Each process reports a perfect −8. Together they hold two pictures at each end, and nobody sees it, as no process
# knows a pair across the cut. The gradient is another one too:

# %%
torch.manual_seed(0)
batch = torch.randn(8, 1, 2, requires_grad=True)
of_whole, = torch.autograd.grad(losses.uniformity_loss(batch), batch)
cut = (losses.uniformity_loss(batch[:4]) + losses.uniformity_loss(batch[4:])) / 2
of_halves, = torch.autograd.grad(cut, batch)
cosine = F.cosine_similarity(of_whole.flatten(), of_halves.flatten(), dim=0)
print(f"cosine between the two gradients: {cosine:.2f}")
print(inspect.getsource(distributed.gather))

# %% [markdown]
# 1 would be the same direction. The package therefore collects the features of all processes before the loss,
# **with gradient**. Plain `all_gather` of PyTorch cuts it, so each process puts its own rows back. It pushes only
# those, and after averaging over $N$ processes the term would be $N$ times too weak: hence the factor, which changes
# the gradient and not the value. `tests/runtime/test_distributed.py` trains
# with one process and with two and compares the weights.
#
# ## How many directions are in use?
#
# Points can be spread and still waste the sphere: evenly on a circle inside 192 dimensions, they use 2 of them. The
# **effective rank** (Roy & Vetterli 2007) counts directions, weighed by use. Subtract the mean of the features, take
# the singular values $\sigma_k$ (how far the points reach along each direction), make shares of them, and
#
# $$p_k = \frac{\sigma_k}{\sum_l \sigma_l}, \qquad \text{effective rank} = \exp\Big(-\sum_k p_k \log p_k\Big).$$
#
# The exponent is the entropy of the shares: $n$ equal shares give exactly $n$. By hand, for a flat cloud in
# three dimensions, as wide as long, but a tenth as high. **What do you expect?**

# %%
generator = torch.Generator().manual_seed(0)
cloud = torch.randn(500, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 1, 0.1])
singular = torch.linalg.svdvals(cloud - cloud.mean(dim=0))  # (3,)
p = singular / singular.sum()
entropy = -(p * p.log()).sum()
print("shares", *[f"{v:.2f}" for v in p.tolist()], f"  effective rank {entropy.exp():.2f}")


# %% [markdown]
# Two and a bit: two full directions, and a third that is used a little.
#
# ### ✏️ Exercise 4 · Effective rank  (★★☆ · 5 minutes)
#
# Write `effective_rank(x)` for features (N, D) that may lie in a plane or on a line, so that some shares are 0.
#
# <details><summary>Hint 1</summary>
#
# Centre, singular values, shares, entropy, exp: the cell above has all five.
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
# Now the package's `metrics.effective_rank` beside the loss, on 400 points made for the purpose. **Predict** which
# rows the two measures disagree on.

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(400, 192, generator=generator, dtype=torch.float64)
few = torch.arange(192)
shapes = {
    "two opposite ends": x * (few < 1),  # only one direction is left
    "a circle": x * (few < 2),
    "a sphere in 3-D": x * (few < 3),
    "a narrow cone": 0.02 * x + (few < 1),  # all near one point, in every direction
    "the whole sphere": x,
}
for name, features in shapes.items():
    z = F.normalize(features, dim=1)  # (400, 192)
    print(f"{name:18} loss {losses.uniformity_loss(z[:, None]):5.2f}  "
          f"effective rank {metrics.effective_rank(z):5.1f}")


# %% [markdown]
# On the circle the loss has fallen to −1.58, and the rank is 2. In the cone the loss calls
# the features nearly collapsed, and the rank finds almost all directions in use. Neither is wrong: one measures
# distances, the other directions. Whether the cone is a disaster depends on the noise, as on our circle.
#
# ## Three encoders and two impostors
#
# Time for real features: of an encoder with random weights, of the two that come with the package, `original` and
# `improved`. Each sees a quarter of the patches of a generated scene, then *another* quarter: two
# **views** without a patch in common, as in MAE training. Is the scene found again?

# %%
@torch.no_grad()
def two_views(encoder, images):
    """Features of two disjoint quarters of uint8 images: two tensors (N, D), of length 1."""
    encoder = encoder.to(session.device)
    x = resize(images.to(session.device), encoder.img_size)  # (N, 3, H, W)
    noise = torch.rand(len(x), encoder.num_patches, generator=torch.Generator().manual_seed(0))
    order = noise.argsort(dim=1).to(session.device)  # (N, L)
    k = encoder.num_patches // 4
    views = [encoder.encode(x, ids) for ids in (order[:, :k], order[:, k : 2 * k])]
    return [F.normalize(view.mean(dim=1), dim=1).double().cpu() for view in views]


# %% [markdown]
# The impostors know nothing about these pictures. *Random points* are drawn anew for each view. *Mixed up* has the improved
# encoder's features, but the second view of each scene is that of the scene before it.
#
# **Predict:** order the five by their uniformity loss, then by how often they find a scene again.

# %%
count = session.choose(smoke=300, quick=1000, full=4000)
scenes = load_data("scenes", counts=(1, count, 1), progress=False).train  # (N, 3, 96, 96)
improved, _ = load_shipped("improved")
torch.manual_seed(0)
untrained = MaskedAutoencoder(**original.config).eval()

encoders = {"untrained": untrained, "original": original, "improved": improved}
features = {name: two_views(encoder, scenes) for name, encoder in encoders.items()}
generator = torch.Generator().manual_seed(0)
points = torch.randn(2, count, original.embed_dim, generator=generator, dtype=torch.float64)
features["random points"] = list(F.normalize(points, dim=2))
features["mixed up"] = [features["improved"][0], features["improved"][1].roll(1, dims=0)]

# %%
table = {}
print(f"{count} scenes       loss   rank   alignment   others   found again   95 % interval")
for name, (z, view) in features.items():
    found = Accuracy(found_again(z, view))
    low, high = found.interval()
    loss, rank = losses.uniformity_loss(z[:, None]).item(), metrics.effective_rank(z)
    alignment = (z - view).square().sum(dim=1).mean()  # between views of one scene
    others = (z - view.roll(1, dims=0)).square().sum(dim=1).mean()  # between two scenes
    table[name] = loss, rank, found.percent, alignment / others
    print(f"{name:14} {loss:7.2f} {rank:6.0f} {alignment:11.2f} {others:8.2f} "
          f"{found.percent:11.0f} % {low:8.0f} to {high:.0f} %")

# %%
titles = ("uniformity loss", "effective rank", "scenes found again, %")
figure, axes = new_figure(1, 3, 10, 2.8)
for k, (axis, title) in enumerate(zip(axes[0], titles, strict=True)):
    values = [row[k] for row in table.values()]
    axis.barh(list(table), values, color=[COLOURS[0]] * 3 + [GREY] * 2)
    axis.set(title=title)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    if k:
        axis.set_yticks([])
show(figure, "Bars for five sets of features. The random points have the lowest loss and the "
             "highest effective rank, but find next to no scene again; nor do the mixed-up ones.")

# %%
print("lowest loss: ", min(table, key=lambda name: table[name][0]))
print("highest rank:", max(table, key=lambda name: table[name][1]))
print("finds most:  ", max(table, key=lambda name: table[name][2]))
print("alignment / others:", ", ".join(f"{name} {row[3]:.1f}" for name, row in table.items()))
same = all(table["mixed up"][k] == table["improved"][k] for k in (0, 1))
print("mixed up has the improved encoder's uniformity and rank:", same)
print(f"chance is {1 / count:.1%}")


# %% [markdown]
# The best uniformity and the best rank belong to points that have never seen a picture. And features that are
# handed to the wrong scenes keep both numbers to the last digit. **Uniform is not informative**: neither measure
# looks at which point belongs to which picture, so neither can say what an encoder knows.
#
# Now read the three encoders, with three cautions.
#
# - Is `improved` more uniform than `original`, and of higher rank? That is what its term asks for. But it differs in two
#   more things, the curriculum and the Laplacian, and each is a single training run.
# - Do the intervals of two encoders overlap? That alone settles nothing, since all saw the same scenes: one would
#   count the scenes that only one of them finds ([notebook 08](08_linear_probe_and_fine_tuning.ipynb)).
# - Where does the untrained encoder stand? If it finds more scenes than a trained one, do not be too
#   surprised: two quarters of a scene share their colours, and random weights probably keep much of colour.
#   The task is of our own making, and generated scenes are not what the other two were trained on. What
#   features are worth for classes is for [notebook 08](08_linear_probe_and_fine_tuning.ipynb), with the same
#   untrained baseline.
#
# ### The other half: alignment
#
# Wang and Isola pair uniformity with **alignment**, $\mathbb{E} \lVert z - z' \rVert^2$ over two views $z, z'$ of one
# picture: pictures far apart, views of one picture close together. Look at the columns *alignment* and *others*, and at
# their ratio. At 0, two views agree; at 1, as for the impostors, they are as far apart as two different pictures. The improved
# MAE has a term for uniformity and none for alignment. If its ratio is above that of `original`, the term has pushed
# views of one picture apart along with the pictures: more spread, and no better sorted.

# %% [markdown]
# ## Would an MAE collapse without the term?
#
# Contrastive learning can collapse: "map all pictures to one point" makes views agree perfectly. But an MAE has to
# *paint* what is hidden. If its tokens were the same for every picture, it would have to paint the same for all. Let us
# hand the decoder the tokens of the wrong photograph, and the mean tokens of all, and see what it costs.

# %%
def cost_of_tokens(model, facts):
    x = resize(course.photographs(224), model.img_size).to(session.device)
    noise = torch.rand(1, model.num_patches, generator=torch.Generator().manual_seed(0))
    out = model(x, 0.75, noise=noise.expand(len(x), -1).to(session.device))  # one mask for all
    same = out.latent.mean(dim=0, keepdim=True).expand_as(out.latent)  # (B, K, D)
    for name, latent in (("own", out.latent), ("another's", out.latent.roll(1, 0)), ("mean", same)):
        pred = model.decode(latent, out.ids_restore)  # (B, L, p²·3)
        loss = losses.mae_loss(pred, x, out.mask, model.patch_size, facts["norm_pix"])
        print(f"{name:10} tokens: loss {loss:.2f}")


print("λ of the uniformity term in training:", facts["lambda_unif"])
with torch.no_grad():
    cost_of_tokens(original.to(session.device), facts)

# %% [markdown]
# Compare the last two lines with the first, and with 1, which is what predicting nothing costs under
# `norm_pix` (notebook 04). Collapsed tokens cost the reconstruction dearly, so the MAE loss itself keeps
# pictures apart, without any help: this encoder was trained with λ = 0. Its row in the table agrees, with an
# effective rank far above 1.
#
# That is no full acquittal. Zhang, Wang and Wang (2022) argue that an MAE can suffer from a milder form, **dimensional
# collapse**: too few directions in use. And one thing is protected by nothing. The decoder reads the tokens one by one, so
# a large part that *all* features have in common costs it little. Let us take that part away by hand: subtract the
# mean feature of all scenes, one constant vector. **How far will the loss fall?**

# %%
for name in encoders:
    z, view = features[name]
    common = z.mean(dim=0)  # (D,)
    moved = [F.normalize(x - common, dim=1) for x in (z, view)]
    before, after = (losses.uniformity_loss(x[:, None]) for x in (z, moved[0]))
    found = [found_again(*pair).double().mean() for pair in ((z, view), moved)]
    print(f"{name:10} common part {common.norm():.2f} long   loss {before:.2f} → {after:.2f}   "
          f"found again {found[0]:.0%} → {found[1]:.0%}")

# %% [markdown]
# How far does `original` fall, whose training never asked for spread, and how far `improved`? What disappears
# by subtraction was one arrow that all features share. Taking it away teaches nobody anything about pictures:
# compare the shares found again, before and after. So a part of what the term achieves, a subtraction
# achieves too. It may help a classifier that measures distances; a linear probe standardises the features
# anyway.
#
# ## What the claim would need
#
# Reported for this term: +2–5 % linear probe, about 2 % overhead, parameter-free, prevents collapse. After this notebook you
# can say what would count as evidence:
#
# - a training with the term and one without, **nothing else changed**, and several seeds of each, so that the difference has an interval;
# - the effective rank of both: if it does not rise, the term did nothing, and if it rises while the probe does not, spread was not what was missing;
# - a collapse to prevent: the encoder without the term must show one;
# - accuracy on labels, judged on test images looked at once. Uniformity itself is no evidence: random points have it.
#
# That "parameter-free" leaves λ and $t$ to be chosen, you have noticed. [Notebook 10](10_claims.ipynb) has the measurements.
#
# ## Quiz
#
# **1. A batch of 64 has a uniformity loss of −3.96. What do you know about the encoder?**
#
# <details><summary>It has learned good features</summary>
#
# ✗ Random points have this value too. The loss does not know which point belongs to which picture.
# </details>
# <details><summary>Its features stand at about right angles to each other</summary>
#
# ✓ A term of e⁻⁴ belongs to a squared distance of 2, a right angle. More than that it does not say.
# </details>
# <details><summary>It has reached the lowest possible value</summary>
#
# ✗ Close, but the simplex of 64 points has −4 · 64/63 = −4.06.
# </details>
#
# **2. You train in bfloat16 and the uniformity loss is sometimes a little above 0. What is going on?**
#
# <details><summary>The features are worse than collapsed</summary>
#
# ✗ Nothing is: equal points give 0, and every distance makes it smaller.
# </details>
# <details><summary>The learning rate is too high</summary>
#
# ✗ No features at all have a positive loss, however they were reached.
# </details>
# <details><summary>Rounding made some squared distances negative</summary>
#
# ✓ Near points lose their distance to cancellation. Compute the product in float32, outside autocast, and clamp at 0.
# </details>
#
# **3. Adding the term raises the effective rank from 40 to 90, and the linear probe stays where it was. Your verdict?**
#
# <details><summary>The term does what it is made for; the claim about the probe fails here</summary>
#
# ✓ Spread rose, accuracy did not: in this case, too few directions was not what held the probe back.
# </details>
# <details><summary>The effective rank must be wrong</summary>
#
# ✗ Rank and accuracy are different things: random points have nearly full rank and know nothing.
# </details>
# <details><summary>Raise λ until the probe improves</summary>
#
# ✗ That is choosing what you want to see; the reconstruction pays for it, and a lucky run will come sooner or later.
# </details>
#
# ## What you take along
#
# - A feature is a direction: the mean of the tokens, scaled to length 1. Collapse is when directions differ by less than the noise.
# - The uniformity loss is the log of the mean of $e^{-2d^2}$ over pairs $i \neq j$: 0 for equal points, $-4B/(B-1)$ for a simplex, about −4 for random points.
# - It does not push points that coincide: collapse is unstable under it, not forbidden.
# - Leave out $i = i$, compute in float32, gather across processes with gradient.
# - Effective rank counts directions. Neither it nor uniformity measures knowledge: random points score best in both.
# - An MAE that must paint what is hidden has a reason of its own not to collapse.
#
# **Next:** [07 · Pretraining](07_pretraining.ipynb) puts the three losses and the curriculum into one training.
#
# **Further reading**
#
# - Wang & Isola (2020). *Understanding contrastive representation learning through alignment and uniformity on the hypersphere.* ICML.
# - Roy & Vetterli (2007). *The effective rank: a measure of effective dimensionality.* EUSIPCO.
# - Jing, Vincent, LeCun & Tian (2022). *Understanding dimensional collapse in contrastive self-supervised learning.* ICLR.
# - Zhang, Wang & Wang (2022). *How mask matters: towards theoretical understandings of masked autoencoders.* NeurIPS. Proposes a uniformity term for MAE.
# - Cohn & Kumar (2007). *Universally optimal distribution of points on spheres.* Journal of the AMS. Why the polygons, the tetrahedron and the simplex win.
