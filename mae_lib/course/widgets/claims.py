"""Notebook 10: the rule of verdicts, what each add-on adds, the ledger."""

import functools

import ipywidgets
from matplotlib.figure import Figure

from mae_lib.config import ADD_ONS
from mae_lib.course.widgets import Explorer, Frame
from mae_lib.course.widgets.recorded_runs import evidence, pixels, price_of_steps, settings_of
from mae_lib.course.widgets.sheet import INK, Sheet
from mae_lib.evidence import claims, report
from mae_lib.evidence.claims import NOT_MEASURED, Judgement
from mae_lib.evidence.records import ADD_ON_SETS, Evidence, name_of
from mae_lib.evidence.registration import OWN, Gain, Price, verdict_on_gain
from mae_lib.evidence.second_registration import AGAIN, BOTH, WEAK
from mae_lib.plots import COLOURS, GREY, new_figure, styled
from mae_lib.results import MEASURES

CLAIMED, WORTH = 4.0, 1.0  # of the gain in the verdict explorer
EFFECTS = {name: MEASURES[name] for name in ("lp", "knn", "knn_whitened", "psnr", "hf_error")}
CONTROLS = ("original", "curriculum", "shuffled", "reversed", "mean-ratio",
            "curriculum+equal-compute", "original+epochs=12", "improved", "improved+equal-compute")


@functools.cache
def judgements() -> list[Judgement]:
    """The ledger's gains and prices, in its order."""
    return [j for j in claims.ledger(evidence()) if isinstance(j.claim, Gain | Price)]


def colour_of(verdict: str) -> str:
    return next(colour for v, colour in report.VERDICTS.items() if verdict.startswith(v))


def sentence(judgement: Judgement) -> str:
    """A claim, its measurement and its verdict in words."""
    claim = judgement.claim
    kind = {Gain: "a gain of ", Price: "a cost of "}.get(type(claim), "")
    if judgement.verdict == NOT_MEASURED:
        return f"“{claim.topic}: {claim.text}”: not measured."
    return (f"“{claim.topic}: {claim.text}”: measured {kind}{judgement.measured()} "
            f"({judgement.over}). Verdict: {judgement.words}.")


# ---------------------------------------------------------------- the rule


def render_verdict(effect: float = 2.0, half: float = 1.5) -> Frame:
    """An interval around a measured gain, beside the claim, and what the rule makes of it."""
    low, high = effect - half, effect + half
    verdict = verdict_on_gain(low, high, CLAIMED, WORTH)
    colour = colour_of(verdict)
    sheet = Sheet(760, 190)
    sheet.text(30, 12, f"claimed: a gain of {CLAIMED:g}; worth having: {WORTH:g} or more", "lt",
               size=14)
    sheet.text(730, 12, verdict, "rt", colour, 16)
    top, floor = 50, 140
    place = sheet.axis(30, 730, floor, -5.0, 9.0, "gain, points")
    sheet.box(place(-WORTH), top, place(WORTH), floor - 1, "#EEEEEE")
    sheet.line([(place(0), top), (place(0), floor)], "black", 1.5)
    x, y = place(CLAIMED), top + 22
    sheet.area([(x, y - 8), (x + 8, y), (x, y + 8), (x - 8, y)], "black")
    sheet.text(x, top + 2, "claimed", "mm", INK, 12)
    y = top + 56
    sheet.line([(place(low), y), (place(high), y)], colour, 3)
    for x in (place(low), place(high)):
        sheet.line([(x, y - 8), (x, y + 8)], colour, 2)
    sheet.dot(place(effect), y, 6, colour)
    return sheet.frame(f"Measured {effect:+.1f} [{low:+.1f}, {high:+.1f}]: {verdict}.")


def verdict_explorer() -> Explorer:
    effect = ipywidgets.FloatSlider(2.0, min=-3, max=6, step=0.1, description="gain",
                                    readout_format=".1f")
    half = ipywidgets.FloatSlider(1.5, min=0, max=3, step=0.1, description="± half the interval",
                                  readout_format=".1f")
    stills = [{"effect": e, "half": h, "title": f"a gain of {e:g} ± {h}"}
              for e, h in ((2.0, 1.5), (2.0, 0.8), (4.0, 0.8), (0.0, 0.8))]
    return Explorer(render_verdict, stills, effect=effect, half=half)


# ---------------------------------------------------------------- all combinations, controls


@styled
def render_add_on(add_on: str = "curriculum", measure: str = "lp") -> Frame:
    """Each pair of recorded runs that differ in one add-on alone: without it, with it."""
    title, digits = EFFECTS[measure]
    pairs = [pair for names in ADD_ON_SETS if add_on not in names for pair in
             evidence().pairs(measure, name_of(names | {add_on}), name_of(names))]
    figure, ((axis,),) = new_figure(1, 1, 7, 3.2)
    for without, with_it in pairs:
        colour = COLOURS[2] if with_it > without else COLOURS[1]
        axis.plot([0, 1], [without, with_it], "o-", color=colour, alpha=0.7)
    axis.set_xticks([0, 1], [f"without {add_on}", f"with {add_on}"])
    axis.set(xlim=(-0.4, 1.4), ylabel=title)
    effect = evidence().factorial(measure)[frozenset({add_on})]
    text = f"{title}: main effect of {add_on} {report.text_of(effect, digits)}"
    axis.set_title(text)
    rises = sum(b > a for a, b in pairs)
    return Frame(pixels(figure), f"{text}. It rises in {rises} of {len(pairs)} pairs.")


