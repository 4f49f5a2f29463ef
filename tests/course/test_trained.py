"""The learner's trained model: kept, found again, and refused where it does not fit."""

import pytest
import torch

from mae_lib import course
from mae_lib.course import reference
from mae_lib.course.trained import path_of_model
from mae_lib.course.widgets import pretraining
from mae_lib.training.checkpoints import load_weights

SIZES = dict(img_size=12, patch_size=3, embed_dim=8, depth=1, num_heads=2, decoder_embed_dim=8,
             decoder_depth=1, decoder_num_heads=2)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_LIB_MY_MAE", str(tmp_path))
    return tmp_path


def test_a_kept_model_comes_back_and_gives_the_same_prediction(folder, capsys):
    model = reference.MAE(**SIZES)
    course.keep_model("scenes", model, SIZES, data="scenes", epochs=4)
    assert "as 'scenes'" in capsys.readouterr().out
    sizes, weights = course.kept_model("scenes")
    again = reference.MAE(**sizes)
    again.load_state_dict(weights)
    x, noise = torch.randn(2, 3, 12, 12), torch.rand(2, 16)
    assert sizes == SIZES
    torch.testing.assert_close(again(x, 0.75, noise), model(x, 0.75, noise), rtol=0, atol=0)
    package_model, facts = load_weights(path_of_model("scenes"))  # as explorers read it
    pred = package_model(x, 0.75, noise=noise).pred
    torch.testing.assert_close(pred, model(x, 0.75, noise)[0], rtol=0, atol=1e-5)
    assert facts["data"] == "scenes" and facts["epochs"] == 4
    assert path_of_model("scenes").parent.parent == folder


def test_what_is_not_there_or_does_not_fit_is_said_in_one_sentence(capsys):
    assert course.kept_model("scenes") is None
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(ValueError, match="do not fit"):
        course.keep_model("scenes", reference.MAE(**SIZES), {**SIZES, "depth": 2})
    with pytest.raises(ValueError, match="cannot be the name"):
        course.kept_model("../scenes")


def test_the_recorded_log_is_six_whole_runs():
    for method in ("original", "improved"):
        assert pretraining.column(method, "val_loss").shape == (3, 10)
        assert (pretraining.column(method, "step")[:, -1] == 15_630).all()
    paid = [pretraining.column(m, "multiply_adds")[0, -1] for m in ("original", "improved")]
    assert 1.1 < paid[1] / paid[0] < 1.12


def test_progress_says_what_is_left():
    progress = pretraining.Progress(total=100, batch_size=10, seconds=0)
    progress.at(0)
    progress.began -= 5  # as if the first step had been five seconds ago
    progress.at(50)
    assert "step 50 of 100, 100 images/s, 5 s left" in progress.caption.value
    assert progress.bar.value == 50
    progress.at(20)  # a run that begins again counts from there
    assert progress.first == 20
    assert repr(progress).startswith("[progress")
