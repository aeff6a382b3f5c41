"""A column as a small block of text: the bytes of its numbers by significance, deflated, in base64.

Bytes of one significance look alike, so that planes of them deflate better than the numbers do. The
page takes them apart again in ``columns.js``.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# A relative error of a number written as float (24 of its 32 bits kept), and as double (32 of 64).
FLOAT_ERROR, DOUBLE_ERROR = 2.0**-16, 2.0**-21


@dataclass(frozen=True)
class Encoded:
    """A column's kind, its block, and for text the block of the words that its numbers point to."""

    kind: str
    numbers: str
    words: str | None = None

    @property
    def size(self) -> int:
        return len(self.numbers) + len(self.words or "")


def encode(values: pd.Series) -> Encoded:
    """Whole numbers and truth values as they are, others rounded to 1.5e-5 of their size, text by its words.

    What float32 cannot hold, such as 1e-60, is written as float64: no number becomes zero or infinite.
    """
    if pd.api.types.is_bool_dtype(values.dtype) and not values.hasnans:
        return Encoded("boolean", _planes(values.to_numpy(np.uint8)))
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return _text(values)
    if pd.api.types.is_integer_dtype(values.dtype) and not values.hasnans:
        return _integers(values.to_numpy())
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    if _fits_float32(numbers):
        # Half of the last kept place is added, so that cutting the rest off rounds.
        bits = numbers.astype(np.float32).view(np.uint32) + np.uint32(0x80)
        return Encoded("float", _planes(bits, skip=1))
    bits = (numbers.view(np.uint64) + np.uint64(2**31)) & ~np.uint64(2**32 - 1)
    return Encoded("double", _planes(bits))


def _integers(values: NDArray) -> Encoded:
    bounds = np.iinfo(np.int32)
    if not len(values) or (values.min() >= bounds.min and values.max() <= bounds.max):
        return Encoded("integer", _planes(values.astype(np.int32)))
    return Encoded("double", _planes(values.astype(np.float64)))


def _text(values: pd.Series) -> Encoded:
    codes, words = pd.factorize(values)
    listed = json.dumps([str(word) for word in words]).encode()
    return Encoded("text", _planes(codes.astype(np.int32)), _packed(listed))


def _fits_float32(numbers: NDArray[np.float64]) -> bool:
    size = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
    limits = np.finfo(np.float32)
    return not len(size) or bool(size.min() >= limits.tiny and size.max() <= limits.max * (1 - FLOAT_ERROR))


def _planes(values: NDArray[Any], skip: int = 0) -> str:
    """All first bytes, all second bytes, …, from the lowest on; ``skip`` of them are left out."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    planes = little.view(np.uint8).reshape(len(values), values.itemsize).T[skip:]
    return _packed(np.ascontiguousarray(planes).tobytes())


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode()
