"""What ``draw`` is given becomes named runs in order, or one line says why not."""

import numpy as np
import pandas as pd
import pytest
from drawables import a_history, a_run
from matplotlib.figure import Figure
from matplotlib.text import Text
from refusals import refused
from synthetic import models, synthetic

from gradlens import Run, UserError
from gradlens.plotting import arrange, caption, draw, numbers, save
from gradlens.plotting.style import COLORS, looks


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


TRAININGS = ("accuracy_over_epochs", "learning_curves", "penalty_weight_sweep")


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


def test_labels_name_runs_in_turn_and_order_and_select_use_them():
    runs = models(3)
    shown = arrange(runs, labels=["a", "b", "c"], order=["c"], select=["b", "c"])
    assert [run.label for run in shown] == ["c", "b"]
    assert shown[0].hash == runs[2].hash
    assert [run.label for run in runs] == ["natural", "robust", "model-2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["a"]}, "1 label .a. for 2 runs .natural, robust."),
        ({"labels": ["a", "b", "c"]}, "3 labels"),
        ({"labels": ["a", "a"]}, "two runs are to be called 'a'"),
        ({"order": ["naturall"]}, "did you mean natural"),
        ({"select": ["nobody"]}, "unknown run 'nobody'"),
    ],
)
def test_wrong_names_are_said_in_one_line(options, said):
    with pytest.raises(UserError, match=said) as error:
        arrange(models(2), **options)
    assert "\n" not in str(error.value)


def test_runs_of_one_name_are_numbered_unless_named():
    runs = [synthetic("last", 0), synthetic("other", 1), synthetic("last", 2)]
    assert [run.label for run in arrange(runs)] == ["last (1)", "other", "last (2)"]
    assert [run.label for run in arrange(runs, labels=["a", "b", "c"])] == ["a", "b", "c"]
    assert len({look.color for look in looks(arrange(runs))}) == 3


def test_an_unknown_option_or_suffix_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="unknown parameter of figure 'edge_concentration' 'colour'"):
        draw("edge_concentration", runs, colour="red")
    with pytest.raises(UserError, match=r"\.pdf"):
        save(draw("edge_concentration", runs), tmp_path / "figure.docx")


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


def test_a_manifest_decides_colour_marker_and_order():
    runs = models(3)
    display = {"color": COLORS[2], "marker": "*", "group": "ours", "order": 0}
    runs[2].provenance["model"] = {"display": display}
    shown = arrange(runs)
    assert [run.label for run in shown] == ["model-2", "natural", "robust"]
    first, *others = looks(shown)
    assert (first.color, first.marker) == (COLORS[2], "*")
    assert COLORS[2] not in {look.color for look in others}


def test_a_figure_without_its_note_keeps_it_for_the_caption(runs):
    with_note, without = (draw("edge_profile", runs, note=note) for note in (True, False))
    assert without.get_figheight() < with_note.get_figheight()
    assert caption(without, runs) == caption(with_note, runs)
    without.draw_without_rendering()
    assert all(text.get_text() != without.get_supxlabel() or not text.get_visible() for text in without.findobj(Text))


def test_a_figures_height_is_the_callers(runs):
    assert draw("conditional_medians", runs, height=3.5).get_figheight() == 3.5
    with pytest.raises(UserError, match="height"):
        draw("edge_profile", runs, height=-1)
    with pytest.raises(UserError, match="height"):
        draw("edge_profile", runs, height=2, ax=Figure().subplots())


def test_a_baseline_has_one_colour_in_the_sweep_and_over_epochs():
    plain, penalized = a_history("natural", penalty=None), a_history("weight=1")
    both = [draw(name, [penalized, plain]).axes[0] for name in ("accuracy_over_epochs", "penalty_weight_sweep")]
    colors = [{line.get_color() for line in ax.lines if line.get_label().startswith("natural")} for ax in both]
    assert colors[0] == colors[1] == {COLORS[1]}
