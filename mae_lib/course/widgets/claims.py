"""Notebook 10: a claim and its measurement, the rule of verdicts, what each add-on adds."""

import functools

import ipywidgets
from matplotlib.figure import Figure

from mae_lib.config import ADD_ONS
from mae_lib.course.widgets import Explorer, Frame
from mae_lib.course.widgets.recorded_runs import pixels
from mae_lib.course.widgets.sheet import INK, Sheet
from mae_lib.evidence.claims import LEDGER, REPORTED, Claim, Judgement
from mae_lib.evidence.records import Evidence
from mae_lib.evidence.report import VERDICTS, bound_of, judgements, ledger, span_of
from mae_lib.plots import COLOURS, new_figure, styled
from mae_lib.results import MEASURES

PALE = "#CCE6F6"
SHOW = ("the claim alone", "with the measurement")
KINDS = {
    "a gain of 2 or more": dict(low=2.0, better=1),
    "a fall by 2 or more": dict(high=-2.0, better=-1),
    "a cost of 2 at most": dict(high=2.0, better=0),
}
EFFECTS = {name: MEASURES[name] for name in ("lp", "ft", "knn", "psnr", "hf_error")}


@functools.cache
def evidence() -> Evidence:
    """The evidence that comes with the package."""
    return Evidence()


# ---------------------------------------------------------------- a claim and what was measured


def draw_claim(sheet: Sheet, found: Judgement, top: int, shown: bool, ends: tuple[float, float],
               name: str) -> None:
    """The claimed region, and the effect with its interval if `shown`, on an axis below `top`."""
    claim, (left, right) = found.claim, ends
    floor = top + 90
    place = sheet.axis(30, 730, floor, left, right, name)
    bound = place(bound_of(claim))
    edges = (bound, 730) if claim.better > 0 else (30, bound)
    sheet.box(edges[0], top, edges[1], floor - 1, PALE)
    if edges[1] - edges[0] > 60:
        sheet.text(sum(edges) / 2, top + 12, "claimed", "mm", COLOURS[0], 12)
    if left <= 0 <= right:
        sheet.line([(place(0), top), (place(0), floor)], "black", 1.5)
    if shown and found.effect:
        value, low, high = found.effect
        low, high = (value, value) if low != low else (low, high)
        colour = VERDICTS[found.verdict]
        sheet.line([(place(low), top + 50), (place(high), top + 50)], colour, 3)
        for x in (place(low), place(high)):
            sheet.line([(x, top + 42), (x, top + 58)], colour, 2)
        sheet.dot(place(value), top + 50, 6, colour)


def render_claim(claim: int = 1, show: str = SHOW[0]) -> Frame:
    """One claim of the ledger, counted from 1: what was claimed, its test, what came out."""
    found = LEDGER[claim - 1].judge(evidence())
    shown = show == SHOW[1]
    sheet = Sheet(760, 240)
    sheet.text(30, 10, f"{found.claim.topic}: {found.claim.text}", "lt", size=14)
    sheet.text(30, 36, f"test: {found.claim.test}", "lt", "#666666", 12)
    unit = {"%": "change in %", "points": "change in points"}.get(found.claim.unit,
                                                                 found.claim.unit or "number")
    draw_claim(sheet, found, 70, shown, span_of(found), unit)
    text = f"Claimed: {found.claim.topic} {found.claim.text}."
    if shown:
        text += f" Measured: {found.measured()}. Verdict: {found.verdict}."
        sheet.text(730, 222, found.verdict, "rm", VERDICTS[found.verdict], 15)
    return sheet.frame(text)


def claim_explorer() -> Explorer:
    names = [(f"{i}. {c.topic}: {c.text[:48]}", i) for i, c in enumerate(LEDGER, 1)]
    claim = ipywidgets.Dropdown(options=names, value=1, description="claim")
    show = ipywidgets.ToggleButtons(options=SHOW, description="show")
    places = {c.text: i for i, c in enumerate(LEDGER, 1)}
    stills = [{"claim": 1, "show": SHOW[0]}, {"claim": 1, "show": SHOW[1]}]
    stills += [{"claim": places[text], "show": SHOW[1]} for text in (
        "costs no compute", "spreads the features over more directions")]
    return Explorer(render_claim, stills, claim=claim, show=show)


# ---------------------------------------------------------------- the rule


