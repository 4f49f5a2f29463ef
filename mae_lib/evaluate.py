"""What the representation is worth: kNN, linear probe, fine-tuning, and reconstruction quality.

Features are the mean of the patch tokens after the final norm, of the whole image without masking.
Whatever must be chosen is chosen on a tenth of the training images; the test set is read once.
"""

import copy
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from mae_lib import hardware, metrics
from mae_lib.augment import denormalise, random_resized_crop, resize
from mae_lib.batches import batch_indices
from mae_lib.checkpoints import load_checkpoint, save_checkpoint
from mae_lib.config import FineTuneConfig
from mae_lib.data import ImageSet
from mae_lib.hardware import Purpose
from mae_lib.losses import predicted_images
from mae_lib.model import MaskedAutoencoder
from mae_lib.optim import NonFiniteLoss, adamw, schedule_learning_rate, set_learning_rate
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.results import Accuracy

PROBE_DECAYS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
NEIGHBOURS = (5, 10, 20, 50, 100)


def split_for_validation(labels: Tensor, share: float = 0.1) -> tuple[Tensor, Tensor]:
    """Indices (rest, validation) of a fixed random split that takes `share` of every class."""
    generator = hardware.generator(Purpose.SPLIT)
    validation = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        chosen = torch.randperm(len(members), generator=generator)
        validation[members[chosen[: max(1, round(share * len(members)))]]] = True
    return (~validation).nonzero()[:, 0], validation.nonzero()[:, 0]


@torch.no_grad()
def extract_features(model: MaskedAutoencoder, images: Tensor, batch_size: int = 256) -> Tensor:
    """Features of uint8 images (N, 3, H, W): float32 (N, D) on the CPU."""
    device = next(model.parameters()).device
    model.eval()
    parts = images.split(batch_size)
    return torch.cat([model.features(resize(x.to(device), model.img_size)).cpu() for x in parts])


def pixel_features(images: Tensor, size: int = 16, batch_size: int = 1024) -> Tensor:
    """The baseline that learns nothing: images shrunk to size × size pixels, (N, 3·size²)."""
    return torch.cat([resize(x, size).flatten(1) for x in images.split(batch_size)])


def knn_predict(train: Tensor, labels: Tensor, test: Tensor, k: int, classes: int) -> Tensor:
    """Labels of test (M, D) by the k most similar of train (N, D), by cosine, weighted: (M,).

    Votes weigh exp(similarity / 0.07) (Wu et al. 2018, section 3.4).
    """
    similarity, neighbours = (F.normalize(test, dim=1) @ F.normalize(train, dim=1).T).topk(k)
    votes = torch.zeros(len(test), classes)
    return votes.scatter_add(1, labels[neighbours], (similarity / 0.07).exp()).argmax(dim=1)


