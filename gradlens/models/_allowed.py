"""What a file may say of its network: plain values that open no other file, no network and no code.

timm's and torchvision's makers take arguments that load weights, fetch configurations or fill a cache. What is only
read must not use them, whatever the installed version does with them; what the user types may.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from gradlens.core.fields import Rule, checked, checked_table, short
from gradlens.core.types import UserError

# Words in the names of arguments by which makers find weights, caches, configurations or code.
FETCHED = "cache cfg checkpoint config dir file filename folder hub path pretrained repo root state uri url weights"
OPENS = frozenset(FETCHED.split(" "))
# A text that means a path, an address or a module: relu, avg and layernorm2d have none of these.
POINTS = re.compile(r"[/\\:~\x00]|\.\.|\.[A-Za-z]\w*$")
# So many numbers more than twice its file's a network may have, 100 MB; and as many a tensor's layer weighs in Python.
SPARE, LAYER = 25_000_000, 10_000
# What describes an architecture is short, of few levels, and of numbers that no tensor exceeds by much.
LONGEST, DEEPEST, LARGEST = 100, 4, 65_536
MOST_CLASSES = 1_000_000
CLASSES = Rule(lambda number: 0 < number <= MOST_CLASSES, f"a number of classes, from 1 to {MOST_CLASSES:,}")
DEVIATIONS = Rule(lambda std: bool(std) and min(std) > 0, "a positive number a channel")
KINDS: dict[str, tuple[Any, Rule | None]] = {
    "arch": (str | None, None),
    "class_name": (str | None, None),
    "activation": (str | None, None),
    "mean": (tuple[float, ...] | None, None),
    "std": (tuple[float, ...] | None, DEVIATIONS),
    "num_classes": (int | None, CLASSES),
    "class_names": (tuple[str, ...], None),
    "arch_kwargs": (dict, None),
    "preprocess": (dict, None),
}
PREPROCESS = {"size": int | tuple[int, int], "crop_pct": float, "interpolation": str, "crop_mode": str}
NUMBERS = ("float16", "bfloat16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64")
DTYPES = frozenset(getattr(torch, name) for name in NUMBERS)


def check_fields(path: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself, in the types of ``Checkpoint``; raises UserError that names file and key."""
    stated = {key: checked(path, key, fields[key], *KINDS[key]) for key in KINDS if key in fields}
    how = stated.get("preprocess") or {}
    return {**fields, **stated, "preprocess": {**how, **checked_table(path, how, PREPROCESS)}}


def check_classes(path: object, number: int | None, states: Sequence[Mapping[str, Tensor]]) -> None:
    """A head of as many classes as are stated would be made before the weights are found not to fit it."""
    longest = max((max(v.shape, default=0) for state in states for v in state.values()), default=0)
    if number is not None and number > longest:
        raise UserError(f"{path}: num_classes = {number:,}, and no tensor in it is as long; give --num-classes")


def check_arch(path: object, arch: str) -> None:
    """Refuse the name of an architecture that is to be fetched: only the user may name one."""
    if arch.partition(":")[0] == "hf-hub" or "/" in arch or "\\" in arch:
        raise UserError(f"{path} names its architecture as {arch}, which is not inside it; give --arch to open that")


def check_arguments(name: str, given: Mapping[Any, Any], depth: int = 0) -> None:
    """Refuse arguments of an architecture that are no plain values, or that have a maker open something."""
    for key, value in given.items():
        if not isinstance(key, str) or _opens(key, value):
            why = "which may open files or the network"
        elif isinstance(value, Mapping) and depth < DEEPEST:
            check_arguments(name, value, depth + 1)
            continue
        elif not _is_plain(value):
            why = "which is no number, word or short list of these"
        else:
            continue
        raise UserError(f"the arguments of {name} hold {short(key)} = {short(value)}, {why}; give --arch instead")


def check_size(path: object, make: Callable[[], object], state: Mapping[str, Tensor]) -> None:
    """Refuse a network of more than twice what a file holds for it: small arguments together may build a huge one.

    Each tensor is counted when a layer registers it, on the meta device, where it takes no memory; with it the few
    kB that Python takes for its layer.
    """
    held, count = sum(v.numel() + LAYER for v in state.values()), 0
    most = 2 * held + SPARE

    def counted(module: object, name: str, tensor: Tensor | None) -> None:
        nonlocal count
        count += LAYER + (0 if tensor is None else tensor.numel())
        if count > most:
            raise OverflowError

    hooks = [register_module_parameter_registration_hook(counted), register_module_buffer_registration_hook(counted)]
    try:
        # What else is wrong with the arguments the real network says.
        with suppress(Exception), torch.device("meta"):
            make()
    finally:
        for hook in hooks:
            hook.remove()
    if count > most:
        raise UserError(f"{path}: its arguments make a network of many times the weights that it holds; give --arch")


def check_tensors(path: object, state: Mapping[str, Tensor]) -> None:
    """Dense numbers of an ordinary type, in memory: others have no values to load, or cannot be looked at."""
    for key, tensor in state.items():
        odd = [
            "nested" if tensor.is_nested else "",
            "meta" if tensor.is_meta else "",
            "" if tensor.layout is torch.strided else str(tensor.layout).removeprefix("torch."),
            "" if tensor.dtype in DTYPES else str(tensor.dtype).removeprefix("torch."),
        ]
        if any(odd):
            what = " ".join(filter(None, odd))
            raise UserError(f"{path}: weights '{key}' are a {what} tensor; wanted dense float32: save them as such")


def _opens(key: str, value: Any) -> bool:
    """drop_path is a rate, and init_weights of torchvision a switch."""
    words = key.lower().removeprefix("drop_path").split("_")
    return bool(OPENS & set(words)) and not (key == "init_weights" and isinstance(value, bool))


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST and not POINTS.search(value)
    if isinstance(value, list | tuple):
        return depth < DEEPEST and len(value) <= LONGEST and all(_is_plain(one, depth + 1) for one in value)
    return value is None or (isinstance(value, bool | int | float) and abs(value) <= LARGEST)
