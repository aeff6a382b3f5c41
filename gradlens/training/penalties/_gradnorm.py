"""The gradient's norm as a penalty: whole, above a hinge, and by channel."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlens.core.names import check_radius, unknown
from gradlens.core.registry import penalty
from gradlens.core.types import UserError
from gradlens.probes.forward import Images, Values
from gradlens.probes.probe import Probe

# The order of the gradient's norm that says how much an attack of a given norm gains to first order.
DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}


SPACES = ("pixel", "normalized")
# What the paper's code divides by, ImageNet's but for a rounding, whatever the network's own.
PAPERS_STD = 0.225


@penalty
def gradnorm(probe: Probe, norm: str = "linf", eps: float = 4 / 255, space: str = "pixel") -> Values:
    """``ε ‖∇_x loss‖_*``, ``(B,)`` in nats: what an attack of size ε gains to first order.

    norm: the attack's, ``linf l2 l1``; the gradient's norm is its dual, L1 for ``linf``. eps: its radius, in
    pixels of images in [0, 1] measured in that norm. High: small changes of pixels change the loss much;
    0: none does. Source: Rodríguez-Muñoz et al. 2024, GradNorm, whose ``B · ε / σ`` undoes a mean over the
    batch and a normalisation that our gradients do not have. Their recipe: ``gradnorm:alpha=0,step=.24,cap=1.2``
    beside 0.8 of the cross-entropy. space ``normalized`` is their number to the letter, ``ε / .225`` times the norm of
    the gradient by the normalised input: within a percent of ours for ImageNet's σ, 2.2 times as much for σ = 0.5.
    """
    gradient = probe.gradient("loss")
    if space != "pixel":
        gradient = gradient * normalisation(probe, space)[1] / PAPERS_STD
    return first_order_gain(gradient, norm, eps)


def normalisation(probe: Probe, space: str) -> tuple[Tensor | float, Tensor | float]:
    """Mean and standard deviation that make the pixels the input which a penalty is of; 0 and 1 for ``pixel``."""
    if space not in SPACES:
        raise UserError(unknown("space of a penalty", space, SPACES))
    if space == "pixel":
        return 0.0, 1.0
    mean, std = (getattr(probe.model, name, None) for name in ("mean", "std"))
    if not (isinstance(mean, Tensor) and isinstance(std, Tensor)):
        raise UserError("space=normalized needs a model that holds its mean and std; open it with gl.load_model")
    return mean, std


def first_order_gain(gradient: Images, norm: str, eps: float) -> Values:
    """``max {g · δ : ‖δ‖ ≤ ε}`` of each image: ε times L1 for L∞ attacks, L2 for L2, L∞ for L1."""
    if norm not in DUAL:
        raise UserError(unknown("norm of an attack", norm, DUAL))
    check_radius(eps, norm)
    return eps * torch.linalg.vector_norm(gradient.flatten(1), DUAL[norm], dim=1)


@penalty
def gradnorm_hinge(probe: Probe, threshold: float = 0.001, norm: str = "linf", eps: float = 4 / 255) -> Values:
    """``max(0, ε ‖∇_x loss‖_* − threshold)``, ``(B,)`` in nats: ``gradnorm`` that leaves flat images alone.

    threshold in nats, per image; half a nat is usual of a trained network, so the preset hardly acts.
    Source: Rodríguez-Muñoz et al. 2024, their code's DBPThresholded.
    """
    return (first_order_gain(probe.gradient("loss"), norm, eps) - threshold).relu()


@penalty
def gradnorm_channel(
    probe: Probe, red: float = 1.0, green: float = 2.0, blue: float = 1.0, eps: float = 4 / 255
) -> Values:
    """``ε Σ_c w_c ‖∇_x loss‖₁`` over the pixels of channel c, ``(B,)`` in nats.

    With weights of one it is ``gradnorm``. Source: Rodríguez-Muñoz et al. 2024, their code's DBPChannel,
    whose weights are the preset. Needs RGB images.
    """
    check_radius(eps)
    per_channel = probe.gradient("loss").abs().sum((2, 3))
    if per_channel.shape[1] != 3:
        raise UserError(
            f"gradnorm_channel weighs R, G and B; the images have {per_channel.shape[1]} channels; use gradnorm"
        )
    return eps * (per_channel * per_channel.new_tensor((red, green, blue))).sum(1)
