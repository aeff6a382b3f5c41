"""A figure's run lacks what it draws → the command that measures it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from gradlens.core.names import Name
from gradlens.runs.record import Run

MODEL_FLAGS = ("arch", "activation", "weights", "mean", "std", "normalized", "num_classes", "trust_pickle")
DATA_FLAGS = ("split", "root", "limit", "labels", "subset", "class_map", "class_order")
DEFAULTS = {"weights": "auto", "split": "val"}


def command_for(run: Run, analyzer: str) -> str:
    """The line that measures what this run does and the analyzer's numbers too, as far as the run recorded it."""
    model, data = run.provenance.get("load_model") or {}, run.provenance.get("load_data") or {}
    known = [Name.parse(name).spec for name in run.provenance.get("analyzers") or ()]
    words = [
        *("gradlens", "analyze", str(model.get("spec", "CKPT")), *_flags(model, MODEL_FLAGS)),
        *("--data", str(data.get("spec", "DATA")), *_flags(data, DATA_FLAGS)),
        *("--analyzers", ",".join(dict.fromkeys([*known, analyzer]))),
    ]
    return shlex.join(words)


def _flags(options: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    words: list[str] = []
    for name in names:
        value = options.get(name)
        if value is None or value is False or value == DEFAULTS.get(name):
            continue
        words.append("--data-dir" if name == "root" else f"--{name.replace('_', '-')}")
        words += [] if value is True else [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]
    return words
