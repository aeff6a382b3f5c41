"""What is in a checkpoint file, read without running any code that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.core.files import file_hash, write_atomically
from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.models._allowed import check_arguments, check_classes, check_fields, check_tensors
from gradlens.models._layouts import LAYOUTS, WEIGHTS
from gradlens.models._opening import open_checkpoint
from gradlens.models._wrappings import State, Weights, average_in, unwrap
from gradlens.models.architectures import is_code


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
    checkpoint = Checkpoint(path=str(path), sha256=file_hash(opened.file), sets=sets, main=main, **fields)
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
