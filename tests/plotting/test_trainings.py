"""Figures of trainings: what is drawn is what their histories hold, read back from the artists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawables import a_history, band, drawn, footnote, line
from refusals import refused
from scipy.stats import t


def t_interval(values):
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def test_accuracy_over_epochs_is_the_history_in_percent():
    history = a_history("gelu")
    figure = drawn("accuracy_over_epochs", history)
    ax, frame = figure.axes[0], history.frame
    epoch, clean = line(ax, "gelu")
    np.testing.assert_array_equal(epoch, frame["epoch"])
    np.testing.assert_allclose(clean, 100 * frame["val_top1"])
    epoch, robust = line(ax, "gelu, PGD-10")
    attacked = frame.dropna(subset="val_pgd10")
    np.testing.assert_array_equal(epoch, attacked["epoch"])
    np.testing.assert_allclose(robust, 100 * attacked["val_pgd10"])
    assert [one.get_linestyle() for one in ax.lines] == ["-", "--"]
    assert "PGD-10, ε = 4/255" in [entry.get_text() for entry in ax.get_legend().get_texts()]


def test_seeds_of_a_training_are_their_mean_with_t_limits():
    seeds = [a_history("gelu", seed=k) for k in range(3)]
    ax = drawn("accuracy_over_epochs", *seeds).axes[0]
    values = np.array([100 * history.frame["val_top1"] for history in seeds])
    np.testing.assert_allclose(line(ax, "gelu (3 seeds)")[1], values.mean(0))
    _, low, high = band(ax, "gelu (3 seeds)")
    np.testing.assert_allclose(np.array([low, high]).T[4], t_interval(values[:, 4]))


def test_a_seed_that_stopped_early_counts_as_far_as_it_came():
    seeds = [a_history("gelu", seed=0), a_history("gelu", seed=1, done=5)]
    epoch, mean = line(drawn("accuracy_over_epochs", *seeds).axes[0], "gelu (2 seeds)")
    assert len(epoch) == 12
    np.testing.assert_allclose(mean[7:], 100 * seeds[0].frame["val_top1"][7:])


def test_learning_curves_are_the_historys_columns():
    history = a_history("gelu", penalty="gradnorm")
    figure = drawn("learning_curves", history)
    loss, accuracy, weight, rate = figure.axes
    for ax, column in ((loss, "loss"), (weight, "weight"), (rate, "lr")):
        np.testing.assert_allclose(line(ax, "gelu")[1], history.frame[column])
    np.testing.assert_allclose(line(accuracy, "gelu")[1], 100 * history.frame["val_top1"])


@pytest.mark.parametrize("name", ["accuracy_over_epochs", "learning_curves", "penalty_weight_sweep"])
@pytest.mark.parametrize(("key", "value"), [("eval_eps", 0.05), ("data", "shapes")])
def test_trainings_that_were_evaluated_otherwise_are_not_mixed(name, key, value):
    with refused("first", "second", key, str(value)):
        drawn(name, a_history("first"), a_history("second", **{key: value}))


def test_an_unfinished_history_without_a_column_is_refused():
    history = a_history()
    del history.frame["lr"]
    with refused("gradnorm", "lr", "train again"):
        drawn("learning_curves", history)


# --- the penalty's weight


def last(histories, column):
    return [100 * history.frame[column].iloc[-1] for history in histories]


def test_the_sweep_is_the_last_epochs_mean_over_seeds_with_t_limits():
    weights = (0.1, 0.3, 1.0)
    sweep = {w: [a_history(f"weight={w}", seed, weight=w) for seed in range(3)] for w in weights}
    ax = drawn("penalty_weight_sweep", *(h for group in sweep.values() for h in group)).axes[0]
    for column, label in (("val_top1", "gradnorm"), ("val_pgd10", "gradnorm, PGD-10")):
        x, mean = line(ax, label)
        np.testing.assert_allclose(x, weights)
        np.testing.assert_allclose(mean, [np.mean(last(sweep[w], column)) for w in weights])
        _, low, high = band(ax, label)
        expected = np.clip([t_interval(last(sweep[w], column)) for w in weights], 0, 100)
        np.testing.assert_allclose(np.array([low, high]).T, expected)


def test_trainings_without_a_penalty_are_baselines():
    sweep = [a_history(f"weight={w}", weight=w) for w in (0.1, 1.0)]
    plain = [a_history("natural", seed, penalty=None) for seed in range(2)]
    ax = drawn("penalty_weight_sweep", *sweep, *plain).axes[0]
    _, (left, right) = line(ax, "natural (2 seeds)")
    assert left == right == pytest.approx(np.mean(last(plain, "val_top1")))
    assert line(ax, "natural (2 seeds), PGD-10")[1][0] == pytest.approx(np.mean(last(plain, "val_pgd10")))


def test_recipes_that_differ_otherwise_are_curves_of_their_own():
    both = [a_history(f"weight={w}", weight=w, activation=a) for w in (0.1, 1.0) for a in ("gelu", "relu")]
    ax = drawn("penalty_weight_sweep", *both).axes[0]
    assert [one.get_label() for one in ax.lines][::2] == ["activation=gelu", "activation=relu"]
    # The paper's sweep: the cross-entropy's weight falls as the penalty's rises, in one curve.
    coupled = [a_history(f"weight={w}", weight=w, loss_weight=2 - w) for w in (0.5, 1.0, 1.5)]
    assert len(line(drawn("penalty_weight_sweep", *coupled).axes[0], "gradnorm")[0]) == 3


def test_unfinished_trainings_are_left_out_of_the_sweep_and_named():
    sweep = [a_history("weight=0.1", weight=0.1), a_history("weight=3", 1, weight=3.0, done=4)]
    figure = drawn("penalty_weight_sweep", *sweep)
    assert line(figure.axes[0], "gradnorm")[0].tolist() == [0.1]
    assert "weight 3, seed 1" in footnote(figure)
    with refused("--grid weight="):
        drawn("penalty_weight_sweep", a_history(penalty=None))


def test_a_weight_of_zero_has_a_place_on_the_axis():
    sweep = [a_history(f"weight={w}", weight=w) for w in (0.0, 0.1, 1.0)]
    ax = drawn("penalty_weight_sweep", *sweep).axes[0]
    places = ax.transData.transform([(w, 50) for w in (0.0, 0.1, 1.0)])[:, 0]
    assert (np.diff(places) > 20).all()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.1", "1"]
