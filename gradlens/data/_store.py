"""Where pictures lie: a folder or tars, both as names that open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from PIL import Image

from gradlens.core.types import UserError
from gradlens.data._pixels import open_image

SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".webp", ".tif", ".tiff"])
SPLIT_NAMES = {"val": ("val", "valid", "validation"), "train": ("train", "training"), "test": ("test",)}


@runtime_checkable
class Store(Protocol):
    """Pictures by name: their paths below a root, with forward slashes."""

    @property
    def where(self) -> Path: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def folders(self) -> Sequence[str]: ...
    def open(self, name: str) -> Image.Image: ...


class FolderStore:
    """The pictures in a folder and below it; ``folders`` are those right below, empty ones too."""

    def __init__(self, root: Path):
        self.where = root
        try:
            self.folders = sorted(p.name for p in root.iterdir() if p.is_dir() and visible(p.name))
            flat = [p.name for p in root.iterdir() if is_picture(p.name) and not p.is_dir()]
            nested = [name for folder in self.folders for name in _below(root, folder)]
        except OSError as error:
            raise UserError(f"cannot list {error.filename or root}: {error.strerror}; make it readable") from None
        self.names = in_order(flat + nested)

    def open(self, name: str) -> Image.Image:
        return open_image(self.where / name)


def _below(root: Path, folder: str) -> list[str]:
    """Links to folders are followed at the top only, so that a loop of links ends."""
    found = []
    for place, folders, files in os.walk(root / folder, onerror=_raise):
        folders[:] = filter(visible, folders)
        inside = Path(place).relative_to(root).as_posix()
        found += [f"{inside}/{file}" for file in files if is_picture(file)]
    return found


def _raise(error: OSError) -> None:
    raise error


def in_order(names: Sequence[str]) -> list[str]:
    """Sorted folder by folder, as text."""
    return sorted(names, key=lambda name: name.split("/"))


def is_picture(name: str) -> bool:
    """By its name; hidden files are left out, such as the ``._x.jpg`` that macOS puts beside each picture."""
    file = PurePosixPath(name)
    return file.suffix.lower() in SUFFIXES and visible(file.name)


def visible(name: str) -> bool:
    return not name.startswith(".")
