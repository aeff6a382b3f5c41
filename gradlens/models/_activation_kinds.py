"""The activations that can be asked for by name, and the name of one that is there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import typed_parameters
from gradlens.core.types import UserError


class SmoothReLU(nn.Module):
    """``x − log(αx + 1) / α`` for x ≥ 0, else 0 (Xie et al. 2020): a continuous derivative, ReLU as α → ∞.

    alpha is fixed; the paper's code learns one for each layer, from 400.
    """

    alpha: float

    def __init__(self, alpha: float = 400.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        above = x.clamp(min=0)
        return above - torch.log1p(self.alpha * above) / self.alpha

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


def softplus(alpha: float = 1.0) -> nn.Softplus:
    """``log(1 + exp(αx)) / α``; smooth adversarial training uses α = 10."""
    return nn.Softplus(beta=alpha)


def elu(alpha: float = 1.0) -> nn.ELU:
    """``α (exp(x) − 1)`` below zero; its derivative is continuous for α = 1 only."""
    return nn.ELU(alpha)


def celu(alpha: float = 1.0) -> nn.CELU:
    """``α (exp(x / α) − 1)`` below zero; its derivative is continuous for every α."""
    return nn.CELU(alpha)


ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": softplus,
    "elu": elu,
    "celu": celu,
    "smoothrelu": SmoothReLU,
    "mish": nn.Mish,
}
PARAMETRIC = {"softplus": "beta", "elu": "alpha", "celu": "alpha", "smoothrelu": "alpha"}


def make_activation(spec: str) -> nn.Module:
    """A new activation from ``gelu`` or ``softplus:alpha=10``."""
    name, text = parse_spec(spec)
    if name not in ACTIVATIONS:
        raise UserError(unknown("activation", name, ACTIVATIONS))
    if text and name not in PARAMETRIC:
        raise UserError(f"activation '{name}' has no parameters, found '{spec}'; write {name}")
    parameters = typed_parameters(ACTIVATIONS[name], text, f"activation '{name}'")
    if not all(0 < value < torch.inf for value in parameters.values()):
        raise UserError(f"activation '{spec}' needs a positive alpha; write {name}:alpha=1")
    return ACTIVATIONS[name](**parameters)


def kind_of(activation: nn.Module) -> str:
    """What ``make_activation`` makes it from, for those it knows; else its class in lower case."""
    name = type(activation).__name__.lower()
    if name not in PARAMETRIC:
        return name
    alpha, default = (getattr(a, PARAMETRIC[name]) for a in (activation, ACTIVATIONS[name]()))
    return name if alpha == default else f"{name}:alpha={alpha!r}".removesuffix(".0")
