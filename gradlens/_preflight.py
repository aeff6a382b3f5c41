"""A look at accuracy before the run instead of after it: most wrong settings show as a wrong top-1."""

from __future__ import annotations

import math
import re

import torch

from gradlens._hooks import measuring
from gradlens._loop import right_among
from gradlens._types import UserError
from gradlens.data import Data
from gradlens.models import Classifier

IMAGES = 512
CAUSES = (
    "probable causes: the class order of the data, the normalisation, another activation than the weights were "
    "trained with, other preprocessing, or raw against EMA weights"
)


def parse_expectation(text: str) -> tuple[float, float]:
    """``60.3±1`` or ``60.3`` → (60.3, 1.0), in percent."""
    found = re.fullmatch(r"([\d.]+)(?:(?:±|\+-|\+/-)([\d.]+))?", text.replace(" ", ""))
    if not found or not 0 <= float(found[1]) <= 100:
        raise UserError(f"cannot read the expected top-1 '{text}'; write it in percent, such as 60.3 or 60.3±1")
    return float(found[1]), float(found[2] or 1.0)


def preflight(model: Classifier, data: Data, expected: tuple[float, float] | None, batch_size: int) -> str | None:
    """What is suspicious about the accuracy on 512 images, or None.

    Suspicious is what chance of sampling does not explain: three standard errors beside the stated
    tolerance, or within three of guessing.
    """
    if not data.labelled:
        return None
    sample = data.limit(IMAGES)
    right = seen = classes = 0
    with measuring(model), torch.no_grad():
        for start in range(0, len(sample), batch_size):
            batch, _ = sample.read(sample.indices[start : start + batch_size].tolist())
            if batch is not None and batch.target is not None:
                logits = model(batch.to(model.device).image).cpu()
                valid = data.valid_classes or range(logits.shape[1])
                right += int(right_among(logits, batch.target, valid).sum())
                seen, classes = seen + len(batch), len(valid)
    return _suspicion(model.card.name, right, seen, classes, expected)


def _suspicion(name: str, right: int, seen: int, classes: int, expected: tuple[float, float] | None) -> str | None:
    if not seen:
        return None
    top1, chance = 100 * right / seen, 100 / classes
    if top1 <= chance + 300 * math.sqrt(chance / 100 * (1 - chance / 100) / seen):
        return f"{name}: top-1 on {seen} images is {top1:.1f} %, chance is {chance:.2g} %; {CAUSES}"
    if expected:
        share = expected[0] / 100
        slack = expected[1] + 300 * math.sqrt(share * (1 - share) / seen)
        if abs(top1 - expected[0]) > slack:
            wanted = f"{expected[0]:g} ± {expected[1]:g} %"
            return f"{name}: top-1 on {seen} images is {top1:.1f} %, {wanted} was expected; {CAUSES}"
    return None
