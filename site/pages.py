"""One page of the site: a notebook, Markdown or Python file becomes HTML, with all it needs.

nbconvert turns notebooks and Markdown into HTML, math-core turns formulas into MathML. What is
left to do here: anchors, words for the search, links that lead to pages, pictures in files.
"""

import copy
import io
import posixpath
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, NavigableString, Tag
from jupyterlab_pygments import JupyterStyle
from live import Live
from math_core import LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from players import add_players

ROOT = Path(__file__).resolve().parent.parent
HEADINGS = ["h1", "h2", "h3"]


@dataclass
class Page:
    """A notebook, Markdown or Python file of the repository, and what became of it."""

    source: str  # its path in the repository
    title: str = ""
    body: str = ""
    headings: list[tuple[str, str]] = field(default_factory=list)  # (anchor, text) of h2
    sections: list[list[str]] = field(default_factory=list)  # [anchor, heading, words]
    pictures: dict[str, bytes] = field(default_factory=dict)  # path in the site: content
    links: set[str] = field(default_factory=set)  # files of the repository it leads to
    live: bool = False  # whether the model runs on it

    @property
    def target(self) -> str:
        """Its path in the site, at the same place as in the repository."""
        folder, name = posixpath.split(self.source)
        name = re.sub(r"^README\.md$", "index.md", name)
        return posixpath.join(folder, re.sub(r"\.(ipynb|md)$|(?<=\.py)$", ".html", name))

    @property
    def up(self) -> str:
        return "../" * self.source.count("/")


def becomes_a_page(path: str) -> bool:
    return path.endswith((".ipynb", ".md", ".py"))


# ---------------------------------------------------------------- from a file to HTML


class Renderer(IPythonRenderer):
    """Markdown to HTML with formulas as MathML, which browsers draw without a script."""

    latex = LatexToMathML()

    def block_math(self, body: str) -> str:
        formula = self.latex.convert_with_local_state(body.strip(), displaystyle=True)
        return f'<span class="formula" tabindex="0">{formula}</span>'

    def inline_math(self, body: str) -> str:
        return self.latex.convert_with_local_state(body.strip(), displaystyle=False)


def markdown_to_html(source: str) -> str:
    renderer = Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


EXPORTER = HTMLExporter(
    template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True,
    filters={"markdown2html": markdown_to_html},
    preprocessors=["nbconvert.preprocessors.ExtractOutputPreprocessor"],
    config={"CSSHTMLHeaderPreprocessor": {"style": JupyterStyle}})  # its colours are in site.css


def as_notebook(source: str, with_players: bool, live: Live | None) -> nbformat.NotebookNode:
    path = ROOT / source
    if path.suffix == ".ipynb":
        notebook = nbformat.read(path, as_version=4)
        if with_players:
            add_players(notebook, path.stem, live)
        return notebook
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        text = f"# `{source}`\n\n````python\n{text}\n````"
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def convert(page: Page, known: set[str], with_players: bool, live: Live | None = None) -> str:
    """Fill in a page; return the CSS of its code, which is the same for all pages."""
    folder = f"{Path(page.source).stem}_files"
    resources = {"output_files_dir": folder, "unique_key": Path(page.source).stem}
    notebook = as_notebook(page.source, with_players, live)
    html, resources = EXPORTER.from_notebook_node(notebook, resources)
    here = posixpath.dirname(page.source)
    page.pictures = {posixpath.join(here, name): content
                     for name, content in resources["outputs"].items()}
    soup = BeautifulSoup(html, "html.parser")
    name_headings(soup, page)
    fold_setup(soup)
    page.sections = words_by_section(soup)
    mend_links(soup, page, known)
    mend_pictures(soup, page)
    for table in soup.find_all("table"):  # a wide one scrolls by itself
        table.wrap(soup.new_tag("div", attrs={"class": "wide", "tabindex": "0"}))
    for heading in soup.find_all("h3"):
        if heading.get_text().startswith("✏️"):
            as_card(heading, soup.new_tag("div", attrs={"class": "exercise"}))
    page.live = soup.find(class_="live") is not None
    page.body = str(soup)
    return "".join(resources["inlining"]["css"])


