"""Edges, located: how much better a gradient goes with an edge map than with the same map moved a little.

A map that is merely near edges, such as local contrast, patches or an object's area, goes with a moved edge
map as well as with the map where it is. So what counts is a measure's own value minus its mean over the map
moved by ``shift`` pixels in eight directions, over the same for a gradient that is the map itself: 0 as on edges
moved, 1 as the edges. All nine values are of the pixels at least ``shift`` from the border, on which every
moved map is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradlens.analyzers._edge_confounders import NEGLIGIBLE, Confounders, Pixels
from gradlens.analyzers._edge_scores import mid_ranks
from gradlens.probes.edges.filters import Maps

OWN, MOVES = 4, 9
PIECE = 8
Values = Float[Tensor, "b 9"]
# Below this the map moved is nearly the map, and the quotient would be noise.
LEAST_ROOM = 0.05
# Sides of an image below so many shifts leave too little that all moved maps have.
LEAST_SIDE = 4


def shift_of(sigma: float) -> int:
    """By how many pixels a map of edges blurred by sigma is moved."""
    return max(1, round(4 * sigma))


def too_small(sides: Sequence[int], shift: int) -> bool:
    return min(sides) < LEAST_SIDE * shift


def interior(maps: Float[Tensor, "*b h w"], shift: int) -> Float[Tensor, "*b _ _"]:
    """What is at least ``shift`` pixels from the border."""
    return maps[..., shift : maps.shape[-2] - shift, shift : maps.shape[-1] - shift]


def moved(maps: Maps, shift: int, *beside: Pixels) -> Float[Tensor, "b m p"]:
    """Each map on the interior, moved in rows and columns by −shift, 0 and shift; in the middle (OWN) as it is.

    ``(B, 9, P)``, and behind them what is given beside.
    """
    height, width = (side - 2 * shift for side in maps.shape[2:])
    found = maps.new_empty(len(maps), MOVES + len(beside), height * width)
    windows = maps[:, 0].unfold(1, height, shift).unfold(2, width, shift)
    found[:, :MOVES].view_as(windows).copy_(windows)
    for k, values in enumerate(beside, MOVES):
        found[:, k] = values
    return found


def located_partial(followed: Maps, edges: Maps, confounders: Confounders, shift: int) -> Float[Tensor, "b"]:
    """The partial correlation of two maps, such as logs or ranks, beyond the moved ones and over the edges' own.

    followed, edges: standardised. confounders: on the interior. Missing where one of the maps, or what the
    confounders leave of it, is constant.
    """
    beside = interior(followed, shift).flatten(1)
    # A few images at a time, as their nine maps are then written to memory that is there already: three times as fast.
    partial = torch.cat(
        [
            partial_correlations(moved(edges[k : k + PIECE], shift, beside[k : k + PIECE]), confounders.rows(k, PIECE))
            for k in range(0, len(edges), PIECE)
        ]
    )
    return _located(partial[:, MOVES, :MOVES], partial[:, OWN, :MOVES])


def partial_correlations(maps: Float[Tensor, "b m p"], confounders: Confounders) -> Float[Tensor, "b m m"]:
    """Of every two maps of unit size what the confounders leave of their correlation, without a regression.

    What an orthonormal basis of the confounders takes of two maps' inner product is the product of their shadows
    on it; of a map with itself that is Pythagoras. So inner products are all that it takes.
    """
    shadows = torch.cat([maps @ confounders.place.T, maps @ confounders.directions.mT], 2).double()
    left = ((maps @ maps.mT).double() - shadows @ shadows.mT) / maps.shape[2]
    variance = left.diagonal(dim1=1, dim2=2)
    length = variance.where(variance > NEGLIGIBLE, torch.nan).sqrt()
    return left / length[:, :, None] / length[:, None]


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