def render_verdict(effect: float = 1.5, half: float = 1.0, kind: str = "a gain of 2 or more",
                   ) -> Frame:
    """An effect with its interval, a claim, and what the rule makes of both."""
    bounds = KINDS[kind]
    claim = Claim("", kind, "", "", 1, lambda _: (effect, effect - half, effect + half), **bounds)
    found = claim.judge(evidence())
    sheet = Sheet(760, 200)
    sheet.text(30, 10, f"claimed: {kind}", "lt", size=14)
    draw_claim(sheet, found, 40, True, (-6.0, 6.0), "effect")
    sheet.text(730, 10, found.verdict, "rt", VERDICTS[found.verdict], 16)
    return sheet.frame(f"Claimed {kind}; measured {effect:+.1f} [{effect - half:+.1f}, "
                       f"{effect + half:+.1f}]: {found.verdict}.")


def verdict_explorer() -> Explorer:
    effect = ipywidgets.FloatSlider(1.5, min=-4, max=4, step=0.1, description="effect",
                                    readout_format=".1f")
    half = ipywidgets.FloatSlider(1.0, min=0, max=3, step=0.1, description="± half the interval",
                                  readout_format=".1f")
    kind = ipywidgets.ToggleButtons(options=list(KINDS), description="claim")
    stills = [{"effect": 1.5, "half": 1.0}, {"effect": 1.5, "half": 2.0},
              {"effect": 1.5, "half": 0.2}, {"effect": 1.5, "half": 1.0, "kind": list(KINDS)[2]}]
    return Explorer(render_verdict, stills, effect=effect, half=half, kind=kind)


# ---------------------------------------------------------------- what an add-on adds


@styled
def render_add_on(add_on: str = "curriculum", measure: str = "lp") -> Frame:
    """Each pair of recorded runs that differ in one add-on alone: without it, with it."""
    title, digits = EFFECTS[measure]
    by_seed = evidence().pairs(measure, "tuned", add_on)
    pairs = [pair for found in by_seed.values() for pair in found]
    figure, ((axis,),) = new_figure(1, 1, 7, 3.2)
    for without, with_it in pairs:
        colour = COLOURS[2] if with_it > without else COLOURS[1]
        axis.plot([0, 1], [without, with_it], "o-", color=colour, alpha=0.7)
    axis.set_xticks([0, 1], [f"without {add_on}", f"with {add_on}"])
    axis.set(xlim=(-0.4, 1.4), ylabel=title)
    effect = evidence().main_effect(measure, "tuned", add_on)
    if not effect:
        axis.set(yticks=[])
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=INK)
        return Frame(pixels(figure), f"{title} with and without {add_on}: not measured.")
    value, low, high = effect
    text = f"{title}: {add_on} adds {value:+.{digits}f}"
    text += f" [{low:+.{digits}f}, {high:+.{digits}f}]" if low == low else ""
    axis.set_title(text)
    rises = sum(b > a for a, b in pairs)
    return Frame(pixels(figure), f"{text}. It rises in {rises} of {len(pairs)} pairs.")


def add_on_explorer() -> Explorer:
    add_on = ipywidgets.ToggleButtons(options=list(ADD_ONS), description="add-on")
    measure = ipywidgets.Dropdown(options=[(title, k) for k, (title, _) in EFFECTS.items()],
                                  description="measure")
    stills = [{"add_on": name, "measure": "lp"} for name in ADD_ONS]
    stills.append({"add_on": "uniformity", "measure": "knn"})
    return Explorer(render_add_on, stills, add_on=add_on, measure=measure)


# ---------------------------------------------------------------- pictures


@styled
def reported_losses() -> tuple[Figure, str]:
    """The losses that were reported, and the mask ratio at which they were taken."""
    figure, ((left, right),) = new_figure(1, 2, 10, 3)
    for (name, found), colour, style in zip(REPORTED.items(), COLOURS, ("o-", "s--"), strict=False):
        left.plot(range(1, 11), found["loss"], style, color=colour, label=name)
        right.plot(range(1, 11), found["mask_ratio"], style, color=colour, label=name)
    left.set(title="training loss, as reported", xlabel="epoch")
    right.set(title="mask ratio at the end of the epoch, as reported", xlabel="epoch")
    left.legend()
    return figure, ("Two reported loss curves that fall and cross several times, the improved one "
                    "mostly lower; beside them the mask ratio, constant for the original, rising "
                    "over five epochs for the improved.")


def counted(found: list[Judgement]) -> str:
    """How many verdicts of each kind, as text."""
    verdicts = [judgement.verdict for judgement in found]
    return ", ".join(f"{verdicts.count(v)} × {v}" for v in VERDICTS)


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    found = judgements(evidence())
    return ledger(found), (f"The ledger: a row for each of {len(found)} claims, with what was "
                           "claimed shaded on a small scale, the measured effect as a dot with "
                           f"its interval, and a verdict. {counted(found)}.")
