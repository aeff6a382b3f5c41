"""Where a training run stopped, and whether this is the one to go on with."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import torch

from gradlens.core.processes import world
from gradlens.core.types import UserError
from gradlens.training.config import TrainConfig

# What may differ between a run and its continuation.
FREE = ("out", "tensorboard", "workers", "device", "data_dir", "test_split")


def read_state(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        _ = content["training"]["updates"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{file} cannot be resumed ({type(error).__name__}); start again in another folder") from None
    return content


def check_same(config: TrainConfig, training: dict[str, Any], file: Path) -> None:
    """Refuse another recipe, or another number of processes."""
    before, now = training["config"], config.provenance()
    for name in (f.name for f in dataclasses.fields(config) if f.name not in FREE):
        if before.get(name) != now[name]:
            raise UserError(
                f"{file} was trained with {name}={before.get(name)}, --resume was given {now[name]}; "
                "give the same, or another folder with -o"
            )
    if training["world"] != world():
        raise UserError(f"{file} was trained by {training['world']} processes, not {world()}; start as many")
