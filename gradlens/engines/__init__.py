"""Ways to the parameter gradient of a loss with a gradient penalty in it; the penalty's code knows of none."""

from collections.abc import Callable

from gradlens._registry import unknown
from gradlens._types import UserError
from gradlens.engines._agreement import agreement, kink
from gradlens.engines._checked import CheckedFiniteDifference
from gradlens.engines._double_backward import double_backward
from gradlens.engines._finite_difference import FiniteDifference
from gradlens.engines._preflight import Preflight, training_preflight
from gradlens.engines._step import Engine, StepStats, plain_step

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
    "kink",
    "make_engine",
    "plain_step",
    "training_preflight",
]
