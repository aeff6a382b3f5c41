"""Writes a miniature of every layout a checkpoint is found in, all from one network.

Each writer takes a folder and two networks of ``ARCH``, whose second is the moving average where the
layout keeps one. Beside it stands what its user would have to add for ``load_model``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from gradlens import Preprocess
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
ARCH, CLASSES = "digits_cnn:width=1", 3

WITH_ARCH: dict[str, Any] = {"arch": ARCH}
WITH_ALL: dict[str, Any] = {"arch": ARCH, "mean": MEAN, "std": STD}

State = dict[str, torch.Tensor]


def network(seed: int) -> nn.Module:
    """A tiny network whose BatchNorm statistics are not the trivial ones."""
    generator = torch.Generator().manual_seed(seed)
    net = digits_cnn(CLASSES, width=1)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if "var" in name else (-2, 2)
            tensor.uniform_(low, high, generator=generator)
    return net.eval()


class Settings:
    """An object of a class: more than a checkpoint of weights may hold."""

    def __init__(self, constraint: str):
        self.constraint = constraint


@dataclass(frozen=True)
class Layout:
    write: Callable[[Path, nn.Module, nn.Module], Path]
    options: dict[str, Any] = field(default_factory=dict)
    ema: bool = False
    prefixes: tuple[str, ...] = ()


LAYOUTS: dict[str, Layout] = {}


def layout(name: str, ema: bool = False, prefixes: tuple[str, ...] = (), **options: Any) -> Callable:
    """Register the content that a function makes of two state dicts, written by torch.save."""

    def register(make: Callable[[State, State], Any]) -> Callable:
        def write(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
            # The name tells nothing: layouts are told by their content.
            torch.save(make(raw.state_dict(), average.state_dict()), folder / "weights")
            return folder / "weights"

        LAYOUTS[name] = Layout(write, options, ema, prefixes)
        return make

    return register


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{k}": v for k, v in state.items()}


def channels(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def timm_args(**more: Any) -> argparse.Namespace:
    given = {"model": "digits_cnn", "model_kwargs": {"width": 1}, "num_classes": CLASSES, "mean": MEAN, "std": STD}
    return argparse.Namespace(**given, **more)


for PREFIXES in ((), ("module.",), ("_orig_mod.",), ("module.", "_orig_mod."), ("_orig_mod.", "module.")):
    STEM = "".join(PREFIXES)

    @layout(f"state dict {STEM}".strip(), prefixes=PREFIXES, **WITH_ALL)
    def bare(raw, average, stem=STEM):
        return under(stem, raw)

    @layout(f"timm {STEM}".strip(), ema=True, prefixes=PREFIXES)
    def timm_train(raw, average, stem=STEM):
        weights = {"state_dict": under(stem, raw), "state_dict_ema": under(stem, average)}
        return {"epoch": 3, "arch": "sequential", "version": 2, "args": timm_args(lr=0.1), "metric": 61.5, **weights}


@layout("timm, only the average wrapped", ema=True)
def timm_mixed(raw, average):
    weights = {"state_dict": raw, "state_dict_ema": under("module.", average)}
    return {"arch": "sequential", "args": timm_args(), **weights}


@layout("timm without arguments", ema=True, **WITH_ALL)
def timm_without_args(raw, average):
    return {"arch": "sequential", "state_dict": raw, "state_dict_ema": average}


@layout("DeiT", ema=True)
def deit(raw, average):
    return {"model": raw, "model_ema": average, "optimizer": {}, "args": timm_args()}


@layout("torchvision's references", ema=True, **WITH_ALL)
def torchvision_train(raw, average):
    return {"model": raw, "model_ema": {"n_averaged": torch.tensor(7), **under("module.", average)}}


@layout("wrapped differently", ema=True, prefixes=("module.", "_orig_mod."), **WITH_ALL)
def wrapped_differently(raw, average):
    return {"model": under("module._orig_mod.", raw), "model_ema": under("_orig_mod.module.", average)}


@layout("Lightning model.", prefixes=("model.",), **WITH_ALL)
def lightning(raw, average):
    versioned = {"pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 0.1}, "loops": {}}
    return {"state_dict": under("model.", raw), **versioned}


@layout("Lightning net. compiled", prefixes=("net.", "_orig_mod."), **WITH_ALL)
def lightning_compiled(raw, average):
    return {"state_dict": under("net._orig_mod.", raw), "pytorch-lightning_version": "2.4.0", "hyper_parameters": {}}


@layout("RobustBench mu sigma", **WITH_ARCH)
def mu_sigma(raw, average):
    return {"mu": channels(MEAN), "sigma": channels(STD), **raw}


@layout("RobustBench mu sigma in module.", prefixes=("module.",), **WITH_ARCH)
def mu_sigma_parallel(raw, average):
    return under("module.", mu_sigma(raw, average))


@layout("RobustBench normalize and model.", prefixes=("model.",), **WITH_ARCH)
def normalize_model(raw, average):
    return {"normalize.mean": channels(MEAN), "normalize.std": channels(STD), **under("model.", raw)}


@layout("RobustBench normalize. and backbone.", prefixes=("module.", "backbone."), **WITH_ARCH)
def normalize_backbone(raw, average):
    held = {"normalize.mean": channels(MEAN)[0], "normalize.std": channels(STD)[0]}
    return {"state_dict": under("module.", {**held, **under("backbone.", raw)})}


@layout("Sequential of normaliser and network", prefixes=("1.",), **WITH_ARCH)
def sequential(raw, average):
    return {"0.mean": channels(MEAN)[0], "0.std": channels(STD)[0], **under("1.", raw)}


def madry_weights(raw):
    normaliser = {"new_mean": channels(MEAN)[0], "new_std": channels(STD)[0]}
    attacker = {**under("normalize.", normaliser), **under("model.", raw)}
    network = {**under("normalizer.", normaliser), **under("model.", raw), **under("attacker.", attacker)}
    return under("module.", network)


@layout("MadryLab", prefixes=("module.", "model."), **WITH_ARCH)
def madry_lab(raw, average):
    return {"model": madry_weights(raw), "epoch": 5}


@layout("MadryLab with its settings pickled", prefixes=("module.", "model."), trust_pickle=True, **WITH_ARCH)
def madry_lab_pickled(raw, average):
    return {"model": madry_weights(raw), "args": Settings("linf"), "path": Path("runs")}


def write_own(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
    described = {"ema": average.state_dict(), "arch_kwargs": {"width": 1}, "mean": MEAN, "std": STD}
    save_checkpoint(folder / "own", raw.state_dict(), arch="digits_cnn", preprocess=Preprocess(32, 1.0), **described)
    return folder / "own"


def write_hugging_face(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
    pretrained = {"mean": MEAN, "std": STD, "input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bilinear"}
    config = {"architecture": "digits_cnn", "num_classes": CLASSES, "model_args": {"width": 1}}
    (folder / "hub").mkdir()
    (folder / "hub" / "config.json").write_text(json.dumps({**config, "pretrained_cfg": pretrained}))
    safetensors.torch.save_file(raw.state_dict(), folder / "hub" / "model.safetensors")
    return folder / "hub"


def write_hugging_face_file(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
    return write_hugging_face(folder, raw, average) / "model.safetensors"


def write_safetensors(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
    safetensors.torch.save_file(raw.state_dict(), folder / "weights.bin")
    return folder / "weights.bin"


def write_module(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
    torch.save(nn.DataParallel(raw), folder / "module")
    return folder / "module"


def write_module_in_dictionary(folder: Path, raw: nn.Module, average: nn.Module) -> Path:
    torch.save({"model": raw, "epoch": 3}, folder / "module")
    return folder / "module"


WHOLE: dict[str, Any] = {"mean": MEAN, "std": STD, "trust_pickle": True}
LAYOUTS |= {
    "gradlens": Layout(write_own, ema=True),
    "Hugging Face folder": Layout(write_hugging_face),
    "Hugging Face file": Layout(write_hugging_face_file),
    "safetensors": Layout(write_safetensors, WITH_ALL),
    "pickled module": Layout(write_module, WHOLE),
    "pickled module, state dict used": Layout(write_module, {**WHOLE, "arch": ARCH}),
    "pickled module in a dictionary": Layout(write_module_in_dictionary, WHOLE),
}
