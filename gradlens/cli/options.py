"""Flags that several commands share. A field is a flag, its text is the help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from tyro.conf import Positional, UseAppendAction, arg

from gradlens.core.files import check_checkpoint, checkpoint_name, trained_in
from gradlens.core.names import as_arguments, first_twice, parse_spec, split_specs
from gradlens.core.text import is_name
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.data import Data
    from gradlens.models import Classifier
    from gradlens.runs.manifest import Entry

Out = Annotated[Path | None, arg(aliases=["-o"])]
Channels = tuple[float, ...]
Loader = TypeVar("Loader")


@dataclass(frozen=True, kw_only=True)
class Common:
    plugin: UseAppendAction[tuple[Path, ...]] = ()
    """A Python file whose decorators add analyzers, objectives, figures, …; may be given again."""
    json: bool = False
    """Print one JSON object as the last line."""


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    img_size: str | None = None
    """Side of the images in pixels, or height x width: 64, 256x128; else the checkpoint's, else the architecture's."""
    crop_pct: float | None = None
    """Share of the resized picture that is kept, as timm's: 0.875; 1 keeps all of its shorter side."""
    interpolation: str | None = None
    """bilinear, bicubic, nearest, …"""

    @property
    def stated(self) -> dict[str, Any]:
        """The parts of a ``Preprocess`` that are given."""
        size = None if self.img_size is None else _sides(self.img_size)
        parts = {"size": size, "crop_pct": self.crop_pct, "interpolation": self.interpolation}
        return {name: value for name, value in parts.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ModelOptions(PreprocessOptions):
    arch: str | None = None
    """Architecture of a checkpoint that does not name its own: a timm name, wrn_28_10:widen=2, module:callable."""
    arch_kwargs: str | None = None
    """Its arguments: img_size=64,patch_size=8"""
    activation: str | None = None
    """Swap the activations before loading the weights: gelu, silu, softplus, …"""
    weights: str = "auto"
    """Which weights of the file: auto (EMA where there is one), raw, ema; random for an untrained twin."""
    mean: Channels | None = None
    """Normalisation mean a channel, in pixels of [0, 1]."""
    std: Channels | None = None
    """Normalisation standard deviation a channel."""
    normalized: bool = False
    """The model normalises inside."""
    num_classes: int | None = None
    """Number of classes, where the checkpoint does not tell."""
    device: str = "auto"
    """cpu, cuda, cuda:1, …; auto takes the first accelerator."""
    trust_pickle: bool = False
    """Let the checkpoint run code when it is opened; only for files whose origin you trust."""

    def load(self, spec: str) -> Classifier:
        check_checkpoint(spec)
        from gradlens.models import load_model

        plain = ("arch", "activation", "weights", "mean", "std", "num_classes", "device", "trust_pickle")
        given = {**{name: getattr(self, name) for name in plain}, "normalized": self.normalized or None}
        arguments = as_arguments(self.arch_kwargs or "")
        return load_model(spec, **given, preprocess=self.stated or None, arch_kwargs=arguments or None)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    data: str
    """digits, shapes, photos; imagenet-val, -a, -r, -v2, -sketch, -real, -c; objectnet, tiny-imagenet, cifar10, -test,
    -c; hfds/… torch/…; or a folder or tar. imagenet-c:corruption=fog,severity=3, and so cifar10-c."""
    data_dir: Path | None = None
    """Where a named set or a relative folder is looked for; else $GRADLENS_DATA or $IMAGENET_DIR for a name."""
    split: str = "val"
    """train, val or test."""
    limit: int | None = None
    """Only this many images: class-stratified, the same for every model."""
    labels: Path | None = None
    """A file with the class of each image of a flat folder."""
    subset: Path | None = None
    """A file of paths, names or indices of the images to use."""
    class_map: str | None = None
    """imagenet, or a file with the class of each folder."""
    class_order: str | None = None
    """text or natural, for class folders that sort differently as text and by number."""

    def open(self) -> Data:
        from gradlens.data import load_data

        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(DataOptions)}
        return load_data(options.pop("data"), root=options.pop("data_dir"), **options)


