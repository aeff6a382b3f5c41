"""Watching a model without changing it: what is switched for a measurement is switched back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gradlens.core.names import unknown
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import UserError


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with frozen parameters, undisturbed; restored on the way out, also after an exception."""
    modes = [(m, m.training) for m in model.modules()]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        with undisturbed():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Forward passes that leave random numbers and BatchNorm's running statistics as they were."""
    tracking = [m for m in model.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    random = random_states(model)
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
        set_random_states(random)


def random_states(model: nn.Module) -> dict[torch.device, Tensor]:
    """Of the CPU, which dropout of a few kinds draws from everywhere, and of the model's device."""
    states = {torch.device("cpu"): torch.get_rng_state()}
    others = {p.device for p in model.parameters()} - {*states}
    return states | {device: torch.get_device_module(device).get_rng_state(device) for device in others}


def set_random_states(states: dict[torch.device, Tensor]) -> None:
    """Those that ``random_states`` gave."""
    for device, state in states.items():
        if device.type == "cpu":
            torch.set_rng_state(state)
        else:
            torch.get_device_module(device).set_rng_state(state, device)


class UnitHooks:
    """A context that records each named layer's spatial means during one forward pass."""

    def __init__(self, model: nn.Module, needs: Iterable[str]):
        # Layers carry the names they have in the user's network, not in the wrapper around it.
        self.model = getattr(model, "net", model)
        self.units: dict[str, Tensor] = {}
        # Negative values set to zero first, of layers that have any, where ``rectified`` is needed.
        self.rectified: dict[str, Tensor] = {}
        self._rectify = "rectified" in needs
        self._layers: list[str] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        for need in sorted(needs):
            kind, _, name = need.partition(":")
            if kind == "units":
                self._layers += [name] if name else activation_layers(self.model)

    def __enter__(self) -> UnitHooks:
        modules = dict(self.model.named_modules())
        for name in dict.fromkeys(self._layers):
            if name not in modules:
                self.__exit__()
                raise UserError(unknown("layer", name, modules))
            axis = _unit_axis(modules, name)
            self._handles.append(modules[name].register_forward_hook(self._recorder(name, axis)))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _recorder(self, name: str, axis: int) -> Callable[..., None]:
        calls = 0

        def record(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            nonlocal calls
            # A module that is used twice in one pass is two layers.
            key = name if calls == 0 else f"{name}#{calls}"
            calls += 1
            keep = axis if output.ndim == 4 else output.ndim - 1
            rest = [d for d in range(1, output.ndim) if d != keep]
            self.units[key] = output.mean(rest) if rest else output
            if self._rectify and not isinstance(module, NEVER_BELOW_ZERO):
                above = output.detach().clamp(min=0)
                self.rectified[key] = above.mean(rest) if rest else above

        return record


NEVER_BELOW_ZERO = (nn.ReLU, nn.ReLU6, nn.Softplus)


def activation_layers(model: nn.Module) -> list[str]:
    """The names of the activation modules, in the order they were defined."""
    return [name for name, module in model.named_modules() if is_activation(module)]


def is_activation(module: nn.Module) -> bool:
    """Whether a leaf module is one of torch's, timm's or our elementwise activations."""
    home = type(module).__module__
    own = ("torch.nn.modules.activation", "gradlens.models._activations")
    known = home in own or home.startswith("timm.layers.activations")
    softmaxes = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Softmin, nn.MultiheadAttention)
    gates = (nn.Sigmoid, nn.Hardsigmoid)
    return known and not isinstance(module, softmaxes + gates) and "igmoid" not in type(module).__name__


def _unit_axis(modules: dict[str, nn.Module], name: str) -> int:
    """The axis of a 4-d output that counts units: last where the layer before it is linear."""
    parent, _, child = name.rpartition(".")
    axis = 1
    for sibling, module in modules[parent].named_children():
        if sibling == child:
            break
        if isinstance(module, nn.Linear):
            axis = 3
        elif isinstance(module, nn.Conv2d):
            axis = 1
    return axis
