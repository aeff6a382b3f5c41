"""Figures of layers, of many models and of one: what is drawn is what the runs hold, read back from the artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawables import ATTACK, LAYERS, a_run, drawn, footnote, line, texts
from matplotlib.colors import same_color, to_rgba
from matplotlib.figure import Figure
from refusals import refused
from scipy.stats import spearmanr

from gradlens import Run
from gradlens.plotting import draw
from gradlens.stats.association import family_bootstrap
from gradlens.stats.intervals import share_interval

# --- layers


def test_selectivity_by_layer_is_the_mean_over_units_in_forward_order():
    run = a_run()
    omega, adjusted = drawn("selectivity_by_layer", run).axes
    for ax, tail in ((omega, ":omega_squared"), (adjusted, ":adjusted")):
        units = [run.arrays[f"class_selectivity/{layer}{tail}"] for layer in LAYERS]
        np.testing.assert_allclose(line(ax, "natural")[1], [values.mean() for values in units])
        low, high = np.quantile(units, [0.1, 0.9], axis=1)
        outline = ax.collections[0].get_paths()[0].vertices
        assert {*np.round(low, 9), *np.round(high, 9)} <= {*np.round(outline[:, 1], 9)}
    assert [tick.get_text() for tick in omega.get_xticklabels()] == list(LAYERS)
    faint = [one.get_ydata() for one in adjusted.lines if one.get_alpha() == 0.6]
    np.testing.assert_allclose(faint[0], [run.arrays[f"class_selectivity/{layer}"].mean() for layer in LAYERS])
    np.testing.assert_allclose(faint[1], [run.arrays[f"class_selectivity/{layer}:null"].mean() for layer in LAYERS])


def test_units_that_never_vary_are_left_out_of_a_layers_mean():
    run = a_run()
    values = run.arrays["class_selectivity/stem:omega_squared"]
    values[:5] = np.nan
    assert line(drawn("selectivity_by_layer", run).axes[0], "natural")[1][0] == pytest.approx(values[5:].mean())


def test_models_of_other_layers_stand_at_their_relative_depth():
    short = a_run("short")
    for name in [name for name in short.arrays if "/layer2" in name]:
        del short.arrays[name]
    ax = drawn("selectivity_by_layer", a_run("long"), short).axes[0]
    np.testing.assert_allclose(line(ax, "short")[0], [0, 0.5, 1])
    np.testing.assert_allclose(line(ax, "long")[0], [0, 1 / 3, 2 / 3, 1])


def test_units_of_all_images_are_not_drawn_for_a_selection():
    with refused("all images", "natural"):
        drawn("selectivity_by_layer", a_run().select("correct"))


def test_a_run_says_why_it_has_no_selectivity():
    run = Run(pd.DataFrame({"l1": [1.0]}), {"model": "bare"}, {}, {"missing": {"omega_squared_mean": "no labels"}})
    with refused("bare", "no labels"):
        drawn("selectivity_by_layer", run)


# --- edges against size


def test_edge_gradient_correlation_states_mean_deviation_and_rank_correlation():
    run = a_run(images=500)
    ax = drawn("edge_gradient_correlation", run).axes[0]
    edge, size = run.samples["edge_corr_contour"], run.samples["l1"]
    title = ax.get_title().replace("−", "-")
    assert f"{edge.mean():.2f} ± {edge.std(ddof=0):.2f}, n = 500" in title
    assert f"ρ = {spearmanr(edge, size).statistic:.2f} [" in title


def test_edge_gradient_correlation_counts_every_image_once():
    run = a_run(images=500)
    run.samples.loc[:9, "edge_corr_contour"] = np.nan
    run.samples.loc[490:, "l1"] = 0.0
    figure = drawn("edge_gradient_correlation", run)
    assert figure.axes[0].collections[0].get_array().sum() == 480
    assert "n = 480" in figure.axes[0].get_title()


def test_the_median_line_is_that_of_tenths_by_size():
    run = a_run(images=400)
    rows = run.samples.sort_values("l1", kind="stable")[["l1", "edge_corr_contour"]].to_numpy()
    x, y = line(drawn("edge_gradient_correlation", run).axes[0], "natural, median")
    np.testing.assert_allclose(np.array([x, y]).T, np.median(rows.reshape(10, 40, 2), axis=1))


def test_one_model_fits_into_given_axes_and_two_do_not():
    figure = Figure()
    assert draw("edge_gradient_correlation", [a_run()], ax=figure.subplots()) is figure
    with refused("2 runs", "one ax"):
        draw("edge_gradient_correlation", [a_run("a"), a_run("b")], ax=Figure().subplots())


# --- many models


def models():
    archs = ("resnet50", "swin_b", "vit_small", "convnext_t")
    return [a_run(f"{arch}-{k}", 3 * k + j, arch=arch) for j, arch in enumerate(archs) for k in range(3)]


def test_the_scatter_holds_every_models_numbers_and_their_rank_correlation():
    runs = models()
    ax = drawn("leaderboard_scatter", *runs, against="robust_accuracy").axes[0]
    found = {tuple(point) for one in ax.lines for point in np.transpose(one.get_data())}
    assert found == {(run.summary["l1_mean"], run.summary[f"robust_accuracy{ATTACK}"]) for run in runs}
    x, y = (np.array([run.summary[k] for run in runs]) for k in ("l1_mean", f"robust_accuracy{ATTACK}"))
    families = [run.label.partition("-")[0] for run in runs]
    low, high = family_bootstrap(x, y, families)
    title = ax.get_title(loc="left").replace("−", "-")
    assert title.startswith(f"ρ = {spearmanr(x, y).statistic:.2f} [{low:.2f}, {high:.2f}], within families ")


def test_families_differ_in_colour_and_shape():
    lines = drawn("leaderboard_scatter", *models()).axes[0].lines
    assert [one.get_label() for one in lines] == ["resnet", "swin", "vit", "convnext"]
    assert len({one.get_marker() for one in lines}) == len({to_rgba(one.get_color()) for one in lines}) == 4


def test_names_cover_neither_each_other_nor_a_mark():
    runs = models()
    figure = drawn("leaderboard_scatter", *runs)
    ax = figure.axes[0]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    marks = ax.transData.transform([point for one in ax.lines for point in np.transpose(one.get_data())])
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    left_out = len(runs) - len(boxes)
    assert len(boxes) > 6
    assert left_out == 0 or f"{left_out} names left out" in footnote(figure)


def test_a_model_without_the_number_is_left_out_and_named():
    runs = models()
    runs[3].summary["l1_mean"] = None
    figure = drawn("leaderboard_scatter", *runs)
    assert f"missing for {runs[3].label}" in footnote(figure)
    assert sum(len(one.get_xdata()) for one in figure.axes[0].lines) == len(runs) - 1


def test_three_models_have_no_rank_correlation():
    assert "needs 4 models" in drawn("leaderboard_scatter", *models()[:3]).axes[0].get_title(loc="left")


def test_an_unknown_or_ambiguous_statistic_is_refused():
    with refused("l1_maen", "l1_mean"):
        drawn("leaderboard_scatter", *models(), statistic="l1_maen")
    run = a_run()
    run.summary["robust_accuracy[fgsm,linf,4/255]"] = 20.0
    with refused("robust_accuracy", ATTACK, "fgsm"):
        drawn("leaderboard_scatter", run, against="robust_accuracy")


# --- the model card


def test_the_card_shows_the_headline_numbers_with_their_intervals():
    run = a_run()
    said = texts(drawn("model_card", run))
    share, low, high = share_interval(int(run.samples["correct"].sum()), 200)
    assert [f"{100 * share:.1f}", f"{100 * low:.1f} … {100 * high:.1f}"] == said[said.index("top-1 (%)") + 1 :][:2]
    edge = [run.summary[f"edge_partial_contour_mean{end}"] for end in ("", "_low", "_high")]
    assert [f"{edge[0]:.3g}", f"{edge[1]:.3g} … {edge[2]:.3g}"] == said[said.index("edges, partial") + 1 :][:2]
    assert f"{run.summary['l1_mean']:.3g}" == said[said.index("L1 norm, mean") + 1]
    assert "   median" not in said


def test_the_card_shows_kept_images_above_their_gradients():
    run = a_run()
    figure = drawn("model_card", run, images=4)
    above, below = figure.axes[0], figure.axes[4]
    np.testing.assert_allclose(above.images[0].get_array(), run.examples["image"][0].transpose(1, 2, 0), atol=1e-3)
    gradient = run.examples["gradient"][0].astype(float) * run.examples["scale"][0]
    assert below.texts[0].get_text() == f"L1 {np.abs(gradient).sum():.3g}"
    expected = np.clip(0.5 + 0.5 * gradient / np.quantile(np.abs(gradient), 0.99), 0, 1)
    np.testing.assert_allclose(below.images[0].get_array(), expected.transpose(1, 2, 0), atol=1e-6)


def test_the_cards_sizes_are_told_apart_by_outcome():
    ax = next(ax for ax in drawn("model_card", a_run()).axes if ax.get_ylabel() == "images (peak = 1)")
    outlines = [patch for patch in ax.patches if patch.get_label().startswith(("all", "correct", "wrong"))]
    colors = [patch.get_edgecolor() for patch in outlines]
    assert len(outlines) == 3
    assert not same_color(colors[1], colors[2])


def test_a_panel_whose_numbers_are_missing_says_which_analyzer_measures_them():
    run = a_run()
    run.arrays.clear()
    run.examples.clear()
    said = " ".join(" ".join(text.split()) for text in texts(drawn("model_card", run)))
    assert "channel_asymmetry" in said
    assert "edge_concentration" in said
    assert "gradlens examples" in said
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"], "l1": [1.0]}), {"model": "bare"})
    assert draw("model_card", [bare]).axes


def test_a_card_is_one_models():
    with refused("2 runs", "one for each"):
        drawn("model_card", a_run("a"), a_run("b"))
