"""A data spec, the name or path that a user gives → the source that it means → Data."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradlens.core.names import unknown
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import UserError
from gradlens.data._data import Data, Source
from gradlens.data._embedded import Digits, Photos, Shapes
from gradlens.data._folder import folder
from gradlens.data._imagenet import imagenet_a, imagenet_r, imagenet_val
from gradlens.data._lists import read_subset
from gradlens.data._pixels import Arrays
from gradlens.data._timm import Cifar, Timm, cifar10_test

# A name, or with a slash the beginning of one, and what opens it. An opener takes by name what it needs
# of spec, split, root, partial and the options of load_data; one without split has it in its name.
OPENERS: dict[str, Callable[..., Source]] = {
    "digits": Digits,
    "shapes": Shapes,
    "photos": Photos,
    "imagenet-val": imagenet_val,
    "imagenet-a": imagenet_a,
    "imagenet-r": imagenet_r,
    "cifar10": Cifar,
    "cifar10-test": cifar10_test,
    **dict.fromkeys(("hfds/", "torch/", "wds/", "hfids/", "tfds/"), Timm),
}
ROOT = "GRADLENS_DATA"


@undisturbed()
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
    ``cifar10`` and ``cifar10-test`` in whatever layout lies in root; timm's ``hfds/…`` and ``torch/…``.
    split: train, val or test; a folder may hold sub-folders of those names. root: where a named set or a
    relative folder is looked for; for the former else ``$GRADLENS_DATA``, else ``$IMAGENET_DIR``. limit: a
    stratified, nested sample of this many images. labels: a file with the class of each image of a flat
    folder. subset: a file of paths, names or indices of the images to use. class_map: ``imagenet``, or a
    file with the class of each folder. class_order: text or natural, for folders that sort differently.
    """
    if isinstance(spec, tuple):
        return Data(Arrays(*spec)).limit(limit)
    name = str(spec)
    given = {"labels": labels, "subset": subset, "class_map": class_map, "class_order": class_order}
    options = {option: str(value) for option, value in given.items() if value is not None}
    base = _root(name, root)
    opener, place = _opener(name, base)
    source = _open(opener, name, options, {"spec": name, "split": split, "root": place})
    asked = {"spec": name, "split": split or "val", "root": base and str(base), **options}
    data = Data(source, split if _takes(opener, "split") else "", options=asked)
    if subset is not None:
        data = data.subset(read_subset(Path(subset), source.paths))
    return data.limit(limit)


def _root(name: str, root: str | Path | None) -> Path | None:
    """Where to look; for named sets also from the environment, but not for the hub, which has a cache of its own."""
    needed = name in OPENERS and _takes(OPENERS[name], "root")
    found = root
    if not root and (needed or name.startswith("torch/")):
        variables = [ROOT, "IMAGENET_DIR"] if name.startswith("imagenet-") else [ROOT]
        found = next(filter(None, map(os.environ.get, variables)), None)
    place = None if found is None else Path(found).expanduser()
    if place is not None and not place.exists() and "download=true" not in name:
        origin = "--data-dir" if root else f"${ROOT}"
        raise UserError(f"{origin} {place} does not exist; give --data-dir the folder in which {name} lies")
    if needed and place is None:
        raise UserError(f"{name} is read from a folder, and no folder was given; give --data-dir FOLDER or set ${ROOT}")
    return place


def _opener(name: str, root: Path | None) -> tuple[Callable[..., Source], Path | None]:
    """What opens the spec, and where."""
    prefix = name[: name.find("/") + 1].lower()
    place = (root or Path()) / name
    if name in OPENERS:
        return OPENERS[name], root
    if place.exists():
        return folder, place
    if prefix in OPENERS:
        return OPENERS[prefix], root
    known = [known for known in OPENERS if not known.endswith("/")]
    if root is not None or "/" in name:
        raise UserError(
            f"there is no {place}; give --data the path of a folder of images, or one of: {', '.join(known)}"
        )
    raise UserError(unknown("data", name, known, "Or give the path of a folder of images"))


def _open(opener: Callable[..., Source], name: str, options: Mapping[str, str], arguments: Mapping[str, Any]) -> Source:
    """The source, given what its opener takes; another option would quietly do nothing, and is refused."""
    split = arguments["split"]
    if not _takes(opener, "split") and split not in ("val", name.rpartition("-")[2]):
        raise UserError(f"{name} has no split '{split}'; leave --split out, or give --data a folder")
    for option in sorted(set(options) - {"subset"}):
        if not _takes(opener, option):
            flag = f"--{option.replace('_', '-')}"
            raise UserError(f"{flag} does nothing for {name}, whose classes are known; leave it out")
    everything = {**arguments, **options, "partial": "subset" in options}
    return opener(**{key: value for key, value in everything.items() if _takes(opener, key)})


def _takes(opener: Callable[..., Source], argument: str) -> bool:
    return argument in inspect.signature(opener).parameters
