"""Methods registered by name: one new file adds one, and its parameters have one spelling.

``edge_concentration:sigma=2,null=false`` means the same on the command line, in a config file, in a
Python call and in a run's provenance.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gradlens.core.names import as_number, parse_spec, snake_case, unknown
from gradlens.core.types import UserError, digest


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


objective = Registry("objective", "gradlens.probes.objectives")
edge_map = Registry("edge map", "gradlens.probes.edges")
attack = Registry("attack", "gradlens.probes.attacks")
analyzer = Registry("analyzer", "gradlens.analyzers")
figure = Registry("figure", "gradlens.plotting")
penalty = Registry("penalty", "gradlens.training.penalties")
command = Registry("command", "gradlens.cli.commands")
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
    return as_number(text) if float in kinds else text
