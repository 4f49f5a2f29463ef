"""Train the small MAE of generated scenes that comes with the package, for notebook 08.

  python tools/scene_encoder.py    # about two minutes on one core

It is the "quick" recipe of `mae_lib.config`, on 8,000 scenes without labels for ten epochs. Writes
mae_lib/assets/scenes.safetensors in half precision, notes its checksum in weights.json, and prints
what the card in mae_lib/assets/README.md says.
"""

import json

import torch

from mae_lib import evaluate
from mae_lib.config import RECIPES, PretrainConfig
from mae_lib.data.sources import load_data
from mae_lib.model import MaskedAutoencoder
from mae_lib.pretrain import pretrain
from mae_lib.training.checkpoints import ASSETS, checksum, load_weights, save_weights

NAME, EPOCHS = "scenes", 10


def accuracy(model: MaskedAutoencoder, data) -> str:
    """Accuracy of a linear probe of the model's features, with its interval."""
    train, test = (evaluate.extract_features(model, part) for part in (data.train, data.test))
    found = evaluate.linear_probe(train, data.train_labels, test, data.test_labels)
    low, high = found.interval()
    return f"{found.percent:.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    recipe = RECIPES["quick"]
    data = load_data("scenes", counts=(8000, 2000, 2000))
    cfg = PretrainConfig(**{**recipe.pretrain, "epochs": EPOCHS}, precision="fp32")
    run = pretrain(data.unlabeled, data.validation, cfg, device=torch.device("cpu"))
    path = ASSETS / f"{NAME}.safetensors"
    save_weights(path, run.model.to(torch.float16), label=NAME, data=NAME, variant="original",
                 norm_pix=cfg.norm_pix, epochs=EPOCHS, lr=cfg.lr, seed=cfg.seed)
    listed = ASSETS / "weights.json"
    checksums = json.loads(listed.read_text("utf-8")) | {NAME: checksum(path)}
    listed.write_text(json.dumps(checksums, indent=1) + "\n", "utf-8")
    model, _ = load_weights(path)
    untrained = cfg.build_model()
    print(f"{path.stat().st_size / 1e6:.1f} MB; {run.seconds:.0f} s, torch {torch.__version__}; "
          f"validation loss {run.history.epochs()[-1]['val_loss']:.3f}; linear probe "
          f"{accuracy(model, data)} %, of random weights {accuracy(untrained, data)} %")


if __name__ == "__main__":
    main()
