"""Which class is which index: ImageNet's 1,000 from timm's own lists, and the maps of folders that a user gives."""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from timm.data import ImageNetInfo

from gradlens.core.fields import Rule, checked, read_json
from gradlens.core.types import UserError
from gradlens.data._lists import is_number, read_lines


@cache
def wnids() -> tuple[str, ...]:
    """ImageNet's synsets, sorted: the order every model is trained with, where a class's index is its place."""
    return tuple(ImageNetInfo().label_names())


def class_names() -> tuple[str, ...]:
    """A readable name for each of the synsets."""
    return tuple(_readable()[wnid] for wnid in wnids())


def variant(letter: str) -> tuple[int, ...]:
    """The classes that occur in ImageNet-A or -R, as indices into the 1,000."""
    text = pkgutil.get_data("timm.data", f"_info/imagenet_{letter}_indices.txt")
    assert text is not None
    return tuple(int(line) for line in text.split())


def imagenet_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The synsets and the readable names of ImageNet's classes, in the order of their numbers."""
    return wnids(), class_names()


def descriptions() -> tuple[str, ...]:
    """All lemmas of each of the synsets: ``tench, Tinca tinca``."""
    full = _described()
    return tuple(full[wnid] for wnid in wnids())


@cache
def _described() -> dict[str, str]:
    full = ImageNetInfo().label_descriptions(as_dict=True)
    assert isinstance(full, dict)
    return full


@cache
def _readable() -> dict[str, str]:
    """Its first lemma for each wnid, more where two share it (crane the bird, crane the machine)."""
    full = _described()
    short = _unique({wnid: text.split(", ")[0] for wnid, text in full.items()}, full)
    return _unique(short, {wnid: f"{text} ({wnid})" for wnid, text in short.items()})


def _unique(names: dict[str, str], longer: dict[str, str]) -> dict[str, str]:
    times = Counter(names.values())
    return {wnid: name if times[name] == 1 else longer[wnid] for wnid, name in names.items()}


@dataclass(frozen=True)
class ClassMap:
    """index: of the class of each folder. class_names: of all classes, also of those without a folder."""

    index: dict[str, int]
    class_names: tuple[str, ...]


# Lines of a class map, the usual ones first: cat 1 · 1 cat · n02119789 1 kit_fox · n01440764 tench, Tinca tinca · cat
LINES = (
    r"(?P<name>.+?)[\s,;]+(?P<index>\d{1,9})",
    r"(?P<index>\d{1,9})[\s,;]+(?P<name>.+)",
    r"(?P<name>[^\s,;]+)[\s,;]+(?P<index>\d{1,9})[\s,;].+",
    r"(?P<name>[^\s,;]+)[\s,;].+",
    r"(?P<name>.+)",
)


def read_class_map(given: str | Path, folders: Sequence[str] = ()) -> ClassMap:
    """``imagenet``, or a file: JSON, or lines of name and index, or of names in the order of the classes.

    folders: names that it should hold, by which its way of writing is told.
    """
    if str(given) == "imagenet":
        return ClassMap({wnid: i for i, wnid in enumerate(wnids())}, class_names())
    file = Path(given)
    pairs = _from_json(file) if file.suffix == ".json" else _from_lines(file, folders)
    # Before a list of names is made, which an absurd index would make as long.
    wrong = [f"{name} {number}" for name, number in pairs if not 0 <= number < 1_000_000]
    if wrong or not pairs:
        raise UserError(f"{file} holds {wrong[0] if wrong else 'no class'}; wanted indices from 0 to 999,999")
    index: dict[str, int] = {}
    for name, number in pairs:
        if index.setdefault(name, number) != number:
            raise UserError(f"{file} gives '{name}' the classes {index[name]} and {number}; keep one")
    return ClassMap(index, named(index, max(index.values()) + 1))


def named(index: Mapping[str, int], count: int) -> tuple[str, ...]:
    """A name for each of so many classes: its number where it has no other."""
    names = {number: name for name, number in index.items()}
    return tuple(str(names.get(c, c)) for c in range(count))


def _from_lines(file: Path, folders: Sequence[str]) -> list[tuple[str, int]]:
    lines = [line.replace('"', "") for line in read_lines(file, "class-map")]
    ways = [[re.fullmatch(way, line, re.ASCII) for line in lines] for way in LINES]
    # The first line may be the header of a CSV.
    whole = [found for found in ways if all(found[1:] or found)]
    best = max(whole, key=lambda found: sum(match["name"] in folders for match in found if match))
    if best is ways[-1] and any(ways[0]):
        wrong = next(line for line, match in zip(lines[1:], ways[0][1:], strict=True) if not match)
        raise UserError(f"line '{wrong[:80]}' of {file} is no class; wanted FOLDER INDEX on every line")
    # Without an index, its place is one.
    return [(m["name"], int(m.groupdict().get("index", i))) for i, m in enumerate(best) if m]


def _from_json(file: Path) -> list[tuple[str, int]]:
    """``{"n01440764": 0}``, ``["n01440764", …]``, or Keras' ``{"0": ["n01440764", "tench"]}``."""
    what = 'a class map such as {"FOLDER": INDEX}'
    value = read_json(file, what)
    if isinstance(value, list):
        return [(checked(file, f"class {i}", name, str), i) for i, name in enumerate(value)]
    keras = Rule(bool, "a list of the class's names")
    return [
        (checked(file, key, one, tuple[str, ...], keras)[0], checked(file, "a class", _index(key), int))
        if isinstance(one, list)
        else (key, checked(file, key, _index(one), int))
        for key, one in checked(file, "all of it", value, dict, Rule(lambda _: True, what)).items()
    ]


def _index(value: Any) -> Any:
    """Some write their indices as texts."""
    return int(value) if isinstance(value, str) and is_number(value) else value
