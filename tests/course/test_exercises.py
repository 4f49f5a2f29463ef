"""Checks explain plausible wrong answers; see test_notebooks.py for solutions and stubs.

Wrong answers are in tests/course/wrong_answers/NOTEBOOK.py: a dict from the check's name to
pairs of a wrong answer, as source code that defines the function or value of that name, and words
that the explanation must contain. ALSO_RIGHT has right answers in other styles than the solution's.
"""

import importlib
import runpy
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mae_lib.config import PretrainConfig
from mae_lib.course import exercises
from mae_lib.course.parts import GIVEN, PARTS, stand_in

FOLDER = Path(__file__).parent / "wrong_answers"
WRONG = {
    (path.stem, name): pairs
    for path in sorted(FOLDER.glob("*.py"))
    for name, pairs in runpy.run_path(str(path))["WRONG"].items()
}
CASES = [(*key, *pair) for key, pairs in WRONG.items() for pair in pairs]


SOLVED = dict(GIVEN)  # wrong answers may use the parts before their own
for part in PARTS:
    exec(stand_in(part)[1], SOLVED)


@pytest.mark.parametrize("notebook, name, answer, words", CASES)
def test_a_wrong_answer_is_explained(notebook, name, answer, words, capsys):
    check = getattr(importlib.import_module(f"mae_lib.course.exercises.{notebook}"), name)
    scope = {**GIVEN, **SOLVED}
    exec(answer, scope)
    check(scope[name])
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and words in said, said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("notebook, name, answer", [
    (path.stem, name, answer)
    for path in sorted(FOLDER.glob("*.py"))
    for name, answers in runpy.run_path(str(path)).get("ALSO_RIGHT", {}).items()
    for answer in answers])
def test_a_right_answer_in_another_style_passes(notebook, name, answer, capsys):
    check = getattr(importlib.import_module(f"mae_lib.course.exercises.{notebook}"), name)
    scope = {**GIVEN, **SOLVED}
    exec(answer, scope)
    check(scope[name])
    assert capsys.readouterr().out.startswith("✓ ")


def test_explanations_differ():
    """Wrong answers with one and the same explanation would not have been understood."""
    for key, pairs in WRONG.items():
        assert len({words for _, words in pairs}) >= 4, key


def test_every_part_has_wrong_answers():
    named = {name for _, name in WRONG}
    assert set(PARTS) <= named


def with_nan(found):
    if isinstance(found, tuple | list):
        return type(found)(map(with_nan, found))
    if isinstance(found, torch.Tensor) and found.is_floating_point():
        return torch.full_like(found, float("nan"))
    return float("nan") if isinstance(found, float) else found


@pytest.mark.parametrize("name", PARTS)
def test_what_makes_no_sense_is_told_as_a_mistake(name, capsys):
    """Not as an error in the learner's code, which it is not, and never as right."""
    right = SOLVED[name]
    silly = [5, 2.0, "x", (1, 2, 3), [torch.zeros(3)] * 3, torch.zeros(3), torch.zeros(()), {},
             torch.zeros(3, dtype=torch.long), (torch.zeros(2), torch.zeros(2)), torch.nn.Mish()]
    answers = [lambda *args, _=found, **named: _ for found in silly]
    if name not in ("parameter_groups", "snapshot", "knn_predict"):  # where there are no floats
        answers.append(lambda *args, **named: with_nan(right(*args, **named)))
    if isinstance(right, type):
        def nan_too(self, *args, **named):
            return with_nan(right.forward(self, *args, **named))

        answers = [type("Answer", (right,), {"forward": forward})
                   for forward in (*answers[: len(silly)], nan_too)]
    for answer in answers:
        PARTS[name].check(answer)
        said = capsys.readouterr().out
        assert said.startswith("✗ ") and said.count("\n") == 1, said
        assert "stopped with" not in said, said


# ---------------------------------------------------------------- the frame


@exercises.exercise("well done")
def twice(function):
    exercises.require(exercises.call(function, 3) == 6, "Twice 3 is 6.")


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda x: 2 * x, "✓ well done\n"),
        (lambda x: x, "✗ Twice 3 is 6.\n"),
        (lambda x: None, "○ Not attempted yet.\n"),
        (lambda x: ..., "○ Not attempted yet.\n"),
        (lambda x: print(end=""), "✗ Your function returns nothing: is a return missing"),
        (None, "○ Not attempted yet.\n"),
        (..., "○ Not attempted yet.\n"),
        (lambda: 6, "✗ Your code stopped with TypeError: "),
        (lambda x: 1 / 0, "✗ Your code stopped with ZeroDivisionError: division by zero\n"),
        ("no function", "✗ Your code stopped with TypeError: 'str' object is not callable\n"),
    ],
)
def test_a_check_says_one_line_and_never_raises(answer, said, capsys):
    twice(answer)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("cell, name", [("def f(x) return 2 * x", "SyntaxError"),
                                        ("f = g", "NameError"), ("f = abs", None)])
