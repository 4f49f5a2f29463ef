"""Put the weights of a finished pretraining into the package: half precision, measured, described.

  python -m mae_lib.evidence.ship RUN NAME --trained-on "one H100, torch 2.11" --data imagefolder:PATH
  python -m mae_lib.evidence.ship    # only the page with the cards, from their records

RUN is the folder of the pretraining. We measure the weights as they are shipped. Their
records are in `assets/weights.json`, from which the README with their cards is written.
"""  # noqa: E501

import json
import time
from dataclasses import fields
from pathlib import Path

import torch

from mae_lib.compare import about_data, encoder_measures, reconstruction_measures
from mae_lib.config import PretrainConfig
from mae_lib.data.sources import ImageSet
from mae_lib.evidence.report import fill
from mae_lib.pretrain import add_data_arguments, data_from, describe_images
from mae_lib.results import MEASURES
from mae_lib.runtime import cli, hardware
from mae_lib.training.checkpoints import ASSETS, checksum, load_weights, save_weights
from mae_lib.training.history import read_log


def config_of(settings: dict) -> PretrainConfig:
    """The settings in a record, which may hold other facts, or lack settings that are newer."""
    known = {field.name for field in fields(PretrainConfig)}
    return PretrainConfig(**{name: settings[name] for name in known & settings.keys()})


def card(name: str, record: dict) -> str:
    """The model card of a record of weights.json, as Markdown."""
    cfg, data, measures = config_of(record["settings"]), record["data"], record["measures"]
    model = cfg.build_model()
    scores = ", ".join(
        f"{title} {m['value']:.{digits}f} [{m['low']:.{digits}f}, {m['high']:.{digits}f}]"
        for key, (title, digits) in MEASURES.items() if (m := measures.get(key)))
    return f"""
## {name}

| | |
|---|---|
| sizes | `{cfg.preset}`, {model.img_size} px, patches of {model.patch_size} px, decoder {model.config['decoder_depth']} × {model.config['decoder_embed_dim']}, {record['megabytes']} MB |
| data | {data['name']}: {data['unlabeled']:,} images without labels, {data['pixels']} px |
| schedule | {cfg.epochs} epochs of {cfg.images_per_epoch or data['unlabeled']:,} images, batch {cfg.batch_size}, peak learning rate {cfg.lr:g}, seed {cfg.seed} |
| target | {'patches with mean 0 and variance 1 (`norm_pix`)' if cfg.norm_pix else 'plain pixels (no `norm_pix`)'} |
| device | {record['trained_on']}; {record['seconds']:.0f} s |
| measured | {scores} (95 % intervals over {measures['lp']['images']:,} test images for accuracies, {measures['psnr']['images']:,} for reconstructions) |
| command | `{cli.command_of('python -m mae_lib.pretrain', cfg, **record['options'])}` |
"""  # noqa: E501


def with_cards(page: str, records: dict[str, dict]) -> str:
    """The page on the weights, with the cards of these records."""
    return fill(page, "cards", "".join(card(name, record) for name, record in records.items()))


def ship(run: Path, name: str, trained_on: str, data: ImageSet, device: torch.device) -> dict:
    """Write the weights of a run as NAME.safetensors; returns their record for weights.json."""
    model, settings = load_weights(run / "model.safetensors")
    (*_, last) = (e for e in read_log(run / "history.jsonl") if e["kind"] == "epoch")
    path = ASSETS / f"{name}.safetensors"
    save_weights(path, model.to(torch.float16), **settings)
    model = load_weights(path)[0].to(device)
    measures = encoder_measures(model, data) | reconstruction_measures(
        model, data.test, settings["norm_pix"])["model"]
    for entry in measures.values():
        entry.pop("correct", None)  # a card does not need each image's result
    return {
        "checksum": checksum(path), "megabytes": round(path.stat().st_size / 1e6, 1),
        "settings": settings, "data": about_data(data), "trained_on": trained_on,
        "seconds": last["seconds"], "date": time.strftime("%Y-%m-%d"), "measures": measures,
        "command": cli.command(), "measured_on": hardware.describe(device)}


def main() -> None:
    parser = cli.parser("python -m mae_lib.evidence.ship", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", nargs="?")
    parser.add_argument("name", metavar="NAME", nargs="?")
    parser.add_argument("--trained-on", metavar="DEVICE", help="what the run was trained on")
    add_data_arguments(parser)
    arguments = parser.parse_args()
    listed = ASSETS / "weights.json"
    records = json.loads(listed.read_text("utf-8"))
    if arguments.run:
        if not (arguments.name and arguments.trained_on):
            raise ValueError("Weights need a NAME and --trained-on, for their card.")
        model, settings = load_weights(arguments.run / "model.safetensors")
        data = data_from(arguments, img_size=model.img_size)
        found = describe_images(data.unlabeled, data.validation)
        if settings.get("images", found).partition(", starting")[0] != found:
            raise ValueError(f"{arguments.run} was trained on {settings['images']} images, not on "
                             f"these {found}: give the --data, --size and --limit of the run.")
        chosen = {name: getattr(arguments, name) for name in ("size", "limit")}
        records[arguments.name] = {
            **ship(arguments.run, arguments.name, arguments.trained_on, data,
                   hardware.pick_device(arguments.device)),
            "options": {"data": data.name, **{k: v for k, v in chosen.items() if v}}}
        listed.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
    page = ASSETS / "README.md"
    page.write_text(with_cards(page.read_text("utf-8"), records), "utf-8")


if __name__ == "__main__":
    cli.run(main)
