"""The measures as their papers define them: slow, in float64, obviously right."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import correlate
from scipy.special import iv
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score


def contour_energy(image, s=1.0):
    """``(C, H, W)`` → ``(H, W)``: blur, Sobel, root of the sum of squares over channels, blur."""
    taps = np.arange(-math.ceil(3 * s), math.ceil(3 * s) + 1)
    gaussian = np.exp(-s) * iv(taps, s)
    gaussian /= gaussian.sum()
    blur = np.outer(gaussian, gaussian)
    sobel = np.zeros((3, 3))
    for y in (-1, 0, 1):
        for x in (-1, 1):
            sobel[y + 1, x + 1] = x / (x**2 + y**2)
    energy = np.zeros(image.shape[1:])
    for channel in image:
        # scipy's "mirror" is what the paper calls reflect: the edge pixel is not repeated.
        smooth = correlate(channel, blur, mode="mirror")
        energy += correlate(smooth, sobel, mode="mirror") ** 2 + correlate(smooth, sobel.T, mode="mirror") ** 2
    return correlate(np.sqrt(energy), blur, mode="mirror")


def edge_correlation(gradient, energy):
    """Pearson of ``log max(E, 1e-3)`` and ``log Σ_c |g_c|`` over pixels."""
    magnitude = np.abs(gradient).sum(0)
    return pearsonr(np.log(np.maximum(energy, 1e-3)).ravel(), np.log(magnitude).ravel()).statistic


def edge_auc(gradient, edges):
    """Probability that an edge pixel's ``Σ_c |g_c|`` exceeds another's."""
    return roc_auc_score(edges.ravel() > 0, np.abs(gradient).sum(0).ravel())


def edge_mass(gradient, edges):
    """``(m − a) / (1 − a)``: m the share of |g| on edge pixels, a their share of the area."""
    magnitude = np.abs(gradient).sum(0)
    mass, area = magnitude[edges > 0].sum() / magnitude.sum(), (edges > 0).mean()
    return (mass - area) / (1 - area)


def selectivity_index(values, label):
    """``(m_max − m_rest) / (m_max + m_rest + 1e-6)`` of one unit, from class means."""
    means = sorted(np.mean([v for v, k in zip(values, label, strict=True) if k == c]) for c in set(label))
    top, rest = means[-1], np.mean(means[:-1])
    return (top - rest) / (top + rest + 1e-6)


def omega_squared(values, label):
    """``(SS_B − (K − 1) MS_W) / (SS_T + MS_W)`` of one unit, with every sum written out."""
    grand = np.mean(values)
    groups = [[v for v, k in zip(values, label, strict=True) if k == c] for c in sorted(set(label))]
    between = sum(len(g) * (np.mean(g) - grand) ** 2 for g in groups)
    within = sum((v - np.mean(g)) ** 2 for g in groups for v in g)
    within_mean = within / (len(values) - len(groups))
    return (between - (len(groups) - 1) * within_mean) / (between + within + within_mean)


def gini(values):
    """Mean absolute difference of all pairs over twice the mean."""
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * np.mean(values))
