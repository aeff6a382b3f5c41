"""A run of format 1, read as if it had been written today: old runs are compared with new ones, by the same names.

In format 1 the limits of a mean ``x_mean`` were called ``x_low`` and ``x_high``, what a number of a
column in brackets is came behind them (``share_r[gray]_mean``), and parameters were rounded to six digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gradlens.core.names import Name

BEHIND = re.compile(r"([^\[]*)(\[[^\]]*\])_(mean|low|high)(.*)")


def todays(parts: Mapping[str, Any]) -> dict[str, Any]:
    """All parts of a run, as ``Run`` takes them, by today's names."""
    summary, about = parts["summary"], parts["provenance"]
    keys = {todays_name(key) for key in summary}
    return {
        **parts,
        "samples": parts["samples"].rename(columns=todays_name),
        "summary": {_of_mean(todays_name(key), keys): value for key, value in summary.items()},
        "arrays": {todays_name(name): array for name, array in parts["arrays"].items()},
        "provenance": {
            **about,
            "analyzers": [todays_name(name) for name in about.get("analyzers") or ()],
            "readings": [[title, todays_name(key), meaning] for title, key, meaning in about.get("readings") or ()],
            "primary": [todays_name(column) for column in about.get("primary") or ()],
            "missing": {todays_name(key): why for key, why in (about.get("missing") or {}).items()},
        },
    }


def todays_name(name: str) -> str:
    """What is measured before the brackets, and in them the numbers as they were given: ``eps=8/255``."""
    return re.sub(r"\[[^\]]*\]", lambda found: _unrounded(found[0]), BEHIND.sub(r"\1_\3\2\4", name))


def _unrounded(parameters: str) -> str:
    """Decimals as the fractions that they are six digits of: ``eps=0.0313725`` → ``eps=8/255``."""

    def fraction(found: re.Match) -> str:
        steps = round(255 * float(found[0]))
        return f"{steps}/255" if len(found[0]) > 6 and f"{steps / 255:g}" == found[0] else found[0]

    return re.sub(r"(?<==)\d*\.\d+(?=[,\]])", fraction, parameters)


def _of_mean(key: str, keys: set[str]) -> str:
    name = Name.parse(key)
    stem, _, end = name.stem.rpartition("_")
    mean = Name(f"{stem}_mean", name.tail)
    lost = end in ("low", "high") and str(Name(stem, name.tail)) not in keys and str(mean) in keys
    return str(mean.ending(end)) if lost else key
