"""What a training step will need of the memory, before the first one is made."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from gradlens.core.memory import available_bytes, bytes_of, graph_bytes
from gradlens.core.numbers import amount
from gradlens.core.types import Batch
from gradlens.models import Classifier
from gradlens.training._trainee import make_optimizer
from gradlens.training.config import TrainConfig

IMAGES = 2
# A graph that is differentiated twice is kept beside that of its own gradient.
GRAPHS = {"double_backward": 2}


class Memory(NamedTuple):
    """The estimate as a line beside what is free, and where it does not fit what to do about it."""

    line: str
    advice: str = ""


def memory(config: TrainConfig, model: Classifier, batch: Batch) -> Memory:
    steady, images = step_bytes(config, model, batch)
    free = available_bytes(model.device)
    parts = f"{amount(steady)} for weights, gradients and optimiser, the rest for {config.batch_size} images"
    room = "" if free is None else f"; {amount(free)} are free"
    line = f"a step takes about {amount(steady + images)} of memory ({parts}){room}"
    if free is None or steady + images <= free:
        return Memory(line)
    fewer = max(1, int(config.batch_size * max(0, free - steady) / images))
    more = -(-config.batch_size // fewer) * config.accumulate
    return Memory(line, f"{line}: train with --batch-size {fewer} --accumulate {more}")


def step_bytes(config: TrainConfig, model: Classifier, batch: Batch) -> tuple[int, int]:
    """Bytes that stay from step to step, and bytes that one batch's graph holds, as two images show it.

    Of what an adversarial method computes beforehand nothing is kept; workspaces of the hardware are not counted.
    """
    weights = bytes_of(list(model.parameters())) + bytes_of(list(model.buffers()))
    copies = 2 + slots(config) + (config.ema is not None)
    some = batch[slice(0, IMAGES)]
    trains = model.training
    try:
        # Statistics of a batch would be learnt from the trial.
        model.eval()
        graph = graph_bytes(model(some.image.detach().requires_grad_()), model.parameters())
    finally:
        model.train(trains)
    graphs = GRAPHS.get(config.engine, 1) if config.penalty else 1
    return weights * copies, graph * config.batch_size * graphs // len(some)


def slots(config: TrainConfig) -> int:
    """How many numbers the optimiser keeps for each parameter."""
    trial = nn.Linear(16, 16, bias=False)
    with torch.random.fork_rng(devices=[]):
        optimizer = make_optimizer(config, trial)
        trial.weight.grad = torch.ones_like(trial.weight)
        optimizer.step()
    kept = [v for v in optimizer.state[trial.weight].values() if isinstance(v, torch.Tensor)]
    return round(sum(v.numel() for v in kept) / trial.weight.numel())
