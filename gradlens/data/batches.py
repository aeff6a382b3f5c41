"""A data set as whole batches, each decoded by one worker and owned by one process."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from gradlens.core.types import Batch, UserError
from gradlens.data import Data


class Batches(Dataset):
    """Batch k of a data set as one item, so a worker decodes a whole batch and a rank owns it."""

    def __init__(self, data: Data, size: int):
        self.data, self.size = data, size

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.size)

    def __getitem__(self, k: int) -> tuple[int, Batch | None, dict[int, str]]:
        indices = self.data.indices[k * self.size : (k + 1) * self.size]
        return (k, *self.data.read(indices.tolist()))

    def images(self, batches: Iterable[int]) -> int:
        """How many images these batches hold together."""
        return sum(min(self.size, len(self.data) - k * self.size) for k in batches)

    def loader(self, order: Sequence[int], workers: int) -> DataLoader:
        return DataLoader(
            self,
            batch_size=None,
            sampler=list(order),
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_to_the_parent,
            # Of its own, or the loader would draw from the caller's random numbers.
            generator=torch.Generator(),
        )


def dead_worker(error: BaseException) -> UserError | None:
    """What to say of an error that a process which reads images died, None for another error."""
    found = re.search(r"DataLoader worker \(pid.*?(killed by signal: \w+|exited unexpectedly)", str(error))
    if not (isinstance(error, RuntimeError) and found):
        return None
    return UserError(
        f"a process that reads images was lost ({found[1]}), perhaps for want of memory; what was finished is kept: "
        "add --resume to go on, with fewer --workers if it happens again"
    )


def _as_it_is(item: Any) -> Any:
    return item


def _leave_signals_to_the_parent(worker: int) -> None:
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
