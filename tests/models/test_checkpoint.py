"""Every layout of one network gives the same logits; what differs is told apart by value."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from layouts import CLASSES, LAYOUTS, MEAN, STD, WITH_ALL, channels, network
from refusals import refused

from gradlens import analyze, load_data, load_model
from gradlens.models import describe, read_checkpoint

RAW, AVERAGE = network(1), network(2)


def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def logits_of(net, mean=MEAN, std=STD):
    """What a network says of images that are normalised exactly once, without any code of ours."""
    with torch.no_grad():
        return net((images() - channels(mean)) / channels(std))


def logits(path, **options):
    with torch.no_grad():
        return load_model(path, device="cpu", **options)(images())


def written(name, folder):
    return LAYOUTS[name].write(folder, RAW, AVERAGE)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_logits(name, tmp_path):
    path, layout = written(name, tmp_path), LAYOUTS[name]
    assert torch.equal(logits(path, weights="raw", **layout.options), logits_of(RAW))
    assert read_checkpoint(path, layout.options.get("trust_pickle", False)).stripped == layout.prefixes


def test_every_layout_gives_the_same_table(tmp_path):
    images = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    data = load_data((images, [i % CLASSES for i in range(24)]))
    tables = []
    for k, name in enumerate(LAYOUTS):
        folder = tmp_path / str(k)
        folder.mkdir()
        model = load_model(written(name, folder), weights="raw", **LAYOUTS[name].options)
        # Pixels as they are: what the file says of preprocessing is not the question here.
        model.card = replace(model.card, preprocess=None)
        tables.append(analyze(model, data, progress=False).samples)
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


@pytest.mark.parametrize("name", [n for n, layout in LAYOUTS.items() if layout.ema])
def test_raw_and_average_weights_are_told_apart_by_value(name, tmp_path):
    path, options = written(name, tmp_path), LAYOUTS[name].options
    assert torch.equal(logits(path, weights="ema", **options), logits_of(AVERAGE))
    assert torch.equal(logits(path, **options), logits_of(AVERAGE))
    assert not torch.allclose(logits_of(RAW), logits_of(AVERAGE), atol=1e-2)
    (note,) = (n for n in load_model(path, **options).card.notes if "several weights" in n)
    assert "(ema) used" in note
    assert "(raw) not" in note


@pytest.mark.parametrize("name", [n for n, layout in LAYOUTS.items() if not layout.ema])
def test_a_layout_without_an_average_says_so(name, tmp_path):
    with refused("no ema weights", "--weights auto"):
        load_model(written(name, tmp_path), weights="ema", **LAYOUTS[name].options)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_miniature_is_small(name, tmp_path):
    path = written(name, tmp_path)
    assert sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()) < 30_000
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("gradlens", "gradlens checkpoint"),
        ("timm", "dictionary with 'state_dict'"),
        ("DeiT", "dictionary with 'model'"),
        ("Lightning model.", "Lightning checkpoint"),
        ("MadryLab", "MadryLab checkpoint"),
        ("Hugging Face folder", "Hugging Face folder"),
        ("safetensors", "state dict"),
    ],
)
def test_layouts_are_told_apart(name, layout, tmp_path):
    assert read_checkpoint(written(name, tmp_path)).layout == layout


def test_a_class_name_alone_does_not_name_an_architecture(tmp_path):
    path = written("timm without arguments", tmp_path)
    with refused("arch 'sequential'", "class", "--arch"):
        load_model(path)
    assert "sequential" in describe(str(path), lambda: load_model(path))["names_its_architecture"]


def test_a_folder_of_the_hub_brings_its_preprocessing_and_its_mistakes_are_explained(tmp_path):
    path = written("Hugging Face folder", tmp_path)
    card = load_model(path).card
    assert (card.name, card.preprocess.size, card.preprocess.crop_pct) == ("hub", 32, 0.9)
    (path / "config.json").write_text("{")
    with refused("config.json", "not JSON"):
        load_model(path)
    (path / "config.json").write_text("[]")
    with refused("config.json", "JSON object"):
        load_model(path)
    (path / "config.json").unlink()
    with refused("is a folder without config.json"):
        load_model(path)


def test_timms_arguments_state_the_preprocessing_too(tmp_path):
    args = argparse.Namespace(model="test_resnet", img_size=96, input_size=None, crop_pct=0.9, interpolation="")
    torch.save({"state_dict": timm.create_model("test_resnet").state_dict(), "args": args}, tmp_path / "w")
    how = load_model(tmp_path / "w").card.preprocess
    usual = load_model("timm:test_resnet", weights="random").card.preprocess
    assert (how.size, how.crop_pct, how.interpolation) == (96, 0.9, usual.interpolation)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mean": "half"}, "mean = 'half'; wanted a list of numbers"),
        ({"mean": 0.5}, "mean = 0.5; wanted a list of numbers"),
        ({"model_kwargs": 3}, "arch_kwargs = 3; wanted a table"),
        ({"input_size": "wide"}, "describes itself"),
    ],
)
def test_arguments_that_are_not_understood_are_refused(wrong, said, tmp_path):
    torch.save({"state_dict": RAW.state_dict(), "args": argparse.Namespace(**wrong)}, tmp_path / "w")
    with refused(said):
        load_model(tmp_path / "w", **WITH_ALL)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub that holds one repository, and no way to any other."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--lab--tiny" / "snapshots" / ("0" * 40)
    (tmp_path / "models--lab--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--lab--tiny" / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    net = timm.create_model("test_resnet", num_classes=3).eval()
    config = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {"mean": MEAN, "std": STD}}
    config["pretrained_cfg"] |= {"input_size": [3, 32, 32], "crop_pct": 1.0, "classifier": "fc", "first_conv": "conv1"}
    (snapshot / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(net.state_dict(), snapshot / "model.safetensors")
    return net, snapshot
