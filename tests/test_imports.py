"""Imports run one way: a room may know those below it, never one beside or above it."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradlens

LAYERS = [
    ["_types"],
    ["_registry", "_randomness", "_statistics", "_tallies", "_files", "_distributed", "_notebook"],
    ["_run_folder", "_progress", "_held"],
    ["_hooks", "edges", "objectives", "attacks", "_parts", "_results", "_table"],
    ["_histories", "_families", "_export"],
    ["models", "data", "plotting", "_terminal", "_comparable", "_comparison_text"],
    ["_forward", "_plots", "_show"],
    ["_probe", "_differences", "_leaderboard", "_html"],
    ["_evaluation"],
    ["analyzers", "studies", "penalties", "_attribution", "_sessions", "_compare"],
    ["engines", "_loop", "_assemble", "report"],
    ["_pilot", "_provenance", "_preflight", "_manifest", "_protocols"],
    ["_session", "_measure"],
    ["_run", "_again", "training", "_doctor"],
    ["_demo", "_commandline"],
    ["_options"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
# Inside a method, and only there.
EXCEPTIONS = {
    *(("_results", room) for room in ("_again", "_export", "_html", "_plots", "_show", "plotting")),
    *(("_probe", room) for room in ("_html", "_show")),
}
WITHOUT_TORCH = (
    *("_results", "_statistics", "_tallies", "_registry", "_types", "plotting", "report"),
    *("_histories", "_families"),
    *("_run_folder", "_notebook", "_export", "_plots", "_show", "_html"),
    *("_table", "_comparable", "_comparison_text", "_differences", "_compare", "_leaderboard"),
)

ROOT = Path(gradlens.__file__).parent
FILES = [f for f in sorted(ROOT.rglob("*.py")) if f != ROOT / "__init__.py"]


def room_of(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def each(files):
    return pytest.mark.parametrize("file", files, ids=lambda f: f.relative_to(ROOT).as_posix())


each_file = each(FILES)
each_file_without_torch = each([f for f in FILES if room_of(f) in WITHOUT_TORCH])


def imports(source, package="gradlens"):
    """``(module, inside a function)`` of every import that runs; those for type checkers do not."""
    found = []

    def visit(node, inside):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module
            if module == "gradlens":
                found.extend((f"gradlens.{alias.name}", inside) for alias in node.names)
            else:
                found.append((module, inside))
        for child in ast.iter_child_nodes(node):
            visit(child, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(ast.parse(source), False)
    return found


def upward(room, source):
    """The rooms that a file of ``room`` imports and should not know."""
    found = []
    for module, inside in imports(source):
        package, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if package != "gradlens" or other == room or (inside and (room, other) in EXCEPTIONS):
            continue
        if other not in RANK:
            found.append(f"{module}, which has no layer")
        elif RANK[other] >= RANK[room]:
            found.append(module)
    return found


@each_file
def test_file_imports_only_from_rooms_below(file):
    room = room_of(file)
    assert room in RANK, f"give {room} its layer in {Path(__file__).name}"
    assert upward(room, file.read_text()) == []


@each_file_without_torch
def test_rooms_of_results_do_without_torch(file):
    heavy = {"torch", "torchvision", "timm", "captum"}
    assert [m for m, _ in imports(file.read_text()) if m.partition(".")[0] in heavy] == []


def test_front_door_imports_nothing_of_ours_at_once():
    source = (ROOT / "__init__.py").read_text()
    assert [m for m, _ in imports(source) if m.startswith("gradlens")] == []


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("edges", "from gradlens._probe import Probe", ["gradlens._probe"]),
        ("edges", "import gradlens.models", ["gradlens.models"]),
        ("models", "from gradlens import data", ["gradlens.data"]),
        ("models", "def f():\n    from gradlens import data", ["gradlens.data"]),
        ("data", "from gradlens.data._load import x\nfrom gradlens import _types", []),
        ("_probe", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gradlens import cli", []),
        ("_results", "from gradlens.plotting import draw", ["gradlens.plotting"]),
        ("_results", "class R:\n    def f(self):\n        from gradlens.plotting import draw", []),
        ("_results", "class R:\n    def f(self):\n        from gradlens._run import analyze", ["gradlens._run"]),
        ("cli", "from gradlens._new import x", ["gradlens._new, which has no layer"]),
    ],
)
def test_wrong_directions_are_seen(room, source, expected):
    assert upward(room, source) == expected


def test_import_costs_nothing_and_results_need_no_torch():
    figures = [f"gradlens.plotting.{m.name}" for m in pkgutil.iter_modules([str(ROOT / "plotting")])]
    rooms = [f"gradlens.{room}" for room in WITHOUT_TORCH]
    code = (
        "import importlib, sys, gradlens\n"
        "assert not {'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules), 'import gradlens'\n"
        f"for name in {rooms + figures}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
