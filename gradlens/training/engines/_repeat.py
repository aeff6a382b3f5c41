from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gradlens.training.engines._replay import Recording, Replay


class RepeatablePass:
    """One forward pass, and others like it: the same random numbers, the same branches.

    BatchNorm's running statistics hear of the first pass only; in training mode each pass normalises by
    the statistics of its own batch, which depend on the images and so must move with them.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._recording = Recording()
        self._random = _random_states(model)

    @contextmanager
    def first(self) -> Iterator[None]:
        with self._recording:
            yield

    @contextmanager
    def again(self) -> Iterator[None]:
        with untouched(self.model), Replay(self._recording):
            _set_random_states(self.model, self._random)
            yield


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Forward passes that leave random numbers and BatchNorm's running statistics as they were."""
    tracking = [m for m in model.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    random = _random_states(model)
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
        _set_random_states(model, random)


def _random_states(model: nn.Module) -> dict[torch.device, torch.Tensor]:
    """Of the CPU, which dropout of a few kinds draws from everywhere, and of the model's device."""
    devices = {torch.device("cpu"), *(p.device for p in model.parameters())}
    return {
        d: torch.get_rng_state() if d.type == "cpu" else torch.get_device_module(d).get_rng_state(d) for d in devices
    }


def _set_random_states(model: nn.Module, states: dict[torch.device, torch.Tensor]) -> None:
    for device, state in states.items():
        if device.type == "cpu":
            torch.set_rng_state(state)
        else:
            torch.get_device_module(device).set_rng_state(state, device)
