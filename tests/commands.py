"""The command line as a user types it, in process."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradlens.cli.main import main


def run(folder: Path, line: str) -> int:
    """The exit code of ``gradlens LINE`` in this folder, on a terminal of 140 columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "140")
        return main(line.split())
