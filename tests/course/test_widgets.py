"""Explorers: what they draw at the extremes of their controls, and what needs no kernel."""

import base64
import importlib
import inspect
import io
import itertools
import pkgutil

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import mae_lib.course.widgets
from mae_lib import course
from mae_lib.course import widgets
from mae_lib.course.widgets import Explorer, Frame, curriculum_masking, reconstructions
from mae_lib.model import MaskedAutoencoder

FOUND = [importlib.import_module(f"mae_lib.course.widgets.{m.name}")
         for m in pkgutil.iter_modules(mae_lib.course.widgets.__path__)]
MODULES = [m for m in FOUND if hasattr(m, "title")]  # of notebooks; the others are their tools
MAKERS = [(m, f) for m in MODULES for name, f in inspect.getmembers(m, inspect.isfunction)
          if name.endswith("explorer") and f.__module__ == m.__name__]


def ends(control):
    """The values of a control that are most likely to break a picture."""
    if hasattr(control, "extremes"):  # a control of our own
        return control.extremes
    if hasattr(control, "options"):
        options = [o[1] if isinstance(o, tuple) else o for o in control.options]
        return [options[0], options[-1]]
    if isinstance(control, ipywidgets.Checkbox | ipywidgets.ToggleButton):
        return [False, True]
    return [control.min, control.max]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda p: f"{p[0].__name__}.{p[1].__name__}")
def explorer(request):
    return request.param[1]()


def test_it_draws_at_the_extremes_of_all_controls(explorer):
    shapes = set()
    for values in itertools.product(*map(ends, explorer.controls.values())):
        explorer.set(**dict(zip(explorer.controls, values, strict=True)))
        picture, text, _ = explorer.frame
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert picture.std() > 1, f"an empty picture at {values}"
        assert len(text) >= 10 and "nan" not in text.lower().split(), text
        shapes.add(picture.shape)
    assert max(s[1] for s in shapes) <= 1100, "wider than a notebook"


def test_a_picture_that_cannot_be_drawn_is_said_so():
    def render(x=1):
        if x == 5:
            raise RuntimeError("out of <memory>")
        return Frame(np.zeros((4, 4, 3), np.uint8), f"x = {x}")

    explorer = Explorer(render, [{"x": 1}], x=ipywidgets.IntSlider(1, min=0, max=9))
    with pytest.raises(RuntimeError):
        explorer.set(x=5)
    assert explorer.caption.value == "✗ Not drawn: RuntimeError: out of &lt;memory&gt;"
    assert explorer.set(x=2).caption.value == "x = 2"


def test_every_control_changes_picture_or_words(explorer):
    for name, control in explorer.controls.items():
        first, last = ends(control)
        a = explorer.set(**{name: first}).frame
        b = explorer.set(**{name: last}).frame
        assert a.text != b.text or not np.array_equal(a.picture, b.picture), name


def test_it_shows_what_its_pure_function_draws(explorer):
    frame = explorer.render(**explorer.values)
    # A matrix product can round differently from one call to the next, and with it a pixel.
    shown = explorer.frame.picture.astype(int)
    np.testing.assert_allclose(frame.picture, shown, rtol=0, atol=1)
    assert frame.text == explorer.frame.text
    with Image.open(io.BytesIO(explorer.image.value)) as image:
        assert image.format.lower() == explorer.image.format
        off = np.abs(np.asarray(image).astype(int) - shown)
    assert off.mean() < 2 if frame.photographic else not off.any()
    assert explorer.caption.value == frame.text


