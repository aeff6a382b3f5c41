"""Data sets that timm and torchvision read: ``hfds/ORG/NAME`` from Hugging Face's cache, ``torch/NAME``, CIFAR-10.

Nothing is downloaded unless the spec ends in ``:download=true``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.core.names import parse_spec, unknown
from gradlens.core.types import UserError
from gradlens.data._classes import named
from gradlens.data._pixels import UnreadableError, open_image, upright

STREAMS = ("hfids", "tfds", "wds")


class Timm:
    """A data set that timm opens; its labels are read once."""

    varies_in_size = True

    def __init__(self, spec: str, split: str, root: Path | None):
        self.name, options = parse_spec(spec)
        kind = self.name.partition("/")[0].lower()
        if kind in STREAMS:
            what = f"timm reads {self.name} as a stream, whose images have no number"
            raise UserError(f"{what}; unpack its shards into class folders, or give hfds/…")
        if set(options) - {"download"}:
            raise UserError(f"'{spec}' has options that are not known; there is one: {self.name}:download=true")
        split = "validation" if (kind, split) == ("hfds", "val") else split
        self.dataset = _create(self.name, split, root, options.get("download", "").lower() in ("1", "true", "yes"))
        self.reader = getattr(self.dataset, "reader", None)
        self.labels = _labels(self.dataset, self.reader)
        self.class_names = _class_names(self.dataset, self.reader, self.labels)
        self.paths = [f"{i:08d}" for i in range(len(self.labels))]

    def open(self, index: int, channels: int = 3) -> Image.Image:
        # timm's own item would quietly be the next image where this one cannot be read.
        name = f"{self.name} {index}"
        if self.reader is not None:
            return open_image(self.reader[index][0], name, channels)
        try:
            return upright(self.dataset[index][0], channels)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableError(f"{name}: {(str(error) or type(error).__name__).splitlines()[0]}") from None


class Cifar:
    """An image's identity is its place in the files of its part, as in RobustBench.

    Splits: test; of the training images the last tenth (5,000) is val, to tune on, and the others are train.
    """

    name = "cifar10"
    varies_in_size = False

    def __init__(self, root: Path, split: str):
        if split not in ("train", "val", "test"):
            raise UserError(unknown("split of cifar10", split, ("train", "val", "test")))
        # The files are pickles, which are programs. torchvision unpickles them only if all have the checksums
        # that were published, so none is run that is not CIFAR-10's own.
        place = root.parent if root.name == "cifar-10-batches-py" else root
        self.whole = Timm("torch/cifar10", "test" if split == "test" else "train", place)
        rows = range(len(self.whole.labels))
        first_of_val = len(rows) - len(rows) // 10
        self.rows = {"train": rows[:first_of_val], "val": rows[first_of_val:], "test": rows}[split]
        self.labels, self.class_names = self.whole.labels[self.rows], self.whole.class_names
        self.paths = [f"{i:05d}" for i in self.rows]

    def open(self, index: int, channels: int = 3) -> Image.Image:
        return self.whole.open(self.rows[index])


def cifar10_test(root: Path) -> Cifar:
    """The test images under the name that other toolkits know them by."""
    source = Cifar(root, "test")
    source.name = "cifar10-test"
    return source


def _create(name: str, split: str, root: Path | None, download: bool) -> Any:
    from timm.data import create_dataset

    place = None if root is None else str(root)
    if place is None and name.startswith("torch/"):
        raise UserError(f"{name} is read from a folder; give --data-dir FOLDER or set $GRADLENS_DATA")
    try:
        with contextlib.nullcontext() if download else _offline(), contextlib.redirect_stdout(None):
            return create_dataset(name, root=place, split=split, download=download)
    except ImportError as error:
        raise UserError(f"{name} needs the package '{error.name}', which is not installed; install it first") from None
    except Exception as error:
        # timm, datasets and torchvision raise whatever suits them.
        why = " ".join(str(error).split())[:200] or type(error).__name__
        hint = "" if download else f"; nothing is downloaded unless you ask for {name}:download=true"
        raise UserError(f"cannot open {name} (split '{split}', folder {place}): {why}{hint}") from None


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """The hub's libraries read their switch from the environment when imported, so it is set in them too."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict("os.environ", {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}))
        for module, name in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
            with contextlib.suppress(ImportError, AttributeError):
                stack.enter_context(mock.patch(f"{module}.{name}", True))
        yield


def _labels(dataset: Any, reader: Any) -> NDArray[np.int64]:
    """From the reader or the attribute that holds them, else from one pass over the data."""
    attributes = (getattr(dataset, name, None) for name in ("targets", "labels", "_labels"))
    held = list(reader.iter_targets()) if hasattr(reader, "iter_targets") else None
    found = next((h for h in (held, *attributes) if h is not None), None)
    labels = np.asarray([dataset[i][1] for i in range(len(dataset))] if found is None else found)
    if labels.shape != (len(dataset),) or labels.dtype.kind not in "iu":
        raise UserError(f"its labels have shape {labels.shape} ({labels.dtype}); wanted one class for each image")
    return labels.astype(np.int64)


def _class_names(dataset: Any, reader: Any, labels: NDArray[np.int64]) -> tuple[str, ...]:
    index = getattr(reader, "class_to_idx", None) or getattr(dataset, "class_to_idx", None) or {}
    return named(index, max([int(labels.max()), *index.values()]) + 1)
