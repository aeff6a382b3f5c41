"""A folder or tar of pictures: one sub-folder a class in sorted order, or flat, with or without a label file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from timm.utils.misc import natural_key

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data import _classes
from gradlens.data._classes import ClassMap, named, read_class_map
from gradlens.data._lists import labels_of, read_lines, read_listing, some
from gradlens.data._store import SUFFIXES, Pictures, Store, open_store, split_of

ORDERS = ("text", "natural")
# Beside the pictures of Tiny-ImageNet's val, which lie in one folder.
ANNOTATIONS = "val_annotations.txt"


def folder(
    root: Path,
    split: str,
    *,
    labels: str | None = None,
    class_map: str | None = None,
    class_order: str | None = None,
    partial: bool = False,
) -> Pictures:
    """What ``load_data`` makes of a path. partial: a subset is wanted, so that listed images may be absent."""
    if class_order not in (None, *ORDERS):
        raise UserError(unknown("class order", str(class_order), ORDERS))
    if class_order and (labels or class_map):
        raise UserError("--class-order does nothing where --labels or --class-map tells the classes; leave it out")
    place, held = _choose_split(root, split, class_map is not None)
    store = open_store(place)
    if not store.names:
        endings, arrays = " ".join(sorted(SUFFIXES)), (store.where / "labels.npy").is_file()
        hint = (
            "of arrays as CIFAR-10-C's, give cifar10-c:corruption=fog,severity=3"
            if arrays
            else "unpack tars that it holds"
        )
        raise UserError(f"found no image in {store.where}; wanted files in {endings}: {hint}")
    classes = None if class_map is None else read_class_map(class_map, store.folders)
    beside = store.where / ANNOTATIONS
    if labels is not None:
        found = _listed(store, Path(labels), classes, partial)
    elif beside.is_file():
        found = _annotated(store, beside, classes, partial)
    elif any("/" in name for name in store.names):
        found = _classed(store, classes, class_order)
    else:
        note = f"{store.where} holds {len(store.names):,} images and no class folder, so labels are unknown"
        unknown_all = np.full(len(store.names), -1)
        found = Pictures("", store, store.names, unknown_all, (), store.names, (f"{note}; give --labels FILE",))
    found.name, found.split, found.anywhere = *_called(place, held), True
    if split not in ("", "val") and not found.split:
        found.doubts += (f"{root} has no folder of a split '{split}', so all of it is taken",)
    return found


def _choose_split(root: Path, split: str, mapped: bool) -> tuple[Path, str]:
    """The sub-folder of the split where there is one, in any case and by any of its names, else the folder itself.

    mapped: classes are told by a map, so that a folder called train may be a class.
    """
    if not root.is_dir():
        return root, ""
    held = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    wanted = split_of(split) or split
    fits = [name for name in held if split and wanted in (name, split_of(name))]
    if fits:
        # The name asked for goes before its synonyms.
        return root / min(fits, key=lambda name: (name != split, name)), wanted
    splits = [name for name in held if split_of(name)]
    if splits and not mapped and (splits == held or len({*map(split_of, splits)}) > 1):
        raise UserError(f"{root} holds the splits {' and '.join(splits)}, not '{split}'; ask for one that is there")
    return root, ""


def _called(place: Path, held: str) -> tuple[str, str]:
    """What a data set is called, and its split: after its folder, which is above that of a split."""
    here = place.resolve()
    name = here.name.removesuffix(".tar") if place.is_file() else here.name
    split = held or split_of(name)
    return (here.parent.name or name, split) if split else (name, "")


def _listed(store: Store, file: Path, classes: ClassMap | None, partial: bool) -> Pictures:
    """One class a line of a label file."""
    listing = read_listing(file)
    if listing.ilsvrc:
        raise UserError(f"{file} holds numbers without images, as ImageNet's devkit does; give --data imagenet-val")
    known, count = (classes.index, len(classes.class_names)) if classes else (None, 1_000_000)
    labels, words, note = labels_of(store.names, listing, known, count, partial)
    names = classes.class_names if classes else words or named({}, int(labels.max()) + 1)
    return Pictures("", store, store.names, labels, names, store.names, (note,) if note else ())


def _annotated(store: Store, file: Path, classes: ClassMap | None, partial: bool) -> Pictures:
    """Tiny-ImageNet's flat val, whose classes are the sorted synsets, as its train folder has them."""
    synsets = next(
        (f for f in (place / "wnids.txt" for place in (store.where, store.where.parent)) if f.is_file()), None
    )
    if classes is None and synsets is not None:
        wnids = sorted(read_lines(synsets, "class-map"))
        classes = ClassMap({wnid: i for i, wnid in enumerate(wnids)}, tuple(wnids))
    found = _listed(store, file, classes, partial)
    found.doubts = (f"labels of {store.where} are those of its {file.name}, the synsets in sorted order",)
    return found


