"""What the records say, for readers: RESULTS.md, README's headline, the figures of the evidence.

  python -m mae_lib.evidence.report           # writes them again; a test fails when one is stale
  python -m mae_lib.evidence.report FILE...   # prints the tables of results files
"""

import hashlib
import json
import textwrap
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure

from mae_lib.evidence import registration as rule
from mae_lib.evidence.claims import NOT_MEASURED, Judgement, ledger, own_claims, text_of, text_of_p
from mae_lib.evidence.plan import LABEL_COUNTS, LATER, MORE, score
from mae_lib.evidence.records import ADD_ON_SETS, BEGUN, Evidence, name_of
from mae_lib.evidence.registration import CONTRASTS, LETTER, OWN, SMALL, Gain
from mae_lib.evidence.second_registration import AGAIN, BOTH, WEAK
from mae_lib.model import PRESETS
from mae_lib.plots import COLOURS, GREY, new_figure, save, styled
from mae_lib.results import BASELINES, MEASURES, Results, summarise, table
from mae_lib.runtime import cli

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures" / "evidence"
PAGES = ("README.md", "RESULTS.md")
REGISTRATION = ROOT / "mae_lib" / "assets" / "registration.json"
SHORT = {WEAK: "weak uniformity", BOTH: "combination"}  # names for tables
VERDICTS = {  # and their colours
    rule.HARMFUL: COLOURS[1], rule.REFUTED: COLOURS[1], rule.CONFIRMED: COLOURS[2],
    rule.SMALLER: COLOURS[5], rule.SUPPORTED: COLOURS[2], rule.INCONCLUSIVE: GREY,
    rule.MORE: COLOURS[1], NOT_MEASURED: GREY,
}


# ---------------------------------------------------------------- words


def about(evidence: Evidence, place: str = SMALL) -> str:
    """How the runs of a place were made, in a sentence."""
    runs = evidence.runs("original", place)
    provisional = "" if evidence.count(place) else (
        " **Provisional**: these runs were made for the first edition, before the registration; "
        "the weight decay of the probe was chosen on 500 images.")
    data, settings = runs[0]["data"], runs[0]["settings"]
    sizes = PRESETS[settings["preset"]] | {k: v for k, v in settings.items() if v is not None}
    devices = ", ".join(dict.fromkeys(run["device"].replace(", ", " with ") for run in
                                      runs + evidence.runs("improved", place)))
    precisions = " and ".join(dict.fromkeys(run["settings"]["precision"] for run in runs))
    return (f"{data['unlabeled']:,} unlabelled photographs of {data['pixels']} pixels "
            f"({data['name']}), {data['train']:,} labelled ones in {data['classes']} classes and "
            f"{data['test']:,} for testing; inputs of {sizes['img_size']} pixels in patches of "
            f"{sizes['patch_size']}; {runs[0]['measures']['epochs'][-1]['step']:,} steps of "
            f"{settings['batch_size']} images, peak learning rate {settings['lr']:g}; "
            f"{len(runs)} seed{'s'[:len(runs) > 1]}; on: {devices}; {precisions}.{provisional}")


def about_prices(evidence: Evidence) -> str:
    """How the costs were measured, in a sentence."""
    found = evidence.prices
    return (f"{found['device']}, {found['precision']}, model `{found['preset']}`, batch "
            f"{found['batch_size']}, {found['rounds']} rounds; {found['date']}, torch "
            f"{found['torch']}." + " **Provisional**: measured before the registration."
            * bool(evidence.early))


def registered(file: str = "registration") -> str:
    """When and where a rule and its claims were fixed."""
    found = json.loads(REGISTRATION.read_text("utf-8"))[file]
    return (f"The claims and the rule were registered on {found['date']} in commit "
            f"`{found['commit'][:10]}` "
            f"(`mae_lib/evidence/{file}.py`, SHA-256 `{found['sha256'][:16]}…`).")


