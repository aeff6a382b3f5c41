"""The distribution of sizes, of all images and by outcome, holds the runs' numbers."""

import matplotlib as mpl
import numpy as np
import pytest
from drawables import a_run, drawn, footnote, texts
from synthetic import models, synthetic

from gradlens import Run, UserError
from gradlens.plotting import draw, numbers
from gradlens.plotting._gradient_norm_distribution import MOST_BINS
from gradlens.stats.intervals import mean_interval


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_the_norm_distribution_draws_the_tables_numbers(runs):
    table = numbers(draw("gradient_norm_distribution", runs))
    for run in runs:
        l1 = run.samples["l1"]
        own = table[(table["series"] == run.label) & (table["kind"] == "bin")]
        counts = np.histogram(l1, [*own["low"], own["high"].iloc[-1]])[0]
        np.testing.assert_allclose(own["y"], counts / counts.max())
        assert counts.sum() == len(l1)
        mean = table[(table["series"] == run.label) & (table["kind"] == "interval")]
        np.testing.assert_allclose(mean[["x", "low", "high"]], [mean_interval(l1)])
        assert mean["text"].item() == f"{l1.mean():.3g} ± {l1.std(ddof=0):.3g}, n = 200"


def test_few_images_are_a_smooth_curve_above_a_mark_each_and_many_are_bins():
    run = models(1, images=24)[0]
    few, many = (numbers(draw("gradient_norm_distribution", r)) for r in (run, models(1, images=2000)))
    assert 12 < len(many[many["kind"] == "bin"]) <= MOST_BINS
    assert not len(few[few["kind"] == "bin"])
    np.testing.assert_allclose(few[few["kind"] == "scatter"]["x"], run.samples["l1"])
    curve = few[few["kind"] == "line"]
    np.testing.assert_allclose(curve["y"], heights(np.log10(run.samples["l1"]), np.log10(curve["x"])), atol=1e-9)
    rising = np.sign(np.diff(curve["y"]))
    assert (np.diff(rising) != 0).sum() <= 5, "no tooth for single images"


def heights(sample, at):
    """Scott's normal kernel density over its peak, from the definition."""
    width = sample.std(ddof=1) * len(sample) ** -0.2
    density = np.exp(-0.5 * ((np.asarray(at)[:, None] - np.asarray(sample)) / width) ** 2).sum(1)
    return density / density.max()


def test_a_single_image_has_no_deviation_and_no_interval_and_the_note_says_so():
    figure = draw("gradient_norm_distribution", models(1, images=1))
    (entry,) = figure.axes[0].get_legend().get_texts()
    assert "±" not in entry.get_text()
    assert entry.get_text().endswith("n = 1")
    assert "no interval of a single image: natural" in footnote(figure)
    assert numbers(figure).query("kind == 'interval'")[["low", "high"]].isna().all(axis=None)


def test_an_interval_that_reaches_below_zero_is_not_drawn_and_said():
    run = models(1, images=24)[0]
    run.samples["l1"] = [1e4, *np.linspace(0.1, 1, 23)]
    assert mean_interval(run.samples["l1"])[1] < 0
    figure = draw("gradient_norm_distribution", run)
    assert numbers(figure).query("kind == 'interval'")[["low", "high"]].isna().all(axis=None)
    assert "reaches below 0: natural" in footnote(figure)


def test_correct_and_wrong_are_drawn_apart(runs):
    ax = draw("gradient_norm_distribution:by=correct", runs[:1]).axes[0]
    wrong = runs[0].samples.query("not correct")["l1"]
    assert any(f"n = {len(wrong)}" in t.get_text() for t in ax.get_legend().get_texts())


def test_images_without_a_gradient_are_counted(runs):
    run = synthetic("partly", 0)
    run.samples.loc[:6, "l1"] = 0.0
    run.samples.loc[7, "l1"] = np.nan
    assert "left out: partly 8" in draw("gradient_norm_distribution", [run]).get_supxlabel()


def test_small_multiples_show_the_others_in_gray():
    many = models(6)
    ax = draw("gradient_norm_distribution", many).axes[0]
    assert [mpl.colors.to_hex(one.get_color()) for one in ax.lines].count("#cccccc") == 5
    four = draw("gradient_norm_distribution", many[:4])
    assert len(four.axes) == 1


def test_conditional_norms_are_those_of_all_correct_and_wrong_images():
    run, other = a_run("natural", images=300), a_run("other", 1)
    panels = drawn("conditional_norm_distribution", run, other).axes
    correct = run.samples["correct"]
    for ax, rows in zip(panels, (correct | True, correct, ~correct), strict=True):
        values = run.samples["l1"][rows]
        said = [entry.get_text() for entry in ax.get_legend().get_texts()]
        assert said[0] == f"{values.mean():.3g} ± {values.std(ddof=0):.3g}, n = {len(values)}"
    assert [ax.get_title() for ax in panels] == ["all images", "correct", "wrong"]


def test_a_model_without_mistakes_has_an_empty_panel():
    run = a_run()
    run.samples["correct"] = True
    assert texts(drawn("conditional_norm_distribution", run)) == ["no image"]


def test_vanished_gradients_are_an_answer_not_a_crash():
    run = synthetic("vanished", 0)
    run.samples["l1"] = 0.0
    with pytest.raises(UserError, match="gradient_flag"):
        draw("gradient_norm_distribution", [run])
    run.samples[[c for c in run.samples if c.startswith("edge_")]] = np.nan
    with pytest.raises(UserError, match="gradient_flag"):
        draw("edge_concentration", [run])
