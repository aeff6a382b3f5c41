"""The layouts of checkpoints, told by what is inside and never by a file's name.

A reader takes what was opened and returns the fields of a ``Checkpoint``, its weights as they were
saved, or None where the layout is not its own. The first reader that answers is believed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gradlens.models._opening import Opened

Fields = dict[str, Any]

# Where a dictionary keeps its raw weights → where it keeps their moving average.
NESTED = {
    "state_dict": "state_dict_ema",
    "model": "model_ema",
    "model_state_dict": "ema_state_dict",
    "net": "ema",
}


def _own(opened: Opened) -> Fields | None:
    content = opened.content
    if not _has(content, "gradlens"):
        return None
    return {
        "layout": "gradlens checkpoint",
        "raw": content.get("state_dict"),
        "ema": content.get("ema") or None,
        "arch": content.get("arch"),
        "arch_kwargs": dict(content.get("arch_kwargs", {})),
        "activation": content.get("activation"),
        "mean": floats(content.get("mean")),
        "std": floats(content.get("std")),
        "num_classes": content.get("num_classes"),
        "class_names": tuple(content.get("class_names", ())),
        "preprocess": dict(content.get("preprocess") or {}),
    }


def _pickled_module(opened: Opened) -> Fields | None:
    """Only a trusted file gets this far with a module."""
    if not isinstance(opened.content, nn.Module):
        return None
    compiled = isinstance(opened.content, torch.jit.ScriptModule)
    return _of_module("TorchScript archive" if compiled else "pickled module", opened.content)


def _hugging_face(opened: Opened) -> Fields | None:
    config = opened.config
    if config is None:
        return None
    how = config.get("pretrained_cfg", config)
    names = config.get("label_names") or how.get("label_names") or ()
    return {
        "layout": "Hugging Face folder",
        "raw": opened.content,
        "arch": config.get("architecture"),
        "arch_kwargs": dict(config.get("model_args") or {}),
        "mean": floats(how.get("mean")),
        "std": floats(how.get("std")),
        "num_classes": config.get("num_classes") or how.get("num_classes"),
        "class_names": tuple(names),
        "preprocess": _preprocess(how),
    }


def _lightning(opened: Opened) -> Fields | None:
    content = opened.content
    if not _has(content, "pytorch-lightning_version") or not _holds_weights(content, "state_dict"):
        return None
    return {"layout": "Lightning checkpoint", "raw": content["state_dict"]}


def _madry_lab(opened: Opened) -> Fields | None:
    """The network, the attacker with a copy of it, and a normaliser, each under its own name."""
    weights = opened.content.get("model") if isinstance(opened.content, Mapping) else None
    if not isinstance(weights, Mapping) or not any("normalizer.new_mean" in str(k) for k in weights):
        return None
    return {"layout": "MadryLab checkpoint", "raw": weights}


def _nested(opened: Opened) -> Fields | None:
    """timm's train.py, DeiT, MAE, ARES and most training scripts: weights under a key, arguments beside."""
    content = opened.content
    key = next((k for k in NESTED if _holds_weights(content, k)), None)
    if key is None:
        return None
    layout = f"dictionary with '{key}'"
    if isinstance(content[key], nn.Module):
        return _of_module(layout, content[key])
    average = content.get(NESTED[key])
    return {"layout": layout, "raw": content[key], "ema": average or None, **_arguments(content)}


def _bare(opened: Opened) -> Fields | None:
    return {"layout": "state dict", "raw": opened.content} if isinstance(opened.content, Mapping) else None


LAYOUTS: tuple[Callable[[Opened], Fields | None], ...] = (
    _own,
    _pickled_module,
    _hugging_face,
    _lightning,
    _madry_lab,
    _nested,
    _bare,
)


def floats(values: Any) -> tuple[float, ...] | None:
    return tuple(float(v) for v in values) if values is not None else None


def _has(content: Any, key: str) -> bool:
    return isinstance(content, Mapping) and key in content


def _holds_weights(content: Any, key: str) -> bool:
    return _has(content, key) and isinstance(content[key], Mapping | nn.Module)


def _arguments(content: Mapping) -> Fields:
    """What timm's arguments say. ``args.model`` is a name that can be built; ``arch`` alone may be a class."""
    given = content.get("args")
    args = vars(given) if isinstance(given, argparse.Namespace) else given if isinstance(given, Mapping) else {}
    name = args.get("model")
    return {
        "arch": name if isinstance(name, str) else None,
        "arch_kwargs": dict(args.get("model_kwargs") or {}),
        "class_name": content["arch"] if isinstance(content.get("arch"), str) else None,
        "mean": floats(args.get("mean")),
        "std": floats(args.get("std")),
        "num_classes": args.get("num_classes"),
        "preprocess": _preprocess(args),
    }


def _of_module(layout: str, module: nn.Module) -> Fields:
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return {"layout": layout, "raw": module.state_dict(), "module": module}


def _preprocess(how: Mapping) -> Fields:
    """The parts of a ``Preprocess`` that timm's arguments or a model's configuration state."""
    shape = how.get("input_size")
    size = how.get("img_size") or (shape[-1] if shape else None)
    stated = {k: how.get(k) for k in ("crop_pct", "interpolation", "crop_mode")}
    return {k: v for k, v in {"size": size, **stated}.items() if v}
