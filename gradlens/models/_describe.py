from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradlens.core.stated import Rank, said
from gradlens.core.types import Preprocess, UserError
from gradlens.models._checkpoint import Checkpoint, read_checkpoint
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._proposals import proposals
from gradlens.models.normalisation import NONE, Normalisation


def describe(spec: str, load: Callable[[], Classifier], trust_pickle: bool = False) -> dict[str, Any]:
    """What is in a checkpoint file and what model it makes, as names and readable values.

    A file whose architecture or normalisation is unknown is still described, with what is missing.
    """
    checkpoint = read_checkpoint(spec, trust_pickle) if Path(spec).exists() or ":" not in spec else None
    facts = _of_file(checkpoint) if checkpoint else {}
    try:
        model = load()
    except UserError as error:
        unnamed = checkpoint is not None and not checkpoint.arch and checkpoint.module is None
        fit = proposals(checkpoint.weights.bare.state) if checkpoint and unnamed else []
        proposed = {"architectures_that_fit": " or ".join(f"--arch {name}" for name in fit)} if fit else {}
        return {**facts, "model": f"not built: {error}", **proposed}
    return {**facts, **_of_model(model, checkpoint)}


def _of_model(model: Classifier, checkpoint: Checkpoint | None) -> dict[str, Any]:
    card, preprocess = model.card, model.card.preprocess
    return {
        "architecture": card.arch,
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "classes": card.num_classes,
        "activation": card.activation,
        **({"activation_is_open": doubt} if (doubt := _doubt(card, checkpoint)) else {}),
        "weights_used": card.weights,
        "normalised": "inside the network" if Normalisation(card.mean, card.std).same_as(NONE) else "outside, once",
        "mean": card.mean,
        "std": card.std,
        "preprocessing": _in_words(preprocess) if preprocess else "none stated: pixels as they are",
        "batchnorm_folded": f"{model.folded().card.folded} sites",
        "stated_by_you": said(card.stated, Rank.USER) or "nothing",
        "stated_by_the_file": said(card.stated, Rank.FILE) or "nothing",
        "stated_by_nobody": card.inferred or "nothing",
        **({"notes": "; ".join(card.notes)} if card.notes else {}),
    }


def _doubt(card: ModelCard, checkpoint: Checkpoint | None) -> str | None:
    """Activations have no weights, so a network with other ones takes the same file without a murmur."""
    known = checkpoint is None or checkpoint.states_activation or (card.options or {}).get("activation")
    # A PReLU has weights of its own, so its name is in the file.
    if known or not card.activation or "prelu" in card.activation:
        return None
    others = ", ".join(a for a in ("relu", "gelu", "silu") if a != card.activation)
    return (
        f"the weights fit {card.arch} with {others} alike, and the file cannot tell: {card.activation} is the "
        "architecture's own; --activation decides"
    )


def _in_words(how: Preprocess) -> str:
    return f"{how} (hash {how.hash})"


def _of_file(checkpoint: Checkpoint) -> dict[str, Any]:
    kinds = checkpoint.kinds
    held = [
        f"{key or 'its own'} ({kinds.get(key, 'of another network')}, {len(weights.bare.state):,} tensors)"
        for key, weights in checkpoint.sets.items()
    ]
    return {
        "layout": checkpoint.layout,
        "sha256": checkpoint.sha256,
        "weights_held": " and ".join(held),
        "names_its_architecture": _named(checkpoint),
        "names_its_normalisation": _normalised_where(checkpoint),
        **({"prefixes_stripped": " ".join(checkpoint.stripped)} if checkpoint.stripped else {}),
        **({"class_names": ", ".join(checkpoint.class_names[:12])} if checkpoint.class_names else {}),
    }


def _named(checkpoint: Checkpoint) -> str:
    if checkpoint.arch:
        return checkpoint.arch
    if checkpoint.module is not None:
        return f"it holds the module itself, a {type(checkpoint.module).__name__}"
    entry = checkpoint.class_name
    return f"no, its arch '{entry}' may be a class's name: give --arch" if entry else "no: give --arch"


def _normalised_where(checkpoint: Checkpoint) -> str:
    if checkpoint.weights.bare.normaliser:
        return f"in its weights, as {' and '.join(checkpoint.weights.bare.normaliser)}"
    return "beside its weights" if checkpoint.mean and checkpoint.std else "no"
