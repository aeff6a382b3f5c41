"""Blurred maps correlate as scipy's do, and blur takes speckle away."""

import numpy as np
import pytest
import torch
from planted import planted
from scipy.ndimage import gaussian_filter

from gradlens.analyzers._edge_blur import BLURS, EdgeBlur
from gradlens.probes.edges import contour_energy


def test_blur_curve_is_the_correlation_of_blurred_maps(few):
    gradient = torch.randn_like(few.image)
    columns = EdgeBlur("true_logit").measure(planted(few, gradient))
    contour = contour_energy(few.image)[:, 0].double().numpy()
    magnitude = gradient.abs().sum(1).double().numpy()
    for sigma in BLURS:
        for k in range(4):
            maps = (magnitude[k], contour[k])
            blurred = [gaussian_filter(m, sigma, radius=3 * sigma, mode="nearest") if sigma else m for m in maps]
            floored = np.maximum(blurred[0], 1e-4 * blurred[0].mean()), np.maximum(blurred[1], 1e-3)
            expected = np.corrcoef(*(np.log(m).ravel() for m in floored))[0, 1]
            assert columns[f"edge_corr_contour_blur{sigma}"][k] == pytest.approx(expected, abs=1e-5)


def test_blur_takes_away_what_speckle_hides(few):
    on_edges = (contour_energy(few.image) + 1e-3) * torch.randn_like(few.image)
    columns = EdgeBlur("true_logit").measure(planted(few, on_edges))
    assert columns["edge_corr_contour_blur2"].mean() > columns["edge_corr_contour_blur0"].mean() + 0.05
