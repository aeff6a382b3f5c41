"""A data spec, the name or path that a user gives → the source that it means → Data."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradlens.core.names import parse_spec, unknown
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import UserError
from gradlens.data import _variants
from gradlens.data._data import Data, Source
from gradlens.data._embedded import Digits, Photos, Shapes
from gradlens.data._folder import folder
from gradlens.data._given import given
from gradlens.data._imagenet import imagenet_val
from gradlens.data._lists import read_subset
from gradlens.data._store import Pictures
from gradlens.data._timm import Cifar, Timm, cifar10_test

# A name, or with a slash the beginning of one, and what opens it. An opener takes by name what it needs
# of spec, split, root, partial and the options of load_data; one without split has it in its name. What else it
# takes are parameters of the spec, as in imagenet-c:corruption=fog,severity=3.
OPENERS: dict[str, Callable[..., Source]] = {
    "digits": Digits,
    "shapes": Shapes,
    "photos": Photos,
    "imagenet-val": imagenet_val,
    "imagenet-a": _variants.imagenet_a,
    "imagenet-r": _variants.imagenet_r,
    "imagenet-v2": _variants.imagenet_v2,
    "imagenet-sketch": _variants.imagenet_sketch,
    "imagenet-real": _variants.imagenet_real,
    "imagenet-c": _variants.imagenet_c,
    "objectnet": _variants.objectnet,
    "cifar10": Cifar,
    "cifar10-test": cifar10_test,
    "cifar10-c": _variants.CifarC,
    "tiny-imagenet": _variants.tiny_imagenet,
    **dict.fromkeys(("hfds/", "torch/", "wds/", "hfids/", "tfds/"), Timm),
}
ROOT = "GRADLENS_DATA"


@undisturbed()
def load_data(
    spec: Any,
    split: str = "val",
    root: str | Path | None = None,
    limit: int | None = None,
    *,
    labels: str | Path | None = None,
    subset: str | Path | None = None,
    class_map: str | Path | None = None,
    class_order: str | None = None,
) -> Data:
    """A data set by name, folder or tar; or ``(images, labels)``, a torch Dataset or a DataLoader in memory.

    Names: ``digits``, ``shapes``, ``photos``; in whatever layout lies in root ``imagenet-val``, ``-a``, ``-r``,
    ``-sketch``, ``-real``, ``imagenet-v2`` (``:variant=threshold0.7``), ``imagenet-c:corruption=fog,severity=3``,
    ``objectnet``, ``tiny-imagenet``, ``cifar10``, ``cifar10-test`` and ``cifar10-c:corruption=fog,severity=3``;
    timm's ``hfds/…`` and ``torch/…``.
    split: train, val or test; a folder may hold sub-folders of those names. root: where a named set or a
    relative folder is looked for; for the former else ``$GRADLENS_DATA``, else ``$IMAGENET_DIR``. limit: a
    stratified, nested sample of this many images. labels: a file with the class of each image of a flat
    folder. subset: a file of paths, names or indices of the images to use. class_map: ``imagenet``, or a
    file with the class of each folder. class_order: text or natural, for folders that sort differently.
    Labels in memory are numbers or names, −1 or NaN where unknown. A name that is a folder here as well means the
    data set, and is said; the folder is ``./NAME``.
    """
    if not isinstance(spec, (str, Path)):
        return Data(given(spec)).limit(limit)
    # A Path says that it is one, but Path("./photos") has lost its dot.
    name = str(spec) if isinstance(spec, str) or spec.is_absolute() else f"./{spec}"
    chosen = {"labels": labels, "subset": subset, "class_map": class_map, "class_order": class_order}
    options = {option: str(value) for option, value in chosen.items() if value is not None}
    base = _root(name, root)
    opener, place = _opener(name, base)
    source = _open(opener, name, options, {"spec": name, "split": split, "root": place})
    where = (str(place.absolute()), None) if opener is folder and place else (name, base and str(base))
    asked = {"spec": where[0], "split": split or "val", "root": where[1], **options}
    part = source.split if isinstance(source, Pictures) else split if _takes(opener, "split") else ""
    twin = (base or Path()) / name
    if opener is not folder and twin.is_dir():
        said = f"{name} is the data set of that name, and {twin} is a folder too; for the folder give ./{name}"
        logging.getLogger("gradlens").warning(said)
    data = Data(source, part, options=asked)
    if subset is not None:
        data = data.subset(read_subset(Path(subset), source.paths))
    return data.limit(limit)


def _root(name: str, root: str | Path | None) -> Path | None:
    """Where to look; for named sets also from the environment, but not for the hub, which has a cache of its own."""
    known = OPENERS.get(name.partition(":")[0])
    needed = known is not None and _takes(known, "root")
    found = root
    if not root and (needed or name.startswith("torch/")):
        variables = [ROOT, "IMAGENET_DIR"] if name.startswith(("imagenet-", "objectnet")) else [ROOT]
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
    place = (root or Path()) / Path(name).expanduser()
    if (called := name.partition(":")[0]) in OPENERS:
        return OPENERS[called], root
    if place.exists():
        return folder, place
    if prefix in OPENERS:
        return OPENERS[prefix], root
    known = [known for known in OPENERS if not known.endswith("/")]
    if root is not None or "/" in name:
        raise UserError(
            f"there is no {place}; give --data the path of a folder of images, or one of: {', '.join(known)}"
        )
    raise UserError(unknown("data", name, known, "or give the path of a folder of images"))


def _open(opener: Callable[..., Source], name: str, options: Mapping[str, str], arguments: Mapping[str, Any]) -> Source:
    """The source, given what its opener takes; another option would quietly do nothing, and is refused."""
    split = arguments["split"]
    if not _takes(opener, "split") and split not in ("val", name.rpartition("-")[2]):
        raise UserError(f"{name} has no split '{split}'; leave --split out, or give --data a folder")
    for option in sorted(set(options) - {"subset"}):
        if not _takes(opener, option):
            flag = f"--{option.replace('_', '-')}"
            raise UserError(f"{flag} does nothing for {name}, whose classes are known; leave it out")
    _, parameters = (name, {}) if opener in (folder, Timm) else parse_spec(name)
    for parameter in parameters:
        if not _takes(opener, parameter):
            raise UserError(f"{name.partition(':')[0]} takes no {parameter}; leave it out of --data {name}")
    everything = {**arguments, **options, **parameters, "partial": "subset" in options}
    return opener(**{key: value for key, value in everything.items() if _takes(opener, key)})


def _takes(opener: Callable[..., Source], argument: str) -> bool:
    return argument in inspect.signature(opener).parameters
