"""Panels of many models share their scale; a run that lacks numbers is told what measures them."""

import pandas as pd
import pytest
from drawables import given
from refusals import refused
from synthetic import models

from gradlens import Run, UserError
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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gradient_norm_distribution", {}),
        ("gradient_norm_distribution", {"by": "correct"}),
        ("channel_distribution", {}),
    ],
)
def test_many_models_get_a_panel_each_on_one_scale(name, options):
    many = models(6)
    panels = [ax for ax in draw(name, many, **options).axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == [run.label for run in many]
    assert len({ax.get_xlim() for ax in panels}) == len({ax.get_ylim() for ax in panels}) == 1


@pytest.mark.parametrize(
    ("name", "analyzer"),
    [
        ("gradient_norm_distribution", "sample_asymmetry"),
        ("channel_distribution", "channel_asymmetry"),
        ("edge_concentration", "edge_concentration"),
        ("edge_profile", "edge_concentration"),
        ("gradient_spectrum", "gradient_spectrum"),
        ("gradient_gallery", "gradlens examples"),
        ("edge_overlay", "gradlens examples"),
    ],
)
def test_a_run_without_the_numbers_is_told_which_analyzer_gives_them(name, analyzer):
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"]}), {"model": "bare"})
    with pytest.raises(UserError, match=f"bare|{analyzer}") as error:
        draw(name, [bare])
    assert analyzer in str(error.value)


@pytest.mark.parametrize(("name", "analyzer"), FIGURES.items())
def test_a_run_without_them_is_told_in_one_line_which_analyzer_gives_them(name, analyzer):
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"]}), {"model": "bare"})
    with refused("bare", analyzer):
        draw(name, [bare])


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
