from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from gradlens.analyzers._base import Analyzer, Inline
from gradlens.core.names import first_twice, parse_spec, snake_case, split_specs, suffix
from gradlens.core.registry import analyzer as analyzers_by_name
from gradlens.core.registry import objective as objectives_by_name
from gradlens.core.types import UserError

STANDARD = ("sample_asymmetry", "channel_asymmetry", "edge_concentration", "class_selectivity")


def name_of(analyzer: Analyzer) -> str:
    """An analyzer's registered name with its non-default parameters."""
    return analyzer.name if isinstance(analyzer, Inline) else snake_case(type(analyzer).__name__) + suffix(analyzer)


def choose_analyzers(
    chosen: str | Sequence[str | Analyzer | Callable], objectives: Sequence[str] = ("loss",)
) -> list[Analyzer]:
    """Analyzers from names, instances and functions; those of a gradient once for each objective."""
    if chosen == "standard":
        chosen = STANDARD
    elif chosen == "full":
        # Not those with cheaper settings for tests, which take seconds an image as they are.
        chosen = [name for name, kind in analyzers_by_name.items() if not hasattr(kind, "cheap")]
    elif isinstance(chosen, str):
        chosen = split_specs(chosen)
    found: list[Analyzer] = []
    for item in chosen:
        if isinstance(item, Analyzer):
            # A copy, since an analyzer that has seen one run's pilot images is of no use to another.
            found.append(copy.deepcopy(item))
        elif isinstance(item, str):
            found += _with_objectives(item, objectives)
        elif callable(item):
            found.append(Inline(item))
        else:
            raise UserError(f"{item!r} is not an analyzer; give a name, an instance or a function of a probe")
    names = [name_of(a) for a in found if not isinstance(a, Inline)]
    if twice := first_twice(names):
        raise UserError(f"analyzer '{twice}' is asked for twice; give it once, or with other parameters")
    return found


def _with_objectives(spec: str, objectives: Sequence[str]) -> list[Analyzer]:
    built = analyzers_by_name.build(spec)
    if not isinstance(built, Analyzer):
        return [Inline(built, parse_spec(spec)[0])]
    if not hasattr(built, "objective") or "objective=" in spec:
        return [built]
    for name in objectives:
        objectives_by_name.build(name)
    joint = "," if ":" in spec else ":"
    return [analyzers_by_name.build(f"{spec}{joint}objective={name}") for name in objectives]
