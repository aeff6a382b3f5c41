"""``models.toml``: the models of a study, so that each keeps one name, order and colour everywhere.

[natural]                      # the label
path = "natural.pth.tar"       # below this file, or timm:NAME, …
arch = "resnet50"              # and arch_kwargs, weights, activation, mean, std, normalized, num_classes,
                               # img_size, crop_pct, interpolation
group = "baselines"
color = "#0072B2"
published_top1 = 76.1          # checked before a run
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlens.core.names import unknown
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.runs.record import Run

LOADING = ("arch", "arch_kwargs", "activation", "weights", "mean", "std", "normalized", "num_classes")
# timm's names → the parts of a Preprocess.
PREPROCESSING = {"img_size": "size", "crop_pct": "crop_pct", "interpolation": "interpolation"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of a manifest: how to load it, and how to show it."""

    label: str
    path: str
    arch: str | None = None
    arch_kwargs: Mapping[str, Any] | None = None
    img_size: int | tuple[int, ...] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    activation: str | None = None
    weights: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    normalized: bool | None = None
    num_classes: int | None = None
    group: str | None = None
    order: int | None = None
    color: str | None = None
    marker: str | None = None
    published_top1: float | None = None

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of ``load_model`` that the manifest states."""
        stated = {part: getattr(self, name) for name, part in PREPROCESSING.items()}
        loading = {**{name: getattr(self, name) for name in LOADING}, "preprocess": _known(stated) or None}
        return _known(loading)

    @property
    def display(self) -> dict[str, Any]:
        """What figures and tables show of it."""
        shown = {name: getattr(self, name) for name in ("label", "group", "order", "color", "marker", "published_top1")}
        return _known(shown)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def read_manifest(path: str | Path) -> list[Entry]:
    """The entries in their stated order, else in the file's; raises UserError for what does not fit."""
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; give a TOML file with a table a model") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}") from None
    entries = [_entry(file, label, table) for label, table in tables.items()]
    if not entries:
        raise UserError(f"{file} names no model; write a table such as [natural] with path = …")
    return sorted(entries, key=lambda e: len(entries) if e.order is None else e.order)


def as_manifest(runs: Sequence[Run], entries: Sequence[Entry]) -> list[Run]:
    """Runs in the order of the manifest, shown as it says; refuses a run that it does not name."""
    by_label = {entry.label: entry for entry in entries}
    for run in runs:
        if run.label not in by_label:
            raise UserError(unknown("model of the manifest", run.label, by_label))
    shown = [run.displayed(**by_label[run.label].display) for run in runs]
    return sorted(shown, key=lambda run: list(by_label).index(run.label))


def _entry(file: Path, label: str, table: Any) -> Entry:
    known = [f.name for f in dataclasses.fields(Entry) if f.name != "label"]
    if not isinstance(table, dict):
        raise UserError(f"{file}: '{label}' stands outside a table; write it below [LABEL]")
    stray = next((key for key in table if key not in known), None)
    if stray:
        raise UserError(f"{file}, [{label}]: {unknown('key', stray, known)}")
    if "path" not in table:
        raise UserError(f"{file}, [{label}]: no path; give path = 'ckpt.pt' or 'timm:NAME'")
    local = file.parent / table["path"]
    values: dict[str, Any] = {**table, "path": str(local) if local.exists() else table["path"]}
    triples: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return Entry(label=label, **{**values, **triples})
