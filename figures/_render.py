"""What the papers' figures share: one by name, of the folders on the command line, else of ``gradlens demo``'s."""

from __future__ import annotations

import sys
from pathlib import Path

from gradlens import UserError
from gradlens.plotting import draw, save
from gradlens.runs.history import load_drawable

DEMO = Path("gradlens-demo")
RUNS = ("natural", "gradnorm", "edge")
TRAININGS = tuple(f"training/{name}" for name in RUNS)


def render(spec: str, *of_demo: str) -> None:
    """Write ``NAME.pdf`` here; the same as ``gradlens figure SPEC FOLDER… -o NAME.pdf``."""
    try:
        given = [load_drawable(folder) for folder in sys.argv[1:] or [DEMO / name for name in of_demo]]
        print(save(draw(spec, given), f"{spec.partition(':')[0]}.pdf", given))
    except UserError as error:
        sys.exit(str(error))