def headline(evidence: Evidence) -> str:
    """The findings, one sentence each, with interval and verdict."""
    found = [*ledger(evidence), *own_claims(evidence)]
    gains = {(j.claim.topic, j.claim.measure, j.claim.runs): j
             for j in reversed(found) if isinstance(j.claim, Gain)}  # of two, the first

    def of(topic: str, place: str = SMALL, measure: str = "lp") -> str:
        found = gains[topic, measure, place]
        return f"We measured {found.measured()}, over {found.over}: **{found.verdict}**." if (
            found.over) else f"We have **{NOT_MEASURED}** it yet."

    more = "" if (both := found[-2]).interval is None else (  # of the second registration
        "\n- **Our own loss with a weak uniformity loss**, at a fifth of the report's strength: we "
        f"claimed that the two add 1 point or more. We measured {both.measured()}, over "
        f"{both.over}: **{both.verdict}**.")
    provisional = "" if evidence.count(LETTER) else (
        "The first two results are **provisional**: we fixed the rule after these runs.\n\n")
    return (
        f"{provisional}"
        "- The report says that **all three together** raise the accuracy by 4.2 percentage "
        f"points. {of('all three', LETTER)}\n"
        "- It says that they also lower the **error in hidden fine detail** by 8.6 %. "
        f"{of('all three', LETTER, 'hf_error')}\n"
        "- It says that **hiding less at the start** (the curriculum) adds 1 to 3 points. "
        f"{of('curriculum')}\n"
        "- It says that **making outputs differ more** (the uniformity loss) adds 2 to 5 points. "
        f"{of('uniformity')}\n"
        "- **Our own loss** compares how much fine detail predicted and true patches have, not "
        f"where in the patch it lies. We claimed that it adds 2 points. {of('energy form')}{more}")


