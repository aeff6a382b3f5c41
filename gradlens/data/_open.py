"""A path → the store that it is: a folder, a tar, or a folder of tars."""

from __future__ import annotations

import tarfile
from pathlib import Path

from gradlens.core.types import UserError
from gradlens.data._store import FolderStore, Store, visible
from gradlens.data._tar import TarStore


def is_tar(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".tar" or tarfile.is_tarfile(path))


def open_store(path: Path) -> Store:
    """Raises UserError for what is neither."""
    if is_tar(path):
        return TarStore(path, [path])
    if not path.is_dir():
        raise UserError(f"{path} is a file; give a folder with one sub-folder a class, or a tar of it")
    store = FolderStore(path)
    tars = [] if store.names else sorted(p for p in path.glob("*.tar") if visible(p.name) and p.is_file())
    return TarStore(path, tars) if tars else store
