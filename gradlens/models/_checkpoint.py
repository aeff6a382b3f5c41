"""What is in a checkpoint file, read without running any code that is in it.

Its layout is told by what is inside and never by the file's name. A reader of ``LAYOUTS`` takes what was
opened and returns the fields of a ``Checkpoint``, its weights as they were saved, or None where the
layout is not its own. The first reader that answers is believed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.core.files import write_atomically
from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.models._allowed import check_arguments, check_classes, check_fields, check_tensors
from gradlens.models._opening import Opened, open_checkpoint
from gradlens.models._wrappings import State, Weights, average_in, unwrap
from gradlens.models.architectures import crop_pct, is_code, torchvisions

Fields = dict[str, Any]

# Where training scripts keep the weights, the most telling first; another key counts where it is the only one.
WEIGHTS = ("state_dict", "model", "model_state_dict", "net", "model_state", "weights", "params", "network", "module")
# The normalisation of MAE's and of PyTorch's training scripts, which state no other.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# MAE's two ways to pool, in timm's words.
POOLED = {True: "avg", False: "token"}


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights and what it says about them; ``None`` where it says nothing.

    sets are its weights by the key they are kept under, main the key of the usual ones; module is the network
    itself where a trusted pickle held one; class_name is what the file calls its network without saying how to
    build it; preprocess are the parts of a ``Preprocess`` it states, and where says as whose file it is read.
    """

    path: str
    layout: str
    sha256: str
    sets: dict[str, Weights]
    main: str
    arch: str | None = None
    arch_kwargs: dict[str, Any] = field(default_factory=dict)
    where: str = "its file"
    class_name: str | None = None
    module: nn.Module | None = None
    activation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    preprocess: dict[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> Weights:
        """The usual ones."""
        return self.sets[self.main]

    @property
    def kinds(self) -> dict[str, str]:
        """Key → ``raw``, ``ema``, ``swa`` or ``average``, of every set of weights with the names of the usual ones."""
        names = self.weights.bare.state.keys()
        alike = [key for key, held in self.sets.items() if held.bare.state.keys() == names]
        said = {key: average_in(key) or ("average" if self.sets[key].counted else None) for key in alike}
        # Where the other one says that it is the raw one, or none of the average, this one is the average.
        usual = "average" if "raw" in said.values() and not {"ema", "swa", "average"} & set(said.values()) else "raw"
        return {key: kind or (usual if key == self.main else "raw") for key, kind in said.items()}

    @property
    def stripped(self) -> tuple[str, ...]:
        """The prefixes that stood before every name of its weights."""
        return self.weights.bare.prefixes

    def choose(self, asked: str) -> str:
        """The key of the weights for ``auto``, ``raw``, ``ema`` or a key; UserError where several could be meant."""
        if asked in self.sets:
            return asked
        kinds = self.kinds
        averages = [key for key, kind in kinds.items() if kind != "raw"]
        raw = [key for key in kinds if key not in averages]
        found = {"raw": raw, "ema": averages, "auto": averages or raw}.get(asked)
        if found is None:
            if any(key.startswith(f"{asked}.") for key in self.weights.bare.state):
                return self.main
            raise UserError(
                unknown(f"weights in {self.path}:", asked, ["auto", "raw", "ema", "random", *filter(None, self.sets)])
            )
        if not found:
            held = ", ".join(f"{key or 'its own'} ({kind})" for key, kind in kinds.items())
            raise UserError(f"{self.path} holds no {asked} weights, but {held}; use --weights auto")
        if len(found) > 1 and not (self.main in found and self.main in WEIGHTS):
            raise UserError(f"{self.path} holds weights as {' and as '.join(found)}; give --weights {found[0]}, say")
        return self.main if self.main in found else found[0]

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
    if not is_code(fields.get("arch") or ""):
        check_arguments(str(path), fields.get("arch_kwargs", {}))
    sets = {key: _weights(opened.file, state) for key, state in fields.pop("sets").items()}
    known = [key for key in WEIGHTS if key in sets]
    main = known[0] if known else max(sets, key=lambda key: len(sets[key].bare.state))
    checkpoint = Checkpoint(path=str(path), sha256=sha256_of(opened.file), sets=sets, main=main, **fields)
    check_classes(path, checkpoint.num_classes, [held.bare.state for held in sets.values()])
    _check_finite(checkpoint)
    return checkpoint


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


def _weights(file: Path, state: Any) -> Weights:
    # What a layer keeps beside its tensors (_extra_state) is not for us to load.
    if isinstance(state, Mapping):
        state = {key: value for key, value in state.items() if not str(key).endswith("_extra_state")}
    _check_names(file, state)
    check_tensors(file, state)
    _check_size(file, state)
    return unwrap(state)


def _check_finite(checkpoint: Checkpoint) -> None:
    for state in (checkpoint.sets[key].forms[0].state for key in checkpoint.kinds):
        bad = next((k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())), None)
        if bad is not None:
            raise UserError(
                f"{checkpoint.path}: weights '{bad}' are not finite (NaN or infinity): training diverged; use an "
                "earlier checkpoint"
            )


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
