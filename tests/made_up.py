"""Columns of a run, made up so that the gradient's size has a known part that the loss does not explain."""

import numpy as np
import pandas as pd

from gradlens.analyzers._sample_asymmetry import SampleAsymmetry

ATTACK = "[pgd10,linf,4/255]"
CONSTANT = "every image has the same"


def made_up(rng, n=400, **columns):
    """A run's columns where L1 is the error mass times a steepness of its own."""
    error_mass = rng.beta(0.3, 1, n)
    steepness = rng.lognormal(0, 0.6, n)
    vulnerable = np.log(error_mass * steepness) + 0.3 * rng.normal(size=n) > -2
    made = {
        "l1": error_mass * steepness,
        "l1_logit": steepness,
        "error_mass": error_mass,
        "loss": -np.log1p(-error_mass),
        "correct": error_mass + 0.3 * rng.normal(size=n) < 0.6,
        "gradient_flag": 0.0,
        f"robust{ATTACK}": (~vulnerable).astype(float),
    }
    return pd.DataFrame({**made, **columns})


def summary_of(samples, objective="loss"):
    """The analyzer's summary, in which whatever is not finite has its reason."""
    summary = SampleAsymmetry(objective).summarize(samples, {})
    unexplained = {k for k, v in summary.scalars.items() if not np.isfinite(v)} - set(summary.missing)
    assert not unexplained
    assert all(np.isnan(summary.scalars.get(k, np.nan)) for k in summary.missing)
    return summary
