"""Published test sets beside the usual ones, as they are distributed: of ImageNet, CIFAR-10 and Tiny-ImageNet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.core.fields import Rule, checked, read_json
from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data import _classes
from gradlens.data._folder import folder
from gradlens.data._imagenet import as_imagenet, by_synset, find_store, imagenet_val
from gradlens.data._lists import some
from gradlens.data._store import Pictures, open_store

SEVERITIES = ("1", "2", "3", "4", "5")
V2 = ("matched-frequency", "threshold0.7", "top-images")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _some_synsets(letter: str, root: Path, *, partial: bool = False) -> Pictures:
    """ImageNet-A or -R: 200 synset folders, labelled as classes of the 1,000."""
    name = f"imagenet-{letter}"
    store = find_store(root, (name, f"{name}.tar", "."))
    valid = _classes.variant(letter)
    found = as_imagenet(name, store, by_synset(store, [_classes.wnids()[i] for i in valid], partial))
    found.valid_classes = valid
    return found


imagenet_a, imagenet_r = bound(_some_synsets, "a"), bound(_some_synsets, "r")


def imagenet_sketch(root: Path, *, partial: bool = False) -> Pictures:
    """Sketches of all 1,000 classes, a synset a folder."""
    store = find_store(root, ("imagenet-sketch", "ImageNet-Sketch", "sketch", "imagenet-sketch.tar", "."))
    return as_imagenet("imagenet-sketch", store, by_synset(store, _classes.wnids(), partial))


def imagenet_v2(root: Path, *, variant: str = "matched-frequency", partial: bool = False) -> Pictures:
    """A new validation set, whose folders are the numbers of the classes, which sort otherwise as text."""
    if variant not in V2:
        raise UserError(unknown("variant of imagenet-v2", variant, V2))
    unpacked = [f"imagenetv2-{v}-format-val" for v in (variant, variant.replace("-", ""))]
    store = find_store(root, (*unpacked, *(f"{name}.tar" for name in unpacked), "."))
    tops = [name.partition("/")[0] for name in store.names]
    count = len(_classes.wnids())
    odd = sorted({top for top in tops if not (re.fullmatch(r"\d{1,4}", top, re.ASCII) and int(top) < count)})
    if odd or (len(set(tops)) != count and not partial):
        found = f"{store.where} holds {len(set(tops)):,} folders" + (f", such as {some(odd)}" if odd else "")
        raise UserError(f"{found}; wanted those of imagenet-v2, called 0 to {count - 1}: give --data-dir")
    return as_imagenet(f"imagenet-v2/{variant}", store, np.array([int(top) for top in tops]))


def imagenet_real(root: Path, *, labels: str | None = None, partial: bool = False) -> Pictures:
    """The validation set with the labels of Beyer et al. 2020, of which an image may have several, or none.

    Only one that stands alone is an image's label; the others are unknown, which a run says.
    """
    found = imagenet_val(root, partial=partial)
    places = [place / "real.json" for place in (root, root.parent, found.store.where, found.store.where.parent)]
    file = Path(labels) if labels else next((place for place in places if place.is_file()), None)
    if file is None:
        raise UserError(f"found no real.json in {root}; put it there, or give --labels FILE")
    listed = checked(
        file, "all of it", read_json(file, "a list of labels for each image"), list, Rule(lambda _: True, "a list")
    )
    numbers = [int(m[1]) - 1 if (m := re.search(r"ILSVRC2012_val_(\d{8})", name)) else -1 for name in found.names]
    if min(numbers) < 0 or max(numbers) >= len(listed):
        raise UserError(
            f"{file} lists {len(listed):,} images by ILSVRC2012's number, and some of {root} have no such one"
        )
    chosen = [listed[n] for n in numbers]
    found.labels = np.array([one[0] if isinstance(one, list) and len(one) == 1 else -1 for one in chosen])
    several = sum(len(one) > 1 for one in chosen)
    said = f"imagenet-real: {several:,} images have several labels, {sum(not one for one in chosen):,} none"
    found.name, found.doubts = "imagenet-real", (*found.doubts, f"{said}; theirs are unknown, and no part of top-1")
    return found


def imagenet_c(root: Path, *, corruption: str = "", severity: str = "", partial: bool = False) -> Pictures:
    """Corrupted validation images of Hendrycks and Dietterich 2019, of one corruption and severity."""
    bases = [base for base in (root, root / "ImageNet-C", root / "imagenet-c") if base.is_dir()]
    # They are distributed by kind: blur/defocus_blur.
    held = {p.parent.name: p.parent for base in bases for depth in ("*/1", "*/*/1") for p in base.glob(depth)}
    _check_corruption("imagenet-c", corruption, severity, held)
    store = open_store(held[corruption] / severity)
    found = as_imagenet(f"imagenet-c/{corruption}/{severity}", store, by_synset(store, _classes.wnids(), partial))
    found.paths = [f"{corruption}/{severity}/{path}" for path in found.paths]
    return found


@dataclass
class _Framed(Pictures):
    """Pictures with a frame of one pixel, which ObjectNet has so that none is trained on unawares."""

    def open(self, index: int, channels: int = 3) -> Image.Image:
        image = super().open(index, channels)
        return image.crop((1, 1, image.width - 1, image.height - 1))


def objectnet(root: Path) -> Pictures:
    """The objects of Barbu et al. 2019 that are classes of ImageNet, without their frame.

    An object that is several of its classes has no one label, which is then unknown.
    """
    base = next((p for p in (root / "objectnet-1.0", root / "objectnet", root) if (p / "images").is_dir()), None)
    if base is None:
        raise UserError(f"found no objectnet-1.0/images in {root}; unpack ObjectNet there, or give --data-dir")
    called, mapped = (
        _mapping(base / "mappings" / f"{n}.json") for n in ("folder_to_objectnet_label", "objectnet_to_imagenet_1k")
    )
    place = {text: i for i, text in enumerate(_classes.descriptions())}
    classes = {f: [place[t] for t in mapped.get(o, "").split("; ") if t in place] for f, o in called.items()}
    store = open_store(base / "images")
    names = [name for name in store.names if classes.get(name.partition("/")[0])]
    if not names:
        raise UserError(f"{store.where} holds no folder that {base / 'mappings'} maps to ImageNet; give --data-dir")
    of = [classes[name.partition("/")[0]] for name in names]
    labels = np.array([one[0] if len(one) == 1 else -1 for one in of])
    said = f"objectnet: {len(names):,} of {len(store.names):,} images are of ImageNet's classes"
    doubts = (f"{said}; {sum(len(one) > 1 for one in of):,} are of several, so their label is unknown",)
    valid = tuple(sorted({c for one in of for c in one}))
    return _Framed("objectnet", store, names, labels, _classes.class_names(), names, doubts, valid)


class CifarC:
    """CIFAR-10-C's arrays of one corruption, of which each severity has a fifth; an image is known by its place."""

    varies_in_size = False
    class_names = CIFAR

    def __init__(self, root: Path, *, corruption: str = "", severity: str = ""):
        base = root / "CIFAR-10-C" if (root / "CIFAR-10-C").is_dir() else root
        _check_corruption("cifar10-c", corruption, severity, {p.stem for p in base.glob("*.npy")} - {"labels"})
        images, labels = (_array(base / f"{name}.npy") for name in (corruption, "labels"))
        if images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise UserError(
                f"{base} holds {images.shape} {images.dtype} and labels {labels.shape}; wanted CIFAR-10-C's"
            )
        each = len(images) // len(SEVERITIES)
        rows = slice(each * (int(severity) - 1), each * int(severity))
        self.name, self.images, self.labels = (
            f"cifar10-c/{corruption}/{severity}",
            images[rows],
            labels[rows].astype(np.int64),
        )
        self.paths = [f"{corruption}/{severity}/{i:05d}" for i in range(each)]

    def open(self, index: int, channels: int = 3) -> Image.Image:
        return Image.fromarray(self.images[index])


