"""The runs of a report, named by group, and whether they hold what it reads: folders are also edited by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradlens.core.names import first_twice
from gradlens.core.types import UserError
from gradlens.runs.record import Run


def grouped(runs: Run | Sequence[Run] | Mapping[str, Run | Sequence[Run]]) -> dict[str, list[Run]]:
    """Runs by group; a run of a named group takes its name, numbered where it has several.

    Raises UserError for no run, two of one name, and a run that lacks what every run has.
    """
    if isinstance(runs, Mapping):
        listed = {name: [group] if isinstance(group, Run) else list(group) for name, group in runs.items()}
        named = [
            (name, run.named(name if len(group) == 1 else f"{name} {k}"))
            for name, group in listed.items()
            for k, run in enumerate(group, 1)
        ]
    else:
        named = [(run.label, run) for run in ([runs] if isinstance(runs, Run) else runs)]
    _check([run for _, run in named])
    groups: dict[str, list[Run]] = {}
    for name, run in named:
        groups.setdefault(name, []).append(run)
    return groups


def _check(runs: Sequence[Run]) -> None:
    if not runs:
        raise UserError("no run given; a report needs the folder of at least one analysis")
    if twice := first_twice([run.label for run in runs]):
        raise UserError(f"two runs are called {twice}; name them with --labels, such as --labels before,after")
    for run in runs:
        # An edited folder is refused by its hashes; this may have come about in Python.
        fault = next((f"has no column '{name}'" for name in ("index", "path") if name not in run.samples), "")
        if fault := fault or ("" if len(run.samples) else "has no images"):
            raise UserError(f"run {run.label} cannot be reported: it {fault}; report it as it was analyzed")
