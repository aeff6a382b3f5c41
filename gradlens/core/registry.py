"""Methods registered by name: one new file adds one, and its parameters have one spelling.

``edge_concentration:sigma=2,null=false`` means the same on the command line, in a config file, in a
Python call and in a run's provenance.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from gradlens.core.names import as_number, first_sentence, parse_spec, snake_case, unknown
from gradlens.core.types import UserError, digest


class Registry(Mapping[str, Any]):
    """A mapping from name to method that imports a method's file when the method is asked for, and no other.

    What there is, and the first sentence of each, is read from the texts of the files of ``package``: a
    top-level definition under a decorator of the kind's name. A plugin registers by the same decorator.
    """

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._methods: dict[str, Any] = {}

    def __call__(self, method: Any) -> Any:
        """Register a function or a dataclass under its name in snake case."""
        name = snake_case(method.__name__)
        known = self._methods.get(name)
        home = known.__module__ if known is not None else self._files[name].module if name in self._files else None
        self._check_home(name, method.__module__, home)
        self._methods[name] = method
        return method

    def __getitem__(self, name: str) -> Any:
        if name not in self._methods and name in self._files:
            importlib.import_module(self._files[name].module)
        if name not in self._methods:
            raise UserError(unknown(self.kind, name, self))
        return self._methods[name]

    def __contains__(self, name: object) -> bool:
        return name in self._methods or name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._methods, *self._files}))

    def __len__(self) -> int:
        return len({*self._methods, *self._files})

    def claim(self, name: str) -> str:
        """The first sentence of a method's docstring, on one line; imports nothing of ours."""
        doc = self._methods[name].__doc__ if name in self._methods else self._files[name].doc
        return first_sentence(doc)

    def _check_home(self, name: str, module: str, home: str | None) -> None:
        if home not in (None, module):
            raise UserError(f"{self.kind} '{name}' is defined in {home} and again in {module}; rename one of them")

    def ours(self, spec: str) -> bool:
        """Whether a method came with the package rather than from a plugin."""
        return parse_spec(spec)[0] in self._files

    def build(self, spec: str, **given: Any) -> Any:
        """An instance, or a partial function, from ``name:parameter=value,…`` and from parameters as they are."""
        name, text = parse_spec(spec)
        method, what = self[name], f"{self.kind} '{name}'"
        _check_known(method, given, what)
        parameters = typed_parameters(method, text, what) | given
        if inspect.isclass(method):
            return method(**parameters)
        return partial(method, **parameters) if parameters else method

    @cached_property
    def _files(self) -> dict[str, _Defined]:
        """Where each method of ours is defined, without importing it."""
        package = importlib.util.find_spec(self.package)
        folders = package.submodule_search_locations if package else None
        mark = self.kind.replace(" ", "_")
        found: dict[str, _Defined] = {}
        for file in sorted(file for folder in folders or () for file in Path(folder).glob("*.py")):
            text = file.read_text(encoding="utf-8")
            if f"\n@{mark}\n" not in text:
                continue
            for node in ast.parse(text).body:
                marks = [ast.unparse(one) for one in getattr(node, "decorator_list", ())]
                if mark in marks and isinstance(node, ast.FunctionDef | ast.ClassDef):
                    name, module = snake_case(node.name), f"{self.package}.{file.stem}"
                    self._check_home(name, module, found[name].module if name in found else None)
                    found[name] = _Defined(module, ast.get_docstring(node) or "")
        return found


class _Defined(NamedTuple):
    module: str
    doc: str


objective = Registry("objective", "gradlens.probes.objectives")
edge_map = Registry("edge map", "gradlens.probes.edges")
attack = Registry("attack", "gradlens.probes.attacks")
analyzer = Registry("analyzer", "gradlens.analyzers")
figure = Registry("figure", "gradlens.plotting")
penalty = Registry("penalty", "gradlens.training.penalties")
corruption = Registry("corruption", "gradlens.probes.corruptions")
study = Registry("study", "gradlens.studies")
command = Registry("command", "gradlens.cli.commands")

KINDS: dict[str, Registry] = {
    "analyzers": analyzer,
    "attacks": attack,
    "corruptions": corruption,
    "edge_maps": edge_map,
    "figures": figure,
    "objectives": objective,
    "penalties": penalty,
    "studies": study,
}


def methods(kind: str) -> Registry:
    """The methods of one kind, by name, such as ``methods("analyzers")``; an unknown kind lists them all."""
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
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: a script is not meant to be imported
        raise UserError(f"plugin {path} failed to import: {error!r}") from error


def typed_parameters(method: Callable, text: Mapping[str, str], what: str) -> dict[str, Any]:
    """The parameters' values in the types that the method's signature annotates."""
    _check_known(method, text, what)
    hints = typing.get_type_hints(method)
    values = {}
    for name, raw in text.items():
        try:
            values[name] = _convert(raw, hints.get(name, str))
        except (ValueError, ZeroDivisionError):
            raise UserError(f"{what}: {name}={raw} is not a {getattr(hints[name], '__name__', hints[name])}") from None
    return values


def parameters_of(method: Callable) -> dict[str, Any]:
    """A method's parameters with their defaults, as it is asked for with others."""
    given = inspect.signature(method).parameters.items()
    return {name: p.default for name, p in given if p.default is not p.empty}


def _check_known(method: Callable, given: Iterable[str], what: str) -> None:
    known = parameters_of(method)
    for name in given:
        if name not in known:
            raise UserError(unknown(f"parameter of {what}", name, known))


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
