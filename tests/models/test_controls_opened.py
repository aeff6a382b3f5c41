"""Untrained twins that are opened again, refused, or measured beside their model from the command line."""

from __future__ import annotations

import json

import pytest
import torch
from commands import run
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens import Run, load_model
from gradlens.models import random_twin


@pytest.mark.parametrize("weights", ["raw", "ema", "auto"])
def test_the_options_of_a_twin_open_it_again(checkpoint, weights):
    model = load_model(checkpoint, weights=weights, device="cpu")
    twin = random_twin(model, 4)
    again = load_model(**twin.card.options, device="cpu")
    first, second = twin.net.state_dict(), again.net.state_dict()
    assert [k for k in first if not torch.equal(first[k], second[k])] == []
    assert again.card.weights == twin.card.weights
    assert again.card.name == twin.card.name
    assert again.card.notes == twin.card.notes


def test_a_run_of_a_twin_looks_again_at_its_images(checkpoint, tmp_path):
    model = load_model(checkpoint, weights="raw", device="cpu")
    twin = random_twin(model, 1)
    gl.analyze(twin, "digits", "sample_asymmetry", tmp_path / "run", limit=20, progress=False)
    run = Run.load(tmp_path / "run")
    row = run.samples.iloc[7]
    assert float(run.probe(int(row["index"])).loss) == pytest.approx(row["loss"], rel=1e-5)
    assert run.provenance["model"]["weights"] == "random"
    assert run.provenance["load_model"]["weights"] == "random:seed=1"


class Fixed(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Alone(nn.Sequential):
    def __deepcopy__(self, memo):
        raise RuntimeError("only one of me")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: random_twin(load_model(Fixed(), normalized=True)), ["Fixed", "no weight matrix"]),
        (
            lambda path: random_twin(load_model(Alone(nn.Linear(2, 2)), normalized=True)),
            ["cannot be copied", "only one of me"],
        ),
        (lambda path: load_model(path, weights="random:sed=1"), ["'sed'", "seed"]),
        (lambda path: load_model(path, weights="random:seed=x"), ["seed=x"]),
        (lambda path: load_model(path, weights="randon"), ["'randon'", "random"]),
        (lambda path: load_model(path, weights="cascade"), ["'cascade'", "random"]),
    ],
)
def test_a_mistake_is_one_line(checkpoint, make, words):
    with refused(*words):
        make(checkpoint)


LINE = "analyze two.pt --data digits --limit 40 -b 20 --examples 0 --analyzers sample_asymmetry"


def test_a_twin_is_measured_beside_its_model_from_one_decode(checkpoint, monkeypatch, capsys):
    from gradlens.data import Data

    read, original = [], Data.read
    monkeypatch.setattr(Data, "read", lambda self, indices: read.append(len(indices)) or original(self, indices))
    place = checkpoint.parent
    assert run(place, f"{LINE} --control random --seed 3 --json -o runs") == 0
    said = capsys.readouterr().out
    assert "a twin beside it" in said
    assert [r["model"] for r in json.loads(said.splitlines()[-1])["runs"]] == ["two", "two-random"]
    # Two batches of twenty, once for both; each model's pilot before them.
    assert read.count(20) == 2
    twin, again = Run.load(place / "runs/two-random"), random_twin(load_model(checkpoint, device="cpu"), 3)
    assert twin.provenance["load_model"]["weights"] == "random:seed=3"
    fresh = gl.analyze(again, "digits", "sample_asymmetry", limit=40, progress=False)
    assert twin.samples["loss"].to_numpy() == pytest.approx(fresh.samples["loss"].to_numpy(), rel=1e-5)


def test_every_kind_of_weights_has_its_own_twins(checkpoint):
    assert run(checkpoint.parent, f"{LINE} --weights raw,ema --control random -o kinds") == 0
    found = sorted(p.name for p in (checkpoint.parent / "kinds").iterdir())
    assert found == ["two-ema", "two-ema-random", "two-raw", "two-raw-random"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--control shuffled", ["'shuffled'", "random"]),
        ("--control random --weights random", ["--control", "untrained"]),
        ("--control random --weights raw,random", ["--control", "untrained"]),
    ],
)
def test_a_control_that_cannot_be_made_is_one_line(checkpoint, words, said, capsys):
    assert run(checkpoint.parent, f"{LINE} {words}") == 2
    error = capsys.readouterr().err
    assert [w for w in said if w not in error] == []
    assert error.count("\n") == 1
