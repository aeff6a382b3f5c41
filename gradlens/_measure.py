"""From a probe to the row that an analysis would give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from gradlens._loop import in_pieces, measurement
from gradlens._pilot import PILOT_IMAGES
from gradlens._probe import Probe
from gradlens._types import UserError
from gradlens.analyzers import Analyzer, choose_analyzers
from gradlens.data import Data

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
    if probe.batch.target is None:
        return rows.drop(columns=["correct", "rank_of_label"])
    return rows.astype({c: bool for c in ("correct", "correct_valid") if c in rows})


def _pilot_looks(probe: Probe, pilot: Data | None, size: int) -> list[Probe]:
    if pilot is None:
        return [probe]
    batch, _ = pilot.read(pilot.limit(PILOT_IMAGES).indices.tolist())
    if batch is None:
        raise UserError(f"none of the pilot images of {pilot.name} can be read; check the folder")
    pieces = in_pieces(batch.to(probe.batch.image.device), size)
    return [Probe(probe.model, piece, seed=probe.seed) for piece in pieces]
