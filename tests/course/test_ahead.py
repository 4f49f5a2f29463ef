"""Explorers that draw ahead: what they keep is what they would draw, and is forgotten in time."""

import asyncio
import io

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from mae_lib.course.widgets import Frame, ahead, reconstructions
from mae_lib.course.widgets.ahead import SPARE, AheadExplorer, reach
from mae_lib.model import MaskedAutoencoder
from mae_lib.training.checkpoints import save_weights

TINY = dict(img_size=16, patch_size=4, embed_dim=8, depth=1, num_heads=2,
            decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)
LEVELS = [0.0, 0.1, 0.2, 0.3]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ahead, "WAIT", 0.02)
    monkeypatch.setattr(ahead, "GAP", 0.001)
    monkeypatch.setattr(ahead, "SLOW", 60)
    SPARE.want({})


async def until(done) -> None:
    for _ in range(2000):
        if done():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("It was not drawn ahead within 20 s.")


async def a_while() -> None:
    await asyncio.sleep(0.2)


def make(drawn: list | None = None, last: float = 0.3) -> AheadExplorer:
    """Writes down in `drawn` what it is asked to render."""
    def render(level: float, red: bool) -> Frame:
        if drawn is not None:
            drawn.append((round(level, 9), red))
        picture = np.full((4, 6, 3), round(100 * level), np.uint8)
        picture[..., 1:] *= not red
        return Frame(picture, f"level {level:.2f}, {'red' if red else 'grey'}")
    return AheadExplorer(render, [], level=ipywidgets.FloatSlider(0.1, min=0, max=last, step=0.1),
                         red=ipywidgets.Checkbox(False))


def shown(explorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.image.value)))


def test_where_the_moved_slider_can_go_is_drawn_once_nearest_first_and_then_shown():
    async def learner():
        drawn = []
        explorer = make(drawn)
        await a_while()
        assert drawn == [(0.1, False)]  # no slider has been moved
        explorer.set(level=0.2)
        assert drawn[1:] == [(0.2, False)]
        await until(lambda: len(SPARE.drawn) == 4)
        assert sorted(drawn) == [(level, False) for level in LEVELS]
        assert drawn[-1] == (0.0, False)  # the farthest
        for level in (0.30000000000000004, *LEVELS):  # a browser's 3 × 0.1
            explorer.set(level=level)
            assert explorer.frame.text == explorer.caption.value == f"level {level:.2f}, grey"
            assert (shown(explorer) == round(100 * level)).all()
        await a_while()
        assert len(drawn) == 4
    asyncio.run(learner())


def test_another_control_begins_anew_along_the_same_slider():
    async def learner():
        drawn = []
        explorer = make(drawn).set(level=0.2)
        await until(lambda: len(SPARE.drawn) == 4)
        explorer.set(red=True)
        assert shown(explorer)[0, 0].tolist() == [20, 0, 0]
        assert len(SPARE.drawn) == 1
        await until(lambda: len(SPARE.drawn) == 4)
        assert sorted(drawn[4:]) == [(level, True) for level in LEVELS]
        explorer.set(level=0.3)
        assert shown(explorer)[0, 0].tolist() == [30, 0, 0] and len(drawn) == 8
    asyncio.run(learner())


def test_a_drag_is_not_disturbed_and_only_its_end_is_followed_up(monkeypatch):
    monkeypatch.setattr(ahead, "WAIT", 1)

    async def learner():
        drawn = []
        explorer = make(drawn, last=0.9)
        for level in (0.2, 0.3, 0.4, 0.5):
            explorer.set(level=level)
            await asyncio.sleep(0.01)
        assert len(drawn) == 5  # what was asked for, and no more
        await until(lambda: len(SPARE.drawn) == 10)
        await a_while()
        assert len(drawn) == len(set(drawn)) == 10 and abs(drawn[5][0] - 0.5) < 0.11
    asyncio.run(learner())


