"""The command line: words → a command, and what goes wrong → one line and an exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import tyro

from gradlens.core.fields import wanted
from gradlens.core.names import unknown
from gradlens.core.registry import command as commands
from gradlens.core.registry import load_plugin
from gradlens.core.types import Interrupted, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _print_anything()
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
            return 0
        if words[0] == "--version":
            print(f"gradlens {version('gradlens')}")
            return 0
        if words[0] not in commands:
            raise UserError(unknown("command", words[0], commands))
        chosen = parse(commands[words[0]], words[0], words[1:])
        for plugin in chosen.plugin:
            load_plugin(str(plugin))
        result = chosen.run()
        if chosen.json:
            print(json.dumps(result, default=str))
        # Not of the stream itself, which is None where it was closed.
        print(end="", flush=True)
        return 0
    except UserError as error:
        print(f"gradlens: {error}", file=sys.stderr)
        return 2
    except Interrupted as signal:
        print(f"gradlens: stopped by {signal}; finished batches are kept: add --resume to go on", file=sys.stderr)
        return 75
    except KeyboardInterrupt:
        print("gradlens: stopped", file=sys.stderr)
        return 75
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except OSError as error:
        # A file's error has the file's name.
        if error.filename is not None:
            raise
        _print_nothing_more()
        print(f"gradlens: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2


def _print_anything() -> None:
    """What an ASCII terminal or a name that is not UTF-8 would make an error is printed as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_nothing_more() -> None:
    """What is left in the buffer would fail again when Python flushes it at the end."""
    with contextlib.suppress(OSError, AttributeError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _overview() -> str:
    rows = [f"  {name:<10}{commands.claim(name)}" for name in commands]
    return "\n".join(
        [
            "gradlens: what the gradients of a classifier with respect to its natural input look like",
            "",
            "usage: gradlens COMMAND …          gradlens COMMAND --help          gradlens --version",
            "",
            *rows,
        ]
    )


_DRAWING = re.compile(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]+|-{9,}")


def parse(command: Any, name: str, words: Sequence[str]) -> Any:
    """An instance of the command's dataclass; raises UserError for what does not fit."""
    # A command whose flags depend on its words, such as a study's parameters, brings them into its own.
    words = getattr(command, "arranged", list)(words)
    _check_flags(command, name, words)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(command, args=list(words), prog=f"gradlens {name}", description=command.__doc__)
    except SystemExit as leaving:
        if not leaving.code:
            raise
        kinds = typing.get_type_hints(command)
        raise UserError(f"{_in_our_words(said.getvalue(), words, kinds, name)}; see gradlens {name} --help") from None


def _check_flags(command: Any, name: str, words: Sequence[str]) -> None:
    """Refuse a flag that the command does not have, offering the nearest."""
    fields = {f.name.replace("_", "-"): f.type for f in dataclasses.fields(command)}
    known = {f"--{f}" for f in fields} | {f"--no-{f}" for f, kind in fields.items() if kind == "bool"} | {"--help"}
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UserError(unknown(f"flag of {name}", flag, known))


def _in_our_words(drawn: str, words: Sequence[str], kinds: Mapping[str, Any], name: str) -> str:
    """What tyro refuses, by the flag, what was given there and the kind of value that it wants."""
    said = _one_line(drawn)
    if (behind := re.match(r"Unrecognized options: ([^-,][^,]*)", said)) and behind[1] in words:
        return f"'{behind[1]}' stands behind a flag; give checkpoints, runs and pictures before the flags"
    if lacking := re.match(r"Missing from .*?: (?:-\w \S+, )?(--[\w-]+) \S+ (.*?)(?: \(required\)|$)", said):
        return f"{name} needs {lacking[1]}: {lacking[2]}"
    flag = re.match(r"(?:Error parsing|Missing value for argument) '?(?:-\w/)?(--[\w-]+)", said)
    if flag is None or _field(flag[1]) not in kinds:
        return said
    given = " ".join(_given(words, flag[1], re.findall(r"(-\w)/--", said)))
    spaced = ", with spaces between them" if "," in given else ""
    return f"{flag[1]} {given or 'has no value'}; wanted {wanted(kinds[_field(flag[1])])}{spaced}"


def _field(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _given(words: Sequence[str], flag: str, aliases: Sequence[str]) -> list[str]:
    """The words behind a flag, up to the next one."""
    at = next(
        (i for i, word in enumerate(words) if word in aliases or _field(word.partition("=")[0]) == _field(flag)), 0
    )
    inside, behind = words[at].partition("=")[2], words[at + 1 :]
    return [inside] if inside else list(itertools.takewhile(lambda word: not re.match("--|-[a-z]", word), behind))


def _one_line(drawn: str) -> str:
    """The first paragraph inside the box, after its title; where the terminal is ASCII it is ruled with hyphens."""
    lines = [" ".join(_DRAWING.sub(" ", line).split()) for line in drawn.splitlines()[1:]]
    paragraph = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
    return " ".join(paragraph).rstrip(".:") or "the command line cannot be read"
