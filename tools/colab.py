"""Give the notebooks Colab badges, and their setup cells the address of the course on GitHub.

A notebook opened from GitHub finds that address by itself; badges, and copies in Drive, need it.

  python tools/colab.py owner/name                # badges, and the address in every setup cell
  python tools/colab.py owner/name --branch dev   # of another branch than main
  python tools/colab.py ""                        # both taken out again

Nothing is run, and outputs stay as they are. The README gets its badge below <!-- colab -->.
"""

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from build import HERE, paired_text

BADGE = ("[![Open this page as a notebook in Google Colab]"
         "(https://colab.research.google.com/assets/colab-badge.svg)]"
         "(https://colab.research.google.com/github/{repo}/blob/{branch}/notebooks/{name}.ipynb)")
OLD_BADGE = re.compile(r"\n+\[!\[[^\]]*\]\([^)]*/colab-badge\.svg\)\]\([^)]*\)")
ADDRESS = re.compile(r'^REPO = ".*?"', re.MULTILINE)
MARK = "<!-- colab -->"


def parse(address: str, branch: str = "main") -> tuple[str, str]:
    """(owner/name, branch), also from a page's or a clone's address on GitHub; ("", branch) for "".

    Raises ValueError with one sentence for anything else.
    """
    found = re.fullmatch(r"(?:(?:https?://)?(?:www\.)?github\.com/)?([\w-]+)/([\w.-]+?)"
                         r"(?:\.git)?/?|", address)
    if not found:
        raise ValueError(f"REPO must be owner/name on GitHub, such as ada/course, got {address!r}.")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", branch):
        raise ValueError(f"BRANCH is the name of a branch, such as main, not {branch!r}.")
    return (f"{found[1]}/{found[2]}" if address else ""), branch


def with_badge(text: str, line: str, repo: str, branch: str, name: str) -> str:
    """The text with the badge of notebook `name` below `line`, in place of an earlier one."""
    text = OLD_BADGE.sub("", text)
    badge = "\n\n" + BADGE.format(repo=repo, branch=branch, name=name) if repo else ""
    return text.replace(line, line + badge, 1)


def prepare(notebook: nbformat.NotebookNode, repo: str, branch: str, name: str) -> None:
    """Write the badge below the title, and into the setup cell where to install from."""
    title = notebook.cells[0]
    title.source = with_badge(title.source, title.source.splitlines()[0], repo, branch, name)
    address = repo if branch == "main" or not repo else f"{repo}@{branch}"
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("# Setup."):
            cell.source = ADDRESS.sub(f'REPO = "{address}"', cell.source)


def prepare_all(folder: Path, repo: str, branch: str) -> list[str]:
    """Prepare all notebooks of `folder`, their pairs and the README above; which have changed."""
    texts = {}
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        prepare(notebook, repo, branch, path.stem)
        texts[path] = nbformat.writes(notebook) + "\n"
    for path in sorted((folder / "py").glob("[0-9]*.py")):
        notebook = jupytext.read(path, fmt="py:percent")
        prepare(notebook, repo, branch, path.stem)
        texts[path] = paired_text(notebook)
    readme, first = folder.parent / "README.md", min(path.stem for path in texts)
    texts[readme] = with_badge(readme.read_text("utf-8"), MARK, repo, branch, first)
    changed = [path for path, text in texts.items() if path.read_text("utf-8") != text]
    for path in changed:
        path.write_text(texts[path], "utf-8")
    return [path.name for path in changed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", nargs="?", help="owner/name on GitHub, or an empty word")
    parser.add_argument("--branch", default="main", help="(default: main)")
    arguments = parser.parse_args()
    if arguments.repo is None:
        sys.exit("Say where the course lives on GitHub: make colab REPO=owner/name. "
                 "(An empty REPO= takes the badges out again.)")
    try:
        repo, branch = parse(arguments.repo, arguments.branch or "main")
    except ValueError as error:
        sys.exit(f"error: {error}")
    changed = prepare_all(HERE, repo, branch)
    print(f"{len(changed)} files changed: "
          + (f"they open in Colab from {repo}, branch {branch}, once that is pushed there."
             if repo else "no badges, no address."))


if __name__ == "__main__":
    main()
