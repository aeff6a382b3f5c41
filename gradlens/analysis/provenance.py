"""What a run must record to be repeated, and to refuse a comparison with another contract."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gradlens.analyzers import Analyzer, name_of
from gradlens.core.processes import world
from gradlens.core.types import digest
from gradlens.data import Data
from gradlens.models import Classifier

VERSIONED = ("torch", "torchvision", "timm", "numpy", "pandas", "scipy", "scikit-image", "pillow")
CPUINFO = Path("/proc/cpuinfo")


def contract(
    model: Classifier, data: Data, analyzers: Sequence[Analyzer], batch_size: int, seed: int, precision: str
) -> dict[str, Any]:
    """What decides a run's numbers: two parts of one run, or two runs compared, must agree in it."""
    return {
        "weights": weights_hash(model),
        # The same bytes may be numbers of another type or shape.
        "weights_layout": digest([[n, str(t.dtype), *t.shape] for n, t in model.state_dict().items()]),
        "arch": model.card.arch,
        "activation": model.card.activation,
        "mean": model.card.mean,
        "std": model.card.std,
        "data": data.name,
        "images": len(data),
        "data_fingerprint": data.fingerprint,
        "preprocess": vars(data.preprocess) if data.preprocess else None,
        "preprocess_hash": data.preprocess.hash if data.preprocess else None,
        "analyzers": [name_of(a) for a in analyzers],
        "batch_size": batch_size,
        "seed": seed,
        "precision": precision,
    }


def circumstances(model: Classifier, data: Data) -> dict[str, Any]:
    """Where and with what a run was made; numbers agree across these only to rounding."""
    device = model.device
    return {
        "model": model.provenance(),
        "load_model": model.card.options,
        "load_data": data.options,
        "working_folder": str(Path.cwd()),
        "source_images": len(data.source.labels),
        "data_notes": data.notes,
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "world_size": world(),
        "versions": software(),
        "argv": sys.argv,
    }


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's name, as a reader needs it; its kind where nothing tells more."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = re.findall(r"model name\s*: (.+)", CPUINFO.read_text(errors="replace")) if CPUINFO.exists() else []
    return next(iter(names), platform.processor() or platform.machine())


def software() -> dict[str, str]:
    """Versions of Python, of gradlens and of the libraries that its numbers depend on."""
    own = {"gradlens": _version("gradlens"), "python": platform.python_version()}
    return own | {name: _version(name) for name in VERSIONED}


def weights_hash(model: torch.nn.Module) -> str:
    """Identifies the parameters and buffers in use, whatever file they came from, by names and bytes: as of old."""
    sha = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
