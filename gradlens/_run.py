"""``analyze``: a model and a data set → a Run. What any analyzer measures is not known here."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from gradlens import _distributed
from gradlens._loop import Batches, Stop, measure_all, measurement, name_of
from gradlens._parts import Parts, Tallies, difference
from gradlens._pilot import show_pilot
from gradlens._probe import Probe
from gradlens._progress import track
from gradlens._provenance import circumstances, contract
from gradlens._registry import analyzer as analyzers_by_name
from gradlens._registry import split_specs, suffix, unknown
from gradlens._results import Run
from gradlens._types import Batch, Preprocess, UserError
from gradlens.analyzers import STANDARD, Analyzer, Inline, Summary
from gradlens.data import Data, load_data
from gradlens.models import Classifier, ModelCard, load_model

PRECISIONS = ("float32", "bfloat16")


def analyze(
    model: str | Path | Classifier | nn.Module,
    data: str | Path | Data,
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
    progress: bool = True,
) -> Run:
    """Measure the input gradients of a model over a data set.

    model: a ``Classifier``, or what ``load_model`` takes. data: a ``Data``, or what ``load_data``
    takes. analyzers: ``standard``, ``full``, or a list of names, instances, or functions of a probe.
    out: a folder for the run, which makes it resumable; without it nothing is written. objective:
    gradients of other registered objectives are measured beside each other. examples: how many
    images' raw gradients to keep. Raises UserError for a user's mistake, Interrupted when stopped.
    """
    model = as_classifier(model)
    data = as_data(data, model).limit(limit)
    chosen = resolve_analyzers(analyzers, [objective] if isinstance(objective, str) else objective)
    _check_precision(precision)
    terms = contract(model, data, chosen, batch_size, seed, precision)
    folder = _output(out)
    if folder is not None and (folder / "run.json").exists():
        return _finished(folder, terms, resume)
    start = time.monotonic()
    measured = model.folded()
    needs = frozenset(need for a in chosen for need in a.needs)

    def probe(batch: Batch) -> Probe:
        return Probe(measured, batch.to(measured.device), seed=seed, needs=needs)

    parts = Parts(folder / "parts" if folder else None)
    _open(parts, terms, resume)
    with _precision(precision, measured.device):
        kept = show_pilot(probe, data, chosen, examples, batch_size)
        tallies = _tallies(chosen)
        batches = Batches(data, batch_size)
        workers = _workers(workers, measured)
        _measure(measurement(probe, chosen), batches, parts, tallies, workers, model.card.name if progress else None)
    _distributed.barrier()
    if _distributed.rank() == 0:
        samples = parts.merge(tallies, _tallies(chosen), len(batches))
        unreadable = {data.path(i): why for i, why in sorted(parts.failures.items())}
        provenance = {**terms, **circumstances(model, data), "folded_sites": measured.card.folded}
        provenance |= {"seconds": round(time.monotonic() - start, 2), "unreadable": unreadable}
        run = _assemble(samples, tallies, chosen, model, data, provenance, kept)
        _save(run, folder, parts)
    _distributed.barrier()
    return run if folder is None or _distributed.rank() == 0 else Run.load(folder)


def as_classifier(model: str | Path | nn.Module) -> Classifier:
    """A Classifier as it is; a bare module only if it came through ``load_model``."""
    return model if isinstance(model, Classifier) else load_model(model)


def as_data(data: str | Path | Data, model: Classifier) -> Data:
    """The data as the model wants it: its own preprocessing, or the pixels as they are."""
    data = data if isinstance(data, Data) else load_data(data)
    if model.card.preprocess is None and data.preprocess is None and data.varies_in_size:
        return data.bind(Preprocess())
    return data.bind(model.card.preprocess or data.preprocess)


def resolve_analyzers(
    chosen: str | Sequence[str | Analyzer | Callable], objectives: Sequence[str] = ("loss",)
) -> list[Analyzer]:
    """Analyzers from names, instances and functions; those of a gradient once for each objective."""
    if chosen == "standard":
        chosen = STANDARD
    elif chosen == "full":
        chosen = list(analyzers_by_name)
    elif isinstance(chosen, str):
        chosen = split_specs(chosen)
    found: list[Analyzer] = []
    for item in chosen:
        if isinstance(item, Analyzer):
            # A copy, since an analyzer that has seen one run's pilot images is of no use to another.
            found.append(copy.deepcopy(item))
        elif isinstance(item, str):
            found += _with_objectives(item, objectives)
        elif callable(item):
            found.append(Inline(item))
        else:
            raise UserError(f"{item!r} is not an analyzer; give a name, an instance or a function of a probe")
    names = [name_of(a) for a in found if not isinstance(a, Inline)]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise UserError(f"analyzer '{twice}' is asked for twice; give it once, or with other parameters")
    return found


def _with_objectives(spec: str, objectives: Sequence[str]) -> list[Analyzer]:
    from gradlens._registry import objective as objectives_by_name

    built = analyzers_by_name.build(spec)
    if not hasattr(built, "objective") or "objective=" in spec:
        return [built]
    for name in objectives:
        objectives_by_name.build(name)
    joint = "," if ":" in spec else ":"
    return [analyzers_by_name.build(f"{spec}{joint}objective={name}") for name in objectives]


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        why = "fp16 underflows gradients" if "16" in precision else ""
        raise UserError(unknown("precision", precision, PRECISIONS, why))


def _finished(folder: Path, terms: Mapping[str, Any], resume: bool) -> Run:
    """A run that is complete already: returned to who asks for the same one again."""
    run = Run.load(folder)
    different = difference(run.provenance, terms)
    if resume and not different:
        return run
    what = f"another run, with {different}" if different else "a finished run"
    raise UserError(f"{folder} holds {what}; choose another output, or delete it")


def _save(run: Run, folder: Path | None, parts: Parts) -> None:
    if folder is not None:
        run.save(folder)
        parts.remove()


def _output(out: str | Path | None) -> Path | None:
    if out is None and _distributed.world() > 1:
        raise UserError("several processes need a common folder for their parts; give an output")
    return None if out is None else Path(out)


def _open(parts: Parts, terms: Mapping[str, Any], resume: bool) -> None:
    """The first process opens the run, the others join it."""
    if _distributed.rank() == 0:
        parts.open(terms, resume)
    _distributed.barrier()
    if _distributed.rank() != 0:
        parts.join(terms)


def _precision(name: str, device: torch.device) -> AbstractContextManager:
    """bfloat16 by autocast; float32 is what a probe computes by itself."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


