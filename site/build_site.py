"""The course as web pages that need no kernel and no network: `make site`.

  python site/build_site.py            # every lesson, into build/site
  python site/build_site.py 00 09      # some

What a page is made of is in pages.py, what moves on it in players.py, its frame in page.html. Two
lessons run the model itself, see live.py. That takes ONNX Runtime from the npm registry; without
it, they show recorded pictures.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

os.environ.update(CUDA_VISIBLE_DEVICES="", MAE_LIB_LEVEL="smoke")

import jinja2
import matplotlib
from live import Live, style
from pages import ROOT, Page, becomes_a_page, convert
from players import LIVE

HERE = Path(__file__).resolve().parent
HOME, TEACHERS = "README.md", "notebooks/README.md"
# Where a system has no font for formulas, this one, which comes with matplotlib, serves.
MATH_FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif.ttf"


def live_model(numbers: list[str]) -> Live | None:
    """The model, if lessons among `numbers` run it; says why where it cannot be had."""
    if numbers and not any(name[:2] in numbers for name in LIVE):
        return None
    try:
        return Live()
    except OSError as error:
        print(f"The model will not run on the pages, which show recorded pictures instead: {error}")
        return None


def collect(
    numbers: list[str], with_players: bool, live: Live | None
) -> tuple[list[Page], list[Page], str]:
    """Lessons, all pages, and the colours of code."""
    paths = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    if unknown := ", ".join(sorted({*numbers} - {p.name[:2] for p in paths})):
        sys.exit(f"There is no notebook {unknown}: the numbers are "
                 f"{', '.join(p.name[:2] for p in paths)}.")
    lessons = [Page(f"notebooks/{p.name}") for p in paths if not numbers or p.name[:2] in numbers]
    pages = [Page(HOME), *lessons, Page(TEACHERS)]
    known, css = {page.source for page in pages}, ""
    for page in pages:  # grows by what they link to
        css = convert(page, known, with_players, live)
        new = sorted(filter(becomes_a_page, page.links - known))
        known.update(new)
        pages += map(Page, new)
    return lessons, pages, css


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def make_room(out: Path) -> None:
    """Remove an earlier site, and nothing else."""
    if out.is_dir() and any(out.iterdir()):
        if not (out / "search.js").is_file():
            sys.exit(f"{out} does not hold an earlier site: choose another folder.")
        shutil.rmtree(out)


def build(out: Path, numbers: list[str] | None = None, with_players: bool = True) -> list[Page]:
    live = live_model(numbers or []) if with_players else None
    lessons, pages, css = collect(numbers or [], with_players, live)
    make_room(out)
    loader = jinja2.FileSystemLoader(HERE)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("page.html")
    teachers = next(page for page in pages if page.source == TEACHERS)
    way = [pages[0], *lessons]
    for page in pages:
        i = way.index(page) if page in way else -1
        write(out / page.target, template.render(
            page=page, lessons=lessons, home=pages[0], teachers=teachers, live=live,
            before=way[i - 1] if i > 0 else None,
            after=way[i + 1] if 0 <= i < len(way) - 1 else None))
        for path, content in page.pictures.items():
            write(out / path, content)
        for path in page.links:
            if not becomes_a_page(path):
                write(out / path, (ROOT / path).read_bytes())
    index = [[page.target, page.title, *section] for page in pages for section in page.sections
             if not page.source.endswith(".py")]
    write(out / "search.js", f"window.sections = {json.dumps(index, ensure_ascii=False)};\n")
    write(out / "site.css", style() + css)
    if live:
        for name, content in live.files().items():
            write(out / "live" / name, content)
        write(out / "explorer.html", live.page(style()))
    write(out / "site.js", (HERE / "site.js").read_text("utf-8"))
    write(out / MATH_FONT.name, MATH_FONT.read_bytes())
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="which lessons (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/site"),
                        help="(default: %(default)s)")
    arguments = parser.parse_args()
    start = time.perf_counter()
    pages = build(arguments.out, arguments.numbers)
    size = sum(p.stat().st_size for p in arguments.out.rglob("*") if p.is_file()) / 1e6
    print(f"{len(pages)} pages, {size:.0f} MB, in {time.perf_counter() - start:.0f} s. To look at "
          f"them, open {arguments.out / 'index.html'} in a browser,\n"
          f"or serve them: {os.path.relpath(sys.executable)} -m http.server "
          f"--bind 127.0.0.1 --directory {arguments.out}")


if __name__ == "__main__":
    main()
