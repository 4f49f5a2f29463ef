"""A learner's function or class as source that can stand alone, cut out of its cell."""

import ast
import builtins
import inspect
import linecache
import symtable
import sys
from collections.abc import Collection
from types import CodeType

# IPython adds some of its own, which no file has.
BUILTINS = {*dir(builtins)} - {"display", "get_ipython"}
# What a part may import, so that the file it is kept in runs wherever torch does.
IMPORTABLE = {*sys.stdlib_module_names, "torch", "numpy"}


class CannotStandAlone(Exception):
    """Why the source of an answer cannot be kept, as the rest of a sentence."""


def code_of(answer) -> CodeType | None:
    """The code of a function, or of a method of a class, below any decorators; None without any."""
    answer = inspect.unwrap(answer) if callable(answer) else answer
    if isinstance(answer, type):
        methods = (inspect.unwrap(m) for m in vars(answer).values() if inspect.isfunction(m))
        codes = [m.__code__ for m in methods]
        # A dataclass has methods that no file holds.
        return next((c for c in codes if linecache.getlines(c.co_filename)), None)
    return getattr(answer, "__code__", None)


def names_in(source: str) -> tuple[set[str], set[str]]:
    """The global names that a piece of source binds, and those that it uses at any depth."""
    bound, used = set(), set()

    def visit(table: symtable.SymbolTable, outermost: bool) -> None:
        for symbol in table.get_symbols():
            if outermost and (symbol.is_assigned() or symbol.is_imported()):
                bound.add(symbol.get_name())
            if symbol.is_global() or (outermost and symbol.is_referenced()):
                used.add(symbol.get_name())
        for child in table.get_children():
            visit(child, False)

    visit(symtable.symtable(source, "part", "exec"), True)
    return bound, used


def cut(answer, name: str, given: Collection[str]) -> str:
    """The statements of its cell that define `name`, and all that these need, in their order.

    Each comes with the comment above it. Builtins and the names in `given` need no definition.
    Raises CannotStandAlone if anything else is missing, or imported from where it may not be.
    """
    code = code_of(answer)
    lines = linecache.getlines(code.co_filename) if code else []
    if not lines:
        raise CannotStandAlone("the course cannot find its source. Define it with def or class in "
                               "a cell of the notebook, without a line that begins with %%")
    pieces = []  # (source, names bound, names used, statement) in the order of the cell
    for node in ast.parse("".join(lines)).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        while first > 1 and lines[first - 2].startswith("#"):
            first -= 1
        source = "".join(lines[first - 1 : node.end_lineno]).rstrip()
        pieces.append((source, *names_in(source), node))

    chosen, wanted = set(), [name]
    while wanted:
        missing = wanted.pop()
        # Of two definitions the later one counts.
        found = [i for i, (_, bound, *_) in enumerate(pieces) if missing in bound]
        while len(found) > 1 and missing in pieces[found[-1]][2] and isinstance(
                pieces[found[-1]][3], ast.Assign | ast.AugAssign):
            chosen.add(found[-1])  # x = f(x) or x += 1: what x was before is needed too
            wanted += sorted(pieces[found.pop()][2] - {missing})
        if found and found[-1] not in chosen:
            chosen.add(found[-1])
            wanted += sorted(pieces[found[-1]][2])
        elif not found and missing == name:
            raise CannotStandAlone(f"the cell that made it has no def or class {name}. Give it "
                                   "that name there")
        elif not found and missing not in given and missing not in BUILTINS:
            raise CannotStandAlone(f"it uses {missing}, which its cell does not define. Define it "
                                   "there, or import it there if it comes from torch, numpy or "
                                   "Python itself")
    for i in chosen:
        _check_imports(pieces[i][3])
    return "\n\n\n".join(dict.fromkeys(pieces[i][0] for i in sorted(chosen))) + "\n"


def _check_imports(statement: ast.stmt) -> None:
    for node in ast.walk(statement):
        if isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module.split(".")[0] not in IMPORTABLE:
                raise CannotStandAlone(f"it imports {module}, but what you build should run with "
                                       "torch, numpy and Python's own modules alone")
