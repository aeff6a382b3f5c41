"""Histories of trainings: what a folder holds, read without torch, and every wrong folder in one line."""

from __future__ import annotations

import json
import shutil

import pytest
from drawables import a_history, a_run
from refusals import refused

import gradlens as gl
from gradlens.cli.main import main
from gradlens.core.registry import figure as figures
from gradlens.runs import record
from gradlens.runs.history import History, check_kind, load_drawable
from gradlens.training import _history

TRAININGS = {"accuracy_over_epochs", "learning_curves", "penalty_weight_sweep"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of two epochs, in the folder of a seed."""
    out = tmp_path_factory.mktemp("runs") / "gelu" / "s3"
    small = {"arch": "digits_cnn:width=4", "limit": 64, "epochs": 2, "batch_size": 16, "eval_images": 16}
    config = gl.TrainConfig(data="digits", out=out, device="cpu", seed=3, penalty="gradnorm", weight=0.1, **small)
    result = gl.train(config, progress=False)
    return config, result, out


@pytest.fixture
def folder(trained, tmp_path):
    """A copy to spoil."""
    shutil.copytree(trained[2], tmp_path / "s3")
    return tmp_path / "s3"


def test_a_training_leaves_its_history_and_recipe_for_figures(trained):
    config, result, out = trained
    history = History.load(out)
    assert history.label == "gelu"
    assert history.finished
    assert history.config == json.loads(json.dumps(config.provenance()))
    assert set(json.loads((out / "config.json").read_text())["sha256"]) == {"config.json", "history.csv"}
    for column in ("val_top1", "loss", "lr", "weight"):
        assert history.frame[column].tolist() == pytest.approx([row[column] for row in result.history])


def test_a_folder_is_loaded_as_what_it_holds(trained, tmp_path):
    a_run("natural").save(tmp_path / "run")
    assert isinstance(load_drawable(tmp_path / "run"), record.Run)
    assert isinstance(load_drawable(trained[2]), History)
    chosen = load_drawable(tmp_path / "run", where="correct")
    assert 0 < len(chosen.samples) < 200


def test_a_history_that_stopped_early_is_not_finished():
    assert a_history(epochs=12).finished
    assert not a_history(epochs=12, done=3).finished


def test_the_hash_knows_recipe_and_numbers_but_not_the_folder():
    first = a_history(seed=0)
    assert first.hash == a_history(seed=0, out="elsewhere").hash
    assert len({first.hash, a_history(seed=1).hash, a_history(seed=0, weight=2.0).hash}) == 3


def test_wrong_folders_are_refused_in_one_line(folder, tmp_path):
    with refused("s3", "images", "leave it out"):
        load_drawable(folder, where="correct")
    with refused("nowhere", "folder of an analysis"):
        load_drawable(tmp_path / "nowhere")
    (folder / "config.json").unlink()
    with refused("config.json", "train again"):
        load_drawable(folder)
    (folder / "history.csv").unlink()
    with refused("no history", "a done epoch"):
        load_drawable(folder)


@pytest.mark.parametrize("name", ["config.json", "history.csv"])
def test_an_edited_training_is_refused_or_read_with_a_word(name, folder, caplog):
    file = folder / name
    file.write_text(
        file.read_text().replace('"lr": 0.', '"lr": 1.') if name == "config.json" else file.read_text() + " "
    )
    with refused(name, "changed after", "--allow-edited"):
        load_drawable(folder)
    assert main(["figure", "learning_curves", str(folder), "-o", str(folder / "f.svg"), "--allow-edited"]) == 0
    assert f"changed after it was written: {name}" in caplog.text


def test_a_training_without_hashes_is_drawn_with_a_word(folder, caplog):
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_drawable(folder).config == config
    assert "an edit would not be noticed" in caplog.text


def test_a_kill_between_the_two_files_of_an_epoch_is_no_edit(folder, monkeypatch):
    before, rows = History.load(folder).frame, [{"epoch": k, "val_top1": 0.5, "val_pgd10": 0.1} for k in (1, 2, 3)]
    real, written = _history.write_atomically, []

    def killed(path, write):
        if written:
            raise KeyboardInterrupt
        real(path, write)
        written.append(path)

    monkeypatch.setattr(_history, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        _history.write_history(folder, {"epochs": 3}, rows)
    assert History.load(folder).frame.equals(before)
    monkeypatch.setattr(_history, "write_atomically", real)
    _history.write_history(folder, {"epochs": 3}, rows)
    assert len(History.load(folder).frame) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"data": "digits"}'),
        ("history.csv", ""),
        ("history.csv", "epoch,val_top1,val_pgd10\n"),
        ("history.csv", "epoch,loss\n1,2.0\n"),
    ],
)
def test_damaged_files_are_refused_in_one_line(name, content, folder):
    (folder / name).write_text(content)
    with refused("is damaged", "train again"):
        History.load(folder)


@pytest.mark.parametrize("name", figures)
def test_a_figure_says_whether_it_draws_trainings_or_analyses(name):
    right, wrong = (a_history(), a_run()) if name in TRAININGS else (a_run(), a_history())
    check_kind(name, figures[name], [right, right])
    with refused(name, wrong.label, "gradlens train" if name in TRAININGS else "gradlens analyze"):
        check_kind(name, figures[name], [right, wrong])
