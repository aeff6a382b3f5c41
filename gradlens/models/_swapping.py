"""Swapping a network's activations: modules where they stand, functions while its forward runs."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import FrameType
from typing import Any

import torch
from torch import nn

from gradlens.core.stated import by_user
from gradlens.core.types import UserError
from gradlens.models._activations import (
    FUNCTIONS,
    CallsOfActivations,
    Place,
    make_activation,
    module_sites,
    origin,
    tried,
    unwrapped,
)
from gradlens.models._classifier import Classifier, ModelCard


def swap_activations(model: nn.Module, to: str = "gelu") -> int:
    """Replace every activation by another, in place; returns the number of sites.

    to: relu, gelu, silu, softplus, elu, celu, smoothrelu or mish; those with a parameter also as
    ``softplus:alpha=10``. A site is each place of an elementwise activation module of torch or timm,
    also of a shared one, one inside another layer, or a hard variant such as Hardswish; and each call
    of one as a function in a forward pass: ``F.relu(x)``, ``torch.relu(x)``, ``x.relu_()``. Parameters
    keep their names, except that a PReLU takes its own away. Modules are replaced by ones that are not
    in place; a function that was still writes into its argument. Gates stay: sigmoids, and as functions
    relu6, softplus and tanh, which are mostly part of one.

    Functions are caught while the model's own forward runs, not in a part of it that is called alone.
    Not reached: activations written out as arithmetic (``x * torch.sigmoid(x)``, ``x.clamp(min=0)``)
    and calls inside functions of ``torch.jit.script``. Units are recorded at activation modules, not at
    functions. The card of a ``Classifier`` follows.

    A network without a site raises UserError; so does one of TorchScript modules, one that calls an
    in-place module as a statement, and, once it runs, one that calls a function under activation
    checkpointing, whose second pass would not see the swap.
    """
    make_activation(to)
    before = {m: type(m) for m in model.modules() if origin(m)[1]}
    try:
        for module in before:
            module.__class__ = origin(module)[0]
        calls, places = _sites(model, to)
    except UserError:
        for module, swapped in before.items():
            module.__class__ = swapped
        raise
    for parent, name, child in places:
        setattr(parent, name, make_activation(to).train(child.training))
    # Where no pass could be tried, there may be calls for all we know.
    if calls is None or calls:
        net = unwrapped(model)
        kind: Any = type(net)
        net.__class__ = _swapping(kind, to)
    sites = len(places) + (calls or 0)
    if isinstance(model, Classifier):
        model.card = _told(model.card, to, sites)
    return sites


def _told(card: ModelCard, to: str, sites: int) -> ModelCard:
    """A card that opens the same model again."""
    options = card.options and {**card.options, "activation": to}
    notes = (*card.notes, f"{sites} activations swapped for {to}")
    return replace(card, activation=to, options=options, notes=notes, stated={**card.stated, "activation": by_user(to)})


def _sites(model: nn.Module, to: str) -> tuple[int | None, list[Place]]:
    """How many functions a pass calls, None where none could be tried, and the places of modules; or why not."""
    kind, places, trial = type(model).__name__, list(module_sites(model)), tried(model)
    if scripted := next((m for m in model.modules() if isinstance(m, torch.jit.ScriptModule)), None):
        raise UserError(
            f"{kind} holds TorchScript ({scripted.original_name}), in which activations cannot be swapped; give the "
            "network it was made from"
        )
    if trial and trial.dropped:
        parent, name = trial.dropped[0]
        raise UserError(
            f"{parent} calls self.{name}(x) without using what it returns, since it works in place; write "
            f"x = self.{name}(x)"
        )
    if not places and not (trial and trial.calls):
        calls = "no call of one such as F.relu" if trial else "images of no usual size fit it, to see calls of F.relu"
        raise UserError(
            f"found no activation module in {kind} to swap for {to}, and {calls}; give its activations as modules "
            "(nn.ReLU)"
        )
    return len(trial.calls) if trial else None, places


class _Swap(CallsOfActivations):
    """Calls another activation in the place of torch's functions; in place where those were."""

    def __init__(self, to: str):
        self.activation = make_activation(to)

    def called(self, caller: FrameType, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        _check_not_recomputed(caller, FUNCTIONS[func])
        x = args[0] if args else kwargs["input"]
        in_place = func.__name__.endswith("_") or kwargs.get("inplace") or any(a is True for a in args[1:])
        # Its forward, since torch.fx refuses to call a module that is not the network's.
        return x.copy_(self.activation.forward(x.clone())) if in_place else self.activation.forward(x)


@functools.cache
def _swapping(kind: Any, to: str) -> type:
    """A subclass of the same name whose forward runs under the swap, wherever it is copied, pickled or called from.

    A mode is entered a thread and a call at a time, so replicas and second passes of the whole have it too.
    """
    mode = _Swap(to)

    @functools.wraps(kind.forward)
    def under_swap(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with mode:
            return kind.forward(self, *args, **kwargs)

    named = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = {"forward": under_swap, "__reduce_ex__": _reduced, "_gradlens_swap": (kind, to)}
    return type(kind.__name__, (kind,), {**named, **own})


def _reduced(self: nn.Module, protocol: int) -> tuple:
    """Pickled by the class it was made from, since the subclass has no name to be imported by."""
    return _restored, origin(self), self.__getstate__()


def _restored(kind: type, to: str) -> nn.Module:
    new: Any = _swapping(kind, to)
    return new.__new__(new)


def _check_not_recomputed(caller: FrameType, name: str) -> None:
    """A checkpoint calls its part again in the backward pass, where the swap is no longer entered."""
    frame: FrameType | None = caller
    # Outside the swapped forward a checkpoint calls all of it again, swap and all.
    while frame and frame.f_code.co_name != "under_swap":
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            raise UserError(
                f"{name} is called as a function under activation checkpointing, whose second pass would not see "
                "that it was swapped; call set_grad_checkpointing(False), or give it as a module (nn.ReLU)"
            )
        frame = frame.f_back
