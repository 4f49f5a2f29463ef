"""Evaluation against scikit-learn, SciPy and torch's own layers."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

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


def test_validation_split_takes_a_tenth_of_every_class():
    labels = torch.tensor([0] * 500 + [1] * 50 + [2] * 5)
    rest, validation = E.split_for_validation(labels)
    assert sorted(torch.cat([rest, validation]).tolist()) == list(range(555))
    assert torch.bincount(labels[validation]).tolist() == [50, 5, 1]
    assert torch.equal(validation, E.split_for_validation(labels)[1])


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


def test_mirror_images_train_too():
    (train, labels), (test, test_labels) = clusters(100), clusters(400, seed=1)
    alone = E.linear_probe(train, labels, test, test_labels)
    more = E.linear_probe(train, labels, test, test_labels, mirrored=train + 0.3 * train.std(0))
    assert not torch.equal(alone.correct, more.correct)


def test_cross_validation_judges_every_image_once_by_a_probe_that_never_saw_it():
    (train, labels), (test, test_labels) = clusters(400), clusters(2000, seed=1)
    found = E.cross_validated_probe(train, labels)
    assert len(found.correct) == 400
    honest = E.linear_probe(train, labels, test, test_labels).percent
    assert found.percent == pytest.approx(honest, abs=6)
    # Labels by chance cannot be told from features, unless the probe saw them.
    noise = torch.randint(4, (400,), generator=torch.Generator().manual_seed(3))
    assert E.cross_validated_probe(train, noise, mirrored=train).percent < 35


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
    E.fine_tune(m, data, replace(FAST, epochs=1), checkpoint=file, progress=False)
    for cfg, seed in ((replace(FAST, epochs=1, layer_decay=0.5), 0), (replace(FAST, epochs=1), 1)):
        with pytest.raises(ValueError, match="holds a run with other settings; delete it"):
            E.fine_tune(m, data, cfg, seed, checkpoint=file, progress=False)


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