def add_on_explorer() -> Explorer:
    add_on = ipywidgets.ToggleButtons(options=list(ADD_ONS), description="add-on")
    measure = ipywidgets.Dropdown(options=[(title, k) for k, (title, _) in EFFECTS.items()],
                                  description="measure")
    stills = [{"add_on": name, "measure": "lp", "title": f"linear probe: {name}"}
              for name in ADD_ONS]
    stills.append({"add_on": "uniformity", "measure": "knn", "title": "kNN: uniformity"})
    return Explorer(render_add_on, stills, add_on=add_on, measure=measure)


@styled
def controls(evidence: Evidence) -> tuple[Figure, str]:
    """The probe of the original, the curriculum and its controls, by what they compute."""
    rows = [(name, runs) for name in CONTROLS if (runs := evidence.runs(name))]
    if not rows:
        return new_figure(1, 1, 9, 1)[0], "No run has been recorded yet."

    def computed(run: dict) -> float:
        return price_of_steps(settings_of(run), run["measures"]["epochs"][0]["step"]).sum()

    base = computed(rows[0][1][0])
    figure, ((axis,),) = new_figure(1, 1, 9, 3.4)
    labels = []
    for y, (name, runs) in enumerate(reversed(rows)):
        found = [r["measures"]["lp"]["value"] for r in runs]
        extra = 100 * (computed(runs[0]) / base - 1)
        axis.plot(found, [y] * len(found), "o", color=COLOURS[int(extra > 1)], alpha=0.6)
        axis.plot(sum(found) / len(found), y, "|", color="black", markersize=16)
        labels.append(f"{name} ({extra:+.0f} % compute)")
    axis.set_yticks(range(len(rows)), labels)
    axis.set(xlabel="LP@1 %")
    return figure, ("Linear-probe accuracy of the original, the curriculum and its controls, a dot "
                    "for each seed and a line at the mean. Runs that compute more than the "
                    "original are orange, the others blue.")


@styled
def own(evidence: Evidence) -> tuple[Figure, str]:
    """Our own claims: every pair, the mean with its interval, where the interval must begin."""
    measured = [(c.measure, c.variant, c.runs) for c in OWN] + [
        ("lp", WEAK, AGAIN), ("lp", BOTH, AGAIN), ("ft", BOTH, AGAIN)]
    figure, ((axis,),) = new_figure(1, 1, 9, 3.4)
    labels = []
    for y, judgement in enumerate(claims.own_claims(evidence)):
        (measure, variant, place), claim = measured[y], judgement.claim
        pairs = evidence.pairs(measure, variant, place=place)
        axis.plot([b - a for a, b in pairs], [y] * len(pairs), "o", color=GREY, alpha=0.6)
        limit = claim.claimed - claim.worth if isinstance(claim, Gain) else claim.limit
        axis.plot(limit, y, "D", color="black", markersize=7, fillstyle="none")
        if judgement.interval:
            value, low, high = judgement.interval
            axis.hlines(y, low, high, color=colour_of(judgement.verdict), linewidth=3)
            axis.plot(value, y, "|", color="black", markersize=16)
        labels.append(f"{claim.topic}: {MEASURES[measure][0].removesuffix(' %')}")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(labels)), labels)
    axis.margins(y=0.12)
    axis.invert_yaxis()
    axis.set(xlabel="difference from the original, points")
    return figure, ("Our own claims, a dot for each pair of runs. A bar is the 95 % interval of "
                    "their mean. A claim is confirmed, and its bar is green, if the bar begins at "
                    "the diamond or to the right of it.")


# ---------------------------------------------------------------- pictures


@styled
def seeds_curve(half: dict[str, list[float]], worth: float) -> tuple[Figure, str]:
    """Half the interval against the number of seeds, for several standard deviations."""
    figure, ((axis,),) = new_figure(1, 1, 8, 2.8)
    for i, (label, values) in enumerate(half.items()):
        axis.plot(range(2, 2 + len(values)), values, "o-", color=(*COLOURS, GREY)[i], label=label)
    axis.axhline(worth, color="black", linewidth=0.8)
    axis.set(yscale="log", xlabel="seeds", ylabel="half the interval, points (log scale)",
             yticks=[1, 10], yticklabels=["1", "10"])
    axis.legend()
    return figure, ("Half the interval against the number of seeds: it falls steeply at first, and "
                    "a line marks the smallest gain worth having.")


def full_ledger() -> tuple[Figure, str]:
    """The ledger with its verdicts, and what it shows."""
    found = claims.ledger(evidence())
    return report.ledger_figure(found), (
        "The ledger: each claimed gain on an axis in units of the claim, and each cost in per "
        "cent, with the measured value, its 95 % interval and the verdict.")


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows: the ledger before anything is measured."""
    figure = report.ledger_figure([Judgement(j.claim) for j in judgements()])
    for axis in figure.axes:
        for words in list(axis.texts):  # which say that nothing was measured
            words.remove()
    return figure, ("An empty ledger: seven claimed gains on an axis in units of the claim, and "
                    "five claimed costs in per cent. A diamond marks each claim.")