def test_a_move_in_between_stops_what_was_going_on(monkeypatch):
    monkeypatch.setattr(ahead, "GAP", 0.1)

    async def learner():
        drawn = []
        explorer = make(drawn, last=0.9).set(level=0.2)
        await until(lambda: len(drawn) == 3)  # one drawn ahead, the next to come
        explorer.set(red=True)
        before = len(drawn)
        await until(lambda: len(drawn) > before + 1)
        assert before < len(drawn) and all(red for _, red in drawn[before:])
    asyncio.run(learner())


def test_slow_pictures_are_not_drawn_ahead(monkeypatch):
    monkeypatch.setattr(ahead, "SLOW", 0)

    async def learner():
        drawn = []
        explorer = make(drawn).set(level=0.2)
        await a_while()
        assert len(drawn) == 2 and explorer.frame.text == "level 0.20, grey"
    asyncio.run(learner())


def test_in_a_script_nothing_is_drawn_ahead():
    drawn = []
    explorer = make(drawn).set(level=0.2)
    assert drawn == [(0.1, False), (0.2, False)] and explorer.frame.text == "level 0.20, grey"


def test_two_explorers_do_not_show_each_other_s_pictures():
    async def learner():
        first, second = make(), make()
        second.render = lambda level, red: Frame(np.full((4, 6, 3), 200, np.uint8), "the second")
        first.set(level=0.2)
        await until(lambda: len(SPARE.drawn) == 4)
        second.set(level=0.2)
        assert second.caption.value == "the second" and (shown(second) == 200).all()
    asyncio.run(learner())


@pytest.mark.parametrize("slider", [
    ipywidgets.FloatSlider(0.75, min=0.05, max=0.95, step=0.05),
    ipywidgets.IntSlider(3, min=0, max=9),
    ipywidgets.IntSlider(4, min=1, max=12, step=4),  # whose end no step reaches
], ids=["floats", "whole numbers", "wide steps"])
def test_reach_is_every_step_of_a_slider_nearest_first(slider):
    found = reach(slider)
    steps = np.arange(slider.min, slider.max + 1e-9, slider.step)
    assert sorted(found) == pytest.approx(steps.tolist())
    distances = [abs(value - slider.value) for value in found]
    assert distances == sorted(distances)
    assert isinstance(slider, ipywidgets.FloatSlider) or all(isinstance(v, int) for v in found)


def test_the_explorer_of_reconstructions_shows_what_it_would_have_drawn():
    async def learner():
        explorer = reconstructions.explorer().set(mask_ratio=0.5)
        await until(lambda: len(SPARE.drawn) == 19)
        for ratio in (0.05, 0.7000000000000001, 0.95):
            assert explorer._key(explorer.values | {"mask_ratio": ratio}) in SPARE.drawn
            explorer.set(mask_ratio=ratio)
            frame = explorer.render(**explorer.values)
            assert explorer.caption.value == explorer.frame.text == frame.text
            assert np.abs(shown(explorer).astype(int) - frame.picture).mean() < 2  # a JPEG
    asyncio.run(learner())


def test_weights_opened_again_are_not_those_drawn_ahead(tmp_path):
    def save(seed: int) -> None:
        torch.manual_seed(seed)
        save_weights(tmp_path / "model.safetensors", MaskedAutoencoder(**TINY), norm_pix=False)

    async def learner():
        save(0)
        explorer = reconstructions.explorer()
        explorer.open(tmp_path / "model.safetensors")
        explorer.set(mask_ratio=0.5)
        await until(lambda: len(SPARE.drawn) == 19)
        old = SPARE.drawn[explorer._key(explorer.values | {"mask_ratio": 0.55})]
        save(1)
        explorer.open(tmp_path / "model.safetensors")
        explorer.set(mask_ratio=0.55)
        assert (shown(explorer) != old[0].picture).any()
        assert (shown(explorer) == explorer.render(**explorer.values).picture).all()
    asyncio.run(learner())
