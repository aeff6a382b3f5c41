"""What stands in the way of a gradient penalty, found before training and told with its remedy."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradlens.core.types import Batch
from gradlens.training.engines._checked import penalty_gradient
from gradlens.training.engines._finite_difference import FiniteDifference
from gradlens.training.engines._step import Engine, Penalty, double_backward

IMAGES = 4


class Preflight(NamedTuple):
    """What stands in the way of a gradient penalty, and what was found but can be lived with; a line each."""

    obstacles: list[str]
    notes: list[str]


def training_preflight(
    model: nn.Module, batch: Batch, penalty: Penalty, engine: str = "finite_difference"
) -> Preflight:
    """Look for what cannot be differentiated twice, and try one step on four images.

    Call it in the autocast and mode of training; the model and all random numbers stay as they were.
    """
    obstacles = [*_compiled(model), *_short_precision(model, batch, engine)]
    if obstacles:
        return Preflight(obstacles, [])
    some = batch[slice(0, IMAGES)]
    with _Calls("scaled_dot_product_attention") as attention:
        exact = _failure(double_backward, model, some, penalty)
    notes = _fused_attention(attention.count, engine)
    if engine == "double_backward":
        return Preflight([f"{cause}; {remedy}" for cause, remedy in exact], notes)
    obstacles = [f"{cause}; {remedy}" for cause, remedy in _failure(FiniteDifference(), model, some, penalty)]
    if not obstacles:
        notes += [f"{cause}; finite differences cannot be checked against double backward" for cause, _ in exact]
    return Preflight(obstacles, notes)


def _compiled(model: nn.Module) -> list[str]:
    found = [
        name or "the model"
        for name, module in model.named_modules()
        # Not by its class, whose import takes seconds.
        if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None
    ]
    remedy = "its graphs have no second derivative and hide their branches; train the module as it was before"
    return [f"{found[0]} is compiled by torch.compile: {remedy}"] if found else []


def _short_precision(model: nn.Module, batch: Batch, engine: str) -> list[str]:
    stored, device = {p.dtype for p in model.parameters()}, batch.image.device.type
    computed = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    if torch.float16 in {*stored, computed}:
        return ["float16 loses the gradients of confident images; train in float32, or under bfloat16 autocast"]
    if torch.bfloat16 in stored:
        return ["the parameters are bfloat16, which small updates are lost in; keep them float32 and use autocast"]
    if computed == torch.bfloat16 and engine == "finite_difference":
        return ["bfloat16 is coarser than a finite difference; train in float32, or with the engine double_backward"]
    return []


def _fused_attention(calls: int, engine: str) -> list[str]:
    where = "each step" if engine == "double_backward" else "each check"
    line = f"fused attention ({calls} calls) has no second derivative; {where} runs it on torch's math backend"
    return [line] if calls else []


def _failure(engine: Engine, model: nn.Module, batch: Batch, penalty: Penalty) -> list[tuple[str, str]]:
    """Why one step is not possible and what to do about it, or nothing."""
    try:
        penalty_gradient(engine, model, batch, penalty)
    except RuntimeError as error:
        return [_translated(str(error).partition("\n")[0], model)]
    return []


def _translated(message: str, model: nn.Module) -> tuple[str, str]:
    other = "swap it for another, or use the engine finite_difference"
    if "modified by an inplace operation" in message:
        names = [name for name, module in model.named_modules() if getattr(module, "inplace", False)]
        where = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
        return (
            f"an activation in place{where} overwrites what the gradient needs",
            "use inplace=False or swap_activations",
        )
    if "derivative for" in message and "is not implemented" in message:
        operation = message.partition("derivative for ")[2].partition(" ")[0]
        return f"{operation.removeprefix('aten::').removesuffix('_backward')} has no second derivative", other
    if "once_differentiable" in message:
        return "a custom autograd function is marked once_differentiable", other
    if "checkpoint" in message:
        return "gradient checkpointing does not know the second pass", "call model.set_grad_checkpointing(False)"
    return f"a penalised step fails: {message}", "train without the penalty, or use the other engine"


class _Calls(TorchFunctionMode):
    """Counts the calls of a function by its name."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.count = name, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") == self.name
        return func(*args, **(kwargs or {}))
