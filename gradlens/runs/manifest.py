"""``models.toml``: the models of a study, so that each keeps one name, order and colour everywhere.

[natural]                      # what it is called, and its folder below -o
label = "natural, 90 epochs"   # what figures and tables call it, where that is something else
path = "natural.pth.tar"       # below this file, or timm:NAME, …
arch = "resnet50"              # and arch_kwargs, weights, activation, mean, std, normalized, num_classes,
                               # img_size, crop_pct, interpolation
group = "baselines"
color = "#0072B2"
published_top1 = 76.1          # checked before a run
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlens.core.fields import PERCENT, Rule, checked_table, read_toml, short
from gradlens.core.names import unknown
from gradlens.core.text import is_name
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.runs.record import Run


def is_color(text: str) -> bool:
    from matplotlib.colors import is_color_like

    return is_color_like(text)


def is_marker(text: str) -> bool:
    from matplotlib.markers import MarkerStyle

    return text in MarkerStyle.markers


MOST_CLASSES = 1_000_000
# What else must hold of a value than its type.
RULES = {
    "label": Rule(lambda label: bool(label.strip()), "a name to show"),
    "num_classes": Rule(lambda number: 0 < number <= MOST_CLASSES, "a number of classes, at least 1"),
    "std": Rule(lambda std: min(std, default=0) > 0, "a positive number a channel"),
    "published_top1": PERCENT,
    "color": Rule(is_color, "a colour such as '#D55E00'"),
    "marker": Rule(is_marker, "one of matplotlib's markers, such as 'o'"),
}
LOADING = ("arch", "arch_kwargs", "activation", "weights", "mean", "std", "normalized", "num_classes")
# timm's names → the parts of a Preprocess.
PREPROCESSING = {"img_size": "size", "crop_pct": "crop_pct", "interpolation": "interpolation"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of a manifest: how to load it, and how to show it."""

    key: str
    label: str
    path: str
    arch: str | None = None
    arch_kwargs: dict | None = None
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
    tables = read_toml(file, "a TOML file with a table a model")
    entries = [_entry(file, key, table) for key, table in tables.items()]
    if not entries:
        raise UserError(f"{file} names no model; write a table such as [natural] with path = …")
    return sorted(entries, key=lambda e: len(entries) if e.order is None else e.order)


def as_manifest(runs: Sequence[Run], entries: Sequence[Entry]) -> list[Run]:
    """Runs in the order of the manifest, called and shown as it says; refuses a run that it does not name."""
    named = {name: entry for entry in entries for name in (entry.key, entry.label)}
    for run in runs:
        if run.label not in named:
            raise UserError(unknown("model of the manifest", run.label, named))
    found = sorted((entries.index(named[run.label]), place) for place, run in enumerate(runs))
    return [runs[place].named(entries[k].label).displayed(**entries[k].display) for k, place in found]


def _entry(file: Path, key: str, table: Any) -> Entry:
    kinds = typing.get_type_hints(Entry)
    known = [name for name in kinds if name != "key"]
    if not is_name(key):
        raise UserError(f"{file}: '{key}' cannot be a folder's name, which it is below -o; rename it, and give a label")
    if not isinstance(table, dict):
        raise UserError(f"{file}: '{key}' stands outside a table; write it below [NAME]")
    source = f"{file}, [{key}]"
    stray = next((word for word in table if word not in known), None)
    if stray:
        raise UserError(f"{source}: {unknown('key', stray, known)}")
    if "path" not in table:
        raise UserError(f"{source}: no path; give path = 'ckpt.pt' or 'timm:NAME'")
    values = checked_table(source, table, kinds, RULES)
    try:
        local = file.parent / values["path"]
        path = str(local) if local.exists() else values["path"]
    except (OSError, ValueError):  # too long, or with a NUL
        raise UserError(f"{source}: path = {short(values['path'])} is none; give path = 'ckpt.pt'") from None
    return Entry(key=key, **{"label": key, **values, "path": path})
