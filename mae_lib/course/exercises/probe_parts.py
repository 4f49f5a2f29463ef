"""Notebook 08: features of whole images, a linear probe, fine-tuning."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_lib import evaluate
from mae_lib.config import FineTuneConfig
from mae_lib.course import reference
from mae_lib.course.exercises import (
    Mistake,
    call,
    close,
    exercise,
    given,
    kind,
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
        self.drop, self.ratios, self.sizes = nn.Dropout(0.5), [], []
        self.modes, self.graphs = [], []

    def forward(self, images: Tensor, mask_ratio: float = 0.75, noise: Tensor | None = None):
        self.ratios.append(float(mask_ratio))
        self.sizes.append(len(images))
        self.modes.append(self.training)
        latent, mask, ids_restore = self.encoder(images, mask_ratio, noise)
        self.graphs.append(latent.requires_grad)
        return self.drop(latent), mask, ids_restore


@exercise("Right: whole images, one feature vector for each, and no graph for gradients.")
def extract_features(answer: Callable) -> None:
    torch.manual_seed(0)
    encoder = _Watched()
    for count, size in ((10, 3), (6, 6)):
        images = torch.randn(count, 3, 12, 12)
        with torch.no_grad():
            tokens = encoder.encoder(images, 0.0)[0]  # (N, L, D)
        encoder.train()
        for notes in (encoder.ratios, encoder.sizes, encoder.modes, encoder.graphs):
            notes.clear()
        found = call(answer, encoder, images, size)
        require(isinstance(found, Tensor), "The features should be one tensor, but you return "
                f"{kind(found)}: join the features of the batches with torch.cat, and return "
                "nothing else.")
        require(found.shape != tokens.shape,
                "You return all the tokens of each image: take their mean over dim=1, so that each "
                "image has one vector.")
        require(not any(encoder.modes), "The encoder is in training mode: call encoder.eval() "
                                        "first, or dropout would change the features.")
        require(bool(encoder.ratios), "Your function does not call the encoder that it is given.")
        require(0.75 not in encoder.ratios, "Three quarters of each image are hidden, as in "
                                            "training: pass mask_ratio=0.0 to show all of it.")
        require(set(encoder.ratios) == {0.0}, "The encoder was called with mask ratios "
                f"{encoder.ratios}: nothing should be hidden, so pass mask_ratio=0.0.")
        require(max(encoder.sizes) == size,
                f"Your largest batch has size {max(encoder.sizes)}, but batch_size is {size}: "
                "images.split(batch_size) makes the batches.")
        require(found.shape[1:] != (8,) or len(found) >= count,
                f"The result has only {len(found)} of the {count} images: is the return inside the "
                "loop, or is the last, smaller batch left out?")
        require_tensor(found, (count, 8), "The features")
        require(all(p.requires_grad for p in encoder.parameters()),
                "Your function switches off the encoder's gradients for good, so it could not be "
                "fine-tuned later. Use torch.no_grad() instead.")
        require(not found.requires_grad, "The features carry a gradient, whose graph fills the "
                                         "memory: compute them under torch.no_grad().")
        require(not any(encoder.graphs), "Each batch builds a graph for gradients that nothing "
                "needs. detach() comes too late: call the encoder under torch.no_grad().")
        require(not found.is_inference(), "Use torch.no_grad() instead of torch.inference_mode(): "
                "later cells train a probe on these features, which inference tensors forbid.")
        right = tokens.mean(dim=1)
        require_right(found, right, {
            "The features of the last batch come first: keep the order of the images.":
                torch.cat([*reversed(right.split(size))]),
            "This is the sum of the tokens; take their mean.": tokens.sum(dim=1),
            "This is the largest value of each feature over the tokens; take the mean instead.":
                tokens.amax(dim=1),
            "The features are divided by their length; leave them as they are.":
                F.normalize(right, dim=1),
        }, "The features should be the mean of each image's tokens, over dim=1.", 1e-4)


@exercise("Right: the best linear classifier for this weight decay, and its bias does not decay.")
def fit_probe(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    for n, d, classes, common, decays in ((90, 6, 3, 0, (0.1, 0.01)), (80, 4, 4, 0, (0.1,)),
                                          (90, 6, 3, 3, (0.003,))):
        labels = torch.arange(n) % classes
        labels = labels * (torch.rand(n, generator=generator) < 0.8)  # class 0 is the largest
        centres = 1.5 * torch.randn(classes, d, generator=generator)
        x = centres[labels] + torch.randn(n, d, generator=generator)
        x = x + common  # features with a common part need a solver that goes on to the end
        for decay in decays:
            try:
                found = call(answer, x, labels, classes, decay)
            except TypeError as error:
                require("'NoneType'" not in str(error) or "float()" not in str(error),
                        "Your closure returns nothing; it should return the loss, which LBFGS "
                        "needs.")
                raise
            weight, bias = several(found, 2,
                                   "Return two tensors: weight (D, classes) and bias (classes,).")
            require(isinstance(weight, Tensor) and (weight.shape != (classes, d) or classes == d),
                    "weight is transposed: it should be (D, classes), for x @ weight.")
            require_tensor(weight, (d, classes), "weight")
            require_tensor(bias, (classes,), "bias")
            require(not weight.requires_grad and not bias.requires_grad, "Return weight.detach() "
                    "and bias.detach(): nothing needs their gradient any more.")
            require(weight.dtype == bias.dtype == x.dtype,
                    f"weight and bias should be {x.dtype}, like x.")
            _explain_probe(answer, x, labels, classes, decay, weight, bias)


def _explain_probe(answer, x, labels, classes: int, decay: float, weight, bias) -> None:
    fitted = evaluate.fit_logistic(x, labels, classes, decay)
    best = x @ fitted[:-1] + fitted[-1]
    if _alike(x @ weight + bias, best):
        return
    require(bool(weight.isfinite().all() and bias.isfinite().all()),
            "Your weight or bias is not finite. Is the decay subtracted from the loss instead of "
            "added, or is a step too long?")
    require(not _alike(x @ weight.reshape(classes, -1).T + bias, best),
            "Your weights are the right numbers in the wrong places. Turn (classes, D) into "
            "(D, classes) with .T, since reshape and view would mix them up.")

    def loss_of(weight: Tensor, bias: Tensor) -> float:
        value = F.cross_entropy(x.double() @ weight.double() + bias.double(), labels)
        return float(value + decay / 2 * weight.double().square().sum())

    # A solver stops where the gradient of its loss is 0. Of which loss is it?
    w, b = (t.detach().double().requires_grad_() for t in (weight, bias))
    logits, squares = x.double() @ w + b, w.square().sum()
    fit, penalty = F.cross_entropy(logits, labels), decay / 2 * squares
    centred = x.double() - x.double().mean(dim=0)

    def fit_scaled(unbiased: bool) -> Tensor:
        return F.cross_entropy(centred / x.std(dim=0, unbiased=unbiased) @ w + b, labels)

    standardised = ("You standardise x. Fit it as it is given, since it is standardised before "
                    "fit_probe is called.")
    pull, = torch.autograd.grad(fit, w, retain_graph=True)
    strength = -float((pull * w).sum().detach() / squares.detach())  # the decay that w suits
    for explanation, loss in (
        ("The bias decays too: leave it out of the sum of squares.",
         fit + penalty + decay / 2 * b.square().sum()),
        ("Your decay is twice as strong as it should be: the term is decay / 2 · (sum of squared "
         "weights).", fit + 2 * penalty),
        ("The cross-entropy is summed over images: take its mean, or decay will have less effect "
         "the more images there are.", fit + penalty / len(x)),
        ("The decay is divided by the number of weights: take their sum of squares, not the mean.",
         fit + penalty / w.numel()),
        ("F.cross_entropy applies the softmax itself: give it the logits.",
         F.cross_entropy(logits.softmax(dim=1), labels) + penalty),
        ("The weight decay is missing: add decay / 2 · (sum of squared weights) to the loss.", fit),
        (f"Your weights fit a decay of {strength:.2g}, but the decay given was {decay}: the term "
         "is decay / 2 · (sum of squared weights).", fit + strength / 2 * squares),
        ("You fit x minus its mean. Fit x as it is given, or the bias will be wrong.",
         F.cross_entropy(centred @ w + b, labels) + penalty),
        (standardised, fit_scaled(unbiased=True) + penalty),
        (standardised, fit_scaled(unbiased=False) + penalty),
    ):
        slopes = torch.autograd.grad(loss, (w, b), retain_graph=True)
        require(not all(slope.abs().max() < 3e-3 * decay for slope in slopes), explanation)

    state = torch.get_rng_state()  # a second run, from the same start, for other labels
    weights = []
    for y in (labels, labels.flip(0)):
        torch.set_rng_state(state)
        weights.append(call(answer, x, y, classes, decay)[0])
    require(not torch.equal(*weights), "Nothing was fitted: other labels give the same weights. "
            "Does closure call loss.backward(), and do you call optimizer.step(closure)?")
    require(bool(bias.any()), "The bias stays at 0: it should be fitted together with the weight.")
    found, right = loss_of(weight, bias), loss_of(fitted[:-1], fitted[-1])
    hint = ("Does closure begin with optimizer.zero_grad(), compute the mean cross-entropy + "
            "decay / 2 · (sum of squared weights), and return it?"
            if found > right + 0.01 else "It has not converged yet: use LBFGS with "
            "line_search_fn='strong_wolfe' and max_iter=500.")
    raise Mistake(f"The loss of your probe is {found:.6f}; the lowest possible is {right:.6f}. "
                  f"{hint}")


def _alike(logits: Tensor, others: Tensor, tolerance: float = 5e-3) -> bool:
    """Whether logits are the same, but for what the softmax does not see."""
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (logits, others))
    return bool((a - b).abs().max() < tolerance * a.std())


class _WatchedSGD(torch.optim.SGD):
    """Notes the learning rates of every step, and how many backward passes came before it."""

    def __init__(self, encoder: nn.Module, head: nn.Module):
        super().__init__([{"params": list(encoder.parameters()), "lr_scale": 0.5},
                          {"params": list(head.parameters())}], lr=9.0)
        self.rates, self.gradients, self.passes = [], [], 0
        next(head.parameters()).register_hook(self.gradients.append)

    def step(self, closure=None):
        self.rates.append([float(group["lr"]) for group in self.param_groups])
        self.passes = len(self.gradients)
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


@exercise("Right: whole images, every layer at its own rate, and smoothed labels.")
def fine_tune(answer: Callable) -> None:
    cfg, iters = FineTuneConfig(epochs=3, warmup_epochs=1, lr=0.2, label_smoothing=0.2), 3
    encoder, head, optimizer = _start()
    encoder.eval()
    before, head_before = ([p.detach().clone() for p in part.parameters()]
                           for part in (encoder, head))
    asked: list[int] = []

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        asked.append(step)
        return _batch_at(step)

    found = given(answer(encoder, head, optimizer, batch_at, iters, cfg))
    require(len(optimizer.rates) == 9, f"The optimizer that was given took {len(optimizer.rates)} "
            f"steps, but it should take 9: {cfg.epochs} epochs of {iters} steps each.")
    require(list(dict.fromkeys(asked)) == list(range(9)),
            f"You called batch_at with {asked}. Each step needs its own batch: count the steps "
            "over all epochs, from 0 to 8.")
    require(bool(encoder.ratios), "Your function does not call the encoder that it is given.")
    require(0.75 not in encoder.ratios, "Three quarters of each image are hidden, as in "
                                        "pretraining: pass mask_ratio=0.0.")
    require(set(encoder.ratios) == {0.0}, f"The encoder was called with mask ratios "
            f"{sorted(set(encoder.ratios))}: nothing should be hidden, so pass mask_ratio=0.0.")
    require(all(encoder.modes), "The encoder is in evaluation mode: call encoder.train() first, "
            "and do not use extract_features, which undoes it.")
    right = [reference.schedule_learning_rate(*divmod(i, iters), iters, cfg) for i in range(9)]
    lower, upper = (torch.tensor(rates) for rates in zip(*optimizer.rates, strict=True))
    steady = [len(set(rates.tolist())) == 1 for rates in (lower, upper)]
    require(steady != [False, True], f"The head's group keeps the rate {upper[0]:.2f}. Set lr in "
            "every group to the schedule's rate times the group's lr_scale, or times 1 if it has "
            "none.")
    require(not steady[1], f"The learning rate is {upper[0]:.2f} throughout; call "
                            "schedule_learning_rate at every step.")
    most = int((upper - torch.tensor(right)).abs().argmax())
    require(close(upper, torch.tensor(right)), f"At step {most} the learning rate is "
            f"{upper[most]:.4f}, but it should be {right[most]:.4f}. Get the epoch and the step "
            "within it from divmod(step, iters).")
    require(not close(lower, upper), 'All layers learn at the full rate: multiply by '
                                     'group.get("lr_scale", 1.0), which is below 1 for the lower '
                                     "ones.")
    require(close(lower, upper / 2), "The rate of each group should be that of the schedule times "
                                     "the group's lr_scale.")
    still, head_still = (all(map(close, old, part.parameters()))
                         for old, part in ((before, encoder), (head_before, head)))
    require(not (still and head_still and optimizer.passes == 9),
            "No weight changes, because zero_grad is called between backward and step and erases "
            "the gradient: call it before loss.backward().")
    require(not (still and head_still), "No weight changes: is loss.backward() called before "
                                        "optimizer.step()?")
    require(not still,
            "The encoder does not change: that is a linear probe. Let the gradient reach its "
            "weights.")
    require(not head_still, "The head does not change, but it should learn together with the "
                            "encoder. Let the gradient reach its weights.")
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
        "label_smoothing should be cfg.label_smoothing, which is 0.2 here.":
            F.cross_entropy(logits, labels, label_smoothing=0.1),
        "The head reads the first token alone; give it the mean of all tokens.":
            F.cross_entropy(head(tokens[:, 0]).detach(), labels, label_smoothing=0.2),
        "F.cross_entropy applies the softmax itself: give it the logits.":
            F.cross_entropy(logits.softmax(1), labels, label_smoothing=0.2),
        "The loss is summed over the batch; take its mean.":
            F.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum"),
    }, "The first loss is not the cross-entropy of head(mean of the encoder's tokens).")
    right = reference.fine_tune(*_start(), _batch_at, iters, cfg)
    require(close(found, right, 1e-3), "The first loss is right, but the later ones are not. At "
                                       "each step, take a new batch and call zero_grad, backward "
                                       "and step, in this order.")
