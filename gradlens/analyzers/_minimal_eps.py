from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, explained, explained_means, merged
from gradlens.core.names import suffix, unknown, with_limits
from gradlens.core.registry import analyzer
from gradlens.core.seeds import image_uniform
from gradlens.core.types import UserError
from gradlens.probes.attacks import NORMS, pixel_range
from gradlens.probes.attacks.bisection import SCHEDULES, smallest
from gradlens.probes.attacks.worst_of import Member, first_to_break, worst_of
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import Cluster, cluster_of
from gradlens.stats.intervals import flags_interval, mean_interval, quantile_interval

# What broke an image at its minimal ε, in the order of the suite.
UNATTACKED, MARGIN, LOSS, SQUARE, LARGE, NOTHING = range(6)
NOT_CHECKED, WITHSTOOD, BROKE = range(3)
FEW_CORRECT = "fewer than two images are correct unattacked"
UNCHECKED = "no image of the checked share withstands the grid's first ε"
NONE_CORRECT = "no image is correct unattacked, so there is none to break"
CURVE_POINTS = 100


@analyzer
@dataclass(frozen=True)
class MinimalEps(Analyzer):
    """The smallest perturbation that breaks each image: on a grid by the worst of several attacks, or by bisection.

    The grid's attacks, in L∞: PGD on the margin, PGD on cross-entropy with restarts (each of ``steps`` steps), Square
    with ``queries`` queries. ``eps_min``, in pixels of [0, 1]: the middle between the grid's last ε that the image
    withstands and the one that breaks it; 0 where it is wrong unattacked, the grid's top where nothing breaks it,
    missing without a prediction. ``broken_by``: 0 no attack needed,
    1 margin, 2 cross-entropy, 3 Square (which comes last, so gradients had failed), 4 only at ``large``, 5 not
    even there. ``more_steps``: 1 withstood, 2 broke under twice the steps just below its ``eps_min``; 0 not among
    the ``checked`` share of images, or not to be checked since it breaks at the grid's first ε.

    ``eps_min_mean`` is the area under accuracy over ε by the trapezoid rule, from 0 to the grid's top. (With the ε
    that breaks each in place of the middle it would be too high by half a step, and ratios too near to 1.)
    Images wrong unattacked count as 0; ``eps_min_mean_correct`` is over the others only. Large is
    robust, unless gradients are masked; the signs: accuracy at ``large`` far from zero, Square breaking what
    gradients could not, twice the steps breaking over 1 % more (Athalye et al. 2018, Carlini et al. 2019).
    Without labels it is the prediction's stability.

    low, high, points: the grid. It costs some 300 gradients and 1,000 forward passes an image.

    ``search=bisection``, in ``norm=linf`` or ``l2``: ``eps_min`` is the distance of the nearest image found to
    break, with no grid to round it up; PGD on the margin at radii that double and halve, each time from the
    nearest. ``search=rodriguez2024`` is their schedule, PGD-100 on cross-entropy at up to fifteen radii. ``large``
    is then the farthest that is looked, as a share of the pixels' range, and ``eps_min`` of an image that
    nothing breaks there; ``gradient_passes`` is what an image cost. Masked gradients show in ``masking``, not here.
    """

    primary = ("eps_min",)
    # For tests, which cannot wait for the real one.
    cheap: ClassVar[str] = "low=0.001,high=0.05,points=3,steps=3,restarts=2,queries=10,checked=1"

    search: str = "grid"
    norm: str = "linf"
    low: float = 0.01
    high: float = 0.15
    points: int = 15
    steps: int = 50
    restarts: int = 5
    queries: int = 1000
    large: float = 0.5
    checked: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.large <= 1:
            raise UserError(f"minimal_eps: large={self.large:g} is no radius in pixels of [0, 1]; give one such as 0.5")
        if self.search == "grid" and not (0 < self.low < self.high < self.large and self.points > 1):
            raise UserError(
                f"minimal_eps: {self.points} points from {self.low:g} to {self.high:g}, large={self.large:g}; wanted "
                "0 < low < high < large <= 1 and at least 2 points"
            )
        if self.search not in ("grid", *SCHEDULES):
            raise UserError(unknown("search of minimal_eps", self.search, ("grid", *SCHEDULES)))
        if self.norm not in NORMS or (self.norm != "linf" and self.search != "bisection"):
            raise UserError(
                f"minimal_eps:search={self.search} knows no norm '{self.norm}'; wanted norm=linf, or norm=l2 with "
                "search=bisection"
            )
        grids = [f.name for f in fields(self) if f.name not in ("search", "norm", "large")]
        stated = [name for name in grids if getattr(self, name) != getattr(MinimalEps, name)]
        if self.search != "grid" and stated:
            raise UserError(
                f"minimal_eps:search={self.search} has no {', '.join(stated)}, which are the grid's; leave out"
            )

    @property
    def readings(self) -> tuple[Reading, ...]:  # type: ignore[override]
        """Means and median of ε, and the signs that gradients are masked."""
        by_search = (
            Reading("only Square breaks (%)", "only_square", "of all images; near 0, or gradients are masked"),
            Reading("more steps break (%)", "more_steps_break", "of those checked; above 1 the steps are too few"),
        )
        return (
            Reading("minimal ε, mean", "eps_min_mean", "area under accuracy over ε; in pixels of [0, 1]"),
            Reading("   of correct images", "eps_min_mean_correct", "images wrong unattacked, 0 above, left out"),
            Reading("   median", "eps_min_median", "half the images break below"),
            Reading("accuracy at large ε (%)", "accuracy_large", "0; above, gradients are masked"),
            *(by_search if self.search == "grid" else ()),
        )

    @property
    def suffix(self) -> str:
        """The norm always shows, and comes first."""
        others = suffix(replace(self, norm="linf"))[1:-1]
        return f"[{self.norm},{others}]" if others else f"[{self.norm}]"

    @property
    def grid(self) -> list[float]:
        """The radii, in pixels of images in [0, 1]."""
        return np.linspace(self.low, self.high, self.points).tolist()

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        return self._on_grid(probe) if self.search == "grid" else self._searched(probe)

    def _searched(self, probe: Probe) -> dict[str, Tensor]:
        top = pixel_range(probe.batch.image, self.norm) * self.large
        distance, passes = smallest(probe, self.norm, top, SCHEDULES[self.search])
        broke = torch.where(distance > 0, MARGIN, UNATTACKED).double()
        found = {
            "eps_min": distance.clamp(max=top),
            "broken_by": torch.where(distance < torch.inf, broke, NOTHING),
            "gradient_passes": passes,
        }
        return {name: torch.where(probe.predicted, values, torch.nan) for name, values in found.items()}

    def _on_grid(self, probe: Probe) -> dict[str, Tensor]:
        suite = self._suite(self.steps, self.restarts)
        level, breaker = worst_of(probe, self.grid, suite)
        grid = torch.tensor([0.0, *self.grid, self.high], dtype=torch.float64, device=level.device)
        standing = level > self.points
        at_large = first_to_break(probe, suite, standing, torch.full_like(grid[level], self.large))
        beyond = torch.where(at_large > 0, LARGE, NOTHING)
        drawn = image_uniform(probe.seed, probe.batch.index, "minimal_eps/checked").to(grid) < self.checked
        checked = drawn & (level > 1)
        longer = first_to_break(probe, self._suite(2 * self.steps, 1)[:-1], checked, grid[(level - 1).clamp(min=0)])
        # Somewhere between the last ε that it withstands and the one that breaks it; the top where none does.
        middle = torch.where(standing | (level == 0), grid[level], (grid[level] + grid[(level - 1).clamp(min=0)]) / 2)
        return {
            "eps_min": torch.where(probe.predicted, middle, torch.nan),
            "broken_by": torch.where(probe.predicted, torch.where(standing, beyond, breaker).double(), torch.nan),
            "more_steps": torch.where(checked, torch.where(longer > 0, BROKE, WITHSTOOD), NOT_CHECKED).double(),
        }

    def _suite(self, steps: int, restarts: int) -> list[Member]:
        """In the order of their codes in ``broken_by``."""
        return [
            Member("pgd", "-margin", {"steps": steps}),
            Member("pgd", "loss", {"steps": steps, "restarts": restarts}),
            Member("square", "-margin", {"queries": self.queries}),
        ]

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means and median with 95 % intervals, signs of masking; accuracy at 0, every ε of the grid and ``large``."""
        eps, by = (samples[name].to_numpy() for name in ("eps_min", "broken_by"))
        correct, cluster = np.isfinite(eps) & (by != UNATTACKED), cluster_of(samples)
        of_correct = mean_interval(np.where(correct, eps, np.nan), cluster=cluster)
        # No image to break is no network that breaks at 0.
        mean = mean_interval(np.where(correct.any(), eps, np.nan), cluster=cluster)
        return merged(
            [
                explained_means(with_limits("eps_min_mean", mean), NONE_CORRECT),
                explained_means(with_limits("eps_min_mean_correct", of_correct), FEW_CORRECT),
                Summary(with_limits("eps_min_median", quantile_interval(eps, cluster=cluster))),
                Summary(with_limits("accuracy_large", _percent(by == NOTHING, cluster)), self._curve(eps, by)),
                self._grids_own(samples) if self.search == "grid" else Summary(),
            ]
        )

    def _grids_own(self, samples: pd.DataFrame) -> Summary:
        """The signs that gradients are masked, or the steps too few."""
        by, more = (samples[name].to_numpy() for name in ("broken_by", "more_steps"))
        checked, own = more > NOT_CHECKED, cluster_of(samples[more > NOT_CHECKED])
        reach = explained(with_limits("more_steps_break", _percent(more[checked] == BROKE, own)), UNCHECKED)
        square = with_limits("only_square", _percent(by == SQUARE, cluster_of(samples)))
        return merged([Summary({**square, "more_steps_checked": int(checked.sum())}), reach])

    def _curve(self, eps: NDArray, by: NDArray) -> dict[str, NDArray]:
        """Accuracy at every ε of the grid and at ``large``, or at a hundred up to the last that broke an image."""
        radii = np.array([0, *self.grid, self.large])
        if self.search != "grid":
            broke = eps[by < NOTHING].max(initial=0)
            radii = np.array([*np.linspace(0, broke, CURVE_POINTS), eps[by == NOTHING].max(initial=broke)])
        # Broken at the grid's top is not withstanding it, though eps_min is the same.
        beyond = np.where(by == NOTHING, np.inf, np.where(by == LARGE, self.large, eps))
        return {"curve/eps": radii, "curve/accuracy": 100 * (beyond[None] > radii[:, None]).mean(1)}


def _percent(flags: NDArray[np.bool_], cluster: Cluster) -> tuple[float, float, float]:
    share, low, high = flags_interval(flags, cluster=cluster)
    return 100 * share, 100 * low, 100 * high
