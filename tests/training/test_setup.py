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


def test_dropout_drops_features_in_training_only_and_leaves_the_weights_names(tmp_path):
    given = config(tmp_path, arch="digits_cnn:width=4", dropout=0.5)
    data = open_split(given, "train")
    model, plain = open_model(given, data), open_model(dataclasses.replace(given, dropout=0.0), data)
    image = data.batch(range(4)).image
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(model.eval()(image), plain.eval()(image))
    seen = []
    model.net[-1].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    model.train()(image)
    assert 0.3 < (seen[0] == 0).float().mean() < 0.7


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_that_is_no_probability_is_refused(tmp_path, dropout):
    with pytest.raises(UserError, match="dropout"):
        config(tmp_path, dropout=dropout)
