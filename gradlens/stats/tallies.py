"""Accumulators for what one number an image cannot hold.

Merging must give the same bits in any order, or a resumed or distributed run would differ from an
uninterrupted one. Counts are integers; sums are kept as integers too, in units of a power of two
fixed before the run, so addition is exact and associative.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gradlens.core.types import UserError


@runtime_checkable
class Tally(Protocol):
    """``update`` adds a batch, ``merge`` another part, ``state`` is what a file keeps."""

    def merge(self, other: Any) -> None: ...
    def state(self) -> dict[str, NDArray]: ...
    def load(self, state: dict[str, NDArray]) -> None: ...


class _Sums:
    """Named integer arrays that merge by addition."""

    def __init__(self, **arrays: NDArray[np.int64]):
        self._arrays = arrays

    def merge(self, other: _Sums) -> None:
        for name, array in other._arrays.items():
            self._arrays[name] += array

    def state(self) -> dict[str, NDArray]:
        return dict(self._arrays)

    def load(self, state: dict[str, NDArray]) -> None:
        for name, array in self._arrays.items():
            if state[name].shape != array.shape:
                raise UserError(
                    f"a part of the run holds {name} of shape {state[name].shape}, wanted "
                    f"{array.shape}; it belongs to another run: choose another output folder"
                )
            self._arrays[name] = state[name].copy()


class Histogram(_Sums):
    """Counts in fixed logarithmic bins, 1e-14 … 1e4 at 40 a decade.

    The edges are constants of the program, so any two runs merge and overlay. Row r of ``counts``
    is ``(underflow, 720 bins, overflow)``; exact zeros and non-finite values are counted apart.
    """

    DECADES, PER_DECADE = (-14, 4), 40
    BINS = (DECADES[1] - DECADES[0]) * PER_DECADE

    def __init__(self, rows: int):
        counts = np.zeros((rows, self.BINS + 2), np.int64)
        super().__init__(counts=counts, zeros=np.zeros(rows, np.int64), invalid=np.zeros(rows, np.int64))

    @classmethod
    def edges(cls) -> NDArray[np.float64]:
        """The ``BINS + 1`` edges, in the unit of what is counted."""
        return np.logspace(*cls.DECADES, cls.BINS + 1)

    def update(self, counts: NDArray, zeros: NDArray, invalid: NDArray) -> None:
        """Add counts that were binned elsewhere (on the device): ``(rows, BINS + 2)``, ``(rows,)`` twice."""
        for name, array in (("counts", counts), ("zeros", zeros), ("invalid", invalid)):
            self._arrays[name] += array.astype(np.int64)


class PerClass(_Sums):
    """Class-conditional sums of ``(B, U)`` values and their total squares, for means and variances.

    ``scale`` ``(U,)`` is a typical magnitude of each column, taken from pilot images. Values are
    rounded to ``scale · 2⁻³⁰``, whose sums stay exact up to ``2³²`` times the scale.
    """

    FRACTION_BITS = 30

    def __init__(self, classes: int, scale: NDArray[np.float64]):
        units = len(scale)
        super().__init__(
            count=np.zeros(classes, np.int64),
            total=np.zeros((classes, units), np.int64),
            squares=np.zeros(units, np.int64),
        )
        exponent = np.ceil(np.log2(np.maximum(np.asarray(scale, np.float64), 1e-30)))
        self.unit = np.exp2(exponent - self.FRACTION_BITS)
        # Squares carry the same relative precision in the unit of the squared scale.
        self.square_unit = np.exp2(2 * exponent - self.FRACTION_BITS)

    def update(self, values: NDArray, label: NDArray) -> None:
        """Add ``values (B, U)`` of class ``label (B,)``, or of several classes each, ``(B, L)``.

        Negative labels and rows that are not finite are skipped; several classes share one square.
        """
        label = label.reshape(len(values), -1)
        known, finite = label >= 0, np.isfinite(values).all(1)
        np.add.at(self._arrays["count"], label[known & finite[:, None]], 1)
        # Row by row, so that what lies between stays in the processor's cache.
        for row in np.flatnonzero(known.any(1) & finite):
            number = values[row].astype(np.float64)
            total = np.rint(number / self.unit).astype(np.int64)
            for k in label[row, known[row]]:
                self._arrays["total"][k] += total
            self._arrays["squares"] += np.rint(number**2 / self.square_unit).astype(np.int64)

    @property
    def count(self) -> NDArray[np.int64]:
        """Images a class, ``(K,)``."""
        return self._arrays["count"]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Class means ``(K, U)``; rows of classes without images are NaN."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._arrays["total"] * self.unit / self.count[:, None]

    @property
    def sum_of_squares(self) -> NDArray[np.float64]:
        """Σ x² over all images, ``(U,)``."""
        return self._arrays["squares"] * self.square_unit


class Moments(_Sums):
    """Counts, sums and sums of squares of ``(B, U)`` values, for each column's mean and standard error.

    A number is kept as two integers, in units of 2⁻³⁰ and, for the rest, of 2⁻⁶⁸: shares of 1 and of
    1e-9 keep their digits beside each other, without knowing beforehand which is which. Sums are exact
    up to 2³³ and, of the rests, over 2²⁵ rows.
    """

    UNITS = np.exp2([-30.0, -68.0])

    def __init__(self, columns: int):
        super().__init__(
            count=np.zeros(columns, np.int64),
            total=np.zeros((2, columns), np.int64),
            squares=np.zeros((2, columns), np.int64),
        )

    def update(self, values: NDArray) -> None:
        """Add ``values (B, U)``; what is not finite is left out of its column."""
        known = np.isfinite(values)
        values = np.where(known, values, 0.0).astype(np.float64)
        self._arrays["count"] += known.sum(0)
        for name, numbers in (("total", values), ("squares", values**2)):
            coarse = np.floor(numbers / self.UNITS[0])
            fine = np.rint((numbers - coarse * self.UNITS[0]) / self.UNITS[1])
            self._arrays[name] += np.stack([coarse, fine]).astype(np.int64).sum(1)

    @property
    def count(self) -> NDArray[np.int64]:
        """Finite values a column, ``(U,)``."""
        return self._arrays["count"]

    @property
    def mean(self) -> NDArray[np.float64]:
        """``(U,)``; NaN where nothing was counted."""
        with np.errstate(invalid="ignore"):
            return self.UNITS @ self._arrays["total"] / self.count

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Of the mean, ``(U,)``; NaN below two values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.maximum(self.UNITS @ self._arrays["squares"] - self.count * self.mean**2, 0)
            return np.sqrt(np.where(self.count > 1, deviation / (self.count - 1) / self.count, np.nan))


class Covariance(_Sums):
    """Sums of ``(B, U)`` values and of their products, for a covariance over more images than memory holds.

    scale ``(U,)`` is a typical magnitude of each column. Values are rounded to ``scale · 2⁻¹⁶``, which adds
    1e-11 of the squared scale to a variance: what is smaller is not told from nothing.
    """

    FRACTION_BITS = 16
    # Integers below 2²², whose products' sums over so many rows a float64 holds exactly.
    LARGEST, ROWS = 2.0**22, 512

    def __init__(self, scale: NDArray[np.float64]):
        units = len(scale)
        super().__init__(
            count=np.zeros(1, np.int64),
            beyond=np.zeros(1, np.int64),
            total=np.zeros(units, np.int64),
            products=np.zeros((units, units), np.int64),
        )
        self.unit = np.exp2(np.ceil(np.log2(np.maximum(scale, 1e-30))) - self.FRACTION_BITS)

    def update(self, values: NDArray) -> None:
        """Add ``values (B, U)``; rows that are not finite, or 64 times the scale, are left out and counted."""
        for start in range(0, len(values), self.ROWS):
            whole = np.rint(values[start : start + self.ROWS].astype(np.float64) / self.unit)
            # Not so for NaN either.
            within = (np.abs(whole) < self.LARGEST).all(1)
            rows = whole[within]
            self._arrays["count"] += len(rows)
            self._arrays["beyond"] += len(whole) - len(rows)
            self._arrays["total"] += rows.sum(0).astype(np.int64)
            self._arrays["products"] += (rows.T @ rows).astype(np.int64)

    @property
    def count(self) -> int:
        """Images that were added."""
        return int(self._arrays["count"][0])

    @property
    def beyond(self) -> int:
        """Images that were left out."""
        return int(self._arrays["beyond"][0])

    @property
    def covariance(self) -> NDArray[np.float64]:
        """``(U, U)``, of one degree of freedom less than images; NaN below two."""
        with np.errstate(invalid="ignore", divide="ignore"):
            total = self._arrays["total"] * self.unit
            products = self._arrays["products"] * np.outer(self.unit, self.unit)
            return (products - np.outer(total, total) / self.count) / np.float64(self.count - 1)
