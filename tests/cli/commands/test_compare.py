"""``compare`` takes folders and patterns, writes tables, and says every mistake in one line."""

import json

import numpy as np
import pandas as pd
import pytest
from comparable import fake, seeds

from gradlens.cli.main import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs of two methods with three and ten seeds."""
    folder = tmp_path_factory.mktemp("compare")
    for name, count in (("natural", 3), ("edge", 10)):
        for k, run in enumerate(seeds(name, count)):
            run.save(folder / "runs" / f"{name}-s{k + 1}")
    fake("odd", data="photos/val", data_fingerprint="g").save(folder / "runs" / "lr=0.1")
    return folder


def run(folder, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        return main(["compare", *words])


def test_groups_are_given_as_patterns_or_as_the_shell_expanded_them(place, capsys):
    patterns = ["natural=runs/natural-s*", "edge=runs/edge-s*"]
    assert run(place, [*patterns, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rows"][0]["seeds_other"] == 10
    expanded = [f"{name}={p.relative_to(place)}" for name in ("natural", "edge") for p in place.glob(f"runs/{name}-s*")]
    assert run(place, [*expanded, "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {r["column"]: r["p"] for r in again["rows"]} == pytest.approx({r["column"]: r["p"] for r in found["rows"]})


def test_plain_folders_are_compared_by_image_and_written(place, capsys):
    words = ["runs/natural-s1", "runs/edge-s1", "--columns", "l1,edge", "--primary", "edge", "--smallest", "l1=1/2"]
    for name in ("t.csv", "t.md", "t.tex"):
        assert run(place, [*words, "-o", name]) == 0
        assert f"wrote {name}" in capsys.readouterr().out
    assert pd.read_csv(place / "t.csv")["column"].tolist() == ["edge", "l1"]
    assert "equivalent" in (place / "t.md").read_text()
    assert "\\toprule" in (place / "t.tex").read_text()


def test_a_columns_name_may_hold_commas_and_equals_signs(tmp_path, capsys):
    name = "robust[pgd,linf,eps=4/255]"
    for label in "ab":
        fake(label, columns={name: np.random.default_rng(ord(label)).random(40)}).save(tmp_path / label)
    assert run(tmp_path, ["a", "b", "--columns", f"l1,{name}", "--smallest", f"{name}=1/2,l1=9", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(r["column"], r["verdict"]) for r in rows] == [("l1", "equivalent"), (name, "equivalent")]


def test_json_has_no_number_that_json_lacks(place, capsys):
    assert run(place, ["a=runs/natural-s1", "b=runs/natural-s2", "c=runs/edge-s*", "--json", "--reference", "b"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=lambda name: pytest.fail(name))
    assert any(row["low"] is None for row in found["rows"])


MISTAKES = {
    "runs/natural-s1": ["1 runs", "two"],
    "": ["two"],
    "runs/natural-s1 runs/nowhere": ["runs/nowhere", "holds no run"],
    "runs/natural-s1 B=runs/nowhere-*": ["no folder matches runs/nowhere-*"],
    "runs/natural-s1 =runs/edge-s1": ["LABEL=FOLDER"],
    "runs/natural-s1 runs/natural-s2": ["two runs are called natural", "before=FOLDER"],
    "runs/natural-s1 runs/lr=0.1": ["data digits/val against photos/val"],
    "runs/natural-s1 runs/edge-s1 --columns l3": ["l3", "l1"],
    "runs/natural-s1 runs/edge-s1 --primary l3": ["l3", "l1"],
    "runs/natural-s1 runs/edge-s1 --where l1>>": ["cannot select"],
    "runs/natural-s1 runs/edge-s1 --where l1>99": ["share no image", "l1>99"],
    "runs/natural-s1 runs/edge-s1 --smallest l1": ["l1=0.5"],
    "runs/natural-s1 runs/edge-s1 --smallest l1=-1": ["above 0"],
    "runs/natural-s1 runs/edge-s1 --reference gold": ["gold", "natural"],
    "runs/natural-s1 runs/edge-s1 -o t.xlsx": [".csv, .md, .tex"],
    "runs/natural-s1 runs/edge-s1 -o nowhere/t.csv": ["cannot write"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_one_line(line, place, capsys):
    assert run(place, line.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert [w for w in MISTAKES[line] if w not in said] == [], said
