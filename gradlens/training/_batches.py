from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from gradlens.core.processes import rank, world
from gradlens.core.seeds import image_seed, set_random_numbers
from gradlens.core.types import Batch, UserError
from gradlens.data import Data, UnreadableError
from gradlens.data.batches import Batches
from gradlens.training._augment import each_image, picture_transform
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
        pixels = len(data) * 3 * data.preprocess.size**2
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
            picture = self.data.source.open(index)
            if isinstance(picture, Tensor):
                raise UserError(
                    f"{self.data.name} holds tensors; RandAugment and crops work on pictures: use shift, flip"
                )
            return self._augmented(picture, self._transform, image_seed(seed, index, "picture"))
        if self._kept is None:
            return self.data.image(index)
        if index not in self._kept:
            self._kept[index] = self.data.image(index)
        return self._kept[index]

    @staticmethod
    def _augmented(picture: Image.Image, transform: Callable, seed: int) -> Tensor:
        set_random_numbers(seed)
        return transform(picture).float() / 255

    def _order(self, epoch: int) -> Tensor:
        if self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(image_seed(self.config.seed, epoch, "training/order"))
            self._shuffled = epoch, torch.randperm(len(self.data), generator=generator)
        return self._shuffled[1]
