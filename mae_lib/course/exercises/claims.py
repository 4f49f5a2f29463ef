"""Notebook 10: the rule of verdicts, main effects, how many seeds it takes."""

import math
from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from scipy import stats

from mae_lib.course.exercises import Mistake, call, exercise, kind, number, require, several
from mae_lib.evidence.registration import (
    CONFIRMED,
    HARMFUL,
    INCONCLUSIVE,
    REFUTED,
    SMALLER,
    SUPPORTED,
    verdict_on_gain,
)


@exercise("Right: six verdicts, and zero plays no part of its own.")
def judge(answer: Callable) -> None:
    cases = (  # low, high, claimed, worth, what decides
        (3.5, 6.0, 4.0, 1.0, "the low end is at least claimed − worth"),
        (3.0, 9.0, 4.0, 1.0, "the low end equals claimed − worth, and that is enough"),
        (-1.5, 0.5, 4.0, 1.0, "the high end is below what is worth having"),
        (0.2, 0.9, 4.0, 1.0, "there is a gain, but none worth having"),
        (-3.0, -1.0, 4.0, 1.0, "the high end is −worth or below, so this does harm"),
        (-3.0, -0.5, 4.0, 1.0, "there is a loss, but perhaps one smaller than worth"),
        (1.2, 2.5, 4.0, 1.0, "the gain is worth having, but the high end is below claimed − worth"),
        (1.0, 3.5, 4.0, 1.0, "the high end reaches claimed − worth, so the size stays open"),
        (-0.5, 5.0, 4.0, 1.0, "no gain and the claimed gain are both possible"),
        (0.5, 2.0, 4.0, 1.0, "the low end is below what is worth having"),
        (2.5, 4.5, 4.0, 1.0, "the low end decides, not the middle of the interval"),
        (0.2, 1.0, 4.0, 1.0, "the high end equals worth, so it is not below it"),
        (1.0, 2.5, 4.0, 1.0, "the low end equals worth, and that is enough"),
        (1.5, 3.0, 4.0, 1.0, "the high end equals claimed − worth, so it is not below it"),
        (0.4, 0.9, 0.6, 0.3, "use claimed and worth as they are given"),
        (0.42, 0.48, 0.9, 0.5, "in the table 'refuted' is above 'confirmed', and the first line "
                               "that fits decides"),
    )
    words = (HARMFUL, REFUTED, CONFIRMED, SMALLER, SUPPORTED, INCONCLUSIVE)
    for low, high, claimed, worth, why in cases:
        right = verdict_on_gain(low, high, claimed, worth)
        found = call(answer, low, high, claimed, worth)
        require(isinstance(found, str) and found in words,
                f"Return one of the six verdicts, written as in the table; your function "
                f"returned {found!r}.")
        require(found == right, f"For the interval [{low:+}, {high:+}] with claimed={claimed} and "
                                f"worth={worth}, the verdict is {right!r}, not {found!r}: {why}.")


