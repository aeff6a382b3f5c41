"""Networks that say what a measure gives without training: untrained twins, whole or from the output down.

Source: Adebayo et al. 2018, Sanity Checks for Saliency Maps (arXiv:1810.03292).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradlens._registry import parse_spec, typed_parameters, unknown
from gradlens._types import UserError, digest
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._stages import Stage, stages


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


Options = Mapping[str, Any] | None
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


def random_twin(model: Classifier, seed: int = 0) -> Classifier:
    """The same architecture and normalisation, freshly initialised.

    What ``load_model`` opened is built again. Of a bare module a copy is taken and its modules'
    ``reset_parameters`` are called; the card's notes name the weights that have none, which stay as
    trained. Raises UserError for a network without weights.
    """
    if not any(t.ndim > 1 for t in model.net.state_dict().values()):
        raise UserError(f"{model.card.name} has no weight matrix, so nothing to randomise; give a network that has")
    rebuilt = _rebuilt(model, seed)
    net, notes = (rebuilt.net, rebuilt.card.notes) if rebuilt else _reinitialised_copy(model, seed)
    options = rebuilt.card.options if rebuilt else None
    return _classifier(net, _card(model.card, "random", "random", notes, options), model)


def cascade(model: Classifier, seed: int = 0) -> Iterator[Classifier]:
    """Twins whose weights are fresh from the output down, one stage more each; the last is ``random_twin``.

    Made one at a time, each a copy of its own, so memory is that of two models beside the given one.
    A twin's card calls it after the last stage that was randomised. Stages are at most eight, in
    forward order; buffers go with their module.
    """
    fresh, parts = random_twin(model, seed), stages(model)
    for count in range(1, len(parts) + 1):
        yield _step(model, fresh, parts[-count:], seed)


def cascade_until(model: Classifier, control: Cascade) -> Classifier:
    """The one twin of the cascade that ends with a stage; raises UserError with the stages' names."""
    parts = stages(model)
    names = [part.name for part in parts]
    if control.until not in names:
        raise UserError(unknown(f"stage of {model.card.name}", control.until, names))
    return _step(model, random_twin(model, control.seed), parts[names.index(control.until) :], control.seed)


def controls(model: Classifier, kind: str, seed: int = 0) -> Iterable[Classifier]:
    """The twins of one kind, ``random`` or ``cascade``."""
    makers: dict[str, Callable[[], Iterable[Classifier]]] = {
        "random": lambda: [random_twin(model, seed)],
        "cascade": lambda: cascade(model, seed),
    }
    if kind not in makers:
        raise UserError(unknown("control", kind, makers))
    return makers[kind]()


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


def _step(model: Classifier, fresh: Classifier, parts: list[Stage], seed: int) -> Classifier:
    """The trained model with these stages, the last ones, from the fresh twin."""
    net, state = _copy(model), fresh.net.state_dict()
    net.load_state_dict({**net.state_dict(), **{key: state[key] for part in parts for key in part.keys}})
    names = [part.name for part in reversed(parts)]
    options = fresh.card.options and {**fresh.card.options, "weights": _weights(model.card, names[-1], seed)}
    card = _card(model.card, f"cascade-{names[-1]}", f"cascade:{'+'.join(names)}", fresh.card.notes, options)
    return _classifier(net, card, model)


def _weights(card: ModelCard, until: str, seed: int) -> str:
    """What ``load_model`` takes for this step."""
    kind = (card.options or {}).get("weights", "auto")
    return f"cascade:until={until},seed={seed}" + (f",of={kind}" if kind != "auto" else "")


def _card(card: ModelCard, suffix: str, weights: str, notes: tuple[str, ...], options: Options) -> ModelCard:
    """What a manifest published of the trained model is not true of its twin; its colour would hide the twin."""
    name = f"{card.name}-{suffix}"
    display = card.display and {**{k: v for k, v in card.display.items() if k == "group"}, "label": name}
    return replace(card, name=name, weights=weights, notes=notes, options=options, display=display)


def _classifier(net: nn.Module, card: ModelCard, model: Classifier) -> Classifier:
    dtype = next(t.dtype for t in model.net.state_dict().values() if t.is_floating_point())
    return Classifier(net, card).eval().to(model.device, dtype)


def _rebuilt(model: Classifier, seed: int) -> Classifier | None:
    """Opened again with random weights; None if it came as an object, or its network was changed since."""
    from gradlens.models._load import load_model

    if model.card.options is None:
        return None
    twin = load_model(**{**model.card.options, "weights": f"random:seed={seed}"}, device="cpu")
    return twin if _shapes(twin.net) == _shapes(model.net) else None


def _shapes(net: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in net.state_dict().items()}


def _reinitialised_copy(model: Classifier, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
    net = _copy(model).cpu()
    kept = reinitialise(net, seed)
    return net, (*about_fresh(net, seed), *kept)


def _copy(model: Classifier) -> nn.Module:
    try:
        return copy.deepcopy(model.net)
    except Exception as error:  # a user's module may hold anything
        raise UserError(
            f"{model.card.name} cannot be copied for a control ({type(error).__name__}: {error}); give its checkpoint "
            "and --arch instead of the object"
        ) from error


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())
