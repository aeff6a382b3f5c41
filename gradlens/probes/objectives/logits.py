"""What a gradient can be the gradient of: logits, and the probabilities that they make, without cancellation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradlens.core.registry import objective
from gradlens.core.types import UserError

Logits = Float[Tensor, "b k"]
# Soft ones too: an objective that needs a single class refuses them itself.
Labels = Int[Tensor, "b"] | Float[Tensor, "b k"]
Values = Float[Tensor, "b"]


def at(logits: Logits, label: Labels) -> Values:
    """Each image's logit at its label; soft labels ``(B, K)``, as mixup makes them, name no single one."""
    if label.ndim != 1:
        raise UserError("this objective is of one class an image, the labels are soft; use loss, or leave out mixup")
    return logits.gather(1, label[:, None])[:, 0]


@objective
def true_logit(logits: Logits, target: Labels) -> Values:
    """The logit of the label, ``f_y``."""
    return at(logits, target)


@objective
def predicted_logit(logits: Logits, target: Labels) -> Values:
    """The largest logit, ``max_k f_k``."""
    return at(logits, logits.argmax(1))


@objective
def sampled_logit(logits: Logits, target: Labels, draw: Tensor | None = None, temperature: float = 0.5) -> Values:
    """The logit of a class drawn from ``softmax(f / T)`` (Rodríguez-Muñoz et al. 2024, EdgeReg).

    Nothing flows through the sampling. ``draw`` ``(B,)`` in [0, 1) picks the class.
    """
    if draw is None:
        draw = torch.rand(len(logits), device=logits.device, dtype=torch.float64)
    cumulative = (logits.detach().double() / temperature).softmax(1).cumsum(1)
    label = torch.searchsorted(cumulative, draw[:, None].to(cumulative), right=True)[:, 0]
    return at(logits, label.clamp(max=logits.shape[1] - 1))


@objective
def margin(logits: Logits, target: Labels) -> Values:
    """``f_y − max_{k≠y} f_k``: positive where the image is classified right."""
    own = at(logits, target)
    return own - logits.scatter(1, target[:, None], -torch.inf).amax(1)


@objective
def loss(logits: Logits, target: Labels) -> Values:
    """Cross-entropy ``−log p_y`` of each image, in nats; soft targets ``(B, K)`` are averaged over.

    Written as softplus of ``log Σ_{k≠y} e^{f_k} − f_y``, whose derivative is the exact residual
    ``p_k``, ``−Σ_{k≠y} p_k`` also where p_y rounds to one.
    """
    if target.ndim == 2:
        return -(target * F.log_softmax(logits, 1)).sum(1)
    others = logits.scatter(1, target[:, None], -torch.inf)
    # Not logsigmoid, whose second derivative cancels from 37 nats on; from 50 on softplus is its argument in float64.
    return F.softplus(others.logsumexp(1) - at(logits, target), threshold=50)


@objective
def probability_gap(logits: Logits, target: Labels) -> Values:
    """``max_{k≠y} p_k − p_y``: negative where the image is classified right (Finlay and Oberman 2021)."""
    other = logits.scatter(1, target[:, None], -torch.inf).argmax(1)
    # Not by softmax, whose derivative cancels where p_y is near one.
    return torch.exp(-loss(logits, other)) - torch.exp(-loss(logits, target))


@objective
def log_prob(logits: Logits, target: Labels) -> Values:
    """``log p_y``, in nats: the loss with its sign turned (Ganz et al. 2023, released code)."""
    return -loss(logits, target)


@objective
def logsumexp(logits: Logits, target: Labels) -> Values:
    """``log Σ_k e^{f_k}``: the model's log marginal density up to a constant (Yang et al. 2024)."""
    return logits.logsumexp(1)


def error_mass(logits: Logits, target: Labels) -> Values:
    """``1 − p_y`` without cancellation: near 0 confident and right, near 1 confident and wrong."""
    return -torch.expm1(-loss(logits, target))
