"""Spectra and channels are drawn as measured, with bands and medians."""

import numpy as np
import pytest
from synthetic import models

from gradlens import Run
from gradlens.plotting import draw, numbers


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_the_spectrum_has_95_percent_bands(runs):
    table = numbers(draw("gradient_spectrum", runs[:1]))
    mean = runs[0].arrays["gradient_spectrum/gradient_mean"]
    own = table[table["series"] == "natural"]
    np.testing.assert_allclose(own["y"], mean)
    np.testing.assert_allclose(own["high"] - mean, 1.96 * 0.05)


def test_channel_curves_have_area_one_and_their_medians(runs):
    table = numbers(draw("channel_distribution", runs[:1]))
    for name in "RGB":
        curve = table[table["series"] == name]
        decades = np.log10(curve["x"].to_numpy())
        assert curve["y"].sum() * (decades[1] - decades[0]) == pytest.approx(1)
    # The bells of G and B lie 4 and 8 of 40 bins a decade right of that of R; a point holds 4 bins.
    medians = table[table["series"].str.endswith("median")]["x"]
    np.testing.assert_allclose(np.diff(np.log10(medians)), 0.1, atol=1e-9)
