"""Labels follow the class names of the model where both name them; what neither knows is said or refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from folders import classes
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.analysis.class_names import as_model_counts
from gradlens.data import imagenet_names
from gradlens.stats.intervals import at_chance

PIXELS = gl.Preprocess(12, 1.0)


def model_of(*names, count=None):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, count or len(names))
    )
    model = gl.load_model(net, normalized=True)
    model.card.__dict__.update(class_names=names, num_classes=count or len(names))
    return model


@pytest.mark.parametrize(
    ("model", "data", "labels"),
    [
        (("a", "b", "c"), ("a", "b", "c"), [0, 1, 2]),
        (("c", "b", "a"), ("a", "b", "c"), [2, 1, 0]),
        (("a", "b", "c"), ("b", "c"), [1, 2]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ("a", "b", "c"), [0, 1, 2]),
        (("goldfish", "Tench, Tinca tinca"), ("n01440764", "n01443537"), [1, 0]),
    ],
)
def test_labels_are_the_places_of_their_names(model, data, labels, tmp_path):
    named, said = as_model_counts(gl.load_data(classes(tmp_path / "set", *data)), model_of(*model))
    assert named.labels.tolist() == labels
    assert bool(said) == (labels != list(range(len(labels))))
    assert named.fingerprint == gl.load_data(tmp_path / "set").fingerprint


def test_some_of_imagenets_synsets_are_those_of_a_model_of_all(tmp_path):
    data = gl.load_data(classes(tmp_path / "set", "n01443537", "n03126707"))
    named, said = as_model_counts(data, model_of(count=1000))
    assert named.labels.tolist() == [1, 517]
    assert "n01443537 is 1, not 0" in said
    assert named.class_names == imagenet_names()[0]


def test_other_classes_are_refused_and_other_words_said(tmp_path):
    data = gl.load_data(classes(tmp_path / "set", "b", "c", "d"))
    with refused("class d", "a, b, c", "--class-map"):
        as_model_counts(data, model_of("a", "b", "c"))
    _, said = as_model_counts(data, model_of("x", "y", "z"))
    assert "cannot be compared" in said


def test_a_run_measures_the_labels_that_the_names_mean_and_finds_them_again(tmp_path, caplog):
    """The right value is the plain framework's cross-entropy at the model's own class."""
    model = model_of("c", "b", "a")
    with caplog.at_level(logging.WARNING, "gradlens"):
        run = gl.analyze(
            model, gl.load_data(classes(tmp_path / "set", "a", "b", "c", count=2)).bind(PIXELS), progress=False
        )
    assert "a is 2, not 0" in caplog.text
    data = gl.load_data(tmp_path / "set").bind(PIXELS)
    image = torch.stack([data[i][0] for i in range(6)])
    plain = nn.functional.cross_entropy(model.net(image), torch.tensor([2, 2, 1, 1, 0, 0]), reduction="none")
    np.testing.assert_allclose(run.samples["loss"], plain.detach(), rtol=1e-5)
    run.data = None
    assert run.probe([0]).target.tolist() == [2]


def test_an_unknown_label_takes_the_prediction_and_no_part_in_accuracy():
    model, x = model_of(count=3), torch.rand(30, 3, 12, 12)
    y = np.arange(30) % 3
    some = np.where(np.arange(30) % 5 == 0, -1, y)
    run, whole = (gl.analyze(model, gl.load_data((x, labels)), progress=False) for labels in (some, y))
    logits = model.net(x).detach()
    label = torch.where(torch.tensor(some) < 0, logits.argmax(1), torch.tensor(some))
    plain = nn.functional.cross_entropy(logits, label, reduction="none")
    np.testing.assert_allclose(run.samples["loss"], plain, rtol=1e-5)
    known = some >= 0
    right = (logits.argmax(1).numpy() == y)[known]
    assert run.samples["correct"].isna().tolist() == (~known).tolist()
    assert run.summary["top1"] == pytest.approx(100 * right.mean())
    np.testing.assert_allclose(run.samples["l1"][known], whole.samples["l1"][known], rtol=1e-6)
    assert run.summary["l1_mean_correct"] == pytest.approx(run.samples["l1"][known][right].mean(), nan_ok=True)


@pytest.mark.parametrize(
    ("right", "seen", "chance", "expected"),
    [
        *[(4, 5, 1 / 4, False), (5, 5, 1 / 4, False), (0, 1, 1 / 10, False), (0, 5, 1 / 10, True)],
        *[(0, 1000, 1 / 10, True), (102, 1000, 1 / 10, True), (150, 1000, 1 / 10, False)],
        *[(4, 4, 1 / 2, False), (1, 1000, 1 / 1000, True)],
    ],
)
def test_chance_is_what_guessing_gives_and_knowing_does_not(right, seen, chance, expected):
    assert at_chance(right, seen, chance) is expected
