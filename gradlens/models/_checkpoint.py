"""What is in a checkpoint file, read without running any code that is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.core.files import write_atomically
from gradlens.core.types import UserError
from gradlens.models._layouts import LAYOUTS
from gradlens.models._opening import open_checkpoint
from gradlens.models._wrappings import State, Weights, unwrap


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
    """Recognise a file's layout, or a Hugging Face folder's; see ``_layouts``.

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
    sets = {kind: _weights(opened.file, fields.get(kind)) for kind in ("raw", "ema")}
    if not any(sets.values()):
        raise UserError(f"{path} holds no weights; wanted a dictionary of tensors: save model.state_dict()")
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
