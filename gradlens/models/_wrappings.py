"""What training and wrapping put around a network's weights, taken off one layer at a time.

Which layers are wrapping is for the network to say: one that has a child called ``model``, or that
normalises inside, has those names in its own state. So every form is kept, from the one saved to the
barest, and the network takes the one that has its names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlens.core.types import UserError

State = dict[str, Tensor]

# DistributedDataParallel, torch.compile, and what Lightning modules and wrappers call the network inside.
WRAPPERS = frozenset(["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
# Buffers of a layer that normalises: RobustBench's mu and sigma, its normalize.mean, MadryLab's new_mean.
# A Sequential of a normaliser and a network calls it 0.
MEAN = re.compile(r"((?:\w*norm\w*|\w*preproc\w*|transforms?|0)\.)?(mu|means?|(?:new|image|pixel)_mean)")
STD_OF = {"mu": ("sigma",), "mean": ("std",), "means": ("stds", "sds")}
# What an average of the weights is called in a key, by its words, and what the weights beside it.
AVERAGES = {"swa": "swa", **dict.fromkeys(("avg", "average", "averaged", "averaging", "polyak"), "average")}
RAW = frozenset(["raw", "unaveraged", "non", "no", "without", "online", "current"])


@dataclass(frozen=True)
class Form:
    """A state dict, what was taken off to get there, the normalisation that was in it, and what else stood beside."""

    state: State
    prefixes: tuple[str, ...] = ()
    normaliser: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """One set of weights in every form it can be taken for, from the one saved to the barest."""

    forms: tuple[Form, ...]

    @property
    def bare(self) -> Form:
        return self.forms[-1]

    @property
    def counted(self) -> bool:
        """Whether torch's AveragedModel counted the updates of these weights."""
        return any(key.endswith("n_averaged") for key in self.forms[0].state)

    def fitting(self, own: Mapping[str, Tensor]) -> Form:
        """The form whose names differ least from a network's own; of several, the barest.

        Where none has them all, the part of the file below one name that has. Raises UserError where two have.
        """
        wanted = set(own)
        best = min(reversed(self.forms), key=lambda form: len(form.state.keys() ^ wanted))
        if not set(without_counters(own)) - best.state.keys():
            return best
        return next(filter(None, (_part(form, own) for form in self.forms)), best)


def unwrap(state: State) -> Weights:
    forms = [Form(state)]
    while following := next(filter(None, (take_off(forms[-1]) for take_off in STEPS)), None):
        forms.append(following)
    return Weights(tuple(forms))


def average_in(key: str) -> str | None:
    """``ema``, ``swa`` or ``average`` where a key is called so; ``raw`` where it says that it is none; else None."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", key)]
    if RAW & set(words):
        return "raw"
    ema = any(word.startswith("ema") or (word.endswith("ema") and word != "schema") for word in words)
    return "ema" if ema else next((AVERAGES[word] for word in words if word in AVERAGES), None)


def _without_prefix(form: Form) -> Form | None:
    second = ("1.",) if any(name.startswith("0.") for name in form.normaliser) else ()
    prefix = next((p for p in PREFIXES + second if all(k.startswith(p) for k in form.state)), None)
    if prefix is None:
        return None
    state = {k.removeprefix(prefix): v for k, v in form.state.items()}
    return replace(form, state=state, prefixes=(*form.prefixes, prefix))


def _without_wrappers(form: Form) -> Form | None:
    """Wrappers of single parts: their names stand in the middle of a key."""
    state = {".".join(part for part in k.split(".") if part not in WRAPPERS): v for k, v in form.state.items()}
    if state.keys() == form.state.keys() or len(state) < len(form.state):
        return None
    return replace(form, state=state, prefixes=(*form.prefixes, "wrappers' names"))


def _part(form: Form, own: Mapping[str, Tensor]) -> Form | None:
    """What stands below one name and has a network's every tensor, by name and shape: a Lightning module's, say."""
    needed = without_counters(own)
    first = next(iter(needed))
    places = [key.removesuffix(first) for key in form.state if key.endswith(f".{first}")]
    found = [place for place in places if all(_shape(form.state, place + k) == v.shape for k, v in needed.items())]
    if len(found) > 1:
        said = " and as ".join(place.rstrip(".") for place in found)
        raise UserError(f"the network's weights are there as {said}; give --weights {found[0].rstrip('.')}, or another")
    if not found:
        return None
    state, left = below(form.state, found[0]), tuple(key for key in form.state if not key.startswith(found[0]))
    return replace(form, state=state, prefixes=(*form.prefixes, found[0]), left=left)


def below(state: State, place: str) -> State:
    """What stands below a name, ``teacher.`` say, without it."""
    return {key.removeprefix(place): v for key, v in state.items() if key.startswith(place)}


def without_counters(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """But for how often BatchNorm was updated, which files of before 2018 lack and evaluation does not read."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _shape(state: State, key: str) -> torch.Size | None:
    return state[key].shape if key in state else None


def _without_normaliser(form: Form) -> Form | None:
    """A pair of buffers of one number a channel; a second pair only where it repeats the first."""
    for match in filter(None, map(MEAN.fullmatch, form.state)):
        for second in STD_OF.get(match[2], (match[2].replace("mean", "std"),)):
            names = (match[0], f"{match[1] or ''}{second}")
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
    # Last, since the counter of an average is told by its neighbour module.
    _without_wrappers,
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
