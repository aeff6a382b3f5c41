"""What a user has, a picture, a path, an array or a tensor → upright RGB pixels in [0, 1]."""

from __future__ import annotations

import hashlib
import math
import stat
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from gradlens.core.types import Preprocess, UserError, check_images

# The limit that Pillow warns of: 0.4 GB once decoded, of which turning and converting hold a few copies.
PIXELS = 89_478_485
# Of a picture as a model is given it, or as it is scaled before its middle is cut out: 0.4 GB as a tensor.
SCALED = 2**25
# Of a file: more than any picture of so many pixels has.
BYTES = 2**29


# What Pillow's readers raise for what they cannot read.
DAMAGED = (OSError, EOFError, SyntaxError, ValueError, OverflowError, MemoryError, Image.DecompressionBombError)


class UnreadableError(OSError):
    """One image file that cannot be decoded; a run skips it, counts it and lists it."""


def open_image(source: Path | BinaryIO, name: str | None = None) -> Image.Image:
    """Read a file as an upright 8-bit RGB image; raises UnreadableError, which calls it by its name."""
    try:
        _check_file(source)
        with warnings.catch_warnings():
            # Of metadata that is not used; ImageNet's own files set them off.
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                _check_header(image)
                return to_rgb(image)
    except DAMAGED as error:
        short = source.name if isinstance(source, Path) else "the file"
        reason = (str(error) or type(error).__name__).replace(repr(source), short).replace(str(source), short)
        raise UnreadableError(f"{name or source}: {reason.splitlines()[0]}") from None


def _check_file(source: Path | BinaryIO) -> None:
    """Before it is opened: one may wait for ever on a pipe, or read a device without end."""
    if not isinstance(source, Path):
        return
    found = source.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no file, but a folder, pipe, socket or device")
    if found.st_size > BYTES:
        raise ValueError(f"it has {found.st_size:,} bytes; at most {BYTES:,} are read")


def _check_header(image: Image.Image) -> None:
    """Before any pixel is decoded; Pillow's own limit is one that other libraries lift."""
    if image.width * image.height > PIXELS:
        raise ValueError(f"its header declares {image.width:,} × {image.height:,} pixels; at most {PIXELS:,} are read")
    if image.format == "EPS":
        raise ValueError("it is a PostScript program, which would have to be run")


