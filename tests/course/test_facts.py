"""What a lesson says about a result agrees with the output above it, where a machine can compare.

Compared are the decimals and percentages in the first paragraph after an output. Each must stand in
one of the CELLS cells before it, in whatever is printed, written or programmed there, exactly or
with more digits.
"""

import re

import pytest
from test_notebooks import every_notebook, read

CELLS = 10
UNITS = {"million": 1e6, "billion": 1e9}
TOLD = re.compile(r"(?<![\w.,/])(\d[\d,]*(?:\.\d+)?)(\s?%|\s(?:million|billion)|)(?![\w.,/]*\d)")
# Numbers that the reader can find, but no machine, by where they come from and by notebook.
ELSEWHERE = {
    "two printed numbers": {
        "00": "3.4", "03": "53 29", "04": "2.6 1.6 1.2",
        "07": "0.0006 0.0032 0.035 0.0039 1.1"},
    "a picture": {"01": "0.84 0.68", "02": "0.55 0.60 0.65 0.70", "05": "1.6", "06": "0.0012",
                  "07": "0.498 0.471"},
    "a paper, a manual or the report": {"02": "0.6655 0.7210", "03": "3.3 2.8",
                                        "04": "84.9 85.4",
                                        "07": "1.5 2.4 54.6 73.5 65.5 65.7 71.9 0.999"},
    "arithmetic": {"02": "9.99", "04": "0.43", "06": "1.0078 95", "08": "11",
                   "07": "2.37 0.25 0.002 0.0019"},
    "another notebook": {"07": "12.2"},
}
EXEMPT = {(notebook, number) for found in ELSEWHERE.values()
          for notebook, listed in found.items() for number in listed.split()}


def first_paragraph(markdown: str) -> str:
    """Of a cell that begins with a paragraph, else an empty one; without code and formulas."""
    if re.match(r"\s*(#|\||<|-|\$\$|```)", markdown):
        return ""
    paragraph = markdown.strip().split("\n\n")[0]
    return re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", " ", paragraph, flags=re.DOTALL)


def claims(text: str) -> list[tuple[str, float, float]]:
    """(number as written, its value, by how much it may be off) of decimals and percentages."""
    found = []
    for number, unit in TOLD.findall(text):
        if "." in number or unit:
            size = UNITS.get(unit.strip(), 1)
            digits = len(number.partition(".")[2])
            found.append((number, size * float(number.replace(",", "")),
                          size * 0.5001 * 10 ** -digits))
    return found


def printed(cell) -> str:
    """The text in a cell's outputs: what is printed, and what pictures show in words."""
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    texts = [output.get("text", "") for output in cell.get("outputs", [])]
    return "\n".join([*texts, *(d.get("text/plain", "") for d in data),
                      *(re.sub("base64,[^\"]+", "", d.get("text/html", ""))[:3000]
                        for d in data)])


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", ""))
            for found in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", text)]


def unfounded(text: str, before: str) -> list[str]:
    """Numbers of a text that do not stand in what is before it; a share may be percent."""
    known = numbers(before)
    return [number for number, value, off in claims(text)
            if not any(abs(one * scale - value) <= off for one in known for scale in (1, 100))]


@every_notebook
def test_numbers_after_an_output_stand_in_it_or_shortly_before(path):
    cells, found = read(path).cells, {}
    for i, cell in enumerate(cells[1:], 1):
        if cell.cell_type == "markdown" and printed(cells[i - 1]).strip():
            paragraph = first_paragraph(cell.source)
            before = "\n".join(f"{c.source}\n{printed(c)}" for c in cells[max(0, i - CELLS):i])
            found |= dict.fromkeys(unfounded(paragraph, before), paragraph)
    exempt = {number for notebook, number in EXEMPT if notebook == path.stem[:2]}
    assert found.keys() == exempt, [f"{number}: {found.get(number, 'is no longer there')}"
                                    for number in found.keys() ^ exempt]


@pytest.mark.parametrize("sentence, before, wrong", [
    ("It reaches 17.9 dB.", "psnr 17.94", []),
    ("It reaches 17.9 dB.", "psnr 17.84", ["17.9"]),
    ("It finds 12 % of 36.", "share 0.118", []),
    ("It finds 12% of 36.", "share 0.131", ["12"]),
    ("There are 2.5 billion pairs.", "2,517,630,976", []),
    ("Of 36 there are 7 left (notebook 04).", "", []),
])
def test_a_number_may_be_rounded_but_not_wrong(sentence, before, wrong):
    assert unfounded(sentence, before) == wrong
