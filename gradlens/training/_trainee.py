from __future__ import annotations

import copy
import logging
import math
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3

from gradlens.core.processes import average_gradients
from gradlens.core.types import Batch, UserError
from gradlens.models import Classifier, save_checkpoint
from gradlens.training._batches import TrainingBatches
from gradlens.training._objective import Objective
from gradlens.training._setup import Schedule, arch_kwargs, make_optimizer, on_cpu
from gradlens.training.config import TrainConfig
from gradlens.training.engines import training_preflight

LOG = logging.getLogger("gradlens")


class Trainee:
    """A network on its way, with all that one update needs and a resumed run must have again."""

    def __init__(self, config: TrainConfig, model: Classifier, batches: TrainingBatches):
        self.config, self.model = config, model
        self.objective = Objective(config)
        self.optimizer = make_optimizer(config, model.net)
        self.schedule = Schedule(config, self.optimizer, batches.updates)
        self.schedule.set(0)
        self.ema = ModelEmaV3(model.net, config.ema) if config.ema else None

    @property
    def evaluated(self) -> Classifier:
        """The network by the weights that count: their moving average where there is one."""
        if self.ema is None:
            return self.model.eval()
        twin = copy.copy(self.model)
        twin._modules = {**self.model._modules, "net": self.ema.module}
        return twin.eval()

    @property
    def finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.model.parameters())

    def set_mode(self, epoch: float) -> None:
        self.model.train(epoch < self.config.eval_mode_from)

    def update(self, updates_done: int) -> float:
        """One step of the optimiser by the gradients at hand; returns their norm before clipping."""
        average_gradients(self.model)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        size = float(norm)
        if math.isfinite(size):
            self.optimizer.step()
            self.schedule.set(updates_done)
            if self.ema:
                self.ema.update(self.model.net, step=updates_done)
        self.optimizer.zero_grad()
        return size

    def check(self, batch: Batch) -> None:
        """Whether a penalised step is possible at all, before an hour is lost."""
        if self.objective.penalty is None:
            return
        found = training_preflight(self.model, batch, self.objective.penalty, self.config.engine)
        for note in found.notes:
            LOG.info(note)
        if found.obstacles:
            raise UserError("; ".join(found.obstacles))

    def save(self, path: Path, training: dict[str, Any] | None = None) -> None:
        """A checkpoint that ``load_model`` opens with no flags; with ``training`` one that can be resumed."""
        card, extra = self.model.card, dict[str, Any]()
        if self.ema:
            extra["ema"] = on_cpu(self.ema.module.state_dict())
        if training is not None:
            state = {"optimizer": self.optimizer.state_dict(), "engine": self.objective.state_dict()}
            extra["training"] = {**training, **state}
        save_checkpoint(
            path,
            on_cpu(self.model.net.state_dict()),
            arch=card.arch,
            arch_kwargs=arch_kwargs(self.config),
            activation=card.activation,
            mean=card.mean,
            std=card.std,
            num_classes=card.num_classes,
            class_names=card.class_names,
            preprocess=card.preprocess,
            **extra,
        )

    def load(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint of ``save``."""
        self.model.net.load_state_dict(content["state_dict"])
        if self.ema:
            self.ema.module.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["training"]["optimizer"])
        self.objective.load_state_dict(content["training"]["engine"])
        self.schedule.set(content["training"]["updates"])
