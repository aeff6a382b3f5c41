"""What a published comparison fixed: preprocessing, images and edge parameters, and what it left unsaid."""

from __future__ import annotations

from dataclasses import dataclass

from gradlens._registry import unknown
from gradlens._types import Preprocess, UserError


@dataclass(frozen=True)
class Protocol:
    """Settings to be used together; ``unstated`` names what the source does not determine."""

    preprocess: Preprocess
    images: int
    analyzers: str
    attack: str
    source: str
    unstated: str


PROTOCOLS = {
    "rodriguez2024": Protocol(
        preprocess=Preprocess(224, 0.875, "bicubic"),
        images=10_000,
        analyzers="sample_asymmetry,channel_asymmetry,edge_concentration:sigma=1",
        attack="pgd:norm=linf,eps=4/255,steps=10",
        source="Rodríguez-Muñoz et al. 2024 and its public code: ImageNet validation, gradients of the summed "
        "cross-entropy per unit pixel, contour energy with variance 1",
        unstated="which 10,000 validation images (ours are class-stratified by path hash), PGD's step size, and "
        "EMA or raw weights for some figures",
    ),
    "robustbench": Protocol(
        preprocess=Preprocess(224, 0.875, "bicubic"),
        images=5_000,
        analyzers="sample_asymmetry",
        attack="pgd:norm=linf,eps=4/255,steps=10",
        source="RobustBench, ImageNet Linf: 5,000 validation images, eps 4/255",
        unstated="the list of its 5,000 images is not shipped here: give it as --subset FILE, or a class-stratified "
        "sample of that size stands in; its AutoAttack is not run",
    ),
}


def protocol(name: str) -> Protocol:
    """A protocol by name; raises UserError with the nearest."""
    if name not in PROTOCOLS:
        raise UserError(unknown("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]
