"""Make the notebooks from their py:percent pairs: run each as a learner would, keep its outputs.

  python notebooks/build.py            # all
  python notebooks/build.py 01 05      # some
  python notebooks/build.py --sync     # run nothing; take edits made in Jupyter over into py/
"""

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.update(JUPYTER_PREFER_ENV_PATH="1", MAE_LIB_LEVEL="smoke", CUDA_VISIBLE_DEVICES="",
                  PYTHONHASHSEED="0")

import jupytext  # noqa: E402
import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbclient.exceptions import CellExecutionError  # noqa: E402

VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Only what a reader needs, the same bytes on every machine, and no state of widgets.

    A stored widget is a name of something that only lived in the kernel that made it; what remains
    of an explorer is its picture and its sentence.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02}"
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags"}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
    return notebook


def joined(outputs: list) -> list:
    """The outputs, with text in one piece that came in several, which a page shows as lines."""
    found = []
    for output in outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def paired_text(notebook: nbformat.NotebookNode) -> str:
    """The notebook as it should stand in notebooks/py/."""
    bare = nbformat.from_dict({**notebook, "metadata": {}})
    text = jupytext.writes(bare, fmt="py:percent")
    return text.split("# ---\n", 2)[2].lstrip("\n") if text.startswith("# ---\n") else text


def build(source: Path) -> None:
    start = time.perf_counter()
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3",
                            resources={"metadata": {"path": str(HERE)}})
    client.execute()
    target = HERE / f"{source.stem}.ipynb"
    nbformat.write(normalise(notebook), target)
    source.write_text(paired_text(notebook), encoding="utf-8")  # in jupytext's own layout
    size = target.stat().st_size / 1e6
    print(f"{target.name}: {time.perf_counter() - start:.0f} s, {size:.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="which, by number (default: all)")
    parser.add_argument("--sync", action="store_true", help="from .ipynb to .py instead")
    arguments = parser.parse_args()
    sources = [p for p in sorted((HERE / "py").glob("[0-9]*.py"))
               if not arguments.numbers or p.name[:2] in arguments.numbers]
    for source in sources:
        if arguments.sync:
            notebook = nbformat.read(HERE / f"{source.stem}.ipynb", as_version=4)
            source.write_text(paired_text(notebook), encoding="utf-8")
            continue
        try:
            build(source)
        except CellExecutionError as error:
            sys.exit(f"{source.name} failed:\n{error}")


if __name__ == "__main__":
    main()
