"""Exact nearest neighbours of flat images in L∞, L2 and L1, by filters that are certain and quick.

Each filter bounds distances to within a slack; only what it leaves in reach is computed in float64.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Images = NDArray[np.float32]
# Queries, and whom they may meet → what bounds their distances, and by how much these may be off.
Filter = Callable[[Images, NDArray], tuple[NDArray, NDArray]]
# Metrics by scipy's names.
NORMS = {"linf": "chebyshev", "l2": "euclidean", "l1": "cityblock"}
# Queries at once; pixels after which a comparison in bytes is given up where it can be; side of the blocks.
ROWS, STEP, BLOCK = 64, 128, 4
# Candidates whose distance is found first, to have something to give others up for.
FIRST = 4
# Of a squared distance by products in float32, in units of the squared norms: some sixty roundings.
ROUNDING = 64 * float(np.finfo(np.float32).eps)


class Nearest(NamedTuple):
    """Distance to the nearest other, exact in float64, and its place; infinite and −1 where there is none."""

    distance: NDArray[np.float64]
    place: NDArray[np.int64]


def nearest(queries: Images, others: Images, may: Callable[[slice], NDArray], norm: str = "linf") -> Nearest:
    """The nearest of ``others`` ``(M, C, H, W)`` to each query ``(N, C, H, W)``, among those that it may meet.

    may: which others the queries of a slice may meet, ``(n, M)`` bool. Pixels in [0, 1]. Ties go to the first.
    The filter of L∞ are pixels in 256 steps and their means over blocks: the largest difference of some is at most
    that of all, so a pair is given up once it exceeds the best. That of L2 are products in float32.
    """
    filters: dict[str, Callable[[Images], Filter]] = {"linf": _Bytes, "l2": _Products, "l1": _Plainly}
    filtered = filters[norm](others)
    flat = others.reshape(len(others), -1)

    def some(rows: slice) -> Nearest:
        allowed, images = may(rows), queries[rows]
        near, slack = filtered(images, allowed)
        near = np.where(allowed, near, np.inf)
        reach = near <= (near.min(1) + 2 * slack)[:, None]
        return _exact(images.reshape(len(images), -1), flat, reach & allowed, norm)

    # NumPy lets go of the interpreter, so threads are as good as processes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(some, (slice(k, k + ROWS) for k in range(0, len(queries), ROWS))))
    distance, place = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Nearest(distance, place)


def _exact(queries: Images, others: Images, reach: NDArray, norm: str) -> Nearest:
    found = Nearest(np.full(len(queries), np.inf), np.full(len(queries), -1))
    for row, open_ in enumerate(reach):
        places = open_.nonzero()[0]
        if len(places):
            far = cdist(queries[row : row + 1].astype(np.float64), others[places].astype(np.float64), NORMS[norm])[0]
            found.place[row], found.distance[row] = places[far.argmin()], far.min()
    return found


class _Plainly:
    """L1 distances as they are: bounds of sums are too loose to save anything."""

    def __init__(self, others: Images):
        self.others = others.reshape(len(others), -1).astype(np.float64)

    def __call__(self, queries: Images, allowed: NDArray) -> tuple[NDArray, NDArray]:
        far = cdist(queries.reshape(len(queries), -1).astype(np.float64), self.others, "cityblock")
        return far, np.zeros(len(queries))


class _Products:
    """Squared L2 distances as ``|a|² + |b|² − 2ab``."""

    def __init__(self, others: Images):
        self.others = others.reshape(len(others), -1)
        self.squared = np.square(self.others).sum(1)

    def __call__(self, queries: Images, allowed: NDArray) -> tuple[NDArray, NDArray]:
        flat = queries.reshape(len(queries), -1)
        squared = np.square(flat).sum(1)
        return self.squared + squared[:, None] - 2 * flat @ self.others.T, ROUNDING * (squared + self.squared.max())


class _Bytes:
    """L∞ distances of pixels in 256 steps, or what already exceeds the best."""

    def __init__(self, others: Images):
        self.pixels, self.off = _steps(others.reshape(len(others), -1))
        # The other way round, so that one block of all others lies in a row.
        self.blocks = np.ascontiguousarray(_steps(_means(others))[0].T)

    def __call__(self, queries: Images, allowed: NDArray) -> tuple[NDArray, NDArray]:
        pixels, off = _steps(queries.reshape(len(queries), -1))
        blocks = _steps(_means(queries))[0]
        near = np.stack([self._near(*one) for one in zip(pixels, blocks, allowed, strict=True)])
        return near / 255, np.full(len(queries), off + self.off)

    def _near(self, pixels: NDArray, blocks: NDArray, allowed: NDArray) -> NDArray[np.float64]:
        # Two means may each be half a step off.
        bound = _apart(self.blocks, blocks[:, None]).max(0).astype(np.int16) - 1
        near = np.where(allowed, bound, 256).astype(np.float64)
        first = np.argpartition(near, min(FIRST, len(near) - 1))[:FIRST]
        best = (_apart(self.pixels[first], pixels).max(1) + 256.0 * ~allowed[first]).min()
        # One step more than the best may be nearer before both were rounded.
        left = (near <= best + 2).nonzero()[0]
        seen = np.zeros(len(left), np.uint8)
        for start in range(0, len(pixels), STEP):
            part = slice(start, start + STEP)
            seen = np.maximum(seen, _apart(self.pixels[left, part], pixels[part]).max(1))
            near[left] = np.maximum(near[left], seen)
            open_ = seen <= best + 2
            left, seen = left[open_], seen[open_]
        return near


def _steps(values: Images) -> tuple[NDArray[np.uint8], float]:
    """Values of [0, 1] in 256 steps, and by how much one may be off."""
    steps = np.rint(values * np.float32(255)).astype(np.uint8)
    return steps, float(np.abs(steps / np.float32(255) - values).max(initial=0)) + 1e-6


def _apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    larger = np.maximum(a, b)
    larger -= np.minimum(a, b)
    return larger


def _means(images: Images) -> Images:
    """Over blocks of pixels, the last of a side perhaps smaller, ``(N, K)``."""
    rows, columns = (np.arange(0, side, BLOCK) for side in images.shape[2:])
    sums = np.add.reduceat(np.add.reduceat(images, rows, 2, np.float64), columns, 3)
    sizes = [np.diff(starts, append=side) for starts, side in zip((rows, columns), images.shape[2:], strict=True)]
    return (sums / np.outer(*sizes)).reshape(len(images), -1).astype(np.float32)
