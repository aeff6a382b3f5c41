"""Architectures whose names and shapes a state dict fits, for a file that does not say which it is."""

from __future__ import annotations

import inspect
import re
import sys
import time
from collections.abc import Iterator, Mapping
from types import ModuleType

import timm
import torch
import torchvision
from torch import Tensor

from gradlens.models._wrappings import without_counters
from gradlens.models._zoo import ZOO
from gradlens.models.architectures import build, classes_in, torchvisions

# What any layer's entries are called, so that they tell nothing of the network.
COMMON = frozenset(["weight", "bias", "running_mean", "running_var", "num_batches_tracked"])


def proposals(state: Mapping[str, Tensor], most: int = 6, seconds: float = 8.0) -> list[str]:
    """Names for ``--arch``, the likeliest first; the search ends after some names, or some seconds."""
    until, found = time.monotonic() + seconds, []
    for name in _candidates(state):
        if len(found) == most or time.monotonic() > until:
            break
        if _fits(name, state):
            found.append(name)
    return found


def _candidates(state: Mapping[str, Tensor]) -> Iterator[str]:
    """By family: those whose code has the words of the keys; within one, short names are the usual networks."""
    words = {word for key in state for word in re.findall(r"[a-zA-Z_]+", key.replace(".", " "))} - COMMON
    families = [(_known(_timm_module(m), words), timm.list_models(module=m)) for m in timm.list_modules()]
    makers = {name: torchvision.models.get_model_builder(name).__module__ for name in torchvisions()}
    for module in sorted(set(makers.values())):
        names = [f"torchvision:{name}" for name, its in makers.items() if its == module]
        families.append((_known(sys.modules[module], words), names))
    families.append((1.0, list(ZOO)))
    best = max(share for share, _ in families)
    for share, names in sorted(families, key=lambda family: -family[0]):
        if share > 0.8 * best:
            yield from sorted(names, key=len)


def _timm_module(name: str) -> ModuleType:
    return sys.modules[f"timm.models.{name}"]


def _known(module: ModuleType, words: set[str]) -> float:
    """The share of the words that a family's code has."""
    text = inspect.getsource(module)
    return sum(word in text for word in words) / max(len(words), 1)


def _fits(name: str, state: Mapping[str, Tensor]) -> bool:
    try:
        with torch.device("meta"):
            own = without_counters(build(name, {}, classes_in(name, {}, state)).net.state_dict())
    except Exception:  # not every network can be built without memory
        return False
    return own.keys() == without_counters(state).keys() and all(state[key].shape == own[key].shape for key in own)
