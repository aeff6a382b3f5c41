"""The scatter of many models holds their numbers, names and rank correlation."""

import numpy as np
import pytest
from drawables import ATTACK, a_run, drawn, footnote
from matplotlib.colors import to_rgba
from refusals import refused
from scipy.stats import spearmanr

from gradlens import Run
from gradlens.stats.association import family_bootstrap


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


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
