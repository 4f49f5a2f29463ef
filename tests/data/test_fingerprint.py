"""Checksums of data and weights: the same on every machine, others for any other content."""

import zlib

import pytest
import torch

from mae_lib.data.fingerprint import fingerprint, fingerprint_of_weights
from mae_lib.data.sources import ImageSet

IMAGES = (torch.arange(9000 * 12) % 251).to(torch.uint8).view(9000, 3, 2, 2)  # several blocks


def test_it_is_the_checksum_of_what_it_says():
    """Of shape and type as text, then of all bytes; stored records have these very letters."""
    header = b"(9000, 3, 2, 2) torch.uint8"
    labels = torch.tensor([3, -1])
    expected = zlib.crc32(header + IMAGES.numpy().tobytes())
    assert fingerprint(IMAGES) == f"{expected:08x}"
    expected = zlib.crc32(b"(2,) torch.int64" + labels.numpy().tobytes(), expected)
    assert fingerprint(IMAGES, labels) == f"{expected:08x}"
    assert fingerprint(torch.zeros(0, 3)) == f"{zlib.crc32(b'(0, 3) torch.float32'):08x}"


def test_it_changes_with_any_value_shape_type_and_order():
    first, last, middle = (IMAGES.clone() for _ in range(3))
    first[0, 0, 0, 0] += 1
    last[-1, -1, -1, -1] += 1
    middle[4096] = IMAGES[4097]
    others = [IMAGES, first, last, middle, IMAGES[:-1], IMAGES.flip(0), IMAGES.mT, IMAGES.char(),
              IMAGES.view(9000, 12), IMAGES.view(4500, 2, 3, 2, 2), IMAGES.float()]
    found = [fingerprint(x) for x in others]
    found += [fingerprint(IMAGES, first), fingerprint(first, IMAGES), fingerprint(first, first)]
    assert len(set(found)) == len(found) == 14


@pytest.mark.parametrize("same", [
    IMAGES.clone(), IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    IMAGES.repeat_interleave(2, 0)[::2], torch.nn.Parameter(IMAGES.clone(), requires_grad=False)])
def test_it_does_not_depend_on_how_values_lie_in_memory(same):
    assert fingerprint(same) == fingerprint(IMAGES)


def test_weights_count_with_their_names():
    state = {"a": torch.ones(2), "b": torch.zeros(())}
    found = {fingerprint_of_weights(x) for x in (
        state, {"a": torch.ones(2), "c": torch.zeros(())}, {**state, "a": torch.ones(2).double()},
        {"b": torch.zeros(()), "a": torch.ones(2)}, {"a": torch.ones(2)})}
    assert len(found) == 5
    model = torch.nn.Linear(3, 2).state_dict()
    assert fingerprint_of_weights(model) == fingerprint_of_weights(
        {name: tensor.clone() for name, tensor in model.items()})


def test_that_of_a_data_set_is_that_of_its_tensors_in_turn():
    parts = [IMAGES[:5], IMAGES[5:7], torch.tensor([0, 1]), IMAGES[7:8], torch.tensor([1])]
    data = ImageSet("x", ("a", "b"), *parts)
    assert data.fingerprint == fingerprint(*parts)
    held = ImageSet("y", ("c",), *parts, held_out=IMAGES[8:9])
    assert held.fingerprint == fingerprint(*parts, IMAGES[8:9])
