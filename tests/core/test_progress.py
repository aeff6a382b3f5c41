"""A notebook sees how far a run is in one line."""

import re

from gradlens.core import notebook, progress


def test_a_notebook_sees_one_line_that_ends_in_how_long_it_took(monkeypatch):
    said = []
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "CELL_SECONDS", -1)
    monkeypatch.setattr(notebook.Line, "show", lambda self, text, share=None: said.append((text, share)))
    items = [(k, [0] * 10, {}) for k in range(4)]
    assert list(progress.track(items, "net", 40, 0, True)) == items
    assert [share for _, share in said] == [0, 0.25, 0.5, 0.75, 1, None]
    assert said[0][0] == "net: 0/40 images"
    assert re.fullmatch(r"net: 20/40 images, [\d,.]+ images/s, [\d,]+ s left", said[2][0])
    assert re.fullmatch(r"net: 40 images in [\d.]+ s", said[-1][0])
    said.clear()
    assert list(progress.track(items, "net", 40, 0, False)) == items
    assert said == []
