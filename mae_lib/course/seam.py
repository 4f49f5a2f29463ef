"""The seam between the learner's code and the package's.

Each of `parts.PARTS` is a function or a class that the learner writes. When its check passes, the
source goes to my_mae/NAME.py with a stamp. From then on, in every notebook, `use("NAME")` gives the
learner's version; without a valid stamp it gives the package's, from `reference`. A file is read in
a namespace of its own, which holds `parts.GIVEN` and the parts before it, the learner's where there
are any. Nothing is deleted: what passed a check or was replaced is in my_mae/earlier/.
"""

import difflib
import hashlib
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mae_lib.course.own_source import CannotStandAlone, code_of, cut, names_in
from mae_lib.course.parts import GIVEN, PARTS, REFERENCE, Part, earlier_parts, stand_in
from mae_lib.training.checkpoints import write_atomically

DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts it
STAMP = re.compile(r"^# stamp: check (\d+), source (\w+)\n", re.MULTILINE)
_made: dict[tuple, Any] = {}  # so that one source gives one class, however often it is used


def folder() -> Path:
    """Where the learner's parts are: $MAE_LIB_MY_MAE; on Colab a mounted Drive; else ./my_mae."""
    if os.environ.get("MAE_LIB_MY_MAE"):
        return Path(os.environ["MAE_LIB_MY_MAE"])
    here, there = Path("my_mae"), DRIVE / "my_mae"
    if "google.colab" not in sys.modules or not has_drive():
        return here
    try:
        there.mkdir(exist_ok=True)
        if here.is_dir():  # kept before Drive was mounted
            _move(here, there)
    except OSError as error:
        _say_once(f"Google Drive cannot be used ({error}): your parts are kept in {here} instead.")
        return here
    return there


def has_drive() -> bool:
    """Whether Google Drive is mounted, and answers."""
    try:
        return DRIVE.is_dir()
    except OSError:
        return False


def colab_forgets() -> str:
    """What to say about something kept on a Colab machine without Drive; nothing elsewhere."""
    if "google.colab" not in sys.modules or has_drive():
        return ""
    return (" Colab forgets it when the session ends, unless you use Google Drive: "
            "course.start(drive=True).")


def _move(here: Path, there: Path) -> None:
    """Bring all files over; where both have one, the newer stays and the other goes to earlier/."""
    for path in filter(Path.is_file, sorted(here.rglob("*"))):
        place, content = there / path.relative_to(here), path.read_bytes()
        if place.exists() and place.read_bytes() != content:
            if place.stat().st_mtime > path.stat().st_mtime:
                backup(place, content)
                continue
            backup(place, place.read_bytes())
        write(place, content)
    aside = (Path(f"my_mae-moved-{i}") for i in range(1, 1000))
    here.rename(next(path for path in aside if not path.exists()))
    print(f"What was kept in {here} is now in {there}.")


@cache
def _say_once(sentence: str) -> None:
    print(sentence)


def write(path: Path, content: bytes) -> None:
    """Write a file so that it holds all of `content` or is as it was, whoever else writes it."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def path_of(name: str) -> Path:
    if name not in PARTS:
        near = difflib.get_close_matches(name, PARTS, n=1)
        raise ValueError(f"There is no part {name!r}" + (f"; did you mean {near[0]!r}?" if near
                         else f"; there are {', '.join(PARTS)}."))
    return folder() / f"{name}.py"


def _digest(name: str, source: str) -> str:
    return hashlib.sha256(f"{name}\n{source.strip()}".encode()).hexdigest()[:16]


def _stamped(part: Part, source: str) -> str:
    return (f"# Your {part.name}, which passed its check in notebook {part.notebook}.\n"
            f"# When it is read, {', '.join(GIVEN)} and the parts before it are there.\n"
            f"# stamp: check {part.version}, source {_digest(part.name, source)}\n\n\n{source}")


def backup(path: Path, content: bytes) -> Path:
    """Keep what a file holds, or will hold, in earlier/ under a name that no other content has."""
    digest = hashlib.sha256(content).hexdigest()[:8]
    place = path.parent / "earlier" / f"{path.stem}-{digest}{path.suffix}"
    if not place.exists():
        write(place, content)
    return place


# ---------------------------------------------------------------- reading


def read(name: str) -> tuple[str | None, str]:
    """The learner's file if its stamp is valid, else None; and what is wrong with it, if anything.

    Never raises for what a file may hold.
    """
    path = path_of(name)
    try:
        text = path.read_text("utf-8-sig")  # some editors on Windows put a mark in front
        compile(text, str(path), "exec")
    except FileNotFoundError:
        return None, ""
    except SyntaxError as error:
        return None, f"{path} has a syntax error on line {error.lineno} ({error.msg})"
    except (OSError, ValueError, MemoryError, RecursionError) as error:
        return None, f"{path} cannot be read ({error})"
    again = f'; course.recheck("{name}") checks it as it is now'
    stamp = STAMP.search(text)
    if not stamp or stamp[2] != _digest(name, text[stamp.end():]):
        return None, f"{path} was changed after its check had passed{again}"
    if int(stamp[1]) != PARTS[name].version:
        return None, f"{path} passed version {stamp[1]} of its check, which has changed{again}"
    return text, ""


def source_in(text: str) -> str:
    """The learner's source in the text of a valid file."""
    return text[STAMP.search(text).end():].strip("\n")


