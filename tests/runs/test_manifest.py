"""``models.toml`` keeps order, names and files, and every mistake in it is one line."""

import pandas as pd
import pytest
from refusals import refused

from gradlens.runs.manifest import as_manifest, read_manifest
from gradlens.runs.record import Run

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
        ("path = 'x'", ["outside a table", "[NAME]"]),
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


def test_a_label_is_what_is_shown_and_the_tables_name_its_folder(tmp_path):
    (entry,) = read_manifest(write(tmp_path, "[edge]\npath = 'timm:resnet18'\nlabel = 'EdgeReg: α/β = 1'"))
    assert (entry.key, entry.label, entry.display["label"]) == ("edge", "EdgeReg: α/β = 1", "EdgeReg: α/β = 1")
    for called in (entry.key, entry.label):
        (shown,) = as_manifest([Run(pd.DataFrame(), {"model": called})], [entry])
        assert shown.label == entry.label
    with refused("models.toml", "[edge]", "label"):
        read_manifest(write(tmp_path, "[edge]\npath = 'timm:resnet18'\nlabel = ' '"))
    with refused("'edge/1'", "folder", "label"):
        read_manifest(write(tmp_path, "['edge/1']\npath = 'timm:resnet18'"))