def test_without_a_kernel_stills_and_words_remain(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert explorer.frame.text in data["text/plain"]
    assert data[widgets.VIEW]["model_id"] == explorer.view.model_id
    (kind,) = metadata
    assert kind.startswith("image/") and metadata[kind]["alt"]
    still = Image.open(io.BytesIO(base64.b64decode(data[kind])))
    assert len(explorer.stills) >= 3 and still.size[0] >= 600
    for values in explorer.stills:
        assert values.keys() <= explorer.controls.keys() | {"title"}


def test_what_is_shown_is_itself_and_then_the_same_style_for_all(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display", lambda data, **words: shown.append((data, words)))
    explorer = make()
    explorer._ipython_display_()
    data, metadata = explorer._repr_mimebundle_()
    assert shown[0] == (data, {"metadata": metadata, "raw": True})
    assert shown[1] == ({"text/plain": "", "text/html": widgets.LOST}, {"raw": True})


def test_every_title_picture_is_told_in_words():
    for module in MODULES:
        figure, alt = module.title()
        assert figure.axes and len(alt) >= 30, module.__name__


# ---------------------------------------------------------------- the frame


def bright(level: float = 0.5, red: bool = False) -> Frame:
    image = torch.full((3, 4, 6), level)
    if red:
        image[1:] = 0
    return Frame(widgets.to_picture(image, zoom=2), f"level {level:.2f}, {torch.get_num_threads()}")


def make():
    return Explorer(bright, [{"level": 0.0}, {"level": 1.0}],
                    level=ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.25),
                    red=ipywidgets.Checkbox(False))


def test_moving_a_control_redraws_on_one_thread():
    threads = torch.get_num_threads()
    explorer = make()
    assert repr(explorer) == "[explorer: level 0.50, 1]"
    explorer.controls["level"].value = 0.25
    assert explorer.frame.text == "level 0.25, 1" and explorer.frame.picture[0, 0, 0] == 64
    explorer.set(red=True)
    assert explorer.values == {"level": 0.25, "red": True}
    assert explorer.frame.picture[0, 0].tolist() == [64, 0, 0]
    assert torch.get_num_threads() == threads


def test_controls_have_room_for_their_names_and_the_picture_its_own_size():
    slider = ipywidgets.FloatSlider(description="a rather long name")
    buttons = ipywidgets.ToggleButtons(options=["one", "rather a lot of words"])
    explorer = Explorer(lambda level, words: bright(), [], level=slider, words=buttons)
    assert slider.style.description_width == "initial"
    assert buttons.style.button_width == buttons.layout.width == "max-content"
    assert explorer.image.layout.align_self == "flex-start"


def test_its_still_picture_says_how_to_wake_it(monkeypatch):
    notes = []
    still = Explorer.still
    monkeypatch.setattr(Explorer, "still", lambda self, stills=None, note="": (
        notes.append(note), still(self, stills, note))[1])
    make()._repr_mimebundle_()
    assert notes == [widgets.ASLEEP]
    sizes = [Image.open(io.BytesIO(make().still(note=note))).height for note in ("", *notes)]
    assert sizes[1] > sizes[0]  # by a line


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (40, 300, 3)])
def test_a_packed_picture_is_exact(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for found in (picture, picture.repeat(3, 0).repeat(3, 1), picture[::2]):
        with Image.open(io.BytesIO(widgets.png(found))) as image:
            assert image.mode == "RGB" and (np.asarray(image) == found).all()


def test_photographs_are_packed_as_such_and_all_else_exactly():
    """And the browser is told which, when another model is chosen."""
    explorer = reconstructions.explorer()
    for weights, kind in (("pixels", "jpeg"), ("scenes", "png"), ("pixels", "jpeg")):
        explorer.set(weights=weights)
        assert explorer.image.format == kind
        with Image.open(io.BytesIO(explorer.image.value)) as image:
            assert image.format.lower() == kind
            off = np.asarray(image).astype(float) - explorer.frame.picture
        assert (off**2).mean() < 255**2 / 10**3.5 if kind == "jpeg" else not off.any()  # 35 dB


def test_a_move_in_the_browser_sends_words_and_picture_and_no_echo(monkeypatch):
    explorer = Explorer(lambda x: Frame(np.full((2, 2, 3), int(x), np.uint8), f"x = {x}"),
                        [{"x": 1}], x=ipywidgets.FloatSlider(1, min=0, max=9))
    sent = []
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda widget, message, buffers=None:
                        sent.append((widget, message["method"])))
    explorer.controls["x"].set_state({"value": 3.0})  # what a message from the browser does
    assert sent == [(explorer.caption, "update"), (explorer.image, "update")]
    assert explorer.frame.text == "x = 3.0"


def test_pictures_keep_pixels_sharp_and_clip():
    image = torch.tensor([[0.0, 0.5], [2.0, -1.0]])
    picture = widgets.to_picture(image, zoom=3)
    assert picture.shape == (6, 6, 3)
    assert picture[:3, :3].max() == 0 and (picture[3:, :3] == 255).all() and picture[5, 5, 0] == 0
    both = widgets.side_by_side(picture, picture, gap=2)
    assert both.shape == (6, 14, 3) and (both[:, 6:8] == 255).all()


def test_the_schedule_explorer_pays_what_torch_counts():
    with torch.device("meta"):  # shapes without values
        model = MaskedAutoencoder.from_preset("specified")
        image = torch.empty(1, 3, 224, 224)
    for ratio in (0.5, 0.75, 0.9):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(image, ratio).pred.sum().backward()
        counted = counter.get_total_flops() // 2  # a multiply-add is two operations
        assert curriculum_masking.multiply_adds(int(196 * (1 - ratio))) == counted


# ---------------------------------------------------------------- a notebook's beginning


@pytest.mark.parametrize("level, said", [("smoke", "run level smoke"), ("full", "run level full")])
def test_start_says_where_it_runs(level, said, monkeypatch, capsys):
    monkeypatch.setenv("MAE_LIB_LEVEL", level)
    session = course.start()
    assert session.level == level and said in capsys.readouterr().out
    assert session.choose(smoke=1, quick=2, full=3) == {"smoke": 1, "full": 3}[level]
    assert course.start("quick").level == "quick"  # what the learner writes counts most


def test_the_level_suits_the_machine(monkeypatch):
    monkeypatch.delenv("MAE_LIB_LEVEL", raising=False)
    monkeypatch.setattr(course.session.hardware, "pick_device", lambda: torch.device("cpu"))
    assert course.start().level == "smoke"
    monkeypatch.setattr(course.session.hardware, "pick_device", lambda: torch.device("cuda"))
    assert course.start().level == "quick"


def test_unknown_names_are_explained():
    with pytest.raises(ValueError, match="no run level 'fast'; choose one of smoke, quick, full"):
        course.start("fast")
    with pytest.raises(ValueError, match="no photograph 'dog'; there are cat, coffee"):
        course.photograph("dog")


@pytest.mark.parametrize("name", course.PHOTOGRAPHS)
def test_photographs_are_square_colour_pictures(name):
    image = course.photograph(name, 96)
    assert image.shape == (3, 96, 96) and image.dtype == torch.uint8
    assert image.float().std() > 20
    assert (image[0] != image[2]).any()
    assert torch.equal(course.photographs(96)[list(course.PHOTOGRAPHS).index(name)], image)
