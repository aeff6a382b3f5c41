"""A table in every form: readable and complete, and texts that come from files stay text in all of them."""

from __future__ import annotations

import ast
import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused

import gradlens
from gradlens import Table
from gradlens.core.text import LATEX

EVIL = ["<script>alert(1)</script>", "=HYPERLINK(1)", "+1", "-1", "@x", "a|b", "*b* `c`", r"\input{x} & 5% $ #_{}~^"]


def sectioned(**changed) -> Table:
    printed = pd.DataFrame(
        {
            "measure": ["l1", "edge_z[sigma=2]", "[odd]"],
            "value": ["1.20 ± 0.03", "−0.5", "–"],
            "p": ["<0.001", "0.2", "–"],
            "how to read it": ["ρ ≤ 1 of ‖g‖₁", "ten to the minus third, 10⁻³", "a|b"],
        },
        index=["primary (p by Holm)", "primary (p by Holm)", "exploratory_2"],
    )
    frame = pd.DataFrame({"name": ["a", "b", "c"], "value": [1.23456789, -0.5, np.nan]})
    parts = {"title": "a_1 & b on 50 %", "notes": ("±: half",), "missing": {"x": "equal", "y": "equal"}}
    return Table(frame, printed=printed, **{**parts, **changed})


class Cells(HTMLParser):
    """The texts of a table's rows, and that every tag is closed."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.rows, self.tags = [], [], set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def rows_of(table: Table) -> list[list[str]]:
    """Titles, and each section's name above its rows, as every form shows them."""
    width = len(table.titles)
    found = [table.titles]
    for section, members in table.sections():
        found += [[section, *[""] * (width - 1)]] if section else []
        found += members
    return found


@pytest.mark.parametrize("table", [sectioned(), Table(pd.DataFrame({"a": ["x"], "b": [1.5]}))])
def test_a_page_has_the_rows_and_a_name_above_each_section(table):
    page = Cells(table.to_html())
    assert page.rows == rows_of(table)
    for note in table.said:
        assert f"<li>{note}</li>" in table.to_html()


def test_a_page_is_the_same_each_time_and_may_stand_beside_another():
    table = sectioned()
    assert table._repr_html_() == table.to_html() == sectioned().to_html()
    ids = {re.search(r'id="(\w+)"', t.to_html())[1] for t in (table, Table(table.frame))}
    assert len(ids) == 2
    assert "a_1" not in table.to_html(about=False)
    assert "half" not in table.to_html(about=False)


def test_numbers_stand_right_and_names_and_sentences_left():
    latex = sectioned().to_latex()
    assert r"\begin{tabular}{lrrl}" in latex
    styles = re.findall(r"#T_\w+ \.(col\d) \{\s+text-align: right", sectioned().to_html())
    assert styles == ["col1", "col2"]
    assert sectioned().to_markdown().splitlines()[3] == "| :-- | --: | --: | :-- |"


def test_latex_is_booktabs_in_plain_ascii_with_notes_below():
    text = sectioned().to_latex()
    assert text.isascii()
    assert text.startswith("\\begin{table}\n\\centering\n\\caption{a\\_1 \\& b on 50 \\%}\n\\begin{tabular}")
    head, *body = [line for line in text.splitlines() if line.endswith("\\\\") and " & " in line]
    assert head == r"\textbf{measure} & \textbf{value} & \textbf{p} & \textbf{how to read it} \\"
    assert body[0] == r"\rlap{\emph{primary (p by Holm)}} &  &  &  \\"
    assert body[1] == r"l1 & 1.20 $\pm$ 0.03 & $<$0.001 & $\rho$ $\leq$ 1 of $\Vert$g$\Vert$$_{1}$ \\"
    assert body[3] == r"\midrule \rlap{\emph{exploratory\_2}} &  &  &  \\"
    # A bracket that opens a row would be read as the optional argument of the row before.
    assert body[4] == r"{}[odd] & -- & -- & a$|$b \\"
    assert text.endswith("half \\\\\nmissing: x, y: equal}\n\\end{table}\n")
    assert "caption" not in sectioned(title="").to_latex()
    assert "parbox" not in sectioned(notes=(), missing={}).to_latex()


