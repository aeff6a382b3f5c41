"""Histories of trainings: what a folder holds, read without torch, and every wrong folder in one line."""

from __future__ import annotations

import json
import shutil

import pytest
from drawables import a_history, a_run
from refusals import refused

import gradlens as gl
from gradlens.core.registry import figure as figures
from gradlens.runs import record
from gradlens.runs.history import History, check_kind, load_drawable

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
