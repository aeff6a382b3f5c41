"""``gradlens list``: what there is, and what each claims."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from gradlens.cli.options import Common
from gradlens.core.registry import KINDS, command
from gradlens.core.types import UserError


@command
@dataclass(frozen=True, kw_only=True)
class List(Common):
    """List the registered methods, all or of one kind, or explain one: its parameters and how to read it."""

    name: Positional[str | None] = None
    """analyzers, attacks, corruptions, edge_maps, figures, objectives, penalties or studies; or a method's name."""

    def run(self) -> dict[str, Any]:
        from gradlens.cli.terminal import print_method, print_methods
        from gradlens.core.names import unknown
        from gradlens.core.registry import methods, parameters_of

        if self.name and self.name not in KINDS:
            known = {kind: methods(kind) for kind in KINDS}
            found = {kind: registry[self.name] for kind, registry in known.items() if self.name in registry}
            if not found:
                raise UserError(unknown("kind or method", self.name, [*KINDS, *(n for r in known.values() for n in r)]))
            for kind, method in found.items():
                print_method(kind, self.name, parameters_of(method), inspect.getdoc(method) or "")
            return {k: {"parameters": parameters_of(m), "text": inspect.getdoc(m)} for k, m in found.items()}
        kinds = [self.name] if self.name else list(KINDS)
        listed = {kind: {name: methods(kind).claim(name) for name in methods(kind)} for kind in kinds if methods(kind)}
        print_methods(listed)
        return listed
