"""Several trainings of one recipe: seeds, and a grid of values tuned on val."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradlens.core.names import split_specs
from gradlens.core.types import UserError
from gradlens.training.config import TrainConfig, make_config
from gradlens.training.train import DivergedError, TrainResult, train


class Setting(NamedTuple):
    """One point of a grid: what was changed, and the results of its seeds."""

    changed: dict[str, str]
    results: dict[int, TrainResult]
    diverged: dict[int, str]

    @property
    def score(self) -> float:
        """Mean over seeds of the last val accuracy, under attack where it was measured; −∞ if one diverged."""
        if self.diverged:
            return -math.inf
        last = [result.history[-1] for result in self.results.values()]
        return float(np.mean([row[criterion(row)] for row in last]))


def read_seeds(text: str) -> list[int]:
    """``0-4`` or ``0,3,7``."""
    try:
        first, dash, last = text.partition("-")
        seeds = list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds '{text}' are not understood; write 0-4, or 0,3,7")
    return seeds


def read_grid(words: Sequence[str]) -> dict[str, list[str]]:
    """``weight=.1,.3,1`` → ``{"weight": [".1", ".3", "1"]}``; a spec keeps its own commas."""
    grid: dict[str, list[str]] = {}
    for word in words:
        name, _, values = word.partition("=")
        name, found = name.replace("-", "_"), split_specs(values)
        if not found or name in grid or name in ("seed", "out"):
            raise UserError(
                f"grid '{word}' is not understood; write a flag and its values, each flag once: lr=1e-3,3e-3"
            )
        grid[name] = found
    return grid


def sweep(
    config: TrainConfig, seeds: Sequence[int], grid: dict[str, list[str]], resume: bool = False, progress: bool = True
) -> tuple[list[Setting], Setting]:
    """Train every setting with every seed, each in a folder of its own; returns all, and the best on val.

    The test split, where one is named, is looked at once, and by the best setting alone.
    """
    settings = []
    for values in itertools.product(*grid.values()):
        changed = dict(zip(grid, values, strict=True))
        ones = {seed: _one(config, changed, seed, len(seeds) > 1) for seed in seeds}
        setting = Setting(changed, {}, {})
        for seed, one in ones.items():
            try:
                setting.results[seed] = train(one, resume=resume, progress=progress)
            except DivergedError as error:
                if not grid:
                    raise
                setting.diverged[seed] = str(error)
        settings.append(setting)
    best = max(settings, key=lambda setting: setting.score)
    if best.diverged:
        raise UserError(f"every setting of the grid diverged; the last: {next(iter(best.diverged.values()))}")
    if config.test_split:
        for seed in seeds:
            one = _one(config, best.changed, seed, len(seeds) > 1)
            # A finished run trains no more; it is opened, and tested.
            best.results[seed] = train(replace(one, test_split=config.test_split), resume=True, progress=False)
    return settings, best


def _one(config: TrainConfig, changed: dict[str, str], seed: int, several: bool) -> TrainConfig:
    """The configuration of one training, without a look at the test split."""
    parts = [f"{name}={value}".replace("/", "÷") for name, value in changed.items()]
    folder = config.out / "-".join(parts) if parts else config.out
    fields = {**vars(config), **{k: _value(v) for k, v in changed.items()}, "seed": seed, "test_split": None}
    fields["out"] = Path(folder / f"s{seed}") if several else folder
    return make_config(fields, "the grid")


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def criterion(row: Mapping[str, float]) -> str:
    """The accuracy that the best is the best of: on val, under attack where it was measured."""
    return "val_top1" if math.isnan(row["val_pgd10"]) else "val_pgd10"
