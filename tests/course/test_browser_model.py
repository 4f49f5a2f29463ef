"""The model of the web pages: the same numbers in torch, ONNX Runtime and the browser."""

import contextlib
import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "site"))
import build_site  # noqa: E402
import export_onnx  # noqa: E402
import live  # noqa: E402

from mae_lib import course  # noqa: E402
from mae_lib.course.widgets.masks import KINDS, make_mask  # noqa: E402
from mae_lib.data.augment import denormalise, normalise  # noqa: E402
from mae_lib.losses import predicted_images  # noqa: E402
from mae_lib.metrics import masked_psnr, trivial_reconstructions  # noqa: E402
from mae_lib.model import MaskedAutoencoder  # noqa: E402
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify  # noqa: E402
from mae_lib.training.checkpoints import load_shipped  # noqa: E402

CLOSE, DECIBELS = 1e-3, 0.1  # in fp32, of a pixel from 0 to 1; in int8
# Photograph, kind of mask, ratio and seed.
CASES = [("Grace Hopper", "random", 0.75, 0), ("astronaut", "block", 0.5, 3),
         ("cat", "grid", 0.75, 5), ("coffee", "random", 0.1, 1), ("rocket", "random", 0.95, 2)]


def models():
    torch.manual_seed(0)
    specified = MaskedAutoencoder.from_preset("specified").eval()  # 224 pixels, patches of 16
    return {**{name: load_shipped(name) for name in live.WEIGHTS},
            "specified": (specified, {"norm_pix": False})}


MODELS = models()


SIDE = MODELS["original"][0].grid[0]  # of the pages' weights, in patches


@functools.cache
def in_torch(name, photograph, kind, ratio, seed):
    """Image and prediction in [0, 1], (1, 3, S, S) both, and the mask, (1, L)."""
    model, facts = MODELS[name]
    image = course.photograph(photograph, model.img_size)[None] / 255
    mask = make_mask(kind, model.grid, ratio, seed)
    with torch.no_grad():
        x = normalise(image)
        output = model(x, num_visible=int((1 - mask).sum()), noise=mask)
        found = predicted_images(output.pred, x, model.patch_size, facts["norm_pix"])
    return image, denormalise(found), mask


def psnr(found, image, mask, name):
    return float(masked_psnr(found, image, patch_mask_to_pixels(mask, MODELS[name][0].patch_size)))


def check(found, name, case, precision):
    """That `found`, (L, p²·3), is what torch gives."""
    image, wanted, mask = in_torch(name, *case)
    found = unpatchify(torch.as_tensor(found).float()[None], MODELS[name][0].patch_size)
    if precision == "fp32":
        torch.testing.assert_close(found, wanted, atol=CLOSE, rtol=0)
    else:
        assert psnr(found, image, mask, name) == pytest.approx(psnr(wanted, image, mask, name),
                                                               abs=DECIBELS)


# ---------------------------------------------------------------- ONNX Runtime


@functools.cache
def session(name, precision):
    model, facts = MODELS[name]
    content = export_onnx.export(model, facts["norm_pix"], precision).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]} {case[2]}")
@pytest.mark.parametrize("precision", export_onnx.PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_gives_what_torch_gives(name, precision, case):
    image, _, mask = in_torch(name, *case)
    shuffle = mask[0].argsort(stable=True)
    visible = int((1 - mask).sum())
    inputs = {"pixels": patchify(image, MODELS[name][0].patch_size)[0].numpy(),
              "ids_keep": shuffle[:visible].int().numpy(),
              "ids_restore": shuffle.argsort().int().numpy()}
    (found,) = session(name, precision).run(None, inputs)
    check(found, name, case, precision)


def test_the_graph_sorts_nothing_and_int8_is_a_third_of_fp32():
    model, facts = MODELS["original"]
    small, large = (export_onnx.export(model, facts["norm_pix"], p) for p in ("int8", "fp32"))
    operators = {node.op_type for node in large.graph.node}
    assert "Gather" in operators and not operators & {"TopK", "Loop", "If", "Scan", "NonZero"}
    assert small.ByteSize() < large.ByteSize() / 3


@pytest.mark.parametrize("changes", [{"class_token": True}, {"decoder_depth": 0}])
def test_a_model_that_cannot_be_exported_is_named(changes):
    model = MaskedAutoencoder.from_preset("tiny", **changes)
    with pytest.raises(ValueError, match="with a decoder and without a class token"):
        export_onnx.export(model, True)


def test_the_command_writes_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["export_onnx.py", "--weights", "original", "--out",
                                      str(tmp_path)])
    export_onnx.main()
    (path,) = tmp_path.iterdir()
    assert path.name == "original.int8.onnx" and str(path) in capsys.readouterr().out
    onnxruntime.InferenceSession(path)


