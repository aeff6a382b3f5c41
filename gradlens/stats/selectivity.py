"""How strongly units answer to classes, from class sums, and what labels without meaning would give."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Units(NamedTuple):
    """Three numbers of each unit of a layer ``(U,)``; NaN where missing.

    raw: the paper's index, in [0, 1]. null: its mean over permuted labels. omega_squared: 0 no share of the
    variance, 1 all of it.
    """

    raw: NDArray[np.float64]
    null: NDArray[np.float64]
    omega_squared: NDArray[np.float64]


class Layer(NamedTuple):
    """Means over a layer's units that vary, and the index adjusted: 0 as the null, 1 one class only."""

    raw: float
    null: float
    adjusted: float
    omega_squared: float


def unit_selectivity(count: NDArray, mean: NDArray, sum_of_squares: NDArray, permuted: NDArray) -> Units:
    """Every measure of a layer's units, ``(U,)`` each; all are missing for units that never vary.

    count: images a class ``(K,)``. mean: class means ``(K, U)``. sum_of_squares: total Σx² ``(U,)``.
    permuted: class means under permuted labels ``(P, K, U)``; P may be 0, which leaves no null. With one
    image a class ω² is missing.
    """
    varies = _varies(count, mean, sum_of_squares)
    raw, null = (np.where(varies, index, np.nan) for index in (selectivity_index(mean), null_index(permuted)))
    return Units(raw, null, omega_squared(count, mean, sum_of_squares))


def layer_selectivity(units: Units) -> Layer:
    """A layer's means; its adjusted index is that of the means, and missing where ω² is.

    A single unit has none: its null can come so close to 1 that its quotient is −2,000 and decides a mean.
    """
    raw, null, omega = map(finite_mean, units)
    return Layer(raw, null, math.nan if math.isnan(omega) else adjusted_index(raw, null), omega)


def finite_mean(values: ArrayLike) -> float:
    """Mean of the finite values; missing where there is none."""
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else float("nan")


def selectivity_index(class_means: NDArray) -> NDArray[np.float64]:
    """``(m_max − m_rest) / (m_max + m_rest + 1e-6)``, ``(U,)`` in [0, 1], from class means ``(K, U)``.

    0 no preference, 1 one class only; negative means count as zero, classes without images (NaN) are
    left out. Missing with fewer than two classes. Few images a class raise it without any class signal:
    the largest of K noisy means stands out by itself. Source: Leavitt & Morcos 2020.
    """
    means = np.maximum(class_means[~np.isnan(class_means).any(1)], 0)
    if len(means) < 2:
        return np.full(class_means.shape[1], np.nan)
    top = means.max(0)
    rest = (means.sum(0) - top) / (len(means) - 1)
    return (top - rest) / (top + rest + 1e-6)


def null_index(permuted: NDArray) -> NDArray[np.float64]:
    """The index's mean ``(U,)`` over permuted labels, from their class means ``(P, K, U)``."""
    if not len(permuted):
        return np.full(permuted.shape[2], np.nan)
    return np.mean([selectivity_index(means) for means in permuted], axis=0)


def adjusted_index(raw: float, null: float) -> float:
    """``(SI − SI0) / (1 − SI0)`` of means over units: 0 as with permuted labels, 1 one class only.

    Missing where SI0 is 1. SI0 falls with the images a class, so where there is class signal this grows with them.
    """
    return (raw - null) / (1 - null) if null < 1 else math.nan


def omega_squared(count: NDArray, mean: NDArray, sum_of_squares: NDArray) -> NDArray[np.float64]:
    """``ω² = (SS_B − (K−1) MS_W) / (SS_T + MS_W)``, ``(U,)``: the class's share of a unit's variance.

    count ``(K,)``, class means ``(K, U)``, total Σx² ``(U,)``. 0 none, 1 all; also below 0, as without class
    signal its mean is 0 however few images a class has. With it, units that are active on a few images of
    the whole run read low, as a detector of one class among many does: the same one has .44 of 10 classes and
    .08 of 100. Missing for constant units, fewer than two classes, and one image a class.
    Source: Hays 1963.
    """
    seen = count > 0
    n, k = count.sum(), seen.sum()
    if k < 2 or n <= k:
        return np.full(mean.shape[1], np.nan)
    grand = _grand_mean(count, mean)
    between = count[seen] @ (mean[seen] - grand) ** 2
    # Rounding in the tallied squares must not leave less than nothing within classes.
    total = np.maximum(sum_of_squares - n * grand**2, between)
    within = (total - between) / (n - k)
    with np.errstate(invalid="ignore", divide="ignore"):
        omega = (between - (k - 1) * within) / (total + within)
    return np.where(_varies(count, mean, sum_of_squares), omega, np.nan)


def permuted_labels(index: NDArray, label: NDArray, permutations: int) -> NDArray[np.int64]:
    """The known labels dealt out anew, ``(N, P)``; unknown ones stay −1.

    index, label: ``(N,)``, the images' identities and classes. Seeded by a hash of both, so that the same
    images are dealt the same labels whatever the model, the process or the order.
    """
    known = np.flatnonzero(label >= 0)
    known = known[np.argsort(index[known])]
    identity = np.stack([index[known], label[known]]).astype("<i8").tobytes()
    seed = int.from_bytes(hashlib.blake2b(identity, digest_size=16, person=b"selectivity").digest(), "little")
    # Sorting raw bits, since numpy promises the same bits in every version, but not the same shuffle.
    bits = np.random.PCG64(seed)
    dealt = np.full((len(label), permutations), -1, np.int64)
    for column in dealt.T:
        column[known] = label[known[np.argsort(bits.random_raw(len(known)), kind="stable")]]
    return dealt


def _varies(count: NDArray, mean: NDArray, sum_of_squares: NDArray) -> NDArray[np.bool_]:
    """Whether a unit's values differ by more than the tally can resolve, ``(U,)``."""
    total = sum_of_squares - count.sum() * _grand_mean(count, mean) ** 2
    return total > 1e-8 * sum_of_squares


def _grand_mean(count: NDArray, mean: NDArray) -> NDArray[np.float64]:
    """Mean over images ``(U,)`` from the means of the classes that have any."""
    seen = count > 0
    return count[seen] @ mean[seen] / count.sum()