class _Loader:
    """Reads parts together with all that they use, and remembers whose each is."""

    def __init__(self):
        self.values: dict[str, Any] = {}
        self.is_theirs: dict[str, bool] = {}
        self.troubles: list[str] = []

    def load(self, name: str) -> Any:
        if name not in self.values:
            text, trouble = read(name)
            self.is_theirs[name] = text is not None
            if text is not None:
                try:
                    self.values[name] = self.run(name, text, path_of(name))
                except Exception as error:
                    trouble = describe(error, path_of(name))
                    self.is_theirs[name] = False
            if name not in self.values:
                first, source = stand_in(name)
                # Blank lines in front, so that a traceback shows the right ones.
                self.values[name] = self.run(name, "\n" * (first - 1) + source, REFERENCE)
            if trouble:
                self.troubles.append(f"{trouble}. The package's {name} is used instead.")
        return self.values[name]

    def run(self, name: str, source: str, file: Path) -> Any:
        """What `name` is after running the source, which tracebacks find in `file`."""
        bound, used = names_in(source)
        needed = [other for other in earlier_parts(name) if other in used - bound]
        parts = {other: self.load(other) for other in needed}
        key = name, source, file, *map(id, parts.values())
        if key not in _made:
            space = {**GIVEN, **parts, "__name__": f"my_mae.{name}"}
            exec(compile(source, str(file.absolute()), "exec"), space)
            if name not in space:
                raise NameError(f"it defines no {name}")
            _made[key] = space[name], parts  # keep parts too, or their ids could be reused
        return _made[key][0]


def describe(error: Exception, path: Path) -> str:
    """Where in the file an error happened, and which."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == str(path.absolute())]
    place = f"{path}, line {lines[-1]}," if lines else str(path)
    return f"{place} stops with {type(error).__name__} ({error})"


def use(*names: str) -> Any:
    """The learner's version of each part where it passed its check, else the package's.

    Says in one line which is which. Returns one part, or a tuple if several are asked for.
    Raises ValueError for the name of no part, or without any name.
    """
    if not names:
        raise ValueError(f"Name at least one part: {', '.join(PARTS)}.")
    loader = _Loader()
    for name in names:
        path_of(name)
    values = tuple(loader.load(name) for name in names)
    for trouble in loader.troubles:
        print(trouble)
    theirs = [name for name in PARTS if loader.is_theirs.get(name)]
    # Parts inside others are named only where they differ.
    others = [name for name in PARTS if loader.is_theirs.get(name) is False
              and (theirs or name in names)]
    said = [f"your {', '.join(theirs)}"] * bool(theirs)
    said += [f"the package's {', '.join(others)}"] * bool(others)
    print(f"Using {'; '.join(said)}.")
    return values if len(names) > 1 else values[0]


# ---------------------------------------------------------------- keeping


def is_packages(answer) -> bool:
    """Whether an answer is code of the package's, and so not the learner's own."""
    code = code_of(answer)
    return bool(code) and Path(code.co_filename).is_relative_to(REFERENCE.parents[1])


def keep(name: str, answer, test: Callable) -> str:
    """Keep the source of an answer that has passed `test`; says in a sentence what became of it."""
    part, path = PARTS[name], path_of(name)
    try:
        source = cut(answer, name, {*GIVEN, *earlier_parts(name)})
        loader = _Loader()
        alone = loader.run(name, source, path.with_suffix(".new.py"))
        test(alone)
    except CannotStandAlone as reason:
        return f"Not kept in {path}: {reason}."
    except Exception as error:
        used = ", ".join(other for other in loader.is_theirs if loader.is_theirs[other])
        return (f"Not kept in {path}: when it is read from a file of its own, it no longer passes "
                f"({type(error).__name__}: {error}). " + (
                    f"It was read with your {used}: if this notebook has a newer one, run its "
                    "check again first." if used else "Does something outside its def change it?"))
    content = _stamped(part, source).encode()
    try:
        backup(path, content)  # two notebooks may keep at once: neither version is lost
        if path.exists():
            backup(path, path.read_bytes())
        write(path, content)
    except OSError as error:
        return f"Not kept: {path} cannot be written ({error})."
    linecache.checkcache(str(path.absolute()))
    return f"Kept in {path}: from now on the course uses your {name}." + colab_forgets()


def recheck(name: str) -> None:
    """Check the learner's file as it is now, and stamp it if it passes."""
    path = path_of(name)
    linecache.checkcache(str(path.absolute()))
    try:
        answer = _Loader().run(name, path.read_text("utf-8-sig"), path)
    except FileNotFoundError:
        print(f"There is no {path} yet: solve the exercise in notebook {PARTS[name].notebook}.")
    except SyntaxError as error:
        print(f"✗ {path} has a syntax error on line {error.lineno} ({error.msg}).")
    except Exception as error:
        print(f"✗ {describe(error, path)}.")
    else:
        PARTS[name].check(answer)


def reset(name: str) -> None:
    """Set the learner's version of a part aside, so that the package's is used again."""
    path = path_of(name)
    if not path.exists():
        print(f"There is no {path}: the package's {name} is in use already.")
        return
    place = backup(path, path.read_bytes())
    os.replace(path, place)
    print(f"Your {name} is now in {place}. Run the cell with course.use again to continue with "
          "the package's version. To get yours back, run its check again, or move the file to "
          f"{path}.")
