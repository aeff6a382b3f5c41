"""A value with its source: what the user states wins, what a file states comes next, a default is said aloud.

Every setting that decides a number comes through here: size, crop, interpolation, mean, std, architecture,
activation, weights, classes, split and labels. So a run can say in one line what nobody stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar

from gradlens.core.types import UserError

Value = TypeVar("Value")


class Rank(IntEnum):
    """Whose word counts, the strongest first."""

    USER = 0
    FILE = 1
    DEFAULT = 2


@dataclass(frozen=True)
class Stated(Generic[Value]):
    """A value, who stated it, and where: ``Stated(224, Rank.DEFAULT, "resnet50's own")``."""

    value: Value
    rank: Rank
    where: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "by": self.rank.name.lower(), "where": self.where}

    def __str__(self) -> str:
        return f"{_short(self.value)} ({self.where})" if self.where else _short(self.value)


def by_user(value: Value, where: str = "") -> Stated[Value]:
    return Stated(value, Rank.USER, where)


def by_file(value: Value, where: str) -> Stated[Value]:
    return Stated(value, Rank.FILE, where)


def by_default(value: Value, where: str) -> Stated[Value]:
    return Stated(value, Rank.DEFAULT, where)


def settled(name: str, *candidates: Stated[Value] | None) -> Stated[Value] | None:
    """The one that counts: the strongest, the first of equals; None where nobody says anything.

    Two statements of the same strength that differ are refused for a file, which cannot mean both.
    """
    known = [one for one in candidates if one is not None and one.value is not None]
    if not known:
        return None
    best = min(known, key=lambda one: one.rank)
    other = next((o for o in known if o.rank == best.rank == Rank.FILE and o.value != best.value), None)
    if other is not None:
        raise UserError(f"two statements of {name}: {best}, and {other}; give --{name.replace('_', '-')}")
    return best


def inferred(stated: Mapping[str, Stated[Any]]) -> str:
    """What nobody stated, in one line, together by where it comes from; empty where all was stated."""
    return said(stated, Rank.DEFAULT)


def said(stated: Mapping[str, Stated[Any]], rank: Rank) -> str:
    """What comes from one kind of source, in one line."""
    places: dict[str, list[str]] = {}
    for name, one in stated.items():
        if one.rank is rank:
            places.setdefault(one.where, []).append(f"{name.replace('_', ' ')} {_short(one.value)}")
    return "; ".join(f"{', '.join(names)} ({where})" if where else ", ".join(names) for where, names in places.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(_short(part) for part in value)
    return str(value)
