"""What the records say, for readers: the README's tables and the pictures in figures/evidence.

  python -m mae_lib.evidence.report           # writes them anew; a test fails when one is stale
  python -m mae_lib.evidence.report FILE...   # prints the tables of results files
"""

import hashlib
import json
import math
import textwrap
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure

from mae_lib.config import ADD_ONS
from mae_lib.evidence.claims import FAILS, HOLDS, LEDGER, OPEN, REPORTED, SETTINGS, Judgement
from mae_lib.evidence.plan import ADD_ON_AXES
from mae_lib.evidence.records import (
    ADD_ON_SETS,
    LETTER,
    RECIPES,
    SPECIFIED,
    TUNED,
    Evidence,
    name_of,
)
from mae_lib.model import PRESETS
from mae_lib.plots import COLOURS, GREY, new_figure, save, styled
from mae_lib.results import MEASURES, Results, table
from mae_lib.runtime import cli

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures" / "evidence"
VERDICTS = {HOLDS: COLOURS[2], FAILS: COLOURS[1], OPEN: GREY}
ADD_ONS_PICTURE = (
    "![All combinations of the add-ons: the accuracy of each, a dot for each seed; and what each "
    "add-on adds on average, with its interval](figures/evidence/add_ons.png)")
BASELINES = ("chance", "raw pixels", "random init", "from scratch")


def judgements(evidence: Evidence) -> list[Judgement]:
    return [claim.judge(evidence) for claim in LEDGER]


# ---------------------------------------------------------------- words


def about(evidence: Evidence) -> str:
    """On what the experiments were made, in a sentence."""
    found = evidence.runs("original", TUNED) or evidence.runs("original", SPECIFIED)
    if not found:
        return "No experiment has been recorded yet."
    data, settings, seeds = evidence.data, found[0]["settings"], len(found)
    patch = settings["patch_size"]
    devices = "; ".join(dict.fromkeys(run["device"] for run in found))
    return (f"{data['unlabeled']:,} photographs of {data['pixels']} pixels without labels "
            f"({data['name']}), {data['train']:,} with labels of {data['classes']} classes and "
            f"{data['test']:,} to test; {f'patches of {patch} pixels, ' * bool(patch)}"
            f"{settings['epochs']} epochs, {seeds} "
            f"seed{'s'[: seeds > 1]}, {devices}, {settings['precision']}.")


def about_prices(evidence: Evidence) -> str:
    """On what times were measured, in a sentence."""
    if not evidence.prices:
        return "No time of a step has been recorded yet."
    latest = evidence.prices[-1]
    return (f"Times of a step: {latest['device']}, {latest['precision']}, model "
            f"`{latest['preset']}`, batch {latest['batch_size']}.")


def about_letter(evidence: Evidence) -> str:
    """On what the runs at the specified sizes were made."""
    runs = evidence.to_the_letter
    data, settings = runs[0]["data"], runs[0]["settings"]
    sizes, last = PRESETS[settings["preset"]], runs[0]["measures"]["epochs"][-1]
    devices = "; ".join(dict.fromkeys(run["device"] for run in runs))
    return (f"{last['step']:,} steps of {settings['batch_size']}, inputs of {sizes['img_size']} "
            f"pixels in patches of {sizes['patch_size']}; {data['unlabeled']:,} photographs of "
            f"{data['pixels']} pixels ({data['name']}); {devices}, {settings['precision']}")


def headline(evidence: Evidence) -> str:
    """The main result, in a few sentences."""
    reported = REPORTED["improved"]["lp"] - REPORTED["original"]["lp"]
    found = evidence.effect("lp", TUNED)
    if found is None:
        return "The three add-ons together have not been measured yet."
    value, low, high = found
    interval = f"95 % interval {low:+.1f} to {high:+.1f}" if low == low else "one seed: no interval"
    claim = next(claim for claim in LEDGER if claim.test == SETTINGS[TUNED])
    text = (f"On {evidence.data['unlabeled']:,} photographs and a tuned baseline, the three "
            f"add-ons together change linear-probe accuracy by **{value:+.1f} points** "
            f"({interval}); reported were {reported:+.1f}. The claim of a gain that large: "
            f"**{claim.judge(evidence).verdict}**.")
    letter = evidence.effect("lp", LETTER)
    if letter and letter[1] == letter[1]:
        value, low, high = letter
        text += (f" With the specified recipe, sizes and steps: {value:+.1f} ({low:+.1f} to "
                 f"{high:+.1f}; {len(evidence.runs('improved', LETTER))} runs each): "
                 f"**{LEDGER[0].judge(evidence).verdict}**.")
    effects = {name: evidence.main_effect("lp", TUNED, name) for name in ADD_ONS}
    if not all(effects.values()):
        return text
    each = (f"{name} {mean:+.1f} ({low:+.1f} to {high:+.1f})"
            for name, (mean, low, high) in effects.items())
    seeds = len(evidence.pairs("lp", TUNED, "curriculum"))
    text += (f" What each changes on that baseline, in all combinations of {seeds} seeds: "
             f"{', '.join(each)}.")
    effect = evidence.effect("lp", TUNED, winner(evidence))
    if not effect or effect[1] != effect[1]:
        return text
    value, low, high = effect
    return (f"{text} A search among other forms and strengths found a combination that changes it "
            f"by **{value:+.1f} points** ({low:+.1f} to {high:+.1f}) at the original's compute.")


