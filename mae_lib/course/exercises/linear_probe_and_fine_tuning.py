"""Notebook 08: kNN votes, standardised features, a paired interval.

Other parts of evaluation, which the learner keeps, are in `probe_parts`.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from mae_lib.course.exercises import (
    Mistake,
    call,
    close,
    exercise,
    number,
    require,
    require_tensor,
    several,
)
from mae_lib.course.exercises.probe_parts import extract_features, fine_tune, fit_probe
from mae_lib.results import Accuracy, paired_difference

__all__ = ["extract_features", "fine_tune", "fit_probe", "knn_predict", "paired_interval",
           "standardise"]
Z = stats.norm.ppf(0.975)


def _votes(similarity: Tensor, labels: Tensor, k: int, weigh: Callable, largest=True,
           first: int = 0, add=True) -> Tensor:
    """Predicted labels (M,) from similarities (M, N), weighing each vote by `weigh`.

    Neighbours before `first` have no vote. Unless `add`, a class has the weight of one neighbour.
    """
    near, ids = (x[:, first:] for x in similarity.topk(k, largest=largest))  # (M, k - first) each
    votes = torch.zeros(len(similarity), int(labels.max()) + 1)
    fill = votes.scatter_add if add else votes.scatter
    return fill(1, labels[ids], weigh(near)).argmax(dim=1)


@exercise("Right: the nearest neighbours by angle vote, and the nearest of them weigh most.")
def knn_predict(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 1.2 * torch.randn(12, 8, generator=generator)
    labels = torch.arange(240) % 12  # more classes than the data of the notebook has
    train, test = (centres[labels[:n]] + torch.randn(n, 8, generator=generator) for n in (240, 180))
    # Lengths that differ, and so short that the exponential of a dot product is still finite.
    train, test = (0.3 * x * torch.rand(len(x), 1, generator=generator).add(0.2)
                   for x in (train, test))
    k, one = 9, torch.ones_like
    try:
        found = call(answer, train, labels, test, k, 12)
    except (IndexError, RuntimeError) as error:
        # 10 is the number of classes in the notebook; no other size is 10 here.
        require("out of bounds for dimension 1 with size 10" not in str(error),
                "Your table of votes has 10 columns, but there are 12 classes here. Give it as "
                "many columns as the argument classes says.")
        raise
    require(not isinstance(found, Tensor) or found.shape != (240,),
            "You predict a label for each of the 240 training images. Each of the 180 test images "
            "needs one: the table of similarities should be test @ train.T, of shape (M, N).")
    require(not isinstance(found, torch.return_types.max),
            "max(dim=1) returns values and indices. Use argmax(dim=1), which returns the indices.")
    require_tensor(found, (180,), "The predicted labels")
    require(not found.is_floating_point() or torch.equal(found, found.round()),
            "The labels should be whole numbers: argmax(dim=1) gives the class with the most "
            "votes.")
    require(not found.is_floating_point(), f"The labels should be whole numbers, but yours are "
            f"{found.dtype}: create the result with dtype=torch.long.")

    def sharp(s):
        return (s / 0.07).exp()

    a, b = F.normalize(train, dim=1), F.normalize(test, dim=1)
    cosine, distance = b @ a.T, torch.cdist(test, train)
    mistakes = [
        (_votes(cosine, labels, 1, one), "Only the nearest neighbour votes; let the k nearest "
                                         "vote."),
        (_votes(cosine, labels, k, one), "Every neighbour's vote counts the same here. Weight "
         "each vote by exp(similarity / 0.07), so that the nearest count most."),
        *((_votes(cosine, labels, k, weigh), "The votes hardly differ: divide the similarity by "
                                             "0.07, then take the exponential.")
          for weigh in (torch.exp, lambda s: s)),
        (_votes(cosine, labels, k, sharp, largest=False),
         "Those are the k least similar images. A large cosine means that two images are similar, "
         "so take the k largest."),
        (_votes(test @ train.T, labels, k, sharp), "The features are not normalised: a dot product "
                                                   "prefers long vectors. Divide each by its "
                                                   "length."),
        (_votes(test @ train.T, labels, k, one), "The features are not normalised, and every "
                                                 "neighbour has the same vote."),
        (_votes(b @ train.T, labels, k, sharp), "The training features are not normalised: long "
                                                "ones look more similar than they are."),
        (_votes(test @ a.T, labels, k, sharp), "The test features are not normalised: the "
         "neighbours are the same, but their votes depend on the length of the test feature. "
         "Divide each test feature by its length."),
        (_votes(-distance, labels, k, one), "You choose the neighbours by distance; use the "
                                            "cosine, which depends on the angle alone."),
        (_votes(-distance, labels, k, sharp), "You measure distance; use the cosine, which "
                                              "depends on the angle alone."),
        *((_votes(cosine, labels, n, sharp, first=1), "You leave out the nearest neighbour. Keep "
           "it: no test image is among the training images.")
          for n in (k, k + 1)),
        (_votes(cosine, labels, k, sharp, add=False), "Only one of several neighbours of the "
         "same class counts. Add up their votes, with scatter_add or with one_hot and a sum."),
        (cosine.argmax(dim=1), "Those are positions of training images; labels[ids] are their "
                               "classes."),
        *((_votes(cosine, labels, n, sharp), "A few labels are wrong. Do exactly k neighbours "
                                             f"vote (k is {k} here)?")
          for n in (5, k - 1, k + 1, 20, len(train))),
    ]
    right = _votes(cosine, labels, k, sharp)
    if torch.equal(found.long(), right):
        return
    same = [float((found == other).double().mean()) for other, _ in mistakes]
    # Not all need be the same: where votes are equal, a tie can be broken in another way.
    require(max(same) < 0.97, mistakes[same.index(max(same))][1])
    require(bool((found == right).any()), "Not one label is right. Is each the argmax over the "
                                          "classes, counted from 0?")
    raise Mistake(f"{int((found != right).sum())} of 180 test images get the wrong label. Rank by "
                  "cosine similarity, take the k nearest, and weight each vote by "
                  "exp(similarity / 0.07).")


@exercise("Right: training images set the scale, and test images are only measured with it.")
def standardise(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.5, 1.0, 20.0, 3.0])
    train = torch.randn(50, 4, generator=generator) * scale + 5
    test = torch.randn(30, 4, generator=generator) * scale * 1.7 + 9
    found = several(call(answer, train, test), 2,
                    "Return two tensors: the training and the test features.")
    for x, like, name in zip(found, (train, test), ("training", "test"), strict=True):
        require_tensor(x, like.shape, f"The {name} features")
        require(x.dtype == like.dtype, f"The {name} features should stay in {like.dtype}.")
    (a, b), mean = found, train.mean(dim=0)
    stds = [train.std(dim=0, unbiased=unbiased) for unbiased in (True, False)]
    if not (any(close(a, (train - mean) / std) for std in stds)
            and any(close(b, (test - mean) / std) for std in stds)):
        _explain_scale(a, b, train, test)
    train[:, 2], test[:, 2] = 5.0, 5.0
    found = call(answer, train, test)
    require(all(bool(x.isfinite().all()) for x in found),
            "One feature is the same in all images. Its standard deviation is 0, and 0/0 is not a "
            "number: keep the standard deviation above 0 with .clamp(min=1e-6).")
    require(all(bool((x[:, 2].abs() < 1).all()) for x in found),
            "A feature that is the same in all images should come out as 0.")


def _explain_scale(a: Tensor, b: Tensor, train: Tensor, test: Tensor) -> None:
    """Raise Mistake for training and test features that came out wrong, as a and b."""
    for unbiased in (True, False):
        mean, std = train.mean(dim=0), train.std(dim=0, unbiased=unbiased)
        own_mean, own_std = test.mean(dim=0), test.std(dim=0, unbiased=unbiased)
        both = torch.cat([train, test])
        row_std = train.std(dim=1, unbiased=unbiased, keepdim=True)
        for found, wrong, explanation in (
            (a, (train - train.mean(dim=1, keepdim=True)) / row_std, "Each image is scaled by "
             "itself, along its row. Every column needs a mean and a standard deviation of its "
             "own."),
            (a, (train - mean) / std**2,
             "You divide by the variance; take its root, the standard deviation."),
            (a, (train - train.mean()) / train.std(unbiased=unbiased), "You use one mean and one "
             "standard deviation for the whole table; every column needs its own."),
            (a, train / std, "The mean is still there: subtract it before dividing."),
            (a, train - mean, "The means are gone; now divide by the standard deviation."),
            (a, train - mean / std, "Brackets are missing: write (x − mean) / std."),
            (a, (train - mean) / std.clamp(min=1), "Your lower bound for the standard deviation is "
             "too large, since one column here has a standard deviation of only 0.5. Use "
             ".clamp(min=1e-6)."),
            (b, test, "The test features are not scaled: subtract the mean of the training "
             "features as they were given, and divide by their standard deviation."),
            (b, test / std, "The mean of the training features is still in the test features. If "
             "you change train first, take its mean before you do."),
            (b, (test - own_mean) / own_std, "The test features are scaled by their own mean and "
             "standard deviation. The prediction for an image then depends on the others in the "
             "test set: use the training set's mean and standard deviation for both."),
            (b, (test - own_mean) / std, "You subtract the test set's own mean from the test "
             "features. Subtract the training set's."),
            (b, (test - mean) / own_std, "You divide the test features by the test set's own "
             "standard deviation. Divide by the training set's."),
            (b, (test - both.mean(dim=0)) / both.std(dim=0, unbiased=unbiased), "The mean and the "
             "standard deviation are taken over training and test images together: nothing may be "
             "learned from the test set."),
        ):
            require(not close(found, wrong), explanation)
    require(close(a.mean(dim=0), torch.zeros(4), 1e-3),
            "Each column of the training features should have mean 0.")
    raise Mistake("Expected (x − mean) / standard deviation, both of the training features, for "
                  "training and test features alike.")


@exercise("Right: only images on which the two differ decide, and both saw the same images.")
def paired_interval(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(400, generator=generator) < 0.5
    b = torch.where(torch.rand(400, generator=generator) < 0.12, ~a, a)
    b[:20] = True
    found = several(call(answer, a, b), 3,
                    "Return three numbers: the difference, the low and the high end.")
    mean, low, high = (number(x, "Each result") for x in found)
    right, right_low, right_high = paired_difference(Accuracy(a), Accuracy(b))
    require(abs(low - right) + abs(mean - right_low) + abs(high - right_high) > 0.05
            and abs(high - right) + abs(mean - right_low) + abs(low - right_high) > 0.05,
            "The three numbers are in the wrong order: return the difference first, then the low "
            "and the high end.")
    half, right_half = (high - low) / 2, (right_high - right_low) / 2
    require(abs(mean + right) > 1e-3, f"The sign is wrong: b is better here, by {right:.2f} "
                                      "points. Take b − a.")
    require(abs(mean - right / 100) > 1e-4,
            "Your difference is one of shares; multiply it by 100 to get percentage points.")
    require(abs(mean - 100 * float((a != b).double().mean())) > 1e-3,
            "You count every image on which the two differ as +1. One that only a gets right "
            "should count as −1: take b.double() - a.double().")
    require(abs(mean - right) < 1e-3,
            f"The difference is {right:.2f} points; you found {mean:.2f}: it is the mean of b − a "
            "over all images, times 100.")
    require(low <= high, "The ends are swapped: low comes first.")
    difference = b.double() - a.double()
    unpaired = 100 * Z * float((a.double().var() / 400 + b.double().var() / 400).sqrt())
    spread = 100 * float(difference.std())
    differ = difference[difference != 0]
    few = 100 * Z * float(differ.std()) / math.sqrt(len(differ))
    mistakes = [
        (unpaired, "This interval is for two different test sets: it adds the variances of a and "
                   "b. Take the difference for each image first, then the standard deviation of "
                   "these differences."),
        (Z * spread, "Your interval shows how much single images vary. The mean over n images "
                     "varies √n times less, so divide by √n."),
        (spread / 20, "The factor 1.96 is missing: one standard error on each side covers 68 %."),
        (Z * spread / 400, "You divide by n; the standard error of the mean is the standard "
                            "deviation / √n."),
        (few, "The standard deviation is taken only over the images on which the two differ; "
              "include those on which they agree, as zeros."),
        (Z * spread**2 / 100 / 20, "You use the variance; take its root, the standard deviation."),
        (right_half * 1.645 / Z, "1.645 leaves 5 % on each side. A 95 % interval leaves 2.5 % on "
                                 "each, so the factor is 1.96."),
        (right_half / 100, "Multiply the half-width by 100, too: the two ends are in percentage "
                           "points, like the difference."),
        (right_half / 2, "The interval is half as wide as it should be: it reaches 1.96 standard "
                         "errors to each side."),
    ]
    if abs(half - right_half) > 0.02:  # Student's t for 400 images hardly differs
        for other, explanation in mistakes:
            require(abs(half - other) > 0.01, explanation)
        require(False, f"The interval should be ± {right_half:.2f} points, yours is ± {half:.2f}.")
    require(abs(low + half) > 0.01, "The width is right, but the interval lies around 0: it should "
                                    "lie around the difference.")
    require(abs(low + half - right) < 0.01,
            f"The width is right, but the middle of the interval is {low + half:.2f}: it should "
            f"be the difference, {right:.2f}.")
