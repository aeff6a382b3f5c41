"""Each test is a session of its own: no label has a colour yet."""

import pytest

from gradlens.plotting import style


@pytest.fixture(autouse=True)
def _no_label_has_a_colour():
    style.PLACES.clear()
