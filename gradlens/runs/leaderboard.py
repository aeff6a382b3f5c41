"""Runs beside a public table of accuracies: does a gradient statistic order models as their robustness does?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlens.core.names import unknown
from gradlens.core.numbers import NOTHING, number
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.runs.differences import check_comparable
from gradlens.runs.record import Run
from gradlens.stats import association
from gradlens.stats.association import FEWEST_FAMILIES, FEWEST_MODELS

ALL, WITHIN = "all models", "within families"
SHOWN_FAMILIES = 4
# Numbers of the summary that say what was measured, not what was found.
NO_STATISTIC = ("images", "img_size", "top1", "top1_valid", "top5", "param_count", "crop_pct", "unreadable")
# Behind these, a name is the published model itself.
SOURCES = ("timm:", "hf-hub:timm/")


def leaderboard(
    runs: Sequence[Run] | Mapping[str, Sequence[Run]],
    table: str | Path,
    against: str = "top1",
    *,
    columns: Sequence[str] | None = None,
) -> Table:
    """Spearman's ρ of each gradient statistic with a published accuracy, over models and within families.

    table: timm's results CSV, or RobustBench's model-info JSON, a file or a folder of them. against: a
    column of numbers in it, such as ``top1``, ``clean_acc`` or ``autoattack_acc``. runs: joined by model
    name; a mapping gives the families, which are else the manifest's groups, or the leading part of the
    architecture's name. columns: numbers of the summaries, or columns, whose mean is taken; by default
    what the analyzers read first.

    ``frame`` holds a row a statistic and scope (all models, within families, each family): models,
    families, rho, low, high (bootstrap over families), leave_out_low, leave_out_high (one family left
    out), missing. Models of one family are not independent, and two clusters alone make ρ large: trust
    what holds within families. Raises UserError where nothing joins.
    """
    groups = dict(runs) if isinstance(runs, Mapping) else {"": list(runs)}
    everything = [run for group in groups.values() for run in group]
    if not everything:
        raise UserError("no run given; a leaderboard needs the runs of several models")
    notes = check_comparable(everything)
    published = read_table(table)
    if against not in published.select_dtypes("number"):
        raise UserError(unknown(f"column of numbers in {table}", against, published.select_dtypes("number").columns))
    names = {id(run): name for run in everything if (name := _published_name(run, published.index))}
    _check_joined(everything, names, published.index, table)
    joined = [(run, family or family_of(run)) for family, group in groups.items() for run in group if id(run) in names]
    accuracy = published.loc[[names[id(run)] for run, _ in joined], against].to_numpy(np.float64)
    families = np.array([family for _, family in joined])
    rows = []
    for name in columns or _statistics([run for run, _ in joined]):
        values = np.array([_value(run, name, columns) for run, _ in joined])
        rows += _rows(name, values, accuracy, families)
    absent = [run.label for run in everything if id(run) not in names]
    notes += [f"not in the table: {', '.join(absent)}"] if absent else []
    return _as_table(pd.DataFrame(rows), Path(table), against, notes)


def read_table(path: str | Path) -> pd.DataFrame:
    """A public table, a row a model by name; numbers as numbers, "" and text as missing ones."""
    place = Path(path)
    if not place.exists():
        raise UserError(f"table {place} does not exist; give timm's results CSV or RobustBench's model-info JSON")
    if place.suffix == ".csv":
        return _read_csv(place)
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    found: dict[str, dict] = {}
    for file in files:
        for name, entry in _read_json(file).items():
            if name in found:
                raise UserError(f"{place} holds {name} twice; give the folder of one data set and threat model")
            found[name] = entry
    if not found:
        raise UserError(f"{place} holds no .json; give timm's results CSV or RobustBench's model-info JSON")
    return _with_numbers(pd.DataFrame.from_dict(found, orient="index"))


def _read_csv(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file, thousands=",")
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {file}: {' '.join(str(error).split())}; give timm's results CSV") from None
    if "model" not in table:
        raise UserError(f"{file} has no column 'model'; give timm's results CSV, such as results-imagenet.csv")
    return _with_numbers(table.drop_duplicates("model").set_index("model"))


def _read_json(file: Path) -> dict[str, dict]:
    """One model, whose name is the file's, or a mapping of names to models."""
    try:
        said = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {file}: {error}; give RobustBench's model-info JSON") from None
    if not isinstance(said, dict):
        raise UserError(f"{file} holds a {type(said).__name__}; give RobustBench's model-info JSON, an object a model")
    several = said and all(isinstance(entry, dict) for entry in said.values())
    return said if several else {file.stem: said}


def _with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """RobustBench writes numbers as strings; a column of which some are numbers holds numbers."""
    numeric = {name: pd.to_numeric(table[name], errors="coerce") for name in table}
    return table.assign(**{name: values for name, values in numeric.items() if values.notna().any()})


def _published_name(run: Run, known: pd.Index) -> str | None:
    """The run's model in the table, by its name or by where it was loaded from; never by architecture alone."""
    spec = str((run.provenance.get("model") or {}).get("spec", ""))
    source = next((source for source in SOURCES if spec.startswith(source)), None)
    options = run.provenance.get("load_model") or {}
    random = str(options.get("weights", "")).startswith(("random", "cascade"))
    if random or (source and options.get("activation")):
        return None
    candidates = [run.label, spec.removeprefix(source) if source else Path(spec.removesuffix(".tar")).stem]
    return next((name for name in candidates if name in known), None)


