"""A picture of which parts of the masked autoencoder are the learner's own by now."""

from html import escape

from mae_lib.course import seam
from mae_lib.course.parts import PARTS

WIDTH, ROW, LEFT = 640, 34, 60  # JupyterLab would cut off what is wider than its output
# Fill, outline and text of a part's box, readable on a light and on a dark page.
COLOURS = {"yours": ("#1b7f5c", "#1b7f5c", "#ffffff"),
           "changed": ("#f4c95d", "#b8860b", "#222222"),
           "the package's": ("#eef1f4", "#9aa5b1", "#39434e")}


class Progress:
    """Which parts are the learner's: a picture (SVG), or words where no picture can be shown."""

    def __init__(self):
        self.states, self.troubles = {}, []
        for name in PARTS:
            text, trouble = seam.read(name)
            self.states[name] = "yours" if text else "changed" if trouble else "the package's"
            if trouble:
                self.troubles.append(f"{trouble}.")

    def rows(self) -> dict[str, list[str]]:
        """The parts of each notebook, by its number."""
        found: dict[str, list[str]] = {}
        for part in PARTS.values():
            found.setdefault(part.notebook[:2], []).append(part.name)
        return found

    def __repr__(self) -> str:
        yours = [name for name, state in self.states.items() if state == "yours"]
        said = f"{len(yours)} of {len(PARTS)} parts are yours"
        return "\n".join([f"{said}: {', '.join(yours)}." if yours else f"{said} so far.",
                          *self.troubles])

    def svg(self) -> str:
        boxes, y = [], 8
        for number, names in self.rows().items():
            x = LEFT
            boxes.append(_text(30, y, number, "#8a94a0"))
            for name in names:
                width = 8 * len(name) + 18
                if x + width > WIDTH:
                    x, y = LEFT, y + ROW
                boxes.append(_box(x, y, width, name, self.states[name]))
                x += width + 8
            y += ROW
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 4}" '
                f'style="max-width: 100%; height: auto" viewBox="0 0 {WIDTH} {y + 4}" role="img">'
                f'<title>{escape(repr(self))}</title>{"".join(boxes)}</svg>')

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = {"text/plain": repr(self), "image/svg+xml": self.svg()}
        return data, {"image/svg+xml": {"alt": f"A box for each part, by notebook. {self!r}"}}


def _text(x: float, y: float, words: str, colour: str) -> str:
    return (f'<text x="{x}" y="{y + 18}" fill="{colour}" font-family="monospace" font-size="13" '
            f'text-anchor="middle">{escape(words)}</text>')


def _box(x: float, y: float, width: float, name: str, state: str) -> str:
    fill, line, text = COLOURS[state]
    dashes = ' stroke-dasharray="4 3"' * (state != "yours")
    return (f'<g><title>{escape(name)}: {state}</title><rect x="{x}" y="{y}" width="{width}" '
            f'height="27" rx="6" fill="{fill}" stroke="{line}"{dashes}/>'
            f'{_text(x + width / 2, y, name, text)}</g>')


def status() -> Progress:
    """Which parts are the learner's own: the last line of a cell shows it as a picture."""
    return Progress()
