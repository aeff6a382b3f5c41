"""Whether runs measured the same thing, and on which images: what must hold before their numbers meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gradlens.core.names import Name
from gradlens.core.types import UserError
from gradlens.runs.record import Run

# Terms of the contract that models may not differ in, and what to do about each.
TERMS = {
    "data": "analyze them on the same --data and --split",
    "images": "analyze them with the same --limit",
    "data_fingerprint": "their images or labels differ: analyze them on the same ones",
    "seed": "analyze them with the same --seed",
    "precision": "analyze them with the same --precision",
}


def check_comparable(runs: Sequence[Run]) -> list[str]:
    """Notes on what differs but may; raises UserError naming the first difference that may not."""
    first = runs[0]
    for other in runs[1:]:
        for term, remedy in TERMS.items():
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
