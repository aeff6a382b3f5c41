"""What tests of several files of data begin with: no folder from the environment, and an ImageNet of four classes."""

from __future__ import annotations

import pytest
from folders import WNIDS

from gradlens.data import _classes


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("GRADLENS_DATA", "IMAGENET_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def four_classes(monkeypatch):
    """ImageNet with four of its classes."""
    monkeypatch.setattr(_classes, "wnids", lambda: WNIDS)
    monkeypatch.setattr(_classes, "variant", lambda letter: {"a": (1, 3), "r": (0, 2)}[letter])
