"""What the representation is worth: kNN, linear probe, fine-tuning, and reconstruction quality.

Features are the mean of the patch tokens after the final norm, of the whole image without masking.
Whatever must be chosen is chosen by cross-validation on the training images, nothing on the test
images.
"""

import collections
import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from mae_lib import metrics
from mae_lib.config import FineTuneConfig
from mae_lib.data.augment import check_images, denormalise, random_resized_crop, resize
from mae_lib.data.fingerprint import fingerprint, fingerprint_of_weights
from mae_lib.data.sources import ImageSet
from mae_lib.losses import predicted_images
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels
from mae_lib.results import Accuracy
from mae_lib.runtime import hardware
from mae_lib.runtime.checks import check_shape, check_value
from mae_lib.runtime.hardware import RNG
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import load_checkpoint, save_checkpoint
from mae_lib.training.optim import NonFiniteLoss, adamw, schedule_learning_rate, set_learning_rate

PROBE_DECAYS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
NEIGHBOURS = (5, 10, 20, 50, 100)
FOLDS = 5


def folds(labels: Tensor, draw: int = 0) -> Tensor:
    """Which of FOLDS folds each image is in, (N,): every class is spread evenly over them.

    The same labels give the same folds in every run; another `draw` gives other ones.
    """
    generator = hardware.generator(RNG.FOLDS, draw)
    fold = torch.empty(len(labels), dtype=torch.long)
    first = 0  # each class goes on where the last one ended: small ones lack different folds
    for label in labels.unique():
        members = labels == label
        count = int(members.sum())
        fold[members] = (torch.randperm(count, generator=generator) + first) % FOLDS
        first += count
    return fold


def check_labels(x: Tensor, labels: Tensor, what: str = "training") -> None:
    """Raise ValueError unless `labels` (N,) are whole numbers from 0, one for each of x (N, …)."""
    check_value(f"The features of the {what} images", x, Tensor)
    check_shape(labels, f"The {what} labels", len(x))  # one for each image
    if labels.dtype != torch.int64 or not len(x) or int(labels.min()) < 0:
        raise ValueError(f"The {what} labels must be one or more whole numbers from 0 on, of type "
                         "int64: convert them with .long().")
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise ValueError(f"The features of the {what} images hold values that are not finite.")


def cross_validate(labels: Tensor, settings: Sequence, draw: int,
                   predict: Callable[[Tensor, Tensor], Iterable[Tensor]]) -> tuple[Any, Accuracy]:
    """The setting with the highest cross-validated accuracy, the first of equal ones.

    `predict(rest, held)` gets two masks of images (N,): those of four folds to learn from, and
    those of the fifth to judge. It gives the labels that it predicts with each of the settings.
    """
    check_value("The number of training images", len(labels), int, at_least=3)
    fold, right = folds(labels, draw), [torch.zeros(len(labels), dtype=bool) for _ in settings]
    for held in (fold == i for i in range(FOLDS)):
        for correct, predicted in zip(right, predict(~held, held), strict=True):
            correct[held] = predicted == labels[held]
    best = max(range(len(settings)), key=lambda i: int(right[i].sum()))
    return settings[best], Accuracy(right[best])


@torch.no_grad()
def extract_features(model: MaskedAutoencoder, images: Tensor, batch_size: int = 256,
                     mirrored: bool = False) -> Tensor:
    """Features of uint8 images (N, 3, S, S), or of their mirror images: (N, D) on the CPU."""
    check_images(images)
    check_value("batch_size", batch_size, int, at_least=1)
    device = next(model.parameters()).device
    model.eval()
    parts = (x.flip(3) if mirrored else x for x in images.split(batch_size))
    return torch.cat([model.features(resize(x.to(device), model.img_size)).cpu() for x in parts])


def pixel_features(images: Tensor, size: int = 16, batch_size: int = 1024,
                   mirrored: bool = False) -> Tensor:
    """The baseline that learns nothing: images shrunk to size × size pixels, (N, 3·size²)."""
    check_images(images)
    check_value("size", size, int, at_least=1)
    parts = (x.flip(3) if mirrored else x for x in images.split(batch_size))
    return torch.cat([resize(x, size).flatten(1) for x in parts])


def knn_predict(train: Tensor, labels: Tensor, test: Tensor, k: int, classes: int) -> Tensor:
    """Labels (M,) of test (M, D), voted by the k nearest of train (N, D) in cosine similarity.

    Votes weigh exp(similarity / 0.07) (Wu et al. 2018, section 3.4).
    """
    check_value("k", k, int, at_least=1, at_most=len(train))
    similarity, neighbours = (F.normalize(test, dim=1) @ F.normalize(train, dim=1).T).topk(k)
    votes = similarity.new_zeros(len(test), classes)
    return votes.scatter_add(1, labels[neighbours], (similarity / 0.07).exp()).argmax(dim=1)


