"""Nothing that these tests run, kernels included, sees or changes what somebody built."""

import os
import shutil
import tempfile

import pytest

# Before any kernel starts.
os.environ["MAE_LIB_MY_MAE"] = tempfile.mkdtemp(prefix="mae_lib-my_mae-")


@pytest.fixture(scope="session", autouse=True)
def remove_the_folder_at_the_end():
    yield
    shutil.rmtree(os.environ["MAE_LIB_MY_MAE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def parts_of_this_test(tmp_path, monkeypatch):
    """A folder for the learner's parts that only this test uses."""
    monkeypatch.setenv("MAE_LIB_MY_MAE", str(tmp_path / "my_mae"))
    return tmp_path / "my_mae"
