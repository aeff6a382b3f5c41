"""``gradlens compare``: runs side by side, or in groups of training seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gradlens.cli.options import Common
from gradlens.cli.terminal import say
from gradlens.core.names import as_number
from gradlens.core.registry import command
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.core.table import Table
    from gradlens.runs.record import Run


@command
@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """Compare finished runs image by image, or groups of training seeds; needs no model, data or torch."""

    runs: Positional[tuple[str, ...]]
    """Run folders, or groups of them: natural=runs/natural-s* edge=runs/edge-s*"""
    where: str | None = None
    """Only images for which this holds in every run, such as "correct and confidence > 0.9"."""
    columns: str | None = None
    """Only these columns: l1,edge_auc_canny"""
    primary: str | None = None
    """The declared hypotheses, at most five; default: those that the runs' analyzers declare."""
    reference: str | None = None
    """Whom the others are compared with; default: the first."""
    smallest: str | None = None
    """Smallest effects of interest, each in its column's unit: l1=0.5,edge_auc_canny=0.01"""
    clusters: str | None = None
    """The column whose images of one value count as one sample; default: cluster, if there; path: each image."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """A file to write: .csv (all numbers), .md or .tex."""
    allow_edited: bool = False
    """Compare runs whose files were changed after they were measured."""

    def run(self) -> dict[str, Any]:
        from gradlens.core.table import check_format

        if self.out:
            check_format(self.out)
        table = self._compared()
        table.show()
        if self.out:
            say(f"wrote {table.save(self.out)}")
        return table.as_json()

    def _compared(self) -> Table:
        from gradlens.runs.comparison import compare

        return compare(
            read_runs(self.runs, self.allow_edited),
            where=self.where,
            columns=_split(self.columns),
            primary=_split(self.primary),
            reference=self.reference,
            smallest=_effects(self.smallest) if self.smallest else None,
            clusters=self.clusters,
        )


def read_runs(words: Sequence[str], allow_edited: bool = False) -> list[Run] | dict[str, list[Run]]:
    """Runs from folders and ``LABEL=FOLDERS``, whose patterns the shell may have left; a mapping where one has a label.

    A label given again adds to its group; a folder without one is a group by its model's name.
    """
    from gradlens.runs.record import Run

    groups: dict[str, list[Run]] = {}
    plain: list[Run] = []
    for word in words:
        label, equals, pattern = word.partition("=")
        # A folder may be called lr=0.1.
        labelled = bool(equals) and not Path(word).exists()
        if labelled and not (label and pattern):
            raise UserError(f"'{word}' is no group of runs; write LABEL=FOLDER, such as natural=runs/natural-s*")
        found = [Run.load(folder, allow_edited) for folder in _folders(pattern if labelled else word)]
        plain += [] if labelled else found
        for run in found:
            groups.setdefault(label if labelled else run.label, []).append(run)
    return plain if len(plain) == sum(map(len, groups.values())) else groups


def _folders(pattern: str) -> list[Path]:
    """The folders that a pattern matches."""
    if not any(character in pattern for character in "*?["):
        return [Path(pattern)]
    path = Path(pattern)
    matched = [found for found in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if found.is_dir()]
    if not matched:
        raise UserError(f"no folder matches {pattern}; give the folders of analyses")
    return sorted(matched)


def _split(text: str | None) -> list[str] | None:
    """Names at the commas, but for those in brackets: ``l1,robust[pgd10,linf,4/255]``."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)] if text else None


def _effects(text: str) -> dict[str, float]:
    effects = {}
    for part in _split(text) or ():
        name, _, value = part.rpartition("=")
        try:
            effects[name] = as_number(value)
        except (ValueError, ZeroDivisionError):
            raise UserError(f"smallest effect '{part}' is not COLUMN=NUMBER; write l1=0.5") from None
        if not (name and effects[name] > 0):
            raise UserError(f"smallest effect '{part}' is not COLUMN=NUMBER above 0; write l1=0.5")
    return effects
