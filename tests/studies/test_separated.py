"""Separation counts what it says, its classifier is the nearest neighbour, and its controls lie lower."""

import numpy as np
import pandas as pd
import pytest
from refusals import refused

import gradlens as gl

RNG = np.random.default_rng(0)
VAL, TRAIN = gl.load_data("digits", limit=40), gl.load_data("digits", "train", limit=60)


def four(spread=0.05):
    """Two classes around two levels, ``(40, 3, 4, 4)``, and labels that are words."""
    labels = np.array(["cat", "dog"] * 20)
    level = np.where(labels == "cat", 0.2, 0.8)[:, None, None, None]
    return np.clip(level + spread * (RNG.random((40, 3, 4, 4)) - 0.5), 0, 1), labels


def test_a_gap_between_two_classes_is_found():
    images, labels = four()
    table = gl.separation(images, labels)
    frame = table.frame
    assert len(frame) == 40
    assert frame["distance"].between(0.55, 0.65).all()
    assert (frame["label"] != frame["nearest_label"]).all()
    assert (frame["radius"] == frame["distance"] / 2).all()
    assert table.arrays["closest"].shape[1:] == (2, 3, 4, 4)
    apart = np.abs(table.arrays["closest"][:, 0] - table.arrays["closest"][:, 1]).max((1, 2, 3))
    assert apart == pytest.approx(table.arrays["closest_distance"], abs=1e-6)
    assert "closest pairs" in repr(table)


def test_the_classifier_takes_the_nearer_class():
    images, labels = four(1.2)
    test, theirs = four(1.2)
    theirs[:5] = "cat"
    frame = gl.separation(images, labels, "l2", test, theirs).frame.query("set == 'test–train'")
    apart = np.linalg.norm((test[:, None] - images[None]).reshape(40, 40, -1), axis=2)
    right = labels[apart.argmin(1)] == theirs
    assert ((frame["radius"] > 0).to_numpy() == right).all()
    assert not right.all()


def test_random_labels_bring_classes_together():
    frame = gl.study("separation", data=VAL, against=TRAIN, norm="l1").frame
    smallest = frame.groupby("set")["distance"].median()
    assert set(smallest.index) == {a + b for a in ("train–train", "test–train") for b in ("", ", random labels")}
    assert smallest["train–train, random labels"] < smallest["train–train"]


def test_what_cannot_be_separated_is_said_in_one_line(cnn):
    images, labels = four()
    with refused("one class, cat", "give two"):
        gl.separation(images[::2], labels[::2])
    with refused("differ in size", "3 × 4 × 4", "3 × 4 × 3"):
        gl.separation([images[0], images[1][:, :, :3]], labels[:2])
    with refused("unknown norm 'linff'", "did you mean linf"):
        gl.separation(images, labels, "linff")
    with refused("wanted", "[0, 1]"):
        gl.separation(images * 255, labels)
    with refused("40 images", "(39,)"):
        gl.separation(images, labels[1:])
    with refused("no model is asked"):
        gl.study("separation", [cnn], gl.load_data("digits", limit=20))
    with refused("compared with itself", "train"):
        gl.study("separation", data=gl.load_data("digits", "train", limit=20))


def test_an_exact_copy_with_another_label_is_the_closest_pair():
    images, labels = four()
    images[7], labels = images[4], pd.Series(labels).replace("cat", "owl")
    closest = gl.separation(images, labels).frame.sort_values("distance").head(2)
    assert closest["distance"].tolist() == [0, 0]
    assert set(closest["index"]) == {4, 7}
