"""Runs of a small network with weights from a seed, on sixty digits, as most tests of a run need them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradlens import Preprocess, Run, analyze, load_data, load_model
from gradlens.data import Data
from gradlens.models import Classifier
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def classifier(seed: int = 0, activation: str = "gelu", mean=MEAN, classes: int = 10) -> Classifier:
    """A digits network whose weights and BatchNorm statistics come from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = digits_cnn(classes, activation)
        for norm in (m for m in net if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.5, 2)
    return load_model(net, mean=mean, std=STD)


def measure(model: Any = None, data: Any = "digits", analyzers: Any = "sample_asymmetry", **options: Any) -> Run:
    return analyze(
        model or classifier(), data, analyzers, **{"limit": 60, "batch_size": 16, "progress": False, **options}
    )


def in_folder(root: Path) -> Data:
    """A folder of digits, unresized."""
    return load_data(root).bind(Preprocess(size=32, crop_pct=1.0))


class Counting:
    """An inline analyzer that counts its batches, and may end the process's patience at one of them."""

    def __init__(self, stop_at: int | None = None):
        # The first look, at the pilot images, is none.
        self.batches, self.stop_at = -1, stop_at

    def __call__(self, probe):
        self.batches += 1
        if self.batches == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"twice_the_loss": 2 * probe.loss}
