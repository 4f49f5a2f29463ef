"""The course as web pages: whole, without dead ends, and alive in a browser without a kernel."""

import contextlib
import copy
import functools
import http.server
import json
import posixpath
import re
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "site"))
import build_site  # noqa: E402
import pages as site_pages  # noqa: E402
import players  # noqa: E402
from bs4 import BeautifulSoup  # noqa: E402

LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages, with stills instead of players, which take longer to make."""
    folder = tmp_path_factory.mktemp("site")
    build_site.build(folder, with_players=False)
    return folder


class Pages(dict):
    def __repr__(self):  # a failure need not print them all
        return f"{len(self)} pages"


@pytest.fixture(scope="module")
def pages(site):
    """{path: parsed page}"""
    return Pages((path.relative_to(site).as_posix(),
                  BeautifulSoup(path.read_text("utf-8"), "html.parser"))
                 for path in sorted(site.rglob("*.html")))


def page_of(path, pages):
    return pages[f"notebooks/{path.stem}.html"]


def cells(path, kind):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


# ---------------------------------------------------------------- whole, and without dead ends


def test_every_page_lists_all_lessons_and_the_page_for_teachers(pages):
    wanted = {"index.html", "notebooks/index.html"} | {f"notebooks/{p.stem}.html" for p in LESSONS}
    for name, page in pages.items():
        links = [a["href"].split("#")[0] for a in page.select("#pages a")]
        here = posixpath.dirname(name)
        found = {posixpath.normpath(posixpath.join(here, link)) for link in links if link}
        assert found == wanted, name
        assert name not in wanted or len(page.select("#pages a[aria-current]")) == 1


def test_lessons_follow_each_other(pages):
    name, seen = "index.html", []
    while following := pages[name].select_one("a[rel=next]"):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), following["href"]))
        seen.append(name)
    assert seen == [f"notebooks/{path.stem}.html" for path in LESSONS]


def test_no_link_is_dead(site, pages):
    checked = 0
    for name, page in pages.items():
        for tag in page.select("[href], [src]"):
            parts = urlsplit(tag.get("href") or tag.get("src"))
            if parts.scheme or parts.netloc:
                continue
            target = name
            if parts.path:
                folder = posixpath.dirname(name)
                target = posixpath.normpath(posixpath.join(folder, unquote(parts.path)))
            assert (site / target).is_file(), f"{name}: {tag}"
            if parts.fragment:
                assert pages[target].find(id=unquote(parts.fragment)), f"{name}: {tag}"
            checked += 1
    assert checked > 500


def test_links_between_notebooks_lead_to_pages(pages):
    links = [a["href"] for page in pages.values() for a in page.select("main a[href]")
             if not urlsplit(a["href"]).scheme]
    assert not [link for link in links if re.search(r"\.(ipynb|md|py)(#|$)", link)]
    first = pages["notebooks/00_start_here.html"]
    assert first.select("main .cell a[href='../notebooks/01_patchify.html']")
    assert pages["notebooks/GLOSSARY.html"].find(id="leak")


def test_pages_ask_the_network_for_nothing(pages):
    for name, page in pages.items():
        for tag in page.select("link[href], script[src], img[src], iframe, source"):
            address = tag.get("href") or tag.get("src")
            badge = address.startswith("https://colab.research.google.com/")  # of make colab
            assert badge or urlsplit(address).scheme in ("", "data"), f"{name}: {tag}"


@every_lesson
def test_every_picture_of_a_notebook_is_there_with_its_words(path, pages, site):
    outputs = [o for cell in cells(path, "code") for o in cell.outputs
               if "image/png" in o.get("data", {}) and "text/html" not in o.data]
    pictures = page_of(path, pages).select(".output_png img")
    assert [p["alt"] for p in pictures] == [o.metadata["image/png"]["alt"] for o in outputs]
    for picture in pictures:
        assert (site / "notebooks" / picture["src"]).read_bytes()[:4] == b"\x89PNG"
        assert int(picture["width"]) > 100 < int(picture["height"])


def test_all_pictures_have_words(pages):
    for name, page in pages.items():
        for picture in page.find_all("img"):
            assert len(picture.get("alt", "")) >= 10, f"{name}: {str(picture)[:200]}"


@every_lesson
def test_formulas_are_drawn(path, pages):
    prose = "\n".join(re.sub(r"```.*?```|`[^`\n]*`", "", cell.source, flags=re.DOTALL)
                      for cell in cells(path, "markdown"))
    displayed = len(re.findall(r"\$\$.+?\$\$", prose, re.DOTALL))
    inline = len(re.findall(r"(?<!\$)\$[^$]+\$(?!\$)", prose))
    page = copy.copy(page_of(path, pages))  # other tests read the page too
    assert len(page.select("math[display=block]")) == displayed
    assert len(page.select("math")) == displayed + inline
    for part in page.select("pre, code, script"):
        part.decompose()
    assert "$" not in page.main.get_text()


@every_lesson
def test_exercises_are_cards_and_answers_are_folded(path, pages):
    prose = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    titles = re.findall(r"^### (✏️ .+)$", prose, re.MULTILINE)
    page = page_of(path, pages)
    cards = page.select(".exercise")
    for card, title in zip(cards, titles, strict=True):
        found = card.find(["h1", "h2", "h3"])
        assert not list(found.previous_siblings)
        assert found.get_text().strip() == title.replace("`", "")
        if "Open exercise" not in title:  # that has a rubric in place of a solution
            assert card.find("summary", string="Solution").parent.select(".highlight")
    folded = page.select("main details")
    results = [o for cell in cells(path, "code") for o in cell.outputs
               if o.get("data", {}).get("text/html", "").startswith("<details>")]
    assert len(folded) == prose.count("<details>") + len(results) + 1  # and the setup
    assert not [part for part in folded if part.has_attr("open")]


def test_search_knows_every_section(site, pages):
    script = (site / "search.js").read_text("utf-8")
    sections = json.loads(re.fullmatch(r"window\.sections = (.*);\n", script, re.DOTALL)[1])
    for target, title, anchor, *_ in sections:
        assert pages[target].h1.get_text().strip() == title
        assert not anchor or pages[target].find(id=anchor)
    for path in LESSONS:
        mine = [s for s in sections if s[0] == f"notebooks/{path.stem}.html"]
        assert len(mine) > 8
        assert any("session = course.start()" in words for *_, words in mine)  # code
        printed = cells(path, "code")[0].outputs[0].text.strip()
        assert not any(printed in words for *_, words in mine)


# ---------------------------------------------------------------- links that cannot be followed


def mended(markdown, known=()):
    soup = BeautifulSoup(site_pages.markdown_to_html(markdown), "html.parser")
    site_pages.mend_links(soup, site_pages.Page("notebooks/README.md"), set(known))
    return soup


def test_a_lesson_that_is_not_built_is_named_without_a_link():
    text = "See [one](00_start_here.ipynb) and [none](11_none.ipynb), in [a folder](py/)."
    soup = mended(text, ["notebooks/00_start_here.ipynb"])
    (link,) = soup.find_all("a")
    assert link["href"] == "../notebooks/00_start_here.html"
    assert soup.get_text().strip() == "See one and none, in a folder."


def test_a_link_to_nothing_stops_the_build():
    with pytest.raises(SystemExit, match=r"notebooks/README\.md links to \.\./none\.md"):
        mended("See [nothing](../none.md).")


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="does not hold an earlier site"):
        build_site.make_room(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


# ---------------------------------------------------------------- players


@every_lesson
def test_every_explorer_of_a_notebook_moves_on_its_page(path, monkeypatch):
    monkeypatch.setattr(players, "player_of", lambda explorer, name, values=None: (
        explorer.controls[name].value in (values or players.positions(explorer.controls[name]))))
    notebook = nbformat.read(path, as_version=4)
    count = len([o for cell in notebook.cells for o in cell.get("outputs", [])
                 if o.get("data", {}).get("text/plain", "").startswith("[explorer")])
    players.add_players(notebook, path.stem)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", []) if "data" in o]
    still = [o.data["text/plain"] for o in outputs
             if o.data.get("text/plain", "").startswith("[explorer")]
    trained_here = {"11_your_own_mae": 1}.get(path.stem, 0)  # no other place has its model
    assert count and len(still) == trained_here, "add it to site/players.py"
    assert [o.data["text/html"] for o in outputs if o.data.get("text/html") in (True, False)
            ] == [True] * (count - trained_here)


def test_an_explorer_that_the_notebook_does_not_show_is_named():
    notebook = nbformat.v4.new_notebook()
    with pytest.raises(LookupError, match=r"No output of 01_patchify shows explorer\(\)"):
        players.add_players(notebook, "01_patchify")


# ---------------------------------------------------------------- in a browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def two_lessons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    build_site.build(folder, ["00", "02"])
    return folder


@pytest.fixture(scope="module")
def address(two_lessons):
    handler = functools.partial(Quiet, directory=str(two_lessons))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def opened(browser):
    """A function that opens a page; afterwards nothing may have gone wrong in any of them."""
    complaints = []

    @contextlib.contextmanager
    def open_(url, width=1400, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.on("response", lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}"))
        page.goto(url)
        yield page
        context.close()

    yield open_
    assert not complaints


LESSON = "notebooks/02_curriculum_masking.html"


@pytest.mark.browser
def test_a_player_moves_by_keyboard_and_by_its_button(opened, address):
    with opened(address + LESSON) as page:
        player = page.locator(".mae-player").first
        canvas, slider, text = (player.locator(part) for part in ("canvas", "input", "p"))
        player.scroll_into_view_if_needed()
        canvas.wait_for()

        def seen():
            return canvas.evaluate("c => c.toDataURL()"), text.inner_text()

        first = seen()
        assert player.locator("output").inner_text() == "0.75" and "49 of 196" in first[1]
        slider.focus()
        page.keyboard.press("ArrowLeft")
        second = seen()
        assert player.locator("output").inner_text() == "0.7" and "58 of 196" in second[1]
        assert first[0] != second[0]

        player.locator("button").click()  # plays to the end
        page.wait_for_function("input => input.value === input.max", arg=slider.element_handle())
        last = seen()
        assert "9 of 196" in last[1] and last[0] not in (first[0], second[0])
        player.locator("button").click()  # from the beginning, and stop
        page.wait_for_function("input => input.value === '2'", arg=slider.element_handle())
        player.locator("button").click()
        stopped = seen()
        page.wait_for_timeout(600)
        assert seen() == stopped and stopped[0] != last[0]


def search(page, words):
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.locator("#found p").wait_for()
    return page.locator("#found a")


@pytest.mark.browser
@pytest.mark.parametrize("how", ["served", "from a disk"])
def test_search_finds_a_word_and_leads_to_its_place(how, opened, address, two_lessons):
    base = address if how == "served" else two_lessons.as_uri() + "/"
    with opened(base + "index.html") as page:
        found = search(page, "silent bugs")
        assert "Curriculum masking" in found.first.inner_text()
        assert found.first.locator("mark").first.inner_text().lower() in ("silent", "bugs")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{LESSON}#*")
        heading = page.locator(f"[id='{page.url.split('#')[1]}']")
        assert "silent bugs" in heading.inner_text()
        top = heading.bounding_box()["y"]
        assert page.locator("header").bounding_box()["height"] <= top < 200  # not under the header

        assert search(page, "xylophone").count() == 0
        assert page.locator("#found p").inner_text() == "No places"
        page.keyboard.press("Escape")
        assert not page.locator("#found").is_visible()


PAPER = "getComputedStyle(document.body).backgroundColor"


def lightness(page):
    return sum(map(int, re.findall(r"\d+", page.evaluate(PAPER))[:3]))


@pytest.mark.browser
def test_dark_follows_the_system_or_the_button_and_pictures_stay_on_white(opened, address):
    with opened(address + LESSON, color_scheme="dark") as page:
        assert lightness(page) < 150
    with opened(address + LESSON, color_scheme="light") as page:
        assert lightness(page) > 700
        button = page.locator("#theme")
        while "dark" not in button.inner_text():
            button.click()
        assert lightness(page) < 150
        page.goto(address + "notebooks/00_start_here.html")  # is remembered
        assert lightness(page) < 150
        for part in ("main .output_png img", ".mae-player canvas"):
            style = page.locator(part).first.evaluate("e => getComputedStyle(e).backgroundColor")
            assert style == "rgb(255, 255, 255)", part
        ink = page.locator(".mae-player p").first.evaluate("e => getComputedStyle(e).color")
        assert sum(map(int, re.findall(r"\d+", ink)[:3])) > 550


@pytest.mark.browser
@pytest.mark.parametrize("name", ["index.html", "notebooks/00_start_here.html", LESSON,
                                  "notebooks/index.html"])
def test_a_phone_need_not_scroll_sideways(name, opened, address):
    with opened(address + name, width=390) as page:
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for picture in page.locator("main img:visible").all():  # they load when they come near
            picture.scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.mouse.wheel(0, -100_000)
        assert not page.locator("#pages").is_visible()
        page.locator("#menu").click()
        page.locator("#pages a", has_text="Start here").click()
        page.wait_for_url("**/00_start_here.html")
        assert not page.locator("#pages").is_visible()