# ---------------------------------------------------------------- the runtime's package


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "CACHE", tmp_path / "runtime")


def test_a_package_that_is_not_the_pinned_one_is_refused(empty_cache, monkeypatch):
    monkeypatch.setattr(live, "fetch_package", lambda: b"something else")
    with pytest.raises(OSError, match=r"is not what is pinned \(sha512-"):
        live.runtime()
    assert not live.CACHE.exists()


@pytest.mark.parametrize("npm", [None, "false"])
def test_no_registry_is_said_in_a_sentence(npm, empty_cache, monkeypatch):
    monkeypatch.setattr(live.shutil, "which", lambda _: npm)
    monkeypatch.setattr(live, "REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=rf"{live.VERSION} could not be fetched|npm could not fetch"):
        live.runtime()


# ---------------------------------------------------------------- in a browser


def explorer_page(folder, precision):
    try:
        made = live.Live(precision)
    except OSError as error:
        if "fetch" not in str(error):  # what was fetched is not what is pinned
            raise
        pytest.skip(str(error))
    path = folder / f"{precision}.html"
    path.write_text(made.page(live.style()), "utf-8")
    return path


class Watch:
    """Opens pages in which nothing may go wrong, and which may ask nobody but their own server."""

    def __init__(self, browser):
        self.browser, self.complaints = browser, []

    @contextlib.contextmanager
    def open(self, url, width=1000, **settings):
        """The page at `url`, when the model is ready."""
        context = self.browser.new_context(viewport={"width": width, "height": 900}, **settings)
        page = context.new_page()
        own = url if url.startswith("file:") else "/".join(url.split("/")[:3])
        complain = self.complaints.append

        def asked(request):
            if not request.url.startswith((own, "data:", "blob:")):
                complain(f"asks {request.url}")
            if request.method != "GET" or request.post_data:
                complain(f"sends to {request.url}")

        context.on("request", asked)
        page.on("websocket", lambda socket: complain(f"opens {socket.url}"))
        page.on("console", lambda m: m.type in ("error", "warning") and complain(m.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.goto(url)
        page.locator(".live").scroll_into_view_if_needed()
        page.locator(".live.ready").wait_for(timeout=120_000)
        yield page
        context.close()


@pytest.fixture(scope="module")
def watch(browser):
    return Watch(browser)


@pytest.fixture
def opened(watch):
    yield watch.open
    assert not watch.complaints


@pytest.fixture(scope="module")
def from_disk(watch, tmp_path_factory):
    path = explorer_page(tmp_path_factory.mktemp("explorer"), "int8")
    with watch.open(path.as_uri(), has_touch=True) as page:
        yield page


@pytest.fixture
def page(from_disk, watch):
    """The explorer as one file, opened from a disk, as it is at first."""
    from_disk.evaluate(SHOW, live.FIRST)
    yield from_disk
    assert not watch.complaints


SHOW = """async (state) => {
  const { explorer } = document.querySelector(".live");
  Object.assign(explorer.state, state);
  explorer.flipped.clear();
  explorer.fillIn();
  await explorer.change();
  return [...explorer.result.prediction];
}"""


def settle(page, action):
    """What the explorer has computed after `action`."""
    before = page.evaluate("document.querySelector('.live').explorer.drawn")
    action()
    page.wait_for_function("n => document.querySelector('.live').explorer.drawn > n && "
                           "!document.querySelector('.live').explorer.busy", arg=before)
    return page.evaluate("({ ...document.querySelector('.live').explorer.result, "
                         "mask: [...document.querySelector('.live').explorer.mask] })")


def choose(page, value):
    page.locator(f"[value='{value}']").check()


@pytest.mark.browser
@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "int8"])
def test_the_browser_gives_what_torch_gives(precision, opened, tmp_path):
    page_file = explorer_page(tmp_path, precision)
    with opened(page_file.as_uri()) as page:
        for name in live.WEIGHTS:
            for photograph, kind, ratio, seed in CASES:
                state = {"photograph": photograph, "kind": kind, "ratio": ratio, "seed": seed,
                         "weights": name}
                found = np.float32(page.evaluate(SHOW, state)).reshape(
                    MODELS[name][0].num_patches, -1)
                case = photograph, kind, ratio, seed
                check(found, name, case, precision)
                image, wanted, mask = in_torch(name, *case)
                ours, theirs = page.locator(".scores output").all_inner_texts()
                hidden = patch_mask_to_pixels(mask, MODELS[name][0].patch_size)
                mean = trivial_reconstructions(image, hidden)["masked mean"]
                assert float(ours.split()[0]) == pytest.approx(
                    psnr(wanted, image, mask, name), abs=DECIBELS + 0.05)
                assert float(theirs.split()[0]) == pytest.approx(
                    float(masked_psnr(mean, image, hidden)), abs=0.051)


@pytest.mark.browser
@pytest.mark.parametrize("side", [8, 14])
def test_the_same_seed_hides_the_same_patches_as_in_the_notebooks(side, browser):
    page = browser.new_page()
    page.add_script_tag(path=ROOT / "site/live/masks.js")
    for kind in KINDS:
        for ratio, seed, flipped in [(0.75, 0, ()), (0.5, 7, (3, 5)), (0.95, 9, ()), (0.05, 4, ())]:
            found = page.evaluate("([...how]) => [...makeMask(...how)]",
                                  [kind, side, ratio, seed, list(flipped)])
            wanted = make_mask(kind, (side, side), ratio, seed, flipped)
            assert found == wanted[0].int().tolist(), (kind, ratio, seed)
    page.close()


@pytest.mark.browser
def test_every_control_moves_the_picture(page):
    def pictures():
        return [page.locator(f".{c}").evaluate("c => c.toDataURL()") for c in ("seen", "found")]

    seen = [pictures()]
    for action in (lambda: page.locator("[name=ratio]").press("ArrowLeft"),
                   lambda: page.locator("[name=seed]").press("ArrowRight"),
                   lambda: choose(page, "block"),
                   lambda: choose(page, "original"),
                   lambda: choose(page, "coffee"),
                   lambda: choose(page, "by hand")):
        settle(page, action)
        seen.append(pictures())
    assert all(before[1] != after[1] for before, after in pairwise(seen))
    assert page.locator(".status").inner_text().startswith("Nothing is hidden")
    assert page.locator("[name=ratio]").is_disabled()

    choose(page, "random")
    choose(page, "error")
    assert "Error" in page.locator(".view-name").inner_text()


@pytest.mark.browser
def test_patches_are_changed_by_mouse_finger_and_keyboard(page):
    grid = page.locator(".seen")
    box, side = grid.bounding_box(), SIDE
    step = box["width"] / side
    first = settle(page, lambda: page.locator("[name=seed]").press("ArrowRight"))["mask"]

    def middle(patch):
        return {"x": (patch % side + 0.5) * step, "y": (patch // side + 0.5) * step}

    def changed(mask):
        return [i for i in range(side**2) if mask[i] != first[i]]

    by_mouse, by_finger, by_keys = side + 2, 4 * side + 5, 3 * side + 1
    clicked = settle(page, lambda: grid.click(position=middle(by_mouse)))["mask"]
    assert changed(clicked) == [by_mouse]
    tapped = settle(page, lambda: grid.tap(position=middle(by_finger)))["mask"]
    assert changed(tapped) == [by_mouse, by_finger]
    grid.press("Home")
    for key in ("ArrowRight", "ArrowUp"):
        grid.press(key)
    typed = settle(page, lambda: grid.press(" "))["mask"]
    assert changed(typed) == [by_mouse, by_keys, by_finger]
    state = "hidden" if typed[by_keys] else "visible"
    assert f"Row 4, column 2: {state}" in grid.get_attribute("aria-label")

    page.mouse.move(box["x"] + 1, box["y"] + 1)  # a drag changes all on its way to one kind
    page.mouse.down()
    dragged = settle(page, lambda: page.mouse.move(
        box["x"] + box["width"] - 1, box["y"] + 1, steps=20))["mask"]
    page.mouse.up()
    assert len(set(dragged[:side])) == 1
    undone = settle(page, page.locator(".undo").click)["mask"]
    assert undone == first and not page.locator(".undo").is_visible()


@pytest.mark.browser
def test_one_patch_stays_visible(page):
    for _ in range(20):
        page.locator("[name=ratio]").press("ArrowRight")
    left = settle(page, lambda: page.locator("[name=seed]").press("ArrowRight"))["mask"]
    visible = [i for i, hidden in enumerate(left) if not hidden]
    hide = "n => document.querySelector('.live').explorer.paint(n, 1)"
    for patch in visible[:-1]:
        settle(page, lambda patch=patch: page.evaluate(hide, patch))
    page.evaluate(hide, visible[-1])
    mask = page.evaluate("[...document.querySelector('.live').explorer.mask]")
    assert mask == [int(patch != visible[-1]) for patch in range(len(mask))]
    assert "One patch has to stay visible" in page.locator(".status").inner_text()


@pytest.mark.browser
def test_a_slow_model_computes_a_slider_s_other_positions_while_the_hand_rests(page):
    def moved():
        return page.locator("[name=ratio]").press("ArrowLeft")

    settle(page, moved)
    page.evaluate("document.querySelector('.live').explorer.result.milliseconds = 1000")
    page.locator("[name=seed]").focus()
    page.locator("[name=ratio]").focus()
    explorer = "document.querySelector('.live').explorer"
    page.wait_for_function(
        f"() => {explorer}.masksAhead().every(mask => {explorer}.kept.has({explorer}.keyOf(mask)))"
        f" && !{explorer}.looking")
    page.evaluate(f"window.ahead = new Set({explorer}.kept.values())")
    before = page.locator(".found").evaluate("c => c.toDataURL()")
    settle(page, moved)
    assert page.locator(".found").evaluate("c => c.toDataURL()") != before
    assert page.evaluate(f"window.ahead.has({explorer}.result)")


def photograph_file(path, **how):
    picture = Image.new("RGB", (400, 300), (10, 200, 30))
    picture.paste((250, 0, 0), (50, 0, 200, 300))  # the centre's left half is red
    picture.save(path, **how)
    return path


@pytest.mark.browser
def test_a_photograph_that_comes_while_the_model_computes_is_not_taken_for_the_one_before(
        page, tmp_path):
    first, second = (photograph_file(tmp_path / f"{name}.png") for name in "ab")
    Image.new("RGB", (300, 300), (0, 0, 250)).save(second)
    explorer = "document.querySelector('.live').explorer"
    page.evaluate(f"""() => {{
      const run = {explorer}.model.run.bind({explorer}.model);
      {explorer}.model.run = async (...given) => {{
        await new Promise(done => setTimeout(done, 500));
        return run(...given);
      }};
    }}""")
    file = page.locator("input[type=file]")
    file.set_input_files(first)
    page.wait_for_function(f"() => {explorer}.busy && {explorer}.state.photograph === 'yours'")
    settle(page, lambda: file.set_input_files(second))
    page.wait_for_function(f"() => !{explorer}.busy")
    assert page.evaluate(f"{explorer}.result.target === {explorer}.patches")


@pytest.mark.browser
@pytest.mark.parametrize("how", ["chosen", "dropped"])
def test_a_photograph_of_your_own_stays_in_the_page(how, page, tmp_path):
    path = photograph_file(tmp_path / "mine.png")

    def pick():
        page.locator("input[type=file]").set_input_files(path)

    def drop():
        page.evaluate("""(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "mine.png", { type: "image/png" }));
          document.querySelector(".live").dispatchEvent(
            new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""", list(path.read_bytes()))

    settle(page, pick if how == "chosen" else drop)
    assert page.locator("[value=yours]").is_checked()
    pixels = page.evaluate("[...document.querySelector('.live').explorer.own]")
    size = MODELS["original"][0].img_size
    pixels = np.reshape(pixels, (size, size, 3))
    assert np.abs(pixels[:, size // 16 : 7 * size // 16] - [250, 0, 0]).max() < 3
    assert np.abs(pixels[:, 9 * size // 16 :] - [10, 200, 30]).max() < 3

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    page.locator("input[type=file]").set_input_files(broken)
    page.get_by_text("broken.jpg is not a picture").wait_for()


# ---------------------------------------------------------------- on the pages of the lessons


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """Address of a page with the explorer of notebook 00."""
    folder = tmp_path_factory.mktemp("site")
    build_site.build(folder, ["00"])
    if not (folder / "live").exists():
        pytest.skip("ONNX Runtime could not be fetched.")
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/notebooks/00_start_here.html"
        server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_model_takes_the_place_of_recorded_pictures_and_nothing_moves(width, opened, lesson):
    with opened(lesson, width=width) as page:
        assert not page.locator(".recorded").is_visible()
        heights = page.locator(".live").evaluate(
            "e => [e, ...e.children].map((part) => part.offsetHeight)")
        settle(page, lambda: page.locator("[name=ratio]").press("ArrowRight"))
        settle(page, lambda: page.locator(".seen").click())
        settle(page, lambda: choose(page, "original"))
        assert page.locator(".live").evaluate(
            "e => [e, ...e.children].map((part) => part.offsetHeight)") == heights
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_one_fetch_of_at_most_10_mb(opened, lesson, browser):
    page = browser.new_page()
    sizes = {}
    page.on("response", lambda r: r.url.endswith(".bin") and sizes.update(
        {r.url: int(r.headers["content-length"])}))
    page.goto(lesson)
    page.locator(".live").scroll_into_view_if_needed()
    page.locator(".live.ready").wait_for(timeout=120_000)
    page.close()
    assert len(sizes) == 1 and sum(sizes.values()) <= 10e6


@pytest.mark.browser
def test_recorded_pictures_stay_where_the_model_cannot_run(browser, lesson):
    page = browser.new_page()
    page.route("**/*.bin", lambda route: route.abort())
    page.goto(lesson)
    page.locator(".live").scroll_into_view_if_needed()
    page.locator(".live.failed").wait_for()
    assert page.locator(".mae-player canvas").first.is_visible()
    assert "The model cannot run here" in page.locator(".live-note").inner_text()
    assert not page.locator(".explorer").is_visible()
    page.close()


@pytest.mark.browser
def test_without_scripts_the_sheet_of_pictures_stays(browser, lesson):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(lesson)
    assert page.locator(".mae-player img").first.is_visible()
    assert page.locator(".explorer").bounding_box() is None
    context.close()


def test_the_site_is_built_without_the_runtime_and_says_so(tmp_path, monkeypatch, capsys):

    def unreachable():
        raise OSError("the registry does not answer.")

    monkeypatch.setattr(live, "runtime", unreachable)
    build_site.build(tmp_path / "site", ["00"])
    assert "the registry does not answer" in capsys.readouterr().out
    page = (tmp_path / "site/notebooks/00_start_here.html").read_text("utf-8")
    assert "mae-player" in page and "live.js" not in page and 'class="live"' not in page
    assert not (tmp_path / "site/live").exists()
