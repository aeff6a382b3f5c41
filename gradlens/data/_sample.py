from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def stratified_order(paths: Sequence[str], labels: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """An order of the positions whose every prefix holds the classes in proportion.

    Within a class the order is that of hash(seed, path), so it does not depend on other images, and a
    prefix is contained in every longer one. Classes of equal size differ by at most one image.
    """
    keys, labels = np.array([_hash(seed, p) for p in paths]), np.asarray(labels)
    rank = np.empty(len(keys))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = np.argsort(keys[members], kind="stable")
        rank[members[order]] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((keys, rank))


def _hash(seed: int, path: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{path}".encode(), digest_size=7).digest(), "little")
