"""This process among its fellows: rank and world as torchrun sets them, one process otherwise."""

from __future__ import annotations

import atexit
import datetime
import os

import torch.distributed as dist


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
