"""A folder as a user has it: a good checkpoint, bad ones, and a finished run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run

from gradlens import Preprocess
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn

BUILDERS = """
import torch
from torch import nn

class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x

def two_outputs():
    return TwoOutputs()

def bare():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

class Constant(nn.Module):
    def forward(self, x):
        return 0 * x.mean((1, 2, 3))[:, None] + torch.tensor([[1.0, 0.0]]).repeat(len(x), 5)

class NotFinite(nn.Module):
    def forward(self, x):
        return (x.sum((1, 2, 3)) - x.sum((1, 2, 3))).sqrt()[:, None] * torch.ones(1, 10)

def constant():
    return Constant()

def not_finite():
    return NotFinite()
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with a good checkpoint, bad ones, and a finished run."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    described = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "activation": "gelu", "num_classes": 10}
    state = digits_cnn().state_dict()
    save_checkpoint(folder / "good.pt", state, arch="digits_cnn", preprocess=Preprocess(32, 1.0), **described)
    whole = (folder / "good.pt").read_bytes()
    (folder / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "random.pt").write_bytes(np.random.default_rng(0).bytes(4096))
    torch.save(state, folder / "bare.pt")
    torch.save({k: v for k, v in state.items() if k != "0.weight"}, folder / "missing.pt")
    save_checkpoint(folder / "nan.pt", {k: v * torch.nan for k, v in state.items()}, arch="digits_cnn", **described)
    (folder / "builders.py").write_text(BUILDERS)
    (folder / "no_images").mkdir()
    assert run(folder, "analyze good.pt --data digits --limit 30 -o run") == 0
    return folder
