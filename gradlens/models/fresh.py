"""Fresh weights: which are asked for, how they are drawn, and what a network keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradlens.core.names import parse_spec
from gradlens.core.registry import typed_parameters
from gradlens.core.types import digest
from gradlens.models._classifier import ModelCard


@dataclass(frozen=True)
class Random:
    """``random:seed=3``: freshly initialised."""

    seed: int = 0


@dataclass(frozen=True)
class Cascade:
    """``cascade:until=layer4,seed=3,of=ema``: trained, but fresh from the output down to a stage."""

    until: str = ""
    seed: int = 0
    of: str = "auto"


# Of batches seen in training, unlike a network's other buffers.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
KINDS = {"random": Random, "cascade": Cascade}


def read_control(weights: str) -> Random | Cascade | None:
    """What the text that names weights asks for, None where it is not a control."""
    kind, text = parse_spec(weights)
    return KINDS[kind](**typed_parameters(KINDS[kind], text, f"weights '{kind}'")) if kind in KINDS else None


def is_control(card: ModelCard) -> bool:
    """Whether some or all of a model's weights were never trained, so that it should be at chance."""
    return card.weights.partition(":")[0] in KINDS


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


def about_fresh(net: nn.Module, seed: int) -> tuple[str, ...]:
    """The seed, and how many residual branches start at zero: their weights are in the twin and do nothing."""
    zero = [n for n, p in net.named_parameters() if p.ndim == 1 and n.endswith("weight") and not p.any()]
    dead = (f"{len(zero)} branches start at a scale of zero and do nothing, such as {zero[0]}",) if zero else ()
    return (f"fresh weights, seed {seed}", *dead)


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())
