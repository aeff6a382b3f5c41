"""One model on its way through the batches: what it has measured, and where that is kept."""

from __future__ import annotations

import itertools
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradlens.analysis.doubts import IMAGES, preflight, suspicion
from gradlens.analysis.parts import Parts, difference
from gradlens.analysis.protocols import protocol
from gradlens.analysis.provenance import circumstances, contract
from gradlens.analysis.rows import measurement, plain_columns
from gradlens.analysis.summary import assemble, empty_tallies
from gradlens.analyzers import PILOT_IMAGES, Analyzer
from gradlens.analyzers.gallery import kept_gradients
from gradlens.core import processes
from gradlens.core.fields import PERCENT
from gradlens.core.files import clear_temporaries, readable
from gradlens.core.lock import only_writer
from gradlens.core.memory import in_pieces, within_memory
from gradlens.core.names import unknown
from gradlens.core.stated import Stated
from gradlens.core.types import Batch, UserError, digest
from gradlens.data import Data
from gradlens.models import Classifier, is_control
from gradlens.probes.probe import Probe
from gradlens.probes.soundness import LOOKED_AT, sound_copy
from gradlens.runs.record import Run

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How a run is made, for every model in it."""

    batch_size: int = 64
    precision: str = "float32"
    seed: int = 0
    examples: int = 16
    resume: bool = False
    expect_top1: tuple[float, float] | None = None
    strict: bool = False
    protocol: str | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            why = "fp16 underflows gradients" if "16" in self.precision else ""
            raise UserError(unknown("precision", self.precision, PRECISIONS, why))
        if self.batch_size < 1:
            raise UserError(f"a batch of {self.batch_size} images is none; give at least 1")
        if self.expect_top1 and not PERCENT.holds(self.expect_top1[0]):
            raise UserError(
                f"a top-1 of {self.expect_top1[0]:g} cannot be meant by --expect-top1; give {PERCENT.wanted}"
            )


class Session:
    """A model, the analyzers that watch it, their tallies and the finished batches."""

    def __init__(
        self,
        model: Classifier,
        data: Data,
        analyzers: Sequence[Analyzer],
        folder: Path | None,
        settings: Settings,
        stated: Mapping[str, Stated[Any]],
        clusters: pd.Series | None = None,
    ):
        self.clusters = clusters
        self.model, self.data, self.analyzers, self.stated = model, data, analyzers, stated
        self.folder, self.settings = folder, settings
        self.terms = contract(model, data, analyzers, settings.batch_size, settings.seed, settings.precision)
        if clusters is not None:
            self.terms["clusters"] = digest(clusters[data.indices].tolist())
        self.finished = _finished(folder, self.terms, settings.resume)
        images = np.split(data.indices, range(settings.batch_size, len(data), settings.batch_size))
        self.parts = Parts(folder / "parts" if folder else None, images)
        self._torn = False
        self._start, self._size = time.monotonic(), sys.maxsize

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Alone in the output, which the first process claims for its fellows; what a killed one left is cleared."""
        if self.folder is None or self.finished or processes.rank() != 0:
            yield
            return
        with only_writer(self.folder):
            # Another process may have finished it in between.
            self.finished = _finished(self.folder, self.terms, self.settings.resume)
            clear_temporaries(self.folder / "examples")
            yield

    def open(self) -> None:
        """Begin the parts, or go on with them, and show the analyzers the pilot images."""
        if processes.rank() == 0:
            self.parts.open(self.terms, self.settings.resume)
        processes.barrier()
        if processes.rank() != 0:
            self.parts.join(self.terms)
        self._measured = self._sound_copy()
        self._check_accuracy()
        if self.settings.precision == "bfloat16":
            self._measured = self._measured.under_autocast(torch.bfloat16)
        for analyzer in self.analyzers:
            analyzer.expect(self.data.indices, self.data.labels)
        self._needs = frozenset(need for a in self.analyzers for need in a.needs)
        self._kept, self._plain = show_pilot(
            self._probe, self.data, self.analyzers, self.settings.examples, self.settings.batch_size
        )
        self._tallies = empty_tallies(self.analyzers)
        self._measure = measurement(self._probe, self.analyzers, self.data.valid_classes)

    def _sound_copy(self) -> Classifier:
        """The folded copy where it gives what the model as loaded gives, once that was found to give logits at all."""
        some, _ = self.data.read(self.data.limit(LOOKED_AT).indices.tolist())
        if some is None:
            return self.model
        size = self.settings.batch_size
        found, _ = within_memory(lambda piece: sound_copy(self.model, piece, size), some.to(self.model.device), size)
        return self.model if self.model in found else found[0]

    def take(self, k: int, batch: Batch | None, failures: dict[int, str]) -> None:
        """Measure one batch and count it as done; images that could not be read are noted."""
        if k in self.parts.done:
            return
        rows = None
        if batch is not None:
            pieces, self._size = within_memory(self._measure, batch, self._size)
            rows = pd.concat([r for r, _ in pieces], ignore_index=True)
            self._torn = True
            for name, values in itertools.chain.from_iterable(o for _, o in pieces):
                self._tallies[name].update(*values)  # type: ignore[attr-defined]
        self.parts.add(k, rows, failures)
        self._torn = False
        self._check_failures()

    def pace(self) -> tuple[float, float]:
        """Seconds an image to decode and to measure, from a batch of pilot images whose numbers are thrown away."""
        start = time.perf_counter()
        batch = _read(self.data, min(self.settings.batch_size, PILOT_IMAGES))
        decoded = time.perf_counter()
        within_memory(self._measure, batch, self._size)
        return (decoded - start) / len(batch), (time.perf_counter() - decoded) / len(batch)

    def flush(self) -> None:
        """Put finished batches on the disk, unless an error left some tallies with a batch that others lack."""
        if not self._torn:
            self.parts.flush(self._tallies)

    def finish(self) -> Run:
        """Merge every process's parts into a run; the first process writes it."""
        if processes.rank() != 0:
            processes.barrier()
            assert self.folder is not None
            return Run.load(self.folder)
        samples = self.parts.merge(self._tallies, empty_tallies(self.analyzers))
        unreadable = {readable(self.data.path(i)): why for i, why in sorted(self.parts.failures.items())}
        provenance = {**self.terms, **circumstances(self.model, self.data), "unreadable": unreadable}
        name = self.settings.protocol
        provenance["protocol"] = name and protocol(name).record(self.data)
        provenance |= {
            "folded_sites": self._measured.card.folded,
            "stated": {name: one.as_json() for name, one in self.stated.items()},
            "seconds": round(time.monotonic() - self._start, 2),
        }
        made = samples, self._tallies, self.analyzers, self._plain, self.model, self.data, provenance, self._kept
        run = assemble(*made, self.clusters)
        self._say_chance(run)
        if self.folder is not None:
            run.save(self.folder)
            self.parts.remove()
        processes.barrier()
        return run

    def _probe(self, batch: Batch) -> Probe:
        return Probe(self._measured, batch.to(self._measured.device), seed=self.settings.seed, needs=self._needs)

    def _check_accuracy(self) -> None:
        """Before a long run, or where somebody said what the accuracy should be."""
        published = (self.model.card.display or {}).get("published_top1")
        expected = self.settings.expect_top1 or (published and (published, 1.0))
        self._looked_at = bool(expected or self.settings.strict or len(self.data) > 4 * IMAGES)
        if self._looked_at:
            doubt = preflight(self._measured, self.data, expected, self.settings.batch_size)
            if doubt and self.settings.strict:
                raise UserError(f"{doubt}; correct them, or leave out --strict")
            if doubt:
                logging.getLogger("gradlens").warning(doubt)

    def _say_chance(self, run: Run) -> None:
        """After a short run, whose accuracy was not looked at before."""
        valid, card = self.data.valid_classes, self.model.card
        column = run.samples.get("correct_valid" if valid else "correct")
        if column is None or self._looked_at or is_control(card) or processes.rank() != 0:
            return
        classes = len(valid) if valid else card.num_classes or 0
        if classes and (doubt := suspicion(card.name, int(column.sum()), int(column.count()), classes)):
            logging.getLogger("gradlens").warning(doubt)

    def _check_failures(self) -> None:
        failures = self.parts.failures
        if len(failures) > max(1, len(self.data) / 100):
            raise UserError(
                f"{len(failures)} images cannot be read, over 1 % of them; the first: {next(iter(failures.values()))}; "
                "repair or remove them, and choose another output"
            )


