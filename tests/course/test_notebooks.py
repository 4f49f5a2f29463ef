"""The notebooks are what their pairs say, complete, tidy, and teach in the agreed form.

That they run, and print what is stored, is nbval's part of `make test`.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
import torch
from jupytext.config import load_jupytext_config

from mae_lib.course.parts import PARTS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
sys.path.insert(0, str(ROOT / "tools"))
import build  # noqa: E402

PATHS = sorted(FOLDER.glob("[0-9]*.ipynb"))
MAX_LINES = 25
SETUP = "# Setup. Run this first"

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def cells(path, kind):
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def prose(path):
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def outputs(path):
    return [output for cell in cells(path, "code") for output in cell.outputs]


# ---------------------------------------------------------------- kept well


def test_every_notebook_has_its_pair():
    assert [p.stem for p in PATHS] == [p.stem for p in sorted((FOLDER / "py").glob("*.py"))]
    numbers = [p.stem[:2] for p in PATHS]
    assert len(set(numbers)) == len(numbers)


def test_a_rule_in_a_notebook_takes_nothing_away():
    texts = ["# One", "above\n\n---\n\nbelow"]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_markdown_cell, texts)))
    text = build.paired_text(notebook)
    assert "# # One" in text and "# above" in text and "# below" in text


@every_notebook
def test_the_pair_says_the_same(path):
    stored = (FOLDER / "py" / f"{path.stem}.py").read_text("utf-8")
    assert build.paired_text(read(path)) == stored, "run make notebooks"
    # What jupytext itself makes of the notebook, as pyproject.toml configures it, is the same.
    config = load_jupytext_config(str(path))
    notebook = jupytext.read(path, config=config)
    assert jupytext.writes(notebook, "py:percent", config=config) == stored


def test_jupytext_is_configured_but_left_out_of_jupyter():
    """It would pair on every save, by file times: see tests/course/test_server.py."""
    config = load_jupytext_config(str(PATHS[0]))
    assert config.notebook_metadata_filter == "-all" and not config.default_formats(str(PATHS[0]))
    assert all("jupytext" not in read(path).metadata for path in PATHS)


def pair(folder, text, name="00_a"):
    """A notebook and its pair that say the same, in a copy of the folder."""
    (folder / "py").mkdir(exist_ok=True)
    source = folder / "py" / f"{name}.py"
    source.write_text(text, "utf-8")
    notebook = build.normalise(jupytext.read(source, fmt="py:percent"))
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return source


def test_building_never_overwrites_edits_that_only_one_file_has(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "LAST", tmp_path / "last")
    before, after = "# %%\nx = 1\n", "# %%\nx = 2\n"

    source = pair(tmp_path, before)
    for sync in (False, True):  # the same in both: nothing to lose
        build.check(source, sync)
    source.write_text(after, "utf-8")
    for sync in (False, True):  # who can say which one is newer?
        with pytest.raises(SystemExit, match="--force"):
            build.check(source, sync)

    build.store(pair(tmp_path, before), before)
    source.write_text(after, "utf-8")  # edited since both were written
    build.check(source, sync=False)
    with pytest.raises(SystemExit, match=r"notebooks/py/00_a.py has edits"):
        build.check(source, sync=True)

    pair(tmp_path, after)
    source.write_text(before, "utf-8")  # now the notebook is the one that was edited
    build.check(source, sync=True)
    with pytest.raises(SystemExit, match=r"notebooks/00_a.ipynb has edits .*--sync 00"):
        build.check(source, sync=False)


@every_notebook
def test_it_was_run_from_top_to_bottom_without_an_error(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for o in outputs(path) if o.output_type == "error"]
    assert not [o for o in outputs(path) if o.get("name") == "stderr"]


@every_notebook
def test_it_is_stored_without_widget_state_and_with_the_same_bytes_everywhere(path):
    notebook = read(path)
    assert notebook.metadata == build.METADATA
    assert not [o for o in outputs(path) if build.VIEW in o.get("data", {})]
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert path.stat().st_size < 3e6


def test_all_together_are_small_enough_to_be_rebuilt_often():
    assert sum(path.stat().st_size for path in PATHS) < 8e6


@every_notebook
def test_few_cells_are_exempt_from_comparison(path):
    code = cells(path, "code")
    exempt = [c for c in code if "nbval-ignore-output" in c.metadata.get("tags", ())
              or "NBVAL_IGNORE_OUTPUT" in c.source]
    assert len(exempt) <= len(code) / 10
    tags = {tag for cell in code for tag in cell.metadata.get("tags", ())}
    assert tags <= {"nbval-ignore-output"}, "nothing may be skipped altogether"


@every_notebook
def test_cells_are_short(path):
    for cell in cells(path, "code"):
        source = re.sub('^REPO = ".*?"', 'REPO = ""', cell.source, flags=re.MULTILINE)  # in a fork
        lines = source.splitlines()
        assert len(lines) <= MAX_LINES, f"{len(lines)} lines:\n{source}"
        assert max(map(len, lines)) <= 100, source


@every_notebook
def test_no_cell_names_a_place_on_somebodys_machine(path):
    text = "".join(o.get("text", "") + str(o.get("data", {}).get("text/plain", ""))
                   for o in outputs(path))
    assert not re.search(r"/(home|root|Users|work|tmp)/", text + prose(path))


# ---------------------------------------------------------------- teaches in the agreed form


@every_notebook
def test_it_begins_with_what_a_learner_wants_to_know(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \d+ · \S", first.source)
    for part in ("**You will be able to**", "**Before you start:**", "**Time:**"):
        assert part in first.source, part
    minutes = int(re.search(r"\*\*Time:\*\* (\d+) minutes", first.source)[1])
    assert 5 <= minutes <= 75


TIME = re.compile(r"\*\*Time:\*\* (\d+) minutes(?: to read and run, and about (\d+) more)?")


@every_notebook
def test_the_course_page_says_the_same_minutes(path):
    first = " ".join(read(path).cells[0].source.split())
    minutes = " + ".join(filter(None, TIME.search(first).groups()))
    page = (FOLDER / "README.md").read_text("utf-8")
    row = re.search(rf"^\| \[.+\]\({path.name}\) \| ([\d +]+)", page, re.MULTILINE)
    assert row and row[1].strip() == minutes


def test_all_have_the_same_setup():
    setups = {cells(path, "code")[0].source for path in PATHS}
    assert len(setups) == 1 and setups.pop().startswith(SETUP)


def picture_of(output):
    """The MIME type of the picture in an output, if there is one."""
    return next((kind for kind in output.get("data", {}) if kind.startswith("image/")), None)


@every_notebook
def test_a_striking_picture_comes_first(path):
    pictures = [i for i, cell in enumerate(cells(path, "code"))
                if any(picture_of(o) for o in cell.outputs)]
    assert pictures[0] <= 2


@every_notebook
def test_every_picture_is_told_in_words(path):
    for output in outputs(path):
        if kind := picture_of(output):
            alt = output.metadata.get(kind, {}).get("alt", "")
            assert len(alt) >= 30, f"no alternative text: {output.data.get('text/plain')}"
    for alt in re.findall(r"!\[(.*?)\]\(", prose(path)):
        assert len(alt) >= 30


@every_notebook
def test_it_has_an_explorer_over_stills_after_a_prediction(path):
    notebook = read(path).cells
    places = [i for i, cell in enumerate(notebook) if cell.cell_type == "code"
              for o in cell.outputs if o.get("data", {}).get("text/plain", "")[:9] == "[explorer"]
    assert places
    for i in places:
        assert any(picture_of(o) for o in notebook[i].outputs)
    before = "\n".join(cell.source for cell in notebook[: places[0]])
    assert re.search(r"predict", before, re.IGNORECASE)


@every_notebook
def test_exercises_have_hints_and_a_solution(path):
    cards = re.split(r"^### ✏️ Exercise ", prose(path), flags=re.MULTILINE)[1:]
    assert len(cards) >= 3
    for i, card in enumerate(cards, 1):
        title = card.splitlines()[0]
        assert re.fullmatch(rf"{i} · .+  \((★☆☆|★★☆|★★★) · \d+ minutes\)", title), title
        assert "<summary>Hint 1</summary>" in card and "<summary>Solution</summary>" in card
        ast.parse(solution(card))


def solution(card):
    return re.search(r"<summary>Solution</summary>\s*```python\n(.*?)```", card, re.DOTALL)[1]


@every_notebook
def test_unsolved_exercises_say_so(path):
    said = [o.text for o in outputs(path) if o.output_type == "stream"]
    assert sum("○ Not attempted yet." in text for text in said) >= 3


@every_notebook
def test_quiz_explains_every_option(path):
    quiz = prose(path).split("## Quiz")[1].split("\n## ")[0]
    questions = re.split(r"^\*\*\d+\. ", quiz, flags=re.MULTILINE)[1:]
    assert len(questions) >= 3
    for question in questions:
        options = re.findall(r"<summary>(.+?)</summary>\n\n(.+?)\n</details>", question, re.DOTALL)
        assert len(options) == question.count("<details>") >= 3, question
        verdicts = [text[0] for _, text in options]
        assert verdicts.count("✓") == 1 and set(verdicts) == {"✓", "✗"}, question
        assert all(len(text) > 30 for _, text in options), question


@every_notebook
def test_details_are_closed(path):
    for cell in cells(path, "markdown"):
        assert cell.source.count("<details>") == cell.source.count("</details>")


@every_notebook
def test_it_ends_with_recap_next_and_reading(path):
    text = prose(path)
    assert "## Key takeaways" in text or "## What you take along" in text
    assert "**Further reading**" in text
    reading = text.split("**Further reading**")[1]
    assert len(re.findall(r"^- .+\(\d{4}\)", reading, re.MULTILINE)) >= 2  # authors and years
    if path != PATHS[-1]:
        assert "**Next:**" in text


@every_notebook
def test_links_lead_somewhere(path):
    planned = {p.name for p in PATHS} | PLANNED
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose(path)):
        if "://" not in target:
            assert target in planned or (FOLDER / target).exists(), target


def test_links_to_the_glossary_lead_to_a_term():
    page = (FOLDER / "GLOSSARY.md").read_text("utf-8")
    terms = re.findall(r'^\| <a id="(.+?)"></a>.+ \| .+ \| \[.+\]\(\d\d_\w+\.ipynb\) \|$', page,
                       re.MULTILINE)
    assert len(set(terms)) == len(terms) == page.count("<a id=") > 100
    for path in PATHS:
        assert set(re.findall(r"GLOSSARY\.md#([^)]*)\)", prose(path))) <= set(terms), path.stem


def test_the_glossary_names_no_later_notebook_than_the_first_that_links_a_term():
    page = (FOLDER / "GLOSSARY.md").read_text("utf-8")
    named = dict(re.findall(r'<a id="(.+?)"></a>.+\]\((\d\d)_\w+\.ipynb\) \|$', page, re.MULTILINE))
    for path in PATHS:
        for term in re.findall(r"GLOSSARY\.md#([^)]*)\)", prose(path)):
            assert named[term] <= path.name[:2], f"{term} is explained in {path.stem}"


PLANNED = {f"{name}.ipynb" for name in (
    "00_start_here", "01_patchify", "02_curriculum_masking", "03_asymmetric_autoencoder",
    "04_reconstruction_loss", "05_laplacian_loss", "06_uniformity_loss", "07_pretraining",
    "08_linear_probe_and_fine_tuning", "09_reconstructions", "10_claims", "11_your_own_mae")}


# ---------------------------------------------------------------- exercises


def cards_of(path):
    """(name of the check, its card's solution, the stub) of each exercise in a notebook."""
    notebook, found = read(path).cells, []
    for i, cell in enumerate(notebook):
        for card in re.split(r"^### ✏️ Exercise ", cell.source, flags=re.MULTILINE)[1:]:
            stub, check = (c.source for c in notebook[i + 1 : i + 3])
            found.append((check, solution(card), stub))
    return found


def module_of(path):
    return path.stem.split("_", 1)[1]


def names_of_imports(path):
    """Solutions and stubs run in the names that the notebook's import cells have, and the parts."""
    from test_exercises import SOLVED

    imports = [c.source for c in cells(path, "code") if c.source.startswith(("import ", "from "))]
    names = {**SOLVED, "display": lambda *_: None}
    for source in imports:
        lines = [n for n in ast.parse(source).body if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(lines, []), path.stem, "exec"), names)
    return names


