"""A finished run: a row an image, a summary, arrays, provenance. Knows files, not torch."""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens._files import make_folder, write_atomically
from gradlens._types import UserError, digest

if TYPE_CHECKING:
    from gradlens._probe import Probe

FORMAT = 1
IDENTITY = (
    *("weights", "arch", "activation", "mean", "std", "data_fingerprint", "preprocess_hash"),
    *("analyzers", "seed", "precision"),
)


@dataclass
class Run:
    """What was measured of one model on one data set.

    samples: a row an image. summary: numbers of the whole run by name, None where missing. arrays: ``analyzer/what``.
    provenance: all that is needed to repeat it. examples: a few images ``(N, 3, H, W)`` with their
    raw gradients, as ``gradient · scale``.
    """

    samples: pd.DataFrame
    summary: dict[str, Any]
    arrays: dict[str, NDArray] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, NDArray] = field(default_factory=dict)
    model: Any = field(default=None, repr=False, compare=False)
    data: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # None rather than NaN, which JSON does not have.
        missing = {k for k, v in self.summary.items() if isinstance(v, float) and not math.isfinite(v)}
        self.summary = {k: None if k in missing else v for k, v in self.summary.items()}

    @property
    def label(self) -> str:
        """The model's name, as figures show it."""
        return str(self.summary.get("model", "model"))

    @property
    def hash(self) -> str:
        """Identifies what was measured, for a figure's metadata."""
        return digest({k: self.provenance.get(k) for k in IDENTITY})

    @property
    def headline(self) -> dict[str, float]:
        """The numbers worth reading first."""
        keys = ["top1", *(key for _, key, _ in self.readings)]
        return {key: self.summary[key] for key in keys if self.summary.get(key) is not None}

    @property
    def readings(self) -> list[list[str]]:
        """Title, key of the summary and meaning of what a table of this run shows, in order."""
        return self.provenance.get("readings") or []

    def select(self, where: str | None) -> Run:
        """The same run with the rows for which an expression of columns holds: ``"correct and l1 > 10"``."""
        if not where:
            return self
        try:
            holds = self.samples.eval(where)
            if not (isinstance(holds, pd.Series) and holds.dtype == bool):
                raise ValueError("not true or false of an image")
        except Exception as error:
            reason, columns = " ".join(str(error).split()), ", ".join(self.samples.columns[:12])
            raise UserError(f"cannot select '{where}' ({reason}); it may use the columns {columns}, …") from None
        return replace(self, samples=self.samples[holds])

    def top(self, column: str, n: int = 8, where: str | None = None) -> Run:
        """The n images with the largest values of a column, largest first."""
        from gradlens._registry import unknown

        chosen = self.select(where).samples
        if column not in chosen:
            raise UserError(unknown("column", column, chosen.columns))
        if not pd.api.types.is_numeric_dtype(chosen[column]):
            raise UserError(f"column '{column}' holds text, which has no largest; give a column of numbers such as l1")
        return replace(self, samples=chosen.nlargest(n, column))

    def probe(self, index: int) -> Probe:
        """Look again at one image by its ``index``; reloads model and data where needed."""
        from gradlens._again import probe_of

        return probe_of(self, index)

    def figure(self, name: str, ax: Any = None, **options: Any) -> Any:
        """Draw a registered figure of this run."""
        from gradlens.plotting import draw

        return draw(name, [self], ax=ax, **options)

    def save(self, folder: str | Path) -> Path:
        """Write the run's folder; ``run.json`` comes last, so a folder that has it is complete."""
        out = make_folder(Path(folder))
        (out / "run.json").unlink(missing_ok=True)
        write_atomically(out / "samples.parquet", lambda f: self.samples.to_parquet(f))
        write_atomically(out / "arrays.npz", lambda f: _write_arrays(f, self.arrays))
        make_folder(out / "examples")
        write_atomically(out / "examples" / "loss.npz", lambda f: _write_arrays(f, self.examples))
        table = pd.DataFrame([self.summary])
        write_atomically(out / "summary.csv", lambda f: table.to_csv(f, index=False))
        _write_json(out / "summary.json", self.summary)
        _write_json(out / "run.json", {"format": FORMAT, **self.provenance})
        return out

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run's folder; raises UserError where it is not a complete run."""
        path = Path(folder)
        if not (path / "run.json").exists():
            state = "is an unfinished run; go on with --resume" if (path / "parts").exists() else "holds no run"
            raise UserError(f"{path} {state}" + ("" if "unfinished" in state else "; give the folder of an analysis"))
        try:
            provenance = json.loads((path / "run.json").read_text())
            if provenance.pop("format") != FORMAT:
                raise UserError(f"{path} was written by another version of gradlens; analyze again")
            return cls(
                samples=pd.read_parquet(path / "samples.parquet"),
                summary=json.loads((path / "summary.json").read_text()),
                arrays=_read_arrays(path / "arrays.npz"),
                provenance=provenance,
                examples=_read_arrays(path / "examples" / "loss.npz"),
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); analyze again") from None

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={v:.4g}" for k, v in list(self.headline.items())[:4])
        return f"<Run {self.label} on {self.summary.get('data')}: {len(self.samples)} images, {numbers}>"

    def _repr_html_(self) -> str:
        title = html.escape(f"{self.label} on {self.summary.get('data')}, {len(self.samples):,} images")
        rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{v:.4g}</td></tr>" for k, v in self.headline.items())
        head = self.samples.head(5).to_html(max_cols=8, index=False, float_format="%.4g", border=0)
        return f"<b>{title}</b><table>{rows}</table>{head}"


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, default=_plain, ensure_ascii=False)
    write_atomically(path, lambda f: f.write(text.encode()))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _write_arrays(stream: BinaryIO, arrays: dict[str, Any]) -> None:
    np.savez_compressed(stream, **arrays)


def _read_arrays(path: Path) -> dict[str, NDArray]:
    with path.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)
