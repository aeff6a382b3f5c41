"""Nearest neighbours are those of the definition, to the last bit in L∞, whatever the images."""

import numpy as np
import pytest

from gradlens.stats.nearest import nearest

RNG = np.random.default_rng(0)
SMOOTH = np.kron(RNG.random((70, 3, 3, 2)), np.ones((1, 1, 3, 3)))[:, :, :7, :5]
IMAGES = {
    "noise": RNG.random((70, 3, 7, 5)),
    "smooth": SMOOTH,
    "8-bit, with ties": RNG.integers(0, 4, (70, 1, 7, 5)) / 255,
    "near-duplicates": np.concatenate([SMOOTH[:35], np.clip(SMOOTH[:35] + 1e-4 * RNG.random(SMOOTH[:35].shape), 0, 1)]),
    "equal": np.concatenate([SMOOTH[:35], SMOOTH[:35]]),
    "one pixel": RNG.random((70, 1, 1, 1)),
}


def slowly(queries, others, allowed, norm):
    """Every pair by its definition in float64."""
    apart = np.abs(queries[:, None].astype(float) - others[None].astype(float)).reshape(len(queries), len(others), -1)
    far = {"linf": apart.max(2), "l2": np.sqrt((apart**2).sum(2)), "l1": apart.sum(2)}[norm]
    return np.where(allowed, far, np.inf).min(1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", IMAGES)
def test_distances_are_those_of_every_pair(kind, norm):
    images, labels = IMAGES[kind].astype(np.float32), RNG.integers(3, size=70)
    found = nearest(images, images, lambda rows: labels[rows, None] != labels, norm)
    wanted = slowly(images, images, labels[:, None] != labels, norm)
    if norm == "linf":
        assert (found.distance == wanted).all()
    assert found.distance == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert (labels[found.place] != labels).all()
    pairs = np.abs(images.astype(float) - images[found.place].astype(float)).reshape(70, -1)
    assert {"linf": pairs.max(1), "l2": np.sqrt((pairs**2).sum(1)), "l1": pairs.sum(1)}[norm] == pytest.approx(wanted)


def test_who_may_meet_nobody_has_no_nearest():
    images = IMAGES["noise"].astype(np.float32)
    for norm in ("linf", "l2", "l1"):
        found = nearest(images[:3], images, lambda rows: np.arange(3)[rows, None] * np.ones(70) > 1, norm)
        assert np.isinf(found.distance).tolist() == [True, True, False]
        assert found.place[:2].tolist() == [-1, -1]
