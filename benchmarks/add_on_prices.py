"""What each add-on costs, and what hiding patches saves.

Whole steps of ours, timed in turns: each loss term at the same mask ratio, and the plain loss at
several ratios. The curriculum shows more patches early on; what this costs over the specified ten
epochs is summed over its schedule, in multiply-adds and in time. A ratio of 0 stands for a
symmetric design, whose encoder processes every patch.

  python -m benchmarks.add_on_prices
"""

import argparse

import numpy as np
import torch

from benchmarks import timing
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.evidence.second_registration import BOTH
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.runtime import cli, hardware

LOSSES = {"original": "original", "+ Laplacian": "laplacian", "+ uniformity": "uniformity",
          "+ both": "laplacian+uniformity", "+ energy form and uniformity": BOTH}
RATIOS = (0.0, 0.5, 0.55, 0.6, 0.65, 0.7)
ITERS = 1563  # steps of an epoch of the specification


def schedule(cfg: PretrainConfig) -> list[float]:
    """The mask ratio of every step."""
    return [training_mask_ratio(step, ITERS, cfg) for step in range(cfg.epochs * ITERS)]


def main() -> None:
    arguments = timing.settle(timing.parser("add_on_prices", __doc__))
    steps = {name: timing.our_step(arguments, **variant_settings(variant))
             for name, variant in LOSSES.items()}
    steps |= {f"ratio {r}": timing.our_step(arguments, ratio=r) for r in RATIOS}
    if arguments.device.type == "cpu":
        hardware.reuse_freed_memory()
    contenders = {name: timing.here(step, arguments.device) for name, step in steps.items()}
    times = timing.in_turns(contenders, arguments)
    base = times["original"]
    rows = [{"name": name, **timing.speed(found, arguments.batch_size),
             **timing.ratio_with_interval("seconds_ratio", found, base)}
            for name, found in times.items()]

    few = argparse.Namespace(**{**vars(arguments), "batch_size": 4, "precision": "fp32",
                                "device": torch.device("cpu")})
    cfg = PretrainConfig(preset=arguments.preset, **variant_settings("curriculum"))
    ratios = schedule(cfg)
    length = cfg.build_model().num_patches
    needed = sorted({*ratios, *RATIOS, cfg.mask_ratio})
    by_length = {num_visible_patches(length, r): r for r in needed}
    work = {n: timing.multiply_adds(timing.our_step(few, ratio=r), 4) for n, r in by_length.items()}
    for row in rows:
        ratio = float(row["name"].removeprefix("ratio ")) if "ratio" in row["name"] else 0.75
        row["multiply_adds"] = work[num_visible_patches(length, ratio)]
    constant = work[num_visible_patches(length, cfg.mask_ratio)]
    curriculum = np.mean([work[num_visible_patches(length, r)] for r in ratios])
    known = [*RATIOS[1:], cfg.mask_ratio]
    rounds = zip(*(times[f"ratio {r}"] for r in RATIOS[1:]), base, strict=True)
    seconds = [float(np.interp(ratios, known, found).mean()) for found in rounds]
    timing.save("add_on_prices", arguments, rows=rows, curriculum={
        "lengths": len({num_visible_patches(length, r) for r in ratios}),
        "multiply_adds_ratio": curriculum / constant,
        **timing.ratio_with_interval("seconds_ratio", seconds, base),
    })
    print("Written. The tables: python -m benchmarks.report")


if __name__ == "__main__":
    cli.run(main)
