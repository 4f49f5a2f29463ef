"""Tests of the batched augmentation, against torchvision one image at a time."""

import numpy as np
import pytest
import scipy.stats
import torch
from torchvision.models import ResNet50_Weights
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF

from mae_lib.data import augment
from mae_lib.data.augment import (
    MEAN,
    STD,
    check_images,
    denormalise,
    normalise,
    random_crops,
    random_resized_crop,
    resample_matrix,
    resize,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int = 4, h: int = 96, w: int = 96) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, h, w), dtype=torch.uint8)


# Normalisation


def test_statistics_are_those_that_torchvision_keeps_for_imagenet():
    theirs = ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert list(MEAN) == theirs.mean and list(STD) == theirs.std


@pytest.mark.parametrize("images, words", [
    ([torch.zeros(3, 4, 4, dtype=torch.uint8)], "got list: use torch.as_tensor"),
    (np.zeros((1, 3, 4, 4), np.uint8), "got ndarray"),
    (torch.zeros(1, 3, 4, 4), r"got torch.float32 of shape \(1, 3, 4, 4\)"),
    (torch.zeros(3, 4, 4, dtype=torch.uint8), r"of shape \(3, 4, 4\)"),
    (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), r"of shape \(1, 4, 4, 3\)"),
    (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), r"of shape \(0, 3, 4, 4\)"),
    (torch.zeros(1, 3, 4, 6, dtype=torch.uint8), r"of shape \(1, 3, 4, 6\): .*center_crop"),
])
def test_other_things_than_images_are_named(images, words):
    with pytest.raises(ValueError, match=f"pictures must be .*{words}"):
        check_images(images, "pictures")
    check_images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_normalise_equals_torchvision():
    images = random_images()
    expected = TF.normalize(images.float() / 255, MEAN, STD)
    torch.testing.assert_close(normalise(images), expected)
    torch.testing.assert_close(normalise(images.float() / 255), expected)


def test_denormalise_undoes_normalise():
    images = random_images()
    torch.testing.assert_close(denormalise(normalise(images)), images.float() / 255)
    assert torch.equal((denormalise(normalise(images)) * 255).round().to(torch.uint8), images)


def test_normalise_keeps_float64():
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    assert normalise(images).dtype == torch.float64
    torch.testing.assert_close(denormalise(normalise(images)), images)


# Scaling


@pytest.mark.parametrize("h, w", [(96, 96), (64, 96)])
@pytest.mark.parametrize("size", [224, 96, 48, 31, 8])
def test_resize_equals_torchvision(h, w, size):
    images = random_images(2, h, w)
    x = TF.normalize(images.float() / 255, MEAN, STD)
    expected = TF.resize(x, [size, size], antialias=True)
    torch.testing.assert_close(resize(images, size), expected, atol=1e-4, rtol=0)


def test_resize_to_the_same_size_changes_nothing():
    images = random_images(2)
    assert torch.equal(resize(images, 96), normalise(images))


@pytest.mark.parametrize("start, length, size", [(0, 96, 7), (10, 3, 40), (95, 1, 5), (20, 60, 60)])
def test_weights_of_a_line_are_averages_within_the_crop(start, length, size):
    matrix = resample_matrix(torch.tensor([float(start)]), torch.tensor([float(length)]), 96, size)
    assert matrix.shape == (1, size, 96)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(dim=2), torch.ones(1, size))
    outside = torch.ones(96, dtype=torch.bool)
    outside[start : start + length] = False
    assert (matrix[..., outside] == 0).all()


def fixed_boxes(monkeypatch, boxes):
    """Make random_resized_crop cut `boxes`, a list of (top, left, height, width)."""
    def crops(*given):
        found = random_crops(*given)
        found[:4] = torch.tensor(boxes).T
        return found

    monkeypatch.setattr(augment, "random_crops", crops)


@pytest.mark.parametrize("size", [224, 96, 40])
def test_crops_equal_torchvision(monkeypatch, size):
    """Larger and smaller than the box, at the image's edges, of one pixel; flipped or not."""
    boxes = [(0, 0, 96, 96), (10, 20, 30, 50), (66, 0, 30, 96), (95, 95, 1, 1), (0, 90, 80, 6),
             (17, 5, 40, 40), (1, 2, 90, 70), (50, 50, 46, 46)]
    fixed_boxes(monkeypatch, boxes)
    images = random_images(len(boxes))
    ours = random_resized_crop(images, size, seeded())
    assert ours.shape == (len(boxes), 3, size, size) and ours.dtype == torch.float32
    flipped = set()
    for i, box in enumerate(boxes):
        x = TF.normalize(images[i].float() / 255, MEAN, STD)
        expected = TF.resized_crop(x, *box, [size, size], antialias=True)
        mirrored = TF.hflip(expected)
        flip = bool((ours[i] - mirrored).abs().max() < (ours[i] - expected).abs().max())
        flipped.add(flip)
        torch.testing.assert_close(ours[i], mirrored if flip else expected, atol=1e-4, rtol=0)
    assert flipped == {False, True}


