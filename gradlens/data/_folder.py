from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gradlens._types import UserError
from gradlens.data._pixels import open_image

SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".webp", ".tif", ".tiff"])
SPLIT_NAMES = {"val": ("val", "valid", "validation"), "train": ("train", "training"), "test": ("test",)}


class Folder:
    """A folder of images: one sub-folder a class in sorted order, or a flat folder without labels."""

    varies_in_size = True

    def __init__(self, root: Path, split: str):
        self.root = _choose_split(root, split)
        self.name = root.name
        folders = sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))
        groups = [_images(f) for f in folders]
        flat = [p for p in sorted(self.root.iterdir()) if _is_picture(p)]
        labelled = any(groups)
        if labelled:
            empty = [f.name for f, g in zip(folders, groups, strict=True) if not g]
            if empty:
                raise UserError(
                    f"class folder '{empty[0]}' in {self.root} holds no image, which would shift the classes "
                    "after it; fill it or remove it"
                )
        files = [f for g in groups for f in g] if labelled else flat
        if not files:
            raise UserError(f"found no image in {self.root}; wanted files that end in {' '.join(sorted(SUFFIXES))}")
        counts = [len(g) for g in groups]
        self.files = files
        self.labels = np.repeat(np.arange(len(groups)), counts) if labelled else np.full(len(files), -1)
        self.class_names = tuple(f.name for f in folders) if labelled else ()

    @property
    def paths(self) -> list[str]:
        return [f.relative_to(self.root).as_posix() for f in self.files]

    def open(self, index: int) -> Image.Image:
        return open_image(self.files[index])


def _choose_split(root: Path, split: str) -> Path:
    """The sub-folder of the split where there is one, else the folder itself."""
    for name in SPLIT_NAMES.get(split, (split,)):
        if split and (root / name).is_dir():
            return root / name
    held = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if held and set(held) <= {name for names in SPLIT_NAMES.values() for name in names}:
        raise UserError(f"{root} holds the splits {' and '.join(held)}, not '{split}'; ask for one that is there")
    return root


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if _is_picture(p))


def _is_picture(file: Path) -> bool:
    """By its name; hidden files are left out, such as the ``._x.jpg`` that macOS puts beside each picture."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
