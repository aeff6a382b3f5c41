from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradlens.core.types import UserError
from gradlens.data._names import Names
from gradlens.data._text import is_number, read_lines, some


def read_subset(file: Path, paths: Sequence[str]) -> NDArray[np.int64]:
    """Indices of the images a file names, sorted: a line each with an index, a path or a file name.

    RobustBench's list of 5,000 is ``wnid/file`` lines; what follows a name on its line, such as a class,
    is left out.
    """
    lines = read_lines(file, "subset")
    numbers = all(is_number(line) for line in lines)
    found = _numbered(lines, len(paths), file) if numbers else _named(lines, paths, file)
    if len(set(found)) < len(found):
        times = Counter(found)
        twice = next(i for i in found if times[i] > 1)
        raise UserError(f"{file} names {paths[twice]} twice; keep one line for each image")
    return np.array(sorted(found))


def _numbered(lines: Sequence[str], count: int, file: Path) -> list[int]:
    beyond = [line for line in lines if int(line) >= count]
    if beyond:
        raise UserError(f"{file} asks for image {beyond[0]} of {count:,}; indices run from 0 to {count - 1}")
    return [int(line) for line in lines]


def _named(lines: Sequence[str], paths: Sequence[str], file: Path) -> list[int]:
    names, found, absent = Names(paths), [], []
    for line in lines:
        place = names.find(line, file)
        if place is None:
            place = names.find(line.replace(",", " ").split()[0], file)
        if place is None:
            absent.append(line)
        else:
            found.append(place)
    if absent:
        raise UserError(
            f"{len(absent):,} of {len(lines):,} lines of {file} name no image of the data ({some(absent)}); "
            "wanted paths below the data's root, file names or indices"
        )
    return found
