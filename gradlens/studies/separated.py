"""How far images are from those of other classes, and the classifier that this distance makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gradlens.core.names import unknown
from gradlens.core.numbers import number
from gradlens.core.registry import study
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.data import Data
from gradlens.models import Classifier
from gradlens.stats.nearest import NORMS, nearest
from gradlens.studies import Study, other_split

READ = "smallest", "mean", "median"
CLOSEST = 6
TRAIN, TEST, RANDOM = "train–train", "test–train", ", random labels"


@study
@dataclass
class Separation(Study):
    """How far each image is from the nearest training image of another class, and what that allows.

    ``distance``: of a training image (train–train) and of an image of the data (test–train), in ``norm``: linf, l2
    or l1, in pixels of [0, 1]. A set is separated by 2r where no distance is below it; then a classifier that is
    right and robust to radius r exists, whatever r real ones reach. ``random labels`` is the control: the same
    with labels drawn by permutation, whose distances say how far any two images are.

    ``own_distance`` is to the nearest training image of the image's own class, 0 where it is one. Who takes the
    nearer class is right where ``radius`` = (distance − own_distance)/2 is above 0, and stays so within it.
    against: the training images, a split of the same data. Source: Yang et al. 2020, Sec. 3.
    """

    norm: str = "linf"
    against: str | Data = "train"
    control: bool = True
    seed: int = 0

    def __call__(self, models: Sequence[Classifier], data: Data | None) -> Table:
        if models:
            raise UserError("separation is of images, and no model is asked; leave the checkpoints out")
        if data is None:
            raise UserError("separation is of images, and there are none; give data")
        train = other_split(data, self.against).bind(data.preprocess)
        (images, labels), (test, test_labels) = _arrays(train), _arrays(data)
        found = separation(images, labels, self.norm, test, test_labels)
        if not self.control:
            return found
        rng = np.random.default_rng(self.seed)
        random = separation(images, rng.permutation(labels), self.norm, test, rng.permutation(test_labels))
        frame = pd.concat([found.frame, random.frame.assign(set=random.frame["set"] + RANDOM)], ignore_index=True)
        return replace(found, frame=frame, printed=pd.concat([_summed(frame), _listed(found.frame)]))


def separation(
    images: ArrayLike,
    labels: ArrayLike,
    norm: str = "linf",
    test_images: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
) -> Table:
    """The distance of every image ``(N, C, H, W)`` in [0, 1] to the nearest of another label, a row an image.

    labels ``(N,)`` of any kind. test_images: measured against the first ones as well. norm: linf, l2 or l1.
    Columns: set, index, label, ``distance``, nearest, nearest_label, own_distance, radius, as in the study
    ``separation``; small distances are near-duplicates or wrong labels, which the closest pairs show. Exact.
    Raises UserError for one class, for images of different sizes, and for values outside [0, 1].
    """
    if norm not in NORMS:
        raise UserError(unknown("norm", norm, NORMS))
    pixels, classes = _checked(images, labels)
    frames = [_rows(TRAIN, pixels, classes, pixels, classes, norm, itself=True)]
    if test_images is not None:
        others, theirs = _checked(test_images, test_labels, pixels.shape[1:])
        frames.append(_rows(TEST, others, theirs, pixels, classes, norm))
    frame = pd.concat(frames, ignore_index=True)
    pairs = _closest(frame)
    own = {TRAIN: pixels, TEST: pixels if test_images is None else others}
    shown = [np.stack([own[row.set][row.index_], pixels[row.nearest]]) for row in _pairs(pairs)]
    notes = (
        f"distances in {norm}, pixels of [0, 1]; robust to r is possible where every distance is at least 2r",
        "right (%) and radius: of the classifier that takes the class of the nearest training image",
    )
    return Table(
        frame,
        f"separation in {norm}",
        notes,
        printed=pd.concat([_summed(frame), _listed(frame)]),
        arrays={"closest": np.stack(shown), "closest_distance": pairs["distance"].to_numpy()},
    )


def _pairs(frame: pd.DataFrame) -> Any:
    return frame.rename(columns={"index": "index_"}).itertuples()


def _arrays(data: Data) -> tuple[NDArray, NDArray]:
    return data.batch(data.indices.tolist()).image.numpy(), data.labels


def _checked(images: Any, labels: Any, shape: tuple[int, ...] | None = None) -> tuple[NDArray[np.float32], NDArray]:
    shapes = {tuple(np.shape(image)) for image in images}
    if len(shapes) != 1 or (shape and shapes != {shape}):
        said = ", ".join(" × ".join(map(str, one)) for one in sorted(shapes | ({shape} if shape else set()))[:3])
        raise UserError(f"the images differ in size ({said or 'there is none'}); resize them to one first")
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    if pixels.ndim != 4 or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise UserError(
            f"images of shape {pixels.shape} and range [{pixels.min():.3g}, {pixels.max():.3g}]; wanted "
            "(N, C, H, W) in [0, 1]"
        )
    classes = np.asarray(labels)
    if classes.shape != (len(pixels),):
        raise UserError(f"{len(pixels)} images have labels of shape {classes.shape}; wanted one an image")
    if shape is None and len(np.unique(classes)) < 2:
        raise UserError(f"all images are of one class, {classes[0]}; separation is between classes, so give two")
    return pixels, classes


def _rows(
    name: str, images: NDArray, labels: NDArray, train: NDArray, known: NDArray, norm: str, itself: bool = False
) -> pd.DataFrame:
    """A row an image."""
    other = nearest(images, train, lambda rows: labels[rows, None] != known, norm)
    own = np.zeros(len(images)) if itself else nearest(images, train, lambda r: labels[r, None] == known, norm).distance
    columns = {"set": name, "index": np.arange(len(images)), "label": labels, "distance": other.distance}
    columns |= {"nearest": other.place, "nearest_label": known[other.place], "own_distance": own}
    return pd.DataFrame({**columns, "radius": (other.distance - own) / 2})


def _closest(frame: pd.DataFrame) -> pd.DataFrame:
    """The closest pairs, each once."""
    ordered = frame[~frame["set"].str.endswith(RANDOM)].sort_values("distance", kind="stable")
    twice = ordered["set"].eq(TRAIN) & ordered["nearest"].lt(ordered["index"])
    mutual = ordered["distance"].duplicated(keep="first") & twice
    return ordered[~mutual].head(CLOSEST)


def _summed(frame: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name, part in frame.groupby("set", sort=False):
        of = part["distance"]
        right = 100 * (part["radius"] > 0).mean()
        radius = part["radius"].clip(lower=0).mean()
        numbers = [f"{len(part):,}", *(number(x) for x in (of.min(), of.mean(), of.median(), right, radius))]
        rows.append([name, *numbers])
    return pd.DataFrame(rows, columns=["", "images", *READ, "right (%)", "mean radius"], index=[""] * len(rows))


def _listed(frame: pd.DataFrame) -> pd.DataFrame:
    rows = [
        [f"{p.set} {p.index_} ({p.label}) and {p.nearest} ({p.nearest_label})", "", number(p.distance), *[""] * 4]
        for p in _pairs(_closest(frame))
    ]
    return pd.DataFrame(
        rows, columns=["", "images", *READ, "right (%)", "mean radius"], index=["closest pairs"] * len(rows)
    )