def _classed(store: Store, classes: ClassMap | None, order: str | None) -> Pictures:
    """One class a folder; pictures beside the folders are left out."""
    names = [name for name in store.names if "/" in name]
    tops = [name.partition("/")[0] for name in names]
    notes = _doubts(store, tops)
    if classes is None:
        _check_level(store, names)
        ordered = _ordered(store, order)
        empty = sorted(set(ordered) - set(tops))
        if empty:
            where = f"'{empty[0]}' in {store.where}"
            raise UserError(f"class folder {where} is empty, which would shift the classes after it; fill or remove it")
        notes += _doubts_of_order(ordered, order)
        readable = _classes.class_names() if tuple(ordered) == _classes.wnids() else tuple(ordered)
        classes = ClassMap({name: i for i, name in enumerate(ordered)}, readable)
    strange = sorted(set(tops) - set(classes.index))
    if strange:
        found = f"{len(strange):,} class folders of {store.where} are not in the class map ({some(strange)})"
        raise UserError(f"{found}; add them to the file of --class-map, or remove them")
    labels = np.array([classes.index[top] for top in tops])
    by_class = np.argsort(labels, kind="stable")
    kept = [names[i] for i in by_class]
    return Pictures("", store, kept, labels[by_class], classes.class_names, kept, notes)


def _check_level(store: Store, names: Sequence[str]) -> None:
    """Refuse folders that seem to lie above the classes: each holds the same several folders, and no picture."""
    below: dict[str, set[str]] = defaultdict(set)
    for top, *inner in (name.split("/") for name in names):
        below[top].add(inner[0] if len(inner) > 1 else "")
    first = min(below)
    if len(below[first]) > 1 and "" not in below[first] and all(inner == below[first] for inner in below.values()):
        deep = sorted(f"{first}/{inner}" for inner in below[first])
        every = f", as in each of its {len(below):,} folders" if len(below) > 1 else ""
        raise UserError(
            f"{store.where} lies above the class folders: {first} holds the folders {some(sorted(below[first]))}{every}"
            f"; give {store.where / first}, or what is the class of {deep[0]} by --class-map"
        )


def _ordered(store: Store, order: str | None) -> list[str]:
    """torchvision sorts the folders as text, timm by the numbers in them and without case."""
    text, natural = sorted(store.folders), sorted(store.folders, key=natural_key)
    if order is None and text != natural:
        first = next(i for i, (a, b) in enumerate(zip(text, natural, strict=True)) if a != b)
        shown = slice(max(0, first - 1), first + 2)
        ways = f"{', '.join(text[shown])} as text (torchvision), {', '.join(natural[shown])} by number (timm)"
        raise UserError(f"class folders of {store.where} sort in two ways: {ways}; give --class-order text or natural")
    return natural if order == "natural" else text


def _doubts(store: Store, tops: Sequence[str]) -> tuple[str, ...]:
    """What is allowed but often a mistake."""
    found = []
    if len(set(tops)) == 1 and len(tops) > 1:
        alone = f"all {len(tops):,} images of {store.where} are in one class folder, '{tops[0]}'"
        found.append(
            f"{alone}; if these are several classes, give the folder above the class folders, or --labels FILE"
        )
    loose = len(store.names) - len(tops)
    if loose:
        found.append(f"{loose:,} images of {store.where} lie beside the class folders and are left out")
    return tuple(found)


def _doubts_of_order(ordered: Sequence[str], order: str | None) -> tuple[str, ...]:
    found = []
    known = _classes.wnids()
    if set(ordered) < set(known):
        # They are classes 0, 1, 2, … here, which a model of all 1,000 has elsewhere.
        some_of = f"the {len(ordered):,} class folders are some of ImageNet's {len(known):,} synsets, numbered from 0"
        found.append(f"{some_of}; for a model of all give --class-map imagenet")
    if sorted(ordered) != sorted(ordered, key=natural_key):
        found.append(f"class folders are in {order} order: {some(ordered, 4)}")
    return tuple(found)
