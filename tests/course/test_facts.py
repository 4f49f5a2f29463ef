"""What a lesson says about a result agrees with the output above it, where a machine can compare.

Compared are the decimals and percentages in the first sentence after an output. Each must stand in
one of the CELLS cells before it, in whatever is printed, written or programmed there, exactly or
with more digits.
"""

import re

import pytest
from test_notebooks import every_notebook, read

CELLS = 10
UNITS = {"million": 1e6, "billion": 1e9}
TOLD = re.compile(r"(?<![\w.,/])(\d[\d,]*(?:\.\d+)?)(\s?%|\s(?:million|billion)|)(?![\w.,/]*\d)")
# Numbers that the reader can find, but no machine: notebook, number, and where it comes from.
ELSEWHERE = {
    ("01_patchify", "0.84"): "read off the picture",
    ("02_curriculum_masking", "0.6655"): "quoted from the report",
    ("04_reconstruction_loss", "2.6"): "the difference of two printed numbers",
    ("07_pretraining", "0.498"): "read off the picture",
    ("07_pretraining", "0.471"): "read off the picture",
}


def first_sentence(markdown: str) -> str:
    """Of a cell that begins with a paragraph, else an empty one; without code and formulas."""
    if re.match(r"\s*(#|\||<|-|\$\$|```)", markdown):
        return ""
    text = re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", " ", markdown, flags=re.DOTALL)
    return re.split(r"(?<=[.!?:])\s", text.strip())[0]


def claims(sentence: str) -> list[tuple[str, float, float]]:
    """(number as written, its value, by how much it may be off) of decimals and percentages."""
    found = []
    for number, unit in TOLD.findall(sentence):
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


def unfounded(sentence: str, before: str) -> list[str]:
    """Numbers of the sentence that do not stand in the text before it; a share may be percent."""
    known = numbers(before)
    return [number for number, value, off in claims(sentence)
            if not any(abs(one * scale - value) <= off for one in known for scale in (1, 100))]


@every_notebook
def test_numbers_after_an_output_stand_in_it_or_shortly_before(path):
    cells, problems = read(path).cells, []
    for i, cell in enumerate(cells[1:], 1):
        if cell.cell_type == "markdown" and printed(cells[i - 1]).strip():
            sentence = first_sentence(cell.source)
            before = "\n".join(f"{c.source}\n{printed(c)}" for c in cells[max(0, i - CELLS):i])
            problems += [f"{number} in: {sentence}" for number in unfounded(sentence, before)
                         if (path.stem, number) not in ELSEWHERE]
    assert not problems, "\n".join(problems)


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
