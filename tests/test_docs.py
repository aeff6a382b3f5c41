"""The pages name all there is, take their texts from the program, and point at files that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import gradlens as gl
from gradlens.core.registry import KINDS
from gradlens.core.registry import command as commands

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(generate):
    """Every page with what the program adds to it."""
    return {page.relative_to(DOCS).as_posix(): generate.on_page_markdown(page.read_text()) for page in PAGES}


def test_every_public_name_is_on_a_page(site):
    shown = {
        line.split()[1].rpartition(".")[2] for text in site.values() for line in text.splitlines() if ":::" in line
    }
    # A module, which is documented by name below the objectives.
    assert set(gl.__all__) - {"edges"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_what_a_page_documents_exists(page):
    for path in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_a_pages_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_place_for_generated_text_is_filled(site, generate):
    places = [name for page in PAGES for name in generate.PLACE.findall(page.read_text())]
    assert sorted(places) == sorted(generate.PARTS)
    assert [name for name, text in site.items() if "<!-- from the program" in text] == []


def test_every_method_and_command_has_its_section(site):
    for name in KINDS["analyzers"]:
        assert f"## {name} {{#{name}}}" in site["reading.md"]
        assert f"(#{name})" in site["reading.md"]
    for name in commands:
        assert f"## {name}\n\n```text\nusage: gradlens {name}" in site["cli.md"]
    places = {"figures": "figures", "penalties": "training", "objectives": "probe", "attacks": "probe"}
    for kind, place in {**places, "edge_maps": "probe"}.items():
        missing = [name for name in KINDS[kind] if f"### {name} {{#" not in site[f"api/{place}.md"]]
        assert missing == []


def test_how_to_read_holds_the_analyzers_own_words(site):
    text = " ".join(site["reading.md"].split())
    for name, method in KINDS["analyzers"].items():
        for title, key, meaning in method().readings:
            row = f"`{key}` | {meaning.replace('|', chr(92) + '|')} |"
            assert " ".join(row.split()) in text, (name, title)
        first = " ".join(method.__doc__.split("\n\n")[0].split())
        assert first in text


def test_a_line_of_a_docstring_is_never_a_heading(site):
    """``#{…}`` at the start of a line is one to Markdown."""
    headings = re.findall(r"^#+(?![ #]).*$", site["reading.md"], re.MULTILINE)
    assert headings == []


def test_help_is_plain_text_of_the_width_of_a_page(site):
    blocks = re.findall(r"```text\n(.*?)```", site["cli.md"], re.DOTALL)
    assert len(blocks) == len(commands) + 1
    assert all("\x1b" not in block for block in blocks)
    assert max(len(line) for block in blocks[1:] for line in block.splitlines()) <= 120
