"""What the tests of training share: a small run on digits, its parts, and what two runs are compared by."""

from __future__ import annotations

import torch

import gradlens as gl
from gradlens.training._batches import TrainingBatches
from gradlens.training._setup import open_model, open_split
from gradlens.training.config import TrainConfig
from gradlens.training.methods import Moment

SMALL = {
    "data": "digits",
    "arch": "digits_cnn:width=4",
    "limit": 64,
    "epochs": 2,
    "batch_size": 16,
    "eval_images": 16,
    "device": "cpu",
}
WORDS = ["train", "--data", "digits", "--arch", "digits_cnn:width=4", "--limit", "32", "-b", "16", "--epochs", "1"]
WORDS += ["--eval-images", "16", "--device", "cpu"]
NOW = Moment(0.5, 3)


def config(tmp_path, **given):
    return TrainConfig(**{**SMALL, "out": tmp_path / "run", **given})


def train(*args, **kwargs):
    return gl.train(*args, progress=False, **kwargs)


def weights(file):
    return torch.load(file, weights_only=True)


def assert_same_state(a, b):
    for kind in ("state_dict", "ema"):
        assert a.get(kind, {}).keys() == b.get(kind, {}).keys()
        assert all(torch.equal(v, b[kind][k]) for k, v in a.get(kind, {}).items())


def comparable(rows):
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def set_up(config):
    data = open_split(config, "train")
    model = open_model(config, data)
    batches = TrainingBatches(data.bind(model.card.preprocess), config)
    return model, batches
