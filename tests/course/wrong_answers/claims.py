"""Plausible wrong answers to the exercises of notebook 10, and what the check must say."""


RULE = (
    "if high <= -worth: return 'harmful'",
    "if high < worth: return 'refuted'",
    "if low >= claimed - worth: return 'confirmed'",
    "if low >= worth and high < claimed - worth: return 'smaller than claimed'",
    "if low >= worth: return 'supported, size open'",
    "return 'inconclusive'",
)


def judge(*lines):
    return "def judge(low, high, claimed, worth):\n" + "\n".join(f"    {x}" for x in lines)


def but(old, new):
    """The rule with one thing changed."""
    changed = tuple(line.replace(old, new) for line in RULE)
    assert changed != RULE
    return judge(*changed)


def effects(*values):
    return f"def main_effects(lp):\n    return {', '.join(values)}"


def seeds(half, first=2, compare="<", result="n"):
    return ("def seeds_needed(sd, effect):\n"
            "    from scipy import stats\n"
            "    t = lambda n: stats.t.ppf(0.975, n - 1)\n"
            f"    n = {first}\n"
            f"    while not {half} {compare} effect:\n"
            "        n += 1\n"
            f"    return {result}")


SIDES = ("lp[1].mean() - lp[0].mean()", "lp[:, 1].mean() - lp[:, 0].mean()",
         "lp[..., 1].mean() - lp[..., 0].mean()")

WRONG = {
    "judge": [
        (judge("return 'confirmed' if low > claimed else 'refuted'"), "at least claimed − worth"),
        (but("if low >= claimed - worth", "if low > claimed - worth"), "equals claimed"),
        (but("if high < worth", "if high < 0"), "below what is worth having"),
        (but("if high <= -worth", "if high < 0"), "there is a loss, but perhaps one"),
        (but("if high <= -worth", "if high < -worth"), "so this does harm"),
        (but("if low >= worth and high < claimed - worth",
             "if low > 0 and high < claimed"), "so the size stays open"),
        (judge(*RULE[:3], *RULE[4:]), "but the high end is below claimed − worth"),
        (judge("claimed, worth = 4, 1", *RULE), "claimed and worth as they are given"),
        (but("if low >= claimed - worth", "if (low + high) / 2 >= claimed - worth"),
         "not the middle of the interval"),
        (but("if high < worth", "if (low + high) / 2 < worth"), "equals worth, so it is not"),
        (but("if high < worth", "if high <= worth"), "the high end equals worth"),
        (but("and high < claimed", "and high <= claimed"), "equals claimed − worth, so it is not"),
        (but("if low >= worth and", "if low > worth and"), "the low end equals worth"),
        (judge(RULE[2], *RULE[:2], *RULE[3:]), "'refuted' is above 'confirmed'"),
        (judge("return 'true'"), "your function returned 'true'"),
        (judge("return low > 0"), "Return one of the six verdicts"),
    ],
    "main_effects": [
        (effects("lp[1, 0, 0] - lp[0, 0, 0]", "lp[0, 1, 0] - lp[0, 0, 0]",
                 "lp[0, 0, 1] - lp[0, 0, 0]"), "on the original alone"),
        (effects("lp[1, 1, 1] - lp[0, 1, 1]", "lp[1, 1, 1] - lp[1, 0, 1]",
                 "lp[1, 1, 1] - lp[1, 1, 0]"), "adding each one last"),
        (effects(*(f"-({side})" for side in SIDES)), "The signs are the wrong way round"),
        (effects(*SIDES[::-1]), "in reverse order"),
        (effects(SIDES[0], *SIDES[:0:-1]), "last two effects are swapped"),
        (effects(*(side.replace("mean", "sum") for side in SIDES)), "sums over the four pairs"),
        (effects(*(f"({side}) / 2" for side in SIDES)), "You return half of each effect"),
        (effects("lp[1].mean() - lp[0].mean()"), "the effects of the curriculum"),
        ("def main_effects(lp): return dict(zip('clu', lp.flatten()))", "in order, not a dict"),
        (effects("lp[1].mean()", "lp[:, 1].mean()", "lp[..., 1].mean()"),
         "The effects should be +1.250, -0.750, +2.250; you found +51.250"),
    ],
    "seeds_needed": [
        (seeds("1.96 * sd / n ** 0.5"), "1.96, which is right only for many"),
        ("import math\ndef seeds_needed(sd, effect):\n"
         "    return math.ceil((1.96 * sd / effect) ** 2)", "You used 1.96"),
        (seeds("t(n) * sd / n"), "You divide by n;"),
        (seeds("t(n) * sd / (n - 1) ** 0.5"), "You divide by √(n − 1)"),
        (seeds("t(n + 1) * sd / n ** 0.5"), "take t with n − 1, not with n"),
        (seeds("t(n) * sd / n ** 0.5").replace("0.975", "0.995"), "0.995 leaves 0.5 %"),
        (seeds("t(n) * sd ** 2 / n ** 0.5"), "You use the variance"),
        (seeds("t(n) * (sd / n) ** 0.5"), "sd is under the root"),
        (seeds("t(n) * sd / n ** 0.5 / 2"), "You halve the interval twice"),
        (seeds("t(n) * sd / n ** 0.5", compare=">"), "the wrong way round"),
        ("def seeds_needed(sd, effect):\n    for n in range(2, 300):\n        return n",
         "or the return outside the if"),
        (seeds("t(n) * sd", result="min(n, 99)").replace("        n += 1", "        n += 1\n"
                                                         "        if n > 98: break"),
         "Did you divide by √n?"),
        (seeds("t(n) * sd / n ** 0.5", result="n - 1"), "return n itself"),
        (seeds("t(n) * sd / n ** 0.5", result="n + 1"), "one seed more than needed"),
        (seeds("t(n) * sd / n ** 0.5").replace("0.975", "0.95"), "so take 0.975"),
        (seeds("2 * t(n) * sd / n ** 0.5"), "half of it is enough"),
        (seeds("t(n) * sd / n ** 0.5", first=1).replace("while not", "while")
         .replace("< effect", ">= effect"), "Start at n = 2"),
        (seeds("t(n) * sd / n ** 0.5", first=3), "Your search starts at 3"),
        ("def seeds_needed(sd, effect):\n    from scipy import stats\n"
         "    for n in range(2, 100):\n"
         "        if stats.t.ppf(0.975, n - 1) * sd / n ** 0.5 < effect:\n"
         "            return n", "does your search end too early?"),
        (seeds("t(n) * sd / n ** 0.5", result="float(n)"), "yours is a float"),
        (seeds("t(n) * sd / n ** 0.5", result="n + 7"), "it takes"),
    ],
}

ALSO_RIGHT = {
    "seeds_needed": [
        "import numpy as np\nfrom scipy import stats\n"
        "def seeds_needed(sd, effect):\n"
        "    n = np.arange(2, 10_000)\n"
        "    return n[stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n) < effect].min()",
    ],
    "main_effects": [effects(*SIDES).replace("return ", "return torch.stack([") + "])"],
}
