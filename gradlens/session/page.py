"""Small pages that a notebook shows of a run or a probe: a table and a strip of thumbnails, under 100 kB."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.core.table import Table
from gradlens.core.text import page
from gradlens.plotting.pictures import in_gray
from gradlens.runs.readings import table_of
from gradlens.runs.record import Run

SIDE, TILES = 64, 8
MOST = 50_000
HEAD = 5


def run_page(run: Run) -> str:
    """Some images over their gradients, the numbers worth reading first, the first rows; a selection's rows first."""
    kept, name = _kept_of(run), f"{run.label} on {run.summary.get('data')}, {run.count}"
    looks = [run.examples[part][kept].astype(np.float64) if kept else np.empty(0) for part in ("image", "gradient")]
    # Columns, since a page of a hundred of them is not small.
    head = run.samples.iloc[:HEAD, :12].to_html(index=False, float_format="%.4g", border=0, escape=True)
    numbers, everything = (_table(table_of(run, details=details)) for details in (False, True))
    if run.selected:
        hint = "<small><code>.show()</code> draws these images</small>"
        parts = [head, hint, _folded("numbers of the whole run", everything)]
    else:
        parts = [numbers, _folded("all numbers", everything), _folded("first rows of .samples", head)]
    strip = thumbnails(looks[0], looks[1], "images of the run above their loss gradients; gray is zero")
    return "".join([f"<b>{page(name)}</b>", strip, *parts])


def _kept_of(run: Run) -> list[int]:
    """Where the first of a run's images are in its examples; those that were kept."""
    place = {index: k for k, index in enumerate(run.examples.get("index", np.empty(0)).tolist())}
    return [place[index] for index in run.samples["index"].tolist() if index in place][:TILES] if place else []


def _table(table: Table) -> str:
    """Without the title, which is said already."""
    return table.to_html(about=False)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def thumbnails(images: NDArray, gradients: NDArray, alt: str) -> str:
    """Images ``(N, C, H, W)`` in [0, 1] over their gradients as one picture inside the page; empty for none."""
    if not len(images):
        return ""
    rows = [np.hstack([_tile(image.transpose(1, 2, 0)) for image in images])]
    if len(gradients):
        rows.append(np.hstack([_tile(in_gray(gradient.transpose(1, 2, 0))) for gradient in gradients]))
    sheet = Image.fromarray(np.vstack(rows))
    data = base64.b64encode(_jpeg(sheet)).decode()
    return f'<br><img alt="{page(alt)}" title="{page(alt)}" src="data:image/jpeg;base64,{data}"><br>'


def _tile(pixels: NDArray) -> NDArray[np.uint8]:
    eight_bit = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(eight_bit.repeat(3, -1) if eight_bit.shape[-1] == 1 else eight_bit)
    grown = max(picture.size) <= SIDE
    scaled = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST if grown else Image.Resampling.BOX)
    return np.pad(np.asarray(scaled), ((0, 2), (0, 2), (0, 0)), constant_values=255)


def _jpeg(sheet: Image.Image) -> bytes:
    """As good as fits."""
    for quality in (90, 75, 50, 25):
        stream = io.BytesIO()
        sheet.save(stream, "JPEG", quality=quality)
        if stream.tell() <= MOST:
            break
    return stream.getvalue()
