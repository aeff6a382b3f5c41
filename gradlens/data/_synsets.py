"""The 1,000 classes of ImageNet in the order every model is trained with, from timm's own lists."""

from __future__ import annotations

import pkgutil
from collections import Counter
from functools import cache

from timm.data import ImageNetInfo


@cache
def wnids() -> tuple[str, ...]:
    """Sorted; a class's index is its place here."""
    return tuple(ImageNetInfo().label_names())


@cache
def readable() -> dict[str, str]:
    """A short name for each wnid: its first lemma, more where two share it (crane the bird, crane the machine)."""
    full = ImageNetInfo().label_descriptions(as_dict=True)
    assert isinstance(full, dict)
    short = _unique({wnid: text.split(", ")[0] for wnid, text in full.items()}, full)
    return _unique(short, {wnid: f"{text} ({wnid})" for wnid, text in short.items()})


def _unique(names: dict[str, str], longer: dict[str, str]) -> dict[str, str]:
    times = Counter(names.values())
    return {wnid: name if times[name] == 1 else longer[wnid] for wnid, name in names.items()}


def class_names() -> tuple[str, ...]:
    return tuple(readable()[wnid] for wnid in wnids())


def variant(letter: str) -> tuple[int, ...]:
    """The classes that occur in ImageNet-A or -R, as indices into the 1,000."""
    text = pkgutil.get_data("timm.data", f"_info/imagenet_{letter}_indices.txt")
    assert text is not None
    return tuple(int(line) for line in text.split())
