from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from gradlens.cli.options import Common
from gradlens.cli.words import claim
from gradlens.core.registry import KINDS, command


@command
@dataclass(frozen=True, kw_only=True)
class List(Common):
    """List the registered methods, all or of one kind."""

    kind: Positional[str | None] = None
    """analyzers, attacks, edge_maps, figures, objectives or penalties."""

    def run(self) -> dict[str, Any]:
        from gradlens.cli.terminal import print_methods
        from gradlens.core.registry import methods

        kinds = [self.kind] if self.kind else list(KINDS)
        listed = {kind: {name: claim(method) for name, method in methods(kind).items()} for kind in kinds}
        print_methods(listed)
        return listed