def test_a_check_after_a_cell_that_stopped_says_what_it_is_about(cell, name, monkeypatch, capsys):
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    monkeypatch.setattr(exercises, "get_ipython", lambda: shell)
    shell.run_cell(cell)
    capsys.readouterr()
    twice(lambda x: 2 * x)
    *before, said = capsys.readouterr().out.splitlines()
    assert said == "✓ well done"
    assert [f"stopped with {name}. Fix it" in line for line in before] == [True] * bool(name)


@exercises.exercise("well done")
def pair(function):
    exercises.several(exercises.call(function), 2, "Return two numbers.")


@pytest.mark.parametrize("found, mark", [
    ((1, 2), "✓"), ([1, 2], "✓"), (torch.ones(2), "✓"), ((1, 2, 3), "✗ Return two numbers."),
    (5.0, "✗ Return two numbers."),
])
def test_several_numbers_may_come_in_any_container(found, mark, capsys):
    pair(lambda: found)
    assert capsys.readouterr().out.startswith(mark)


@pytest.mark.parametrize("cell", [
    "<ipython-input-3>", "/tmp/ipython-input-3857317899.py", "/tmp/ipykernel_7/3.py"])
def test_a_check_names_the_line_of_the_cell(cell, capsys):
    """By whatever name IPython, Colab and Jupyter compile it."""
    scope = {}
    exec(compile("def f(x):\n    y = x\n    return y[0]\n", cell, "exec"), scope)
    twice(scope["f"])
    assert "stopped with TypeError on line 3:" in capsys.readouterr().out


def test_a_check_leaves_autograd_as_it_was(capsys):
    def doubled(x):
        torch.set_grad_enabled(False)
        return 2 * x

    twice(doubled)
    assert "You leave autograd switched off" in capsys.readouterr().out
    assert torch.is_grad_enabled()


def test_a_learner_cannot_spoil_what_is_tested():
    x = torch.zeros(3)
    with pytest.raises(exercises.Mistake, match="changes t in place"):
        exercises.call(lambda s, t: t.add_(1), x, x)
    assert torch.equal(x, torch.zeros(3))
    assert exercises.call(lambda t: t + 1, x).sum() == 3


@pytest.mark.parametrize("answer, hint", [
    (lambda x: torch.ones(3, 2) - torch.ones(3, 4), "or is a keepdim=True missing?"),
    (lambda x: torch.ones(3)[torch.ones(3)], "write x[mask == 1]."),
    (lambda x: torch.ones(3, 4, 4)[torch.ones(1, 4, 4) > 0], "A mask (1, H, W) fits one channel"),
    (lambda x: torch.ones(6, 6)[~torch.eye(4, dtype=bool)], "A mask must have the shape of the"),
    (lambda x: torch.linalg.svd(torch.eye(3)).sum(), "returns U, S and Vh: take S"),
    (lambda x: torch.eye(3).min(dim=1).sum(), "return values and indices"),
    (lambda x: torch.ones(3).max(0.5), "got (float). .max does not take a number"),
    (lambda x: max(torch.ones(3), 0.5), "Python's max, min, if and while need single numbers."),
    (lambda x: torch.ones(3, requires_grad=True).numpy(), "instead. Stay in PyTorch"),
    (lambda x: (torch.ones(3) > 0) - (torch.ones(3) > 0), "^ would lose the sign."),
    (lambda x: torch.ones(())(), "leave out its parentheses, as in step(closure)."),
    (lambda x: torch.ones(6, 16) @ torch.ones(8, 3), "is the mean over the right dimension?"),
    (lambda x: setattr(PretrainConfig(), "lr", 1), "Error: cannot assign to field 'lr'. cfg can"),
])
def test_what_torch_says_is_explained_where_its_words_are_known(answer, hint, capsys):
    twice(answer)
    said = capsys.readouterr().out
    assert hint in said
    assert said.count("\n") == 1
    assert sum(hint in said for hint in exercises.HINTS.values()) == 1


@pytest.mark.parametrize(
    "found, name, said",
    [([1, 2], "It", "It should be a tensor; yours is a list."),
     (7, "It", "It should be a tensor; yours is an int."),
     ((), "The losses", "The losses should be a tensor; yours are a tuple."),
     (torch.zeros(2), "It", "It should have shape (3,); yours has shape (2,). Cut it."),
     (torch.zeros(2), "The labels", "The labels should have shape (3,); yours have shape (2,). "
                                    "Cut it.")]
)
def test_what_is_no_tensor_of_the_right_shape_is_explained(found, name, said):
    with pytest.raises(exercises.Mistake) as error:
        exercises.require_tensor(found, (3,), name, "Cut it.")
    assert str(error.value) == said


@pytest.mark.parametrize("found, what", [("5", "a str"), (None, "None"),
                                         (torch.zeros(2), "a tensor of shape (2,)")])
def test_what_is_no_number_is_explained(found, what):
    with pytest.raises(exercises.Mistake) as error:
        exercises.number(found, "It")
    assert str(error.value) == f"It should be one number; yours is {what}."
