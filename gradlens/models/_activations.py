from __future__ import annotations

from collections.abc import Callable

from torch import nn

from gradlens._hooks import is_activation
from gradlens._registry import unknown
from gradlens._types import UserError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "mish": nn.Mish,
}


def swap_activations(model: nn.Module, to: str) -> int:
    """Replace every activation module by another, in place; returns the number of sites.

    to: relu, gelu, silu, softplus, elu, celu or mish. Each site gets its own instance, never in
    place, also where the model shared one. A model without an activation module is an error.
    """
    if to not in ACTIVATIONS:
        raise UserError(unknown("activation", to, ACTIVATIONS))
    sites = 0
    for parent in model.modules():
        # Not named_children, which leaves out the second place of a module that its parent holds twice.
        for name, child in parent._modules.items():
            if child is not None and is_activation(child):
                setattr(parent, name, ACTIVATIONS[to]().train(child.training))
                sites += 1
    if sites == 0:
        raise UserError(
            f"found no activation module in {type(model).__name__} to swap for {to}; give its "
            "activations as modules (nn.ReLU) instead of functions (F.relu)"
        )
    return sites


def activation_names(model: nn.Module) -> tuple[str, ...]:
    """The kinds of activation modules in a model, in lower case."""
    return tuple(sorted({type(m).__name__.lower() for m in model.modules() if is_activation(m)}))
