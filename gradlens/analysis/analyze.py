"""``analyze``: a model and a data set → a Run. What any analyzer measures is not known here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradlens.analysis.analysis import Session, Settings
from gradlens.analysis.class_names import as_model_counts
from gradlens.analysis.clusters import Clusters, clusters_of
from gradlens.analysis.doubts import contradictions
from gradlens.analysis.loop import pass_on
from gradlens.analysis.preprocessing import bound
from gradlens.analyzers import PILOT_IMAGES, Analyzer, choose_analyzers
from gradlens.core import processes
from gradlens.core.memory import peak_bytes
from gradlens.core.numbers import amount
from gradlens.core.processes import Stop
from gradlens.core.progress import track
from gradlens.core.stated import inferred
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import Preprocess, UserError
from gradlens.data import Data, load_data
from gradlens.data.batches import Batches
from gradlens.models import Classifier, load_model
from gradlens.runs.record import Run

# From so many images on, a batch more is a small part of a run; a shorter run needs no estimate.
LONG, MINUTES = 16 * PILOT_IMAGES, 1


def analyze(
    model: str | Path | Classifier | nn.Module,
    data: Any,
    analyzers: str | Sequence[str | Analyzer | Callable] = "standard",
    out: str | Path | None = None,
    *,
    objective: str | Sequence[str] = "loss",
    limit: int | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    precision: str = "float32",
    seed: int = 0,
    examples: int = 16,
    resume: bool = False,
    expect_top1: tuple[float, float] | None = None,
    strict: bool = False,
    progress: bool = True,
    preprocess: Preprocess | None = None,
    clusters: Clusters = None,
) -> Run:
    """Measure the input gradients of a model over a data set.

    model: a ``Classifier``, or what ``load_model`` takes. data: a ``Data``, or what ``load_data``
    takes. analyzers: ``standard``, ``full``, or a list of names, instances, or functions of a probe.
    out: a folder for the run, which makes it resumable; without it nothing is written. objective:
    gradients of other registered objectives are measured beside each other. examples: how many
    images' raw gradients to keep. expect_top1: percent and tolerance, checked on 512 images before
    the run; a suspicious accuracy is warned about, or refused where strict. preprocess: goes before the
    model's own, as one that is bound to the data does. clusters: which images count as
    one sample in every interval, such as crops of one photograph; by default what the data know. ``FILE.csv:COLUMN``,
    whose first column names the images, a name an image, ``label``, or ``path``, where each is its own. Raises
    UserError for a user's mistake, Interrupted when stopped.
    """
    settings = Settings(batch_size, precision, seed, examples, resume, expect_top1, strict)
    rest = limit, workers, progress, preprocess, clusters
    return analyze_all([model], data, analyzers, [out], settings, objective, *rest)[0]


@undisturbed()
def analyze_all(
    models: Sequence[str | Path | Classifier | nn.Module],
    data: Any,
    analyzers: str | Sequence[str | Analyzer | Callable] = "standard",
    outs: Sequence[str | Path | None] = (),
    settings: Settings | None = None,
    objective: str | Sequence[str] = "loss",
    limit: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    preprocess: Preprocess | None = None,
    clusters: Clusters = None,
) -> list[Run]:
    """Several models over the same images; those with the same preprocessing share decoded batches.

    preprocess goes before the models' own, as a published protocol asks for.
    """
    sessions = []
    with ExitStack() as claims:
        for model, out in zip(models, outs or [None] * len(models), strict=True):
            classifier = as_classifier(model)
            opened = data = data if isinstance(data, Data) else load_data(data)
            named, said = as_model_counts(opened, classifier)
            _warn(said)
            pixels, stated = bound(named, classifier, preprocess)
            chosen = choose_analyzers(analyzers, [objective] if isinstance(objective, str) else objective)
            known = {name: one for name, one in {**classifier.card.stated, **stated}.items() if one is not None}
            asked = chosen, _output(out), settings or Settings(), known, clusters_of(opened, clusters)
            sessions.append(Session(classifier, pixels.limit(limit), *asked))
            claims.enter_context(sessions[-1].claimed())
        return _runs(sessions, workers, progress)


def _runs(sessions: Sequence[Session], workers: int | None, progress: bool) -> list[Run]:
    unfinished = [session for session in sessions if session.finished is None]
    _say_doubts(unfinished)
    for session in unfinished:
        session.open()
        _say_inferred(session)
    _say_cost(unfinished, workers)
    for seen in dict.fromkeys(map(_images_of, unfinished)):
        _measure([s for s in unfinished if _images_of(s) == seen], workers, progress)
    # Every process's parts must be there before the first one merges them.
    processes.barrier()
    return [session.finished or session.finish() for session in sessions]


def _images_of(session: Session) -> tuple[Preprocess | None, int, bytes]:
    return session.data.preprocess, session.data.channels, session.data.labels.tobytes()


def _measure(sessions: Sequence[Session], workers: int | None, progress: bool) -> None:
    """This process's share of the batches that are not done yet, under a progress bar."""
    data, size = sessions[0].data, sessions[0].settings.batch_size
    batches = Batches(data, size)
    mine = range(processes.rank(), len(batches), processes.world())
    todo = [k for k in mine if any(k not in s.parts.done for s in sessions)]
    loader = batches.loader(todo, _workers(workers, sessions[0].model))
    total, left = batches.images(mine), batches.images(todo)
    label = " + ".join(s.model.card.name for s in sessions)
    tracked = track(loader, label, total, total - left, progress and processes.rank() == 0)
    stop = Stop()
    with stop.on_signals():
        pass_on(tracked, sessions, stop)


