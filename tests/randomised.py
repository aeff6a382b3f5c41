"""Networks of weights and statistics that are not the trivial ones, and images to look at with them."""

from __future__ import annotations

import torch


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
