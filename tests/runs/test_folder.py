"""A run's folder is complete or none, holds every bit, and is refused where it was changed."""

import json
import shutil

import pandas as pd
import pytest
from agreement import assert_same
from refusals import refused

from gradlens import Run


@pytest.fixture(scope="module")
def folder(baseline, tmp_path_factory):
    return baseline.save(tmp_path_factory.mktemp("folder") / "run")


def test_a_saved_run_is_loaded_as_it_was(baseline, tmp_path):
    baseline.save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert_same(loaded, baseline)
    assert loaded.provenance == json.loads(json.dumps(baseline.provenance))
    assert (loaded.hash, loaded.label) == (baseline.hash, baseline.label)
    found = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert found == {"run.json", "samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples/loss.npz"}


def test_a_failure_while_saving_leaves_no_folder_that_looks_complete(baseline, tmp_path, monkeypatch):
    baseline.save(tmp_path / "run")

    def full(path, write):
        raise OSError("no space left")

    monkeypatch.setattr("gradlens.runs.folder.write_atomically", full)
    with pytest.raises(OSError, match="no space left"):
        baseline.save(tmp_path / "run")
    with refused("holds no run"):
        Run.load(tmp_path / "run")


def damage(run, kind):
    if kind == "no run":
        shutil.rmtree(run)
    elif kind == "empty folder":
        shutil.rmtree(run)
        run.mkdir()
    elif kind == "other format":
        (run / "run.json").write_text('{"format": 99}')
    elif kind == "cut json":
        (run / "run.json").write_bytes((run / "run.json").read_bytes()[:50])
    elif kind == "cut table":
        (run / "samples.parquet").write_bytes((run / "samples.parquet").read_bytes()[:500])
    elif kind == "cut arrays":
        (run / "arrays.npz").write_bytes((run / "arrays.npz").read_bytes()[:500])
    else:
        (run / kind).unlink()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no run", ["holds no run", "folder of an analysis"]),
        ("empty folder", ["holds no run"]),
        ("other format", ["another version", "analyze again"]),
        ("cut json", ["damaged", "analyze again"]),
        ("cut table", ["damaged", "analyze again"]),
        ("cut arrays", ["damaged", "analyze again"]),
        ("summary.json", ["damaged", "summary.json"]),
        ("arrays.npz", ["damaged", "arrays.npz"]),
    ],
)
def test_a_folder_that_is_not_a_whole_run_is_refused(folder, tmp_path, kind, words):
    shutil.copytree(folder, tmp_path / "run")
    damage(tmp_path / "run", kind)
    with refused(str(tmp_path / "run"), *words):
        Run.load(tmp_path / "run")


def test_a_changed_run_is_noticed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "rows")
    samples = pd.read_parquet(folder / "samples.parquet")
    samples.head(50).to_parquet(tmp_path / "rows" / "samples.parquet")
    with refused("samples.parquet", "changed after", "analyze again"):
        Run.load(tmp_path / "rows")
    shutil.copytree(folder, tmp_path / "number")
    summary = json.loads((folder / "summary.json").read_text())
    (tmp_path / "number" / "summary.json").write_text(json.dumps({**summary, "top1": 99.9}))
    with refused("summary.json", "changed after"):
        Run.load(tmp_path / "number")


def test_an_old_run_without_hashes_must_have_as_many_rows_as_it_counts(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    found = {**json.loads((folder / "run.json").read_text()), "format": 1}
    del found["sha256"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(found))
    assert len(Run.load(tmp_path / "old").samples) == 60
    pd.read_parquet(folder / "samples.parquet").head(50).to_parquet(tmp_path / "old" / "samples.parquet")
    with refused("50 rows", "60 images"):
        Run.load(tmp_path / "old")


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": 1}', ["not written by gradlens"]), ("[]", ["not written by gradlens"]), ('{"format": 7}', ["format 7"])],
)
def test_a_foreign_run_json_is_refused(text, words, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(text)
    with refused(str(tmp_path), *words):
        Run.load(tmp_path / "run")


def test_a_change_in_python_is_saved_and_loaded(baseline, tmp_path):
    part = baseline.select("index > 100")
    part.samples = part.samples.assign(own=1.0)
    loaded = Run.load(part.save(tmp_path / "part"))
    assert loaded.samples["own"].tolist() == [1.0] * len(part.samples)
