"""What does each edge measure answer to? Twenty planted maps at three sizes, of which only the first are edges.

    python analyses/responses.py [WINDOWS]

A gradient is a map of mean 1, plus a floor of .02, times Gaussian speckle in every channel. The images are WINDOWS
(4) random squares of each embedded photograph, at 32², 64² and 224². Writes results/responses.json: the mean of
every measure, and of its excess over the null, for every map and size; and the located partial correlation under
other sets of contrast windows than the one that was chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from _seeds import write
from PIL import Image
from torch import Tensor, nn

from gradlens import Batch, Probe
from gradlens.analyzers._edge_concentration import CONTOUR_SHIFT, LOCATED, MEASURES, EdgeConcentration
from gradlens.analyzers._edge_confounders import Confounders, log_brightness, log_contrasts
from gradlens.analyzers._edge_local import interior, located_partial
from gradlens.analyzers._edge_scores import CONTOUR_FLOOR, GRADIENT_FLOOR, standardize
from gradlens.data._embedded import PHOTOGRAPHS, photograph
from gradlens.probes.edges import canny, contour_energy
from gradlens.probes.edges.filters import gaussian_blur, luminance

SIZES = (32, 64, 224)
FLOOR = 0.02
WINDOW_SETS = ((8.0,), (8.0, 4.0), (8.0, 4.0, 2.0))
Planted = tuple[Tensor, Tensor]


def squares(number: int) -> list[tuple[int, Image.Image]]:
    """So many random squares of each photograph, from 224 pixels to all of its height, with its place in the list."""
    rng, found = np.random.default_rng(0), []
    for label, name in enumerate(PHOTOGRAPHS):
        pixels = photograph(name)
        height, width = pixels.shape[:2]
        for _ in range(number):
            side = int(rng.integers(224, min(height, width) + 1))
            row, column = (int(rng.integers(0, length - side + 1)) for length in (height, width))
            found.append((label, Image.fromarray(pixels[row : row + side, column : column + side])))
    return found


def at_size(pictures: Sequence[tuple[int, Image.Image]], size: int) -> Batch:
    small = [np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)) for _, picture in pictures]
    image = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float().div(255).contiguous()
    return Batch(image, torch.tensor([label for label, _ in pictures]), torch.arange(len(pictures)))


def contrast(image: Tensor, sigma: float) -> Tensor:
    gray = luminance(image).double()
    moments = gaussian_blur(gray.square(), sigma) - gaussian_blur(gray, sigma).square()
    return moments.clamp(min=0).sqrt().float()


def in_blocks(image: Tensor) -> Tensor:
    """Contour energy averaged over 16 × 16 pixels, a vision transformer's patches."""
    return F.interpolate(F.avg_pool2d(contour_energy(image), 16), scale_factor=16)


def centre(image: Tensor) -> Tensor:
    ruler = torch.linspace(-1, 1, image.shape[-1])
    return torch.exp(-2 * (ruler[:, None] ** 2 + ruler**2)).expand(len(image), 1, -1, -1)


def noise(power: float) -> Callable[[Tensor], Tensor]:
    """The exponential of Gaussian noise of unit variance whose amplitude falls with the frequency to this power."""

    def draw(image: Tensor) -> Tensor:
        size = image.shape[-1]
        frequency = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt().clamp(min=1 / size)
        field = torch.fft.irfft2(torch.fft.rfft2(torch.randn(len(image), 1, size, size)) / frequency**power)
        return (field / field.std((2, 3), keepdim=True)).exp()

    return draw


def noise_like_edges(image: Tensor) -> Tensor:
    """Noise of the contour energy's own spectrum, with phases that know nothing of it."""
    phase = torch.fft.rfft2(torch.randn_like(image[:, :1]))
    field = torch.fft.irfft2(torch.fft.rfft2(contour_energy(image)).abs() * phase / phase.abs(), s=image.shape[2:])
    return field - field.amin((2, 3), keepdim=True)


def disc(image: Tensor) -> Tensor:
    ruler = torch.linspace(-1, 1, image.shape[-1])
    return (ruler[:, None] ** 2 + ruler**2 < 0.4).float().expand(len(image), 1, -1, -1)


def on_flat_ground(image: Tensor) -> Planted:
    """Gray around a disc of the photograph; the gradient covers the disc."""
    inside = disc(image)
    return inside * image + 0.5 * (1 - inside), inside


def between_bars(image: Tensor) -> Planted:
    """White bars on two sides; the gradient covers the picture between them."""
    side = image.shape[-1] // 6
    inside = torch.ones_like(image[:, :1])
    inside[..., :side] = inside[..., -side:] = 0
    return inside * image + (1 - inside), inside