def winner(evidence: Evidence) -> str | None:
    """The variant that the search of the add-ons found, if the test images have judged it."""
    searched = {"+".join(parts) for parts in product(*ADD_ON_AXES)}
    return next((r["name"] for r in evidence.records if r["name"] in searched), None)


def ledger_table(evidence: Evidence) -> str:
    """Every claim with its verdict, as Markdown."""
    lines = ["| | claim | measured, with 95 % interval | verdict |", "|---|---|---|---|"]
    topic = ""
    for found in judgements(evidence):
        claim = found.claim
        first = "" if claim.topic == topic else claim.topic
        topic = claim.topic
        lines.append(f"| {first} | {claim.text} | {found.measured()} | {found.verdict} |")
    return "\n".join(lines)


def methods_table(evidence: Evidence) -> str:
    """Baselines, original and improved under each recipe, as plain text."""
    baselines = [r for name in BASELINES for r in evidence.runs(name, TUNED)[:1]]  # first seed's
    parts = []
    for recipe, words in RECIPES.items():
        runs = evidence.runs("original", recipe) + evidence.runs("improved", recipe)
        if runs:
            parts.append(f"{recipe}: {words}\n\n{table(baselines + runs)}")
    return "\n\n\n".join(parts) or "not measured yet"


def letter_table(evidence: Evidence) -> str:
    """What was run with the specified sizes, too, as plain text."""
    if not evidence.to_the_letter:
        return "not measured yet"
    return f"{textwrap.fill(about_letter(evidence), 100)}\n\n{table(evidence.to_the_letter)}"


def conditions(evidence: Evidence) -> str:
    """On what everything in the ledger was measured."""
    found = f"{about(evidence)} {about_prices(evidence)}"
    if evidence.to_the_letter:
        rows = (f"“{c.text}”" for c in LEDGER if SETTINGS[LETTER] in c.test)
        found += f" Of the rows {', '.join(rows)}: {about_letter(evidence)}."
    return found


def search_list(records: list[dict]) -> str:
    """The variants of a search and what decided between them, as text; no test image took part."""
    first = records[0]["measures"]
    if "ft_held_out" in first:
        lines = ["FT@1 on a fifth of the training images, held out"]
        return "\n".join(lines + [f"{r['measures']['ft_held_out']['value']:5.1f} %  {r['name']}"
                                  for r in records])
    lines = ["LP@1, cross-validated on the training images; validation loss"]
    for name, found in ((r["name"], r["measures"]) for r in records):
        loss = found["epochs"][-1]["val_loss"] if "epochs" in found else math.nan
        lines.append(f"{found['lp_cv']['value']:5.1f} %  {loss:.3f}  {name}")
    return "\n".join(lines)


def blocks(evidence: Evidence) -> dict[str, str]:
    """What stands in the README between <!-- NAME --> and <!-- end of NAME -->."""
    return {
        "headline": headline(evidence),
        "conditions": conditions(evidence),
        "claims": ledger_table(evidence),
        "methods": f"```\n{methods_table(evidence)}\n```",
        "letter": f"```\n{letter_table(evidence)}\n```",
        "add-ons": ADD_ONS_PICTURE if evidence.main_effect("lp", TUNED, "curriculum") else "",
    }


def filled(text: str, evidence: Evidence) -> str:
    """A page with its blocks written anew. Raises ValueError if a mark is missing."""
    for name, block in blocks(evidence).items():
        first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise ValueError(f"The page must have {first.strip()} and {last} once each.")
        before, _, rest = text.partition(first)
        text = before + first + block + "\n" * bool(block) + last + rest.partition(last)[2]
    return text


# ---------------------------------------------------------------- pictures


@styled
def ledger(found: list[Judgement], height: float = 0.42) -> Figure:
    """A row for each claim: what was claimed, what was measured, the verdict.

    Each row has a scale of its own, with no effect at the thin line. Shaded is what was claimed.
    """
    figure, axes = new_figure(len(found), 1, 11, height * len(found) + 0.5)
    topic = ""
    for judgement, (axis,) in zip(found, axes, strict=True):
        claim, colour = judgement.claim, VERDICTS[judgement.verdict]
        words = {"transform": axis.transAxes, "va": "center", "fontsize": 9}
        if claim.topic != topic:
            topic = claim.topic
            axis.text(0.0, 0.5, topic, weight="bold", **words)
        axis.text(0.12, 0.5, "\n".join(textwrap.wrap(claim.text, 58)), **words)
        axis.text(0.74, 0.5, judgement.measured(), **words)
        axis.text(1.0, 0.5, judgement.verdict, ha="right", color=colour, weight="bold", **words)
        strip(axis.inset_axes([0.52, 0.0, 0.2, 1.0]), judgement)
        axis.axis("off")
    figure.suptitle("shaded: what was claimed; dot and line: what was measured, with its 95 % "
                    "interval; thin line: no effect", fontsize=9, weight="normal")
    return figure


