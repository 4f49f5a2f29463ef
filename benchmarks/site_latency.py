"""How fast the explorer of the web pages follows, where the browser runs the model itself.

A headless Chromium opens the explorer as one file. A move begins with a key press or a click and
ends with the first frame after the reconstruction has been drawn. Moves are 200 ms apart, and each
is computed again, except in the last line: there the explorer computes the slider's next positions
during the pauses, if the model is slow. Moves of the mask ratio run along the whole slider.

  python -m benchmarks.site_latency
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from playwright.sync_api import Page, sync_playwright

from benchmarks import timing
from benchmarks.explorer_latency import CHROMIUM, FRAME, PAUSE, row
from mae_lib.runtime import cli

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "site"))
import live

# In the page: the time of every move, and of the first frame after its picture was drawn. While
# `anew` is set, nothing that was computed earlier or ahead is used.
WATCH = """() => {
  const root = document.querySelector(".live"), { explorer } = root;
  const lookAhead = explorer.lookAhead.bind(explorer);
  explorer.lookAhead = () => window.anew ? null : lookAhead();
  window.times = [];
  let moved = 0;
  for (const kind of ["keydown", "pointerdown"])
    document.addEventListener(kind, () => {
      moved = performance.now();
      if (window.anew) explorer.kept.clear();
    }, true);
  root.addEventListener("drawn", () => requestAnimationFrame(() => {
    const painted = new MessageChannel();  // its message comes after the frame
    painted.port1.onmessage = () => window.times.push(performance.now() - moved);
    painted.port2.postMessage(0);
  }));
}"""


def measure(page: Page, moves: int) -> dict[str, list[float]]:
    """Milliseconds of each move, by control."""
    page.evaluate(WATCH)
    rng = np.random.default_rng(0)
    grid = page.locator(".seen").bounding_box()

    def slide(name: str, last: float):
        """Moves down and up a slider, from `last`, its highest value."""
        slider = page.locator(f"[name={name}]")
        steps = int(slider.evaluate("e => Math.round((e.max - e.min) / e.step)"))

        def move(i: int) -> None:
            if i == 0:
                slider.fill(f"{last}")
                slider.focus()
                pause()
            page.keyboard.press("ArrowLeft" if i // steps % 2 == 0 else "ArrowRight")

        return move

    def click(_: int) -> None:
        x, y = rng.uniform(0.02, 0.98, 2)
        page.mouse.click(grid["x"] + x * grid["width"], grid["y"] + y * grid["height"])

    def switch(i: int) -> None:
        page.locator("[name=weights]").nth((i + 1) % 2).focus()
        page.keyboard.press("Space")

    def pause(milliseconds: int = PAUSE) -> None:
        # Whole frames would let every move fall at the same moment of a frame.
        page.wait_for_timeout(milliseconds + rng.uniform(0, FRAME))

    for i in range(2):  # fetches both weights
        switch(i)
        pause(3000)
    times = {}
    for name, move, anew in [
        ("weights", switch, True), ("a click on a patch", click, True),
        ("mask seed", slide("seed", 9), True), ("mask ratio", slide("ratio", 0.95), True),
        ("mask ratio, after a rest", slide("ratio", 0.95), False),
    ]:
        page.evaluate("anew => { window.anew = anew; window.times = []; }", anew)
        for i in range(moves):
            move(i)
            pause()
        pause(2000)
        times[name] = page.evaluate("window.times")[-moves:]
    return times


def main() -> None:
    parser = cli.parser("python -m benchmarks.site_latency", __doc__)
    parser.add_argument("--moves", type=timing.number(int, at_least=1), default=100,
                        help="of each control (default: 100)")
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not browser:
        raise FileNotFoundError(f"None of {', '.join(CHROMIUM)} is installed: install one.")
    made = live.Live()
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "explorer.html"
        path.write_text(made.page(live.style()), "utf-8")
        chromium = playwright.chromium.launch(executable_path=browser, args=[
            "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
        page = chromium.new_page(viewport={"width": 1400, "height": 1200})
        page.goto(path.as_uri())
        page.locator(".live.ready").wait_for(timeout=300_000)
        times = measure(page, given.moves)
        version = chromium.version
    rows = [row(name, found) for name, found in times.items()]
    about = argparse.Namespace(device=torch.device("cpu"), precision=live.PRECISION, batch_size=1,
                               preset=f"shipped weights at {made.size} px", rounds=given.moves)
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    timing.save("site_latency", about, rows=rows, chromium=version, runtime=live.VERSION,
                load_average=load)
    for found in rows:
        print("{name:24} median {median_ms:6.1f} ms   p95 {p95_ms:6.1f} ms".format(**found))
    print("Written. The tables: python -m benchmarks.report")


if __name__ == "__main__":
    cli.run(main)
