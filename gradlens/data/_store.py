"""Where pictures lie: a folder or a tar, both as names that open; and Pictures, what every layout of them comes to."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.core.types import UserError
from gradlens.data._pixels import BYTES, UnreadableError, open_image

SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".webp", ".tif", ".tiff"])
MOST_HEADER = 2**20
SPLIT_NAMES = {"val": ("val", "valid", "validation"), "train": ("train", "training"), "test": ("test",)}
SPLIT_FOLDERS = frozenset(name for names in SPLIT_NAMES.values() for name in names)


def _in_order(names: Iterable[str]) -> list[str]:
    """Sorted folder by folder, as text."""
    return sorted(names, key=lambda name: name.split("/"))


def is_picture(name: str) -> bool:
    """By its name; hidden files are left out, such as the ``._x.jpg`` that macOS puts beside each picture."""
    file = PurePosixPath(name)
    return file.suffix.lower() in SUFFIXES and _visible(file.name)


def _visible(name: str) -> bool:
    return not name.startswith(".")


class FolderStore:
    """The pictures in a folder and below it; ``folders`` are those right below, empty ones too."""

    def __init__(self, root: Path):
        self.where = root
        try:
            self.folders = sorted(p.name for p in root.iterdir() if p.is_dir() and _visible(p.name))
            flat = [p.name for p in root.iterdir() if is_picture(p.name) and not p.is_dir()]
            nested = [name for folder in self.folders for name in _below(root, folder)]
        except OSError as error:
            raise UserError(f"cannot list {error.filename or root}: {error.strerror}; make it readable") from None
        self.names = _in_order(flat + nested)

    def open(self, name: str) -> Image.Image:
        return open_image(self.where / name)


def _below(root: Path, folder: str) -> list[str]:
    """Links to folders are followed at the top only, so that a loop of links ends."""
    found = []
    for place, folders, files in os.walk(root / folder, onerror=_raise):
        folders[:] = filter(_visible, folders)
        inside = Path(place).relative_to(root).as_posix()
        found += [f"{inside}/{file}" for file in files if is_picture(file)]
    return found


def _raise(error: OSError) -> None:
    raise error


class TarStore:
    """The pictures of one uncompressed tar, found once and then read in place by their offset.

    Nothing is unpacked, so no member can be written anywhere; names that would leave the folder and links
    are refused all the same, since such a tar is broken or hostile.
    """

    def __init__(self, file: Path):
        self.where = file
        self._places = _unwrapped(_index(file), file.stem)
        self.names = _in_order(self._places)
        self.folders = sorted({name.partition("/")[0] for name in self.names if "/" in name})

    def open(self, name: str) -> Image.Image:
        start, size = self._places[name]
        with self.where.open("rb") as stream:
            stream.seek(start)
            if size > BYTES:
                raise UnreadableError(f"{self.where}: {name}: it has {size:,} bytes; at most {BYTES:,} are read")
            return open_image(io.BytesIO(stream.read(size)), f"{self.where}: {name}")


class _Headers(io.BufferedReader):
    """Of a tar: tarfile takes names and attributes into memory whole, of whatever size they are declared."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)


def _index(file: Path) -> dict[str, tuple[int, int]]:
    """Where each picture of a tar starts, and its size in bytes."""
    try:
        with _Headers(io.FileIO(file)) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            found = _places(tar, file)
            # tarfile takes a damaged header for the end; a real end is zeros, or nothing.
            stream.seek(tar.offset)
            if any(stream.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged after {len(tar.getmembers()):,} members")
            return found
    except UserError:
        raise
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        # The last two come from sizes that no file can have.
        why = f"cannot read {file} in place: {str(error).splitlines()[0]}"
        raise UserError(f"{why}; wanted a whole, uncompressed tar: decompress it, or unpack it into a folder") from None


def _places(tar: tarfile.TarFile, file: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    end = file.stat().st_size
    for member in tar:
        if member.isdir():
            continue
        _check_plain(member, file)
        if not 0 <= member.size <= end - member.offset_data:
            raise UserError(f"{file} ends inside {member.name}: it is truncated; copy it again")
        name = PurePosixPath(member.name).as_posix()
        if name in found:
            raise UserError(f"{file} holds {name} twice; make the tar again")
        if is_picture(name):
            found[name] = (member.offset_data, member.size)
    return found


def _check_plain(member: tarfile.TarInfo, file: Path) -> None:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name
    if outside or not member.isreg() or member.issparse():
        what = "leaves the folder" if outside else "is a link" if member.linkname else "is not a plain file"
        wanted = "make the tar of plain files with relative names (tar --dereference)"
        raise UserError(f"'{member.name}' in {file} {what}; {wanted}")


def _unwrapped(places: dict[str, tuple[int, int]], stem: str) -> dict[str, tuple[int, int]]:
    """Leaves out a folder that only wraps the others: ``val/n01440764/…`` is ``n01440764/…``."""
    parts = [name.split("/") for name in places]
    wraps = all(len(p) > 2 or (len(p) == 2 and p[0] in {stem, *SPLIT_FOLDERS}) for p in parts)
    if not wraps or len({p[0] for p in parts}) != 1:
        return places
    return _unwrapped({name.partition("/")[2]: place for name, place in places.items()}, stem)


Store = FolderStore | TarStore


@dataclass
class Pictures:
    """Names in a store, with a label and an identity each.

    paths: what identifies an image, its name in the store unless a layout knows better. notes: what a
    user should hear before a run. valid_classes: those that occur, where a data set has only some of
    a model's classes.
    """

    name: str
    store: Store
    names: Sequence[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    paths: Sequence[str]
    notes: tuple[str, ...] = ()
    valid_classes: tuple[int, ...] | None = None
    varies_in_size: bool = True

    def open(self, index: int) -> Image.Image:
        return self.store.open(self.names[index])


def open_store(path: Path) -> Store:
    """Raises UserError for what is neither a folder nor a tar."""
    if path.is_dir():
        return FolderStore(path)
    if not path.is_file():
        raise UserError(f"{path} is no file, but a device, pipe or socket; give a folder or a tar of pictures")
    if path.suffix == ".tar" or tarfile.is_tarfile(path):
        return TarStore(path)
    raise UserError(f"{path} is a file; give a folder with one sub-folder a class, or a tar of it")
