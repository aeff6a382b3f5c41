"""The right number on other people's networks, a row a kind: the plain framework's to 1e-5, or one line.

Each row makes a network as its users have it, and the same thing in plain PyTorch. What is wrong here is
silent: another number, and no error. Files are in test_right_numbers_of_files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from plain_numbers import WAYS, Case, check
from torch import nn
from torch.utils.checkpoint import checkpoint


class Plain(nn.Module):
    """Two convolutions with BatchNorm, whose parts people hang things on."""

    def __init__(self, kind: str = "plain"):
        super().__init__()
        self.kind = kind
        self.conv, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2, self.fc = nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        for norm in (self.bn, self.bn2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.2, 3)

    def forward(self, x):
        h = self.conv(x)
        z = self.bn(h)
        if self.kind == "weight read elsewhere":
            z = z + F.conv2d(x.flip(3), self.conv.weight, padding=1)
        if self.kind == "convolution read elsewhere":
            z = z + self.conv.weight.mean((1, 2, 3)).view(1, -1, 1, 1) * x.mean((1, 2, 3), keepdim=True)
        if self.kind == "skip":
            z = z + h
        inside = checkpoint(self._rest, z, use_reentrant=self.kind == "reentrant") if "entrant" in self.kind else None
        return self._rest(z) if inside is None else inside

    def _rest(self, z):
        return self.fc(F.gelu(self.bn2(self.conv2(F.gelu(z)))).mean((2, 3)))


HUNG = {
    "hook on conv": lambda net: net.conv.register_forward_hook(lambda m, i, o: o.clamp(max=0.3)),
    "pre-hook on conv": lambda net: net.conv.register_forward_pre_hook(lambda m, i: (i[0] * 2,)),
    "hook on bn": lambda net: net.bn.register_forward_hook(lambda m, i, o: o.clamp(max=0.5)),
    "pre-hook on bn": lambda net: net.bn.register_forward_pre_hook(lambda m, i: (i[0] * (i[0] > 0),)),
    "replaced forward": lambda net: setattr(net.conv, "forward", lambda x: F.conv2d(x, net.conv.weight, padding=1) * 2),
}


def handed(kind: str) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        torch.manual_seed(1)
        net = Plain(kind).eval()
        HUNG.get(kind, lambda net: None)(net)
        return Case(net, net, None, 12, {"normalized": True})

    return make


def in_type(dtype: torch.dtype) -> Callable[[Path], Case]:
    """A module in another type: in float64 as it is, in a short type as float32 of the same weights, or refused."""

    def make(folder: Path) -> Case:
        torch.manual_seed(1)
        net = Plain().to(dtype).eval()
        twin = Plain().eval()
        twin.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in net.state_dict().items()})
        return Case(net, twin, None, 12, {"normalized": True})

    return make


def scripted(how: str) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        torch.manual_seed(1)
        net = Plain().eval()
        ways = {
            "traced": lambda: torch.jit.trace(net, torch.rand(2, 3, 12, 12)),
            "fx": lambda: torch.fx.symbolic_trace(net),
            "compiled": lambda: torch.compile(net, backend="eager"),
            "parallel": lambda: nn.DataParallel(net),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Case(ways[how](), net, None, 12, {"normalized": True, "device": "cpu"})

    return make


def gray(folder: Path) -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)).eval()
    return Case(net, net, ((0.13,), (0.31,)), 12, {"mean": (0.13,), "std": (0.31,)}, channels=1)


def four_channels(folder: Path) -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)).eval()
    return Case(net, net, None, 12, {"normalized": True}, channels=4)


RIGHT = {
    **{kind: handed(kind) for kind in (*HUNG, "plain", "weight read elsewhere", "convolution read elsewhere", "skip")},
    "not reentrant": handed("not reentrant"),
    "float64": in_type(torch.float64),
    **{how: scripted(how) for how in ("fx", "compiled", "parallel")},
    "one channel": gray,
    "four channels": four_channels,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", RIGHT)
def test_the_plain_frameworks_number(tmp_path, kind, way):
    check(RIGHT[kind](tmp_path), way)
