"""CIFAR-10, from its folder or its archive."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data._tar import LIMIT, archive_member

FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
TRAIN, TEST = tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",)
SPLITS = ("train", "val", "test")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar:
    """An image's identity is its place in the files of its part, as in RobustBench.

    Splits: test; of the training images the last tenth (5,000) is val, to tune on, and the others are train.
    """

    name = "cifar10"
    varies_in_size = False
    class_names = CLASSES

    def __init__(self, root: Path, split: str):
        if split not in SPLITS:
            raise UserError(unknown("split of cifar10", split, SPLITS))
        parts = [_arrays(*_batch(root, name)) for name in (TEST if split == "test" else TRAIN)]
        pixels, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        first_of_val = len(labels) - len(labels) // 10
        rows = {"train": slice(0, first_of_val), "val": slice(first_of_val, None), "test": slice(None)}[split]
        self.pixels, self.labels = pixels[rows], labels[rows]
        self.paths = [f"{i:05d}" for i in range(len(labels))[rows]]

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self.pixels[index].transpose(1, 2, 0)))


def cifar10_test(root: Path) -> Cifar:
    """The test images under the name that other toolkits know them by."""
    source = Cifar(root, "test")
    source.name = "cifar10-test"
    return source


def _batch(root: Path, name: str) -> tuple[bytes, Path]:
    for folder in (root, root / FOLDER):
        file = folder / name
        if file.is_file():
            if file.stat().st_size > LIMIT:
                raise UserError(f"{file} has {file.stat().st_size:,} bytes, too many for CIFAR-10; copy it again")
            return file.read_bytes(), file
    for archive in (root, root / ARCHIVE):
        if archive.is_file():
            return archive_member(archive, f"{FOLDER}/{name}"), archive
    raise UserError(f"found no CIFAR-10 in {root}; wanted {FOLDER} or {ARCHIVE}: give --data-dir its folder")


def _arrays(content: bytes, where: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        held = _Restricted(io.BytesIO(content), encoding="latin1").load()
        pixels, labels = held["data"].pixels, np.asarray(held["labels"])
    except UserError:
        raise
    except Exception as error:
        # A pickle is a program: damaged, it may raise anything.
        raise UserError(f"cannot read {where}: {type(error).__name__}; copy it again") from None
    fits = pixels.ndim == 2 and pixels.shape == (len(labels), 3072) and pixels.dtype == np.uint8
    if not fits or labels.ndim != 1 or labels.dtype.kind != "i" or len(labels) == 0:
        raise UserError(f"{where} holds data of shape {pixels.shape} ({pixels.dtype}); wanted 8-bit (N, 3072)")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise UserError(f"{where} holds labels from {labels.min()} to {labels.max()}; wanted 0 to 9: CIFAR-10")
    return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)


class _Kind:
    """Stands for a dtype, whose own state could change numpy's types in place."""

    def __init__(self, code: str, *_: Any):
        self.code = code

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for an array: bytes and a shape, which have to fit."""

    pixels: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, raw = state
        if kind.code not in ("u1", "|u1"):
            raise ValueError(kind.code)
        self.pixels = np.frombuffer(_encode(raw), np.uint8).reshape(shape, order="F" if by_column else "C")


def _encode(text: str | bytes, *_: Any) -> bytes:
    """Bytes, which Python 2 and 3 write in two ways."""
    return text.encode("latin1") if isinstance(text, str) else text


class _Restricted(pickle.Unpickler):
    """Runs nothing but what rebuilds an array of bytes, and none of numpy's own code for that."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise UserError(f"CIFAR-10's file asks for {module}.{name}, which it does not need; copy it again")
        return self.ALLOWED[module, name]
