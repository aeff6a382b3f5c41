"""The commands. A frozen dataclass each: its fields are the flags. Everything heavy is imported late.

Exit codes: 0 done, 2 a user's mistake in one line, 1 our own fault, 75 interrupted and resumable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gradlens._commandline import indices, parse, run_folders
from gradlens._options import Common, DataOptions, ModelsOptions
from gradlens._registry import KINDS, load_plugin, split_specs, unknown
from gradlens._types import Interrupted, UserError

if TYPE_CHECKING:
    pass

Out = Annotated[Path | None, arg(aliases=["-o"])]


@dataclass(frozen=True, kw_only=True)
class Analyze(Common, ModelsOptions, DataOptions):
    """Measure the input gradients of checkpoints over a data set, into a run folder each."""

    analyzers: str = "standard"
    """standard, full, or names with parameters: sample_asymmetry,edge_concentration:sigma=2"""
    objective: str = "loss"
    """Objectives whose gradients are measured: loss,true_logit,margin,…"""
    batch_size: Annotated[int, arg(aliases=["-b"])] = 64
    """Images a batch; halved by itself where memory does not suffice."""
    workers: Annotated[int | None, arg(aliases=["-j"])] = None
    """Processes that decode images."""
    precision: str = "float32"
    """float32 (TF32 off) or bfloat16."""
    seed: int = 0
    """Seed of everything random in the measures."""
    examples: int = 16
    """How many images' raw gradients to keep for galleries."""
    out: Out = None
    """Folder of the run; with several checkpoints a sub-folder each. Default: runs/MODEL-DATA."""
    resume: bool = False
    """Go on with an interrupted run."""
    protocol: str | None = None
    """Fix preprocessing, number of images and measures as published: rodriguez2024 or robustbench."""
    expect_top1: str | None = None
    """Top-1 in percent, such as 60.3±1; checked on 512 images before the run."""
    strict: bool = False
    """Stop where the accuracy is suspicious, instead of a warning."""

    def run(self) -> dict[str, Any]:
        from gradlens._preflight import parse_expectation
        from gradlens._protocols import protocol
        from gradlens._run import analyze_all
        from gradlens._session import Settings
        from gradlens._terminal import print_runs

        fixed = protocol(self.protocol) if self.protocol else None
        chosen = self.chosen()
        folders = run_folders(list(chosen), self.out, Path(self.data).name)
        settings = Settings(
            batch_size=self.batch_size,
            precision=self.precision,
            seed=self.seed,
            examples=self.examples,
            resume=self.resume,
            expect_top1=parse_expectation(self.expect_top1) if self.expect_top1 else None,
            strict=self.strict,
            protocol=self.protocol,
        )
        runs = analyze_all(
            [load() for load in chosen.values()],
            self.open(),
            fixed.analyzers if fixed else self.analyzers,
            folders,
            settings,
            split_specs(self.objective),
            limit=fixed.images if fixed else None,
            workers=self.workers,
            preprocess=fixed.preprocess if fixed else None,
        )
        print_runs(runs, folders)
        if fixed:
            print(f"protocol {self.protocol}: {fixed.source}. Not stated there: {fixed.unstated}.")
        return {"runs": [{"folder": str(f), **r.summary} for f, r in zip(folders, runs, strict=True)]}


@dataclass(frozen=True, kw_only=True)
class Examples(Common, ModelsOptions, DataOptions):
    """Keep the raw gradients of the same images for every model, for galleries."""

    images: str
    """Indices of the images, such as 3,17,42."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder with a run for each model."""

    def run(self) -> dict[str, Any]:
        from gradlens._run import analyze_all
        from gradlens._session import Settings

        chosen = indices(self.images)
        data = self.open().subset(chosen)
        models = self.chosen()
        folders = run_folders(list(models), self.out, data.source.name)
        settings = Settings(examples=len(chosen))
        measures = "sample_asymmetry,edge_concentration"
        analyze_all([load() for load in models.values()], data, measures, folders, settings, progress=False)
        print(f"kept {len(chosen)} images of {data.name}; draw them with")
        print(f"  gradlens figure gradient_gallery {' '.join(map(str, folders))} -o gallery.pdf")
        return {"folders": [str(f) for f in folders], "images": chosen}


