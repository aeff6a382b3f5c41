"""Objectives: what a gradient is the gradient of. One number an image, from its logits.

An objective is a differentiable function ``(logits (B, K), target (B,), draw (B,)) -> (B,)``. The
probe evaluates it in float64 and takes its derivative with respect to the logits there, so it must be
written without cancellation; ``draw`` is a uniform number that belongs to the image.
"""
