"""Seconds that each figure takes from a saved run of 50,000 images, loading it included.

    python benchmarks/figures.py [ROUNDS]

The run has the columns and arrays of all analyzers: a small network is analyzed on digits, and its rows
are repeated to 50,000 with noise; 64 examples of 224² are kept. Each figure is drawn of one run and of
six (or of the trainings it draws), for the widest page, and written as PDF; its size, width and fonts
are checked. A cold start of the command is timed once.
"""

from __future__ import annotations

import inspect
import re
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from side_by_side import write

import gradlens as gl
from gradlens import Run, UserError
from gradlens.core.registry import analyzer as analyzers
from gradlens.core.registry import figure as figures
from gradlens.models._zoo import digits_cnn
from gradlens.plotting import VENUES, draw, save
from gradlens.runs.history import History

IMAGES, EXAMPLES, SIZE = 50_000, 64, 224
VENUE = "cvpr"
LABELS = ("natural", "at-linf", "gradnorm", "edgereg", "random", "swin-b-at")
LIMIT_BYTES = 2_000_000


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        folders = make_runs(place)
        found, skipped = {}, {}
        for name in figures:
            try:
                found[name] = measured(name, folders, place, rounds)
                print(f"{name:<32}{found[name]}", flush=True)
            except UserError as error:
                skipped[name] = str(error)
                print(f"{name:<32}skipped: {error}", flush=True)
        cold = command(folders[0], place)
    slowest = max(found, key=lambda name: next(iter(found[name].values()))["least"])
    head = {"images": IMAGES, "examples": EXAMPLES, "rounds": rounds, "slowest": slowest, "command, cold": cold}
    write("figures", {**head, "seconds": found, "skipped": skipped})


def make_runs(place: Path) -> list[Path]:
    """Six saved runs from one small analysis."""
    model = gl.load_model(digits_cnn(), mean=(0.5,) * 3, std=(0.5,) * 3, device="cpu")
    chosen = [f"{name}:{kind.cheap}" if hasattr(kind, "cheap") else name for name, kind in analyzers.items()]
    base = gl.analyze(model, gl.load_data("digits", limit=128), chosen, progress=False)
    return [enlarged(base, label, seed).save(place / label) for seed, label in enumerate(LABELS)]


def enlarged(base: Run, label: str, seed: int) -> Run:
    """The run with 50,000 rows: each number times lognormal noise, so that no two are equal."""
    rng = np.random.default_rng(seed)
    rows = base.samples.iloc[rng.integers(len(base.samples), size=IMAGES)].reset_index(drop=True)
    noisy = {c: rows[c] * rng.lognormal(0.2 * seed, 0.5, IMAGES) for c in rows if varies(rows[c])}
    rows = rows.assign(**noisy, index=np.arange(IMAGES), path=[f"class/{i:08d}" for i in range(IMAGES)])
    kept = {
        "index": np.arange(EXAMPLES),
        "image": rng.random((EXAMPLES, 3, SIZE, SIZE)).astype(np.float16),
        "gradient": rng.normal(0, 0.2, (EXAMPLES, 3, SIZE, SIZE)).clip(-1, 1).astype(np.float16),
        "scale": np.ones(EXAMPLES),
    }
    summary = {**base.summary, "model": label, "images": IMAGES}
    return Run(rows, summary, base.arrays, {**base.provenance, "weights": label}, kept)


def varies(column: pd.Series) -> bool:
    """A measure; not a label, a flag or a text."""
    return column.dtype == np.float64 and column.nunique() > 2


def measured(name: str, folders: list[Path], place: Path, rounds: int) -> dict[str, Any]:
    """Seconds of loading, drawing and writing; what the file is."""
    first = next(iter(inspect.signature(figures[name]).parameters))
    if History in typing.get_args(typing.get_type_hints(figures[name])[first]):
        raise UserError("draws trainings, which have no images")
    file = place / f"{name}.pdf"

    def once(some: list[Path]) -> None:
        runs = [Run.load(folder) for folder in some]
        save(draw(name, runs, venue=VENUE), file, runs)

    found: dict[str, Any] = {}
    for some, count in ((folders[:1], rounds), (folders, 1)):
        try:
            if len(some) == 1:
                # What is imported when it is first needed is not counted.
                once(some)
            found[f"{len(some)} run{'s' * (len(some) > 1)}"] = spread(seconds(partial(once, some), count))
        except UserError as error:
            # A figure of one model, or of several.
            why = error
    if not found:
        raise why
    return {**found, **checked(file)}


def spread(taking: list[tuple[float, float]]) -> dict[str, float]:
    clock, own = zip(*taking, strict=True)
    return {"median": round(statistics.median(clock), 2), "least": round(min(clock), 2), "cpu": round(min(own), 2)}


def seconds(run: Callable[[], None], rounds: int) -> list[tuple[float, float]]:
    """By the clock, and of this process alone, which other programs hardly change."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return found


def checked(file: Path) -> dict[str, float]:
    """Of the figure with most runs: small enough, as wide as the page, no Type-3 font."""
    content = file.read_bytes()
    width = float(re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", content).group(1)) / 72  # type: ignore[union-attr]
    assert len(content) <= LIMIT_BYTES, f"{file.name} has {len(content):,} bytes"
    assert abs(width - VENUES[VENUE][1]) < 0.01, f"{file.name} is {width:.2f} inches wide"
    assert not any(re.search(rb"/Subtype\s*/Type3", part) for part in [content, *unpacked(content)]), file.name
    return {"kilobytes": len(content) // 1000}


def unpacked(pdf: bytes) -> list[bytes]:
    found = []
    for packed in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompressobj().decompress(packed))
        except zlib.error:
            continue
    return found


def command(folder: Path, place: Path) -> float:
    """Of the whole process, imports included."""
    words = ["gradient_norm_distribution", str(folder), "-o", str(place / "cold.pdf")]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gradlens", "figure", *words], check=True, capture_output=True)
    return round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    main()
