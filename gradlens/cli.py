"""The commands. A frozen dataclass each: its fields are the flags. Everything heavy is imported late.

Exit codes: 0 done, 2 a user's mistake in one line, 1 our own fault, 75 interrupted and resumable.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from gradlens._commandline import indices, parse, run_folders
from gradlens._registry import KINDS, load_plugin, split_specs, unknown
from gradlens._types import Interrupted, UserError

if TYPE_CHECKING:
    from gradlens.data import Data
    from gradlens.models import Classifier

Out = Annotated[Path | None, arg(aliases=["-o"])]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Common:
    plugin: UseAppendAction[tuple[Path, ...]] = ()
    """A Python file whose decorators add analyzers, objectives, figures, …; may be given again."""
    json: bool = False
    """Print one JSON object as the last line."""


@dataclass(frozen=True, kw_only=True)
class _Model:
    arch: str | None = None
    """Architecture of a checkpoint that does not name its own: a timm name or module:callable."""
    activation: str | None = None
    """Swap the activations before loading the weights: gelu, silu, softplus, …"""
    weights: str = "auto"
    """Which weights of the file: auto (EMA where there is one), raw, ema, or random for an untrained twin."""
    mean: Triple | None = None
    """Normalisation mean a channel, in pixels of [0, 1]."""
    std: Triple | None = None
    """Normalisation standard deviation a channel."""
    normalized: bool = False
    """The model normalises inside."""
    num_classes: int | None = None
    """Number of classes, where the checkpoint does not tell."""
    device: str = "auto"
    """cpu, cuda, cuda:1, …; auto takes the first accelerator."""

    def load(self, spec: str) -> Classifier:
        from gradlens.models import load_model

        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(_Model)}
        return load_model(spec, **{**options, "normalized": self.normalized or None})


@dataclass(frozen=True, kw_only=True)
class _Data:
    data: str
    """digits, shapes, photos, or a folder of images with one sub-folder a class."""
    data_dir: Path | None = None
    """Where a relative folder is looked for."""
    split: str = "val"
    """train, val or test."""
    limit: int | None = None
    """Only this many images: class-stratified, the same for every model."""

    def open(self) -> Data:
        from gradlens.data import load_data

        return load_data(self.data, self.split, self.data_dir, self.limit)


@dataclass(frozen=True, kw_only=True)
class Analyze(_Common, _Model, _Data):
    """Measure the input gradients of checkpoints over a data set, into a run folder each."""

    checkpoints: Positional[tuple[str, ...]]
    """Checkpoint files, timm:NAME, or module:callable."""
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

    def run(self) -> dict[str, Any]:
        from gradlens._run import analyze
        from gradlens._terminal import print_runs

        runs, folders = [], run_folders(self.checkpoints, self.out, Path(self.data).name)
        for spec, folder in zip(self.checkpoints, folders, strict=True):
            run = analyze(
                self.load(spec),
                self.open(),
                self.analyzers,
                folder,
                objective=split_specs(self.objective),
                batch_size=self.batch_size,
                workers=self.workers,
                precision=self.precision,
                seed=self.seed,
                examples=self.examples,
                resume=self.resume,
            )
            runs.append(run)
        print_runs(runs, folders)
        return {"runs": [{"folder": str(f), **r.summary} for f, r in zip(folders, runs, strict=True)]}


@dataclass(frozen=True, kw_only=True)
class Examples(_Common, _Model, _Data):
    """Keep the raw gradients of the same images for every model, for galleries."""

    checkpoints: Positional[tuple[str, ...]]
    """Checkpoint files, timm:NAME, or module:callable."""
    images: str
    """Indices of the images, such as 3,17,42."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder with a run for each model."""

    def run(self) -> dict[str, Any]:
        from gradlens._run import analyze

        chosen = indices(self.images)
        data = self.open().subset(chosen)
        folders = run_folders(self.checkpoints, self.out, data.source.name)
        for spec, folder in zip(self.checkpoints, folders, strict=True):
            measures = "sample_asymmetry,edge_concentration"
            analyze(self.load(spec), data, measures, folder, examples=len(chosen), progress=False)
        print(f"kept {len(chosen)} images of {data.name}; draw them with")
        print(f"  gradlens figure gradient_gallery {' '.join(map(str, folders))} -o gallery.pdf")
        return {"folders": [str(f) for f in folders], "images": chosen}


@dataclass(frozen=True, kw_only=True)
class Figure(_Common):
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
    where: str | None = None
    """Only images for which this holds, such as "correct and confidence > 0.9"."""

    def run(self) -> dict[str, Any]:
        from gradlens._results import Run
        from gradlens.plotting import draw, save

        if not self.runs:
            raise UserError(f"figure {self.name} needs a run to draw; give the folder of an analysis")
        runs = [Run.load(r).select(self.where) for r in self.runs]
        for run, label in zip(runs, self.labels.split(",") if self.labels else (), strict=False):
            run.summary["model"] = label
        file = save(draw(self.name, runs, venue=self.venue), self.out, runs)
        print(f"wrote {file}")
        return {"figure": str(file)}


@dataclass(frozen=True, kw_only=True)
class Info(_Common, _Model):
    """Explain a checkpoint: what is in the file, and the model that it makes."""

    checkpoint: Positional[str]
    """A checkpoint file, timm:NAME, or module:callable."""

    def run(self) -> dict[str, Any]:
        from gradlens._terminal import print_facts
        from gradlens.models import describe

        facts = describe(self.checkpoint, lambda: self.load(self.checkpoint))
        print_facts(self.checkpoint, facts)
        return facts


@dataclass(frozen=True, kw_only=True)
class List(_Common):
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
class Demo(_Common):
    """Train a small CNN on embedded digits, analyze it and draw the figures; about a minute."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("gradlens-demo")
    """Folder for the checkpoint, the run and the figures."""

    def run(self) -> dict[str, Any]:
        from gradlens._demo import demo

        return demo(self.out)


COMMANDS: dict[str, Any] = {
    "analyze": Analyze,
    "demo": Demo,
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
