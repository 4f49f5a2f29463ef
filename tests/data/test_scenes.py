"""Tests of the synthetic photographs: their statistics, their classes, their determinism."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mae_lib.data import scenes
from mae_lib.data.sources import SCENES_VERSION

FINGERPRINT = """
import hashlib
from mae_lib.data import scenes
images, labels = scenes.generate("test", 5, 25, size=48, seed=3)
print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest())
"""


def spectrum_slope(grey: np.ndarray) -> float:
    """Slope of log power against log frequency, averaged over images (n, side, side)."""
    side = grey.shape[-1]
    window = np.hanning(side)
    grey = (grey - grey.mean((1, 2), keepdims=True)) * window[:, None] * window
    power = (np.abs(np.fft.fft2(grey)) ** 2).mean(0)
    f = np.fft.fftfreq(side) * side
    f = np.hypot(f[:, None], f)
    rings = np.arange(2, side // 2)
    radial = [power[(f >= k - 0.5) & (f < k + 0.5)].mean() for k in rings]
    return np.polyfit(np.log(rings), np.log(radial), 1)[0]


def linear_accuracy(n_train: int, n_test: int, size: int) -> float:
    """Ridge classifier on pixels averaged down to 32x32."""

    def pixels(split, n):
        images, labels = scenes.generate(split, 0, n, size=size)
        small = F.interpolate(torch.from_numpy(images).float() / 255, size=32, mode="area")
        return small.flatten(1), torch.from_numpy(labels)

    x, y = pixels("train", n_train)
    mean = x.mean(0)
    x = x - mean
    target = F.one_hot(y, 10) - 0.1
    weight = torch.linalg.solve(x.T @ x + 1000 * torch.eye(x.shape[1]), x.T @ target)
    x, y = pixels("test", n_test)
    return (((x - mean) @ weight).argmax(1) == y).float().mean().item()


def cnn_accuracy(n_train: int, n_test: int, size: int, epochs: int) -> float:
    """A small convolutional network, trained with left-right flips."""

    def conv(i, o, **options):
        return nn.Sequential(nn.Conv2d(i, o, bias=False, **options), nn.BatchNorm2d(o), nn.ReLU())

    def block(i, o):
        return nn.Sequential(conv(i, o, kernel_size=3, padding=1), nn.MaxPool2d(2))

    def load(split, n):
        images, labels = scenes.generate(split, 0, n, size=size)
        return torch.from_numpy(images), torch.from_numpy(labels)

    torch.manual_seed(0)
    net = nn.Sequential(
        conv(3, 24, kernel_size=4, stride=2, padding=1),
        *(block(24, 32), block(32, 64), block(64, 128)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    ).to(memory_format=torch.channels_last)
    images, labels = load("train", n_train)
    steps = n_train // 64
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        for batch in torch.randperm(n_train)[: steps * 64].split(64):
            x = images[batch].float() / 127.5 - 1
            x = torch.where(torch.rand(64, 1, 1, 1) < 0.5, x, x.flip(3))
            loss = F.cross_entropy(net(x), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    images, labels = load("test", n_test)
    with torch.no_grad():
        guess = torch.cat([net(x.float() / 127.5 - 1).argmax(1) for x in images.split(250)])
    return (guess == labels).float().mean().item()


def test_power_spectrum_falls_as_in_photographs():
    images, _ = scenes.generate("unlabeled", 0, 200)
    assert -2.8 < spectrum_slope(images.mean(1)) < -1.6


def test_raw_pixels_hardly_tell_the_class():
    assert 0.10 < linear_accuracy(3000, 1000, size=32) < 0.25  # measured: 0.22


def test_small_cnn_learns_the_class():
    assert cnn_accuracy(1500, 400, size=32, epochs=8) > 0.80  # measured: 0.94


def test_any_cut_gives_the_same_images():
    images, labels = scenes.generate("train", 3, 12, size=48)
    for i in range(3, 12):
        image, label = scenes.generate("train", i, i + 1, size=48)
        assert np.array_equal(image[0], images[i - 3]) and label[0] == labels[i - 3]


def test_a_new_process_gives_the_same_images():
    images, labels = scenes.generate("test", 5, 25, size=48, seed=3)
    here = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    root = Path(scenes.__file__).parents[2]
    there = subprocess.run(
        [sys.executable, "-c", FINGERPRINT], cwd=root, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


def test_other_images_need_another_version():
    """What is cached, recorded and shipped comes from these: mean brightness of 16 squares each."""
    images, labels = scenes.generate("train", 0, 3, size=48)
    found = images.reshape(3, 3, 4, 12, 4, 12).mean((1, 3, 5))
    assert SCENES_VERSION == 2 and labels.tolist() == [7, 4, 7]
    np.testing.assert_allclose(found.reshape(3, 16), [
        [123, 130, 165, 155, 135, 165, 155, 153, 128, 142, 115, 96, 109, 118, 111, 107],
        [133, 204, 179, 182, 182, 207, 197, 194, 179, 185, 170, 171, 178, 160, 149, 185],
        [83, 73, 67, 74, 69, 47, 39, 55, 80, 88, 41, 78, 93, 120, 48, 73]], atol=1)


def test_no_image_appears_twice():
    sets = [scenes.generate(split, 0, 300, size=32)[0] for split in scenes.SPLITS]
    sets.append(scenes.generate("train", 0, 300, size=32, seed=1)[0])
    assert len({image.tobytes() for images in sets for image in images}) == 4 * 300


def test_a_scene_is_the_same_at_every_size():
    small, labels_small = scenes.generate("train", 0, 20, size=48)
    large, labels_large = scenes.generate("train", 0, 20, size=96)
    shrunk = large.reshape(20, 3, 48, 2, 48, 2).mean((3, 5))
    assert np.array_equal(labels_small, labels_large)
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.9


def test_neither_the_shape_nor_the_pattern_tells_the_class():
    shapes, patterns = zip(*(name.split()[::-1] for name in scenes.CLASSES), strict=True)
    for names, known in ((shapes, scenes.SHAPES), (patterns, scenes.PATTERNS)):
        assert sorted(names) == sorted(2 * known)


def test_classes_are_balanced_and_named():
    assert len(set(scenes.CLASSES)) == len(scenes.CLASSES) == 10
    _, labels = scenes.generate("train", 0, 2000, size=32)
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10 and counts.min() > 140 and counts.max() < 260


@pytest.mark.parametrize("size", [32, 33, 48, 96, 224])
def test_shapes_and_ranges(size):
    images, labels = scenes.generate("unlabeled", 7, 13, size=size)
    assert images.shape == (6, 3, size, size) and images.dtype == np.uint8
    assert labels.shape == (6,) and labels.dtype == np.int64
    assert (images.std((1, 2, 3)) > 8).all()


def test_empty_range():
    images, labels = scenes.generate("train", 5, 5, size=40)
    assert images.shape == (0, 3, 40, 40) and images.dtype == np.uint8
    assert labels.shape == (0,) and labels.dtype == np.int64


@pytest.mark.parametrize(
    ("split", "start", "stop", "options", "message"),
    [
        ("valid", 0, 1, {}, "unlabeled, train, test, got 'valid'"),
        ("train", -1, 1, {}, "start must be at least 0, got -1"),
        ("train", 4, 2, {}, "stop must be at least 4, got 2"),
        ("train", 0, 1, {"size": 31}, "size must be at least 32, got 31"),
        ("train", 0, 1, {"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_input_is_told_in_one_sentence(split, start, stop, options, message):
    with pytest.raises(ValueError, match=message):
        scenes.generate(split, start, stop, **options)
