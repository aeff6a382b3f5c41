"""What is not one pass over one model: a study of some models and data gives a table. One study a file.

A study is a dataclass of parameters under ``@study``, which derives from ``Study``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlens.core.registry import study as registry
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.data import Data, load_data
from gradlens.models import Classifier, load_model

__all__ = ["Study", "study"]


class Study:
    """A dataclass of parameters that is called with models and data."""

    def __call__(self, models: Sequence[Classifier], data: Data) -> Table:
        raise UserError(f"study '{type(self).__name__}' defines no __call__(models, data) -> Table; write one")


def study(name: str, models: Sequence[Any] = (), data: Any = None, **parameters: Any) -> Table:
    """The table of a registered study, ``name`` or ``name:parameter=value``, of models and data.

    models, data: as in ``load_model`` and ``load_data``, or opened already. Raises UserError for an unknown
    study or parameter, and where a study returns no Table.
    """
    method = registry.build(name, **parameters)
    opened = [model if isinstance(model, Classifier) else load_model(model) for model in models]
    found = method(opened, data if data is None or isinstance(data, Data) else load_data(data))
    if not isinstance(found, Table):
        raise UserError(f"study '{name}' returned a {type(found).__name__}; wanted a gradlens Table")
    return found
