"""A progress bar with a rate and the time left, on a terminal and in a notebook; a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from gradlens.core.notebook import Line, in_notebook
from gradlens.core.text import one_line

LINE_SECONDS, CELL_SECONDS = 30.0, 0.2


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.1f} images/s")


def track(batches: Iterable[Any], label: str, total: int, done: int, show: bool) -> Iterator[Any]:
    """Pass batches ``(k, batch, failures)`` through, counting their images."""
    if not show:
        yield from batches
        return
    console, label = Console(stderr=True), one_line(label)
    if in_notebook():
        yield from _told(batches, label, total, done, Line().show, CELL_SECONDS)
    elif console.is_terminal:
        yield from _bar(batches, label, total, done, console)
    else:
        yield from _told(batches, label, total, done, partial(console.print, markup=False), LINE_SECONDS)


def _bar(batches: Iterable[Any], label: str, total: int, done: int, console: Console) -> Iterator[Any]:
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,}"),
    ]
    with Progress(*columns, _Rate(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(label, total=total, completed=done)
        for item in batches:
            yield item
            progress.advance(task, _images(item))


def _told(
    batches: Iterable[Any], label: str, total: int, done: int, say: Callable[[str], Any], every: float
) -> Iterator[Any]:
    """Say how far it is every so many seconds, and at the end how long it took."""
    first, start = done, time.monotonic()
    last = start
    for item in batches:
        yield item
        done += _images(item)
        now = time.monotonic()
        if now - last > every:
            rate = (done - first) / (now - start)
            left = timedelta(seconds=round(max(total - done, 0) / rate))
            say(f"{label}: {done:,}/{total:,} images, {rate:,.1f} images/s, {left} left")
            last = now
    say(f"{label}: {done - first:,} images in {timedelta(seconds=round(time.monotonic() - start))}")


def _images(item: Any) -> int:
    _, batch, failures = item
    return (0 if batch is None else len(batch)) + len(failures)