@exercise("Right: each effect uses all eight numbers, four with and four without.")
def main_effects(answer: Callable) -> None:
    lp = torch.tensor([[[50.0, 51.0], [48.5, 50.5]], [[50.5, 52.5], [49.0, 53.0]]])
    found = call(answer, lp)
    require(not isinstance(found, dict), "Return three numbers in order, not a dict: the order "
                                         "says which effect is which.")
    found = several(found, 3, "Return three numbers: the effects of the curriculum, the Laplacian "
                              "loss and the uniformity loss.")
    found = [number(v, "Each effect") for v in found]
    right = [float(lp.select(i, 1).mean() - lp.select(i, 0).mean()) for i in range(3)]

    def like(other: list[float]) -> bool:
        return all(math.isclose(x, y, abs_tol=1e-4) for x, y in zip(found, other, strict=True))

    alone = [float(lp[index] - lp[0, 0, 0]) for index in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    last = [float(lp[1, 1, 1] - lp[index]) for index in ((0, 1, 1), (1, 0, 1), (1, 1, 0))]
    require(not like(alone), "Those are the effects on the original alone, each from a single "
                             "pair. Average over all four combinations of the other two add-ons.")
    require(not like(last), "Those are the effects of adding each one last, each from a single "
                            "pair. Average over all four combinations of the other two add-ons.")
    require(not like([-v for v in right]), "The signs are the wrong way round: take the mean with "
                                           "the add-on minus the mean without it.")
    require(not like(right[::-1]), "Your three effects are in reverse order: the first axis is the "
                                   "curriculum, the last the uniformity loss.")
    require(not like([right[0], right[2], right[1]]), "Your last two effects are swapped: the "
            "second axis is the Laplacian, the third the uniformity loss.")
    require(not like([4 * v for v in right]), "Those are sums over the four pairs; take the mean.")
    require(not like([v / 2 for v in right]), "You return half of each effect, which is its "
            "coefficient if the add-on is coded −1 and +1. Take the mean with the add-on minus the "
            "mean without it.")
    require(like(right), f"The effects should be {', '.join(f'{v:+.3f}' for v in right)}; you "
                         f"found {', '.join(f'{v:+.3f}' for v in found)}. Take the mean with each "
                         "add-on minus the mean without it.")


@exercise("Right: t falls and √n rises, so the interval shrinks fast at first.")
def seeds_needed(answer: Callable) -> None:
    cases = ((1.1, 1.0), (0.5, 1.0), (0.3, 2.0), (1.0, 0.8), (2.5, 1.0), (0.1, 1.0), (7.0, 1.0))
    n = np.arange(2, 10_000)
    t = stats.t.ppf(0.975, n - 1)

    def smallest(scaled: np.ndarray, power: float = 1) -> list[int]:
        """The first n for each case at which sd^power · scaled is smaller than the effect."""
        return [int(n[(sd**power * scaled < effect).argmax()]) for sd, effect in cases]

    right = smallest(t / np.sqrt(n))
    found = [call(answer, *cases[0])]  # nothing yet, perhaps
    require(not isinstance(found[0], Integral) or found[0] != 2,  # the next case might never end
            "For sd 1.1 and effect 1.0 you found 2, but half the interval is 9.9 there. Is the "
            "comparison the wrong way round, or the return outside the if?")
    found += [answer(*case) for case in cases[1:]]
    for (sd, effect), yours, needed in zip(cases, found, right, strict=True):
        require(yours is not None, f"For sd {sd} and effect {effect} your function returns "
                f"nothing. It takes {needed} seeds: does your search end too early?")
        require(isinstance(yours, Integral) and not isinstance(yours, bool),
                f"Return a whole number of seeds; yours is {kind(yours)}.")
    if found == right:
        return
    require(found[0] < 90, "You need far fewer seeds: the mean of n differences has the standard "
                           "error sd / √n. Did you divide by √n?")
    wrong = next(i for i in range(len(cases)) if found[i] != right[i])
    where = (f" (sd {cases[wrong][0]}, effect {cases[wrong][1]}: {right[wrong]} seeds, not "
             f"{found[wrong]}.)")
    for explanation, other in {
        "You used 1.96, which is right only for many seeds. For n seeds take t with n − 1 degrees "
        "of freedom.": smallest(1.96 / np.sqrt(n)),
        "n seeds have n − 1 degrees of freedom: take t with n − 1, not with n.":
            smallest(stats.t.ppf(0.975, n) / np.sqrt(n)),
        "0.995 leaves 0.5 % on each side. A 95 % interval leaves 2.5 %, so take 0.975.":
            smallest(stats.t.ppf(0.995, n - 1) / np.sqrt(n)),
        "0.95 leaves 5 % on one side. A 95 % interval leaves 2.5 % on each side, so take 0.975.":
            smallest(stats.t.ppf(0.95, n - 1) / np.sqrt(n)),
        "You divide by n; the standard error of the mean of n seeds is sd / √n.": smallest(t / n),
        "You divide by √(n − 1). Only the degrees of freedom are n − 1: the standard error is "
        "sd / √n.": smallest(t / np.sqrt(n - 1)),
        "You use the variance; the standard error is sd / √n.": smallest(t / np.sqrt(n), power=2),
        "sd is under the root; the standard error is sd / √n.": smallest(t / np.sqrt(n), power=0.5),
        "You ask for the whole interval to be smaller than the effect; half of it is enough.":
            smallest(2 * t / np.sqrt(n)),
        "You halve the interval twice: t · sd / √n is half of it already.":
            smallest(t / np.sqrt(n) / 2),
        "Start at n = 2: one seed has no standard deviation.": [1] * len(cases),
        "Your search starts at 3. Two seeds can be enough.": [max(v, 3) for v in right],
        "Your number is one too small in all cases: return n itself, not n − 1.":
            [v - 1 for v in right],
        "You ask for one seed more than needed. n seeds have n − 1 degrees of freedom, and the "
        "first n for which half the interval is smaller than the effect will do.":
            [v + 1 for v in right],
    }.items():
        require(other not in (found, [max(v, 2) for v in found]), explanation + where)
    raise Mistake(f"For a standard deviation of {cases[wrong][0]} and an effect of "
                  f"{cases[wrong][1]} it takes {right[wrong]} seeds; you found {found[wrong]}.")
