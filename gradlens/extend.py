"""The public door for methods of your own: decorators that register by name, and the types that they build on.

>>> from gradlens.extend import analyzer
>>> @analyzer
... def brightness(probe):
...     return {"brightness": probe.batch.image.mean((1, 2, 3))}

A registered method has the same rights as one of ours: on the command line (``--plugin FILE.py``), in
``gl.analyze`` and ``gl.train``, in ``gradlens list``, and with parameters by the same spelling. An analyzer
is a function of a probe, or a dataclass of parameters that derives from ``Analyzer`` where it has some, or
has more to say of a whole run than the mean of its columns.
"""

from gradlens.analyzers import Analyzer, Reading, Summary
from gradlens.core.registry import analyzer, attack, corruption, edge_map, figure, objective, penalty, study
from gradlens.stats.tallies import Tally
from gradlens.studies import Study

__all__ = [
    "Analyzer",
    "Reading",
    "Study",
    "Summary",
    "Tally",
    "analyzer",
    "attack",
    "corruption",
    "edge_map",
    "figure",
    "objective",
    "penalty",
    "study",
]
