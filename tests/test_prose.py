"""Nothing that a reader sees has an expression of the house list, which native readers marked."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "USAGE.md", "RESULTS.md", "CONTRIBUTING.md")),
         *sorted((ROOT / "notebooks").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]

# What not to write, and what to write instead. The list is a safety net: read your text aloud, too.
HOUSE = {
    r"tak(?:e|es|en|ing) along": "key takeaways; what you learned",
    r"whoever": "you; anyone who",
    r"told from|tell\w* \w+ from zero": "distinguished from",
    r"upon": "on; with",
    r"(?<!there )is no (?:sequence|number|fault|image|picture|photograph)": "is not a",
    r"mend(?:s|ed|ing)?": "fix",
    r"dear(?:er|est)?": "expensive",
    r"shall": "will",
    r"sees? to it": "make sure",
    r"oracles?": "reference",
    r"lots (?:are|were) drawn|draws? lots": "pick at random",
    r"piles?": "a stack; many",
    r"anew": "again",
    r"thereof": "of it",
    r"in (?:good )?company": "in combination",
    r"(?:that|those) of (?:that|those) of": "repeat the noun",
    r"gains? the probe": "raises probe accuracy by",
    r"as it comes of": "because it rests on",
    r"and what not": "and what it does not",
    r"nobody can tell": "is inconclusive",
    r"twice no": "the answer is no in both cases",
    r"good part of the way": "much of the distance",
    r"map of the house": "code map",
    r"paint(?:s|ed|ing|ings)?": "predict; reconstruct; fill in",
    r"one (?:looks at|sees|must|knows|gets)": "you; we",
    r"you take with you": "what you learned",
    r"did you expect": "say what happened",
    r"nothing to (?:mend|be done)": "that is expected",
    r"\d+(?=%)": "a space before %, as in 75 %",
    r"colors?|gray|neighbors?|behavior": "British spelling, as everywhere here",
}


def prose_of(path: Path) -> str:
    """What a page or a notebook says, without code, formulas, comments and addresses."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for code in (r"```.*?```", r"\$\$.*?\$\$", r"<!--.*?-->", r"`[^`\n]*`", r"\$[^$\n]+\$"):
        text = re.sub(code, " X ", text, flags=re.DOTALL)
    return " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())


def marked(text: str) -> list[str]:
    """Each expression of the list in the text, with its surroundings and what to write instead."""
    return [f"…{text[max(0, found.start() - 40):found.end() + 30]}… (write: {instead})"
            for pattern, instead in HOUSE.items()
            for found in re.finditer(rf"\b(?:{pattern})\b", text, re.IGNORECASE)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_nothing_of_the_house_list_is_written(path):
    found = marked(prose_of(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text, count", [
    ("What you take along: it can be told from zero.", 2),
    ("Whoever sees to it shall mend a pile.", 5),
    ("There is no picture. The upper one is a mended-looking, painterly lot.", 1),
    ("The fill is not a picture, and you can tell them apart.", 0),
])
def test_the_list_finds_what_it_should_and_no_more(text, count):
    assert len(marked(text)) == count


def test_code_and_addresses_are_not_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("See `pile` and [this](https://gray.org/anew).\n\n```\nmend(upon)\n```\n")
    assert prose_of(page) == "See X and [this]. X"
