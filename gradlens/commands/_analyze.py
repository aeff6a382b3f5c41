from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from gradlens._commandline import run_folders
from gradlens._options import Common, DataOptions, ModelsOptions, Out
from gradlens._registry import command, split_specs


@command
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
