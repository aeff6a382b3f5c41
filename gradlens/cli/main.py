"""The command line: finds the command, runs it, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 2 a user's mistake in one line, 1 our own fault, 75 interrupted and resumable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from gradlens.cli.words import parse
from gradlens.core.names import unknown
from gradlens.core.registry import command as commands
from gradlens.core.registry import load_plugin
from gradlens.core.types import Interrupted, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
            return 0
        if words[0] not in commands:
            raise UserError(unknown("command", words[0], commands))
        chosen = parse(commands[words[0]], words[0], words[1:])
        for plugin in chosen.plugin:
            load_plugin(str(plugin))
        result = chosen.run()
        if chosen.json:
            print(json.dumps(result, default=str))
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


def _overview() -> str:
    rows = [f"  {name:<10}{commands.claim(name)}" for name in commands]
    return "\n".join(
        [
            "gradlens: what the gradients of a classifier with respect to its natural input look like",
            "",
            "usage: gradlens COMMAND …          gradlens COMMAND --help",
            "",
            *rows,
        ]
    )
