"""A forward pass that can be repeated at another input: with the same branches and the same random numbers.

A finite difference of gradients sees the second derivative only where both its points lie on the same
linear piece: one max-pool that picks another pixel, or one ReLU that turns, and it measures the jump.
Double backward takes the pieces of the base point for fixed; so does a replay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradlens.core.types import UserError
from gradlens.models.watching import random_states, set_random_states, untouched

Branch = Callable[[Tensor], Tensor]


def relu(x: Tensor, inplace: bool = False) -> Branch:
    below = x <= 0
    return lambda there: there.masked_fill(below, 0)


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Branch:
    below = x <= 0
    return lambda there: torch.where(below, negative_slope * there, there)


def prelu(x: Tensor, weight: Tensor) -> Branch:
    below, slope = x <= 0, weight.view(-1, *[1] * (x.ndim - 2))
    return lambda there: torch.where(below, slope * there, there)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Branch:
    below, above = x <= min_val, x >= max_val
    return lambda there: there.masked_fill(below, min_val).masked_fill(above, max_val)


def relu6(x: Tensor, inplace: bool = False) -> Branch:
    return hardtanh(x, 0.0, 6.0)


def max_pool(pool: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Branch]:
    """Pooling whose branch is the place of each maximum."""

    def place(x: Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> Branch:
        with torch.no_grad():
            index = pool(x, *args, return_indices=True, **kwargs)[1]
        return lambda there: there.flatten(2).gather(2, index.flatten(2)).view_as(index)

    return place


# By the names under which torch's functions, methods and modules arrive here. clamp is left out: smooth
# functions are composed of it, which are not defined beyond its branch.
BRANCHES: dict[str, Callable[..., Branch]] = {
    **{f.__name__: f for f in (relu, leaky_relu, prelu, hardtanh, relu6)},
    **{f"{f.__name__}_": f for f in (relu, leaky_relu, hardtanh)},
    **{
        f"{kind}max_pool{d}d": max_pool(getattr(F, f"{kind}max_pool{d}d"))
        for kind in ("", "adaptive_")
        for d in (1, 2, 3)
    },
}


class Recording(TorchFunctionMode):
    """A context in which every branch that is taken is kept in ``branches``, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.branches: list[Branch] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in BRANCHES:
            return func(*args, **kwargs)
        branch = self.branch(name, args, kwargs)
        output = branch(args[0])
        in_place = name.endswith("_") or kwargs.get("inplace", False)
        # Other code may hold the same tensor, and expect it to have changed.
        return args[0].copy_(output) if in_place else output

    def branch(self, name: str, args: Any, kwargs: Any) -> Branch:
        self.branches.append(BRANCHES[name](*args, **kwargs))
        return self.branches[-1]


class Replay(Recording):
    """A context in which the branches of a recording are taken again, whatever the input."""

    def __init__(self, recording: Recording):
        super().__init__()
        self._ahead = deque(recording.branches)

    def branch(self, name: str, args: Any, kwargs: Any) -> Branch:
        if not self._ahead:
            raise UserError(
                f"the network called {name} more often in its second forward pass than in its first; it takes "
                "another path each time, so train it with the engine double_backward"
            )
        return self._ahead.popleft()


class RepeatablePass:
    """One forward pass, and others like it: the same random numbers, the same branches.

    BatchNorm's running statistics hear of the first pass only; in training mode each pass normalises by
    the statistics of its own batch, which depend on the images and so must move with them.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._recording = Recording()
        self._random = random_states(model)

    @contextmanager
    def first(self) -> Iterator[None]:
        with self._recording:
            yield

    @contextmanager
    def again(self) -> Iterator[None]:
        with untouched(self.model), Replay(self._recording):
            # The same units dropped, or the difference would be between two networks.
            set_random_states(self._random)
            yield
