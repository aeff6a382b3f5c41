from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from gradlens.core.registry import figure
from gradlens.plotting._leaderboard_scatter import leaderboard_scatter
from gradlens.runs.record import Run


@figure
def lipschitz_against_accuracy(
    runs: Sequence[Run],
    ax: Axes | None = None,
    statistic: str = "local_lipschitz_scaled_median",
    against: str = "top1",
) -> Axes:
    """The local Lipschitz constant over the margin against accuracy, a mark a model, as in ``leaderboard_scatter``.

    Accurate models can be smooth: marks at the top left. against ``robust_accuracy`` shows whether smoothness pays.
    Source: Yang et al. 2020, whose constant of the logits is ``statistic=local_lipschitz_mean``.
    """
    return leaderboard_scatter(runs, ax, statistic, against)
