"""``gradlens train``: a recipe, or a grid of them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import MISSING, asdict, dataclass, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from tyro.conf import UseAppendAction, arg

from gradlens.cli.options import Common
from gradlens.cli.terminal import say
from gradlens.core.registry import command
from gradlens.training.config import TrainConfig, make_config, read_config

if TYPE_CHECKING:
    from gradlens.training.sweep import Setting


def _texts() -> dict[str, str]:
    """What stands below each field of the configuration."""
    (body,) = ast.parse(inspect.getsource(TrainConfig)).body
    assert isinstance(body, ast.ClassDef)
    pairs = zip(body.body, body.body[1:], strict=False)
    return {
        field.target.id: text.value.value
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _flags() -> list[Any]:
    """A flag for each field of the configuration, None where it is not given: a file's value then stays."""
    hints, texts = get_type_hints(TrainConfig), _texts()
    made = []
    for field in fields(TrainConfig):
        what = texts[field.name].replace("``", "")
        # Not tyro's own, which is the None that stands for no flag.
        hint = f"(default: {field.default})" if field.default not in (None, "", MISSING) else ""
        aliases = {"out": ["-o"], "batch_size": ["-b"], "workers": ["-j"]}.get(field.name)
        how = arg(help=what, help_behavior_hint=hint, metavar=_metavar(str(field.type)), aliases=aliases)
        made.append((field.name, Annotated[hints[field.name] | None, how], None))
    return made


def _metavar(kind: str) -> str:
    """``int | None`` → ``INT``, as tyro writes it, without the None."""
    return "FLOAT FLOAT FLOAT" if "Triple" in kind else kind.replace(" | None", "").replace(" | ", "|").upper()


Flags: Any = make_dataclass("Flags", _flags(), frozen=True, kw_only=True)


@command
@dataclass(frozen=True, kw_only=True)
class Train(Common, Flags):
    """Train a classifier: natural, with a gradient penalty, or adversarially; into a folder that can be resumed."""

    config: Path | None = None
    """A recipe as a TOML file, such as analyses/presets/digits-edge.toml; flags go before it."""
    seeds: str | None = None
    """Several trainings: 0-4 or 0,3,7, each in its own folder below --out."""
    grid: UseAppendAction[tuple[str, ...]] = ()
    """Values to try: weight=.1,.3,1; may be given again. The best on val is named, and alone sees the test split."""
    resume: bool = False
    """Go on with an interrupted training."""

    def run(self) -> dict[str, Any]:
        from gradlens.training.sweep import read_grid, read_seeds, sweep

        given = {f.name: v for f in fields(TrainConfig) if (v := getattr(self, f.name)) is not None}
        config = read_config(self.config, **given) if self.config else make_config(given, "the flags")
        seeds = read_seeds(self.seeds) if self.seeds else [config.seed]
        settings, best = sweep(config, seeds, read_grid(self.grid), resume=self.resume)
        _print(settings, best)
        return {"best": best.changed, "runs": [_plain(s) for s in settings]}


def _print(settings: list[Setting], best: Setting) -> None:
    from gradlens.training.sweep import criterion

    for setting in settings:
        what = ", ".join(f"{k}={v}" for k, v in setting.changed.items())
        for seed, result in setting.results.items():
            last = {**result.history[-1], **result.test}
            scores = ", ".join(f"{k} {v:.1%}" for k, v in last.items() if k.startswith(("train_", "val_", "test_")))
            say(f"{what or result.checkpoint.parent.name}, seed {seed}: {scores}; wrote {result.checkpoint}")
        for seed, why in setting.diverged.items():
            say(f"{what}, seed {seed}: {why}")
    if len(settings) > 1:
        rows = [result.history[-1] for result in best.results.values()]
        of = criterion(rows[0]) + (f", mean of {len(rows)} seeds," if len(rows) > 1 else "")
        say(f"best on val: {', '.join(f'{k}={v}' for k, v in best.changed.items())}, {of} {best.score:.1%}")


def _plain(setting: Setting) -> dict[str, Any]:
    return {**setting.changed, "val": setting.score, "seeds": {s: asdict(r) for s, r in setting.results.items()}}
