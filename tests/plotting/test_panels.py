"""Panels of many models share their scale; a run that lacks numbers is told what measures them."""

import numpy as np
import pandas as pd
import pytest
from drawables import given, handed_over, is_seen
from matplotlib.figure import Figure
from refusals import refused
from synthetic import models

from gradlens import Run, UserError
from gradlens.plotting import draw, numbers
from gradlens.plotting.panels import curve, record

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


def test_what_is_handed_over_is_a_row_a_mark_with_its_panel():
    figure = Figure()
    ax, other = figure.subplots(1, 2, sharey=True)
    ax.set(title="first\nmodel", xlabel="ε", ylabel="accuracy")
    record(ax, "line", "natural", x=[0, 1], y=[70.0, 40.0], low=60)
    record(other, "text", panel="image 3", text="L1 4")
    table = numbers(figure)
    assert table["panel"].tolist() == ["first model", "first model", "image 3"]
    assert table["ylabel"].tolist() == 3 * ["accuracy"], "a shared axis has one label"
    assert table["low"].tolist()[:2] == [60, 60]
    assert np.isnan(table["high"]).all()


def test_a_panel_that_is_gone_hands_nothing_over():
    figure = Figure()
    record(figure.subplots(), "line", x=1, y=2)
    figure.axes[0].remove()
    with refused("hands over no numbers", "record"):
        numbers(figure)


def test_a_number_that_is_not_drawn_is_not_seen():
    ax = Figure().subplots()
    line = curve(ax, "natural", [0, 1, 2], [3.0, 4.0, np.nan], [2.0, 3.0, 0.0], [4.0, 5.0, 0.0])
    assert len(line.get_xdata()) == 2
    rows = handed_over(ax)
    assert [is_seen(ax, row) for row in rows] == [True, True]
    assert not any(is_seen(ax, {**rows[0], name: 9.0}) for name in ("x", "y", "low", "high"))


@pytest.mark.parametrize("name", ["gradient_norm_distribution", "edge_concentration", "edge_gradient_correlation"])
@pytest.mark.parametrize("images", [1, 2, 30])
def test_few_images_and_images_all_alike_are_drawn(name, images):
    run = models(1, images=images)[0]
    run.samples[[c for c in run.samples if c.startswith(("l1", "edge_"))]] = 0.5
    assert np.isclose(numbers(draw(name, [run]))[["x", "y"]], 0.5, rtol=0.2).any()
