from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gradlens.core.names import unknown
from gradlens.core.types import UserError

Images = Float[Tensor, "b c h w"]
Values = Float[Tensor, "b"]

# The order of the gradient's norm that says how much an attack of a given norm gains to first order.
DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}


def first_order_gain(gradient: Images, norm: str, eps: float) -> Values:
    """``max {g · δ : ‖δ‖ ≤ ε}`` of each image: ε times L1 for L∞ attacks, L2 for L2, L∞ for L1."""
    if norm not in DUAL:
        raise UserError(unknown("norm of an attack", norm, DUAL))
    check_radius(eps, norm)
    return eps * torch.linalg.vector_norm(gradient.flatten(1), DUAL[norm], dim=1)


def check_radius(eps: float, norm: str = "linf") -> None:
    if not 0 < eps <= (1 if norm == "linf" else torch.inf):
        raise UserError(f"eps is {eps:g}; wanted an attack's radius in pixels of [0, 1], such as 4/255")
