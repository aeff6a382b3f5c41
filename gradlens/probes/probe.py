"""One look at one batch: its logits, gradients, edges and units, each computed once and shared.

Analyzers and penalties read the same object, so what is measured and what is trained against cannot
drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradlens.core.memory import bytes_of, graph_bytes
from gradlens.core.numbers import amount
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import Batch, UserError
from gradlens.models.watching import measuring
from gradlens.probes.edges import edge_map_of
from gradlens.probes.forward import Forward, Images, Mode, Values

Result = TypeVar("Result")
# Rather than typing.Self, which jaxtyping's import hook cannot check.
Own = TypeVar("Own", bound="Probe")


class ScaledGradient(NamedTuple):
    """``direction · scale``, so that neither underflows: ``(B, C, H, W)`` as the model's, ``(B,)`` float64."""

    direction: Images
    scale: Values


class Probe(Forward):
    """What one model says and feels about one batch.

    mode ``value`` measures: evaluation mode, frozen parameters. ``graph`` keeps the graph, so a
    function of its gradients can be differentiated by the parameters. ``leaf`` hands each gradient
    out as a leaf whose own gradient is the direction a finite-difference engine steps along.
    ``needs`` names the units to record: ``units`` for every activation layer, ``units:NAME`` for one.
    Where it names the gradients to come (``gradient:loss``), the last of them frees the graph, which is
    faster; one that it does not name is then computed from a forward pass of its own.

    Everything is kept until the probe goes, a ``with`` block ends or ``free`` is called; ``held`` says
    how much that is.
    """

    def __init__(self, model: nn.Module, batch: Batch, mode: Mode = "value", seed: int = 0, needs: Iterable[str] = ()):
        super().__init__(model, batch, mode, seed, needs)
        self.free()

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
            last = self._awaited == {of}
            self._awaited.discard(of)
            self._gradients[of] = ScaledGradient(self.pulled_back(unit, last), scale)
        return self._gradients[of]

    def edges(self, name: str = "canny", **parameters: float) -> Float[Tensor, "b 1 h w"]:
        """The images' edge map under a registered name, ``(B, 1, H, W)``."""
        key = ("edges", name, *sorted(parameters.items()))
        return self.once(key, lambda: edge_map_of(self.batch.image, name, **parameters))

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What a detached computation gives, kept under its key for whoever asks this probe again."""
        if key not in self._kept:
            with torch.no_grad():
                self._kept[key] = compute()
        return self._kept[key]

    def at(self, image: Tensor) -> Probe:
        """The same look at other pixels ``(B, C, H, W)`` of the same label: attacked, masked, edited by hand.

        The true outlines stay where the size does.
        """
        if not isinstance(image, Tensor) or image.ndim != 4:
            found = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else f"a {type(image).__name__}"
            raise UserError(f"other pixels are {found}; wanted a tensor like probe.batch.image (B, C, H, W)")
        outline = self.batch.outline
        if outline is not None and outline.shape[2:] != image.shape[2:]:
            outline = None
        look = self._look_at(Batch(image.detach(), self.target, self.batch.index, outline))
        look._first = self._first or self
        return look

    def with_map(self, values: Images, of: str = "loss") -> Probe:
        """The same look with another map, ``(B, C, H, W)``, in the place of a gradient: what analyzers then measure.

        Such as an attribution's; of one channel, or of as many as the images.
        """
        image = self.batch.image
        fits = values.ndim == 4 and values.shape[1] in (1, image.shape[1])
        if not fits or (len(values), *values.shape[2:]) != (len(image), *image.shape[2:]):
            raise UserError(
                f"a map of shape {tuple(values.shape)} is none of images {tuple(image.shape)}; enlarge a layer's with "
                "torch.nn.functional.interpolate"
            )
        look = self._look_at(self.batch)
        look._gradients[of] = ScaledGradient(values.detach(), values.new_ones(len(values), dtype=torch.float64))
        return look

    @property
    def held(self) -> dict[str, int]:
        """The bytes that it keeps, by what they are: images, graph, gradients, edges and other maps."""
        own = [self.batch.image, *self._ran.parameters(), *self._ran.buffers()]
        graph = graph_bytes(vars(self)["logits"], own) if "logits" in vars(self) else 0
        kept = {"graph": graph, "gradients": bytes_of(self._gradients), "maps": bytes_of(self._kept)}
        return {"images": bytes_of(self.batch.image), **{name: size for name, size in kept.items() if size}}

    def free(self) -> None:
        """Let go of all but the images; what is asked for afterwards is computed anew."""
        for name in [n for n in vars(self) if isinstance(getattr(type(self), n, None), cached_property)]:
            delattr(self, name)
        self._awaited = {n.removeprefix("gradient:") for n in self.needs if n.startswith("gradient:")}
        self._spent, self._units = False, None
        self._gradients: dict[str, Any] = {}
        self._kept: dict[Hashable, Any] = {}

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *exception: object) -> None:
        self.free()

    def __repr__(self) -> str:
        name = getattr(getattr(self.model, "card", None), "name", type(self.model).__name__)
        count, *shape = self.batch.image.shape
        held = ", ".join(f"{what} {amount(size)}" for what, size in self.held.items())
        images = f"{count} image{'s' * (count != 1)} {' × '.join(map(str, shape))}"
        return f"<Probe of {name}: {images}; keeps {held}>"

    def _look_at(self, batch: Batch) -> Probe:
        """A plain look, also of one that was made otherwise, such as an engine's leaf."""
        return Probe(self.model, batch, self.mode, self.seed, self.needs)

    def _differentiated(self, of: str) -> Images:
        """The gradient in the modes that train: with its graph, or as a leaf."""
        value, keep = self._value(of, self.logits), self.mode == "graph"
        (gradient,) = torch.autograd.grad(value.sum(), self.image, create_graph=keep, retain_graph=True)
        return gradient if keep else gradient.detach().requires_grad_()

    def pulled_back(self, cotangent: Tensor, last: bool = False) -> Images:
        """The vector–Jacobian product of one on the logits, ``(B, K)``; the last one frees the graph."""
        if self._spent:
            del self.logits
        if not self.logits.requires_grad:
            raise UserError(
                "the model has no gradient: its logits are detached from the images (detach, no_grad, argmax, another "
                "framework on the way); leave the gradients' measures out, or attack it with square"
            )
        # What is computed again under activation checkpointing must be what the forward pass was.
        with measuring(self._ran):
            vector = cotangent.to(self.logits.dtype)
            try:
                (product,) = torch.autograd.grad(self.logits, self.image, vector, retain_graph=not last)
            except RuntimeError as error:
                if "use_reentrant" not in str(error):
                    raise
                product, last = self._accumulated(vector), True
        self._spent = last
        return product.contiguous()

    def _accumulated(self, vector: Tensor) -> Images:
        """The product of a pass of its own, where a reentrant checkpoint lets nothing but ``backward`` through."""
        del self.logits
        self.logits.backward(vector)
        product, self.image.grad = self.image.grad, None
        assert product is not None
        return product

    def _cotangent(self, of: str) -> Float[Tensor, "b k"]:
        with undisturbed():
            # Not the kept ones, which may have been made under inference_mode.
            logits = self.logits.detach().double().requires_grad_()
            return torch.autograd.grad(self._value(of, logits).sum(), logits)[0]