def _workers(asked: int | None, model: Classifier) -> int:
    """Decoding overlaps an accelerator; on the CPU it would only compete with the model."""
    if asked is not None:
        return asked
    return min(8, torch.get_num_threads()) if model.device.type != "cpu" else 0


def _measure(
    measure: Callable, batches: Batches, parts: Parts, tallies: Tallies, workers: int, label: str | None
) -> None:
    """This process's share of the batches that are not done yet, under a progress bar."""
    mine = range(_distributed.rank(), len(batches), _distributed.world())
    todo = [k for k in mine if k not in parts.done]
    total, left = batches.images(mine), batches.images(todo)
    show = label is not None and _distributed.rank() == 0
    tracked = track(batches.loader(todo, workers), label or "", total, total - left, show)
    stop = Stop()
    with stop.on_signals():
        measure_all(measure, tracked, parts, tallies, max(1, batches.images(range(len(batches))) / 100), stop)


def _tallies(analyzers: Sequence[Analyzer]) -> Tallies:
    return {f"{name_of(a)}/{name}": tally for a in analyzers for name, tally in a.tallies().items()}


def _assemble(
    samples: pd.DataFrame,
    tallies: Tallies,
    analyzers: Sequence[Analyzer],
    model: Classifier,
    data: Data,
    provenance: dict[str, Any],
    examples: dict[str, Any],
) -> Run:
    samples.insert(1, "path", [data.path(i) for i in samples["index"]])
    if data.labelled:
        samples["correct"] = samples["correct"].astype(bool)
    else:
        samples = samples.drop(columns=["correct", "rank_of_label"])
    summary = _core_summary(samples, model.card, data, provenance)
    arrays: dict[str, np.ndarray] = {}
    for analyzer in analyzers:
        scalars, found = _summary_of(analyzer, samples, tallies)
        summary |= {f"{name}{suffix(analyzer)}": value for name, value in scalars.items()}
        arrays |= {f"{name_of(analyzer)}/{name}": array for name, array in found.items()}
    return Run(samples, summary, arrays, provenance, examples, model=model, data=data)


def _summary_of(analyzer: Analyzer, samples: pd.DataFrame, tallies: Tallies) -> Summary:
    """The analyzer sees its own columns and tallies under their plain names."""
    tail, prefix = suffix(analyzer), f"{name_of(analyzer)}/"
    own = samples
    if tail:
        plain = {c: c.removesuffix(tail) for c in samples if c.endswith(tail)}
        own = samples.drop(columns=[p for p in plain.values() if p in samples]).rename(columns=plain)
    return analyzer.summarize(own, {n.removeprefix(prefix): t for n, t in tallies.items() if n.startswith(prefix)})


def _core_summary(samples: pd.DataFrame, card: ModelCard, data: Data, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """timm's results columns, so that a run joins its public tables."""
    preprocess = data.preprocess
    known = "correct" in samples
    return {
        "model": card.name,
        "data": data.name,
        "images": len(samples),
        "img_size": preprocess.size if preprocess else None,
        "top1": 100 * float(samples["correct"].mean()) if known else np.nan,
        "top5": 100 * float((samples["rank_of_label"] < 5).mean()) if known else np.nan,
        "param_count": round(provenance["model"]["param_count"] / 1e6, 4),
        "crop_pct": preprocess.crop_pct if preprocess else None,
        "interpolation": preprocess.interpolation if preprocess else None,
        "unreadable": len(provenance["unreadable"]),
    }
