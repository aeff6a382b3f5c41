from __future__ import annotations

from typing import Any

from torch import nn

from gradlens.core.types import Batch, UserError
from gradlens.training.config import TrainConfig
from gradlens.training.engines import StepStats, make_engine, plain_step
from gradlens.training.methods import Moment, choose_place, choose_trades
from gradlens.training.penalties import choose_penalty


class Objective:
    """What a batch adds to the parameters' ``.grad``: the method's loss and the penalty, in their weights.

    It has the state of its engine, which a resumed run goes on with.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.penalty = choose_penalty(config.penalty) if config.penalty else None
        self.engine = make_engine(config.engine)
        self._trades = choose_trades(config.method)
        self._place = None if self._trades else choose_place(config.method)
        if self._trades and self.penalty:
            raise UserError("trades has a second term of its own; train with --penalty on natural, pgd, fgsm or noise")

    def weight(self, epoch: float) -> float:
        """The penalty's weight after that many epochs."""
        return self.config.weight * self.penalty.ramp.at(epoch) if self.penalty else 0.0

    def __call__(self, model: nn.Module, batch: Batch, moment: Moment) -> StepStats:
        share = 1 / self.config.accumulate
        loss_weight = share * self.config.loss_weight
        if self._trades:
            return self._trades(model, batch, moment, loss_weight)
        assert self._place is not None
        there = self._place(model, batch, moment)
        if self.penalty is None:
            return plain_step(model, there, loss_weight)
        weight = share * self.weight(moment.epoch)
        return self.engine(model, there, self.penalty, weight, loss_weight=loss_weight, seed=moment.seed)

    def state_dict(self) -> dict[str, Any]:
        return getattr(self.engine, "state_dict", dict)()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.engine.load_state_dict(state)  # type: ignore[attr-defined]
