"""Two runs image by image: what must be the same before they are compared, and how far their numbers are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.names import Name, unknown
from gradlens.core.types import UserError
from gradlens.runs.record import Run
from gradlens.stats import inference
from gradlens.stats.clusters import CLUSTER
from gradlens.stats.intervals import finite, too_skew
from gradlens.stats.separation import auc

Values = NDArray[np.float64]
ONE_CLUSTER = "all images are of one cluster"
# What a row compares.
MEAN, MEDIAN = "mean", "median"
MEDIANS = "median_reference", "median_other"
# Terms of the contract that models may not differ in, and what to do about each.
TERMS = {
    "data": "analyze them on the same --data and --split",
    "images": "analyze them with the same --limit",
    "data_fingerprint": "their images or labels differ: analyze them on the same ones",
    "seed": "analyze them with the same --seed",
    "precision": "analyze them with the same --precision",
}
TOO_FEW_SEEDS = (
    "an interval over training seeds needs 2 runs a group, and a claim 5 (t = 2.78 with five seeds, 4.30 with three)"
)


def check_comparable(runs: Sequence[Run]) -> list[str]:
    """Notes on what differs but may; raises UserError naming the first difference that may not."""
    first = runs[0]
    for other in runs[1:]:
        # The same images may lie in folders of other names.
        same = _of(first, "data_fingerprint") == _of(other, "data_fingerprint") is not None
        for term, remedy in (t for t in TERMS.items() if t[0] != "data" or not same):
            _check_same(first, other, term.replace("_", " "), _of(first, term), _of(other, term), remedy)
        _check_analyzers(first, other)
        if _of(first, "preprocess_hash") == _of(other, "preprocess_hash"):
            _check_null_banks(first, other)
    return [*_on_pixels(runs), *_on_versions(runs)]


def check_distinct(runs: Sequence[Run], group: str) -> None:
    """Refuse a group that holds one model twice, which would count as two training seeds."""
    seen: dict[Any, Run] = {}
    for run in runs:
        weights = _of(run, "weights")
        if weights is not None and weights in seen:
            raise UserError(f"group {group} holds the same weights twice ({run.label}); give each training seed once")
        seen[weights] = run


def common_images(runs: Sequence[tuple[str, Run]], where: str | None = None) -> pd.Index:
    """Paths of the images that all runs hold, in the first one's order; raises UserError where there are none."""
    indices = [pd.Index(run.samples["path"]) for _, run in runs]
    for (label, _), index in zip(runs, indices, strict=True):
        if index.has_duplicates:
            raise UserError(f"run {label} names {index[index.duplicated()][0]} twice; rename one of the two images")
    common = indices[0]
    for index in indices[1:]:
        common = common[common.isin(index)]
    if not len(common):
        condition = f" for which '{where}' holds" if where else ""
        names = " and ".join(dict.fromkeys(label for label, _ in runs))
        raise UserError(
            f"{names} share no image{condition}; "
            + ("choose a condition that some image meets in every run" if where else "analyze them on the same images")
        )
    return common


def common_clusters(runs: Sequence[Run], images: pd.Index, column: str | None = None) -> NDArray | None:
    """The cluster of each of these images, None where each is its own: of this column, else as the runs recorded it.

    column: ``path`` makes each image its own. A run that recorded none takes the others' word. Raises UserError where
    runs say otherwise of an image.
    """
    if column == "path":
        return None
    name = column or CLUSTER
    known = [run for run in runs if name in run.samples]
    if column and len(known) < len(runs):
        shared = set.intersection(*(set(run.samples) for run in runs))
        raise UserError(unknown("column of every run", column, shared))
    found = [run.samples.set_index("path")[name].loc[images].astype(str).to_numpy(object) for run in known]
    for run, values in zip(known, found, strict=True):
        if (values != found[0]).any():
            which = images[values != found[0]][0]
            raise UserError(
                f"{_names(known[0], run)} count image {which} to different clusters ({name}); say which column tells "
                "with clusters=, or path for none"
            )
    return found[0] if found else None


def _of(run: Run, key: str) -> Any:
    return run.provenance.get(key)


def _check_same(first: Run, other: Run, what: str, a: Any, b: Any, remedy: str) -> None:
    if a != b:
        raise UserError(f"{_names(first, other)} cannot be compared: {what} {a} against {b}; {remedy}")


