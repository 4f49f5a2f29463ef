"""The box for a guess: what it shows, what it keeps, what it says."""

import pytest

from mae_lib import course
from mae_lib.course.predict import Comparison
from mae_lib.course.widgets import VIEW
from mae_lib.plots import new_figure

QUESTION = "How many of 196 patches < 50 %?"


@pytest.fixture(autouse=True)
def nothing_typed(monkeypatch):
    monkeypatch.setitem(course.predict.__globals__, "_typed", {})


@pytest.fixture
def guess():
    return course.predict(QUESTION)


def test_it_shows_the_question_and_a_box(guess, capsys):
    title, box, _ = guess.view.children
    assert box is guess.box and box.value == ""
    assert title.value == "<b>How many of 196 patches &lt; 50 %?</b>"
    data, _ = guess._repr_mimebundle_()
    assert data[VIEW]["model_id"] == guess.view.model_id
    assert "&lt; 50 %" in data["text/html"]


def test_the_cell_displays_it_even_when_it_ends_with_an_assignment(capsys):
    course.predict(QUESTION)
    assert capsys.readouterr().out.strip() == f"[prediction: {QUESTION}]"


def test_its_text_does_not_depend_on_what_was_typed(guess):
    before = guess._repr_mimebundle_()[0]["text/plain"]
    guess.box.value = "99"
    assert guess._repr_mimebundle_()[0]["text/plain"] == before == f"[prediction: {QUESTION}]"


@pytest.mark.parametrize("typed", ["", "  "])
def test_without_a_guess_only_the_result_is_printed(guess, typed, capsys):
    guess.box.value = typed
    capsys.readouterr()
    guess.reveal("49 of 196 patches")
    assert capsys.readouterr().out == "The result: 49 of 196 patches\n"


def test_a_guess_stands_beside_the_result(guess, capsys):
    guess.box.value = " about 50 "
    capsys.readouterr()
    guess.reveal(49)
    assert capsys.readouterr().out == "Your guess: about 50\nThe result: 49\n"


def test_the_result_is_folded_until_there_is_a_guess():
    folded = Comparison("", "fewer than 50 & more")._repr_html_()
    assert folded.startswith("<details><summary>The result</summary>")
    assert "<p>fewer than 50 &amp; more</p>" in folded
    open_ = Comparison("<50", "49")._repr_html_()
    assert open_ == "<p>Your guess: &lt;50<br>The result: 49</p>"


def test_a_table_keeps_its_lines_and_columns():
    table = "early   0.125\nmean  < 0.125"
    folded = Comparison("", table)
    assert repr(folded) == f"The result:\n{table}"
    assert "</summary><pre>early   0.125\nmean  &lt; 0.125</pre></details>" in folded._repr_html_()
    open_ = Comparison("mean", table)._repr_html_()
    assert open_.startswith("<pre>Your guess: mean\nThe result:\nearly   0.125\nmean  &lt;")


def test_a_figure_is_folded_with_the_result_and_told_in_words(guess, monkeypatch):
    shown = []
    monkeypatch.setitem(guess.reveal.__globals__, "display", shown.append)
    figure, _ = new_figure(1, 1, 2, 2)
    guess.reveal("a square", figure, "An empty square, 0 < x < 1.")
    assert repr(shown[0]).endswith("[picture: An empty square, 0 < x < 1.]")
    folded = shown[0]._repr_html_()
    assert folded.startswith("<details>") and folded.endswith('"></details>')
    assert 'alt="An empty square, 0 &lt; x &lt; 1." src="data:image/' in folded


def test_lines_without_columns_are_broken_but_may_wrap():
    assert "<p>49 of 196<br>98 of 196</p>" in Comparison("", "49 of 196\n98 of 196")._repr_html_()


def test_running_the_cell_again_keeps_the_guess(guess):
    guess.box.value = "50"
    assert course.predict(QUESTION).guess == "50"
    assert course.predict("Another question?").guess == ""


def test_a_question_is_needed():
    with pytest.raises(ValueError, match="needs a question"):
        course.predict(" ")
