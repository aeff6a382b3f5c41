"""Whose mean and std a model's input is normalised by, so that it is normalised exactly once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradlens._types import UserError
from gradlens.models._wrappings import Form

Channels = tuple[float, ...]


@dataclass(frozen=True)
class Normalisation:
    mean: Channels | None = None
    std: Channels | None = None

    def __bool__(self) -> bool:
        return self.mean is not None or self.std is not None

    def same_as(self, other: Normalisation) -> bool:
        return _close(self.mean, other.mean) and _close(self.std, other.std)

    def __str__(self) -> str:
        return " and ".join(
            f"{name} ({', '.join(f'{v:.4g}' for v in values)})"
            for name, values in (("mean", self.mean), ("std", self.std))
            if values is not None
        )


NONE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def settle(
    name: str,
    given: Normalisation,
    normalized: bool | None,
    form: Form | None,
    bare: Form | None,
    stated: Normalisation,
    usual: Normalisation,
) -> tuple[Normalisation, list[str]]:
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
        return NONE, [f"the network normalises inside ({kept}): nothing is added"] if inside else []
    return _first(name, given, taken, stated, usual), [f"{taken} taken out of the weights"] if taken else []


def _first(name: str, *sources: Normalisation) -> Normalisation:
    mean = next((s.mean for s in sources if s.mean), None)
    std = next((s.std for s in sources if s.std), None)
    if mean is None or std is None:
        raise UserError(
            f"{name} does not say how its input is normalised; give --mean and --std (per channel, in [0, 1]), "
            "or --normalized if it normalises inside"
        )
    if len(mean) != len(std) or min(std) <= 0:
        raise UserError(f"mean {mean} and std {std} do not fit; wanted one positive std a channel")
    if max(mean) > 1:
        raise UserError(f"mean {mean} is not one of pixels in [0, 1]; divide mean and std by 255: --mean, --std")
    return Normalisation(tuple(mean), tuple(std))


def _close(a: Channels | None, b: Channels | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-6) for x, y in zip(a, b, strict=True))
