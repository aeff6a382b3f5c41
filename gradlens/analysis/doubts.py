"""A look before the run instead of after it: most wrong settings show as a wrong top-1 or as two normalisations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from gradlens.analysis.rows import right_among
from gradlens.core.types import UserError
from gradlens.data import Data
from gradlens.models import Classifier, ModelCard, is_control
from gradlens.models.normalisation import CONTRADICTION, NONE, Normalisation, stated_in
from gradlens.models.watching import measuring
from gradlens.stats.intervals import at_chance

IMAGES = 512
# What timm's training and the Hub's processors write beside a checkpoint, and what data folders describe themselves by.
BESIDE_MODEL = ("args.yaml", "data_config.json", "preprocessor_config.json")
BESIDE_DATA = ("data_config.json", "config.json", "info.json", "_info.json")
CAUSES = (
    "probable causes: the class order of the data, the normalisation, another activation than the weights were "
    "trained with, other preprocessing, or raw against EMA weights"
)


def parse_expectation(text: str) -> tuple[float, float]:
    """``60.3±1`` or ``60.3`` → (60.3, 1.0), in percent."""
    found = re.fullmatch(r"([\d.]+)(?:(?:±|\+-|\+/-)([\d.]+))?", text.replace(" ", ""))
    if not found or not 0 <= float(found[1]) <= 100:
        raise UserError(f"cannot read the expected top-1 '{text}'; write it in percent, such as 60.3 or 60.3±1")
    if 0 < float(found[1]) < 1:
        small = f"an expected top-1 of {found[1]} is less than one percent"
        raise UserError(f"{small}; write it in percent, such as 60.3: a share of 0.9 is 90")
    return float(found[1]), float(found[2] or 1.0)


def preflight(model: Classifier, data: Data, expected: tuple[float, float] | None, batch_size: int) -> str | None:
    """What is suspicious about the accuracy on 512 images, or None.

    Suspicious is what chance of sampling does not explain: three standard errors beside the stated
    tolerance; or what guessing explains. A control is never suspicious: its weights are random.
    """
    if not data.partly_labelled or is_control(model.card):
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
                seen, classes = seen + int((batch.target >= 0).sum()), len(valid)
    return suspicion(model.card.name, right, seen, classes, expected)


def contradictions(model: Classifier, data: Data) -> list[str]:
    """Where the file, the flags or manifest, and what lies beside model and data disagree on mean and std."""
    card = model.card
    if is_control(card):
        return []
    own = [note for note in card.notes if note.startswith(CONTRADICTION)]
    used = Normalisation(card.mean, card.std)
    # A network that normalises inside does not say by what.
    return own if used.same_as(NONE) else own + list(_beside(card, used, data))


def _beside(card: ModelCard, used: Normalisation, data: Data) -> Iterator[str]:
    """The weights decide, since they were trained with one: what lies beside is only compared."""
    path = Path(card.spec)
    near = [path if path.is_dir() else path.parent] if path.exists() else []
    places = ((near, BESIDE_MODEL, "beside its file"), (data.folders, BESIDE_DATA, "beside the data"))
    for folders, names, where in places:
        for file, stated in (found for folder in folders for found in stated_in(folder, names)):
            if used.contradicts(stated):
                yield (
                    f"{CONTRADICTION}{card.name} takes {used}, and {file.name} {where} says {stated}; the former is "
                    f"used: if the model was trained with the latter, give {stated.flags}, else correct {file}"
                )


def suspicion(
    name: str, right: int, seen: int, classes: int, expected: tuple[float, float] | None = None
) -> str | None:
    """What is suspicious about so many right answers of so many, or None; expected: percent and tolerance."""
    if not seen:
        return None
    top1 = 100 * right / seen
    wanted = f", {expected[0]:g} ± {expected[1]:g} % was expected" if expected else ""
    if at_chance(right, seen, 1 / classes):
        return f"{name}: top-1 on {seen} images is {top1:.1f} %, chance is {100 / classes:.2g} %{wanted}; {CAUSES}"
    if expected:
        share = expected[0] / 100
        slack = expected[1] + 300 * math.sqrt(share * (1 - share) / seen)
        if abs(top1 - expected[0]) > slack:
            return f"{name}: top-1 on {seen} images is {top1:.1f} %{wanted}; {CAUSES}"
    return None
