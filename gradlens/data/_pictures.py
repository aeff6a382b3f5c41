from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.data._store import Store


@dataclass
class Pictures:
    """What every layout comes to: names in a store, with a label and an identity each.

    paths: what identifies an image, its name in the store unless a layout knows better. notes: what a
    user should hear before a run. valid_classes: those that occur, where a data set has only some of
    a model's classes.
    """

    name: str
    store: Store
    names: Sequence[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    paths: Sequence[str]
    notes: tuple[str, ...] = ()
    valid_classes: tuple[int, ...] | None = None
    varies_in_size: bool = True

    def open(self, index: int) -> Image.Image:
        return self.store.open(self.names[index])
