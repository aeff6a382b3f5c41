"""A run while it is under way: finished batches on the disk, so that nothing is measured twice.

Each process writes under a name of its own: rows of finished batches as Parquet, then one state file
with the tallies, the list of those batches, and the hash of everything. The state file is the commit: rows of
a batch that it does not list are ignored, and a resumed run starts a new writer beside the old ones. What does
not hash to what was committed is measured again; with it goes all that its writer did, whose tallies are one sum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.files import clear_temporaries, file_hash, json_bytes, json_hash, make_folder, write_atomically
from gradlens.core.types import UserError
from gradlens.runs.first_format import todays_name
from gradlens.runs.folder import FORMAT
from gradlens.stats.tallies import Tally

Tallies = dict[str, Tally]
State = dict[str, NDArray]
CONTRACT = "contract.json"


class DamagedError(Exception):
    """What a writer left is not what it committed."""


class Parts:
    """The batches that are done; ``folder=None`` keeps them in memory only. images: the indices of each batch."""

    def __init__(self, folder: Path | None, images: Sequence[NDArray]):
        self.folder, self.images = folder, images
        self.done: set[int] = set()
        self.failures: dict[int, str] = {}
        self._writer = uuid.uuid4().hex[:12]
        self._mine: list[int] = []
        self._rows: list[pd.DataFrame] = []
        self._files: dict[str, str] = {}
        self._flushed = 0
        # The contract's hash; a run that was begun before there were hashes has none, and nothing to check.
        self._terms = ""
        self._today: Callable[[str], str] = str

    def open(self, contract: Mapping[str, Any], resume: bool) -> None:
        """Start, or go on where an earlier process with the same contract stopped; damaged parts go."""
        if self.folder is None:
            return
        make_folder(self.folder)
        clear_temporaries(self.folder)
        if not any(self.folder.glob("*.npz")):
            begun = json.loads(json_bytes({"format": FORMAT, **contract}))
            begun["sha256"] = json_hash(begun)
            write_atomically(self.folder / CONTRACT, lambda f: f.write(json_bytes(begun)))
        elif not resume:
            raise UserError(
                f"{self.folder.parent} holds an unfinished run; add --resume to go on with it, or choose another output"
            )
        self._agree(contract)
        self._drop_damaged()

    def join(self, contract: Mapping[str, Any]) -> None:
        """Take part in the run that was opened, by this process or by its fellow."""
        if self.folder is None:
            return
        self._agree(contract)
        for writer in self._writers():
            # A fellow may be writing already; what is damaged was dropped before.
            with suppress(DamagedError):
                self._note(self._committed(writer)[0])

    def add(self, batch: int, rows: pd.DataFrame | None, failures: dict[int, str]) -> None:
        """A finished batch; its rows carry the batch's number until they are merged."""
        self.done.add(batch)
        self._mine.append(batch)
        self.failures.update(failures)
        if rows is not None:
            # Not assign, which pandas warns of beyond a hundred columns.
            self._rows.append(pd.concat([rows, pd.Series(batch, rows.index, name="batch")], axis=1))

    def flush(self, tallies: Tallies) -> None:
        """Put what is finished on the disk; a no-op in memory or when nothing is new."""
        if self.folder is None or len(self._mine) == self._flushed:
            return
        if self._rows:
            frame = pd.concat(self._rows, ignore_index=True)
            name = f"{self._writer}-{self._flushed:06d}.parquet"
            write_atomically(self.folder / name, lambda f: frame.to_parquet(f))
            self._files[name] = file_hash(self.folder / name)
        state: State = {f"{name}|{key}": value for name, t in tallies.items() for key, value in t.state().items()}
        state["batches"] = np.array(self._mine)
        state |= {k: np.array(json.dumps(v)) for k, v in (("failures", self.failures), ("files", self._files))}
        state |= {"contract": np.array(self._terms), "writer": np.array(self._writer)}
        state["sha256"] = np.array(_state_hash(state))
        write_atomically(self.folder / f"{self._writer}.npz", lambda f: np.savez(f, **state))  # type: ignore[arg-type]
        self._rows.clear()
        self._flushed = len(self._mine)

    def merge(self, tallies: Tallies, fresh: Tallies) -> pd.DataFrame:
        """All rows by image index; every other writer's tallies are added to ``tallies``.

        fresh: empty tallies that each writer's state is loaded into, one writer at a time.
        """
        frames = list(self._rows)
        # Tallies add up in any order to the last bit, so which process measured a batch, or how often the run was
        # stopped, leaves no trace; rows are sorted by image for the same reason.
        for writer in self._writers():
            try:
                state, rows = self._committed(writer)
            except DamagedError as error:
                raise UserError(f"{self.folder}: {error}; run again with --resume to measure it again") from None
            self._note(state)
            frames.append(rows)
            if writer != self._writer:
                _add(tallies, fresh, {self._today(name): value for name, value in state.items()})
        if missing := len(self.images) - len(self.done):
            raise UserError(f"{missing} of {len(self.images)} batches are not measured yet; run again with --resume")
        samples = pd.concat(frames, ignore_index=True).sort_values("index", ignore_index=True)
        if samples["index"].duplicated().any():
            raise UserError(f"two processes measured the same images into {self.folder}; delete it and start once")
        return samples.drop(columns="batch")

    def remove(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _agree(self, contract: Mapping[str, Any]) -> None:
        """Hear what the run was begun with; refused where that is another run."""
        assert self.folder is not None
        file = self.folder / CONTRACT
        try:
            begun = json.loads(file.read_text(encoding="utf-8"))
            self._terms = begun.pop("sha256", "")
            whole = json_hash(begun) == self._terms or not (self._terms or "format" in begun)
            # Before format 2 the contract did not say which it was.
            self._today = str if "format" in begun else todays_name
            begun["analyzers"] = [self._today(name) for name in begun.get("analyzers", ())]
        except (OSError, ValueError, TypeError, AttributeError):
            whole, begun = False, {}
        if not whole:
            raise UserError(f"{file} is damaged, which says what was begun; delete {self.folder} and start again")
        if different := difference(begun, contract):
            raise UserError(
                f"{self.folder.parent} was begun with {different}; resume with the same settings, or choose another "
                "output"
            )

    def _drop_damaged(self) -> None:
        """Note what is done; what is damaged is said, and removed so that it is measured again."""
        again: list[str] = []
        for writer in self._writers():
            try:
                self._note(self._committed(writer)[0])
            except DamagedError as error:
                again.append(str(error))
                for file in self._of(writer):
                    file.unlink()
        if again:
            which = f"{again[0]} and {len(again) - 1} more" if len(again) > 1 else again[0]
            logging.getLogger("gradlens").warning(f"{self.folder}: {which}; its batches are measured again")

    def _writers(self) -> list[str]:
        """Every writer's name, also of those whose state is lost."""
        if self.folder is None:
            return []
        files = [*self.folder.glob("*.npz"), *self.folder.glob("*.parquet")]
        return sorted({file.stem.partition("-")[0] for file in files})

    def _of(self, writer: str) -> list[Path]:
        assert self.folder is not None
        return [*self.folder.glob(f"{writer}.npz"), *self.folder.glob(f"{writer}-*.parquet")]

    def _note(self, state: State) -> None:
        self.done.update(state["batches"].tolist())
        self.failures.update({int(k): v for k, v in json.loads(str(state["failures"])).items()})

    def _committed(self, writer: str) -> tuple[State, pd.DataFrame]:
        """A writer's last state and rows, checked; raises DamagedError."""
        assert self.folder is not None
        file = self.folder / f"{writer}.npz"
        if not file.exists():
            raise DamagedError(f"rows of {writer} have no {file.name} that commits them")
        # Whatever a library raises at bytes that are none of its format.
        try:
            with file.open("rb") as stream, np.load(stream) as stored:
                state = dict(stored)
            if self._terms:
                self._check_state(writer, state)
            rows = self._rows_of(writer, state)
            self._check_images(file.name, state, rows)
        except DamagedError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:80]
            raise DamagedError(f"{file.name} or its rows cannot be read ({type(error).__name__}: {reason})") from None
        return state, rows

    def _check_state(self, writer: str, state: State) -> None:
        """Whether it is whole, of this run and of this writer."""
        found = [str(state[name]) for name in ("sha256", "contract", "writer")]
        if found != [_state_hash(state), self._terms, writer]:
            raise DamagedError(f"{writer}.npz is not what was committed")

    def _rows_of(self, writer: str, state: State) -> pd.DataFrame:
        assert self.folder is not None
        if not self._terms:
            files = sorted(self.folder.glob(f"{writer}-*.parquet"))
        else:
            hashes = json.loads(str(state["files"]))
            files = [self.folder / name for name in hashes]
            for file in files:
                if not file.exists():
                    raise DamagedError(f"{file.name} is missing")
                if file_hash(file) != hashes[file.name]:
                    raise DamagedError(f"{file.name} is not what was committed")
        rows = [pd.read_parquet(file) for file in files]
        if not rows:
            return pd.DataFrame({"index": [], "batch": []}, dtype=np.int64)
        together = pd.concat(rows, ignore_index=True)
        return together[together["batch"].isin(state["batches"])].rename(columns=self._today)

    def _check_images(self, name: str, state: State, rows: pd.DataFrame) -> None:
        """Whether the rows and the failures are the images of the batches."""
        wanted = np.concatenate([self.images[k] for k in state["batches"]])
        failed = [int(index) for index in json.loads(str(state["failures"]))]
        found = np.concatenate([rows["index"].to_numpy(), np.intersect1d(failed, wanted)])
        if not np.array_equal(np.sort(found), np.sort(wanted)):
            raise DamagedError(f"{name} has {len(found)} images, and lists batches of {len(wanted)}")


def difference(found: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    """The first term in which what a file holds differs from a contract, with both values; empty if none.

    A term that came later than the file is not in it.
    """
    wanted = json.loads(json.dumps(contract, default=str))
    changed = (f"{k} = {_short(found[k])}, now {_short(v)}" for k, v in wanted.items() if found.get(k, v) != v)
    return next(changed, "")


def _state_hash(state: State) -> str:
    """SHA-256 of all arrays but that of the hash itself."""
    sha = hashlib.sha256()
    for name in sorted(state):
        if name != "sha256":
            array = np.ascontiguousarray(state[name])
            sha.update(f"{name} {array.dtype.str} {state[name].shape}".encode())
            sha.update(array.tobytes())
    return sha.hexdigest()


def _add(tallies: Tallies, fresh: Tallies, state: Mapping[str, Any]) -> None:
    for name, tally in tallies.items():
        fresh[name].load({key: state[f"{name}|{key}"] for key in fresh[name].state()})
        tally.merge(fresh[name])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}…"
