"""``gradlens study``: a registered study of some models and data, printed and written with its figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from gradlens.cli.options import Common, DataOptions, ModelsOptions, Out
from gradlens.cli.terminal import say
from gradlens.core.names import unknown
from gradlens.core.registry import command, typed_parameters
from gradlens.core.registry import study as studies
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.core.table import Table


@dataclass(frozen=True, kw_only=True)
class _Named:
    """First among the bases whose words have a place, since it comes first on the line."""

    study: Positional[str]
    """A study's name; see `gradlens list studies`."""


@command
@dataclass(frozen=True, kw_only=True)
class Study(Common, ModelsOptions, DataOptions, _Named):
    """Study models and data beyond one pass over one model: separation, transfer, a whole set known from a sample."""

    parameter: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = ()
    """A parameter of the study; also a flag of its own name: --attacked 1000."""
    out: Out = None
    """A folder for the table, as NAME.csv and as NAME.json with its provenance, and for the figure, NAME.pdf."""

    @classmethod
    def arranged(cls, words: Sequence[str]) -> list[str]:
        """``--attacked 1000``, which is no flag of the command, → ``--parameter attacked=1000``."""
        own = {f.name for f in dataclasses.fields(cls)} | {"help", *(f"no_{f.name}" for f in dataclasses.fields(cls))}
        found, left = [], list(words)
        while left:
            word = left.pop(0)
            name, equals, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            if not word.startswith("--") or name in own:
                found.append(word)
                continue
            if not equals:
                # A flag without a value is a switch.
                value = left.pop(0) if left and not left[0].startswith("--") else "true"
            found += ["--parameter", f"{name}={value}"]
        return found

    def run(self) -> dict[str, Any]:
        from gradlens.studies import study

        method = studies[self.study]
        parameters = typed_parameters(method, self._parameters(method), f"study '{self.study}'")
        if self.out and self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out} is a file; give a folder for the table and its figure")
        models = [load() for load in self.chosen().values()] if self.checkpoints or self.models else []
        table = study(self.study, models, self.open(), **parameters)
        table.show()
        for file in self._written(table, getattr(method, "figure", "")):
            say(f"wrote {file}")
        return table.as_json()

    def _parameters(self, method: Any) -> dict[str, str]:
        """By name, each one that the study has; a mistyped flag of the command is one that it has not."""
        known = [f.name for f in dataclasses.fields(method)] if dataclasses.is_dataclass(method) else []
        given = dict(text.partition("=")[::2] for text in self.parameter)
        for name in given:
            if name not in known:
                flags = [f"--{n.replace('_', '-')}" for n in (*known, *(f.name for f in dataclasses.fields(self)))]
                raise UserError(unknown(f"flag of study {self.study}", f"--{name.replace('_', '-')}", flags))
        return given

    def _written(self, table: Table, figure: str) -> list[Path]:
        from gradlens.core.files import json_bytes, make_folder, write_atomically
        from gradlens.plotting import draw, save

        if self.out is None:
            return []
        folder = make_folder(self.out)
        names = [folder / f"{self.study}.{ending}" for ending in ("csv", "json", "pdf")]
        table.to_csv(names[0])
        content = json_bytes(table.as_json())
        write_atomically(names[1], lambda stream: stream.write(content))
        if figure:
            save(draw(figure, table), names[2])
        return names if figure else names[:2]
