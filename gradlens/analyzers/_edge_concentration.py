"""Edge measures of a gradient beside their null, and beyond the image's own edges moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, means
from gradlens.analyzers._edge_confounders import Confounders, Pixels, confounder_maps
from gradlens.analyzers._edge_local import LEAST_SIDE, interior, located_auc, located_partial, shift_of, too_small
from gradlens.analyzers._edge_scores import (
    EdgeMaps,
    GradientForms,
    distance_profile,
    edge_maps,
    gradient_forms,
    mid_ranks,
    rank_scores,
    scores,
    standardize,
)
from gradlens.core.names import with_limits
from gradlens.core.registry import analyzer
from gradlens.core.types import digest
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import mean_interval
from gradlens.stats.tallies import Moments

MEASURES = (
    *("edge_corr_contour", "edge_partial_contour", "edge_cosine_contour", "edge_cosine_signed_contour"),
    *("edge_auc_canny", "edge_mass_canny", "edge_distance_canny"),
)
# Without a null of their own: they tell whether a correlation is a few outliers'.
RANK_FORMS = ("edge_spearman_contour", "edge_partial_rank_contour")
# Their null is the image's own map, moved.
LOCATED = ("edge_partial_contour_local", "edge_partial_rank_contour_local", "edge_auc_canny_local")
OUTLINE = ("edge_outline_auc", "edge_outline_auc_local", "edge_outline_mass")
CONTOUR_SHIFT = shift_of(1)
MIN_NULL_MAPS = 8
NO_NULL = f"fewer than {MIN_NULL_MAPS} images of other classes with edges for the null"
NOT_LOCATED = "no image has enough edges that differ from themselves moved, or every gradient is constant"
RADIUS = 17


@analyzer
@dataclass
class EdgeConcentration(Analyzer):
    """Whether the gradient sits on the image's edges, each measure beside what chance would give.

    Primary: ``edge_partial_contour_local``, edges located: the correlation of log |g| and log contour energy over
    pixels after both were freed of log luminance, log local contrast under Gaussians of 8, 4 and 2 pixels, squared
    radius and distance to the border; minus its mean over the image's own edge map moved by 4 σ of the map in eight
    directions (``edge_shift_contour``, ``edge_shift_canny`` in pixels); over the same for a gradient that is the edge
    map. 0 no more than on edges moved, 1 the edges themselves, whatever the size of the image; all on the pixels
    that every moved map has. ``edge_partial_rank_contour_local`` is the same of ranks,
    ``edge_auc_canny_local`` of the AUC. Contrast in patches, objects and displaced edges score near 0 here and
    high below: quote no other measure without its excess over ``…_null``. Images under four shifts are missing.

    ``edge_outline_auc``, ``edge_outline_auc_local`` and ``edge_outline_mass`` are the same for the true outline,
    where the data know it, as ``shapes`` do.

    ``edge_partial_contour`` is the correlation of log |g| and log contour energy over pixels after
    both were freed of the same, but of contrast under the widest Gaussian only; 0 says that |g| follows no more
    than those. ``edge_corr_contour`` is the paper's raw one, ``edge_spearman_contour``
    and ``edge_partial_rank_contour`` the same of ranks. ``edge_cosine_contour``: cosine of |g| and contour
    energy over its mean under all shifts; 1 says nothing. ``edge_cosine_signed_contour``: of the signed
    gradient of every channel, what EdgeReg raises when the objective is ``sampled_logit``.
    ``edge_auc_canny``: probability that an edge pixel's |g| exceeds another's; 0.5 says nothing.
    ``edge_mass_canny = (m − a) / (1 − a)``: share m of |g| on edge pixels of area a; 0 no more than their
    area, 1 all of it. ``edge_distance_canny``: 1 minus the mean distance of |g| to the nearest edge over that
    of the area; 0 nothing, 1 all on edges.

    Of all these but the two of ranks, ``…_null`` is the mean of the same number over the edge maps of up to 64
    fixed images of other classes, ``…_z`` its distance from them in their standard deviations, ``…_p = (1 +
    #{null ≥ own}) / (M + 1)``: a gradient that merely sits in the middle, or is rough, scores as high on
    others' edges.

    |g| is summed over channels and floored at 1e-4 of its mean (share ``edge_floored``). sigma: Canny's blur
    in pixels. Images with fewer than ``min_edge_pixels`` Canny pixels are missing from its measures. Source:
    Rodríguez-Muñoz et al. 2024, edge correlation; the null, the partial and the located forms are ours.
    """

    objective: str = "loss"
    sigma: float = 1.0
    min_edge_pixels: int = 50
    _bank: EdgeMaps | None = field(default=None, init=False, repr=False)
    _of: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    readings = (
        Reading("edges, located", "edge_partial_contour_local_mean", "0 as on the edges moved, 1 as the edges"),
        Reading("   by ranks", "edge_partial_rank_contour_local_mean"),
        Reading("   by AUC", "edge_auc_canny_local_mean"),
        Reading("true outline, located", "edge_outline_auc_local_mean", "the same by AUC, where the outline is known"),
        Reading("edges, partial", "edge_partial_contour_mean", "log |g| with log contour energy, confounders out"),
        Reading("   beyond null", "edge_partial_contour_excess", "0: as on other images' edges"),
        Reading("   raw", "edge_corr_contour_mean", "the paper's correlation; brightness and contrast raise it"),
        Reading("   beyond null", "edge_corr_contour_excess"),
        Reading("edge AUC", "edge_auc_canny_mean", "0.5 says nothing"),
        Reading("   beyond null", "edge_auc_canny_excess"),
        Reading("edge mass", "edge_mass_canny_mean", "0 no more than the edges' area, 1 all"),
        Reading("   beyond null", "edge_mass_canny_excess"),
        Reading("edge distance", "edge_distance_canny_mean", "0 as far from edges as the area, 1 on them"),
        Reading("   beyond null", "edge_distance_canny_excess"),
    )
    primary = ("edge_partial_contour_local",)

    def fit(self, pilot: Probe) -> None:
        """Add the pilot's edge maps to the null bank."""
        maps = self._maps(pilot)
        self._bank = maps if self._bank is None else self._bank.joined(maps)
        seen = {"label": pilot.target, "index": pilot.batch.index.to(pilot.target.device)}
        self._of = {k: torch.cat([self._of[k], v]) if self._of else v for k, v in seen.items()}

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        confounders, maps, forms = self._seen(probe)
        assert self._bank is not None
        own, null = (scores(forms, m, confounders) for m in (maps.of_each, self._bank))
        columns = rank_scores(forms, self._contour_ranks(probe), confounders)
        for name in MEASURES:
            columns |= self._beside_null(probe, name, own[name][:, 0], null[name], maps.canny.sum(1))
        columns |= {"edge_density_canny": maps.canny.mean(1), "edge_floored": forms.floored}
        return {**columns, **self._located(probe, forms, maps), **self._outlined(probe)}

    def tallies(self) -> dict[str, Moments]:
        return {"profile": Moments(2 * RADIUS)}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        _, maps, forms = self._seen(probe)
        profile = distance_profile(forms, maps, RADIUS)
        enough = maps.canny.sum(1, keepdim=True) >= self.min_edge_pixels
        return {"profile": (profile.where(enough, torch.nan).cpu().numpy(),)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means with 95 % intervals, their nulls and the excess; the distance profile; the null bank."""
        scalars: dict[str, float] = {}
        for name in MEASURES:
            scalars |= _beside_null(samples, name)
        scalars |= means(samples, (*RANK_FORMS, *LOCATED, *OUTLINE))
        scalars |= {"edge_shift_contour": CONTOUR_SHIFT, "edge_shift_canny": shift_of(self.sigma)}
        scalars["images_without_edges"] = int(samples["edge_auc_canny"].isna().sum())
        assert self._bank is not None
        canny = np.packbits(self._bank.canny.bool().cpu().numpy(), axis=1)
        index = self._of["index"].cpu().numpy()
        gradient, area = np.split(tallies["profile"].mean, 2)
        return Summary(
            {**scalars, "null_bank": int(digest([canny.tobytes().hex(), index.tolist()])[:12], 16)},
            {"null/canny": canny, "null/index": index, "profile/gradient": gradient, "profile/area": area},
            self._missing(scalars),
        )

    def _missing(self, scalars: Mapping[str, float]) -> dict[str, str]:
        reasons = {}
        for name in (*MEASURES, *RANK_FORMS):
            if np.isnan(scalars[f"{name}_mean"]):
                reasons[f"{name}_mean"] = "no image has enough edges, or every gradient is constant"
            elif name in MEASURES and np.isnan(scalars[f"{name}_excess"]):
                reasons[f"{name}_excess"] = (
                    f"fewer than {MIN_NULL_MAPS} images of other classes with edges for the null"
                )
        for name in filter(lambda name: np.isnan(scalars.get(f"{name}_mean", 0)), (*LOCATED, *OUTLINE)):
            shift = shift_of(self.sigma) if "canny" in name else CONTOUR_SHIFT
            reasons[f"{name}_mean"] = f"{NOT_LOCATED}, or images have sides below {LEAST_SIDE * shift} pixels"
        if f"{OUTLINE[0]}_mean" not in scalars:
            reasons[OUTLINE[0]] = "the data's true outlines are not known"
        return reasons

    def _seen(self, probe: Probe) -> tuple[Confounders, EdgeMaps, GradientForms]:
        """What a measure and the profile share."""
        direction, _ = probe.scaled_gradient(self.objective)
        confounders = self._confounders(probe)[0]
        key = ("gradient forms", self.objective)
        return confounders, self._maps(probe), probe.once(key, lambda: gradient_forms(direction, confounders))

    def _located(self, probe: Probe, g: GradientForms, maps: EdgeMaps) -> dict[str, Tensor]:
        """Measures beyond those on the image's own edges moved; missing for images that are too small for it."""
        sides, shift = probe.batch.image.shape[2:], shift_of(self.sigma)
        found = dict.fromkeys(LOCATED, torch.full_like(probe.loss, torch.nan))
        pictures = (g.log, maps.log, g.ranks, standardize(self._contour_ranks(probe)), g.magnitude, maps.canny)
        log, contour, ranks, contour_ranks, magnitude, canny = (values.view(-1, 1, *sides) for values in pictures)
        if not too_small(sides, CONTOUR_SHIFT):
            confounders = self._confounders(probe)[1]
            found[LOCATED[0]] = located_partial(log, contour, confounders, CONTOUR_SHIFT)
            found[LOCATED[1]] = located_partial(ranks, contour_ranks, confounders, CONTOUR_SHIFT)
        if not too_small(sides, shift):
            found[LOCATED[2]] = located_auc(magnitude, canny, self.min_edge_pixels, shift)
        return found

    def _outlined(self, probe: Probe) -> dict[str, Tensor]:
        """The measures of Canny's edges for the true outline, where it is known."""
        outline = probe.batch.outline
        if outline is None:
            return {}
        confounders, _, g = self._seen(probe)
        own = scores(g, edge_maps(probe.edges("contour_energy"), outline).of_each, confounders)
        auc, mass = (own[f"edge_{name}_canny"][:, 0] for name in ("auc", "mass"))
        local = torch.full_like(auc, torch.nan)
        if not too_small(outline.shape[2:], CONTOUR_SHIFT):
            local = located_auc(g.magnitude.view_as(outline), outline, self.min_edge_pixels, CONTOUR_SHIFT)
        enough = outline.sum((1, 2, 3)) >= self.min_edge_pixels
        return {name: v.where(enough, torch.nan) for name, v in zip(OUTLINE, (auc, local, mass), strict=True)}

    def _confounders(self, probe: Probe) -> tuple[Confounders, Confounders]:
        return probe.once("confounders", lambda: _both(confounder_maps(probe.batch.image)))

    def _contour_ranks(self, probe: Probe) -> Pixels:
        contour = probe.edges("contour_energy")
        return probe.once("contour ranks", lambda: mid_ranks(contour.flatten(1)))

    def _maps(self, probe: Probe) -> EdgeMaps:
        contour, canny = probe.edges("contour_energy"), probe.edges("canny", sigma=self.sigma)
        return probe.once(("edge maps", self.sigma), lambda: edge_maps(contour, canny))

    def _beside_null(
        self, probe: Probe, name: str, own: Tensor, null: Tensor, edge_pixels: Tensor
    ) -> dict[str, Tensor]:
        """A measure, and where it stands among the same gradient's on the maps of other classes' images."""
        assert self._bank is not None
        needed = self.min_edge_pixels if name.endswith("canny") else 0
        index = probe.batch.index.to(probe.target.device)
        others = (probe.target[:, None] != self._of["label"]) & (index[:, None] != self._of["index"])
        usable = others & (self._bank.canny.sum(1) >= needed) & null.isfinite()
        value = own.where(edge_pixels >= needed, torch.nan)
        mean, deviation = _masked_moments(null, usable)
        above = ((null >= value[:, None]) & usable).sum(1)
        chance = ((above + 1) / (usable.sum(1) + 1)).double().where(mean.isfinite() & value.isfinite(), torch.nan)
        return {name: value, f"{name}_null": mean, f"{name}_z": (value - mean) / deviation, f"{name}_p": chance}


def _masked_moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the masked columns; missing where there are too few."""
    n = mask.sum(1)
    mean = values.where(mask, 0).sum(1) / n
    variance = (values - mean[:, None]).square().where(mask, 0).sum(1) / (n - 1)
    enough = n >= MIN_NULL_MAPS
    return mean.where(enough, torch.nan), variance.sqrt().where(enough, torch.nan)


def _beside_null(samples: pd.DataFrame, name: str) -> dict[str, float]:
    """Mean of a measure and of its excess with 95 % intervals, and the share of images with p ≤ 0.05."""
    excess = samples[name] - samples[f"{name}_null"]
    found = means(samples, [name])
    found |= with_limits(f"{name}_excess", mean_interval(excess, cluster=cluster_of(samples)))
    chance = samples[f"{name}_p"].dropna()
    share = float((chance <= 0.05).mean()) if len(chance) else float("nan")
    return {**found, f"{name}_null_mean": float(samples[f"{name}_null"].mean()), f"{name}_significant": share}


def _both(maps: Tensor) -> tuple[Confounders, Confounders]:
    """Those of the whole image under the widest window, and all of them on the pixels that every moved map has."""
    whole, sides = Confounders(maps[:, :2]), maps.shape[2:]
    return whole, whole if too_small(sides, CONTOUR_SHIFT) else Confounders(interior(maps, CONTOUR_SHIFT))
