"""Figures of attacks and of sizes by outcome: what is drawn is what the run holds, read back from the artists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawables import ATTACK, GRID, a_run, band, drawn, footnote, line, texts
from refusals import refused
from scipy.stats import t

from gradlens import Run
from gradlens.stats.intervals import quantile_interval, share_interval


def t_interval(values):
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


# --- accuracy against ε


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


def test_runs_of_one_label_are_seeds_with_t_limits():
    seeds = [a_run("robust", seed=k) for k in range(4)]
    figure = drawn("accuracy_against_eps", *seeds, a_run("other", seed=9))
    _, mean = line(figure.axes[0], "robust, 4 seeds")
    curves = np.array([run.arrays["minimal_eps/curve/accuracy"][:-1] for run in seeds])
    np.testing.assert_allclose(mean, curves.mean(0))
    _, low, high = band(figure.axes[0], "robust, 4 seeds")
    expected = np.clip(t_interval(curves[:, 2]), 0, 100)
    assert (low[2], high[2]) == pytest.approx(tuple(expected))
    assert len(figure.axes[0].lines) == 2


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


# --- perturbations


def test_the_perturbation_gallery_shows_what_is_kept_on_one_scale():
    quiet, loud = a_run("quiet", 0), a_run("loud", 1)
    loud.arrays["perturbations/perturbation"] = (2 * loud.arrays["perturbations/perturbation"]).astype(np.float16)
    figure = drawn("perturbation_gallery", quiet, loud)
    shown = [ax.images[0].get_array() for ax in figure.axes[:3]]
    np.testing.assert_allclose(shown[0], quiet.arrays["perturbations/image"][0].transpose(1, 2, 0), atol=1e-3)
    for run, picture, size in ((quiet, shown[1], 0.25), (loud, shown[2], 0.5)):
        sign = np.sign(run.arrays["perturbations/perturbation"][0].transpose(1, 2, 0))
        np.testing.assert_allclose(picture, 0.5 + size * sign, atol=1e-3)
    assert sorted(texts(figure)) == sorted(2 * ["withstands", "breaks", "wrong before"])
    assert "pgd10, linf, 4/255" in footnote(figure)


def test_a_perturbation_of_nothing_is_gray():
    run = a_run()
    run.arrays["perturbations/perturbation"] = np.zeros_like(run.arrays["perturbations/perturbation"])
    np.testing.assert_allclose(drawn("perturbation_gallery", run).axes[1].images[0].get_array(), 0.5)


def test_perturbations_of_other_attacks_or_images_are_not_mixed():
    first, second = a_run("first"), a_run("second")
    second.arrays["perturbations/attack"] = np.array("fgsm,linf,4/255")
    with refused("pgd10", "fgsm"):
        drawn("perturbation_gallery", first, second)
    second.arrays |= {"perturbations/attack": np.array("pgd10,linf,4/255"), "perturbations/index": np.array([7, 8, 9])}
    with refused("no common image"):
        drawn("perturbation_gallery", first, second)
    second.arrays["perturbations/index"] = first.arrays["perturbations/index"]
    second.samples["path"] = "elsewhere/" + second.samples["path"]
    with refused("no common image"):
        drawn("perturbation_gallery", first, second)


def test_the_perturbation_gallery_keeps_to_the_selected_images():
    assert len(drawn("perturbation_gallery", a_run().select("index != 0")).axes) == 4


# --- size by outcome


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


def test_conditional_medians_are_the_groups_with_binomial_limits():
    run = a_run()
    ax = drawn("conditional_medians", run).axes[0]
    x, _ = line(ax, "natural")
    samples, robust = run.samples, run.samples[f"robust{ATTACK}"] == 1
    groups = [samples["l1"][rows] for rows in (robust | True, samples["correct"], ~samples["correct"], robust, ~robust)]
    np.testing.assert_allclose(x, [group.median() for group in groups])
    (bars,) = ax.collections
    for segment, group in zip(bars.get_segments(), groups, strict=True):
        np.testing.assert_allclose(segment[:, 0], quantile_interval(group)[1:])
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names[3:] == [f"robust (n = {robust.sum()})", f"vulnerable (n = {(~robust).sum()})"]
    assert "pgd10 linf 4/255" in ax.get_xlabel()


def test_several_attacks_are_named_with_their_groups():
    run = a_run()
    run.samples["robust[fgsm,linf,4/255]"] = 1.0
    names = [tick.get_text() for tick in drawn("conditional_medians", run).axes[0].get_yticklabels()]
    assert "robust, fgsm linf 4/255 (n = 200)" in names
    assert "vulnerable, fgsm linf 4/255 (n = 0)" in names


def test_a_vanished_gradient_is_an_answer_not_a_crash():
    run = a_run()
    run.samples["l1"] = np.nan
    with refused("gradient_flag"):
        drawn("conditional_medians", run)
