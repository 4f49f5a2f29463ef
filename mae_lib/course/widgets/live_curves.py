"""Curves that grow while a training runs, from the history that it writes as it goes."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from mae_lib.course.widgets import Live, asleep_line, live_view, png
from mae_lib.course.widgets.recorded_runs import STYLES, pixels
from mae_lib.plots import new_figure


class Log:
    """Reads a run's history.jsonl while it is being written."""

    def __init__(self, path: Path):
        self.path, self.place = Path(path), 0
        self.steps: list[tuple[int, float]] = []
        self.epochs: list[dict] = []

    def read(self) -> bool:
        """Take over what is new; whether there was anything."""
        if not self.path.exists():
            return False
        if self.path.stat().st_size < self.place:  # a resumed run has cut its history
            self.__init__(self.path)
        with open(self.path, "rb") as file:
            file.seek(self.place)
            whole = file.read().rpartition(b"\n")[0]  # a last line may be half written
        for line in whole.splitlines():
            record = json.loads(line)
            if record["kind"] == "epoch":
                self.epochs.append(record)
            else:
                self.steps.append((record["step"], record["mae"]))
        self.place += len(whole) + bool(whole)
        return bool(whole)


def draw_logs(logs: dict[str, Log], epochs: int) -> Figure:
    """Reconstruction loss in training, step by step, and on validation, by epoch."""
    figure, axes = new_figure(1, 2, 9, 3)
    for (name, log), (colour, style) in zip(logs.items(), STYLES.values(), strict=False):
        if not log.steps:
            continue
        iters = log.epochs[0]["step"] if log.epochs else log.steps[-1][0]
        steps = np.array(log.steps)
        parts = np.array_split(steps, min(len(steps), 400))
        x, y = np.array([part.mean(axis=0) for part in parts]).T
        axes[0, 0].plot(x / iters, y, color=colour, linewidth=1.2, label=name)
        axes[0, 1].plot([e["epoch"] for e in log.epochs], [e["val_loss"] for e in log.epochs],
                        style, color=colour, markersize=4, label=name)
    for axis, words in zip(axes[0], ("training", "validation, fixed masks"), strict=True):
        axis.set(title=f"reconstruction loss, {words}", xlabel="epoch", xlim=(0, epochs + 0.2))
    if any(log.steps for log in logs.values()):
        axes[0, 0].legend()
    return figure


class LiveCurves(Live):
    """A picture of loss curves that is drawn again whenever a training logs something.

    Below it stands how far the training is, how fast, and how long it will still take.
    """

    def __init__(self, epochs: int, iters: int, batch_size: int, seconds: float = 2.0):
        self.epochs, self.total = epochs, epochs * iters
        self.batch_size, self.seconds = batch_size, seconds
        self.logs: dict[str, Log] = {}
        self.image, self.caption = ipywidgets.Image(), ipywidgets.HTML()
        self.view = live_view(self.image, self.caption)
        self._draw("Nothing logged yet.")

    def _draw(self, caption: str) -> None:
        self.image.value = png(pixels(draw_logs(self.logs, self.epochs)))
        self.caption.value = caption

    def progress(self, name: str, before: int, seconds: float) -> str:
        """Where a run is that had done `before` steps so many seconds ago."""
        step, loss = self.logs[name].steps[-1]
        text = f"{name}: step {step:,} of {self.total:,}, loss {loss:.3f}"
        if not before < step < self.total:
            return f"{text}."
        rate = (step - before) / max(seconds, 1e-9)
        minutes = (self.total - step) / rate / 60
        return f"{text}, {self.batch_size * rate:,.0f} images/s, {minutes:.1f} min left."

    @contextmanager
    def follow(self, name: str, folder: Path) -> Iterator[None]:
        """Within the block, draw what the run in `folder` logs."""
        log = self.logs[name] = Log(Path(folder) / "history.jsonl")
        log.read()  # of a run that is resumed
        before, start = (log.steps[-1][0] if log.steps else 0), time.perf_counter()
        done = threading.Event()

        def redraw() -> None:
            if log.read():
                self._draw(self.progress(name, before, time.perf_counter() - start))

        def watch() -> None:
            while not done.wait(self.seconds):
                redraw()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            redraw()

    def __repr__(self) -> str:
        return "[live curves: where there is a kernel, they grow here while the next cell trains]"

    def asleep(self) -> tuple[dict, dict]:
        return asleep_line("Run the notebook up to the next cell to watch the curves grow here.")
