"""A comparison as it is read: which rows come first, how numbers are rounded, and what must be said with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradlens.core.names import Name
from gradlens.core.numbers import NOTHING, decimals_for, number
from gradlens.core.table import Table
from gradlens.runs.record import Run

PRIMARY, EXPLORATORY = "primary", "exploratory"
# How to read the columns that every run has; analyzers say it of theirs.
CORE = {
    "correct": "share of images classified right",
    "confidence": "probability of the predicted class",
    "error_mass": "1 − probability of the label",
    "loss": "cross-entropy, nats",
    "margin": "logit of the label over the best other",
    "rank_of_label": "classes with a higher logit than the label",
}
ON_IMAGES = (
    "±: half of the 95 % t interval over images; d_z: the difference in standard deviations of the images' differences "
    "(0.2 small, 0.5 medium, 0.8 large); P(>): share of images on which {other} is the larger, ties half",
    "one checkpoint each: this compares two models, not two ways to train; for methods give groups of 5 seeds",
)
ON_SEEDS = (
    "±: half of the 95 % Welch t interval over training seeds, for these images; with new images: hierarchical "
    "bootstrap over seeds and images, too narrow with few seeds; g: the difference in standard deviations of the seeds",
)


def as_table(frame: pd.DataFrame, runs: Sequence[Run], where: str | None, notes: Sequence[str]) -> Table:
    """The comparison with primary measures first."""
    others, reference = list(dict.fromkeys(frame["other"])), frame["reference"].iloc[0]
    condition = f", where {where}" if where else ""
    title = f"{', '.join(others)} against {reference} on {runs[0].summary.get('data')}{condition}"
    tail = (frame["column"] + (" (" + frame["other"] + ")" if len(others) > 1 else "")).to_list()
    missing = {name: why for name, why in zip(tail, frame["missing"], strict=True) if why}
    said = [*_how_to_read(frame), *_meanings(frame, runs), *notes]
    return Table(frame, title, tuple(said), missing, _printed(frame))


def _printed(frame: pd.DataFrame) -> pd.DataFrame:
    """Condensed to strings; values share the decimals that the interval justifies."""
    seeds, others = "seeds_other" in frame, frame["other"].unique()
    reference, other = frame["reference"].iloc[0], others[0] if len(others) == 1 else "other"
    rows = []
    for row in frame.to_dict("records"):
        half = (row["high"] - row["low"]) / 2
        digits = decimals_for(half)
        cells = [row["column"], number(row["mean_reference"], digits), number(row["mean_other"], digits)]
        cells.append(number(row["difference"], digits) + (f" ± {number(half, digits)}" if np.isfinite(half) else ""))
        if seeds:
            cells += [_interval(row["boot_low"], row["boot_high"], digits), number(row["effect"], 2)]
        else:
            cells += [number(row["effect"], 2), number(row["superiority"], 2)]
        rows.append([*cells, _p(row["p_adjusted"]), *([row["verdict"] or NOTHING] if "verdict" in row else [])])
    middle = ["with new images", "g"] if seeds else ["d_z", "P(>)"]
    heads = ["measure", reference, other, f"{other} − {reference} ±", *middle, "p"]
    heads += ["against smallest"] if "verdict" in frame else []
    return pd.DataFrame(rows, columns=heads, index=pd.Index(_sections(frame)))


def _sections(frame: pd.DataFrame) -> list[str]:
    """The section of each row: its role, how its p was adjusted, and whom it compares where there are several."""
    several = frame["other"].nunique() > 1
    tested = frame[frame["p_adjusted"].notna()]
    declared = int((tested["role"] == PRIMARY).sum())
    columns = tested[tested["role"] == EXPLORATORY].groupby("other").size()
    found = []
    for role, reference, other in zip(frame["role"], frame["reference"], frame["other"], strict=True):
        about = f": {other} − {reference}" if several else ""
        if role == PRIMARY:
            found.append(f"primary{about} (p by Holm over {declared} tests)")
        else:
            tested_here = columns.get(other, 0)
            how = f"p by max-T over {tested_here} measures; leads, not findings" if tested_here else "not tested"
            found.append(f"exploratory{about} ({how})")
    return found


def _how_to_read(frame: pd.DataFrame) -> Iterator[str]:
    others = frame["other"].unique()
    other = others[0] if len(others) == 1 else "the other"
    yield from (text.format(other=other) for text in (ON_SEEDS if "seeds_other" in frame else ON_IMAGES))
    images = frame["n"].max()
    few = int((frame["n"] < images).sum())
    yield f"{images:,} images" + (f", for {few} measures fewer (column n of .frame)" if few else "")
    if "seeds_other" in frame:
        yield from _on_few_seeds(frame)
    if "verdict" in frame:
        yield "equivalent: the 95 % interval lies within ± the smallest effect of interest; beyond: outside it"


def _on_few_seeds(frame: pd.DataFrame) -> Iterator[str]:
    from scipy.stats import t

    sizes = dict(zip(frame["reference"], frame["seeds_reference"], strict=True))
    sizes |= dict(zip(frame["other"], frame["seeds_other"], strict=True))
    yield "training seeds: " + ", ".join(f"{label} {int(n)}" for label, n in sizes.items())
    fewest = int(min(sizes.values()))
    if 2 <= fewest < 5:
        now = t.ppf(0.975, fewest - 1)
        yield f"a claim wants 5 seeds a group: t is 2.78 with five, {now:.2f} with {fewest}"
    for other, n, m in frame[["other", "seeds_reference", "seeds_other"]].drop_duplicates().itertuples(index=False):
        least = (2 if n == m else 1) / math.comb(int(n + m), int(n))
        if min(n, m) > 1 and least > 0.01:
            yield f"{other}: with so few seeds no exploratory p is below {least:.2g}"


def _meanings(frame: pd.DataFrame, runs: Sequence[Run]) -> Iterator[str]:
    """How to read the primary measures, as their analyzers say it."""
    for column in dict.fromkeys(frame.loc[frame["role"] == PRIMARY, "column"]):
        key = str(Name.parse(column).ending("mean"))
        said = (meaning for run in runs for _, name, meaning in run.readings if name == key and meaning)
        meaning = next(said, CORE.get(column, ""))
        if meaning:
            yield f"{column}: {meaning}"


def _interval(low: float, high: float, digits: int | None) -> str:
    return f"[{number(low, digits)}, {number(high, digits)}]" if np.isfinite([low, high]).all() else NOTHING


def _p(p: Any) -> str:
    if not np.isfinite(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"
