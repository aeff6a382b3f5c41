"""``study`` runs a study by name, takes its parameters as flags, writes its table, and says mistakes in one line."""

import json

import pandas as pd
import pytest
from commands import run


def test_a_study_without_models_is_printed_and_written(tmp_path, capsys):
    line = "study separation --data digits --limit 30 --norm l2 --control false --seed=3 -o out --json"
    assert run(tmp_path, line) == 0
    said = capsys.readouterr().out
    assert "closest pairs" in said
    assert json.loads(said.splitlines()[-1])["title"] == "separation in l2"
    frame = pd.read_csv(tmp_path / "out" / "separation.csv")
    assert (frame["set"] == "test–train").sum() == 30
    record = json.loads((tmp_path / "out" / "separation.json").read_text())
    assert record["provenance"]["parameters"]["seed"] == 3
    assert record["provenance"]["data"] == "digits/val"
    assert len(record["rows"]) == len(frame)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("study separatoin --data digits", "did you mean separation"),
        ("study separation --data digits --nrm l1", "did you mean --norm"),
        ("study separation --data digits --seed x", "seed=x is not a int"),
        ("study separation --data digits --split train", "compared with itself"),
        ("study separation missing.pt --data digits", "no checkpoint at missing.pt"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, line, said):
    assert run(tmp_path, line) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
