"""More analyzers for a finished run: the same images, model, precision and seed, and a folder that is always whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradlens.analysis.analysis import Settings
from gradlens.analysis.analyze import analyze_all
from gradlens.analysis.parts import difference
from gradlens.analysis.reopened import opened
from gradlens.analyzers import Analyzer, choose_analyzers, name_of
from gradlens.core.lock import only_writer
from gradlens.core.types import UserError
from gradlens.runs.folder import rewrite_run, settle
from gradlens.runs.record import IDENTITY, Run

SAME = ("batch_size", *(name for name in IDENTITY if name != "analyzers"))
KEPT = ("readings", "primary")


def add(
    folder: str | Path,
    analyzers: str | Sequence[str | Analyzer | Callable],
    objective: str | Sequence[str] = "loss",
    workers: int | None = None,
    progress: bool = True,
) -> Run:
    """Measure more of a finished run's images, and write them into its folder beside what is there.

    Model, data, batch size, precision and seed are the run's own; UserError where the checkpoint or the data are
    not what was measured. Numbers there stay as they are; those of single images that need both an old and a new
    analyzer, such as norms by robustness, want a run of both.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"there is no run at {path}; give the folder of a finished analysis")
    with only_writer(path):
        settle(path)
        run = Run.load(path)
        model, data = opened(run)
        terms, objectives = run.provenance, [objective] if isinstance(objective, str) else list(objective)
        chosen = [a for a in choose_analyzers(analyzers, objectives) if name_of(a) not in terms["analyzers"]]
        if not chosen:
            raise UserError(f"{path} has these analyzers already: {', '.join(terms['analyzers'])}; add others")
        settings = Settings(terms["batch_size"], terms["precision"], terms["seed"], examples=0)
        (more,) = analyze_all([model], data, chosen, [None], settings, objectives, None, workers, progress)
        joined = _joined(run, more)
        rewrite_run(path, joined.samples, joined.summary, joined.arrays, joined.provenance, joined.examples)
    return joined


def _joined(run: Run, more: Run) -> Run:
    """The run with what it lacked; refused where the two did not measure the same."""
    then, now = run.provenance, more.provenance
    different = difference(then, {name: now[name] for name in SAME})
    if different or run.samples["index"].tolist() != more.samples["index"].tolist():
        raise UserError(f"what was added has {different or 'other images'} than the run; analyze again")
    columns = [name for name in more.samples if name not in run.samples]
    provenance: dict[str, Any] = {
        **then,
        "analyzers": [*then["analyzers"], *now["analyzers"]],
        **{name: [*then.get(name, ()), *(one for one in now[name] if one not in then.get(name, ()))] for name in KEPT},
        "missing": {**now["missing"], **then.get("missing", {})},
        "seconds": then["seconds"] + now["seconds"],
        "added": [
            *then.get("added", ()),
            {name: now[name] for name in ("analyzers", "versions", "device", "device_name", "argv", "seconds")},
        ],
    }
    samples = pd.concat([run.samples, more.samples[columns]], axis=1)
    return Run(
        samples,
        {**more.summary, **run.summary},
        {**more.arrays, **run.arrays},
        provenance,
        run.examples,
        model=more.model,
        data=more.data,
    )
