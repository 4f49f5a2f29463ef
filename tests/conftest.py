"""What every test shares: one thread per process, fixed seeds, a throw-away cache, no display."""

import os
import random
import shutil
import tempfile

# Before anything imports matplotlib or mae_lib. The workers of xdist inherit both.
os.environ["MPLBACKEND"] = "Agg"
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["MAE_LIB_CACHE"] = tempfile.mkdtemp(prefix="mae_lib-tests-")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from chromium import CHROMIUM, FLAGS  # noqa: E402

if IS_WORKER:
    torch.set_num_threads(1)  # the workers share the cores


def pytest_unconfigure(config):
    if not IS_WORKER:
        shutil.rmtree(os.environ["MAE_LIB_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Each test starts from the same state of every global random generator."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the test is skipped where there is none."""
    from playwright import sync_api

    if not CHROMIUM:
        pytest.skip("There is no Chromium on this machine.")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()
