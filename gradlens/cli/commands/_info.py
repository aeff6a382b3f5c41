"""``gradlens info``: what a checkpoint holds, and the model that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradlens.cli.options import Common, ModelsOptions
from gradlens.core.files import check_checkpoint
from gradlens.core.registry import command
from gradlens.core.types import UserError


@command
@dataclass(frozen=True, kw_only=True)
class Info(Common, ModelsOptions):
    """Explain checkpoints: what is in each file, and the model that it makes."""

    def run(self) -> dict[str, Any]:
        from gradlens.cli.terminal import print_facts

        specs = self.specs()
        if not specs:
            raise UserError("no checkpoint given; give one or more files, timm:NAME, or --models models.toml")
        for spec, _ in specs:
            check_checkpoint(spec)
        from gradlens.models import describe

        facts = {spec: describe(spec, load, self.trust_pickle) for spec, load in specs}
        for spec, said in facts.items():
            print_facts(spec, said)
        return facts if len(facts) > 1 else next(iter(facts.values()))