def _finished(folder: Path | None, terms: Mapping[str, Any], resume: bool) -> Run | None:
    """A run that is complete already: returned to who asks for the same one again."""
    if folder is None or not (folder / "run.json").exists():
        return None
    run = Run.load(folder)
    different = difference(run.provenance, terms)
    if resume and not different:
        if (folder / "parts").exists() and processes.rank() == 0:
            # Of a process that was killed between its last two steps.
            shutil.rmtree(folder / "parts", ignore_errors=True)
        return run
    what = f"another run, with {different}" if different else "a finished run"
    raise UserError(f"{folder} holds {what}; choose another output, or delete it")


def show_pilot(
    probe: Callable[[Batch], Probe], data: Data, analyzers: Sequence[Analyzer], examples: int, batch_size: int
) -> tuple[dict[str, NDArray], list[str]]:
    """Show the analyzers the same few images of every class; the examples to keep, and the columns to sum up."""
    pilot = _read(data, PILOT_IMAGES)
    # Looked at twice, since a piece that does not fit into memory must not have been half learnt from.
    _, size = within_memory(lambda piece: _check_labels(data, probe(piece)), pilot, batch_size)
    pieces = in_pieces(pilot, size)
    for piece in pieces:
        seen = probe(piece)
        for analyzer in analyzers:
            analyzer.fit(seen)
    plain, _ = within_memory(lambda piece: plain_columns(analyzers, probe(piece)), pieces[0], size)
    if not examples:
        return {}, plain[0]
    kept, _ = within_memory(lambda piece: kept_gradients(probe(piece)), _read(data, examples), size)
    return {name: np.concatenate([k[name] for k in kept]) for name in kept[0]}, plain[0]


def _read(data: Data, images: int) -> Batch:
    batch, _ = data.read(data.limit(images).indices.tolist())
    if batch is None:
        raise UserError(f"none of the first {images} images of {data.name} can be read; check the folder")
    return batch


def _check_labels(data: Data, probe: Probe) -> None:
    """That the model knows every label, from one look that needs the memory of any later one."""
    classes, highest = probe.logits.shape[1], int(data.labels.max())
    if highest >= classes:
        raise UserError(
            f"{data.name} has labels up to {highest}, the model has {classes} classes; give data with the classes "
            "that the model was trained on"
        )
    probe.scaled_gradient("loss")
