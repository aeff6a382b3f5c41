"""Text files that a user gives about images: the class of each, and which of them to use."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gradlens.core.fields import Rule, checked, read_json
from gradlens.core.types import UserError
from gradlens.data._store import is_picture

LIMIT = 2**26


def read_text(file: Path, what: str) -> str:
    """The file's text; what names its purpose in the error and is the flag's name: labels, subset, class-map."""
    if not file.is_file():
        raise UserError(f"no file {file} for --{what}; give the path of a text file")
    if file.stat().st_size > LIMIT:
        raise UserError(f"{file} has {file.stat().st_size:,} bytes, too many for --{what}; wanted a list as text")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file} for --{what}: {str(error).splitlines()[0]}; wanted text") from None


def read_lines(file: Path, what: str) -> list[str]:
    """Its lines without blank ones and comments."""
    lines = [line.strip() for line in read_text(file, what).splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    if not kept:
        raise UserError(f"{file} is empty; --{what} wants a line for each image or class")
    return kept


def is_number(text: str) -> bool:
    """An index: digits only, and no more than one can have."""
    return text.isdecimal() and text.isascii() and len(text) < 10


def some(names: Sequence[str], number: int = 2) -> str:
    """The first few of many, for an error of one line."""
    return ", ".join(names[:number]) + (", …" if len(names) > number else "")


class Names:
    """Finds an image by what a list calls it: a path from any folder above, a file name, or its stem."""

    def __init__(self, paths: Sequence[str]):
        self.paths = [PurePosixPath(path) for path in paths]
        self.stems: dict[str, list[int]] = defaultdict(list)
        for i, path in enumerate(self.paths):
            self.stems[path.stem].append(i)

    def knows(self, text: str) -> float:
        """Whether a cell of a list may name an image; one with an ending more than one without."""
        name = PurePosixPath(text.replace("\\", "/")).name
        ends = is_picture(name)
        return (1.0 if ends else 0.5) * ((PurePosixPath(name).stem if ends else name) in self.stems)

    def find(self, text: str, file: object) -> int | None:
        """Its index, None if there is no such image; refused where several fit equally well."""
        wanted = PurePosixPath(text.replace("\\", "/"))
        stem = wanted.stem if is_picture(wanted.name) else wanted.name
        fit = [i for i in self.stems.get(stem, []) if _fits(wanted, self.paths[i])]
        named = [i for i in fit if self.paths[i].name == wanted.name]
        found = [i for i in fit if self.paths[i] == wanted] or named or fit
        if len(found) > 1:
            two = f"{len(found)} images, {self.paths[found[0]]} and {self.paths[found[1]]}"
            raise UserError(f"'{text}' in {file} fits {two}; name images by their path below the data's root")
        return found[0] if found else None


def _fits(wanted: PurePosixPath, path: PurePosixPath) -> bool:
    """Whether the folders of the shorter end the folders of the longer."""
    one, two = wanted.parts[:-1], path.parts[:-1]
    return all(a == b for a, b in zip(reversed(one), reversed(two), strict=False))


# What the column with the class is called, in tables that name their columns.
CLASS_HEADS = ("label", "labels", "class", "class_id", "classid", "class_name", "target", "category", "category_id")
UNKNOWN = ("", "nan", "none", "null", "na", "n/a", "<na>", "?")


@dataclass(frozen=True)
class Listing:
    """The cells of each line, of which one names an image and one its class; ilsvrc where it is the devkit's id."""

    file: Path
    rows: list[list[str]]
    ilsvrc: bool = False

    def pairs(self, names: Names) -> tuple[list[tuple[str, str]], str]:
        """Image and class of each line, told by which cells name images; and what was inferred for it, if anything."""
        short = next((row for row in self.rows if len(row) < 2), None)
        if short is not None:
            line = ",".join(short)[:80]
            raise UserError(f"line '{line}' of {self.file} has no class; wanted lines of path and class")
        columns = range(min(map(len, self.rows)))
        image = max(columns, key=lambda c: sum(names.knows(row[c]) for row in self.rows))
        first = self.rows[0][image]
        # The first line of a table may name its columns.
        headed = not names.knows(first) and not is_picture(first) and any(names.knows(r[image]) for r in self.rows)
        rows = self.rows[headed:]
        others = [*columns[image + 1 :], *columns[:image]]
        # Of pandas: the number of the line.
        counted = [c for c in others if len(others) > 1 and all(row[c] == str(i) for i, row in enumerate(rows))]
        others = [c for c in others if c not in counted[:1]]
        heads = [c for c in others if headed and self.rows[0][c].strip().lower() in CLASS_HEADS]
        chosen = heads[0] if len(heads) == 1 else others[0]
        unsaid = len(others) > 1 and chosen not in heads
        note = f"column {chosen + 1} of {self.file} is taken as the class of its images" if unsaid else ""
        return [(row[image], row[chosen]) for row in rows], note


def read_listing(file: Path) -> Listing:
    """A label file, told by its content: a table, Kaggle's boxes, the devkit's ids alone, JSON, or path and class."""
    lines = read_lines(file, "labels")
    if file.suffix == ".json" or lines[0].startswith("{"):
        what = 'labels such as {"IMAGE": CLASS}'
        held = checked(file, "all of it", read_json(file, what), dict, Rule(lambda _: True, what))
        return Listing(file, [[image, str(written)] for image, written in held.items()])
    if re.sub(r"[\s\"]", "", lines[0]).lower().startswith("imageid,predictionstring"):
        return Listing(file, [_kaggle(row, file) for row in csv.reader(lines[1:])])
    if all(is_number(line) for line in lines):
        return ground_truth(file, lines)
    delimiter = next((d for d in "\t;," if all(d in line for line in lines)), None)
    if delimiter:
        table = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        return Listing(file, [[cell.strip() for cell in row] for row in table])
    return Listing(file, [_words(line) for line in lines])