def _check_joined(runs: Sequence[Run], names: Mapping[int, str], known: pd.Index, table: str | Path) -> None:
    if not names:
        labels = ", ".join(run.label for run in runs[:4])
        raise UserError(f"{labels}: {unknown(f'model of {table}', runs[0].label, known)}; label runs by its names")
    taken: dict[str, Run] = {}
    for run in (run for run in runs if id(run) in names):
        name = names[id(run)]
        if name in taken:
            raise UserError(f"runs {taken[name].label} and {run.label} are both {name} of the table; give one of them")
        taken[name] = run


def _statistics(runs: Sequence[Run]) -> list[str]:
    """The numbers that the runs' analyzers read first, else all of the summary."""
    read = dict.fromkeys(key for run in runs for _, key, _ in run.readings if key not in NO_STATISTIC)
    if read:
        return list(read)
    numbers = (key for run in runs for key, value in run.summary.items() if isinstance(value, int | float))
    return [k for k in dict.fromkeys(numbers) if k not in NO_STATISTIC and not k.endswith(("_low", "_high"))]


def _value(run: Run, name: str, asked: Sequence[str] | None) -> float:
    """A number of the summary, else a column's mean; missing where the run has neither, an error if nobody could."""
    if name in run.summary:
        value = run.summary[name]
        return float(value) if isinstance(value, int | float) else math.nan
    if name in run.samples and pd.api.types.is_numeric_dtype(run.samples[name]):
        return float(run.samples[name].mean())
    if asked:
        raise UserError(unknown(f"number or column of {run.label}", name, [*run.summary, *run.samples]))
    return math.nan


def _rows(name: str, values: Any, accuracy: Any, families: Any) -> list[dict[str, Any]]:
    """ρ over all models, with the families' means taken out, and in each family."""
    known = np.isfinite(values) & np.isfinite(accuracy)
    x, y, family = values[known], accuracy[known], families[known]
    low, high = association.family_bootstrap(x, y, family)
    least, most = association.leave_one_out(x, y, family)
    count = len(np.unique(family))
    whole = {"low": low, "high": high, "leave_out_low": least, "leave_out_high": most}
    rows = [
        {"scope": ALL, "models": len(x), "families": count, "rho": association.spearman(x, y), **whole},
        {"scope": WITHIN, "models": len(x), "families": count, "rho": association.spearman_within(x, y, family)},
    ]
    for one in np.unique(families):
        own = family == one
        rows.append(
            {"scope": one, "models": int(own.sum()), "families": 1, "rho": association.spearman(x[own], y[own])}
        )
    return [{"statistic": name, **row, "missing": _why_missing(row)} for row in rows]


def _why_missing(row: Mapping[str, Any]) -> str:
    if math.isfinite(row["rho"]):
        few = row["scope"] == ALL and row["families"] < FEWEST_FAMILIES
        return f"an interval over families needs {FEWEST_FAMILIES}" if few else ""
    if row["scope"] == WITHIN and row["models"] >= FEWEST_MODELS:
        return "too few models a family, or constant ones"
    few = row["models"] < FEWEST_MODELS
    return f"a rank correlation needs {FEWEST_MODELS} models" if few else "the same for every model"


def _as_table(frame: pd.DataFrame, table: Path, against: str, notes: Sequence[str]) -> Table:
    whole = frame[frame["scope"] == ALL]
    models, families = int(whole["models"].max()), int(whole["families"].max())
    title = f"rank correlation with {against} of {table.name}: {models} models of {families} families"
    missing = dict(whole.loc[whole["missing"] != "", ["statistic", "missing"]].itertuples(index=False, name=None))
    said = (
        "ρ: Spearman's over all models; 95 %: bootstrap over families, rough below ten of them; leave one out: range "
        "of ρ when a family is left out; within: ρ with each family's mean rank taken out",
        "ρ is large as soon as two clusters differ in both; only what holds within families speaks of single models",
        *notes,
    )
    return Table(frame, title, said, missing, _printed(frame))


def _printed(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame[~frame["scope"].isin([ALL, WITHIN])]
    sizes = own.groupby("scope")["models"].max().sort_values(ascending=False, kind="stable")
    shown = sizes[sizes >= FEWEST_MODELS].index[:SHOWN_FAMILIES]
    rows = []
    for name, part in frame.groupby("statistic", sort=False):
        by_scope = part.set_index("scope")
        whole = by_scope.loc[ALL]
        rows.append(
            [
                str(name),
                str(whole["models"]),
                number(whole["rho"], 2),
                _range(whole["low"], whole["high"]),
                _range(whole["leave_out_low"], whole["leave_out_high"]),
                *(number(by_scope.loc[scope, "rho"], 2) for scope in (WITHIN, *shown)),
            ]
        )
    heads = ["statistic", "models", "ρ", "95 %", "leave one out", "within", *(f"{f} ({sizes[f]})" for f in shown)]
    return pd.DataFrame(rows, columns=heads, index=pd.Index([""] * len(rows)))


def _range(low: float, high: float) -> str:
    return f"{number(low, 2)} … {number(high, 2)}" if math.isfinite(low) else NOTHING


def family_of(run: Run) -> str:
    """The manifest's group, else the letters that an architecture's name begins with: resnet, swin, vit."""
    model = run.provenance.get("model") or {}
    group = (model.get("display") or {}).get("group")
    arch = str(run.provenance.get("arch") or model.get("arch") or run.label)
    letters = re.match(r"[a-z]+", arch.rpartition(":")[2].lower())
    return str(group or (letters.group() if letters else arch))