def strip(axis, judgement: Judgement) -> None:
    """Draw one claim on an axis: its bound shaded, the effect with its interval."""
    bound, (left, right) = bound_of(judgement.claim), span_of(judgement)
    shaded = (bound, right) if judgement.claim.better > 0 else (left, bound)
    axis.axvspan(*shaded, color=COLOURS[5], alpha=0.3, linewidth=0)
    axis.axvline(0, color="black", linewidth=0.8)
    if judgement.effect:
        value, low, high = judgement.effect
        axis.hlines(0, low, high, color=VERDICTS[judgement.verdict], linewidth=3)
        axis.plot(value, 0, "o", color=VERDICTS[judgement.verdict])
    axis.set(xlim=(left, right), ylim=(-1, 1), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def bound_of(claim) -> float:
    """The end of what is claimed that lies nearest to no effect."""
    return claim.low if claim.better > 0 else claim.high


def span_of(judgement: Judgement) -> tuple[float, float]:
    """The ends of an axis on which the claim, its measurement and no effect have room."""
    marks = [0.0, bound_of(judgement.claim), *(judgement.effect or ())]
    marks = [mark for mark in marks if mark == mark]
    span = (max(marks) - min(marks)) or 1.0
    return min(marks) - 0.25 * span, max(marks) + 0.25 * span


@styled
def add_ons(evidence: Evidence, recipe: str = TUNED, measure: str = "lp") -> Figure | None:
    """All combinations of the add-ons, and what each adds on average; None if no seed has all."""
    names = [name for name in map(name_of, ADD_ON_SETS) if evidence.runs(name, recipe)]
    effects = [evidence.main_effect(measure, recipe, name) for name in reversed(ADD_ONS)]
    if not any(effects):
        return None
    figure, ((left, right),) = new_figure(1, 2, 11, 3.6)
    title, digits = MEASURES[measure]
    for y, name in enumerate(reversed(names)):
        values = [r["measures"][measure]["value"] for r in evidence.runs(name, recipe)]
        left.plot(values, [y] * len(values), "o", color=COLOURS[0], alpha=0.5, markersize=5)
        left.plot(sum(values) / len(values), y, "|", color="black", markersize=14)
    left.set_yticks(range(len(names)), list(reversed(names)))
    left.set(title="each dot a seed, the line their mean", xlabel=title)
    for y, effect in enumerate(effects):
        if effect:
            value, low, high = effect
            right.hlines(y, low, high, color=COLOURS[0], linewidth=3)
            right.plot(value, y, "o", color=COLOURS[0])
            right.annotate(f"{value:+.{digits}f}", (value, y), (0, 8), textcoords="offset points",
                           ha="center", fontsize=9)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(range(len(effects)), list(reversed(ADD_ONS)))
    right.set(title="with − without, in all combinations", xlabel=f"{title}, difference",
              ylim=(-0.6, len(effects) - 0.3))
    return figure


def pictures(evidence: Evidence) -> dict[str, Figure]:
    """The figures of the evidence by file name, those for which there are records."""
    found = {"ledger": ledger(judgements(evidence)), "add_ons": add_ons(evidence)}
    return {name: figure for name, figure in found.items() if figure}


def digest(evidence: Evidence) -> str:
    """What the pictures were drawn from; each file holds it."""
    bounds = [(claim.low, claim.high, claim.better) for claim in LEDGER]
    drawn = [evidence.records, evidence.prices, blocks(evidence), bounds]
    text = json.dumps(drawn, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def print_tables(files: list[Path]) -> None:
    """Print results files, a table for each data set, device and recipe in them."""
    for path in files:
        if not path.exists():
            raise FileNotFoundError(f"There is no results file {path}.")
        sets: dict[str, list[dict]] = {}
        for record in Results(path).read():
            data = record["data"]
            title = (f"{data['name']}: {data['unlabeled']:,} unlabeled, {data['train']:,} train, "
                     f"{data['test']:,} test images; {record['device']}; "
                     f"recipe {record['recipe']}")
            sets.setdefault(title, []).append(record)
        for title, records in sets.items():
            searched = all(r["settings"].get("choosing") for r in records)
            print(f"{title}\n\n{(search_list if searched else table)(records)}\n")


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.report", __doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    files = parser.parse_args().files
    if files:
        return print_tables(files)
    evidence, page = Evidence(), ROOT / "README.md"
    page.write_text(filled(page.read_text("utf-8"), evidence), "utf-8")
    print(f"README.md: {', '.join(blocks(evidence))}")
    for name, figure in pictures(evidence).items():
        save(figure, FIGURES / f"{name}.png", Description=digest(evidence))
        print(f"figures/evidence/{name}.png")


if __name__ == "__main__":
    cli.run(main)
