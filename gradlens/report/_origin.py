"""Where a run comes from: what is needed to repeat it, side by side, and the files with the raw numbers."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
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


# Each by its name in the provenance, and the model's own parts behind its dot.
FACTS = {
    "model": "model.spec",
    "architecture": "arch",
    "activation": "activation",
    "weights used": "model.weights",
    "hash of the weights": "weights",
    "SHA-256 of the file": "model.sha256",
    "mean": "mean",
    "standard deviation": "std",
    "data": "data",
    "images": "images",
    "fingerprint of the data": "data_fingerprint",
    "preprocessing": "preprocess",
    "hash of the preprocessing": "preprocess_hash",
    "objective": "objective",
    "analyzers": "analyzers",
    "protocol": "protocol",
    "seed": "seed",
    "precision": "precision",
    "images a batch": "batch_size",
    "folded sites": "folded_sites",
    "device": "device_name",
    "processes": "world_size",
    "seconds": "seconds",
    "versions": "versions",
    "command": "argv",
    "hash of the run": "hash",
}


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
    known = [_known(run) for run in runs]
    found = [Fact(name, tuple(_said(of_run.get(key)) for of_run in known)) for name, key in FACTS.items()]
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


def _known(run: Run) -> dict[str, Any]:
    """The provenance as the facts name it; the objective is the loss, or what an analyzer names after an @."""
    found = run.provenance
    objectives = [Name.parse(spec).objective or "loss" for spec in found.get("analyzers") or ()]
    parts = {f"model.{key}": value for key, value in (found.get("model") or {}).items()}
    made = {"objective": list(dict.fromkeys(objectives)), "argv": shlex.join(map(str, found.get("argv") or ()))}
    return {**found, **parts, **made, "hash": run.hash}


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
