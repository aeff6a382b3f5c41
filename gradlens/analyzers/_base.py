from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from gradlens.core.names import suffix
from gradlens.probes.probe import Probe
from gradlens.stats.tallies import Tally

# So many images of every class a run shows its analyzers before the first batch.
PILOT_IMAGES = 64


class Reading(NamedTuple):
    """A number of the summary that is worth a row in a table: its title, its key, and how to read it."""

    title: str
    key: str
    meaning: str = ""


class Summary(NamedTuple):
    """What an analyzer says of a whole run: numbers by name, and arrays by what they hold.

    missing: why a number that a reader would look for is not there, by its name.
    """

    scalars: dict[str, float] = {}  # noqa: RUF012 - never written to
    arrays: dict[str, NDArray] = {}  # noqa: RUF012
    missing: dict[str, str] = {}  # noqa: RUF012


class Analyzer:
    """A dataclass of parameters that reads probes.

    One number an image is a column; what that cannot hold goes to tallies. Everything but ``measure``
    is optional. ``readings`` are the numbers that tables show first, ``primary`` the columns that a
    comparison tests with the correction for few declared hypotheses.
    """

    readings: ClassVar[tuple[Reading, ...]] = ()
    primary: ClassVar[tuple[str, ...]] = ()

    @property
    def suffix(self) -> str:
        """What stands behind the names of its columns and numbers: its non-default parameters."""
        return suffix(self)

    @property
    def needs(self) -> tuple[str, ...]:
        """What a probe must keep: ``units``, ``units:NAME``, and by default the gradient it is a measure of."""
        return (f"gradient:{self.objective}",) if hasattr(self, "objective") else ()

    def expect(self, index: NDArray, label: NDArray) -> None:
        """Hear which images of which classes will come, ``(N,)`` each, before the first one."""

    def fit(self, pilot: Probe) -> None:
        """See the run's fixed pilot images, a piece at a time, before the first batch."""

    def measure(self, probe: Probe) -> Mapping[str, Tensor]:
        """``{column: (B,)}``; the numbers of one image do not depend on the others."""
        return {}

    def tallies(self) -> Mapping[str, Tally]:
        """Empty accumulators by name."""
        return {}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        """What each tally's ``update`` is to be given of this batch."""
        return {}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Numbers and arrays of the whole run, from its own columns and tallies.

        An analyzer that does not say otherwise gets the mean of each of its columns with its interval.
        """
        return Summary()

    @property
    def plain(self) -> bool:
        """Whether it says nothing of a whole run by itself."""
        return type(self).summarize is Analyzer.summarize


class Inline(Analyzer):
    """An analyzer from a function ``probe -> {column: (B,)}``; name: its own, where it is registered."""

    def __init__(self, function: Callable[[Probe], Mapping[str, Tensor]], name: str = "inline"):
        self.function, self.name = function, name

    def measure(self, probe: Probe) -> Mapping[str, Tensor]:
        return self.function(probe)