def knn(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Accuracy:
    """k-nearest-neighbour accuracy of features; k is chosen on validation."""
    classes = int(train_labels.max()) + 1
    rest, validation = split_for_validation(train_labels)

    def score(k: int) -> float:
        predicted = knn_predict(train[rest], train_labels[rest], train[validation], k, classes)
        return float((predicted == train_labels[validation]).double().mean())

    k = max((k for k in NEIGHBOURS if k <= len(rest)), key=score, default=1)
    predicted = knn_predict(train, train_labels, test, k, classes)
    return Accuracy(predicted == test_labels, f"k={k}")


def fit_logistic(x: Tensor, labels: Tensor, classes: int, decay: float, start=None) -> Tensor:
    """Weights (D + 1, classes), bias last, of multinomial logistic regression by L-BFGS.

    Minimises the mean cross-entropy + decay / 2 · ‖W‖², which has one minimum: no learning rate and
    no number of epochs to choose.
    """
    weights = (torch.zeros(x.shape[1] + 1, classes) if start is None else start.clone()).to(x)
    weights.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=300, tolerance_grad=1e-5, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weights[:-1] + weights[-1], labels)
        value = value + decay / 2 * weights[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor,
    mirrored: Tensor | None = None,
) -> Accuracy:
    """Accuracy of the best linear classifier on frozen features (N, D): LP@1.

    Features are standardised by the training set's mean and deviation, as a BatchNorm without
    affine parameters does (He et al. 2022, appendix A.1). `mirrored` are the features of the
    training images' mirror images, which then also train. The weight decay is chosen on validation.
    """
    classes = int(train_labels.max()) + 1
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)

    def scaled(x: Tensor) -> Tensor:
        return (x - mean) / std

    def training(ids: Tensor) -> tuple[Tensor, Tensor]:
        parts = [train] if mirrored is None else [train, mirrored]
        return torch.cat([scaled(x[ids]) for x in parts]), train_labels[ids].repeat(len(parts))

    def right(weights: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        return (scaled(x) @ weights[:-1] + weights[-1]).argmax(dim=1) == labels

    rest, validation = split_for_validation(train_labels)
    weights, scores = None, {}
    for decay in PROBE_DECAYS:  # from strong to weak, each starting from the last
        weights = fit_logistic(*training(rest), classes, decay, weights)
        ok = right(weights, train[validation], train_labels[validation])
        scores[decay] = float(ok.double().mean())
    decay = max(scores, key=scores.get)
    weights = fit_logistic(*training(torch.arange(len(train))), classes, decay)
    return Accuracy(right(weights, test, test_labels), f"weight decay {decay:g}")


def cross_validated_probe(
    train: Tensor, labels: Tensor, mirrored: Tensor | None = None, folds: int = 5
) -> Accuracy:
    """Linear-probe accuracy on the training images themselves, each judged by a probe that never
    saw it: what choices are made by. Takes `folds` times as long as `linear_probe`.
    """
    fold = torch.randperm(len(labels), generator=hardware.generator(Purpose.FOLDS)) % folds
    correct = torch.zeros(len(labels), dtype=torch.bool)
    for k in range(folds):
        rest, held = fold != k, fold == k
        mirror = None if mirrored is None else mirrored[rest]
        found = linear_probe(train[rest], labels[rest], train[held], labels[held], mirror)
        correct[held] = found.correct
    return Accuracy(correct)


class Classifier(nn.Module):
    """An encoder and a linear head on its mean feature: (B, 3, H, W) → (B, classes)."""

    def __init__(self, model: MaskedAutoencoder, classes: int):
        super().__init__()
        self.encoder = copy.deepcopy(model)
        for name in ("decoder_embed", "mask_token", "decoder_pos_embed", "decoder_blocks",
                     "decoder_norm", "decoder_pred"):
            delattr(self.encoder, name)
        self.head = nn.Linear(model.embed_dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    @property
    def blocks(self) -> nn.ModuleList:
        return self.encoder.blocks

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder.features(images))


@hardware.explaining_full_memory
def fine_tune(
    model: MaskedAutoencoder, data: ImageSet, cfg: FineTuneConfig, seed: int = 0,
    precision: str = "fp32", label: str = "", checkpoint: Path | None = None, progress: bool = True,
    head: Tensor | None = None,
) -> Accuracy:
    """Train encoder and a new head on the labelled images, then read the test set: FT@1.

    `model` is left as it was. With `checkpoint`, a file, an interrupted run goes on from its last
    epoch. The same call on a randomly initialised model is the from-scratch baseline. The head
    starts at random, or at `head` (D + 1, classes), the bias last.

    Raises ValueError if `checkpoint` is of a run with other settings, and NonFiniteLoss.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(model, len(data.classes)).to(device)
    if head is not None:
        with torch.no_grad():
            classifier.head.weight.copy_(head[:-1].T)
            classifier.head.bias.copy_(head[-1])
    optimizer = adamw(classifier, cfg.weight_decay, cfg.layer_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    cast = hardware.autocast(device, precision)
    labels = data.train_labels.to(device)
    iters = -(-len(labels) // cfg.batch_size)
    settings = {**vars(cfg), "seed": seed, "precision": precision, "images": len(labels)}
    done = 0
    if checkpoint and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        if state["settings"] != settings:
            raise ValueError(f"{checkpoint} holds a run with other settings; delete it first.")
        classifier.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        done = state["epoch"]
    for epoch in range(done, cfg.epochs):
        classifier.train()
        bar = tqdm(range(iters), desc=f"Fine-tune {label} E{epoch + 1}/{cfg.epochs}",
                   disable=not progress, leave=epoch == cfg.epochs - 1)
        for i in bar:
            step = epoch * iters + i
            lr = schedule_learning_rate(epoch, i, iters, cfg)
            set_learning_rate(optimizer, lr)
            ids = batch_indices(len(labels), cfg.batch_size, step, seed)
            generator = hardware.generator(seed, Purpose.FINE_TUNE, step, device=device)
            batch = data.train[ids.to(data.train.device)].to(device)
            x = random_resized_crop(batch, model.img_size, generator, (cfg.crop_scale, 1.0))
            with cast:
                logits = classifier(x)
            loss = F.cross_entropy(logits.float(), labels[ids.to(device)],
                                   label_smoothing=cfg.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            if i % 10 == 0 or i == iters - 1:
                value = loss.item()
                bar.set_postfix_str(f"lr={lr:.2e}, loss={value:.4f}")
                if not math.isfinite(value):
                    raise NonFiniteLoss(f"The loss of fine-tuning became {value} in epoch "
                                        f"{epoch + 1}. Try a lower learning rate than {cfg.lr:g}, "
                                        "or a longer warm-up.")
        if checkpoint:
            state = {"settings": settings, "epoch": epoch + 1, "model": classifier.state_dict(),
                     "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()}
            save_checkpoint(checkpoint, state)
    classifier.eval()
    with torch.no_grad():
        parts = [resize(x.to(device), model.img_size) for x in data.test.split(256)]
        predicted = torch.cat([classifier(x).argmax(dim=1).cpu() for x in parts])
    return Accuracy(predicted == data.test_labels)


@torch.no_grad()
def reconstruction_quality(
    model: MaskedAutoencoder, images: Tensor, norm_pix: bool, mask_ratio: float = 0.75
) -> dict[str, dict[str, Tensor]]:
    """Masked PSNR (dB), HF error and SSIM of each uint8 image (N, 3, H, W), under fixed masks.

    Returns {method: {metric: (N,)}} for "model" and each of `metrics.trivial_reconstructions`. With
    `norm_pix` the model's pictures use the target's patch statistics and are optimistic.
    """
    device = next(model.parameters()).device
    model.eval()
    generator = hardware.generator(Purpose.TEST_MASKS)
    noise = torch.rand(len(images), model.num_patches, generator=generator)
    results: dict[str, dict[str, list]] = {}
    measures = {"psnr": metrics.masked_psnr, "hf_error": metrics.masked_hf_error,
                "ssim": metrics.masked_ssim}
    for part, part_noise in zip(images.split(128), noise.split(128), strict=True):
        x = resize(part.to(device), model.img_size)
        output = model(x, mask_ratio, noise=part_noise.to(device))
        mask = patch_mask_to_pixels(output.mask, model.patch_size)
        target = denormalise(x).clamp(0, 1)
        pred = denormalise(predicted_images(output.pred, x, model.patch_size, norm_pix))
        methods = {"model": pred, **metrics.trivial_reconstructions(target, mask)}
        for method, picture in methods.items():
            for name, measure in measures.items():
                values = measure(picture, target, mask).cpu()
                results.setdefault(method, {}).setdefault(name, []).append(values)
    return {m: {k: torch.cat(v) for k, v in found.items()} for m, found in results.items()}
