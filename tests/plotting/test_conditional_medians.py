"""Medians by outcome are the groups', with binomial limits."""

import numpy as np
from drawables import ATTACK, a_run, drawn, line
from refusals import refused

from gradlens.stats.intervals import quantile_interval


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
