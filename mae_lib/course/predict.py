"""A box for a learner's guess, which stays there to be compared with what happens."""

from html import escape

import ipywidgets
from IPython.display import display
from matplotlib.figure import Figure

from mae_lib.course.session import Picture, png_of
from mae_lib.course.widgets import Live, live_view, without_echo

_typed: dict[str, str] = {}  # by question: a cell that runs again does not lose the guess


class Prediction(Live):
    """A question and the guess typed below it.

    Shown as a text box; where there is no kernel, as the question alone. Its text is always the
    same, whatever was typed.
    """

    def __init__(self, question: str):
        self.question = question
        self.box = ipywidgets.Text(value=_typed.get(question, ""), placeholder="your guess",
                                   layout=ipywidgets.Layout(width="400px", max_width="100%"))
        self.box.tooltip = question  # which a screen reader says
        without_echo(self.box)
        self.box.observe(self._remember, names="value")
        self.view = live_view(ipywidgets.HTML(f"<b>{escape(question)}</b>"), self.box)

    def _remember(self, change) -> None:
        _typed[self.question] = change["new"]

    @property
    def guess(self) -> str:
        """What was typed, "" for nothing."""
        return self.box.value.strip()

    def reveal(self, result, figure: Figure | None = None, alt: str = "") -> None:
        """Show the guess beside the result, or the result alone, folded, if nothing was typed.

        A figure belongs to the result; `alt` is a sentence that says what it shows.
        """
        picture = Picture(png_of(figure), alt) if figure else None
        display(Comparison(self.guess, str(result), picture))

    def __repr__(self) -> str:
        return f"[prediction: {self.question}]"

    def asleep(self) -> tuple[dict, dict]:
        still = (f"<p><b>{escape(self.question)}</b> "
                 "<i>Run the notebook up to this cell to type your guess.</i></p>")
        return {"text/html": still}, {}


class Comparison:
    """A guess and the result. Without a guess the result is folded, so that nobody reads it early.

    Its text is that of both, which tests read. A result with several spaces in a row is a table.
    """

    def __init__(self, guess: str, result: str, picture: Picture | None = None):
        self.guess, self.result, self.picture = guess, result, picture
        self.table = "  " in result  # shown in monospace, which keeps the columns aligned

    def words(self) -> str:
        guess = f"Your guess: {self.guess}\n" if self.guess else ""
        between = "\n" if self.table else " "
        return f"{guess}The result:{between}{self.result}"

    def __repr__(self) -> str:
        return self.words() + (f"\n{self.picture!r}" if self.picture else "")

    def _repr_html_(self) -> str:
        shown = escape(self.words() if self.guess else self.result)
        if self.table:
            shown = f"<pre>{shown}</pre>"
        else:
            shown = "<p>" + shown.replace("\n", "<br>") + "</p>"
        if self.picture:
            shown += self.picture.html()
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
