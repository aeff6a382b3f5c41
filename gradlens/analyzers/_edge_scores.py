"""How a gradient's map goes with an edge map, whole images at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gradlens.analyzers._edge_confounders import NEGLIGIBLE, Confounders, Pixels, off_place, place
from gradlens.probes.edges.filters import Images, Maps, distance_to_edges

Scores = dict[str, Float[Tensor, "b m"]]
RANK_BINS = 4096
CONTOUR_FLOOR = 1e-3
GRADIENT_FLOOR = 1e-4


class GradientForms(NamedTuple):
    """What the measures need of a batch's gradients, ``(B, P)`` each, with |g| summed over channels.

    magnitude: |g| of mean 1; signed: Σ_c g_c over the gradient's norm and √C; log: floored and standardised;
    ranks: standardised, of standard deviation ``rank_spread`` ``(B, 1)``; residual, rank_residual: what the
    confounders leave of log and ranks. floored ``(B,)``: share of pixels below the floor.
    """

    magnitude: Pixels
    signed: Pixels
    log: Pixels
    ranks: Pixels
    rank_spread: Tensor
    residual: Pixels
    rank_residual: Pixels
    floored: Tensor


class EdgeMaps(NamedTuple):
    """What the measures need of edge maps, ``(M, P)`` each: a bank, or with ``of_each`` one map an image.

    canny: 0 or 1; distance: to the nearest Canny pixel; contour: energy of mean 1; log: standardised;
    log_off: of unit variance, without its dependence on the place.
    """

    canny: Tensor
    distance: Tensor
    contour: Tensor
    log: Tensor
    log_off: Tensor

    @property
    def of_each(self) -> EdgeMaps:
        """The maps as each image's own, ``(B, 1, P)``."""
        return EdgeMaps(*(values[:, None] for values in self))

    def joined(self, other: EdgeMaps) -> EdgeMaps:
        return EdgeMaps(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


def gradient_forms(gradient: Images, confounders: Confounders) -> GradientForms:
    magnitude = gradient.abs().sum(1).flatten(1)
    magnitude = magnitude / magnitude.mean(1, keepdim=True)
    log = standardize(magnitude.clamp(min=GRADIENT_FLOOR).log())
    mid = mid_ranks(magnitude)
    ranks = standardize(mid)
    length = gradient.flatten(1).norm(dim=1, keepdim=True) * gradient.shape[1] ** 0.5
    signed = gradient.sum(1).flatten(1) / length
    spread = mid.norm(dim=1, keepdim=True).square() / mid.shape[1] - mid.mean(1, keepdim=True).square()
    left = confounders.residual(log), confounders.residual(ranks)
    floored = (magnitude < GRADIENT_FLOOR).sum(1) / magnitude.shape[1]
    return GradientForms(magnitude, signed, log, ranks, spread.sqrt(), *left, floored.double())


def edge_maps(contour: Maps, canny: Maps) -> EdgeMaps:
    energy = contour.flatten(1)
    log, where = standardize(energy.clamp(min=CONTOUR_FLOOR).log()), place(*contour.shape[2:], contour.device)
    relative, off = energy / energy.mean(1, keepdim=True), standardize(off_place(log, where))
    return EdgeMaps(canny.flatten(1), distance_to_edges(canny).flatten(1), relative, log, off)


def scores(g: GradientForms, maps: EdgeMaps, confounders: Confounders) -> Scores:
    """Each measure of every gradient against every map: ``(B, M)`` of a bank, ``(B, 1)`` of each its own."""
    pixels = g.log.shape[1]
    (log,) = _against(maps.log, g.log)
    along, signed = _against(maps.contour, g.magnitude, g.signed)
    found = {
        "edge_corr_contour": log / pixels,
        "edge_partial_contour": _partial(g.residual, maps.log_off, confounders),
        "edge_cosine_contour": along / pixels,
        "edge_cosine_signed_contour": signed / maps.contour.norm(dim=-1),
        **_canny_scores(g, maps),
    }
    return {name: values.double() for name, values in found.items()}


def rank_scores(g: GradientForms, contour_ranks: Pixels, confounders: Confounders) -> dict[str, Float[Tensor, "b"]]:
    """The correlations of ranks, of every gradient with its own image's contour energy, whose mid-ranks are given."""
    ranks = standardize(contour_ranks)
    off = standardize(confounders.off_place(ranks))
    found = {
        "edge_spearman_contour": _against(ranks[:, None], g.ranks)[0] / ranks.shape[1],
        "edge_partial_rank_contour": _partial(g.rank_residual, off[:, None], confounders),
    }
    return {name: values[:, 0].double() for name, values in found.items()}


def _canny_scores(g: GradientForms, maps: EdgeMaps) -> Scores:
    pixels, edge_pixels = g.log.shape[1], maps.canny.sum(-1)
    mass, ranks = _against(maps.canny, g.magnitude, g.ranks)
    (distance,) = _against(maps.distance, g.magnitude)
    area = edge_pixels / pixels
    # Mid-ranks over P have the mean (P + 1) / 2P, whatever the ties.
    above_mean = g.rank_spread * ranks / edge_pixels
    return {
        "edge_auc_canny": 0.5 + above_mean / (1 - area),
        "edge_mass_canny": (mass / pixels - area) / (1 - area),
        "edge_distance_canny": 1 - distance / maps.distance.sum(-1),
    }


def _partial(residual: Pixels, off: Tensor, confounders: Confounders) -> Tensor:
    """Correlation of two residuals; the gradient's is orthogonal to all that the maps' is freed of.

    off: maps of unit variance that are ``off_place``; what the images' confounders leave of them is taken here.
    """
    # A partial correlation wants residuals on both sides. The gradient's is orthogonal to every confounder, so its
    # inner product with a map is that with the map's residual, and only the residual's length is still to be known:
    # by Pythagoras, what the map's shadows on the orthonormal directions leave. So a bank of 64 maps is one
    # matrix product an image, without a regression of each map on each image's confounders.
    products = torch.cat([residual[:, None], confounders.directions], 1) @ off.mT
    along, pixels = products[:, 0], residual.shape[1]
    left = 1 - products[:, 1:].square().sum(1) / pixels
    return along / pixels / left.where(left > NEGLIGIBLE**2, torch.nan).sqrt()


def distance_profile(g: GradientForms, maps: EdgeMaps, radius: int) -> Float[Tensor, "b {2*radius}"]:
    """Shares of |g| and of the area within 0, 1, …, radius − 1 pixels of an edge, one after the other."""
    place = maps.distance.clamp(max=radius).long()
    weights = (g.magnitude, torch.ones_like(g.magnitude))
    shares = [torch.zeros(len(place), radius + 1, device=place.device).scatter_add_(1, place, w) for w in weights]
    return torch.cat([(s / s.sum(1, keepdim=True)).cumsum(1)[:, :radius] for s in shares], 1)


def standardize(values: Pixels) -> Pixels:
    """Mean 0 and variance 1 over pixels, of logarithms or ranks; missing where all are equal."""
    centred = values - values.mean(-1, keepdim=True)
    deviation = centred.norm(dim=-1, keepdim=True) / values.shape[-1] ** 0.5
    return centred * (1 / deviation).where(deviation > NEGLIGIBLE, torch.nan)


def mid_ranks(values: Pixels) -> Pixels:
    """Mid-ranks of every pixel in its image, over P, ``(0, 1]``, from 4,096 logarithmic bins.

    Bins span eight decades below the largest value and are 0.45 % wide; values in one bin tie.
    Missing where the values are zero everywhere or not finite somewhere.
    """
    top = values.amax(1, keepdim=True)
    depth = (values / top).clamp(min=1e-8).log10()
    index = ((depth / 8 + 1) * (RANK_BINS - 1)).nan_to_num(0).long()
    counts = torch.zeros(len(values), RANK_BINS, device=values.device)
    counts.scatter_add_(1, index, torch.ones_like(values))
    # A bin's values share the middle of the ranks that they take: those below, and half of its own.
    middle = counts.cumsum(1) - (counts - 1) / 2
    return (middle.gather(1, index) / values.shape[1]).where((top > 0) & top.isfinite(), torch.nan)


def _against(maps: Tensor, *images: Pixels) -> tuple[Tensor, ...]:
    """Inner products of images with all maps of a bank ``(M, P)``, or with the maps of each ``(B, M, P)``."""
    return (torch.stack(images, 1) @ maps.mT).unbind(1)
