"""One look at one batch: its logits, gradients, edges and units, each computed once and shared.

Analyzers and penalties read the same object, so what is measured and what is trained against cannot
drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradlens._hooks import UnitHooks, full_float32, measuring
from gradlens._randomness import image_uniform
from gradlens._registry import edge_map, objective
from gradlens._types import Batch, UserError
from gradlens.objectives.logits import margin
from gradlens.objectives.probabilities import error_mass, loss

Images = Float[Tensor, "b c h w"]
Values = Float[Tensor, "b"]
Mode = Literal["value", "graph", "leaf"]
Result = TypeVar("Result")


class ScaledGradient(NamedTuple):
    """``direction · scale``, so that neither underflows: ``(B, C, H, W)`` as the model's, ``(B,)`` float64."""

    direction: Images
    scale: Values


class Probe:
    """What one model says and feels about one batch.

    mode ``value`` measures: evaluation mode, frozen parameters. ``graph`` keeps the graph, so a
    function of its gradients can be differentiated by the parameters. ``leaf`` hands each gradient
    out as a leaf whose own gradient is the direction a finite-difference engine steps along.
    ``needs`` names the units to record: ``units`` for every activation layer, ``units:NAME`` for one.
    Where it names the gradients to come (``gradient:loss``), the last of them frees the graph, which is
    faster; one that it does not name is then computed from a forward pass of its own.
    """

    def __init__(self, model: nn.Module, batch: Batch, mode: Mode = "value", seed: int = 0, needs: Iterable[str] = ()):
        if mode not in get_args(Mode):
            raise UserError(f"unknown probe mode '{mode}'; there are: value, graph, leaf")
        self.model, self.batch, self.mode, self.seed = model, batch, mode, seed
        self.needs = frozenset(needs)
        self._awaited = {n.removeprefix("gradient:") for n in self.needs if n.startswith("gradient:")}
        self._spent = False
        self._gradients: dict[str, Any] = {}
        self._kept: dict[Hashable, Any] = {}
        self._units: dict[str, Tensor] | None = None

    @cached_property
    def image(self) -> Images:
        """The input as the leaf that gradients are taken with respect to."""
        return self.batch.image.detach().requires_grad_()

    @cached_property
    def logits(self) -> Float[Tensor, "b k"]:
        """``(B, K)`` in the model's precision, attached to the image."""
        with ExitStack() as stack:
            if self.mode == "value":
                stack.enter_context(measuring(self.model))
            hooks = stack.enter_context(UnitHooks(self.model, self.needs))
            stack.enter_context(torch.enable_grad())
            logits = self.model(self.image)
            self._units = hooks.units
        return logits

    @cached_property
    def _logits64(self) -> Float[Tensor, "b k"]:
        return self.logits.detach().double()

    @cached_property
    def prediction(self) -> Int[Tensor, "b"]:
        """The class of the largest logit."""
        return self.logits.detach().argmax(1)

    @cached_property
    def target(self) -> Tensor:
        """The label; the prediction where the label is unknown."""
        return self.prediction if self.batch.target is None else self.batch.target

    @cached_property
    def correct(self) -> Bool[Tensor, "b"]:
        """Whether the prediction is the label."""
        return self.prediction == self.target

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

    def gradient(self, of: str = "loss") -> Images:
        """``grad[b] = ∂ objective_b / ∂ image_b``, ``(B, C, H, W)``, per unit pixel and signed.

        ``of`` is any registered objective. Values below 1e-38 underflow here, not in
        ``scaled_gradient``.
        """
        if self.mode == "value":
            direction, scale = self.scaled_gradient(of)
            return (direction * scale.view(-1, 1, 1, 1)).to(direction.dtype)
        if of not in self._gradients:
            self._gradients[of] = self._differentiated(of)
        return self._gradients[of]

    def scaled_gradient(self, of: str = "loss") -> ScaledGradient:
        """The gradient as a vector–Jacobian product of the shared forward pass.

        The objective's derivative with respect to the logits is formed in float64 and scaled to unit
        size for each image before the backward pass, which a confident image would underflow.
        """
        if of not in self._gradients:
            cotangent = self._cotangent(of)
            scale = cotangent.abs().amax(1)
            unit = cotangent / torch.where(scale > 0, scale, 1.0)[:, None]
            self._gradients[of] = ScaledGradient(self._pulled_back(of, unit), scale)
        return self._gradients[of]

    def edges(self, name: str = "canny", **parameters: float) -> Float[Tensor, "b 1 h w"]:
        """The images' edge map under a registered name, ``(B, 1, H, W)``."""
        key = ("edges", name, *sorted(parameters.items()))
        return self.once(key, lambda: edge_map.build(name)(self.batch.image, **parameters))

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What a detached computation gives, kept under its key for whoever asks this probe again."""
        if key not in self._kept:
            with torch.no_grad():
                self._kept[key] = compute()
        return self._kept[key]

    def units(self) -> dict[str, Float[Tensor, "b u"]]:
        """Spatial means of the recorded layers' outputs, ``{layer: (B, U)}``, in forward order."""
        if not any(need.startswith("units") for need in self.needs):
            raise UserError("this probe recorded no units; ask for them with Probe(…, needs=('units',))")
        _ = self.logits
        return self._units or {}

    def at(self, image: Images) -> Probe:
        """The same look at other pixels of the same label: attacked, corrupted, masked."""
        there = Batch(image.detach(), self.target, self.batch.index)
        return Probe(self.model, there, self.mode, self.seed, self.needs)

    def _differentiated(self, of: str) -> Images:
        """The gradient in the modes that train: with its graph, or as a leaf."""
        value, keep = self._value(of, self.logits), self.mode == "graph"
        (gradient,) = torch.autograd.grad(value.sum(), self.image, create_graph=keep, retain_graph=True)
        return gradient if keep else gradient.detach().requires_grad_()

    def _pulled_back(self, of: str, cotangent: Tensor) -> Images:
        """The vector–Jacobian product, freeing the graph with the last gradient that is awaited."""
        if self._spent:
            del self.logits
        last = self._awaited == {of}
        self._awaited.discard(of)
        with full_float32():
            vector = cotangent.to(self.logits.dtype)
            (product,) = torch.autograd.grad(self.logits, self.image, vector, retain_graph=not last)
        self._spent = last
        return product.contiguous()

    def _cotangent(self, of: str) -> Float[Tensor, "b k"]:
        with torch.enable_grad():
            logits = self._logits64.detach().requires_grad_()
            return torch.autograd.grad(self._value(of, logits).sum(), logits)[0]

    def _value(self, of: str, logits: Tensor) -> Values:
        draw = image_uniform(self.seed, self.batch.index, of).to(logits.device)
        return objective.build(of)(logits, self.target, draw)
