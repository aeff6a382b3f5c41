"""The folder of a run: written so that it is complete or not one, and read so that what was changed is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.arrays import check_unpacked
from gradlens.core.files import make_folder, write_atomically
from gradlens.core.text import csv
from gradlens.core.types import UserError
from gradlens.runs.first_format import todays

FORMAT, FIRST = 2, 1
# What a reader would look at; their hashes are in run.json.
GUARDED = ("samples.parquet", "summary.json")


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
    table = csv(pd.DataFrame([summary]))
    write_atomically(out / "summary.csv", lambda f: f.write(table.encode()))
    _write_json(out / "summary.json", summary)
    _write_json(out / "run.json", {"format": FORMAT, **provenance, "sha256": _hashes(out)})
    return out


def read_run(folder: Path) -> dict[str, Any]:
    """The parts of a complete and unchanged run, by their names in ``Run``; raises UserError for another."""
    if not (folder / "run.json").exists():
        state = "is an unfinished run; go on with --resume" if (folder / "parts").exists() else "holds no run"
        raise UserError(f"{folder} {state}" + ("" if "unfinished" in state else "; give the folder of an analysis"))
    try:
        provenance = json.loads((folder / "run.json").read_text())
        written = _check_format(folder, provenance)
        del provenance["format"]
        hashes = provenance.pop("sha256", {})
        parts = {
            "samples": pd.read_parquet(folder / "samples.parquet"),
            "summary": json.loads((folder / "summary.json").read_text()),
            "arrays": _read_arrays(folder / "arrays.npz"),
            "provenance": provenance,
            "examples": _read_arrays(folder / "examples" / "loss.npz"),
        }
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{folder} is damaged ({type(error).__name__}: {error}); analyze again") from None
    _check_unchanged(folder, hashes, parts)
    return todays(parts) if written == FIRST else parts


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


def _check_unchanged(folder: Path, hashes: Mapping[str, str], parts: Mapping[str, Any]) -> None:
    """Numbers that somebody edited are no measurement; a run without hashes is older than they are."""
    now = _hashes(folder)
    changed = next((name for name, then in hashes.items() if now.get(name) != then), None)
    if changed:
        raise UserError(
            f"{folder / changed} was changed after the run was measured; analyze again, or change a run in Python and "
            "save it: Run.load, then .samples, then .save"
        )
    rows, images = len(parts["samples"]), parts["summary"].get("images")
    if not hashes and images is not None and rows != images:
        raise UserError(
            f"{folder} has {rows:,} rows in samples.parquet, and its summary counts {images:,} images: one of them was "
            "changed; analyze again"
        )


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in GUARDED}


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, default=_plain, ensure_ascii=False)
    write_atomically(path, lambda f: f.write(text.encode()))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _write_arrays(stream: BinaryIO, arrays: Mapping[str, Any]) -> None:
    np.savez_compressed(stream, **arrays)


def _read_arrays(path: Path) -> dict[str, NDArray]:
    check_unpacked(path)
    with path.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)
