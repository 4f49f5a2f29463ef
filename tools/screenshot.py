"""Make the README's pictures: the first one of notebook 00, and its explorer, alive in JupyterLab.

  python tools/screenshot.py
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/course")]

import test_browser as t  # noqa: E402  JupyterLab and a browser, as the tests use them
from chromium import CHROMIUM, FLAGS  # noqa: E402

from mae_lib import plots  # noqa: E402
from mae_lib.course.widgets import start_here  # noqa: E402


def main() -> None:
    plots.save(start_here.title()[0], ROOT / "figures/reconstructions.png")
    if not CHROMIUM:
        sys.exit("There is no Chromium on this machine; install it from the system's packages.")
    with tempfile.TemporaryDirectory() as folder, t.sync_api.sync_playwright() as playwright:
        lab = t.Lab(Path(folder) / "root")
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            notebook = t.Notebook(lab, chromium, "00_start_here")
            notebook.page.set_viewport_size({"width": 1280, "height": 800})
            notebook.run()
            explorer = notebook.explorers()[0]
            explorer.root.evaluate("root => root.closest('.jp-Cell').scrollIntoView()")
            notebook.page.wait_for_timeout(2000)  # for JupyterLab to settle
            notebook.page.screenshot(path=ROOT / "figures/course.png")
            notebook.close()
        finally:
            chromium.close()
            lab.stop()


if __name__ == "__main__":
    main()
