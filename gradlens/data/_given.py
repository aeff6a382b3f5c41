"""What is in memory already: arrays and tensors, a torch Dataset, the data set of a DataLoader, a list of pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from gradlens.core.seeds import own_random_numbers
from gradlens.core.types import UserError, check_images
from gradlens.data._pixels import DAMAGED, UnreadableError, to_tensor, upright

WANTED = "give (images, labels), a torch Dataset of (image, label), a folder, a tar, or a name such as digits"
# A flip that chance decides shows in one of so many looks, but for one time in a hundred.
LOOKS = 8


class Arrays:
    """Images and labels that are already in memory: pixels in [0, 1] as the model will see them."""

    name = "arrays"
    varies_in_size = False
    as_given = True

    def __init__(self, images: Any, labels: Any = None):
        if len(images) == 0:
            raise UserError("the array of images is empty; give at least one image")
        self.images = to_tensor(images).cpu()
        check_images(self.images)
        count = len(self.images)
        self.labels, self.class_names = class_numbers(np.full(count, -1) if labels is None else labels, count)
        # Part of an image's identity, so that a run is not resumed with other pixels.
        self.paths = [f"{i:06d}-{_digits(image, 4)}" for i, image in enumerate(self.images)]

    def open(self, index: int, channels: int = 3) -> Tensor:
        return self.images[index]


class Items:
    """A torch Dataset, or a list, of ``(image, label)``: tensors as the model will see them, or pictures."""

    anywhere = True

    def __init__(self, dataset: Any):
        self.dataset, self.name = dataset, type(dataset).__name__
        with own_random_numbers():
            first = self._item(0)[0]
            if any(_digits(self._item(0)[0]) != _digits(first) for _ in range(LOOKS)):
                raise UserError(
                    f"the images of {self.name} are other ones at each look, as a training transform makes them; give "
                    "the data set with the transform of evaluation"
                )
        self.as_given = not isinstance(first, Image.Image)
        self.varies_in_size = not self.as_given
        self.labels, names = class_numbers(self._labels(), len(dataset))
        named = tuple(map(str, getattr(dataset, "classes", ())))
        self.class_names = named if len(named) >= len(names) else names
        files: Any = getattr(dataset, "samples", None)
        root = f"{getattr(dataset, 'root', '')}/"
        known = isinstance(files, list) and all(isinstance(f, tuple) and isinstance(f[0], str) for f in files)
        self.paths = [f[0].removeprefix(root) for f in files] if known else [f"{i:08d}" for i in range(len(dataset))]

    def open(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        try:
            picture = self._item(index)[0]
            return upright(picture, channels) if isinstance(picture, Image.Image) else _unit(picture)
        except DAMAGED as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise UnreadableError(f"{self.name} {index}: {why}") from None

    def content(self, index: int) -> str:
        return _digits(self._item(index)[0])

    def _item(self, index: int) -> tuple[Any, Any]:
        """An image and its label, whether they come as a pair or by name."""
        item = self.dataset[index]
        if isinstance(item, Mapping):
            item = tuple(next((item[n] for n in names if n in item), None) for names in (("image", "img"), ("label",)))
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise UserError(f"an item of {self.name} is a {type(item).__name__}, not (image, label); {WANTED}")
        if not isinstance(item[0], (Image.Image, Tensor, np.ndarray)):
            raise UserError(f"an image of {self.name} is a {type(item[0]).__name__}; wanted a tensor or a PIL image")
        return item[0], item[1]

    def _labels(self) -> Any:
        """Those it holds where they are what it gives, else those of one pass."""
        held: Any = getattr(self.dataset, "targets", None)
        looked_at = {0, len(self.dataset) // 2, len(self.dataset) - 1}
        fits = held is not None and len(held) == len(self.dataset)
        if fits and all(int(held[i]) == int(self._item(i)[1]) for i in looked_at):
            return held
        return [self._item(i)[1] for i in range(len(self.dataset))]


def given(spec: Any) -> Arrays | Items:
    """The source that an object means; raises UserError for what means none."""
    if isinstance(spec, DataLoader):
        spec = _of_loader(spec)
    if isinstance(spec, IterableDataset):
        raise UserError(
            f"{type(spec).__name__} is a stream, whose images have no number; give a data set with a length"
        )
    if isinstance(spec, (Tensor, np.ndarray)):
        return Arrays(spec)
    if isinstance(spec, tuple) or (isinstance(spec, list) and len(spec) == 2 and np.ndim(spec[0]) == 4):
        return Arrays(*spec)
    if isinstance(spec, (Dataset, list)) or _has_items(spec):
        if len(spec) == 0:
            raise UserError(f"the {type(spec).__name__} of data is empty; give at least one image")
        return Items(spec)
    raise UserError(f"data is a {type(spec).__name__}; {WANTED}")


def class_numbers(labels: Any, count: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as people have them → a class each, −1 where unknown (negative or NaN); and the classes' names."""
    held = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if held.shape == (count, 1):
        held = held[:, 0]
    if held.shape != (count,):
        hint = "; of one-hot labels give .argmax(1)" if held.ndim == 2 else ""
        raise UserError(f"{count} images came with labels of shape {held.shape}; wanted ({count},){hint}")
    if held.dtype.kind in "US":
        names, numbers = np.unique(held, return_inverse=True)
        return numbers.astype(np.int64), tuple(map(str, names))
    try:
        numbers = held.astype(np.float64)
    except (TypeError, ValueError):
        raise UserError(f"labels such as {str(held[0])[:40]} are no classes; give a whole number each") from None
    numbers = np.where(np.isfinite(numbers) & (numbers >= 0), numbers, -1)
    if odd := next((n for n in numbers if n != round(n)), None):
        raise UserError(f"labels such as {odd:g} are no classes; give whole numbers, and -1 or NaN where unknown")
    whole = numbers.astype(np.int64)
    return whole, tuple(str(c) for c in range(int(whole.max()) + 1))


