"""ImageNet's validation set and its variants, however they were unpacked.

Every layout comes to the same images in the same order with the same identities, so that a sample of
``--limit`` and a run's fingerprint do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial as bound
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gradlens.core.types import UserError
from gradlens.data import _synsets
from gradlens.data._devkit import DEVKIT, TRUTH, devkit_file, ilsvrc_order
from gradlens.data._labels import Listing, by_index, ground_truth, labels_of, read_listing
from gradlens.data._open import open_store
from gradlens.data._pictures import Pictures
from gradlens.data._store import Store
from gradlens.data._text import some

IMAGES = 50_000
FOLDERS = ("imagenet-val", "imagenet", "ImageNet", "ILSVRC2012")
PLACES = (
    *("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "validation", "ILSVRC2012_img_val"),
    *("val.tar", "ILSVRC2012_img_val.tar", "."),
)
LABEL_FILES = ("val.txt", "LOC_val_solution.csv", TRUTH)


def imagenet_val(root: Path, *, labels: Path | None = None, partial: bool = False) -> Pictures:
    """The validation set. partial: a subset is wanted, so that images and classes may be absent."""
    # A folder of data sets has it below one of these names.
    root = next((root / name for name in FOLDERS if (root / name).is_dir()), root)
    store = _find(root, PLACES)
    if store.folders and any(name.count("/") for name in store.names):
        classes = _by_synset(store, expected=_synsets.wnids(), partial=partial)
    else:
        classes = _by_list(store, root, labels, partial)
    count = len(classes)
    few = count != IMAGES and not partial
    notes = (f"imagenet-val: found {count:,} images in {store.where}, wanted {IMAGES:,}",) if few else ()
    return _pictures("imagenet-val", store, classes, notes)


def variant(letter: str, root: Path, *, partial: bool = False) -> Pictures:
    """ImageNet-A or -R: 200 synset folders, labelled as classes of the 1,000."""
    name = f"imagenet-{letter}"
    store = _find(root, (name, f"{name}.tar", "."))
    valid = _synsets.variant(letter)
    classes = _by_synset(store, [_synsets.wnids()[i] for i in valid], partial)
    return _pictures(name, store, classes, (), valid)


imagenet_a, imagenet_r = bound(variant, "a"), bound(variant, "r")


def _find(root: Path, places: Sequence[str]) -> Store:
    if root.is_file():
        return open_store(root)
    for place in places:
        # A root that holds the training set too would be listed for minutes, and is not the place.
        if (root / place).exists() and not (place == "." and (root / "train").is_dir()):
            store = open_store(root / place)
            if store.names:
                return store
    raise UserError(f"found no picture in {root}; wanted {', '.join(places[:-1])}, or the pictures: give --data-dir")


def _by_synset(store: Store, expected: Sequence[str], partial: bool) -> NDArray[np.int64]:
    """Classes from folders named after synsets: all of those expected, and no other."""
    index = {wnid: i for i, wnid in enumerate(_synsets.wnids())}
    tops = [name.split("/")[0] if "/" in name else "" for name in store.names]
    held = set(tops)
    strange = sorted((held | set(store.folders)) - set(expected))
    if strange:
        named = some([s or "pictures in no folder" for s in strange])
        raise UserError(
            f"{store.where} holds {len(strange):,} folders that are no synset of this data ({named}); wanted "
            f"{len(expected):,} named like {expected[0]}: give --data-dir the right folder, or --data the folder itself"
        )
    missing = sorted(set(expected) - held)
    if missing and not partial:
        raise UserError(
            f"{store.where} holds pictures of {len(held):,} synsets, wanted {len(expected):,}; {some(missing)} "
            "missing or empty: complete it, or give --data the folder itself with --class-map imagenet"
        )
    return np.array([index[top] for top in tops])


def _by_list(store: Store, root: Path, labels: Path | None, partial: bool) -> NDArray[np.int64]:
    """Classes of a flat folder from the label file given, or the first that lies beside."""
    base = store.where if store.where.is_dir() else store.where.parent
    roots = [root] if root.is_dir() else []
    places = list(dict.fromkeys([base, base.parent, *roots]))
    listing = _listing(places, labels)
    if listing is None:
        raise UserError(
            f"found {len(store.names):,} images in {store.where} and no class folder: a flat folder; put "
            f"{', '.join(LABEL_FILES)} or {DEVKIT}.tar.gz beside it, or give --labels FILE"
        )
    wnids = _synsets.wnids()
    known = {wnid: i for i, wnid in enumerate(wnids)}
    if listing.ilsvrc:
        order = ilsvrc_order([listing.file.parent, *places], listing.file)
        rows = [(image, order.get(int(i), f"ILSVRC id {i}")) for image, i in listing.rows]
        listing = Listing(listing.file, rows)
    return labels_of(store.names, listing, by_index(listing.file, len(wnids), known), partial)


def _listing(places: Sequence[Path], labels: Path | None) -> Listing | None:
    if labels is not None:
        return read_listing(labels)
    for place in places:
        for name in LABEL_FILES:
            if (place / name).is_file():
                return read_listing(place / name)
    content = devkit_file(places, TRUTH)
    return None if content is None else Listing(places[-1] / TRUTH, ground_truth(content.decode().split()), True)


def _pictures(
    name: str,
    store: Store,
    classes: NDArray[np.int64],
    notes: tuple[str, ...],
    valid: tuple[int, ...] | None = None,
) -> Pictures:
    """In the order of synset and file name, which is also an image's identity, whatever the layout."""
    wnids = _synsets.wnids()
    paths = [f"{wnids[c]}/{PurePosixPath(n).name}" for c, n in zip(classes, store.names, strict=True)]
    order = sorted(range(len(paths)), key=paths.__getitem__)
    if len(set(paths)) < len(paths):
        twice = next(paths[a] for a, b in pairwise(order) if paths[a] == paths[b])
        raise UserError(f"{store.where} holds {twice} twice; remove the copy")
    names = [store.names[i] for i in order]
    return Pictures(name, store, names, classes[order], _synsets.class_names(), [paths[i] for i in order], notes, valid)