def _check_analyzers(first: Run, other: Run) -> None:
    """The same analyzer must share a setting, or nothing that it measured is comparable."""
    settings = [_settings(run) for run in (first, other)]
    for name in settings[0].keys() & settings[1].keys():
        a, b = (s[name] for s in settings)
        if not set(a) & set(b):
            _check_same(first, other, "analyzer", ", ".join(a), ", ".join(b), "analyze them with the same parameters")


def _settings(run: Run) -> dict[str, list[str]]:
    """The settings of each analyzer by its plain name."""
    found: dict[str, list[str]] = {}
    for spec in _of(run, "analyzers") or ():
        found.setdefault(Name.parse(spec).stem, []).append(spec)
    return found


def _check_null_banks(first: Run, other: Run) -> None:
    banks = [{k: v for k, v in run.summary.items() if k.startswith("null_bank")} for run in (first, other)]
    for key in banks[0].keys() & banks[1].keys():
        remedy = "analyze them with the same --limit and --seed, so that chance means the same"
        _check_same(first, other, key.replace("_", " "), banks[0][key], banks[1][key], remedy)


def _on_pixels(runs: Sequence[Run]) -> list[str]:
    labels: dict[str, list[str]] = {}
    for run in runs:
        labels.setdefault(_preprocessing(run), []).append(run.label)
    if len({_of(run, "preprocess_hash") for run in runs}) == 1:
        return []
    said = "; ".join(f"{how} ({', '.join(list(dict.fromkeys(names))[:4])})" for how, names in labels.items())
    return [f"the same images, but not the same pixels, which is part of the difference: {said}"]


def _on_versions(runs: Sequence[Run]) -> list[str]:
    versions = {str((_of(run, "versions") or {}).get("gradlens", "unknown")) for run in runs}
    return [f"made by different versions of gradlens: {', '.join(sorted(versions))}"] if len(versions) > 1 else []


def _preprocessing(run: Run) -> str:
    said = _of(run, "preprocess")
    if not said:
        return "pixels as they are"
    return f"{said['size']} px, crop {said['crop_pct']:g}, {said['interpolation']}"


def _names(first: Run, other: Run) -> str:
    return f"runs {first.label} and {other.label}" if first.label != other.label else f"two runs of {first.label}"


@dataclass(frozen=True)
class Pair:
    """Two groups of runs by name, the images that all of them hold, and whether images or seeds are the unit."""

    reference: str
    first: Sequence[Run]
    other: str
    second: Sequence[Run]
    images: pd.Index
    dropped: int
    over_seeds: bool
    cluster: NDArray | None

    @classmethod
    def of(
        cls,
        groups: Mapping[str, Sequence[Run]],
        reference: str,
        other: str,
        where: str | None,
        clusters: str | None = None,
    ) -> Pair:
        """Align the runs; seeds are the unit where any group has several. Raises UserError where no image is shared."""
        runs = [(name, run) for name in (reference, other) for run in groups[name]]
        images = common_images(runs, where)
        held = pd.unique(np.concatenate([run.samples["path"].to_numpy(object) for _, run in runs]))
        over_seeds = any(len(group) > 1 for group in groups.values())
        dropped = len(held) - len(images)
        cluster = common_clusters([run for _, run in runs], images, clusters)
        return cls(reference, groups[reference], other, groups[other], images, dropped, over_seeds, cluster)

    def rows(self, columns: Sequence[str]) -> pd.DataFrame:
        """A row a column."""
        values = [self._values(run, columns) for run in (*self.first, *self.second)]
        known = np.asarray(np.logical_and.reduce([np.isfinite(v) for v in values]))
        values = [np.where(known, v, np.nan) for v in values]
        a, b = values[: len(self.first)], values[len(self.first) :]
        frame = _seed_rows(a, b, self.cluster) if self.over_seeds else _paired_rows(a[0], b[0], self.cluster)
        names = {"column": list(columns), "reference": self.reference, "other": self.other, "n": known.sum(0)}
        if self.cluster is not None:
            names["clusters"] = [len(set(self.cluster[rows])) for rows in known.T]
        frame = pd.concat([pd.DataFrame(names), frame], axis=1)
        frame["missing"] = [self._why_absent(c) or why for c, why in zip(columns, frame["missing"], strict=True)]
        return frame

    def _values(self, run: Run, columns: Sequence[str]) -> Values:
        """``(images, k)``; NaN for what the run lacks."""
        table = run.samples.set_index("path").reindex(columns=list(columns))
        return table.loc[self.images].to_numpy(np.float64, na_value=np.nan)

    def _why_absent(self, column: str) -> str:
        for label, runs in ((self.reference, self.first), (self.other, self.second)):
            for run in runs:
                if column not in run.samples:
                    return f"not measured in {label}"
                if not np.isfinite(run.samples[column].to_numpy(np.float64)).any():
                    return f"not a number for any image of {label}"
        return ""


