"""Evaluation against scikit-learn, SciPy and torch's own layers."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mae_lib import evaluate as E
from mae_lib.data.augment import normalise
from mae_lib.data.sources import ImageSet
from mae_lib.model import MaskedAutoencoder
from mae_lib.results import Accuracy, mean_interval, paired_difference


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


def test_linear_probe_standardises_like_a_batch_norm_without_affine():
    """Shifting and scaling every feature changes nothing, and the score is scikit-learn's."""
    (train, labels), (test, test_labels) = clusters(600), clusters(400, seed=1)
    found = E.linear_probe(train, labels, test, test_labels)
    moved = E.linear_probe(train * 7 + 3, labels, test * 7 + 3, test_labels)
    assert moved.percent == pytest.approx(found.percent, abs=0.3)

    norm = torch.nn.BatchNorm1d(12, affine=False, momentum=None)
    norm(train)
    norm.eval()
    decay = float(found.chosen.split()[-1])
    reference = LogisticRegression(C=1 / (decay * 600), max_iter=5000)
    reference.fit(norm(train).numpy(), labels.numpy())
    assert found.percent == pytest.approx(
        100 * reference.score(norm(test).numpy(), test_labels.numpy()), abs=0.3
    )


def cross_validated_by_scikit_learn(x, labels, decays):
    """Accuracies {decay: share right} of the same folds, each standardised by its own training."""
    fold, right = E.folds(labels).numpy(), dict.fromkeys(decays, 0)
    x, labels = x.numpy(), labels.numpy()
    for k in range(E.FOLDS):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        scaler = StandardScaler().fit(x[train])
        # Its penalty is on the sum over images: C = 1 / (decay · N), for each fold's N.
        search = LogisticRegressionCV(
            Cs=[1 / (decay * len(train)) for decay in decays], cv=[(train, held)], max_iter=5000,
            scoring="accuracy")
        search.fit(scaler.transform(x), labels)
        scores = search.scores_  # older versions have them once for each class
        scores = next(iter(scores.values())) if isinstance(scores, dict) else scores
        for decay, score in zip(decays, scores.reshape(-1), strict=True):
            right[decay] += round(score * len(held))
    return {decay: count / len(labels) for decay, count in right.items()}


@pytest.mark.filterwarnings("ignore::FutureWarning:sklearn")
def test_the_decay_is_chosen_as_by_scikit_learns_cross_validation():
    x, labels = clusters(300, spread=4)
    expected = cross_validated_by_scikit_learn(x, labels, E.PROBE_DECAYS)
    decay, found = E.choose_decay(x, labels)
    assert expected[decay] >= max(expected.values()) - 1 / 300  # an image near a border
    assert found.percent / 100 == pytest.approx(expected[decay], abs=1.5 / 300)
    assert found.chosen == f"weight decay {decay:g}"


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
    scores = {d: E.linear_probe(x, labels, test, test_labels, decay=d).percent
              for d in E.PROBE_DECAYS}
    decay, _ = E.choose_decay(x, labels)
    assert scores[decay] > max(scores.values()) - 1.5
    assert min(scores.values()) < max(scores.values()) - 5  # it mattered
    assert decay >= 0.3 if strong else decay <= 3e-3


def test_a_held_out_image_and_its_mirror_image_do_not_train():
    """Features that tell each image apart, and labels at random: who saw it would know it."""
    x, labels = torch.eye(100), torch.arange(100) % 4
    _, found = E.choose_decay(x, labels[torch.randperm(100)], mirrored=x)
    assert found.percent < 45


def test_four_fifths_train_and_one_fifth_is_judged(monkeypatch):
    sizes, fit = [], E.fit_logistic
    monkeypatch.setattr(E, "fit_logistic", lambda x, labels, *rest: (
        sizes.append(len(x)), fit(x, labels, *rest))[1])
    x, labels = clusters(100)
    E.choose_decay(x, labels, mirrored=x)
    assert set(sizes) == {160}  # with mirror images
    assert len(sizes) == E.FOLDS * len(E.PROBE_DECAYS)


def test_fewer_labels_are_as_many_of_each_class_and_score_less():
    (x, labels), (test, test_labels) = clusters(400, spread=4), clusters(800, spread=4, seed=1)
    few = E.linear_probe_with_fewer_labels(x, labels, test, test_labels, 5, draws=3)
    more = E.linear_probe_with_fewer_labels(x, labels, test, test_labels, 50, draws=3)
    assert len(set(few)) > 1 and sum(few) < sum(more)
    seen = []
    with pytest.MonkeyPatch.context() as m:
        m.setattr(E, "linear_probe", lambda x, labels, *_: (
            seen.append(labels), E.Accuracy(torch.ones(2, dtype=torch.bool)))[1])
        E.linear_probe_with_fewer_labels(x, labels, test, test_labels, 7)
    assert [labels.bincount().tolist() for labels in seen] == [[7] * 4] * 3


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


def test_mirror_images_train_too():
    (train, labels), (test, test_labels) = clusters(100), clusters(400, seed=1)
    alone = E.linear_probe(train, labels, test, test_labels)
    more = E.linear_probe(train, labels, test, test_labels, mirrored=train + 0.3 * train.std(0))
    assert not torch.equal(alone.correct, more.correct)


