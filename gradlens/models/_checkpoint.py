"""What is in a checkpoint file, read without running any code that is in it.

Its layout is told by what is inside and never by the file's name. A reader of ``LAYOUTS`` takes what was
opened and returns the fields of a ``Checkpoint``, its weights as they were saved, or None where the
layout is not its own. The first reader that answers is believed.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.core.files import write_atomically
from gradlens.core.types import UserError
from gradlens.models._allowed import check_classes, check_fields, check_tensors
from gradlens.models._opening import Opened, open_checkpoint
from gradlens.models._wrappings import State, Weights, unwrap

Fields = dict[str, Any]

# Where a dictionary keeps its raw weights → where it keeps their moving average.
NESTED = {
    "state_dict": "state_dict_ema",
    "model": "model_ema",
    "model_state_dict": "ema_state_dict",
    "net": "ema",
}


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights and what it says about them; ``None`` where it says nothing.

    module is the network itself where a trusted pickle held one; class_name is what the file calls
    its network without saying how to build it; preprocess are the parts of a ``Preprocess`` it states.
    """

    path: str
    layout: str
    sha256: str
    raw: Weights | None
    ema: Weights | None = None
    arch: str | None = None
    arch_kwargs: dict[str, Any] = field(default_factory=dict)
    class_name: str | None = None
    module: nn.Module | None = None
    activation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    preprocess: dict[str, Any] = field(default_factory=dict)

    @property
    def stripped(self) -> tuple[str, ...]:
        """The prefixes that stood before every name of its weights."""
        return next((w.bare.prefixes for w in (self.raw, self.ema) if w), ())

    @property
    def states_activation(self) -> bool:
        return bool(self.activation or "act_layer" in self.arch_kwargs or self.module)


def read_checkpoint(path: str | Path, trust_pickle: bool = False) -> Checkpoint:
    """Recognise a file's layout, or a Hugging Face folder's.

    Raises UserError for a file that is missing, empty or damaged, or that holds more than tensors and
    is not trusted: ``trust_pickle=True`` lets it run code.
    """
    opened = open_checkpoint(Path(path), trust_pickle)
    try:
        fields = next(filter(None, (read(opened) for read in LAYOUTS)), None)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} describes itself in a way that is not understood ({error}); save it again") from error
    if fields is None:
        raise UserError(
            f"{path} holds a {type(opened.content).__name__}; wanted a dictionary of tensors: save model.state_dict()"
        )
    fields = check_fields(path, fields)
    sets = {kind: _weights(opened.file, fields.get(kind)) for kind in ("raw", "ema")}
    if not any(sets.values()):
        raise UserError(f"{path} holds no weights; wanted a dictionary of tensors: save model.state_dict()")
    check_classes(path, fields.get("num_classes"), [w.bare.state for w in sets.values() if w])
    return Checkpoint(path=str(path), sha256=sha256_of(opened.file), **{**fields, **sets})


def save_checkpoint(path: str | Path, state: State, *, arch: str, **described: Any) -> None:
    """Write a checkpoint that ``load_model`` opens without flags; atomic.

    described: arch_kwargs, activation, mean, std, class_names, preprocess (a ``Preprocess``), ema.
    """
    preprocess = described.pop("preprocess", None)
    content = {"gradlens": 1, "arch": arch, "state_dict": state, **described}
    if preprocess is not None:
        content["preprocess"] = vars(preprocess)
    write_atomically(Path(path), lambda f: torch.save(content, f))


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weights(file: Path, state: Any) -> Weights | None:
    if state is None:
        return None
    _check_names(file, state)
    check_tensors(file, state)
    _check_size(file, state)
    bad = next((k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())), None)
    if bad is not None:
        raise UserError(
            f"{file}: weights '{bad}' are not finite (NaN or infinity): training diverged; use an earlier checkpoint"
        )
    return unwrap(dict(state))


def _check_names(file: Path, state: Any) -> None:
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{file} holds no weights; wanted a dictionary of tensors: save model.state_dict()")
    stray = next((k for k, v in state.items() if not isinstance(v, Tensor)), None)
    if stray is not None:
        raise UserError(
            f"{file}: entry '{stray}' is a {type(state[stray]).__name__}, not a tensor; wanted a "
            "dictionary of tensors, or one under the key 'state_dict' or 'model'"
        )
    unnamed = next((k for k in state if not isinstance(k, str)), None)
    if unnamed is not None:
        raise UserError(f"{file}: entry {unnamed!r} is not a parameter's name; wanted what model.state_dict() gives")


def _check_size(file: Path, state: Mapping[str, Tensor]) -> None:
    """A few bytes can declare a tensor of terabytes, by a stride of zero; looking at it would make it."""
    declared, held = sum(v.numel() * v.element_size() for v in state.values()), file.stat().st_size
    if declared > 100 * held:
        raise UserError(
            f"{file} declares {declared:,} bytes of weights in {held:,} bytes: it is damaged or made to exhaust "
            "memory; download it again from its source"
        )


# --- the layouts


def _own(opened: Opened) -> Fields | None:
    content = opened.content
    if not _has(content, "gradlens"):
        return None
    return {
        "layout": "gradlens checkpoint",
        "raw": content.get("state_dict"),
        "ema": content.get("ema") or None,
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
        "arch_kwargs": config.get("model_args") or {},
        "mean": floats(how.get("mean")),
        "std": floats(how.get("std")),
        "num_classes": config.get("num_classes") or how.get("num_classes"),
        "class_names": names,
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


def floats(values: Any) -> Any:
    """One number a channel; what is none is left as it is, for ``check_fields`` to name."""
    try:
        return values if isinstance(values, str) or values is None else tuple(float(v) for v in values)
    except (TypeError, ValueError, RuntimeError):
        return values


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
        "arch_kwargs": args.get("model_kwargs") or {},
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
    shape = how.get("input_size") or how.get("img_size")
    # timm writes (3, H, W); DeiT and MAE one number, which a configuration may hold as text.
    size = tuple(int(v) for v in shape[-2:]) if isinstance(shape, list | tuple) else int(shape) if shape else None
    stated = {k: how.get(k) for k in ("crop_pct", "interpolation", "crop_mode")}
    return {k: v for k, v in {"size": size, **stated}.items() if v}
