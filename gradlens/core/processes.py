"""This process among its fellows, as torchrun starts them: rank, world, and what they average or add up."""

from __future__ import annotations

import atexit
import datetime
import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def join(backend: str = "gloo", patience: datetime.timedelta | None = None) -> None:
    """Become one of the processes that torchrun started, until Python ends; patience: how long to wait for another."""
    if world() > 1 and not dist.is_initialized():
        dist.init_process_group(backend, timeout=patience)
        # Its threads would otherwise outlive Python now and then, which aborts the process.
        atexit.register(_leave)


def barrier() -> None:
    """Wait for every process. A data set can take a day, so patience has no practical end."""
    if world() > 1:
        join(patience=datetime.timedelta(days=7))
        dist.barrier()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


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
