"""Notebook 08: neighbours of a scene, the best of many settings, intervals of test set and seeds.

What is drawn from records reads the results that come with the package, test image by test image.
"""

import functools
import itertools
import math

import ipywidgets
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from mae_lib.course.widgets import Explorer, Frame, recorded_runs
from mae_lib.course.widgets.scene_neighbours import (
    BANK,
    FEATURES,
    OTHERS,
    QUERIES,
    bank,
    framed,
    similarities,
)
from mae_lib.course.widgets.sheet import INK, Sheet
from mae_lib.data import scenes
from mae_lib.plots import COLOURS, GREY, new_figure
from mae_lib.results import BASELINES, Accuracy

BLUE, ORANGE, GREEN = COLOURS[:3]
TEST_IMAGES = (100, 500, 1000, 2000, 8000, 50000)
SETTINGS = (1, 2, 5, 11, 30, 100, 300, 1000)


# ---------------------------------------------------------------- neighbours


def render_neighbours(scene: int = 0, features: str = FEATURES[0], k: int = 10) -> Frame:
    """A scene, its k nearest with their classes, and how they vote."""
    labels = bank()[1]
    near, ids = similarities(features)[scene].topk(k)
    votes = torch.zeros(len(scenes.CLASSES))
    votes = votes.scatter_add(0, labels[ids], (near / 0.07).exp())
    votes, truth = (votes / votes.sum()).numpy(), int(labels[BANK + scene])
    winner, agree = int(votes.argmax()), int((labels[ids] == truth).sum())

    sheet = Sheet(1020, 290)
    sheet.text(6, 8, f"scene {scene}: {scenes.CLASSES[truth]}", "lt", size=15)
    sheet.put(framed(BANK + scene, INK, 2), 6, 32)
    sheet.text(418, 8, f"its {k} nearest neighbours, with their cosines", "mt", size=15)
    for i, image in enumerate(ids.tolist()):
        left, top = 174 + 104 * (i % 5), 32 + 128 * (i // 5)
        sheet.put(framed(image, BLUE if int(labels[image]) == truth else ORANGE), left, top)
        words = "\n".join([*scenes.CLASSES[labels[image]].split(), f"{near[i]:.3f}"])
        sheet.text(left + 36, top + 75, words, size=14)
    sheet.text(1012, 8, "share of the votes", "rt", size=15)
    for i, name in enumerate(scenes.CLASSES):
        y = 44 + 23 * i
        sheet.text(802, y, name, "rm", size=14)
        sheet.box(810, y - 8, 810 + 160 * float(votes[i]), y + 8, BLUE if i == truth else GREY)
        if votes[i]:
            sheet.text(815 + 160 * float(votes[i]), y, f"{100 * votes[i]:.0f} %", "lm", size=13)
    sheet.line([(810, 32), (810, 264)])
    verdict = "right" if winner == truth else "wrong"
    text = (f"Scene {scene} is a {scenes.CLASSES[truth]}. Of its {k} nearest ({features}), {agree} "
            f"{'is' if agree == 1 else 'are'} of this class. The vote says "
            f"{scenes.CLASSES[winner]}: {verdict}.")
    return sheet.frame(text)


def neighbours_explorer(others: dict[str, Tensor] | None = None) -> Explorer:
    """`others`: more features (N, D) of the scenes in `bank()`, by the name of their encoder."""
    OTHERS.update(others or {})
    scene = ipywidgets.IntSlider(0, min=0, max=QUERIES - 1, description="scene")
    options = (*FEATURES, *(others or ()))
    features = ipywidgets.ToggleButtons(options=options, description="features")
    k = ipywidgets.IntSlider(10, min=1, max=10, description="k")
    titles = "raw pixels", "the untrained encoder", "the original encoder", *(others or ())
    stills = [{"features": features, "title": f"neighbours by {title}"}
              for features, title in zip(options, titles, strict=True)]
    return Explorer(render_neighbours, stills[-3:], scene=scene, features=features, k=k)


# ---------------------------------------------------------------- the best of many settings


@functools.cache
def right_of(images: int, share: float) -> np.ndarray:
    """The chance of 0, 1, …, all right of so many images, each right with chance `share`."""
    log = np.cumsum(np.log(np.arange(1, images + 1)))
    factorial = np.concatenate([[0.0], log])  # log k!
    k = np.arange(images + 1)
    return np.exp(factorial[-1] - factorial - factorial[::-1]
                  + k * math.log(share) + (images - k) * math.log(1 - share))


def best_of(settings: int, images: int, share: float) -> np.ndarray:
    """The chance of each score of the best of so many settings, all of them equally good."""
    below = np.minimum(np.cumsum(right_of(images, share)), 1.0)
    return np.diff(below**settings, prepend=0.0)


def render_peeking(accuracy: int = 40, settings: int = 30, test_images: int = 500) -> Frame:
    """What one setting scores, and what the best of many scores that are no better."""
    share = accuracy / 100
    score = 100 * np.arange(test_images + 1) / test_images
    one, best = right_of(test_images, share), best_of(settings, test_images, share)
    mean = float((best * score).sum())
    sheet = Sheet(760, 214)
    place = sheet.axis(20, 740, 166, accuracy - 16, accuracy + 16,
                       "accuracy on the images used to choose, %")
    sheet.text(20, 6, f"true accuracy of every setting: {accuracy} %", "lt", size=13)
    for chance, colour, label, y in ((one, BLUE, "a single setting", 14),
                                     (best, ORANGE, f"the best of {settings:,}", 34)):
        shown = np.flatnonzero(chance > 1e-3 * chance.max())
        curve = [(place(score[i]), 165 - 135 * chance[i] / chance.max()) for i in shown]
        sheet.area([(curve[0][0], 165), *curve, (curve[-1][0], 165)], colour)
        middle = place(float((chance * score).sum()))
        sheet.line([(middle, 30), (middle, 165)], colour, 2)
        sheet.text(740, y, label, "rm", colour, 13)
    text = (f"The best of {settings:,} setting{'s'[:settings > 1]} with a true accuracy of "
            f"{accuracy} % scores {mean:.1f} % on {test_images:,} images, "
            f"{abs(mean - accuracy):.1f} points too high.")
    return sheet.frame(text)


def peeking_explorer() -> Explorer:
    accuracy = ipywidgets.IntSlider(40, min=20, max=80, step=5, description="accuracy, %")
    settings = ipywidgets.SelectionSlider(options=SETTINGS, value=1, description="settings")
    images = ipywidgets.SelectionSlider(options=TEST_IMAGES, value=500, description="images")
    stills = [{"settings": n, "test_images": images, "title": f"{n:,} settings, {images:,} images"}
              for n, images in ((11, 500), (1000, 500), (1000, 8000))]
    return Explorer(render_peeking, stills, accuracy=accuracy, settings=settings,
                    test_images=images)


# ---------------------------------------------------------------- intervals over test images


def half_widths(a: float, b: float, differ: float, images: int) -> tuple[float, float]:
    """Half a 95 % interval of b − a, for shares: on two test sets, and on the same images.

    `differ` is the share of images on which exactly one of the two is right.
    """
    unpaired = stats.norm.ppf(0.975) * math.sqrt((a * (1 - a) + b * (1 - b)) / images)
    return unpaired, stats.norm.ppf(0.975) * math.sqrt(max(differ - (b - a) ** 2, 0.0) / images)


def verdict(difference: float, half: float, a: str = "A", b: str = "B") -> str:
    """What an interval of b − a says."""
    return "cannot tell" if abs(difference) <= half else f"{b if difference > 0 else a} is better"


def render_intervals(accuracy: float = 50.0, difference: float = 0.3, differ: int = 28,
                     test_images: int = 8000) -> Frame:
    """Two accuracies with their intervals, and their difference's, unpaired and paired."""
    a = accuracy / 100
    d = round(difference, 1) / 100
    b = a + d
    share = min(max(differ / 100, d), a + b, 2 - a - b)  # what two such accuracies allow
    unpaired, paired = half_widths(a, b, share, test_images)
    sheet, reach = Sheet(760, 216), max(2.5, 130 * unpaired)
    above = sheet.axis(20, 740, 62, accuracy - reach, accuracy + 2 * reach + 5, "accuracy, %")
    below = sheet.axis(20, 740, 174, -reach, 2 * reach + 5, "B − A, points")
    for y, p, colour, name in ((16, a, BLUE, "A"), (42, b, ORANGE, "B")):
        low, high = Accuracy(torch.arange(test_images) < round(p * test_images)).interval()
        sheet.interval(above, y, (low + high) / 2, (high - low) / 2, colour)
        sheet.text(above(high) + 12, y, f"{name}  {100 * p:.1f} %", "lm", colour, 13)
    for y, half, colour, name in ((126, unpaired, GREY, "on two test sets"),
                                  (152, paired, GREEN, "on the same images")):
        sheet.interval(below, y, 100 * d, 100 * half, colour)
        words = f"{name}: {verdict(d, half)}"
        sheet.text(below(100 * (d + half)) + 12, y, words, "lm", colour, 13)
    sheet.line([(below(0), 112), (below(0), 174)], "black")
    z = stats.norm.ppf(0.975)
    needed = z**2 * max(share - d * d, 0.0) / d**2 if d else math.inf  # images, in pairs
    needed = (f"The paired half-width falls to {100 * d:.1f} points at about "
              f"{math.ceil(float(f'{needed:.2g}')):,} images." if d
              else "No number of images is enough for a difference of 0.")
    text = (f"{100 * d:.1f} points on {test_images:,} images: ± {100 * unpaired:.1f} unpaired, "
            f"{verdict(d, unpaired)}; ± {100 * paired:.1f} paired, {verdict(d, paired)}. "
            f"{needed}")
    return sheet.frame(text)


def interval_explorer() -> Explorer:
    accuracy = ipywidgets.FloatSlider(50, min=10, max=90, step=5, description="A, %",
                                      readout_format=".0f")
    difference = ipywidgets.FloatSlider(0.3, min=0, max=5, step=0.1, description="B − A",
                                        readout_format=".1f")
    differ = ipywidgets.IntSlider(28, min=1, max=45, description="differ on, %")
    images = ipywidgets.SelectionSlider(options=TEST_IMAGES, value=8000, description="images")
    stills = [{"difference": d, "test_images": n, "title": f"{d} points, {n:,} test images"}
              for d, n in ((0.3, 8000), (1.2, 8000), (0.3, 50000))]
    return Explorer(render_intervals, stills, accuracy=accuracy, difference=difference,
                    differ=differ, test_images=images)


# ---------------------------------------------------------------- intervals over seeds


def seed_intervals(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """The mean of b − a over seeds (S,), and half its 95 % interval, unpaired and paired."""
    n = len(a)
    unpaired = stats.t.ppf(0.975, 2 * n - 2) * math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / n)
    paired = stats.t.ppf(0.975, n - 1) * (b - a).std(ddof=1) / math.sqrt(n)
    return float((b - a).mean()), unpaired, paired


def render_seeds(seeds: int = 3, shared: float = 1.5, separate: float = 0.2,
                 difference: float = 1.0, draw: int = 16) -> Frame:
    """Made-up scores of two methods, trained with the same seeds, and what they tell.

    A seed moves both methods by `shared`, and each by `separate`, in points (standard deviations).
    """
    noise = np.random.Generator(np.random.PCG64(draw)).standard_normal((3, 5))[:, :seeds]
    common, a, b = noise[0] * shared, noise[1] * separate, noise[2] * separate
    a, b = 50 + common + a, 50 + difference + common + b
    mean, unpaired, paired = seed_intervals(a, b)
    sheet = Sheet(760, 214)
    place = sheet.axis(330, 740, 166, -5, 7, "B − A, points")
    sheet.text(150, 6, "accuracy, %, one line per seed", "mt", size=13)
    for accuracy in range(46, 57, 2):
        y = 182 - 14 * (accuracy - 46)
        sheet.text(38, y, str(accuracy), "rm")
        sheet.line([(44, y), (270, y)], "#E4E4E4", 1)
    for one, other in zip(a, b, strict=True):
        ends = [(x, 182 - 14 * (v - 46)) for x, v in ((90, one), (225, other))]
        sheet.line(ends, GREY, 2)
        for end, colour in zip(ends, (BLUE, ORANGE), strict=True):
            sheet.dot(*end, 6, colour)
    for x, name in ((90, "A"), (225, "B")):
        sheet.text(x, 194, name, size=13)
    for y, half, colour, name in ((62, unpaired, GREY, "unpaired"), (126, paired, GREEN, "paired")):
        sheet.interval(place, y, mean, half, colour)
        words = f"{name}: ± {half:.1f}, {verdict(mean, half)}"
        sheet.text(740, y - 24, words, "rm", colour, 13)
    sheet.line([(place(0), 26), (place(0), 166)], "black")
    text = (f"{seeds} seeds: B − A is {mean:.1f} points, ± {unpaired:.1f} unpaired "
            f"({verdict(mean, unpaired)}), ± {paired:.1f} paired ({verdict(mean, paired)}).")
    return sheet.frame(text)


def seeds_explorer() -> Explorer:
    seeds = ipywidgets.SelectionSlider(options=(2, 3, 4, 5), value=3, description="seeds")
    shared = ipywidgets.FloatSlider(1.5, min=0, max=2, step=0.1, description="shared")
    separate = ipywidgets.FloatSlider(0.2, min=0.1, max=2, step=0.1, description="separate")
    difference = ipywidgets.FloatSlider(1.0, min=0, max=3, step=0.1, description="B − A")
    draw = ipywidgets.IntSlider(16, min=0, max=20, description="draw")
    stills = [{"title": "the seeds move both methods together"},
              {"shared": 0.0, "separate": 0.5, "title": "each seed moves both separately"},
              {"seeds": 2, "title": "both together, but only two seeds"}]
    return Explorer(render_seeds, stills, seeds=seeds, shared=shared, separate=separate,
                    difference=difference, draw=draw)


# ---------------------------------------------------------------- pictures


@functools.cache
def records() -> list[dict]:
    """The baselines, then original and improved, from the results that come with the package."""
    found = [r for name in BASELINES for r in recorded_runs.evidence().runs(name)]
    return [*found, *itertools.chain(*recorded_runs.recorded().values())]


def recorded(name: str, measure: str) -> Accuracy:
    """Which test images a method, or an "untrained" encoder, had right, with its first seed.

    `measure`: such as "lp", or "ft@50" for fine-tuning with 50 labels.
    """
    name = {"untrained": "random init"}.get(name, name)  # as the records call it
    found = (r["measures"][measure] for r in records()
             if r["name"] == name and measure in r["measures"])
    return Accuracy.from_entry(next(found))


def mosaic(axis, values: Tensor, colours: list[str], title: str) -> None:
    """A dot for every test image, in the order of the test set, coloured by its value."""
    columns = 100
    padded = F.pad(values.float(), (0, -len(values) % columns), value=math.nan)
    axis.imshow(padded.view(-1, columns), cmap=ListedColormap(colours), vmin=-0.5,
                vmax=len(colours) - 0.5, aspect="auto", interpolation="nearest")
    axis.set_title(title)
    axis.axis("off")


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows: a scene of each class."""
    figure, axes = new_figure(2, 5, 9, 4.2)
    images, labels = bank()
    for label, axis in enumerate(axes.flat):
        scene = int((labels == label).nonzero()[0])
        axis.imshow(images[scene].permute(1, 2, 0))
        axis.set_title(scenes.CLASSES[label], fontsize=12)
        axis.axis("off")
    return figure, ("Ten generated scenes, one of each class: a large patterned object in front "
                    "of a cluttered background. Each pattern and each shape is in two classes.")


def disagreement() -> tuple[Figure, str]:
    """Which test photographs the probe of only one of original and improved has right."""
    figure, axes = new_figure(1, 1, 8, 3)
    a, b = (recorded(name, "lp").correct.int() for name in ("original", "improved"))
    mosaic(axes[0, 0], 1 + b - a, [ORANGE, "#EEEEEE", GREEN],
           "right: only the original (orange), only the improved (green)")
    return figure, (f"A grid of {len(a):,} cells, one for each test photograph. Most are grey: "
                    "the two probes agree. Orange and green cells are scattered among them, about "
                    "as many of one colour as of the other.")


def confusion(counts: Tensor, classes: tuple[str, ...]) -> tuple[Figure, str]:
    """A table of true and predicted classes (C, C) as a picture, and what it shows."""
    figure, axes = new_figure(1, 1, 7.5, 6)
    axis, names = axes[0, 0], list(classes)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, col in counts.nonzero().tolist():
        axis.text(col, row, int(counts[row, col]), ha="center", va="center", fontsize=11,
                  color="white" if shares[row, col] > 0.5 else INK)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.grid(visible=False)
    return figure, ("A table of true against predicted classes. Test scenes on its diagonal "
                    "are classified correctly; the others are mistakes.")
