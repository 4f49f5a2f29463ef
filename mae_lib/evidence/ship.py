"""Put the weights of finished runs into the package, in half precision, each with a model card.

  python -m mae_lib.evidence.ship RUNS    # the folder of a comparison, with original-seed1 in it

Of several seeds the first is taken. A run belongs to the record that has the same curves.
"""

import json
from pathlib import Path

import torch

from mae_lib.config import variant_settings
from mae_lib.results import MEASURES, Results
from mae_lib.runtime import cli
from mae_lib.training.checkpoints import ASSETS, checksum, load_weights, save_weights

NAMES = ("original", "improved")
ABOUT = """# Weights that come with the package

`mae_lib.training.checkpoints.load_shipped("original")` reads and verifies them. Encoder and
decoder, half precision, safetensors. Written by `python -m mae_lib.evidence.ship`; the numbers are
from `results.json`.

The images they were trained on are not part of this project. They came from Tiny ImageNet, a subset
of ImageNet, whose terms allow non-commercial research and teaching but not passing images on: use
the weights for that alone. The MIT licence is for the code.
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


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.ship", __doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS")
    runs = parser.parse_args().runs
    records, checksums, text = Results(ASSETS / "results.json").read(), {}, ABOUT
    for name in NAMES:
        folder = min(runs.glob(f"{name}-seed*"), default=None)  # the first seed
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
    (ASSETS / "weights.json").write_text(json.dumps(checksums, indent=1) + "\n", "utf-8")
    (ASSETS / "README.md").write_text(text, "utf-8")


if __name__ == "__main__":
    cli.run(main)
