"""Which pixels a run measures: as the user stated, then as the model's file did, then as its architecture prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from gradlens.core.stated import Rank, Stated, by_default, by_user
from gradlens.core.types import Preprocess, UserError
from gradlens.data import Data
from gradlens.models import Classifier
from gradlens.models.watching import measuring

# Who stated what by timm's names; None where nothing is resized.
Statements = Mapping[str, Stated[Any] | None]
PARTS = ("img_size", "crop_pct", "interpolation")
OWN_SIZE = "the pictures' own, which are all of that size"


def bound(data: Data, model: Classifier, preprocess: Preprocess | None = None) -> tuple[Data, Statements]:
    """The data as the model is to see them, and who stated what of that where it was not the model.

    preprocess, or what the user bound to the data, goes before all. Where nobody stated a size, pictures that
    are all of one smaller size stay as they are, unless the network takes none but its own. Arrays are the
    model's input already; UserError where another size is asked of them.
    """
    given, own, channels = preprocess or data.preprocess, model.card.preprocess, len(model.card.mean)
    if data.as_given:
        asked = given or (own if _who("img_size", model) is Rank.USER else None)
        return _as_given(data, asked).bind(None, channels), dict.fromkeys(PARTS)
    if given is not None:
        parts = {"img_size": given.size, "crop_pct": given.crop_pct, "interpolation": given.interpolation}
        return data.bind(given, channels), {name: by_user(value) for name, value in parts.items()}
    if own is None:
        return data.bind(Preprocess() if data.varies_in_size else None, channels), {}
    how, stated = _not_enlarged(data, model, own)
    return data.bind(how, channels), stated


def _as_given(data: Data, asked: Preprocess | None) -> Data:
    sides = tuple(data.image(int(data.indices[0])).shape[-2:])
    if asked is not None and asked.sides != sides:
        raise UserError(
            f"{data.name} are arrays of {_size(sides)}, which are not resized, and {_size(asked.sides)} is asked for; "
            "resize them first, or give a folder of pictures"
        )
    return data


def _not_enlarged(data: Data, model: Classifier, own: Preprocess) -> tuple[Preprocess, Statements]:
    """The model's own preprocessing, but for pictures whose size no default should change."""
    size, crop = _who("img_size", model), _who("crop_pct", model)
    if Rank.FILE in (size, crop) or crop is Rank.USER:
        return own, {}
    sides = data.common_sides()
    if size is Rank.USER:
        # A crop that an architecture prefers at its own size would resize pictures that fit as they are.
        fits = sides == own.sides
        return (replace(own, crop_pct=1.0), {"crop_pct": by_default(1.0, OWN_SIZE)}) if fits else (own, {})
    if sides is None or not all(a < b for a, b in zip(sides, own.sides, strict=True)):
        return own, {}
    if not _takes(model, sides):
        return own, {"img_size": by_default(own.size, f"the network takes no {_size(sides)}, which the pictures have")}
    how = replace(own, size=sides, crop_pct=1.0)
    return how, {"img_size": by_default(how.size, OWN_SIZE), "crop_pct": by_default(1.0, OWN_SIZE)}


def _who(name: str, model: Classifier) -> Rank:
    stated = model.card.stated.get(name)
    return stated.rank if stated else Rank.DEFAULT


def _takes(model: Classifier, sides: tuple[int, int]) -> bool:
    blank = torch.zeros(2, len(model.card.mean), *sides, device=model.device)
    try:
        with measuring(model), torch.no_grad():
            return bool(model(blank).isfinite().all())
    except Exception:  # a network says in its own way that a size does not fit
        return False


def _size(sides: tuple[int, ...]) -> str:
    return " × ".join(map(str, sides))