def in_channels(image: Image.Image, channels: int) -> Image.Image:
    """An RGB picture as a model of 1 or 3 channels wants it; gray is Pillow's luma, ITU-R BT.601."""
    if channels not in (1, 3):
        raise UserError(
            f"the model takes {channels} channels, and pictures are read as 3, or 1; give it arrays, "
            "gl.load_data((images, labels))"
        )
    return image.convert("L") if channels == 1 else image


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn upright by EXIF, scale 16 bits to 8, put transparency on white, convert to RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        # In place and in float32, which tells 257ths apart: such a picture is large already.
        pixels = np.array(image, dtype=np.float32)
        np.multiply(pixels, 255, out=pixels) if image.mode == "F" else np.divide(pixels, 257, out=pixels)
        np.nan_to_num(pixels.round(out=pixels), copy=False).clip(0, 255, out=pixels)
        image = Image.fromarray(pixels.astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # Hidden pixels were never meant to be seen, and hold anything.
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def image_transform(preprocess: Preprocess | None, channels: int = 3) -> Callable[[Image.Image], Tensor]:
    """RGB image → ``(C, H, W)`` float32 in [0, 1]; without a Preprocess at its own size."""
    from timm.data import create_transform
    from torchvision.transforms import Compose, ConvertImageDtype
    from torchvision.transforms.functional import to_tensor as pil_to_tensor

    mode = partial(in_channels, channels=channels)
    if preprocess is None:
        return Compose([mode, partial(_check_scaled, preprocess=None), pil_to_tensor])
    how: dict[str, Any] = {name: getattr(preprocess, name) for name in ("interpolation", "crop_pct", "crop_mode")}
    scaled = create_transform((3, *preprocess.sides), normalize=False, **how)
    return Compose([mode, partial(_check_scaled, preprocess=preprocess), scaled, ConvertImageDtype(torch.float32)])


def _check_scaled(image: Image.Image, preprocess: Preprocess | None) -> Image.Image:
    """Refuses a picture that scaling makes too large: of 100,000 × 1 pixels the short side becomes hundreds."""
    width, height = scaled_size(image.size, preprocess)
    if width * height > SCALED:
        made = f"{image.width:,} × {image.height:,} pixels, scaled to {width:,} × {height:,}"
        raise UnreadableError(f"a picture of {made}; at most {SCALED:,} are made of one")
    return image


def scaled_size(size: tuple[int, int], preprocess: Preprocess | None) -> tuple[int, int]:
    """Width and height, at most, of what a picture is before its middle is cut out."""
    if preprocess is None:
        return size
    height, width = (math.ceil(side / preprocess.crop_pct) for side in preprocess.sides)
    if preprocess.crop_mode != "center":
        return width, height
    times = max(width / size[0], height / size[1])
    return math.ceil(size[0] * times), math.ceil(size[1] * times)


def to_tensor(images: Any, preprocess: Preprocess | None = None, channels: int = 3) -> Tensor:
    """A tensor, array, PIL image or path (or a list of them) → ``(B, C, H, W)`` float32.

    Tensors and floating-point arrays are taken as pixels in [0, 1], channels first; 8-bit arrays as
    ``(H, W, 3)``, scaled and given the Preprocess and the number of channels like a picture.
    """
    if isinstance(images, (list, tuple)):
        return torch.cat([to_tensor(i, preprocess, channels) for i in images])
    if isinstance(images, (str, Path)):
        images = _opened(Path(images))
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        return to_tensor(_pictures(images), preprocess, channels)
    if isinstance(images, Image.Image):
        return image_transform(preprocess, channels)(to_rgb(images))[None]
    tensor = torch.as_tensor(images).float()
    return tensor if tensor.ndim == 4 else tensor[None]


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise UserError(f"no image at {path}; give the path of a picture")
    try:
        return open_image(path)
    except UnreadableError as error:
        raise UserError(f"cannot read {error}") from None


def _pictures(pixels: NDArray[np.uint8]) -> list[Image.Image]:
    stack = pixels if pixels.ndim == 4 else pixels[None]
    if stack.ndim not in (3, 4) or (stack.ndim == 4 and stack.shape[-1] not in (3, 4)):
        found = f"an 8-bit array has shape {pixels.shape}; wanted (H, W, 3) or (B, H, W, 3)"
        raise UserError(f"{found}: put channels last, or give pixels in [0, 1] with channels first")
    return [Image.fromarray(a) for a in stack]


class Arrays:
    """Images and labels that are already in memory: pixels in [0, 1] as the model will see them."""

    name = "arrays"
    varies_in_size = False

    def __init__(self, images: Any, labels: Any = None):
        if len(images) == 0:
            raise UserError("the array of images is empty; give at least one image")
        self.images = to_tensor(images)
        check_images(self.images)
        count = len(self.images)
        self.labels = np.full(count, -1) if labels is None else np.asarray(labels).astype(np.int64)
        if self.labels.shape != (count,):
            raise UserError(f"{count} images came with labels of shape {self.labels.shape}; wanted ({count},)")
        self.class_names = tuple(str(c) for c in range(int(self.labels.max()) + 1))
        # Part of an image's identity, so that a run is not resumed with other pixels.
        contents = (hashlib.blake2b(image.numpy().tobytes(), digest_size=4).hexdigest() for image in self.images)
        self.paths = [f"{i:06d}-{content}" for i, content in enumerate(contents)]

    def open(self, index: int) -> Tensor:
        return self.images[index]
