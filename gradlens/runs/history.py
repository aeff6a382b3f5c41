"""The history of a training, as figures read it, and what a folder holds. Knows files, not torch."""

from __future__ import annotations

import inspect
import logging
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from gradlens.core.fields import Rule, checked, read_json, short
from gradlens.core.files import file_hash, json_hash
from gradlens.core.types import UserError, digest
from gradlens.runs.folder import refuse_edited
from gradlens.runs.record import Run

FILES = ("history.csv", "config.json", "last.pt")
SEED = re.compile(r"s\d+")


@dataclass(frozen=True)
class History:
    """One training: how well it did after each epoch, and its recipe.

    frame: a row an epoch, with the columns of ``history.csv``; accuracies are shares. config: the fields of
    ``TrainConfig`` as plain values. summary and provenance are named as a run's, so that labels and looks are
    given to both alike.
    """

    frame: pd.DataFrame
    config: dict[str, Any]
    summary: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The folder's name, or its parent's for a seed (``s0``, ``s1``, …), so that seeds of one recipe share it."""
        return str(self.summary["model"])

    def named(self, label: str) -> History:
        """The same training under another name."""
        return replace(self, summary={**self.summary, "model": label})

    def displayed(self, **display: Any) -> History:
        """The same training with these looks in figures."""
        model = self.provenance.get("model") or {}
        shown = {**(model.get("display") or {}), **display}
        return replace(self, provenance={**self.provenance, "model": {**model, "display": shown}})

    @property
    def finished(self) -> bool:
        """Whether every epoch of the recipe is there; not so when it diverged or goes on."""
        return len(self.frame) >= self.config["epochs"]

    @property
    def hash(self) -> str:
        """Identifies recipe and numbers, for a figure's metadata."""
        recipe = {name: value for name, value in self.config.items() if name != "out"}
        return digest([recipe, self.frame.to_csv(index=False)])

    @classmethod
    def load(cls, folder: str | Path, allow_edited: bool = False) -> History:
        """Read a folder of ``gradlens train``; raises UserError where no epoch is finished or a file is damaged.

        allow_edited: read one that was changed by hand all the same, and say so.
        """
        path = Path(folder)
        if not (path / "history.csv").exists():
            raise UserError(f"{path} holds no history of a training; give a folder of gradlens train with a done epoch")
        if not (path / "config.json").exists():
            raise UserError(f"{path} has no config.json, which older versions did not write; train again")
        try:
            config = checked(path / "config.json", "all", read_json(path / "config.json", "the recipe"), dict)
            epochs = config.get("epochs")
            checked(path / "config.json", "epochs", epochs, int, Rule(lambda number: number > 0, "at least 1"))
            frame = _numbers(path / "history.csv")
            changed = _changed(path, config)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); train again") from None
        refuse_edited(path, changed, allow_edited, "train again")
        name = path.resolve()
        label = (name.parent if SEED.fullmatch(name.name) else name).name
        return cls(frame, config, {"model": label})


def _changed(folder: Path, config: dict[str, Any]) -> list[str]:
    """The files that are not what was written; the hashes are taken out of the recipe."""
    hashes = config.pop("sha256", None)
    if hashes is None:
        said = "holds no hashes, as versions before them wrote it: an edit would not be noticed"
        logging.getLogger("gradlens").warning(f"{folder} {said}")
        return []
    now = {"config.json": json_hash(config), "history.csv": file_hash(folder / "history.csv")}
    return [name for name, one in now.items() if one not in checked(folder, "sha256", hashes, dict).get(name, ())]


def _numbers(file: Path) -> pd.DataFrame:
    """A row an epoch, and a number in every cell."""
    frame = pd.read_csv(file)
    if absent := {"epoch", "val_top1", "val_pgd10"} - set(frame):
        raise UserError(f"{file} has no column {min(absent)}")
    if not len(frame):
        raise UserError(f"{file} has no epoch")
    wrong = next((name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])), None)
    if wrong is not None:
        raise UserError(f"{file}: {wrong} = {short(frame[wrong].iloc[0])}; wanted a number an epoch")
    return frame


def load_drawable(folder: str | Path, where: str | None = None, allow_edited: bool = False) -> Run | History:
    """What a folder holds: a run, of whose images ``where`` selects some, or the history of a training."""
    path = Path(folder)
    if (path / "run.json").exists() or not any((path / name).exists() for name in FILES):
        return Run.load(path, allow_edited).select(where)
    if where:
        raise UserError(f"'{where}' selects images, and {path} is a training, which has none; leave it out")
    return History.load(path, allow_edited)


def check_kind(name: str, method: Callable, given: Sequence[Run | History]) -> None:
    """Refuse runs where a figure draws trainings, and the reverse; its first parameter's annotation says which."""
    first = next(iter(inspect.signature(method).parameters))
    wanted = History if History in typing.get_args(typing.get_type_hints(method).get(first)) else Run
    wrong = next((one for one in given if not isinstance(one, wanted)), None)
    if wrong is None:
        return
    if wanted is History:
        raise UserError(
            f"figure {name} draws trainings, and {wrong.label} is an analysis; give folders of gradlens train"
        )
    raise UserError(f"figure {name} draws analyses, and {wrong.label} is a training; give folders of gradlens analyze")
