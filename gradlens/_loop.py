"""Batches through the analyzers: constant memory, whole-batch shards, retries and interruptions."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from gradlens._probe import Probe
from gradlens._types import Batch, Interrupted, UserError
from gradlens.analyzers import Analyzer, name_of
from gradlens.data import Data

FLUSH_SECONDS = 60.0
Observations = list[tuple[str, tuple[NDArray, ...]]]
Result = TypeVar("Result")


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
    except (Exception, Interrupted):
        # Not on a bare KeyboardInterrupt, which may fall between two tallies of one batch.
        _flush(takers)
        raise
    _flush(takers)


def _flush(takers: Sequence[Taker]) -> None:
    for taker in takers:
        taker.flush()


def measurement(
    make: Callable[[Batch], Probe], analyzers: Sequence[Analyzer], valid: Sequence[int] | None = None
) -> Callable:
    """A function of a batch: one row an image, and what the tallies are to be given.

    valid: the classes that the data hold, where they are only some of the model's.
    """

    def measure(batch: Batch) -> tuple[pd.DataFrame, Observations]:
        probe = make(batch)
        columns = _core_columns(probe, valid)
        observations: Observations = []
        for analyzer in analyzers:
            found = {f"{name}{analyzer.suffix}": values for name, values in analyzer.measure(probe).items()}
            _check_new(found, columns, analyzer)
            columns |= found
            observations += [(f"{name_of(analyzer)}/{n}", v) for n, v in analyzer.observe(probe).items()]
        return _to_frame(columns), observations

    return measure


def _check_new(found: Mapping[str, Any], columns: Mapping[str, Any], analyzer: Analyzer) -> None:
    twice = next((name for name in found if name in columns), None)
    if twice:
        raise UserError(f"analyzer '{name_of(analyzer)}' gives a column '{twice}' that is there already; rename it")


def _core_columns(probe: Probe, valid: Sequence[int] | None) -> dict[str, Any]:
    known = probe.batch.target is not None
    nothing = torch.full((len(probe.batch),), torch.nan, dtype=torch.float64)
    masked = {"correct_valid": right_among(probe.logits.detach(), probe.target, valid)} if known and valid else {}
    return {
        "index": probe.batch.index,
        "label": probe.batch.target if probe.batch.target is not None else -torch.ones(len(probe.batch)),
        "prediction": probe.prediction,
        "correct": probe.correct if known else nothing,
        "confidence": probe.confidence,
        "error_mass": probe.error_mass,
        "loss": probe.loss,
        "margin": probe.margin,
        "rank_of_label": _rank_of_label(probe) if known else nothing,
        **masked,
    }


def right_among(logits: torch.Tensor, label: torch.Tensor, valid: Sequence[int]) -> torch.Tensor:
    """Whether the label's logit is the largest among the valid classes, ``(B,)``: ImageNet-A's and -R's accuracy."""
    classes = torch.tensor(valid, device=logits.device)
    return classes[logits[:, classes].argmax(1)] == label


def _rank_of_label(probe: Probe) -> torch.Tensor:
    logits = probe.logits.detach()
    return (logits > logits.gather(1, probe.target[:, None])).sum(1)


def _to_frame(columns: dict[str, Any]) -> pd.DataFrame:
    """All columns in one transfer from the device, as float64; identities keep their integers."""
    device = columns["prediction"].device
    tensors = [torch.as_tensor(v).detach().double().to(device) for v in columns.values()]
    table = torch.stack(tensors).cpu().numpy()
    # In two blocks, since pandas is slow with a hundred columns that are each their own.
    frame = pd.DataFrame(table.T, columns=list(columns))
    identities = ["index", "label", "prediction"]
    return pd.concat([frame[identities].astype(np.int64), frame.drop(columns=identities)], axis=1)


def in_pieces(batch: Batch, size: int) -> list[Batch]:
    return [batch[slice(i, i + size)] for i in range(0, len(batch), min(size, len(batch)))]


def within_memory(function: Callable[[Batch], Result], batch: Batch, size: int) -> tuple[list[Result], int]:
    """A function of pieces of ``size`` images, halved until the device's memory suffices."""
    while True:
        try:
            return [function(piece) for piece in in_pieces(batch, size)], size
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            needed = (str(error) or type(error).__name__).splitlines()[0]
        # Outside the handler, whose traceback would keep the failed attempt's memory.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = min(size, len(batch)) // 2
        if size < 1:
            raise UserError(f"one image does not fit into memory ({needed}); use a smaller model or another device")


def is_out_of_memory(error: RuntimeError) -> bool:
    said = any(text in str(error) for text in ("out of memory", "can't allocate memory"))
    return said or isinstance(error, torch.OutOfMemoryError)


def _as_it_is(item: Any) -> Any:
    return item


def _leave_signals_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
