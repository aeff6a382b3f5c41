from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from gradlens.core.processes import rank
from gradlens.core.types import UserError

Row = dict[str, float]


def tensorboard(folder: Path | None, epochs_done: int) -> Callable[[Row], None]:
    """What writes a row of the history for TensorBoard; nothing where no folder is named.

    epochs_done: of an interrupted run, whose later points are then replaced.
    """
    if folder is None or rank() > 0:
        return lambda row: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard needs a package of that name; pip install tensorboard, or leave it out"
        ) from None
    writer = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    def write(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch" and not math.isnan(value):
                writer.add_scalar(name, value, int(row["epoch"]))
        writer.flush()

    return write
