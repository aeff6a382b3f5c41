"""What one forward pass of a model says about a batch: logits, losses, predictions, units."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import cached_property
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradlens.core.seeds import image_uniform
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import Batch, UserError
from gradlens.models.watching import UnitHooks, measuring, random_states, set_random_states, untouched
from gradlens.probes.objectives import evaluate
from gradlens.probes.objectives.logits import error_mass, loss, margin

Images = Float[Tensor, "b c h w"]
Values = Float[Tensor, "b"]
Mode = Literal["value", "graph", "leaf"]


class Forward:
    """One model at one batch, run once, on first use. The modes are those of ``Probe``."""

    def __init__(self, model: nn.Module, batch: Batch, mode: Mode = "value", seed: int = 0, needs: Iterable[str] = ()):
        if mode not in get_args(Mode):
            raise UserError(f"unknown probe mode '{mode}'; there are: value, graph, leaf")
        self.model, self.batch, self.mode, self.seed = model, batch, mode, seed
        self.needs = frozenset(needs)
        self._units: dict[str, Tensor] | None = None
        self._ran = model
        self._rectified: dict[str, Tensor] = {}
        self._first: Forward | None = None
        self._random: dict[torch.device, Tensor] = {}

    @cached_property
    def image(self) -> Images:
        """The input as the leaf that gradients are taken with respect to."""
        image = self.batch.image
        return (image.clone() if image.is_inference() else image.detach()).requires_grad_()

    @property
    def network(self) -> nn.Module:
        """What the forward pass runs: the model, or in a session a faster copy of it."""
        return self.model

    @cached_property
    def logits(self) -> Float[Tensor, "b k"]:
        """``(B, K)`` in the model's precision, attached to the image."""
        with ExitStack() as stack:
            if self.mode == "value":
                stack.enter_context(undisturbed())
            network = self.network
            if self.mode == "value":
                stack.enter_context(measuring(network))
            elif self._first is not None:
                # Of a network in training the same one: the same units dropped, and statistics that hear of one batch.
                _ = self._first.logits
                stack.enter_context(untouched(network))
                set_random_states(self._first._random)
            else:
                self._random = random_states(network)
            hooks = stack.enter_context(UnitHooks(network, self.needs))
            stack.enter_context(torch.enable_grad())
            logits = network(self.image)
            self._ran, self._units, self._rectified = network, hooks.units, hooks.rectified
        return logits

    @cached_property
    def _logits64(self) -> Float[Tensor, "b k"]:
        return self.logits.detach().double()

    @cached_property
    def prediction(self) -> Int[Tensor, "b"]:
        """The class of the largest logit; none that counts where ``predicted`` is false."""
        return self.logits.detach().argmax(1)

    @cached_property
    def predicted(self) -> Bool[Tensor, "b"]:
        """Whether there is a prediction: the largest logit is a finite number, and no logit is NaN."""
        return self.logits.detach().amax(1).isfinite()

    @cached_property
    def target(self) -> Tensor:
        """The label; the prediction where the label is unknown."""
        label = self.batch.target
        if label is None:
            return self.prediction
        # In training all labels are known, and may be soft. Asking waits for the device, and saves a forward pass
        # where nothing else needs one.
        if self.mode != "value" or label.ndim > 1 or bool(self.known.all()):
            return label
        return torch.where(self.known, label, self.prediction)

    @cached_property
    def known(self) -> Bool[Tensor, "b"]:
        """Whether an image has a label: −1 is none, and a soft one ``(B, K)`` is one."""
        label = self.batch.target
        if label is None:
            return torch.zeros_like(self.predicted)
        return label >= 0 if label.ndim == 1 else label.new_ones(len(label), dtype=torch.bool)

    @cached_property
    def correct(self) -> Bool[Tensor, "b"]:
        """Whether the prediction is the label; not so where there is none."""
        return self.predicted & (self.prediction == self.target)

    @cached_property
    def loss(self) -> Values:
        """Cross-entropy of each image in nats; float64 and detached in mode ``value``."""
        if self.mode == "value":
            return loss(self._logits64, self.target)
        return loss(self.logits, self.target)

    @cached_property
    def error_mass(self) -> Values:
        """``1 − p_y``, float64, without cancellation."""
        return error_mass(self._logits64, self.target)

    @cached_property
    def margin(self) -> Values:
        """``f_y − max_{k≠y} f_k``, float64."""
        return margin(self._logits64, self.target)

    @cached_property
    def confidence(self) -> Values:
        """The largest probability, float64."""
        return self._logits64.softmax(1).amax(1)

    def value(self, of: str = "loss") -> Values:
        """The objective whose gradient ``gradient(of)`` is, float64 and detached."""
        return self._value(of, self._logits64)

    def units(self) -> dict[str, Float[Tensor, "b u"]]:
        """Spatial means of the recorded layers' outputs, ``{layer: (B, U)}``, in forward order."""
        if not any(need.startswith("units") for need in self.needs):
            raise UserError("this probe recorded no units; ask for them with Probe(…, needs=('units',))")
        _ = self.logits
        return self._units or {}

    def rectified_units(self) -> dict[str, Float[Tensor, "b u"]]:
        """``units`` of the layers that go below zero, negative values set to zero before the mean over space, detached.

        Recorded beside ``units`` where the probe's needs name ``rectified``.
        """
        _ = self.logits
        return self._rectified

    def _value(self, of: str, logits: Tensor) -> Values:
        draw = lambda: image_uniform(self.seed, self.batch.index, of).to(logits.device)  # noqa: E731
        return evaluate(of, logits, self.target, draw)
