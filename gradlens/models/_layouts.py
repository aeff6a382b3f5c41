"""The layouts of checkpoint files, told by what is inside and never by the file's name.

A reader of ``LAYOUTS`` takes what was opened and returns the fields of a ``Checkpoint``, its weights as they were
saved, or None where the layout is not its own. The first reader that answers is believed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.models._opening import Opened
from gradlens.models.architectures import crop_pct, torchvisions

Fields = dict[str, Any]

# Where training scripts keep the weights, the most telling first; another key counts where it is the only one.
WEIGHTS = ("state_dict", "model", "model_state_dict", "net", "model_state", "weights", "params", "network", "module")
# The normalisation of MAE's and of PyTorch's training scripts, which state no other.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# MAE's two ways to pool, in timm's words.
POOLED = {True: "avg", False: "token"}


def _own(opened: Opened) -> Fields | None:
    content = opened.content
    if not _has(content, "gradlens"):
        return None
    average = {"ema": content["ema"]} if content.get("ema") else {}
    return {
        "layout": "gradlens checkpoint",
        "sets": {"state_dict": content.get("state_dict"), **average},
        "arch": content.get("arch"),
        "arch_kwargs": content.get("arch_kwargs") or {},
        "activation": content.get("activation"),
        "mean": floats(content.get("mean")),
        "std": floats(content.get("std")),
        "num_classes": content.get("num_classes"),
        "class_names": content.get("class_names") or (),
        "preprocess": content.get("preprocess") or {},
    }


def _pickled_module(opened: Opened) -> Fields | None:
    """Only a trusted file gets this far with a module."""
    if not isinstance(opened.content, nn.Module):
        return None
    module = _unwrapped(opened.content)
    layout = "TorchScript archive" if isinstance(module, torch.jit.ScriptModule) else "pickled module"
    return {"layout": layout, "sets": {"": module.state_dict()}, "module": module}


def _hugging_face(opened: Opened) -> Fields | None:
    config = opened.config
    if config is None:
        return None
    how = config.get("pretrained_cfg", config)
    names = config.get("label_names") or how.get("label_names") or ()
    return {
        "layout": "Hugging Face folder",
        "sets": {"": opened.content},
        "arch": config.get("architecture"),
        "arch_kwargs": _with(_without_none({"global_pool": config.get("global_pool")}), config.get("model_args")),
        "mean": floats(how.get("mean")),
        "std": floats(how.get("std")),
        "num_classes": config.get("num_classes") or how.get("num_classes"),
        "class_names": names,
        "preprocess": _preprocess(how),
    }


def _training(opened: Opened) -> Fields | None:
    """timm's train.py, DeiT, MAE, Lightning, MadryLab and most scripts: weights under keys, arguments beside."""
    content = opened.content
    sets = _sets(content) if isinstance(content, Mapping) else {}
    if not sets:
        return None
    key = next((k for k in WEIGHTS if k in sets), next(iter(sets)))
    if _has(content, "pytorch-lightning_version"):
        return {"layout": "Lightning checkpoint", "sets": sets}
    madrys = key == "model" and any("normalizer.new_mean" in str(k) for k in sets[key])
    module = {"module": _unwrapped(content[key])} if isinstance(content.get(key), nn.Module) else {}
    said = {} if madrys else _arguments(content)
    return {"layout": "MadryLab checkpoint" if madrys else f"dictionary with '{key}'", "sets": sets, **said, **module}


def _bare(opened: Opened) -> Fields | None:
    return {"layout": "state dict", "sets": {"": opened.content}} if isinstance(opened.content, Mapping) else None


LAYOUTS: tuple[Callable[[Opened], Fields | None], ...] = (_own, _pickled_module, _hugging_face, _training, _bare)


def _sets(content: Mapping, place: str = "") -> dict[str, Mapping]:
    """Every dictionary of tensors, and every module's, by its key; also one that lies two keys deeper."""
    found: dict[str, Mapping] = {}
    for key, value in content.items():
        held = _unwrapped(value).state_dict() if isinstance(value, nn.Module) else value
        if not isinstance(held, Mapping) or str(key).endswith("_extra_state"):
            continue
        tensors = [isinstance(part, Tensor) for part in held.values()]
        # Under a telling key a stray entry is a mistake to be named; elsewhere, a result among others.
        if tensors and (any(tensors) if key in WEIGHTS else all(tensors)):
            found[f"{place}{key}"] = held
        elif place.count(".") < 2:
            found |= _sets(held, f"{place}{key}.")
    return found


def _unwrapped(module: nn.Module) -> nn.Module:
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return module


def floats(values: Any) -> Any:
    """One number a channel; what is none is left as it is, for ``check_fields`` to name."""
    try:
        return values if isinstance(values, str) or values is None else tuple(float(v) for v in values)
    except (TypeError, ValueError, RuntimeError):
        return values


