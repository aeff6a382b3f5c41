"""What is added to a finished run is what a run of all would have; a kill leaves one of the two whole."""

import shutil

import numpy as np
import pandas as pd
import pytest
from measured import MEAN, STD, classifier, measure
from refusals import refused

import gradlens as gl
from gradlens import UserError
from gradlens.models import save_checkpoint
from gradlens.runs import folder as folders

HOW = {"limit": 40, "seed": 3, "batch_size": 16}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A checkpoint with a finished run of one analyzer, and a run of two."""
    place = tmp_path_factory.mktemp("origin")
    saved(place / "own.pt", 0)
    measure(place / "own.pt", out=place / "run", **HOW)
    return place, measure(place / "own.pt", analyzers="sample_asymmetry,channel_asymmetry", **HOW)


def saved(path, seed):
    state = classifier(seed).net.state_dict()
    save_checkpoint(path, state, arch="digits_cnn", activation="gelu", mean=MEAN, std=STD)


@pytest.fixture
def place(origin, tmp_path):
    shutil.copytree(origin[0] / "run", tmp_path / "run")
    return tmp_path / "run"


def test_added_numbers_are_those_of_one_run_of_all(origin, place):
    gl.Run.add(place, "channel_asymmetry,sample_asymmetry")
    added, both = gl.Run.load(place), origin[1]
    pd.testing.assert_frame_equal(added.samples, both.samples, check_exact=True)
    assert added.summary == both.summary
    assert added.provenance["analyzers"] == both.provenance["analyzers"]
    assert added.readings == [list(row) for row in both.readings]
    assert set(added.arrays) == set(both.arrays)
    for name, array in both.arrays.items():
        np.testing.assert_array_equal(added.arrays[name], array)
    assert len(added.examples["index"]) > 0
    with refused("already", "channel_asymmetry"):
        gl.Run.add(place, "channel_asymmetry")


def test_a_kill_at_any_write_leaves_the_old_run_or_the_new_one(place, monkeypatch):
    old, write = gl.Run.load(place), folders.write_atomically
    new = (old.samples.assign(more=1.0), old.summary, old.arrays, old.provenance, old.examples)
    writes = []

    def stopped(path, how):
        if len(writes) == last:
            raise KeyboardInterrupt
        writes.append(path)
        write(path, how)

    monkeypatch.setattr(folders, "write_atomically", stopped)
    for last in range(12):
        writes.clear()
        with pytest.raises(KeyboardInterrupt):
            folders.rewrite_run(place, *new)
        # Six files of the new run, the last of which makes it one.
        assert ("more" in gl.Run.load(place).samples) == (last >= 6)
    monkeypatch.undo()
    folders.settle(place)
    assert "more" in gl.Run.load(place).samples
    assert not (place / folders.STAGED).exists()


def test_another_checkpoint_is_refused_and_the_run_stays(origin, place):
    before = {file.name: file.read_bytes() for file in place.glob("*.*")}
    kept = (origin[0] / "own.pt").read_bytes()
    try:
        saved(origin[0] / "own.pt", 1)
        with refused("other weights"):
            gl.Run.add(place, "channel_asymmetry")
    finally:
        (origin[0] / "own.pt").write_bytes(kept)
    with pytest.raises(UserError, match="channels"):
        gl.Run.add(place, "channels")
    assert {file.name: file.read_bytes() for file in place.glob("*.*")} == before
