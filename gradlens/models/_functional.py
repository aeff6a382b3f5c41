"""Activations that a network calls as functions, replaced where they are called.

A module's class becomes a subclass of the same name, whose methods are the class's own with another
activation in the place of each call. Parameters, children and hooks stay, so it can be copied,
pickled, traced, compiled and distributed as before.
"""

from __future__ import annotations

import functools
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import Tensor, nn

from gradlens.models._activation_kinds import make_activation
from gradlens.models._rewriting import FUNCTIONS, CallsOf, calls_of


class Called:
    """An activation to be called where one of torch's functions was; in place where that was."""

    def __init__(self, spec: str):
        self.spec, self.activation = spec, make_activation(spec)

    def __call__(self, input: Tensor, *rest: Any, inplace: bool = False, **options: Any) -> Tensor:
        if inplace or any(r is True for r in rest):
            return self.in_place(input)
        # Its forward, since torch.fx refuses to call a module that is not the network's.
        return self.activation.forward(input)

    def in_place(self, input: Tensor, *rest: Any, **options: Any) -> Tensor:
        return input.copy_(self.activation.forward(input.clone()))


def called_activations(module: nn.Module) -> list[str]:
    """The activations that a module's forward calls as functions, by name: one for each place in its code."""
    kind, spec = _origin(module)
    return [spec or name for name in _sites(module, kind)] + list(_held(module).values())


def called_as_statements(module: nn.Module) -> set[str]:
    """The children that a module's forward calls without use of what they return."""
    kind, _ = _origin(module)
    return calls_of(kind).statements


def swapped_class(module: nn.Module, spec: str) -> type:
    """A class for a module whose forward calls another activation; its own class where it calls none."""
    kind, _ = _origin(module)
    return _replacing(kind, spec) if _sites(module, kind) else type(module)


def replace_calls(module: nn.Module, spec: str) -> int:
    """Put another activation in the place of those that a module's forward calls; returns the number of sites."""
    sites = len(called_activations(module))
    module.__class__ = swapped_class(module, spec)
    held = _held(module)
    vars(module).update({name: Called(spec) for name in held})
    if held and isinstance(module, nn.TransformerEncoderLayer):
        # Or its fast path would compute the activation that it was made with.
        module.activation_relu_or_gelu = 0
    return sites


def _sites(module: nn.Module, kind: type) -> list[str]:
    # A forward of its own, which somebody has put into the instance, hides the class's.
    return [] if "forward" in vars(module) else calls_of(kind).sites


@functools.cache
def _replacing(kind: type, spec: str) -> type:
    """A subclass of the same name with another activation in the place of those that the class calls."""
    named = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    methods = CallsOf(kind, Called(spec)).methods
    return type(kind.__name__, (kind,), {**named, **methods, "__reduce_ex__": _reduced, "_gradlens_swap": (kind, spec)})


def _origin(module: nn.Module) -> tuple[type, str | None]:
    """The class that a module was made from, and what has been swapped into it."""
    return getattr(type(module), "_gradlens_swap", (type(module), None))


def _reduced(self: nn.Module, protocol: int) -> tuple:
    """Pickled by the class it was made from, since the subclass has no name to be imported by."""
    return _restored, _origin(self), self.__getstate__()


def _restored(kind: type, spec: str) -> nn.Module:
    new: Any = _replacing(kind, spec)
    return new.__new__(new)


def _held(module: nn.Module) -> dict[str, str]:
    """The attributes of a module that are functions and activations, by name and kind."""
    kinds = {name: _kind(value) for name, value in vars(module).items()}
    return {name: kind for name, kind in kinds.items() if kind}


def _kind(value: Any) -> str | None:
    if isinstance(value, Called):
        return value.spec
    if not isinstance(value, FunctionType | BuiltinFunctionType):
        return None
    of_timm = (value.__module__ or "").startswith("timm.layers.activations") and "igmoid" not in value.__name__
    return FUNCTIONS.get(value) or (value.__name__.replace("_", "") if of_timm else None)
