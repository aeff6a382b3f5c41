"""Methods registered by name: one new file adds one, and its parameters have one spelling.

``edge_concentration:sigma=2,null=false`` means the same on the command line, in a config file, in a
Python call and in a run's provenance.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gradlens._types import UserError, digest


class Registry(Mapping[str, Any]):
    """A mapping from name to method that imports every module of ``package`` when first read."""

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._methods: dict[str, Any] = {}
        self._discovered = False

    def __call__(self, method: Any) -> Any:
        """Register a function or a dataclass under its name in snake case."""
        name = snake_case(method.__name__)
        known = self._methods.get(name)
        if known is not None and known.__module__ != method.__module__:
            raise UserError(
                f"{self.kind} '{name}' is defined in {known.__module__} and again in "
                f"{method.__module__}; rename one of them"
            )
        self._methods[name] = method
        return method

    def __getitem__(self, name: str) -> Any:
        self._discover()
        if name not in self._methods:
            raise UserError(unknown(self.kind, name, self._methods))
        return self._methods[name]

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._methods))

    def __len__(self) -> int:
        self._discover()
        return len(self._methods)

    def build(self, spec: str) -> Any:
        """An instance, or a partial function, from ``name:parameter=value,…``."""
        name, text = parse_spec(spec)
        method = self[name]
        parameters = typed_parameters(method, text, f"{self.kind} '{name}'")
        if inspect.isclass(method):
            return method(**parameters)
        return partial(method, **parameters) if parameters else method

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        self._discovered = True


objective = Registry("objective", "gradlens.objectives")
edge_map = Registry("edge map", "gradlens.edges")
attack = Registry("attack", "gradlens.attacks")
analyzer = Registry("analyzer", "gradlens.analyzers")
figure = Registry("figure", "gradlens.plotting")
penalty = Registry("penalty", "gradlens.penalties")
command = Registry("command", "gradlens.commands")

KINDS: dict[str, Registry] = {
    "analyzers": analyzer,
    "attacks": attack,
    "edge_maps": edge_map,
    "figures": figure,
    "objectives": objective,
    "penalties": penalty,
}


def methods(kind: str) -> Registry:
    """The methods of one kind, by name: analyzers, attacks, edge_maps, figures, objectives or penalties."""
    if kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    return KINDS[kind]


def load_plugin(path: str) -> None:
    """Import a user's file, whose decorators register its methods."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"plugin {path} is not a file; give the path of a Python file")
    name = f"gradlens_plugin_{digest(str(file.resolve()))}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin {path} is not a Python file; give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, since dataclasses look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"plugin {path} failed to import: {error!r}") from error


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


def typed_parameters(method: Callable, text: Mapping[str, str], what: str) -> dict[str, Any]:
    """The parameters' values in the types that the method's signature annotates."""
    signature = inspect.signature(method)
    hints = typing.get_type_hints(method)
    known = [n for n, p in signature.parameters.items() if p.default is not p.empty]
    values = {}
    for name, raw in text.items():
        if name not in known:
            raise UserError(unknown(f"parameter of {what}", name, known))
        try:
            values[name] = _convert(raw, hints.get(name, str))
        except (ValueError, ZeroDivisionError):
            raise UserError(f"{what}: {name}={raw} is not a {getattr(hints[name], '__name__', hints[name])}") from None
    return values


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


def _convert(text: str, kind: Any) -> Any:
    kinds = typing.get_args(kind) or (kind,)
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if int in kinds and float not in kinds:
        return int(text)
    return number(text) if float in kinds else text
