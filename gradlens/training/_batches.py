"""Training's batches: their order, which follows from the seed alone, and what augmentation does to them.

All stays in pixels of [0, 1]. What is drawn for a picture or an image is seeded by it and the epoch, and so
does not depend on batch-mates; what is drawn for a whole batch, by the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import Mixup, create_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from gradlens.core.processes import rank, world
from gradlens.core.seeds import image_seed, image_uniform, set_random_numbers
from gradlens.core.types import Batch, Preprocess, UserError
from gradlens.data import Data, UnreadableError
from gradlens.data.batches import Batches
from gradlens.training.config import TrainConfig

KEPT_IN_MEMORY = 512e6


class TrainingBatches(Batches):
    """Batch k of the whole training run: its epoch's order, this process's share of it, augmented.

    Everything follows from the seed and k, so a resumed run goes on with the very images. In an epoch come
    only whole updates: what is left over is in another epoch's.
    """

    def __init__(self, data: Data, config: TrainConfig):
        super().__init__(data, config.batch_size)
        self.config = config
        self.updates = len(data) // (self.size * world() * config.accumulate)
        self.per_epoch = self.updates * config.accumulate
        if not self.per_epoch:
            wanted = f"{config.accumulate} × {world()} × {self.size}"
            raise UserError(f"{data.name} has {len(data)} images, an update takes {wanted}; make batch_size smaller")
        assert data.preprocess is not None
        self._transform = picture_transform(config, data.preprocess)
        pixels = len(data) * 3 * math.prod(data.preprocess.sides)
        # Only in this process: each worker would keep a copy of its own.
        self._kept: dict[int, Tensor] | None = {} if 4 * pixels < KEPT_IN_MEMORY and not config.workers else None
        self._shuffled: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return self.per_epoch * self.config.epochs

    def __getitem__(self, k: int) -> tuple[int, Batch, dict[int, str]]:
        epoch, place = divmod(k, self.per_epoch)
        start = (place * world() + rank()) * self.size
        rows = self._order(epoch)[start : start + self.size]
        seed = image_seed(self.config.seed, epoch, "training/augment")
        images, kept, failures = [], [], {}
        for index in self.data.indices[rows.numpy()].tolist():
            try:
                images.append(self._image(index, seed))
                kept.append(index)
            except UnreadableError as error:
                failures[index] = str(error)
        if len(images) < len(rows) / 2:
            raise UserError(f"most images of a batch cannot be read, such as {next(iter(failures.values()))}")
        target = torch.from_numpy(self.data.source.labels[kept])
        return k, each_image(self.config, Batch(torch.stack(images), target, torch.tensor(kept)), seed), failures

    def _image(self, index: int, seed: int) -> Tensor:
        if self._transform is not None:
            return self._augmented(index, image_seed(seed, index, "picture"))
        if self._kept is None:
            return self.data.image(index)
        if index not in self._kept:
            self._kept[index] = self.data.image(index)
        return self._kept[index]

    def _augmented(self, index: int, seed: int) -> Tensor:
        picture = self.data.picture(index)
        if isinstance(picture, Tensor):
            raise UserError(f"{self.data.name} holds tensors; RandAugment and crops work on pictures: use shift, flip")
        assert self._transform is not None
        # timm's transforms draw from the global random numbers, of a worker or of the run.
        set_random_numbers(seed)
        return self._transform(picture).float() / 255

    def _order(self, epoch: int) -> Tensor:
        if self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(image_seed(self.config.seed, epoch, "training/order"))
            self._shuffled = epoch, torch.randperm(len(self.data), generator=generator)
        return self._shuffled[1]


def picture_transform(config: TrainConfig, preprocess: Preprocess) -> Callable[[Image.Image], Tensor] | None:
    """timm's random crop, colour jitter and RandAugment of a picture, or None where none is asked for."""
    if not (config.crop_scale or config.rand_augment or config.color_jitter):
        return None
    try:
        return create_transform(
            input_size=(3, *preprocess.sides),
            is_training=True,
            scale=(config.crop_scale or 1.0, 1.0),
            ratio=None if config.crop_scale else (1.0, 1.0),
            hflip=0.0,
            color_jitter=config.color_jitter,
            auto_augment=config.rand_augment,
            interpolation=preprocess.interpolation,
            normalize=False,
        )
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"rand_augment '{config.rand_augment}' is not timm's ({error}); such as rand-m9-mstd0.5"
        ) from None


def each_image(config: TrainConfig, batch: Batch, seed: int) -> Batch:
    """Shifts and flips that do not depend on batch-mates."""
    if not (config.shift or config.flip):
        return batch
    draw = image_uniform(seed, batch.index, "training/augment", (3,))
    image = batch.image
    if config.flip:
        image = torch.where((draw[:, 0] < config.flip)[:, None, None, None], image.flip(3), image)
    if config.shift:
        down, along = ((2 * config.shift + 1) * draw[:, 1:]).long().sub(config.shift).unbind(1)
        image = _shifted(image, down, along)
    return Batch(image, batch.target, batch.index)


def _shifted(image: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """Each image moved by its own pixels, its rim repeated."""
    count, _, height, width = image.shape
    rows = (torch.arange(height) - down[:, None]).clamp(0, height - 1)[:, :, None]
    columns = (torch.arange(width) - along[:, None]).clamp(0, width - 1)[:, None, :]
    moved = image[torch.arange(count)[:, None, None], :, rows, columns]
    return moved.permute(0, 3, 1, 2).contiguous()


class WholeBatch:
    """Erasing, mixup, CutMix and smoothed labels; draws from the global random numbers."""

    def __init__(self, config: TrainConfig, classes: int, mean: Tensor, std: Tensor):
        self.classes, self.smoothing = classes, config.label_smoothing
        self._mean, self._std = mean.cpu(), std.cpu()
        erases, mixes = config.random_erasing, config.mixup > 0 or config.cutmix > 0
        self._erase = RandomErasing(erases, mode="pixel", device="cpu") if erases else None
        mix = {"label_smoothing": self.smoothing, "num_classes": classes}
        self._mix = Mixup(config.mixup, config.cutmix, **mix) if mixes else None

    def __call__(self, batch: Batch) -> Batch:
        image, target = batch.image, batch.target
        assert target is not None
        if self._erase:
            # Its noise is standard normal, in units of a normalised image.
            erased = self._erase((image - self._mean) / self._std) * self._std + self._mean
            image = erased.clamp(0, 1)
        # timm mixes pairs; a batch that lost an unreadable image may have one too few.
        if self._mix and len(batch) % 2 == 0:
            image, target = self._mix(image.clone(), target)
            image = image.clamp(0, 1)
        elif self.smoothing or self._mix:
            hard = F.one_hot(target, self.classes).float()
            target = hard * (1 - self.smoothing) + self.smoothing / self.classes
        return Batch(image, target, batch.index)
