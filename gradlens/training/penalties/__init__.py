"""Gradient penalties, one a file: functions of a differentiable probe that training adds to its loss.

A penalty is ``probe -> (B,)``, one number an image that does not depend on the others, or a scalar where
it is of the batch as a whole. It takes gradients from ``probe.gradient(…)`` and knows of no engine. How its
weight grows is not its own: every spec may say ``alpha``, ``step`` and ``cap`` (``Ramp``).
"""

from gradlens.training.penalties._weighted import RAMP, Ramp, WeightedPenalty, choose_penalty

__all__ = ["RAMP", "Ramp", "WeightedPenalty", "choose_penalty"]
