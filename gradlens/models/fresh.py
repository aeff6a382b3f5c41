"""Fresh weights: which are asked for, how they are drawn, and what a network keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradlens.core.names import parse_spec
from gradlens.core.registry import typed_parameters
from gradlens.core.types import digest
from gradlens.models._classifier import ModelCard

# Of batches seen in training, unlike a network's other buffers.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# A normalisation's weight, LayerScale's gamma (ResMLP's ls1), NFNet's gain and skipinit_gain.
SCALES = re.compile(r".*(weight|gamma|gain|scale)|ls\d*")
# LayerScale starts at 1e-4 to 1e-6.
CLOSED = 1e-3


def read_control(weights: str) -> int | None:
    """The seed of ``random:seed=3``; None where the text asks for other weights than fresh ones."""
    kind, text = parse_spec(weights)

    def random(seed: int = 0) -> int:
        return seed

    return random(**typed_parameters(random, text, "weights 'random'")) if kind == "random" else None


def is_control(card: ModelCard) -> bool:
    """Whether a model was never trained, so that it should be at chance."""
    return card.weights == "random"


def fresh_seed(seed: int) -> int:
    """64 bits that no training started from: from its own first weights a trained network is not independent."""
    return int(digest(["fresh weights", seed]), 16)


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Weights drawn inside are the same every time; the caller's random numbers go on."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def reinitialise(net: nn.Module, seed: int) -> tuple[str, ...]:
    """Call every module's ``reset_parameters`` in place, on the CPU; returns a note of what kept its values."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with fixed_seed(fresh_seed(seed)):
        for module in net.modules():
            # torch's attention calls its own so.
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
    kept = [n for n, t in net.state_dict().items() if torch.equal(t, before[n]) and not _is_constant(t)]
    return (f"no reset_parameters for {', '.join(kept)}, which stay as they were",) if kept else ()


def keep_constants(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Take a network's buffers from these weights, but for statistics of its training: a mean and std inside, say."""
    for name, buffer in net.named_buffers():
        trained = name.rpartition(".")[2] in STATISTICS
        if not trained and name in state and state[name].shape == buffer.shape:
            buffer.copy_(state[name])


def open_branches(net: nn.Module) -> tuple[str, ...]:
    """Set the scales that start at zero, or close to it, to one, in place; returns a note of them.

    A residual branch that ends in one is meant to wake up in training. In a twin, which has none, all its
    weights would do next to nothing, and most of the twin's gradient would be exactly zero.
    """
    closed = [
        name for name, scale in net.named_parameters() if SCALES.fullmatch(name.rpartition(".")[2]) and _closed(scale)
    ]
    for name in closed:
        nn.init.ones_(net.get_parameter(name))
    return (f"{len(closed)} scales that start at or near zero set to one, such as {closed[0]}",) if closed else ()


def _closed(scale: Tensor) -> bool:
    """One value, which is next to nothing, for every channel: ``(C,)``, or ``(C, 1, 1)`` as some have it."""
    return scale.squeeze().ndim < 2 and bool((scale == scale.flatten()[0]).all() and (scale.abs() <= CLOSED).all())


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())
