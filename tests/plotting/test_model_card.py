"""One model's page shows its numbers, examples and what is missing."""

import numpy as np
import pandas as pd
from drawables import a_run, drawn, texts
from refusals import refused

from gradlens import Run
from gradlens.plotting import draw, numbers
from gradlens.stats.intervals import share_interval


def test_the_card_shows_the_headline_numbers_with_their_intervals():
    run = a_run()
    table = numbers(drawn("model_card", run))
    said = table[table["kind"] == "text"].set_index("series")["text"]
    share, low, high = share_interval(int(run.samples["correct"].sum()), 200)
    assert said["top-1 (%)"] == f"{100 * share:.1f} {100 * low:.1f} … {100 * high:.1f}"
    edge = [run.summary[f"edge_partial_contour_mean{end}"] for end in ("", "_low", "_high")]
    assert said["edges, partial"] == f"{edge[0]:.3g} {edge[1]:.3g} … {edge[2]:.3g}"
    assert said["L1 norm, mean"] == f"{run.summary['l1_mean']:.3g}"
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
    outlines = {one.get_label(): one.get_linestyle() for one in ax.lines if one.get_label().startswith("natural")}
    assert outlines == {"natural, correct": "-", "natural, wrong": "--"}


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


def test_a_panel_that_says_why_it_is_empty_hands_no_numbers_over():
    run = a_run()
    run.samples["l1"] = np.nan
    table = numbers(drawn("model_card", run))
    assert not table["xlabel"].str.contains("L1 norm").any()
    assert table[["x", "y", "text"]].notna().any(axis=1).all()


def test_a_card_is_one_models():
    with refused("2 runs", "one for each"):
        drawn("model_card", a_run("a"), a_run("b"))
