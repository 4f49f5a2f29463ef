"""The learner's masked autoencoder in one file that runs without the package."""

import ast
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
    one name, which can be in the file only once.
    """
    path, pieces, theirs, defined = Path(path), [], [], {}
    for name, part in PARTS.items():
        text, trouble = seam.read(name)
        if trouble:
            print(f"{trouble}. The package's {name} is used instead.")
        mine = text is not None
        source = text.split("\n", 3)[3].strip("\n") if mine else stand_in(name)[1].rstrip()
        for statement in ast.parse(source).body:
            code = ast.unparse(statement)
            for bound in names_in(code)[0]:
                other, before = defined.setdefault(bound, (name, code))
                if before != code:
                    raise ValueError(f"{other} and {name} both define {bound}, but not alike. "
                                     f"Rename it in one of them and run that check again.")
        theirs += [name] * mine
        whose = f"yours, from notebook {part.notebook}" if mine else (
            f"the package's, as notebook {part.notebook} is not solved yet")
        pieces.append(f"# --- {name}: {whose}\n\n{source}\n")
    pieces.append(f"# --- the names that the official code gives to weights\n\n{_given()}\n")
    whose = f"{len(theirs)} of {len(PARTS)} parts are my own; a comment says so in front of each."
    text = "\n\n".join([HEAD.format(whose=whose), *pieces, TAIL.lstrip("\n")])
    compile(text, str(path), "exec")
    if path.exists() and path.read_text("utf-8") != text:
        before = path.replace(path.with_name(f"{path.stem}-before.py"))
        print(f"What {path} held is now in {before}.")
    seam.write(path.absolute(), text.encode())
    print(f"{path.name}: {len(theirs)} of {len(PARTS)} parts your own.")
    return path


def _given() -> str:
    """What follows the last part in the reference."""
    nodes = ast.parse(REFERENCE.read_text("utf-8")).body
    last = [getattr(node, "name", "") for node in nodes].index(list(PARTS)[-1])
    return "\n".join(REFERENCE.read_text("utf-8").splitlines()[nodes[last].end_lineno:]).strip()
