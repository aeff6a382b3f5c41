"""This process: among its fellows, as torchrun starts them, and when it is asked to stop."""

from __future__ import annotations

import atexit
import datetime
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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


class Stop:
    """Whether a signal asked the run to stop; the loop looks between batches."""

    def __init__(self) -> None:
        self.requested: str | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C ask; a second Ctrl-C does not wait. Only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
