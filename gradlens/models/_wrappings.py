"""What training and wrapping put around a network's weights, taken off one layer at a time.

Which layers are wrapping is for the network to say: one that has a child called ``model``, or that
normalises inside, has those names in its own state. So every form is kept, from the one saved to the
barest, and the network takes the one that has its names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

State = dict[str, Tensor]

# DistributedDataParallel, torch.compile, and what Lightning modules and wrappers call the network inside.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
# Buffers of a layer that normalises: RobustBench's mu and sigma, its normalize.mean, MadryLab's new_mean.
# A Sequential of a normaliser and a network calls it 0.
MEAN = re.compile(r"((?:normali[sz]er?|norm|0)\.)?(mu|mean|new_mean)")
STD_OF = {"mu": "sigma", "mean": "std", "new_mean": "new_std"}


@dataclass(frozen=True)
class Form:
    """A state dict, what was taken off to get there, and the normalisation that was among it."""

    state: State
    prefixes: tuple[str, ...] = ()
    normaliser: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Weights:
    """One set of weights in every form it can be taken for, from the one saved to the barest."""

    forms: tuple[Form, ...]

    @property
    def bare(self) -> Form:
        return self.forms[-1]

    def fitting(self, names: Iterable[str]) -> Form:
        """The form whose names differ least from these; of several, the barest."""
        wanted = set(names)
        return min(reversed(self.forms), key=lambda form: len(form.state.keys() ^ wanted))


def unwrap(state: State) -> Weights:
    forms = [Form(state)]
    while following := next(filter(None, (take_off(forms[-1]) for take_off in STEPS)), None):
        forms.append(following)
    return Weights(tuple(forms))


def _without_prefix(form: Form) -> Form | None:
    second = ("1.",) if any(name.startswith("0.") for name in form.normaliser) else ()
    prefix = next((p for p in PREFIXES + second if all(k.startswith(p) for k in form.state)), None)
    if prefix is None:
        return None
    state = {k.removeprefix(prefix): v for k, v in form.state.items()}
    return replace(form, state=state, prefixes=(*form.prefixes, prefix))


def _without_normaliser(form: Form) -> Form | None:
    """A pair of buffers of one number a channel; a second pair only where it repeats the first."""
    for match in filter(None, map(MEAN.fullmatch, form.state)):
        names = (match[0], f"{match[1] or ''}{STD_OF[match[2]]}")
        mean, std = (_channels(form.state.get(name)) for name in names)
        if mean and std and len(mean) == len(std) and (form.mean, form.std) in ((None, None), (mean, std)):
            state = {k: v for k, v in form.state.items() if k not in names}
            return replace(form, state=state, normaliser=(*form.normaliser, *names), mean=mean, std=std)
    return None


def _without_attacker(form: Form) -> Form | None:
    """MadryLab's attacker holds the network and its normaliser a second time."""
    return _less(form, [k for k in form.state if k.startswith("attacker.")], beside="model.")


def _without_average_count(form: Form) -> Form | None:
    """torch's AveragedModel, an EMA, counts its updates beside the network."""
    return _less(form, [k for k in form.state if k == "n_averaged"], beside="module.")


STEPS: tuple[Callable[[Form], Form | None], ...] = (
    _without_prefix,
    _without_normaliser,
    _without_attacker,
    _without_average_count,
)


def _less(form: Form, names: list[str], beside: str) -> Form | None:
    if not names or not any(k.startswith(beside) for k in form.state):
        return None
    return replace(form, state={k: v for k, v in form.state.items() if k not in names})


def _channels(tensor: Tensor | None) -> tuple[float, ...] | None:
    if tensor is None or not tensor.is_floating_point() or tensor.numel() not in (1, 3):
        return None
    # The shortest decimal of a float32, so that 0.4 is the same number here as where it is stated beside.
    return tuple(float(str(v)) for v in tensor.detach().flatten().float().numpy())
