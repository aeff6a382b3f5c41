"""What was edited in a finished run is noticed, file by file, and read all the same only where that is asked for."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from agreement import assert_same
from refusals import refused

from gradlens import Run
from gradlens.cli.main import main
from gradlens.runs.readings import warnings

FILES = ("run.json", "samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples/loss.npz")


@pytest.fixture(scope="module")
def folder(baseline, tmp_path_factory):
    return baseline.save(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "run")


def edit(file):
    """Another number in a file that still opens."""
    if file.suffix == ".parquet":
        samples = pd.read_parquet(file)
        samples.assign(l1=2 * samples["l1"]).to_parquet(file)
    elif file.suffix == ".npz":
        arrays = dict(np.load(file))
        name = next(n for n, a in arrays.items() if a.dtype.kind == "f")
        np.savez_compressed(file, **{**arrays, name: arrays[name] + 1})
    elif file.name == "run.json":
        file.write_text(json.dumps({**json.loads(file.read_text()), "seed": 7}))
    elif file.name == "summary.json":
        file.write_text(json.dumps({**json.loads(file.read_text()), "top1": 99.9}))
    else:
        file.write_text(file.read_text().replace("digits", "imagenet"))


def test_what_the_folder_holds_is_what_is_edited_here(folder):
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_named_and_refused(run, name, capsys):
    edit(run / name)
    with refused(str(run / name), "changed after", "allow_edited"):
        Run.load(run)
    for words in (
        ["figure", "gradient_norm_distribution", "-o", str(run / "f.png")],
        ["compare", str(run)],
        ["report"],
    ):
        assert main([*words, str(run)]) == 2
        assert str(run / name) in capsys.readouterr().err


@pytest.mark.parametrize("name", [*FILES, None])
def test_a_hash_that_was_taken_out_is_an_edit(run, name):
    found = json.loads((run / "run.json").read_text())
    del (found["sha256"] if name else found)[name or "sha256"]
    (run / "run.json").write_text(json.dumps(found))
    with refused(str(run / (name or "run.json")), "changed after"):
        Run.load(run)
    assert Run.load(run, allow_edited=True).provenance["edited"] == ([name] if name else list(FILES))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_flipped_bit_is_refused_or_changes_nothing(run, baseline, name, place):
    content = bytearray((run / name).read_bytes())
    content[int(place * len(content))] ^= 4
    (run / name).write_bytes(content)
    with refused(str(run / name)):
        Run.load(run)


@pytest.mark.parametrize("name", FILES)
def test_an_edited_run_is_read_where_that_is_asked_for(run, name, caplog):
    edit(run / name)
    found = Run.load(run, allow_edited=True)
    assert name in caplog.text
    assert found.provenance["edited"] == [name]
    assert any(f"changed after it was measured: {name}" in line for line in warnings(found))


def test_edited_runs_are_compared_drawn_and_reported_where_that_is_asked_for(run, folder, capsys):
    edit(run / "samples.parquet")
    assert main(["compare", f"before={folder}", f"after={run}", "--allow-edited", "--columns", "l1"]) == 0
    assert main(["report", str(run), "--allow-edited"]) == 0
    assert "changed after it was measured" in (run / "report.html").read_text(encoding="utf-8")
    words = ["figure", "gradient_norm_distribution", str(run), "-o", str(run / "f.png"), "--allow-edited"]
    assert main(words) == 0


def test_spaces_and_what_is_drawn_later_are_no_edit(run, baseline, capsys):
    file = run / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").exists()
    (run / "examples" / "mine.png").touch()
    assert_same(Run.load(run), baseline)


def test_a_saved_edit_of_python_is_a_run_of_its_own(run, tmp_path):
    changed = Run.load(run)
    changed.samples = changed.samples.assign(own=1.0)
    assert Run.load(changed.save(tmp_path / "own")).samples["own"].eq(1).all()
    assert Run.load(changed.save(run)).samples["own"].eq(1).all()


def test_names_that_are_not_utf8_are_read_as_they_were(baseline, tmp_path):
    odd = b"caf\xe9.pt".decode("utf-8", "surrogateescape")
    run = baseline.named(odd)
    run.provenance = {**run.provenance, "argv": [odd, "héllo"]}
    loaded = Run.load(run.save(tmp_path / "odd"))
    assert (loaded.label, loaded.provenance["argv"]) == (odd, [odd, "héllo"])