@every_notebook
def test_checks_accept_the_solution_and_tell_that_the_stub_is_empty(path, capsys):
    names = names_of_imports(path)
    for check, right, stub in cards_of(path):
        assert re.match(r"check\.\w+\(", check), check
        for answer, mark in ((stub, "○ Not attempted yet."), (right, "✓ ")):
            scope = dict(names)
            exec(answer, scope)
            capsys.readouterr()
            exec(check, scope)
            said = capsys.readouterr().out
            assert said.startswith(mark), f"{check}: {said}"


def with_nan(answer, made):
    """The answer, or what it will return, with nan for every float; `made` counts them."""
    if inspect.isfunction(answer):
        call = lambda *args, **named: with_nan(answer(*args, **named), made)  # noqa: E731
        return functools.wraps(answer)(call)
    if isinstance(answer, tuple | list):
        return type(answer)(with_nan(part, made) for part in answer)
    is_tensor = isinstance(answer, torch.Tensor) and answer.is_floating_point()
    if not is_tensor and not isinstance(answer, float):
        return answer
    made.append(1)
    return torch.full_like(answer, float("nan")) if is_tensor else float("nan")


@every_notebook
def test_no_check_praises_a_nan_or_stops_at_it(path, capsys):
    tried = 0
    for check, right, _ in cards_of(path):
        scope, made = names_of_imports(path), []
        exec(right, scope)
        for node in ast.walk(ast.parse(check)):
            if isinstance(node, ast.Name) and node.id != "check":
                scope[node.id] = with_nan(scope[node.id], made)
        capsys.readouterr()
        exec(check, scope)
        said = capsys.readouterr().out
        assert said.startswith("✗ " if made else "✓ "), said
        assert said.count("\n") == 1 + ("\nNot kept in" in said), said
        assert "stopped with" not in said, said
        tried += bool(made)
    assert tried or path.stem == "11_your_own_mae"  # which has no answers with floats


@every_notebook
def test_every_check_is_used_and_has_wrong_answers_tried(path):
    """tests/course/test_exercises.py tries at least four plausible wrong answers on each."""
    from test_exercises import WRONG

    module = importlib.import_module(f"mae_lib.course.exercises.{module_of(path)}")
    checks = {n for n, f in inspect.getmembers(module, inspect.isfunction)
              if f.__module__ == module.__name__ and hasattr(f, "__wrapped__")}
    used = {re.match(r"check\.(\w+)", check)[1] for check, *_ in cards_of(path)}
    parts = {name for name, part in PARTS.items() if part.notebook == path.stem}
    assert used <= checks | parts and checks <= used | parts
    for name in checks:
        wrong = WRONG.get((module_of(path), name), [])
        assert len(wrong) >= 4, f"{module_of(path)}.{name}"
