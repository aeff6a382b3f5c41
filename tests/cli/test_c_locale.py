"""In a C locale a run is written, resumed, drawn and read as in any other, names of classes and files included."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from agreement import assert_same
from PIL import Image

from gradlens import Run

pytestmark = pytest.mark.slow
MODEL = ["gradlens.models._zoo:digits_cnn", "--mean", "0.5", "0.5", "0.5", "--std", "0.2", "0.2", "0.2"]
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def gradlens(place, *words, **surroundings):
    """A process of its own, since Python learns its locale at its start."""
    command = [sys.executable, "-m", "gradlens", *map(str, words)]
    return subprocess.run(command, cwd=place, env={**os.environ, **surroundings}, capture_output=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures of two classes, whose names no byte of ASCII holds."""
    place, rng = tmp_path_factory.mktemp("locale"), np.random.default_rng(0)
    for name in ("Löwe", "猫"):
        folder = place / "Tiere" / name
        folder.mkdir(parents=True)
        for k in range(4):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"Bild-№{k}.png")
    for out, surroundings in (("utf8", {"PYTHONUTF8": "1"}), ("c", C_LOCALE)):
        done = gradlens(place, "analyze", *MODEL, "--data", "Tiere", "-o", out, **surroundings)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
    return place


def test_it_holds_the_same_numbers_and_names(place):
    one, other = (Run.load(place / name) for name in ("utf8", "c"))
    assert_same(one, other)
    assert one.samples["path"].tolist() == other.samples["path"].tolist()
    assert {path.split("/")[-2] for path in other.samples["path"]} == {"Löwe", "猫"}


@pytest.mark.parametrize(
    "words", ["compare a=utf8 b=c", "report utf8 -o report.html", "figure channel_distribution c -o c.pdf"]
)
def test_what_was_written_in_one_locale_is_read_in_the_other(words, place):
    done = gradlens(place, *words.split(), **C_LOCALE)
    said = done.stderr.decode(errors="replace")
    # Two runs of the same weights are refused for that, and not as damaged.
    assert done.returncode == 0 or "the same weights" in said, said
    assert "damaged" not in said


def test_a_finished_run_is_not_measured_again(place):
    done = gradlens(place, "analyze", *MODEL, "--data", "Tiere", "-o", "c", "--resume", **C_LOCALE)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
