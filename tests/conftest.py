"""What several rooms test with: a small trained network, a linear one, and data that come with the libraries."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from torch import nn
from typechecking import ROOMS

# Shapes and types of these rooms are checked at every call, which begins before they are imported.
install_import_hook(ROOMS, "typechecking.checked")

import gradlens as gl  # noqa: E402
from gradlens.core.registry import KINDS  # noqa: E402
from gradlens.models._zoo import digits_cnn  # noqa: E402

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)

# The networks here are too small to gain from a second thread, and wait long for one on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def no_plugin_stays():
    """Methods that a test registers are gone after it; ours, which register when their file is imported, stay."""
    yield
    for registry in KINDS.values():
        for name in [n for n in registry._methods if not registry.ours(n)]:
            del registry._methods[name]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    """64 digits of the validation split, ``(64, 3, 32, 32)``."""
    return gl.load_data("digits").batch(range(64))


@pytest.fixture(scope="session")
def shapes():
    """128 shapes of known outline, ``(128, 3, 64, 64)``."""
    return gl.load_data("shapes").batch(range(128))


@pytest.fixture(scope="session")
def photos():
    """16 photographs, ``(16, 3, 64, 64)``."""
    return gl.load_data("photos").batch(range(16))


@pytest.fixture
def batch(digits):
    """Sixteen digits with indices of their own."""
    return digits[slice(0, 16)]


@pytest.fixture
def cnn(_trained):
    """A briefly trained CNN of digits, to be changed at will."""
    return copy.deepcopy(_trained)


@pytest.fixture(scope="session")
def _trained():
    train = gl.load_data("digits", split="train").batch(range(512))
    torch.manual_seed(0)
    model = gl.load_model(digits_cnn(width=8), mean=MEAN, std=STD, device="cpu").train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for rows in torch.arange(512).split(64) * 8:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(train.image[rows]), train.target[rows]).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def baseline():
    """A run of the standard analyzers on sixty digits, in memory."""
    from measured import measure

    return measure(analyzers="standard")


@pytest.fixture
def linear():
    """A linear classifier of 8 × 8 images into five classes."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    return gl.load_model(net, mean=MEAN, std=STD, device="cpu")
