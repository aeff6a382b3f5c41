"""A Sphinx extension: what the pages take from the program itself, so that they cannot say something else.

A line ``<!-- from the program: analyzers -->`` in a page is replaced when the site is built, and docstrings
are shown as the plain prose that they are.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlens.analyzers import STANDARD
from gradlens.cli.main import main
from gradlens.core.registry import KINDS, Registry
from gradlens.core.registry import command as commands

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PLACE = re.compile(r"^<!-- from the program: (\w+) -->$", re.MULTILINE)
WIDTH = 100
RESULTS = Path(__file__).parents[1] / "analyses" / "results" / "responses.json"
# Columns of the table of responses, and what they are called there.
RESPONSES = {
    "located": "edge_partial_contour_local",
    "by ranks": "edge_partial_rank_contour_local",
    "AUC, located": "edge_auc_canny_local",
    "partial": "edge_partial_contour",
    "its excess": "edge_partial_contour, excess",
    "raw": "edge_corr_contour",
    "raw's excess": "edge_corr_contour, excess",
}


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", lambda app, page, source: source.__setitem__(0, filled(source[0])))
    app.connect("autodoc-process-docstring", lambda *given: given[-1].__setitem__(slice(None), prose(given[-1])))
    return {"parallel_read_safe": True}


def filled(markdown: str) -> str:
    """The text of a page with what the program says in its places."""
    return PLACE.sub(lambda found: PARTS[found[1]](), markdown)


def prose(lines: list[str]) -> list[str]:
    """A docstring for reStructuredText, to which ``|g|``, ``x_`` and ``*`` would mean something outside of code."""
    parts = re.split(r"(``.+?``)", "\n".join(lines), flags=re.DOTALL)
    parts[::2] = [re.sub(r"([*_|`\\])", r"\\\1", part) for part in parts[::2]]
    # A letter right behind code would keep it from ending.
    codes = zip(parts[1::2], parts[2::2], strict=True)
    parts[1::2] = [code + "\\ " * after[:1].isalnum() for code, after in codes]
    return "".join(parts).split("\n")


def analyzers() -> str:
    """Every analyzer: what it says of itself, and the numbers that tables show first."""
    return "\n\n".join(_analyzer(name, KINDS["analyzers"][name]) for name in _in_order())


def overview() -> str:
    """A row an analyzer."""
    known = KINDS["analyzers"]
    rows = [(f"[`{n}`](#{n})", known.claim(n), "standard" if n in STANDARD else "") for n in _in_order()]
    return _table(("analyzer", "what it says", ""), rows)


def command_line() -> str:
    """The help of every command, as it is printed."""
    parts = [_fenced(_printed([])), *(f"## {name}\n\n{_fenced(_printed([name, '--help']))}" for name in commands)]
    return "\n\n".join(parts)


def responses() -> str:
    """What each edge measure gives for each planted map, from the committed results."""
    rows = [(name, *(_at_sizes(by_size, key) for key in RESPONSES.values())) for name, by_size in _planted().items()]
    return _table(("planted", *RESPONSES), rows)


def windows() -> str:
    """The located partial correlation of each planted map under several sets of confounders."""
    key, planted = "located, contrast windows of", _planted()
    sets = list(next(iter(planted.values()))[0][key])
    chosen = [(name, [{s: size[key][s] for s in sets} for size in by_size]) for name, by_size in planted.items()]
    return _table(("planted", *sets), [(name, *(_at_sizes(by_size, s) for s in sets)) for name, by_size in chosen])


def _planted() -> dict[str, list[dict[str, Any]]]:
    """Each planted map's numbers, one dict a size."""
    sizes = json.loads(RESULTS.read_text())["sizes"].values()
    return {name: [size[name] for size in sizes] for name in next(iter(sizes))}


def _at_sizes(by_size: Iterable[dict[str, Any]], key: str) -> str:
    return " / ".join(f"{size[key]:.2f}".replace("-0.00", "0.00").replace("-", "−") for size in by_size)


def _in_order() -> list[str]:
    """The analyzers, the standard set first."""
    return [*STANDARD, *(name for name in KINDS["analyzers"] if name not in STANDARD)]


def _analyzer(name: str, method: Any) -> str:
    # At its default parameters, which may be in the names of its numbers.
    rows = [(title.replace("   ", "— "), f"`{key}`", meaning) for title, key, meaning in method().readings]
    table = _table(("in tables", "in `run.summary`", "how to read it"), rows) if rows else ""
    return "\n\n".join(filter(None, [f"## {name}", _said(method), _parameters(method), table]))


def _methods(registry: Registry) -> str:
    parts = [part for name, method in registry.items() for part in (f"### {name}", _said(method), _parameters(method))]
    return "\n\n".join(filter(None, parts)) or "None comes with the package."


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


PARTS: dict[str, Callable[[], str]] = {
    **{kind: partial(_methods, registry) for kind, registry in KINDS.items()},
    **{part.__name__: part for part in (analyzers, overview, command_line, responses, windows)},
}
