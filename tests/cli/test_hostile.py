"""Files that somebody else gives are refused in one line, run nothing, write nothing and take little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
MOST_BYTES = 2_000_000_000
# Each stays below this with room for a slow machine; a pipe that is waited for never ends.
MOST_SECONDS = 60
# Begun before a picture was looked at: the folder that was asked for, and the contract of its run.
BEGUN = {"out", "out/parts", "out/parts/contract.json", "trained_method"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, Any]:
    """Every case in one process of its own, since memory is counted and a crash is to be seen."""
    place = tmp_path_factory.mktemp("hostile")
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    # Whatever would be fetched has nowhere to come from.
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    words = [sys.executable, str(TESTS / "hostile.py"), str(place)]
    done = subprocess.run(
        words, env={**os.environ, **closed, "PYTHONPATH": path}, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, done.stderr
    return {"place": place, **json.loads((place / "outcomes.json").read_text())}


def test_each_is_one_line_and_no_traceback(corpus):
    assert len(corpus["cases"]) > 140
    for name, found in corpus["cases"].items():
        assert found["trace"] == "", name
        assert found["code"] == 2, (name, found["said"])
        assert found["said"].startswith("gradlens: "), name
        assert found["said"].count("\n") == 1, (name, found["said"])


def test_what_they_say_holds_no_escape_and_no_further_line(corpus):
    for name, found in corpus["cases"].items():
        said = found["said"].removesuffix("\n")
        assert said.isprintable(), name


def test_none_runs_code_or_leaves_a_file(corpus):
    place = corpus["place"]
    assert not list(place.rglob("canary"))
    assert {str(Path(path).relative_to(place)) for path in corpus["made"]} <= BEGUN
    assert not (place.parent / "escaped").exists()
    assert not Path("/tmp/escaped").exists()


def test_none_takes_much_memory_or_time(corpus):
    for name, found in corpus["cases"].items():
        assert found["peak"] < MOST_BYTES, name
        assert found["seconds"] < MOST_SECONDS, name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint opens_checkpoint_path.pt", ["checkpoint_path", "may open files or the network"]),
        ("configuration hf_pretrained", ["pretrained", "may open files or the network"]),
        ("checkpoint arch_hub.pt", ["hf-hub:timm/resnet18", "not inside it"]),
        ("checkpoint arch_code.pt", ["net.py:net", "--trust-pickle"]),
        ("checkpoint inside.pt", ["builtins.exec", "refuses"]),
        ("checkpoint classes_many.pt", ["900,000"]),
        ("checkpoint size_huge.pt", ["1000000000"]),
        ("checkpoint tensor_sparse.pt", ["sparse"]),
        ("checkpoint fifo.pt", ["pipe"]),
        ("configuration hf_deep", ["nested too deep"]),
        ("data header.tar", ["a header of 8,589,934,592 bytes"]),
        ("manifest up", ["../../escaped", "folder's name"]),
        ("manifest color", ["#D55E³00", "a colour"]),
        ("preset method", ["-3", "steps"]),
        ("plugin exits", ["SystemExit"]),
    ],
)
def test_the_reason_is_the_fault(name, words, corpus):
    said = corpus["cases"][name]["said"]
    assert [word for word in words if word not in said] == [], said
