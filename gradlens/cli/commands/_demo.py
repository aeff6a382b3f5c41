"""``gradlens demo``: from nothing to a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from gradlens.cli.options import Common
from gradlens.core.registry import command


@command
@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Train three small CNNs on embedded photos (natural, GradNorm, EdgeReg), analyze, compare and draw; minutes."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("gradlens-demo")
    """Folder for the checkpoints, the runs, the comparison and the figures."""

    def run(self) -> dict[str, Any]:
        from gradlens.cli.demo import demo

        return demo(self.out)
