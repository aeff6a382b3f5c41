"""``gl.analyze``: the pass over the data, whose Run a session can draw and look into."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from gradlens.analysis import analyze as one_pass
from gradlens.runs import record
from gradlens.session.run import Run

Arguments = ParamSpec("Arguments")


def _in_session(measure: Callable[Arguments, record.Run]) -> Callable[Arguments, Run]:
    @wraps(measure)
    def measured(*given: Arguments.args, **options: Arguments.kwargs) -> Run:
        return Run.of(measure(*given, **options))

    return measured


analyze = _in_session(one_pass.analyze)
