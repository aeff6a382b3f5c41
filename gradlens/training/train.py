"""The training loop."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from gradlens.core.processes import rank, total
from gradlens.core.progress import track
from gradlens.core.seeds import image_seed, own_random_numbers, set_random_numbers
from gradlens.core.stopping import Stop
from gradlens.core.types import Interrupted
from gradlens.training._training import Training
from gradlens.training.config import TrainConfig


@dataclass(frozen=True)
class TrainResult:
    """checkpoint: the last epoch's; best: that of the highest val accuracy, under attack where it was measured.

    history: a row an epoch. test: accuracies on the test split, where one was named.
    """

    checkpoint: Path
    best: Path
    history: list[dict[str, float]]
    test: dict[str, float]

    def seconds_to(self, accuracy: float, of: str = "val_pgd10") -> float:
        """Seconds of training, without those of evaluation, until a share was first reached; NaN if it never was."""
        seconds = 0.0
        for row in self.history:
            seconds += row["seconds"]
            if row[of] >= accuracy:
                return seconds
        return math.nan


def train(config: TrainConfig, resume: bool = False, progress: bool = True) -> TrainResult:
    """Train a classifier as a configuration says; returns its checkpoint and a row of numbers an epoch.

    ``out`` then holds ``last.pt``, ``best.pt`` (both open with ``load_model`` and no flags) and ``history.csv``.
    resume: go on where an interrupted run stopped; on one CPU with as many threads the result is the same bit
    for bit. Raises Interrupted on Ctrl-C and SIGTERM once the state is saved, and UserError for what cannot be
    trained and for a loss that is no number.
    """
    with own_random_numbers():
        set_random_numbers(image_seed(config.seed, 0, "training"))
        run = Training(config, resume)
        stop = Stop()
        with stop.on_signals():
            show = progress and rank() == 0
            if show and run.memory:
                print(run.memory.line, file=sys.stderr)
            order = range(run.done, len(run.batches))
            loader = run.batches.loader(order, config.workers)
            images = config.batch_size * len(run.batches)
            for k, batch, failures in track(loader, config.out.name, images, run.done * config.batch_size, show):
                run.learn(k, batch, failures)
                run.done = k + 1
                if run.done % config.accumulate == 0:
                    run.update()
                if run.done % run.batches.per_epoch == 0:
                    run.finish_epoch()
                    run.save()
                if run.done % config.accumulate == 0 and _any_asked(stop):
                    run.save()
                    raise Interrupted(stop.requested or "SIGTERM")
        return TrainResult(run.last, run.best_file, run.rows, run.test_scores())


def _any_asked(stop: Stop) -> bool:
    """Whether any process was asked to stop, so that all do at the same update."""
    return bool(total([float(stop.requested is not None)])[0])
