"""A transformer, whose layers and memory are unlike those of a CNN."""

import pytest

import gradlens as gl


@pytest.fixture(scope="session")
def vit():
    return gl.load_model("timm:test_vit", weights="random", device="cpu")
