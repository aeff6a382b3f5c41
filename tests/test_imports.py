"""Imports run one way: a room may know those on the lines below it, never one beside or above it."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradlens

# From the ground up; rooms of one line do not know each other.
LAYERS = [
    ["core"],
    ["models", "data", "stats"],
    ["probes", "runs"],
    ["analyzers", "plotting"],
    ["analysis", "training", "report"],
    ["studies"],
    ["session"],
    ["__init__", "extend"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, line in enumerate(LAYERS) for room in line}
WITHOUT_TORCH = ("stats", "runs", "plotting", "report")
CORE_WITHOUT_TORCH = ("types", "registry", "names", "numbers", "table", "files", "notebook", "progress")

ROOT = Path(gradlens.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def dotted(file):
    """``gradlens.core.types``; a folder's front door has the folder's name."""
    return ".".join(["gradlens", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {dotted(file): file for file in FILES}


def room_of(module):
    return (module.removeprefix("gradlens").strip(".") or "__init__").partition(".")[0]


def imports(source):
    """``(module, name)`` of every import that runs, also within functions; those for type checkers do not."""
    found = []

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            found.extend((node.module, alias.name) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def own_imports(source, known=frozenset(MODULES)):
    """The package's modules that a file imports: of ``from gradlens.data import _store`` the file ``_store``."""
    pairs = [(m, n) for m, n in imports(source) if m.partition(".")[0] == "gradlens"]
    return sorted({f"{m}.{n}" if f"{m}.{n}" in known or (m == "gradlens" and n) else m for m, n in pairs})


def upward(module, source):
    """The modules of other rooms that a file imports and should not know."""
    found = []
    for other in own_imports(source):
        mine, theirs = room_of(module), room_of(other)
        if mine == theirs:
            continue
        if theirs not in RANK:
            found.append(f"{other}, which has no layer")
        elif RANK[theirs] >= RANK[mine]:
            found.append(other)
    return found


def circles(arrows):
    """Sets of modules that reach each other, by Tarjan's strongly connected components."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


each_module = pytest.mark.parametrize("module", MODULES)
SOURCES = {module: file.read_text() for module, file in MODULES.items()}


@each_module
def test_file_imports_only_from_rooms_below(module):
    assert room_of(module) in RANK, f"give {room_of(module)} its line in {Path(__file__).name}"
    assert upward(module, SOURCES[module]) == []


def test_no_circle_of_files_not_even_inside_a_room():
    assert circles({m: [o for o in own_imports(s) if o != m] for m, s in SOURCES.items()}) == []


def test_an_underscore_marks_what_no_other_room_imports():
    arrows = [(m, o) for m, s in SOURCES.items() for o in own_imports(s) if room_of(m) != room_of(o)]
    private = [f"{m} imports {o}" for m, o in arrows if o.rpartition(".")[2].startswith("_")]
    assert private == []


def test_every_room_says_what_it_knows():
    rooms = [folder for folder in ROOT.rglob("*") if folder.is_dir() and any(folder.glob("*.py"))]
    for room in rooms:
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text())), room


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in WITHOUT_TORCH])
def test_rooms_of_results_do_without_torch(module):
    heavy = {"torch", "torchvision", "timm", "captum"}
    assert [m for m, _ in imports(SOURCES[module]) if m.partition(".")[0] in heavy] == []


def test_front_door_imports_nothing_of_ours_at_once():
    tree = ast.parse(SOURCES["gradlens"])
    assert [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module.startswith("gradlens")] == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("gradlens.data._store", "from gradlens.probes.probe import Probe", ["gradlens.probes.probe"]),
        ("gradlens.data._store", "import gradlens.models", ["gradlens.models"]),
        ("gradlens.models._load", "from gradlens import data", ["gradlens.data"]),
        ("gradlens.models._load", "def f():\n    from gradlens import data", ["gradlens.data"]),
        ("gradlens.data", "from gradlens.data._load import x\nfrom gradlens.core import types", []),
        (
            "gradlens.runs.record",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gradlens import cli",
            [],
        ),
        (
            "gradlens.runs.record",
            "class R:\n    def f(self):\n        from gradlens.plotting import draw",
            ["gradlens.plotting"],
        ),
        ("gradlens.cli.main", "from gradlens.new import x", ["gradlens.new, which has no layer"]),
    ],
)
def test_wrong_directions_are_seen(module, source, expected):
    assert upward(module, source) == expected


def test_circles_are_seen():
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}) == [["b", "c"]]
    assert own_imports("from gradlens.data import _store, load_data") == ["gradlens.data", "gradlens.data._store"]


def test_import_costs_nothing_and_results_need_no_torch():
    figures = [f"gradlens.plotting.{m.name}" for m in pkgutil.iter_modules([str(ROOT / "plotting")])]
    rooms = [f"gradlens.{room}" for room in WITHOUT_TORCH] + [f"gradlens.core.{file}" for file in CORE_WITHOUT_TORCH]
    code = (
        "import importlib, sys, gradlens\n"
        "assert not {'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules), 'import gradlens'\n"
        f"for name in {rooms + figures}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