def _has(content: Any, key: str) -> bool:
    return isinstance(content, Mapping) and key in content


def _without_none(given: Mapping) -> Fields:
    return {k: v for k, v in given.items() if v is not None and v != ""}


def _arguments(content: Mapping) -> Fields:
    """What the training's arguments say. ``args.model`` is a name that can be built; ``arch`` alone may be a class."""
    given = content.get("args")
    args = vars(given) if isinstance(given, argparse.Namespace) else given if isinstance(given, Mapping) else {}
    name = args["model"] if isinstance(args.get("model"), str) else None
    script = next(filter(None, (read(name, args, content) for read in SCRIPTS)), {})
    mean, std = IMAGENET if script else (args.get("mean"), args.get("std"))
    return {
        "arch": name,
        "arch_kwargs": _building(args),
        "class_name": content["arch"] if isinstance(content.get("arch"), str) else None,
        "mean": floats(mean),
        "std": floats(std),
        "num_classes": args.get("num_classes") or args.get("nb_classes"),
        "preprocess": _preprocess(args),
        **script,
    }


def _building(args: Mapping) -> Fields:
    """What timm's train.py gives a network besides its name, where it changes what the network computes."""
    pooled = args.get("gp") if args.get("gp") is not None else args.get("global_pool")
    shape = _numbers(args.get("input_size"))
    stated = {
        "global_pool": POOLED[pooled] if isinstance(pooled, bool) else pooled,
        "bn_eps": args.get("bn_eps"),
        "act_layer": args.get("act_layer"),
        "in_chans": args.get("in_chans") or (shape[0] if len(shape) == 3 and shape[0] != 3 else None),
    }
    return _with(_without_none(stated), args.get("model_kwargs"))


def _with(stated: Fields, more: Any) -> Any:
    """Arguments with more of them; what is no table is left as it is, for ``check_fields`` to name."""
    return {**stated, **(more or {})} if isinstance(more or {}, Mapping) else more


def _preprocess(how: Mapping) -> Fields:
    """The parts of a ``Preprocess`` that timm's arguments or a model's configuration state."""
    # timm writes (3, H, W); DeiT and MAE one number, which a configuration may hold as text.
    shape = _numbers(how.get("input_size")) or _numbers(how.get("img_size"))
    size = shape[-2:] if len(shape) > 1 else shape[0] if shape else None
    stated = {k: how.get(k) for k in ("crop_pct", "interpolation", "crop_mode")}
    return {k: v for k, v in {"size": size, **stated}.items() if v}


def _numbers(shape: Any) -> tuple[int, ...]:
    """The numbers of a size: ``160``, ``(3, 160, 160)`` or either as text."""
    if isinstance(shape, str):
        shape = re.findall(r"\d+", shape) or [shape]
    return tuple(int(v) for v in shape) if isinstance(shape, list | tuple) else (int(shape),) if shape else ()


# --- scripts whose files say more than they state


def _mae(name: str | None, args: Mapping, content: Mapping) -> Fields | None:
    """MAE leaves the size out of timm's name, and evaluates as its data set's code says."""
    if not name or not re.fullmatch(r"vit_\w+_patch\d+", name):
        return None
    size = (_numbers(args.get("input_size")) or (224,))[-1]
    how = {"size": size, "crop_pct": 224 / 256 if size <= 224 else 1.0, "interpolation": "bicubic"}
    return {"where": "as MAE's script writes it", "arch": f"{name}_224", "preprocess": how}


def _torchvisions_reference(name: str | None, args: Mapping, content: Mapping) -> Fields | None:
    """The name is torchvision's, and the sizes are called otherwise."""
    if not name or not args.get("val_crop_size"):
        return None
    size, resized = int(args["val_crop_size"]), int(args.get("val_resize_size") or 256)
    how = {"size": size, "crop_pct": crop_pct(size, resized), "interpolation": args.get("interpolation", "bilinear")}
    return {"where": "as torchvision's reference script writes it", "arch": f"torchvision:{name}", "preprocess": how}


def _pytorchs_example(name: str | None, args: Mapping, content: Mapping) -> Fields | None:
    """The ImageNet example keeps its ``--arch``, a name of torchvision, and no arguments."""
    named = content.get("arch")
    if args or not isinstance(named, str) or named not in torchvisions():
        return None
    how = {"size": 224, "crop_pct": 0.875, "interpolation": "bilinear"}
    return {"where": "as PyTorch's ImageNet example writes it", "arch": f"torchvision:{named}", "preprocess": how}


SCRIPTS = (_mae, _torchvisions_reference, _pytorchs_example)
