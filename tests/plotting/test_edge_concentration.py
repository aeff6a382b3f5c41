"""Edge measures, their nulls, profiles and their relation to size are the runs'."""

import numpy as np
import pytest
from drawables import a_run, drawn, line
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from refusals import refused
from scipy.stats import spearmanr
from synthetic import models

from gradlens import Run
from gradlens.plotting import draw, numbers
from gradlens.plotting._edge_concentration import NULL
from gradlens.plotting.style import looks
from gradlens.stats.intervals import mean_interval


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_edge_measures_and_their_nulls_are_the_tables(runs):
    table = numbers(draw("edge_concentration", runs))
    for run in runs:
        for tail, name in (("", "own edges"), ("_null", "null: others' edges")):
            values = run.samples[f"edge_auc_canny{tail}"]
            own = table[(table["series"] == f"{run.label}, {name}") & table["xlabel"].str.startswith("AUC")]
            mean = own.loc[own["kind"] == "interval", ["x", "low", "high"]]
            np.testing.assert_allclose(mean, [mean_interval(values)])
            quartiles = own.loc[own["kind"] == "quartiles", ["low", "x", "high"]]
            np.testing.assert_allclose(quartiles, [np.quantile(values, [0.25, 0.5, 0.75])])


def test_a_violin_has_its_models_colour_and_its_null_is_gray(runs):
    axes = draw("edge_concentration", runs).axes
    wanted = [color for look in looks(runs) for color in (look.color, NULL)]
    for ax in axes:
        assert [to_hex(half.get_facecolor()[0]) for half in ax.collections if isinstance(half, PolyCollection)] == [
            to_hex(color) for color in wanted
        ]
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == [run.label for run in runs]


def test_the_edge_profile_is_the_array_it_draws(runs):
    table = numbers(draw("edge_profile", runs))
    for run in runs:
        own = table[table["series"] == run.label]
        np.testing.assert_allclose(own["y"], run.arrays["edge_concentration/profile/gradient"])
    np.testing.assert_allclose(table[table["series"] == "area"]["y"], runs[0].arrays["edge_concentration/profile/area"])


def test_edge_gradient_correlation_states_mean_deviation_and_rank_correlation():
    run = a_run(images=500)
    ax = drawn("edge_gradient_correlation", run).axes[0]
    edge, size = run.samples["edge_corr_contour"], run.samples["l1"]
    title = ax.get_title().replace("−", "-")
    assert f"{edge.mean():.2f} ± {edge.std(ddof=0):.2f}, n = 500" in title
    assert f"ρ = {spearmanr(edge, size).statistic:.2f} [" in title


def test_few_images_are_points():
    run = a_run(images=40)
    (points,) = drawn("edge_gradient_correlation", run).axes[0].collections
    np.testing.assert_allclose(points.get_offsets(), run.samples[["l1", "edge_corr_contour"]])


def test_edge_gradient_correlation_counts_every_image_once():
    run = a_run(images=600)
    run.samples.loc[:9, "edge_corr_contour"] = np.nan
    run.samples.loc[590:, "l1"] = 0.0
    figure = drawn("edge_gradient_correlation", run)
    assert figure.axes[0].collections[0].get_array().sum() == 580
    assert "n = 580" in figure.axes[0].get_title()


def test_the_median_line_is_that_of_tenths_by_size():
    run = a_run(images=400)
    rows = run.samples.sort_values("l1", kind="stable")[["l1", "edge_corr_contour"]].to_numpy()
    x, y = line(drawn("edge_gradient_correlation", run).axes[0], "natural, median and quartiles")
    np.testing.assert_allclose(np.array([x, y]).T, np.median(rows.reshape(10, 40, 2), axis=1))


def test_one_model_fits_into_given_axes_and_two_do_not():
    figure = Figure()
    assert draw("edge_gradient_correlation", [a_run()], ax=figure.subplots()) is figure
    with refused("2 runs", "one ax"):
        draw("edge_gradient_correlation", [a_run("a"), a_run("b")], ax=Figure().subplots())
