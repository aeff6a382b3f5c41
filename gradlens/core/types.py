"""The measurement contract: the few values that travel between the rooms.

Images are float32 in [0, 1], ``(B, C, H, W)``; normalisation is part of the model. A gradient is
the derivative of one image's own objective with respect to that image, per unit pixel, signed and
never rescaled. Nothing here imports torch, so plotting can use it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradlens.core.text import one_line

if TYPE_CHECKING:
    from torch import Tensor


class UserError(ValueError):
    """A user's mistake: one line that says what was found, what was wanted and how to fix it."""

    def __init__(self, said: object = ""):
        # It often quotes a file, which may hold anything.
        super().__init__(one_line(said))


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal after its finished batches were written; it can be resumed."""


# As timm and torchvision know them.
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "nearest-exact", "lanczos", "box", "hamming", "random")
# A tensor of it is 3 GB already.
MOST_SIDE = 16_384
CROP_MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class Preprocess:
    """How a decoded picture becomes a model's input; produced by models, used by ``data.bind``.

    The shorter side is resized to ``size / crop_pct`` and the centre ``size × size`` is kept, as in
    timm's evaluation transform; values stay in [0, 1]. size: a side, or ``(height, width)``. Raises
    UserError for a size, a share or a name that is none.
    """

    size: int | tuple[int, int] = 224
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, list | tuple) else (self.size, self.size)
        if len(sides) != 2 or not all(type(s) is int and 0 < s <= MOST_SIDE for s in sides):
            raise UserError(f"an image size of {self.size!r} is none; give a side in pixels, or height and width")
        # A square has one name, so that its hash is the same however it was given.
        object.__setattr__(self, "size", sides[0] if sides[0] == sides[1] else tuple(sides))
        if isinstance(self.crop_pct, str) or not 0 < self.crop_pct <= 2:
            raise UserError(f"a crop of {self.crop_pct!r} is no share of the resized picture; give one such as 0.875")
        for name, known in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES)):
            if getattr(self, name) not in known:
                raise UserError(f"unknown {name} '{getattr(self, name)}'; there are: {', '.join(known)}")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    def __str__(self) -> str:
        """As a reader needs it: ``resized bicubic to 256, center 224 × 224``."""
        height, width = self.sides
        resized = " × ".join(dict.fromkeys(str(round(side / self.crop_pct)) for side in self.sides))
        return (f"resized {self.interpolation} to {resized}, " if self.crop_pct != 1 else f"{self.interpolation}, ") + (
            f"{self.crop_mode} {height} × {width}"
        )

    @property
    def hash(self) -> str:
        return digest(dataclasses.asdict(self))


@dataclass(frozen=True)
class Batch:
    """Images with their labels and stable indices.

    image: ``(B, C, H, W)`` float32 in [0, 1]. target: ``(B,)`` int64, ``(B, K)`` float in training,
    or None where the label is unknown and the prediction stands in. index: ``(B,)`` int64, the
    image's identity in its data set, which seeds its randomness. outline: ``(B, 1, H, W)`` float32, 1 on the
    outlines that are known to be true, 0 elsewhere; None where they are not known.
    """

    image: Tensor
    target: Tensor | None
    index: Tensor
    outline: Tensor | None = None

    def to(self, device: Any) -> Batch:
        target, outline = (
            None if tensor is None else tensor.to(device, non_blocking=True) for tensor in (self.target, self.outline)
        )
        return Batch(self.image.to(device, non_blocking=True), target, self.index, outline)

    def __getitem__(self, rows: slice) -> Batch:
        target, outline = (None if tensor is None else tensor[rows] for tensor in (self.target, self.outline))
        return Batch(self.image[rows], target, self.index[rows], outline)

    def __len__(self) -> int:
        return len(self.index)


def check_images(image: Tensor) -> None:
    """Refuse what is not ``(B, C, H, W)`` floating point in [0, 1]."""
    last = image.ndim == 4 and image.shape[3] <= 4 < min(image.shape[1:3])
    if image.ndim != 4 or last or not image.is_floating_point():
        raise UserError(
            f"images have shape {tuple(image.shape)} and type {image.dtype}; wanted floating point "
            "(B, 3, H, W) in [0, 1]; divide 8-bit pixels by 255 and put channels first"
        )
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"images span [{low:.3g}, {high:.3g}]; wanted [0, 1]: do not normalise them (the model "
            "does, from its mean and std), and divide 8-bit pixels by 255"
        )


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that identify a JSON-like value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
