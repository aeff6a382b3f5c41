"""The figures are methods of a run."""

import copy
import inspect

from drawn import titles
from refusals import refused

from gradlens.core.registry import figure as figures

# --- what is shown


def test_the_figures_are_methods_of_a_run(run, plain):
    assert dir(run.plot) == [n for n, f in figures.items() if "runs" in inspect.signature(f).parameters]
    assert len(dir(run.plot)) > 6
    with refused("draws trainings"):
        run.plot.learning_curves()
    drawn = run.plot.gradient_norm_distribution(by="correct")
    assert drawn._repr_png_().startswith(b"\x89PNG")
    assert "size" in run.plot.gradient_norm_distribution.__doc__
    twin = copy.copy(run)
    twin.summary = {**run.summary, "model": "twin"}
    both = run.plot.gradient_gallery(twin, images=1)
    assert {"twin", run.label} <= set(titles(both))
    assert not hasattr(run.plot, "gradient_galery")
    assert not hasattr(run.plot, "_repr_html_")
    with refused("unknown figure 'gradient_galery'", "gradient_gallery"):
        run.plot.gradient_galery()
    with refused("run.plot.", *dir(run.plot)):
        run.plot()
