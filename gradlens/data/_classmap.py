"""Which class a folder is, where its place in the sorted folders does not tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gradlens.core.types import UserError
from gradlens.data import _synsets
from gradlens.data._text import is_number, read_lines, read_text


@dataclass(frozen=True)
class ClassMap:
    index: dict[str, int]
    class_names: tuple[str, ...]


def read_class_map(given: str | Path) -> ClassMap:
    """``imagenet``, or a file: JSON, or lines of name and index, or of names in the order of the classes."""
    if str(given) == "imagenet":
        return ClassMap({wnid: i for i, wnid in enumerate(_synsets.wnids())}, _synsets.class_names())
    file = Path(given)
    pairs = _from_json(file) if file.suffix == ".json" else _from_lines(file)
    index: dict[str, int] = {}
    for name, number in pairs:
        if index.setdefault(name, number) != number:
            raise UserError(f"{file} gives '{name}' the classes {index[name]} and {number}; keep one")
    names = [str(c) for c in range(max(index.values()) + 1)]
    for name, number in index.items():
        names[number] = name
    return ClassMap(index, tuple(names))


def _from_lines(file: Path) -> list[tuple[str, int]]:
    lines = read_lines(file, "class-map")
    rows = [line.replace(",", " ").rsplit(None, 1) for line in lines]
    numbered = [len(row) == 2 and is_number(row[1]) for row in rows]
    if not any(numbered):
        return [(line, i) for i, line in enumerate(lines)]
    # The first line may be the header of a CSV.
    wrong = [line for line, fits in zip(lines[1:], numbered[1:], strict=True) if not fits]
    if wrong:
        raise UserError(f"line '{wrong[0][:80]}' of {file} is no class; wanted FOLDER INDEX on every line")
    return _checked([(row[0], int(row[1])) for row, fits in zip(rows, numbered, strict=True) if fits], file)


def _from_json(file: Path) -> list[tuple[str, int]]:
    """``{"n01440764": 0}``, ``["n01440764", …]``, or Keras' ``{"0": ["n01440764", "tench"]}``."""
    try:
        value = json.loads(read_text(file, "class-map"))
        if isinstance(value, list):
            return _checked([(str(name), i) for i, name in enumerate(value)], file)
        if all(isinstance(v, list) for v in value.values()):
            return _checked([(str(v[0]), int(k)) for k, v in value.items()], file)
        return _checked([(str(k), int(v)) for k, v in value.items()], file)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{file} is no class map; wanted JSON such as {{"FOLDER": INDEX}}') from None


def _checked(pairs: list[tuple[str, int]], file: Path) -> list[tuple[str, int]]:
    """Indices come to a list of names, so one that is absurd is refused before the list is made."""
    wrong = [f"{name} {number}" for name, number in pairs if not 0 <= number < 1_000_000]
    if wrong or not pairs:
        raise UserError(f"{file} holds {wrong[0] if wrong else 'no class'}; wanted indices from 0 to 999,999")
    return pairs