def test_random_crop_equals_torchvision_for_the_boxes_it_draws():
    """End to end on oblong images: the boxes come first from the generator."""
    images = random_images(16, 60, 80)
    ours = random_resized_crop(images, 32, seeded(3), scale=(0.2, 1.0))
    boxes = random_crops(16, 60, 80, (0.2, 1.0), seeded(3))[:4].T.int().tolist()
    for image, box, crop in zip(images, boxes, ours, strict=True):
        x = TF.normalize(image.float() / 255, MEAN, STD)
        expected = TF.resized_crop(x, *box, [32, 32], antialias=True)
        error = min((crop - e).abs().max() for e in (expected, TF.hflip(expected)))
        assert error < 1e-4


def test_half_of_the_images_are_flipped():
    """Counted on a ramp, whose direction tells; 4 sigma of a binomial."""
    ramp = torch.arange(16, dtype=torch.uint8).expand(1000, 3, 16, 16) * 16
    crops = random_resized_crop(ramp, 8, seeded())
    flips = (crops[:, 0, 0, 0] > crops[:, 0, 0, -1]).sum().item()
    assert abs(flips - 500) < 4 * 250**0.5


def test_a_generator_repeats_the_augmentation_and_leaves_the_global_state_alone():
    images, before = random_images(), torch.get_rng_state()
    first = random_resized_crop(images, 32, seeded(5))
    assert torch.equal(first, random_resized_crop(images, 32, seeded(5)))
    assert torch.equal(first, random_resized_crop(images, 32, seeded(5), scale=(0.2, 1.0)))
    assert not torch.equal(first, random_resized_crop(images, 32, seeded(6)))
    assert torch.equal(torch.get_rng_state(), before)


def test_non_contiguous_images_are_fine():
    """As they come from a memory-mapped (H, W, C) file, or from every other image."""
    stored = torch.randint(0, 256, (8, 96, 96, 3), dtype=torch.uint8)
    strided = stored[::2].permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    for scale in (lambda x: random_resized_crop(x, 40, seeded()), lambda x: resize(x, 40)):
        torch.testing.assert_close(scale(strided), scale(strided.contiguous()))


def test_images_are_not_changed():
    images = random_images()
    before = images.clone()
    random_resized_crop(images, 32, seeded())
    resize(images, 32)
    assert torch.equal(images, before)


# Boxes


@pytest.mark.parametrize("height, width", [(96, 96), (40, 120), (3, 5), (1, 1)])
@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 0.1), (1.0, 1.0)])
def test_boxes_are_whole_pixels_inside_the_image(height, width, scale):
    boxes = random_crops(2000, height, width, scale, seeded())[:4]
    top, left, h, w = boxes
    assert all(torch.equal(x, x.round()) and x.shape == (2000,) for x in boxes)
    assert (top >= 0).all() and (left >= 0).all() and (h >= 1).all() and (w >= 1).all()
    assert (top + h <= height).all() and (left + w <= width).all()


def test_every_place_is_as_likely_and_rows_say_nothing_about_columns():
    """The lowest row and the last column are reached: χ² of the places of 4 x 4 boxes in 7 x 9."""
    top, left, h, w = random_crops(60_000, 7, 9, (0.25, 0.26), seeded())[:4]
    chosen = (h == 4) & (w == 4)
    places = torch.histogramdd(torch.stack([top, left], 1)[chosen], [4, 6],
                               range=[-0.5, 3.5, -0.5, 5.5]).hist
    assert places.sum() == chosen.sum() > 5_000
    assert scipy.stats.chisquare(places.flatten().double()).pvalue > 1e-3


def test_area_and_aspect_ratio_are_in_range():
    """In an image so large that rounding to pixels does not show, with boxes that always fit."""
    _, _, h, w = random_crops(5000, 10000, 10000, (0.2, 0.7), seeded())[:4]
    area, aspect = h * w / 1e8, w / h
    assert 0.199 < area.min() < 0.21 and 0.69 < area.max() < 0.701
    assert 0.749 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.334


def test_boxes_are_distributed_as_those_of_torchvision():
    """Two-sample Kolmogorov-Smirnov tests, seeded, of boxes so small that none is redrawn."""
    n, image = 1500, torch.zeros(3, 200, 300)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.2, 0.45], [3 / 4, 4 / 3]) for _ in range(n)]
    ).T
    ours = random_crops(n, 200, 300, (0.2, 0.45), seeded())[:4].numpy()
    for a, b in ((ours, theirs), (ours[2:3] * ours[3:], theirs[2:3] * theirs[3:])):
        for x, y in zip(a, b, strict=True):
            assert scipy.stats.ks_2samp(x, y).pvalue > 1e-3
    aspect, expected = ours[3] / ours[2], theirs[3] / theirs[2]
    assert scipy.stats.ks_2samp(aspect, expected).pvalue > 1e-3
    # and the test can tell: a uniform instead of log-uniform aspect, or another scale
    wrong = random_crops(n, 200, 300, (0.1, 0.45), seeded())[:4].numpy()
    assert scipy.stats.ks_2samp(wrong[2] * wrong[3], theirs[2] * theirs[3]).pvalue < 1e-3


def test_box_of_the_whole_image():
    images = random_images(3)
    crops = random_resized_crop(images, 96, seeded(), scale=(1.0, 1.0))
    assert crops.shape == (3, 3, 96, 96)
    _, _, h, w = random_crops(500, 96, 96, (1.0, 1.0), seeded())[:4]
    assert torch.maximum(h, w).eq(96).all()  # one side is shortened, the other is the image's
