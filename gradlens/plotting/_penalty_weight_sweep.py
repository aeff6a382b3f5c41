from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._trainings import (
    ACCURACIES,
    by_label,
    check_same_evaluation,
    clean_and_robust,
    percent_over_seeds,
    seeds_text,
)
from gradlens.plotting.panels import CHARACTERS, cell_width, curve, footnote, legend, one_panel, record
from gradlens.plotting.style import COLORS, enlarged, looks
from gradlens.runs.history import History

# What may differ within a curve, or does not matter.
FREE = ("weight", "seed", "out", "data_dir", "test_split", "workers", "device")
WIDE = 10


@figure
def penalty_weight_sweep(histories: Sequence[History], ax: Axes | None = None) -> Axes:
    """Accuracy on val after the last epoch against the penalty's weight, clean solid and under PGD-10 dashed.

    A curve holds the trainings that differ in weight and seed only; seeds give the mean and its 95 %
    t-interval. Trainings without a penalty are horizontal lines. Unfinished ones are left out and named.
    Source: Rodríguez-Muñoz et al. 2024, Fig. 5.
    """
    check_same_evaluation(histories)
    done = [history for history in histories if history.finished]
    curves = _curves([history for history in done if history.config.get("penalty")])
    if not curves:
        raise UserError(
            "no finished training with a penalty is given; sweep with gradlens train --penalty … --grid weight=.1,.3,1"
        )
    own, ax = one_panel(ax)
    baselines = by_label(history for history in done if not history.config.get("penalty"))
    colors = iter(_colors(histories, [*curves.values(), *baselines.values()]))
    handles = [_draw_curve(ax, group, label, next(colors)) for label, group in curves.items()]
    handles += [_draw_baseline(ax, group, next(colors)) for group in baselines.values()]
    _finish(ax, sorted({h.config["weight"] for group in curves.values() for h in group}))
    legend(own, ax, handles + clean_and_robust(histories))
    footnote(own, _note(histories, curves))
    return ax


def _curves(histories: Sequence[History]) -> dict[str, list[History]]:
    """Trainings that differ in weight and seed only, named by what tells them from the other curves."""
    pairs = {(history.config["weight"], history.config.get("loss_weight")) for history in histories}
    # The paper lowers the weight of the cross-entropy as it raises the penalty's.
    coupled = ("loss_weight",) if len(dict(pairs)) == len(pairs) else ()
    recipes = [{k: v for k, v in history.config.items() if k not in FREE + coupled} for history in histories]
    differing = [key for key in (recipes[0] if recipes else ()) if len({str(r.get(key)) for r in recipes}) > 1]
    curves: dict[str, list[History]] = {}
    for history, recipe in zip(histories, recipes, strict=True):
        curves.setdefault(_name(recipe, differing), []).append(history)
    return curves


def _name(recipe: dict[str, Any], differing: Sequence[str]) -> str:
    if differing in ([], ["penalty"]):
        return str(recipe["penalty"])
    return ", ".join(f"{key}={recipe[key]}" for key in differing)


def _colors(histories: Sequence[History], groups: Sequence[list[History]]) -> list[str]:
    """A group's is that of its first training in every other figure, unless a group before it has it."""
    own = dict(zip((history.label for history in histories), looks(histories), strict=True))
    found: list[str] = []
    for group in groups:
        wanted = (own[group[0].label].color, *COLORS)
        found.append(next((color for color in wanted if color not in found), wanted[0]))
    return found


def _draw_curve(ax: Axes, group: Sequence[History], label: str, color: str) -> Line2D:
    weights, lines = [history.config["weight"] for history in group], []
    for column, (style, condition) in ACCURACIES.items():
        found = percent_over_seeds(weights, [_last(history, column) for history in group])
        lines.append(curve(ax, label + condition, *found, color=color, ls=style, marker="o"))
    return lines[0]


def _draw_baseline(ax: Axes, group: list[History], color: str) -> Line2D:
    lines = []
    for column, (style, condition) in ACCURACIES.items():
        mean, name = 100 * float(np.mean([_last(history, column) for history in group])), seeds_text(group) + condition
        lines.append(ax.axhline(mean, color=color, ls=style, lw=0.8, label=name))
        record(ax, "line", name, y=mean)
    return lines[0]


def _last(history: History, column: str) -> float:
    return float(history.frame[column].iloc[-1])


def _finish(ax: Axes, weights: list[float]) -> None:
    if weights[0] <= 0 < weights[-1]:
        ax.set_xscale("symlog", linthresh=min(w for w in weights if w > 0))
    elif weights[-1] >= WIDE * weights[0]:
        ax.set_xscale("log")
    ax.set_xticks(weights, _apart(ax, weights))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="weight of the penalty", ylabel="accuracy on val (%)", ylim=(0, 102))


def _apart(ax: Axes, weights: list[float]) -> list[str]:
    """Names of the ticks, empty where one would run into the one before."""
    # Of the panel's width, axes and margins take about a fifth.
    places = ax.transLimits.transform(ax.transScale.transform([(w, 0.0) for w in weights]))[:, 0]
    inches, free, names = places * 0.8 * cell_width(ax) / enlarged(), -np.inf, []
    for weight, place in zip(weights, inches, strict=True):
        half = len(f"{weight:g}") / CHARACTERS / 2
        names.append(f"{weight:g}" if place - half > free else "")
        free = place + half + 0.05 if names[-1] else free
    return names


def _note(histories: Sequence[History], curves: dict[str, list[History]]) -> str:
    seeds = {count for group in curves.values() for count in Counter(h.config["weight"] for h in group).values()}
    bands = ", bands: 95 % t-intervals of the mean" if max(seeds) > 1 else ""
    said = f"after the last epoch; seeds a weight: {' to '.join(map(str, sorted({min(seeds), max(seeds)})))}{bands}"
    unfinished = [f"weight {h.config['weight']:g}, seed {h.config['seed']}" for h in histories if not h.finished]
    return f"{said}; left out, unfinished or diverged: {' and '.join(unfinished)}" if unfinished else said
