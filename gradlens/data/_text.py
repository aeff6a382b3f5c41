"""Small text files that a user gives: lists of images, labels, classes."""

from __future__ import annotations

from pathlib import Path

from gradlens.core.types import UserError

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


def some(names: list[str], number: int = 2) -> str:
    """The first few of many, for an error of one line."""
    return ", ".join(names[:number]) + (", …" if len(names) > number else "")
