"""The folder of a run: written so that it is complete or not one, and read so that what was changed is noticed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.arrays import check_unpacked
from gradlens.core.files import file_hash, json_bytes, json_hash, make_folder, write_atomically
from gradlens.core.text import csv
from gradlens.core.types import UserError
from gradlens.runs.first_format import todays

FORMAT, FIRST = 2, 1
# All that is measured; what is drawn from it later may lie beside it.
GUARDED = ("samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples/loss.npz")


def write_run(
    folder: Path,
    samples: pd.DataFrame,
    summary: Mapping[str, Any],
    arrays: Mapping[str, NDArray],
    provenance: Mapping[str, Any],
    examples: Mapping[str, NDArray],
) -> Path:
    """``run.json`` comes last, so a folder that has it is complete."""
    out = make_folder(folder)
    (out / "run.json").unlink(missing_ok=True)
    write_atomically(out / "samples.parquet", lambda f: samples.to_parquet(f))
    write_atomically(out / "arrays.npz", lambda f: _write_arrays(f, arrays))
    make_folder(out / "examples")
    write_atomically(out / "examples" / "loss.npz", lambda f: _write_arrays(f, examples))
    table = csv(pd.DataFrame([summary], dtype=object))
    write_atomically(out / "summary.csv", lambda f: f.write(table.encode(errors="backslashreplace")))
    _write_json(out / "summary.json", summary)
    fields = json.loads(json_bytes({"format": FORMAT, **provenance}, _plain))
    hashes = {name: file_hash(out / name) for name in GUARDED} | {"run.json": json_hash(fields)}
    _write_json(out / "run.json", {**fields, "sha256": hashes})
    return out


# Where a run that is to take a finished one's place is written first.
STAGED = "rewritten"


def rewrite_run(folder: Path, *parts: Any) -> None:
    """Put another run in a finished one's place: one of them is there whole whenever the process is killed.

    parts: as of ``write_run``. The new run is one from the moment at which its own run.json is written, and is
    read from there until all of it lies where the old one lay.
    """
    write_run(folder / STAGED, *parts)
    settle(folder)


def settle(folder: Path) -> None:
    """Finish a rewriting that was begun, or forget one that was not written whole."""
    staged = folder / STAGED
    if (staged / "run.json").exists():
        for name in (*GUARDED, "run.json"):
            content = (staged / name).read_bytes()
            write_atomically(folder / name, partial(_write_bytes, content))
        (staged / "run.json").unlink()
    shutil.rmtree(staged, ignore_errors=True)


def _write_bytes(content: bytes, stream: BinaryIO) -> None:
    stream.write(content)


def read_run(folder: Path, allow_edited: bool = False) -> dict[str, Any]:
    """The parts of a complete and unchanged run, by their names in ``Run``; raises UserError for another.

    allow_edited: read one whose files were changed all the same, and say so.
    """
    if (folder / STAGED / "run.json").exists():
        folder = folder / STAGED
    if not (folder / "run.json").exists():
        state = "is an unfinished run; go on with --resume" if (folder / "parts").exists() else "holds no run"
        raise UserError(f"{folder} {state}" + ("" if "unfinished" in state else "; give the folder of an analysis"))
    where = folder / "run.json"
    try:
        provenance = _read_json(folder / "run.json")
        written = _check_format(folder, provenance)
        hashes = provenance.pop("sha256", {})
        changed = _changed(folder, hashes, provenance)
        where = folder / changed[0] if changed else folder
        del provenance["format"]
        parts = {
            "samples": pd.read_parquet(folder / "samples.parquet"),
            "summary": _read_json(folder / "summary.json"),
            "arrays": _read_arrays(folder / "arrays.npz"),
            "provenance": provenance,
            "examples": _read_arrays(folder / "examples" / "loss.npz"),
        }
    except UserError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where} is damaged ({why}); analyze again") from None
    refuse_edited(folder, changed, allow_edited, "analyze again")
    if changed:
        provenance["edited"] = changed
    if written == FIRST:
        _check_rows(folder, parts)
    return todays(parts) if written == FIRST else parts


def refuse_edited(folder: Path, changed: Sequence[str], allowed: bool, remedy: str) -> None:
    """Say which files are not what was written, or refuse them."""
    if changed and not allowed:
        raise UserError(
            f"{folder / changed[0]} was changed after it was written; {remedy}, or read it all the same with "
            "--allow-edited (in Python allow_edited=True)"
        )
    if changed:
        logging.getLogger("gradlens").warning(f"{folder} was changed after it was written: {', '.join(changed)}")


def _check_format(folder: Path, provenance: Any) -> int:
    if not isinstance(provenance, dict) or "format" not in provenance:
        raise UserError(f"{folder / 'run.json'} was not written by gradlens; give the folder of an analysis")
    found = provenance["format"]
    if found not in (FORMAT, FIRST):
        raise UserError(
            f"{folder} was written by another version of gradlens (format {found}, this one reads {FORMAT}); analyze "
            "again"
        )
    return found


def _changed(folder: Path, hashes: Mapping[str, str], fields: Mapping[str, Any]) -> list[str]:
    """The files that are not what was measured; only a run of the first format may be older than some hashes."""
    now = {name: file_hash(folder / name) if (folder / name).exists() else "" for name in GUARDED}
    now = {"run.json": json_hash(fields), **now}
    return [name for name in (hashes if fields["format"] == FIRST else now) if now.get(name) != hashes.get(name)]


def _check_rows(folder: Path, parts: Mapping[str, Any]) -> None:
    """All that can be checked of a run that is older than hashes."""
    rows, images = len(parts["samples"]), parts["summary"].get("images")
    if images is not None and rows != images:
        raise UserError(
            f"{folder} has {rows:,} rows in samples.parquet, and its summary counts {images:,} images: one of them was "
            "changed; analyze again"
        )


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda f: f.write(json_bytes(value, _plain)))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _write_arrays(stream: BinaryIO, arrays: Mapping[str, Any]) -> None:
    np.savez_compressed(stream, **arrays)


def _read_arrays(path: Path) -> dict[str, NDArray]:
    check_unpacked(path)
    with path.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)
