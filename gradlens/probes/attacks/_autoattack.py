from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from gradlens.core.registry import attack
from gradlens.core.types import UserError
from gradlens.probes.attacks._evaluate import Evaluate, Noise

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@attack
def autoattack(
    evaluate: Evaluate,
    image: Tensor,
    noise: Noise,
    norm: str = "linf",
    eps: float = 4 / 255,
    version: str = "standard",
    seed: int = 0,
) -> Tensor:
    """AutoAttack (Croce & Hein 2020) as RobustBench runs it, by the package pyautoattack: ``gradlens[attacks]``.

    It attacks the prediction, whatever the objective. Its random numbers are drawn for the batch as a
    whole, so an image's result may depend on the others: for robust accuracy in the literature's terms,
    not for comparing images. eps in pixels of images in [0, 1], which may be exceeded by 1e-7; norm:
    linf, l2 or l1; version: standard, plus or rand. Images that withstand it are returned as they were.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise UserError("autoattack needs the package pyautoattack; pip install 'gradlens[attacks]'") from None
    if norm not in NORMS:
        raise UserError(f"unknown norm '{norm}' of autoattack; there are: {', '.join(NORMS)}")
    if version not in ("standard", "plus", "rand"):
        raise UserError(f"unknown version '{version}' of autoattack; there are: standard, plus, rand")
    with torch.no_grad():
        classes = evaluate.logits(image).shape[1]
    if classes < 4:
        raise UserError(f"autoattack's losses need at least 4 classes, the model has {classes}; attack it with pgd")
    with torch.random.fork_rng():
        runner = AutoAttack(
            evaluate.logits, eps=float(eps), norm=NORMS[norm], version=version, seed=seed, device=image.device
        )
        runner.fab.n_target_classes = runner.apgd_targeted.n_target_classes = min(9, classes - 1)
        return _run(runner, image, evaluate.target(image))


def _run(runner: Any, image: Tensor, target: Tensor) -> Tensor:
    tracer = sys.gettrace()
    try:
        found, _ = runner.run_standard_evaluation(image, target, batch_size=len(image))
    finally:
        # It sets one of its own, which would end a debugger's or a coverage tool's.
        sys.settrace(tracer)
    return found.clamp(0, 1)
