"""What a published comparison fixed: preprocessing, images, attack and edge parameters, and what it left unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradlens.core.names import split_specs, unknown
from gradlens.core.types import Preprocess, UserError

if TYPE_CHECKING:
    from gradlens.data import Data


@dataclass(frozen=True)
class Protocol:
    """Settings to be used together; ``unstated`` names what the source does not determine."""

    name: str
    preprocess: Preprocess
    data: str
    images: int
    analyzers: str
    source: str
    unstated: str
    objective: str = "loss"

    @property
    def terms(self) -> str:
        """What it fixes, in one line."""
        return (
            f"{self.images:,} images of {self.data}, {self.preprocess}; objective {self.objective}; "
            f"analyzers {self.analyzers}"
        )

    def check(self, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Refuse flags, by name, that ask for something else; a default asks for nothing, fewer images deviate."""
        for flag in ("analyzers", "objective"):
            if given[flag] != defaults[flag] and split_specs(given[flag]) != split_specs(getattr(self, flag)):
                raise self._conflict(flag, given[flag], getattr(self, flag))
        if given["limit"] is not None and given["limit"] > self.images:
            raise self._conflict("limit", given["limit"], self.images)

    def deviations(self, data: Data) -> list[str]:
        """Where a run on these images departs from what was published."""
        found = []
        if data.source.name != self.data:
            found.append(f"the images are of {data.source.name}, not {self.data}")
        if len(data) != self.images:
            found.append(f"{len(data):,} images instead of {self.images:,}")
        return found

    def record(self, data: Data) -> dict[str, Any]:
        """What a run on these images keeps of it."""
        return {**asdict(self), "deviations": self.deviations(data)}

    def _conflict(self, flag: str, asked: Any, fixed: Any) -> UserError:
        return UserError(
            f"--{flag} {asked} and --protocol {self.name} contradict each other: the protocol fixes {fixed}; leave one "
            "of the two out"
        )


# The analyzer ``robustness`` runs the attack, so that the others' norms can be told by it.
PGD10 = "robustness:attack=pgd,norm=linf,eps=4/255,steps=10"
PUBLISHED = (
    Protocol(
        name="rodriguez2024",
        preprocess=Preprocess(224, 0.875, "bicubic"),
        data="imagenet-val",
        images=10_000,
        analyzers=f"sample_asymmetry,channel_asymmetry,edge_concentration:sigma=1,{PGD10},step_size=2/255",
        source="Rodríguez-Muñoz et al. 2024 and its public code: ImageNet validation, gradients of the summed "
        "cross-entropy per unit pixel, contour energy with variance 1, PGD-10 from a random start in steps of eps/2",
        unstated="which 10,000 validation images (ours are class-stratified by path hash), and EMA or raw weights for "
        "some figures",
    ),
    Protocol(
        name="robustbench",
        preprocess=Preprocess(224, 0.875, "bicubic"),
        data="imagenet-val",
        images=5_000,
        analyzers=f"sample_asymmetry,{PGD10}",
        source="RobustBench, ImageNet Linf: 5,000 validation images, eps 4/255",
        unstated="the list of its 5,000 images is not shipped here: give it as --subset FILE, or a class-stratified "
        "sample of that size stands in; its AutoAttack is not run: PGD-10 gives an upper bound of its robust "
        "accuracy; each of its models is resized in its own way, here all alike",
    ),
)
PROTOCOLS = {fixed.name: fixed for fixed in PUBLISHED}


def protocol(name: str) -> Protocol:
    """A protocol by name; raises UserError with the nearest."""
    if name not in PROTOCOLS:
        raise UserError(unknown("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]