@pytest.mark.parametrize("judge", [E.linear_probe, E.knn])
def test_nothing_is_chosen_on_the_test_set(judge):
    (train, labels), (test, test_labels) = clusters(300, spread=3), clusters(200, seed=1)
    found = judge(train, labels, test, test_labels)
    other = judge(train, labels, test, (test_labels + 1) % 4)
    assert found.chosen == other.chosen and found.percent > other.percent + 30


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_is_scikit_learns(k):
    (train, labels), (test, _) = clusters(200), clusters(100, seed=1)
    reference = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    expected = reference.fit(train.numpy(), labels.numpy()).predict(test.numpy())
    assert E.knn_predict(train, labels, test, k, 4).tolist() == expected.tolist()


def test_features_are_the_mean_token_of_whole_images_whatever_the_batch():
    m, images = model(), coloured(10).train[:, :, :16, :16]
    expected = m.encode(normalise(images)).mean(dim=1)
    for size in (1, 4, 10):
        torch.testing.assert_close(E.extract_features(m, images, size), expected)


def test_pixel_features_are_torchvisions_antialiased_pixels():
    images = coloured(6, side=40).train
    expected = TF.resize(images.float() / 255, [16, 16], antialias=True)
    expected = normalise(expected).flatten(1)
    torch.testing.assert_close(E.pixel_features(images, 16, 4), expected, atol=1e-4, rtol=0)


# ---------------------------------------------------------------- fine-tuning

FAST = E.FineTuneConfig(epochs=6, batch_size=10, lr=2e-3, warmup_epochs=1)


def test_fine_tuning_learns_and_leaves_the_model_alone():
    m, data = model(), coloured(60)
    before = {k: v.clone() for k, v in m.state_dict().items()}
    found = E.fine_tune(m, data, FAST, progress=False)
    assert found.percent > 90
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    assert torch.equal(found.correct, E.fine_tune(m, data, FAST, progress=False).correct)


def test_the_classifier_has_no_decoder_and_starts_at_the_features():
    m = model()
    classifier = E.Classifier(m, 5)
    names = set(classifier.state_dict())
    assert not any("decoder" in name or "mask_token" in name for name in names)
    x = normalise(coloured(4).train[:, :, :16, :16])
    expected = m.features(x) @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(classifier(x), expected)


def test_interrupted_fine_tuning_goes_on_where_it_was(tmp_path, monkeypatch):
    m, data = model(), coloured(60)
    whole = E.fine_tune(m, data, FAST, progress=False)
    saved, calls = E.save_checkpoint, []

    def save(path, state):
        saved(path, state)
        calls.append(state["epoch"])
        if calls == [1, 2, 3]:
            raise KeyboardInterrupt

    monkeypatch.setattr(E, "save_checkpoint", save)
    for _ in range(2):
        try:
            found = E.fine_tune(m, data, FAST, checkpoint=tmp_path / "ft.pt", progress=False)
        except KeyboardInterrupt:
            continue
    assert calls == [1, 2, 3, 4, 5, 6]
    assert torch.equal(found.correct, whole.correct)


def test_fine_tuning_does_not_go_on_with_other_settings(tmp_path):
    m, data, file = model(), coloured(20), tmp_path / "ft.pt"
    once = replace(FAST, epochs=1, warmup_epochs=0)
    E.fine_tune(m, data, once, checkpoint=file, progress=False)
    other_labels = replace(data, train_labels=data.train_labels.flip(0))
    other_images = replace(data, train=data.train ^ 1)
    torch.manual_seed(7)
    other_model = MaskedAutoencoder.from_preset("tiny", img_size=16, patch_size=4)
    for name, model_, data_, cfg, seed in (
        ("layer_decay", m, data, replace(once, layer_decay=0.5), 0),
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
    with pytest.raises(E.NonFiniteLoss, match=r"became nan in epoch 1\. Try a lower learning rate"):
        E.fine_tune(model(), coloured(40), replace(FAST, lr=1e30), progress=False)


def test_fine_tuning_starts_at_the_head_it_is_given():
    m, data = model(), coloured(40)
    head = torch.randn(m.embed_dim + 1, len(data.classes))
    still = replace(FAST, epochs=1, lr=1e-12, warmup_epochs=0)
    found = E.fine_tune(m, data, still, progress=False, head=head)
    logits = E.extract_features(m, data.test) @ head[:-1] + head[-1]
    assert torch.equal(found.correct, logits.argmax(dim=1) == data.test_labels)


def test_the_seed_matters():
    m, data = model(), coloured(30)
    fast = replace(FAST, epochs=2, lr=1e-4)
    a, b = (E.fine_tune(m, data, fast, seed, progress=False).correct for seed in (0, 1))
    assert not torch.equal(a, b)


# ---------------------------------------------------------------- reconstruction


def test_a_perfect_prediction_beats_every_trivial_one(monkeypatch):
    """With the target itself as prediction: the highest PSNR, no HF error, SSIM 1."""
    m, images = model(), coloured(5).train[:, :, :16, :16]
    monkeypatch.setattr(E, "predicted_images", lambda pred, x, *_: x)
    found = E.reconstruction_quality(m, images, norm_pix=False)
    assert found["model"]["psnr"].min() == 100
    assert found["model"]["hf_error"].max() < 1e-5
    assert found["model"]["ssim"].min() > 0.9999
    assert set(found) == {"model", "masked mean", "bilinear fill", "blurred target"}
    for name in set(found) - {"model"}:
        assert found[name]["psnr"].max() < 40 and found[name]["hf_error"].min() > 0.01


def test_reconstruction_masks_are_fixed():
    m, images = model(), coloured(5).train
    one, two = (E.reconstruction_quality(m, images, True)["model"]["psnr"] for _ in range(2))
    assert torch.equal(one, two)
