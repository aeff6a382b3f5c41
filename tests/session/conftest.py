"""A run whose network is measured as it is, so that a look again has the very same numbers."""

import pytest
import torch
from torch import nn

import gradlens as gl


@pytest.fixture(scope="session")
def plain():
    """No BatchNorm, so nothing is folded for a run and a probe computes the very same."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Conv2d(8, 8, 3, stride=2), nn.GELU())
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10))
    return gl.load_model(net, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), device="cpu")


@pytest.fixture(scope="session")
def run(plain):
    """Measured image by image; four gradients are kept."""
    return gl.analyze(plain, "digits", examples=4, progress=False, limit=60, batch_size=1)


@pytest.fixture(scope="session")
def folder(run, tmp_path_factory):
    return run.save(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def look(run):
    """At the image in the run's sixth row."""
    return run.probe(int(run.samples["index"][5]))
