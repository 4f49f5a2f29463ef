"""Frozen features of labelled photographs, which travel with the package for notebook 08.

  python tools/features.py --data imagefolder:PATH original improved

Writes mae_lib/assets/features.safetensors: the features of all training and test images, by each
named encoder and by random weights. They are rounded to 8 bits, as mae_lib.course.features says.
The header says what a linear probe gives before and after that.
"""

import json
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from mae_lib import evaluate
from mae_lib.course.features import PARTS, rounded, steps
from mae_lib.data.sources import ImageSet
from mae_lib.model import MaskedAutoencoder
from mae_lib.pretrain import add_data_arguments, data_from
from mae_lib.runtime import cli, hardware
from mae_lib.training.checkpoints import ASSETS, checksum, load_shipped, write_atomically

RANDOM = "untrained"


def probe(train: Tensor, test: Tensor, data: ImageSet) -> dict:
    """Accuracy of a linear probe with cross-validated decay, and of kNN, in per cent."""
    decay, _ = evaluate.choose_decay(train, data.train_labels)
    lp = evaluate.linear_probe(train, data.train_labels, test, data.test_labels, decay=decay)
    knn = evaluate.knn(train, data.train_labels, test, data.test_labels)
    return {"lp": lp.percent, "knn": knn.percent}


def write(models: dict[str, MaskedAutoencoder], data: ImageSet, path: Path,
          weights: dict[str, str] | None = None) -> dict:
    """Write the features of these models, whose shipped weights have these checksums.

    Returns what the header says.
    """
    tensors = {"train labels": data.train_labels.to(torch.uint8),
               "test labels": data.test_labels.to(torch.uint8)}
    measured = {}
    for name, model in models.items():
        train, test = (evaluate.extract_features(model, x) for x in (data.train, data.test))
        mean = train.mean(dim=0)
        basis = steps(train - mean)
        small = [rounded(x - mean, basis) for x in (train, test)]
        parts = zip(PARTS, (*small, mean, basis), strict=True)
        tensors |= {f"{name} {part}": x for part, x in parts}
        measured[name] = {"full": probe(train, test, data),
                          "rounded": probe(*(x.float() @ basis + mean for x in small), data)}
        print(name, json.dumps(measured[name]), flush=True)
    facts = {"data": data.name, "classes": data.classes, "measured": measured, "weights": weights,
             "date": time.strftime("%Y-%m-%d"), "command": cli.command("tools/features.py")}
    header = {"mae_lib": json.dumps(facts)}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, header)))
    return facts


def main() -> None:
    parser = cli.parser("python tools/features.py", __doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="shipped weights of one size")
    add_data_arguments(parser)
    arguments = parser.parse_args()
    device = hardware.pick_device(arguments.device)
    weights = {name: checksum(ASSETS / f"{name}.safetensors") for name in arguments.names}
    models = {name: load_shipped(name)[0].to(device) for name in arguments.names}
    torch.manual_seed(0)
    sizes = next(iter(models.values())).config
    models[RANDOM] = MaskedAutoencoder(**sizes).eval().to(device)
    data = data_from(arguments, img_size=sizes["img_size"])
    write(models, data, ASSETS / "features.safetensors", weights)


if __name__ == "__main__":
    cli.run(main)
