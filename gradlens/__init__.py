"""gradlens: what the gradients of a trained classifier with respect to its natural input look like.

>>> import gradlens as gl
>>> model = gl.load_model("ckpt.pt")
>>> run = gl.analyze(model, "imagenet-folder", limit=1000)
>>> run.top("l1", 8, where="correct").show()

Every name below is imported when it is first used, so that ``import gradlens`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "_types",
    "Preprocess": "_types",
    "UserError": "_types",
    "Interrupted": "_types",
    "Probe": "_probe",
    "Run": "_results",
    "Table": "_table",
    "analyze": "_run",
    "attack": "attacks",
    "attribution": "_attribution",
    "compare": "_compare",
    "edges": "",
    "input_gradient": "_sessions",
    "leaderboard": "_leaderboard",
    "load_data": "data",
    "load_model": "models",
    "measure": "_measure",
    "methods": "_registry",
    "probe": "_sessions",
    "swap_activations": "models",
    "train": "training._loop",
    "TrainConfig": "training._config",
    "write_report": "report",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from gradlens import edges as edges
    from gradlens._attribution import attribution as attribution
    from gradlens._compare import compare as compare
    from gradlens._leaderboard import leaderboard as leaderboard
    from gradlens._measure import measure as measure
    from gradlens._probe import Probe as Probe
    from gradlens._registry import methods as methods
    from gradlens._results import Run as Run
    from gradlens._run import analyze as analyze
    from gradlens._sessions import input_gradient as input_gradient
    from gradlens._sessions import probe as probe
    from gradlens._table import Table as Table
    from gradlens._types import Batch as Batch
    from gradlens._types import Interrupted as Interrupted
    from gradlens._types import Preprocess as Preprocess
    from gradlens._types import UserError as UserError
    from gradlens.attacks import attack as attack
    from gradlens.data import load_data as load_data
    from gradlens.models import load_model as load_model
    from gradlens.models import swap_activations as swap_activations
    from gradlens.report import write_report as write_report
    from gradlens.training._config import TrainConfig as TrainConfig
    from gradlens.training._loop import train as train


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gradlens' has no attribute '{name}'")
    if not _HOME[name]:
        return importlib.import_module(f"gradlens.{name}")
    return getattr(importlib.import_module(f"gradlens.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
