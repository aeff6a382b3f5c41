"""A checkpoint with two kinds of weights."""

import pytest
from plain_numbers import trained

from gradlens import Preprocess
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def checkpoint(tmp_path):
    """Raw and average weights that differ everywhere."""
    raw, average = trained(digits_cnn(width=2)), trained(digits_cnn(width=2))
    described = {"arch_kwargs": {"width": 2}, "mean": HALF, "std": HALF, "preprocess": Preprocess(32, 1.0)}
    save_checkpoint(tmp_path / "two.pt", raw.state_dict(), arch="digits_cnn", ema=average.state_dict(), **described)
    return tmp_path / "two.pt"
