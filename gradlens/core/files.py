"""Files: written so that one which looks complete is complete, known by their hash, and with names that are text."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from gradlens.core.text import UNFIT
from gradlens.core.types import UserError

# What scripts call every checkpoint, and the folders that they put these in; and a training's folder for a seed.
EVERY = re.compile(r"((model|checkpoint|pytorch)[_-])?(best|last|model|checkpoint|ckpt|weights)s?", re.IGNORECASE)
DIGITS = re.compile(r"(\d+)")
SEED = re.compile(r"s(eed)?[_-]?\d+", re.IGNORECASE)


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


def checkpoint_name(path: str | Path) -> str:
    """What a checkpoint is called: its file without endings, or its folder where the file is called as any is.

    ``edge/best.pt`` is ``edge``, ``edge/s0/best.pt`` is ``edge-s0``.
    """
    file = Path(path)
    name = file.name if file.is_dir() else Path(file.name.removesuffix(".tar")).stem
    if not EVERY.fullmatch(name):
        return name
    folder = next((above for above in file.resolve().parents if not EVERY.fullmatch(above.name)), file)
    parts = [folder.parent.name, folder.name] if SEED.fullmatch(folder.name) else [folder.name]
    return UNFIT.sub("-", "-".join(filter(None, parts))) or name


def trained_in(folder: Path) -> list[Path]:
    """The best checkpoint of each training in a folder and below it, which may be a sweep's."""
    found = folder.rglob("best.pt") if folder.is_dir() else ()
    return sorted(found, key=lambda file: [int(part) if part.isdigit() else part for part in DIGITS.split(str(file))])


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
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or error}; choose another output") from None
    return path


def clear_temporaries(folder: Path) -> None:
    """Remove what ``write_atomically`` and ``make_folder`` leave in a folder when they are killed."""
    for left in [*folder.glob(".*.tmp"), *folder.glob(".write-test-*")]:
        with suppress(OSError):
            left.unlink()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_hash(value: Any) -> str:
    """SHA-256 of a value as JSON, whatever its spaces and the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def json_bytes(value: Any, default: Callable[[Any], Any] = str) -> bytes:
    """Readable JSON in UTF-8, in which names of files that are not UTF-8 stand as escapes that JSON reads again."""
    text = json.dumps(value, indent=1, default=default, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


def readable(path: str) -> str:
    r"""A file's name as text: one that is not UTF-8 has its odd bytes as ``\xe9``, and then ``\\`` for a backslash."""
    try:
        path.encode()
    except UnicodeEncodeError:
        escaped = path.replace("\\", "\\\\").encode("utf-8", "surrogateescape")
        return escaped.decode("utf-8", "backslashreplace")
    return path
