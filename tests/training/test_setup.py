"""Data and network of a configuration: what is kept of a checkpoint, what is said, what is refused."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch
from PIL import Image
from trainings import config, train, weights

import gradlens as gl
from gradlens import UserError
from gradlens.training._setup import open_model, open_split


def test_fine_tuning_swaps_the_activation_and_keeps_the_weights(tmp_path):
    first = train(config(tmp_path, arch="digits_cnn:width=4,activation=relu", epochs=1))
    given = config(tmp_path, out=tmp_path / "more", arch=None, init=str(first.checkpoint), activation="gelu")
    data = open_split(given, "train")
    model = open_model(given, data)
    assert torch.equal(model.net[0].weight, weights(first.checkpoint)["state_dict"]["0.weight"])
    second = train(given)
    assert gl.load_model(second.checkpoint).card.activation == "gelu"


def test_small_images_that_are_enlarged_are_said(tmp_path, caplog):
    given = config(tmp_path, arch="resnet18")
    with caplog.at_level(logging.WARNING, "gradlens"):
        open_model(given, open_split(given, "train"))
        open_model(dataclasses.replace(given, img_size=32), open_split(given, "train"))
        open_model(config(tmp_path), open_split(given, "train"))
    (said,) = caplog.messages
    assert said.startswith("digits/train's images of 32² are enlarged to resnet18's 224², which takes about 49 times")
    assert said.endswith("--img-size 32 keeps them")


def test_unlabelled_data_are_refused(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (32, 32), (i, 0, 0)).save(folder / split / f"{i}.png")
    with pytest.raises(UserError, match="label"):
        train(config(tmp_path, data=str(folder)))


def test_splits_of_other_classes_are_refused(tmp_path):
    for split, names in (("train", "ab"), ("val", "ac")):
        for name in names:
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / name / "0.png")
    with pytest.raises(UserError, match=r"other classes than the images trained on \(b, c\)"):
        train(config(tmp_path, data=str(tmp_path / "data")))
