"""``compare``: what two models, or two methods with training seeds, differ in, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.names import Name, first_twice, unknown
from gradlens.core.numbers import NOTHING, decimals_for, number
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.runs.differences import MEDIAN, Pair, check_comparable, check_distinct
from gradlens.runs.record import Run
from gradlens.stats import inference

# Columns that say which image it is, not what was measured.
IDENTITY = ("index", "label", "prediction")
MOST_PRIMARY = 5
# Training seeds a group that a claim about methods wants.
CLAIM = 5
# Codes, and what stands beside a measure to judge it by: to be asked for by name.
BESIDE = ("_flag", "_null", "_p")
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
    "±: half of the 95 % t interval over images, for new ones such as these; d_z: the difference in standard "
    "deviations of the images' differences "
    "(0.2 small, 0.5 medium, 0.8 large); P(>): share of images on which {other} is the larger, ties half",
    "one checkpoint each: this compares two models, not two ways to train; for methods give groups of 5 seeds",
)
ON_SEEDS = (
    "±: half of the 95 % Welch t interval over training seeds, for these very images; with new images: t interval of "
    "seeds crossed with images; g: the difference in standard deviations of the seeds",
)
OF_MEDIANS = (
    "(median): single images rule the mean, so medians stand here, and the median of the images' differences with "
    "its interval and the sign test, whatever the tails"
)
Runs = Sequence[Run] | Mapping[str, Run | Sequence[Run]]


def compare(
    runs: Runs,
    *,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    primary: Sequence[str] | None = None,
    reference: str | None = None,
    smallest: Mapping[str, float] | None = None,
    clusters: str | None = None,
) -> Table:
    """The means of every measure that runs share, their differences with 95 % intervals, effect sizes and p.

    runs: ``[run_a, run_b]`` or ``{"natural": run, "edge": run}`` compares checkpoints, image by image;
    ``{"natural": [r0, r1, …], "edge": […]}`` compares methods, whose unit is the training seed: at least
    two a group for an interval (Welch's t on the seeds' means), five for a claim. where: only images
    for which this holds in every run. columns: only these measures. primary: the declared hypotheses,
    at most five, by default those that the runs' analyzers declare; the others are exploratory. Holm's
    correction is over each kind; over seeds it wants five a group. reference: whom the others are
    compared with, by default the first. smallest: the smallest effect of interest of a column in its
    unit; says whether the interval is inside (equivalent), outside, or neither. clusters: the column whose images of
    one value count as one sample, by default ``cluster`` where the runs have it; ``path``: each image is its own.

    Where single images rule the differences (``gradlens.stats.intervals.too_skew``), the median of the images'
    differences takes the place of the mean's: estimand says which, and an interval with new images is missing.

    ``frame`` holds a row a measure and comparison: column, role, reference, other, n (images),
    mean_reference, mean_other, difference (other − reference), low, high, effect (paired d_z, or Hedges'
    g over seeds), superiority (P(other > reference), ties one half), p, p_adjusted, missing, estimand, and
    clusters, their number, where there are any; for checkpoints also median_reference, median_other; for
    methods also seeds_reference, seeds_other, crossed_low, crossed_high (t over seeds and images). Raises
    UserError for runs that did not measure the same thing.
    """
    groups = _groups(runs)
    everything = [run for group in groups.values() for run in group]
    notes = check_comparable(everything)
    base = reference or next(iter(groups))
    if base not in groups:
        raise UserError(unknown("reference", base, groups))
    plan = _plan(everything, columns, primary, smallest or {})
    selected = {label: [run.select(where) for run in group] for label, group in groups.items()}
    pairs = [Pair.of(selected, base, other, where, clusters) for other in groups if other != base]
    frame = _adjusted(pairs, plan)
    frame = _with_verdicts(frame, smallest) if smallest else frame
    return as_table(frame, everything, where, [*notes, *plan.notes, *_on_dropped(pairs)])


@dataclass(frozen=True)
class _Plan:
    """Which columns are compared, the declared ones first, and what to say about the choice."""

    columns: list[str]
    exploratory: NDArray[np.bool_]
    notes: list[str]


def _adjusted(pairs: Sequence[Pair], plan: _Plan) -> pd.DataFrame:
    """Every pair's rows, the declared columns first; Holm's correction is over these, and over each pair's others.

    Not permutations of the labels, which assume equal spread: with five seeds and standard deviations of
    1 to 4 they err four times as often as they say. Below five seeds Welch's t errs too.
    """
    frame = pd.concat([pair.rows(plan.columns) for pair in pairs], ignore_index=True)
    frame.insert(1, "role", np.tile(np.where(plan.exploratory, EXPLORATORY, PRIMARY), len(pairs)))
    frame = frame.sort_values("role", key=lambda role: role == EXPLORATORY, kind="stable", ignore_index=True)
    family = frame["other"].where(frame["role"] == EXPLORATORY, "")
    adjusted = frame.groupby(family.to_numpy())["p"].transform(inference.holm)
    if "seeds_other" in frame:
        adjusted[frame[["seeds_reference", "seeds_other"]].min(axis=1) < CLAIM] = np.nan
    frame.insert(frame.columns.get_loc("p") + 1, "p_adjusted", adjusted)
    return frame


def _on_dropped(pairs: Sequence[Pair]) -> list[str]:
    return [f"{p.other}: {p.dropped:,} images that some run lacks were dropped" for p in pairs if p.dropped]


def _with_verdicts(frame: pd.DataFrame, smallest: Mapping[str, float]) -> pd.DataFrame:
    """Whether each interval lies within ± the smallest effect of interest, beyond it, or neither."""
    bound = frame["column"].map(dict(smallest))
    inside = (frame["low"] > -bound) & (frame["high"] < bound)
    beyond = (frame["low"] > bound) | (frame["high"] < -bound)
    stated = bound.notna() & frame["low"].notna()
    verdict = np.select([~stated, inside, beyond], ["", "equivalent", "beyond"], "undecided")
    return frame.assign(smallest=bound, verdict=verdict)


def _groups(runs: Runs) -> dict[str, list[Run]]:
    """Runs by label, each a list; raises UserError for fewer than two and for a name given twice."""
    if isinstance(runs, Mapping):
        groups = {str(k): [v] if isinstance(v, Run) else list(v) for k, v in runs.items()}
    else:
        labels = [getattr(run, "label", str(run)) for run in runs]
        if twice := first_twice(labels):
            raise UserError(
                f"two runs are called {twice}; name them: {{'before': run_a, 'after': run_b}}, or before=FOLDER "
                "after=FOLDER on the command line"
            )
        groups = {label: [run] for label, run in zip(labels, runs, strict=True)}
    stray = next((run for group in groups.values() for run in group if not isinstance(run, Run)), None)
    if stray is not None:
        raise UserError(f"{type(stray).__name__} {str(stray)[:40]} is not a run; open folders with gl.Run.load(FOLDER)")
    if len(groups) < 2:
        raise UserError(f"{len(groups)} runs or groups given; a comparison needs two")
    for label, group in groups.items():
        if not group:
            raise UserError(f"group {label} holds no run; give at least one, five for a claim about methods")
        check_distinct(group, label)
    return groups


def _plan(
    runs: Sequence[Run], columns: Sequence[str] | None, primary: Sequence[str] | None, smallest: Mapping[str, float]
) -> _Plan:
    shared = [c for c in measures(runs[0]) if all(c in measures(run) for run in runs[1:])]
    for name in (*(columns or ()), *(primary or ()), *smallest):
        if name not in shared:
            raise UserError(unknown("column of every run", name, shared))
    notes = []
    if any(len(measures(run)) > len(shared) for run in runs):
        notes.append("columns that some run lacks were left out")
    declared = list(dict.fromkeys(primary or (c for run in runs for c in run.provenance.get("primary") or ())))
    if columns and not primary:
        declared = [c for c in declared if c in columns]
    if len(declared) > MOST_PRIMARY and primary:
        raise UserError(f"{len(primary)} primary columns; declare at most {MOST_PRIMARY}, the others are exploratory")
    if len(declared) > MOST_PRIMARY:
        notes.append(f"{len(declared)} columns are declared primary; the first {MOST_PRIMARY} were taken")
    others = columns or [c for c in shared if not Name.parse(c).stem.endswith(BESIDE)]
    chosen = list(dict.fromkeys([*declared[:MOST_PRIMARY], *others]))
    return _Plan(chosen, np.arange(len(chosen)) >= len(declared[:MOST_PRIMARY]), notes)


def measures(run: Run) -> list[str]:
    """The columns that hold a measure of each image."""
    numeric = run.samples.select_dtypes(["number", "bool"]).columns
    return [c for c in numeric if c not in IDENTITY]


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
        of = row["estimand"]
        name = row["column"] + (f" ({of})" if of == MEDIAN else "")
        cells = [name, *(number(row[f"{of}_{which}"], digits) for which in ("reference", "other"))]
        cells.append(number(row["difference"], digits) + (f" ± {number(half, digits)}" if np.isfinite(half) else ""))
        if seeds:
            cells += [_interval(row["crossed_low"], row["crossed_high"], digits), number(row["effect"], 2)]
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
            found.append(f"primary{about} (p by Holm over {declared} tests)" if declared else f"primary{about} (no p)")
        else:
            tested_here = columns.get(other, 0)
            how = f"p by Holm over {tested_here} measures; leads, not findings" if tested_here else "no p"
            found.append(f"exploratory{about} ({how})")
    return found


def _how_to_read(frame: pd.DataFrame) -> Iterator[str]:
    others = frame["other"].unique()
    other = others[0] if len(others) == 1 else "the other"
    yield from (text.format(other=other) for text in (ON_SEEDS if "seeds_other" in frame else ON_IMAGES))
    if (frame["estimand"] == MEDIAN).any():
        yield OF_MEDIANS
    images = frame["n"].max()
    few = int((frame["n"] < images).sum())
    yield f"{images:,} images" + (f", for {few} measures fewer (column n of .frame)" if few else "")
    if "clusters" in frame:
        yield f"the images are of {frame['clusters'].max():,} clusters, which count as the samples"
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
    if fewest < CLAIM:
        yield f"a claim wants {CLAIM} seeds a group, and so do p adjusted for several measures"
    if 2 <= fewest < CLAIM:
        yield f"t is 2.78 with five seeds, {t.ppf(0.975, fewest - 1):.2f} with {fewest}"


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
