"""A network's stages in forward order, told from the names of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradlens.models._classifier import Classifier
from gradlens.models.watching import measuring

MOST = 8
State = Mapping[str, Tensor]
Parts = dict[str, list[str]]


class Stage(NamedTuple):
    """A run of modules, called after its first, and the names of their weights and buffers."""

    name: str
    keys: tuple[str, ...]


def stages(model: Classifier) -> list[Stage]:
    """At most eight, from the input to the output; the classifier is one of its own.

    The network's children, where one that holds more than half of the weight matrices counts as its
    own children: a ResNet's layers, a ViT's blocks. What has no matrix, or is never called, goes with
    the part before it. The order is that of a forward pass where the size of the input is known, else
    that in which the network registers its parts; more than eight are cut into runs of equal length.
    """
    state = model.net.state_dict()
    parts = _split("", list(state), state, _matrices(state, state))
    calls = _calls(model, list(parts))
    return _merged(_joined(_ordered(parts, calls), state, calls))


def _split(name: str, keys: list[str], state: State, total: int) -> Parts:
    """The part itself, or its children, split likewise, where it holds more than half of the matrices."""
    children = _children(name, keys)
    if not children or 2 * _matrices(keys, state) <= total:
        return {name: keys}
    return {n: k for child, held in children.items() for n, k in _split(child, held, state, total).items()}


def _children(name: str, keys: Sequence[str]) -> Parts:
    """Keys by the child that holds them; the part's own, such as position embeddings, go with its first."""
    prefix, own, children = f"{name}." if name else "", [], Parts()
    for key in keys:
        # A parent's own weight, which is here to go with its first child, has no dot left so far in.
        child, dot, _ = key[len(prefix) :].partition(".")
        if dot:
            children.setdefault(f"{prefix}{child}", []).append(key)
        else:
            own.append(key)
    if children and own:
        children[next(iter(children))][:0] = own
    return children


def _matrices(keys: Sequence[str] | State, state: State) -> int:
    return sum(state[key].ndim > 1 and state[key].is_floating_point() for key in keys)


def _calls(model: Classifier, names: Sequence[str]) -> list[str]:
    """The parts in the order of a forward pass, each once; all of them where no size of input is known."""
    how = model.card.preprocess
    if how is None:
        return list(names)
    calls: list[str] = []
    modules = {name: model.net.get_submodule(name) for name in names}
    hooks = [m.register_forward_pre_hook(lambda *_, n=n: calls.append(n)) for n, m in modules.items()]
    try:
        with measuring(model), torch.no_grad():
            model(model.mean.new_full((1, 3, how.size, how.size), 0.5))
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(calls))


def _ordered(parts: Parts, calls: Sequence[str]) -> Parts:
    """As called; what is never called stays behind the part before it."""
    rank, last = {}, -1
    for name in parts:
        rank[name] = last = calls.index(name) if name in calls else last
    return {name: parts[name] for name in sorted(parts, key=rank.__getitem__)}


def _joined(parts: Parts, state: State, calls: Sequence[str]) -> list[Stage]:
    found: list[Stage] = []
    waiting: tuple[str, ...] = ()
    for name, keys in parts.items():
        if name in calls and _matrices(keys, state):
            found.append(Stage(name, (*waiting, *keys)))
            waiting = ()
        elif found:
            found[-1] = Stage(found[-1].name, (*found[-1].keys, *keys))
        else:
            waiting = (*waiting, *keys)
    return found


def _merged(parts: list[Stage]) -> list[Stage]:
    if len(parts) <= MOST:
        return parts
    runs = np.array_split(np.arange(len(parts) - 1), MOST - 1)
    return [*(Stage(parts[r[0]].name, sum((parts[i].keys for i in r), ())) for r in runs), parts[-1]]
