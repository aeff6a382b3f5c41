"""``gradlens list``: what there is, and what each claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from gradlens.cli.options import Common
from gradlens.core.registry import KINDS, command


@command
@dataclass(frozen=True, kw_only=True)
class List(Common):
    """List the registered methods, all or of one kind."""

    kind: Positional[str | None] = None
    """analyzers, attacks, corruptions, edge_maps, figures, objectives, penalties or studies."""

    def run(self) -> dict[str, Any]:
        from gradlens.cli.terminal import print_methods
        from gradlens.core.registry import methods

        kinds = [self.kind] if self.kind else list(KINDS)
        listed = {kind: {name: methods(kind).claim(name) for name in methods(kind)} for kind in kinds if methods(kind)}
        print_methods(listed)
        return listed
