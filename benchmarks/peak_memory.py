"""Peak memory of an analysis against the number of images: the slope must be zero within noise.

    python benchmarks/peak_memory.py [REPEATS]

Each size runs in a process of its own, over a folder of JPEG files, with the standard analyzers.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (250, 1000, 4000)
SIDE = 96


def make_folder(root: Path, images: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(images):
        folder = root / f"class{i % 10}"
        folder.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{i:05d}.jpg")


def measure(folder: str, limit: str) -> None:
    """Analyze in this process and print its peak resident size in MB."""
    import torch

    import gradlens as gl

    torch.set_num_threads(2)
    model = gl.load_model("timm:resnet18", weights="random", device="cpu")
    with tempfile.TemporaryDirectory() as out:
        run = gl.analyze(model, gl.load_data(folder, limit=int(limit)), out=f"{out}/run", batch_size=32, progress=False)
        assert len(run.samples) == int(limit)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(repeats: int) -> None:
    peaks: dict[int, list[float]] = {n: [] for n in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), max(SIZES))
        for _ in range(repeats):
            for size in SIZES:
                command = [sys.executable, __file__, "measure", folder, str(size)]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                peaks[size].append(float(said.splitlines()[-1]))
    from scipy.stats import linregress
    from side_by_side import write

    fit = linregress([n for n in SIZES for _ in range(repeats)], [p for n in SIZES for p in peaks[n]])
    result = {
        "peak MB by images": peaks,
        "slope, KB an image": fit.slope * 1024,
        "standard error, KB an image": fit.stderr * 1024,
        "one image as float32, KB": 224 * 224 * 3 * 4 / 1024,
    }
    write("peak_memory", json.loads(json.dumps(result)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
