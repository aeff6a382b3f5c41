"""Stored examples as small pictures: each image with the gradient that every run has of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from gradlens.plotting.pictures import class_of, example, in_gray, scale_of
from gradlens.report._columns import with_names
from gradlens.runs.record import Run

# Pixels of a picture's longer side at most, and up to which it is kept without loss.
SIDE, SMALL = 160, 64
QUALITY = 82
MOST = 128


@dataclass(frozen=True)
class Look:
    """What one run says of an image: its row, some numbers, and its gradient on its own scale and on that of all."""

    run: int
    row: int
    lines: tuple[str, ...]
    own: str
    shared: str


@dataclass(frozen=True)
class Card:
    """One image with the looks of every run that keeps its gradient; coarse where its pixels are to be seen."""

    path: str
    name: str
    coarse: bool
    image: str
    looks: tuple[Look, ...]


def cards(runs: Sequence[Run], most: int = MOST) -> list[Card]:
    """The examples of all runs, the same image of the same data once, in the first run's order."""
    kept: dict[tuple[Any, str], list[tuple[int, int, int]]] = {}
    for number, run in enumerate(runs):
        rows = {index: row for row, index in enumerate(run.samples["index"].tolist())}
        paths = run.samples["path"].tolist()
        for index in run.examples.get("index", np.array([], int)).tolist():
            key = (data_of(run), str(paths[rows[index]]))
            kept.setdefault(key, []).append((number, rows[index], index))
    frames = [with_names(run) for run in runs]
    return [_card(path, places, runs, frames) for (_, path), places in list(kept.items())[:most]]


def data_of(run: Run) -> Any:
    """What two runs must share for one path to be one image."""
    return run.provenance.get("data_fingerprint") or run.summary.get("data")


def _card(
    path: str, places: Sequence[tuple[int, int, int]], runs: Sequence[Run], frames: Sequence[pd.DataFrame]
) -> Card:
    pairs = [example(runs[number], index) for number, _, index in places]
    scales = [scale_of(gradient) for _, gradient in pairs]
    looks = []
    for (number, row, _), (_, gradient), scale in zip(places, pairs, scales, strict=True):
        own = picture(in_gray(gradient, scale))
        shared = own if scale == max(scales) else picture(in_gray(gradient, max(scales)))
        looks.append(Look(number, row, _lines(frames[number].iloc[row], gradient), own, shared))
    image = pairs[0][0]
    name = class_of(runs[places[0][0]], places[0][2]) or path
    return Card(path, name, max(image.shape) <= SMALL, picture(image), tuple(looks))


def _lines(row: pd.Series, gradient: NDArray) -> tuple[str, ...]:
    """What a caption says: the gradient's size, and what the model takes the image for."""
    size = f"L1 {np.abs(gradient).sum():.3g}"
    if "correct" not in row or "confidence" not in row:
        return (size,)
    taken = row.get("prediction_name", row.get("prediction"))
    return size, f"{'right' if row['correct'] else f'taken for {taken}'}, {row['confidence']:.2f}"


def picture(pixels: NDArray) -> str:
    """Pixels ``(H, W, 3)`` or ``(H, W, 1)`` in [0, 1] as a data URI, averaged down to at most 160 pixels a side."""
    eight_bit = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    drawn = Image.fromarray(np.repeat(eight_bit, 3 // eight_bit.shape[2], axis=2))
    longer = max(drawn.size)
    if longer > SIDE:
        width, height = (max(1, round(side * SIDE / longer)) for side in drawn.size)
        drawn = drawn.resize((width, height), Image.Resampling.BOX)
    # Halved colour resolution would hide what the channels differ in.
    options: Mapping[str, Any] = {"quality": QUALITY, "subsampling": 0, "optimize": True} if longer > SMALL else {}
    return as_uri(drawn, "jpeg" if longer > SMALL else "png", **options)


def as_uri(drawn: Image.Image, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    drawn.save(stream, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
