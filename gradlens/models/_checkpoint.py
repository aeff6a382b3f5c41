"""What is in a checkpoint file, read without running any code that is in it."""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradlens._files import write_atomically
from gradlens._types import Preprocess, UserError

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights and what it says about them; ``None`` where it says nothing."""

    path: str
    layout: str
    sha256: str
    raw: State | None
    ema: State | None = None
    arch: str | None = None
    arch_kwargs: dict[str, Any] = field(default_factory=dict)
    activation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    stripped: tuple[str, ...] = ()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Recognise the layout: our own, timm's ``.pth.tar``, or a bare state dict.

    Raises UserError for a file that is missing, empty, damaged, or holds more than tensors.
    """
    file = Path(path)
    content = _load(file)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{file} holds a {type(content).__name__}; wanted a dictionary of tensors: save model.state_dict()"
        )
    read = _read_own if "gradlens" in content else _read_timm if "state_dict" in content else _read_bare
    return read(file, content, sha256_of(file))


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


def _load(file: Path) -> Any:
    if not file.exists():
        raise UserError(f"no checkpoint at {file}; give the path of a file, or a timm name as timm:NAME")
    if file.is_dir():
        raise UserError(f"{file} is a folder; give the checkpoint file inside it")
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty (0 bytes); copy or download it again")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # What it warns of in a file that it then refuses is of no use to the user.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for a damaged file
        raise UserError(_why_unreadable(file, error)) from None


def _why_unreadable(file: Path, error: Exception) -> str:
    needed = re.search(r"GLOBAL (\S+)", str(error))
    if needed:
        return (
            f"{file} needs {needed[1]} to be imported and run, which gradlens refuses (weights only); "
            "save model.state_dict() instead of the model"
        )
    size = file.stat().st_size
    return (
        f"{file} ({size:,} bytes) is not a readable PyTorch checkpoint: it is truncated, damaged or of "
        "another format; copy it again, or save it with torch.save(model.state_dict(), path)"
    )


def _read_own(file: Path, content: Mapping, sha256: str) -> Checkpoint:
    state = content.get("state_dict")
    preprocess = content.get("preprocess")
    return Checkpoint(
        path=str(file),
        layout="gradlens",
        sha256=sha256,
        raw=_tensors(file, state),
        ema=_tensors(file, content["ema"]) if content.get("ema") else None,
        arch=content.get("arch"),
        arch_kwargs=dict(content.get("arch_kwargs", {})),
        activation=content.get("activation"),
        mean=_triple(content.get("mean")),
        std=_triple(content.get("std")),
        num_classes=content.get("num_classes"),
        class_names=tuple(content.get("class_names", ())),
        preprocess=Preprocess(**preprocess) if preprocess else None,
    )


def _read_timm(file: Path, content: Mapping, sha256: str) -> Checkpoint:
    """timm's train.py writes ``arch`` and ``args``; only ``args.model`` is a name timm can build."""
    args = vars(content["args"]) if isinstance(content.get("args"), argparse.Namespace) else {}
    raw, prefixes = strip_prefixes(_tensors(file, content["state_dict"]))
    ema = content.get("state_dict_ema")
    return Checkpoint(
        path=str(file),
        layout="timm",
        sha256=sha256,
        raw=raw,
        ema=strip_prefixes(_tensors(file, ema))[0] if ema else None,
        arch=args.get("model"),
        mean=_triple(args.get("mean")),
        std=_triple(args.get("std")),
        num_classes=args.get("num_classes"),
        stripped=prefixes,
    )


def _read_bare(file: Path, content: Mapping, sha256: str) -> Checkpoint:
    state, prefixes = strip_prefixes(_tensors(file, content))
    return Checkpoint(path=str(file), layout="state dict", sha256=sha256, raw=state, stripped=prefixes)


def strip_prefixes(state: State) -> tuple[State, tuple[str, ...]]:
    """Remove what DistributedDataParallel and torch.compile put before every key, in any order."""
    found: list[str] = []
    while True:
        prefix = next((p for p in ("module.", "_orig_mod.") if all(k.startswith(p) for k in state)), None)
        if not prefix:
            return state, tuple(found)
        state = {k.removeprefix(prefix): v for k, v in state.items()}
        found.append(prefix)


def _tensors(file: Path, state: Any) -> State:
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{file} holds no weights; wanted a dictionary of tensors: save model.state_dict()")
    stray = next((k for k, v in state.items() if not isinstance(v, Tensor)), None)
    if stray is not None:
        raise UserError(
            f"{file}: entry '{stray}' is a {type(state[stray]).__name__}, not a tensor; wanted a "
            "dictionary of tensors, or one under the key 'state_dict'"
        )
    unnamed = next((k for k in state if not isinstance(k, str)), None)
    if unnamed is not None:
        raise UserError(f"{file}: entry {unnamed!r} is not a parameter's name; wanted what model.state_dict() gives")
    bad = next((k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())), None)
    if bad is not None:
        raise UserError(
            f"{file}: weights '{bad}' are not finite (NaN or infinity): training diverged; use an earlier checkpoint"
        )
    return dict(state)


def _triple(values: Any) -> tuple[float, ...] | None:
    return tuple(float(v) for v in values) if values is not None else None
