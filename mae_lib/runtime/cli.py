"""Command lines made from dataclasses: one definition gives the field, its default and its help."""

import argparse
import dataclasses
import functools
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from mae_lib.runtime.checks import KINDS, check_value


def option(default, help: str, group: str, **bounds):
    """A dataclass field that is also a command-line option.

    `bounds` are those of `checks.check_value`; see `check_values`.
    """
    return dataclasses.field(default=default,
                             metadata={"help": help, "group": group, "bounds": bounds})


def check_values(settings) -> None:
    """Raise ValueError, naming the setting, if an option of a dataclass has an impossible value.

    A number must be finite, whole where its default is, and within the option's bounds.
    """
    for field in _options(type(settings)):
        value = getattr(settings, field.name)
        if value is not None or field.default is not None:
            check_value(field.name, value, _kind(field), **field.metadata["bounds"])


def folder(text: str) -> Path:
    """A `type` for argparse: a folder to write to, which may not exist yet."""
    path = Path(text)
    place = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise argparse.ArgumentTypeError(f"{place} is not a folder that you may write to")
    return path


def file(text: str) -> Path:
    """A `type` for argparse: a file to write, which may not exist yet."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder: name a file")
    return folder(str(Path(text).parent)) / Path(text).name


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser whose help has the options in one column and keeps the description's lines."""
    layout = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=36,
                               width=100)
    return argparse.ArgumentParser(command, "%(prog)s [options]", description,
                                   formatter_class=layout)


def add_options(parser: argparse.ArgumentParser, cls: type, prefix: str = "", without=()) -> None:
    """Add the options of dataclass `cls` but `without` to the parser, in groups; see `given`."""
    groups = {}
    for field in (field for field in _options(cls) if field.name not in without):
        title = field.metadata["group"]
        group = groups[title] = groups.get(title) or parser.add_argument_group(title)
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
    """`text` as a value of the field, yes or no for a switch. Raises ValueError for another."""
    switch, kind = isinstance(field.default, bool), _kind(field)
    try:
        return bool(("no", "yes").index(text)) if switch else kind(text)
    except ValueError:
        words = "yes or no" if switch else KINDS[kind][1]
        raise ValueError(f"{field.name} must be {words}, got {text!r}.") from None


def given(arguments: argparse.Namespace, cls: type, prefix: str = "") -> dict:
    """The options of dataclass `cls` that stood on the command line."""
    found = vars(arguments)
    return {f.name: found[prefix + f.name] for f in _options(cls) if prefix + f.name in found}


def command_of(program: str, settings, **others) -> str:
    """The command line of `program` with `others` and what differs from the settings' defaults."""
    words = [word for name, value in others.items() for word in ("--" + name, str(value))]
    for field in _options(type(settings)):
        flag, value = field.name.replace("_", "-"), getattr(settings, field.name)
        if value != field.default:
            words += [f"--{flag}", str(value)] if not isinstance(value, bool) else [
                f"--{'' if value else 'no-'}{flag}"]
    return f"{program} {shlex.join(words)}"


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
        fresh = ", without --fresh" * ("--fresh" in sys.argv)
        sys.exit(f"\nStopped. Run the same command again{fresh}: what it saved is kept.")
    except (ValueError, OSError, ArithmeticError, MemoryError) as error:
        sys.exit(f"error: {error}")


def command(program: str = "-m mae_lib.compare") -> str:
    """The command line, without folders of this machine and without what changes no result.

    `program` stands for a script, or for the command that does the same as a notebook.
    """
    words, silent = [], ("--out", "--results", "--figures", "--work", "--workers", "--helper")
    for before, word in zip(sys.argv, sys.argv[1:], strict=False):
        if {before, word.partition("=")[0]}.isdisjoint(silent):
            head, kind, folder = word.partition("imagefolder:")
            head = Path(head).name if Path(head).is_absolute() else head
            words.append(head + kind + Path(folder).name)
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python {f'-m {spec.name}' if spec else program} {shlex.join(words)}".strip()
