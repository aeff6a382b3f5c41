from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradlens._registry import unknown
from gradlens._types import UserError
from gradlens.data._arrays import Arrays
from gradlens.data._data import Data, Source
from gradlens.data._digits import Digits
from gradlens.data._folder import Folder
from gradlens.data._photos import Photos
from gradlens.data._shapes import Shapes

EMBEDDED: dict[str, Callable[[str], Source]] = {"digits": Digits, "shapes": Shapes, "photos": Photos}
EMBEDDED_SPLITS = ("train", "val", "test")


def load_data(
    spec: str | Path | tuple[Any, Any], split: str = "val", root: str | Path | None = None, limit: int | None = None
) -> Data:
    """A data set by name (``digits``, ``shapes``, ``photos``), folder, or ``(images, labels)`` in memory.

    split: train, val or test; a folder may hold sub-folders of those names. root: where a relative
    folder is looked for. limit: a stratified, nested sample of this many images.
    """
    if isinstance(spec, tuple):
        return Data(Arrays(*spec)).limit(limit)
    name = str(spec)
    options = {"spec": name, "split": split, "root": None if root is None else str(root)}
    if name in EMBEDDED:
        if split not in EMBEDDED_SPLITS:
            raise UserError(unknown(f"split of {name}", split, EMBEDDED_SPLITS))
        return Data(EMBEDDED[name](split), split, options=options).limit(limit)
    folder = Path(root or ".") / name
    if folder.is_dir():
        return Data(Folder(folder, split), split, options=options).limit(limit)
    if folder.exists():
        raise UserError(f"{folder} is a file; give a folder with one sub-folder a class")
    raise UserError(unknown("data", name, EMBEDDED, "Or give the path of a folder of images"))
