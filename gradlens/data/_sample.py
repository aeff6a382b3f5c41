from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def stratified_order(paths: Sequence[str], labels: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """An order of the positions whose every prefix holds each class in proportion, to within one image.

    Within a class the order is that of hash(seed, path), so it does not depend on other images, and a
    prefix is contained in every longer one. Between classes it is Tijdeman's (1980): an image may come
    from one place on and is due at another, and of those that may come the one due first does.
    """
    keys, labels = np.array([_hash(seed, p) for p in paths]), np.asarray(labels)
    classes = np.unique(labels)
    total, grain = len(keys), max(2 * len(classes) - 2, 1)
    release, due = np.empty((2, total), np.int64)
    for label in classes:
        members = np.flatnonzero(labels == label)
        before = grain * np.argsort(np.argsort(keys[members], kind="stable"))
        release[members] = -(-(before + 1) * total // (grain * len(members)))
        due[members] = (before + grain - 1) * total // (grain * len(members))
    return _earliest_due_first(np.lexsort((keys, due)), release)


def _earliest_due_first(by_due: NDArray[np.int64], release: NDArray[np.int64]) -> NDArray[np.int64]:
    """At each place the first of ``by_due`` that is released; places count from one."""
    urgency = np.argsort(by_due)
    waiting: list[int] = []
    order = np.empty_like(by_due)
    arrivals = iter(np.argsort(release, kind="stable").tolist())
    arriving = next(arrivals, None)
    for place in range(len(order)):
        while arriving is not None and release[arriving] <= place + 1:
            heapq.heappush(waiting, int(urgency[arriving]))
            arriving = next(arrivals, None)
        order[place] = by_due[heapq.heappop(waiting)]
    return order


def _hash(seed: int, path: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{path}".encode(), digest_size=7).digest(), "little")
