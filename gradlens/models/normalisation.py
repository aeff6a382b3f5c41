"""Whose mean and std a model's input is normalised by, so that it is normalised exactly once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradlens.core.stated import Rank, Stated, by_default, by_file, by_user
from gradlens.core.types import UserError
from gradlens.models._wrappings import Form

Channels = tuple[float, ...]
# How a note begins that tells of two statements which cannot both be true.
CONTRADICTION = "two normalisations: "


@dataclass(frozen=True)
class Normalisation:
    mean: Channels | None = None
    std: Channels | None = None

    def __bool__(self) -> bool:
        return self.mean is not None or self.std is not None

    def same_as(self, other: Normalisation) -> bool:
        return _close(self.mean, other.mean) and _close(self.std, other.std)

    def contradicts(self, other: Normalisation) -> bool:
        """Whether both state a mean, or both a std, and differ in it."""
        pairs = ((self.mean, other.mean), (self.std, other.std))
        return any(a is not None and b is not None and not _close(a, b) for a, b in pairs)

    @property
    def flags(self) -> str:
        """The flags that ask for it."""
        stated = (("--mean", self.mean), ("--std", self.std))
        return " ".join(f"{flag} {' '.join(f'{v:.6g}' for v in values)}" for flag, values in stated if values)

    def __str__(self) -> str:
        return " and ".join(
            f"{name} ({', '.join(f'{v:.4g}' for v in values)})"
            for name, values in (("mean", self.mean), ("std", self.std))
            if values is not None
        )


# What the buffers of a layer that normalises are called, other than BatchNorm's.
NORMALISES = re.compile(r"(?<!running_)(mean|std|sigma|mu|var)s?$")
NONE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def settle(
    name: str,
    given: Normalisation,
    normalized: bool | None,
    form: Form | None,
    bare: Form | None,
    stated: Normalisation,
    usual: Stated[Normalisation],
) -> tuple[Stated[Normalisation], list[str]]:
    """Asked for, else in the weights, else stated beside them, else the architecture's; with what to say of it.

    form: the weights as the network takes them; bare: with everything taken off. What is only in the
    bare one's hands, the network keeps: it normalises inside.
    """
    held = Normalisation(bare.mean, bare.std) if bare else Normalisation()
    taken = Normalisation(form.mean, form.std) if form else Normalisation()
    inside = bool(held and not taken)
    if (inside or normalized) and given:
        why = "the network has its own in its weights" if inside else "normalized=True"
        raise UserError(f"{why}: {name} normalises inside; drop mean and std")
    if normalized and taken:
        raise UserError(f"{name} has no place inside for the {taken} that its weights came with; drop --normalized")
    if held and stated and not given and not normalized and not stated.same_as(held) and not stated.same_as(NONE):
        remedy = "--normalized for the first alone" if inside else "--mean and --std"
        raise UserError(f"{name} names two normalisations: {held} in its weights, {stated} beside them; give {remedy}")
    if inside or normalized:
        kept = " and ".join(bare.normaliser) if bare and inside else ""
        source = by_user(NONE, "normalized") if normalized else by_file(NONE, f"inside the network: {kept}")
        return source, [f"the network normalises inside ({kept}): nothing is added"] if inside else _ignored(
            name, stated
        )
    said = [f"{taken} taken out of the weights"] if taken else []
    beside = by_file(taken, "in its weights") if taken else by_file(stated, "beside its weights")
    source = next((one for one in (by_user(given), beside, usual) if one.value), by_default(Normalisation(), ""))
    lost = [key for key in (form.left if form else ()) if NORMALISES.search(key)]
    if lost and source.rank is Rank.DEFAULT:
        raise UserError(f"{name}: '{lost[0]}' beside the weights may normalise; give --mean and --std, in [0, 1]")
    _check(name, source.value)
    return source, said + _overruled(name, given, taken or stated)


def _ignored(name: str, stated: Normalisation) -> list[str]:
    """normalized=True against a file that states what its input is normalised by."""
    if not stated or stated.same_as(NONE):
        return []
    return [
        f"{CONTRADICTION}{name} is said to normalise inside, and its file states {stated}; nothing is added: leave out "
        "--normalized, unless the network has a layer that normalises"
    ]


def _overruled(name: str, given: Normalisation, own: Normalisation) -> list[str]:
    """Flags, or a manifest, against the file."""
    if not given.contradicts(own):
        return []
    return [
        f"{CONTRADICTION}{given} given for {name}, and its file says {own}; the given are used: leave out --mean and "
        "--std (or their lines in the manifest), unless the file is wrong"
    ]


def stated_in(folder: Path, names: Sequence[str]) -> Iterator[tuple[Path, Normalisation]]:
    """What the JSON or YAML files of these names say of mean and std, in [0, 1]; what says nothing is left out."""
    for file in (folder / name for name in names):
        content = _parsed(file)
        nested = (content.get(key) for key in ("pretrained_cfg", "data_config"))
        how = next((inner for inner in nested if isinstance(inner, dict)), content)
        mean, std = (_numbers(how.get(key, how.get(f"image_{key}"))) for key in ("mean", "std"))
        if mean or std:
            scale = 255 if mean and max(mean) > 1 else 1
            yield file, Normalisation(*(v and tuple(x / scale for x in v) for v in (mean, std)))


def _parsed(file: Path) -> dict[str, Any]:
    """A file that cannot be read may be about anything, and says nothing."""
    try:
        if not file.is_file() or file.stat().st_size > 1_000_000:
            return {}
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _numbers(values: Any) -> Channels | None:
    """One number a channel; one for all counts for three."""
    if not isinstance(values, list) or len(values) not in (1, 3):
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    return tuple(map(float, values * 3))[:3]


def _check(name: str, found: Normalisation) -> None:
    mean, std = found.mean, found.std
    if mean is None or std is None:
        said, lacks = ("mean", "std") if std is None else ("std", "mean")
        half = f": {said} is stated ({found}) without {lacks}" if found else ""
        raise UserError(
            f"{name} does not say how its input is normalised{half}; give --mean and --std (per channel, in [0, 1]), "
            "or --normalized if it normalises inside"
        )
    if len(mean) != len(std) or min(std) <= 0:
        raise UserError(f"mean {mean} and std {std} do not fit; wanted one positive std a channel")
    if max(mean) > 1:
        raise UserError(f"mean {mean} is not one of pixels in [0, 1]; divide mean and std by 255: --mean, --std")


def _close(a: Channels | None, b: Channels | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-6) for x, y in zip(a, b, strict=True))
