"""A folder or tar of pictures: one sub-folder a class in sorted order, or flat, with or without a label file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from timm.utils.misc import natural_key

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data import _classes
from gradlens.data._classes import ClassMap, named, read_class_map
from gradlens.data._lists import labels_of, read_listing, some
from gradlens.data._store import SPLIT_FOLDERS, SPLIT_NAMES, SUFFIXES, Pictures, Store, open_store

ORDERS = ("text", "natural")


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
    store = open_store(_choose_split(root, split))
    if not store.names:
        endings = " ".join(sorted(SUFFIXES))
        raise UserError(f"found no image in {store.where}; wanted files in {endings}: unpack tars that it holds")
    classes = None if class_map is None else read_class_map(class_map)
    if labels is not None:
        return _listed(store, Path(labels), classes, partial)
    if any("/" in name for name in store.names):
        return _classed(store, classes, class_order)
    count = len(store.names)
    note = f"{store.where} holds {count:,} images and no class folder, so labels are unknown; give --labels FILE"
    return Pictures(_name(store), store, store.names, np.full(count, -1), (), store.names, (note,))


def _choose_split(root: Path, split: str) -> Path:
    """The sub-folder of the split where there is one, else the folder itself."""
    if not root.is_dir():
        return root
    for name in SPLIT_NAMES.get(split, (split,)):
        if split and (root / name).is_dir():
            return root / name
    held = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if held and set(held) <= SPLIT_FOLDERS:
        raise UserError(f"{root} holds the splits {' and '.join(held)}, not '{split}'; ask for one that is there")
    return root


def _listed(store: Store, file: Path, classes: ClassMap | None, partial: bool) -> Pictures:
    """One class a line of a label file."""
    listing = read_listing(file)
    if listing.ilsvrc:
        raise UserError(f"{file} holds numbers without images, as ImageNet's devkit does; give --data imagenet-val")
    known, count = (classes.index, len(classes.class_names)) if classes else ({}, 1_000_000)
    labels = labels_of(store.names, listing, known, count, partial)
    names = classes.class_names if classes else named({}, int(labels.max()) + 1)
    return Pictures(_name(store), store, store.names, labels, names, store.names)


def _classed(store: Store, classes: ClassMap | None, order: str | None) -> Pictures:
    """One class a folder; pictures beside the folders are left out."""
    names = [name for name in store.names if "/" in name]
    tops = [name.partition("/")[0] for name in names]
    notes = _doubts(store, tops)
    if classes is None:
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
    return Pictures(_name(store), store, kept, labels[by_class], classes.class_names, kept, notes)


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


def _name(store: Store) -> str:
    return store.where.name.removesuffix(".tar")
