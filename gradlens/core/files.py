"""Writing so that a file which looks complete is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gradlens.core.types import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a temporary file beside it, flush to the disk, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another output") from None
    finally:
        temporary.unlink(missing_ok=True)


def check_checkpoint(spec: str) -> None:
    """Refuse the path of a file that is not there, before the seconds that importing torch takes."""
    if ":" not in spec and not Path(spec).exists():
        raise UserError(f"no checkpoint at {spec}; give the path of a file, or a timm name as timm:NAME")


def make_folder(path: Path) -> Path:
    """Create a folder, or say why it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or error}; choose another output") from None
    return path
