"""Attributions other than the gradient, from captum."""

from __future__ import annotations

import difflib
from typing import Any

import torch

from gradlens.core.types import UserError
from gradlens.models.watching import measuring
from gradlens.probes.probe import Images, Probe


def attribution(probe: Probe, method: str = "IntegratedGradients", **parameters: Any) -> Images:
    """A captum attribution of the label's logit, ``(B, C, H, W)``, signed.

    method is the name of a class in ``captum.attr``; parameters go to its ``attribute``.
    ``attribution(probe, "Saliency", abs=False)`` equals ``probe.gradient("true_logit")``.
    """
    import captum.attr

    known = [n for n in dir(captum.attr) if isinstance(getattr(captum.attr, n), type)]
    if method not in known:
        near = difflib.get_close_matches(method, known, n=3)
        raise UserError(f"captum has no attribution '{method}'; did you mean {' or '.join(near) or 'Saliency'}?")
    with measuring(probe.model), torch.enable_grad():
        explainer = getattr(captum.attr, method)(probe.model)
        return explainer.attribute(probe.batch.image, target=probe.target, **parameters).detach()
