from __future__ import annotations

import inspect
from collections.abc import Sequence

from matplotlib.figure import Figure

from gradlens.core.registry import figure as figures
from gradlens.runs.history import History
from gradlens.runs.record import Run


def caption(figure: Figure, runs: Sequence[Run] | Sequence[History], where: str | None = None) -> str:
    """A caption to start from: what is drawn, of which models and data, and the figure's notes (n, intervals, scales).

    figure, runs: what ``draw`` returned and was given. where: the condition that the images met.
    """
    name = str(figure.get_label()).partition(":")[0]
    said = [_claim(figures[name]) if name in figures else "", _subjects(runs)]
    if where:
        said.append(f"Only images with {where}")
    said += " ".join(figure.get_supxlabel().split()).split("; ")
    return " ".join(_sentence(part) for part in said if part)


def _claim(method: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split()).replace("``", "")


def _subjects(runs: Sequence[Run] | Sequence[History]) -> str:
    """Models and their data, these once where all share them; of trainings, how many seeds."""
    labels = [run.label for run in runs]
    if not all(isinstance(run, Run) for run in runs):
        return "Trainings: " + ", ".join(f"{label} (n = {labels.count(label)})" for label in dict.fromkeys(labels))
    data = [str(run.summary.get("data") or "unnamed data") for run in runs]
    head = f"Model{'s' * (len(runs) > 1)}: "
    if len(set(data)) == 1:
        return f"{head}{', '.join(labels)}; data: {data[0]}"
    return head + ", ".join(f"{label} on {name}" for label, name in zip(labels, data, strict=True))


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    # n is a symbol.
    return f"{text}." if text[:2] in ("n ", "n:") else f"{text[:1].upper()}{text[1:]}."
