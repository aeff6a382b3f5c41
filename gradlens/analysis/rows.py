"""One batch through the analyzers: a row an image, and what the tallies are to be given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradlens.analyzers import PILOT_IMAGES, Analyzer, choose_analyzers, name_of
from gradlens.core.memory import in_pieces
from gradlens.core.types import Batch, UserError
from gradlens.data import Data
from gradlens.probes.probe import Probe

Observations = list[tuple[str, tuple[NDArray, ...]]]


def measurement(
    make: Callable[[Batch], Probe], analyzers: Sequence[Analyzer], valid: Sequence[int] | None = None
) -> Callable:
    """A function of a batch: one row an image, and what the tallies are to be given.

    valid: the classes that the data hold, where they are only some of the model's.
    """

    def measure(batch: Batch) -> tuple[pd.DataFrame, Observations]:
        probe = make(batch)
        columns = _core_columns(probe, valid)
        observations: Observations = []
        for analyzer in analyzers:
            found = columns_of(analyzer, probe)
            _check_new(found, columns, analyzer)
            columns |= found
            observations += [(f"{name_of(analyzer)}/{n}", v) for n, v in analyzer.observe(probe).items()]
        return _to_frame(columns), observations

    return measure


def columns_of(analyzer: Analyzer, probe: Probe) -> dict[str, Any]:
    """What an analyzer says of each image, under its suffix; refused where that is not one number an image."""
    found, who, count = analyzer.measure(probe), f"analyzer '{name_of(analyzer)}'", len(probe.batch)
    if not isinstance(found, Mapping):
        raise UserError(f"{who} returned a {type(found).__name__}; wanted {{column: (B,)}}")
    for name, values in found.items():
        shape = tuple(np.shape(values))
        if shape != (count,):
            raise UserError(f"{who}: column '{name}' has shape {shape}; wanted one number an image, ({count},)")
    return {f"{name}{analyzer.suffix}": values for name, values in found.items()}


def plain_columns(analyzers: Sequence[Analyzer], probe: Probe) -> list[str]:
    """The columns of those analyzers that leave it to the run to sum them up, from a first look.

    A method that says nothing of any image is told so here, before hours are spent on it.
    """
    names = []
    for analyzer in (a for a in analyzers if a.plain):
        for name, values in columns_of(analyzer, probe).items():
            if not torch.as_tensor(values).isfinite().any():
                raise UserError(
                    f"analyzer '{name_of(analyzer)}': column '{name}' is finite for none of the {len(probe.batch)} "
                    "images looked at first; return numbers, and NaN only for an image that has none"
                )
            names.append(name)
    return names


def _check_new(found: Mapping[str, Any], columns: Mapping[str, Any], analyzer: Analyzer) -> None:
    twice = next((name for name in found if name in columns), None)
    if twice:
        raise UserError(f"analyzer '{name_of(analyzer)}' gives a column '{twice}' that is there already; rename it")


def _core_columns(probe: Probe, valid: Sequence[int] | None) -> dict[str, Any]:
    known = probe.batch.target is not None
    among_valid = {}
    if known and valid:
        right = probe.predicted & right_among(probe.logits.detach(), probe.target, valid)
        among_valid["correct_valid"] = right.double().where(probe.known, torch.nan)
    of_prediction = {
        "prediction": probe.prediction,
        "confidence": probe.confidence,
        "error_mass": probe.error_mass,
        "loss": probe.loss,
        "margin": probe.margin,
        "rank_of_label": _rank_of_label(probe).double().where(probe.known, torch.nan),
    }
    return {
        "index": probe.batch.index,
        "label": probe.batch.target if probe.batch.target is not None else -torch.ones(len(probe.batch)),
        "correct": probe.correct.double().where(probe.known, torch.nan),
        **{name: torch.where(probe.predicted, value.double(), torch.nan) for name, value in of_prediction.items()},
        **among_valid,
    }


def right_among(logits: torch.Tensor, label: torch.Tensor, valid: Sequence[int]) -> torch.Tensor:
    """Whether the label's logit is the largest among the valid classes, ``(B,)``: ImageNet-A's and -R's accuracy."""
    classes = torch.tensor(valid, device=logits.device)
    return classes[logits[:, classes].argmax(1)] == label


def _rank_of_label(probe: Probe) -> torch.Tensor:
    logits = probe.logits.detach()
    return (logits > logits.gather(1, probe.target[:, None])).sum(1)


def _to_frame(columns: dict[str, Any]) -> pd.DataFrame:
    """All columns in one transfer from the device, as float64; identities keep their integers where all have one."""
    device = columns["prediction"].device
    tensors = [torch.as_tensor(v).detach().double().to(device) for v in columns.values()]
    table = torch.stack(tensors).cpu().numpy()
    # In two blocks, since pandas is slow with a hundred columns that are each their own.
    frame = pd.DataFrame(table.T, columns=list(columns))
    identities = frame[["index", "label", "prediction"]]
    whole = {name: np.int64 for name in identities if identities[name].notna().all()}
    return pd.concat([identities.astype(whole), frame.drop(columns=identities.columns)], axis=1)


PIECE = 64


def measure(
    probe: Probe, analyzers: str | Sequence[str | Analyzer | Callable] = "standard", pilot: Data | None = None
) -> pd.DataFrame:
    """The columns that ``analyze`` would give these images, a row an image.

    analyzers: as in ``analyze``; those without a column of single images, such as class selectivity,
    add none. pilot: the data whose 64 pilot images the nulls and colour axes come from, as in a run of
    them; without it they come from the probe's own images, and a null is missing where fewer than eight
    of them are of other classes. ``Run.measure`` uses the run's own.
    """
    return rows_of(probe, fitted(choose_analyzers(analyzers), probe, pilot))


def fitted(analyzers: Sequence[Analyzer], probe: Probe, pilot: Data | None, size: int = PIECE) -> list[Analyzer]:
    """Those that have columns, once they have seen the pilot images that a run of the data would show them.

    size: of the pieces that they see, on which the last digit may depend.
    """
    chosen = [a for a in analyzers if type(a).measure is not Analyzer.measure]
    for look in _pilot_looks(probe, pilot, size):
        for analyzer in chosen:
            analyzer.fit(look)
    return chosen


def rows_of(probe: Probe, analyzers: Sequence[Analyzer], valid: Sequence[int] | None = None) -> pd.DataFrame:
    """What fitted analyzers say of a probe's images; valid: the classes that the data hold, if not all."""
    rows, _ = measurement(lambda batch: probe, analyzers, valid)(probe.batch)
    return with_truths(rows)


def with_truths(samples: pd.DataFrame) -> pd.DataFrame:
    """Right or wrong as truth values, missing of an image without a label; no such column where none has one."""
    if samples["correct"].isna().all():
        return samples.drop(columns=["correct", "rank_of_label"])
    some = samples["correct"].isna().any()
    return samples.astype({c: "boolean" if some else bool for c in ("correct", "correct_valid") if c in samples})


def _pilot_looks(probe: Probe, pilot: Data | None, size: int) -> list[Probe]:
    if pilot is None:
        return [probe]
    batch, _ = pilot.read(pilot.limit(PILOT_IMAGES).indices.tolist())
    if batch is None:
        raise UserError(f"none of the pilot images of {pilot.name} can be read; check the folder")
    pieces = in_pieces(batch.to(probe.batch.image.device), size)
    return [Probe(probe.model, piece, seed=probe.seed) for piece in pieces]