def _say_doubts(sessions: Sequence[Session]) -> None:
    """What the data's layout and two statements of a normalisation leave in doubt, before hours are spent on it."""
    doubts = [said for session in sessions for said in contradictions(session.model, session.data)]
    if doubts and sessions[0].settings.strict:
        raise UserError(f"{doubts[0]}; or leave out --strict")
    notes = [note for session in sessions for note in session.data.notes]
    for note in dict.fromkeys(notes + doubts):
        _warn(note)


def _say_inferred(session: Session) -> None:
    """In one line what nobody stated, where a number could be another one."""
    said = inferred(session.stated)
    _warn(said and f"{session.model.card.name}: not stated, so taken: {said}")


def _warn(said: str) -> None:
    """Once, by the first process, where there is something to say."""
    if said and processes.rank() == 0:
        logging.getLogger("gradlens").warning(said)


def _say_cost(sessions: Sequence[Session], workers: int | None) -> None:
    """Before a long run, how long it takes and how much memory, from a batch of each model."""
    images = max((len(session.data) for session in sessions), default=0)
    if images < LONG or processes.rank() != 0:
        return
    paces = [session.pace() for session in sessions]
    decoders = _workers(workers, sessions[0].model)
    decoding, measuring = max(decoded for decoded, _ in paces), sum(measured for _, measured in paces)
    each = max(decoding / decoders, measuring) if decoders else decoding + measuring
    minutes = each * images / processes.world() / 60
    if minutes >= MINUTES:
        took = f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
        device = sessions[0].model.device
        peak = peak_bytes(device)
        held = f", {amount(peak)} of {device.type} memory" if peak else ""
        logging.getLogger("gradlens").warning(f"about {took} for {images:,} images{held}")


def as_classifier(model: str | Path | nn.Module) -> Classifier:
    """A Classifier as it is; a bare module only if it came through ``load_model``."""
    if not isinstance(model, (str, Path, nn.Module)):
        raise UserError(
            f"a model is a {type(model).__name__}; give a checkpoint's path, a name, or what load_model gives"
        )
    return model if isinstance(model, Classifier) else load_model(model)


def _output(out: str | Path | None) -> Path | None:
    if out is None and processes.world() > 1:
        raise UserError("several processes need a common folder for their parts; give an output")
    return None if out is None else Path(out).expanduser()


def _workers(asked: int | None, model: Classifier) -> int:
    """Decoding overlaps an accelerator; on the CPU it would only compete with the model."""
    if asked is not None:
        return asked
    return min(8, torch.get_num_threads()) if model.device.type != "cpu" else 0
