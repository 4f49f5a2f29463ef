"""The course as it is for a learner who solves every exercise, one notebook after the other."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from test_notebooks import FOLDER, PATHS, cards_of, read

from mae_lib.course import seam
from mae_lib.course.parts import PARTS


def solved(path) -> nbformat.NotebookNode:
    """The notebook with the solution of its card in place of every stub."""
    notebook, cards = read(path), cards_of(path)
    answers = {stub: right for _, right, stub in cards}
    assert len(answers) == len(cards)
    for cell in notebook.cells:
        cell.source = answers.get(cell.source, cell.source)
    return notebook


@pytest.mark.slow
def test_solved_from_beginning_to_end_the_course_uses_the_learners_parts_only(monkeypatch):
    monkeypatch.setenv("MAE_LIB_LEVEL", "smoke")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    problems = []
    for path in PATHS:
        notebook = solved(path)
        client = NotebookClient(notebook, timeout=900, kernel_name="python3",
                                resources={"metadata": {"path": str(FOLDER)}})
        try:
            client.execute()
        except CellExecutionError as error:
            problems.append(f"{path.stem} stops: {error}")
        for cell in notebook.cells:
            said = "".join(o.get("text", "") for o in cell.get("outputs", []))
            check = re.match(r"check\.(\w+)\(", cell.source)
            right = "✓ [^\n]+\nKept in " if check and check[1] in PARTS else "✓ "
            if check and not re.match(right, said):
                problems.append(f"{path.stem}, {check[1]}: {said}")
            fallbacks = re.findall(r"^Using .*the package's (.*)\.$", said, re.MULTILINE)
            problems += [f"{path.stem} uses the package's {name}" for name in
                         ", ".join(fallbacks).split(", ") if name in PARTS
                         and PARTS[name].notebook <= path.stem]  # 00 shows parts ahead of time
    assert not problems, "\n".join(problems)
    names = [name for name, part in PARTS.items() if (FOLDER / f"{part.notebook}.ipynb").exists()]
    assert [name for name in names if seam.read(name)[0] is None] == []
