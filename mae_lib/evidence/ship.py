"""Put the weights of finished runs into the package, in half precision, each with a model card.

  python -m mae_lib.evidence.ship RUNS    # the folder of a comparison, with original-seed1 in it
  python -m mae_lib.evidence.ship         # only the log of the specified runs, from results.json

Of several seeds the first is taken. A run belongs to the record that has the same curves. Other
files in the folder, their checksums and their sections of the README stay as they are.
"""

import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import torch

from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.masking import num_visible_patches, training_mask_ratio
from mae_lib.results import MEASURES, Results
from mae_lib.runtime import cli
from mae_lib.training.checkpoints import ASSETS, checksum, load_weights, save_weights
from mae_lib.training.compute import multiply_adds

NAMES = ("original", "improved")
# The last columns of the log of the specified runs, and how their values are written.
LOGGED = {"lr": ".2e", "mask_ratio": ".4f", "loss": ".4f", "val_loss": ".4f", "val_psnr": ".2f",
          "effective_rank": ".1f", "seconds": ".1f"}
ABOUT = """# Weights that come with the package

`mae_lib.training.checkpoints.load_shipped("original")` reads and verifies them. Encoder and
decoder, half precision, safetensors. `original` and `improved` are written by
`python -m mae_lib.evidence.ship`; their numbers are from `results.json`.

The images that these two were trained on are not part of this project. They came from Tiny
ImageNet, a subset of ImageNet, whose terms allow non-commercial research and teaching but not
passing images on: use the weights for that alone. The MIT licence is for the code.
"""


def card(name: str, record: dict, size: int) -> str:
    """The model card of a record, as Markdown."""
    settings, data, measures = record["settings"], record["data"], record["measures"]
    add_ons = variant_settings(name)
    scores = ", ".join(
        f"{title} {m['value']:.{digits}f} [{m['low']:.{digits}f}, {m['high']:.{digits}f}]"
        for key, (title, digits) in MEASURES.items() if (m := measures.get(key))
    )
    return f"""
## {name}

| | |
|---|---|
| sizes | `{settings['preset']}` at {settings['img_size'] or 'its own'} px, patch {settings['patch_size'] or 'as in the preset'}, {size / 1e6:.1f} MB |
| data | {data['name']}: {data['unlabeled']:,} photographs without labels, {data['pixels']} px |
| schedule | {settings['epochs']} epochs, batch {settings['batch_size']}, peak learning rate {settings['lr']:g}, seed {settings['seed']} |
| add-ons | {', '.join(f'{k} = {v}' for k, v in add_ons.items()) or 'none'}; norm_pix = {settings['norm_pix']} |
| device | {record['device']}, {settings['precision']}, torch {record['torch']}; {measures['seconds']:.0f} s |
| measured | {scores} (95 % intervals over {measures['lp']['images']:,} test images for accuracies, {measures['psnr']['images']:,} for reconstructions; weights in full precision) |
| command | `{record['command']}` |
"""  # noqa: E501


def sections_of_others(readme: Path) -> str:
    """The sections of a README that are about other files than the weights written here."""
    text = readme.read_text("utf-8") if readme.exists() else ""
    sections = re.split(r"\n(?=## )", text)[1:]
    return "".join(f"\n{s.rstrip()}\n" for s in sections if s.split()[1] not in NAMES)


def specified_log(records: list[dict]) -> str:
    """The log of all runs of NAMES at the specified sizes, as CSV with a line for each epoch.

    `multiply_adds` is the sum since the start of the run, in 10¹⁵.
    """
    lines = [",".join(("method", "seed", "device", "epoch", "step", "multiply_adds", *LOGGED))]
    found = [r for r in records if r["name"] in NAMES and r.get("recipe") == "specified"
             and r["settings"].get("img_size", 0) is None]
    for record in sorted(found, key=lambda r: (NAMES.index(r["name"]), r["seed"])):
        settings, spent, done = record["settings"], 0, 0
        known = {field.name for field in fields(PretrainConfig)} - {"seed"}  # no seed costs more
        cfg = PretrainConfig(**{name: settings[name] for name in known & settings.keys()})
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


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.ship", __doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS", nargs="?")
    runs = parser.parse_args().runs
    records, text = Results(ASSETS / "results.json").read(), ABOUT
    (ASSETS / "specified_runs.csv").write_text(specified_log(records), "utf-8")
    if not runs:
        return
    listed, readme = ASSETS / "weights.json", ASSETS / "README.md"
    checksums = json.loads(listed.read_text("utf-8")) if listed.exists() else {}
    for name in NAMES:
        folder = min(runs.glob(f"{name}-seed*"), default=None,  # the first seed
                     key=lambda path: int(path.name.rpartition("seed")[2]))
        if folder is None:
            raise ValueError(f"{runs} has no folder {name}-seed…: name the folder of a comparison.")
        model, facts = load_weights(folder / "model.safetensors")
        log = folder / "history.jsonl"
        logged = map(json.loads, log.read_text("utf-8").splitlines() if log.exists() else ())
        curves = [entry for entry in logged if entry["kind"] == "epoch"]
        record = next((r for r in records if r["measures"].get("epochs") == curves), None)
        if record is None:
            raise ValueError(f"assets/results.json has no record of the run in {folder}.")
        path = ASSETS / f"{name}.safetensors"
        save_weights(path, model.to(torch.float16), **facts)
        checksums[name] = checksum(path)
        text += card(name, record, path.stat().st_size)
    listed.write_text(json.dumps(checksums, indent=1) + "\n", "utf-8")
    readme.write_text(text + sections_of_others(readme), "utf-8")


if __name__ == "__main__":
    cli.run(main)
