"""Accuracy against ε is the run's curve, of the images that it holds."""

import numpy as np
import pytest
from drawables import GRID, a_run, band, drawn, footnote, line
from refusals import refused

from gradlens import Run
from gradlens.stats.intervals import share_interval


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_accuracy_against_eps_is_the_runs_curve_with_wilsons_limits():
    run = a_run(seed=2)
    ax = drawn("accuracy_against_eps", run).axes[0]
    eps, accuracy = line(ax, "natural, n = 200")
    np.testing.assert_allclose(eps, run.arrays["minimal_eps/curve/eps"][:-1])
    np.testing.assert_allclose(accuracy, run.arrays["minimal_eps/curve/accuracy"][:-1])
    _, low, high = band(ax, "natural, n = 200")
    expected = [share_interval(round(2 * percent), 200) for percent in accuracy]
    np.testing.assert_allclose(low, [100 * e[1] for e in expected])
    np.testing.assert_allclose(high, [100 * e[2] for e in expected])


def test_accuracy_against_eps_follows_a_selection_of_images():
    run = a_run(seed=2).select("correct")
    _, accuracy = line(drawn("accuracy_against_eps", run).axes[0], f"natural, n = {len(run.samples)}")
    assert accuracy[0] == 100
    assert accuracy[3] == pytest.approx(100 * (run.samples["eps_min[linf]"] > GRID[2]).mean())


def test_the_accuracy_at_the_large_radius_is_stated():
    run = a_run(seed=0)
    beyond = 100 * (run.samples["broken_by[linf]"] == 5).mean()
    run.samples.loc[:9, "broken_by[linf]"] = 5
    assert f"natural {100 * (run.samples['broken_by[linf]'] == 5).mean():.1f} %" in footnote(
        drawn("accuracy_against_eps", run)
    )
    assert beyond < 5


def test_many_models_keep_their_lines_and_lose_their_bands():
    runs = [a_run(f"model {k}", seed=k) for k in range(6)]
    figure = drawn("accuracy_against_eps", *runs)
    assert len(figure.axes[0].lines) == 6
    assert not figure.axes[0].collections
    assert "not drawn" in footnote(figure)


def test_another_setting_of_minimal_eps_is_drawn_and_two_are_not_mixed():
    run = a_run()
    tail = "[points=15,steps=20]"
    samples = run.samples.rename(columns={f"{n}[linf]": f"{n}[linf,{tail[1:]}" for n in ("eps_min", "broken_by")})
    arrays = {name.replace("minimal_eps/", f"minimal_eps{tail}/"): array for name, array in run.arrays.items()}
    other = Run(samples, {**run.summary, "model": "other"}, arrays)
    _, accuracy = line(drawn("accuracy_against_eps", other).axes[0], "other, n = 200")
    np.testing.assert_allclose(accuracy, run.arrays["minimal_eps/curve/accuracy"][:-1])
    with refused("natural", tail, "same parameters"):
        drawn("accuracy_against_eps", run, other)
