"""Which setting of an analyzer the runs hold: ``minimal_eps``, or ``minimal_eps[points=7]``."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens._results import Run
from gradlens._types import UserError
from gradlens.plotting._panels import need_array


def one_setting(runs: Sequence[Run], analyzer: str, array: str) -> str:
    """The one setting that all runs have; refuses runs without it, with several, or with different ones."""
    found = [_settings(run, analyzer, array) for run in runs]
    for run, settings in zip(runs, found, strict=True):
        if not settings:
            need_array(run, f"{analyzer}/{array}", analyzer)
    common = [name for name in found[0] if all(name in settings for settings in found)]
    if analyzer in common or len(common) == 1:
        return analyzer if analyzer in common else common[0]
    said = "; ".join(f"{run.label} {', '.join(settings)}" for run, settings in zip(runs, found, strict=True))
    raise UserError(f"the runs do not share one setting of {analyzer} ({said}); analyze them with the same parameters")


def _settings(run: Run, analyzer: str, array: str) -> list[str]:
    names = (name.removesuffix(f"/{array}") for name in run.arrays if name.endswith(f"/{array}"))
    return [name for name in names if name == analyzer or name.startswith((f"{analyzer}[", f"{analyzer}@"))]
