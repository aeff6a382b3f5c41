"""Shapes that analyzers look at, and others as their pilot images."""

import pytest


@pytest.fixture
def pilot(shapes):
    return shapes[slice(64, 128)]


@pytest.fixture
def few(shapes):
    return shapes[slice(0, 32)]
