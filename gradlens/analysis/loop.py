"""Batches handed to who measures them; finished ones are on the disk now and then, and before it leaves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from gradlens.core.processes import Stop
from gradlens.core.types import Batch, Interrupted
from gradlens.data.batches import dead_worker

FLUSH_SECONDS = 60.0


@runtime_checkable
class Taker(Protocol):
    """Who is handed every batch, and puts finished ones on the disk when asked."""

    def take(self, k: int, batch: Batch | None, failures: dict[int, str]) -> None: ...
    def flush(self) -> None: ...


def pass_on(batches: Iterable[tuple[int, Batch | None, dict[int, str]]], takers: Sequence[Taker], stop: Stop) -> None:
    """Hand every batch to every taker; finished batches are on the disk now and then, and before it leaves."""
    flushed = time.monotonic()
    try:
        for item in batches:
            for taker in takers:
                taker.take(*item)
            if time.monotonic() - flushed > FLUSH_SECONDS:
                _flush(takers)
                flushed = time.monotonic()
            if stop.requested:
                raise Interrupted(stop.requested)
    except (Exception, Interrupted) as error:
        # Not on a bare KeyboardInterrupt, which may fall anywhere.
        _flush(takers)
        if lost := dead_worker(error):
            raise lost from None
        raise
    _flush(takers)


def _flush(takers: Sequence[Taker]) -> None:
    for taker in takers:
        taker.flush()
