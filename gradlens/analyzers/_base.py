"""What an analyzer is, how analyzers are chosen by name, and the numbers that they sum a run up in."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from gradlens.core.names import Name, first_twice, parse_spec, snake_case, split_specs, suffix, with_limits
from gradlens.core.registry import analyzer as analyzers_by_name
from gradlens.core.registry import objective as objectives_by_name
from gradlens.core.types import UserError
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import mean_interval, quantile_interval
from gradlens.stats.tallies import Tally

# So many images of every class a run shows its analyzers before the first batch.
PILOT_IMAGES = 64
NO_INTERVAL = "too few images for an interval, or single ones rule the mean (Cochran's rule)"


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


def in_group(number: str, group: str) -> str:
    """A number of some of the images: ``l1_mean`` of ``robust[…]`` is ``l1_mean_robust[…]``, of all is itself."""
    of = Name.parse(group)
    return str(Name("_".join(filter(None, (number, of.stem))), of.tail))


def explained(numbers: Mapping[str, float], reason: str) -> Summary:
    """The numbers, and why those are missing that are not there."""
    return Summary(dict(numbers), missing={k: reason for k, v in numbers.items() if not math.isfinite(v)})


def explained_means(numbers: Mapping[str, float], reason: str) -> Summary:
    """The same of means, whose limits may be missing for a reason of their own."""
    return Summary(dict(numbers), missing=explained(numbers, reason).missing | without_limits(numbers))


def without_limits(numbers: Mapping[str, Any]) -> dict[str, str]:
    """Why numbers that are there have no interval, by the limits' names."""
    there = [name for name, value in numbers.items() if isinstance(value, int | float) and math.isfinite(value)]
    ends = [str(Name.parse(name).ending(end)) for name in there for end in ("low", "high")]
    return {name: NO_INTERVAL for name in ends if name in numbers and not math.isfinite(numbers[name])}


def means(samples: pd.DataFrame, names: Iterable[str]) -> dict[str, float]:
    """The mean of each of these columns that is there, with its 95 % interval over images or their clusters."""
    found: dict[str, float] = {}
    for name in filter(samples.__contains__, names):
        interval = mean_interval(samples[name], cluster=cluster_of(samples))
        found |= with_limits(str(Name.parse(name).ending("mean")), interval)
    return found


def medians(samples: pd.DataFrame, names: Iterable[str]) -> dict[str, float]:
    """The median of each of these columns, with its 95 % interval over images or their clusters."""
    found: dict[str, float] = {}
    for name in names:
        interval = quantile_interval(samples[name], cluster=cluster_of(samples))
        found |= with_limits(str(Name.parse(name).ending("median")), interval)
    return found


def merged(parts: Iterable[Summary]) -> Summary:
    """Several summaries as one."""
    whole = Summary({}, {}, {})
    for scalars, arrays, missing in parts:
        whole.scalars.update(scalars)
        whole.arrays.update(arrays)
        whole.missing.update(missing)
    return whole


STANDARD = ("sample_asymmetry", "channel_asymmetry", "edge_concentration", "class_selectivity")


def name_of(analyzer: Analyzer) -> str:
    """An analyzer's registered name with its non-default parameters."""
    return analyzer.name if isinstance(analyzer, Inline) else snake_case(type(analyzer).__name__) + suffix(analyzer)


def choose_analyzers(
    chosen: str | Sequence[str | Analyzer | Callable], objectives: Sequence[str] = ("loss",)
) -> list[Analyzer]:
    """Analyzers from names, instances and functions; those of a gradient once for each objective."""
    found: list[Analyzer] = []
    for item in _listed(split_specs(chosen) if isinstance(chosen, str) else chosen):
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
    if twice := first_twice(names):
        raise UserError(f"analyzer '{twice}' is asked for twice; give it once, or with other parameters")
    return found


def _listed(chosen: Sequence[str | Analyzer | Callable]) -> list[str | Analyzer | Callable]:
    """Each of what is asked for, with what ``standard`` and ``full`` stand for and does not stand there already."""
    words: dict[Any, Iterable[str]] = {"standard": STANDARD, "full": analyzers_by_name}
    listed: list[str | Analyzer | Callable] = []
    for item in chosen:
        several = words.get(item) if isinstance(item, str) else None
        listed += [item] if several is None else [name for name in several if name not in (*listed, *chosen)]
    return listed


def _with_objectives(spec: str, objectives: Sequence[str]) -> list[Analyzer]:
    built = analyzers_by_name.build(spec)
    if not isinstance(built, Analyzer):
        return [Inline(built, parse_spec(spec)[0])]
    if not hasattr(built, "objective") or "objective=" in spec:
        return [built]
    for name in objectives:
        objectives_by_name.build(name)
    joint = "," if ":" in spec else ":"
    return [analyzers_by_name.build(f"{spec}{joint}objective={name}") for name in objectives]
