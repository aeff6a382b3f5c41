"""Two normalisations that contradict each other are said before the run."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image

from gradlens import UserError, analyze, load_data, load_model
from gradlens.analysis.doubts import contradictions
from gradlens.models import random_twin
from gradlens.models._zoo import digits_cnn
from gradlens.models.normalisation import NONE, Normalisation, stated_in

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
OTHER = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
SAME = {"mean": list(MEAN), "std": list(STD)}


def pictures(root: Path) -> Path:
    """Noise in two class folders."""
    rng = np.random.default_rng(0)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        file = root / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
    return root


def of(place, data="digits", **options):
    model = load_model(place / "good.pt", device="cpu", **options)
    return contradictions(model, load_data(data))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, None),
        ({"mean": MEAN, "std": STD}, None),
        ({"mean": MEAN, "std": (0.2, 0.25, 0.3 + 1e-6)}, None),
        ({"mean": (0.1, 0.2, 0.3), "std": STD}, ["mean (0.1, 0.2, 0.3) and", "file says mean (0.5, 0.4, 0.3)"]),
        ({"mean": MEAN, "std": (0.4, 0.4, 0.4)}, ["std (0.4, 0.4, 0.4) given", "0.2, 0.25, 0.3)", "leave out --mean"]),
        ({"normalized": True}, ["said to normalise inside", "states mean (0.5, 0.4, 0.3)", "--normalized"]),
    ],
)
def test_flags_are_compared_with_the_file(place, options, words):
    found = of(place, **options)
    assert len(found) == (words is not None)
    assert [w for w in words or () if w not in found[0]] == []


def test_flags_are_compared_with_what_was_in_the_weights(tmp_path):
    state = {"mu": torch.tensor(MEAN).view(1, 3, 1, 1), "sigma": torch.tensor(STD).view(1, 3, 1, 1)}
    torch.save({**state, **digits_cnn(width=1).state_dict()}, tmp_path / "w")
    arch = "digits_cnn:width=1"
    assert of_file(tmp_path / "w", arch=arch) == []
    (said,) = of_file(tmp_path / "w", arch=arch, mean=MEAN, std=(0.5, 0.5, 0.5))
    assert "std (0.2, 0.25, 0.3)" in said


def of_file(path, **options):
    return contradictions(load_model(path, device="cpu", **options), load_data("digits"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data_config.json", OTHER),
        ("config.json", {"architecture": "resnet50", "pretrained_cfg": OTHER}),
        ("info.json", {"data_config": OTHER}),
        ("_info.json", {"image_mean": OTHER["mean"], "image_std": OTHER["std"]}),
        ("config.json", {"mean": [25.5, 51, 76.5], "std": [102, 127.5, 153]}),
        ("data_config.json", {"mean": [0.1, 0.2, 0.3]}),
    ],
)
def test_a_data_folder_that_states_another_normalisation_is_noticed(place, tmp_path, name, content):
    root = pictures(tmp_path / "mine")
    (root / name).write_text(json.dumps(content))
    (said,) = of(place, root)
    assert "good takes mean (0.5, 0.4, 0.3)" in said
    assert f"{name} beside the data says mean (0.1, 0.2, 0.3)" in said
    assert "--mean 0.1 0.2 0.3" in said
    assert ("--std 0.4 0.5 0.6" in said) == ("std" in json.dumps(content))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(SAME),
        json.dumps({"mean": [0.50000001, 0.4, 0.3]}),
        json.dumps({"pretrained_cfg": SAME, **OTHER}),
        json.dumps({"mean": "imagenet", "std": [1, 2]}),
        json.dumps({"mean": [0.1, 0.2], "std": None}),
        json.dumps([OTHER]),
        '{"mean": [NaN, 0, 0]}',
        "{",
        "",
        "\x00\x01",
    ],
)
def test_a_file_that_agrees_or_says_nothing_is_passed_over(place, tmp_path, text):
    root = pictures(tmp_path / "mine")
    (root / "config.json").write_text(text)
    assert of(place, root) == []


def test_a_config_above_a_splits_folder_counts_and_one_above_the_data_does_not(place, tmp_path):
    above = tmp_path / "all"
    pictures(above / "val")
    (tmp_path / "config.json").write_text(json.dumps(OTHER))
    assert of(place, above) == []
    (above / "data_config.json").write_text(json.dumps(OTHER))
    assert len(of(place, above)) == 1
    assert len(of(place, above / "val")) == 1
    assert of(place, pictures(tmp_path / "beside")) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("args.yaml", "model: resnet50\nmean:\n- 0.1\n- 0.2\n- 0.3\nstd: [0.4, 0.5, 0.6]\nlr: 0.1\n"),
        ("preprocessor_config.json", json.dumps({"image_mean": OTHER["mean"], "image_std": OTHER["std"]})),
    ],
)
def test_what_lies_beside_the_checkpoint_is_compared(place, tmp_path, name, text):
    copy = tmp_path / "good.pt"
    copy.write_bytes((place / "good.pt").read_bytes())
    (tmp_path / name).write_text("mean: null\nstd: null\n" if name.endswith("yaml") else "{}")
    assert of_file(copy) == []
    (tmp_path / name).write_text(text)
    (said,) = of_file(copy)
    assert f"{name} beside its file says mean (0.1, 0.2, 0.3) and std (0.4, 0.5, 0.6)" in said
    assert len(of_file(copy, mean=tuple(OTHER["mean"]), std=tuple(OTHER["std"]))) == 1  # its own file, then


def test_one_number_stands_for_three_channels(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"mean": [0.13], "std": [0.3]}))
    assert [n for _, n in stated_in(tmp_path, ["config.json"])] == [Normalisation((0.13,) * 3, (0.3,) * 3)]


def test_a_network_that_normalises_inside_is_not_compared_with_the_datas(place, tmp_path):
    root = pictures(tmp_path / "mine")
    (root / "config.json").write_text(json.dumps(OTHER))
    bare = load_model(digits_cnn(width=1), normalized=True, device="cpu")
    assert Normalisation(bare.card.mean, bare.card.std).same_as(NONE)
    assert contradictions(bare, load_data(root)) == []


def test_a_control_repeats_no_doubt_of_its_model(place):
    model = load_model(place / "good.pt", mean=(0.1, 0.2, 0.3), std=STD, device="cpu")
    assert len(contradictions(model, load_data("digits"))) == 1
    assert contradictions(random_twin(model), load_data("digits")) == []


def test_a_contradiction_is_said_before_the_run_and_stops_a_strict_one(place, tmp_path, caplog):
    def measure(**settings):
        model = load_model(place / "good.pt", mean=(0.1, 0.2, 0.3), std=STD, device="cpu")
        return analyze(model, "digits", [seen], limit=8, examples=0, progress=False, **settings)

    heard = []

    def seen(probe):
        heard.append([r.message for r in caplog.records if "two normalisations" in r.message])
        return {"x": probe.loss}

    with caplog.at_level(logging.WARNING, "gradlens"):
        assert len(measure().samples) == 8
    assert len(heard[0]) == 1
    heard.clear()
    with pytest.raises(UserError, match=r"two normalisations.*leave out --strict"):
        measure(strict=True, out=tmp_path / "run")
    assert heard == []
    assert not (tmp_path / "run").exists()


def test_a_manifest_is_compared_with_its_file(place, caplog):
    (place / "models.toml").write_text('[mine]\npath = "good.pt"\nmean = [0.1, 0.2, 0.3]\nstd = [0.2, 0.25, 0.3]\n')
    line = "analyze --models models.toml --data digits --limit 8 --examples 0 --analyzers sample_asymmetry"
    assert run(place, f"{line} -o manifest") == 0
    assert "the manifest" in caplog.text
    assert run(place, f"{line} -o strict --strict") == 2
