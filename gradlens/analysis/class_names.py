"""The classes of model and data side by side: labels follow the model's names wherever both are known."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradlens.core.types import UserError
from gradlens.data import Data, imagenet_names
from gradlens.models import Classifier

# What stands for a class without naming it: 3, LABEL_3, class 3.
NUMBER = re.compile(r"(label|class)?[ _]?\d+", re.IGNORECASE)
# Lists of as many classes that agree in so many of their words mean the same classes, some called otherwise.
AGREE = 0.9


def as_model_counts(data: Data, model: Classifier) -> tuple[Data, str]:
    """The data with their labels as the model counts its classes, by the names of both; and what to say of that.

    Nothing is changed where either names none, where they use other words altogether, or where the user gave a
    class map. Raises UserError where data have classes that the model's do not hold, beside some that they do.
    """
    theirs, own = _names_of(model, data), data.class_names
    if not _named(own) or not theirs:
        return data, ""
    a, b = list(theirs), list(own)
    if not set(b) <= set(a):
        a, b = ([_key(name) for name in names] for names in (theirs, own))
    same = sum(x == y for x, y in zip(a, b, strict=False))
    if a == b or (len(a) == len(b) and same >= AGREE * len(a)):
        return data, ""
    who, missing = model.card.name, [name for name, key in zip(own, b, strict=True) if key not in a]
    if len(missing) == len(own):
        words = f"{who} calls its classes {_some(theirs)}, {data.name} {_some(own)}"
        return data, f"{words}: these words cannot be compared, so label 0 is taken for both's first class"
    if missing or any(a.count(key) > 1 for key in b):
        odd = f"class{'es' * (len(missing) > 1)} {_some(missing or own)}"
        raise UserError(
            f"{data.name} has the {odd}, and {who} knows {_some(theirs)}: labels would mean other classes; give --data "
            "with the model's classes, or --class-map FILE"
        )
    if (data.options or {}).get("class_map"):
        said = f"{data.name} is numbered by its class map, and {who} counts otherwise: {_some(theirs)}"
        return data, said
    places = [a.index(key) for key in b]
    moved = next((k for k, place in enumerate(places) if place != k), None)
    if moved is None:
        return data.with_classes(theirs, places), ""
    said = f"labels of {data.name} follow the class names of {who}: {own[moved]} is {places[moved]}, not {moved}"
    return data.with_classes(theirs, places), said


def _names_of(model: Classifier, data: Data) -> Sequence[str]:
    """Those that its file states; a model of 1,000 classes knows ImageNet's where the data's are some of these."""
    stated = model.card.class_names
    if _named(stated):
        return stated
    synsets, _ = imagenet_names()
    some_of = model.card.num_classes == len(synsets) and set(data.class_names) <= set(synsets)
    return synsets if some_of else ()


def _named(names: Sequence[str]) -> bool:
    return bool(names) and not all(NUMBER.fullmatch(str(name)) for name in names)


def _key(name: str) -> str:
    """One word for ``n01440764``, ``tench``, ``Tench, Tinca tinca``."""
    synsets, readable = imagenet_names()
    text = readable[synsets.index(name)] if re.fullmatch(r"n\d{8}", name) and name in synsets else name
    return re.split(r",| \(n\d{8}\)", text)[0].replace("_", " ").strip().casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:4])) + (", …" if len(names) > 4 else "")
