from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary
from gradlens.core.registry import analyzer
from gradlens.core.seeds import image_normal
from gradlens.core.types import UserError
from gradlens.probes.probe import Images, Probe
from gradlens.stats.intervals import share_interval
from gradlens.stats.tallies import Moments

# Beyond the highest frequency of any image, in cycles a pixel.
CORNER = math.sqrt(0.5)
# Tallies keep sums below 2³³; squares of steep gradients are larger.
UNIT = 2.0**10


@analyzer
@dataclass
class FrequencyResponse(Analyzer):
    """Which spatial frequencies the predictions rest on: accuracy without high ones, and with noise in a band of them.

    Frequencies are in cycles a pixel, so images need not be square. ``lowpass``: accuracy of images that keep the
    Fourier coefficients up to each of ``cutoffs`` radii, evenly up to 1/2, and then all; the filter's overshoot
    beyond [0, 1] is kept. ``noise``: accuracy under Gaussian noise in each of ``bands`` rings of the DCT, of equal
    width from 0 to √½, each of ``sigma`` root mean square a pixel, also beyond [0, 1]; so bands differ in place
    and not in energy, as the source's do. A steep rise of the low-pass curve at high radii, or a dip under
    high-frequency noise: the model needs fine detail. Without labels it is the predictions' stability.

    ``lowpass_accuracy``: its mean over radii up to 1/2; ``noise_accuracy_worst``, ``noise_worst_frequency``: of
    the band that costs most, with its middle; accuracies in percent. Arrays: ``lowpass/cutoff``,
    ``lowpass/accuracy`` with Wilson's ``low`` and ``high``, the same of ``noise`` by ``noise/edges``; ``map/image``
    and ``map/gradient`` ``(H, W)``, the mean |DCT| of images (pixels) and loss gradients (nats per unit pixel) over
    images and channels. Sources: Rodríguez-Muñoz et al. 2024, Ma et al. 2023.
    """

    readings = (
        Reading("low-pass accuracy, mean (%)", "lowpass_accuracy", "over radii up to 1/2 cycle a pixel"),
        Reading("accuracy in the worst band (%)", "noise_accuracy_worst", "under noise of equal energy a band"),
        Reading("   its frequency", "noise_worst_frequency", "cycles a pixel; high, fine noise hurts most"),
    )
    # For tests, which cannot wait for every radius.
    cheap: ClassVar[str] = "cutoffs=2,bands=2"

    cutoffs: int = 14
    bands: int = 8
    sigma: float = 0.1
    _size: tuple[int, int] = field(default=(1, 1), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.cutoffs < 1 or self.bands < 1 or not self.sigma > 0:
            raise UserError(
                f"frequency_response: cutoffs={self.cutoffs}, bands={self.bands}, sigma={self.sigma:g}; wanted at "
                "least 1 of each and a positive sigma"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return ("gradient:loss",)

    @property
    def radii(self) -> list[float]:
        """The low-pass filters' radii in cycles a pixel, the last of which keeps everything."""
        return [*(np.arange(1, self.cutoffs + 1) / (2 * self.cutoffs)).tolist(), CORNER]

    @property
    def edges(self) -> NDArray[np.float64]:
        """Of the bands of noise, in cycles a pixel."""
        return np.linspace(0, CORNER, self.bands + 1)

    def fit(self, pilot: Probe) -> None:
        """Learn the images' size."""
        height, width = pilot.batch.image.shape[2:]
        self._size = (height, width)

    def tallies(self) -> dict[str, Moments]:
        pixels = math.prod(self._size)
        columns = {"lowpass": self.cutoffs + 1, "noise": self.bands, "image": pixels, "gradient": pixels}
        return {name: Moments(count) for name, count in columns.items()}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        image, gradient = probe.batch.image, probe.gradient("loss")
        right = {
            "lowpass": [_right(probe, low_pass(image, radius)) for radius in self.radii],
            "noise": [_right(probe, image + self.sigma * noise) for noise in self._noises(probe)],
        }
        maps = {
            name: dct(values).abs().mean(1).flatten(1) for name, values in (("image", image), ("gradient", gradient))
        }
        found = {name: torch.stack(values, 1) for name, values in right.items()}
        found |= {name: values / UNIT for name, values in maps.items()}
        return {name: (values.double().cpu().numpy(),) for name, values in found.items()}

    def _noises(self, probe: Probe) -> list[Images]:
        """Gaussian noise of each band, of 1 root mean square a pixel in the mean."""
        image, edges = probe.batch.image, self.edges
        white = image_normal(probe.seed, probe.batch.index, "frequency_response", tuple(image.shape[1:])).to(image)
        ring = np.digitize(dct_radius(*image.shape[2:]), edges[1:-1])
        masks = [torch.from_numpy(ring == band).to(image) for band in range(self.bands)]
        return [inverse_dct(white * mask * (mask.numel() / mask.sum().clamp(min=1)).sqrt()) for mask in masks]

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Accuracies in percent with their 95 % intervals, and the mean maps."""
        arrays: dict[str, NDArray] = {"lowpass/cutoff": np.array(self.radii), "noise/edges": self.edges}
        for name in ("lowpass", "noise"):
            mean, count = tallies[name].mean, tallies[name].count
            limits = [
                share_interval(round(m * n), n) if n else (np.nan,) * 3
                for m, n in zip(mean, count.tolist(), strict=True)
            ]
            ends = 100 * np.array(limits, np.float64).T
            arrays |= {f"{name}/{what}": end for what, end in zip(("accuracy", "low", "high"), ends, strict=True)}
        arrays |= {f"map/{name}": (UNIT * tallies[name].mean).reshape(self._size) for name in ("image", "gradient")}
        accuracy, middle = arrays["noise/accuracy"], (self.edges[1:] + self.edges[:-1]) / 2
        worst = int(np.argmin(accuracy))
        scalars = {
            "lowpass_accuracy": float(arrays["lowpass/accuracy"][:-1].mean()),
            "noise_accuracy_worst": float(accuracy[worst]),
            "noise_worst_frequency": float(middle[worst]),
        }
        return Summary(scalars, arrays)


def _right(probe: Probe, image: Images) -> Tensor:
    look = probe.at(image)
    # As a leaf that wants no gradient, so nothing is kept for one.
    look.image = image.detach()
    return look.correct.double()


def low_pass(image: Images, radius: float) -> Images:
    """Images with the Fourier coefficients up to a radius in cycles a pixel."""
    height, width = image.shape[2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    kept = torch.from_numpy(frequency <= radius * (1 + 1e-9)).to(image.device)
    return torch.fft.irfft2(torch.fft.rfft2(image) * kept, s=(height, width))


def dct(image: Images) -> Images:
    """The orthonormal DCT-II over the last two axes, of which ``inverse_dct`` is the inverse."""
    rows, columns = (_dct_matrix(n).to(image) for n in image.shape[2:])
    return rows @ image @ columns.T


def inverse_dct(coefficients: Images) -> Images:
    rows, columns = (_dct_matrix(n).to(coefficients) for n in coefficients.shape[2:])
    return rows.T @ coefficients @ columns


def dct_radius(height: int, width: int) -> NDArray[np.float64]:
    """Cycles a pixel of each coefficient of the DCT, ``(H, W)``, from 0 at the top left."""
    return np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width))


@lru_cache(maxsize=8)
def _dct_matrix(size: int) -> Tensor:
    frequency, place = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64) + 0.5
    matrix = math.sqrt(2 / size) * (math.pi / size * frequency * place).cos()
    matrix[0] /= math.sqrt(2)
    return matrix
