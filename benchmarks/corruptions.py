"""Our corruptions beside the two public packages: mean, variance and radial spectrum of their results, and time.

python benchmarks/corruptions.py [SEEDS]

Needs ``pip install imagecorruptions-imaug corrupt-tta``, which gradlens does not.
"""

from __future__ import annotations

import sys
import time

import corrupt_tta
import imagecorruptions
import numpy as np
import torch
from side_by_side import write
from skimage.data import astronaut, chelsea, coffee, rocket
from skimage.transform import resize

import gradlens as gl

BANDS = 6
PICTURES = (astronaut()[:400, :400], chelsea()[:300, :300], coffee()[:400, 100:500], rocket()[:400, :400])
THEIRS = {"imagecorruptions-imaug": imagecorruptions, "corrupt-tta": corrupt_tta}


def ours(picture: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    return gl.corrupt(image, name, severity, seed)[0].permute(1, 2, 0).numpy() * 255.0


def of(package: str):
    def run(picture: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
        np.random.seed(seed)
        return THEIRS[package].corrupt(picture, severity, name).astype(float)

    return run


def spectrum(image: np.ndarray) -> np.ndarray:
    """Power of the gray image in rings of spatial frequency."""
    gray = image.mean(2)
    power = np.abs(np.fft.fft2(gray - gray.mean())) ** 2
    ring = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in gray.shape))) * 2 * BANDS
    return np.bincount(np.minimum(ring.astype(int), BANDS - 1).ravel(), power.ravel(), BANDS)


def statistics(run, pictures: list, name: str, severity: int, seeds: int) -> np.ndarray:
    found = [run(picture, name, severity, seed) for picture in pictures for seed in range(seeds)]
    return np.mean([[image.mean(), image.var(), *spectrum(image)] for image in found], axis=0)


def least_seconds(run, picture: np.ndarray, name: str, rounds: int = 3) -> float:
    """Of a severity on average."""
    run(picture, name, 1, 0)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for severity in range(1, 6):
            run(picture, name, severity, 0)
        seconds.append((time.perf_counter() - start) / 5)
    return min(seconds)


def main(seeds: int) -> None:
    torch.set_num_threads(1)
    pictures = [(resize(p, (224, 224), anti_aliasing=True) * 255).round().astype(np.uint8) for p in PICTURES]
    ways = {"gradlens": ours, **{package: of(package) for package in THEIRS}}
    ratios: dict = {}
    seconds = {
        name: {way: least_seconds(run, pictures[0], name) for way, run in ways.items()}
        for name in gl.methods("corruptions")
    }
    for name in gl.methods("corruptions"):
        for severity in range(1, 6):
            mine = statistics(ours, pictures, name, severity, seeds)
            for package in THEIRS:
                other = statistics(ways[package], pictures, name, severity, seeds)
                mean, variance, *power = (mine / other).round(3).tolist()
                ratios.setdefault(name, {}).setdefault(package, {})[severity] = {
                    "mean": mean,
                    "variance": variance,
                    "spectrum": power,
                }
    total = {way: sum(of_one[way] for of_one in seconds.values()) for way in ways}
    write(
        "corruptions",
        {
            "pictures": len(pictures),
            "seeds": seeds,
            "seconds a picture": seconds,
            "all fifteen, seconds a picture": total,
            "all fifteen, ratio to the faster package": total["gradlens"] / min(total[p] for p in THEIRS),
            "ours divided by theirs": ratios,
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
