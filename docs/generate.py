"""What the pages take from the program itself, so that they cannot say something else than it does.

A line ``<!-- from the program: analyzers -->`` in a page is replaced when the site is built.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from gradlens.analyzers import STANDARD
from gradlens.cli.main import claim, main
from gradlens.core.registry import KINDS, Registry
from gradlens.core.registry import command as commands

PLACE = re.compile(r"^<!-- from the program: (\w+) -->$", re.MULTILINE)
WIDTH = 100


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return PLACE.sub(lambda found: PARTS[found[1]](), markdown)


def analyzers() -> str:
    """Every analyzer: what it says of itself, and the numbers that tables show first."""
    known = KINDS["analyzers"]
    order = [*STANDARD, *(name for name in known if name not in STANDARD)]
    return "\n\n".join(_analyzer(name, known[name]) for name in order)


def overview() -> str:
    """A row an analyzer."""
    known = KINDS["analyzers"]
    order = [*STANDARD, *(name for name in known if name not in STANDARD)]
    rows = [(f"[`{name}`](#{name})", claim(known[name]), "standard" if name in STANDARD else "") for name in order]
    return _table(("analyzer", "what it says", ""), rows)


def command_line() -> str:
    """The help of every command, as it is printed."""
    parts = [_fenced(_printed([])), *(f"## {name}\n\n{_fenced(_printed([name, '--help']))}" for name in commands)]
    return "\n\n".join(parts)


def figures() -> str:
    return _methods(KINDS["figures"])


def penalties() -> str:
    return _methods(KINDS["penalties"])


def objectives() -> str:
    return _methods(KINDS["objectives"])


def attacks() -> str:
    return _methods(KINDS["attacks"])


def edge_maps() -> str:
    return _methods(KINDS["edge_maps"])


PARTS: dict[str, Callable[[], str]] = {
    f.__name__: f for f in (analyzers, overview, command_line, figures, penalties, objectives, attacks, edge_maps)
}


def _analyzer(name: str, method: Any) -> str:
    rows = [(title.replace("   ", "— "), f"`{key}`", meaning) for title, key, meaning in _readings(method)]
    table = _table(("in tables", "in `run.summary`", "how to read it"), rows) if rows else ""
    return "\n\n".join(filter(None, [f"## {name} {{#{name}}}", _said(method), _parameters(method), table]))


def _readings(method: Any) -> Iterable[Any]:
    """Of an analyzer at its default parameters, which may be in the names."""
    return method().readings


def _methods(registry: Registry) -> str:
    parts = []
    for name, method in registry.items():
        anchor = f"{registry.kind.replace(' ', '-')}-{name}"
        parts += [f"### {name} {{#{anchor}}}", _said(method), _parameters(method)]
    return "\n\n".join(filter(None, parts))


def _said(method: Any) -> str:
    """A docstring with each paragraph on one line, since a line's first character may mean something to Markdown."""
    paragraphs = (inspect.getdoc(method) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _parameters(method: Any) -> str:
    """The parameters that have a default, as they are written behind the name."""
    found = [p for p in inspect.signature(method).parameters.values() if p.default is not p.empty]
    shown = [f"`{p.name}={_default(p.default)}`" for p in found if p.name != "ax"]
    return f"Parameters: {', '.join(shown)}" if shown else ""


def _default(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _printed(words: list[str]) -> str:
    stream, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(stream):
            main(words)
    finally:
        os.environ.pop("COLUMNS")
        os.environ |= {} if before is None else {"COLUMNS": before}
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    return "\n".join(line.rstrip() for line in plain.splitlines()).strip()


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"
