"""The recorded runs that notebooks 07 to 10 draw, and the price of their steps."""


from mae_lib.config import PretrainConfig
from mae_lib.course.widgets import recorded_runs
from mae_lib.training import compute


def test_prices_are_what_torch_counts():
    price = recorded_runs.prices("tiny", 24, 6)
    cfg = PretrainConfig(preset="tiny", img_size=24, patch_size=6)
    assert [price[n] for n in (4, 7, 12)] == [compute.multiply_adds(cfg, n) for n in (4, 7, 12)]
    steps = recorded_runs.price_of_steps(cfg, 5)
    assert steps.shape == (50,) and set(steps) == {price[4] * cfg.batch_size}


def test_recorded_runs_differ_in_the_add_ons_alone():
    runs = recorded_runs.recorded()
    assert list(runs) == ["original", "improved"]
    for a, b in zip(*runs.values(), strict=True):
        assert a["seed"] == b["seed"] and a["data"] == b["data"] and a["device"] == b["device"]
