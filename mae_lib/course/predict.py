"""A box for a learner's guess, which stays there to be compared with what happens."""

from html import escape

import ipywidgets
from IPython.display import display

from mae_lib.course.widgets import VIEW, live_view, without_echo

_typed: dict[str, str] = {}  # by question: a cell that runs again does not lose the guess


class Prediction:
    """A question and the guess typed below it.

    Shown as a text box; where there is no kernel, as the question alone. Its text is always the
    same, whatever was typed.
    """

    def __init__(self, question: str):
        self.question = question
        self.box = ipywidgets.Text(value=_typed.get(question, ""), placeholder="your guess",
                                   layout=ipywidgets.Layout(width="400px", max_width="100%"))
        without_echo(self.box)
        self.box.observe(self._remember, names="value")
        self.view = live_view(ipywidgets.HTML(f"<b>{escape(question)}</b>"), self.box)

    def _remember(self, change) -> None:
        _typed[self.question] = change["new"]

    @property
    def guess(self) -> str:
        """What was typed, "" for nothing."""
        return self.box.value.strip()

    def reveal(self, result) -> None:
        """Show the guess beside the result, or the result alone, folded, if nothing was typed."""
        display(Comparison(self.guess, str(result)))

    def __repr__(self) -> str:
        return f"[prediction: {self.question}]"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        still = (f"<p><b>{escape(self.question)}</b> "
                 "<i>Run the notebook up to this cell to type your guess.</i></p>")
        view = {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}
        return {"text/plain": repr(self), "text/html": still, VIEW: view}


class Comparison:
    """A guess and the result. Without a guess the result is folded, so that nobody reads it early.

    Its text is that of both, which tests read. A result with several spaces in a row is a table.
    """

    def __init__(self, guess: str, result: str):
        self.guess, self.result = guess, result
        self.table = "  " in result  # shown in monospace, which keeps the columns aligned

    def __repr__(self) -> str:
        guess = f"Your guess: {self.guess}\n" if self.guess else ""
        between = "\n" if self.table else " "
        return f"{guess}The result:{between}{self.result}"

    def _repr_html_(self) -> str:
        shown = escape(repr(self) if self.guess else self.result)
        if self.table:
            shown = f"<pre>{shown}</pre>"
        else:
            shown = "<p>" + shown.replace("\n", "<br>") + "</p>"
        return shown if self.guess else f"<details><summary>The result</summary>{shown}</details>"


def predict(question: str) -> Prediction:
    """Show a box for a guess, and return it: its `reveal(result)` compares the two.

    Raises ValueError without a question.
    """
    if not question.strip():
        raise ValueError("predict needs a question, such as predict(\"How many patches?\").")
    prediction = Prediction(question)
    display(prediction)
    return prediction
