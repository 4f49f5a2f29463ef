"""Differences of single runs, and what the table says of them."""

import math
from pathlib import Path

import pytest
import torch

from mae_lib.results import Accuracy, Results, difference, paired_difference, table


def record(name, accuracy, **settings):
    measures = {"lp": accuracy.entry(), "epochs": [], "references": {}, "seconds": 1.0,
                "images_per_second": 9.0}
    return {"name": name, "seed": 0, "device": "abacus", "settings": settings,
            "measures": measures}


def test_single_runs_are_compared_by_test_image():
    right = torch.arange(1000) < 400
    a, b = Accuracy(right), Accuracy(right | (torch.arange(1000) >= 980))  # 20 times more
    runs = [record("original", a), record("improved", b, norm_pix=True)]
    assert difference(runs[:1], runs[1:], "lp") == paired_difference(a, b)
    assert difference(runs[:1], runs[1:], "lp")[0] == pytest.approx(2)
    text = table(runs)
    assert "improved − original" in text and "2.0 ± 0.9" in text and "optimistic" in text
    assert "optimistic" not in table(runs[:1])


def test_the_table_ends_with_the_references_of_the_first_run():
    right = Accuracy(torch.tensor([True, False]))
    runs = [record(name, right) for name in ("improved", "original")]
    for run, value in zip(runs, (0.9, 0.12341), strict=True):  # the original comes first
        run["measures"]["references"] = {"masked mean": {"hf_error": {
            "value": value, "low": value - 0.00123, "high": value + 0.00123}}}
    (row,) = (line for line in table(runs).splitlines() if "masked mean" in line)
    assert row.split(maxsplit=2)[2] == "0.1234 ± 0.0012"
    assert max(map(len, table(runs).splitlines())) <= 100


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff\xfe\x00", b"3", b"null", b'"x"', b"[1]", b"[[1]]", b'{"rows": []}',
    b'[{"id": "x"}]', b'[{"name": "x", "measures": {}}]',
])
def test_a_file_of_something_else_is_named(content, tmp_path):
    """Neither read as records nor overwritten by them."""
    (path := tmp_path / "results.json").write_bytes(content)
    results = Results(path)
    for call in (results.read, lambda: results.find("x"), lambda: results.add({"id": "y"})):
        with pytest.raises(ValueError, match=r"results\.json (is not valid JSON|does not hold)"):
            call()
    assert path.read_bytes() == content


def test_an_interrupted_write_leaves_the_records_that_were_there(tmp_path, monkeypatch):
    results = Results(tmp_path / "results.json")
    results.add({"id": "a", "measures": {}})

    def cut(path, text, *rest, write=Path.write_text, **named):
        write(path, text[:9], *rest, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(type(tmp_path), "write_text", cut)
        results.add({"id": "b", "measures": {}})
    assert [record["id"] for record in results.read()] == ["a"]
    with pytest.raises(ValueError, match="JSON"):  # which has no nan
        results.add({"id": "c", "measures": {"lp": {"value": math.nan}}})
