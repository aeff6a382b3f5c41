"""How far a run is: one line that changes in a notebook, a line now and then in a log, nothing where not asked."""

import re

import pytest

from gradlens.core import notebook, progress

ITEMS = [(k, [0] * 10, {}) for k in range(4)]


@pytest.mark.parametrize("where", ["notebook", "log"])
def test_it_says_how_far_it_is_and_how_long_it_took(monkeypatch, capsys, where):
    said = []
    monkeypatch.setattr(progress, "in_notebook", lambda: where == "notebook")
    monkeypatch.setattr(progress, "CELL_SECONDS", -1)
    monkeypatch.setattr(progress, "LINE_SECONDS", -1)
    monkeypatch.setattr(notebook.Line, "show", lambda self, text: said.append(text))
    assert list(progress.track(ITEMS, "net", 60, 20, True)) == ITEMS
    said += capsys.readouterr().err.splitlines()
    assert len(said) == 5
    assert re.fullmatch(r"net: 30/60 images, [\d,.]+ images/s, 0:00:\d\d left", said[0])
    assert re.fullmatch(r"net: 40 images in 0:00:0\d", said[-1])
    assert list(progress.track(ITEMS, "net", 60, 20, False)) == ITEMS
    assert capsys.readouterr().err == ""
    assert len(said) == 5
