"""A table of results that says how to read it: on screen, in a notebook, as CSV, Markdown and LaTeX."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.files import write_atomically
from gradlens.core.numbers import NOTHING, number
from gradlens.core.text import code, csv, latex, markdown, one_line, page
from gradlens.core.types import UserError, digest

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler
    from rich.console import Console, ConsoleOptions
    from rich.table import Table as Grid

WIDTH = 100
MOST_ROWS = 200
# A word of a title longer than this is broken.
WORD = 10
# Narrower columns are too narrow for a sentence.
SENTENCE = 24
GAP = 2
# Of a page: columns of numbers, and the names of sections, which reach over the empty cells beside them.
RIGHT = [{"selector": "", "props": "text-align: right"}]
SECTION = [{"selector": "td", "props": "max-width: 0; white-space: nowrap; font-weight: bold"}]
FORMATS = (".csv", ".md", ".tex")


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers in ``frame``, and what a reader of them must know.

    missing: why a row or number is not there, by its name. printed: the frame as text, where it is
    condensed for reading; its index names the section that each row belongs to. arrays: what a figure
    draws beside the frame, by name. provenance: what it was made of, where the maker says.
    """

    frame: pd.DataFrame
    title: str = ""
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    printed: pd.DataFrame | None = None
    arrays: Mapping[str, NDArray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def show(self) -> None:
        """Print it to the terminal."""
        from rich.console import Console

        Console().print(self)

    def to_csv(self, path: str | Path) -> None:
        """The numbers of ``frame`` in full, one row a line; texts that a spreadsheet would run get a leading '."""
        write_atomically(Path(path), lambda stream: stream.write(csv(self.frame).encode()))

    def to_markdown(self) -> str:
        """The printed table with its sections, the notes below."""
        rows = [list(map(markdown, self.titles)), [_rule(right) for right in self._right]]
        for section, members in self.sections():
            rows += [[f"**{markdown(section)}**", *[""] * (len(self.titles) - 1)]] if section else []
            rows += [[_code(name), *map(markdown, cells)] for name, *cells in members]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        notes = "\n".join(f"- {markdown(note)}" for note in self.said)
        return "\n\n".join(filter(None, [f"**{markdown(self.title)}**" if self.title else "", table, notes])) + "\n"

    def to_latex(self) -> str:
        """A ``table`` environment for the package booktabs, the notes below in small print."""
        style, sections = self._styled(latex)
        style.map_index(lambda _: "textbf: --rwrap", axis="columns")
        style.map(lambda _: "midrule: ", subset=(sections[sections > 0], 0))
        # A section's name reaches over the empty cells beside it.
        style.map(lambda _: "rlap: --rwrap; emph: --rwrap", subset=(sections, 0))
        columns = "".join("r" if right else "l" for right in self._right)
        text = style.to_latex(column_format=columns, hrules=True, position_float="centering", caption=latex(self.title))
        notes = " \\\\\n".join(map(latex, self.said))
        below = f"\n\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}\n" if notes else ""
        # A bracket or star that opens a row would be read as an option of the row before.
        return re.sub(r"\n(?=[\[*])", "\n{}", text.replace("\\end{table}", below + "\\end{table}"))

    def to_html(self, about: bool = True) -> str:
        """The printed table for a page; about: with its title and notes."""
        style, sections = self._styled(page)
        style.set_table_styles([{"selector": "th, td", "props": "text-align: left; padding: 2px 8px"}])
        style.set_table_styles({k: RIGHT for k, right in enumerate(self._right) if right}, overwrite=False)
        style.set_table_styles(dict.fromkeys(sections, SECTION), overwrite=False, axis=1)
        if not about:
            return style.to_html()
        notes = "".join(f"<li>{page(note)}</li>" for note in self.said)
        return f"<b>{page(self.title)}</b>{style.to_html()}<ul><small>{notes}</small></ul>"

    def save(self, path: str | Path) -> Path:
        """Write it as the ending says: .csv, .md or .tex; raises UserError for another."""
        file = check_format(path)
        if file.suffix == ".csv":
            self.to_csv(file)
        else:
            text = self.to_markdown() if file.suffix == ".md" else self.to_latex()
            write_atomically(file, lambda stream: stream.write(text.encode()))
        return file

    def as_json(self) -> dict[str, Any]:
        """Plain values, None where a number is missing."""
        rows = self.frame.astype(object).where(self.frame.notna(), None).to_dict("records")
        made_of = {"provenance": dict(self.provenance)} if self.provenance else {}
        return {"title": self.title, "rows": rows, "notes": list(self.notes), "missing": dict(self.missing), **made_of}

    def __repr__(self) -> str:
        from rich.console import Console

        drawing = io.StringIO()
        Console(file=drawing, width=WIDTH, color_system=None, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in drawing.getvalue().splitlines())

    def _repr_html_(self) -> str:
        return self.to_html()

    @cached_property
    def _text(self) -> pd.DataFrame:
        """What is printed, as strings, with at most so many rows."""
        if self.printed is not None:
            return self.printed
        text = self.frame.head(MOST_ROWS).map(_plain)
        return text.set_axis(pd.Index([""] * len(text)))

    @property
    def titles(self) -> list[str]:
        """Of the printed columns."""
        return [str(title) for title in self._text.columns]

    @cached_property
    def _right(self) -> list[bool]:
        """Which columns are numbers: those that hold a digit, but for the first one and for sentences."""
        columns = [self._text.iloc[:, k] for k in range(self._text.shape[1])]
        return [k > 0 and c.str.contains(r"\d").any() and not _is_prose(c) for k, c in enumerate(columns)]

    def sections(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Each section of the printed table with its rows; a table without sections is one of no name."""
        rows = zip(self._text.index, self._text.to_numpy().tolist(), strict=True)
        for section, members in itertools.groupby(rows, key=lambda row: row[0]):
            yield str(section), [cells for _, cells in members]

    @property
    def said(self) -> list[str]:
        """All that stands below the table: the notes, and why what is missing is missing."""
        more = len(self.frame) - MOST_ROWS if self.printed is None else 0
        left_out = [f"{more:,} more rows in .frame"] if more > 0 else []
        return [*left_out, *self.notes, *_together(self.missing)]

    def _styled(self, escape: Callable[[str], str]) -> tuple[Styler, NDArray]:
        """The printed table with a row for the name of each section, and the places of those rows."""
        from pandas.io.formats.style import Styler

        rows: list[list[str]] = []
        places: list[int] = []
        for section, members in self.sections():
            if section:
                places.append(len(rows))
                rows.append([section, *[""] * (len(self.titles) - 1)])
            rows += members
        # Two columns may have one title, so they are called by their number.
        frame = pd.DataFrame(rows, columns=range(len(self.titles)))
        style = Styler(frame, uuid=digest([self.titles, rows]), uuid_len=0, cell_ids=False).hide(axis="index")
        named = style.format(escape).relabel_index([escape(title) for title in self.titles], axis="columns")
        return named, np.array(places, int)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.text import Text

        widths = self._widths(options.max_width)
        hidden = len(self.titles) - len(widths)
        yield Text(one_line(self.title), style="bold")
        yield ""
        yield _grid([self.titles], widths, self._right, "bold")
        for section, members in self.sections():
            if section:
                yield from ("", Text(one_line(section), style="bold cyan"))
            yield _grid(members, widths, self._right)
        yield ""
        notes = [*([f"{hidden} more columns in a wider terminal"] if hidden else []), *self.said]
        yield _grid([("·", note) for note in notes], [1, None], [False, False], "dim")

    def _widths(self, most: int) -> list[int]:
        """Each column's longest cell, so that sections line up. Without room, sentences in the last column are
        folded, then names broken and columns left out.
        """
        columns = zip(self.titles, self._text.T.to_numpy().tolist(), strict=True)
        first, *others = (
            max([*map(len, cells), *(min(len(word), WORD) for word in title.split())]) for title, cells in columns
        )
        spare = most - first - sum(others[:-1]) - GAP * len(others)
        if others and _is_prose(self._text.iloc[:, -1]) and spare >= SENTENCE:
            others[-1] = min(others[-1], spare)
        while others and WORD + sum(others) + GAP * len(others) > most:
            others.pop()
        return [min(first, most - sum(others) - GAP * len(others)), *others]


def check_format(path: str | Path) -> Path:
    """A path that a table can be written to; raises UserError for another ending."""
    file = Path(path)
    if file.suffix not in FORMATS:
        raise UserError(f"cannot write a table to {file}; give a file that ends in {', '.join(FORMATS)}")
    return file


def _together(missing: Mapping[str, str], most: int = 6) -> list[str]:
    """A line for each reason, with the names that share it."""
    lines = []
    for reason in dict.fromkeys(missing.values()):
        names = [name for name, said in missing.items() if said == reason]
        some = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
        lines.append(f"missing: {some}: {reason}")
    return lines


def _grid(rows: Iterable[Sequence[str]], widths: Sequence[int | None], right: Sequence[bool], style: str = "") -> Grid:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, GAP, 0, 0))
    for width, side in zip(widths, right, strict=False):
        justify: Literal["right", "left"] = "right" if side else "left"
        grid.add_column(justify=justify, width=width, style=style, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(one_line(cell)) for cell in row[: len(widths)]))
    return grid


def _is_prose(column: pd.Series) -> bool:
    """Whether some cell has four words: names and numbers with their intervals have fewer."""
    return bool(column.str.contains(r"(?:[^\W\d]{2,}\W+){3}[^\W\d]{2,}", regex=True).any())


def _plain(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _rule(right: bool) -> str:
    return "--:" if right else ":--"


def _code(name: str) -> str:
    return name if name == NOTHING else code(name)