@dataclass(frozen=True, kw_only=True)
class Figure(Common):
    """Draw a figure from finished runs; needs no model, data or torch."""

    name: Positional[str]
    """A figure's name with options, such as gradient_gallery:scale=image; see `gradlens list figures`."""
    runs: Positional[tuple[Path, ...]]
    """Run folders, in the order of the figure's columns or curves."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The file to write: .pdf, .png or .svg."""
    venue: str = "neurips"
    """Whose text width: cvpr, eccv, iclr, icml, neurips or tmlr."""
    labels: str | None = None
    """Names to show instead of the models' own, such as natural,robust."""
    models: Path | None = None
    """A models.toml whose order and colours the figure takes."""
    where: str | None = None
    """Only images for which this holds, such as "correct and confidence > 0.9"."""

    def run(self) -> dict[str, Any]:
        from gradlens._manifest import as_manifest, read_manifest
        from gradlens._results import Run
        from gradlens.plotting import draw, save

        if not self.runs:
            raise UserError(f"figure {self.name} needs a run to draw; give the folder of an analysis")
        runs = [Run.load(r).select(self.where) for r in self.runs]
        if self.models:
            runs = as_manifest(runs, read_manifest(self.models))
        for run, label in zip(runs, self.labels.split(",") if self.labels else (), strict=False):
            run.summary["model"] = label
        file = save(draw(self.name, runs, venue=self.venue), self.out, runs)
        print(f"wrote {file}")
        return {"figure": str(file)}


@dataclass(frozen=True, kw_only=True)
class Info(Common, ModelsOptions):
    """Explain checkpoints: what is in each file, and the model that it makes."""

    def run(self) -> dict[str, Any]:
        from gradlens._terminal import print_facts
        from gradlens.models import describe

        facts = {spec: describe(spec, load, self.trust_pickle) for spec, load in self.specs()}
        if not facts:
            raise UserError("no checkpoint given; give one or more files, timm:NAME, or --models models.toml")
        for spec, said in facts.items():
            print_facts(spec, said)
        return facts if len(facts) > 1 else next(iter(facts.values()))


@dataclass(frozen=True, kw_only=True)
class Doctor(Common):
    """Check versions, hardware, disk and, where given, how a data set is understood; in seconds."""

    data: str | None = None
    """A data set as for analyze."""
    data_dir: Path | None = None
    """Where a named set or a relative folder is looked for."""
    split: str = "val"
    """train, val or test."""

    def run(self) -> dict[str, Any]:
        from gradlens._doctor import diagnose
        from gradlens._terminal import print_facts

        data = DataOptions(data=self.data, data_dir=self.data_dir, split=self.split) if self.data else None
        facts = diagnose(Path(), data.open if data else None)
        print_facts("gradlens doctor", facts)
        return facts


@dataclass(frozen=True, kw_only=True)
class List(Common):
    """List the registered methods, all or of one kind."""

    kind: Positional[str | None] = None
    """analyzers, attacks, edge_maps, figures or objectives."""

    def run(self) -> dict[str, Any]:
        from gradlens._registry import methods
        from gradlens._terminal import print_methods

        kinds = [self.kind] if self.kind else list(KINDS)
        listed = {kind: {name: _claim(method) for name, method in methods(kind).items()} for kind in kinds}
        print_methods(listed)
        return listed


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Train a small CNN on embedded digits, analyze it and draw the figures; about a minute."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("gradlens-demo")
    """Folder for the checkpoint, the run and the figures."""

    def run(self) -> dict[str, Any]:
        from gradlens._demo import demo

        return demo(self.out)


COMMANDS: dict[str, Any] = {
    "analyze": Analyze,
    "demo": Demo,
    "doctor": Doctor,
    "examples": Examples,
    "figure": Figure,
    "info": Info,
    "list": List,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
            return 0
        if words[0] not in COMMANDS:
            raise UserError(unknown("command", words[0], COMMANDS))
        command = parse(COMMANDS[words[0]], words[0], words[1:])
        for plugin in command.plugin:
            load_plugin(str(plugin))
        result = command.run()
        if command.json:
            print(json.dumps(result, default=str))
        return 0
    except UserError as error:
        print(f"gradlens: {error}", file=sys.stderr)
        return 2
    except Interrupted as signal:
        print(f"gradlens: stopped by {signal}; finished batches are kept: add --resume to go on", file=sys.stderr)
        return 75
    except KeyboardInterrupt:
        print("gradlens: stopped", file=sys.stderr)
        return 75
    except SystemExit as leaving:
        return int(leaving.code or 0)


def _overview() -> str:
    rows = [f"  {name:<10}{_claim(command)}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "gradlens: what the gradients of a classifier with respect to its natural input look like",
            "",
            "usage: gradlens COMMAND …          gradlens COMMAND --help",
            "",
            *rows,
        ]
    )


def _claim(method: Any) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join((method.__doc__ or "").strip().split("\n\n")[0].split())
    return paragraph.removesuffix(".").replace("``", "")
