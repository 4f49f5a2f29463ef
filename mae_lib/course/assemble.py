"""The learner's masked autoencoder in one file that runs without the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

from mae_lib.course import seam
from mae_lib.course.own_source import names_in
from mae_lib.course.parts import PARTS, REFERENCE, stand_in

HEAD = '''"""A masked autoencoder in one file (He et al., CVPR 2022), put together by a course.

{whose}
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
'''
TAIL = '''
if __name__ == "__main__":
    torch.manual_seed(0)
    model = MAE()
    images = torch.randn(2, 3, 224, 224)
    pred, mask, latent = model(images)
    print(f"{sum(p.numel() for p in model.parameters()):,} weights; a prediction of shape "
          f"{tuple(pred.shape)}, and a loss of {mae_loss(pred, images, mask, 16):.2f}.")
'''


def assemble(path: str | Path = "my_mae.py") -> Path:
    """Write the parts, the learner's own or else the package's, to one file in their order.

    Comments mark whose each part is. Raises ValueError if two parts define something else under
    one name, which can be in the file only once, or if one defines what the file imports.
    """
    path, pieces, theirs, head = Path(path), [], [], names_in(HEAD)[0]
    defined = {bound: ("the head of the file", "") for bound in head}
    for name, part in PARTS.items():
        text, trouble = seam.read(name)
        if trouble:
            print(f"{trouble}. The package's {name} is used instead.")
        mine = text is not None
        source = seam.source_in(text) if mine else stand_in(name)[1].rstrip()
        for code, bound in _definitions(source):
            other, before = defined.setdefault(bound, (name, code))
            if before != code and not (bound in head and code.startswith(("import ", "from "))):
                raise ValueError(f"{bound} is defined differently in {other} and in {name}. "
                                 f"Rename it in {name} and run its check again.")
        theirs += [name] * mine
        whose = f"yours, from notebook {part.notebook}" if mine else (
            f"the package's; notebook {part.notebook} builds it")
        pieces.append(f"# --- {name}: {whose}\n\n{source}\n")
    pieces.append(f"# --- the names that the official code gives to weights\n\n{_given()}\n")
    whose = f"{len(theirs)} of {len(PARTS)} parts are my own; a comment says so in front of each."
    text = "\n\n".join([HEAD.format(whose=whose), *pieces, TAIL.lstrip("\n")])
    compile(text, str(path), "exec")
    if path.exists() and path.read_text("utf-8") != text:
        print(f"What {path} held is now in {seam.backup(path, path.read_bytes())}.")
    seam.write(path.absolute(), text.encode())
    print(f"{path.name}: {len(theirs)} of {len(PARTS)} parts your own.")
    return path


def _definitions(source: str) -> Iterator[tuple[str, str]]:
    """Each outermost statement with each name that it binds; of an import, each of its names."""
    for statement in ast.parse(source).body:
        names = getattr(statement, "names", None) or [None]  # of an import
        for alias in names:
            if alias:
                statement.names = [alias]
            code = ast.unparse(statement)
            yield from ((code, bound) for bound in names_in(code)[0])


def _given() -> str:
    """What follows the last part in the reference."""
    nodes = ast.parse(REFERENCE.read_text("utf-8")).body
    last = [getattr(node, "name", "") for node in nodes].index(list(PARTS)[-1])
    return "\n".join(REFERENCE.read_text("utf-8").splitlines()[nodes[last].end_lineno:]).strip()
