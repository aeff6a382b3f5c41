"""``look`` tells checkpoints from pictures, prints their numbers and writes the figure; a wrong file is one line."""

import json

import numpy as np
import pytest
from commands import run
from PIL import Image


@pytest.fixture(scope="module")
def cat(place):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(place / "cat.png")
    (place / "broken.jpg").write_bytes(b"no picture")
    return place / "cat.png"


def test_look_prints_and_draws_one_picture_by_several_checkpoints(place, cat, capsys):
    line = "look good.pt cat.png --weights auto,random --objective loss,margin --label 3 -o cat.svg --json"
    assert run(place, line) == 0
    said = capsys.readouterr().out
    rows = json.loads(said.splitlines()[-1])["rows"]
    assert [(r["model"], r["objective"]) for r in rows] == [
        (model, of) for model in ("good-auto", "good-random") for of in ("loss", "margin")
    ]
    assert all(r["l1"] > 0 and r["share_r"] + r["share_g"] + r["share_b"] == pytest.approx(1) for r in rows)
    assert {r["label"] for r in rows} == {"3"}
    assert f"{rows[0]['l1']:.4g}" in said
    assert "good-random" in (place / "cat.svg").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("look good.pt nocat.png", ["no picture at nocat.png"]),
        ("look good.pt", ["no picture given", "cat.jpg"]),
        ("look cat.png", ["no checkpoint"]),
        ("look nowhere.pt cat.png", ["nowhere.pt"]),
        ("look good.pt broken.jpg", ["cannot read broken.jpg"]),
        ("look good.pt cat.png -o cat.gif", [".png"]),
        ("look good.pt cat.png --label 12", ["label 12", "10"]),
    ],
)
def test_a_wrong_file_is_one_line(line, words, place, cat, capsys):
    assert run(place, line) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert all(word in said for word in words)
