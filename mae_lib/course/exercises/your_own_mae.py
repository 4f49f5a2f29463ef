"""Notebook 11: images in both halves, a budget of time, a card for a model."""

import math
import re
from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from mae_lib.course.exercises import call, exercise, kind, require, require_tensor

CARD_FACTS = (
    {"name": "first-try", "images": "2,000 generated scenes", "sizes": "48 px, patch 8",
     "recipe": "4 epochs, batch 32, lr 0.002", "held-out loss": "0.612, one run",
     "linear probe": "31.4 % [28.6, 34.3]", "random weights": "22.7 % [20.2, 25.4]",
     "chance": "10.0 %"},
    {"name": "cats of our street", "images": "812 photographs of cats", "sizes": "64 px, patch 8",
     "recipe": "90 epochs from the shipped weights", "held-out loss": "0.481, one run",
     "linear probe": "71.0 % [66.2, 75.4]", "random weights": "55.5 % [50.4, 60.5]",
     "chance": "33.3 %"},
)
MEASURED = ("linear probe", "random weights", "chance")
STEPS = (0, 0.1, 0.3, 0.45, 0.52, 0.6, 0.8, 1.2, 1.7, 2.4, 3.5, 4.7, 6)  # distances, in limits


@exercise("Right: every test image is compared with every training image.")
def leaks(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.tensor([-2.0, 0, 0, 0, 2, 0, 0, 0])  # root mean square 1, but not mean or maximum
    for count, dim, limit, change in ((8, 24, 0.05, few), (20, 48, 0.03, torch.ones(8))):
        train = torch.rand(count, dim, generator=generator)
        test = train[(3 * torch.arange(len(STEPS)) + 2) % count]
        test = test + limit * torch.tensor(STEPS)[:, None] * change.repeat(dim // 8)
        tests, nearest, root = len(test), _nearest(test, train), math.sqrt(dim)
        right = nearest < limit
        found = call(answer, train, test, limit)
        found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        require(not isinstance(found, Tensor) or found.shape != (count,),
                f"You give one answer for each of the {count} training images. Give one for each "
                f"of the {tests} test images.")
        require_tensor(found, (tests,))
        require(found.dtype == torch.bool,
                "The result should be True or False for each test image; yours has dtype "
                f"{found.dtype}. Return the result of a comparison with limit, without converting "
                "it.")
        difference = (test[:, None] - train).abs()  # (M, N, D)
        same_place = torch.zeros(tests, dtype=torch.bool)
        shared = torch.arange(min(count, tests))
        same_place[shared] = difference[shared, shared].square().mean(dim=1).sqrt() < limit
        divisor = (f"Divide by the square root of D, where D = train.shape[1] is {dim} here. Do "
                   "not divide by D itself, nor by the square root of 192 or of the number of "
                   "images.")
        absolute = ("The limit is for the root of the mean squared difference, not for the mean "
                    "or the largest of the absolute differences.")
        for wrong, explanation in (
            (~right, "It is the other way round: True should mark the test images that have a "
                     "near copy among the training images."),
            (_nearest(*(x - x.mean(dim=1, keepdim=True) for x in (test, train))) < limit,
             "You mark images that are much lighter than the training image they resemble: do not "
             "subtract a mean."),
            (right | True, "You mark every test image, even one that is far from all training "
                           "images. Compare test with train, and mark distances below limit."),
            (right & False, "You mark no test image, not even the exact copy. One near copy among "
                            "the training images is enough."),
            (nearest == 0, "Only exact copies are marked. A copy that differs a little, by less "
                           "than limit, counts too."),
            (same_place, "You compare only images with the same index. A copy can be anywhere "
                         "among the training images."),
            (nearest < 0.02, f"Your function does not use the limit that it is given, here "
                             f"{limit}."),
            (nearest * root < limit,
             "A copy that differs a little is missed. Take the mean of the squared differences "
             "and then the root: a sum grows with the number of values."),
            (nearest.square() < limit,
             "An image that is too different is marked. The limit is for the root of the mean "
             "squared difference, not for the mean squared difference."),
            (nearest / root < limit, divisor),
            (nearest * root / math.sqrt(192) < limit, divisor),
            (nearest * root / math.sqrt(count) < limit, divisor),
            (nearest * root / math.sqrt(tests) < limit, divisor),
            (difference.mean(dim=2).amin(dim=1) < limit, absolute),
            (difference.amax(dim=2).amin(dim=1) < limit, absolute),
        ):
            require(torch.equal(wrong, right) or not torch.equal(found, wrong), explanation)
        i = int((found != right).int().argmax())
        require(torch.equal(found, right),
                f"The root mean squared difference of test image {i} from the nearest training "
                f"image is {nearest[i]:.3f}, and limit is {limit}: it should "
                f"{'' if right[i] else 'not '}be marked.")


def _nearest(test: Tensor, train: Tensor) -> Tensor:
    """The root mean squared difference of each of (M, D) from the nearest of (N, D): (M,)."""
    return (test[:, None] - train).square().mean(dim=2).sqrt().amin(dim=1)


@exercise("Right: what fits is rounded down, and 0 tells you to change the plan.")
def epochs_that_fit(answer: Callable) -> None:
    for minutes, seconds, images, batch in ((480, 0.03, 2000, 32), (60, 0.5, 24000, 64),
                                            (2.5, 0.11, 640, 32), (5, 0.21, 1000, 64),
                                            (1, 2.0, 5000, 64)):
        found = call(answer, minutes, seconds, images, batch)
        steps, total = images // batch, 60 * minutes
        epoch = steps * seconds
        right = int(total // epoch)
        require(isinstance(found, Integral) and not isinstance(found, bool),
                f"Return a whole number of epochs, an int; yours is {kind(found)}.")
        for wrong, explanation in (
            ((minutes // epoch, minutes / 60 // epoch, 3600 * minutes // epoch),
             "A minute has 60 seconds: the times must be in the same unit."),
            ((total // seconds,), "This is how many steps fit: divide by the number of steps in an "
                                  "epoch."),
            ((total // (images * seconds),), "An epoch does not take a step for every image: a "
                                             "step takes a whole batch."),
            ((total // (-(-images // batch) * seconds), total // (images / batch * seconds)),
             "Count full batches only. What is left over at the end of an epoch is not a step."),
            ((60 * int(minutes) // epoch,), f"Do not round the minutes: {minutes} minutes is "
                                            f"{total:g} seconds."),
            ((max(right, 1),), "Not even one epoch fits into the time here, so return 0."),
            ((right + 1,), "This is one epoch too many, because the last one would not finish in "
                           "time. Round down."),
        ):
            require(found not in wrong or found == right, explanation)
        require(found == right, f"{images:,} images in batches of {batch} make {steps} steps per "
                                f"epoch. At {seconds} seconds each, {right} epochs fit into "
                                f"{minutes} minutes; you found {found}.")


@exercise("Right: all facts are there, and the accuracy stands next to what it must beat.")
def model_card(answer: Callable) -> None:
    for facts in CARD_FACTS:
        own = dict(facts)
        card = call(answer, own)
        require(own == facts, "Your function changes facts, but the caller still needs it. Only "
                              "read from it: no pop, del or assignment.")
        require(isinstance(card, str), "Return the card as one string of Markdown; yours is "
                                       f"{kind(card)}.")
        require(not any(line.startswith(("    ", "\t")) and line.strip().startswith("#")
                        for line in card.splitlines()),
                "A heading is indented, which makes it a block of code in Markdown: begin every "
                "line of the card at the left margin, even inside triple quotes.")
        lines = [line.strip() for line in card.strip().splitlines()] or [""]
        require(len(lines) > 1 or facts["chance"] not in card,
                "Your card is a single line: join the lines with '\\n'.")
        require(lines[0] == f"# {facts['name']}", f"The first line should be the title, "
                f"'# {facts['name']}', made from facts['name']; yours is {lines[0][:40]!r}.")
        places = {}
        for name, value in facts.items():
            require(value in card, f"The card lacks {value!r}, the value of the fact {name!r}. Go "
                                   "through all items of facts.")
            places[name] = min((i for i, line in enumerate(lines)
                                if name.lower() in line.lower() and value in line),
                               key=lambda i: len(lines[i]), default=None)  # not in a sentence
            require(name == "name" or places[name] is not None,
                    f"{value!r} appears without its name: put {name!r} on the same line.")
        measured = [places.pop(name) for name in MEASURED]
        first, last = min(measured), max(measured)
        places.pop("name")
        require(len({*measured, *places.values()}) == len(facts) - 1,
                "Two facts are on one line: each fact needs a line of its own, with its name.")
        require(last - first <= 4 and not any(first < i < last for i in places.values()),
                "The linear probe, random weights and chance are not next to each other. Put them "
                "on consecutive lines: an accuracy on its own says little.")
        require("## Limits" in lines, "The card needs a section with exactly this heading: "
                                      "'## Limits'. Write there what the model was not tested on, "
                                      "and what it should not be used for.")
        limits = [_without_facts(line, facts) for line in _section(lines, "## Limits")]
        words = sum(map(_words, limits))
        require(words >= 20, f"The section '## Limits' has {words} word{'s' * (words != 1)} of "
                             "your own. Write at least two sentences, 20 words or more.")
        ends = sum(len(re.findall(r"[.!?][^\w\s]*(?=\s|$)", line)) for line in limits)
        require(max(ends, sum(_words(line) > 0 for line in limits)) >= 2,
                "The section '## Limits' has only one sentence. Write at least two: what the model "
                "was not tested on, and what it should not be used for.")


def _section(lines: list[str], heading: str) -> list[str]:
    """The lines below a heading, with those of its subsections."""
    below = lines[lines.index(heading) + 1:]
    ends = [i for i, line in enumerate(below) if line.startswith(("# ", "## "))]
    return below[: min(ends, default=None)]


def _words(line: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in line.split())


def _without_facts(line: str, facts: dict[str, str]) -> str:
    """What a line says besides the facts that it holds, their names and values."""
    for name, value in facts.items():
        if value in line:
            line = re.sub(re.escape(name), "", line.replace(value, ""), flags=re.IGNORECASE)
    return line
