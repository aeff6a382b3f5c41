"""The one grammar of names: ``stem_low@objective[parameters]`` of a column, ``name:parameter=value,…`` of a method."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from gradlens.core.types import UserError


def spec_of(name: str) -> str:
    """``edge_concentration@true_logit[sigma=2]`` → ``edge_concentration:objective=true_logit,sigma=2``."""
    parts = re.fullmatch(r"(\w+)(?:@(\w+))?(?:\[(.*)\])?", name)
    if parts is None:
        return name
    objective = f"objective={parts[2]}" if parts[2] else ""
    return f"{parts[1]}:{','.join(filter(None, [objective, _unrounded(parts[3] or '')]))}".removesuffix(":")


def _unrounded(parameters: str) -> str:
    """Decimals as the fractions that they are six digits of: ``eps=0.0313725`` → ``eps=8/255``."""

    def fraction(found: re.Match) -> str:
        near = Fraction(found[0]).limit_denominator(255)
        return str(near) if f"{float(near):g}" == found[0] else found[0]

    return re.sub(r"(?<==)\d*\.\d+(?=,|$)", fraction, parameters)


def limits(summary: Mapping[str, Any], key: str) -> tuple[float, float]:
    """The interval of a number of the summary; NaN where it has none."""
    cut = min((key.find(c) for c in "[@" if c in key), default=len(key))
    name, tail = key[:cut], key[cut:]
    for stem in (name, name.removesuffix("_mean")):
        low, high = summary.get(f"{stem}_low{tail}"), summary.get(f"{stem}_high{tail}")
        if low is not None and high is not None:
            return low, high
    return math.nan, math.nan


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The message for a name nobody knows, with the nearest ones offered, and what else would do."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    some = ", ".join(names[:20]) + (f", … ({len(names):,} in all)" if len(names) > 20 else "")
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {some}"
    return f"unknown {kind} '{name}'; {hint}" + (f" {otherwise}" if otherwise else "")


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """``edge:alpha=1,step=.09`` → ``("edge", {"alpha": "1", "step": ".09"})``."""
    name, _, rest = spec.partition(":")
    parameters = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"'{part}' in '{spec}' has no value; write {name}:{key}=VALUE")
        parameters[key.strip()] = value.strip()
    return name.strip(), parameters


def split_specs(text: str) -> list[str]:
    """``a,b:x=1,y=2,c`` → ``["a", "b:x=1,y=2", "c"]``: a part with '=' but no ':' belongs left."""
    specs: list[str] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        if specs and "=" in part and ":" not in part.partition("=")[0]:
            specs[-1] += f",{part}"
        else:
            specs.append(part)
    return specs


def suffix(method: Any) -> str:
    """What a method's non-default parameters add to its columns: ``@true_logit``, ``[sigma=2]``."""
    if not dataclasses.is_dataclass(method):
        return ""
    changed = {
        f.name: getattr(method, f.name)
        for f in dataclasses.fields(method)
        if f.init and getattr(method, f.name) != f.default
    }
    target = changed.pop("objective", None)
    brackets = ",".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in changed.items())
    return (f"@{target}" if target else "") + (f"[{brackets}]" if brackets else "")


def number(text: str) -> float:
    """A decimal number or a fraction: ``0.1``, ``4/255``."""
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(text)


def snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
