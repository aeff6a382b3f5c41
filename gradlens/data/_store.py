"""Where pictures lie: a folder or a tar, both as names that open; and Pictures, what every layout of them comes to."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.core.types import UserError
from gradlens.data._pixels import BYTES, UnreadableError, check_file, open_image, spread, white_of

# torchvision's, and what else Pillow reads that is one picture a file.
READ = "png jpg jpeg jpe jfif bmp dib gif pbm pgm pnm ppm tga tif tiff webp jp2 avif"
SUFFIXES = frozenset(map(".{}".format, READ.split(" ")))
# What lies beside pictures, and is not one that somebody might miss.
BESIDE = frozenset([".txt", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".md", ".html", ".mat", ".db", ".ini"])
MOST_HEADER = 2**20
SPLIT_NAMES = {
    "val": ("val", "valid", "validation"),
    "train": ("train", "training"),
    "test": ("test", "testing"),
}
SPLIT_FOLDERS = frozenset(name for names in SPLIT_NAMES.values() for name in names)
# What network storage, macOS and Windows put among a user's folders.
FOREIGN = frozenset(["@eadir", "__macosx", "#recycle", "lost+found", "$recycle.bin", "system volume information"])


def _in_order(names: Iterable[str]) -> list[str]:
    """Sorted folder by folder, as text."""
    return sorted(names, key=lambda name: name.split("/"))


def is_picture(name: str) -> bool:
    """By its name; hidden files are left out, such as the ``._x.jpg`` that macOS puts beside each picture."""
    file = PurePosixPath(name)
    return file.suffix.lower() in SUFFIXES and _visible(file.name)


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in FOREIGN


def split_of(name: str) -> str:
    """Which split a folder's name means, in any case: ``Training`` is train; empty where it means none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), "")


class FolderStore:
    """The pictures in a folder and below it; ``folders`` are those right below, empty ones too.

    Links are followed, as torchvision does. What is passed over is counted by its kind, and said in ``notes``.
    """

    def __init__(self, root: Path):
        self.where, self.folders, self._left = root, list[str](), Counter[str]()
        found: list[str] = []
        try:
            self._list("", {os.path.realpath(root)}, found)
        except OSError as error:
            raise UserError(f"cannot list {error.filename or root}: {error.strerror}; make it readable") from None
        self.folders.sort()
        self.names = _in_order(found)

    def _list(self, inside: str, seen: set[str], found: list[str]) -> None:
        """Add the names below one folder; seen: the real folders above or beside it, which end a loop of links."""
        folders = []
        with os.scandir(self.where / inside) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_symlink() and not entry.is_file() and not Path(entry.path).exists():
                    self._left["links to nothing"] += 1
                elif is_picture(entry.name):
                    found.append(f"{inside}{entry.name}")
                elif _visible(entry.name) and Path(entry.name).suffix.lower() not in BESIDE:
                    self._left[f"files '{Path(entry.name).suffix or entry.name}'"] += 1
        for name in folders:
            real = os.path.realpath(self.where / inside / name)
            # A class may be a link to another one, which is then listed as both.
            known = {os.path.realpath(self.where)} if not inside else seen
            if not _visible(name):
                self._left[f"folders '{name}'"] += not name.startswith(".")
            elif real in known:
                self._left["links to folders that are listed already"] += 1
            else:
                known.add(real)
                if not inside:
                    self.folders.append(name)
                self._list(f"{inside}{name}/", known, found)

    @property
    def notes(self) -> tuple[str, ...]:
        left = [f"{count:,} {what}" for what, count in sorted(self._left.items()) if count]
        return (f"left out of {self.where}: {', '.join(left)}",) if left else ()

    def read(self, name: str) -> bytes:
        check_file(self.where / name)
        return (self.where / name).read_bytes()

    def open(self, name: str, channels: int = 3, white: float | None = None) -> Image.Image:
        return open_image(self.where / name, None, channels, white)


class TarStore:
    """The pictures of one uncompressed tar, found once and then read in place by their offset.

    Nothing is unpacked, so no member can be written anywhere; names that would leave the folder and links
    are refused all the same, since such a tar is broken or hostile.
    """

    notes = ()

    def __init__(self, file: Path):
        self.where = file
        self._places = _unwrapped(_index(file), file.stem)
        self.names = _in_order(self._places)
        self.folders = sorted({name.partition("/")[0] for name in self.names if "/" in name})

    def read(self, name: str) -> bytes:
        start, size = self._places[name]
        if size > BYTES:
            raise UnreadableError(f"{self.where}: {name}: it has {size:,} bytes; at most {BYTES:,} are read")
        with self.where.open("rb") as stream:
            stream.seek(start)
            return stream.read(size)

    def open(self, name: str, channels: int = 3, white: float | None = None) -> Image.Image:
        return open_image(io.BytesIO(self.read(name)), f"{self.where}: {name}", channels, white)


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

    paths: what identifies an image, its name in the store unless a layout knows better. doubts: what a
    user should hear before a run. valid_classes: those that occur, where a data set has only some of
    a model's classes. split: which part of the data set its folder is called, if any. anywhere: known by what its
    files hold, since its name is only that of a folder.
    """

    name: str
    store: Store
    names: Sequence[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    paths: Sequence[str]
    doubts: tuple[str, ...] = ()
    valid_classes: tuple[int, ...] | None = None
    varies_in_size: bool = True
    split: str = ""
    anywhere: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.store.notes, *self.doubts, *self._depth[1])

    @cached_property
    def _depth(self) -> tuple[float | None, tuple[str, ...]]:
        """What is white in pictures deeper than 8 bits, one value for all of them; and how that is said."""
        looked_at = [self.names[i] for i in spread(len(self.names))]
        found = white_of(self.store.read, looked_at)
        if found is None:
            return None, ()
        said = f"{self.name}: pictures deeper than 8 bits; {found:,g} is taken as white, below which all looked at lie"
        return found, (said,)

    def content(self, index: int) -> str:
        """What its file holds, in a few digits; empty where it cannot be read."""
        try:
            return hashlib.blake2b(self.store.read(self.names[index]), digest_size=8).hexdigest()
        except (OSError, ValueError):
            return ""

    def open(self, index: int, channels: int = 3) -> Image.Image:
        return self.store.open(self.names[index], channels, self._depth[0])


def open_store(path: Path) -> Store:
    """Raises UserError for what is neither a folder nor a tar."""
    if path.is_dir():
        return FolderStore(path)
    if not path.is_file():
        raise UserError(f"{path} is no file, but a device, pipe or socket; give a folder or a tar of pictures")
    if path.suffix == ".tar" or tarfile.is_tarfile(path):
        return TarStore(path)
    raise UserError(f"{path} is a file; give a folder with one sub-folder a class, or a tar of it")
