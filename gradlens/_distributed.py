"""This process among its fellows: rank and world as torchrun sets them, one process otherwise."""

from __future__ import annotations

import datetime
import os

import torch.distributed as dist


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def barrier() -> None:
    """Wait for every process. A data set can take a day, so patience has no practical end."""
    if world() == 1:
        return
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=datetime.timedelta(days=7))
    dist.barrier()
