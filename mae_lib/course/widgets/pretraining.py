"""Notebook 07: the schedules of a run, its progress, and the curves of recorded runs on a GPU."""

import csv
import functools
import time
from collections.abc import Callable

import ipywidgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae_lib.config import RECIPES, PretrainConfig
from mae_lib.course.widgets import Explorer, Frame, Live, asleep_line, live_view
from mae_lib.course.widgets.recorded_runs import STYLES, pixels
from mae_lib.masking import num_visible_patches, schedule_mask_ratio
from mae_lib.plots import COLOURS, new_figure, styled
from mae_lib.results import Results
from mae_lib.training.checkpoints import ASSETS
from mae_lib.training.compute import multiply_adds
from mae_lib.training.optim import schedule_learning_rate

IMAGES = 100_000  # of the specification, for pretraining


def mask_ratios() -> tuple[dict[float, list[float]], dict[float, int]]:
    """By mask ratio: the linear probes of its seeds, in per cent, and a step's multiply-adds."""
    probes, work = {}, {}
    cfg = PretrainConfig(**RECIPES["quick"].pretrain)
    patches = cfg.build_model().num_patches
    for run in Results(ASSETS / "mask_ratios.json").read():
        ratio = run["settings"]["mask_ratio"]
        probes.setdefault(ratio, []).append(run["measures"]["lp"]["value"])
        work[ratio] = multiply_adds(cfg, num_visible_patches(patches, ratio))
    return probes, work


# ---------------------------------------------------------------- the schedule of a run


@functools.cache
@styled
def _stage() -> tuple:
    """The schedule's axes, laid out once: only curves and limits change."""
    figure, axes = new_figure(1, 2, 7.2, 2.7)
    lines = []
    for axis, title in zip(axes[0], ("learning rate, in 1e-4", "mask ratio"), strict=True):
        axis.set(title=title, xlabel="step, in thousands", ylim=(0, 1))
        lines.append((axis.plot([], [], color=COLOURS[0], linewidth=2)[0],
                      axis.plot([], [], "o", color=COLOURS[1], clip_on=False, in_layout=False)[0]))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    return canvas, axes[0], lines


