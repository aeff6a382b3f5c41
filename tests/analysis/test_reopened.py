"""A run's images can be looked at again with its model and data, or it is said why not."""

import json
import shutil

import pandas as pd
import pytest
import torch
from measured import MEAN, STD, classifier, measure
from refusals import refused

from gradlens import Preprocess, Run, load_data
from gradlens.models import save_checkpoint


@pytest.fixture(scope="module")
def from_file(tmp_path_factory):
    """A saved run of a checkpoint file on a data set by name."""
    folder = tmp_path_factory.mktemp("from_file")
    state = classifier().net.state_dict()
    save_checkpoint(folder / "own.pt", state, arch="digits_cnn", activation="gelu", mean=MEAN, std=STD)
    run = measure(folder / "own.pt", out=folder / "run", analyzers="standard")
    return folder, run


def test_a_run_of_a_file_equals_a_run_of_the_module_that_it_holds(from_file, baseline):
    pd.testing.assert_frame_equal(from_file[1].samples, baseline.samples, check_exact=True)


@pytest.mark.parametrize("origin", ["in memory", "loaded"])
def test_an_image_can_be_looked_at_again(from_file, origin):
    folder, run = from_file
    run = run if origin == "in memory" else Run.load(folder / "run")
    row = run.samples.iloc[17]
    probe = run.probe(int(row["index"]))
    assert float(probe.gradient("loss").double().abs().sum()) == pytest.approx(row["l1"], rel=1e-5)
    assert float(probe.loss) == pytest.approx(row["loss"], rel=1e-5)
    assert int(probe.prediction) == row["prediction"]
    assert int(probe.batch.target) == row["label"]
    assert list(probe.units()) == ["2", "5", "8"]


def test_an_image_of_a_folder_is_preprocessed_as_in_the_run(digits_folder, tmp_path):
    run = measure(data=load_data(digits_folder).bind(Preprocess(size=24, crop_pct=0.9)), out=tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    loaded.model = run.model
    row = run.samples.iloc[5]
    assert float(loaded.probe(int(row["index"])).loss) == pytest.approx(row["loss"], rel=1e-5)


def test_what_cannot_be_opened_again_is_said(from_file, baseline, tmp_path):
    folder, _ = from_file
    with refused("no image 5000", "digits/val"):
        Run.load(folder / "run").probe(5000)
    baseline.save(tmp_path / "run")
    with refused("model was given as an object", "run.model"):
        Run.load(tmp_path / "run").probe(0)
    arrays = measure(data=(torch.rand(4, 3, 32, 32), [0, 1, 2, 3]), out=tmp_path / "arrays")
    loaded = Run.load(tmp_path / "arrays")
    loaded.model = arrays.model
    with refused("data were given as an object", "run.data"):
        loaded.probe(0)


def test_a_checkpoint_that_changed_since_is_noticed(from_file, tmp_path):
    folder, _ = from_file
    shutil.copytree(folder / "run", tmp_path / "run")
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    save_checkpoint(
        tmp_path / "own.pt",
        classifier(seed=1).net.state_dict(),
        arch="digits_cnn",
        activation="gelu",
        mean=MEAN,
        std=STD,
    )
    found["load_model"]["spec"] = str(tmp_path / "own.pt")
    (tmp_path / "run" / "run.json").write_text(json.dumps(found))
    with refused("own.pt", "other weights", "run.model"):
        Run.load(tmp_path / "run", allow_edited=True).probe(0)


def test_a_run_finds_its_checkpoint_from_another_folder(from_file, tmp_path, monkeypatch):
    origin, _ = from_file
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    shutil.copy(origin / "own.pt", home / "own.pt")
    # Another checkpoint of that name, which is not the one that was measured.
    save_checkpoint(elsewhere / "own.pt", classifier(seed=1).net.state_dict(), arch="digits_cnn", mean=MEAN, std=STD)
    monkeypatch.chdir(home)
    run = measure("own.pt", out="run")
    monkeypatch.chdir(elsewhere)
    again = Run.load(home / "run").probe(int(run.samples["index"][3]))
    assert float(again.loss) == pytest.approx(run.samples["loss"][3], rel=1e-5)
