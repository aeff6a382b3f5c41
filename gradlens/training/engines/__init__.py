"""Ways to the parameter gradient of a loss with a gradient penalty in it; the penalty's code knows of none."""

from collections.abc import Callable

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.training.engines._checked import CheckedFiniteDifference, agreement, find_step, kink
from gradlens.training.engines._finite_difference import FiniteDifference
from gradlens.training.engines._obstacles import Preflight, training_preflight
from gradlens.training.engines._step import Engine, StepStats, double_backward, plain_step

ENGINES: dict[str, Callable[[], Engine]] = {
    "double_backward": lambda: double_backward,
    "finite_difference": CheckedFiniteDifference,
}


def make_engine(name: str) -> Engine:
    """The engine of a training run: ``double_backward`` or ``finite_difference``, which is checked against it."""
    if name not in ENGINES:
        raise UserError(unknown("engine", name, ENGINES))
    return ENGINES[name]()


__all__ = [
    "ENGINES",
    "CheckedFiniteDifference",
    "Engine",
    "FiniteDifference",
    "Preflight",
    "StepStats",
    "agreement",
    "double_backward",
    "find_step",
    "kink",
    "make_engine",
    "plain_step",
    "training_preflight",
]
