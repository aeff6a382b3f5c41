"""A decoded picture → an upright RGB tensor in [0, 1]."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from gradlens.core.types import Preprocess, UserError

# Pillow's own limit of pictures it refuses, which is 0.7 GB once decoded.
PIXELS = 178_956_970


class UnreadableError(OSError):
    """One image file that cannot be decoded; a run skips it, counts it and lists it."""


def open_image(source: Path | BinaryIO, name: str | None = None) -> Image.Image:
    """Read a file as an upright 8-bit RGB image; raises UnreadableError, which calls it by its name."""
    try:
        with warnings.catch_warnings():
            # Of metadata that is not used; ImageNet's own files set them off.
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                _check_header(image)
                return to_rgb(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        short = source.name if isinstance(source, Path) else "the file"
        reason = (str(error) or type(error).__name__).replace(repr(source), short).replace(str(source), short)
        raise UnreadableError(f"{name or source}: {reason.splitlines()[0]}") from None


def _check_header(image: Image.Image) -> None:
    """Before any pixel is decoded; Pillow's own limit is one that other libraries lift."""
    if image.width * image.height > PIXELS:
        raise ValueError(f"its header declares {image.width:,} × {image.height:,} pixels; at most {PIXELS:,} are read")
    if image.format == "EPS":
        raise ValueError("it is a PostScript program, which would have to be run")


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn upright by EXIF, scale 16 bits to 8, put transparency on white, convert to RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray((np.asarray(image) * 255).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # Hidden pixels were never meant to be seen, and hold anything.
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def image_transform(preprocess: Preprocess | None) -> Callable[[Image.Image], Tensor]:
    """RGB image → ``(3, H, W)`` float32 in [0, 1]; without a Preprocess at its own size."""
    from timm.data import create_transform
    from torchvision.transforms.functional import to_tensor as pil_to_tensor

    if preprocess is None:
        return pil_to_tensor
    eight_bit = create_transform(
        input_size=(3, *preprocess.sides),
        interpolation=preprocess.interpolation,
        crop_pct=preprocess.crop_pct,
        crop_mode=preprocess.crop_mode,
        normalize=False,
    )
    return functools.partial(_scaled, eight_bit)


def _scaled(eight_bit: Callable[[Image.Image], Tensor], image: Image.Image) -> Tensor:
    return eight_bit(image).float() / 255


def to_tensor(images: Any, preprocess: Preprocess | None = None) -> Tensor:
    """A tensor, array, PIL image or path (or a list of them) → ``(B, 3, H, W)`` float32.

    Tensors and floating-point arrays are taken as pixels in [0, 1], channels first; 8-bit arrays as
    ``(H, W, 3)``, scaled and given the Preprocess like a picture.
    """
    if isinstance(images, (list, tuple)):
        return torch.cat([to_tensor(i, preprocess) for i in images])
    if isinstance(images, (str, Path)):
        if not Path(images).is_file():
            raise UserError(f"no image at {images}; give the path of a picture")
        try:
            images = open_image(Path(images))
        except UnreadableError as error:
            raise UserError(f"cannot read {error}") from None
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        stack = images if images.ndim == 4 else images[None]
        if stack.ndim not in (3, 4) or (stack.ndim == 4 and stack.shape[-1] not in (3, 4)):
            raise UserError(
                f"an 8-bit array has shape {images.shape}; wanted (H, W, 3) or (B, H, W, 3): put channels last, "
                "or give pixels in [0, 1] with channels first"
            )
        return to_tensor([Image.fromarray(a) for a in stack], preprocess)
    if isinstance(images, Image.Image):
        return image_transform(preprocess)(to_rgb(images))[None]
    tensor = torch.as_tensor(images).float()
    return tensor if tensor.ndim == 4 else tensor[None]