def ground_truth(file: Path, ids: Sequence[str]) -> Listing:
    """The devkit's file: line n is the class of the n-th picture."""
    return Listing(file, [[f"ILSVRC2012_val_{n:08d}", i] for n, i in enumerate(ids, 1)], ilsvrc=True)


def _kaggle(row: list[str], file: Path) -> list[str]:
    """``ILSVRC2012_val_00048981,n03995372 85 1 499 272``: the class, then boxes."""
    if len(row) < 2 or not row[1].split():
        raise UserError(f"line '{','.join(row)}' of {file} has no class; wanted ImageId,PredictionString")
    return [row[0].strip(), row[1].split()[0]]


def _words(line: str) -> list[str]:
    """The words of a line, but that a picture's name, up to its ending, may hold spaces."""
    words = line.replace(",", " ").split()
    ends = [k for k, word in enumerate(words[:-1], 1) if is_picture(word)]
    return [" ".join(words[: ends[0]]), *words[ends[0] :]] if ends else words


def labels_of(
    names: Sequence[str], listing: Listing, known: Mapping[str, int] | None, count: int, partial: bool = False
) -> tuple[NDArray[np.int64], tuple[str, ...], str]:
    """The class of each name, −1 where the list says that it is unknown; the classes' names; what was inferred.

    known: classes by name; None where the list itself may tell them. count: of classes. partial: some images may be
    absent.
    """
    index, found, absent = Names(names), np.full(len(names), -2), []
    pairs, note = listing.pairs(index)
    if known is None:
        known = {word: i for i, word in enumerate(sorted(_all_words(pairs)))}
        if known:
            note = f"classes of {listing.file} are numbered in the order of their names: {some(list(known), 4)}"
    for image, written in pairs:
        place = index.find(image, listing.file)
        if place is None:
            absent.append(image)
        elif found[place] > -2:
            raise UserError(f"{listing.file} gives '{image}' a class twice; keep one line for each image")
        else:
            found[place] = _class_index(image, written, listing.file, known, count)
    without = [name for name, label in zip(names, found, strict=True) if label == -2]
    if without:
        what = f"{len(without):,} of {len(names):,} images have no line in {listing.file} ({some(without)})"
        raise UserError(f"{what}; give --labels the file that belongs to them")
    if absent and not partial:
        what = f"{len(absent):,} of {len(pairs):,} images in {listing.file} are not in the data ({some(absent)})"
        raise UserError(f"{what}; complete the folder, or name those you want with --subset FILE")
    return found, tuple(known), note


def _all_words(pairs: Sequence[tuple[str, str]]) -> set[str]:
    """The classes where none of them is written as a number."""
    written = {text for _, text in pairs if not _is_unknown(text)}
    return set() if any(re.fullmatch(r"-?\d*\.?\d+(\.0*)?", text, re.ASCII) for text in written) else written


def _is_unknown(written: str) -> bool:
    return written.lower() in UNKNOWN or bool(re.fullmatch(r"-\d+(\.0*)?", written))


def _whole(written: str) -> re.Match | None:
    """A class's number; of a column with gaps, pandas writes 3.0."""
    return re.fullmatch(r"(\d{1,9})(\.0*)?", written, re.ASCII)


def _class_index(image: str, written: str, file: Path, known: Mapping[str, int], count: int) -> int:
    """A class written as a known name, or as an index below count; −1 where it is unknown."""
    number = _whole(written)
    if written not in known and number is None:
        if _is_unknown(written):
            return -1
        raise UserError(f"{file} gives '{image}' the unknown class '{written}'; wanted an index or a known name")
    index = known[written] if number is None or written in known else int(number[1])
    given, wanted = f"{file} gives '{image}' class {index}", "give --labels indices of the sorted synsets"
    if index >= count:
        raise UserError(f"{given}, but there are {count:,}, counted from 0: ILSVRC ids or line numbers; {wanted}")
    # Where the path names the class too, both have to agree: ILSVRC ids are numbers below 1,000 as well.
    folder = PurePosixPath(image).parent.name
    if known.get(folder, index) != index:
        raise UserError(f"{given}, but {folder} is class {known[folder]}: ILSVRC ids; {wanted}")
    return index


def read_subset(file: Path, paths: Sequence[str]) -> list[int]:
    """Indices of the images a file names, sorted: a line each with an index, a path or a file name.

    RobustBench's list of 5,000 is ``wnid/file`` lines; what follows a name on its line, such as a class,
    is left out.
    """
    lines = read_lines(file, "subset")
    found = [int(line) for line in lines] if all(map(is_number, lines)) else _named(lines, paths, file)
    if max(found) >= len(paths):
        raise UserError(f"{file} asks for image {max(found)} of {len(paths):,}; indices run from 0 to {len(paths) - 1}")
    (most, times), *_ = Counter(found).most_common(1)
    if times > 1:
        raise UserError(f"{file} names {paths[most]} twice; keep one line for each image")
    return sorted(found)


def _named(lines: Sequence[str], paths: Sequence[str], file: Path) -> list[int]:
    names, found, absent = Names(paths), [], []
    for line in lines:
        whole, first = names.find(line, file), re.split(r"[,\s]", line)[0]
        place = names.find(first, file) if whole is None else whole
        if place is None:
            absent.append(line)
        else:
            found.append(place)
    if absent:
        what = f"{len(absent):,} of {len(lines):,} lines of {file} name no image of the data ({some(absent)})"
        raise UserError(f"{what}; wanted paths below the data's root, file names or indices")
    return found
