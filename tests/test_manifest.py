"""``models.toml``, the accuracy check before a run, protocols and the doctor."""

import numpy as np
import pytest
import torch
from refusals import refused

from gradlens import load_data, load_model
from gradlens.analysis.doubts import parse_expectation, preflight
from gradlens.analysis.protocols import PROTOCOLS, protocol
from gradlens.analyzers import choose_analyzers
from gradlens.cli.doctor import diagnose
from gradlens.runs.manifest import read_manifest

GOOD = """
[robust]
path = "robust.pt"
order = 2
color = "#D55E00"
published_top1 = 60.3

[natural]
path = "timm:resnet18"
weights = "random"
order = 1
mean = [0.5, 0.5, 0.5]
"""


def write(tmp_path, text):
    file = tmp_path / "models.toml"
    file.write_text(text)
    return file


def test_a_manifest_keeps_its_order_and_finds_files_beside_it(tmp_path):
    (tmp_path / "robust.pt").touch()
    natural, robust = read_manifest(write(tmp_path, GOOD))
    assert (natural.label, robust.label) == ("natural", "robust")
    assert natural.loading == {"weights": "random", "mean": (0.5, 0.5, 0.5)}
    assert natural.path == "timm:resnet18"
    assert robust.path == str(tmp_path / "robust.pt")
    assert robust.display == {"label": "robust", "order": 2, "color": "#D55E00", "published_top1": 60.3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["names no model"]),
        ("[a", ["not TOML"]),
        ("path = 'x'", ["outside a table", "[LABEL]"]),
        ("[a]\narch = 'resnet18'", ["no path"]),
        ("[a]\npath = 'x'\narhc = 'y'", ["'arhc'", "arch"]),
    ],
)
def test_a_bad_manifest_is_one_line(text, words, tmp_path):
    with refused(*words):
        read_manifest(write(tmp_path, text))


def test_a_missing_manifest_is_one_line(tmp_path):
    with refused("nowhere.toml"):
        read_manifest(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "value"), [("60.3±1", (60.3, 1)), ("60.3", (60.3, 1)), ("60 +- 2.5", (60, 2.5)), ("76+/-.5", (76, 0.5))]
)
def test_an_expectation_is_percent_and_tolerance(text, value):
    assert parse_expectation(text) == value


@pytest.mark.parametrize("text", ["", "sixty", "60±", "600", "-3"])
def test_an_unreadable_expectation_is_refused(text):
    with refused("60.3±1"):
        parse_expectation(text)


class Oracle(torch.nn.Module):
    """Says the label that is written into the first pixel, right in a given share of cases."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, x):
        label = (x[:, 0, 0, 0] * 10).round().long()
        right = x[:, 1, 0, 0] < self.share
        return torch.nn.functional.one_hot(torch.where(right, label, (label + 1) % 10), 10).float()


def oracle(share, images=400):
    rng = np.random.default_rng(0)
    pixels = np.zeros((images, 3, 4, 4), np.float32)
    labels = rng.integers(0, 10, images)
    pixels[:, 0] = (labels / 10)[:, None, None]
    pixels[:, 1] = rng.permutation(np.linspace(0, 1, images))[:, None, None]
    return load_model(Oracle(share), normalized=True), load_data((pixels, labels))


@pytest.mark.parametrize(
    ("share", "expected", "word"),
    [
        (0.6, None, None),
        (0.6, (60.0, 1.0), None),
        (0.6, (64.0, 1.0), None),
        (0.6, (80.0, 1.0), "80 ± 1 % was expected"),
        (0.6, (80.0, 20.0), None),
        (0.1, None, "chance is 10 %"),
    ],
)
def test_only_an_accuracy_that_sampling_does_not_explain_is_suspicious(share, expected, word):
    model, data = oracle(share)
    said = preflight(model, data, expected, batch_size=64)
    assert (said is None) if word is None else word in said


def test_images_without_labels_raise_no_suspicion():
    model, data = oracle(0.0)
    assert preflight(model, load_data((data.source.images, None)), (50.0, 1.0), 64) is None


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_states_its_source_and_what_is_unknown(name):
    fixed = protocol(name)
    assert fixed.source
    assert fixed.unstated
    assert choose_analyzers(fixed.analyzers)


def test_an_unknown_protocol_offers_the_nearest():
    with refused("robustbench"):
        protocol("robustbnech")


def test_the_doctor_names_versions_hardware_and_data(tmp_path):
    facts = diagnose(tmp_path, lambda: load_data("digits"))
    assert torch.__version__.split("+")[0] in facts["versions"]
    assert "297 images, 10 classes" in facts["data"]
    assert facts["unreadable"].startswith("0 of 200")


def test_the_doctor_reports_data_that_cannot_be_opened(tmp_path):
    assert "not opened" in diagnose(tmp_path, lambda: load_data("nowhere"))["data"]
