"""Several processes under torchrun: gradients are averaged by hand, which serves every engine.

With BatchNorm in evaluation mode and no draws for the batch as a whole (mixup, erasing, dropout), N processes
are one with N times the batch. In training mode each normalises by its own batch, and the statistics are
averaged after each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gradlens._distributed import world


def backend(device: torch.device) -> str:
    """What the processes talk by: gradients stay on the GPU, a few numbers go over the CPU."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def average_gradients(model: nn.Module) -> None:
    _average([p.grad for p in model.parameters() if p.grad is not None])


def average_buffers(model: nn.Module) -> None:
    _average([b for b in model.buffers() if b.is_floating_point()])


def total(values: Sequence[float]) -> list[float]:
    """Sums over the processes."""
    if world() == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(summed)
    return summed.tolist()


def _average(tensors: list[Tensor]) -> None:
    """In one message, which for small layers is what counts."""
    if world() == 1 or not tensors:
        return
    flat = torch.cat([t.detach().flatten() for t in tensors])
    dist.all_reduce(flat)
    flat /= world()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.data.copy_(mean.view_as(tensor))
