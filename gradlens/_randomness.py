"""Randomness that belongs to an image: the same whatever batch, rank or order it is seen in."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def image_seed(seed: int, index: int, purpose: str) -> int:
    """63 bits from the run's seed, the image's index and what the numbers are for."""
    text = f"{seed}/{index}/{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def image_uniform(seed: int, index: Tensor, purpose: str, shape: tuple[int, ...] = ()) -> Tensor:
    """Uniform numbers in [0, 1) of shape ``(B, *shape)``, float64, on the CPU."""
    rows = []
    for i in index.tolist():
        generator = torch.Generator().manual_seed(image_seed(seed, i, purpose))
        rows.append(torch.rand(shape, generator=generator, dtype=torch.float64))
    return torch.stack(rows)
