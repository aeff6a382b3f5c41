"""Numbers of a summary under their keys, each missing one with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from gradlens.analyzers._base import Summary


def keyed(number: str, group: str, values: Mapping[str, float]) -> dict[str, float]:
    """One number of a group, and what stands beside it: its limits, its p.

    ``keyed("l1_mean", "robust[…]", {"": 3, "low": 2})`` is ``{"l1_mean_robust[…]": 3, "l1_mean_robust_low[…]": 2}``.
    """
    name, bracket, parameters = group.partition("[")
    parts = {what: "_".join(filter(None, (number, name, what))) for what in values}
    return {f"{parts[what]}{bracket}{parameters}": value for what, value in values.items()}


def with_limits(number: str, interval: tuple[float, float, float], group: str = "") -> dict[str, float]:
    """A number with its ``_low`` and ``_high``."""
    return keyed(number, group, dict(zip(("", "low", "high"), interval, strict=True)))


def explained(numbers: Mapping[str, float], reason: str) -> Summary:
    """The numbers, and why those are missing that are not there."""
    return Summary(dict(numbers), missing={k: reason for k, v in numbers.items() if not math.isfinite(v)})


def merged(parts: Iterable[Summary]) -> Summary:
    """Several summaries as one."""
    whole = Summary({}, {}, {})
    for scalars, arrays, missing in parts:
        whole.scalars.update(scalars)
        whole.arrays.update(arrays)
        whole.missing.update(missing)
    return whole
