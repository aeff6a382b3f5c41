"""What the pages take from the program: all methods and commands, in their own words."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from gradlens.core.registry import KINDS
from gradlens.core.registry import command as commands

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("program", DOCS / "program.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(program):
    """Every page with what the program adds to it."""
    return {page.relative_to(DOCS).as_posix(): program.filled(page.read_text()) for page in PAGES}


def test_every_place_for_generated_text_is_filled(site, program):
    places = [name for page in PAGES for name in program.PLACE.findall(page.read_text())]
    assert sorted(places) == sorted(program.PARTS)
    assert [name for name, text in site.items() if "<!-- from the program" in text] == []


def test_every_method_and_command_has_its_section(site):
    for name in KINDS["analyzers"]:
        assert f"\n## {name}\n" in site["measures.md"]
        assert f"(#{name})" in site["measures.md"]
    for name in commands:
        assert f"## {name}\n\n```text\nusage: gradlens {name}" in site["cli.md"]
    places = {"figures": "figures", "penalties": "training", "studies": "analyzers"}
    for kind in KINDS.keys() - {"analyzers"}:
        text = site[f"api/{places.get(kind, 'probe')}.md"]
        assert [name for name in KINDS[kind] if f"### {name}\n" not in text] == []


def test_how_to_read_holds_the_analyzers_own_words(site):
    text = " ".join(site["measures.md"].split())
    for name, method in KINDS["analyzers"].items():
        for title, key, meaning in method().readings:
            row = f"`{key}` | {meaning.replace('|', chr(92) + '|')} |"
            assert " ".join(row.split()) in text, (name, title)
        first = " ".join(method.__doc__.split("\n\n")[0].split())
        assert first in text


def test_a_line_of_a_docstring_is_never_a_heading(site):
    """``#{…}`` at the start of a line is one to Markdown."""
    headings = re.findall(r"^#+(?![ #]).*$", site["measures.md"], re.MULTILINE)
    assert headings == []


def test_help_is_plain_text_of_the_width_of_a_page(site):
    blocks = re.findall(r"```text\n(.*?)```", site["cli.md"], re.DOTALL)
    assert len(blocks) == len(commands) + 1
    assert all("\x1b" not in block for block in blocks)
    assert max(len(line) for block in blocks[1:] for line in block.splitlines()) <= 120


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("Mean of |g| a_c, x_ and *", r"Mean of \|g\| a\_c, x\_ and \*"),
        ("``p_y * 2`` and more", "``p_y * 2`` and more"),
        ("a ``Run``s rows", r"a ``Run``\ s rows"),
        ("over\n``two\nlines_``", "over\n``two\nlines_``"),
    ],
)
def test_a_docstring_is_prose(docstring, shown, program):
    assert program.prose(docstring.split("\n")) == shown.split("\n")
