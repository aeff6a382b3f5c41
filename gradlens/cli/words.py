"""Words of a command line → a command, with every mistake in one line.

tyro draws its errors as boxes over many lines; what it says is kept, the drawing is not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from gradlens.core.names import first_twice, unknown
from gradlens.core.types import UserError

Loader = TypeVar("Loader")
_DRAWING = re.compile(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]+")


def parse(command: Any, name: str, words: Sequence[str]) -> Any:
    """An instance of the command's dataclass; raises UserError for what does not fit."""
    _check_flags(command, name, words)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(command, args=list(words), prog=f"gradlens {name}", description=command.__doc__)
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise UserError(f"{_one_line(said.getvalue())}; see gradlens {name} --help") from None


def _check_flags(command: Any, name: str, words: Sequence[str]) -> None:
    """Refuse a flag that the command does not have, offering the nearest."""
    fields = {f.name.replace("_", "-"): f.type for f in dataclasses.fields(command)}
    known = {f"--{f}" for f in fields} | {f"--no-{f}" for f, kind in fields.items() if kind == "bool"} | {"--help"}
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UserError(unknown(f"flag of {name}", flag, known))


def _one_line(drawn: str) -> str:
    """The first paragraph inside the box, after its title."""
    lines = [" ".join(_DRAWING.sub(" ", line).split()) for line in drawn.splitlines()[1:]]
    paragraph = itertools.takewhile(bool, lines)
    return " ".join(paragraph).rstrip(".:") or "the command line cannot be read"


def run_folders(labels: Sequence[str], out: Path | None, data: str) -> list[Path]:
    """A run folder for each model: ``out`` itself for one, ``out/LABEL`` for several."""
    if out is None:
        return [Path("runs") / f"{label}-{data}" for label in labels]
    return [out] if len(labels) == 1 else [out / label for label in labels]


def check_labels(models: Sequence[tuple[str, Loader]]) -> dict[str, Loader]:
    """The models by label; refuses none, and two of one name."""
    if not models:
        raise UserError("no checkpoint given; give one or more files, timm:NAME, or --models models.toml")
    labels = [label for label, _ in models]
    if twice := first_twice(labels):
        raise UserError(f"two checkpoints are called '{twice}'; rename one, or analyze them one at a time")
    return dict(models)


def label_of(checkpoint: str) -> str:
    """A checkpoint's file name without its endings; a name without its prefix and parameters."""
    last = [part for part in Path(checkpoint).name.split(":") if "=" not in part][-1]
    return Path(last.removesuffix(".tar")).stem if ":" not in checkpoint else last


def indices(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"images '{text}' are not indices; write them as 3,17,42") from None
