"""What stands between this machine and a first number, in seconds: versions, hardware, data."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gradlens.analysis.provenance import software
from gradlens.core.types import UserError
from gradlens.data import Data, UnreadableError

SAMPLE = 200


def diagnose(out: Path, open_data: Callable[[], Data] | None) -> dict[str, Any]:
    """Names and readable values; a data set that cannot be opened is a finding, not an error."""
    free = shutil.disk_usage(out if out.exists() else Path()).free / 1e9
    facts = {
        "versions": ", ".join(f"{name} {version}" for name, version in software().items()),
        "accelerator": _accelerator(),
        "cores": f"{os.cpu_count()}, torch uses {torch.get_num_threads()}",
        "disk free": f"{free:.0f} GB at {out}" + ("; a run needs 0.1 to 1 GB" if free < 2 else ""),
    }
    if open_data is None:
        return facts
    try:
        return facts | _of_data(open_data())
    except UserError as error:
        return facts | {"data": f"not opened: {error}"}


def _accelerator() -> str:
    if not torch.cuda.is_available():
        return "none: the CPU is used"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free, total = torch.cuda.mem_get_info()
    return f"{', '.join(names)}; {free / 1e9:.0f} of {total / 1e9:.0f} GB free on the first"


def _of_data(data: Data) -> dict[str, Any]:
    """The layout as it was understood, and whether a sample of the files can be read."""
    sample, bad, start = data.limit(SAMPLE), [], time.perf_counter()
    for index in sample.indices:
        try:
            data.image(int(index))
        except UnreadableError as error:
            bad.append(str(error))
    rate = len(sample) / (time.perf_counter() - start)
    classes = data.class_names
    order = f"{classes[0]} … {classes[-1]}" if classes else "no classes: one flat folder without labels"
    return {
        "data": f"{data.name}: {len(data):,} images, {len(classes):,} classes",
        "class order": order,
        **({"preprocessing": str(data.preprocess)} if data.preprocess else {}),
        "decoding": f"{rate:,.0f} images/s a core: a model that measures R images/s needs R / {rate:,.0f} workers (-j)",
        "first image": f"{data.path(int(data.indices[0]))}, label {int(data.labels[0])}",
        **({"notes": "; ".join(data.notes)} if data.notes else {}),
        "unreadable": f"{len(bad)} of {len(sample)} looked at" + (f"; {bad[0]}" if bad else ""),
    }
