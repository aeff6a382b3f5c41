from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, explained
from gradlens.analyzers._size_numbers import UNLABELLED
from gradlens.core.names import as_radius, exactly, with_limits
from gradlens.core.registry import analyzer
from gradlens.core.registry import attack as attacks_by_name
from gradlens.core.types import UserError
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import flags_interval


@analyzer
@dataclass(frozen=True)
class Robustness(Analyzer):
    """Which images keep their label under an attack.

    ``robust[pgd10,linf,4/255]``: 1 where the model gives the image its label and still does after the
    attack, else 0; a clean mistake is not robust, and without a prediction it is missing.
    The column's name always holds attack, steps, norm
    and eps, and whatever else is not the attack's default, so several radii are several columns of one
    run. attack: any registered one. eps and step_size are in pixels of [0, 1]; where step_size, restarts
    and random_start are not given, the attack's own count. The attack raises the loss; its random
    numbers belong to the run's seed and the image.

    ``robust_accuracy[…]`` is in percent, with Wilson's interval. One attack bounds robustness from
    above: a gradient that is hard to follow looks like a robust model. Source: Madry et al. 2018.
    """

    attack: str = "pgd"
    norm: str = "linf"
    eps: float = 4 / 255
    steps: int = 10
    step_size: float | None = None
    restarts: int | None = None
    random_start: bool | None = None

    def __post_init__(self) -> None:
        known = {"attack", *("steps" if name == "queries" else name for name in self.taken)}
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in known):
            if value != getattr(Robustness, name):
                other = " other than linf" if name == "norm" else ""
                raise UserError(f"attack '{self.attack}' takes no {name}{other}; got {name}={value}; leave it out")
        if self.steps < 1:
            raise UserError(f"an attack of {self.steps} steps is none; give at least 1")
        if not self.eps > 0:
            raise UserError(f"robustness: eps is {self.eps:g}; wanted a radius in pixels of [0, 1] above 0, as 4/255")

    @property
    def suffix(self) -> str:
        """Nothing, since the names say all."""
        return ""

    @property
    def readings(self) -> tuple[Reading, ...]:  # type: ignore[override]
        """Robust accuracy under this attack, and how well gradient size foretells it, where that is measured."""
        of, shown = self.parameters, self.parameters.strip("[]").replace(",", " ")
        return (
            Reading(f"robust (%), {shown}", f"robust_accuracy{of}", "at most: under this one attack"),
            Reading("   AUC of vulnerable, L1", f"l1_auc_vulnerable{of}", "0.5 says nothing, 1 separates"),
            Reading("   the loss's own", f"loss_auc_vulnerable{of}", "what L1 must be compared with"),
            Reading("   L1 beyond the loss", f"l1_auc_gain_vulnerable{of}", "difference of the two; 0 it adds nothing"),
        )

    @property
    def parameters(self) -> str:
        """The attack as the names show it: ``[pgd10,linf,4/255]``, ``[pgd10,linf,4/255,step_size=2/255]``."""
        taken, own = self.taken, inspect.signature(attacks_by_name[self.attack]).parameters
        steps = self.steps if {"steps", "queries"} & set(taken) else ""
        rest = [n for n in ("step_size", "restarts", "random_start") if n in taken and taken[n] != own[n].default]
        shown = [f"{n}={exactly(taken[n]) if n == 'step_size' else taken[n]}" for n in rest]
        return f"[{','.join([f'{self.attack}{steps}', self.norm, as_radius(self.eps), *shown])}]"

    @property
    def taken(self) -> dict[str, Any]:
        """What the attack takes of these parameters; one that sees no gradient counts queries as its steps."""
        given = {**vars(self), "queries": self.steps}
        known = inspect.signature(attacks_by_name[self.attack]).parameters
        return {name: value for name, value in given.items() if name in known and value is not None}

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        name = f"robust{self.parameters}"
        if probe.batch.target is None:
            return {name: torch.full((len(probe.batch),), torch.nan, dtype=torch.float64)}
        attacked = attack(probe, self.attack, **self.taken)
        robust = (probe.correct & attacked.correct).double()
        return {name: torch.where(probe.predicted & probe.known, robust, torch.nan)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Robust accuracy in percent with its 95 % interval."""
        flags = samples[f"robust{self.parameters}"]
        # Without a prediction an image counts as top-1 counts it, as wrong; without a label nothing is known of it.
        rows = samples[samples["label"] >= 0] if "label" in samples else samples
        known = rows[flags.name] if flags.notna().any() else flags[:0]
        share = flags_interval(known == 1, cluster=cluster_of(rows) if len(known) else None)
        percent = [100 * part for part in share]
        return explained(with_limits(f"robust_accuracy{self.parameters}", percent), UNLABELLED)
