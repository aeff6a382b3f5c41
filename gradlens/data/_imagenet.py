"""ImageNet's validation set, however it was unpacked, and what its variants share with it.

Every layout comes to the same images in the same order with the same identities, so that a sample of
``--limit`` and a run's fingerprint do not depend on it.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gradlens.core.types import UserError
from gradlens.data import _classes
from gradlens.data._lists import Listing, ground_truth, labels_of, read_listing, some
from gradlens.data._store import Pictures, Store, open_store

IMAGES = 50_000
FOLDERS = ("imagenet-val", "imagenet", "ImageNet", "ILSVRC2012")
PLACES = (
    *("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val", "validation", "ILSVRC2012_img_val"),
    *("val.tar", "ILSVRC2012_img_val.tar", "."),
)
DEVKIT = "ILSVRC2012_devkit_t12"
# Of a file of the devkit, which may be compressed inside; the largest has 0.4 MB.
MOST = 2**21
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LABEL_FILES = ("val.txt", "LOC_val_solution.csv", TRUTH)


def imagenet_val(root: Path, *, labels: str | None = None, partial: bool = False) -> Pictures:
    """The validation set. partial: a subset is wanted, so that images and classes may be absent."""
    # A folder of data sets has it below one of these names.
    root = next((root / name for name in FOLDERS if (root / name).is_dir()), root)
    store = find_store(root, PLACES)
    if store.folders and any("/" in name for name in store.names):
        classes = by_synset(store, expected=_classes.wnids(), partial=partial)
    else:
        classes = _by_list(store, root, labels, partial)
    found = as_imagenet("imagenet-val", store, classes)
    if len(classes) != IMAGES and not partial:
        found.doubts = (f"imagenet-val: found {len(classes):,} images in {store.where}, wanted {IMAGES:,}",)
    return found


def find_store(root: Path, places: Sequence[str]) -> Store:
    """The first of these places that holds pictures."""
    if root.is_file():
        return open_store(root)
    for place in places:
        # A root that holds the training set too would be listed for minutes, and is not the place.
        if (root / place).exists() and not (place == "." and (root / "train").is_dir()):
            store = open_store(root / place)
            if store.names:
                return store
    raise UserError(f"found no picture in {root}; wanted {', '.join(places[:-1])}, or the pictures: give --data-dir")


def by_synset(store: Store, expected: Sequence[str], partial: bool) -> NDArray[np.int64]:
    """Classes from folders named after synsets: all of those expected, and no other."""
    tops = [name.split("/")[0] if "/" in name else "" for name in store.names]
    held = set(tops)
    strange = sorted((held | set(store.folders)) - set(expected))
    if strange:
        those = some([s or "pictures in no folder" for s in strange])
        named = f"{len(strange):,} folders that are no synset of this data ({those})"
        wanted = f"wanted {len(expected):,} named like {expected[0]}: give --data-dir, or --data the folder itself"
        raise UserError(f"{store.where} holds {named}; {wanted}")
    missing = sorted(set(expected) - held)
    if missing and not partial:
        lacks = f"{store.where} holds {len(held):,} synsets, wanted {len(expected):,} ({some(missing)} missing)"
        raise UserError(f"{lacks}; complete it, or give --data the folder itself with --class-map imagenet")
    index = _index()
    return np.array([index[top] for top in tops])


def _by_list(store: Store, root: Path, labels: str | None, partial: bool) -> NDArray[np.int64]:
    """Classes of a flat folder from the label file given, or the first that lies beside."""
    base = store.where if store.where.is_dir() else store.where.parent
    places = list(dict.fromkeys([base, base.parent, root if root.is_dir() else base]))
    listing = read_listing(Path(labels)) if labels is not None else _listing_beside(places)
    if listing is None:
        wanted = f"put {', '.join(LABEL_FILES)} or {DEVKIT}.tar.gz beside it, or give --labels FILE"
        raise UserError(f"{store.where} is a flat folder of {len(store.names):,} images; {wanted}")
    if listing.ilsvrc:
        order = _ilsvrc_order([listing.file.parent, *places], listing.file)
        rows = [[image, order.get(int(i), f"ILSVRC id {i}")] for image, i in listing.rows]
        listing = Listing(listing.file, rows)
    index = _index()
    return labels_of(store.names, listing, index, len(index), partial)[0]


def _index() -> dict[str, int]:
    return {wnid: i for i, wnid in enumerate(_classes.wnids())}


def _listing_beside(places: Sequence[Path]) -> Listing | None:
    for place in places:
        for name in LABEL_FILES:
            if (place / name).is_file():
                return read_listing(place / name)
    content = _devkit_file(places, TRUTH)
    return None if content is None else ground_truth(places[-1] / TRUTH, content.decode().split())


def as_imagenet(name: str, store: Store, classes: NDArray[np.int64]) -> Pictures:
    """In the order of synset and file name, which is also an image's identity, whatever the layout."""
    wnids = _classes.wnids()
    paths = [f"{wnids[c]}/{PurePosixPath(n).name}" for c, n in zip(classes, store.names, strict=True)]
    order = sorted(range(len(paths)), key=paths.__getitem__)
    if len(set(paths)) < len(paths):
        twice = next(paths[a] for a, b in pairwise(order) if paths[a] == paths[b])
        raise UserError(f"{store.where} holds {twice} twice; remove the copy")
    names = [store.names[i] for i in order]
    return Pictures(name, store, names, classes[order], _classes.class_names(), [paths[i] for i in order])


def _ilsvrc_order(places: Sequence[Path], wanted_by: object) -> dict[int, str]:
    """ILSVRC id → wnid: the devkit numbers the classes in an order of its own, which only its ``meta.mat`` tells."""
    from scipy.io import loadmat

    content = _devkit_file(places, "meta.mat")
    if content is None:
        wanted = f"put the devkit's meta.mat or {DEVKIT}.tar.gz beside it, or give --labels a file such as val.txt"
        raise UserError(f"{wanted_by} holds ILSVRC ids, which are not indices of the sorted synsets; {wanted}")
    try:
        synsets = loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
        ids = {str(s["WNID"]): int(s["ILSVRC2012_ID"]) for s in synsets}
        # A table of damaged bytes would lack some.
        return {ids[wnid]: wnid for wnid in _classes.wnids()}
    except Exception as error:
        # scipy's reader raises whatever the bytes lead it to.
        raise UserError(f"cannot read the devkit's meta.mat: {type(error).__name__}; copy it again") from None


def _devkit_file(places: Sequence[Path], name: str) -> bytes | None:
    """A file of the devkit: loose, in the unpacked devkit, or in its archive; None where there is none."""
    for place in places:
        for folder in (place, place / "data", place / DEVKIT / "data"):
            if (folder / name).is_file() and (folder / name).stat().st_size <= MOST:
                return (folder / name).read_bytes()
        archive = place / f"{DEVKIT}.tar.gz"
        if archive.is_file():
            return _archived(archive, f"{DEVKIT}/data/{name}")
    return None


def _archived(archive: Path, name: str) -> bytes:
    """One file of an archive, in memory."""
    try:
        with tarfile.open(archive) as tar:
            return cast(io.BufferedReader, tar.extractfile(name)).read(MOST)
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, AttributeError, zlib.error) as error:
        why = f"cannot read {name} of {archive}: {type(error).__name__}"
        raise UserError(f"{why}; copy it again, or unpack it beside") from None
