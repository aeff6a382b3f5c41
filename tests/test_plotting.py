"""Figures from synthetic runs, with the table's numbers in them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import models, synthetic

from gradlens import Run, UserError
from gradlens.core.registry import figure as figures
from gradlens.plotting import draw, numbers, paper_style, save
from gradlens.plotting._draw import DENSE
from gradlens.stats.intervals import mean_interval


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_the_norm_distribution_draws_the_tables_numbers(runs):
    table = numbers(draw("gradient_norm_distribution", runs))
    for run in runs:
        l1 = run.samples["l1"]
        name = f"{run.label}: {l1.mean():.3g} ± {l1.std(ddof=0):.3g}, n = 200"
        own = table[(table["series"] == name) & (table["kind"] == "bin")]
        counts = np.histogram(l1, [*own["low"], own["high"].iloc[-1]])[0]
        np.testing.assert_allclose(own["y"], counts / counts.max())
        assert counts.sum() == len(l1)
    bands = table[table["kind"] == "band"]
    np.testing.assert_allclose(bands[["low", "high"]], [mean_interval(run.samples["l1"])[1:] for run in runs])
    lines = table[(table["kind"] == "line")].drop_duplicates("x")
    np.testing.assert_allclose(lines["x"], [run.samples["l1"].mean() for run in runs])


def test_correct_and_wrong_are_drawn_apart(runs):
    ax = draw("gradient_norm_distribution:by=correct", runs[:1]).axes[0]
    wrong = runs[0].samples.query("not correct")["l1"]
    assert any(f"n = {len(wrong)}" in t.get_text() for t in ax.get_legend().get_texts())


def test_images_without_a_gradient_are_counted(runs):
    run = synthetic("partly", 0)
    run.samples.loc[:6, "l1"] = 0.0
    run.samples.loc[7, "l1"] = np.nan
    assert "left out: partly 8" in draw("gradient_norm_distribution", [run]).get_supxlabel()


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


def test_small_multiples_show_the_others_in_gray():
    many = models(6)
    ax = draw("gradient_norm_distribution", many).axes[0]
    grays = [p for p in ax.patches if mpl.colors.to_hex(p.get_edgecolor()) == "#cccccc"]
    assert len(grays) == 5
    four = draw("gradient_norm_distribution", many[:4])
    assert len(four.axes) == 1


def test_edge_measures_and_their_nulls_are_the_tables(runs):
    table = numbers(draw("edge_concentration", runs))
    for run in runs:
        for tail, name in (("", run.label), ("_null", f"{run.label}, null")):
            values = run.samples[f"edge_auc_canny{tail}"]
            own = table[(table["series"] == name) & table["xlabel"].str.startswith("AUC") & (table["kind"] == "bin")]
            edges = np.array([*own["low"], own["high"].iloc[-1]])
            np.testing.assert_allclose(own["y"], np.histogram(values, edges)[0] / len(values))
            limits = table[(table["series"] == f"{name}, 95 % interval") & table["xlabel"].str.startswith("AUC")]
            np.testing.assert_allclose(limits["x"], mean_interval(values)[1:])


def test_no_row_of_edge_measures_is_cut_off():
    for ax in draw("edge_concentration", models(3)).axes:
        assert ax.get_ylim()[1] >= max(patch.get_data().values.max() for patch in ax.patches)
        assert len({other.get_ylim() for other in ax.get_shared_y_axes().get_siblings(ax)}) == 1


def test_the_edge_profile_is_the_array_it_draws(runs):
    table = numbers(draw("edge_profile", runs))
    for run in runs:
        own = table[table["series"] == run.label]
        np.testing.assert_allclose(own["y"], run.arrays["edge_concentration/profile/gradient"])
    np.testing.assert_allclose(table[table["series"] == "area"]["y"], runs[0].arrays["edge_concentration/profile/area"])


def test_the_spectrum_has_95_percent_bands(runs):
    table = numbers(draw("gradient_spectrum", runs[:1]))
    mean = runs[0].arrays["gradient_spectrum/gradient_mean"]
    np.testing.assert_allclose(table[table["series"] == "natural"]["y"], mean)
    band = table[table["kind"] == "band"].head(len(mean))
    np.testing.assert_allclose(band["high"] - mean, 1.96 * 0.05)


def test_channel_curves_have_area_one_and_their_medians(runs):
    table = numbers(draw("channel_distribution", runs[:1]))
    for name in "RGB":
        curve = table[table["series"] == name]
        decades = np.log10(curve["x"].to_numpy())
        assert curve["y"].sum() * (decades[1] - decades[0]) == pytest.approx(1)
    # The bells of G and B lie 4 and 8 of 40 bins a decade right of that of R; a point holds 4 bins.
    medians = table[table["series"] == ""]["x"].unique()
    np.testing.assert_allclose(np.diff(np.log10(medians)), 0.1, atol=1e-9)


def test_the_gallery_writes_each_gradients_l1_and_centres_on_gray(runs):
    figure = draw("gradient_gallery", runs)
    gradient = runs[0].examples["gradient"][0].astype(float) * runs[0].examples["scale"][0]
    assert f"L1 {np.abs(gradient).sum():.3g}" in set(numbers(figure)["text"])
    zero = synthetic("flat", 0)
    zero.examples["gradient"] = np.zeros_like(zero.examples["gradient"])
    shown = draw("gradient_gallery", [zero]).axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, 0.5)


def test_a_shared_scale_compares_models_and_the_papers_does_not(runs):
    loud = synthetic("loud", 0)
    loud.examples["scale"] = loud.examples["scale"] * 10

    def contrast(scale: str) -> list[float]:
        axes = draw(f"gradient_gallery:scale={scale}", [runs[0], loud]).axes[1:3]
        return [float(np.std(ax.images[0].get_array())) for ax in axes]

    quiet_shared, loud_shared = contrast("shared")
    quiet_alone, loud_alone = contrast("image")
    assert loud_shared > 5 * quiet_shared
    assert loud_alone == pytest.approx(quiet_alone)


def test_a_gallery_fills_the_width_and_stands_upright_in_a_column():
    wide = [ax for ax in draw("gradient_gallery", models(1)).axes if ax.get_visible()]
    assert len({round(ax.get_subplotspec().rowspan.start) for ax in wide}) == 2, "two images in a row"
    narrow = draw("gradient_gallery", models(6), venue="cvpr", columns=1).axes
    assert [ax.get_ylabel() for ax in narrow[::4]][:3] == ["image", "natural", "robust"]
    assert [len(ax.images) for ax in narrow] == [1] * 28


def test_galleries_refuse_other_images_under_the_same_index(runs):
    other = synthetic("other", 1)
    other.samples["path"] = "elsewhere/" + other.samples["path"]
    with pytest.raises(UserError, match="image 0 is dog/00000 in run natural and elsewhere/dog/00000 in other"):
        draw("gradient_gallery", [runs[0], other])


def test_gray_images_are_drawn_in_gray():
    run = synthetic("gray", 0)
    for what in ("image", "gradient"):
        run.examples[what] = run.examples[what][:, :1]
    for name in ("gradient_gallery", "edge_overlay"):
        first = draw(name, [run]).axes[0].images[0]
        np.testing.assert_allclose(*np.ptp(first.cmap(first.norm(first.get_array()))[..., :3], axis=-1).ravel()[:2])


def test_a_frame_or_an_array_does_where_a_figure_draws_columns(runs):
    table, array = runs[0].samples, runs[0].samples["l1"].to_numpy()

    def drawn_bins(given: object) -> pd.Series:
        found = numbers(draw("gradient_norm_distribution", given))
        return found[found["kind"] == "bin"]["y"]

    want = drawn_bins(runs[0])
    for given in (table, array, array.tolist(), {"some name": array}, {"a": runs[0]}):
        np.testing.assert_allclose(drawn_bins(given), want)
    both = draw("gradient_norm_distribution", {"a": table, "b": array}, select=["b"])
    assert "b: " in both.axes[0].get_legend().get_texts()[0].get_text()
    assert draw("edge_concentration", {"a": table, "b": table}).axes
    assert draw("gradient_norm_distribution:column=l2", array).axes[0].get_xlabel().startswith("L2 norm")


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("edge_concentration", np.ones(4), "more than one column"),
        ("gradient_norm_distribution", np.ones((4, 2)), "1-D array"),
        ("gradient_norm_distribution", "natural", "1-D array"),
        ("gradient_norm_distribution", [], "no run"),
    ],
)
def test_what_is_no_run_is_refused(name, given, said):
    with pytest.raises(UserError, match=said):
        draw(name, given)


def test_writing_leaves_the_figure_as_it_was(runs, tmp_path):
    own = Figure()
    draw("edge_profile", runs, ax=own.subplots())
    ours = draw("edge_profile", runs)
    for figure in (own, ours):
        engine, size = figure.get_layout_engine(), tuple(figure.get_size_inches())
        save(figure, tmp_path / "figure.png")
        assert figure.get_layout_engine() is engine
        assert tuple(figure.get_size_inches()) == size


def test_dense_marks_become_pixels_and_other_text_stays(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)

    def scatter(runs, dense: int = 1):
        with paper_style():
            figure = Figure()
        for ax, count in zip(figure.subplots(1, 2), (dense, 50), strict=True):
            ax.scatter(*rng.normal(size=(2, count)), s=2)
        return figure

    monkeypatch.setitem(figures._methods, "scatter", scatter)
    many = draw("scatter", models(1), dense=50_000)
    assert [ax.collections[0].get_rasterized() for ax in many.axes] == [True, False]
    assert not draw("scatter", models(1), dense=DENSE).axes[0].collections[0].get_rasterized()
    assert save(many, tmp_path / "many.pdf").stat().st_size < 300_000
    assert len(numbers(many)) == 50_050


@pytest.mark.slow
def test_large_pictures_are_kept_below_two_megabytes(tmp_path):
    runs = models(6, size=224)
    for suffix in ("pdf", "png"):
        file = save(draw("gradient_gallery", runs, venue="cvpr"), tmp_path / f"large.{suffix}")
        assert file.stat().st_size <= 2e6


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


def test_vanished_gradients_are_an_answer_not_a_crash():
    run = synthetic("vanished", 0)
    run.samples["l1"] = 0.0
    with pytest.raises(UserError, match="gradient_flag"):
        draw("gradient_norm_distribution", [run])
    run.samples[[c for c in run.samples if c.startswith("edge_")]] = np.nan
    with pytest.raises(UserError, match="gradient_flag"):
        draw("edge_concentration", [run])


def test_an_unknown_option_or_suffix_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="unknown parameter of figure 'edge_concentration' 'colour'"):
        draw("edge_concentration", runs, colour="red")
    with pytest.raises(UserError, match=r"\.pdf"):
        save(draw("edge_concentration", runs), tmp_path / "figure.docx")
