"""``list`` names every method of every kind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run

import gradlens


def test_list_names_every_kind(place, capsys):
    assert run(place, "list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("pgd", "canny", "edge_overlay", "sampled_logit", "class_selectivity"))


def test_list_explains_a_method_with_its_parameters_as_they_are_asked_for(place, capsys):
    from gradlens.analyzers import choose_analyzers, name_of

    assert run(place, "list robustness --json") == 0
    said = capsys.readouterr().out
    assert "analyzers  robustness:attack=pgd,norm=linf,eps=4/255,steps=10" in said
    assert "Wilson's interval" in said
    told = json.loads(said.splitlines()[-1])["analyzers"]
    assert told["parameters"]["steps"] == 10
    for spec in ("robustness:attack=pgd,norm=linf,eps=4/255,steps=10", "minimal_eps:low=0.01,high=0.15,points=15"):
        (built,) = choose_analyzers(spec)
        assert name_of(built) == spec.partition(":")[0]


def test_list_offers_the_nearest_of_kinds_and_methods(place, capsys):
    assert run(place, "list edge_concentrations") == 2
    assert "edge_concentration" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("word", ["list", "--version"])
def test_output_that_cannot_be_written_is_one_line(word):
    words = [sys.executable, "-m", "gradlens", word]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gradlens: the output cannot be written: ")
    assert done.stderr.count("\n") == 1


def test_version_is_the_packages(place, capsys):
    assert run(place, "--version") == 0
    assert capsys.readouterr().out == f"gradlens {gradlens.__version__}\n"