@dataclass(frozen=True, kw_only=True)
class ModelsOptions(ModelOptions):
    checkpoints: Positional[tuple[str, ...]]
    """Checkpoint files, timm:NAME, hf-hub:ORG/NAME, torchvision:NAME, or module:callable."""
    models: Path | None = None
    """A models.toml that names models with label, group, order and colour, beside the checkpoints."""

    name: str | None = None
    """What to call the checkpoints, one name each: natural,robust; default: their file's name, or their folder's."""

    def specs(self) -> list[tuple[str, Callable[[], Classifier]]]:
        """Where each model comes from, and how to load it: the manifest's first."""
        listed = [(entry.path, partial(self._from_manifest, entry)) for entry in self._entries()]
        return [*listed, *((spec, partial(self.load, spec)) for spec, _ in self._named())]

    def chosen(self) -> dict[str, Callable[[], Classifier]]:
        """How to load each model, by its label: the manifest's first, each with every kind of weights."""
        kinds = split_specs(self.weights)
        found: list[tuple[str, Callable[[], Classifier]]] = []
        for entry in self._entries():
            found.append((entry.key, partial(self._from_manifest, entry)))
        for spec, name in self._named():
            for kind in kinds:
                tail = _tail(kind) if len(kinds) > 1 else ""
                found.append((f"{name}{tail}", partial(self._from_spec, spec, kind, name, tail)))
        return check_labels(found)

    def _named(self) -> list[tuple[str, str]]:
        """The checkpoints with their names; of a folder of trainings the best of each."""
        specs = [found for spec in self.checkpoints for found in [*map(str, trained_in(Path(spec)))] or [spec]]
        names = self.name.split(",") if self.name else [label_of(spec) for spec in specs]
        if len(names) != len(specs):
            raise UserError(f"--name gives {len(names)} names for {len(specs)} checkpoints; give each one of its own")
        return list(zip(specs, map(str.strip, names), strict=True))

    def _entries(self) -> list[Entry]:
        from gradlens.runs.manifest import read_manifest

        return read_manifest(self.models) if self.models else []

    def _from_manifest(self, entry: Entry) -> Classifier:
        from gradlens.models import load_model

        model = load_model(entry.path, device=self.device, trust_pickle=self.trust_pickle, **entry.loading)
        model.card = dataclasses.replace(model.card, name=entry.label, display=entry.display)
        return model

    def _from_spec(self, spec: str, weights: str, name: str, tail: str) -> Classifier:
        from gradlens.models.fresh import read_control

        model = dataclasses.replace(self, weights=weights).load(spec)
        # A control is called one already.
        tail = model.card.name.removeprefix(label_of(spec)) if read_control(weights) is not None else tail
        model.card = dataclasses.replace(model.card, name=f"{name}{tail}")
        return model


def _tail(weights: str) -> str:
    """What the name of a model's label ends in: ``-ema``, ``-random``."""
    return f"-{parse_spec(weights)[0]}"


def run_folders(labels: Sequence[str], out: Path | None, data: str) -> list[Path]:
    """A run folder for each model: ``out`` itself for one, ``out/LABEL`` for several."""
    if odd := next((label for label in labels if not is_name(label)), None):
        raise UserError(f"a model is called '{odd}', which cannot be a folder's name; give another: --name a")
    if out is None:
        return [Path("runs") / f"{label}-{data}" for label in labels]
    return [out] if len(labels) == 1 else [out / label for label in labels]


def check_labels(models: Sequence[tuple[str, Loader]]) -> dict[str, Loader]:
    """The models by label; refuses none, and two of one name."""
    if not models:
        raise UserError("no checkpoint given; give one or more files, timm:NAME, or --models models.toml")
    labels = [label for label, _ in models]
    if twice := first_twice(labels):
        raise UserError(f"two checkpoints are called '{twice}'; give each a name: --name a,b")
    return dict(models)


def label_of(checkpoint: str) -> str:
    """A checkpoint's name; one by name without its prefix and parameters."""
    if ":" not in checkpoint:
        return checkpoint_name(checkpoint)
    name = Path(checkpoint).name
    return next((part for part in reversed(name.split(":")) if "=" not in part), name)


def _sides(text: str) -> int | tuple[int, ...]:
    try:
        sides = tuple(int(part) for part in text.replace("×", "x").split("x"))
    except ValueError:
        raise UserError(f"--img-size {text} is no size; give a side, 64, or height x width, 256x128") from None
    return sides[0] if len(sides) == 1 else sides


def indices(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"images '{text}' are not indices; write them as 3,17,42") from None
