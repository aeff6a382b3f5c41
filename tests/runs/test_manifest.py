"""``models.toml`` keeps order, names and files, and every mistake in it is one line."""

import pytest
from refusals import refused

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
        ("[a]\npath = 'x'\npublished_top1 = 0.76", ["[a]: published_top1 = 0.76", "percent"]),
        ("[a]\npath = 'x'\narhc = 'y'", ["'arhc'", "arch"]),
    ],
)
def test_a_bad_manifest_is_one_line(text, words, tmp_path):
    with refused(*words):
        read_manifest(write(tmp_path, text))


def test_a_missing_manifest_is_one_line(tmp_path):
    with refused("nowhere.toml"):
        read_manifest(tmp_path / "nowhere.toml")
