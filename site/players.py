"""Which controls of the explorers still move on the pages, where there is no kernel.

Their frames are computed when the site is built, and take the place of the explorer's stills.
An explorer that is not listed keeps its stills, like the one of notebook 11, whose model is trained
in the notebook. Those of LIVE run the model itself, where a browser can, in place of their frames.
"""

import importlib

import ipywidgets
import nbformat
from live import Live, shell

from mae_lib.course.widgets import Explorer
from mae_lib.course.widgets.frames import Player

# Notebook: (explorer in its module of mae_lib.course.widgets, the control that moves, its values
# (default: all), settings of the other controls (default: the notebook's)).
PLAYERS = {
    "00_start_here": [("explorer", "mask_ratio")],
    "01_patchify": [("explorer", "patch_size")],
    "02_curriculum_masking": [("explorer", "mask_ratio"), ("schedule_explorer", "ramp_epochs")],
    "03_asymmetric_autoencoder": [
        ("attention_explorer", "block"),
        ("reconstruction_explorer", "mask_ratio"),
        ("flow_explorer", "mask_ratio"),
    ],
    "04_reconstruction_loss": [("norm_pix_explorer", "view"), ("prediction_explorer", "units")],
    "05_laplacian_loss": [
        ("frequency_explorer", "cutoff", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 112]),
        ("weight_explorer", "weight"),
    ],
    "06_uniformity_loss": [
        ("explorer", "step", [0, 1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 80, 100, 120]),
        ("force_explorer", "spread"),
    ],
    "07_pretraining": [("schedule_explorer", "epochs"), ("curve_explorer", "against")],
    "08_linear_probe_and_fine_tuning": [
        ("neighbours_explorer", "features"),
        ("peeking_explorer", "settings"),
        ("interval_explorer", "test_images"),
        ("seeds_explorer", "shared"),
    ],
    "09_reconstructions": [("explorer", "kind", ["random", "block", "grid"])],
    "10_claims": [
        ("verdict_explorer", "half"),
        ("add_on_explorer", "measure", None, {"add_on": "uniformity"}),
    ],
}

# Notebook: (explorer, how the live one begins, where not as live.FIRST says).
LIVE = {
    "00_start_here": ("explorer", {}),
    "09_reconstructions": ("explorer", {"photograph": "astronaut"}),
}


def positions(control: ipywidgets.Widget) -> list:
    """Every value of a slider or a choice."""
    if hasattr(control, "options"):
        return [o[1] if isinstance(o, tuple) else o for o in control.options]
    steps = round((control.max - control.min) / control.step)
    return [round(control.min + i * control.step, 10) for i in range(steps + 1)]


def player_of(explorer: Explorer, name: str, values: list | None = None) -> str:
    """The explorer with one control that moves, as HTML; it begins where the control stands."""
    control, said = explorer.controls[name], name.replace("_", " ")
    values = values or positions(control)
    player = Player(explorer, name, values, first=values.index(control.value))
    words = {o[1]: o[0] for o in getattr(control, "options", ()) if isinstance(o, tuple)}
    player.labels = [words.get(v, label) for v, label in zip(values, player.labels, strict=True)]
    others = ", ".join(other.replace("_", " ") for other in explorer.controls
                       if other not in (name, "flipped"))
    return (f'{player.html()}\n<p class="player-note">Only <strong>{said}</strong> can be changed '
            f"here. The notebook also has: {others}.</p>")


def add_players(notebook: nbformat.NotebookNode, name: str, live: Live | None = None) -> None:
    """Put players where the notebook shows the explorers of its list, with `live` also the model.

    An explorer is found by what it says of itself when it is new. Raises LookupError where no
    output of the notebook says that.
    """
    module = importlib.import_module(f"mae_lib.course.widgets.{name.split('_', 1)[1]}")
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", []) if "data" in o]
    for function, control, *more in PLAYERS.get(name, []):
        values, settings = (*more, None, None)[:2]
        explorer = getattr(module, function)()
        found = [o for o in outputs if o.data.get("text/plain") == repr(explorer)]
        if not found:
            raise LookupError(f"No output of {name} shows {function}() as it starts: run "
                              "`make notebooks`, or fix site/players.py.")
        explorer.set(**settings or {})
        html = player_of(explorer, control, values)
        if live and LIVE.get(name, [""])[0] == function:
            html = shell(live, html, LIVE[name][1])
        for output in found:
            output.data = {"text/html": html}