def render_schedule(peak_lr: float = 1.5e-4, warmup: int = 2, epochs: int = 10, batch: int = 64,
                    ramp: int = 5, update: str = "every step") -> Frame:
    """The learning rate and the mask ratio at every step, with dots at the ends of epochs."""
    cfg = PretrainConfig(lr=peak_lr, warmup_epochs=warmup, epochs=epochs, batch_size=batch,
                         mask_ratio_sched="linear", mask_ratio_warmup_epochs=ramp)
    iters = -(-IMAGES // batch)

    def at(schedule: Callable, step: int) -> float:
        epoch, i = divmod(step, iters)
        return schedule(epoch, 0 if update == "every epoch" else i, iters, cfg)

    total = epochs * iters
    shown = np.unique(np.linspace(0, total - 1, 600).astype(int))
    ends = [(epoch + 1) * iters - 1 for epoch in range(epochs)]
    canvas, axes, lines = _stage()
    schedules = ((schedule_learning_rate, 1e4, 1.08e4 * peak_lr), (schedule_mask_ratio, 1, 1))
    for axis, (line, dots), (schedule, unit, top) in zip(axes, lines, schedules, strict=True):
        line.set_data(shown / 1000, [unit * at(schedule, step) for step in shown])
        marked = ends if epochs <= 10 else []
        dots.set_data(np.array(marked) / 1000, [unit * at(schedule, step) for step in marked])
        axis.set(xlim=(0, 1.04 * total / 1000), ylim=(0, top))  # room for the last label
    canvas.draw()
    told = ends[0], ends[2], ends[-1]
    rates = ", ".join(f"{at(schedule_learning_rate, step):.2e}" for step in told)
    ratios = ", ".join(f"{at(schedule_mask_ratio, step):.2f}" for step in told)
    text = (f"{total:,} steps, set {update}; after epochs 1, 3 and {epochs}: learning rate "
            f"{rates}; mask ratio {ratios}.")
    return Frame(np.asarray(canvas.buffer_rgba())[..., :3].copy(), text)


def schedule_explorer() -> Explorer:
    peak_lr = ipywidgets.SelectionSlider(
        options=[(f"{lr:.1e}", lr) for lr in (7.5e-5, 1.5e-4, 3e-4, 6e-4, 1.2e-3, 2.4e-3)],
        value=1.5e-4, description="peak lr")
    warmup = ipywidgets.IntSlider(2, min=0, max=8, description="warm-up epochs")
    epochs = ipywidgets.SelectionSlider(options=[10, 20, 50, 100, 400, 800], value=10,
                                        description="epochs")
    batch = ipywidgets.SelectionSlider(options=[64, 128, 256, 512, 1024, 4096], value=64,
                                       description="batch")
    ramp = ipywidgets.IntSlider(5, min=0, max=10, description="ramp epochs")
    update = ipywidgets.ToggleButtons(options=["every step", "every epoch"], description="update")
    stills = [{"title": "10 epochs, 2 of warm-up"},
              {"title": "no warm-up", "warmup": 0},
              {"title": "set once an epoch", "update": "every epoch"},
              {"title": "100 epochs, 2 of warm-up", "epochs": 100}]
    return Explorer(render_schedule, stills, peak_lr=peak_lr, warmup=warmup, epochs=epochs,
                    batch=batch, ramp=ramp, update=update)


# ---------------------------------------------------------------- how far a run is


class Progress(Live):
    """Where a run is and how long it will still take, without asking the device for anything.

    `at(step)` says that this step is about to begin.
    """

    def __init__(self, total: int, batch_size: int, seconds: float = 0.5):
        self.total, self.batch_size, self.seconds = total, batch_size, seconds
        self.first = self.last = self.began = self.shown = None
        self.bar = ipywidgets.IntProgress(0, min=0, max=total,
                                          layout=ipywidgets.Layout(width="400px"))
        self.caption = ipywidgets.HTML("Not started yet.")
        self.view = live_view(self.bar, self.caption)

    def at(self, step: int) -> None:
        now = time.perf_counter()
        if self.last is None or step <= self.last:  # a run starts, or goes on after a stop
            self.first, self.began, self.shown = step, now, now
        self.last = step
        if now - self.shown < self.seconds and step < self.total:
            return
        self.shown, self.bar.value = now, step
        rate = (step - self.first) / max(now - self.began, 1e-9)
        left = (self.total - step) / max(rate, 1e-9)
        self.caption.value = (
            f"step {step:,} of {self.total:,}, {self.batch_size * rate:,.0f} images/s, "
            + (f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left"))

    def __repr__(self) -> str:
        return "[progress: where there is a kernel, a bar fills here while the next cell trains]"

    def asleep(self) -> tuple[dict, dict]:
        return asleep_line("Run the notebook up to the next cell to watch its progress here.")


# ---------------------------------------------------------------- recorded runs on a GPU

# What is drawn: (column of the log, digits after the point, whether more is better).
MEASURED = {"training loss": ("loss", 4, False), "validation loss": ("val_loss", 4, False),
            "masked PSNR, dB": ("val_psnr", 2, True),
            "effective rank": ("effective_rank", 1, True)}
AGAINST = {"epochs": "epoch", "multiply-adds": "multiply_adds"}


@functools.cache
def log() -> tuple[dict, ...]:
    """Six runs at the specified sizes, a row for each epoch: see assets/README.md."""
    with open(ASSETS / "specified_runs.csv", newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return tuple({name: text if name in ("method", "device") else float(text)
                      for name, text in row.items()} for row in rows)


def column(method: str, name: str) -> np.ndarray:
    """A column of the log of a method's runs: (seeds, epochs)."""
    rows = [row for row in log() if row["method"] == method]
    return np.array([[row[name] for row in rows if row["seed"] == seed]
                     for seed in sorted({row["seed"] for row in rows})])


def curve(method: str, measured: str, against: str = "epochs") -> tuple[np.ndarray, np.ndarray]:
    """x and y at the end of each epoch, the mean over seeds."""
    return (column(method, AGAINST[against]).mean(axis=0),
            column(method, MEASURED[measured][0]).mean(axis=0))


def draw_curves(axis, measured: str, against: str = "epochs", first: int = 1) -> None:
    for name, (colour, style) in STYLES.items():
        x, y = curve(name, measured, against)
        axis.plot(x[first - 1 :], y[first - 1 :], style, color=colour, markersize=4, label=name)


@functools.cache
@styled
def render_curves(measured: str = "validation loss", against: str = "epochs",
                  first: int = 1) -> Frame:
    """A measure of the recorded runs over epochs or effort, from epoch `first` on."""
    figure, ((axis,),) = new_figure(1, 1, 5.4, 3.1)
    draw_curves(axis, measured, against, first)
    (x_1, y_1), (x_2, y_2) = (curve(name, measured, against) for name in STYLES)
    reach = min(x_1[-1], x_2[-1])
    axis.axvline(reach, color="0.6", linestyle=":")
    axis.set(title=measured, xlabel={"epochs": "epochs", "multiply-adds":
                                     "multiply-adds, in 10¹⁵"}[against])
    axis.legend()
    a, b = np.interp(reach, x_1, y_1), np.interp(reach, x_2, y_2)
    _, digits, more = MEASURED[measured]
    where = {"epochs": f"{reach:.0f} epochs",
             "multiply-adds": f"{reach:.2f}·10¹⁵ multiply-adds"}[against]
    better = "higher" if more else "lower"
    text = (f"{measured} ({better} is better) after {where}: original {a:.{digits}f}, "
            f"improved {b:.{digits}f}.")
    return Frame(pixels(figure), text)


def curve_explorer() -> Explorer:
    measured = ipywidgets.Dropdown(options=list(MEASURED), value="validation loss",
                                   description="measured")
    against = ipywidgets.ToggleButtons(options=list(AGAINST), description="against")
    first = ipywidgets.IntSlider(1, min=1, max=6, description="from epoch")
    stills = [{"title": "the logged loss, by epoch", "measured": "training loss"},
              {"title": "on fixed images and masks, by epoch"},
              {"title": "on fixed images and masks, by multiply-adds", "against": "multiply-adds"},
              {"title": "effective rank of the features", "measured": "effective rank"}]
    return Explorer(render_curves, stills, measured=measured, against=against, first=first)


@styled
def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    figure, axes = new_figure(1, 2, 10, 3.7)
    panels = (("training loss", "the loss that training logs"),
              ("validation loss", "the loss on fixed images with fixed masks"))
    for axis, (measured, words) in zip(axes[0], panels, strict=True):
        draw_curves(axis, measured)
        (x, a), (_, b) = (curve(name, measured) for name in STYLES)
        axis.fill_between(x, a, b, color=COLOURS[1], alpha=0.25, linewidth=0)
        axis.set(title=words, xlabel="epoch", xticks=x, ylim=(0.37, 0.83))
    axes[0, 0].legend()
    figure.suptitle("The same six runs, measured twice")
    return figure, ("Loss curves of two methods, original and improved, twice, on one scale: left "
                    "the loss that training logs, where a wide band separates them, right the loss "
                    "on fixed images with fixed masks, where the two curves almost coincide.")
