"""Rows and tallies of all batches → a Run with its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradlens.analysis.parts import Tallies
from gradlens.analysis.rows import with_truths
from gradlens.analyzers import Analyzer, Summary, name_of, without_limits
from gradlens.core.files import readable
from gradlens.core.names import Name, with_limits
from gradlens.data import Data
from gradlens.models import Classifier, ModelCard
from gradlens.runs.record import Run, accuracies
from gradlens.stats.clusters import CLUSTER, cluster_of
from gradlens.stats.intervals import mean_interval


def empty_tallies(analyzers: Sequence[Analyzer]) -> Tallies:
    """Every analyzer's accumulators, as ``analyzer/name``."""
    return {f"{name_of(a)}/{name}": tally for a in analyzers for name, tally in a.tallies().items()}


def assemble(
    samples: pd.DataFrame,
    tallies: Tallies,
    analyzers: Sequence[Analyzer],
    plain: Sequence[str],
    model: Classifier,
    data: Data,
    provenance: dict[str, Any],
    examples: dict[str, Any],
    clusters: pd.Series | None = None,
) -> Run:
    """One row an image with its path; each analyzer's numbers under its own suffix; means of the plain columns.

    clusters: of each image by its index, which every interval then takes for one sample.
    """
    # A block for each type: of a hundred blocks pandas warns with each column more.
    samples = samples.copy()
    samples.insert(1, "path", [readable(data.path(i)) for i in samples["index"]])
    if clusters is not None:
        samples.insert(2, CLUSTER, clusters[samples["index"]].to_numpy())
    samples = with_truths(samples)
    summary = _core_summary(samples, model.card, data, provenance)
    arrays: dict[str, np.ndarray] = {}
    missing: dict[str, str] = {}
    for analyzer in analyzers:
        scalars, found, reasons = _summary_of(analyzer, samples, tallies)
        summary |= {f"{name}{analyzer.suffix}": value for name, value in scalars.items()}
        arrays |= {f"{name_of(analyzer)}/{name}": array for name, array in found.items()}
        missing |= {f"{name}{analyzer.suffix}": reason for name, reason in reasons.items()}
    means = {column: str(Name.parse(column).ending("mean")) for column in plain}
    for column, key in means.items():
        summary |= with_limits(key, mean_interval(samples[column], cluster=cluster_of(samples)))
    missing = without_limits(summary) | missing
    readings = _readings(analyzers) + [[column, key, ""] for column, key in means.items()]
    reading = {"readings": readings, "primary": _primary(analyzers), "missing": missing}
    return Run(samples, summary, arrays, {**provenance, **reading}, examples, model=model, data=data)


def _readings(analyzers: Sequence[Analyzer]) -> list[list[str]]:
    """Title, key and meaning of what a table of this run shows."""
    rows = []
    for analyzer in analyzers:
        for title, key, meaning in analyzer.readings:
            rows.append([f"{title} {analyzer.suffix}".rstrip(), f"{key}{analyzer.suffix}", meaning])
    return rows


def _primary(analyzers: Sequence[Analyzer]) -> list[str]:
    return [f"{column}{analyzer.suffix}" for analyzer in analyzers for column in analyzer.primary]


def _summary_of(analyzer: Analyzer, samples: pd.DataFrame, tallies: Tallies) -> Summary:
    """The analyzer sees its own columns and tallies under their plain names."""
    tail, prefix = analyzer.suffix, f"{name_of(analyzer)}/"
    own = samples
    if tail:
        plain = {c: c.removesuffix(tail) for c in samples if c.endswith(tail)}
        own = samples.drop(columns=[p for p in plain.values() if p in samples]).rename(columns=plain)
    return analyzer.summarize(own, {n.removeprefix(prefix): t for n, t in tallies.items() if n.startswith(prefix)})


def _side(data: Data) -> int | str | None:
    """A number, as in timm's tables; ``256x128`` of a rectangle."""
    sides = data.preprocess.sides if data.preprocess else data.common_sides()
    if sides is None:
        return None
    return sides[0] if sides[0] == sides[1] else "x".join(map(str, sides))


def _core_summary(samples: pd.DataFrame, card: ModelCard, data: Data, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """timm's results columns, so that a run joins its public tables."""
    preprocess = data.preprocess
    known = "correct" in samples
    ranks = samples.loc[samples["correct"].notna(), "rank_of_label"] if known else samples["index"]
    return {
        "model": card.name,
        "data": data.name,
        "images": len(samples),
        "img_size": _side(data),
        **accuracies(samples),
        "top5": 100 * float((ranks < 5).mean()) if known else np.nan,
        "param_count": round(provenance["model"]["param_count"] / 1e6, 4),
        "crop_pct": preprocess.crop_pct if preprocess else None,
        "interpolation": preprocess.interpolation if preprocess else None,
        "unreadable": len(provenance["unreadable"]),
        "no_prediction": int(samples["prediction"].isna().sum()),
    }
