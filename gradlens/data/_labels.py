"""Label files: which image has which class, in the four ways ImageNet's are written."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gradlens.core.types import UserError
from gradlens.data._names import Names
from gradlens.data._text import is_number, read_lines, some


@dataclass(frozen=True)
class Listing:
    """(image, class as written) for each line; ilsvrc where the classes are the devkit's ids."""

    file: Path
    rows: list[tuple[str, str]]
    ilsvrc: bool = False


def read_listing(file: Path) -> Listing:
    """Told by its content: Kaggle's CSV, the devkit's ids alone, or lines of path and class."""
    lines = read_lines(file, "labels")
    if lines[0].replace(" ", "").lower().startswith("imageid,"):
        return Listing(file, [_kaggle(row, file) for row in csv.reader(lines[1:])])
    if all(is_number(line) for line in lines):
        return Listing(file, ground_truth(lines), ilsvrc=True)
    return Listing(file, [_path_and_class(line, file) for line in lines])


def ground_truth(ids: Sequence[str]) -> list[tuple[str, str]]:
    """The devkit's file: line n is the class of the n-th picture."""
    return [(f"ILSVRC2012_val_{n:08d}", i) for n, i in enumerate(ids, 1)]


def _kaggle(row: list[str], file: Path) -> tuple[str, str]:
    """``ILSVRC2012_val_00048981,n03995372 85 1 499 272``: the class, then boxes."""
    if len(row) < 2 or not row[1].split():
        raise UserError(f"line '{','.join(row)}' of {file} has no class; wanted ImageId,PredictionString")
    return row[0].strip(), row[1].split()[0]


def _path_and_class(line: str, file: Path) -> tuple[str, str]:
    """``path class``, or ``path class other``: of two numbers at the end the first is the class."""
    words = line.replace(",", " ").split()
    if len(words) < 2:
        raise UserError(f"line '{line[:80]}' of {file} has no class; wanted lines of path and class")
    last = len(words) - (2 if len(words) > 2 and is_number(words[-1]) and is_number(words[-2]) else 1)
    return " ".join(words[:last]), words[last]


def labels_of(
    names: Sequence[str], listing: Listing, class_of: Callable[[str, str], int], partial: bool = False
) -> NDArray[np.int64]:
    """A class for each name. class_of: (image, class as written) → index. partial: some images may be absent."""
    index, found = Names(names), np.full(len(names), -1)
    absent = []
    for image, written in listing.rows:
        place = index.find(image, listing.file)
        if place is None:
            absent.append(image)
        elif found[place] >= 0:
            raise UserError(f"{listing.file} gives '{image}' a class twice; keep one line for each image")
        else:
            found[place] = class_of(image, written)
    without = [name for name, label in zip(names, found, strict=True) if label < 0]
    if without:
        raise UserError(
            f"{len(without):,} of {len(names):,} images have no line in {listing.file} ({some(without)}); "
            "give --labels the file that belongs to them"
        )
    if absent and not partial:
        raise UserError(
            f"{len(absent):,} of {len(listing.rows):,} images in {listing.file} are not in the data "
            f"({some(absent)}); complete the folder, or name those you want with --subset FILE"
        )
    return found


def by_index(file: Path, count: int | None = None, known: Mapping[str, int] | None = None) -> Callable[[str, str], int]:
    """Reads a class written as an index below count or as a known name."""
    known = known or {}

    def class_of(image: str, written: str) -> int:
        index = known[written] if written in known else int(written) if is_number(written) else None
        if index is None:
            raise UserError(f"{file} gives '{image}' the unknown class '{written}'; wanted an index or a known name")
        if count is not None and index >= count:
            raise UserError(
                f"{file} gives '{image}' class {index}, but there are {count:,}, counted from 0; it holds other "
                "numbers (ILSVRC ids or line numbers): give --labels indices of the sorted synsets"
            )
        folder = PurePosixPath(image).parent.name
        if known.get(folder, index) != index:
            raise UserError(
                f"{file} gives '{image}' class {index}, but {folder} is class {known[folder]} of the sorted synsets; "
                "it holds ILSVRC ids: give --labels a file with indices of the sorted synsets"
            )
        return index

    return class_of
