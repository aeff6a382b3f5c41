from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradlens._types import Preprocess, UserError
from gradlens.models._checkpoint import Checkpoint, read_checkpoint
from gradlens.models._classifier import Classifier


def describe(spec: str, load: Callable[[], Classifier]) -> dict[str, Any]:
    """What is in a checkpoint file and what model it makes, as names and readable values.

    A file whose architecture or normalisation is unknown is still described, with what is missing.
    """
    facts = _of_file(read_checkpoint(spec)) if Path(spec).exists() or ":" not in spec else {}
    try:
        model = load()
    except UserError as error:
        return {**facts, "model": f"not built: {error}"}
    card, preprocess = model.card, model.card.preprocess
    return {
        **facts,
        "architecture": card.arch,
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "classes": card.num_classes,
        "activation": card.activation,
        "weights_used": card.weights,
        "mean": card.mean,
        "std": card.std,
        "preprocessing": _in_words(preprocess) if preprocess else "none stated: pixels as they are",
        "batchnorm_folded": f"{model.folded().card.folded} sites",
        **({"notes": "; ".join(card.notes)} if card.notes else {}),
    }


def _in_words(how: Preprocess) -> str:
    resized = f"resized {how.interpolation} to {round(how.size / how.crop_pct)}, " if how.crop_pct != 1 else ""
    return f"{resized}{how.crop_mode} {how.size} × {how.size} (hash {how.hash})"


def _of_file(checkpoint: Checkpoint) -> dict[str, Any]:
    sets = {"raw": checkpoint.raw, "EMA": checkpoint.ema}
    held = [f"{name} ({len(state):,} tensors)" for name, state in sets.items() if state]
    return {
        "layout": checkpoint.layout,
        "sha256": checkpoint.sha256,
        "weights_held": " and ".join(held),
        "names_its_architecture": checkpoint.arch or "no: give --arch",
        "names_its_normalisation": "yes" if checkpoint.mean and checkpoint.std else "no",
        **({"prefixes_stripped": " ".join(checkpoint.stripped)} if checkpoint.stripped else {}),
        **({"class_names": ", ".join(checkpoint.class_names[:12])} if checkpoint.class_names else {}),
    }
