"""Runs of random numbers, saved beside a report of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import made_run

from gradlens import Run
from gradlens.report import write_report


@pytest.fixture(scope="session")
def runs() -> list[Run]:
    return [made_run("natural", seed=0), made_run("robust", seed=1)]


@pytest.fixture(scope="session")
def place(runs, tmp_path_factory) -> Path:
    """Saved runs, and a report of both."""
    folder = tmp_path_factory.mktemp("report")
    for run in runs:
        run.save(folder / run.label)
    write_report(runs, folder / "both.html")
    return folder


@pytest.fixture
def without_figures(monkeypatch):
    """Most of the time goes into figures, which other tests look at."""
    monkeypatch.setattr("gradlens.report._write.draw_all", lambda runs: ([], {}))
