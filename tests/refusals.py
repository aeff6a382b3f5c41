"""What every user's mistake has in common: one line that names what was found and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gradlens import UserError


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block raises a UserError of one line that holds all the words."""
    with pytest.raises(UserError) as caught:
        yield
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert [w for w in words if w not in text] == [], text
