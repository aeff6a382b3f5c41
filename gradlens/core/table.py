"""A table of results that says how to read it: on screen, in a notebook, as CSV, Markdown and LaTeX."""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from gradlens.core.files import write_atomically
from gradlens.core.numbers import NOTHING, number
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table as Grid

WIDTH = 100
MOST_ROWS = 200
# A word of a title longer than this is broken.
WORD = 10
# Narrower columns are too narrow for a sentence.
SENTENCE = 24
GAP = 2
FORMATS = (".csv", ".md", ".tex")
# What pdfLaTeX does not typeset as it stands.
LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{"<": "$<$", ">": "$>$", "|": "$|$", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$"},
    **{"≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "∞": r"$\infty$", "√": r"$\surd$", "Σ": r"$\Sigma$"},
    **{"ρ": r"$\rho$", "ω": r"$\omega$", "ε": r"$\varepsilon$", "σ": r"$\sigma$", "²": r"\textsuperscript{2}"},
    **{"\u2003": r"\quad{}", "–": "--", "…": r"\ldots{}", "’": "'"},
}


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers in ``frame``, and what a reader of them must know.

    missing: why a row or number is not there, by its name. printed: the frame as text, where it is
    condensed for reading; its index names the section that each row belongs to.
    """

    frame: pd.DataFrame
    title: str = ""
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    printed: pd.DataFrame | None = None

    def show(self) -> None:
        """Print it to the terminal."""
        from rich.console import Console

        Console().print(self)

    def to_csv(self, path: str | Path) -> None:
        """The numbers of ``frame`` in full, one row a line."""
        text = self.frame.to_csv(index=False)
        write_atomically(Path(path), lambda stream: stream.write(text.encode()))

    def to_markdown(self) -> str:
        """The printed table with its sections, the notes below."""
        rows = [self._titles, [_rule(right) for right in self._right]]
        for section, members in self._sections():
            rows += [[f"**{_piped(section)}**", *[""] * (len(self._titles) - 1)]] if section else []
            rows += [[f"`{name}`" if name != NOTHING else name, *map(_piped, cells)] for name, *cells in members]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        notes = "\n".join(f"- {note}" for note in self._all_notes)
        return "\n\n".join(filter(None, [f"**{self.title}**" if self.title else "", table, notes])) + "\n"

    def to_latex(self) -> str:
        """A ``table`` environment for the package booktabs, the notes below in small print."""
        columns = "".join("r" if right else "l" for right in self._right)
        body = [_latex_row(self._titles)]
        for section, members in self._sections():
            body.append("\\midrule")
            if section:
                body.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{_latex(section)}}}}} \\\\")
            body += map(_latex_row, members)
        lines = ["\\begin{table}", "\\centering", f"\\caption{{{_latex(self.title)}}}" if self.title else ""]
        lines += [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", *body, "\\bottomrule", "\\end{tabular}"]
        if self._all_notes:
            notes = " \\\\\n".join(map(_latex, self._all_notes))
            lines.append(f"\n\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}")
        return "\n".join(filter(None, [*lines, "\\end{table}"])) + "\n"

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
        return {"title": self.title, "rows": rows, "notes": list(self.notes), "missing": dict(self.missing)}

    def __repr__(self) -> str:
        from rich.console import Console

        drawing = io.StringIO()
        Console(file=drawing, width=WIDTH, color_system=None, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in drawing.getvalue().splitlines())

    def _repr_html_(self) -> str:
        sides = ["right" if right else "left" for right in self._right]
        head = "".join(_cell("th", t, side) for t, side in zip(self._titles, sides, strict=True))
        rows = [f"<tr>{head}</tr>"]
        for section, members in self._sections():
            if section:
                rows.append(f'<tr><th colspan="{len(sides)}" style="text-align:left">{html.escape(section)}</th></tr>')
            for cells in members:
                drawn = "".join(_cell("td", cell, side) for cell, side in zip(cells, sides, strict=True))
                rows.append(f"<tr>{drawn}</tr>")
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._all_notes)
        return f"<b>{html.escape(self.title)}</b><table>{''.join(rows)}</table><ul><small>{notes}</small></ul>"

    @cached_property
    def _text(self) -> pd.DataFrame:
        """What is printed, as strings, with at most so many rows."""
        if self.printed is not None:
            return self.printed
        text = self.frame.head(MOST_ROWS).map(_plain)
        return text.set_axis(pd.Index([""] * len(text)))

    @property
    def _titles(self) -> list[str]:
        return [str(title) for title in self._text.columns]

    @cached_property
    def _right(self) -> list[bool]:
        """Which columns are numbers: those that hold a digit, but for the first one and for sentences."""
        columns = [self._text.iloc[:, k] for k in range(self._text.shape[1])]
        return [k > 0 and c.str.contains(r"\d").any() and not _is_prose(c) for k, c in enumerate(columns)]

    def _sections(self) -> Iterator[tuple[str, list[list[str]]]]:
        rows = zip(self._text.index, self._text.to_numpy().tolist(), strict=True)
        for section, members in itertools.groupby(rows, key=lambda row: row[0]):
            yield str(section), [cells for _, cells in members]

    @property
    def _all_notes(self) -> list[str]:
        more = len(self.frame) - MOST_ROWS if self.printed is None else 0
        left_out = [f"{more:,} more rows in .frame"] if more > 0 else []
        return [*left_out, *self.notes, *said_together(self.missing)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.text import Text

        widths = self._widths(options.max_width)
        hidden = len(self._titles) - len(widths)
        yield Text(self.title, style="bold")
        yield ""
        yield _grid([self._titles], widths, self._right, "bold")
        for section, members in self._sections():
            if section:
                yield from ("", Text(section, style="bold cyan"))
            yield _grid(members, widths, self._right)
        yield ""
        notes = [*([f"{hidden} more columns in a wider terminal"] if hidden else []), *self._all_notes]
        yield _grid([("·", note) for note in notes], [1, None], [False, False], "dim")

    def _widths(self, most: int) -> list[int]:
        """Each column's longest cell, so that sections line up. Without room, sentences in the last column are
        folded, then names broken and columns left out.
        """
        columns = zip(self._titles, self._text.T.to_numpy().tolist(), strict=True)
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


def said_together(missing: Mapping[str, str], most: int = 6) -> list[str]:
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
        grid.add_row(*map(Text, row[: len(widths)]))
    return grid


def _is_prose(column: pd.Series) -> bool:
    """Whether some cell has four words: names and numbers with their intervals have fewer."""
    return bool(column.str.contains(r"(?:[^\W\d]{2,}\W+){3}[^\W\d]{2,}", regex=True).any())


def _plain(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _rule(right: bool) -> str:
    return "--:" if right else ":--"


def _piped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*")


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + " \\\\"


def _cell(tag: str, text: str, side: str) -> str:
    return f'<{tag} style="text-align:{side}">{html.escape(text)}</{tag}>'
