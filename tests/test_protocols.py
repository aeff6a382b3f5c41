"""Published settings that are not replaced silently, and normalisations that contradict each other."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from gradlens import Preprocess, Run, UserError, analyze, load_data, load_model
from gradlens.analysis.doubts import contradictions
from gradlens.analysis.protocols import PROTOCOLS, protocol
from gradlens.analyzers import choose_analyzers, name_of
from gradlens.cli.commands._analyze import Analyze
from gradlens.cli.main import main
from gradlens.data import Data
from gradlens.models import random_twin, save_checkpoint
from gradlens.models._zoo import digits_cnn
from gradlens.models.normalisation import NONE, Normalisation, stated_in

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
OTHER = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
SAME = {"mean": list(MEAN), "std": list(STD)}
DEFAULTS = {f.name: f.default for f in dataclasses.fields(Analyze)}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A checkpoint that states its normalisation and a folder of two classes."""
    folder = tmp_path_factory.mktemp("protocols")
    torch.manual_seed(0)
    described = {"arch_kwargs": {"width": 1}, "mean": MEAN, "std": STD, "preprocess": Preprocess(32, 1.0)}
    save_checkpoint(folder / "good.pt", digits_cnn(width=1).state_dict(), arch="digits_cnn", **described)
    pictures(folder / "pictures")
    return folder


def pictures(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        file = root / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
    return root


def run(folder: Path, line: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "140")
        return main(line.split())


# Protocols


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocols_attack_is_run_and_seen_by_the_others(name):
    *others, attack = choose_analyzers(protocol(name).analyzers)
    assert name_of(others[0]) == "sample_asymmetry"
    assert (attack.attack, attack.norm, attack.eps, attack.steps) == ("pgd", "linf", pytest.approx(4 / 255), 10)


def test_a_protocol_measures_robust_accuracy_and_says_how_far_it_was_followed(place, capsys):
    assert run(place, "analyze good.pt --data digits --limit 8 -b 4 --protocol robustbench -o published") == 0
    said = capsys.readouterr().out
    assert "fixes 5,000 images of imagenet-val, resized bicubic to 256, center crop 224; objective loss" in said
    assert "in place of the own preprocessing of good" in said
    assert "departs from it: 8 images instead of 5,000" in said
    assert said.index("departs") < said.index("top-1") < said.index("Not stated there")
    found = Run.load(place / "published")
    assert "robust[pgd10,linf,4/255]" in found.samples
    assert found.samples["robust[pgd10,linf,4/255]"].isin([0, 1]).all()
    assert found.provenance["preprocess"]["size"] == 224
    recorded = found.provenance["protocol"]
    assert (recorded["name"], recorded["images"]) == ("robustbench", 5000)
    assert recorded["deviations"] == [
        "the images are of digits, not imagenet-val",
        "8 images instead of 5,000",
    ]


class Named:
    """As many images of a name as wanted, none of which is looked at."""

    varies_in_size = False
    class_names = ("a",)

    def __init__(self, name, images):
        self.name, self.labels = name, np.zeros(images, np.int64)
        self.paths = [str(i) for i in range(images)]


@pytest.mark.parametrize(
    ("name", "images", "words"),
    [
        ("imagenet-val", 10_000, []),
        ("imagenet-val", 50_000, ["50,000 images instead of 10,000"]),
        ("imagenet-val", 99, ["99 images instead of 10,000"]),
        ("imagenet-a", 10_000, ["imagenet-a, not imagenet-val"]),
        ("shapes", 3, ["shapes", "3 images"]),
    ],
)
def test_deviations_are_the_images_that_differ(name, images, words):
    found = protocol("rodriguez2024").deviations(Data(Named(name, images)))
    assert len(found) == len(words)
    assert [w for w, said in zip(words, found, strict=True) if w not in said] == []


@pytest.mark.parametrize("name", PROTOCOLS)
def test_defaults_and_the_protocols_own_settings_are_no_conflict(name):
    fixed = protocol(name)
    fixed.check(DEFAULTS, DEFAULTS)
    fixed.check({**DEFAULTS, "analyzers": fixed.analyzers, "objective": "loss", "limit": fixed.images}, DEFAULTS)
    fixed.check({**DEFAULTS, "limit": 7}, DEFAULTS)


@pytest.mark.parametrize(
    ("flag", "value", "fixed"),
    [
        ("analyzers", "class_selectivity", "sample_asymmetry,robustness"),
        ("analyzers", "sample_asymmetry", "sample_asymmetry,robustness"),
        ("analyzers", "full", "sample_asymmetry"),
        ("objective", "true_logit", "loss"),
        ("objective", "loss,margin", "loss"),
        ("limit", 5001, "5000"),
    ],
)
def test_what_contradicts_a_protocol_is_refused_naming_both(flag, value, fixed):
    with refused(f"--{flag} {value}", "--protocol robustbench", f"fixes {fixed}", "leave one"):
        protocol("robustbench").check({**DEFAULTS, flag: value}, DEFAULTS)


def test_a_conflict_is_refused_before_anything_is_loaded(place, capsys):
    line = "analyze nowhere.pt --data digits --protocol robustbench --analyzers class_selectivity"
    assert run(place, line) == 2
    error = capsys.readouterr().err
    assert "contradict" in error
    assert "nowhere" not in error


# Two normalisations


def of(place, data="digits", **options):
    model = load_model(place / "good.pt", device="cpu", **options)
    return contradictions(model, load_data(data))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, None),
        ({"mean": MEAN, "std": STD}, None),
        ({"mean": MEAN}, None),
        ({"std": (0.2, 0.25, 0.3 + 1e-6)}, None),
        ({"mean": (0.1, 0.2, 0.3)}, ["mean (0.1, 0.2, 0.3) given for good", "file says mean (0.5, 0.4, 0.3)"]),
        ({"std": (0.4, 0.4, 0.4)}, ["std (0.4, 0.4, 0.4) given", "std (0.2, 0.25, 0.3)", "leave out --mean"]),
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
    model = load_model(place / "good.pt", mean=(0.1, 0.2, 0.3), device="cpu")
    assert len(contradictions(model, load_data("digits"))) == 1
    assert contradictions(random_twin(model), load_data("digits")) == []


def test_a_contradiction_is_said_before_the_run_and_stops_a_strict_one(place, tmp_path, caplog):
    def measure(**settings):
        model = load_model(place / "good.pt", mean=(0.1, 0.2, 0.3), device="cpu")
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
