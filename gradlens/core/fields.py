"""Types are checked where they come in: a value of a file or a flag in the type that it is to have, or one line."""

from __future__ import annotations

import json
import math
import reprlib
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple

from gradlens.core.types import UserError

SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 60, 60
LIMIT = 2**26
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    dict: "a table of names and values",
    NoneType: "nothing",
}


class Rule(NamedTuple):
    """What must hold of a value beyond its type, and how an error says it."""

    holds: Callable[[Any], bool]
    wanted: str


# What a share would be taken for: 0.9 is 90 % to one reader and 0.9 % to another.
PERCENT = Rule(lambda number: number == 0 or 1 < number <= 100, "percent, such as 60.3; a share of 0.9 is 90")


def checked(source: object, key: str, value: Any, kind: Any, rule: Rule | None = None) -> Any:
    """The value in its type; raises UserError that names the file, the key and what was wanted.

    kind: an annotation of bool, int, float, str, Path, dict, None, tuples and unions of these. A whole number may
    stand for a decimal one, a list for a tuple; no NaN or infinity is a number. rule: what else must hold.
    """
    for one in _alternatives(kind):
        try:
            found = _as(value, one)
        except (TypeError, ValueError, OverflowError, RuntimeError, NotImplementedError):  # tensors raise the last two
            continue
        if rule is None or found is None or rule.holds(found):
            return found
    raise UserError(f"{source}: {key} = {short(value)}; wanted {rule.wanted if rule else wanted(kind)}")


def checked_table(
    source: object,
    values: Mapping[str, Any],
    kinds: Mapping[str, Any],
    rules: Mapping[str, Rule] | None = None,
) -> dict[str, Any]:
    """Those of the values that have a kind, each in it and as its rule wants it."""
    return {k: checked(source, k, value, kinds[k], (rules or {}).get(k)) for k, value in values.items() if k in kinds}


def wanted(kind: Any) -> str:
    """``float | None`` → ``a number``; ``tuple[float, ...]`` → ``a list of a number each``."""
    named = [_words(one) for one in _alternatives(kind) if one is not NoneType]
    return " or ".join(dict.fromkeys(named)) or WORDS[NoneType]


def short(value: Any) -> str:
    """For an error; what is nested without end or cannot be shown is named by its type."""
    try:
        return SHORT.repr(value)
    except Exception:
        return f"a {type(value).__name__}"


def read_toml(file: Path, what: str) -> dict[str, Any]:
    """A TOML file's table; what: as the error calls a right one."""
    return _parsed(file, what, "TOML", tomllib.loads)


def read_json(file: Path, what: str) -> Any:
    """The value of a JSON file."""
    return _parsed(file, what, "JSON", json.loads)


def _parsed(file: Path, what: str, language: str, parse: Callable[[str], Any]) -> Any:
    text = read_text(file, what)
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not {language} ({_why(error)}); wanted {what}") from None


def read_text(file: Path, what: str) -> str:
    """A regular file of UTF-8, no longer than a list of a million names; what: as the error calls a right one."""
    try:
        if not file.is_file():
            raise UserError(f"cannot read {file}: {'no file' if file.exists() else 'No such file'}; give {what}")
        if file.stat().st_size > LIMIT:
            raise UserError(f"{file} has {file.stat().st_size:,} bytes, too many for {what}")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {str(error).splitlines()[0]}; give {what}") from None


def _why(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union else (kind,)


def _as(value: Any, kind: Any) -> Any:
    """Raises one of the errors that ``checked`` expects where it is not."""
    if typing.get_origin(kind) is tuple:
        return _as_tuple(value, typing.get_args(kind))
    if kind is float:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if not math.isfinite(number):
            raise ValueError
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def _as_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        # Arrays and tensors give their numbers.
        value = value.tolist() if hasattr(value, "tolist") else None
    if not isinstance(value, list | tuple):
        raise TypeError
    each = (kinds[0],) * len(value) if kinds[-1] is Ellipsis else kinds
    return tuple(_as(one, kind) for one, kind in zip(value, each, strict=True))


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        first, *others = typing.get_args(kind)
        many = "a list of" if others == [Ellipsis] else f"{len(others) + 1}"
        return f"{many} {WORDS[first].partition(' ')[2]}s"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
