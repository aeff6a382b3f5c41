"""The linear model whose worst case is known, of which attacks are asked."""

import pytest
from attack_cases import linear_model


@pytest.fixture
def two_classes():
    """A model of two classes and six images, in float64."""
    return linear_model(6, 0.3, 0.7)
