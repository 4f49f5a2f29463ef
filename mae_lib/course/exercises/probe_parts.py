"""Notebook 08: features of whole images, a linear probe, fine-tuning."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_lib import evaluate
from mae_lib.config import FineTuneConfig
from mae_lib.course import reference
from mae_lib.course.exercises import (
    close,
    exercise,
    given,
    require,
    require_right,
    require_tensor,
    several,
)


class _Watched(nn.Module):
    """An encoder that notes how it was called. Dropout makes its two modes differ."""

    def __init__(self, dim: int = 8):
        super().__init__()
        self.encoder = reference.Encoder(12, 3, dim, 1, 2)
        self.drop, self.ratios, self.sizes, self.modes = nn.Dropout(0.5), [], [], []

    def forward(self, images: Tensor, mask_ratio: float = 0.75, noise: Tensor | None = None):
        self.ratios.append(float(mask_ratio))
        self.sizes.append(len(images))
        self.modes.append(self.training)
        latent, mask, ids_restore = self.encoder(images, mask_ratio, noise)
        return self.drop(latent), mask, ids_restore


@exercise("Right: the whole image, one feature vector for each, and nothing kept for a gradient.")
def extract_features(answer: Callable) -> None:
    torch.manual_seed(0)
    encoder = _Watched()
    for count, size in ((10, 4), (6, 6)):
        images = torch.randn(count, 3, 12, 12)
        with torch.no_grad():
            tokens = encoder.encoder(images, 0.0)[0]  # (N, L, D)
        encoder.train()
        encoder.ratios.clear(), encoder.sizes.clear(), encoder.modes.clear()
        found = given(answer(encoder, images, size))
        require(isinstance(found, Tensor) and found.shape != tokens.shape,
                "These are all tokens of the images: take their mean over dim=1, so that each "
                "image has one vector.")
        require(not any(encoder.modes), "The encoder is in training mode: call encoder.eval() "
                                        "first, or dropout would change the features.")
        require(0.75 not in encoder.ratios, "Three quarters of each image are hidden, as in "
                                            "training: pass mask_ratio=0.0 to show all of it.")
        require(set(encoder.ratios) == {0.0}, f"The encoder was called with mask ratios "
                                              f"{encoder.ratios}: nothing should be hidden, 0.0.")
        require(max(encoder.sizes) <= size, f"All {max(encoder.sizes)} images go through at once; "
                                            f"take {size} at a time (images.split), as memory is "
                                            "limited.")
        require_tensor(found, (count, 8), "The features")
        require(not found.requires_grad, "The features carry a gradient, whose graph fills the "
                                         "memory: compute them under torch.no_grad().")
        right = tokens.mean(dim=1)
        require_right(found, right, {
            "The features of the last batch come first: keep the order of the images.":
                torch.cat([*reversed(right.split(size))]),
            "This is the sum of the tokens; take their mean.": tokens.sum(dim=1),
            "This is the largest value of each over the tokens; take their mean.":
                tokens.amax(dim=1),
            "The features are divided by their length; leave them as they are.":
                F.normalize(right, dim=1),
        }, "The features should be the mean of each image's tokens, over dim=1.", 1e-4)


@exercise("Right: the one best linear classifier for this decay, and its bias is free.")
def fit_probe(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    for n, d, classes in ((90, 6, 3), (80, 4, 4)):
        labels = torch.arange(n) % classes
        labels = labels * (torch.rand(n, generator=generator) < 0.8)  # class 0 is the largest
        centres = 1.5 * torch.randn(classes, d, generator=generator)
        x = centres[labels] + torch.randn(n, d, generator=generator)
        for decay in (0.1, 0.01):
            found = several(given(answer(x, labels, classes, decay)), 2,
                            "Return two tensors: weight (D, classes) and bias (classes,).")
            weight, bias = found
            require(isinstance(weight, Tensor) and (weight.shape != (classes, d) or classes == d),
                    "weight is transposed: it should be (D, classes), for x @ weight.")
            require_tensor(weight, (d, classes), "weight")
            require_tensor(bias, (classes,), "bias")
            require(not weight.requires_grad, "Return weight.detach() and bias.detach(): nothing "
                                              "needs their gradient any more.")
            _explain_probe(x, labels, classes, decay, weight, bias)


def _explain_probe(x, labels, classes: int, decay: float, weight: Tensor, bias: Tensor) -> None:
    def best(x: Tensor, decay: float) -> tuple[Tensor, Tensor]:
        fitted = evaluate.fit_logistic(x, labels, classes, decay)
        return fitted[:-1], fitted[-1]

    right, right_bias = best(x, decay)
    like = _like(x, weight, bias)
    if like(right, right_bias):
        return
    mistakes = {
        "The bias decays too: leave it out of the sum of squares.":
            _with_decaying_bias(x, labels, classes, decay),
        "Your decay is twice as strong: the term is decay / 2 · (sum of squared weights).":
            best(x, 2 * decay),
        "The cross-entropy is summed over images: take its mean, or decay means less the more "
        "images there are.": best(x, decay / len(x)),
        "The decay is divided by the number of weights: take their sum of squares, not the mean.":
            best(x, decay / weight.numel()),
    }
    for explanation, other in mistakes.items():
        require(not like(*other), explanation)
    require(bool(bias.any()), "The bias stays at 0: it should be fitted together with the weight.")

    fits, best_fits = (float(F.cross_entropy(x @ w + b, labels))
                       for w, b in ((weight, bias), (right, right_bias)))
    require(not fits < 0.95 * best_fits,
            "The weights fit these images better than the decay allows. The weight decay is "
            "missing or too weak: add decay / 2 · (sum of squared weights) to the loss.")

    def loss(weight: Tensor, bias: Tensor) -> float:
        value = F.cross_entropy(x @ weight + bias, labels)
        return float(value + decay / 2 * weight.square().sum())

    require(False, f"The loss of your probe is {loss(weight, bias):.4f}; the lowest possible is "
                   f"{loss(right, right_bias):.4f}. Has it converged? LBFGS with "
                   "line_search_fn='strong_wolfe' and max_iter=500 does.")


def _with_decaying_bias(x, labels, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    unknown = torch.zeros(x.shape[1] + 1, classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([unknown], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.pad(x, (0, 1), value=1.0) @ unknown, labels)
        loss = loss + decay / 2 * unknown.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return unknown.detach()[:-1], unknown.detach()[-1]


def _like(x: Tensor, weight: Tensor, bias: Tensor, tolerance: float = 5e-3) -> Callable:
    """Whether other weights give these logits, but for what the softmax does not see."""
    def logits(weight: Tensor, bias: Tensor) -> Tensor:
        found = x @ weight + bias
        return found - found.mean(dim=1, keepdim=True)

    ours = logits(weight, bias)
    return lambda *other: bool((logits(*other) - ours).abs().max() < tolerance * ours.std())


class _WatchedSGD(torch.optim.SGD):
    """Notes the learning rates of every step."""

    def __init__(self, encoder: nn.Module, head: nn.Module):
        super().__init__([{"params": list(encoder.parameters()), "lr_scale": 0.5},
                          {"params": list(head.parameters())}], lr=9.0)
        self.rates = []

    def step(self, closure=None):
        self.rates.append([float(group["lr"]) for group in self.param_groups])
        return super().step(closure)


class _WatchedEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.ratios, self.modes = reference.Encoder(12, 3, 8, 1, 2), [], []

    def forward(self, images: Tensor, mask_ratio: float = 0.75, noise: Tensor | None = None):
        self.ratios.append(float(mask_ratio))
        self.modes.append(self.training)
        noise = torch.arange(16.0).expand(len(images), 16)
        return self.encoder(images, mask_ratio, noise)


def _start() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    encoder, head = _WatchedEncoder(), nn.Linear(8, 3)
    return encoder, head, _WatchedSGD(encoder, head)


def _batch_at(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, 3, 12, 12, generator=generator), torch.arange(6) % 3


@exercise("Right: whole images, every layer at its own rate, and smooth labels.")
def fine_tune(answer: Callable) -> None:
    cfg, iters = FineTuneConfig(epochs=3, warmup_epochs=1, lr=0.2, label_smoothing=0.2), 3
    encoder, head, optimizer = _start()
    encoder.eval()
    before = [p.detach().clone() for p in encoder.parameters()]
    found = given(answer(encoder, head, optimizer, _batch_at, iters, cfg))
    require(len(optimizer.rates) == 9, f"{len(optimizer.rates)} steps were taken, expected 9: "
                                       f"{cfg.epochs} epochs of {iters}.")
    require(0.75 not in encoder.ratios, "Three quarters of each image are hidden, as in "
                                        "pretraining: pass mask_ratio=0.0.")
    require(all(encoder.modes), "The encoder is in evaluation mode: call encoder.train() first.")
    right = [reference.schedule_learning_rate(*divmod(i, iters), iters, cfg) for i in range(9)]
    lower, upper = (torch.tensor(rates) for rates in zip(*optimizer.rates, strict=True))
    require(len(set(upper.tolist())) > 1, f"The learning rate is {upper[0]:.2f} throughout; ask "
                                          "schedule_learning_rate at every step.")
    require(close(upper, torch.tensor(right)), f"At step 4 the learning rate is {upper[4]:.4f}, "
                                               f"expected {right[4]:.4f}.")
    require(not close(lower, upper), 'All layers learn at the full rate: multiply by '
                                     'group.get("lr_scale", 1.0), which is below 1 for the lower '
                                     "ones.")
    require(close(lower, upper / 2), "The rate of each group should be that of the schedule times "
                                     "the group's lr_scale.")
    require(any(not close(a, b) for a, b in zip(before, encoder.parameters(), strict=True)),
            "The encoder does not change: that is a linear probe. Let its gradient through.")
    require_tensor(found, (9,), "The losses")
    require(not found.requires_grad, "The losses hold on to the graph of every step: keep "
                                     "loss.detach().")
    encoder, head, optimizer = _start()
    images, labels = _batch_at(0)
    tokens = encoder(images, 0.0)[0]
    logits = head(tokens.mean(dim=1)).detach()
    require_right(found[0], F.cross_entropy(logits, labels, label_smoothing=0.2), {
        "The labels are not smoothed: pass label_smoothing=cfg.label_smoothing to "
        "F.cross_entropy.": F.cross_entropy(logits, labels),
        "The head reads the first token alone; give it the mean of all tokens.":
            F.cross_entropy(head(tokens[:, 0]).detach(), labels, label_smoothing=0.2),
        "F.cross_entropy takes the softmax itself; give it the logits.":
            F.cross_entropy(logits.softmax(1), labels, label_smoothing=0.2),
        "The loss is summed over the batch; take its mean.":
            F.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum"),
    }, "The first loss is not the cross-entropy of head(mean of the encoder's tokens).")
    right = reference.fine_tune(*_start(), _batch_at, iters, cfg)
    require(close(found, right, 1e-3), "The first loss is right, the later ones are not: "
                                       "zero_grad, backward, step, in this order, on a new batch "
                                       "each time.")
