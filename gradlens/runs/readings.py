"""A run in the forms that other programs and papers take: a table of its summary, arrays with names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gradlens.core.names import limits
from gradlens.core.numbers import decimals_for, number
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.runs.record import Run

if TYPE_CHECKING:
    import xarray

ACCURACY = ("top-1 (%)", "top1", "on these very images")
# One that a page does not swallow.
INDENT = "\u2003"
PIXELS = ("image", "channel", "y", "x")


def table_of(run: Run, details: bool = True, meanings: bool = True) -> Table:
    """The numbers that a run's analyzers put first, each with its 95 % interval.

    details: with the rows that belong to another, whose titles are indented. meanings: print how to read each.
    """
    readings = [ACCURACY, *map(tuple, run.readings)]
    rows = [
        (title, key, run.summary[key], *limits(run.summary, key), meaning)
        for title, key, meaning in readings
        if _known(run.summary.get(key)) and (details or not title.startswith(" "))
    ]
    frame = pd.DataFrame(rows, columns=["measure", "key", "value", "low", "high", "how to read it"])
    printed = pd.DataFrame(
        {
            "measure": [title.replace("   ", INDENT) for title in frame["measure"]],
            "value": [with_interval(run.summary, key) for key in frame["key"]],
            **({"how to read it": frame["how to read it"].tolist()} if meanings else {}),
        },
        index=[""] * len(frame),
    )
    images = run.summary.get("images", len(run.samples))
    title = f"{run.label} on {run.summary.get('data')}, {images:,} images; ± 95 % intervals"
    return Table(frame, title, printed=printed)


def with_interval(summary: Mapping[str, Any], key: str, digits: int = 2) -> str:
    """``0.424 ± 0.031``, with so many digits of the uncertainty; a dash where the number is missing."""
    low, high = limits(summary, key)
    half = (high - low) / 2
    decimals = decimals_for(half, digits=digits)
    shown = number(summary.get(key), decimals)
    return f"{shown} ± {number(half, decimals)}" if math.isfinite(half) else shown


def to_xarray(run: Run) -> xarray.Dataset:
    """The run's examples with named axes: images and gradients ``(image, channel, y, x)``, and their rows."""
    try:
        import xarray
    except ImportError:
        raise UserError("to_xarray needs xarray, which is not installed; pip install xarray") from None
    kept = run.examples
    if not kept:
        raise UserError(f"run {run.label} keeps no examples; analyze with examples=16")
    index = kept["index"].tolist()
    rows = run.samples.set_index("index").reindex(index)
    gradient = kept["gradient"].astype(np.float32) * kept["scale"].astype(np.float32)[:, None, None, None]
    variables: dict[str, Any] = {
        "pixels": (PIXELS, kept["image"].astype(np.float32)),
        "gradient": (PIXELS, gradient, {"units": "nats per unit pixel", "objective": "loss"}),
        **{str(column): ("image", rows[column].to_numpy()) for column in rows},
    }
    channels = _channels(gradient.shape[1])
    attributes = {"model": run.label, "data": str(run.summary.get("data")), "run": run.hash}
    return xarray.Dataset(variables, {"image": index, "channel": channels}, attributes)


def _channels(count: int) -> Sequence[str]:
    return list("RGB") if count == 3 else ["gray"] if count == 1 else [str(k) for k in range(count)]


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
