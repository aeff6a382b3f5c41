"""Weather between the camera and what it sees: snow, frost, fog; and brighter light."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gradlens.core.registry import corruption
from gradlens.probes.corruptions import strength
from gradlens.probes.corruptions._blur import moved, zoomed


@corruption
def snow(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Falling flakes, blurred along their way, before a picture that is whiter and grayer."""
    large = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )
    small = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )
    mean, deviation, size, threshold, radius, sigma, clear = strength(image, severity, large, small)
    flakes = zoomed(random.normal(mean, deviation, image.shape[:2]), size)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    flakes = moved(flakes, radius, sigma, random.uniform(-135, -45))[..., None]
    whiter = np.maximum(image, 1.5 * _gray(image) + 0.5)
    # The same flakes the other way round are the further half of them.
    return clear * image + (1 - clear) * whiter + flakes + flakes[::-1, ::-1]


def _gray(image: NDArray) -> NDArray:
    """The luma ``(H, W, 1)`` of the first three channels, or the mean of other numbers of channels."""
    return (image @ [0.299, 0.587, 0.114] if image.shape[2] == 3 else image.mean(2))[..., None]


@corruption
def frost(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Ice on the lens: the image dimmed, and crystals added.

    The published form adds a part of one of six photographs of frost. These crystals are made from random
    numbers, with the mean, the deviation and about the spectrum of such parts, .6 and .1.
    """
    large = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
    seen, ice = strength(image, severity, large, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)))
    return seen * image + ice * _crystals(image.shape[:2], random)[..., None]


def _crystals(shape: tuple[int, int], random: Generator) -> NDArray:
    """Bright branching lines on a darker ground."""
    # Where a fractal crosses its middle there are thin branching lines; a second one makes some of them brighter.
    lines = 1 - 2 * np.abs(plasma(shape, 1.08, random) - 0.5)
    ice = lines * (1 + plasma(shape, 1.2, random))
    return (0.6 + 0.1 * (ice - ice.mean()) / max(ice.std(), 1e-12)).clip(0, 1)


@corruption
def fog(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Drifting fog, a fractal that is added, after which the brightest value is again what it was."""
    large = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))
    density, decay = strength(image, severity, large, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)))
    brightest = image.max()
    added = image + density * plasma(image.shape[:2], decay, random)[..., None]
    return added * brightest / (brightest + density)


def plasma(shape: tuple[int, int], decay: float, random: Generator) -> NDArray:
    """A plasma fractal in [0, 1] by the diamond–square algorithm on a torus.

    decay: how many times less the random numbers' range and their weight are at half the distance; 1 is
    rough and 3 smooth. Source: Fournier, Fussell and Carpenter 1982.
    """
    side = max(2, 1 << (max(shape) - 1).bit_length())
    field = np.zeros((side, side))
    step, size = side, 1.0

    def between(four: NDArray) -> NDArray:
        return four / 4 + size**2 * random.uniform(-1, 1, four.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        field[half::step, half::step] = between(pairs + np.roll(pairs, -1, 1))
        middles = field[half::step, half::step]
        field[::step, half::step] = between(middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1))
        field[half::step, ::step] = between(middles + np.roll(middles, 1, 1) + pairs)
        step, size = half, size / decay
    field -= field.min()
    return (field / field.max())[: shape[0], : shape[1]]


@corruption
def brightness(image: NDArray, severity: int, random: Generator) -> NDArray:
    """More light: the same amount added to every pixel's largest channel, with hue and saturation kept."""
    added = strength(image, severity, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3))
    value = image.max(2, keepdims=True)
    brighter = (value + added).clip(0, 1)
    # With hue and saturation kept, the channels grow in proportion; black has none, and becomes gray.
    return np.where(value > 0, image * (brighter / np.where(value > 0, value, 1)), brighter)
