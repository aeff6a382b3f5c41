"""Numbers of a summary under their keys, each missing one with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from gradlens.analyzers._base import Summary
from gradlens.core.names import Name


def in_group(number: str, group: str) -> str:
    """A number of some of the images: ``l1_mean`` of ``robust[…]`` is ``l1_mean_robust[…]``, of all is itself."""
    of = Name.parse(group)
    return str(Name("_".join(filter(None, (number, of.stem))), of.tail))


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
