"""From a configuration to the images and the network that are trained."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradlens.core.files import make_folder, write_atomically
from gradlens.core.processes import rank
from gradlens.core.seeds import image_seed
from gradlens.core.types import Preprocess, UserError
from gradlens.data import Data, load_data
from gradlens.models import Classifier, channels_of, load_model, read_checkpoint, swap_activations
from gradlens.models.architectures import build
from gradlens.models.fresh import fixed_seed
from gradlens.training.config import TrainConfig

LOG = logging.getLogger("gradlens")
# Of a folder without folders of splits.
HELD_OUT = 0.2


def open_split(config: TrainConfig, split: str, classes: Sequence[str] | None = None) -> Data:
    """Labelled images of one split, as they are; of these classes where training has told which."""
    data = load_data(config.data, split, config.data_dir, config.limit)
    if split == config.test_split and not data.split and hasattr(data.source, "store"):
        raise UserError(f"{data.name} has no folder of a split '{split}', and all of it is trained on; leave it out")
    if not data.labelled:
        raise UserError(f"{data.name} has images without a label, which training needs; give a folder a class")
    if classes is not None and tuple(classes) != tuple(data.class_names):
        odd = sorted({*classes} ^ {*data.class_names})
        raise UserError(
            f"{data.name} has other classes than the images trained on ({', '.join(odd[:3]) or 'another order'}); "
            "give every split the same class folders"
        )
    return data


def open_splits(config: TrainConfig) -> tuple[Data, Data]:
    """Images to train on and to tune on: two splits, or two parts of a folder that has none, which is said."""
    train = open_split(config, config.train_split)
    val = open_split(config, config.val_split, train.class_names)
    if train.fingerprint != val.fingerprint:
        return train, val
    if train.split:
        raise UserError(f"{train.name} is both trained and tuned on; give another --train-split or --val-split")
    train, val = train.parted(HELD_OUT)
    if rank() == 0:
        kept, paths = config.out / "val-images.txt", "".join(f"{val.path(i)}\n" for i in val.indices)
        make_folder(config.out)
        write_atomically(kept, lambda stream: stream.write(paths.encode("utf-8", "surrogateescape")))
        LOG.warning(
            f"{train.name} has no folders train and val: {len(val):,} of its {len(train) + len(val):,} images, by the "
            f"hash of their paths, are val and not trained on; for these analyze with --subset {kept}"
        )
    return train, val


def open_model(config: TrainConfig, data: Data) -> Classifier:
    """The network with random, pretrained or a checkpoint's weights, its card telling how to build it again."""
    classes = len(data.class_names)
    fresh = config.init in (None, "pretrained")
    model = _built(config, classes) if fresh else _opened(config)
    how = _preprocess(config, model.card.preprocess, data)
    found = _classes(model, how.sides)
    if found != classes:
        raise UserError(f"{config.init or config.arch} gives {found} classes, {data.name} has {classes}; give another")
    model.card = dataclasses.replace(model.card, preprocess=how, num_classes=classes, class_names=data.class_names)
    if config.dropout:
        _drop_features(model, config.dropout, classes)
    return model


def _drop_features(model: Classifier, probability: float, classes: int) -> None:
    """Dropout before the last linear layer, as a hook, so that the weights keep their names."""
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    if not heads:
        raise UserError(
            f"{model.card.name} has no linear layer of {classes} outputs to drop features before; leave out "
            "--dropout, or give the architecture's own, such as --arch-kwargs drop_rate=.2"
        )

    def drop(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (nn.functional.dropout(inputs[0], probability, layer.training), *inputs[1:])

    heads[-1].register_forward_pre_hook(drop)


def _classes(model: Classifier, sides: tuple[int, int]) -> int:
    """How many logits it gives, and whether it takes images of this size at all."""
    try:
        with torch.no_grad():
            return model(torch.zeros(1, len(model.card.mean), *sides, device=model.device)).shape[1]
    except (RuntimeError, AssertionError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(
            f"{model.card.name} cannot take images of {sides[0]} × {sides[1]} ({why}); give an --img-size that it "
            f"takes, or build it for this one, as with --arch-kwargs img_size={sides[0]}"
        ) from None


def _built(config: TrainConfig, classes: int) -> Classifier:
    assert config.arch is not None
    with fixed_seed(image_seed(config.seed, 0, "training/weights") % 2**63):
        built = build(config.arch, config.kwargs, classes, pretrained=config.init == "pretrained")
    if config.activation:
        swap_activations(built.net, config.activation)
    half = (0.5,) * channels_of(built.net)
    mean, std = config.mean or built.mean or half, config.std or built.std or half
    model = load_model(built.net, mean=mean, std=std, device=config.device)
    model.card = dataclasses.replace(model.card, name=built.arch, arch=built.arch, preprocess=built.preprocess)
    return model


def _opened(config: TrainConfig) -> Classifier:
    stated = {name: getattr(config, name) for name in ("arch", "activation", "mean", "std", "device")}
    return load_model(str(config.init), **stated)


def arch_kwargs(config: TrainConfig) -> dict[str, Any]:
    """What the architecture was built with: the flag's, else those of the checkpoint that training began with."""
    if config.init in (None, "pretrained") or config.arch:
        return config.kwargs
    return read_checkpoint(str(config.init)).arch_kwargs


def _preprocess(config: TrainConfig, own: Preprocess | None, data: Data) -> Preprocess:
    if own is None:
        return Preprocess(config.img_size or _side(data), crop_pct=1.0)
    if config.img_size:
        return dataclasses.replace(own, size=config.img_size)
    if not data.varies_in_size and (side := _side(data)) < min(own.sides):
        times = math.prod(own.sides) / side**2
        size = f"{own.size}²" if isinstance(own.size, int) else " × ".join(map(str, own.size))
        LOG.warning(
            f"{data.name}'s images of {side}² are enlarged to {config.arch or config.init}'s {size}, which takes "
            f"about {times:.0f} times as long; --img-size {side} keeps them"
        )
    return own


def _side(data: Data) -> int:
    return int(data[0][0].shape[-1])
