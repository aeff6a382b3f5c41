"""``analyze`` writes whole runs, says what is doubtful, and tells it to programs as JSON."""

import json
import shutil

import numpy as np
import pytest
from commands import run
from PIL import Image

import gradlens as gl


def test_a_run_folder_holds_what_the_readme_says(place):
    names = {p.name for p in (place / "run").iterdir()}
    assert names == {"samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples", "run.json"}


def test_json_is_the_last_line(place, capsys):
    assert run(place, "analyze good.pt --data digits --limit 20 --json -o json_run") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["runs"][0]["images"] == 20
    assert result["runs"][0]["folder"] == "json_run"


def test_several_checkpoints_make_a_folder_each_and_a_column_each(place, capsys):
    (place / "twin.pt").write_bytes((place / "good.pt").read_bytes())
    assert run(place, "analyze good.pt twin.pt --data digits --limit 20 -o both") == 0
    said = capsys.readouterr().out
    assert (place / "both" / "good" / "run.json").exists()
    assert (place / "both" / "twin" / "run.json").exists()
    assert "good" in said
    assert "twin" in said


def test_a_bare_state_dict_with_flags_equals_our_checkpoint(place, capsys):
    line = "analyze bare.pt --arch digits_cnn --mean .5 .5 .5 --std .5 .5 .5 --data digits --limit 30 --json -o bare"
    assert run(place, line) == 0
    bare = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"][0]
    ours = json.loads((place / "run" / "summary.json").read_text())
    assert bare["l1_mean"] == pytest.approx(ours["l1_mean"], rel=1e-6)


@pytest.mark.parametrize(("model", "flag"), [("constant", "zero"), ("not_finite", "not_finite")])
def test_useless_gradients_are_kept_flagged_and_counted(model, flag, place, capsys):
    line = f"analyze builders.py:{model} --normalized --data digits --limit 20 --json -o {model}"
    assert run(place, line) == 0
    said = capsys.readouterr().out
    summary = json.loads(said.splitlines()[-1])["runs"][0]
    assert summary["images"] == 20
    assert summary[f"gradients_{flag}"] == 20
    assert "gradient_flag" in said


def test_an_untrained_model_is_warned_about(place, capsys):
    assert run(place, "analyze good.pt --weights random --data digits --limit 40 -o untrained") == 0
    assert "is at chance" in capsys.readouterr().out


def test_a_truncated_jpeg_among_good_ones_is_skipped_counted_and_listed(place, capsys):
    rng = np.random.default_rng(0)
    for i in range(120):
        folder = place / "pictures" / f"c{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / f"{i:03d}.jpg")
    bad = place / "pictures" / "c0" / "000.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    assert run(place, "analyze good.pt --data pictures -o with_bad") == 0
    assert "1 images could not be read" in capsys.readouterr().out
    provenance = json.loads((place / "with_bad" / "run.json").read_text())
    assert "000.jpg" in next(iter(provenance["unreadable"].values()))
    for i in range(2, 8, 2):
        (place / "pictures" / "c0" / f"{i:03d}.jpg").write_bytes(b"not a picture")
    assert run(place, "analyze good.pt --data pictures -o too_bad") == 2
    assert "over 1 %" in capsys.readouterr().err
    assert not (place / "too_bad" / "run.json").exists()


def test_several_kinds_of_weights_are_measured_from_one_decode(place, monkeypatch):
    from gradlens.data import Data

    read = []
    original = Data.read
    monkeypatch.setattr(Data, "read", lambda self, indices: read.append(len(indices)) or original(self, indices))
    assert run(place, "analyze good.pt --weights raw,random --data digits --limit 40 -b 20 --examples 0 -o kinds") == 0
    assert (place / "kinds" / "good-raw" / "run.json").exists()
    assert (place / "kinds" / "good-random" / "run.json").exists()
    # Two batches of twenty, once; each model's pilot before them.
    assert read.count(20) == 2


def test_an_unexpected_accuracy_is_said_before_the_run_and_stops_a_strict_one(place, caplog, capsys):
    line = "analyze good.pt --data digits --limit 60 --expect-top1 99±1"
    assert run(place, f"{line} -o expected") == 0
    assert "probable causes" in caplog.text
    assert run(place, f"{line} --strict -o strict") == 2
    assert "probable causes" in capsys.readouterr().err
    assert not (place / "strict" / "run.json").exists()
    assert run(place, "analyze good.pt --data digits --expect-top1 high -o bad") == 2


def test_a_protocol_fixes_preprocessing_and_measures_and_says_what_is_unknown(place, capsys):
    assert run(place, "analyze good.pt --data digits --limit 8 -b 4 --protocol robustbench -o published") == 0
    assert "Not stated there" in " ".join(capsys.readouterr().out.split())
    provenance = json.loads((place / "published" / "run.json").read_text())
    assert provenance["preprocess"]["size"] == 224
    assert provenance["analyzers"] == ["sample_asymmetry", "robustness"]
    assert provenance["protocol"]["name"] == "robustbench"
    assert "attack=pgd,norm=linf,eps=4/255,steps=10" in provenance["protocol"]["analyzers"]
    assert run(place, "analyze good.pt --data digits --protocol robustbnech") == 2


def test_analyzers_are_added_to_a_finished_run_and_nothing_else_is_asked(place, capsys):
    shutil.copytree(place / "run", place / "more")
    assert run(place, "analyze more --add gradient_spectrum --limit 3") == 2
    assert "--limit beside --add" in capsys.readouterr().err
    assert run(place, "analyze nowhere --add gradient_spectrum") == 2
    assert "no run at nowhere" in capsys.readouterr().err
    assert run(place, "analyze more --add gradient_spectrum") == 0
    assert "gradient_spectrum" in gl.Run.load(place / "more").provenance["analyzers"]