def test_all_that_the_package_says_can_be_typeset():
    """Of the texts that tables show; docstrings, the screen's frames and a plot's fixed spaces are none."""
    root = Path(gradlens.__file__).parent
    left_out = {root / "cli" / "main.py", root / "plotting" / "panels.py"}
    said = set()
    for file in set(root.rglob("*.py")) - left_out:
        tree = ast.parse(file.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
        said |= {c for text in texts if isinstance(text, str) for c in text if not c.isascii()}
    assert len(said) > 20
    # Letters of the Latin alphabet with accents need no help.
    assert {c for c in said if ord(c) not in LATEX and not (c.isalpha() and ord(c) < 256)} == set()
    assert "".join(LATEX.values()).isascii()


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdfLaTeX is missing; apt-get install texlive-latex-recommended"
)
def test_latex_compiles(tmp_path):
    names = [*EVIL, "[odd]", "*", "añb", "".join(map(chr, sorted(LATEX)))]
    evil = Table(pd.DataFrame({"name": names, "value": range(len(names))}), names[-1], (names[-1], "[odd]"))
    parts = (sectioned().to_latex(), evil.to_latex(), Table(evil.frame[8:]).to_latex())
    text = "\n".join([r"\documentclass{article}\usepackage{booktabs}\begin{document}", *parts, r"\end{document}"])
    (tmp_path / "t.tex").write_text(text)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_is_a_table_with_sections_and_notes():
    lines = sectioned().to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {5}
    assert lines[0] == "**a_1 & b on 50 %**"
    assert rows[2] == "| **primary (p by Holm)** |  |  |  |"
    assert rows[3] == r"| `l1` | 1.20 ± 0.03 | \<0.001 | ρ ≤ 1 of ‖g‖₁ |"
    assert rows[6].endswith(r"| a\|b |")
    assert lines[-2:] == ["- ±: half", "- missing: x, y: equal"]


def test_names_from_files_stay_text_in_every_form(tmp_path):
    names = [*EVIL, "two\nlines"]
    table = Table(pd.DataFrame({"name": names, "value": names}), EVIL[0], (EVIL[0],))
    page = Cells(table.to_html())
    assert "script" not in page.tags
    assert [row[0] for row in page.rows[1:]] == [*EVIL, "two lines"]
    rows = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(names)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3}
    assert "<" not in re.sub(r"`[^`]*`|\\<", "", table.to_markdown())
    latex = table.to_latex()
    assert r"\textbackslash{}input\{x\} \& 5\% \$ \#\_\{\}\textasciitilde{}\textasciicircum{}" in latex
    assert latex.count("\\begin") == latex.count("\\end") == 2


def test_csv_holds_every_number_in_full_and_no_formula(tmp_path):
    frame = pd.DataFrame({"name": EVIL, "value": np.linspace(-1, 1, len(EVIL)) / 3, "=head": range(len(EVIL))})
    Table(frame).to_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["value"]) for row in rows] == frame["value"].tolist()
    assert [row["name"] for row in rows] == [f"'{name}" if name[0] in "=+-@" else name for name in EVIL]
    assert list(rows[0]) == ["name", "value", "'=head"]
    assert list(frame) == ["name", "value", "=head"]


def test_the_ending_says_the_form(tmp_path):
    table = sectioned()
    assert table.save(tmp_path / "t.md").read_text() == table.to_markdown()
    assert table.save(tmp_path / "t.tex").read_text() == table.to_latex()
    table.to_csv(tmp_path / "other.csv")
    assert table.save(tmp_path / "t.csv").read_text() == (tmp_path / "other.csv").read_text()
    with refused("t.xlsx", ".csv, .md, .tex"):
        table.save(tmp_path / "t.xlsx")


def test_missing_numbers_are_none_in_json():
    content = sectioned().as_json()
    assert content["rows"][2] == {"name": "c", "value": None}
    assert content["missing"] == {"x": "equal", "y": "equal"}


@pytest.mark.parametrize("width", [30, 45, 80])
def test_a_narrow_screen_loses_columns_and_says_so_but_breaks_no_number(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    sectioned().show()
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert "1.20 ± 0.03" in text
    assert ("more column" in " ".join(text.split())) == ("ρ ≤ 1" not in text)


def test_a_table_of_many_rows_says_how_many_it_leaves_out():
    table = Table(pd.DataFrame({"path": [str(i) for i in range(1000)], "distance": np.arange(1000.0)}))
    assert "800 more rows" in repr(table)
    assert "800 more rows" in table.to_html()
    assert len(table.frame) == 1000


def test_the_screen_shows_text_as_it_is():
    table = Table(pd.DataFrame({"name": ["[bold]x[/bold]"], "value": [1.5]}), "[red]a")
    assert "[bold]x[/bold]" in repr(table)
    assert "[red]a" in repr(table)