def _paired_rows(a: Values, b: Values, cluster: NDArray | None) -> pd.DataFrame:
    """Columns ``(images, k)`` of one run each; images, or their clusters, are the sample."""
    pairs = zip(a.T, b.T, strict=True)
    return pd.DataFrame([_paired_row(finite(x, cluster)[0], *finite(y, cluster)) for x, y in pairs])


def _paired_row(a: Values, b: Values, cluster: NDArray | None) -> dict[str, Any]:
    difference = b - a
    effects = inference.d_z(difference), inference.share_greater(difference)
    skew = len(a) > 0 and too_skew(difference, cluster)
    found = (inference.paired_median if skew else inference.paired_t)(difference, cluster=cluster)
    row = _row(a, b, found, *effects, _why_no_interval(a, b, cluster))
    medians = (float(np.median(x)) if len(x) else np.nan for x in (a, b))
    return {**row, "estimand": MEDIAN if skew else MEAN, **dict(zip(MEDIANS, medians, strict=True))}


def _row(a: Values, b: Values, found: inference.Estimate, effect: float, superiority: float, missing: str) -> dict:
    return {
        "mean_reference": _mean(a),
        "mean_other": _mean(b),
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "effect": effect,
        "superiority": superiority,
        "p": found.p,
        "missing": missing,
    }


def _why_no_interval(a: Values, b: Values, cluster: NDArray | None) -> str:
    if len(a) < 2:
        return "only one image has it in every run" if len(a) else "no image has it in every run"
    if inference.equal(a) and inference.equal(b):
        return "constant over images"
    if not (b - a).any():
        return "equal on every image"
    if cluster is not None and len(set(cluster)) < 2:
        return ONE_CLUSTER
    return "the difference is the same on every image" if inference.equal(b - a) else ""


def _seed_rows(a: Sequence[Values], b: Sequence[Values], cluster: NDArray | None) -> pd.DataFrame:
    """Columns ``(images, k)`` of several runs a group; training seeds are the sample."""
    counts = np.isfinite(a[0]).sum(0)
    divisor = np.where(counts > 0, counts, np.nan)
    means = [np.stack([np.nansum(values, axis=0) / divisor for values in group]) for group in (a, b)]
    rows = pd.DataFrame([_seed_row(x, y) for x, y in zip(means[0].T, means[1].T, strict=True)])
    found = inference.crossed_t(a, b, cluster=cluster)
    absent = rows["missing"] != ""
    rows.insert(5, "crossed_low", np.where(absent, np.nan, [one.low for one in found]))
    rows.insert(6, "crossed_high", np.where(absent, np.nan, [one.high for one in found]))
    return rows.assign(seeds_reference=len(a), seeds_other=len(b), estimand=MEAN)


def _seed_row(a: Values, b: Values) -> dict[str, Any]:
    superiority = auc(np.concatenate([a, b]), np.arange(len(a) + len(b)) >= len(a))
    effects = inference.hedges_g(a, b), superiority
    return _row(a, b, inference.welch_t(a, b), *effects, _why_no_seed_interval(a, b))


def _why_no_seed_interval(a: Values, b: Values) -> str:
    if not np.isfinite(a).all():
        return "no image has it in every run"
    if min(len(a), len(b)) < 2:
        return TOO_FEW_SEEDS
    return "the same in every seed" if inference.equal(a) and inference.equal(b) else ""


def _mean(values: Values) -> float:
    return float(values.mean()) if len(values) else np.nan
