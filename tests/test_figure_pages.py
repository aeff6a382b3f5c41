"""The newer figures on paper: they keep to their page, and say what measures the numbers that a run lacks."""

import numpy as np
import pandas as pd
import pytest
from drawables import a_history, a_run, given
from refusals import refused

from gradlens import Run
from gradlens.plotting import draw

FIGURES = {
    "accuracy_against_eps": "minimal_eps",
    "perturbation_gallery": "perturbations",
    "selectivity_by_layer": "class_selectivity",
    "edge_gradient_correlation": "edge_concentration",
    "conditional_norm_distribution": "sample_asymmetry",
    "conditional_medians": "sample_asymmetry",
}
TRAININGS = ("accuracy_over_epochs", "learning_curves", "penalty_weight_sweep")


@pytest.mark.parametrize("name", [*FIGURES, *TRAININGS, "leaderboard_scatter", "model_card"])
def test_nothing_leaves_the_page_of_a_narrow_column(name):
    figure = draw(name, given(name, 3), venue="cvpr", columns=1)
    figure.draw_without_rendering()
    content = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    # To two hundredths of the width, a twentieth of an inch.
    slack = 0.02 * figure.bbox.width
    assert content.x0 > -slack
    assert content.x1 < figure.bbox.width + slack
    assert content.y0 > -slack
    assert content.y1 < figure.bbox.height + slack


@pytest.mark.parametrize(("name", "analyzer"), FIGURES.items())
def test_a_run_without_the_numbers_is_told_which_analyzer_gives_them(name, analyzer):
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"]}), {"model": "bare"})
    with refused("bare", analyzer):
        draw(name, [bare])


@pytest.mark.parametrize("name", TRAININGS)
def test_a_figure_of_trainings_refuses_an_analysis_and_the_reverse(name):
    with refused(name, "natural", "gradlens train"):
        draw(name, [a_run("natural")])
    with refused("conditional_medians", "gradnorm", "gradlens analyze"):
        draw("conditional_medians", [a_history()])


def test_a_bare_table_of_numbers_is_enough_where_only_columns_are_drawn(rng):
    table = pd.DataFrame({"l1": rng.lognormal(size=90), "correct": np.arange(90) % 3 > 0})
    table["edge_corr_contour"] = rng.normal(size=90)
    for name in ("conditional_medians", "conditional_norm_distribution", "edge_gradient_correlation"):
        assert draw(name, {"mine": table}).axes
