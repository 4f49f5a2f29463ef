"""What the linear probe's protocol does to its score: other ways to make a feature of the tokens.

On the weights that come with the package, by cross-validation on the training images: no test image
is read. Writes mae_lib/assets/probe_protocols.json. A few minutes for each on a CPU.

  python -m benchmarks.probe_protocols --data imagefolder:PATH --size 64
"""

import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mae_lib import evaluate
from mae_lib.data.augment import resize
from mae_lib.model import MaskedAutoencoder
from mae_lib.pretrain import add_data_arguments, data_from
from mae_lib.runtime import cli, hardware
from mae_lib.training.checkpoints import ASSETS, checksum, load_shipped


def mean(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=1)  # (B, L, D) → (B, D)


def mean_and_deviation(tokens: Tensor) -> Tensor:
    return torch.cat([tokens.mean(dim=1), tokens.std(dim=1)], dim=1)  # (B, 2·D)


def quarters(tokens: Tensor) -> Tensor:
    """The mean over each quarter of the picture, side by side: (B, 4·D)."""
    side = int(tokens.shape[1] ** 0.5)
    grid = tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (B, D, side, side)
    return torch.nn.functional.adaptive_avg_pool2d(grid, 2).flatten(1)


# Name: (block whose tokens are used; None for the final norm's, how they are pooled).
PROTOCOLS: dict[str, tuple[int | None, Callable[[Tensor], Tensor]]] = {
    "as it is: mean after the final norm": (None, mean),
    "before the final norm": (-1, mean),
    "two blocks earlier": (-3, mean),
    "four blocks earlier": (-5, mean),
    "mean and standard deviation": (None, mean_and_deviation),
    "mean of each quarter": (None, quarters),
}


@torch.no_grad()
def features(
    model: MaskedAutoencoder, images: Tensor, block: int | None, pool: Callable
) -> Tensor:
    seen = []
    hook = (model.blocks[block] if block else model.norm).register_forward_hook(
        lambda module, inputs, output: seen.append(pool(output[:, model.num_extra :]).cpu()))
    device = next(model.parameters()).device
    for part in images.split(256):
        model.encode(resize(part.to(device), model.img_size))
    hook.remove()
    return torch.cat(seen)


def main() -> None:
    parser = cli.parser("python -m benchmarks.probe_protocols", __doc__)
    add_data_arguments(parser)
    arguments = parser.parse_args()
    device = hardware.pick_device(arguments.device)
    model = load_shipped("original_64")[0].to(device).eval()
    data = data_from(arguments, img_size=model.img_size)
    rows = []
    for name, (block, pool) in PROTOCOLS.items():
        train, mirrored = (features(model, x, block, pool)
                           for x in (data.train, data.train.flip(3)))
        _, found = evaluate.choose_decay(train, data.train_labels, mirrored)
        rows.append({"name": name, "features": train.shape[1], "lp_cv": found.entry()})
        low, high = found.interval()
        print(f"{found.percent:5.1f} % [{low:.1f}, {high:.1f}]  {name}", flush=True)
        if pool is mean and block is None:
            _, found = evaluate.choose_decay(train, data.train_labels)
            rows.append({"name": "without mirror images", "features": train.shape[1],
                         "lp_cv": found.entry()})
            print(f"{found.percent:5.1f} %  without mirror images", flush=True)
    record = {
        "rows": rows, "weights": checksum(ASSETS / "original_64.safetensors"), "data": data.name,
        "train": len(data.train), **hardware.describe(device),
        "date": time.strftime("%Y-%m-%d"), "command": cli.command(),
    }
    path = ASSETS / "probe_protocols.json"
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"Written: {path.name}")


if __name__ == "__main__":
    cli.run(main)
