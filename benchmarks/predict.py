"""How long one card takes for the ten epochs of the specification: a prediction.

It adds up the operations of a plain step. Each takes as long as its products at a share of the
card's rate of products, or as its bytes at a share of the card's rate of memory, whichever is
longer, and some microseconds more, in which a kernel starts and ends. Two shares and those
microseconds are chosen so that the speeds of an H200 come out (add_on_prices.json, at three mask
ratios). A smaller card has fewer cores, which the same kernels fill better: the last columns assume
shares that large kernels often reach. That is an assumption; nothing was measured on such a card.

  python -m benchmarks.predict
"""

import torch

from benchmarks import report, timing
from mae_lib.config import PretrainConfig
from mae_lib.masking import num_visible_patches
from mae_lib.runtime import cli
from mae_lib.training.step import TrainStep

IMAGES, CFG = 10 * 100_000, PretrainConfig(precision="fp16")
# Floating-point operations (two a multiply-add; half precision, dense) and bytes a second,
# from NVIDIA's data sheets.
CARDS = {"T4": (65e12, 320e9), "L4": (121e12, 300e9), "A100 (40 GB)": (312e12, 1.555e12),
         "H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
AS_MEASURED, FILLED = (0.15, 0.6), (0.5, 0.8)  # shares of products and of memory
KERNEL = 4e-6  # seconds
RATIOS = {"original": 0.75, "ratio 0.5": 0.5, "ratio 0.0": 0.0}  # of add_on_prices's rows


def operations(ratio: float) -> list[tuple[float, float]]:
    """Floating-point operations and bytes of each operation of the specified step, in fp16."""

    def make() -> timing.Step:
        step = TrainStep(CFG.build_model(), CFG)
        images = torch.empty(CFG.batch_size, 3, 96, 96, dtype=torch.uint8)
        visible = num_visible_patches(step.model.num_patches, ratio)
        return lambda: step.compute(images, *step.draw(0, (96, 96)), visible)

    return timing.operations(make)


def images_per_second(found: list[tuple[float, float]], card: str,
                      shares: tuple[float, float]) -> float:
    """The rate of a recorded step on this card."""
    products, memory = CARDS[card]
    return CFG.batch_size / sum(
        KERNEL + max(flops / products / shares[0], moved / memory / shares[1])
        for flops, moved in found)


def main() -> None:
    found = {name: operations(ratio) for name, ratio in RATIOS.items()}
    measured = {row["name"]: row["images_per_second"]
                for m in report.measurements("add_on_prices")
                if (m["device"], m["preset"], m["batch_size"]) == ("NVIDIA H200", "specified", 64)
                for row in m["rows"]}
    print(report.table(["H200, recorded, batch 64", "fitted, images/s", "measured"], [
        [f"mask ratio {ratio}", f"{images_per_second(found[name], 'H200', AS_MEASURED):,.0f}",
         f"{measured[name]:,.0f}"] for name, ratio in RATIOS.items()]))
    rows = []
    for card in CARDS:
        rates = [images_per_second(found["original"], card, s) for s in (AS_MEASURED, FILLED)]
        rows.append([card, *(f"{rate:,.0f}" for rate in rates),
                     *(f"{IMAGES / rate / 60:.1f} min" for rate in rates)])
    print()
    print(report.table(["ten epochs of 100,000 images", "images/s", "images/s, kernels fill it",
                        "time", "time, kernels fill it"], rows))


if __name__ == "__main__":
    cli.run(main)
