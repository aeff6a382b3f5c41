"""``gradlens doctor``: what stands between this machine and a first number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlens.cli.options import Common, DataOptions, PreprocessOptions
from gradlens.core.registry import command
from gradlens.core.types import Preprocess

if TYPE_CHECKING:
    from gradlens.data import Data


@command
@dataclass(frozen=True, kw_only=True)
class Doctor(Common, PreprocessOptions):
    """Check versions, hardware, disk and, where given, how a data set is understood; in seconds."""

    data: str | None = None
    """A data set as for analyze."""
    data_dir: Path | None = None
    """Where a named set or a relative folder is looked for."""
    split: str = "val"
    """train, val or test."""

    def run(self) -> dict[str, Any]:
        from gradlens.cli.doctor import diagnose
        from gradlens.cli.terminal import print_facts

        facts = diagnose(Path(), self._open if self.data else None)
        print_facts("gradlens doctor", facts)
        return facts

    def _open(self) -> Data:
        """The data at the size that is given, else as they are."""
        data = DataOptions(data=self.data, data_dir=self.data_dir, split=self.split).open()  # type: ignore[arg-type]
        return data.bind(Preprocess(**self.stated)) if self.stated else data
