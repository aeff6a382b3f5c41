from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradlens.core.files import write_atomically
from gradlens.core.processes import total
from gradlens.training.engines import StepStats


@dataclass
class Meter:
    """Sums over an epoch's steps; plain numbers, so that an interrupted epoch goes on with them."""

    steps: int = 0
    images: int = 0
    loss: float = 0.0
    penalty: float = 0.0
    penalised: int = 0
    seconds: float = 0.0
    displacement: float = math.nan
    cosine: float = math.nan
    fallbacks: int = 0
    _since: float = field(default_factory=time.monotonic)

    def add(self, stats: StepStats, images: int) -> None:
        self.steps, self.images = self.steps + 1, self.images + images
        self.loss += stats.loss
        if not math.isnan(stats.penalty):
            self.penalty, self.penalised = self.penalty + stats.penalty, self.penalised + 1
        self.displacement = max(stats.displacement, self.displacement, key=_size)
        self.cosine = stats.cosine if not math.isnan(stats.cosine) else self.cosine
        self.fallbacks += stats.engine == "double_backward"

    def restart(self) -> None:
        self._since = time.monotonic()

    def stop_clock(self) -> None:
        """Seconds of training, without those of evaluation."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now

    def state(self) -> dict[str, Any]:
        self.stop_clock()
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def row(self) -> dict[str, float]:
        """The means of all processes; NaN where no step measured it."""
        self.stop_clock()
        sums = [self.steps, self.images, self.loss, self.penalty, self.penalised, self.fallbacks]
        steps, images, loss, penalty, penalised, fallbacks = total(sums)
        return {
            "loss": loss / steps,
            "penalty": penalty / penalised if penalised else math.nan,
            "engine_cosine": self.cosine,
            "displacement": self.displacement,
            "double_backward": fallbacks / steps,
            "images_per_second": images / self.seconds,
            "seconds": self.seconds,
        }


def _size(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """A row an epoch."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda stream: stream.write(text.getvalue().encode()))