def fold_setup(soup: BeautifulSoup) -> None:
    """Fold the setup cell: it prepares a kernel, which the pages do not have."""
    for code in soup.select(".code_cell pre"):
        if code.get_text().startswith("# Setup"):
            folded = code.find_parent(class_="code_cell").wrap(soup.new_tag("details"))
            folded.insert(0, soup.new_tag("summary", string="Setup of the notebook"))
            return


def as_card(heading: Tag, card: Tag) -> None:
    """Put an exercise, from its heading to the next one or to the end of the cell, on a card."""
    heading.insert_before(card)
    while card.next_sibling and card.next_sibling.name not in (HEADINGS if card.contents else ()):
        card.append(card.next_sibling)


def name_headings(soup: BeautifulSoup, page: Page) -> None:
    """Anchors as GitHub makes them, so that links which work there work here."""
    used = {}
    for heading in soup.find_all(HEADINGS):
        text = heading.get_text().strip()
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        used[name] = used.get(name, -1) + 1
        heading["id"] = f"{name}-{used[name]}" if used[name] else name
        page.title = page.title or text
        if heading.name == "h2":
            page.headings.append((heading["id"], text))


def words_by_section(soup: BeautifulSoup) -> list[list[str]]:
    """What is searched: prose and code, without what the code printed."""
    soup = copy.copy(soup)
    for part in soup.select(".output_wrapper, script, style"):
        part.decompose()
    sections = [["", "", []]]
    for node in soup.descendants:
        if node.name in HEADINGS:
            sections.append([node["id"], node.get_text().strip(), []])
        elif type(node) is NavigableString and node.parent.name not in HEADINGS:
            sections[-1][2].append(node)
    joined = [[anchor, heading, " ".join("".join(words).split())]
              for anchor, heading, words in sections]
    return [section for section in joined if section[2]]


# ---------------------------------------------------------------- links and pictures


def in_repository(page: Page, address: str) -> str | None:
    """The file or folder that a relative address means; None for the web and for places in
    the page itself."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), unquote(parts.path)))
    if (ROOT / path / "README.md").is_file():
        path = posixpath.normpath(f"{path}/README.md")
    return path


def mend_links(soup: BeautifulSoup, page: Page, known: set[str]) -> None:
    """Links to lessons that are not in the site, and to folders, become plain words."""
    for link in soup.find_all("a", href=True):
        path = in_repository(page, link["href"])
        if path is None:
            continue
        if (path.endswith(".ipynb") and path not in known) or (ROOT / path).is_dir():
            link.unwrap()
        elif not (ROOT / path).is_file():
            sys.exit(f"{page.source} links to {link['href']}, which does not exist.")
        else:
            page.links.add(path)
            target = Page(path).target if becomes_a_page(path) else path
            fragment = urlsplit(link["href"]).fragment
            link["href"] = page.up + target + (f"#{fragment}" if fragment else "")


def mend_pictures(soup: BeautifulSoup, page: Page) -> None:
    for picture in soup.find_all("img", src=True):
        if picture.find_parent(class_="mae-player"):
            continue
        path = in_repository(page, picture["src"])
        if path is None or picture["src"].startswith("data:"):
            continue
        if path not in page.pictures:
            if not (ROOT / path).is_file():
                sys.exit(f"{page.source} shows {picture['src']}, which does not exist.")
            page.pictures[path] = (ROOT / path).read_bytes()
        if not path.endswith(".svg"):  # known sizes: the page does not jump while it loads
            width, height = Image.open(io.BytesIO(page.pictures[path])).size
            if not picture.get("width"):
                picture["width"], picture["height"] = width, height
        picture["loading"] = "lazy"
