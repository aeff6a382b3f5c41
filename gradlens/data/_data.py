"""Data, the sequence of labelled images that every room reads, whatever source they come from; and its samples."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from gradlens.core.files import readable
from gradlens.core.types import Batch, Preprocess, UserError, check_images, digest
from gradlens.data._given import absent_or_shifted
from gradlens.data._pixels import UnreadableError, image_transform, in_channels, spread
from gradlens.data._store import split_of


@runtime_checkable
class Source(Protocol):
    """Where images come from: identities, labels and a way to open each."""

    labels: NDArray[np.int64]

    @property
    def name(self) -> str: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def varies_in_size(self) -> bool: ...
    @property
    def paths(self) -> Sequence[str]: ...
    def open(self, index: int, channels: int = 3) -> Image.Image | Tensor: ...


class Data:
    """A sequence of ``(image (C, H, W) in [0, 1], label, index)``.

    ``index`` is an image's place in its whole source and stays with it through ``limit`` and
    ``subset``; ``batch`` and ``path`` take it. A label of −1 means unknown. options are the arguments
    of ``load_data`` that open the source again, None for images given as such. channels: 3, 1 for pictures
    made gray, or 4 for those with their transparency.
    """

    def __init__(
        self,
        source: Source,
        split: str = "",
        preprocess: Preprocess | None = None,
        indices: NDArray[np.int64] | None = None,
        options: Mapping[str, Any] | None = None,
        channels: int = 3,
    ):
        self.source, self.split, self.preprocess, self.options = source, split, preprocess, options
        self.channels = channels
        self.indices = np.arange(len(source.labels)) if indices is None else indices
        self._transform = image_transform(preprocess, channels)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int, int]:
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        index = int(self.indices[position])
        return self.image(index), int(self.source.labels[index]), index

    def __repr__(self) -> str:
        return f"<Data {self.name}: {len(self)} images, {len(self.class_names)} classes>"

    @property
    def name(self) -> str:
        return f"{self.source.name}/{self.split}" if self.split else self.source.name

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of every image in this sequence, −1 where unknown."""
        return self.source.labels[self.indices]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return bool((self.labels >= 0).all())

    @property
    def partly_labelled(self) -> bool:
        """Whether any image has one."""
        return bool((self.labels >= 0).any())

    @property
    def varies_in_size(self) -> bool:
        """Whether its pictures need a Preprocess before they can be stacked."""
        return self.source.varies_in_size

    @property
    def as_given(self) -> bool:
        """Whether its images are arrays, which are taken as the model's input."""
        return getattr(self.source, "as_given", False)

    def common_sides(self) -> tuple[int, int] | None:
        """Height and width of its pictures where all that are looked at have the same; None where not."""
        found: set[tuple[int, int]] = set()
        for index in self.indices[spread(len(self))]:
            try:
                picture = self.source.open(int(index))
            except UnreadableError:
                continue
            width, height = picture.size if isinstance(picture, Image.Image) else tuple(picture.shape[:-3:-1])
            found.add((height, width))
            if len(found) > 1:
                return None
        return next(iter(found), None)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where a file about its pictures would lie: beside them, and above the folder of a split."""
        store = getattr(self.source, "store", None)
        if store is None:
            return ()
        here = store.where if store.where.is_dir() else store.where.parent
        return (here, here.parent) if split_of(here.name) else (here,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth hearing before a run, such as one class folder that holds everything."""
        own = getattr(self.source, "notes", ())
        return (*own, *absent_or_shifted(*self._named))

    @property
    def _named(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Labels and names of the classes as the source has them, whatever a model calls them."""
        return getattr(self.source, "named", (self.source.labels, self.source.class_names))

    @property
    def clusters(self) -> NDArray | None:
        """What each image was cut from, where that is known: those of one photograph resemble each other."""
        known = getattr(self.source, "clusters", None)
        return None if known is None else np.asarray(known)[self.indices]

    @property
    def valid_classes(self) -> tuple[int, ...] | None:
        """The classes that can occur, where a data set has only some of a model's (ImageNet-A, -R)."""
        return getattr(self.source, "valid_classes", None)

    @property
    def fingerprint(self) -> str:
        """Identifies the images by path and label, in order; and by their name.

        Those of a folder, which may be called and lie anywhere, by what some of its files hold; their labels by the
        classes' names, whatever number a model gives these.
        """
        whole, names = self._named
        # As text, since a C locale hands over names as bytes.
        paths, labels = [readable(self.path(i)) for i in self.indices], whole[self.indices].tolist()
        if not getattr(self.source, "anywhere", False):
            return digest([self.name, paths, labels])
        held = [self.source.content(int(i)) for i in self.indices[spread(len(self))]]  # type: ignore[attr-defined]
        return digest([held, paths, [readable(names[label]) if label >= 0 else "" for label in labels]])

    def path(self, index: int) -> str:
        """An image's identity: its path below the data's root, with forward slashes."""
        return self.source.paths[int(index)]

    def picture(self, index: int) -> Image.Image | Tensor:
        """One picture as it is, upright and of as many channels as are wanted; raises UnreadableError."""
        picture = self.source.open(int(index), self.channels)
        return picture if isinstance(picture, Tensor) else in_channels(picture, self.channels)

    def image(self, index: int) -> Tensor:
        """One preprocessed image, ``(C, H, W)``; raises UnreadableError."""
        picture = self.picture(index)
        try:
            return picture if isinstance(picture, Tensor) else self._transform(picture)
        except UnreadableError as error:
            raise UnreadableError(f"{self.path(index)}: {error}") from None

    def batch(self, indices: Sequence[int]) -> Batch:
        """The images with these indices; raises UserError where one cannot be read."""
        self._check_known(indices)
        batch, failures = self.read(indices)
        if failures:
            raise UserError(f"cannot read {next(iter(failures.values()))}")
        assert batch is not None
        return batch

    def read(self, indices: Sequence[int]) -> tuple[Batch | None, dict[int, str]]:
        """A batch of the readable images and the reasons for the others."""
        images, kept, failures = [], [], {}
        for index in map(int, indices):
            try:
                images.append(self.image(index))
                kept.append(index)
            except UnreadableError as error:
                failures[index] = str(error)
        if not images:
            return None, failures
        if len({tuple(i.shape) for i in images}) > 1:
            shapes = sorted({f"{i.shape[1]}×{i.shape[2]}" for i in images})
            raise UserError(f"images of {self.name} differ in size ({', '.join(shapes[:3])}); bind a Preprocess first")
        labels = torch.from_numpy(self.source.labels[kept])
        labels_known = labels if self.partly_labelled else None
        batch = Batch(torch.stack(images), labels_known, torch.tensor(kept), self._outlines(kept))
        check_images(batch.image)
        return batch, failures

    def _outlines(self, indices: Sequence[int]) -> Tensor | None:
        """True outlines ``(B, 1, H, W)`` where the source knows them, scaled and cut as the images are."""
        outline = getattr(self.source, "outline", None)
        if outline is None:
            return None
        return torch.stack([torch.from_numpy(outline(i, self._transform)).float() for i in indices])[:, None]

    def bind(self, preprocess: Preprocess | None, channels: int | None = None) -> Data:
        """The same images as a model wants them; as many channels as now where not told otherwise."""
        return self._with(preprocess=preprocess, channels=channels or self.channels)

    def limit(self, number: int | None, seed: int = 0) -> Data:
        """A class-stratified sample; a smaller one is contained in a larger, whatever the model."""
        if number is None or number >= len(self):
            return self
        if number < 1:
            raise UserError(f"a limit of {number} images leaves none; give at least 1")
        chosen = stratified_order([self.path(i) for i in self.indices], self.labels, seed)[:number]
        return self._with(indices=self.indices[np.sort(chosen)])

    def subset(self, indices: Sequence[int]) -> Data:
        """Only the images with these indices, in this order."""
        self._check_known(indices)
        if len(set(map(int, indices))) < len(indices):
            raise UserError(f"a subset of {self.name} names an image twice; give each index once")
        return self._with(indices=np.asarray(indices, dtype=np.int64))

    def with_classes(self, names: Sequence[str], places: Sequence[int]) -> Data:
        """The same images with another list of classes, in which each of theirs has its place."""
        source = copy.copy(self.source)
        # A copy's own, also where they belonged to the class; the last place is that of −1. Their own names remain
        # the images' identity, whatever a model calls them.
        vars(source).update(named=self._named, labels=np.array([*places, -1])[source.labels], class_names=tuple(names))
        return self._with(source=source)

    def parted(self, share: float = 0.2) -> tuple[Data, Data]:
        """Those to train on, and a class-stratified share held out by path hash, which depends on no other image."""
        order = stratified_order([self.path(i) for i in self.indices], self.labels)
        cut = max(1, round(share * len(order)))
        return self._with(indices=self.indices[np.sort(order[cut:])]), self._with(
            indices=self.indices[np.sort(order[:cut])]
        )

    def _check_known(self, indices: Sequence[int]) -> None:
        count = len(self.source.labels)
        unknown = [int(i) for i in indices if not 0 <= i < count]
        if unknown:
            raise UserError(f"no image {unknown[0]} in {self.name}; indices run from 0 to {count - 1}")

    def _with(self, **changed: Any) -> Data:
        same = {k: getattr(self, k) for k in ("source", "split", "preprocess", "indices", "options", "channels")}
        return Data(**{**same, **changed})


def stratified_order(paths: Sequence[str], labels: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """An order of the positions whose every prefix holds the classes in proportion.

    Within a class the order is that of hash(seed, path), so it does not depend on other images, and a
    prefix is contained in every longer one. Classes of equal size differ by at most one image.
    """
    keys, labels = np.array([path_hash(seed, p) for p in paths]), np.asarray(labels)
    rank = np.empty(len(keys))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = np.argsort(keys[members], kind="stable")
        rank[members[order]] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((keys, rank))


def path_hash(seed: int, path: str) -> int:
    """A number that belongs to an image and a seed, whatever the machine or the order of the images."""
    return int.from_bytes(
        hashlib.blake2b(f"{seed}/{path}".encode("utf-8", "surrogateescape"), digest_size=7).digest(), "little"
    )