def tiny_imagenet(root: Path, split: str) -> Pictures:
    """200 synsets at 64 × 64, in the order of the sorted synsets, whatever lies as a folder or in a list."""
    place = next((p for p in (root / "tiny-imagenet-200", root / "tiny-imagenet") if p.is_dir()), root)
    if not (place / "wnids.txt").is_file():
        raise UserError(f"found no wnids.txt in {place}; unpack tiny-imagenet-200 there, or give --data-dir")
    found = folder(place, split)
    found.name, found.varies_in_size = "tiny-imagenet", False
    return found


def _check_corruption(
    name: str, corruption: str, severity: str, held: Sequence[str] | Mapping[str, Any] | set[str]
) -> None:
    if corruption not in held or severity not in SEVERITIES:
        there = ", ".join(sorted(held)) or "none in this folder: give --data-dir"
        raise UserError(
            f"'{corruption or 'no corruption'}' at severity {severity or '?'} is not there; write "
            f"{name}:corruption=NAME,severity=1 to 5; corruptions: {there}"
        )


def _mapping(file: Path) -> dict[str, str]:
    what = "ObjectNet's mapping of names"
    return checked(file, "all of it", read_json(file, what), dict, Rule(lambda _: True, what))


def _array(file: Path) -> NDArray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {file}: {str(error).splitlines()[0]}; copy it again") from None
