"""The features that come with the package are what the encoders give, rounded."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA

from mae_lib import evaluate
from mae_lib.course import features as F
from mae_lib.data.sources import load_data
from mae_lib.model import MaskedAutoencoder

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "features.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    data = load_data("scenes", counts=(10, 100, 60), cache=folder)
    torch.manual_seed(0)
    sizes = dict(img_size=32, patch_size=8, embed_dim=24, depth=1, decoder_depth=0)
    models = {name: MaskedAutoencoder(**sizes).eval() for name in ("one", "two")}
    with pytest.MonkeyPatch.context() as patch:  # one decay, for speed
        patch.setattr(evaluate, "choose_decay", lambda *_: (0.1, None))
        facts = tool.write(models, data, folder / "features.safetensors")
    return folder, data, models, facts


def test_they_are_those_of_the_encoder_within_half_a_step(written, monkeypatch):
    folder, data, models, facts = written
    monkeypatch.setattr(F, "ASSETS", folder)
    for name, model in models.items():
        found = F.features(name)
        train = evaluate.extract_features(model, data.train)
        pca = PCA().fit(train)
        deviation = train.shape[0] ** -0.5 * pca.singular_values_
        for images, ours in ((data.train, found.train), (data.test, found.test)):
            exact = pca.transform(evaluate.extract_features(model, images))
            exact = exact.clip(-5 * deviation, 5 * deviation)
            assert (abs(pca.transform(ours) - exact) <= 5 / 127 * deviation / 2 + 1e-5).all()
        assert torch.equal(found.train_labels, data.train_labels)
        assert torch.equal(found.test_labels, data.test_labels)
        assert tuple(found.classes) == tuple(data.classes)
        probe = evaluate.linear_probe(
            found.train, found.train_labels, found.test, found.test_labels, decay=0.1)
        assert facts["measured"][name]["rounded"]["lp"] == probe.percent
    with pytest.raises(ValueError, match="name must be one of one, two, got 'three'"):
        F.features("three")


def test_features_that_are_always_the_same_stay_so():
    x = torch.zeros(3, 2)
    assert not F.rounded(x, F.steps(x)).any()


def test_values_far_from_the_mean_are_cut():
    x = torch.tensor([[-1e6], [2.0], [1e6]])
    assert F.rounded(x, torch.tensor([[0.5]])).tolist() == [[-127], [4], [127]]


def test_rounding_costs_next_to_nothing_and_the_file_is_small():
    path = F.ASSETS / "features.safetensors"
    assert path.stat().st_size < 12e6
    header, tensors = F.read_safetensors(path)
    shipped = json.loads((F.ASSETS / "weights.json").read_text())
    for name, checksum in json.loads(header["mae_lib"])["weights"].items():
        assert shipped[name]["checksum"] == checksum, f"run tools/features.py again: new {name}"
    for name, found in json.loads(header["mae_lib"])["measured"].items():
        assert abs(found["full"]["lp"] - found["rounded"]["lp"]) <= 0.2, name
        assert len(F.features(name).train) == len(tensors["train labels"])
