"""Make the notebooks from their py:percent pairs: run each as a learner would, keep its outputs.

  python tools/build.py            # all
  python tools/build.py 01 05      # some
  python tools/build.py --sync     # run nothing; copy edits made in Jupyter into notebooks/py/

It stops before it would overwrite edits that only the other file of a pair has.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "notebooks"
LAST = ROOT / "build/pairs"  # what both files of a pair said when this last wrote them
os.environ.update(JUPYTER_PREFER_ENV_PATH="1", MAE_LIB_LEVEL="smoke", CUDA_VISIBLE_DEVICES="",
                  PYTHONHASHSEED="0")

import jupytext  # noqa: E402
import nbformat  # noqa: E402
from jupytext.config import load_jupytext_configuration_file  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbclient.exceptions import CellExecutionError  # noqa: E402

CONFIG = load_jupytext_configuration_file(str(ROOT / "pyproject.toml"))
MARKS = ("<<<<<<< ", ">>>>>>> ")  # what git leaves where two versions do not fit together
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
    return jupytext.writes(bare, fmt="py:percent", config=CONFIG)


def known(name: str) -> set[str]:
    """The texts of a pair that can be had again: the last one written, and the committed one."""
    committed = subprocess.run(["git", "show", f"HEAD:./py/{name}.py"], cwd=HERE, check=False,
                               capture_output=True, text=True, encoding="utf-8")
    last = LAST / f"{name}.py"
    texts = {last.read_text("utf-8")} if last.exists() else set()
    return texts | ({committed.stdout} if committed.returncode == 0 else set())


def check(source: Path, sync: bool) -> None:
    """Stop if writing one file of the pair would lose edits that the other one does not have."""
    target = HERE / f"{source.stem}.ipynb"
    if not target.exists():
        return
    texts = [paired_text(jupytext.read(source, fmt="py:percent")),
             paired_text(nbformat.read(target, as_version=4))]
    lost = texts[0] if sync else texts[1]
    if texts[0] == texts[1] or lost in known(source.stem):
        return
    edited, option = (f"py/{source.name}", "") if sync else (target.name, "--sync ")
    other = target.name if sync else f"py/{source.name}"
    words = f'make notebooks ARGS="{{}}{source.name[:2]}"'
    sys.exit(f"notebooks/{edited} has edits that notebooks/{other} does not have. Keep them with "
             f"`{words.format(option)}`, or overwrite them with `{words.format('--force ')}`.")


def store(source: Path, text: str) -> None:
    """Write the pair, and remember that both files say the same."""
    for path in (source, LAST / source.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def build(source: Path) -> None:
    start = time.perf_counter()
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3",
                            resources={"metadata": {"path": str(HERE)}})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAE_LIB_MY_MAE"] = folder  # nothing solved, and nothing trained
        client.execute()
    target = HERE / f"{source.stem}.ipynb"
    nbformat.write(normalise(notebook), target)
    store(source, paired_text(notebook))  # in jupytext's own layout
    size = target.stat().st_size / 1e6
    print(f"{target.name}: {time.perf_counter() - start:.0f} s, {size:.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="which, by number (default: all)")
    parser.add_argument("--sync", action="store_true", help="from .ipynb to .py instead")
    parser.add_argument("--force", action="store_true", help="overwrite edits of the other file")
    arguments = parser.parse_args()
    found = {path.name[:2]: path for path in sorted((HERE / "py").glob("[0-9]*.py"))}
    if unknown := ", ".join(sorted({*arguments.numbers} - found.keys())):
        sys.exit(f"There is no notebook {unknown}: the numbers are {', '.join(found)}.")
    sources = [path for number, path in found.items() if number in (arguments.numbers or found)]
    targets = [] if arguments.force else [HERE / f"{path.stem}.ipynb" for path in sources]
    for path in filter(Path.exists, [*sources, *targets]):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.startswith(MARKS):
                sys.exit(f"notebooks/{path.relative_to(HERE)} has a merge conflict on line "
                         f"{number}: keep one side, and delete the other and the marks.")
    for source in sources if not arguments.force else []:
        check(source, arguments.sync)
    for source in sources:
        if arguments.sync:
            notebook = nbformat.read(HERE / f"{source.stem}.ipynb", as_version=4)
            store(source, paired_text(notebook))
            continue
        try:
            build(source)
        except CellExecutionError as error:
            sys.exit(f"{source.name} failed:\n{error}")


if __name__ == "__main__":
    main()
