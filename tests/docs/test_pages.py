"""The pages name every public thing, document what exists, and point at files that are there."""

import importlib
import re
from pathlib import Path

import pytest

import gradlens as gl

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
DOCUMENTED = re.compile(r"^\.\. auto(?:class|function):: ([\w.]+)", re.MULTILINE)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def test_every_public_name_is_on_a_page():
    shown = {path.rpartition(".")[2] for page in PAGES for path in DOCUMENTED.findall(page.read_text())}
    # A module, which is documented by name below the objectives.
    assert set(gl.__all__) - {"edges"} <= shown


@each_page
def test_what_a_page_documents_exists(page):
    for path in DOCUMENTED.findall(page.read_text()):
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


@each_page
def test_a_pages_links_lead_somewhere(page):
    for target in re.findall(r"""(?:\]\(|src=")([^)#"]+)""", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_every_page_is_in_the_contents():
    contents = re.findall(r"```\{toctree\}.*?\n\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = {name for part in contents for name in part.split()}
    there = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    assert listed == (there - {"index"}) | {"tutorial"}
