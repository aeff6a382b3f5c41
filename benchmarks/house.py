"""Counts the house: files and code lines of each room, and the files that one analysis and one figure run through.

Code lines leave out blanks, comments and docstrings. A file is run through where the body of one of its
functions runs, in a fresh process, module bodies not counted. Results: ``benchmarks/results/house.json``.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path

import gradlens

ROOT = Path(gradlens.__file__).parent
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}

# Prints the package's files of which a function body runs while main(words) does.
WATCH = """
import json, sys, threading
from pathlib import Path
import gradlens
root, seen = str(Path(gradlens.__file__).parent), set()

def watch(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(root) and code.co_name not in ("<module>", "<lambda>"):
        # A class's body runs as its module is imported.
        if code.co_flags & 2:
            seen.add(code.co_filename)

from gradlens.cli.main import main
sys.setprofile(watch)
threading.setprofile(watch)
code = main(json.loads(sys.argv[1]))
sys.setprofile(None)
print("FILES", json.dumps([code, sorted(Path(f).relative_to(root).as_posix() for f in seen)]))
"""


def code_lines(file: Path) -> int:
    """Lines that hold code."""
    text, lines = file.read_text(), set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                lines -= set(range(body[0].lineno, body[0].end_lineno + 1))
    return len(lines)


def rooms() -> dict[str, dict[str, int]]:
    """Files, code lines and files of under sixty lines of each room, and of all."""
    found: dict[str, dict[str, int]] = {}
    for file in sorted(ROOT.rglob("*.py")):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in (room, "all"):
            row = found.setdefault(name, {"files": 0, "code_lines": 0, "small_files": 0})
            row["files"] += 1
            row["code_lines"] += code_lines(file)
            row["small_files"] += file.read_text().count("\n") < 60
    return found


def files_run(words: list[str]) -> list[str]:
    """The package's files that a command runs through."""
    done = subprocess.run([sys.executable, "-c", WATCH, json.dumps(words)], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FILES ")]
    if not lines or json.loads(lines[0][6:])[0]:
        sys.exit(f"gradlens {' '.join(words)} failed: {done.stderr}")
    return json.loads(lines[0][6:])[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        checkpoint = "gradlens.models._zoo:digits_cnn"
        words = ["analyze", checkpoint, "--normalized", "--data", "digits", "--limit", "100"]
        analyzed = files_run([*words, "--analyzers", "sample_asymmetry", "-o", run])
        drawn = files_run(["figure", "gradient_norm_distribution", run, "-o", f"{folder}/figure.pdf"])
    entries = sorted(p.name for p in ROOT.iterdir() if p.name != "__pycache__")
    found = {
        "entries": len(entries),
        "rooms": rooms(),
        "files_of_one_analysis": len(analyzed),
        "files_of_one_figure": len(drawn),
        "of_one_analysis": analyzed,
        "of_one_figure": drawn,
    }
    out = Path(__file__).parent / "results" / "house.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    for room, row in found["rooms"].items():
        print(f"{room:12} {row['files']:4} files {row['code_lines']:6} code lines, {row['small_files']} small files")
    print(f"{len(entries)} entries; one analysis runs through {len(analyzed)} files, one figure through {len(drawn)}")


if __name__ == "__main__":
    main()
