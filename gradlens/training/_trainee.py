"""A network on its way: one update of it, and the checkpoint that a resumed run goes on from."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from gradlens.core.processes import average_gradients, world
from gradlens.core.types import Batch, UserError
from gradlens.models import Classifier, save_checkpoint
from gradlens.training._setup import arch_kwargs
from gradlens.training.config import TrainConfig
from gradlens.training.engines import training_preflight
from gradlens.training.methods import Objective

LOG = logging.getLogger("gradlens")
# What a checkpoint says of its network, so that it opens by itself.
OF_CARD = ("arch", "activation", "mean", "std", "num_classes", "class_names", "preprocess")
# What may differ between a run and its continuation.
FREE = ("out", "workers", "device", "data_dir", "test_split")


class Trainee:
    """A network on its way, with all that one update needs and a resumed run must have again.

    updates: how many there are in an epoch.
    """

    def __init__(self, config: TrainConfig, model: Classifier, updates: int):
        self.config, self.model = config, model
        self.objective = Objective(config)
        self.optimizer = make_optimizer(config, model.net)
        self.schedule = make_schedule(config, self.optimizer, updates)
        self.schedule(0)
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
        # By hand, since DistributedDataParallel averages in hooks of one backward pass: a penalised step has
        # several, and finite differences fill ``.grad`` without any.
        average_gradients(self.model)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        size = float(norm)
        if math.isfinite(size):
            self.optimizer.step()
            self.schedule(updates_done)
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
        extra = dict[str, Any]()
        if self.ema:
            extra["ema"] = _on_cpu(self.ema.module.state_dict())
        if training is not None:
            state = {"optimizer": self.optimizer.state_dict(), "engine": self.objective.state_dict()}
            extra["training"] = {**training, **state}
        known = {name: getattr(self.model.card, name) for name in OF_CARD}
        kwargs = arch_kwargs(self.config)
        save_checkpoint(path, _on_cpu(self.model.net.state_dict()), arch_kwargs=kwargs, **known, **extra)

    def load(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint of ``save``."""
        self.model.net.load_state_dict(content["state_dict"])
        if self.ema:
            self.ema.module.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["training"]["optimizer"])
        self.objective.load_state_dict(content["training"]["engine"])
        self.schedule(content["training"]["updates"])


def make_optimizer(config: TrainConfig, net: nn.Module) -> torch.optim.Optimizer:
    """timm's, which leaves biases and normalisation without weight decay."""
    try:
        return create_optimizer_v2(
            net, config.opt, lr=config.lr, weight_decay=config.weight_decay, momentum=config.momentum
        )
    except (AssertionError, ValueError, TypeError) as error:
        raise UserError(f"timm has no optimiser '{config.opt}' for this ({error}); such as adamw, sgd, lamb") from None


def make_schedule(config: TrainConfig, optimizer: torch.optim.Optimizer, updates: int) -> Callable[[int], None]:
    """What sets the learning rate after so many updates: one of timm's schedules, or a constant."""
    if config.sched == "constant":
        return lambda updates_done: None
    rates: dict[str, Any] = {name: getattr(config, name) for name in ("min_lr", "warmup_lr", "warmup_epochs")}
    # A step an update, so that the warm-up may take a fraction of an epoch.
    rates |= {"step_on_epochs": False, "updates_per_epoch": updates}
    scheduler, _ = create_scheduler_v2(optimizer, config.sched, config.epochs, **rates)
    assert scheduler is not None
    return scheduler.step_update


def read_state(file: Path, config: TrainConfig) -> dict[str, Any]:
    """The checkpoint of an interrupted run; refused where it is of another recipe or number of processes."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        training = content["training"]
        _ = training["updates"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{file} cannot be resumed ({type(error).__name__}); start again in another folder") from None
    before, now = training["config"], config.provenance()
    for field in (f for f in dataclasses.fields(config) if f.name not in FREE):
        # What a recipe of an older release could not say, it had as it is by default.
        was, given = before.get(field.name, field.default), now[field.name]
        if was != given:
            raise UserError(
                f"{file} was trained with {field.name}={was}, --resume was given {given}; give the same, or another "
                "folder with -o"
            )
    if training["world"] != world():
        raise UserError(f"{file} was trained by {training['world']} processes, not {world()}; start as many")
    return content


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}
