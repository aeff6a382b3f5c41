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
    "Batch": "core.types",
    "Preprocess": "core.types",
    "UserError": "core.types",
    "Interrupted": "core.types",
    "Probe": "session.probe",
    "Run": "session.run",
    "Table": "core.table",
    "analyze": "session.analyze",
    "attack": "probes.attacks",
    "attribution": "probes.attribution",
    "compare": "runs.comparison",
    "corrupt": "probes.corruptions",
    "edges": "probes",
    "input_gradient": "probes.opening",
    "load_data": "data",
    "load_model": "models",
    "look": "session.look",
    "measure": "analysis.rows",
    "methods": "core.registry",
    "probe": "session.probe",
    "separation": "studies.separated",
    "study": "studies",
    "swap_activations": "models",
    "train": "training.train",
    "TrainConfig": "training.config",
    "write_report": "report",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from gradlens.analysis.rows import measure as measure
    from gradlens.core.registry import methods as methods
    from gradlens.core.table import Table as Table
    from gradlens.core.types import Batch as Batch
    from gradlens.core.types import Interrupted as Interrupted
    from gradlens.core.types import Preprocess as Preprocess
    from gradlens.core.types import UserError as UserError
    from gradlens.data import load_data as load_data
    from gradlens.models import load_model as load_model
    from gradlens.models import swap_activations as swap_activations
    from gradlens.probes import edges as edges
    from gradlens.probes.attacks import attack as attack
    from gradlens.probes.attribution import attribution as attribution
    from gradlens.probes.corruptions import corrupt as corrupt
    from gradlens.probes.opening import input_gradient as input_gradient
    from gradlens.report import write_report as write_report
    from gradlens.runs.comparison import compare as compare
    from gradlens.session.analyze import analyze as analyze
    from gradlens.session.look import look as look
    from gradlens.session.probe import Probe as Probe
    from gradlens.session.probe import probe as probe
    from gradlens.session.run import Run as Run
    from gradlens.studies import study as study
    from gradlens.studies.separated import separation as separation
    from gradlens.training.config import TrainConfig as TrainConfig
    from gradlens.training.train import train as train


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gradlens' has no attribute '{name}'")
    if name == "edges":
        return importlib.import_module("gradlens.probes.edges")
    return getattr(importlib.import_module(f"gradlens.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
