"""Activations: those that can be asked for by name, and those that a network has, as modules or called as functions.

Functions are seen in a pass over blank images, by a mode of torch's own: no code is read, so decorators,
helpers and functions held in attributes are all alike.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import typed_parameters
from gradlens.core.types import UserError
from gradlens.models._classifier import Classifier
from gradlens.models.watching import is_activation, measuring

# A parent, the name of its child, and the child.
Place = tuple[nn.Module, str, nn.Module]


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
# Not relu6, softplus, sigmoid or tanh, which as functions are parts of gates and scales more often.
FUNCTIONS: dict[Any, str] = {
    getattr(home, name + tail): name.replace("_", "")
    for home in (F, torch, Tensor)
    for name in ("relu", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish")
    for tail in ("", "_")
    if hasattr(home, name + tail)
}
# Whose modules' own calls of these functions are not a network's.
LIBRARIES = ("torch.nn.modules.activation", "timm.layers.activations")
# Sides of the images that a network is tried with whose own is unknown; most take any.
SIDES = (32, 224, 64, 28, 16, 8, 48, 96, 128, 160, 256, 299, 336, 384, 448, 512)


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


def activation_names(model: nn.Module) -> tuple[str, ...]:
    """The kinds of a model's activations, modules and functions alike: ``("gelu", "softplus:alpha=10")``."""
    trial = tried(model)
    swapped = (origin(m)[1] for m in model.modules())
    modules = (kind_of(child) for _, _, child in module_sites(model))
    return tuple(sorted({*filter(None, swapped), *modules, *(trial.calls if trial else ())}))


def module_sites(model: nn.Module) -> Iterator[Place]:
    """Each place of an activation module, which may stand at several."""
    for parent in model.modules():
        # Not named_children, which leaves out the second place of a module that its parent holds twice.
        for name, child in parent._modules.items():
            # A GLU halves the channels, so nothing elementwise can stand in its place.
            if child is not None and is_activation(child) and not isinstance(child, nn.GLU):
                yield parent, name, child


def origin(module: nn.Module) -> tuple[type, str | None]:
    """The class that a module was made from, and what has been swapped into it."""
    return getattr(type(module), "_gradlens_swap", (type(module), None))


class CallsOfActivations(TorchFunctionMode):
    """Sees each function of torch that is an activation, unless a module of that kind calls it."""

    def called(self, caller: FrameType, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What is given back in its place."""
        raise NotImplementedError

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in FUNCTIONS and not _by_module(caller := _caller()):
            return self.called(caller, func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _caller() -> FrameType:
    """Who called the function that a mode sees: the first frame that is neither torch's dispatch nor ours."""
    frame: Any = sys._getframe(2)
    while frame.f_globals.get("__name__") in ("torch.overrides", "torch.nn.functional", __name__):
        frame = frame.f_back
    return frame


def _by_module(caller: FrameType) -> bool:
    """An activation module's own call: it was replaced as a module, or put there since, or is what replaces."""
    home = caller.f_globals.get("__name__", "")
    return caller.f_code.co_name == "forward" and home.startswith(LIBRARIES)


class Trial(CallsOfActivations):
    """Notes what a pass calls as functions, and whose results it drops though a module works in place."""

    def __init__(self, net: nn.Module):
        self.calls: list[str] = []
        self.dropped: list[tuple[str, str]] = []
        self._results: list[tuple[tuple[str, str], weakref.ref]] = []
        self._in_place = {c: (type(p).__name__, n) for p, n, c in module_sites(net) if getattr(c, "inplace", False)}

    def __enter__(self) -> Self:
        self._hooks = [module.register_forward_hook(self._remember) for module in self._in_place]
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.look()
        return super().__torch_function__(func, types, args, kwargs)

    def called(self, caller: FrameType, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        self.calls.append(FUNCTIONS[func])
        return func(*args, **kwargs)

    def look(self) -> None:
        """A result that is gone before anything else is computed was not used by anybody."""
        self.dropped += [place for place, result in self._results if result() is None]
        self._results.clear()

    def _remember(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        # In place it returns its input, which lives on; a copy is what a new module will return.
        result = output.clone()
        self._results.append((self._in_place[module], weakref.ref(result)))
        return result


def tried(model: nn.Module, channels: int | None = None) -> Trial | None:
    """A pass over images of the first side that the network takes; None where none of the usual fits.

    channels: as many only; else 3, or what a network takes whose first convolution is of others.

    On torch's meta device, which computes nothing and needs no memory; for real where a forward looks
    at values. Training comes first, since some heads only run there. The network stays as it was.
    """
    net = unwrapped(model)
    # A pass would give lazy layers the shape of these images, and compile what is to be compiled.
    if any(is_lazy(t) for t in (*net.parameters(), *net.buffers())) or any(map(_is_compiled, net.modules())):
        return None
    # A network of timm says which images it takes.
    own = (getattr(net, "pretrained_cfg", None) or {}).get("input_size", ())
    sides = dict.fromkeys((*own[-1:], *SIDES))
    first = next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3)
    counts = (channels,) if channels else dict.fromkeys((3, first))
    shapes = [(count, side, side) for count in counts for side in sides]
    tries = [(meta, shape, training) for meta in (True, False) for shape in shapes for training in (True, False)]
    return next(filter(None, (_try(net, *how) for how in tries)), None)


def _is_compiled(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule) or module._compiled_call_impl is not None


def _try(net: nn.Module, meta: bool, shape: tuple[int, ...], training: bool) -> Trial | None:
    trial = Trial(net)
    # Each module once: functional_call would leave its stand-ins in one that has two names.
    own = {f"{n}.{k}".lstrip("."): t for n, m in net.named_modules() for k, t in (m._parameters | m._buffers).items()}
    held = {name: t for name, t in own.items() if t is not None}
    like = next((t for t in held.values() if t.is_floating_point()), torch.empty(0))
    device = torch.device("meta") if meta else like.device
    # Buffers are copied too, since a pass in training moves the statistics of a BatchNorm.
    state = {name: t.to(device, copy=not isinstance(t, nn.Parameter)) for name, t in held.items()}
    quiet, caller = warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[])
    try:
        with quiet, caller, measuring(net), torch.no_grad(), trial:
            net.train(training)
            images = torch.full((2, *shape), 0.5, dtype=like.dtype, device=device)
            output = functional_call(net, state, (images,), tie_weights=False)
            trial.look()
            del output
    except Exception:  # a user's forward may raise anything at images that it was not made for
        return None
    return trial


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself: what is around it may call it in other threads, or under torch.compile."""
    if isinstance(model, Classifier):
        return unwrapped(model.net)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    inner = getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model
