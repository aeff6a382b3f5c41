"""Time several ways of doing the same thing in one process, in turns, so that a drifting machine cancels."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gradlens.analysis.provenance import device_name

RESULTS = Path(__file__).parent / "results"


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> dict[str, float]:
    """Of the ratio round by round, and of each way's least time, which other programs disturb the least."""
    ratios = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
    least = min(seconds[above]) / min(seconds[below])
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "of least times": least}


def hardware() -> dict[str, Any]:
    """The machine's name, as a reader needs it."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cpu = device_name(torch.device("cpu"))
    return {"cpu": cpu, "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def write(name: str, result: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"hardware": hardware(), **result}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
