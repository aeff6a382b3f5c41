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

from gradlens.core.types import UserError

# For the others to show up at all; variables left over from another launch would be waited for without end.
MEETING = datetime.timedelta(minutes=1)


def rank() -> int:
    """This process's number; 0 where it is alone, whatever an earlier launch left in the environment."""
    return _told("RANK", 0) if world() > 1 else 0


def world() -> int:
    return _told("WORLD_SIZE", 1)


def _told(variable: str, alone: int) -> int:
    """What a launcher says in the environment; some leave the variable empty."""
    value = os.environ.get(variable, "").strip()
    if value and not value.isdecimal():
        raise UserError(f"the environment has {variable}={value}, which is no number; unset it, or start with torchrun")
    return int(value or alone)


def join(backend: str = "gloo", patience: datetime.timedelta | None = None) -> None:
    """Become one of the processes that torchrun started, until Python ends; patience: how long to wait for another.

    Raises UserError where the others cannot be met within a minute.
    """
    if world() > 1 and not dist.is_initialized():
        try:
            store, mine, together = next(dist.rendezvous("env://", timeout=MEETING))
        except (ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:120]
            raise UserError(
                f"RANK and WORLD_SIZE in the environment say that this is one of {world()} processes, and the others "
                f"cannot be met ({why}); start all with torchrun, or unset both"
            ) from None
        store.set_timeout(patience or dist.default_pg_timeout)
        store = dist.PrefixStore("default_pg", store)
        dist.init_process_group(backend, store=store, rank=mine, world_size=together, timeout=patience)
        # Its threads would otherwise outlive Python now and then, which aborts the process.
        atexit.register(_leave)


def join_for_long() -> None:
    """Join with a patience that has no practical end: a data set can take a day."""
    join(patience=datetime.timedelta(days=7))


def barrier() -> None:
    """Wait for every process."""
    if world() > 1:
        join_for_long()
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


# Windows knows no SIGHUP.
ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


class Stop:
    """Whether a signal asked the run to stop; the loop looks between batches."""

    def __init__(self) -> None:
        self.requested: str | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM, Ctrl-C and a closed terminal ask; a second Ctrl-C does not wait. Only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # What nohup ignores stays ignored.
        asking = [s for s in ASKING if signal.getsignal(s) != signal.SIG_IGN]
        old = {s: signal.signal(s, self._handle) for s in asking}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