def ledger_table(found: list[Judgement]) -> str:
    """Claims with their verdicts, as Markdown."""
    tested = any(j.claim.accuracy for j in found if isinstance(j.claim, Gain))
    titles = ["", "claim", "measured, 95 % interval", "over", *["p (Holm)"] * tested, "verdict"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    topic = ""
    for judgement in found:
        claim = judgement.claim
        first, topic = "" if claim.topic == topic else claim.topic, claim.topic
        p = [text_of_p(judgement.p)] * tested
        cells = first, claim.text, judgement.measured(), judgement.over, *p, judgement.words
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def contrasts_table(evidence: Evidence) -> str:
    """Our own questions, without verdicts, as Markdown."""
    lines = ["| contrast | pairs | LP@1, points | kNN (whitened), points |", "|---|---|---|---|"]
    for variant, base, words in CONTRASTS + LATER:
        pairs = len(evidence.pairs("lp", variant, base))
        found = [evidence.effect(m, variant, base) for m in ("lp", "knn_whitened")]
        lines.append(f"| {words} (`{variant}` − `{base}`) | {pairs} | "
                     f"{' | '.join(map(text_of, found))} |")
    effects = {m: evidence.factorial(m) for m in ("lp", "knn_whitened")}
    seeds = len(set.intersection(*({r["seed"] for r in evidence.runs(name_of(names))}
                                   for names in ADD_ON_SETS)))
    for names in ADD_ON_SETS[1:] if effects["lp"] else ():
        kind = "main effect" if len(names) == 1 else "interaction"
        cells = " | ".join(text_of(effects[m].get(names)) for m in effects)
        lines.append(f"| {kind}: {' × '.join(sorted(names))} | {seeds} seeds, 8 runs each | "
                     f"{cells} |")
    return "\n".join(lines)


def labels_table(evidence: Evidence) -> str:
    """Accuracies by number of labels, and what the add-ons change, as Markdown."""
    lines = ["| labels | measure | not pretrained | original | improved − original, points | "
             "energy form − original, points |", "|---" * 6 + "|"]
    for count, measure in product((*LABEL_COUNTS, "all"), ("lp", "ft")):
        name = measure if count == "all" else f"{measure}@{count}"
        cells = [text_of(summarise(evidence.runs(method), name), sign="") for method in
                 ("random init" if name == "lp" else "from scratch", "original")]
        cells += [text_of(evidence.effect(name, v)) for v in ("improved", OWN[0].variant)]
        lines.append(f"| {count} | {MEASURES[measure][0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def methods_table(evidence: Evidence, place: str = SMALL) -> str:
    """Baselines, original, improved and the second registration's methods, as plain text."""
    runs = [r | {"name": SHORT.get(name, name)} for name in (*BASELINES, "original", "improved",
            *SHORT) for r in evidence.runs(name, place)]
    return f"```\n{table(runs, times=False)}\n```" if runs else ""


def search_list(records: list[dict]) -> str:
    """The settings of the search and what decided between them, as text, from best to worst."""
    rows = [f"{score(r):5.1f} %  {r['name'].replace('+', ', ')}" for r in records]
    return "\n".join(["LP@1, cross-validated on training images", *sorted(rows, reverse=True)])


def blocks(evidence: Evidence) -> dict[str, str]:
    """What stands on a page between <!-- NAME --> and <!-- end of NAME -->."""
    return {
        "headline": headline(evidence),
        "registration": registered(),
        "second registration": registered("second_registration"),
        "small": about(evidence),
        "letter": about(evidence, LETTER),
        "prices": about_prices(evidence),
        "claims": ledger_table(ledger(evidence)),
        "own": ledger_table(own_claims(evidence)),
        "contrasts": contrasts_table(evidence),
        "labels": labels_table(evidence),
        "methods": methods_table(evidence),
        "methods again": methods_table(evidence, AGAIN),
        "methods with more images": methods_table(evidence, MORE),
        "methods to the letter": methods_table(evidence, LETTER),
        "begun": f"The registered runs so far, which judge nothing until all are there: "
                 f"{about(evidence, BEGUN)}\n\n{methods_table(evidence, BEGUN)}"
                 if evidence.runs("original", BEGUN) else ""}


def fill(text: str, name: str, block: str) -> str:
    """A page with this block written again, if it has it.

    Raises ValueError unless each mark occurs once, and in order.
    """
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if text.count(first) == text.count(last) == 0:
        return text
    if text.count(first) != 1 or text.count(last) != 1 or text.find(first) > text.find(last):
        raise ValueError(f"The page must have {first.strip()} and {last} once each, in this order.")
    before, _, rest = text.partition(first)
    return before + first + block + "\n" * bool(block) + last + rest.partition(last)[2]


def filled(text: str, evidence: Evidence) -> str:
    """A page with all its blocks written again."""
    for name, block in blocks(evidence).items():
        text = fill(text, name, block)
    return text


# ---------------------------------------------------------------- pictures


@styled
def ledger_figure(found: list[Judgement]) -> Figure:
    """Each gain and price as measured, next to the claim.

    Gains are drawn in units of the claimed gain: 1 is what was claimed, 0 no effect. The shaded
    band is too small to be worth having. Prices are in per cent of a step or of ten epochs.
    """
    gains = [j for j in found if isinstance(j.claim, Gain)]
    prices = [j for j in found if isinstance(j.claim, rule.Price)]
    heights = [len(gains), len(prices)]
    figure = Figure(figsize=(11, 0.46 * sum(heights) + 1.6), layout="constrained")
    panels = zip(figure.subplots(2, 1, height_ratios=heights), (gains, prices), strict=True)
    for axis, rows in panels:
        is_gain = rows is gains
        for y, judgement in enumerate(reversed(rows)):
            claim = judgement.claim
            scale = claim.claimed if is_gain else 1
            if is_gain:
                axis.barh(y, 2 * claim.worth / scale, 0.8, -claim.worth / scale, color="#EEEEEE")
            axis.plot(claim.claimed / scale, y, "D", color="black", markersize=6, fillstyle="none")
            colour = next(c for v, c in VERDICTS.items() if judgement.verdict.startswith(v))
            if judgement.interval:
                value, low, high = (v / scale for v in judgement.interval)
                axis.hlines(y, low, high, color=colour, linewidth=3)
                axis.plot(value, y, "o", color=colour)
            words = dict.fromkeys((judgement.measured(), judgement.words))
            axis.text(1.02, y, "\n".join(words), color=colour, va="center", fontsize=8.5,
                      transform=axis.get_yaxis_transform())
        axis.axvline(0, color="black", linewidth=0.8)
        words = [textwrap.fill(f"{j.claim.topic}: {j.claim.text}", 64) for j in reversed(rows)]
        axis.set_yticks(range(len(rows)), words, fontsize=8.5)
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(axis="y", visible=False)
    ends = [v / j.claim.claimed for j in gains for v in j.interval or () if v == v]
    figure.axes[0].set(xlim=(min([-1.6, *ends]) - 0.1, max([1.7, *ends]) + 0.1),
                       xlabel="gain, in units of the claimed gain (diamond: the claim; shaded: "
                       "too small to be worth having)")
    figure.axes[1].set(xlabel="cost, % (diamond: the claim)")
    return figure


@styled
def add_ons(evidence: Evidence) -> Figure:
    """All combinations of the add-ons, their main effects and interactions."""
    effects = evidence.factorial("lp")
    figure, ((left, right),) = new_figure(1, 2, 11, 3.6)
    title, digits = MEASURES["lp"]
    names = [name_of(names) for names in reversed(ADD_ON_SETS)]
    for y, name in enumerate(names):
        values = [r["measures"]["lp"]["value"] for r in evidence.runs(name)
                  if r["seed"] in rule.FACTORIAL_SEEDS]
        left.plot(values, [y] * len(values), "o", color=COLOURS[0], alpha=0.5, markersize=5)
        left.plot(sum(values) / len(values), y, "|", color="black", markersize=14)
    for run in evidence.runs("random init"):
        left.axvline(run["measures"]["lp"]["value"], color=GREY, linestyle="--")
    left.set_yticks(range(len(names)), names)
    left.set(title="each dot a seed, the line their mean; dashed: random init", xlabel=title)
    for y, (value, low, high) in enumerate(reversed(effects.values())):
        right.hlines(y, low, high, color=COLOURS[0], linewidth=3)
        right.plot(value, y, "o", color=COLOURS[0])
        text = f"{value:+.{digits}f}".replace("-", "−")
        right.annotate(text, (high, y), (5, 0), textcoords="offset points", va="center", fontsize=8)
    right.axvline(0, color="black", linewidth=0.8)
    words = [" × ".join(sorted(names)) for names in reversed(effects)]
    right.set_yticks(range(len(words)), words)
    right.set(title="main effects and interactions", xlabel="difference in LP@1, points")
    return figure


def pictures(evidence: Evidence) -> dict[str, Figure]:
    """The figures of the evidence by file name."""
    return {"ledger": ledger_figure(ledger(evidence)), "add_ons": add_ons(evidence)}


def digest(evidence: Evidence) -> str:
    """What the pictures were drawn from; each file holds it."""
    drawn = [evidence.records, evidence.prices, blocks(evidence)]
    return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()


def print_tables(files: list[Path]) -> None:
    """Print results files, a table for each data set, device and recipe in them."""
    for path in files:
        if not path.exists():
            raise FileNotFoundError(f"There is no results file {path}.")
        sets: dict[tuple, list[dict]] = {}
        for record in Results(path).read():
            data = record["data"]
            title = (f"{data['name']}: {data['unlabeled']:,} unlabelled, {data['train']:,} train, "
                     f"{data['test']:,} test images; {record['device']}; "
                     f"recipe {record['recipe']}")
            sets.setdefault((title, data.get("fingerprint")), []).append(record)
        for (title, _), records in sets.items():
            searched = all({"lp_cv", "failed"} & r["measures"].keys() for r in records)
            print(f"{title}\n\n{(search_list if searched else table)(records)}\n")


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.report", __doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    files = parser.parse_args().files
    if files:
        return print_tables(files)
    evidence = Evidence()
    for name in PAGES:
        (page := ROOT / name).write_text(filled(page.read_text("utf-8"), evidence), "utf-8")
        print(name)
    for name, figure in pictures(evidence).items():
        save(figure, FIGURES / f"{name}.png", Description=digest(evidence))
        print(f"figures/evidence/{name}.png")


if __name__ == "__main__":
    cli.run(main)
