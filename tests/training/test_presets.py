"""Every preset trains for two updates on sixteen digits, in a narrow network of its own family.

Only what would be too slow is replaced: data, number of images, epochs, batch and workers; pretrained weights
by random ones; and the widths and depths of the network. Everything else is the preset's.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest
import torch

import gradlens as gl
from gradlens.cli.demo import RECIPES, recipe
from gradlens.training.config import read_config

FOLDER = Path(__file__).parents[2] / "analyses" / "presets"
PRESETS = sorted(FOLDER.glob("*.toml"))
each_preset = pytest.mark.parametrize("file", PRESETS, ids=lambda f: f.stem)
# The network's family, made narrow and shallow.
NARROW = {
    **{arch: {"arch": "digits_cnn:width=4"} for arch in ("digits_cnn", "digits_cnn:width=8")},
    "swin_base_patch4_window7_224": {
        "img_size": 32,
        "arch_kwargs": "img_size=32,window_size=2,embed_dim=8,depths=(1,1,1,1),num_heads=(1,1,2,2)",
    },
    "resnet50": {"img_size": 32, "arch_kwargs": "layers=(1,1,1,1),channels=(8,8,16,16),stem_width=8"},
}


def narrowed(file, out):
    arch = tomllib.loads(file.read_text())["arch"]
    small = {"data": "digits", "limit": 32, "epochs": 2, "warmup_epochs": 1, "batch_size": 8, "eval_images": 8}
    return read_config(file, **{**small, "init": None, "workers": 0, "device": "cpu", "out": out, **NARROW[arch]})


def test_the_papers_recipes_are_all_there():
    resnets = {f"resnet50-{activation}-gradnorm" for activation in ("gelu", "silu", "relu")}
    digits = {f"{data}-{kind}" for data in ("digits", "photos") for kind in ("natural", "gradnorm", "edge")}
    assert {f.stem for f in PRESETS} >= {*resnets, *digits, "swin-b-gradnorm", "swin-b-edge", "swin-b-pgd3"}


@each_preset
def test_preset_takes_a_few_steps_and_leaves_a_checkpoint_that_opens_by_itself(file, tmp_path):
    config = narrowed(file, tmp_path / "run")
    result = gl.train(config, progress=False)
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in result.history)
    if config.penalty:
        assert math.isfinite(result.history[-1]["penalty"])
    model = gl.load_model(result.checkpoint, device="cpu")
    assert model.card.weights == ("ema" if config.ema else "raw")
    assert config.activation in (None, model.card.activation)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("swin-b-gradnorm", [0, 0.24, 0.6, 1.2, 1.2]),
        ("resnet50-relu-gradnorm", [0, 0.05, 0.125, 0.25, 0.5]),
        ("swin-b-edge", [1, 1.09, 1.225, 1.45, 9.1]),
    ],
)
def test_ramp_is_the_papers(name, weights):
    from gradlens.training.methods import Objective

    objective = Objective(read_config(FOLDER / f"{name}.toml"))
    assert [objective.weight(epoch) for epoch in (0, 1, 2.5, 5, 90)] == pytest.approx(weights)


@pytest.mark.parametrize("name", RECIPES)
def test_the_demo_trains_the_presets(name, tmp_path):
    preset = read_config(FOLDER / f"photos-{name}.toml").provenance()
    demo = recipe(name, tmp_path).provenance()
    assert {k for k in preset if preset[k] != demo[k]} <= {"out", "eval_every", "eval_images", "eval_eps"}
