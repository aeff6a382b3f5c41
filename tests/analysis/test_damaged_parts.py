"""A part of an unfinished run that is not what was committed is measured again, or the run is refused; nothing else."""

import json
import logging
import os
import shutil
import signal

import numpy as np
import pytest
from agreement import assert_same
from measured import measure
from refusals import refused
from torch import nn

from gradlens import Interrupted, load_data, load_model
from gradlens.analysis.analysis import Session
from gradlens.stats.tallies import PerClass


def gradients(probe):
    return {"l1": probe.gradient().abs().sum((1, 2, 3))}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Seventy runs of a network so small that nothing of it need be found out before each."""
    rng = np.random.default_rng(0)
    data = load_data((rng.random((20, 3, 6, 6), dtype=np.float32), rng.integers(0, 2, 20)))
    model = load_model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 2)), normalized=True)
    analyzers = ["class_selectivity", gradients]
    OPTIONS.update(model=model, data=data, analyzers=analyzers, batch_size=2, limit=20, examples=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_sound_copy", lambda session: session.model)
        patch.setattr("gradlens.analysis.analysis.PILOT_IMAGES", 4)
        yield


OPTIONS = {}


def stopped(out, monkeypatch, seed=0):
    """A run of ten batches, stopped by three processes after three, two and two of them."""
    real = Session.take
    for batches in (3, 2, 2):
        taken = []

        def take(self, k, batch, failures, taken=taken, batches=batches):
            real(self, k, batch, failures)
            taken.append(k)
            if len(taken) == batches:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Session, "take", take)
            # Rows of each batch in a file of their own.
            patch.setattr("gradlens.analysis.loop.FLUSH_SECONDS", -1)
            with pytest.raises(Interrupted, match="SIGTERM"):
                measure(out=out, resume=True, seed=seed, **OPTIONS)
    return out


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Two such runs, of other seeds."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("unfinished")
        return [stopped(place / f"s{seed}", patch, seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def whole():
    return measure(**OPTIONS)


PARTS = 11  # a contract, three states and seven files of rows


def flip(place):
    def damage(file, others):
        content = bytearray(file.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1 << (len(content) % 8)
        file.write_bytes(content)

    return damage


def delete(file, others):
    file.unlink()


def empty(file, others):
    file.write_bytes(b"")


def cut(file, others):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def swap(file, others):
    """With another of its kind in the run."""
    other = next((f for f in others if f.suffix == file.suffix and f != file), file)
    one, two = file.read_bytes(), other.read_bytes()
    file.write_bytes(two)
    other.write_bytes(one)


def of_another_run(file, others):
    shutil.copy(others[0].parent.parent.parent / "s1" / "parts" / others_name(file, others), file)


def others_name(file, others):
    """The file of the run of another seed in the same place; its writers have other names."""
    there = sorted(p.name for p in (others[0].parent.parent.parent / "s1" / "parts").iterdir())
    return [n for n in there if n.endswith(file.suffix)][[f for f in others if f.suffix == file.suffix].index(file)]


WAYS = {
    "deleted": delete,
    "emptied": empty,
    "truncated": cut,
    "flipped early": flip(0.1),
    "flipped late": flip(0.55),
    "swapped": swap,
    "of another run": of_another_run,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_part_changes_no_number(unfinished, whole, tmp_path, caplog, part, way):
    for run in unfinished:
        shutil.copytree(run, tmp_path / run.name)
    files = sorted((tmp_path / "s0" / "parts").iterdir())
    assert len(files) == PARTS
    before = [file.read_bytes() for file in files]
    WAYS[way](files[part], files)
    damaged = [f.read_bytes() if f.exists() else None for f in files] != before
    with caplog.at_level(logging.WARNING, "gradlens"):
        if damaged and files[part].name == "contract.json":
            with refused(str(tmp_path / "s0")):
                measure(out=tmp_path / "s0", resume=True, **OPTIONS)
            return
        resumed = measure(out=tmp_path / "s0", resume=True, **OPTIONS)
    assert_same(resumed, whole)
    said = [record.getMessage() for record in caplog.records if "measured again" in record.getMessage()]
    assert len(said) == (damaged and files[part].name != "contract.json")
    assert "\n" not in "".join(said)


def test_a_contract_of_another_run_is_not_believed(unfinished, tmp_path, caplog):
    """As if the parts had been measured with the settings that it states."""
    for run in unfinished:
        shutil.copytree(run, tmp_path / run.name)
    shutil.copy(tmp_path / "s1" / "parts" / "contract.json", tmp_path / "s0" / "parts" / "contract.json")
    resumed = measure(out=tmp_path / "s0", resume=True, seed=1, **OPTIONS)
    assert_same(resumed, measure(seed=1, **OPTIONS))
    assert "measured again" in caplog.text


def test_rows_of_an_older_run_are_counted(unfinished, whole, tmp_path, caplog):
    """It has no hashes, but says which batches it holds."""
    shutil.copytree(unfinished[0], tmp_path / "run")
    parts = tmp_path / "run" / "parts"
    contract = json.loads((parts / "contract.json").read_text())
    del contract["sha256"], contract["format"]
    (parts / "contract.json").write_text(json.dumps(contract))
    for file in parts.glob("*.npz"):
        state = dict(np.load(file))
        np.savez(file, **{name: array for name, array in state.items() if name not in ("sha256", "files", "contract")})
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    assert_same(measure(out=tmp_path / "run", resume=True, **OPTIONS), whole)
    assert "measured again" not in caplog.text
    next((tmp_path / "again" / "parts").glob("*-000000.parquet")).unlink()
    assert_same(measure(out=tmp_path / "again", resume=True, **OPTIONS), whole)
    assert "measured again" in caplog.text


def test_an_error_between_two_tallies_of_a_batch_commits_none_of_it(tmp_path, monkeypatch):
    real, calls = PerClass.update, []

    def update(self, *values):
        calls.append(1)
        if len(calls) == 8:
            raise RuntimeError("a signal's handler")
        real(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(PerClass, "update", update)
        patch.setattr("gradlens.analysis.loop.FLUSH_SECONDS", -1)
        with pytest.raises(RuntimeError, match="handler"):
            measure(out=tmp_path / "run", **OPTIONS)
    assert list((tmp_path / "run" / "parts").glob("*.npz"))
    assert_same(measure(out=tmp_path / "run", resume=True, **OPTIONS), measure(**OPTIONS))
