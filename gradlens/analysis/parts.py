"""A run while it is under way: finished batches on the disk, so that nothing is measured twice.

Each process writes under a name of its own: rows of finished batches as Parquet, then one state file
with the tallies and the list of those batches. The state file is the commit: rows of a batch that it
does not list are ignored, and a resumed run starts a new writer beside the old ones.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.files import make_folder, write_atomically
from gradlens.core.types import UserError
from gradlens.runs.first_format import todays_name
from gradlens.runs.folder import FORMAT
from gradlens.stats.tallies import Tally

Tallies = dict[str, Tally]


class Parts:
    """The batches that are done; ``folder=None`` keeps them in memory only."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.done: set[int] = set()
        self.failures: dict[int, str] = {}
        self._writer = uuid.uuid4().hex[:12]
        self._mine: list[int] = []
        self._rows: list[pd.DataFrame] = []
        self._flushed = 0
        self._today: Callable[[str], str] = str

    def open(self, contract: Mapping[str, Any], resume: bool) -> None:
        """Start, or go on where an earlier process with the same contract stopped."""
        if self.folder is None:
            return
        make_folder(self.folder)
        if next(self._states(), None) is None:
            text = json.dumps({"format": FORMAT, **contract}, indent=1, default=str).encode()
            write_atomically(self.folder / "contract.json", lambda f: f.write(text))
        elif not resume:
            raise UserError(
                f"{self.folder.parent} holds an unfinished run; add --resume to go on with it, or choose another output"
            )
        self.join(contract)

    def join(self, contract: Mapping[str, Any]) -> None:
        """Take part in the run that was opened, by this process or by its fellow."""
        if self.folder is None:
            return
        begun = json.loads((self.folder / "contract.json").read_text())
        # Before format 2 the contract did not say which it was.
        self._today = str if "format" in begun else todays_name
        begun["analyzers"] = [self._today(name) for name in begun.get("analyzers", ())]
        if different := difference(begun, contract):
            raise UserError(
                f"{self.folder.parent} was begun with {different}; resume with the same settings, or choose another "
                "output"
            )
        for _, state in self._states():
            self._note(state)

    def add(self, batch: int, rows: pd.DataFrame | None, failures: dict[int, str]) -> None:
        """A finished batch; its rows carry the batch's number until they are merged."""
        self.done.add(batch)
        self._mine.append(batch)
        self.failures.update(failures)
        if rows is not None:
            self._rows.append(rows.assign(batch=batch))

    def flush(self, tallies: Tallies) -> None:
        """Put what is finished on the disk; a no-op in memory or when nothing is new."""
        if self.folder is None or len(self._mine) == self._flushed:
            return
        if self._rows:
            frame = pd.concat(self._rows, ignore_index=True)
            name = f"{self._writer}-{self._flushed:06d}.parquet"
            write_atomically(self.folder / name, lambda f: frame.to_parquet(f))
        arrays: dict[str, Any] = {
            f"{name}|{key}": value for name, t in tallies.items() for key, value in t.state().items()
        }
        arrays["batches"] = np.array(self._mine)
        arrays["failures"] = np.array(json.dumps(self.failures))
        write_atomically(self.folder / f"{self._writer}.npz", lambda f: np.savez(f, **arrays))
        self._rows.clear()
        self._flushed = len(self._mine)

    def merge(self, tallies: Tallies, fresh: Tallies, batches: int) -> pd.DataFrame:
        """All rows by image index; every other writer's tallies are added to ``tallies``.

        fresh: empty tallies that each writer's state is loaded into, one writer at a time.
        """
        frames = list(self._rows)
        # Tallies add up in any order to the last bit, so which process measured a batch, or how often the run was
        # stopped, leaves no trace; rows are sorted by image for the same reason.
        for writer, state in self._states():
            self._note(state)
            frames.append(self._rows_of(writer, state["batches"]))
            if writer != self._writer:
                _add(tallies, fresh, {self._today(name): value for name, value in state.items()})
        if len(self.done) < batches:
            missing = batches - len(self.done)
            raise UserError(f"{missing} of {batches} batches are not measured yet; run again with --resume")
        samples = pd.concat(frames, ignore_index=True).sort_values("index", ignore_index=True)
        if samples["index"].duplicated().any():
            raise UserError(f"two processes measured the same images into {self.folder}; delete it and start once")
        return samples.drop(columns="batch")

    def remove(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every writer's name and last committed state."""
        if self.folder is None:
            return
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path) as state:
                yield path.stem, state

    def _note(self, state: Mapping[str, Any]) -> None:
        self.done.update(state["batches"].tolist())
        self.failures.update({int(k): v for k, v in json.loads(str(state["failures"])).items()})

    def _rows_of(self, writer: str, batches: NDArray) -> pd.DataFrame:
        assert self.folder is not None
        files = sorted(self.folder.glob(f"{writer}-*.parquet"))
        rows = pd.concat([pd.read_parquet(f) for f in files], ignore_index=True) if files else pd.DataFrame()
        return rows[rows["batch"].isin(batches)].rename(columns=self._today) if len(rows) else rows


def difference(found: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    """The first term in which what a file holds differs from a contract, with both values; empty if none."""
    wanted = json.loads(json.dumps(contract, default=str))
    changed = (f"{k} = {_short(found.get(k))}, now {_short(v)}" for k, v in wanted.items() if found.get(k) != v)
    return next(changed, "")


def _add(tallies: Tallies, fresh: Tallies, state: Mapping[str, Any]) -> None:
    for name, tally in tallies.items():
        fresh[name].load({key: state[f"{name}|{key}"] for key in fresh[name].state()})
        tally.merge(fresh[name])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}…"
