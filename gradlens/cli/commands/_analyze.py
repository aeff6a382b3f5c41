"""``gradlens analyze``: checkpoints over a data set, a run folder each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from gradlens.cli.options import Common, DataOptions, ModelsOptions, Out, check_labels, run_folders
from gradlens.cli.terminal import say
from gradlens.core.names import split_specs
from gradlens.core.registry import command
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.analysis.analysis import Settings
    from gradlens.analysis.protocols import Protocol
    from gradlens.data import Data
    from gradlens.models import Classifier


@command
@dataclass(frozen=True, kw_only=True)
class Analyze(Common, ModelsOptions, DataOptions):
    """Measure the input gradients of checkpoints over a data set, into a run folder each."""

    data: str = ""
    """digits, shapes, photos; imagenet-val, -a, -r, -v2, -sketch, -real, -c; objectnet, tiny-imagenet, cifar10, -test,
    -c; hfds/… torch/…; or a folder or tar. imagenet-c:corruption=fog,severity=3, and so cifar10-c."""
    add: str | None = None
    """Analyzers to add to finished runs, whose folders take the checkpoints' place: gradient_spectrum,edge_blur"""
    analyzers: str = "standard"
    """standard, full, and names with parameters: standard,minimal_eps or edge_concentration:sigma=2"""
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
    """Fix preprocessing, number of images, attack and measures as published: rodriguez2024 or robustbench."""
    control: str | None = None
    """A twin beside each model: random, untrained."""
    expect_top1: str | None = None
    """Top-1 in percent, such as 60.3±1; checked on 512 images before the run."""
    clusters: str | None = None
    """What counts as one sample: FILE.csv:COLUMN (paths first), label, or path for each image; default: the data's."""
    strict: bool = False
    """Stop where the accuracy is suspicious, instead of a warning."""

    def run(self) -> dict[str, Any]:
        from gradlens.analysis.analyze import analyze_all
        from gradlens.analysis.protocols import protocol
        from gradlens.cli.terminal import print_runs

        if self.add:
            return self._added(self.add)
        if not self.data:
            raise UserError(
                "analyze needs --data: digits, shapes or photos, a published set such as imagenet-val, or a folder"
            )
        fixed = protocol(self.protocol) if self.protocol else None
        if fixed:
            fixed.check(vars(self), {f.name: f.default for f in dataclasses.fields(self)})
        settings, models, data = self._settings(), self._with_controls(), self.open()
        folders = run_folders(list(models), self.out, data.source.name.replace("/", "-"))
        if fixed:
            _announce(fixed, data.limit(fixed.images), models.values())
        runs = analyze_all(
            list(models.values()),
            data,
            fixed.analyzers if fixed else self.analyzers,
            folders,
            settings,
            split_specs(self.objective),
            limit=fixed.images if fixed else None,
            workers=self.workers,
            preprocess=fixed.preprocess if fixed else None,
            clusters=self.clusters,
        )
        print_runs(runs, folders)
        if fixed:
            say(f"protocol {fixed.name}: {fixed.source}. Not stated there: {fixed.unstated}.")
        return {"runs": [{"folder": str(f), **r.summary} for f, r in zip(folders, runs, strict=True)]}

    def _added(self, analyzers: str) -> dict[str, Any]:
        """To each finished run, whose own model, images, precision and seed they have."""
        from gradlens.analysis.adding import add
        from gradlens.cli.terminal import print_runs

        taken = ("checkpoints", "add", "objective", "workers", "json", "plugin")
        for field in dataclasses.fields(self):
            if field.name not in taken and getattr(self, field.name) != field.default:
                flag = f"--{field.name.replace('_', '-')}"
                raise UserError(f"{flag} beside --add would do nothing, which measures as the run did; leave it out")
        folders = [Path(folder) for folder in self.checkpoints]
        if not folders:
            raise UserError("no run given; give folders of finished analyses: gradlens analyze runs/mine --add NAME")
        runs = [add(folder, analyzers, split_specs(self.objective), self.workers) for folder in folders]
        print_runs(runs, folders)
        return {"runs": [{"folder": str(f), **r.summary} for f, r in zip(folders, runs, strict=True)]}

    def _settings(self) -> Settings:
        from gradlens.analysis.analysis import Settings
        from gradlens.analysis.doubts import parse_expectation

        return Settings(
            batch_size=self.batch_size,
            precision=self.precision,
            seed=self.seed,
            examples=self.examples,
            resume=self.resume,
            expect_top1=parse_expectation(self.expect_top1) if self.expect_top1 else None,
            strict=self.strict,
            protocol=self.protocol,
        )

    def _with_controls(self) -> dict[str, Classifier]:
        """The models by label, each followed by its twins."""
        from gradlens.models import controls, is_control

        found: list[tuple[str, Classifier]] = []
        for label, load in self.chosen().items():
            model = load()
            found.append((label, model))
            if self.control is None:
                continue
            if is_control(model.card):
                raise UserError(f"--control makes twins of trained models, and {label} is untrained; leave one out")
            found += [(f"{label}-{self.control}", twin) for twin in controls(model, self.control, self.seed)]
            say(f"{label}: a twin beside it, from one decode of the images; {_cost(model)}")
        return check_labels(found)


def _cost(model: Classifier) -> str:
    """A run holds the twin twice, as it is and as it is measured."""
    held = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return f"twice the work, and {2 * held / 1e6:,.0f} MB of {model.device.type} memory more"


def _announce(fixed: Protocol, data: Data, models: Iterable[Classifier]) -> None:
    """What a protocol fixes, what it replaces, and where this run departs from it."""
    say(f"protocol {fixed.name} fixes {fixed.terms}")
    replaced = [m.card.name for m in models if m.card.preprocess not in (None, fixed.preprocess)]
    if replaced:
        say(f"   in place of the own preprocessing of {', '.join(replaced)}")
    for deviation in fixed.deviations(data):
        say(f"   departs from it: {deviation}")
