"""The tutorial runs from top to bottom, shows its figures, and is kept without outputs."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow
TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(TUTORIAL, as_version=4)


@pytest.fixture(scope="module")
def executed(committed, tmp_path_factory):
    place = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        # The networks are too small to gain from a second thread, and wait long for one on a busy machine.
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TMPDIR", str(place))
        patch.chdir(place)
        book = NotebookClient(nbformat.from_dict(committed), timeout=300, resources={"metadata": {"path": place}})
        return book.execute(), place


def cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def data_of(book, kind):
    return [o.data[kind] for cell in cells(book) for o in cell.outputs if kind in o.get("data", {})]


def test_it_is_kept_without_outputs(committed):
    assert [cell.source[:40] for cell in cells(committed) if cell.outputs or cell.execution_count] == []
    nbformat.validate(committed)


# zmq's own warnings about event loops and encryption are not ours.
@pytest.mark.filterwarnings("ignore")
def test_it_runs_without_a_warning_and_leaves_nothing_behind(executed):
    book, place = executed
    assert all(cell.execution_count for cell in cells(book))
    assert [o.text for cell in cells(book) for o in cell.outputs if "arning" in o.get("text", "")] == []
    # Only in temporary folders, which are below here.
    assert [f.name for f in place.iterdir() if not f.name.startswith("tmp")] == []


@pytest.mark.filterwarnings("ignore")
def test_its_figures_and_tables_are_shown(executed):
    book, _ = executed
    figures = [base64.b64decode(png) for png in data_of(book, "image/png")]
    assert len(figures) == 5
    assert all(png.startswith(b"\x89PNG") and len(png) > 10_000 for png in figures)
    pages = data_of(book, "text/html")
    assert sum("data:image/jpeg" in page for page in pages) == 1
    assert sum("untrained against trained" in page for page in pages) == 1
    assert all(len(page) < 100_000 for page in pages)
    # A finished bar is one line, which tells how long it took.
    assert sum(bool(re.search(r"digits: 256 images in \d:\d\d:\d\d", page)) for page in pages) == 2
    assert not any("<progress" in page for page in pages)
    assert data_of(book, "text/plain")[-1] == "tensor([True])"
