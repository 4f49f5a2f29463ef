"""The explorers on what Google Colab has installed, which is older than what comes with the course.

The older packages lie in a folder of their own, which only the kernels of these tests look into
first. It is filled once, from the package index, and kept in the virtual environment.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from test_project import COLAB

from mae_lib.widgets import VIEW

TESTS = Path(__file__).resolve().parent
FOLDER = Path(sys.prefix) / ".colab"
OLDER = {"ipywidgets": COLAB["ipywidgets"], "ipykernel": COLAB["ipykernel"], "ipython": "7.34.0"}
# What these need and newer ones no longer do.
HELPERS = ["decorator==4.4.2", "backcall==0.2.0", "pickleshare==0.7.5", "ipython_genutils==0.2.0"]
if sys.version_info < (3, 13):  # Colab has built its own for later ones
    OLDER["numpy"] = COLAB["numpy"]

# Moves every control to both ends as a page does: by a message about the state that has changed.
CODE = """
import sys, IPython, ipykernel, ipywidgets, numpy
print("ipywidgets", ipywidgets.__version__, "ipykernel", ipykernel.__version__,
      "ipython", IPython.__version__, "numpy", numpy.__version__)
sys.path.insert(0, {tests!r})
from test_widgets import MAKERS, ends
for module, make in MAKERS:
    explorer = make()
    display(explorer)
    for name, control in explorer.controls.items():
        before, choice = explorer.frame, hasattr(control, "options")
        for i, value in zip((0, -1), ends(control)):
            if choice:
                control.set_state({{"index": range(len(control.options))[i]}})
            elif "value" in control.keys:
                control.set_state({{"value": value}})
            else:
                control.value = value
            assert explorer.values[name] == value, (make, name, value)
        assert explorer.frame is not before and explorer.caption.value == explorer.frame.text
    print(module.__name__, make.__name__, "moves")
"""


@pytest.fixture(scope="module")
def colab():
    """The folder of older packages, filled if it is not."""
    wanted = [f"{name}=={version}" for name, version in OLDER.items()] + HELPERS
    note = FOLDER / "installed.txt"
    if not note.exists() or note.read_text() != "\n".join(wanted):
        shutil.rmtree(FOLDER, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
             "--disable-pip-version-check", "--target", FOLDER, *wanted],
            capture_output=True, text=True, timeout=300)
        if done.returncode:
            shutil.rmtree(FOLDER, ignore_errors=True)
            pytest.skip(f"Colab's packages could not be installed: {done.stderr.strip()[-200:]}")
        note.write_text("\n".join(wanted))
    return FOLDER


def test_every_explorer_is_shown_and_moves_under_colabs_packages(colab):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CODE.format(tests=str(TESTS)))])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(env={**os.environ, "PYTHONPATH": str(colab), "MPLBACKEND": "Agg",
                        "PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PREFER_ENV_PATH": "1"})
    outputs = notebook.cells[0].outputs
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    for name, version in OLDER.items():
        assert f"{name} {version}" in text
    shown = [output.data for output in outputs if output.output_type == "display_data"]
    assert len(shown) == text.count("moves") > 10
    for data in shown:
        assert data[VIEW]["model_id"] and data["image/png"] and "[explorer" in data["text/plain"]
