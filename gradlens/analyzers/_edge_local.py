"""Edges, located: how much better a gradient goes with an edge map than with the same map moved a little.

A map that is merely near edges, such as local contrast, patches or an object's area, goes with a moved edge
map as well as with the map where it is. So what counts is a measure's own value minus its mean over the map
moved by ``shift`` pixels in eight directions, over the same for a gradient that is the map itself: 0 as on edges
moved, 1 as the edges. All nine values are of the pixels at least ``shift`` from the border, on which every
moved map is known.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gradlens.analyzers._edge_confounders import NEGLIGIBLE, Confounders, Pixels
from gradlens.analyzers._edge_scores import mid_ranks, standardize
from gradlens.probes.edges.filters import Maps

OWN, MOVES = 4, 9
Moved = Float[Tensor, "b 9 p"]
Values = Float[Tensor, "b 9"]
# Below this the map moved is nearly the map, and the quotient would be noise.
LEAST_ROOM = 0.05
# Sides of an image below so many shifts leave too little that all moved maps have.
LEAST_SIDE = 4


def shift_of(sigma: float) -> int:
    """By how many pixels a map of edges blurred by sigma is moved."""
    return max(1, round(4 * sigma))


def too_small(height: int, width: int, shift: int) -> bool:
    return min(height, width) < LEAST_SIDE * shift


def interior(maps: Float[Tensor, "*b h w"], shift: int) -> Float[Tensor, "*b _ _"]:
    """What is at least ``shift`` pixels from the border."""
    return maps[..., shift : maps.shape[-2] - shift, shift : maps.shape[-1] - shift]


def moved(maps: Maps, shift: int) -> Moved:
    """Each map on the interior, moved in rows and columns by −shift, 0 and shift; in the middle (OWN) as it is."""
    height, width = (side - 2 * shift for side in maps.shape[2:])
    return maps[:, 0].unfold(1, height, shift).unfold(2, width, shift).reshape(len(maps), MOVES, -1)


def located_partial(followed: Maps, edges: Maps, confounders: Confounders, shift: int) -> Float[Tensor, "b"]:
    """The partial correlation of two maps, such as logs or ranks, beyond the moved ones and over the edges' own.

    confounders: on the interior. Missing where one of the maps, or what the confounders leave of it, is constant.
    """
    pair = [standardize(interior(values, shift).flatten(1)) for values in (followed, edges)]
    gradient, itself = partials([confounders.residual(values) for values in pair], moved(edges, shift), confounders)
    return _located(gradient, itself)


def partials(residuals: list[Pixels], maps: Moved, confounders: Confounders) -> list[Values]:
    """Each residual's correlation with what the confounders leave of each moved map, without a regression of it.

    The residuals are orthogonal to every confounder, so their products with a map are those with its residual,
    whose length is, by Pythagoras, what the map's products with an orthonormal basis of the confounders leave.
    """
    known = len(residuals)
    products = torch.stack([*residuals, *confounders.directions], 1) @ maps.mT
    shadows = torch.cat([products[:, known:], (maps @ confounders.place.T).mT], 1)
    pixels = maps.shape[2]
    left = maps.norm(dim=2).square() / pixels - shadows.square().sum(1) / pixels
    length = left.where(left > NEGLIGIBLE, torch.nan).sqrt()
    return [along / pixels / length for along in products[:, :known].unbind(1)]


def located_auc(magnitude: Maps, edges: Maps, least: int, shift: int) -> Float[Tensor, "b"]:
    """The probability that an edge pixel's value exceeds another's, beyond the moved edges and over the edges' own.

    edges: 0 or 1. Missing with fewer than ``least`` edge pixels on the interior.
    """
    itself, maps = interior(edges, shift).flatten(1), moved(edges, shift)
    ranks = mid_ranks(interior(magnitude, shift).flatten(1))
    above, both = (torch.stack([ranks - ranks.mean(1, keepdim=True), itself], 1) @ maps.mT).unbind(1)
    on, pixels = maps.sum(2), maps.shape[2]
    gradient = 0.5 + above / on / (1 - on / pixels)
    # Of a map of zeros and ones: who wins on an edge pixel, less who wins elsewhere, and half of the rest.
    own = 0.5 + (both / on - (itself.sum(1, keepdim=True) - both) / (pixels - on)) / 2
    return _located(gradient, own).where(on[:, OWN] >= least, torch.nan)


def _located(gradient: Values, itself: Values) -> Float[Tensor, "b"]:
    excess, room = ((MOVES * v[:, OWN] - v.sum(1)) / (MOVES - 1) for v in (gradient, itself))
    return (excess / room.where(room >= LEAST_ROOM, torch.nan)).double()
