"""A file leaves its figure as it was, and is small."""

import pytest
from matplotlib.figure import Figure
from synthetic import models

from gradlens import Run
from gradlens.plotting import draw, save


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_writing_leaves_the_figure_as_it_was(runs, tmp_path):
    own = Figure()
    draw("edge_profile", runs, ax=own.subplots())
    ours = draw("edge_profile", runs)
    for figure in (own, ours):
        engine, size = figure.get_layout_engine(), tuple(figure.get_size_inches())
        save(figure, tmp_path / "figure.png")
        assert figure.get_layout_engine() is engine
        assert tuple(figure.get_size_inches()) == size


@pytest.mark.slow
def test_large_pictures_are_kept_below_two_megabytes(tmp_path):
    runs = models(6, size=224)
    for suffix in ("pdf", "png"):
        file = save(draw("gradient_gallery", runs, venue="cvpr"), tmp_path / f"large.{suffix}")
        assert file.stat().st_size <= 2e6
