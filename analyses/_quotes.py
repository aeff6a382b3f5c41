"""What check.py reads and compares: committed results, numbers over seeds, and texts that quote them."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradlens.stats.intervals import mean_interval

ROOT = Path(__file__).parents[1]
README, CLAIMS, COSTS = "README.md", "docs/claims.md", "docs/costs.md"
EPS = "mean minimal eps"
Rows = Sequence[Mapping[str, Any]]


class Quote(NamedTuple):
    """A text with numbers that has to stand on a page."""

    page: str
    text: str


class Claim(NamedTuple):
    """What has to follow from the results, whether or not a page says it in numbers."""

    says: str
    holds: bool


class Interval(NamedTuple):
    """A mean with its 95 % t-interval over seeds."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """``0.17 [0.09, 0.25]``."""
        mean, low, high = (f"{value:.{digits}f}".replace("-", "−") for value in self)
        return f"{mean} [{low}, {high}]"

    @property
    def around(self) -> str:
        """``3.1 ± 0.3``."""
        return f"{self.mean:.1f} ± {(self.high - self.low) / 2:.1f}"


@functools.cache
def result(folder: str, name: str) -> Any:
    return json.loads((ROOT / folder / "results" / f"{name}.json").read_text())


def over(rows: Rows, key: str) -> Interval:
    assert len(rows) == 5, f"five seeds were meant, {len(rows)} are there"
    return Interval(*mean_interval([row[key] for row in rows]))


def gap(a: Rows, b: Rows, key: str) -> Interval:
    """Paired by seed."""
    return over([{key: x[key] - y[key]} for x, y in zip(a, b, strict=True)], key)


def times(a: Rows, b: Rows) -> Interval:
    """Mean minimal ε as a multiple, paired by seed."""
    return over([{EPS: x[EPS] / y[EPS]} for x, y in zip(a, b, strict=True)], EPS)


def follows(says: str, found: Interval, stored: Mapping[str, float]) -> Claim:
    """Whether the interval that an analysis wrote beside its seeds is the one of these seeds."""
    same = all(math.isclose(own, stored[name], abs_tol=1e-12) for name, own in found._asdict().items())
    return Claim(f"{says} follows from the seeds", same)
