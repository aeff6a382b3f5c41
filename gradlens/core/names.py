"""The one grammar of names: ``stem_low@objective[parameters]`` of a column, ``name:parameter=value,…`` of a method."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradlens.core.types import UserError


@dataclass(frozen=True)
class Name:
    """A column, a number of the summary, or a method as a run records it: ``l1_mean@margin[sigma=2]``.

    stem: ``l1_mean``. tail: ``@margin[sigma=2]``, of what and how it was measured where that is not usual.
    """

    stem: str
    tail: str = ""

    @classmethod
    def parse(cls, text: str) -> Name:
        cut = min((text.find(mark) for mark in "@[" if mark in text), default=len(text))
        return cls(text[:cut], text[cut:])

    def __str__(self) -> str:
        return self.stem + self.tail

    def ending(self, end: str) -> Name:
        """``l1_mean`` → ``l1_mean_low``, before the tail."""
        return replace(self, stem=f"{self.stem}_{end}") if end else self

    @property
    def objective(self) -> str:
        found = re.search(r"@(\w+)", self.tail)
        return found[1] if found else ""

    @property
    def parameters(self) -> str:
        """What stands in the brackets."""
        found = re.search(r"\[([^\[\]]*)\]$", self.tail)
        return found[1] if found else ""

    @property
    def spec(self) -> str:
        """As it is asked for: ``edge_concentration:objective=margin,sigma=2``."""
        objective = f"objective={self.objective}" if self.objective else ""
        return f"{self.stem}:{','.join(filter(None, [objective, self.parameters]))}".removesuffix(":")


def with_limits(name: str, interval: Sequence[float]) -> dict[str, float]:
    """A number with its interval ``(value, low, high)``: the only place where limits get their names."""
    parsed = Name.parse(name)
    return {str(parsed.ending(end)): value for end, value in zip(("", "low", "high"), interval, strict=True)}


def limits(summary: Mapping[str, Any], key: str) -> tuple[float, float]:
    """The interval of a number of the summary; NaN where it has none."""
    low, high = (summary.get(str(Name.parse(key).ending(end))) for end in ("low", "high"))
    return (math.nan, math.nan) if low is None or high is None else (low, high)


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that occurs a second time."""
    seen: set[str] = set()
    # A set's add returns None, so a new name is remembered and passed over.
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


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


def as_arguments(text: str) -> dict[str, Any]:
    """``img_size=32,depths=(1,1,1,1),act=gelu`` → Python values; a bare word is a string."""
    try:
        keywords = getattr(ast.parse(f"f({text})", mode="eval").body, "keywords", [])
        return {
            str(k.arg): k.value.id if isinstance(k.value, ast.Name) else ast.literal_eval(k.value) for k in keywords
        }
    except (SyntaxError, ValueError):
        raise UserError(f"arch_kwargs '{text}' is not understood; write img_size=32,depths=(1,1,1,1)") from None


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
    brackets = ",".join(f"{k}={exactly(v) if isinstance(v, float) else v}" for k, v in changed.items())
    return (f"@{target}" if target else "") + (f"[{brackets}]" if brackets else "")


def exactly(value: float) -> str:
    """A number's shortest text that reads back as the same: ``0.1``, ``4/255``."""
    if float(f"{value:g}") == value:
        return f"{value:g}"
    steps = round(255 * value) if math.isfinite(value) else 0
    return f"{steps}/255" if steps / 255 == value else repr(value)


def as_radius(eps: float) -> str:
    """``4/255`` where it is a whole number of 8-bit steps below 1; else the number."""
    steps = round(255 * eps) if math.isfinite(eps) else 0
    if 0 < steps < 255 and math.isclose(eps, steps / 255, rel_tol=1e-9):
        return f"{steps}/255"
    return f"{eps:g}"


def as_number(text: str) -> float:
    """A decimal number or a fraction: ``0.1``, ``4/255``."""
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(text)


def check_radius(eps: float, norm: str = "linf") -> None:
    """Refuse what is no radius of an attack."""
    if not 0 < eps <= (1 if norm == "linf" else math.inf):
        raise UserError(f"eps is {eps:g}; wanted an attack's radius in pixels of [0, 1], such as 4/255")


def snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def first_sentence(doc: str | None) -> str:
    """What a docstring's first paragraph claims, on one line."""
    paragraph = " ".join((doc or "").strip().split("\n\n")[0].split())
    return paragraph.removesuffix(".").replace("``", "")
