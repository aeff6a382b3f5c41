from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data._arrays import Arrays
from gradlens.data._cifar import Cifar, cifar10_test
from gradlens.data._data import Data, Source
from gradlens.data._digits import Digits
from gradlens.data._folder import folder
from gradlens.data._imagenet import imagenet_a, imagenet_r, imagenet_val
from gradlens.data._open import is_tar
from gradlens.data._photos import Photos
from gradlens.data._shapes import Shapes
from gradlens.data._shards import shards
from gradlens.data._subset import read_subset
from gradlens.data._timm import Timm

EMBEDDED: dict[str, Callable[[str], Source]] = {"digits": Digits, "shapes": Shapes, "photos": Photos}
EMBEDDED_SPLITS = ("train", "val", "test")
# Found below a root: the split of the former is in their name, the latter have several.
KNOWN: dict[str, Callable[..., Source]] = {
    "imagenet-val": imagenet_val,
    "imagenet-a": imagenet_a,
    "imagenet-r": imagenet_r,
    "cifar10-test": cifar10_test,
}
SPLIT: dict[str, Callable[..., Source]] = {"cifar10": Cifar}
PREFIXES: dict[str, Callable[..., Source]] = {"hfds/": Timm, "torch/": Timm, "wds/": shards}
STREAMS = ("hfids/", "tfds/")
ROOT = "GRADLENS_DATA"


def load_data(
    spec: str | Path | tuple[Any, Any],
    split: str = "val",
    root: str | Path | None = None,
    limit: int | None = None,
    *,
    labels: str | Path | None = None,
    subset: str | Path | None = None,
    class_map: str | Path | None = None,
    class_order: str | None = None,
) -> Data:
    """A data set by name, folder or tar, or ``(images, labels)`` in memory.

    Names: ``digits``, ``shapes``, ``photos``; ``imagenet-val``, ``imagenet-a``, ``imagenet-r``,
    ``cifar10`` and ``cifar10-test`` in whatever layout lies in root; timm's ``hfds/…``, ``torch/…``, ``wds/…``.
    split: train, val or test; a folder may hold sub-folders of those names. root: where a named set or a
    relative folder is looked for; for the former else ``$GRADLENS_DATA``, else ``$IMAGENET_DIR``. limit: a
    stratified, nested sample of this many images. labels: a file with the class of each image of a flat
    folder. subset: a file of paths, names or indices of the images to use. class_map: ``imagenet``, or a
    file with the class of each folder. class_order: text or natural, for folders that sort differently.
    """
    if isinstance(spec, tuple):
        return Data(Arrays(*spec)).limit(limit)
    given = {"labels": labels, "subset": subset, "class_map": class_map, "class_order": class_order}
    options = {name: str(value) for name, value in given.items() if value is not None}
    name = str(spec)
    base = _root(name, root)
    source, split = _open(name, split, base, options)
    where = None if base is None else str(base)
    data = Data(source, split, options={"spec": name, "split": split or "val", "root": where, **options})
    if subset is not None:
        data = data.subset(read_subset(Path(subset), source.paths).tolist())
    return data.limit(limit)


def _root(name: str, root: str | Path | None) -> Path | None:
    """Where to look; for named sets also from the environment, but not for the hub, which has a cache of its own."""
    variables = [ROOT, "IMAGENET_DIR"] if name.startswith("imagenet-") else [ROOT]
    named = name in KNOWN or name in SPLIT or name.startswith(("torch/", "wds/"))
    found = root or (next(filter(None, map(os.environ.get, variables)), None) if named else None)
    if name in (*KNOWN, *SPLIT) and (found is None or not Path(found).expanduser().exists()):
        what = "no folder was given" if found is None else f"{found} does not exist"
        raise UserError(f"{name} is read from a folder, and {what}; give --data-dir FOLDER or set ${ROOT}")
    return None if found is None else Path(found).expanduser()


def _open(name: str, split: str, root: Path | None, options: Mapping[str, str]) -> tuple[Source, str]:
    """The source and the split that its name does not already tell."""
    if name in EMBEDDED:
        if split not in EMBEDDED_SPLITS:
            raise UserError(unknown(f"split of {name}", split, EMBEDDED_SPLITS))
        return _with(EMBEDDED[name], name, options, split), split
    if name in SPLIT:
        return _with(SPLIT[name], name, options, root, split), split
    if name in KNOWN:
        if split not in ("val", name.rpartition("-")[2]):
            raise UserError(f"{name} has no split '{split}'; leave --split out, or give --data a folder")
        return _with(KNOWN[name], name, options, root), ""
    prefix = name[: name.find("/") + 1].lower()
    place = Path(root or ".") / name
    if not place.exists() and prefix in PREFIXES:
        return _with(PREFIXES[prefix], name, options, name, split, root), split
    if not place.exists() and prefix in STREAMS:
        raise UserError(f"{name} is a stream, whose images have no number; give hfds/…, or a folder")
    if place.is_dir() or is_tar(place):
        return _with(folder, name, options, place, split), split
    if place.exists():
        raise UserError(f"{place} is a file; give a folder with one sub-folder a class, or a tar of it")
    raise UserError(unknown("data", name, [*EMBEDDED, *KNOWN, *SPLIT], "Or give the path of a folder of images"))


def _with(opener: Callable[..., Source], name: str, options: Mapping[str, str], *arguments: Any) -> Source:
    """The source, given those options that it takes; others would quietly do nothing."""
    taken = set(inspect.signature(opener).parameters)
    useless = sorted(set(options) - taken - {"subset"})
    if useless:
        flag = useless[0].replace("_", "-")
        raise UserError(f"--{flag} does nothing for {name}, whose classes are known; leave it out")
    chosen: dict[str, Any] = {k: Path(v) if k == "labels" else v for k, v in options.items() if k != "subset"}
    return opener(*arguments, **chosen, **({"partial": "subset" in options} if "partial" in taken else {}))
