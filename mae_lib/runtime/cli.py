"""Command lines made from dataclasses: one definition gives the field, its default and its help."""

import argparse
import dataclasses
import functools
import math
import numbers
import operator
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path


def option(default, help: str, group: str, **bounds):
    """A dataclass field that is also a command-line option.

    `bounds` are any of `above`, `at_least`, `below` and `at_most`; see `check_values`.
    """
    return dataclasses.field(default=default,
                             metadata={"help": help, "group": group, "bounds": bounds})


BOUNDS = {"above": operator.gt, "at_least": operator.ge,
          "below": operator.lt, "at_most": operator.le}
KINDS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a finite number"),
         bool: (bool, "True or False"), str: (str, "text")}


def check_values(settings) -> None:
    """Raise ValueError, naming the setting, if an option of a dataclass has an impossible value.

    A number must be finite, whole where its default is, and within the option's bounds.
    """
    for field in _options(type(settings)):
        value, kind = getattr(settings, field.name), _kind(field)
        if value is None and field.default is None:
            continue
        wanted, words = KINDS[kind]
        if (not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool)
                or (kind is float and not math.isfinite(value))):
            raise ValueError(f"{field.name} must be {words}, got {value!r}.")
        bounds = field.metadata["bounds"]
        if not all(BOUNDS[name](value, bound) for name, bound in bounds.items()):
            asked = [f"{name.replace('_', ' ')} {bound:g}" for name, bound in bounds.items()]
            raise ValueError(f"{field.name} must be {' and '.join(asked)}, got {value}.")


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser whose help has the options in one column and keeps the description's lines."""
    layout = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=36,
                               width=100)
    return argparse.ArgumentParser(command, "%(prog)s [options]", description,
                                   formatter_class=layout)


def add_options(parser: argparse.ArgumentParser, cls: type, prefix: str = "") -> None:
    """Add every `option` of dataclass `cls` to the parser, in groups; see `given`."""
    groups = {}
    for field in _options(cls):
        title = field.metadata["group"]
        group = groups.setdefault(title, parser.add_argument_group(title))
        flag = "--" + (prefix + field.name).replace("_", "-")
        default = "" if field.default is None else f" (default: {_show(field.default)})"
        settings = {"default": argparse.SUPPRESS, "help": field.metadata["help"] + default}
        if isinstance(field.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
        else:
            kind = _kind(field)
            group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), **settings)


def _kind(field: dataclasses.Field) -> type:
    return int if field.default is None else type(field.default)


def value_of(field: dataclasses.Field, text: str):
    """`text` as a value of the field. Raises ValueError if it is none."""
    if isinstance(field.default, bool):
        if text not in ("yes", "no"):
            raise ValueError(f"{text!r} is neither yes nor no.")
        return text == "yes"
    return _kind(field)(text)


def given(arguments: argparse.Namespace, cls: type, prefix: str = "") -> dict:
    """The options of dataclass `cls` that stood on the command line."""
    found = vars(arguments)
    return {f.name: found[prefix + f.name] for f in _options(cls) if prefix + f.name in found}


def _options(cls: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(cls) if "help" in field.metadata]


def _show(value) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"


def run(main: Callable[[], None]) -> None:
    """Run a command: expected errors end in one sentence, Ctrl-C in one line.

    With MAE_LIB_DEBUG=1 in the environment the full traceback is shown.
    """
    if os.environ.get("MAE_LIB_DEBUG"):
        return main()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped. Run the same command again to go on from here.")
    except (ValueError, OSError, ArithmeticError, MemoryError) as error:
        sys.exit(f"error: {error}")


def command() -> str:
    """The command line, without folders of this machine and without what changes no result."""
    words, silent = [], ("--out", "--results", "--figures", "--work", "--workers", "--helper")
    for before, word in zip(sys.argv, sys.argv[1:], strict=False):
        if {before, word.partition("=")[0]}.isdisjoint(silent):
            head, kind, folder = word.partition("imagefolder:")
            words.append(head + kind + Path(folder).name)
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None: a notebook, a script
    return shlex.join(["python", "-m", spec.name if spec else "mae_lib.compare", *words])