def in_focus(image: Tensor) -> Planted:
    """Out of focus around a disc; the gradient covers what is sharp."""
    inside = disc(image)
    return inside * image + (1 - inside) * gaussian_blur(image, image.shape[-1] / 32), inside


def of_image(truth: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Planted]:
    return lambda image: (image, truth(image))


MAPS: dict[str, Callable[[Tensor], Planted]] = {
    "contours": of_image(contour_energy),
    "Canny's lines": of_image(canny),
    "contours, blurred by 2 px": of_image(lambda x: gaussian_blur(contour_energy(x), 2)),
    "high-pass magnitude": of_image(lambda x: (luminance(x) - gaussian_blur(luminance(x), 2)).abs()),
    "contrast, 2 px": of_image(lambda x: contrast(x, 2)),
    "contrast, 4 px": of_image(lambda x: contrast(x, 4)),
    "contrast, 8 px": of_image(lambda x: contrast(x, 8)),
    "contours in blocks of 16": of_image(in_blocks),
    "contours displaced by (3, 3) px": of_image(lambda x: contour_energy(x).roll((3, 3), (2, 3))),
    "contours displaced by (0, 3) px": of_image(lambda x: contour_energy(x).roll(3, 3)),
    "contours displaced by (8, 8) px": of_image(lambda x: contour_energy(x).roll((8, 8), (2, 3))),
    "object on flat ground": on_flat_ground,
    "picture between white bars": between_bars,
    "what is in focus": in_focus,
    "brightness": of_image(luminance),
    "centre": of_image(centre),
    "noise, white": of_image(lambda x: torch.ones_like(x[:, :1])),
    "noise, 1/f": of_image(noise(1)),
    "noise, 1/f²": of_image(noise(2)),
    "noise of the contours' spectrum": of_image(noise_like_edges),
}


class Linear(nn.Module):
    """A label's logit has the planted gradient."""

    def __init__(self, gradient: Tensor, target: Tensor):
        super().__init__()
        self.gradient, self.target = gradient, target

    def forward(self, image: Tensor) -> Tensor:
        value = (self.gradient * image).flatten(1).sum(1)
        return F.one_hot(self.target, len(PHOTOGRAPHS)) * value[:, None]


def speckled(truth: Tensor) -> Tensor:
    truth = truth / truth.mean((2, 3), keepdim=True)
    return (truth + FLOOR) * torch.randn(len(truth), 3, *truth.shape[2:])


def measured(batch: Batch, gradient: Tensor) -> dict[str, float]:
    """Means over images, and of what the raw measures are beyond their null."""
    analyzer = EdgeConcentration("true_logit")
    probe = Probe(Linear(gradient, batch.target), batch)
    analyzer.fit(probe)
    frame = pd.DataFrame({name: values.numpy() for name, values in analyzer.measure(probe).items()})
    found = {name: frame[name].mean() for name in (*LOCATED, *MEASURES)}
    return found | {f"{name}, excess": (frame[name] - frame[f"{name}_null"]).mean() for name in MEASURES}


def with_windows(image: Tensor, gradient: Tensor, windows: Sequence[float]) -> float:
    """The located partial correlation that takes out contrast under these windows."""
    gray, magnitude = luminance(image), gradient.abs().sum(1, keepdim=True)
    maps = torch.cat([log_brightness(gray), *log_contrasts(gray, windows)], 1)
    log = (magnitude / magnitude.mean((2, 3), keepdim=True)).clamp(min=GRADIENT_FLOOR).log()
    edges = contour_energy(image).clamp(min=CONTOUR_FLOOR).log()
    pair = (standardize(values.flatten(1)).view_as(values) for values in (log, edges))
    return located_partial(*pair, Confounders(interior(maps, CONTOUR_SHIFT)), CONTOUR_SHIFT).nanmean().item()


def responses(batch: Batch) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for name, plant in MAPS.items():
        torch.manual_seed(0)
        image, truth = plant(batch.image)
        gradient = speckled(truth)
        sets = {", ".join(f"{w:g}" for w in s): with_windows(image, gradient, s) for s in WINDOW_SETS}
        row = measured(Batch(image, batch.target, batch.index), gradient)
        found[name] = {**row, "located, contrast windows of": sets}
        print(f"{batch.image.shape[-1]:4d} {name:34s} {row[LOCATED[0]]:6.3f}", flush=True)
    return found


if __name__ == "__main__":
    pictures = squares(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
    sizes = {f"{size}²": responses(at_size(pictures, size)) for size in SIZES}
    write("responses", {"images": len(pictures), "floor": FLOOR, "shift": CONTOUR_SHIFT, "sizes": sizes})
