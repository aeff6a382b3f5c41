"""What is asked of ``load_model``, and who states what of a model: the user, else the file, else the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from gradlens.core.names import unknown
from gradlens.core.stated import Stated, by_file, by_user, settled
from gradlens.core.types import Preprocess, UserError
from gradlens.models._checkpoint import Checkpoint
from gradlens.models._wrappings import Form
from gradlens.models.architectures import Built, arguments_of
from gradlens.models.normalisation import Normalisation, settle

# A preprocessing's parts, as a user may call them.
PARTS = {"img_size": "size", **{f.name: f.name for f in fields(Preprocess)}}


@dataclass(frozen=True)
class Chosen:
    """The weights of a file that are used, as the network takes them and with everything taken off."""

    kind: Stated[str]
    form: Form
    bare: Form
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What was asked of ``load_model``, but for the device; enough to open the same model again."""

    spec: str | Path | nn.Module
    arch: str | None
    weights: str
    activation: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    normalized: bool | None
    num_classes: int | None
    trust_pickle: bool
    arch_kwargs: Mapping[str, Any] | None
    preprocess: Mapping[str, Any] | None

    @property
    def options(self) -> dict[str, Any] | None:
        """As arguments that a file can keep; a module cannot be kept."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {**{k: v for k, v in given.items() if v is not None}, "spec": str(self.spec)}
        return None if isinstance(self.spec, nn.Module) else kept

    @property
    def name(self) -> str | None:
        """The architecture's, where the user named it."""
        return self.arch or (str(self.spec) if is_name(self.spec) else None)


def is_name(spec: Any) -> bool:
    return not isinstance(spec, nn.Module) and ":" in str(spec) and not Path(spec).exists()


def parts_of(preprocess: Preprocess | Mapping[str, Any] | None) -> dict[str, Any]:
    """The parts that are stated, by the names of ``Preprocess``."""
    given = vars(preprocess) if isinstance(preprocess, Preprocess) else preprocess or {}
    if strange := next((key for key in given if key not in PARTS), None):
        raise UserError(unknown("part of preprocess", strange, PARTS))
    return {PARTS[key]: value for key, value in given.items() if value is not None}


def said_of(
    asked: Asked, checkpoint: Checkpoint | None, file: Mapping[str, Any], classes: int | None
) -> dict[str, Stated[Any]]:
    """Who says what the architecture is: its name, its arguments and its number of classes."""
    where, user = checkpoint.where if checkpoint else "", arguments_said(asked)
    arguments = {key: by_file(value, where) for key, value in file.items()}
    arguments |= {key: by_user(value) for key, value in user.items()}
    name = by_user(asked.name) if asked.name else by_file(checkpoint.arch if checkpoint else None, where)
    counted = by_user(classes) if asked.num_classes else by_file(classes, where) if checkpoint and classes else None
    return {"architecture": name, **arguments, **({"num_classes": counted} if counted else {})}


def normalisation_of(
    name: str, asked: Asked, built: Built, checkpoint: Checkpoint | None, chosen: Chosen | None
) -> tuple[Stated[Normalisation], list[str]]:
    form, bare = (chosen.form, chosen.bare) if chosen else (None, None)
    stated = Normalisation(checkpoint.mean, checkpoint.std) if checkpoint else Normalisation()
    usual = built.own(Normalisation(built.mean, built.std))
    return settle(name, Normalisation(asked.mean, asked.std), asked.normalized, form, bare, stated, usual)


def weights_of(kind: str, built: Built, chosen: Chosen | None) -> Stated[str]:
    if kind == "random":
        return by_user("random")
    return chosen.kind if chosen else built.own(built.weights)


def activation_of(asked: Asked, checkpoint: Checkpoint | None, built: Built, used: str | None) -> Stated[str | None]:
    if asked.activation or "act_layer" in arguments_said(asked):
        return by_user(used)
    if checkpoint and checkpoint.states_activation:
        return by_file(used, checkpoint.where)
    return built.own(used)


def preprocess_of(
    asked: Asked, built: Built, checkpoint: Checkpoint | None
) -> tuple[Preprocess | None, dict[str, Stated[Any]]]:
    """What the user states, else the file, else the architecture; with who said what, by timm's names."""
    file, where = (checkpoint.preprocess, checkpoint.where) if checkpoint else ({}, "")
    if strange := next((key for key in file if key not in PARTS), None):
        raise UserError(f"the file's preprocessing {file} is not understood ('{strange}'); save it again")
    user, own = asked.preprocess or {}, vars(built.preprocess or Preprocess())
    stated_size = size_of(asked, checkpoint)
    if not built.preprocess and stated_size is None:
        if user:
            raise UserError(f"{built.arch} has no size of its own to go with {dict(user)}; give --img-size too")
        return None, {}
    parts: dict[str, Any] = {"size": stated_size or built.own(own["size"])}
    for part in ("crop_pct", "interpolation", "crop_mode"):
        stated = by_user(user.get(part)), by_file(file.get(part), where), built.own(own[part])
        parts[part] = settled(part, *stated)
    how = Preprocess(**{part: one.value for part, one in parts.items()})
    # Nobody asks of the usual crop.
    if how.crop_mode == "center":
        del parts["crop_mode"]
    return how, {"img_size": parts.pop("size"), **parts}


def size_of(asked: Asked, checkpoint: Checkpoint | None) -> Stated[Any] | None:
    """The size of images that is stated, whether for them or for the network."""
    user = (asked.preprocess or {}).get("size") or arguments_said(asked).get("img_size")
    file = checkpoint and (checkpoint.preprocess.get("size") or checkpoint.arch_kwargs.get("img_size"))
    return settled("img_size", by_user(user), by_file(file, checkpoint.where) if checkpoint else None)


def arguments_said(asked: Asked) -> dict[str, Any]:
    """What the user says of the architecture's arguments."""
    return {**(asked.arch_kwargs or {}), **(arguments_of(asked.name) if asked.name else {})}
