"""A progress bar with a rate and the time left, on a terminal and in a notebook; a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
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
    follow = _cell if in_notebook() else _bar if console.is_terminal else _lines
    yield from follow(batches, label, total, done, console)


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


def _cell(batches: Iterable[Any], label: str, total: int, done: int, console: Console) -> Iterator[Any]:
    line, start, first, last = Line(), time.monotonic(), done, 0.0
    line.show(f"{label}: {done:,}/{total:,} images", done / max(total, 1))
    for item in batches:
        yield item
        done += _images(item)
        now = time.monotonic()
        if now - last > CELL_SECONDS:
            rate = (done - first) / (now - start)
            left = f"{rate:,.1f} images/s, {max(total - done, 0) / rate:,.0f} s left"
            line.show(f"{label}: {done:,}/{total:,} images, {left}", done / max(total, 1))
            last = now
    line.show(f"{label}: {done - first:,} images in {time.monotonic() - start:,.1f} s")


def _lines(batches: Iterable[Any], label: str, total: int, done: int, console: Console) -> Iterator[Any]:
    start = last = time.monotonic()
    first = done
    for item in batches:
        yield item
        done += _images(item)
        now = time.monotonic()
        if now - last > LINE_SECONDS:
            rate = (done - first) / (now - start)
            left = (total - done) / rate / 60
            text = f"{label}: {done:,}/{total:,} images, {rate:,.1f} images/s, {left:.1f} min left"
            console.print(text, markup=False)
            last = now


def _images(item: Any) -> int:
    _, batch, failures = item
    return (0 if batch is None else len(batch)) + len(failures)
