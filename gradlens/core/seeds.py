"""Random numbers that are a function of a seed and a place: of an image, or of a step of training."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
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


def image_normal(seed: int, index: Tensor, purpose: str, shape: tuple[int, ...] = ()) -> Tensor:
    """Standard normal numbers of shape ``(B, *shape)``, float64, on the CPU."""
    # No uniform number is 1, but 0 can be drawn, which has no finite quantile.
    return torch.special.ndtri(image_uniform(seed, index, purpose, shape).clamp(min=2.0**-54))


def set_random_numbers(seed: int) -> None:
    """Those of Python, NumPy and torch, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Whoever calls gets the random numbers back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
