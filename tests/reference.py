"""The measures as their papers define them: slow, in float64, obviously right."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import correlate, gaussian_filter
from scipy.special import iv
from scipy.stats import pearsonr, rankdata, spearmanr
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


def edge_partial(gradient, energy, image, ranks=False):
    """Pearson of what is left of both by a least-squares fit on brightness, contrast and place."""
    followed, energy = np.abs(gradient).sum(0).ravel(), energy.ravel()
    if ranks:
        followed, energy = rankdata(followed), rankdata(energy)
    else:
        followed, energy = np.log(np.maximum(followed, 1e-4 * followed.mean())), np.log(np.maximum(energy, 1e-3))
    confounders = np.stack([c.ravel() for c in (np.ones(image.shape[1:]), *edge_confounders(image))], 1)
    left = [v - confounders @ np.linalg.lstsq(confounders, v)[0] for v in (followed, energy)]
    return pearsonr(*left).statistic


def edge_confounders(image):
    """Log luminance, log local contrast, squared radius and distance to the border, ``(H, W)`` each."""
    gray = np.tensordot((0.2125, 0.7154, 0.0721), image, 1)
    smooth = between(logarithm(gaussian_filter(block_means(gray, 2), 1, truncate=3, mode="nearest")), 2)
    height, width = gray.shape
    row, column = np.mgrid[:height, :width]
    radius = ((row + 0.5) / height - 0.5) ** 2 + ((column + 0.5) / width - 0.5) ** 2
    border = np.minimum.reduce([row, height - 1 - row, column, width - 1 - column])
    return smooth, log_contrast(gray), radius, border


def log_contrast(gray):
    """Log of the standard deviation under a Gaussian of 8 pixels, from moments of 4 × 4 blocks."""
    moments = (block_means(values, 4) for values in (gray, gray**2))
    mean, square = (gaussian_filter(m, 2, truncate=3, mode="nearest") for m in moments)
    return between(logarithm(np.sqrt(np.maximum(square - mean**2, 0))), 4)


def logarithm(values):
    return np.log(np.maximum(values, 1e-3))


def block_means(values, block):
    height, width = values.shape
    return values.reshape(height // block, block, width // block, block).mean((1, 3))


def between(values, block):
    """Blocks' values at every pixel: linear between the blocks' centres along both axes."""
    for axis in (0, 1):
        size = values.shape[axis]
        centres, places = (np.arange(size) + 0.5) * block - 0.5, np.arange(block * size)
        values = np.apply_along_axis(lambda v, c=centres, p=places: np.interp(p, c, v), axis, values)
    return values


def edge_spearman(gradient, energy):
    """Pearson of ranks, ties in the middle."""
    return spearmanr(np.abs(gradient).sum(0).ravel(), energy.ravel()).statistic


def edge_cosine(gradient, energy):
    """Cosine of ``Σ_c |g_c|`` and energy over its mean under every circular shift of the map."""
    magnitude = np.abs(gradient).sum(0)
    shifted = np.fft.ifft2(np.fft.fft2(magnitude) * np.conj(np.fft.fft2(energy))).real
    return (magnitude * energy).sum() / shifted.mean()


def edge_cosine_signed(gradient, energy):
    """Cosine of the gradient with the energy in every channel."""
    target = np.broadcast_to(energy, gradient.shape).ravel()
    return gradient.ravel() @ target / np.linalg.norm(gradient) / np.linalg.norm(target)


def edge_distance(gradient, edges):
    """``1 − d̄_g / d̄``: mean taxicab distance to the nearest edge pixel, weighted by |g| and over the area."""
    pixels = np.argwhere(edges > 0)
    row, column = np.mgrid[: edges.shape[0], : edges.shape[1]]
    distance = np.min([abs(row - y) + abs(column - x) for y, x in pixels], 0)
    return 1 - np.average(distance, weights=np.abs(gradient).sum(0)) / distance.mean()


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
