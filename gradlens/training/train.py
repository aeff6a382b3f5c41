"""The training loop, from top to bottom, and below it the steps of a run in the loop's words."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gradlens.core.files import make_folder
from gradlens.core.lock import only_writer
from gradlens.core.memory import is_out_of_memory
from gradlens.core.processes import Stop, average_buffers, backend, barrier, join, rank, total, world
from gradlens.core.progress import track
from gradlens.core.seeds import image_seed, own_random_numbers, set_random_numbers
from gradlens.core.types import Batch, Interrupted, UserError
from gradlens.data import Data
from gradlens.data.batches import dead_worker
from gradlens.training._batches import TrainingBatches, WholeBatch
from gradlens.training._history import Meter, Row, accuracy, write_history
from gradlens.training._memory import memory
from gradlens.training._setup import open_model, open_split, open_splits
from gradlens.training._trainee import Trainee, read_state
from gradlens.training.config import TrainConfig
from gradlens.training.methods import Moment

LOG = logging.getLogger("gradlens")


class DivergedError(UserError):
    """The loss has left the numbers; the last good checkpoint is kept."""


@dataclass(frozen=True)
class TrainResult:
    """checkpoint: the last epoch's; best: that of the highest val accuracy, under attack where it was measured.

    history: a row an epoch. test: accuracies on the test split, where one was named.
    """

    checkpoint: Path
    best: Path
    history: list[dict[str, float]]
    test: dict[str, float]


def train(config: TrainConfig, resume: bool = False, progress: bool = True) -> TrainResult:
    """Train a classifier as a configuration says; returns its checkpoint and a row of numbers an epoch.

    ``out`` then holds ``last.pt``, ``best.pt`` (both open with ``load_model`` and no flags) and ``history.csv``.
    resume: go on where an interrupted run stopped; on one CPU with as many threads the result is the same bit
    for bit. Raises Interrupted on Ctrl-C, SIGTERM and SIGHUP once the state is saved, and UserError for what cannot be
    trained, for a loss that is no number and for a folder that another process trains into.
    """
    with own_random_numbers(), only_writer(config.out) if rank() == 0 else nullcontext():
        set_random_numbers(image_seed(config.seed, 0, "training"))
        run, stop, show = Training(config, resume), Stop(), progress and rank() == 0
        with stop.on_signals(), _lost_workers_said():
            if show and run.memory_line:
                print(run.memory_line, file=sys.stderr)
            loader = run.batches.loader(range(run.done, len(run.batches)), config.workers)
            images = config.batch_size * len(run.batches)
            for k, batch, failures in track(loader, config.out.name, images, run.done * config.batch_size, show):
                run.learn(k, batch, failures)
                if run.done % config.accumulate:
                    continue
                run.update()
                if run.done % run.batches.per_epoch == 0:
                    run.finish_epoch()
                    run.save()
                if _any_asked(stop):
                    run.save()
                    raise Interrupted(stop.requested or "SIGTERM")
        return TrainResult(run.last, run.best_file, run.rows, run.test_scores())


@contextmanager
def _lost_workers_said() -> Iterator[None]:
    """The error may fall into the middle of an update, so nothing is saved but what was."""
    try:
        yield
    except RuntimeError as error:
        if lost := dead_worker(error):
            raise lost from None
        raise


def _any_asked(stop: Stop) -> bool:
    """Whether any process was asked to stop, so that all do at the same update."""
    return bool(total([float(stop.requested is not None)])[0])


class Training:
    """The steps of a training run, in the loop's words, and how far it is."""

    def __init__(self, config: TrainConfig, resume: bool):
        self.config, self.last, self.best_file = config, config.out / "last.pt", config.out / "best.pt"
        if self.last.exists() and not resume:
            raise UserError(f"{config.out} holds a training run; add --resume to go on, or choose another folder")
        before = read_state(self.last, config) if self.last.exists() else None
        train, val = open_splits(config)
        self.model = open_model(config, train)
        join(backend(self.model.device))
        self.data, self.val = (self._bound(data) for data in (train, val))
        self.batches = TrainingBatches(self.data, config)
        self._whole = WholeBatch(config, len(train.class_names), self.model.mean, self.model.std)
        self.trainee = Trainee(config, self.model, self.batches.updates)
        self.trainee.objective.fit(self.model, self.data)
        self.done, self.rows, self.meter, self.best = 0, list[Row](), Meter(), [-math.inf]
        self.memory_line, self._finite = "", True
        if before:
            done = before["training"]
            self.trainee.load(before)
            self.done, self.rows, self.best = done["done"], done["rows"], done["best"]
            self.meter = replace(self.meter, **done["meter"])
            # Of a process that was killed just after its checkpoint.
            self._write_history()
        else:
            self._look_ahead()
        self.meter.restart()
        make_folder(config.out)

    def _bound(self, data: Data) -> Data:
        """As the network wants them: of its size, and of as many channels."""
        return data.bind(self.model.card.preprocess, len(self.model.card.mean))

    def _look_ahead(self) -> None:
        """On a first batch: whether a step is possible, and whether it will fit into the memory."""
        first = self.batches[0][1].to(self.model.device)
        with self._precision():
            self.trainee.check(first)
            self.memory_line, advice = memory(self.config, self.model, first)
        if advice:
            LOG.warning(advice)

    def learn(self, k: int, batch: Batch, failures: dict[int, str]) -> None:
        """What one batch adds to the gradients."""
        for why in failures.values():
            LOG.warning("left out: %s", why)
        epoch, place = divmod(k, self.batches.per_epoch)
        moment = Moment(epoch + place / self.batches.per_epoch, image_seed(self.config.seed, epoch, "training/draw"))
        # From k, so that dropout and mixup of a resumed run are those of the uninterrupted one.
        set_random_numbers(image_seed(self.config.seed, k, f"training/step/{rank()}"))
        self.trainee.set_mode(moment.epoch)
        try:
            with self._precision():
                stats = self.trainee.objective(self.model, self._whole(batch).to(self.model.device), moment)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size, more = self.config.batch_size, 2 * self.config.accumulate
            raise UserError(
                f"a batch of {size} images does not fit into memory; train with --batch-size {max(1, size // 2)} "
                f"--accumulate {more}"
            ) from None
        self._finite &= math.isfinite(stats.loss) and not math.isinf(stats.penalty)
        self.meter.add(stats, len(batch))
        self.done = k + 1

    def update(self) -> None:
        """One step of the optimiser, unless the loss has left the numbers."""
        updates = self.done // self.config.accumulate
        norm = self.trainee.update(updates)
        # The last update of an epoch has no loss after it that would tell what it did to the weights.
        ends = self.done % self.batches.per_epoch == 0
        good = self._finite and math.isfinite(norm) and not (ends and not self.trainee.finite)
        if total([float(not good)])[0]:
            kept = f"the last good checkpoint is {self.last}" if self.last.exists() else "no epoch was finished"
            raise DivergedError(
                f"the loss diverged at update {updates} (not a number); {kept}: lower --lr, or --clip 1"
            )

    def finish_epoch(self) -> None:
        """A row of the history: how well it does, on val and on some of what it was trained on."""
        # Gradients are averaged, but BatchNorm's statistics are each process's own until here.
        average_buffers(self.model)
        number, row = len(self.rows) + 1, self.meter.row()
        due = number % self.config.eval_every == 0 or number == self.config.epochs
        train, val = (data.limit(self.config.eval_images) for data in (self.data, self.val))
        scores = {
            "train_top1": self._accuracy(train),
            "val_top1": self._accuracy(val),
            "val_pgd10": self._accuracy(val, self.config.radius) if due and self.config.radius else math.nan,
        }
        weight = self.trainee.objective.weight(number)
        rate = max(g["lr"] for g in self.trainee.optimizer.param_groups)
        self.rows.append({"epoch": number, **row, **scores, "weight": weight, "lr": rate})
        self.meter = Meter()
        score = [scores["val_pgd10"] if self.config.radius else 0.0, scores["val_top1"]]
        if score > self.best:
            self.best = score
            if rank() == 0:
                self.trainee.save(self.best_file)

    def save(self) -> None:
        """The state to resume from, and the history so far; one process writes."""
        training = {
            "config": self.config.provenance(),
            "world": world(),
            "done": self.done,
            "updates": self.done // self.config.accumulate,
            "rows": self.rows,
            "meter": self.meter.state(),
            "best": self.best,
        }
        if rank() == 0:
            self.trainee.save(self.last, training)
            self._write_history()
        barrier()

    def _write_history(self) -> None:
        if self.rows and rank() == 0:
            write_history(self.config.out, self.config.provenance(), self.rows)

    def test_scores(self) -> dict[str, float]:
        """Accuracies on the test split, where one was named."""
        if not self.config.test_split:
            return {}
        test = open_split(self.config, self.config.test_split, self.model.card.class_names)
        data = self._bound(test)
        scores = {"test_top1": self._accuracy(data)}
        return {**scores, "test_pgd10": self._accuracy(data, self.config.radius)} if self.config.radius else scores

    def _accuracy(self, data: Data, eps: float | None = None) -> float:
        with self._precision():
            return accuracy(self.trainee.evaluated, data, self.config.batch_size, eps)

    def _precision(self) -> AbstractContextManager:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)
