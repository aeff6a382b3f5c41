from __future__ import annotations

import math

from gradlens.core.processes import rank, total, world
from gradlens.data import Data
from gradlens.data.batches import Batches
from gradlens.models import Classifier
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe

STEPS = 10


def accuracy(model: Classifier, data: Data, size: int, eps: float | None = None) -> float:
    """Share of images that are classified correctly, under PGD-10 of radius eps (L∞) where one is given.

    The attack: cross-entropy, random start, steps of eps/4, evaluation mode; fixed starts, so that epochs compare.
    A monitor of training, not an evaluation: that is the worst of several attacks (``minimal_eps``).
    """
    right = seen = 0.0
    batches = Batches(data, size)
    for k in range(rank(), len(batches), world()):
        _, batch, _ = batches[k]
        if batch is None:
            continue
        probe = Probe(model, batch.to(model.device))
        if eps:
            probe = attack(probe, "pgd", eps=eps, steps=STEPS, step_size=eps / 4, keep_worst=False)
        right, seen = right + float(probe.correct.sum()), seen + len(batch)
    right, seen = total([right, seen])
    return right / seen if seen else math.nan
