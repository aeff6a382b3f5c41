"""What is done to a picture after it was taken: contrast, elastic deformation, fewer pixels, JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import map_coordinates
from skimage.transform import AffineTransform, warp

from gradlens.core.registry import corruption
from gradlens.probes.corruptions import by_channel, strength


@corruption
def contrast(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Less contrast: each channel drawn towards its mean."""
    kept = strength(image, severity, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15))
    mean = image.mean((0, 1))
    return mean + kept * (image - mean)


@corruption
def elastic_transform(image: NDArray, severity: int, random: Generator) -> NDArray:
    """The picture on a rubber sheet: tilted and stretched at random, then moved by a smooth random field.

    The published lengths grow with the image's side, 244/224 of it.
    """
    large = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    small = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    unit = min(image.shape[:2]) * strength(image, severity, (244 / 224,) * 5, (1,) * 5)
    height, sigma, tilt = (unit * c for c in strength(image, severity, large, small))
    return _displaced(_tilted(image, tilt, random), height, sigma, random)


def _tilted(image: NDArray, reach: float, random: Generator) -> NDArray:
    """By the affine map that moves three points around the middle by up to ``reach`` pixels."""
    middle, arm = np.array(image.shape[:2]) // 2, min(image.shape[:2]) // 3
    before = middle + arm * np.array([[1, 1], [-1, 1], [-1, -1]])
    after = before + random.uniform(-reach, reach, (3, 2))
    if not arm:
        return image
    # Where each pixel of the result comes from; points are columns and rows there.
    inverse = AffineTransform.from_estimate(after[:, ::-1], before[:, ::-1])
    return warp(image, inverse, order=1, mode="reflect")


def _displaced(image: NDArray, height: float, sigma: float, random: Generator) -> NDArray:
    """Each pixel from up to ``height`` pixels away, by uniform noise smoothed over ``sigma``."""
    moves = [_smoothed(random.uniform(-1, 1, image.shape[:2]), sigma) for _ in range(2)]
    places = np.indices(image.shape[:2]) + height * np.array(moves)
    return by_channel(lambda one: map_coordinates(one, places, order=1, mode="reflect"), image)


def _smoothed(field: NDArray, sigma: float) -> NDArray:
    """Convolved with a Gaussian that ends at three deviations, the field mirrored at its borders."""
    reach = np.arange(-int(3 * sigma + 0.5), int(3 * sigma + 0.5) + 1)
    taps = np.exp(-(reach**2) / (2 * max(sigma, 1e-12) ** 2))
    # A field mirrored like that is a sum of cosines, which the kernel scales one by one: the same in
    # a time that does not grow with a deviation of most of the image's side.
    rows, columns = (np.cos(np.pi * np.outer(np.arange(n), reach) / n) @ taps / taps.sum() for n in field.shape)
    return idctn(dctn(field) * np.outer(rows, columns))


@corruption
def pixelate(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Fewer and larger pixels: averaged over boxes, and magnified again."""
    kept = strength(image, severity, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65))
    size = image.shape[1::-1]
    fewer = max(int(size[0] * kept), 1), max(int(size[1] * kept), 1)

    def pixelated(channel: NDArray) -> NDArray:
        small = Image.fromarray(channel.astype(np.float32)).resize(fewer, Image.Resampling.BOX)
        return np.asarray(small.resize(size, Image.Resampling.BOX))

    return by_channel(pixelated, image)


@corruption
def jpeg_compression(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Compressed as JPEG of low quality; another number of channels than 1 or 3 channel by channel."""
    quality = strength(image, severity, (25, 18, 15, 10, 7), (80, 65, 58, 50, 40))
    grays = (image * 255).round().astype(np.uint8)
    if grays.shape[2] == 3:
        return _through_jpeg(grays, quality) / 255
    return by_channel(lambda one: _through_jpeg(one, quality), grays) / 255


def _through_jpeg(grays: NDArray, quality: int) -> NDArray:
    stream = io.BytesIO()
    Image.fromarray(grays).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))
