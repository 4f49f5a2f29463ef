"""Write the log of the specified runs, mae_lib/assets/specified_runs.csv, which notebook 07 shows.

  python tools/specified_runs.py
"""

from collections import Counter

from mae_lib.evidence.records import Evidence
from mae_lib.evidence.registration import LETTER
from mae_lib.evidence.ship import config_of
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.training.checkpoints import ASSETS
from mae_lib.training.compute import multiply_adds

METHODS = ("original", "improved")
# The last columns, and how their values are written.
LOGGED = {"lr": ".2e", "mask_ratio": ".4f", "loss": ".4f", "val_loss": ".4f", "val_psnr": ".2f",
          "effective_rank": ".1f", "seconds": ".1f"}


def specified_log(records: list[dict]) -> str:
    """The log of all runs of METHODS at the specified sizes, as CSV with a line for each epoch.

    `multiply_adds` is the sum since the start of the run, in 10¹⁵.
    """
    lines = [",".join(("method", "seed", "device", "epoch", "step", "multiply_adds", *LOGGED))]
    found = [r for r in records if r["name"] in METHODS and r.get("recipe") == "specified"
             and r["settings"].get("img_size", 0) is None]
    for record in sorted(found, key=lambda r: (METHODS.index(r["name"]), r["seed"])):
        cfg, spent, done = config_of({**record["settings"], "seed": 0}), 0, 0
        length = cfg.build_model().num_patches
        for epoch in record["measures"]["epochs"]:
            iters = epoch["step"] - done
            visible = Counter(num_visible_patches(length, training_mask_ratio(step, iters, cfg))
                              for step in range(done, epoch["step"]))
            spent += sum(times * multiply_adds(cfg, n) for n, times in visible.items())
            done = epoch["step"]
            lines.append(",".join((
                record["name"], str(record["seed"]), record["device"], str(epoch["epoch"]),
                str(done), f"{cfg.batch_size * spent / 1e15:.4f}",
                *(f"{epoch[name]:{digits}}" for name, digits in LOGGED.items()))))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    log = specified_log(Evidence().records[LETTER])  # of one edition
    (ASSETS / "specified_runs.csv").write_text(log, "utf-8")
