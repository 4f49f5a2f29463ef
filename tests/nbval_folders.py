"""A plugin of `make test`: each notebook finds an empty my_mae, not what another has kept."""

import functools
import os
import tempfile

import pytest


@functools.cache
def folder_of(path) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()  # removed when the process ends


@pytest.hookimpl(tryfirst=True)  # before the notebook's kernel starts
def pytest_runtest_setup(item) -> None:
    os.environ["MAE_LIB_MY_MAE"] = folder_of(item.path).name
