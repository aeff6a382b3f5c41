"""The calls of a Python session that need no data set: a probe of any images, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gradlens.core.memory import available_bytes
from gradlens.core.numbers import amount
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import Batch, UserError, check_images
from gradlens.data import to_tensor
from gradlens.models import Classifier, load_model
from gradlens.probes.probe import Images, Probe
from gradlens.probes.soundness import quickest

Look = TypeVar("Look", bound=Probe)
# So many images are looked at without asking how much memory they take.
FEW = 16
PIECE = 64
# The peak of a backward pass over what is kept: 1.1 to 1.46 on five networks, convolutional and not.
TRANSIENT = 1.5


@undisturbed()
def look_at(
    model: Classifier | str | Path, images: Any, labels: Any, seed: int, needs: Sequence[str], kind: type[Look]
) -> Look:
    """A probe of this kind of any images, which are decoded, checked, and refused where memory does not hold them."""
    model = _opened(model)
    if isinstance(images, Batch):
        return _look(model, images, seed, needs, kind)
    listed = _listed(images)
    target = _targets(labels, len(listed))
    _check_memory(model, listed, needs)
    batch = Batch(_stacked(listed, model), target, torch.arange(len(listed)))
    return _look(model, batch, seed, needs, kind)


@undisturbed()
def input_gradient(model: Classifier | str | Path, images: Any, labels: Any = None, objective: str = "loss") -> Images:
    """``∂ objective_b / ∂ image_b``, ``(B, 3, H, W)``, per unit pixel and signed.

    Images and labels as in ``gl.probe``, but in pieces that fit into memory, however many there are.
    """
    index, found = None, None
    if isinstance(images, Batch):
        images, labels, index = images.image, images.target, images.index
    model, listed = _opened(model), _listed(images)
    for rows, batch in _pieces(model, listed, _targets(labels, len(listed)), index):
        fast = quickest(model, batch.to(model.device))
        with _look(fast, batch, 0, [f"gradient:{objective}"], Probe) as look:
            gradient = look.gradient(objective)
        if rows.stop >= len(listed) and found is None:
            return gradient
        if found is None:
            found = _room(len(listed), gradient)
        found[rows] = gradient
    assert found is not None
    return found


def _opened(model: Classifier | str | Path) -> Classifier:
    return model if isinstance(model, Classifier) else load_model(model)


def _look(model: Classifier, batch: Batch, seed: int, needs: Sequence[str], kind: type[Look]) -> Look:
    """A probe whose labels are classes; only where the card leaves that in doubt is the model run for it."""
    look = kind(model, batch.to(model.device), seed=seed, needs=needs)
    highest = -1 if batch.target is None else int(batch.target.max())
    if highest >= (model.card.num_classes or 0) and highest >= look.logits.shape[1]:
        raise UserError(f"label {highest} is no class of {model.card.name}, which has {look.logits.shape[1]}, from 0")
    return look


def _listed(images: Any) -> Any:
    """A sequence with an item an image, none of them decoded yet."""
    if isinstance(images, list | tuple):
        listed: Any = [one for item in images for one in _listed(item)]
    elif isinstance(images, Tensor | np.ndarray):
        listed = images if images.ndim == 4 else images[None]
    else:
        listed = [images]
    if len(listed) == 0:
        raise UserError("there is no image; give at least one")
    return listed


def _targets(labels: Any, count: int) -> Tensor | None:
    if labels is None:
        return None
    try:
        target = torch.as_tensor(labels).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        target = torch.empty(0)
    if target.is_floating_point() or target.is_complex():
        raise UserError(f"labels {_short(labels)} are not class numbers; give one integer an image")
    if len(target) != count:
        raise UserError(f"{count} images came with {len(target)} labels; give one label an image")
    if int(target.min()) < 0:
        raise UserError(f"label {int(target.min())} is no class; give labels from 0, or None for the prediction")
    return target.long()


def _stacked(listed: Sequence[Any] | Tensor, model: Classifier) -> Tensor:
    """Decoded and as the model wants them, ``(B, 3, H, W)``."""
    parts = [_tensor(one, model) for one in (listed if isinstance(listed, list) else [listed])]
    sizes = sorted({f"{part.shape[-2]}×{part.shape[-1]}" for part in parts})
    if len(sizes) > 1:
        raise UserError(
            f"the images differ in size ({', '.join(sizes[:3])}) and {model.card.name} states no preprocessing; "
            "give images of one size, or probe them one by one"
        )
    image = torch.cat(parts)
    check_images(image)
    return image


def _tensor(image: Any, model: Classifier) -> Tensor:
    try:
        return to_tensor(image, model.card.preprocess, len(model.card.mean))
    except UserError:
        raise
    except (TypeError, RuntimeError):
        kind = type(image).__name__
        raise UserError(f"a {kind} is no image; give a tensor, an array, a PIL image, a path or a Batch") from None


def _pieces(
    model: Classifier, listed: Sequence[Any] | Tensor, target: Tensor | None, index: Tensor | None
) -> Iterator[tuple[slice, Batch]]:
    """Batches that fit into memory, with the rows that they are."""
    size = len(listed)
    index = torch.arange(size) if index is None else index
    if size > FEW:
        needed, free = _bytes_an_image(model, listed, ()), available_bytes(model.device)
        size = PIECE if free is None else max(1, min(PIECE, int(free / 2 / needed)))
    for start in range(0, len(listed), size):
        rows = slice(start, start + size)
        yield rows, Batch(_stacked(listed[rows], model), None if target is None else target[rows], index[rows])


def _check_memory(model: Classifier, listed: Sequence[Any] | Tensor, needs: Sequence[str]) -> None:
    """Refuse what would exhaust the memory before it is decoded."""
    free = available_bytes(model.device)
    if len(listed) <= FEW or free is None:
        return
    each = _bytes_an_image(model, listed, needs)
    most = max(1, int(free / each))
    if len(listed) > most:
        raise UserError(
            f"a probe of {len(listed):,} images needs about {amount(each * len(listed))} ({amount(each)} an image), "
            f"and {amount(free)} are free; probe at most {most:,} at a time, take gl.input_gradient, which goes in "
            "pieces, or gl.analyze for the numbers of all"
        )


def _bytes_an_image(model: Classifier, listed: Sequence[Any] | Tensor, needs: Sequence[str]) -> float:
    """Measured on two of them."""
    image = _stacked(listed[:2], model)
    batch = Batch(image, None, torch.arange(len(image))).to(model.device)
    with Probe(quickest(model, batch), batch, needs=needs) as look:
        look.scaled_gradient()
        return TRANSIENT * sum(look.held.values()) / len(image)


def _room(count: int, gradient: Tensor) -> Tensor:
    """For all gradients, where the memory holds them."""
    needed, free = count * gradient[0].nbytes, available_bytes(gradient.device)
    if free is not None and needed > free:
        raise UserError(
            f"the gradients of {count:,} images take {amount(needed)}, and {amount(free)} are free; take gl.analyze "
            "for their numbers, or a part of the images at a time"
        )
    return gradient.new_empty(count, *gradient.shape[1:])


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) < 40 else f"{text[:37]}…"
