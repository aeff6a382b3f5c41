"""Augmentation: of a picture while it is decoded, of an image by itself, and of a batch as a whole.

All stay in pixels of [0, 1]. The first two are seeded by the image and the epoch, the last by the step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import Mixup, create_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from gradlens.core.seeds import image_uniform
from gradlens.core.types import Batch, Preprocess, UserError
from gradlens.training.config import TrainConfig


def picture_transform(config: TrainConfig, preprocess: Preprocess) -> Callable[[Image.Image], Tensor] | None:
    """timm's random crop, colour jitter and RandAugment of a picture, or None where none is asked for."""
    if not (config.crop_scale or config.rand_augment or config.color_jitter):
        return None
    try:
        return create_transform(
            input_size=(3, preprocess.size, preprocess.size),
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
        self._erase = (
            RandomErasing(config.random_erasing, mode="pixel", device="cpu") if config.random_erasing else None
        )
        mixes = config.mixup > 0 or config.cutmix > 0
        self._mix = Mixup(
            config.mixup, config.cutmix, label_smoothing=config.label_smoothing, num_classes=classes
        ) if mixes else None  # fmt: skip

    def __call__(self, batch: Batch) -> Batch:
        image, target = batch.image, batch.target
        assert target is not None
        if self._erase:
            # Its noise is standard normal, in units of a normalised image.
            erased = self._erase((image - self._mean) / self._std) * self._std + self._mean
            image = erased.clamp(0, 1)
        if self._mix and len(batch) % 2 == 0:
            image, target = self._mix(image.clone(), target)
            image = image.clamp(0, 1)
        elif self.smoothing or self._mix:
            hard = F.one_hot(target, self.classes).float()
            target = hard * (1 - self.smoothing) + self.smoothing / self.classes
        return Batch(image, target, batch.index)
