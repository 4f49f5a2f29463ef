"""Options made from dataclasses: their ranges, their flags, and how a command ends."""

import argparse
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from mae_lib.config import PretrainConfig
from mae_lib.runtime import cli
from mae_lib.runtime.cli import option


@dataclass
class Settings:
    count: int = option(3, "how many", "numbers", at_least=1)
    size: int | None = option(None, "side", "numbers", at_least=2)
    rate: float = option(0.5, "how fast", "numbers", above=0, at_most=1)
    share: float = option(0.25, "which part", "numbers", at_least=0, below=1)
    free: float = option(0.0, "anything", "numbers")
    name: str = option("a", "what it is called", "words")
    flag: bool = option(True, "whether", "words")
    hidden: int = 5  # no option


@pytest.mark.parametrize("name, good, bad, range_", [
    ("count", [1, 2, np.int64(7)], [0, -1], "at least 1"),
    ("size", [None, 2, 9], [1, -5], "at least 2"),
    ("rate", [1e-9, 1, 1.0, np.float32(0.5)], [0, -0.1, 1.001], "above 0 and at most 1"),
    ("share", [0, 0.999], [-1e-9, 1, 2], "at least 0 and below 1"),
    ("free", [-1e30, 0, 1e30], [], ""),
])
def test_ranges_are_checked_by_name(name, good, bad, range_):
    for value in good:
        cli.check_values(Settings(**{name: value}))
    for value in bad:
        with pytest.raises(ValueError) as error:
            cli.check_values(Settings(**{name: value}))
        assert str(error.value) == f"{name} must be {range_}, got {value}."


@pytest.mark.parametrize("name, values, kind", [
    ("count", [2.0, "2", True, None, math.nan], "a whole number"),
    ("size", [2.5, "2", False], "a whole number"),
    ("rate", [math.nan, math.inf, "1", True, None, 1j], "a finite number"),
    ("free", [math.nan, math.inf, -math.inf], "a finite number"),
    ("name", [1, None, b"a"], "text"),
    ("flag", [1, 0, "yes", None], "True or False"),
])
def test_kinds_are_checked_by_name(name, values, kind):
    for value in values:
        with pytest.raises(ValueError) as error:
            cli.check_values(Settings(**{name: value}))
        assert str(error.value) == f"{name} must be {kind}, got {value!r}."


@pytest.mark.parametrize("text, words", [
    ("file", "file is not a folder that you may"), ("file/inside", "file is not a folder that you"),
    ("locked/inside", "locked is not a folder that you"), ("new/inside", ""), ("locked/..", ""),
])
def test_folders_and_files_to_write_are_checked_at_once(text, words, tmp_path, monkeypatch):
    """A file below a file, and a folder in the place of a file, are refused too."""
    monkeypatch.setattr(cli.os, "access", lambda path, _: path.name != "locked")  # for root as well
    (tmp_path / "file").write_text("kept")
    (tmp_path / "locked").mkdir()
    for kind, path in ((cli.folder, tmp_path / text), (cli.file, tmp_path / text / "a.json")):
        if words:
            with pytest.raises(argparse.ArgumentTypeError, match=words):
                kind(str(path))
        else:
            assert kind(str(path)) == path and not path.with_name("new").exists()
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder: name a file"):
        cli.file(str(tmp_path))


def parsed(words, prefix=""):
    parser = cli.parser("python -m x", "What it does.\n\n  An example.")
    if prefix:
        parser.add_argument("--count", type=int)  # a setting of the same name, of something else
    cli.add_options(parser, Settings, prefix)
    return cli.given(parser.parse_args(words.split()), Settings, prefix)


def test_only_what_stood_on_the_command_line_is_given():
    assert parsed("") == {}
    assert parsed("--count 3 --rate .1 --name b") == {"count": 3, "rate": 0.1, "name": "b"}
    assert parsed("--size 4 --no-flag") == {"size": 4, "flag": False}
    assert parsed("--flag") == {"flag": True}
    assert parsed("--ft-count 4 --count 9", "ft_") == {"count": 4}


@pytest.mark.parametrize("words", ["--count 2.5", "--rate x", "--hidden 3", "--size"])
def test_what_is_no_option_or_no_value_is_refused(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        parsed(words)
    assert stopped.value.code == 2 and words.split()[0] in capsys.readouterr().err


def test_help_has_groups_defaults_and_the_description_as_it_was_written(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    said = capsys.readouterr().out
    assert said.startswith("usage: python -m x [options]\n\nWhat it does.\n\n  An example.\n")
    for line in ("numbers:", "words:", "--count INT", "how many (default: 3)", "side\n",
                 "which part (default: 0.25)", "what it is called (default: a)",
                 "whether (default: yes)"):
        assert line in said, line


def test_values_from_text():
    fields = {field.name: field for field in cli._options(Settings)}
    assert cli.value_of(fields["count"], "4") == cli.value_of(fields["size"], "4") == 4
    assert cli.value_of(fields["rate"], "4") == 4.0 and cli.value_of(fields["name"], "4") == "4"
    assert cli.value_of(fields["flag"], "yes") is True
    assert cli.value_of(fields["flag"], "no") is False
    for name, text in (("count", "4.5"), ("flag", "True"), ("rate", "fast")):
        with pytest.raises(ValueError):
            cli.value_of(fields[name], text)


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError("no"), MemoryError("no"),
                                   ArithmeticError("no"), ConnectionError("no")])
def test_expected_errors_end_in_one_sentence(monkeypatch, error):
    def main():
        raise error

    monkeypatch.delenv("MAE_LIB_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert stopped.value.code == "error: no"  # printed to stderr, with exit status 1
    monkeypatch.setenv("MAE_LIB_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.run(main)


def test_a_stop_says_how_to_go_on_and_other_errors_stay_as_they_are(monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.delenv("MAE_LIB_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stopped:
        cli.run(stop)
    assert "Run the same command again" in stopped.value.code
    monkeypatch.setattr("sys.argv", ["compare", "--fresh"])
    with pytest.raises(SystemExit) as stopped:
        cli.run(stop)
    assert "again, without --fresh: what it saved" in stopped.value.code
    with pytest.raises(KeyError):
        cli.run(lambda: {}["x"])
    assert cli.run(lambda: 5) is None


def test_numbers_of_numpy_become_plain_ones():
    cfg = PretrainConfig(seed=np.int64(3), lr=np.float32(0.5), norm_pix=np.bool_(False))
    cfg.check()
    assert [type(v) for v in (cfg.seed, cfg.lr, cfg.norm_pix)] == [int, float, bool]
    assert json.dumps(vars(cfg))
