"""Evaluation against scikit-learn, SciPy and torch's own layers."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mae_lib import evaluate as E
from mae_lib import metrics
from mae_lib.data.augment import denormalise, normalise, random_resized_crop, resize
from mae_lib.data.sources import ImageSet
from mae_lib.model import MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.results import Accuracy, mean_interval, paired_difference
from mae_lib.runtime import hardware
from mae_lib.training.batches import batch_indices
from mae_lib.training.checkpoints import load_checkpoint


def clusters(n, classes=4, dim=12, spread=1.5, seed=0):
    """Overlapping Gaussian clusters: features (n, dim) on very different scales, labels (n,)."""
    g = torch.Generator().manual_seed(9)
    centres = 2 * torch.randn(classes, dim, generator=g)
    scales = torch.logspace(-2, 2, dim)
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=g)
    noise = spread * torch.randn(n, dim, generator=g)
    return (centres[labels] + noise) * scales, labels


def model():
    torch.manual_seed(1)
    return MaskedAutoencoder.from_preset("tiny", img_size=16, patch_size=4).eval()


def coloured(n, classes=3, side=20, seed=0):
    """An ImageSet in which the class is the colour: easy to learn."""
    g = torch.Generator().manual_seed(seed)

    def split(k):
        labels = torch.arange(k) % classes
        images = torch.randint(0, 120, (k, 3, side, side), generator=g, dtype=torch.uint8)
        images[torch.arange(k), labels % 3] += 130
        return images, labels

    (train, train_labels), (test, test_labels) = split(n), split(30)
    names = tuple("abc"[:classes])
    return ImageSet("coloured", names, train, train, train_labels, test, test_labels)


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize("right, n", [(0, 10), (10, 10), (41, 100), (3328, 8000)])
def test_accuracy_interval_is_wilsons(right, n):
    found = Accuracy(torch.arange(n) < right)
    low, high = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
    assert found.percent == pytest.approx(100 * right / n)
    assert found.interval() == pytest.approx((100 * low, 100 * high), abs=1e-6)


def test_mean_interval_is_the_normal_one():
    values = torch.randn(50, dtype=torch.float64)
    sem = scipy.stats.sem(values.numpy())
    low, high = scipy.stats.norm.interval(0.95, values.mean().item(), sem)
    assert mean_interval(values) == pytest.approx((values.mean().item(), low, high))


def test_paired_difference_uses_the_pairing():
    a = torch.arange(1000) < 400
    b = a | (torch.arange(1000) >= 980)  # b is right wherever a is, and 20 times more
    mean, low, high = paired_difference(Accuracy(a), Accuracy(b))
    assert mean == pytest.approx(2.0)
    assert 1 < low < 2 < high < 3  # two independent tests of 1,000 would give ± 4.3


# ---------------------------------------------------------------- frozen features


def test_folds_spread_every_class_evenly_and_are_fixed():
    labels = torch.tensor([0] * 500 + [1] * 50 + [2] * 5 + [3] * 2)
    labels = labels[torch.randperm(len(labels))]
    fold = E.folds(labels)
    counts = torch.stack([fold[labels == c].bincount(minlength=5) for c in range(4)])
    assert counts[:3].tolist() == [[100] * 5, [10] * 5, [1] * 5]
    assert counts[3].max() == 1 and counts.sum() == len(labels)
    assert E.folds(torch.arange(30).repeat(3)).bincount().tolist() == [18] * 5  # also together
    assert torch.equal(fold, E.folds(labels))
    assert not torch.equal(fold, E.folds(labels, draw=1))
    assert fold[labels == 0].tolist() != sorted(fold[labels == 0].tolist())  # at random


@pytest.mark.parametrize("decay", [1.0, 0.03, 0.001])
def test_logistic_regression_is_scikit_learns(decay):
    x, labels = clusters(300)
    x = (x - x.mean(0)) / x.std(0)
    ours = E.fit_logistic(x.double(), labels, 4, decay)
    theirs = LogisticRegression(C=1 / (decay * len(x)), tol=1e-8, max_iter=5000)
    theirs.fit(x.numpy(), labels.numpy())
    np.testing.assert_allclose(ours[:-1].T, theirs.coef_, atol=5e-3)
    probability = torch.softmax(x.double() @ ours[:-1] + ours[-1], dim=1)
    np.testing.assert_allclose(probability, theirs.predict_proba(x.numpy()), atol=1e-3)


def scikit_learns_probe(train, labels, decay, mirrored):
    """The probe by scikit-learn, fitted to features and their mirror images: a prediction."""
    mean, std = train.mean(0), train.std(0)
    x = torch.cat([train, mirrored])
    reference = LogisticRegression(C=1 / (decay * len(x)), tol=1e-6, max_iter=5000)
    reference.fit(((x - mean) / std).numpy(), torch.cat([labels, labels]).numpy())
    return lambda x: torch.from_numpy(reference.predict(((x - mean) / std).numpy()))


def test_the_probe_and_its_cross_validation_are_scikit_learns():
    """With mirror images: standardised by the images alone, each with its own label."""
    (x, labels), (test, test_labels) = clusters(120, dim=6), clusters(300, dim=6, seed=1)
    mirrored = 0.7 * x.roll(1, 0) + 0.5 * torch.randn_like(x) * x.std(0)  # with others' labels
    expected = scikit_learns_probe(x, labels, 0.01, mirrored)(test)
    probe = E.Probe(x, labels, 4, 0.01, mirrored)
    assert (probe.predict(test) == expected).float().mean() > 0.99
    assert torch.equal(torch.cat([probe.predict(row) for row in test[:20].split(1)]),
                       probe.predict(test)[:20])
    found = E.linear_probe(x, labels, test, test_labels, mirrored, 0.01)
    assert torch.equal(found.correct, probe.predict(test) == test_labels)
    assert found.chosen == "weight decay 0.01"

    fold, decays, right = E.folds(labels), (1.0, 0.03, 0.001), {}
    for decay in decays:
        correct = torch.zeros(120, dtype=torch.bool)
        for k in range(5):
            rest, held = fold != k, fold == k
            predict = scikit_learns_probe(x[rest], labels[rest], decay, mirrored[rest])
            correct[held] = predict(x[held]) == labels[held]
        right[decay] = correct
    decay, found = E.choose_decay(x, labels, mirrored, decays=decays)
    assert decay == max(decays, key=lambda d: right[d].sum())
    assert (found.correct == right[decay]).sum() >= 119  # an image near a border
    assert found.chosen == f"weight decay {decay:g}"


def test_the_decay_is_chosen_on_training_images_alone(monkeypatch):
    """And their mirror images, which `choose_decay` gets as they are."""
    (x, labels), (test, test_labels) = clusters(30, dim=3), clusters(30, dim=3, seed=1)
    mirrored, given = x + 1, []
    monkeypatch.setattr(E, "choose_decay", lambda *inputs: (given.append(inputs), (0.5, None))[1])
    found = E.linear_probe(x, labels, test, test_labels, mirrored)
    assert found.chosen == "weight decay 0.5" and len(given) == 1
    assert all(a is b for a, b in zip(given[0], (x, labels, mirrored), strict=True))
    same = E.linear_probe(x, labels, test, test_labels, mirrored, 0.5)
    assert torch.equal(found.correct, same.correct)


def test_the_probe_does_not_see_shift_and_scale():
    """It standardises features as a BatchNorm without affine parameters does."""
    (train, labels), (test, test_labels) = clusters(200), clusters(200, seed=1)
    found = E.linear_probe(train, labels, test, test_labels, decay=0.01)
    moved = E.linear_probe(train * 7 + 3, labels, test * 7 + 3, test_labels, decay=0.01)
    assert (found.correct == moved.correct).float().mean() > 0.99


def test_cross_validation_judges_each_image_once_by_the_four_other_folds():
    labels, calls = torch.arange(43) % 3, []

    def predict(rest, held):
        assert torch.equal(rest, ~held)
        calls.append(held)
        wrong = torch.where(torch.arange(43) < 40, labels, labels + 1)
        for found in (labels + 1, wrong, wrong, torch.where(held, labels + 1, labels)):
            yield found[held]

    best, found = E.cross_validate(labels, ("bad", "best", "as good", "leak"), 1, predict)
    assert best == "best"  # the first of equal ones
    assert torch.equal(found.correct, torch.arange(43) < 40)
    assert torch.equal(torch.stack(calls), torch.stack([E.folds(labels, 1) == k for k in range(5)]))


def noisy_labels(n, g):
    """Weak evidence in many features, a fifth of the labels wrong: decay must be strong."""
    labels = torch.arange(n) % 2
    x = torch.randn(n, 100, generator=g) + 0.15 * (2 * labels[:, None] - 1)
    return x, torch.where(torch.rand(n, generator=g) < 0.2, 1 - labels, labels)


def small_difference(n, g):
    """The class is in the difference of two nearly equal features: weights must become large."""
    labels = torch.arange(n) % 2
    x = torch.randn(n, 1, generator=g) + 0.02 * torch.randn(n, 2, generator=g)
    x[:, 0] += 0.06 * labels
    return x, labels


@pytest.mark.parametrize("draw, strong", [(noisy_labels, True), (small_difference, False)])
def test_the_decay_is_right_where_the_best_one_is_known(draw, strong):
    g = torch.Generator().manual_seed(0)
    (x, labels), (test, test_labels) = draw(200, g), draw(4000, g)
    decays = (1.0, 0.3, 0.01, 1e-3)
    scores = {d: E.linear_probe(x, labels, test, test_labels, decay=d).percent for d in decays}
    decay, _ = E.choose_decay(x, labels, decays=decays)
    assert scores[decay] > max(scores.values()) - 1.5
    assert min(scores.values()) < max(scores.values()) - 5  # it mattered
    assert decay >= 0.3 if strong else decay <= 1e-3
    assert max(E.PROBE_DECAYS) >= 1 and min(E.PROBE_DECAYS) <= 1e-5  # both are in reach


def test_a_held_out_image_and_its_mirror_image_do_not_train():
    """Features that tell each image apart, and labels at random: who saw it would know it."""
    x, labels = torch.eye(60), torch.arange(60) % 4
    _, found = E.choose_decay(x, labels[torch.randperm(60)], mirrored=x, decays=(0.1, 0.001))
    assert found.percent < 45


def test_centred_and_whitened_features_are_scikit_learns():
    x, _ = clusters(200)
    test, _ = clusters(50, seed=1)
    for ours, theirs in ((E.centred, StandardScaler(with_std=False)), (E.whitened, None)):
        train, found = ours(x.double(), test.double())
        torch.testing.assert_close(train.mean(0), torch.zeros(12).double(), atol=1e-6, rtol=0)
        if theirs:
            np.testing.assert_allclose(found, theirs.fit(x.numpy()).transform(test.numpy()),
                                       rtol=1e-4, atol=1e-4)
    # Where no direction is held back, distances are those of Mahalanobis.
    x = x / x.std(0)
    train, found = E.whitened(x.double(), (test / test.std(0)).double())
    torch.testing.assert_close(train.T.cov(), torch.eye(12).double(), atol=1e-6, rtol=0)
    pca = PCA(whiten=True).fit(x.double().numpy())
    expected = pca.transform((test / test.std(0)).double().numpy())
    np.testing.assert_allclose(found.abs().numpy(), np.abs(expected), atol=1e-6)


def test_whitening_leaves_directions_small_that_hardly_vary():
    """Under a thousandth of the largest standard deviation; others become equally large."""
    x = torch.randn(200, 4, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(dim=0))[0] * torch.tensor([1, 0.5, 0.02, 1e-5])
    train, _ = E.whitened(x, x)
    expected = torch.tensor([1, 1, 1, 0.01], dtype=torch.float64)
    torch.testing.assert_close(train.std(dim=0), expected)


@pytest.mark.parametrize("columns", [1, 12])
def test_features_that_do_not_vary_can_be_whitened(columns):
    """As those of a collapsed encoder: numbers, with which kNN guesses."""
    x, labels = clusters(200)
    x[:, :columns] = torch.randn(columns)  # whose mean is not exactly these
    for found in E.whitened(x, x):
        assert found.isfinite().all() and (found.abs().max() > 0.1) == (columns < 12)
    assert E.knn(found, labels, found, labels).percent < (50 if columns == 12 else 101)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_is_scikit_learns(k):
    (train, labels), (test, _) = clusters(200), clusters(100, seed=1)
    reference = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    expected = reference.fit(train.numpy(), labels.numpy()).predict(test.numpy())
    assert E.knn_predict(train, labels, test, k, 4).tolist() == expected.tolist()


def test_the_number_of_neighbours_is_chosen_as_by_scikit_learn():
    (train, labels), (test, test_labels) = clusters(60, dim=4), clusters(80, dim=4, seed=1)
    fold, right = E.folds(labels), {}
    assert 60 - fold.bincount().max() < 50  # so many neighbours not every fold has
    for k in (5, 10, 20):
        reference = KNeighborsClassifier(
            k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
        found = [reference.fit(train[fold != i], labels[fold != i]).predict(train[fold == i])
                 == labels[fold == i].numpy() for i in range(5)]
        right[k] = sum(part.sum() for part in found)
    best = max(right, key=right.get)
    found = E.knn(train, labels, test, test_labels)
    assert found.chosen == f"k={best}" and sorted(right.values())[-2] < right[best]
    other = E.knn(train, labels, test, (test_labels + 1) % 4)
    assert other.chosen == found.chosen and other.percent < found.percent  # no test label chooses
    assert torch.equal(found.correct, E.knn_predict(train, labels, test, best, 4) == test_labels)
    few = E.knn(train[:4], torch.arange(4) % 2, test, test_labels)
    assert few.chosen == "k=1"


def test_features_are_the_mean_token_of_whole_images_whatever_the_batch():
    m, images = model(), coloured(10).train[:, :, :16, :16]
    expected = m.encode(normalise(images)).mean(dim=1)
    for size in (1, 4, 10):
        torch.testing.assert_close(E.extract_features(m, images, size), expected)
    for extract in (partial(E.extract_features, m), E.pixel_features):
        assert torch.equal(extract(images, mirrored=True), extract(images.flip(3)))


def test_pixel_features_are_torchvisions_antialiased_pixels():
    images = coloured(6, side=40).train
    for size in (16, 8):
        expected = normalise(TF.resize(images.float() / 255, [size, size], antialias=True))
        found = E.pixel_features(images, size, 4)
        torch.testing.assert_close(found, expected.flatten(1), atol=1e-4, rtol=0)


# ---------------------------------------------------------------- fine-tuning

FAST = E.FineTuneConfig(epochs=5, batch_size=10, lr=3e-3, warmup_epochs=1)


def fine_tuned_by_a_plain_loop(m, data, cfg, seed):
    """The recipe written out: He et al. 2022, table 9. The classifier's weights at the end."""
    torch.manual_seed(seed)
    classifier, n = E.Classifier(m, len(data.classes)), len(data.train)
    layers = {"patch_embed": 0, **{f"blocks.{i}": i + 1 for i in range(len(m.blocks))}}
    groups = []
    for name, parameter in classifier.named_parameters():
        name = name.removeprefix("encoder.")
        part = ".".join(name.split(".")[: 2 if name.startswith("blocks") else 1])
        below = len(m.blocks) + 1 - layers.get(part, len(m.blocks) + 1)
        groups.append({"params": [parameter], "scale": cfg.layer_decay**below,
                       "weight_decay": cfg.weight_decay if parameter.ndim > 1 else 0.0})
    optimizer, iters = torch.optim.AdamW(groups, betas=(0.9, 0.95)), -(-n // cfg.batch_size)
    for step in range(cfg.epochs * iters):
        epoch = step / iters
        if epoch < cfg.warmup_epochs:
            lr = cfg.lr * epoch / cfg.warmup_epochs
        else:
            rest = (epoch - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
            lr = cfg.lr * (1 + np.cos(np.pi * rest)) / 2
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        ids = batch_indices(n, cfg.batch_size, step, seed)
        generator = hardware.generator(seed, hardware.RNG.FINE_TUNE, step)
        x = random_resized_crop(data.train[ids], m.img_size, generator, (cfg.crop_scale, 1.0))
        logits = classifier(x).log_softmax(dim=1)
        right = logits[torch.arange(len(ids)), data.train_labels[ids]]
        smooth = cfg.label_smoothing
        loss = -((1 - smooth) * right + smooth * logits.mean(dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return classifier


def test_fine_tuning_is_its_recipe_and_reads_the_test_set_as_it_is(tmp_path):
    """No setting has its default here, so that none can be left out."""
    m, data, file = model(), coloured(20), tmp_path / "ft.pt"
    data = replace(data, test_labels=data.test_labels[torch.randperm(30)])  # not all right
    cfg = E.FineTuneConfig(epochs=2, batch_size=7, lr=4e-3, warmup_epochs=0.5, weight_decay=0.4,
                           layer_decay=0.6, label_smoothing=0.3, crop_scale=0.6)
    before = {k: v.clone() for k, v in m.state_dict().items()}
    found = E.fine_tune(m, data, cfg, 3, checkpoint=file, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    expected = fine_tuned_by_a_plain_loop(m, data, cfg, 3)
    for name, weights in load_checkpoint(file)["model"].items():
        wanted = expected.state_dict()[name]
        if name.endswith("attn.qkv.bias"):  # softmax ignores the keys' bias: its gradient is noise
            weights, wanted = (x.unflatten(0, (3, -1))[[0, 2]] for x in (weights, wanted))
        torch.testing.assert_close(weights, wanted, atol=2e-5, rtol=1e-3)
    with torch.no_grad():
        logits = expected(resize(data.test, 16))
    assert torch.equal(found.correct, logits.argmax(dim=1) == data.test_labels)
    assert 0 < found.percent < 100


def test_fine_tuning_learns():
    assert E.fine_tune(model(), coloured(60), FAST, progress=False).percent > 90


def test_the_classifier_has_no_decoder_and_starts_at_the_features():
    m = model()
    classifier = E.Classifier(m, 5)
    names = set(classifier.state_dict())
    assert not any("decoder" in name or "mask_token" in name for name in names)
    assert 0.005 < classifier.head.weight.std() < 0.015 and (classifier.head.bias == 0).all()
    x = normalise(coloured(4).train[:, :, :16, :16])
    expected = m.features(x) @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(classifier(x), expected)


def test_interrupted_fine_tuning_goes_on_where_it_was(tmp_path, monkeypatch):
    """With the same weights, moments of the optimizer, and scale of the loss."""
    m, data, cfg = model(), coloured(20), replace(FAST, epochs=3)
    inputs = (m, data, cfg, 0, "fp16", "")
    monkeypatch.setattr(hardware, "pick_precision", lambda _, name: name)  # fp16 asks for a GPU
    whole = E.fine_tune(*inputs, tmp_path / "whole.pt", progress=False)
    saved, calls = E.save_checkpoint, []

    def save(path, state):
        saved(path, state)
        calls.append(state["epoch"])
        if len(calls) < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(E, "save_checkpoint", save)
    for _ in range(3):
        try:
            found = E.fine_tune(*inputs, tmp_path / "ft.pt", progress=False)
        except KeyboardInterrupt:
            continue
    assert calls == [1, 2, 3]
    assert torch.equal(found.correct, whole.correct)
    one, two = (load_checkpoint(tmp_path / name) for name in ("whole.pt", "ft.pt"))
    assert all(torch.equal(tensor, two["model"][name]) for name, tensor in one["model"].items())
    assert one["scaler"] == two["scaler"] and one["scaler"]["_growth_tracker"] > 1
    moments, same = (state["optimizer"]["state"] for state in (one, two))
    assert len(moments) == len(one["model"]) - 1  # all but the fixed position embedding
    for number, moment in moments.items():
        assert all(torch.equal(tensor, same[number][name]) for name, tensor in moment.items())


def test_fine_tuning_does_not_go_on_with_other_settings(tmp_path):
    m, data, file = model(), coloured(20), tmp_path / "ft.pt"
    once = replace(FAST, epochs=1, warmup_epochs=0)
    E.fine_tune(m, data, once, checkpoint=file, progress=False)
    other_labels = replace(data, train_labels=data.train_labels.flip(0))
    other_images = replace(data, train=data.train ^ 1)
    torch.manual_seed(7)
    other_model = MaskedAutoencoder.from_preset("tiny", img_size=16, patch_size=4)
    for field, value in dict(epochs=2, batch_size=9, lr=1e-3, weight_decay=0.1, layer_decay=0.5,
                             label_smoothing=0.2, crop_scale=0.5).items():
        with pytest.raises(ValueError, match=f"holds a run with other {field}; choose another"):
            E.fine_tune(m, data, replace(once, **{field: value}), checkpoint=file, progress=False)
    with pytest.raises(ValueError, match="holds a run with other precision; choose another"):
        E.fine_tune(m, data, once, 0, "bf16", checkpoint=file, progress=False)
    for name, model_, data_, cfg, seed in (
        ("seed, weights", m, data, once, 1),  # the head's first weights depend on the seed
        ("images", m, other_labels, once, 0), ("images", m, other_images, once, 0),
        ("weights", other_model, data, once, 0),
    ):
        with pytest.raises(ValueError, match=f"holds a run with other {name}; choose another file"):
            E.fine_tune(model_, data_, cfg, seed, checkpoint=file, progress=False)
    fresh = replace(data, test=data.test ^ 1)  # other test images are judged, by the same training
    expected = E.fine_tune(m, fresh, once, progress=False).correct
    found = E.fine_tune(m, fresh, once, checkpoint=file, progress=False).correct
    assert torch.equal(found, expected)


def test_fine_tuning_that_explodes_says_so():
    words = r"became nan or infinite in epoch 1\. Try a lower learning rate"
    with pytest.raises(E.NonFiniteLoss, match=words):
        E.fine_tune(model(), coloured(40), replace(FAST, lr=1e30), progress=False)


@pytest.mark.parametrize("epochs", [1, 2])
def test_fine_tuning_that_explodes_in_an_epochs_last_step_says_so_and_keeps_nothing(
        epochs, tmp_path):
    """The loss is of the weights before the step, so it is sound."""
    data, file = coloured(40), tmp_path / "ft.pt"
    cfg = replace(FAST, epochs=epochs, batch_size=len(data.train), lr=1e38, warmup_epochs=0)
    with pytest.raises(E.NonFiniteLoss, match="became nan or infinite in epoch 1"):
        E.fine_tune(model(), data, cfg, checkpoint=file, progress=False)
    assert not file.exists()


def test_fine_tuning_leaves_the_callers_random_numbers_alone():
    m, data, before = model(), coloured(10), torch.get_rng_state()
    E.fine_tune(m, data, replace(FAST, epochs=1, warmup_epochs=0), 3, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_that_is_full_in_fine_tuning_is_explained(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(E.Classifier, "forward", full)
    with pytest.raises(MemoryError, match="lower batch_size"):
        E.fine_tune(model(), coloured(10), FAST, progress=False)


def test_a_frozen_encoder_is_fine_tuned_as_another_and_stays_frozen(tmp_path):
    m, data, once = model(), coloured(10), replace(FAST, epochs=1, warmup_epochs=0)
    E.fine_tune(m, data, once, checkpoint=tmp_path / "free", progress=False)
    m.requires_grad_(False)
    E.fine_tune(m, data, once, checkpoint=tmp_path / "frozen", progress=False)
    free, frozen = (load_checkpoint(tmp_path / name)["model"] for name in ("free", "frozen"))
    assert all(torch.equal(weights, frozen[name]) for name, weights in free.items())
    assert not any(p.requires_grad for p in m.parameters())


def test_fine_tuning_starts_at_the_head_it_is_given():
    m, data = model(), coloured(40)
    head = torch.randn(m.embed_dim + 1, len(data.classes))
    still = replace(FAST, epochs=1, lr=1e-12, warmup_epochs=0)
    found = E.fine_tune(m, data, still, progress=False, head=head)
    logits = E.extract_features(m, data.test) @ head[:-1] + head[-1]
    assert torch.equal(found.correct, logits.argmax(dim=1) == data.test_labels)


def test_seed_and_precision_matter(tmp_path):
    m, data, once = model(), coloured(10), replace(FAST, epochs=1, warmup_epochs=0)
    ends = []
    for i, (seed, precision) in enumerate(((0, "fp32"), (1, "fp32"), (0, "bf16"))):
        E.fine_tune(m, data, once, seed, precision, "", tmp_path / str(i), progress=False)
        ends.append(load_checkpoint(tmp_path / str(i))["model"]["encoder.blocks.0.mlp.fc1.weight"])
    assert len({tuple(end.flatten().tolist()) for end in ends}) == 3
    assert {end.dtype for end in ends} == {torch.float32}


# ---------------------------------------------------------------- reconstruction


def test_a_perfect_prediction_beats_every_trivial_one(monkeypatch):
    """With the target itself as prediction: the highest PSNR, no HF error."""
    m, images = model(), coloured(5).train[:, :, :16, :16]
    monkeypatch.setattr(E, "predicted_images", lambda pred, x, *_: x)
    found = E.reconstruction_quality(m, images, norm_pix=False)
    assert found["model"]["psnr"].min() == 100
    assert found["model"]["hf_error"].max() < 1e-5
    assert set(found) == {"model", "masked mean", "bilinear fill", "blurred target"}
    for name in set(found) - {"model"}:
        assert found[name]["psnr"].max() < 40 and found[name]["hf_error"].min() > 0.01


@pytest.mark.parametrize("norm_pix, ratio, n", [(True, 0.75, 130), (False, 0.5, 3)])
def test_reconstructions_are_measured_on_hidden_pixels_under_fixed_masks(norm_pix, ratio, n):
    m, images = model(), coloured(n).train
    found = E.reconstruction_quality(m, images, norm_pix, ratio)
    noise = torch.rand(n, 16, generator=hardware.generator(hardware.RNG.TEST_MASKS))
    x = resize(images, 16)
    with torch.no_grad():
        pred, mask = m(x, ratio, noise=noise)[:2]
    hidden = patchify(denormalise(x).clamp(0, 1), 4), patchify(x, 4)
    if norm_pix:
        pred = pred * (hidden[1].var(dim=2, keepdim=True) + 1e-6).sqrt() + hidden[1].mean(
            dim=2, keepdim=True)
    mean, std = (torch.tensor(v).repeat(16) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    error = ((pred * std + mean).clamp(0, 1) - hidden[0]).square().mean(dim=2)
    mse = (error * mask).sum(dim=1) / mask.sum(dim=1)
    torch.testing.assert_close(found["model"]["psnr"], -10 * mse.log10(), atol=1e-3, rtol=0)
    assert {len(values) for method in found.values() for values in method.values()} == {n}
    target, hidden = denormalise(x).clamp(0, 1), patch_mask_to_pixels(mask, 4)
    pictures = metrics.trivial_reconstructions(target, hidden)
    pictures["model"] = unpatchify(pred * std + mean, 4)
    for name, picture in pictures.items():
        for measure in ("psnr", "hf_error"):
            expected = getattr(metrics, f"masked_{measure}")(picture, target, hidden)
            torch.testing.assert_close(found[name][measure], expected, atol=1e-3, rtol=1e-3)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(("labels", "words"), [
    (torch.zeros(3, dtype=torch.long), r"labels must have shape \(4\), got \(3,\)"),
    (torch.zeros(4, 1, dtype=torch.long), r"labels must have shape \(4\), got \(4, 1\)"),
    ([0, 1, 0, 1], "labels must be a torch tensor .*, got list"),
    (torch.zeros(4), "whole numbers"),
    (torch.tensor([0, 1, -1, 0]), "whole numbers"),
    (torch.tensor([0, 1, 0, 1], dtype=torch.uint8), "of type int64"),
])
def test_labels_that_do_not_fit_are_refused_everywhere(labels, words):
    x, good = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    for call in (lambda: E.knn(x, labels, x, good), lambda: E.knn(x, good, x, labels),
                 lambda: E.linear_probe(x, labels, x, good), lambda: E.choose_decay(x, labels),
                 lambda: E.linear_probe(x, good, x, labels, decay=0.1)):
        with pytest.raises(ValueError, match=words):
            call()


def test_features_and_numbers_that_make_no_sense_are_refused():
    x, labels = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    for bad, words in ((x[:0], "one or more whole"), (x / 0, "not finite")):
        with pytest.raises(ValueError, match=words):
            E.linear_probe(bad, labels[:len(bad)], x, labels)
    for k, words in ((0, "at least 1 and at most 4"), (5, "at most 4"), ("3", "a whole number"),
                     (2.0, "a whole number"), (None, "a whole number")):
        with pytest.raises(ValueError, match=f"^k must be .*{words}"):
            E.knn_predict(x, labels, x, k, 2)
    for n in (1, 2):
        for judge in (E.knn, E.linear_probe):
            with pytest.raises(ValueError, match=f"The number of training images .* 3, got {n}"):
                judge(x[:n], labels[:n], x, labels)
    with pytest.raises(ValueError, match=r"number of training images .* 2, got 1"):
        E.linear_probe(x[:1], labels[:1], x, labels, decay=0.1)
    data = ImageSet("x", ("a", "b"), x, x, labels, x, labels)
    for count, words in ((-3, "at least 1"), (0, "at least 1"), (5, "at most 4"),
                         ("3", "a whole number"), (2.5, "a whole number")):
        with pytest.raises(ValueError, match=f"^count must be .*{words}"):
            E.with_labels(data, count)


@pytest.mark.parametrize("call, words", [
    (lambda m, d: E.linear_probe(d.train[:, 0, 0].float(), d.train_labels, d.test[:, 0, 0].float(),
                                 d.test_labels, decay=-1.0), "decay must be above 0, got -1.0"),
    (lambda m, d: E.knn(np.zeros((4, 2)), d.train_labels, d.test, d.test_labels), "of type Tensor"),
    (lambda m, d: E.extract_features(m, d.test, 0), "batch_size must be at least 1"),
    (lambda m, d: E.extract_features(m, d.test, "8"), "batch_size must be a whole number"),
    (lambda m, d: E.extract_features(m, d.test[..., :8]), "must be square uint8 images"),
    (lambda m, d: E.pixel_features(d.test, 0), "size must be at least 1"),
    (lambda m, d: E.pixel_features(d.test[..., :8]), "must be square uint8 images"),
    (lambda m, d: E.reconstruction_quality(m, d.test[..., :8], True), "must be square uint8"),
    (lambda m, d: E.reconstruction_quality(m, d.test, True, "0.5"), "mask_ratio must be a finite"),
    (lambda m, d: E.fine_tune(m, replace(d, train=d.train[..., :8]), FAST), "data.train must be"),
    (lambda m, d: E.fine_tune(m, replace(d, test=d.test[..., :8]), FAST), "data.test must be"),
    (lambda m, d: E.fine_tune(m, replace(d, classes=("a", "b")), FAST), "every label must be"),
    (lambda m, d: E.fine_tune(m, d, FAST, seed="0"), "seed must be a whole number, got '0'"),
    (lambda m, d: E.fine_tune(m, d, FAST, seed=None), "seed must be a whole number, got None"),
    (lambda m, d: E.fine_tune(m, d, FAST, seed=-1), "seed must be at least 0"),
    (lambda m, d: E.fine_tune(m, d, FAST, precision="int8"), "precision must be one of auto"),
    (lambda m, d: E.fine_tune(m, d, FAST, precision=None), "precision must be one of auto"),
    (lambda m, d: E.fine_tune(m, d, {}), "cfg must be of type FineTuneConfig, got {}"),
    (lambda m, d: E.fine_tune(m, d, None), "cfg must be of type FineTuneConfig, got None"),
])
def test_settings_of_the_wrong_kind_or_size_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(model(), coloured(6))
