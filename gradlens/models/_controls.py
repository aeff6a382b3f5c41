"""Untrained twins of a model, which say what a measure gives without training.

Source: Adebayo et al. 2018, Sanity Checks for Saliency Maps (arXiv:1810.03292).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from gradlens.core.names import unknown
from gradlens.core.stated import by_user
from gradlens.core.types import UserError
from gradlens.models._classifier import Classifier
from gradlens.models._load import load_model
from gradlens.models.fresh import open_branches, reinitialise


def random_twin(model: Classifier, seed: int = 0) -> Classifier:
    """The same architecture and normalisation, freshly initialised.

    What ``load_model`` opened is built again. Of a bare module a copy is taken and its modules'
    ``reset_parameters`` are called; the card's notes name the weights that have none, which stay as
    trained. Scales of residual branches that would start at zero are one, and said. Raises UserError
    for a network without weights.
    """
    state = model.net.state_dict()
    if not any(t.ndim > 1 for t in state.values()):
        raise UserError(f"{model.card.name} has no weight matrix, so nothing to randomise; give a network that has")
    twin = _rebuilt(model, seed) or _reinitialised_copy(model, seed)
    name, display = f"{model.card.name}-random", model.card.display
    # What a manifest published of the trained model is not true of its twin; its colour would hide the twin.
    shown = display and {**{k: v for k, v in display.items() if k == "group"}, "label": name}
    notes, options = twin.card.notes, twin.card.options
    stated = {**model.card.stated, "weights": by_user("random")}
    card = replace(model.card, name=name, weights="random", notes=notes, options=options, display=shown, stated=stated)
    dtype = next(t.dtype for t in state.values() if t.is_floating_point())
    return Classifier(twin.net, card).eval().to(model.device, dtype)


def controls(model: Classifier, kind: str, seed: int = 0) -> list[Classifier]:
    """The twins of one kind, of which there is ``random``."""
    if kind != "random":
        raise UserError(unknown("control", kind, ["random"]))
    return [random_twin(model, seed)]


def _rebuilt(model: Classifier, seed: int) -> Classifier | None:
    """Opened again with random weights; None if it came as an object, or its network was changed since."""
    if model.card.options is None:
        return None
    twin = load_model(**{**model.card.options, "weights": f"random:seed={seed}"}, device="cpu")
    return twin if _shapes(twin.net) == _shapes(model.net) else None


def _shapes(net: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in net.state_dict().items()}


def _reinitialised_copy(model: Classifier, seed: int) -> Classifier:
    try:
        net = copy.deepcopy(model.net).cpu()
    except Exception as error:  # a user's module may hold anything
        raise UserError(
            f"{model.card.name} cannot be copied for a control ({type(error).__name__}: {error}); give its checkpoint "
            "and --arch instead of the object"
        ) from error
    kept = reinitialise(net, seed)
    notes = (f"fresh weights, seed {seed}", *open_branches(net), *kept)
    return Classifier(net, replace(model.card, notes=notes, options=None))
