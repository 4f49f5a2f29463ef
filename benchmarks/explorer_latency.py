"""How fast the explorer of notebook 09 follows: from a move of a control to its new picture.

At the kernel, a move ends when the picture's bytes are ready; every picture is drawn again.
--browser also measures JupyterLab in a headless Chromium, from a key press on the mask ratio to the
painted picture, in three cases: with pauses between moves, in which the explorer draws ahead;
without drawing ahead, as in a quick drag; and a bare slider with ready pictures, which shows what
JupyterLab and the browser take.

  python -m benchmarks.explorer_latency --browser
"""

import argparse
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import ipywidgets
import numpy as np
import torch

from benchmarks import timing
from mae_lib.course.widgets import ahead, reconstructions, sources
from mae_lib.runtime import cli

EXPLORER = "from mae_lib.course.widgets import reconstructions\nreconstructions.explorer()"
# Nothing drawn ahead:
ANEW = f"from mae_lib.course.widgets import ahead\nahead.SLOW = 0\n{EXPLORER}"
READY = """import ipywidgets
from mae_lib.course.widgets import reconstructions
explorer = reconstructions.explorer()
ready = {n: explorer.set(mask_ratio=n / 20).image.value for n in range(1, 20)}
slider = ipywidgets.FloatSlider(0.75, min=0.05, max=0.95, step=0.05)
image = ipywidgets.Image(value=ready[15], format=explorer.image.format)
slider.observe(lambda change: setattr(image, "value", ready[round(20 * change["new"])]), "value")
ipywidgets.VBox([slider, image])"""
PAUSE, FRAME = 200, 17  # milliseconds from one key press to the next; of a browser's frame
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# In the page: the time of every key press, and of the first frame after its picture has arrived.
WATCH = """() => {
  const image = document.querySelector("img.widget-image");
  window.times = [];
  let pressed = 0;
  document.addEventListener("keydown", () => { pressed = performance.now(); }, true);
  image.addEventListener("load", () => requestAnimationFrame(() => {
    window.times.push(performance.now() - pressed);
  }));
}"""


def settings(control: ipywidgets.Widget) -> list:
    """Values to move a control through."""
    if hasattr(control, "options"):
        return list(control.options)
    return [round(float(v), 2) if isinstance(control.min, float) else int(v)
            for v in np.arange(control.min, control.max + control.step / 2, control.step)]


def at_the_kernel(moves: int) -> dict[str, list[float]]:
    """Milliseconds of each of `moves` moves, by control; the controls take turns."""
    ahead.SLOW = 0  # s: nothing is drawn ahead
    explorer = reconstructions.explorer()
    rng = np.random.default_rng(0)
    ways = {}
    for name, control in explorer.controls.items():
        if name != "flipped":
            values = itertools.cycle(settings(control))
            ways[name] = lambda c=control, v=values: setattr(c, "value", next(v))
    ways["a click on a patch"] = lambda: explorer.patches.flip(
        *rng.integers(0, len(explorer.patches.children) ** 0.5, 2).tolist())
    times = {name: [] for name in ways}
    for i in range(moves + 3):
        for name, move in ways.items():
            before = explorer.image.value
            start = time.perf_counter()
            move()
            milliseconds = 1000 * (time.perf_counter() - start)
            if i >= 3 and explorer.image.value != before:
                times[name].append(milliseconds)
    return times


def in_a_browser(moves: int, code: str = EXPLORER) -> list[float]:
    """Milliseconds from a key press on the first slider shown by `code` to the painted picture."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not browser:
        raise FileNotFoundError(f"None of {', '.join(CHROMIUM)} is installed: install one.")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        cell = {"cell_type": "code", "id": "a", "source": code, "metadata": {}, "outputs": [],
                "execution_count": None}
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (Path(folder) / "a.ipynb").write_text(json.dumps(notebook))
        port, token = free_port(), secrets.token_hex()
        server = start_jupyter(folder, port, token)
        try:
            page = playwright.chromium.launch(executable_path=browser, args=[
                "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
            ]).new_page(viewport={"width": 1400, "height": 1200})
            wait_for(port)
            page.goto(f"http://127.0.0.1:{port}/lab/tree/a.ipynb?reset&token={token}")
            page.wait_for_function("window.jupyterapp && document.querySelector('.jp-CodeCell')")
            page.wait_for_timeout(3000)
            page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.wait_for_selector("img.widget-image", timeout=60_000)
            page.wait_for_timeout(2000)
            page.evaluate(WATCH)
            page.locator(".noUi-handle").first.focus()
            rng = np.random.default_rng(0)
            for i in range(moves):
                page.keyboard.press("ArrowLeft" if i // 10 % 2 == 0 else "ArrowRight")
                # Asking the page whether it is done would slow it down. And a pause of whole frames
                # would let every key press fall at the same moment of a frame.
                page.wait_for_timeout(PAUSE + rng.uniform(0, FRAME))
            page.wait_for_function(f"window.times.length >= {moves}")
            return page.evaluate("window.times")
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_jupyter(folder: str, port: int, token: str) -> subprocess.Popen:
    """JupyterLab with settings of its own, its notebook in `folder`."""
    own = {f"JUPYTER{name}_DIR": f"{folder}/.jupyter{name}" for name in ("_CONFIG", "LAB_SETTINGS",
                                                                         "LAB_WORKSPACES")}
    environment = {**os.environ, **own, "JUPYTER_PREFER_ENV_PATH": "1",
                   "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    words = ["-m", "jupyterlab", "--no-browser", f"--port={port}", f"--ServerApp.root_dir={folder}",
             f"--IdentityProvider.token={token}", "--expose-app-in-browser", "--allow-root"]
    return subprocess.Popen([sys.executable, *words], env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start within a minute.")


def row(name: str, milliseconds: list[float]) -> dict:
    median, p95 = np.percentile(milliseconds, (50, 95))
    return {"name": name, "moves": len(milliseconds), "median_ms": round(float(median), 1),
            "p95_ms": round(float(p95), 1)}


def main() -> None:
    parser = cli.parser("python -m benchmarks.explorer_latency", __doc__)
    parser.add_argument("--moves", type=timing.number(int, at_least=1), default=60,
                        help="of each control (default: 60)")
    parser.add_argument("--browser", action="store_true", help="measure in a browser as well")
    given = parser.parse_args()
    times = at_the_kernel(given.moves)
    if given.browser:
        times["mask ratio, key press to paint"] = in_a_browser(given.moves)
        times["drawn anew, key press to paint"] = in_a_browser(given.moves, ANEW)
        times["ready pictures, key press to paint"] = in_a_browser(given.moves, READY)
    model = sources.weights("original").model
    about = argparse.Namespace(device=torch.device("cpu"), precision="fp32", batch_size=1,
                               preset=f"shipped weights at {model.img_size} px",
                               rounds=given.moves)
    rows = [row(name.replace("_", " "), found) for name, found in times.items()]
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    timing.save("explorer_latency", about, rows=rows, ipywidgets=ipywidgets.__version__,
                load_average=load)
    for found in rows:
        print("{name:34} median {median_ms:6.1f} ms   p95 {p95_ms:6.1f} ms".format(**found))
    print("Written. The tables: python -m benchmarks.report")


if __name__ == "__main__":
    cli.run(main)
