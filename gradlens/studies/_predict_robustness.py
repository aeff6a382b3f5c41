from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradlens.core.names import as_number, as_radius, with_limits
from gradlens.core.numbers import number
from gradlens.core.registry import study
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.data import Data
from gradlens.models import Classifier
from gradlens.probes.attacks.worst_of import Member, worst_of
from gradlens.stats.sampling import predicted, strata_of, stratified, worth
from gradlens.studies import Study, looks, seen

MEAN = "mean minimal ε"
# Attacked in each stratum: more strata follow the gradients closer, and two images would tell a spread badly.
EACH = 4
FEW = 20


@study
@dataclass
class PredictRobustness(Study):
    """Accuracy under the reference suite of attacks over a whole set, known from a small attacked sample.

    Every image has its margin/‖∇margin‖₁, the minimal ε (L∞) to first order, from one backward pass. Images are
    sorted on it, cut into equal strata, and a few of each are drawn at random and attacked; the strata's means
    make the ``estimate``, which no model of the data enters. Images wrong unattacked are known to be so.
    ``isotonic`` beside it is a cross-fitted isotonic fit, corrected by the attacked images' residuals
    (prediction-powered inference, Angelopoulos et al. 2023).

    target: ``these`` images, or ``new`` ones of their kind, which are further off. attacked: how many images;
    eps: radii, ``1/255..8/255`` in steps of the first, or several with + between; steps, restarts, queries: of
    PGD on the margin, PGD on cross-entropy and Square, of which an image must withstand all.

    Rows: accuracy (%) under this suite at each ε, the mean minimal ε (the area under accuracy over ε, up to the
    last), and both per class where at least twenty images were attacked, by ``isotonic``. ``worth``: attacked
    labels of a plain random sample that one label here is worth; it depends on attack, images and attacked.
    ``explained``: the share of the minimal ε's variation over images right unattacked that gradients tell; near 0
    gradients say nothing of robustness, as where they are masked. Intervals of 95 %; source: statistics of
    stratified sampling (Cochran 1977), with a success and a failure added.
    """

    attacked: int = 1000
    eps: str | Sequence[float] = "1/255..8/255"
    strata: int | None = None
    target: str = "these"
    steps: int = 50
    restarts: int = 5
    queries: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.radii = radii(self.eps)
        if self.target not in ("these", "new"):
            raise UserError(
                f"target '{self.target}' is none; wanted these (the images given) or new (more of their kind)"
            )
        if self.strata is not None and not 1 <= self.strata <= self.attacked // 2:
            raise UserError(
                f"{self.attacked} attacked images in {self.strata} strata are fewer than two in each, which tell no "
                f"spread; wanted at most {self.attacked // 2} strata"
            )
        if self.attacked < 2 * EACH:
            raise UserError(f"{self.attacked} attacked images are too few to say how far off they are; give at least 8")

    def __call__(self, models: Sequence[Classifier], data: Data | None) -> Table:
        if not models:
            raise UserError("predict_robustness asks models, and there is none; give checkpoints")
        frame = pd.concat([self._of(model, seen(model, data)) for model in models], ignore_index=True)
        suite = (
            f"PGD-{self.steps} on the margin, PGD-{self.steps} × {self.restarts} on the loss, Square × {self.queries}"
        )
        whose = "these very images" if self.target == "these" else "new images of their kind"
        notes = (
            f"accuracy under this suite, which is robust accuracy's upper bound: {suite}; L∞",
            f"95 % intervals for {whose}; estimate: by strata of margin/‖∇margin‖₁; isotonic: by a cross-fitted fit",
            "worth: how many labels of a plain sample one attacked label is worth, with this suite and these numbers",
            "explained: share of the minimal ε's variation that gradients tell, over images right unattacked",
        )
        return Table(frame, "robustness known from a sample", notes, printed=_printed(frame))

    def _of(self, model: Classifier, data: Data) -> pd.DataFrame:
        if self.attacked > len(data):
            raise UserError(f"{self.attacked} images cannot be attacked of {len(data)}; give fewer, or more data")
        score = _scores(model, data)
        right = np.flatnonzero(np.isfinite(score))
        if not len(right):
            raise UserError(
                f"{model.card.name} gets none of {len(data)} images of {data.name} right, so none under attack either; "
                "check labels, class order and normalisation"
            )
        count = min(self.attacked, len(right))
        stratum = strata_of(score[right], self.strata or max(1, count // EACH))
        rows = drawn(stratum, count, self.seed)
        level = self._attacked(model, data.subset(data.indices[right[rows]].tolist()))
        return self._table(model.card.name, data.labels, right, score[right], stratum, rows, level)

    def _attacked(self, model: Classifier, sample: Data) -> NDArray[np.int64]:
        """The number, from 1, of the first radius that breaks each image; one more than there are where none does."""
        suite = [
            Member("pgd", "-margin", {"steps": self.steps}),
            Member("pgd", "loss", {"steps": self.steps, "restarts": self.restarts}),
            Member("square", "-margin", {"queries": self.queries}),
        ]
        probes = looks(model, sample, "attacked", seed=self.seed)
        return torch.cat([worst_of(probe, self.radii, suite).level.cpu() for probe in probes]).numpy()

    def _table(
        self,
        name: str,
        labels: NDArray,
        right: NDArray,
        score: NDArray,
        stratum: NDArray,
        rows: NDArray,
        level: NDArray,
    ) -> pd.DataFrame:
        """A row a measure and ε, first of all images, then of classes."""
        columns: dict[Any, tuple[float, NDArray]] = {
            (f"accuracy, {as_radius(eps)}", eps): (100, (level > k + 1).astype(float))
            for k, eps in enumerate(self.radii)
        }
        columns[(MEAN, np.nan)] = (1, middles(self.radii, level))
        found = []
        new = self.target == "new"
        for (measure, eps), (unit, y) in columns.items():
            binary = unit == 100
            whole = stratified(y, rows, stratum, len(labels), binary, new)
            fit = predicted(y, rows, score, len(labels), binary, new, self.seed)
            head = {"model": name, "measure": measure, "eps": eps, "class": ""}
            counts = {"attacked": len(rows), "images": len(labels)}
            found.append(
                head
                | with_limits("estimate", [unit * x for x in whole.interval])
                | with_limits("isotonic", [unit * x for x in fit.interval])
                | {"worth": worth(whole, y, rows, stratum, len(labels)), "explained": fit.explained}
                | counts
            )
            for label in np.unique(labels):
                of = np.flatnonzero(labels[right[rows]] == label)
                if len(of) >= FEW:
                    part = predicted(
                        y, rows, score, int((labels == label).sum()), binary, new, self.seed, labels[right] == label
                    )
                    found.append(
                        {**head, "class": int(label), **with_limits("isotonic", [unit * x for x in part.interval])}
                        | {"attacked": len(of), "images": int((labels == label).sum())}
                    )
        return pd.DataFrame(found)


def radii(eps: str | Sequence[float]) -> list[float]:
    """``1/255..8/255``, which goes up in steps of the first, ``1/255+4/255``, or numbers."""
    try:
        if not isinstance(eps, str):
            found = [float(one) for one in np.atleast_1d(eps)]
        elif ".." in eps:
            low, high = (as_number(part) for part in eps.split(".."))
            found = [low * (k + 1) for k in range(round(high / low))] if low > 0 else []
        else:
            found = [as_number(part) for part in eps.replace(",", "+").split("+")]
    except (ValueError, ZeroDivisionError):
        found = []
    if not found or not all(a < b for a, b in zip([0.0, *found], found, strict=False)) or found[-1] > 1:
        raise UserError(f"eps '{eps}' are no radii; write 1/255..8/255, or 1/255+4/255, rising and in pixels of [0, 1]")
    return found


def middles(grid: Sequence[float], level: NDArray) -> NDArray[np.float64]:
    """Minimal ε between the radius that an image withstands and the one that breaks it; the last where none does."""
    ends = np.array([0.0, *grid, grid[-1]])
    return (ends[level] + ends[np.maximum(level, 1) - 1]) / 2


def drawn(stratum: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Who is attacked: of each stratum its share, at random."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(stratum))
    order = order[np.argsort(stratum[order], kind="stable")]
    sizes = np.bincount(stratum)
    # The share of each, whole numbers that add up.
    ends = np.rint(np.cumsum(sizes) * count / len(stratum)).astype(int)
    starts = np.cumsum(sizes) - sizes
    each = np.diff([0, *ends])
    return np.sort(np.concatenate([order[a : a + n] for a, n in zip(starts, each, strict=True)]))


def _scores(model: Classifier, data: Data) -> NDArray[np.float64]:
    """margin/‖∇margin‖₁ of every image, ∞ where it is wrong unattacked."""
    found = []
    for probe in looks(model, data, "gradients", ["gradient:margin"]):
        direction, scale = probe.scaled_gradient("margin")
        size = direction.double().abs().flatten(1).sum(1) * scale
        # An image without gradient is as far as can be told.
        found.append(torch.where(probe.correct, probe.margin.double() / size.clamp(min=1e-300), torch.inf).cpu())
    return torch.cat(found).numpy()


def _printed(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame
    text = {
        "": rows["measure"] + rows["class"].map(lambda label: f", class {label}" if label != "" else ""),
        **{
            name: [
                f"{number(v, d)} [{number(a, d)}, {number(b, d)}]" if np.isfinite(v) else "–"
                for v, a, b, d in zip(
                    rows[name],
                    rows[f"{name}_low"],
                    rows[f"{name}_high"],
                    np.where(rows["measure"] == MEAN, 5, 1),
                    strict=True,
                )
            ]
            for name in ("estimate", "isotonic")
        },
        "worth": [number(v, 1) if np.isfinite(v) else "–" for v in rows["worth"]],
        "explained": [number(v, 2) if np.isfinite(v) else "–" for v in rows["explained"]],
        "attacked": [f"{n:,} of {total:,}" for n, total in zip(rows["attacked"], rows["images"], strict=True)],
    }
    return pd.DataFrame(text).set_axis(pd.Index(rows["model"]))
