from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlens.core.fields import checked_table, read_toml
from gradlens.core.names import as_arguments, as_number, unknown
from gradlens.core.types import UserError

SCHEDULES = ("cosine", "poly", "tanh", "constant")
PRECISIONS = ("float32", "bfloat16")
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run; every field is a flag of ``gradlens train`` and a key of a preset's TOML file."""

    data: str
    """Data set as in ``analyze``: digits, shapes, photos, or a folder with train and val below."""
    arch: str | None = None
    """Architecture: a timm name, digits_cnn:width=8, module:callable; that of init where it is not given."""
    out: Path = Path("runs/train")
    """Folder of last.pt, best.pt and history.csv."""
    data_dir: Path | None = None
    """Where a relative data folder is looked for."""
    train_split: str = "train"
    """Split that is trained on."""
    val_split: str = "val"
    """Split that is tuned on."""
    test_split: str | None = None
    """Split that is looked at once, at the very end."""
    limit: int | None = None
    """Only this many images of each split, class-stratified."""
    arch_kwargs: str = ""
    """Arguments of the architecture: img_size=32,depths=(1,1,1,1)"""
    activation: str | None = None
    """Swapped in for every activation: gelu, silu, softplus:alpha=10, …"""
    init: str | None = None
    """Weights to start from: a checkpoint's path, or pretrained; random where it is not given."""
    mean: Triple | None = None
    """Normalisation mean a channel; the architecture's own, else 0.5."""
    std: Triple | None = None
    """Normalisation standard deviation a channel; the architecture's own, else 0.5."""
    img_size: int | None = None
    """Side of the images in pixels; the architecture's own, else the data's."""
    epochs: int = 30
    """How often each image is seen."""
    batch_size: int = 64
    """Images a forward pass and process; an incomplete batch at the end of an epoch is left out."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one update."""
    opt: str = "adamw"
    """One of timm's optimisers."""
    lr: float = 1e-3
    """The largest learning rate."""
    weight_decay: float = 0.05
    """Weight decay, of weights only: not of biases and normalisation."""
    momentum: float = 0.9
    """Of optimisers that have one."""
    sched: str = "cosine"
    """Learning rate over training, a step an update: cosine, poly, tanh (timm's) or constant."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from warmup_lr."""
    warmup_lr: float = 1e-5
    """Learning rate at the first update of a warm-up."""
    min_lr: float = 0.0
    """Learning rate at the end."""
    clip: float | None = None
    """Largest norm of the whole gradient."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is then what is evaluated: 0.9998"""
    dropout: float = 0.0
    """Probability that a feature is dropped before the last layer; blocks' own are arguments of the architecture."""
    bn: str = "train"
    """train; eval: the network in evaluation mode, so BatchNorm's statistics stay and dropout is off; eval_after:5."""
    method: str = "natural"
    """What is trained on: natural, pgd:eps=4/255,steps=3, fgsm:eps=4/255, noise:eps=2/255, trades:beta=6."""
    penalty: str | None = None
    """A gradient penalty and the ramp of its weight: edge:alpha=1,step=.09,cap=10"""
    weight: float = 1.0
    """Factor on the penalty's ramp."""
    loss_weight: float = 1.0
    """Weight of the cross-entropy."""
    engine: str = "finite_difference"
    """How the penalty is differentiated: finite_difference (checked against the other) or double_backward."""
    shift: int = 0
    """Random shift of up to this many pixels, each image its own; the rim is repeated."""
    flip: float = 0.0
    """Probability of a horizontal flip."""
    crop_scale: float | None = None
    """Smallest share of the picture in a random resized crop: 0.08"""
    rand_augment: str | None = None
    """timm's automatic augmentation: rand-m9-mstd0.5-inc1"""
    color_jitter: float = 0.0
    """timm's colour jitter."""
    random_erasing: float = 0.0
    """Probability that a rectangle is replaced by noise."""
    mixup: float = 0.0
    """Mixup's alpha."""
    cutmix: float = 0.0
    """CutMix's alpha."""
    label_smoothing: float = 0.0
    """Share of a target that is spread over all classes."""
    precision: str = "float32"
    """float32 (TF32 off), or bfloat16 autocast, which the engine finite_difference refuses."""
    seed: int = 0
    """Of weights, order and everything random."""
    eval_eps: float | str = "4/255"
    """Radius (L∞) of the PGD-10 that val accuracy is also stated under."""
    eval_every: int = 1
    """Epochs from one evaluation under attack to the next; the last one is always evaluated."""
    eval_images: int | None = 1000
    """Images of val and of train that are evaluated."""
    workers: int = 0
    """Processes that decode images."""
    device: str = "auto"
    """cpu, cuda, …; auto takes the first accelerator."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        for name, least in {"epochs": 1, "batch_size": 1, "accumulate": 1, "eval_every": 1, "shift": 0}.items():
            _check(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        _check(self.lr > 0, "lr", self.lr, "a positive learning rate")
        fits = 0 <= self.warmup_epochs < self.epochs
        _check(fits, "warmup_epochs", self.warmup_epochs, f"fewer than the {self.epochs} epochs")
        _check(0 <= self.min_lr <= self.lr, "min_lr", self.min_lr, f"0 to lr, {self.lr:g}")
        _check(self.ema is None or 0 < self.ema < 1, "ema", self.ema, "a decay between 0 and 1")
        _check(self.weight >= 0 and self.loss_weight >= 0, "weight", self.weight, "weights of 0 or more")
        for name in ("flip", "random_erasing", "label_smoothing"):
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share from 0 to 1")
        _check(0 <= self.radius <= 1, "eval_eps", self.eval_eps, "a radius in pixels of [0, 1], such as 4/255")
        _check(0 <= self.dropout < 1, "dropout", self.dropout, "a probability from 0 to below 1")
        mixes = self.mixup > 0 or self.cutmix > 0
        _check(not (mixes and self.batch_size % 2), "batch_size", self.batch_size, "an even one for mixup and cutmix")
        _check(self.eval_mode_from >= 0, "bn", self.bn, "train, eval or eval_after:5")
        _among("schedule", self.sched, SCHEDULES)
        _among("precision", self.precision, PRECISIONS)
        if self.arch is None and self.init in (None, "pretrained"):
            raise UserError("neither an architecture nor a checkpoint is given; give --arch NAME or --init CHECKPOINT")

    @property
    def radius(self) -> float:
        """``eval_eps`` as a number."""
        try:
            return as_number(str(self.eval_eps))
        except (ValueError, ZeroDivisionError):
            raise UserError(f"eval_eps={self.eval_eps} is no number; wanted one such as 4/255") from None

    @property
    def eval_mode_from(self) -> float:
        """The epoch from which the network is in evaluation mode: never, 0, or that of ``eval_after:N``."""
        if self.bn in ("train", "eval"):
            return float("inf") if self.bn == "train" else 0.0
        kind, _, epoch = self.bn.partition(":")
        try:
            return float(epoch) if kind == "eval_after" else -1.0
        except ValueError:
            return -1.0

    @property
    def kwargs(self) -> dict[str, Any]:
        """``arch_kwargs`` as Python values."""
        return as_arguments(self.arch_kwargs)

    def provenance(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}


def read_config(file: Path, **given: Any) -> TrainConfig:
    """A preset's TOML file, with what is given in place of its keys."""
    found = read_toml(file, "a preset's TOML file, a line KEY = VALUE for each flag")
    return make_config({**found, **given}, str(file))


def make_config(values: dict[str, Any], source: str) -> TrainConfig:
    """A configuration from keys and values of a file or of flags."""
    kinds = typing.get_type_hints(TrainConfig)
    for key in values:
        if key not in kinds:
            raise UserError(unknown(f"key of {source}", key, kinds))
    if "data" not in values:
        raise UserError("no data is given; give --data digits, or a folder with train and val below")
    return TrainConfig(**checked_table(source, values, kinds))


def _check(fits: bool, name: str, value: Any, wanted: str) -> None:
    if not fits:
        raise UserError(f"{name} is {value}; wanted {wanted}")


def _among(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(unknown(kind, value, known))
