"""Finds the activations that a forward calls as functions, and writes its code anew with another one."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections import ChainMap
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradlens.core.types import UserError

# Not relu6, softplus, sigmoid or tanh, which as functions are parts of gates and scales more often.
NAMES = ("relu", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish")
FUNCTIONS: dict[Any, str] = {
    getattr(home, name + tail): name.replace("_", "")
    for home in (F, torch, Tensor)
    for name in NAMES
    for tail in ("", "_")
    if hasattr(home, name + tail)
}
METHODS = [f.__name__ for f in FUNCTIONS if isinstance(f, MethodDescriptorType)]


@functools.cache
def calls_of(kind: type) -> CallsOf:
    """What a class calls as it is."""
    return CallsOf(kind)


class CallsOf:
    """What the forward of a class calls, with its own methods and the plain functions that it leads to.

    sites: the activations called as functions, a name for each place in the code. statements: the
    children that are called without use of what they return. methods: with ``called``, those in
    which it stands in the place of these activations.
    """

    def __init__(self, kind: type, called: Any = None):
        self.kind, self.called = kind, called
        self.sites: list[str] = []
        self.statements: set[str] = set()
        self.methods: dict[str, Any] = {}
        self._seen: dict[FunctionType, FunctionType] = {}
        self.method("forward")

    def method(self, name: str) -> None:
        """Follow one of the class's own methods."""
        own = inspect.getattr_static(self.kind, name, None)
        new = self.rewritten(own)
        if new is not own:
            self.methods[name] = new

    def rewritten(self, function: Any) -> Any:
        """A function with its activations replaced, and those it leads to; itself where there are none."""
        if not isinstance(function, FunctionType) or _is_librarys(function):
            return function
        if function not in self._seen:
            # Before it is read, since it may call itself.
            self._seen[function] = function
            change, tree = _Change(self, function), _parsed(function)
            if tree is not None:
                change.visit(tree)
            if tree is not None and change.values and self.called:
                self._seen[function] = _compiled(tree, function, change.values, self.called)
        return self._seen[function]


class _Change(ast.NodeTransformer):
    """The code of one function on the way to calling another activation; values are what its new names stand for."""

    def __init__(self, calls: CallsOf, function: FunctionType):
        self.calls = calls
        self.receiver, self.names = _names(inspect.unwrap(function), calls.kind)
        self.values: dict[str, Any] = {}

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if isinstance(called, ast.Attribute) and self._is_receiver(called.value):
            self.calls.statements.add(called.attr)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        # A tensor's method takes no argument, unlike a child of that name.
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and not node.args:
            name = self._activation(node.func.attr)
            return ast.Call(name, [self.visit(node.func.value)], [])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._visited(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if self._is_receiver(node.value):
            self.calls.method(node.attr)
            return node
        return self._visited(node)

    def _visited(self, node: ast.Name | ast.Attribute) -> ast.AST:
        value = _value(node, self.names)
        if isinstance(value, FunctionType | BuiltinFunctionType) and value in FUNCTIONS:
            return self._activation(value.__name__)
        new = self.calls.rewritten(value)
        if new is value:
            return self.generic_visit(node)
        if isinstance(node, ast.Attribute) and _is_super(node.value):
            bind = ast.Attribute(self._put(new), "__get__", ast.Load())
            return ast.Call(bind, [ast.Name(self.receiver, ast.Load())], [])
        return self._put(new)

    def _activation(self, function: str) -> ast.expr:
        self.calls.sites.append(function.replace("_", ""))
        called = self._put(self.calls.called)
        return ast.Attribute(called, "in_place", ast.Load()) if function.endswith("_") else called

    def _put(self, value: Any) -> ast.Name:
        name = f"_swapped{len(self.values)}"
        self.values[name] = value
        return ast.Name(name, ast.Load())

    def _is_receiver(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self.receiver


def _names(function: FunctionType, kind: type) -> tuple[str, Mapping[str, Any]]:
    """The name of the first argument if it is a method's, and what the names of a function's code stand for."""
    own = [k for k in kind.__mro__ if _unwrapped(vars(k).get(function.__name__)) is function]
    code = function.__code__
    receiver = code.co_varnames[0] if own and code.co_argcount else ""
    closed = dict(zip(code.co_freevars, _cells(function), strict=True))
    return receiver, ChainMap(dict.fromkeys(code.co_varnames), closed, function.__globals__)


def _cells(function: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or ()]


def _unwrapped(method: Any) -> Any:
    return inspect.unwrap(method) if isinstance(method, FunctionType) else None


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """What a name stands for, or an attribute of a Python module, a class or ``super()``; else None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if _is_super(node):
        kind = names.get("__class__")
        return kind and super(kind, kind)
    if not isinstance(node, ast.Attribute):
        return None
    owner = _value(node.value, names)
    return getattr(owner, node.attr, None) if isinstance(owner, ModuleType | type | super) else None


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_librarys(function: FunctionType) -> bool:
    """Of Python or torch, apart from torch's own network modules."""
    home = function.__module__ or ""
    package = home.partition(".")[0]
    return package in sys.stdlib_module_names or (package == "torch" and not home.startswith("torch.nn.modules"))


def _parsed(function: FunctionType) -> ast.FunctionDef | None:
    """A function's definition, bare of decorators and annotations; None where its source cannot be read."""
    inner = inspect.unwrap(function)
    try:
        lines, start = inspect.getsourcelines(inner)
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, TypeError, SyntaxError):  # typed into a prompt, or a lambda amid a line
        return None
    if not isinstance(tree, ast.FunctionDef):
        return None
    ast.increment_lineno(tree, start - 1)
    tree.decorator_list, tree.returns = [], None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.Attribute):
            node.attr = _mangled(node.attr, inner)
    return tree


def _mangled(name: str, function: FunctionType) -> str:
    """A private name as the compiler writes it inside a class."""
    owner = function.__qualname__.rpartition(".")[0].rpartition(".")[2].lstrip("_")
    return f"_{owner}{name}" if name.startswith("__") and not name.endswith("__") and owner else name


def _compiled(tree: ast.FunctionDef, function: FunctionType, values: dict[str, Any], called: Any) -> FunctionType:
    """The changed definition as a function with the old one's globals, closure, defaults and place in its file."""
    if inspect.unwrap(function) is not function:
        raise UserError(
            f"{function.__qualname__} calls an activation as a function under a decorator, where it cannot be "
            "swapped; give it as a module (nn.ReLU)"
        )
    free = {**dict(zip(function.__code__.co_freevars, _cells(function), strict=True)), **values}
    tree.args.defaults = [ast.Constant(None) for _ in tree.args.defaults]
    tree.args.kw_defaults = [d and ast.Constant(None) for d in tree.args.kw_defaults]
    module = ast.parse(f"def _factory({', '.join(free)}):\n    return {tree.name}")
    module.body[0].body.insert(0, tree)  # type: ignore[attr-defined]
    made: dict[str, Any] = {}
    code = compile(ast.fix_missing_locations(module), function.__code__.co_filename, "exec", dont_inherit=True)
    exec(code, function.__globals__, made)
    new: Any = functools.update_wrapper(made["_factory"](*free.values()), function)
    del new.__wrapped__
    new.__defaults__ = function.__defaults__ and tuple(_swapped(d, called) for d in function.__defaults__)
    new.__kwdefaults__ = {k: _swapped(d, called) for k, d in (function.__kwdefaults__ or {}).items()} or None
    return new


def _swapped(default: Any, called: Any) -> Any:
    return called if isinstance(default, FunctionType | BuiltinFunctionType) and default in FUNCTIONS else default