def _of_loader(loader: DataLoader) -> Any:
    """What it loads from; refused where it would choose or change what the data set gives."""
    plain = isinstance(loader.sampler, (SequentialSampler, RandomSampler)) and type(loader.batch_sampler) in (
        BatchSampler,
        type(None),
    )
    if isinstance(loader.dataset, IterableDataset) or (plain and loader.collate_fn is default_collate):
        return loader.dataset
    what = "sampler" if not plain else "collate_fn"
    raise UserError(
        f"a DataLoader with a {what} of its own, which would not be used; give its data set, or a Subset of it"
    )


def _has_items(spec: Any) -> bool:
    """Such as the Hub's data sets, which are no torch Dataset; a table's rows are none."""
    if not (hasattr(spec, "__getitem__") and hasattr(spec, "__len__")) or isinstance(spec, (str, bytes, Mapping)):
        return False
    try:
        return isinstance(spec[0], (tuple, list, Mapping))
    except Exception:  # whatever a foreign container raises
        return False


def _unit(picture: Any) -> Tensor:
    """``(C, H, W)`` in [0, 1]: bytes are what torchvision's PILToTensor gives."""
    if isinstance(picture, Tensor) and picture.dtype == torch.uint8:
        return picture.float() / 255
    return to_tensor(picture)[0]


def _digits(picture: Any, size: int = 8) -> str:
    """Identifies pixels."""
    held = picture.detach().cpu().numpy() if isinstance(picture, Tensor) else np.asarray(picture)
    return hashlib.blake2b(held.tobytes(), digest_size=size).hexdigest()


def absent_or_shifted(labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[str, ...]:
    """What labels leave in doubt: those that are unknown, and classes that seem to be counted from 1."""
    unknown, found = int((labels < 0).sum()), set(np.unique(labels[labels >= 0]).tolist())
    said = []
    if 0 < unknown < len(labels):
        said.append(f"{unknown:,} of {len(labels):,} images have no label: their gradients are taken at the prediction")
    if len(classes) > 2 and found == set(range(1, len(classes))):
        said.append(f"labels run from 1 to {max(found)} and none is 0: if classes are counted from 1, subtract 1")
    return tuple(said)