def knn(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Accuracy:
    """k-nearest-neighbour accuracy of features (N, D); k is chosen by cross-validation."""
    check_labels(train, train_labels)
    check_labels(test, test_labels, "test")
    classes = int(train_labels.max()) + 1
    largest_fold = int(folds(train_labels).bincount().max())
    tried = [k for k in NEIGHBOURS if k <= len(train) - largest_fold] or [1]

    def in_parts(train: Tensor, labels: Tensor, test: Tensor, k: int) -> Tensor:
        parts = test.split(1000)  # all similarities at once can be gigabytes
        return torch.cat([knn_predict(train, labels, part, k, classes) for part in parts])

    def predict(rest: Tensor, held: Tensor) -> Iterable[Tensor]:
        return (in_parts(train[rest], train_labels[rest], train[held], k) for k in tried)

    k, _ = cross_validate(train_labels, tried, 0, predict)
    predicted = in_parts(train, train_labels, test, k)
    return Accuracy(predicted == test_labels, f"k={k}")


def centred(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and (M, D) minus the mean of `train`.

    Features often share a large mean: the angle between any two is then small, and cosines say
    little.
    """
    mean = train.mean(dim=0)
    return train - mean, test - mean


def whitened(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D), (M, D), turned to (N, R), (M, R) so that `train` has unit covariance.

    Directions in which features hardly vary (under a thousandth of the largest standard deviation)
    are not blown up further. With N not well above D, all of `train` are nearly equally far apart.
    Features that are all equal become almost 0.
    """
    rounding = 1e-5 * float(train.norm())  # of the mean's subtraction: what is smaller is noise
    train, test = centred(train, test)
    _, singular, directions = torch.linalg.svd(train, full_matrices=False)  # (R,), (R, D), R ≤ N, D
    least = max(1e-3 * float(singular[0]), rounding) or 1.0  # 1: where all are zeros
    scale = singular.clamp(min=least) / math.sqrt(max(len(train) - 1, 1))
    return train @ directions.T / scale, test @ directions.T / scale


def curvature_of(x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """How strongly the loss of `fit_logistic` curves, (D,), and along which directions, (D, D)."""
    return torch.linalg.eigh(x.T @ x / (len(x) * classes))


def fit_logistic(x: Tensor, labels: Tensor, classes: int, decay: float,
                 start: Tensor | None = None, curvature: tuple[Tensor, Tensor] | None = None,
                 tolerance: float = 1e-5) -> Tensor:
    """Weights (D + 1, classes), bias last, of multinomial logistic regression on x (N, D).

    L-BFGS minimises the mean cross-entropy + decay / 2 · ‖W‖², which has one minimum: no learning
    rate and no number of epochs to choose. `start` are weights to begin at; `curvature` spares
    computing `curvature_of(x, classes)` again. It stops where no gradient is larger than
    `tolerance`, the loss hardly changes, or after 300 iterations.
    """
    # L-BFGS needs many steps where features are correlated, as they always are. It works on V
    # instead, W = P V, with P such that the loss is about equally curved in all directions.
    strength, directions = curvature or curvature_of(x, classes)
    scale = (strength.clamp(min=0) + decay).rsqrt()
    to_weights = directions * scale @ directions.T  # P
    turned, bias = x @ to_weights, x.new_zeros(1, classes)
    v = x.new_zeros(x.shape[1], classes)
    if start is not None:
        v, bias = (directions / scale @ directions.T) @ start[:-1], start[-1:]
    unknown = torch.cat([v, bias]).requires_grad_()
    optimizer = torch.optim.LBFGS([unknown], max_iter=300, tolerance_grad=tolerance,
                                  history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(turned @ unknown[:-1] + unknown[-1], labels)
        value = value + decay / 2 * (to_weights @ unknown[:-1]).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    found = unknown.detach()
    return torch.cat([to_weights @ found[:-1], found[-1:]])


class Probe:
    """A linear classifier of standardised features (N, D), fitted at one weight decay.

    Features are standardised by the training set's mean and standard deviation, as a BatchNorm
    without affine parameters does (He et al. 2022, appendix A.1). `mirrored` are the features of
    the mirror images, which then also train. `start` is a probe of the same images, to begin at.
    """

    def __init__(self, train: Tensor, labels: Tensor, classes: int, decay: float,
                 mirrored: Tensor | None = None, start: "Probe | None" = None,
                 tolerance: float = 1e-5):
        self.mean, self.std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
        views = [train] if mirrored is None else [train, mirrored]
        x = torch.cat([self._standardised(view) for view in views])
        self.curvature = start.curvature if start else curvature_of(x, classes)
        self.weights = fit_logistic(x, labels.repeat(len(views)), classes, decay,
                                    start.weights if start else None, self.curvature, tolerance)

    def _standardised(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def predict(self, x: Tensor) -> Tensor:
        """The class of each of the features (N, D): (N,)."""
        return (self._standardised(x) @ self.weights[:-1] + self.weights[-1]).argmax(dim=1)


def choose_decay(train: Tensor, labels: Tensor, mirrored: Tensor | None = None, draw: int = 0,
                 decays: tuple[float, ...] = PROBE_DECAYS) -> tuple[float, Accuracy]:
    """The weight decay with the highest cross-validated accuracy, and that accuracy.

    Every training image is judged by a probe that was fitted to the other folds (see `folds`) and
    saw neither it nor its mirror image. On a tie, the first of `decays` wins.
    """
    check_labels(train, labels)
    classes = int(labels.max()) + 1

    def predict(rest: Tensor, held: Tensor) -> Iterable[Tensor]:
        mirror = None if mirrored is None else mirrored[rest]
        probe = None
        for decay in decays:  # from strong to weak, each starting from the last
            # A wider tolerance than the final fit: faster, and it hardly changes the accuracies.
            probe = Probe(train[rest], labels[rest], classes, decay, mirror, probe, 1e-4)
            yield probe.predict(train[held])

    decay, found = cross_validate(labels, decays, draw, predict)
    return decay, Accuracy(found.correct, f"weight decay {decay:g}")


def linear_probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor,
                 mirrored: Tensor | None = None, decay: float | None = None) -> Accuracy:
    """Accuracy of the best linear classifier on frozen features (N, D): LP@1.

    `decay` is chosen by cross-validation on the training images unless given. See `Probe`.
    """
    check_labels(train, train_labels)
    check_labels(test, test_labels, "test")
    if decay is None:
        decay, _ = choose_decay(train, train_labels, mirrored)
    check_value("decay", decay, float, above=0)
    check_value("The number of training images", len(train), int, at_least=2)
    probe = Probe(train, train_labels, int(train_labels.max()) + 1, decay, mirrored)
    return Accuracy(probe.predict(test) == test_labels, f"weight decay {decay:g}")


class Classifier(nn.Module):
    """An encoder and a linear head on its mean feature: (B, 3, H, W) → (B, classes)."""

    def __init__(self, model: MaskedAutoencoder, classes: int):
        super().__init__()
        self.encoder = copy.deepcopy(model).requires_grad_()  # also if the model is frozen
        for part in ("decoder_embed", "mask_token", "decoder_pos_embed", "decoder_blocks",
                     "decoder_norm", "decoder_pred"):
            delattr(self.encoder, part)
        self.head = nn.Linear(model.embed_dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder.features(images))


@hardware.explain_full_memory
def fine_tune(model: MaskedAutoencoder, data: ImageSet, cfg: FineTuneConfig, seed: int = 0,
              precision: str = "fp32", label: str = "", checkpoint: Path | None = None,
              progress: bool = True, head: Tensor | None = None) -> Accuracy:
    """Train encoder and a new head on the labelled images, then read the test set: FT@1.

    `model` is left as it was. With `checkpoint`, a file, an interrupted run goes on from its last
    epoch. The same call on a randomly initialised model is the from-scratch baseline. The head
    starts at random, or at `head` (D + 1, classes), the bias last.

    Raises ValueError if `checkpoint` is of a run with other settings, images, labels or weights;
    NonFiniteLoss if training diverges.
    """
    check_value("cfg", cfg, FineTuneConfig)
    check_value("seed", seed, int, at_least=0)
    cfg.check()
    check_images(data.train, "data.train")
    check_images(data.test, "data.test")
    check_labels(data.train, data.train_labels)
    check_labels(data.test, data.test_labels, "test")
    for labels in (data.test_labels, data.train_labels):
        check_value("every label", int(labels.max()), int, below=len(data.classes))
    device = next(model.parameters()).device
    precision = hardware.pick_precision(device, precision)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = Classifier(model, len(data.classes)).to(device)
    if head is not None:
        classifier.head.load_state_dict({"weight": head[:-1].T, "bias": head[-1]})
    optimizer = adamw(classifier, cfg.weight_decay, cfg.layer_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    cast = hardware.autocast(device, precision)
    labels = data.train_labels.to(device)
    iters = -(-len(labels) // cfg.batch_size)
    settings = {**vars(cfg), "seed": seed, "precision": precision,
                "images": fingerprint(data.train, data.train_labels),
                "weights": fingerprint_of_weights(classifier.state_dict())}
    parts, done = {"model": classifier, "optimizer": optimizer, "scaler": scaler}, 0
    if checkpoint and Path(checkpoint).exists():
        state = load_checkpoint(checkpoint)
        found = state.get("settings", {})
        changed = [k for k, v in settings.items() if found.get(k) != v]
        if changed:
            raise ValueError(f"{checkpoint} holds a run with other {', '.join(changed)}; choose "
                             "another file, or delete it.")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = state["epoch"]
    for epoch in range(done, cfg.epochs):
        classifier.train()
        bar = tqdm(range(iters), desc=f"Fine-tune {label} E{epoch + 1}/{cfg.epochs}",
                   disable=not progress, leave=epoch == cfg.epochs - 1)
        for i in bar:
            step, lr = epoch * iters + i, schedule_learning_rate(epoch, i, iters, cfg)
            set_learning_rate(optimizer, lr)
            ids = batch_indices(len(labels), cfg.batch_size, step, seed)
            generator = hardware.generator(seed, RNG.FINE_TUNE, step, device=device)
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
                # The loss is of the weights before the step: those after it may be nan already.
                sound = torch.stack([p.isfinite().all() for p in classifier.parameters()]).all()
                if not (math.isfinite(value) and sound):
                    raise NonFiniteLoss(f"Fine-tuning became nan or infinite in epoch {epoch + 1}. "
                                        f"Try a lower learning rate than {cfg.lr:g}, or a longer "
                                        "warm-up.")
        if checkpoint:
            states = {name: part.state_dict() for name, part in parts.items()}
            save_checkpoint(checkpoint, {"settings": settings, "epoch": epoch + 1, **states})
    classifier.eval()
    with torch.no_grad():
        batches = (resize(x.to(device), model.img_size) for x in data.test.split(256))
        predicted = torch.cat([classifier(x).argmax(dim=1).cpu() for x in batches])
    return Accuracy(predicted == data.test_labels)


@torch.no_grad()
def reconstruction_quality(model: MaskedAutoencoder, images: Tensor, norm_pix: bool,
                           mask_ratio: float = 0.75) -> dict[str, dict[str, Tensor]]:
    """Masked PSNR (dB) and HF error of each uint8 image (N, 3, H, W), under fixed masks.

    Returns {method: {metric: (N,)}} for "model" and each of `metrics.trivial_reconstructions`. With
    `norm_pix` the model's pictures use the target's patch statistics and are optimistic.
    """
    check_images(images)
    device = next(model.parameters()).device
    model.eval()
    noise = torch.rand(len(images), model.num_patches, generator=hardware.generator(RNG.TEST_MASKS))
    results = collections.defaultdict(lambda: collections.defaultdict(list))
    measures = {"psnr": metrics.masked_psnr, "hf_error": metrics.masked_hf_error}
    for part, part_noise in zip(images.split(128), noise.split(128), strict=True):
        x = resize(part.to(device), model.img_size)
        output = model(x, mask_ratio, noise=part_noise.to(device))
        mask = patch_mask_to_pixels(output.mask, model.patch_size)
        target = denormalise(x).clamp(0, 1)
        pred = denormalise(predicted_images(output.pred, x, model.patch_size, norm_pix))
        methods = {"model": pred, **metrics.trivial_reconstructions(target, mask)}
        for method, picture in methods.items():
            for name, measure in measures.items():
                results[method][name].append(measure(picture, target, mask).cpu())
    return {m: {k: torch.cat(v) for k, v in found.items()} for m, found in results.items()}


def with_labels(data: ImageSet, count: int) -> ImageSet:
    """`data` with only `count` of its training images: always the same, spread over the classes.

    A smaller choice is part of every larger one. Raises ValueError if there are fewer.
    """
    labels = data.train_labels
    check_value("count", count, int, at_least=1, at_most=len(labels))
    order = torch.randperm(len(labels), generator=hardware.generator(RNG.LABELS))
    turn = F.one_hot(labels[order]).cumsum(0).gather(1, labels[order, None])[:, 0]
    chosen = order[turn.argsort(stable=True)[:count]]  # one of each class, then the next of each
    return dataclasses.replace(data, train=data.train[chosen], train_labels=labels[chosen])
