"""Selectivity by layer is the mean over units, in forward order."""

import numpy as np
import pandas as pd
import pytest
from drawables import LAYERS, a_run, drawn, line
from refusals import refused

from gradlens import Run


def test_selectivity_by_layer_is_the_mean_over_units_in_forward_order():
    run = a_run()
    omega, adjusted = drawn("selectivity_by_layer", run).axes
    units = [run.arrays[f"class_selectivity/{layer}:omega_squared"] for layer in LAYERS]
    np.testing.assert_allclose(line(omega, "natural")[1], [values.mean() for values in units])
    low, high = np.quantile(units, [0.1, 0.9], axis=1)
    outline = omega.collections[0].get_paths()[0].vertices
    assert {*np.round(low, 9), *np.round(high, 9)} <= {*np.round(outline[:, 1], 9)}
    raw, null = (
        np.array([run.arrays[f"class_selectivity/{name}{t}"].mean() for name in LAYERS]) for t in ("", ":null")
    )
    np.testing.assert_allclose(line(adjusted, "natural")[1], (raw - null) / (1 - null))
    assert [tick.get_text() for tick in omega.get_xticklabels()] == list(LAYERS)
    faint = [one.get_ydata() for one in adjusted.lines if one.get_alpha() == 0.6]
    np.testing.assert_allclose(faint[0], [run.arrays[f"class_selectivity/{layer}"].mean() for layer in LAYERS])
    np.testing.assert_allclose(faint[1], [run.arrays[f"class_selectivity/{layer}:null"].mean() for layer in LAYERS])


def test_a_unit_whose_null_is_nearly_one_does_not_decide_its_layer():
    run = a_run()
    run.arrays["class_selectivity/stem:null"][0] = 1 - 1e-6
    assert -0.5 < line(drawn("selectivity_by_layer", run).axes[1], "natural")[1][0] < 1


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
