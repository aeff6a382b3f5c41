"""What is known of an epoch: sums over its steps, how well the network does, and where the row is written."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlens.core.files import file_hash, json_bytes, json_hash, write_atomically
from gradlens.core.processes import rank, total, world
from gradlens.data import Data
from gradlens.data.batches import Batches
from gradlens.models import Classifier
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe
from gradlens.training.engines import StepStats

Row = dict[str, float]
STEPS = 10


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
        # fmax passes over a NaN.
        self.displacement = float(np.fmax(self.displacement, stats.displacement))
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

    def row(self) -> Row:
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


def accuracy(model: Classifier, data: Data, size: int, eps: float | None = None) -> float:
    """Share of images that are classified correctly, under PGD-10 of radius eps (L∞) where one is given.

    The attack: cross-entropy, random start, steps of eps/4, evaluation mode; fixed starts, so that epochs compare.
    A monitor of training, not an evaluation: that is the worst of several attacks (``minimal_eps``).
    """
    right = seen = 0.0
    batches = Batches(data, size)
    for k in range(rank(), len(batches), world()):
        _, batch, _ = batches[k]
        if batch is None:
            continue
        probe = Probe(model, batch.to(model.device))
        if eps:
            probe = attack(probe, "pgd", eps=eps, steps=STEPS, step_size=eps / 4, keep_worst=False)
        right, seen = right + float(probe.correct.sum()), seen + len(batch)
    right, seen = total([right, seen])
    return right / seen if seen else math.nan


def write_history(folder: Path, recipe: Mapping[str, Any], rows: list[Row]) -> None:
    """A row an epoch, and beside it the recipe, so that figures know it without torch, with the hashes of both."""
    file, text = folder / "history.csv", pd.DataFrame(rows).to_csv(index=False, na_rep="nan").encode()
    now, before = hashlib.sha256(text).hexdigest(), [file_hash(file)] if file.exists() else []
    fields = json.loads(json_bytes(recipe))

    def seal(*histories: str) -> None:
        hashes = {"config.json": json_hash(fields), "history.csv": histories}
        write_atomically(folder / "config.json", lambda f: f.write(json_bytes({**fields, "sha256": hashes})))

    # A process that is killed in between leaves one of the two histories that the recipe knows.
    seal(now, *before)
    write_atomically(file, lambda stream: stream.write(text))
    seal(now)
