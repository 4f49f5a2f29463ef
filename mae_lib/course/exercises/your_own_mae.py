"""Notebook 11: images in both halves, a budget of time, a card for a model."""

import math
from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from mae_lib.course.exercises import call, exercise, require, require_tensor

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


@exercise("Right: every test image is compared with every training image.")
def leaks(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    for count, tests, dim, limit in ((7, 5, 12, 0.05), (4, 9, 48, 0.1)):
        train = torch.rand(count, dim, generator=generator)
        test = torch.rand(tests, dim, generator=generator)
        test[0], test[1] = train[2], train[1] + 0.1 * limit  # the same picture, and nearly so
        test[2] = train[1] + 4.3 * limit  # far too different
        test[3] = train[0] + 0.6 * limit  # a bit lighter
        test[4] = train[3] + 1.5 * limit  # too different
        right = _nearest(test, train) < limit
        found = call(answer, train, test, limit)
        found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        require(not isinstance(found, Tensor) or found.shape != (count,),
                f"You give one answer for each of the {count} training images. Give one for each "
                f"of the {tests} test images.")
        require_tensor(found, (tests,))
        require(found.dtype == torch.bool,
                f"The result should be True or False for each test image, got {found.dtype}.")
        table = torch.cdist(test, train) / math.sqrt(dim)
        shared = min(count, tests)
        same_place = torch.zeros(tests, dtype=torch.bool)
        same_place[:shared] = (test[:shared] - train[:shared]).square().mean(1).sqrt() < limit
        for wrong, explanation in (
            (~right, "It is the other way round: True should mark the test images that have a "
                     "near copy among the training images."),
            ((table * math.sqrt(dim)).amin(1) < limit,
             "A lighter copy is missed. Take the mean of the squared differences and then the "
             "root: a sum grows with the number of values."),
            (table.amin(1) == 0, "Only exact copies are marked. A copy that differs a little, by "
                                 "less than limit, counts too."),
            (table.amin(1) * math.sqrt(dim / 192) < limit,
             "You divide by the root of 192, the size of the notebook's thumbnails. Take D from "
             "the features, train.shape[1]."),
            (table.square().amin(1) < limit,
             "An image that is too different is marked. The limit is for the root of the mean "
             "squared difference, not for the mean squared difference."),
            (same_place, "Only images with the same number are compared. A copy can be anywhere "
                         "among the training images."),
            (table.mean(1) < limit, "This asks whether a test image is near all training images, "
                                    "or near them on average. One near copy is enough."),
        ):
            require(torch.equal(wrong, right) or not torch.equal(found, wrong), explanation)
        require(torch.equal(found, right),
                f"Expected {right.tolist()}, got {found.tolist()}: find the nearest training image "
                "of each test image, and compare its distance with the limit.")


def _nearest(test: Tensor, train: Tensor) -> Tensor:
    """The root mean squared difference of each of (M, D) from the nearest of (N, D): (M,)."""
    return (test[:, None] - train).square().mean(dim=2).sqrt().amin(dim=1)


@exercise("Right: what fits is rounded down, and 0 tells you to change the plan.")
def epochs_that_fit(answer: Callable) -> None:
    for minutes, seconds, images, batch in ((10, 0.03, 2000, 32), (60, 0.5, 24000, 64),
                                            (5, 0.21, 1000, 64), (1, 2.0, 5000, 64)):
        found = call(answer, minutes, seconds, images, batch)
        steps, total = images // batch, 60 * minutes
        right = int(total // (steps * seconds))
        require(isinstance(found, Integral) and not isinstance(found, bool),
                f"Return a whole number of epochs, an int; got {type(found).__name__}.")
        for wrong, explanation in (
            (int(minutes // (steps * seconds)), "A minute has 60 seconds: the times must be in the "
                                                "same unit."),
            (int(total // seconds), "That is how many steps fit. An epoch has many steps."),
            (int(total // (images * seconds)), "An epoch does not take a step for every image: a "
                                               "step takes a whole batch."),
            (int(total // (-(-images // batch) * seconds)),
             "Count full batches only. What is left over at the end of an epoch is not a step."),
            (max(right, 1), "Nothing fits here, and 0 says so. An epoch that does not fit is no "
                            "plan."),
            (right + 1, "One epoch too many: the last one would not end in time. Round down."),
        ):
            require(found != wrong or wrong == right, explanation)
        require(found == right, f"{images:,} images in batches of {batch} are {steps} steps. At "
                                f"{seconds} seconds each, {right} epochs fit into {minutes} "
                                f"minutes; you found {found}.")


@exercise("Right: all facts are there, and the accuracy stands next to what it must beat.")
def model_card(answer: Callable) -> None:
    for facts in CARD_FACTS:
        own = dict(facts)
        card = call(answer, own)
        require(own == facts, "Your function changes facts, but the caller still needs it. Only "
                              "read from it: no pop, del or assignment.")
        require(isinstance(card, str), "Return the card as one string of Markdown, got "
                                       f"{type(card).__name__}.")
        require(not any(line.startswith(("    ", "\t")) and line.strip().startswith("#")
                        for line in card.splitlines()),
                "A heading is indented, which makes it a block of code in Markdown: begin the "
                "lines inside triple quotes at the left margin.")
        lines = [line.strip() for line in card.strip().splitlines()] or [""]
        require(lines[0] == f"# {facts['name']}", f"The first line should be the title, "
                f"'# {facts['name']}', made from facts['name']; yours is {lines[0][:40]!r}.")
        places = {}
        for name, value in facts.items():
            require(value in card, f"The card does not say {value!r}, the fact {name!r}. Go "
                                   "through all items of facts.")
            places[name] = next((i for i, line in enumerate(lines)
                                 if name.lower() in line.lower() and value in line), None)
            require(name == "name" or places[name] is not None,
                    f"{value!r} stands there without its name: put {name!r} on the same line.")
        measured = [places.pop(name) for name in MEASURED]
        first, last = min(measured), max(measured)
        places.pop("name")
        require(last - first <= 4 and not any(first < i < last for i in places.values()),
                "The linear probe, random weights and chance are not next to each other. Put them "
                "on lines that follow each other: an accuracy alone says nothing.")
        require("## Limits" in lines, "The card needs a section '## Limits': what the model was "
                                      "not tested on, and what it should not be used for.")
        words = len(card.split("## Limits", 1)[1].split("\n#")[0].split())
        require(words >= 20, f"The section '## Limits' has {words} word{'s' * (words != 1)}. Write "
                             "at least two sentences, 20 words or more.")
