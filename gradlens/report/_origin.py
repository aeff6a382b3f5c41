"""Where a run comes from: what is needed to repeat it, side by side, and the files with the raw numbers."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gradlens.core.names import Name
from gradlens.runs.record import Run

RAW = ("samples.parquet", "summary.json", "summary.csv", "arrays.npz", "run.json")
# A report further from the run than this many folders up is not beside it.
MOST_UP = 2
MOST_NAMES = 20


@dataclass(frozen=True)
class Fact:
    """One thing about every run; ``differs`` where the runs do not agree."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def facts(runs: Sequence[Run]) -> list[Fact]:
    """What must agree for two runs to be one measurement, and where each was made."""
    found = [Fact(name, tuple(_said(get(run)) for run in runs)) for name, get in FACTS.items()]
    return [fact for fact in found if any(fact.values)]


def complete(run: Run) -> str:
    """All of run.json, without long lists of class names."""
    model = dict(run.provenance.get("model") or {})
    names = model.get("class_names") or []
    if len(names) > MOST_NAMES:
        model["class_names"] = [*names[:3], f"… {len(names):,} in all"]
    return json.dumps({**run.provenance, "model": model}, indent=1, default=str, ensure_ascii=False)


def raw_files(folder: Path | None, report: Path) -> list[tuple[str, str]]:
    """Name and relative address of the run's files, where the report lies in or near its folder."""
    if folder is None:
        return []
    try:
        relative = Path(os.path.relpath(folder.resolve(), report.resolve().parent))
    except ValueError:
        return []
    if relative.parts.count("..") > MOST_UP:
        return []
    # The leading dot keeps a folder called "a:b" from being read as a scheme.
    return [(name, f"./{quote((relative / name).as_posix())}") for name in RAW if (folder / name).is_file()]


def _model(key: str) -> Callable[[Run], Any]:
    return lambda run: (run.provenance.get("model") or {}).get(key)


def _of(key: str) -> Callable[[Run], Any]:
    return lambda run: run.provenance.get(key)


def _objectives(run: Run) -> str:
    """The loss, and those that analyzers name after an @."""
    named = [Name.parse(spec).objective for spec in run.provenance.get("analyzers") or ()]
    return ", ".join(dict.fromkeys(name or "loss" for name in named))


def _command(run: Run) -> str:
    return shlex.join(map(str, run.provenance.get("argv") or ()))


FACTS: dict[str, Callable[[Run], Any]] = {
    "model": _model("spec"),
    "architecture": _of("arch"),
    "activation": _of("activation"),
    "weights used": _model("weights"),
    "hash of the weights": _of("weights"),
    "SHA-256 of the file": _model("sha256"),
    "mean": _of("mean"),
    "standard deviation": _of("std"),
    "data": _of("data"),
    "images": _of("images"),
    "fingerprint of the data": _of("data_fingerprint"),
    "preprocessing": _of("preprocess"),
    "hash of the preprocessing": _of("preprocess_hash"),
    "objective": _objectives,
    "analyzers": _of("analyzers"),
    "protocol": _of("protocol"),
    "seed": _of("seed"),
    "precision": _of("precision"),
    "images a batch": _of("batch_size"),
    "folded sites": _of("folded_sites"),
    "device": _of("device_name"),
    "processes": _of("world_size"),
    "seconds": _of("seconds"),
    "versions": _of("versions"),
    "command": _command,
    "hash of the run": lambda run: run.hash,
}


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
