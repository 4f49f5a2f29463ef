"""How much should be hidden? The quick recipe of `make compare`, with other mask ratios.

The scenes are drawn at 48 pixels. Each run is pretrained for the same number of epochs and probed;
nothing is fine-tuned. It adds a record to mae_lib/assets/mask_ratios.json, which notebook 07 reads;
finished ones are skipped.

  python -m benchmarks.mask_ratios
"""

from functools import partial
from pathlib import Path

from benchmarks.timing import number
from mae_lib.compare import Comparison, runs_of
from mae_lib.config import RECIPES
from mae_lib.data.sources import load_data
from mae_lib.model import PRESETS
from mae_lib.results import Results, summarise
from mae_lib.runtime import cli, hardware, workers
from mae_lib.training.checkpoints import ASSETS

RATIOS = (0.25, 0.5, 0.75, 0.9)


def main() -> None:
    parser = cli.parser("python -m benchmarks.mask_ratios", __doc__)
    parser.add_argument("--seeds", nargs="+", type=number(int, at_least=0), default=[1, 2, 3],
                        metavar="N", help="seeds of the runs (default: 1 2 3)")
    parser.add_argument("--counts", nargs=3, type=number(int, at_least=1), metavar="N",
                        default=RECIPES["quick"].counts,
                        help="scenes of each split (default: those of the quick recipe)")
    parser.add_argument("--results", type=cli.file, default=ASSETS / "mask_ratios.json",
                        metavar="FILE",
                        help="file of records (default: mae_lib/assets/mask_ratios.json)")
    parser.add_argument("--work", type=cli.folder, default=Path("runs/mask_ratios"),
                        metavar="FOLDER", help="where unfinished runs are kept (runs/mask_ratios)")
    given = parser.parse_args()
    base = RECIPES["quick"].pretrain | {"precision": "fp32"}
    data = load_data("scenes", size=PRESETS[base["preset"]]["img_size"], counts=given.counts)
    comparison = Comparison(data, base, None, given.work, Results(given.results),
                            hardware.pick_device("cpu"), recipe="mask ratios")
    names = [f"original+mask_ratio={ratio}" for ratio in RATIOS]
    records = workers.finish([(comparison.folder(*run), partial(comparison.run, *run))
                              for run in runs_of(names, given.seeds)])
    for name in names:
        mean, low, high = summarise([r for r in records if r["name"] == name], "lp")
        print(f"{name}: LP@1 {mean:.1f} % [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    cli.run(main)
