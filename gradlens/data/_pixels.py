"""What a user has, a picture, a path, an array or a tensor → upright RGB pixels in [0, 1]."""

from __future__ import annotations

import contextlib
import io
import math
import stat
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from gradlens.core.types import Preprocess, UserError

# The limit that Pillow warns of: 0.4 GB once decoded, of which turning and converting hold a few copies.
PIXELS = 89_478_485
# Of a picture as a model is given it, or as it is scaled before its middle is cut out: 0.4 GB as a tensor.
SCALED = 2**25
# Of a file: more than any picture of so many pixels has.
BYTES = 2**29
# How many pictures are looked at to tell what all of them are like.
LOOKED_AT = 64
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Of float32, which is no pixel outside of a range.
ROUNDING = 1e-6


# What Pillow's readers raise for what they cannot read.
DAMAGED = (OSError, EOFError, SyntaxError, ValueError, OverflowError, MemoryError, Image.DecompressionBombError)


class UnreadableError(OSError):
    """One image file that cannot be decoded; a run skips it, counts it and lists it."""


def open_image(
    source: Path | BinaryIO, name: str | None = None, channels: int = 3, white: float | None = None
) -> Image.Image:
    """Read a file as ``upright`` does; raises UnreadableError, which calls it by its name."""
    try:
        if isinstance(source, Path):
            check_file(source)
        with warnings.catch_warnings():
            # Of metadata that is not used; ImageNet's own files set them off.
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                _check_header(image)
                return upright(image, channels, white)
    except DAMAGED as error:
        short = source.name if isinstance(source, Path) else "the file"
        reason = (str(error) or type(error).__name__).replace(repr(source), short).replace(str(source), short)
        raise UnreadableError(f"{name or source}: {reason.splitlines()[0]}") from None


def check_file(source: Path) -> None:
    """Before it is opened: one may wait for ever on a pipe, or read a device without end."""
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
    """A picture as a model of 1, 3 or 4 channels wants it; gray is Pillow's luma, ITU-R BT.601."""
    if channels not in MODES:
        raise UserError(
            f"the model takes {channels} channels, and pictures have 1, 3 or 4; give it arrays, "
            "gl.load_data((images, labels))"
        )
    if channels == 4 and image.mode != "RGBA":
        raise UserError(
            "the model takes 4 channels, and a picture has 3 and no transparency; give pictures or arrays of 4 channels"
        )
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def upright(image: Image.Image, channels: int = 3, white: float | None = None) -> Image.Image:
    """Turned upright by EXIF, in 8 bits, as RGB with transparency on white; as RGBA where 4 channels are wanted.

    white: the value of deeper pixels that becomes 255; the end of the picture's own range where it is not given.
    """
    image = ImageOps.exif_transpose(image)
    if is_deep(image):
        image = _in_bytes(image, white)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if channels == 4:
            return image
        # Hidden pixels were never meant to be seen, and hold anything.
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Whether its pixels are wider integers or floating point, whose white no format states."""
    return image.mode.startswith("I") or image.mode == "F"


def _in_bytes(image: Image.Image, white: float | None) -> Image.Image:
    # In place and in float32, which tells 257ths apart: such a picture is large already.
    pixels = np.array(image, dtype=np.float32)
    top = white_above(pixels, image.mode == "F") if white is None else white
    if (brightest := np.nanmax(pixels, initial=0)) > top * (1 + ROUNDING):
        raise ValueError(f"it holds {brightest:g}, and {top:g} is white in the others; convert all to 8 bits alike")
    np.multiply(pixels, 255 / top, out=pixels)
    np.nan_to_num(pixels.round(out=pixels), copy=False).clip(0, 255, out=pixels)
    return Image.fromarray(pixels.astype(np.uint8))


def white_above(pixels: NDArray, floating: bool) -> float:
    """The end of the range that pixels lie in: 1 of floating point, else that of 8, 10, 12, 14 or 16 bits.

    Raises ValueError for what lies in none of them, such as signed pixels.
    """
    if np.isnan(pixels).all():
        raise ValueError("it holds no number")
    low, high = np.nanmin(pixels, initial=0), np.nanmax(pixels, initial=0)
    ends = [1.0] * floating + [2.0**bits - 1 for bits in (8, 10, 12, 14, 16)]
    found = next((end for end in ends if high <= end * (1 + ROUNDING)), None)
    if found is None or low < -ROUNDING:
        raise ValueError(f"its pixels span [{low:g}, {high:g}], whose black and white nobody states; convert to 8 bits")
    return found


def white_of(read: Callable[[str], bytes], names: Sequence[str]) -> float | None:
    """The end of the range that holds all of these pictures, so that one scale serves them; None for 8 bits."""
    ends = []
    for name in names:
        # What cannot be read is said of that picture, when it is opened.
        with contextlib.suppress(*DAMAGED), warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(read(name)))
            _check_header(image)
            if is_deep(image):
                ends.append(white_above(np.asarray(image, np.float32), image.mode == "F"))
    return max(ends, default=None)


def spread(count: int) -> list[int]:
    """Evenly spaced places among so many pictures: those that are looked at to know them all."""
    return np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)).tolist()


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
        images = _opened(Path(images).expanduser(), channels)
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        return to_tensor(_pictures(images), preprocess, channels)
    if isinstance(images, Image.Image):
        return image_transform(preprocess, channels)(upright(images, channels))[None]
    tensor = images.detach().float() if isinstance(images, Tensor) else _owned(images)
    low, high = map(float, tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
    # Rounding is no error, and what is further out is left to be refused.
    if (low < 0 or high > 1) and low >= -ROUNDING and high <= 1 + ROUNDING:
        tensor = tensor.clamp(0, 1)
    return tensor if tensor.ndim == 4 else tensor[None]


def _owned(images: Any) -> Tensor:
    """Of this machine's byte order, with strides that torch knows, in memory that may be written."""
    try:
        return torch.from_numpy(np.require(images, np.float32, ["C", "W"]))
    except ValueError as error:
        raise TypeError(str(error)) from None


def _opened(path: Path, channels: int) -> Image.Image:
    if not path.is_file():
        raise UserError(f"no image at {path}; give the path of a picture")
    try:
        return open_image(path, channels=channels)
    except UnreadableError as error:
        raise UserError(f"cannot read {error}") from None


def _pictures(pixels: NDArray[np.uint8]) -> list[Image.Image]:
    stack = pixels if pixels.ndim == 4 else pixels[None]
    if stack.ndim not in (3, 4) or (stack.ndim == 4 and stack.shape[-1] not in (3, 4)):
        found = f"an 8-bit array has shape {pixels.shape}; wanted (H, W, 3) or (B, H, W, 3)"
        raise UserError(f"{found}: put channels last, or give pixels in [0, 1] with channels first")
    return [Image.fromarray(a) for a in np.ascontiguousarray(stack)]
