"""Networks that say what a measure gives without training: untrained twins, whole or from the output down.

Source: Adebayo et al. 2018, Sanity Checks for Saliency Maps (arXiv:1810.03292).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.models._assembly import rebuilt
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._stages import Stage, stages
from gradlens.models.fresh import Cascade, about_fresh, reinitialise

Options = Mapping[str, Any] | None


def random_twin(model: Classifier, seed: int = 0) -> Classifier:
    """The same architecture and normalisation, freshly initialised.

    What ``load_model`` opened is built again. Of a bare module a copy is taken and its modules'
    ``reset_parameters`` are called; the card's notes name the weights that have none, which stay as
    trained. Raises UserError for a network without weights.
    """
    if not any(t.ndim > 1 for t in model.net.state_dict().values()):
        raise UserError(f"{model.card.name} has no weight matrix, so nothing to randomise; give a network that has")
    again = rebuilt(model, seed)
    net, notes = (again.net, again.card.notes) if again else _reinitialised_copy(model, seed)
    options = again.card.options if again else None
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
