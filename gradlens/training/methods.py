"""What a batch adds to the gradients: the loss at the images, at attacked or noisy ones, or at both, and a penalty.

Attacks see the network in evaluation mode (BatchNorm by its running statistics) with frozen weights, in the
precision of training, and start anew in every epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import typed_parameters
from gradlens.core.seeds import image_uniform
from gradlens.core.surroundings import full_float32
from gradlens.core.types import Batch, UserError
from gradlens.data import Data
from gradlens.data.batches import Batches
from gradlens.probes.attacks import attack
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe
from gradlens.training.config import TrainConfig
from gradlens.training.engines import StepStats, make_engine, plain_step
from gradlens.training.penalties import choose_penalty

EPS = 4 / 255
# How many training images a penalty learns from that does.
SHOWN = 256


class Moment(NamedTuple):
    """When in training: the epoch with its fraction, and the seed of what is drawn in it."""

    epoch: float
    seed: int


Place = Callable[[nn.Module, Batch, Moment], Batch]


def natural(model: nn.Module, batch: Batch, moment: Moment) -> Batch:
    """The images as they are."""
    return batch


def pgd(
    model: nn.Module,
    batch: Batch,
    moment: Moment,
    eps: float = EPS,
    steps: int = 3,
    step_size: float | None = None,
    norm: str = "linf",
    random_start: bool = True,
    keep_worst: bool = False,
    warmup: float = 0.0,
) -> Batch:
    """PGD adversarial training (Madry et al. 2018); the step grows to its size over ``warmup`` epochs."""
    size = (2.5 * eps / max(steps, 1) if step_size is None else step_size) * _grown(moment.epoch, warmup)
    where = {"norm": norm, "random_start": random_start, "keep_worst": keep_worst}
    steps_of = {"eps": eps, "steps": steps, "step_size": size}
    return _attacked("pgd", model, batch, moment, **steps_of, **where)  # type: ignore[arg-type]


def fgsm(
    model: nn.Module,
    batch: Batch,
    moment: Moment,
    eps: float = EPS,
    step_size: float | None = None,
    random_start: bool = True,
) -> Batch:
    """Fast adversarial training (Wong et al. 2020), a step of 1.25 eps from noise; collapses when trained long."""
    return _attacked("fgsm", model, batch, moment, eps=eps, step_size=step_size, random_start=random_start)


def noise(model: nn.Module, batch: Batch, moment: Moment, eps: float = 2 / 255) -> Batch:
    """Uniform noise of up to eps a pixel: whether leaving the images is what matters, without an attack."""
    check_radius(eps)
    uniform = image_uniform(moment.seed, batch.index, "training/noise", batch.image.shape[1:]).to(batch.image)
    return Batch((batch.image + (2 * uniform - 1) * eps).clamp(0, 1), batch.target, batch.index)


PLACES: dict[str, Place] = {f.__name__: f for f in (natural, pgd, fgsm, noise)}


def trades_step(
    model: nn.Module,
    batch: Batch,
    moment: Moment,
    loss_weight: float,
    eps: float = EPS,
    steps: int = 10,
    step_size: float | None = None,
    beta: float = 6.0,
) -> StepStats:
    """``CE(x) + β KL(p(x) ‖ p(x'))``, x' where the divergence is largest in the ball (Zhang et al. 2019)."""
    check_radius(eps)
    with full_float32():
        probabilities = Probe(model, batch).logits.detach().softmax(1)
        # Its cross-entropy is the divergence up to a constant.
        soft = Batch(batch.image, probabilities, batch.index)
        there = pgd(model, soft, moment, eps, steps, step_size)
        clean, moved = model(batch.image), model(there.image)
        ce = loss(clean, batch.target).mean()
        divergence = _divergence(clean, moved)
        (loss_weight * (ce + beta * divergence)).backward()
    return StepStats(float(ce.detach()), float(divergence.detach()), "trades")


class Objective:
    """What a batch adds to the parameters' ``.grad``: the method's loss and the penalty, in their weights.

    It has the state of its engine, which a resumed run goes on with.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.penalty = choose_penalty(config.penalty) if config.penalty else None
        self.engine = make_engine(config.engine)
        self._trades = parse_spec(config.method)[0] == "trades"
        self._method = _chosen(config.method, {"trades": trades_step} if self._trades else PLACES)
        if self._trades and self.penalty:
            raise UserError("trades has a second term of its own; train with --penalty on natural, pgd, fgsm or noise")

    def fit(self, model: nn.Module, data: Data) -> None:
        """Show a penalty that learns from them some training images, the same in every process and after a resume."""
        if self.penalty is None or not self.penalty.fits:
            return
        some = Batches(data.limit(SHOWN), self.config.batch_size)
        for k in range(len(some)):
            if (batch := some[k][1]) is not None:
                self.penalty.fit(Probe(model, batch.to(next(model.parameters()).device)))

    def weight(self, epoch: float) -> float:
        """The penalty's weight after that many epochs."""
        return self.config.weight * self.penalty.ramp.at(epoch) if self.penalty else 0.0

    def __call__(self, model: nn.Module, batch: Batch, moment: Moment) -> StepStats:
        share = 1 / self.config.accumulate
        loss_weight = share * self.config.loss_weight
        if self._trades:
            return self._method(model, batch, moment, loss_weight)
        there = self._method(model, batch, moment)
        if self.penalty is None:
            return plain_step(model, there, loss_weight)
        weight = share * self.weight(moment.epoch)
        return self.engine(model, there, self.penalty, weight, loss_weight=loss_weight, seed=moment.seed)

    def state_dict(self) -> dict[str, Any]:
        return getattr(self.engine, "state_dict", dict)()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.engine.load_state_dict(state)  # type: ignore[attr-defined]


def choose_place(spec: str) -> Place:
    """``pgd:eps=8/255,steps=10`` → where the loss is taken."""
    return _chosen(spec, PLACES)


def check_radius(eps: float) -> None:
    if not 0 <= eps <= 1:
        raise UserError(f"eps is {eps:g}; wanted a radius in pixels of [0, 1], such as 4/255")


def _chosen(spec: str, known: dict[str, Callable]) -> Callable:
    name, text = parse_spec(spec)
    if name not in known:
        raise UserError(unknown("method", name, [*PLACES, "trades"]))
    parameters = typed_parameters(known[name], text, f"method '{name}'")
    check_radius(parameters.get("eps", EPS))
    if (steps := parameters.get("steps", 0)) < 0:
        raise UserError(f"an attack of {steps} steps is none; give at least 1")
    return partial(known[name], **parameters)


def _attacked(name: str, model: nn.Module, batch: Batch, moment: Moment, **options: float | str | None) -> Batch:
    probe = Probe(model, batch, seed=moment.seed, needs=("gradient:loss",))
    found = attack(probe, name, **options)  # type: ignore[arg-type]
    return Batch(found.batch.image, batch.target, batch.index)


def _grown(epoch: float, warmup: float) -> float:
    return min(1.0, epoch / warmup) if warmup else 1.0


def _divergence(clean: Tensor, moved: Tensor) -> Tensor:
    p, q = torch.log_softmax(clean, 1), torch.log_softmax(moved, 1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True)
