"""Networks that call their activations as functions, with weights that are not the trivial ones, and images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import relu as imported_relu


def randomise(net):
    """Weights and statistics that are not the trivial ones, the same for every network of these shapes."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("running_var", "norm.weight")) else (-0.2, 0.2)
            tensor.uniform_(low, high, generator=generator)
    return net.eval()


def images(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))


def helper(x):
    return F.relu(x) if x.ndim == 4 else helper(x[None])[0]


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.__secret = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), 2.0

    def forward(self, x):
        return F.relu(self.bn(self.conv(x))) * self.__secret


class Calling(Base):
    """Calls its activation in every way there is, at eleven places."""

    def __init__(self):
        super().__init__()
        self.last, self.held = nn.Conv2d(6, 3, 1), F.relu
        self.relu = nn.Sigmoid()

    def forward(self, x, finally_=F.relu):
        x = super().forward(x) - 0.3
        x = torch.relu(x) - 0.2
        x = x.relu().mul(-2).add(1)
        x.relu_()
        F.relu(x - 1, inplace=True)
        x = x - 0.5
        F.relu(x, inplace=True)
        x = self._method(x) - 0.1
        x = helper(self.last(x))
        x = imported_relu(x - 0.05)
        return self.held(finally_(self.relu(x) - 0.5) - 0.01).mean((2, 3))

    def _method(self, x):
        return torch.nn.functional.leaky_relu(x, 0.1, True)


class Built(Calling):
    """The same with GELU, written by hand."""

    def forward(self, x):
        x = 2.0 * F.gelu(self.bn(self.conv(x))) - 0.3
        x = F.gelu(x) - 0.2
        x = F.gelu(F.gelu(x).mul(-2).add(1))
        x = F.gelu(F.gelu(x - 0.5)) - 0.1
        x = F.gelu(F.gelu(self.last(x)) - 0.05)
        return F.gelu(F.gelu(self.relu(x) - 0.5) - 0.01).mean((2, 3))


SITES = 11


def both():
    return randomise(Calling()), randomise(Built())


class Child(nn.Module):
    def forward(self, x):
        return F.relu6(x + 3) / 6 + F.relu(x)


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.child = Child()

    def forward(self, x):
        return F.relu(self.child(x))
