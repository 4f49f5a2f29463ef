"""Explorers that draw ahead where their slider can go, so that its next move need not wait."""

import asyncio
import time
from collections.abc import Callable, Hashable
from functools import partial

import ipywidgets

from mae_lib.course.widgets import Explorer, Frame, Render, packed, quietly

WAIT = 0.1  # s after a move: the browser is painting, and a drag sends its next move sooner
GAP = 0.02  # s between two pictures, in which the kernel takes in what has arrived
SLOW = 0.1  # s: a move that comes meanwhile waits until the picture in progress is done
SLIDERS = ipywidgets.FloatSlider, ipywidgets.IntSlider

Drawn = tuple[Frame, bytes]  # and the frame's picture as a file


class SpareTime:
    """Draws what may be wanted next while the kernel has nothing to do.

    Where no event loop runs, as in a script, it draws nothing.
    """

    def __init__(self):
        self.drawn: dict[Hashable, Drawn] = {}

    def want(self, wanted: dict[Hashable, Callable[[], Drawn]]) -> None:
        """Soon begin to draw what is missing, in this order; forget what is not wanted."""
        self.drawn = {key: self.drawn[key] for key in wanted if key in self.drawn}
        missing = [item for item in wanted.items() if item[0] not in self.drawn]
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(WAIT, self._next, loop, self.drawn, missing)

    def _next(self, loop: asyncio.AbstractEventLoop, drawn: dict, missing: list) -> None:
        if missing and drawn is self.drawn:  # else something was wanted since
            (key, draw), *rest = missing
            drawn[key] = draw()
            loop.call_later(GAP, self._next, loop, drawn, rest)


SPARE = SpareTime()  # of all explorers: a cell that is run again adds nothing to what is kept


class AheadExplorer(Explorer):
    """Draws ahead where the slider last moved can go, unless a picture takes longer than SLOW.

    Call `SPARE.want({})` after you change what a value stands for, such as the file of a name.
    """

    def __init__(self, render: Render, stills: list[dict], **controls: ipywidgets.Widget):
        self.moved, self.slow = None, False
        for name, control in controls.items():
            if isinstance(control, SLIDERS):  # before they draw
                control.observe(lambda _, name=name: setattr(self, "moved", name), names="value")
        super().__init__(render, stills, **controls)

    def _draw(self, change=None) -> None:
        key, start = self._key(self.values), time.perf_counter()
        if drawn := SPARE.drawn.get(key):
            self._show(*drawn)
        else:
            super()._draw()
            self.slow = time.perf_counter() - start > SLOW
            SPARE.drawn[key] = self.frame, self.image.value
        wanted = [self.values]
        if self.moved and not self.slow and not self.controls[self.moved].disabled:
            wanted += [self.values | {self.moved: v} for v in reach(self.controls[self.moved])]
        SPARE.want({self._key(values): partial(self._drawn, values) for values in wanted})

    def _key(self, values: dict) -> Hashable:
        # A browser's slider says 0.7000000000000001.
        return self.render, *(round(v, 9) if isinstance(v, float) else v for v in values.values())

    def _drawn(self, values: dict) -> Drawn:
        frame = quietly(self.render, **values)
        return frame, packed(frame)


def reach(slider: ipywidgets.FloatSlider | ipywidgets.IntSlider) -> list[float]:
    """The values of a slider, the nearest to its own first."""
    steps = int((slider.max - slider.min) / slider.step + 1e-6)  # (0.95 − 0.05) / 0.05 is 17.99…
    values = [round(slider.min + i * slider.step, 9) for i in range(steps + 1)]
    return sorted(values, key=lambda value: abs(value - slider.value))
